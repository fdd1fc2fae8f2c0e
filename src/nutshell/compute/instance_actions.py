"""What was done to a server, when, by whom, and how it ended (Compute API, "Servers actions")."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.servers.noun import Server, host_id
from nutshell.compute.service import compute, page_links
from nutshell.core.clock import iso_micros, parse_iso
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.listing import page_limit
from nutshell.core.operations import Operation
from nutshell.core.perform import not_found, visible
from nutshell.core.service import Ask
from nutshell.core.versions import Span

RULE = "os_compute_api:os-instance-actions"
PATH = "/servers/{id}/os-instance-actions"
NAMES = {"reboot-hard": "reboot"}
# operation → the event nova records for it
EVENTS = {
    "create": "compute__do_build_and_run_instance",
    "delete": "compute_terminate_instance",
    "start": "compute_start_instance",
    "stop": "compute_stop_instance",
    "reboot": "compute_reboot_instance",
    "reboot-hard": "compute_reboot_instance",
    "pause": "compute_pause_instance",
    "unpause": "compute_unpause_instance",
    "suspend": "compute_suspend_instance",
    "resume": "compute_resume_instance",
    "rebuild": "compute_rebuild_instance",
    "resize": "compute_prep_resize",
    "confirmResize": "compute_confirm_resize",
    "revertResize": "compute_revert_resize",
    "rescue": "compute_rescue_instance",
    "unrescue": "compute_unrescue_instance",
    "shelve": "compute_shelve_instance",
    "shelveOffload": "compute_shelve_offload_instance",
    "unshelve": "compute_unshelve_instance",
    "createImage": "compute_snapshot_instance",
    "createBackup": "compute_backup_instance",
    "attach_volume": "compute_attach_volume",
    "detach_volume": "compute_detach_volume",
    "attach_interface": "compute_attach_interface",
    "detach_interface": "compute_detach_interface",
    "extend_volume": "compute_extend_volume",
}


class NoSuchAction(NotFound):
    """Action {id} not found"""


def _server(ask: Ask[Any]) -> Server:
    """The server; from version 2.21 on also a deleted one."""
    found = ask.tx.one(Server, deleted=ask.at in Span.of("2.21", ""), id=ask.params["id"])
    if found is None or not visible(ask, found):
        raise not_found(ask, Server, ask.params["id"])
    return found


def _view(ask: Ask[Any], op: Operation) -> dict[str, Any]:
    found = {
        "action": NAMES.get(op.kind, op.kind),
        "instance_uuid": op.resource_id,
        "request_id": op.request_id,
        "user_id": op.user_id or None,
        "project_id": op.project_id,
        "start_time": iso_micros(op.created_at),
        "message": "Error" if op.fault else None,
    }
    if ask.at in Span.of("2.58", ""):
        found["updated_at"] = iso_micros(op.finished_at or op.updated_at or op.created_at)
    return found


def _against(ask: Ask[Any]) -> Any:
    return _server(ask).policy_target()


@compute.route("GET", PATH, rule=f"{RULE}:list", against=_against)
def list_actions(ask: Ask[Any]) -> Any:
    server = _server(ask)
    new = ask.at in Span.of("2.58", "")
    known = {"limit", "marker", "changes-since"} | ({"changes-before"} if ask.at in Span.of("2.66", "") else set())
    if new:
        wire.only_query(ask, frozenset(known), "2.58")
    rows = ask.tx.find(Operation, resource_id=server.id, order="created_at desc, id desc")
    if not new:
        return {"instanceActions": [_view(ask, o) for o in rows]}
    since, before = _time(ask, "changes-since"), _time(ask, "changes-before")
    if since is not None and before is not None and before < since:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    changed = [(o, o.finished_at or o.updated_at or o.created_at) for o in rows]
    rows = [o for o, at in changed if (since is None or at >= since) and (before is None or at <= before)]
    marker = ask.asked("marker")
    if marker:
        ids = [o.request_id for o in rows]
        if marker not in ids:
            raise BadRequest(f"Marker {marker} could not be found.")
        rows = rows[ids.index(marker) + 1 :]
    limit = page_limit(ask) or 1000
    page, more = rows[:limit], len(rows) > limit
    found: dict[str, Any] = {"instanceActions": [_view(ask, o) for o in page]}
    if more and page:
        link = page_links(ask, "instanceActions", page, more)["instanceActions_links"][0]
        link["href"] = link["href"].replace(f"marker={page[-1].id}", f"marker={page[-1].request_id}")
        found["links"] = [link]
    return found


def _time(ask: Ask[Any], name: str) -> float | None:
    text = ask.asked(name)
    if not text:
        return None
    try:
        return parse_iso(text.replace(" ", "+"))
    except ValueError:
        raise wire.invalid(name, text, f"{text!r} is not a 'date-time'") from None


@compute.route("GET", PATH + "/{request_id}", rule=f"{RULE}:show", against=_against)
def show_action(ask: Ask[Any]) -> Any:
    server = _server(ask)
    op = ask.tx.one(Operation, resource_id=server.id, request_id=ask.params["request_id"])
    if op is None:
        raise NoSuchAction(id=ask.params["request_id"])
    found = _view(ask, op)
    target = server.policy_target()
    whole = ask.may(f"{RULE}:events", target)
    if whole or ask.at in Span.of("2.51", ""):
        found["events"] = _events(ask, server, op, whole)
    return {"instanceAction": found}


def _events(ask: Ask[Any], server: Server, op: Operation, whole: bool) -> list[dict[str, Any]]:
    if op.kind not in EVENTS:
        return []
    done = op.finished_at is not None
    event: dict[str, Any] = {
        "event": EVENTS[op.kind],
        "start_time": iso_micros(op.created_at),
        "finish_time": iso_micros(op.finished_at) if op.finished_at is not None else None,
        "result": ("Error" if op.fault else "Success") if done else None,
    }
    if whole:
        event["traceback"] = op.fault or None
    if ask.at in Span.of("2.62", ""):
        event["hostId"] = host_id(server)
        if whole:
            event["host"] = server.host or None
    if ask.at in Span.of("2.84", "") and ask.may(f"{RULE}:events:details", server.policy_target()):
        event["details"] = op.fault or None
    return [event]
