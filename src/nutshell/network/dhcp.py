"""A network's own DHCP port: it holds the addresses its DHCP, DNS and metadata servers listen on."""

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.networks import Network
from nutshell.network.port_addresses import Seat, reallocate
from nutshell.network.ports import Port, add_port, drop_port
from nutshell.network.subnets import Subnet

OWNER = "network:dhcp"


def serve_dhcp(cloud: Cloud, tx: Tx, parent: Network) -> None:
    """Bring the DHCP port in line with the subnets: one address on each that has DHCP; no port when none has."""
    subnets = tx.find(Subnet, network_id=parent.id, enable_dhcp=True, order="created_at, id")
    port = tx.one(Port, network_id=parent.id, device_owner=OWNER)
    if not subnets or parent.dhcp_agent == "off":
        if port is not None:
            drop_port(cloud, tx, port)
        return
    wanted = [{"subnet_id": s.id} for s in subnets]
    if port is None:
        given = {
            "network_id": parent.id,
            "project_id": parent.project_id,
            "device_owner": OWNER,
            "device_id": f"dhcp-{parent.id}",
            "fixed_ips": wanted,
        }
        try:
            add_port(cloud, tx, Who(), parent, given)
        except errors.IpAddressGenerationFailure:
            return  # no address is left for it: the network has no DHCP, as with a pool of none
        return
    held = port.fixed_ips or []
    if {f["subnet_id"] for f in held} == {s.id for s in subnets}:
        return
    seat = Seat(port.id, parent.id, port.mac_address, OWNER)
    gone = [f for f in held if f["subnet_id"] not in {s.id for s in subnets}]
    fixed = reallocate(tx, seat, [f for f in held if f not in gone], wanted)
    tx.put(port, fixed_ips=fixed)
    from nutshell.network.addresses import release

    release(tx, port.id, [f["ip_address"] for f in gone])
