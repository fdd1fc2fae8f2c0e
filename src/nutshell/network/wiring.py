"""What network gives to the cloud: its routes, settings, quotas, port, driver, loops and first networks."""

from typing import TYPE_CHECKING

from nutshell.core.config import CloudConfig
from nutshell.network import (  # noqa: F401 - importing them declares their routes
    address_scopes,
    agents,
    availability,
    extensions,
    floatingips,
    networks,
    ports,
    rbacs,
    router_interfaces,
    routers,
    security_group_rules,
    security_groups,
    subnet_pools,
    subnets,
    tags,
    trunks,
)
from nutshell.network.capability import NetworkDriver
from nutshell.network.config import NetworkConfig
from nutshell.network.explanation import EXPLAINS
from nutshell.network.networking import Networks
from nutshell.network.port import Networking
from nutshell.network.push import Pushing
from nutshell.network.quotas import DEFAULTS
from nutshell.network.seed import seed
from nutshell.network.service import network as service
from nutshell.network.settle import loops

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

config = NetworkConfig
quotas = DEFAULTS


def wire(cloud: "Cloud") -> None:
    """Register the port and the driver: simulated in this process, or the host process's over its socket."""
    cloud.explainers |= EXPLAINS
    cloud.ports[Networking] = Networks(cloud)
    cloud.ports[Pushing] = Pushing()
    if NetworkDriver not in cloud.drivers:
        cloud.drivers[NetworkDriver] = _driver(cloud)


def _driver(cloud: "Cloud") -> NetworkDriver:
    settings = cloud.settings[CloudConfig]
    if settings.own_world:
        from nutshell.network.drivers.memory import MemoryNetwork

        return MemoryNetwork(settings.state / "world" if settings.state is not None else None)
    from nutshell.host.rpc import proxy

    assert settings.state is not None
    found: NetworkDriver = proxy(settings.state / "run" / "host.sock", "network", (NetworkDriver,))
    return found


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
