"""Adding and removing a server's fixed addresses, until 2.43 (Compute API, "Add (Associate) Fixed Ip").

Since then the port is changed with the network service, which these ask on behalf of the same caller.
"""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.network_proxy import LAST_ACTION, network
from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import check_lock
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.network.port import Networking, PortInfo

RULE = "os_compute_api:os-multinic:"


def _ports(ask: Ask[Server]) -> list[PortInfo]:
    return list(ask.cloud.port(Networking).ports_of(ask.tx, [ask.target.id]).get(ask.target.id, ()))


def _change(ask: Ask[Server], port_id: str, fixed_ips: list[dict[str, Any]]) -> None:
    try:
        network(ask, "PUT", f"/ports/{port_id}", {"port": {"fixed_ips": fixed_ips}})
    except Conflict as why:
        raise BadRequest(str(why)) from None


class AddFixedIp(Body):
    network_id: str | int = field(wire="networkId")


@compute.action(Server, "addFixedIp", rule=RULE + "add", body=AddFixedIp, until=LAST_ACTION)
def add_fixed_ip(ask: Ask[Server]) -> None:
    """One more address on the server's first port on that network."""
    check_lock(ask)
    wanted = str(ask.given["network_id"])
    port = next((p for p in _ports(ask) if p.network_id == wanted), None)
    if not is_uuid(wanted) or port is None:
        raise BadRequest(f"Instance {ask.target.id} has no port on network {wanted}.")
    held = network(ask, "GET", f"/ports/{port.port_id}")["port"]["fixed_ips"]
    subnets = network(ask, "GET", "/subnets", network_id=wanted)["subnets"]
    if not subnets:
        raise BadRequest(f"Network {wanted} has no subnet.")
    _change(ask, port.port_id, [*held, {"subnet_id": subnets[0]["id"]}])


class RemoveFixedIp(Body):
    address: str = field()


@compute.action(Server, "removeFixedIp", rule=RULE + "remove", body=RemoveFixedIp, until=LAST_ACTION)
def remove_fixed_ip(ask: Ask[Server]) -> None:
    check_lock(ask)
    address = ask.given["address"]
    port = next((p for p in _ports(ask) if any(a.ip == address for a in p.addresses)), None)
    if port is None:
        raise wire.invalid("address", address, f"Fixed IP {address} is not one of instance {ask.target.id}.")
    held = network(ask, "GET", f"/ports/{port.port_id}")["port"]["fixed_ips"]
    _change(ask, port.port_id, [h for h in held if h["ip_address"] != address])
