"""Quotas and limits (Block Storage API v3, "Quota sets", "Quota class sets", "Limits")."""

from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Answer, Ask
from nutshell.volume.service import is_admin, volume
from nutshell.volume.tables import TypeAccess, VolumeType

NAMES: Mapping[str, int] = {
    "volumes": 10,
    "snapshots": 10,
    "gigabytes": 1000,
    "backups": 10,
    "backup_gigabytes": 1000,
    "per_volume_gigabytes": -1,
    "groups": 10,
}
PER_TYPE = ("volumes", "gigabytes", "snapshots")
SETS = "/os-quota-sets/{target_id}"
CLASSES = "/os-quota-class-sets/{name}"


def _of_path(ask: Ask[Any]) -> Mapping[str, Any]:
    return {"project_id": ask.params["target_id"]}


def _limits(ask: Ask[Any], project_id: str) -> dict[str, int]:
    found = ask.cloud.quotas.limits(ask.tx, project_id, [f"volume.{n}" for n in NAMES])
    return {k.partition(".")[2]: v for k, v in found.items()} | _per_type(ask, project_id)


def _per_type(ask: Ask[Any], project_id: str) -> dict[str, int]:
    """Limits by type: none unless set."""
    rows = ask.tx.sql(
        "SELECT name, value FROM quota_limit WHERE project_id IN ('', ?) AND name LIKE 'volume.%' ORDER BY project_id",
        project_id,
    ).fetchall()
    known = {str(n).partition(".")[2]: int(v) for n, v in rows}
    types = [t.name for t in ask.tx.find(VolumeType, order="created_at") if is_admin(ask) or _open_to(ask, t)]
    names = [f"{what}_{name}" for name in types for what in PER_TYPE]
    return {n: known.get(n, -1) for n in names}


def _open_to(ask: Ask[Any], kind: VolumeType) -> bool:
    """Whether the caller's project may know of the type."""
    return kind.is_public or ask.tx.one(TypeAccess, volume_type_id=kind.id, project_id=ask.who.project_id) is not None


def _used(ask: Ask[Any], project_id: str) -> dict[str, int]:
    found = ask.cloud.quotas.used(ask.tx, project_id, [f"volume.{n}" for n in NAMES])
    return {k.partition(".")[2]: v for k, v in found.items()}


@volume.route("GET", SETS, rule="volume_extension:quotas:show", against=_of_path)
def show(ask: Ask[Any]) -> Answer:
    target = ask.params["target_id"]
    limits = _limits(ask, target)
    if not ask.flag("usage"):
        return Answer(200, {"quota_set": {"id": target, **limits}})
    used = _used(ask, target)
    shown = {n: {"limit": v, "in_use": used.get(n, 0), "reserved": 0} for n, v in limits.items()}
    return Answer(200, {"quota_set": {"id": target, **shown}})


@volume.route("GET", SETS + "/defaults", rule="volume_extension:quotas:show", against=_of_path)
def defaults(ask: Ask[Any]) -> Answer:
    return Answer(200, {"quota_set": {"id": ask.params["target_id"], **_limits(ask, "")}})


def _given(ask: Ask[Any], member: str, known: set[str]) -> dict[str, int]:
    """The limits of a body. 400."""
    if not isinstance(ask.body, dict) or not isinstance(ask.body.get(member), dict):
        raise BadRequest(f"Invalid input for field/attribute body. '{member}' is a required property")
    found: dict[str, int] = {}
    for name, value in ask.body[member].items():
        if name in ("tenant_id", "id", "force", "class_name"):
            continue
        if name not in known:
            raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = -2
        if isinstance(value, bool | float) or not -1 <= number <= 2**31 - 1:
            raise BadRequest(f"Invalid input for field/attribute {name}. Value: {value}. It is not an integer of at"
                             " least -1.")  # fmt: skip
        found[name] = number
    return found


@volume.route("PUT", SETS, rule="volume_extension:quotas:update", against=_of_path, wrap="")
def update(ask: Ask[Any]) -> Answer:
    target = ask.params["target_id"]
    given = _given(ask, "quota_set", set(_limits(ask, target)))
    used = _used(ask, target)
    for name, value in given.items():
        if 0 <= value < used.get(name, 0):
            raise BadRequest(f"Quota {name} limit must be equal or greater than existing resources. Current usage is"
                             f" {used[name]} and the requested limit is {value}.")  # fmt: skip
    ask.cloud.quotas.set_limits(ask.tx, target, {f"volume.{k}": v for k, v in given.items()})
    return Answer(200, {"quota_set": _limits(ask, target)})


@volume.route("DELETE", SETS, rule="volume_extension:quotas:delete", against=_of_path)
def reset(ask: Ask[Any]) -> Answer:
    ask.cloud.quotas.clear_limits(ask.tx, ask.params["target_id"], "volume.")
    return Answer(200)


@volume.route("GET", CLASSES, rule="volume_extension:quota_classes:get")
def show_class(ask: Ask[Any]) -> Answer:
    return Answer(200, {"quota_class_set": {"id": ask.params["name"], **_limits(ask, "")}})


@volume.route("PUT", CLASSES, rule="volume_extension:quota_classes:update", wrap="")
def update_class(ask: Ask[Any]) -> Answer:
    """Only the class "default" says anything: it holds the cloud's defaults."""
    given = _given(ask, "quota_class_set", set(_limits(ask, "")))
    if ask.params["name"] == "default":
        ask.cloud.quotas.set_limits(ask.tx, "", {f"volume.{k}": v for k, v in given.items()})
    return Answer(200, {"quota_class_set": {**_limits(ask, ""), **given}})


@volume.route("GET", "/limits", rule="limits_extension:used_limits")
def limits(ask: Ask[Any]) -> Answer:
    project_id = ask.who.project_id
    if is_admin(ask):
        project_id = ask.asked("project_id") or ask.asked("tenant_id") or project_id
    most, used = _limits(ask, project_id), _used(ask, project_id)
    absolute = {
        "maxTotalVolumes": most["volumes"],
        "maxTotalVolumeGigabytes": most["gigabytes"],
        "maxTotalSnapshots": most["snapshots"],
        "maxTotalBackups": most["backups"],
        "maxTotalBackupGigabytes": most["backup_gigabytes"],
        "totalVolumesUsed": used["volumes"],
        "totalGigabytesUsed": used["gigabytes"],
        "totalSnapshotsUsed": used["snapshots"],
        "totalBackupsUsed": used["backups"],
        "totalBackupGigabytesUsed": used["backup_gigabytes"],
    }
    return Answer(200, {"limits": {"rate": [], "absolute": absolute}})
