"""Actions on a server's power and life: start, stop, reboot, pause, suspend, lock, rescue, shelve, reset (Compute API,
"Servers - run an action")."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nutshell.compute.config import ComputeConfig
from nutshell.compute.errors import WrongState
from nutshell.compute.nodes import Node
from nutshell.compute.servers.checks import find_image
from nutshell.compute.servers.create import make_password
from nutshell.compute.servers.guest import stable_rescue
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.operate import begin, check_lock, check_state, note, supersede
from nutshell.compute.servers.status import Want
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.versions import Span
from nutshell.image.port import Images

RULE = "os_compute_api:servers"
SLEEPY = ("active", "stopped", "paused", "suspended")


@dataclass(frozen=True)
class Simple:
    """An action that takes nothing: its name on the wire, its operation, where it is allowed, what it leads to."""

    action: str
    kind: str
    rule: str
    states: tuple[str, ...]
    want: Want


SIMPLE = (
    Simple("os-start", "start", f"{RULE}:start", ("stopped",), Want.RUNNING),
    Simple("os-stop", "stop", f"{RULE}:stop", ("active", "error"), Want.STOPPED),
    Simple("pause", "pause", "os_compute_api:os-pause-server:pause", ("active",), Want.PAUSED),
    Simple("unpause", "unpause", "os_compute_api:os-pause-server:unpause", ("paused",), Want.RUNNING),
    Simple("suspend", "suspend", "os_compute_api:os-suspend-server:suspend", ("active",), Want.SUSPENDED),
    Simple("resume", "resume", "os_compute_api:os-suspend-server:resume", ("suspended",), Want.RUNNING),
    Simple("unrescue", "unrescue", "os_compute_api:os-unrescue", ("rescued",), Want.RUNNING),
    Simple("shelve", "shelve", "os_compute_api:os-shelve:shelve", SLEEPY, Want.OFFLOADED),
    Simple("shelveOffload", "shelveOffload", "os_compute_api:os-shelve:shelve_offload", ("shelved",), Want.OFFLOADED),
)


def timeout_s(ask: Ask[Any]) -> float:
    return ask.cloud.settings[ComputeConfig].operation_timeout_s


def need_built(server: Server, action: str) -> None:
    """409 for a server that never came to life, whatever else its state."""
    if server.launched_at is None:
        raise WrongState(action=action, id=server.id, attr="vm_state", state=server.vm_state)


def _simple(one: Simple) -> Callable[[Ask[Server]], None]:
    def act(ask: Ask[Server]) -> None:
        check_lock(ask)
        check_state(ask.target, one.kind, one.states)
        need_built(ask.target, one.kind)
        args = _shelf(ask) if one.kind == "shelve" else None
        begin(ask, ask.target, one.kind, one.want, timeout_s(ask), args, **(args or {}).get("row", {}))

    return act


for _one in SIMPLE:
    compute.action(Server, _one.action, rule=_one.rule)(_simple(_one))


def _shelf(ask: Ask[Server]) -> dict[str, Any]:
    """The image a shelved server's root disk goes to; a server on a volume needs none."""
    s = ask.target
    if not s.local.get("root"):
        return {}
    image_id = ask.cloud.port(Images).create(
        ask.tx,
        ask.who,
        name=f"{s.name}-shelved",
        disk_format="qcow2",
        properties={"image_type": "snapshot", "instance_uuid": s.id, "base_image_ref": s.image_id},
        min_disk_gib=s.flavor["disk"],
        project_id=s.project_id,
    )
    return {"image_id": image_id, "row": {"shelved_image_id": image_id}}


class Unshelve(Body):
    zone: str | None = field(default=None, wire="availability_zone", since="2.77")
    host: str | None = field(default=None, since="2.91")


@compute.action(Server, "unshelve", rule="os_compute_api:os-shelve:unshelve", until="2.76")
def unshelve_old(ask: Ask[Server]) -> None:
    _unshelve(ask, {})


@compute.action(Server, "unshelve", rule="os_compute_api:os-shelve:unshelve", body=Unshelve, since="2.77")
def unshelve(ask: Ask[Server]) -> None:
    if isinstance(ask.body, dict) and ask.body.get("unshelve") == {}:
        raise BadRequest("Invalid input for field/attribute unshelve. Value: {}. {} does not have enough properties")
    _unshelve(ask, ask.given)


def _unshelve(ask: Ask[Server], given: dict[str, Any]) -> None:
    check_lock(ask)
    check_state(ask.target, "unshelve", ("shelved", "shelved_offloaded"))
    changes: dict[str, Any] = {}
    if given.get("host"):
        ask.must("os_compute_api:os-shelve:unshelve_to_host")
        if ask.tx.one(Node, name=given["host"]) is None:
            raise BadRequest(f"Compute host {given['host']} could not be found.")
        changes["wanted_host"] = given["host"]
    if "zone" in given:
        if ask.target.vm_state != "shelved_offloaded":
            raise Conflict("Cannot change the availability zone of a server that is not shelved and offloaded.")
        if given["zone"] and ask.tx.count(Node, zone=given["zone"]) == 0:
            raise BadRequest("The requested availability zone is not available")
        changes["pinned_zone"] = given["zone"]
    begin(ask, ask.target, "unshelve", Want.RUNNING, ask.cloud.settings[ComputeConfig].build_timeout_s, **changes)


class Reboot(Body):
    type: str = field(pattern="^(HARD|Hard|hard|SOFT|Soft|soft)$")


@compute.action(Server, "reboot", rule=f"{RULE}:reboot", body=Reboot)
def reboot(ask: Ask[Server]) -> None:
    check_lock(ask)
    s = ask.target
    if ask.given["type"].lower() == "soft":
        check_state(s, "reboot", ("active",))
        begin(ask, s, "reboot", Want.RUNNING, timeout_s(ask))
        return
    again = s.task in ("reboot", "reboot-hard", "start", "stop", "pause", "unpause", "suspend", "resume")
    check_state(s, "reboot", (*SLEEPY, "error"), busy=again)
    need_built(s, "reboot")
    if again:
        supersede(ask, s, "reboot")
    begin(ask, s, "reboot-hard", Want.RUNNING, timeout_s(ask))


class Rescue(Body):
    admin_pass: str = field(default="", wire="adminPass", max_length=255)
    image_id: str | None = field(default=None, wire="rescue_image_ref")


@compute.action(Server, "rescue", rule="os_compute_api:os-rescue", body=Rescue, http=200)
def rescue(ask: Ask[Server]) -> Any:
    check_lock(ask)
    s = ask.target
    check_state(s, "rescue", ("active", "stopped", "error"))
    need_built(s, "rescue")
    image_id = ask.given.get("image_id") or ""
    image = find_image(ask, image_id) if image_id else None
    stable = image is not None and stable_rescue(image.properties)
    if not s.local.get("root") and not (stable and ask.at in Span.of("2.87", "")):
        raise BadRequest(f"Instance {s.id} cannot be rescued: Cannot rescue a volume-backed instance")
    begin(ask, s, "rescue", Want.RESCUED, timeout_s(ask), rescue_image_id=image_id)
    return {"adminPass": ask.given.get("admin_pass") or make_password()}


class Lock(Body):
    reason: str = field(wire="locked_reason", since="2.73", min_length=1, max_length=255)


def _lock(ask: Ask[Server]) -> None:
    by = "owner" if ask.who.project_id == ask.target.project_id else "admin"
    reason = ask.given.get("reason")
    note(ask.tx, ask.target, "lock", ask.new_id())
    record(ask.tx, ask.target, locked_by=by, locked_reason=reason)


@compute.action(Server, "lock", rule="os_compute_api:os-lock-server:lock", until="2.72")
def lock_old(ask: Ask[Server]) -> None:
    _lock(ask)


@compute.action(Server, "lock", rule="os_compute_api:os-lock-server:lock", since="2.73")
def lock(ask: Ask[Server]) -> None:
    if ask.body["lock"] is not None:
        from nutshell.core.schema import check

        ask.given = check(Lock, ask.body["lock"], "lock", ask.at, where="lock")
    _lock(ask)


@compute.action(Server, "unlock", rule="os_compute_api:os-lock-server:unlock")
def unlock(ask: Ask[Server]) -> None:
    by = "owner" if ask.who.project_id == ask.target.project_id else "admin"
    if ask.target.locked_by and ask.target.locked_by != by:
        ask.must("os_compute_api:os-lock-server:unlock:unlock_override", ask.target.policy_target())
    note(ask.tx, ask.target, "unlock", ask.new_id())
    record(ask.tx, ask.target, locked_by="", locked_reason=None)


@compute.action(Server, "restore", rule="os_compute_api:os-deferred-delete:restore")
def restore(ask: Ask[Server]) -> None:
    """Servers are deleted at once here (no reclaim interval): there is never one to restore."""
    check_lock(ask)
    check_state(ask.target, "restore", ("soft-delete",))


class ResetState(Body):
    state: str = field(pattern="^(active|error)$")


@compute.action(Server, "os-resetState", rule="os_compute_api:os-admin-actions:reset_state", body=ResetState)
def reset_state(ask: Ask[Server]) -> None:
    """An administrator's word on the state: what was going on is given up, and the override is recorded."""
    s, failed = ask.target, ask.given["state"] == "error"
    supersede(ask, s, "reset-state")
    note(ask.tx, s, "resetState", ask.new_id())
    changes: dict[str, Any] = {"failed": failed, "task": "", "step": "", "operation_id": "", "due_at": None}
    if not failed:
        changes |= {"want": Want.RUNNING, "launched_at": s.launched_at or ask.now, "fault": None}
    record(ask.tx, s, **changes)


@compute.action(Server, "injectNetworkInfo", rule="os_compute_api:os-admin-actions:inject_network_info")
def inject_network_info(ask: Ask[Server]) -> None:
    """Guests learn their addresses by DHCP and metadata, which are always current: there is nothing to inject."""
    check_lock(ask)


@compute.action(Server, "trigger_crash_dump", rule=f"{RULE}:trigger_crash_dump", since="2.17")
def trigger_crash_dump(ask: Ask[Server]) -> None:
    check_lock(ask)
    check_state(ask.target, "trigger_crash_dump", ("active", "paused", "rescued", "resized", "error"))
    raise BadRequest("The hypervisor of this cloud cannot send a guest a non-maskable interrupt.")
