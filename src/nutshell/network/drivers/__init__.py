"""Backends of the network service: `memory` is complete and ships; `linux` lives in `nutshell.host.net`."""

BUILT_IN = {
    "memory": "nutshell.network.drivers.memory:MemoryNetwork",
    "linux": "nutshell.host.net.driver:LinuxNetwork",
}
