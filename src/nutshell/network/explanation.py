"""Why a port is in its state."""

from typing import Any

from nutshell.core.explain import Explained, Explains
from nutshell.core.service import Ask
from nutshell.network.networks import Network
from nutshell.network.ports import Port


def explain(ask: Ask[Any], port: Port) -> Explained:
    network = ask.tx.get(Network, port.network_id)
    served = port.device_owner.startswith("network:")
    because = [f"It is {port.status}."]
    if not port.admin_state_up:
        because.append("It is switched off: admin_state_up is false.")
    if network is not None and not network.admin_state_up:
        because.append("Its network is switched off.")
    if not port.binding_host_id and not served:
        because.append(
            f"It is bound to no host: {'its device has none yet' if port.device_id else 'no server has it'};"
            " it becomes ACTIVE when a server runs with it."
        )
    elif port.due_at is not None and port.due_at <= ask.now:
        because.append("The network driver has still to make it as it is wanted now.")
    elif port.due_at is not None:
        because.append(f"The network driver failed to make it; it is tried again in {port.due_at - ask.now:.1f} s.")
    elif port.status == "ACTIVE":
        because.append("The network driver has it as it is wanted.")
    facts = {
        "device_id": port.device_id or None,
        "device_owner": port.device_owner or None,
        "admin_state_up": port.admin_state_up,
        "bound": bool(port.binding_host_id),
        "due": port.due_at is not None,
        "network_id": port.network_id,
        "addresses": [f["ip_address"] for f in port.fixed_ips or () if "ip_address" in f],
    }
    return Explained(port.status, because, facts, "", {"host": port.binding_host_id or None})


EXPLAINS = {"port": Explains(Port, explain)}
