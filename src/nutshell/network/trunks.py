"""Trunks: ports whose guests speak with several networks, each of the others by a VLAN of its own (Networking API v2.0,
"Trunk networking")."""

from collections.abc import Mapping, Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest
from nutshell.core.render import OMIT, Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.bodies import Given, allow, create_each, create_target, read_changes, revision_matches, take
from nutshell.network.networks import Network
from nutshell.network.ports import Port, touch_world, withdraw
from nutshell.network.rowfacts import standard, uuid_of
from nutshell.network.service import MEMBER, READER, network, reads
from nutshell.network.sight import seen

SUBPORT = "trunk:subport"
VLANS = range(1, 4095)
SET = ("device_id", "device_owner", "binding_host_id")  # by the trunk, of its subports


class Trunk(
    Resource, service="network", one="trunk", many="trunks", visible="get_trunk", unique=(("port_id",),)
):  # fmt: skip
    name: str = field(default="", write="create update", max_length=255)
    project_id: str = field(default="", write="create", max_length=255, index=True)
    description: str = field(default="", write="create update", max_length=255)
    admin_state_up: bool = field(default=True, write="create update")
    port_id: str = field(write="create")
    sub_ports: list[dict[str, Any]] | None = field(factory=list, write="create")
    tags: list[str] = field(factory=list)


standard(Trunk)
network.policy(
    {
        "create_trunk": MEMBER,
        "get_trunk": READER,
        "update_trunk": MEMBER,
        "delete_trunk": MEMBER,
        "get_subports": READER,
        "add_subports": MEMBER,
        "remove_subports": MEMBER,
    }
)
reads(Trunk)


@Trunk.preloads
def related(tx: Tx, rows: Sequence[Trunk]) -> dict[str, Port]:
    return {p.id: p for p in tx.find(Port, id=sorted({i for t in rows for i in (t.port_id, *_ids(t))}))}


@Trunk.shows("status")
def status(row: Trunk, ctx: Context) -> str:
    """ACTIVE when every one of its ports is; DOWN while the parent is on no host."""
    parent: Port | None = ctx.rel.get(row.port_id)
    if parent is None or not parent.binding_host_id or not parent.admin_state_up:
        return "DOWN"
    ports = [parent, *(ctx.rel[i] for i in _ids(row) if i in ctx.rel)]
    return "ACTIVE" if all(p.status == "ACTIVE" or not p.admin_state_up for p in ports) else "BUILD"


@Port.preloads
def trunks_of(tx: Tx, rows: Sequence[Port]) -> dict[str, dict[str, Any]]:
    """Parent → what is shown of its trunk. Most pages have none, and cost nothing."""
    found = tx.find(Trunk, port_id=[p.id for p in rows if p.trunk_id and not p.carrier])
    subports = tx.find(Port, id=sorted({i for t in found for i in _ids(t)}))
    macs = {p.id: p.mac_address for p in subports}
    return {t.port_id: {"trunk_id": t.id, "sub_ports": [s | {"mac_address": macs.get(s["port_id"], "")}
                                                        for s in t.sub_ports or ()]} for t in found}  # fmt: skip


@Port.shows("trunk_details")
def trunk_details(row: Port, ctx: Context) -> Any:
    return ctx.rel.get(row.id, OMIT)


def _ids(row: Trunk) -> list[str]:
    return [s["port_id"] for s in row.sub_ports or ()]


# -- verbs
@network.verb(Trunk, "create", rule="create_trunk", body=None)
def create(ask: Ask[Any]) -> Any:
    return create_each(ask, Trunk, _create)


def _create(ask: Ask[Any], given: Given) -> Trunk:
    allow(ask, "create_trunk", given, create_target(given), Trunk)
    wanted = read_subports(given.pop("sub_ports", None) or [])
    parent = _port(ask, uuid_of("port_id", given["port_id"]))
    if parent.carrier:
        raise errors.TrunkPortInUse(id=parent.id)
    if parent.trunk_id:
        raise errors.ParentPortInUse(id=parent.id)
    take(ask, given["project_id"], "trunk")
    row = ask.tx.add(Trunk(id=ask.new_id(), **given))
    parent = ask.tx.put(parent, trunk_id=row.id)
    return _carry(ask, row, parent, wanted) if wanted else row


@network.verb(Trunk, "update", rule="update_trunk", body=None)
def update(ask: Ask[Trunk]) -> Trunk:
    revision_matches(ask, ask.target)
    given = read_changes(ask, Trunk)
    allow(ask, "update_trunk", given, {**ask.target.policy_target(), **given}, Trunk)
    return ask.tx.put(ask.target, **given)


@network.verb(Trunk, "delete", rule="delete_trunk")
def delete(ask: Ask[Trunk]) -> None:
    revision_matches(ask, ask.target)
    _must_be_up(ask.target)
    dissolve(ask.cloud, ask.tx, ask.target)


@network.verb(Trunk, "get_subports", rule="get_subports", method="GET", path="/{id}/get_subports")
def show_subports(ask: Ask[Trunk]) -> dict[str, Any]:
    return {"sub_ports": ask.target.sub_ports}


@network.verb(Trunk, "add_subports", rule="add_subports", method="PUT", path="/{id}/add_subports")
def add(ask: Ask[Trunk]) -> dict[str, Any]:
    wanted = read_subports(_asked(ask))
    parent = ask.tx.need(Port, ask.target.port_id)
    _must_be_up(ask.target)
    return render_rows(ask, Trunk, [_carry(ask, ask.target, parent, wanted)], "detail")[0]


@network.verb(Trunk, "remove_subports", rule="remove_subports", method="PUT", path="/{id}/remove_subports")
def remove(ask: Ask[Trunk]) -> dict[str, Any]:
    row, wanted = ask.target, [s["port_id"] for s in read_subports(_asked(ask))]
    _must_be_up(row)
    for port_id in wanted:
        if port_id not in _ids(row):
            raise errors.SubPortNotFound(id=port_id, trunk_id=row.id)
    row = ask.tx.put(row, sub_ports=[s for s in row.sub_ports or () if s["port_id"] not in wanted])
    for port in ask.tx.find(Port, id=wanted):
        _release(ask.tx, port)
    return render_rows(ask, Trunk, [row], "detail")[0]


def _asked(ask: Ask[Any]) -> Any:
    if not isinstance(ask.body, dict) or "sub_ports" not in ask.body:
        raise BadRequest("Unable to find 'sub_ports' in request body")
    return ask.body["sub_ports"]


def _must_be_up(row: Trunk) -> None:
    if not row.admin_state_up:
        raise errors.TrunkDisabled(id=row.id)


# -- what a body may say
def read_subports(said: Any) -> list[dict[str, Any]]:
    """The subports of a body, as far as they can be judged by themselves. 400."""
    if not isinstance(said, list):
        raise errors.InvalidInput(f"Invalid data format for subports: '{said}' is not a list")
    found: list[dict[str, Any]] = []
    for one in said:
        if not isinstance(one, dict) or set(one) - {"port_id", "segmentation_type", "segmentation_id"}:
            raise errors.InvalidInput(f"Invalid data format for subport: '{one}'")
        port_id = uuid_of("port_id", one.get("port_id"))
        kind, number = one.get("segmentation_type"), one.get("segmentation_id")
        if any(port_id == f["port_id"] for f in found):
            raise errors.InvalidInput(f"Non unique UUID for subport: '{port_id}'")
        if kind != "inherit" and len(one) > 1 and (kind is None or number is None):
            raise errors.InvalidInput(f"Invalid subport details '{one}': missing segmentation information")
        if number is not None and any((kind, number) == (f["segmentation_type"], f["segmentation_id"]) for f in found):
            raise errors.InvalidInput(f"Segmentation ID {number} is asked for twice")
        found.append({"port_id": port_id, "segmentation_type": kind, "segmentation_id": number})
    return found


def _vlan(subport: Mapping[str, Any]) -> int:
    """The VLAN that a subport is to have. 400."""
    kind, number = subport["segmentation_type"], subport["segmentation_id"]
    if kind == "inherit":  # the network's own, and there are no others
        kind = "vxlan"
    if kind is None:
        raise errors.InvalidInput("Must specify both segmentation_id and segmentation_type of a subport")
    if kind != "vlan":
        raise errors.InvalidInput(f"Unknown segmentation_type '{kind}'")
    text = str(number)
    if isinstance(number, bool) or not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise errors.InvalidInput(f"Invalid subport details: segmentation_id '{number}' is not an integer")
    if int(text) not in VLANS:
        raise errors.InvalidInput(f"Segmentation ID '{number}' is not in range")
    return int(text)


# -- the ports
def _port(ask: Ask[Any], port_id: str) -> Port:
    """A port that the caller may change. 404, 403."""
    found = seen(ask.cloud, ask.tx, ask.who, Port, "id", port_id)
    if not found:
        raise errors.PortNotFound(id=port_id)
    ask.must("update_port", found[0].policy_target())
    return found[0]


def _carry(ask: Ask[Any], row: Trunk, parent: Port, wanted: Sequence[Mapping[str, Any]]) -> Trunk:
    """The trunk with these subports too, all checked before any is taken."""
    held = list(row.sub_ports or ())
    room = ask.tx.need(Network, parent.network_id).mtu
    taken: list[tuple[Port, int]] = []
    for one in wanted:
        vlan = _vlan(one)
        port = _port(ask, one["port_id"])
        if port.id == parent.id:
            raise errors.ParentPortInUse(id=port.id)
        if (mtu := ask.tx.need(Network, port.network_id).mtu) > room:
            raise errors.SubPortMtuGreaterThanTrunkPortMtu(id=port.id, mtu=mtu, trunk_id=row.id, trunk_mtu=room)
        if port.carrier:
            raise errors.TrunkPortInUse(id=port.id)
        if port.trunk_id:
            raise errors.ParentPortInUse(id=port.id)
        if port.device_id:
            raise errors.PortInUse(id=port.id, network_id=port.network_id, device_id=port.device_id)
        if any(s["segmentation_id"] == vlan for s in held):
            raise errors.DuplicateSubPort(kind="vlan", number=vlan, trunk_id=row.id)
        held.append({"port_id": port.id, "segmentation_type": "vlan", "segmentation_id": vlan})
        taken.append((port, vlan))
    for port, vlan in taken:
        carrier = {"port_id": parent.id, "vlan": vlan}
        port = ask.tx.put(port, trunk_id=row.id, carrier=carrier, device_id=row.id, device_owner=SUBPORT)
        _go_with(ask.tx, parent, port)
    return ask.tx.put(row, sub_ports=held)


def _go_with(tx: Tx, parent: Port, port: Port) -> None:
    """A subport is where its parent is."""
    if port.binding_host_id == parent.binding_host_id:
        return
    port = tx.put(port, binding_host_id=parent.binding_host_id or "", status="DOWN")
    if port.binding_host_id:
        touch_world(tx, port)
    else:
        withdraw(tx, port)


def follow(tx: Tx, parent: Port) -> None:
    """The parent of a trunk was bound or unbound: its subports go along."""
    row = tx.get(Trunk, parent.trunk_id) if parent.trunk_id and not parent.carrier else None
    if row is not None:
        for port in tx.find(Port, id=_ids(row)):
            _go_with(tx, parent, port)


def _release(tx: Tx, port: Port) -> None:
    bound = bool(port.binding_host_id)
    port = tx.put(port, trunk_id=None, carrier=None, device_id="", device_owner="", binding_host_id="")
    if bound:
        withdraw(tx, port)


def dissolve(cloud: Cloud, tx: Tx, row: Trunk) -> None:
    """The trunk goes, its ports stay."""
    for port in tx.find(Port, id=_ids(row)):
        _release(tx, port)
    parent = tx.get(Port, row.port_id)
    if parent is not None:
        tx.put(parent, trunk_id=None)
    tx.drop(row)
    cloud.quotas.give_back(tx, row.project_id, {"network.trunk": 1})


def leave(cloud: Cloud, tx: Tx, port: Port) -> Port:
    """A port goes for good, whoever removes it: out of its trunk, or its trunk with it."""
    row = tx.get(Trunk, port.trunk_id) if port.trunk_id else None
    if row is None:
        return port
    if not port.carrier:
        dissolve(cloud, tx, row)
    else:
        tx.put(row, sub_ports=[s for s in row.sub_ports or () if s["port_id"] != port.id])
    return tx.need(Port, port.id)


def refuse_removal(port: Port) -> None:
    """409 for a port that a trunk is made of."""
    if port.carrier:
        raise errors.PortInUseAsSubPort(id=port.id, trunk_id=port.trunk_id)
    if port.trunk_id:
        raise errors.PortInUseAsTrunkParent(id=port.id, trunk_id=port.trunk_id)


def refuse_change(port: Port, given: Given) -> None:
    """409 for what a trunk has set of its subport."""
    if port.carrier and any(given.get(n, getattr(port, n)) != getattr(port, n) for n in SET):
        raise errors.PortInUseAsSubPort(id=port.id, trunk_id=port.trunk_id)
