"""What other services may ask of network."""

# house: parameters waived 2026-11-22: a port is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nutshell.core.policy import Who
from nutshell.core.store import Tx

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


@dataclass(frozen=True)
class Address:
    ip: str
    subnet_id: str
    version: int  # 4 or 6
    floating_ip: str | None = None


@dataclass(frozen=True)
class PortInfo:
    """A port as a server's owner and metadata need it."""

    port_id: str
    network_id: str
    network_name: str
    project_id: str
    mac: str
    mtu: int
    addresses: tuple[Address, ...]
    device_id: str
    status: str
    security_group_ids: tuple[str, ...]
    security_group_names: tuple[str, ...]
    vnic_type: str = "normal"
    preserve: bool = False  # made by the user, not by compute: survives the server


@dataclass(frozen=True)
class NetworkInfo:
    """Enough for a network_data.json: subnets with gateway, routes and DNS."""

    network_id: str
    name: str
    mtu: int
    subnets: tuple["SubnetInfo", ...]


@dataclass(frozen=True)
class SubnetInfo:
    subnet_id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None
    dhcp: bool
    dns_servers: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]


class Networking(Protocol):
    """Refusals are network's own Faults (NotFound, IpAddressAlreadyAllocated …); compute turns them into its words."""

    def available_networks(self, tx: Tx, who: Who) -> Sequence[str]:
        """Ids of networks with subnets a server of the caller may be put on when it names none: own ones first,
        else shared ones; never external ones unless shared."""
        ...

    def need_network(self, tx: Tx, who: Who, network_id: str) -> str:
        """The id, if the caller may see the network. NotFound otherwise."""
        ...

    def need_port(self, tx: Tx, who: Who, port_id: str) -> PortInfo: ...

    def security_groups(self, tx: Tx, who: Who, names_or_ids: Sequence[str]) -> Sequence[str]:
        """Ids of the caller's groups; NotFound or Conflict (several of one name) naming the one."""
        ...

    def create_port(
        self,
        tx: Tx,
        who: Who,
        *,
        network_id: str,
        device_id: str,
        fixed_ip: str | None = None,
        security_group_ids: Sequence[str] | None = None,
        host: str = "",
        zone: str = "nova",
        tags: Sequence[str] = (),
        hostname: str = "",
    ) -> PortInfo:
        """A port for a server, with addresses and the default group if none is named; quota is taken."""
        ...

    def bind_port(
        self, tx: Tx, port_id: str, *, device_id: str, host: str, zone: str = "nova", hostname: str = ""
    ) -> PortInfo:
        """Give a port to a server on a host (repeatable); Conflict when another device has it."""
        ...

    def unbind_port(self, tx: Tx, port_id: str) -> None:
        """Take a user's port from its server; it stays, without device and host."""
        ...

    def delete_port(self, tx: Tx, port_id: str) -> None:
        """Absent is success."""
        ...

    def ports_of(self, tx: Tx, device_ids: Sequence[str]) -> Mapping[str, Sequence[PortInfo]]:
        """Ports that compute gave to these servers, in the order they were plugged; two or three queries for all."""
        ...

    def networks(self, tx: Tx, network_ids: Sequence[str]) -> Mapping[str, NetworkInfo]: ...

    def port_at(self, tx: Tx, network_id: str, ip: str) -> PortInfo | None:
        """A server's port with this address on a network, or, when `network_id` names a router, on a network behind
        it (the metadata service asks)."""
        ...

    def set_port_groups(self, tx: Tx, port_id: str, group_ids: Sequence[str]) -> None: ...

    def realise(self, cloud: "Cloud", port_ids: Sequence[str]) -> None:
        """Have the driver make these ports (and their networks and groups) now. Blocks; not inside a transaction;
        DriverFault. Compute calls it before it starts or plugs a guest."""
        ...
