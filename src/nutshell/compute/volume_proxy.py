"""Volumes and snapshots as compute once had them, before 2.36 (Compute API reference, "Volume extension").

The volume service has them; each route asks it on behalf of the same caller, whose rules and quotas hold.
"""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.service import compute
from nutshell.core.listing import page_limit
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.within import within

LAST = "2.35"
RULE = "os_compute_api:os-volumes:"
READ, WRITE = "rule:project_reader_or_admin", "rule:project_member_or_admin"
compute.policy({RULE + v: READ for v in ("list", "detail", "show")})
compute.policy({RULE + v: WRITE for v in ("create", "delete")})
compute.policy({RULE + "snapshots:" + v: READ for v in ("list", "detail", "show")})
compute.policy({RULE + "snapshots:" + v: WRITE for v in ("create", "delete")})
Row = dict[str, Any]


def volume(ask: Ask[Any], method: str, path: str, body: Any = None) -> Any:
    """The body of the volume service's answer."""
    return within(ask, "volume", method, "/v3" + path, body).body


def _as_volume(v: Row) -> Row:
    holders = v.get("attachments") or []
    attached = [
        {"id": v["id"], "volumeId": v["id"], "serverId": a["server_id"]}
        | ({"device": a["device"]} if a.get("device") else {})
        for a in holders[:1]
    ]
    return {
        "id": v["id"],
        "status": v["status"],
        "size": v["size"],
        "availabilityZone": v["availability_zone"],
        "createdAt": v["created_at"],
        "attachments": attached or [{}],
        "displayName": v["name"],
        "displayDescription": v["description"],
        "volumeType": v["volume_type"],
        "snapshotId": v["snapshot_id"],
        "metadata": v["metadata"],
    }


def _as_snapshot(s: Row) -> Row:
    return {
        "id": s["id"],
        "volumeId": s["volume_id"],
        "status": s["status"],
        "size": s["size"],
        "createdAt": s["created_at"],
        "displayName": s["name"],
        "displayDescription": s["description"],
    }


def _page(ask: Ask[Any], rows: list[Row]) -> list[Row]:
    first = wire.whole("offset", ask.asked("offset")) if ask.asked("offset") else 0
    return rows[first : first + (page_limit(ask) or len(rows))]


def _list_volumes(ask: Ask[Any]) -> Row:
    rows = volume(ask, "GET", "/volumes/detail")["volumes"]
    return {"volumes": [_as_volume(v) for v in _page(ask, rows)]}


def _list_snapshots(ask: Ask[Any]) -> Row:
    rows = volume(ask, "GET", "/snapshots/detail")["snapshots"]
    return {"snapshots": [_as_snapshot(s) for s in _page(ask, rows)]}


compute.route("GET", "/os-volumes", rule=RULE + "list", until=LAST)(_list_volumes)
compute.route("GET", "/os-volumes/detail", rule=RULE + "detail", until=LAST)(_list_volumes)
compute.route("GET", "/os-snapshots", rule=RULE + "snapshots:list", until=LAST)(_list_snapshots)
compute.route("GET", "/os-snapshots/detail", rule=RULE + "snapshots:detail", until=LAST)(_list_snapshots)


@compute.route("GET", "/os-volumes/{id}", rule=RULE + "show", until=LAST)
def show_volume(ask: Ask[Any]) -> Row:
    return {"volume": _as_volume(volume(ask, "GET", f"/volumes/{ask.params['id']}")["volume"])}


class NewVolume(Body):
    size: int | str = field()
    name: str | None = field(default=None, wire="display_name")
    description: str | None = field(default=None, wire="display_description")
    volume_type: str | None = field(default=None)
    metadata: dict[str, Any] = field(factory=dict)
    snapshot_id: str | None = field(default=None)
    availability_zone: str | None = field(default=None)


@compute.route("POST", "/os-volumes", rule=RULE + "create", body=NewVolume, wrap="volume", until=LAST)
def create_volume(ask: Ask[Any]) -> Row:
    wanted = ask.given | {"size": wire.whole("size", ask.given["size"], 1)}
    return {"volume": _as_volume(volume(ask, "POST", "/volumes", {"volume": wanted})["volume"])}


@compute.route("DELETE", "/os-volumes/{id}", rule=RULE + "delete", until=LAST, http=202)
def delete_volume(ask: Ask[Any]) -> None:
    volume(ask, "DELETE", f"/volumes/{ask.params['id']}")


@compute.route("GET", "/os-snapshots/{id}", rule=RULE + "snapshots:show", until=LAST)
def show_snapshot(ask: Ask[Any]) -> Row:
    return {"snapshot": _as_snapshot(volume(ask, "GET", f"/snapshots/{ask.params['id']}")["snapshot"])}


class NewSnapshot(Body):
    volume_id: str = field()
    force: bool | str = field(default=False)
    name: str | None = field(default=None, wire="display_name")
    description: str | None = field(default=None, wire="display_description")


@compute.route("POST", "/os-snapshots", rule=RULE + "snapshots:create", body=NewSnapshot, wrap="snapshot", until=LAST)
def create_snapshot(ask: Ask[Any]) -> Row:
    wanted = ask.given | {"force": wire.truth("force", ask.given.get("force", False))}
    return {"snapshot": _as_snapshot(volume(ask, "POST", "/snapshots", {"snapshot": wanted})["snapshot"])}


@compute.route("DELETE", "/os-snapshots/{id}", rule=RULE + "snapshots:delete", until=LAST, http=202)
def delete_snapshot(ask: Ask[Any]) -> None:
    volume(ask, "DELETE", f"/snapshots/{ask.params['id']}")
