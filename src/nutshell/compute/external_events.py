"""What other services tell of a server: its network changed, a volume of it grew.

Source: Compute API, "Create external events". Rows are always current here, so most events need nothing more than an
answer; a grown volume is told to the guest.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from nutshell.compute.devices import Device, Kind, Phase
from nutshell.compute.nodes import Node
from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest
from nutshell.core.operations import Operation
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.core.versions import Span

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

NAMES = {
    "network-changed": Span(),
    "network-vif-plugged": Span(),
    "network-vif-unplugged": Span(),
    "network-vif-deleted": Span(),
    "volume-extended": Span.of("2.51", ""),
    "power-update": Span.of("2.76", ""),
    "accelerator-request-bound": Span.of("2.82", ""),
    "volume-reimaged": Span.of("2.93", ""),
}
NEED_A_TAG = ("volume-extended", "power-update", "accelerator-request-bound", "volume-reimaged")


class Told(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    server_uuid: str
    status: Literal["completed", "failed", "in-progress"] = "completed"
    tag: str | None = None


class Events(Body):
    events: list[Told] = field(min_length=1)


@compute.route("POST", "/os-server-external-events", rule="os_compute_api:os-server-external-events:create",
               body=Events, wrap="")  # fmt: skip
def create(ask: Ask[Any]) -> Answer:
    """200 when every event was taken, 207 otherwise; each says for itself."""
    told: list[Told] = ask.given["events"]
    for e in told:
        if e.name not in NAMES or ask.at not in NAMES[e.name]:
            raise BadRequest(f"Invalid input for field/attribute name. Value: {e.name}. It is not a known event")
        if not is_uuid(e.server_uuid):
            raise BadRequest(f"Invalid input for field/attribute server_uuid. Value: {e.server_uuid}. is not a 'uuid'")
    servers = {s.id: s for s in ask.tx.find(Server, id=sorted({e.server_uuid for e in told}))}
    shown, http = [], 200
    for e in told:
        code = _take(ask, e, servers.get(e.server_uuid))
        http = http if code == 200 else 207
        status = e.status if code == 200 else "failed"
        one = {"name": e.name, "server_uuid": e.server_uuid, "status": status, "code": code}
        shown.append(one | ({"tag": e.tag} if e.tag is not None else {}))
    return Answer(http, {"events": shown})


def _take(ask: Ask[Any], e: Told, server: Server | None) -> int:
    if server is None:
        return 404
    if e.name in NEED_A_TAG and e.tag is None:
        return 400
    if not server.host:
        return 422
    facts = {"event": e.name, "status": e.status, "tag": e.tag}
    ask.tx.tell(server, "external-event", facts)
    if e.name == "volume-extended":
        ServerOffers(ask.cloud).extended(ask.tx, server, str(e.tag))
    return 200


class ServerOffers:
    """Implements `Servers` (port.py)."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud

    def host_names(self, tx: Tx) -> Sequence[str]:
        return [name for (name,) in tx.sql(f"SELECT name FROM {Node.table.name}").fetchall()]

    def volume_extended(self, tx: Tx, volume_id: str) -> None:
        for d in tx.find(Device, kind=Kind.VOLUME, target_id=volume_id):
            server = tx.get(Server, d.server_id)
            if server is not None:
                self.extended(tx, server, volume_id)

    def extended(self, tx: Tx, server: Server, volume_id: str) -> None:
        """The loop tells the guest; the action is over at once, for the drive has grown already."""
        for d in tx.find(Device, server_id=server.id, kind=Kind.VOLUME, target_id=volume_id):
            if d.phase is Phase.ATTACHED:
                tx.put(d, due_at=tx.now)
                action = Operation(
                    id=self._cloud.clock.new_id(),
                    kind="extend_volume",
                    resource_kind=server.event_kind,
                    resource_id=server.id,
                    project_id=server.project_id,
                    user_id=tx.request.user_id or server.user_id,
                    request_id=tx.request.id,
                    finished_at=tx.now,
                )
                tx.add(action, quiet=True)
