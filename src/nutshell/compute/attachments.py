"""Volumes of servers: attach and detach, live (Compute API, "Servers with volume attachments")."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device, Kind, Phase
from nutshell.compute.errors import VolumeNotAttached, WrongState
from nutshell.compute.servers.drives import free_devices, is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import add_operation, check_lock, check_state
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict, Fault, Forbidden, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import Span
from nutshell.volume.port import Volumes

RULE = "os_compute_api:os-volumes-attachments"
PATH = "/servers/{id}/os-volume_attachments"
STATES = ("active", "paused", "stopped", "resized", "shelved", "shelved_offloaded")
MOST = 24  # device names there are, the root disk's aside


class Attach(Body):
    volume_id: str = field(wire="volumeId")
    device: str | None = field(default=None, pattern=r"^/dev/x?[a-z]?d?[a-z]+[0-9]*$")
    tag: str | None = field(default=None, since="2.49")
    delete_on_termination: bool | str = field(default=False, since="2.79")


class AttachmentUpdate(Body):
    volume_id: str = field(wire="volumeId")
    device: str | None = field(default=None, since="2.85")
    tag: str | None = field(default=None, since="2.85")
    delete_on_termination: bool | str = field(default=False, since="2.85")
    server_id: str = field(default="", wire="serverId", since="2.85")
    id: str = field(default="", since="2.85")


def _view(ask: Ask[Any], d: Device) -> dict[str, Any]:
    at = ask.at
    found: dict[str, Any] = {} if at in Span.of("2.89", "") else {"id": d.target_id}
    found |= {"volumeId": d.target_id, "serverId": d.server_id, "device": f"/dev/{d.device}"}
    if at in Span.of("2.70", ""):
        found["tag"] = d.tag
    if at in Span.of("2.79", ""):
        found["delete_on_termination"] = d.delete_on_termination
    if at in Span.of("2.89", ""):
        found |= {"attachment_id": d.attachment_id, "bdm_uuid": d.id}
    return found


def need_attached(ask: Ask[Server]) -> Device:
    volume_id = ask.params["volume_id"]
    found = ask.tx.one(Device, server_id=ask.target.id, kind=Kind.VOLUME, target_id=volume_id)
    if found is None:
        raise VolumeNotAttached(server_id=ask.target.id, volume_id=volume_id)
    return found


@compute.route("GET", PATH, rule=f"{RULE}:index", noun=Server, loads=True)
def list_attachments(ask: Ask[Server]) -> Any:
    wire.only_query(ask, frozenset({"limit", "offset"}), "2.75")
    rows = ask.tx.find(Device, server_id=ask.target.id, kind=Kind.VOLUME, order="position, created_at")
    start = wire.whole("offset", ask.asked("offset") or 0)
    limit = wire.whole("limit", ask.asked("limit")) if ask.asked("limit") else 1000
    return {"volumeAttachments": [_view(ask, d) for d in rows[start : start + (limit or 1000)]]}


@compute.route("GET", PATH + "/{volume_id}", rule=f"{RULE}:show", noun=Server, loads=True)
def show_attachment(ask: Ask[Server]) -> Any:
    return {"volumeAttachment": _view(ask, need_attached(ask))}


def _attach(ask: Ask[Server]) -> Answer:
    s, g, tx = ask.target, ask.given, ask.tx
    check_lock(ask)
    if not is_uuid(g["volume_id"]):
        raise wire.invalid("volumeId", g["volume_id"], f"{g['volume_id']!r} is not a 'uuid'")
    if s.vm_state.startswith("shelved") and ask.at not in Span.of("2.20", ""):
        raise WrongState(action="attach_volume", id=s.id, attr="vm_state", state=s.vm_state)
    check_state(s, "attach_volume", STATES)
    devices = tx.find(Device, server_id=s.id, kind=Kind.VOLUME)
    if any(d.target_id == g["volume_id"] for d in devices):
        raise BadRequest(f"Invalid volume: volume {g['volume_id']} is already attached to instance {s.id}.")
    taken = {d.device for d in devices} | {"vda", *s.local.get("devices", {}).values()}
    if len(taken) > MOST:
        raise Forbidden("The maximum allowed number of disk devices is exceeded.")
    asked = (g.get("device") or "").removeprefix("/dev/")
    if asked in taken:
        raise Conflict(f"The supplied device path (/dev/{asked}) is in use.")
    held, facts = _reserve(ask, g["volume_id"])
    op = add_operation(tx, s, "attach_volume", ask.new_id(), ask.cloud.settings[ComputeConfig].operation_timeout_s)
    row = tx.add(
        Device(
            id=ask.new_id(),
            server_id=s.id,
            kind=Kind.VOLUME,
            target_id=facts.volume_id,
            attachment_id=held.attachment_id,
            device=asked or next(free_devices(taken)),
            delete_on_termination=wire.truth("delete_on_termination", g.get("delete_on_termination", False)),
            shareable=facts.multiattach,
            tag=wire.check_tag(g["tag"]) if g.get("tag") else None,
            position=1 + max((d.position for d in devices), default=0),
            operation_id=op.id,
            request_id=ask.request_id,
            due_at=ask.now,
        )
    )
    if ask.route.http == 202:
        return Answer(202)
    return Answer(200, {"volumeAttachment": _view(ask, row)})


def _reserve(ask: Ask[Server], volume_id: str) -> tuple[Any, Any]:
    """The volume's attachment, and what is known of it. 404, or 400 when it cannot be attached."""
    store = ask.cloud.ports.get(Volumes)
    if store is None:
        raise NotFound(kind="Volume", id=volume_id)
    facts = store.need(ask.tx, ask.who, volume_id)
    try:
        return store.reserve(ask.tx, volume_id, ask.target.id, allow_multiattach=ask.at in Span.of("2.60", "")), facts
    except (Conflict, BadRequest) as why:
        raise BadRequest(f"Invalid volume: {why}") from None


compute.route("POST", PATH, rule=f"{RULE}:create", noun=Server, loads=True, body=Attach, wrap="volumeAttachment",
              until="2.100")(_attach)  # fmt: skip
compute.route("POST", PATH, rule=f"{RULE}:create", noun=Server, loads=True, body=Attach, wrap="volumeAttachment",
              since="2.101", http=202)(_attach)  # fmt: skip


@compute.route(
    "PUT", PATH + "/{volume_id}", rule=f"{RULE}:update", noun=Server, loads=True, body=AttachmentUpdate,
    wrap="volumeAttachment", http=202,
)  # fmt: skip
def update_attachment(ask: Ask[Server]) -> None:
    """Whether the volume dies with the server. Exchanging the volume itself is the volume service's own affair."""
    g = ask.given
    if not is_uuid(g["volume_id"]):
        raise wire.invalid("volumeId", g["volume_id"], f"{g['volume_id']!r} is not a 'uuid'")
    old_version = ask.at not in Span.of("2.85", "")
    if g["volume_id"] != ask.params["volume_id"] or old_version:
        ask.must(f"{RULE}:swap", ask.target.policy_target())
    d = need_attached(ask)
    for wire_name, given, now in (
        ("id", g.get("id"), d.target_id),
        ("serverId", g.get("server_id"), d.server_id),
        ("device", g.get("device"), f"/dev/{d.device}"),
        ("tag", g.get("tag"), d.tag),
    ):
        if given and given != now:
            raise BadRequest(f"The {wire_name} property is not mutable")
    if g["volume_id"] != d.target_id or old_version:
        raise Conflict(f"volume {d.target_id} is not migrating; this API should only be called by Cinder")
    if "delete_on_termination" in g:
        ask.tx.put(d, delete_on_termination=wire.truth("delete_on_termination", g["delete_on_termination"]))


@compute.route("DELETE", PATH + "/{volume_id}", rule=f"{RULE}:delete", noun=Server, loads=True, http=202)
def detach(ask: Ask[Server]) -> None:
    s = ask.target
    if s.vm_state.startswith("shelved") and ask.at not in Span.of("2.20", ""):
        raise WrongState(action="detach_volume", id=s.id, attr="vm_state", state=s.vm_state)
    d = need_attached(ask)
    check_lock(ask)
    if d.boot_index == 0 and not s.vm_state == "shelved_offloaded":
        raise Forbidden("Cannot detach a root device volume")
    check_state(s, "detach_volume", STATES)
    if d.phase is not Phase.ATTACHED:
        raise BadRequest(f"Invalid volume: volume {d.target_id} is {d.phase}.")
    store = ask.cloud.ports.get(Volumes)
    if store is not None:
        try:
            store.detaching(ask.tx, d.attachment_id)
        except Fault as why:
            raise BadRequest(f"Invalid volume: {why}") from None
    op = add_operation(ask.tx, s, "detach_volume", ask.new_id(), ask.cloud.settings[ComputeConfig].operation_timeout_s)
    ask.tx.put(d, phase=Phase.DETACHING, operation_id=op.id, request_id=ask.request_id, due_at=ask.now)
