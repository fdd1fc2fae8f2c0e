"""Settings of network (table `[network]`)."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.config import setting

VXLAN_HEADER = 50  # bytes: outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348, section 5)


@dataclass(frozen=True)
class NetworkConfig:
    """How networks are made, and where the cloud meets the outside."""

    table: ClassVar[str] = "network"

    underlay_mtu: int = setting(1500, "MTU of the wire under the cloud; tenant networks get 50 bytes less.")
    public_cidr: str = setting(
        "", "Subnet of the first external network; empty: the first free one of 172.24.4.0/24, 172.24.5.0/24, …"
    )
    dns_domain: str = setting("openstacklocal", "Domain of ports' names in DNS.")

    def mtu(self, external: bool) -> int:
        """The largest MTU of a network."""
        return self.underlay_mtu if external else self.underlay_mtu - VXLAN_HEADER
