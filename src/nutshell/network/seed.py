"""What a new cloud has: an external network, and for the demo project a network behind a router.

Made once; what an administrator deletes afterwards stays deleted.
"""

from ipaddress import IPv4Network, ip_network
from pathlib import Path

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.policy import Who
from nutshell.core.resource import METADATA
from nutshell.core.store import Tx
from nutshell.identity.port import Identity
from nutshell.network.bodies import take_in
from nutshell.network.config import NetworkConfig
from nutshell.network.dhcp import serve_dhcp
from nutshell.network.networks import Network, next_segment
from nutshell.network.ports import add_port
from nutshell.network.rbacs import EXTERNAL, RbacPolicy
from nutshell.network.routers import GATEWAY, INTERFACE, Router
from nutshell.network.subnet_plan import default_gateway, default_pools
from nutshell.network.subnets import Subnet

SEEDED = sa.Table("network_seeded", METADATA, sa.Column("name", sa.Text, primary_key=True))
PRIVATE_CIDR = "10.0.0.0/24"
FIRST, LAST = 10, 250  # of the public subnet's addresses, what the cloud gives out


def seed(cloud: Cloud, tx: Tx) -> None:
    """The first networks, in a cloud that never had them."""
    if tx.sql("SELECT 1 FROM network_seeded WHERE name = 'networks'").fetchone():
        return
    tx.sql("INSERT INTO network_seeded (name) VALUES ('networks')")
    identity = cloud.port(Identity)
    public = _public(cloud, tx, identity.find_project(tx, "admin") or "")
    demo = identity.find_project(tx, "demo")
    if demo:
        _private(cloud, tx, demo, public)


def _add_network(cloud: Cloud, tx: Tx, project_id: str, name: str, external: bool) -> Network:
    take_in(cloud, tx, project_id, "network")
    take_in(cloud, tx, project_id, "subnet")
    return tx.add(
        Network(
            id=cloud.clock.new_id(),
            name=name,
            project_id=project_id,
            external=external,
            is_default=external,
            mtu=cloud.settings[NetworkConfig].mtu(external),
            segment=next_segment(tx),
            due_at=tx.now,
        )
    )


def _public(cloud: Cloud, tx: Tx, project_id: str) -> Network:
    row = _add_network(cloud, tx, project_id, "public", True)
    tx.add(
        RbacPolicy(
            id=cloud.clock.new_id(),
            project_id=project_id,
            object_type="network",
            object_id=row.id,
            action=EXTERNAL,
            target_tenant="*",
        )
    )
    config = cloud.settings[NetworkConfig]
    cidr = config.public_cidr or free_prefix(_routes(cloud))
    pools = default_pools(cidr, default_gateway(cidr))
    found = ip_network(cidr)
    if found.version == 4 and found.prefixlen == 24:
        pools = [{"start": str(found[FIRST]), "end": str(found[LAST])}]
    tx.add(
        Subnet(
            id=cloud.clock.new_id(),
            name="public-subnet",
            project_id=project_id,
            network_id=row.id,
            network_project_id=project_id,
            ip_version=4 if found.version == 4 else 6,
            cidr=cidr,
            gateway_ip=default_gateway(cidr),
            enable_dhcp=False,
            allocation_pools=pools,
        )
    )
    return row


def _private(cloud: Cloud, tx: Tx, project_id: str, public: Network) -> None:
    row = _add_network(cloud, tx, project_id, "private", False)
    gateway = default_gateway(PRIVATE_CIDR)
    subnet = tx.add(
        Subnet(
            id=cloud.clock.new_id(),
            name="private-subnet",
            project_id=project_id,
            network_id=row.id,
            network_project_id=project_id,
            cidr=PRIVATE_CIDR,
            gateway_ip=gateway,
            allocation_pools=default_pools(PRIVATE_CIDR, gateway),
        )
    )
    serve_dhcp(cloud, tx, row)
    take_in(cloud, tx, project_id, "router")
    router_id = cloud.clock.new_id()
    outside = add_port(
        cloud,
        tx,
        Who(),
        public,
        {"project_id": "", "network_id": public.id, "device_owner": GATEWAY, "device_id": router_id},
    )
    tx.add(
        Router(
            id=router_id,
            name="router1",
            project_id=project_id,
            gateway_network_id=public.id,
            gateway_port_id=outside.id,
            due_at=tx.now,
        )
    )
    leg = {
        "project_id": project_id,
        "network_id": row.id,
        "device_owner": INTERFACE,
        "device_id": router_id,
        "fixed_ips": [{"subnet_id": subnet.id, "ip_address": gateway}],
    }
    add_port(cloud, tx, Who(), row, leg)


def _routes(cloud: Cloud) -> list[IPv4Network]:
    """This machine's IPv4 routes (proc(5), /proc/net/route); none for a simulated cloud, which touches nothing."""
    table = Path("/proc/net/route")
    if cloud.settings[CloudConfig].simulate or not table.exists():
        return []
    found = []
    for line in table.read_text().splitlines()[1:]:
        columns = line.split()
        address, mask = (int.from_bytes(bytes.fromhex(columns[i]), "little") for i in (1, 7))
        if mask:
            found.append(IPv4Network((address & mask, mask.bit_count())))
    return found


def free_prefix(taken: list[IPv4Network]) -> str:
    """The first of 172.24.4.0/24, 172.24.5.0/24, … that no route of this machine touches."""
    for n in range(4, 256):
        found = IPv4Network(f"172.24.{n}.0/24")
        if not any(found.overlaps(t) for t in taken):
            return str(found)
    raise ValueError("no free prefix in 172.24.0.0/16: set [network] public_cidr")
