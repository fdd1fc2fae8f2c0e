"""Snapshots of volumes (Block Storage API v3, "Volume snapshots", "Snapshot actions")."""

from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.policy import Who
from nutshell.core.render import Context
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.volume.making import PATIENCE_S, delete_snapshot
from nutshell.volume.service import (
    InvalidSnapshot,
    InvalidVolume,
    check_metadata,
    list_counted,
    list_page,
    take,
    text,
    volume,
)
from nutshell.volume.tables import Snapshot, Volume
from nutshell.volume.volumes import by_time, need_volume, times

STATES = ("available", "creating", "deleting", "error", "error_deleting")

times(Snapshot, brief=True)
by_time(Snapshot, "created_at")
by_time(Snapshot, "updated_at")
Snapshot.shows("group_snapshot_id", since="3.14")(lambda row, ctx: None)
Snapshot.shows("consumes_quota", since="3.65")(lambda row, ctx: True)


@Snapshot.shows(
    "os-extended-snapshot-attributes:progress", views="detail", see="volume_extension:extended_snapshot_attributes"
)
def progress(row: Snapshot, ctx: Context) -> str:
    return row.progress


@Snapshot.shows(
    "os-extended-snapshot-attributes:project_id", views="detail", see="volume_extension:extended_snapshot_attributes"
)
def project_id(row: Snapshot, ctx: Context) -> str:
    return row.project_id


for _path, _view in (("/detail", "detail"), ("", "brief")):
    volume.verb(Snapshot, "list", rule="volume:get_all_snapshots", path=_path, view=_view, until="3.44")(list_page)
    volume.verb(Snapshot, "list", rule="volume:get_all_snapshots", path=_path, view=_view, since="3.45")(list_counted)


@volume.verb(Snapshot, "show", rule="volume:get_snapshot")
def show(ask: Ask[Snapshot]) -> Snapshot:
    return ask.target


class OldSnapshot(Body):
    """A snapshot to be made; of an attached volume only when forced."""

    volume_id: str | None = field()
    name: str | None = field(default=None)
    display_name: str | None = field(default=None)
    description: str | None = field(default=None)
    force: bool | None = field(default=False)
    metadata: Any = field(default=None)


class NewSnapshot(Body):
    """A snapshot to be made. `force` says nothing new and must not be false."""

    volume_id: str | None = field()
    name: str | None = field(default=None)
    display_name: str | None = field(default=None)
    description: str | None = field(default=None)
    force: bool = field(default=True)
    metadata: Any = field(default=None)


@volume.verb(Snapshot, "create", rule="volume:create_snapshot", http=202, body=OldSnapshot, view="created",
             until="3.65")  # fmt: skip
def create_old(ask: Ask[Any]) -> Snapshot:
    return _create(ask, attached_too=bool(ask.given.get("force")))


@volume.verb(Snapshot, "create", rule="volume:create_snapshot", http=202, body=NewSnapshot, view="created",
             since="3.66")  # fmt: skip
def create(ask: Ask[Any]) -> Snapshot:
    if ask.given.get("force") is False:
        raise BadRequest("Invalid input for field/attribute force. Value: False. False is not supported for this"
                         " version: it is always as if true.")  # fmt: skip
    return _create(ask, attached_too=True)


def _create(ask: Ask[Any], *, attached_too: bool) -> Snapshot:
    given = ask.given
    row = need_volume(ask, given["volume_id"] or "")
    return make(
        ask.cloud,
        ask.tx,
        ask.who,
        row,
        name=text(given.get("name", given.get("display_name")), "name"),
        description=text(given.get("description"), "description"),
        metadata=check_metadata(given.get("metadata")),
        attached_too=attached_too,
    )


def make(
    cloud: Cloud,
    tx: Tx,
    who: Who,
    row: Volume,
    *,
    attached_too: bool,
    name: str | None = None,
    **rest: Any,
) -> Snapshot:
    """A new row, to be made by the loop. 400 in a state that does not allow it, 413."""
    allowed = ("available", "in-use") if attached_too else ("available",)
    if row.status not in allowed:
        words = " or ".join(allowed)
        raise InvalidVolume(f"Volume {row.id} status must be {words}, but current status is: {row.status}.")
    take(cloud, tx, row.project_id, {"snapshots": 1, "gigabytes": row.size})
    return tx.add(
        Snapshot(
            id=cloud.clock.new_id(),
            name=name,
            description=rest.get("description"),
            user_metadata=rest.get("metadata") or {},
            volume_id=row.id,
            size=row.size,
            project_id=row.project_id,
            user_id=who.user_id,
            deadline=tx.now + PATIENCE_S,
            request_id=tx.request.id,
            due_at=tx.now,
        )
    )


class ChangedSnapshot(Body):
    """What of a snapshot may be changed."""

    name: str | None = field(default=None)
    description: str | None = field(default=None)
    display_name: str | None = field(default=None)
    display_description: str | None = field(default=None)


@volume.verb(Snapshot, "update", rule="volume:update_snapshot", body=ChangedSnapshot, view="created")
def update(ask: Ask[Snapshot]) -> Snapshot:
    if not ask.given:
        raise BadRequest("Must specify 'name', 'description', 'display_name' or 'display_description'.")
    changes = {k.removeprefix("display_"): text(v, k) for k, v in ask.given.items()}
    return ask.tx.put(ask.target, **changes)


@volume.verb(Snapshot, "delete", rule="volume:delete_snapshot", http=202)
def remove(ask: Ask[Snapshot]) -> None:
    if ask.target.status not in ("available", "error"):
        raise InvalidSnapshot("Snapshot status must be available or error, and must not be part of a group.")
    _check_unused(ask)
    delete_snapshot(ask.tx, ask.target)


def _check_unused(ask: Ask[Snapshot]) -> None:
    using = ask.tx.count(Volume, snapshot_id=ask.target.id, seen="", want="present", failed="")
    if using:
        raise InvalidSnapshot(f"Snapshot {ask.target.id} is being copied to {using} volume(s).")


class ResetSnapshot(Body):
    """The status to give a snapshot."""

    status: str = field()


@volume.action(Snapshot, "os-reset_status", rule="volume_extension:snapshot_admin_actions:reset_status",
               body=ResetSnapshot)  # fmt: skip
def reset_status(ask: Ask[Snapshot]) -> None:
    _set_status(ask, ask.given["status"], STATES)


class SnapshotStatus(Body):
    """The status and progress a driver reports."""

    status: str = field()
    progress: str | None = field(default=None)


@volume.action(Snapshot, "os-update_snapshot_status", rule="snapshot_extension:snapshot_actions:update_snapshot_status",
               body=SnapshotStatus)  # fmt: skip
def update_status(ask: Ask[Snapshot]) -> None:
    wanted = ask.given["status"]
    allowed = {"creating": ("creating", "available", "error"), "deleting": ("deleting", "error_deleting")}
    if wanted not in allowed.get(ask.target.status, ()):
        raise BadRequest(f"Provided snapshot status {wanted} not allowed for snapshot with status {ask.target.status}.")
    progress = ask.given.get("progress")
    if progress is not None and not (
        progress.endswith("%") and progress[:-1].isdecimal() and int(progress[:-1]) <= 100
    ):
        raise BadRequest("progress must be an integer percentage")
    ask.tx.put(ask.target, status=wanted, failed="error" if "error" in wanted else "",
               **({"progress": progress} if progress else {}))  # fmt: skip


def _set_status(ask: Ask[Snapshot], wanted: str, allowed: tuple[str, ...]) -> None:
    if wanted.lower() not in allowed:
        raise BadRequest(f"Invalid input for field/attribute status. Value: {wanted}. '{wanted}' is not one of"
                         f" {list(allowed)}")  # fmt: skip
    wanted = wanted.lower()
    ask.tx.put(ask.target, status=wanted, failed=wanted if wanted.startswith("error") else "")


@volume.action(Snapshot, "os-force_delete", rule="volume_extension:snapshot_admin_actions:force_delete")
def force_delete(ask: Ask[Snapshot]) -> None:
    delete_snapshot(ask.tx, ask.target)


def need_snapshot(ask: Ask[Any], snapshot_id: str) -> Snapshot:
    row = ask.tx.get(Snapshot, snapshot_id)
    if row is None or not ask.may("volume:get_snapshot", row.policy_target()):
        raise NotFound(kind="Snapshot", id=snapshot_id)
    return row
