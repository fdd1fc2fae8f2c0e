"""Nodes: the hosts guests run on, as the hypervisor driver reports them.

Each is a compute service ("nova-compute" in os-services), a hypervisor and a resource provider. A loop keeps them.
"""

import uuid
from typing import TYPE_CHECKING

from nutshell.compute.capability import HostFacts, Hypervisor
from nutshell.core.drivers import DriverFault
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.placement.port import Inventory, Placement

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

SPACE = uuid.UUID("7a6f0a5e-6f0c-5f6c-9a38-4a54f1d3a5b1")  # of ids made from host names: stable over restarts
PATIENCE_S = 60.0  # a host unheard of for so long is down
DEFAULT_ZONE = "nova"


class Node(Resource, service="compute", one="node", many="nodes", unique=(("name",),)):
    """One host. `id` is its hypervisor's and resource provider's, `service_id` its compute service's."""

    number: int = field(default=0)  # the integer id of old API versions
    service_id: str = field(default="")
    name: str = field()
    host_facts: HostFacts | None = field(default=None)
    up: bool = field(default=True)
    heard_at: float = field(default=0.0)
    enabled: bool = field(default=True)
    disabled_reason: str | None = field(default=None)
    forced_down: bool = field(default=False)
    zone: str = field(default=DEFAULT_ZONE)


def node_id(host: str) -> str:
    return str(uuid.uuid5(SPACE, f"node:{host}"))


def is_up(node: Node) -> bool:
    return node.up and not node.forced_down


def inventories(facts: HostFacts) -> dict[str, Inventory]:
    """What a host offers to placement; processors are shared four to one, as nova's default has it."""
    return {
        "VCPU": Inventory(total=facts.vcpus, max_unit=facts.vcpus, allocation_ratio=4.0),
        "MEMORY_MB": Inventory(total=facts.ram_mib, reserved=min(512, facts.ram_mib // 8), max_unit=facts.ram_mib),
        "DISK_GB": Inventory(total=facts.disk_gib, max_unit=max(1, facts.disk_gib)),
    }


def keep_nodes(cloud: "Cloud") -> float | None:
    """Make the nodes and their resource providers what the driver says there is."""
    try:
        hosts = {h.name: h for h in cloud.driver(Hypervisor).hosts()}
    except DriverFault:
        hosts = {}
    known = {n.name: n for n in cloud.read(lambda tx: tx.find(Node))}
    now = cloud.clock.now()
    changed = [
        h for h in hosts.values() if h.name not in known or known[h.name].host_facts != h or not known[h.name].up
    ]
    stale = [n for n in known.values() if n.name in hosts and now - n.heard_at > PATIENCE_S / 4]
    silent = [n for n in known.values() if n.name not in hosts and n.up and now - n.heard_at > PATIENCE_S / 4]
    if changed or stale or silent:
        cloud.write(lambda tx: _record(cloud, tx, changed, [n.name for n in stale], [n.name for n in silent]))
    return 10.0


def _record(cloud: "Cloud", tx: Tx, changed: list[HostFacts], heard: list[str], silent: list[str]) -> None:
    for facts in changed:
        _upsert(tx, facts)
        if Placement in cloud.ports:
            traits = frozenset({*facts.traits, "COMPUTE_NODE"})
            cloud.port(Placement).ensure_provider(tx, node_id(facts.name), facts.name, inventories(facts), traits)
    for node in tx.find(Node, name=heard):
        tx.put(node, quiet=True, heard_at=tx.now)
    for node in tx.find(Node, name=silent):
        tx.put(node, up=False)


def _upsert(tx: Tx, facts: HostFacts) -> None:
    node = tx.one(Node, name=facts.name)
    if node is not None:
        tx.put(node, host_facts=facts, up=True, heard_at=tx.now)
        return
    newest = tx.sql(f"SELECT max(number) FROM {Node.table.name}").fetchone()[0] or 0
    made = node_id(facts.name)
    service_id = str(uuid.uuid5(SPACE, f"service:{facts.name}"))
    tx.add(Node(id=made, number=newest + 1, service_id=service_id, name=facts.name, host_facts=facts, heard_at=tx.now))
