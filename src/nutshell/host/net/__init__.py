"""The `linux` network driver: bridges, taps, namespaces, nftables, dnsmasq, all carrying the cloud's short id."""
