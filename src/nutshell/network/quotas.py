"""Quotas of a project on network things (Networking API v2.0, "Quotas extension" and "Quotas details extension")."""

from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask
from nutshell.network import errors
from nutshell.network.service import ADMIN, network

DEFAULTS: Mapping[str, int] = {
    "network": 100,
    "subnet": 100,
    "subnetpool": -1,
    "port": 500,
    "router": 10,
    "floatingip": 50,
    "security_group": 10,
    "security_group_rule": 100,
    "rbac_policy": 10,
    "trunk": -1,
}
NAMES = [f"network.{name}" for name in DEFAULTS]

network.policy(
    {
        "get_quota": "rule:admin_only or (role:manager and project_id:%(project_id)s)",
        "update_quota": ADMIN,
        "delete_quota": ADMIN,
    }
)


def _project(ask: Ask[Any]) -> dict[str, Any]:
    return {"project_id": ask.params.get("id") or ask.who.project_id, "tenant_id": ask.params.get("id")}


def _may_read(ask: Ask[Any]) -> None:
    """Everybody reads the limits of his own project."""
    if ask.params["id"] != ask.who.project_id:
        ask.must("get_quota", _project(ask))


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("network."): value for name, value in values.items()}


def _limits(ask: Ask[Any], project_id: str) -> dict[str, Any]:
    return _short(ask.cloud.quotas.limits(ask.tx, project_id, NAMES))


@network.route("GET", "/quotas", rule="get_quota")
def list_all(ask: Ask[Any]) -> dict[str, Any]:
    """Projects with limits of their own."""
    rows = ask.tx.sql(
        "SELECT DISTINCT project_id FROM quota_limit WHERE project_id != '' AND substr(name, 1, 8) = 'network.'"
        " ORDER BY project_id"
    ).fetchall()
    mine = [p for (p,) in rows if ask.may("get_quota", {"project_id": p})]
    return {"quotas": [_limits(ask, p) | {"tenant_id": p, "project_id": p} for p in mine]}


@network.route("GET", "/quotas/{id}", rule="regular_user")
def show(ask: Ask[Any]) -> dict[str, Any]:
    if ask.params["id"] in ("tenant", "project"):
        return {ask.params["id"]: {"tenant_id": ask.who.project_id, "project_id": ask.who.project_id}}
    _may_read(ask)
    return {"quota": _limits(ask, ask.params["id"])}


@network.route("GET", "/quotas/{id}/default", rule="regular_user")
def default(ask: Ask[Any]) -> dict[str, Any]:
    _may_read(ask)
    return {"quota": _limits(ask, "")}


@network.route("GET", "/quotas/{id}/details", rule="regular_user")
@network.route("GET", "/quotas/{id}/details.json", rule="regular_user")
def details(ask: Ask[Any]) -> dict[str, Any]:
    _may_read(ask)
    limits = _limits(ask, ask.params["id"])
    used = _short(ask.cloud.quotas.used(ask.tx, ask.params["id"], NAMES))
    return {"quota": {n: {"limit": limits[n], "used": used[n], "reserved": 0} for n in limits}}


@network.route("PUT", "/quotas/{id}", rule="update_quota", against=_project)
def update(ask: Ask[Any]) -> dict[str, Any]:
    body = ask.body.get("quota") if isinstance(ask.body, dict) else None
    if not isinstance(body, dict):
        raise BadRequest("Unable to find 'quota' in request body")
    given = {k: v for k, v in body.items() if k not in ("tenant_id", "project_id")}
    checked = given.pop("check_limit", False)
    given.pop("force", None)
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise BadRequest("", unknown=unknown)
    values = {f"network.{name}": _limit(name, value) for name, value in given.items()}
    project_id = ask.params["id"]
    if checked:
        used = ask.cloud.quotas.used(ask.tx, project_id, list(values)) if values else {}
        under = sorted(n.partition(".")[2] for n, v in values.items() if 0 <= v < used[n])
        if under:
            raise errors.QuotaBelowUsage(unders=under)
    ask.cloud.quotas.set_limits(ask.tx, project_id, values)
    return {"quota": _limits(ask, project_id)}


def _limit(name: str, value: Any) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError):
        found = -2
    if isinstance(value, bool) or not -1 <= found <= 2147483647:
        raise errors.InvalidAttribute(name=name, why=f"'{value}' is not an integer of -1 to 2147483647")
    return found


@network.route("DELETE", "/quotas/{id}", rule="delete_quota", against=_project, http=204)
def delete(ask: Ask[Any]) -> None:
    cleared = ask.tx.sql(
        "DELETE FROM quota_limit WHERE project_id = ? AND substr(name, 1, 8) = 'network.'", ask.params["id"]
    )
    if cleared.rowcount == 0:
        raise errors.ProjectQuotaNotFound(id=ask.params["id"])
