"""Limits and quotas: how much a project may have, and how much it has.

Source: Compute API reference, "Limits", "Quota sets" and "Quota class sets".
"""

from typing import Any

from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest
from nutshell.core.service import Answer, Ask
from nutshell.identity.port import Identity

RULE = "os_compute_api:os-quota-sets:"
COUNTED = ("instances", "cores", "ram", "server_groups")
OWN = ("instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members")
FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")  # until 2.56
# The network service's: until 2.35 kept and shown here, enforced there.
FOREIGN = ("floating_ips", "fixed_ips", "security_groups", "security_group_rules")
SPANS = [("", "2.35", (*OWN, *FILES, *FOREIGN)), ("2.36", "2.56", (*OWN, *FILES)), ("2.57", "", OWN)]
ABSOLUTE = {
    "ram": ("maxTotalRAMSize",),
    "instances": ("maxTotalInstances",),
    "cores": ("maxTotalCores",),
    "key_pairs": ("maxTotalKeypairs",),
    "floating_ips": ("maxTotalFloatingIps",),
    "metadata_items": ("maxServerMeta", "maxImageMeta"),
    "injected_files": ("maxPersonality",),
    "injected_file_content_bytes": ("maxPersonalitySize",),
    "security_groups": ("maxSecurityGroups",),
    "security_group_rules": ("maxSecurityGroupRules",),
    "server_groups": ("maxServerGroups",),
    "server_group_members": ("maxServerGroupMembers",),
}
USED = {
    "ram": "totalRAMUsed",
    "cores": "totalCoresUsed",
    "instances": "totalInstancesUsed",
    "floating_ips": "totalFloatingIpsUsed",
    "security_groups": "totalSecurityGroupsUsed",
    "server_groups": "totalServerGroupsUsed",
}


def limits_of(ask: Ask[Any], project_id: str, names: tuple[str, ...]) -> dict[str, int]:
    found = ask.cloud.quotas.limits(ask.tx, project_id, [f"compute.{n}" for n in names])
    return {n: found[f"compute.{n}"] for n in names}


def used_of(ask: Ask[Any], project_id: str) -> dict[str, int]:
    found = ask.cloud.quotas.used(ask.tx, project_id, [f"compute.{n}" for n in COUNTED])
    return {n: found[f"compute.{n}"] for n in COUNTED}


def _limits(since: str, until: str, names: tuple[str, ...], image_meta: bool) -> None:
    """GET /limits in a span of versions."""

    @compute.route("GET", "/limits", rule="os_compute_api:limits", since=since, until=until)
    def limits(ask: Ask[Any]) -> dict[str, Any]:
        project_id = ask.who.project_id
        other = ask.asked("tenant_id")
        if other and other != project_id:
            ask.must("os_compute_api:limits:other_project")
            project_id = other
        found, used = limits_of(ask, project_id, names), used_of(ask, project_id)
        absolute = {w: found[n] for n in names for w in ABSOLUTE.get(n, ()) if image_meta or w != "maxImageMeta"}
        absolute |= {wire: used.get(n, 0) for n, wire in USED.items() if n in names}
        return {"limits": {"rate": [], "absolute": absolute}}


_limits("", "2.35", SPANS[0][2], True)
_limits("2.36", "2.38", SPANS[1][2], True)
_limits("2.39", "2.56", SPANS[1][2], False)
_limits("2.57", "", SPANS[2][2], False)


def _of_path(ask: Ask[Any]) -> dict[str, Any]:
    return {"project_id": ask.params["id"]}


def _checked_project(ask: Ask[Any]) -> str:
    project_id = ask.params["id"]
    if Identity in ask.cloud.ports and not ask.cloud.port(Identity).project_exists(ask.tx, project_id):
        raise BadRequest(f"Project ID {project_id} is not a valid project.")
    return project_id


def _read(ask: Ask[Any], body: Any, names: tuple[str, ...], usage: dict[str, int]) -> dict[str, int]:
    """New limits out of a body; 400 for what is no limit, or below what is used (unless forced)."""
    given = body.get("quota_set", body.get("quota_class_set")) if isinstance(body, dict) else None
    if not isinstance(given, dict):
        raise BadRequest("Invalid input for field/attribute body. 'quota_set' is a required property")
    forced = str(given.get("force", False)).lower() in ("true", "1", "yes", "on")
    found: dict[str, int] = {}
    for name, value in given.items():
        if name in ("force", "tenant_id", "id", "class_name"):
            continue
        if name not in names:
            raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")
        try:
            limit = int(value)
        except (TypeError, ValueError):
            raise BadRequest(
                f"Invalid input for field/attribute {name}. Value: {value}. It is not an integer"
            ) from None
        if not -1 <= limit <= 2**31 - 1 or isinstance(value, bool | float):
            raise BadRequest(f"Invalid input for field/attribute {name}. Value: {value}. It is less than the minimum"
                             " of -1 or greater than the maximum of 2147483647")  # fmt: skip
        used = usage.get(name, 0)
        if not forced and limit != -1 and limit < used:
            raise BadRequest(f"Quota limit {limit} for {name} must be greater than or equal to already used and"
                             f" reserved {used}.")  # fmt: skip
        found[f"compute.{name}"] = limit
    return found


def _quota_sets(since: str, until: str, names: tuple[str, ...]) -> None:
    """The quota set routes in a span of versions."""
    span = {"since": since, "until": until}

    @compute.route("GET", "/os-quota-sets/{id}", rule=RULE + "show", against=_of_path, **span)
    def show(ask: Ask[Any]) -> dict[str, Any]:
        project_id = _checked_project(ask)
        return {"quota_set": {"id": project_id, **limits_of(ask, project_id, names)}}

    @compute.route("GET", "/os-quota-sets/{id}/detail", rule=RULE + "detail", against=_of_path, **span)
    def detail(ask: Ask[Any]) -> dict[str, Any]:
        project_id = _checked_project(ask)
        used, found = used_of(ask, project_id), limits_of(ask, project_id, names)
        shown = {n: {"in_use": used.get(n, 0), "limit": limit, "reserved": 0} for n, limit in found.items()}
        return {"quota_set": {"id": project_id, **shown}}

    @compute.route("GET", "/os-quota-sets/{id}/defaults", rule=RULE + "defaults", against=_of_path, **span)
    def defaults(ask: Ask[Any]) -> dict[str, Any]:
        project_id = _checked_project(ask) if ask.may("context_is_admin") else ask.params["id"]  # others are not told
        return {"quota_set": {"id": project_id, **limits_of(ask, "", names)}}

    @compute.route("PUT", "/os-quota-sets/{id}", rule=RULE + "update", against=_of_path, **span)
    def update(ask: Ask[Any]) -> dict[str, Any]:
        project_id = _checked_project(ask)
        values = _read(ask, ask.body, names, used_of(ask, project_id))
        ask.cloud.quotas.set_limits(ask.tx, project_id, values)
        return {"quota_set": limits_of(ask, project_id, names)}

    @compute.route("GET", "/os-quota-class-sets/{id}", rule="os_compute_api:os-quota-class-sets:show", **span)
    def show_class(ask: Ask[Any]) -> dict[str, Any]:
        return {"quota_class_set": {"id": ask.params["id"], **limits_of(ask, "", names)}}

    @compute.route("PUT", "/os-quota-class-sets/{id}", rule="os_compute_api:os-quota-class-sets:update", **span)
    def update_class(ask: Ask[Any]) -> dict[str, Any]:
        """Only the class "default" is looked at, as in the original."""
        values = _read(ask, ask.body, names, {})
        if ask.params["id"] == "default":
            ask.cloud.quotas.set_limits(ask.tx, "", values)
        return {"quota_class_set": limits_of(ask, "", names)}


for _since, _until, _names in SPANS:
    _quota_sets(_since, _until, _names)


@compute.route("DELETE", "/os-quota-sets/{id}", rule=RULE + "delete", against=_of_path)
def delete(ask: Ask[Any]) -> Answer:
    ask.cloud.quotas.clear_limits(ask.tx, ask.params["id"], "compute.")
    return Answer(202)
