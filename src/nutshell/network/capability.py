"""What a network backend must be able to do.

The service hands over whole wanted objects; the driver makes them so, or makes them so again after a crash. Every call
is safe to repeat, may block until done, and fails with `DriverFault`. Addresses are strings, ids the API's UUIDs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Lease:
    """One DHCP reservation and DNS name: a port's address on a subnet."""

    port_id: str
    mac: str
    ip: str
    hostname: str


@dataclass(frozen=True)
class Subnet:
    subnet_id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None
    dhcp: bool
    dhcp_ip: str | None  # the address the DHCP server, DNS server and metadata service listen on
    dns_servers: tuple[str, ...] = ()  # empty: the dhcp_ip itself, which forwards
    routes: tuple[tuple[str, str], ...] = ()  # (destination CIDR, next hop) told to guests (option 121)
    leases: tuple[Lease, ...] = ()
    ra_mode: str = ""  # IPv6: "slaac", "dhcpv6-stateful", "dhcpv6-stateless"; "": no router advertisements from us
    address_mode: str = ""  # IPv6: the same words; who gives guests their addresses


@dataclass(frozen=True)
class Network:
    network_id: str
    segment: int  # unique per cloud, 1 to 2**24-1: VXLAN id and conntrack zone
    mtu: int
    external: bool  # leads out of the cloud: the host itself holds its gateway address and forwards
    subnets: tuple[Subnet, ...]
    dns_domain: str = "openstacklocal"
    dhcp_port_id: str = ""  # the port that holds the dhcp_ips; "" when no subnet has DHCP
    dhcp_mac: str = ""


@dataclass(frozen=True)
class Rule:
    """One security group rule. What no rule allows is dropped; answers to allowed traffic pass (stateful)."""

    direction: str  # "ingress" or "egress"
    ip_version: int  # 4 or 6
    protocol: str | None  # IANA name or number as text; None: any
    port_min: int | None  # ICMP: type
    port_max: int | None  # ICMP: code
    remote_cidr: str | None  # None with no remote_group_id: any
    remote_group_id: str | None


@dataclass(frozen=True)
class Group:
    """A security group: its rules, and the addresses of its member ports (for other groups' remote rules)."""

    group_id: str
    rules: tuple[Rule, ...]
    members: tuple[str, ...]
    stateful: bool = True


@dataclass(frozen=True)
class Port:
    """One port for a guest's card. Router and DHCP ports belong to their Router and Network."""

    port_id: str
    network_id: str
    mac: str
    ips: tuple[str, ...]
    security: bool  # False: no anti-spoofing and no groups
    group_ids: tuple[str, ...] = ()
    allowed_pairs: tuple[tuple[str, str], ...] = ()  # (mac, CIDR) the guest may also use as its own
    up: bool = True  # admin_state_up
    carrier: tuple[str, int] | None = None  # no card of its own: the frames of this VLAN on the card of that port


@dataclass(frozen=True)
class RouterLeg:
    """One interface of a router on a network."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[str, ...]  # "10.0.0.1/24"


@dataclass(frozen=True)
class FloatingIp:
    floating_ip: str
    fixed_ip: str


@dataclass(frozen=True)
class Router:
    router_id: str
    up: bool
    legs: tuple[RouterLeg, ...]
    gateway: RouterLeg | None  # on an external network
    next_hop: str | None  # the external subnet's gateway address
    snat: bool
    floating: tuple[FloatingIp, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Existing:
    """Ids of what the driver finds in its world now."""

    networks: tuple[str, ...]
    ports: tuple[str, ...]
    routers: tuple[str, ...]
    groups: tuple[str, ...]


@runtime_checkable
class NetworkDriver(Protocol):
    """Order of calls: a network before its ports and routers, groups before ports that name them."""

    name: str

    def ensure_network(self, network: Network) -> None: ...
    def ensure_groups(self, groups: Sequence[Group]) -> None: ...
    def ensure_ports(self, ports: Sequence[Port]) -> None: ...
    def ensure_router(self, router: Router) -> None: ...
    def remove_network(self, network_id: str) -> None: ...
    def remove_groups(self, group_ids: Sequence[str]) -> None: ...
    def remove_ports(self, port_ids: Sequence[str]) -> None: ...
    def remove_router(self, router_id: str) -> None: ...
    def existing(self) -> Existing: ...
