"""The host's own side of external networks: gateway addresses, forwarding and masquerade to the world outside.

Source: nft(8); Documentation/networking/ip-sysctl.rst. Everything is named after the cloud; forwarding is a setting
of the whole host, so it is switched back off only by the last cloud and only if a cloud switched it on.
"""

from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

from nutshell.host.net.links import Link, Links
from nutshell.host.net.names import Names
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.nft import Nft, NftError
from nutshell.network.capability import Network

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_WAS_OFF = Path("/run/nutshell/ip_forward_was_off")


def masquerade_text(names: Names, networks: Iterable[Network]) -> str:
    """One transaction that replaces the cloud's table on the host; without external networks it is only removed."""
    cidrs = sorted({s.cidr for n in networks if n.external for s in n.subnets if ip_network(s.cidr).version == 4})
    lines = [f"add table ip {names.table}", f"delete table ip {names.table}"]
    if cidrs:
        joined = ", ".join(cidrs)
        lines.append(
            f"table ip {names.table} {{ chain leaving {{ type nat hook postrouting priority 100; policy accept; "
            f'ip saddr {{ {joined} }} ip daddr != {{ {joined} }} oifname != "nx{names.cloud}*" masquerade; }}\n}}'
        )
    return "\n".join(lines) + "\n"


class Outside:
    """Links and rules in the host's own namespace."""

    def __init__(self, names: Names, host: Links, nft: Nft) -> None:
        self._names = names
        self._host = host
        self._nft = nft

    def ensure(self, network: Network, fabric: Namespace, bridge: Link, networks: Iterable[Network]) -> None:
        """The host holds the network's gateway addresses; all external networks are forwarded and masqueraded."""
        name, end = self._names.outside(network.network_id), self._names.outside_end(network.network_id)
        inner = fabric.links()
        if inner.find(end) is None or self._host.find(name) is None:
            inner.delete(end)
            self._host.delete(name)
            with open("/proc/self/ns/net", "rb") as own:
                inner.add_veth(end, name, own.fileno())
        inner.shape(inner.need(end), up=True, mtu=network.mtu, master=bridge.index, alias=network.network_id)
        link = self._host.need(name)
        self._host.shape(link, up=True, mtu=network.mtu, alias=network.network_id)
        self._host.set_addresses(
            link,
            [f"{s.gateway_ip}/{ip_network(s.cidr).prefixlen}" for s in network.subnets if s.gateway_ip is not None],
        )
        self._nft.run(masquerade_text(self._names, networks))
        if _FORWARD.read_text().strip() == "0":
            _WAS_OFF.parent.mkdir(parents=True, exist_ok=True)
            _WAS_OFF.touch()
            _FORWARD.write_text("1")

    def remove(self, network_id: str, networks: Iterable[Network]) -> None:
        """Take away this network's link; `networks` are those that stay."""
        self._host.delete(self._names.outside(network_id))
        self._nft.run(masquerade_text(self._names, networks))

    def remove_everything(self) -> None:
        for link in self._host.all():
            if link.name.startswith(f"nx{self._names.cloud}") and len(link.name) == len(self._names.outside("")):
                self._host.delete(link.name)
        self._nft.run(masquerade_text(self._names, ()))
        if _WAS_OFF.exists() and "table ip nut_" not in self._tables():
            _FORWARD.write_text("0")
            _WAS_OFF.unlink(missing_ok=True)

    def _tables(self) -> str:
        try:
            return self._nft.run("list tables")
        except NftError:
            return ""
