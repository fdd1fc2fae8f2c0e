"""Names of everything a cloud puts on its host: each carries the cloud's short id or lives inside its namespaces.

Interface names have at most 15 characters (linux/if.h); names inside the cloud's own namespaces need no cloud id.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from nutshell.core.drivers import DriverFault

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}")
_CLOUD = re.compile(r"[0-9a-z]{1,6}")


def short(text: str) -> str:
    """Twelve hexadecimal digits that stand for an id: same id, same digits."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def checked(id: str) -> str:
    """The id, which ends up in file and chain names; DriverFault if it could mean something there."""
    if not _ID.fullmatch(id):
        raise DriverFault(f"{id!r} is not an id", final=True)
    return id


@dataclass(frozen=True)
class Names:
    cloud: str

    def __post_init__(self) -> None:
        if not _CLOUD.fullmatch(self.cloud):
            raise ValueError(f"a cloud's short id is one to six digits or small letters, not {self.cloud!r}")

    @property
    def prefix(self) -> str:
        """How every namespace of the cloud begins."""
        return f"nut-{self.cloud}-"

    @property
    def fabric(self) -> str:
        """The namespace of all bridges and taps."""
        return f"{self.prefix}fab"

    @property
    def table(self) -> str:
        """The nft table in the host's own namespace."""
        return f"nut_{self.cloud}"

    @property
    def run(self) -> Path:
        """Files of running servers, gone with the machine's power: dnsmasq's, which cannot read the state directory."""
        return Path("/run/nutshell", self.cloud, "net")

    def network(self, network_id: str) -> str:
        """The namespace of a network's DHCP, DNS and metadata."""
        return f"{self.prefix}n-{network_id}"

    def router(self, router_id: str) -> str:
        return f"{self.prefix}r-{router_id}"

    def bridge(self, network_id: str) -> str:
        return f"br{short(network_id)}"

    def dhcp_end(self, network_id: str) -> str:
        """The fabric's end of the pair to a network's namespace; the other end is called "ns0"."""
        return f"dh{short(network_id)}"

    def outside_end(self, network_id: str) -> str:
        """The fabric's end of the pair to the host's own namespace."""
        return f"ex{short(network_id)}"

    def outside(self, network_id: str) -> str:
        """The host's own link to an external network."""
        return f"nx{self.cloud}{short(network_id)[:7]}"

    def tap(self, port_id: str) -> str:
        return f"tap{short(port_id)}"

    def leg_end(self, port_id: str) -> str:
        """The fabric's end of a router's leg."""
        return f"rl{short(port_id)}"

    def leg(self, port_id: str, gateway: bool) -> str:
        """The router's end: what its NAT rules tell apart."""
        return f"{'qg' if gateway else 'qr'}{short(port_id)}"
