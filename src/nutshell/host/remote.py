"""The drivers that the host process of this cloud serves, as the API process calls them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nutshell.cli.places import Places
from nutshell.core.config import CloudConfig
from nutshell.core.events import current_request
from nutshell.host.rpc import Client

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


def remote(cloud: "Cloud", driver: str, capabilities: Sequence[type]) -> Any:
    """ "hypervisor", "network" or "volume": an object with exactly those capabilities that the host has.

    Calls carry the present request's id. Blocks until the host answers; DriverFault after ten seconds.
    """
    state = cloud.settings[CloudConfig].state
    if state is None:
        raise ValueError("a cloud with real drivers needs a state directory")
    client = Client(Places(state).host_socket, request_id=lambda: current_request().id)
    return client.proxy(driver, capabilities)
