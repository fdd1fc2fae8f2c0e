"""Unified limits: how much of a resource a project or domain may have (Identity API v3, "Unified Limits").

Two models (`[identity] limit_model`): "flat", a limit stands by itself; "strict_two_level" (limit_models.py).
"""

from typing import Any

import msgspec

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_rows
from nutshell.core.resource import field
from nutshell.core.schema import Body, convert
from nutshell.core.service import Ask
from nutshell.identity.catalog import CatalogService, Region
from nutshell.identity.errors import Taken
from nutshell.identity.limit_models import MODELS, STRICT, Limit, RegisteredLimit, check_tree
from nutshell.identity.projects import Project
from nutshell.identity.service import call, flat, found, named
from nutshell.identity.settings import IdentityConfig

MOST = 0x7FFFFFFF


@RegisteredLimit.shows("links")
def registered_links(row: RegisteredLimit, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("registered_limits", row.id)}


@Limit.shows("links")
def limit_links(row: Limit, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("limits", row.id)}


class NewRegistered(msgspec.Struct, forbid_unknown_fields=True):
    service_id: str
    resource_name: str
    default_limit: int
    region_id: str | None = None
    description: str | None = None


class NewLimit(msgspec.Struct, forbid_unknown_fields=True):
    service_id: str
    resource_name: str
    resource_limit: int
    project_id: str | None = None
    domain_id: str | None = None
    region_id: str | None = None
    description: str | None = None


class ChangedRegistered(Body):
    service_id: str = field(default="")
    region_id: str | None = field(default=None)
    resource_name: str = field(default="", min_length=1, max_length=255)
    default_limit: int = field(default=0, lo=-1, hi=MOST)
    description: str | None = field(default=None)


class ChangedLimit(Body):
    resource_limit: int = field(default=0, lo=-1, hi=MOST)
    description: str | None = field(default=None)


def _many(ask: Ask[Any], wrap: str, kind: Any) -> Any:
    """The list that the body holds, checked."""
    given = ask.body.get(wrap) if isinstance(ask.body, dict) else None
    if not isinstance(given, list) or not given or set(ask.body) != {wrap}:
        raise BadRequest(f"Invalid input for field/attribute {wrap}: a list of at least one is required.", field=wrap)
    return convert(given, list[kind], wrap)


def _check(ask: Ask[Any], name: str, number: int, service_id: str, region_id: str | None) -> None:
    if not 1 <= len(name) <= 255 or not -1 <= number <= MOST:
        raise BadRequest("Invalid input for field/attribute resource_name or limit.", field="resource_name")
    if ask.tx.get(CatalogService, service_id) is None:
        raise BadRequest(f"Could not find service: {service_id}.", field="service_id")
    if region_id and ask.tx.get(Region, region_id) is None:
        raise BadRequest(f"Could not find region: {region_id}.", field="region_id")


# -- registered limits


@call("GET", "/registered_limits", "list_registered_limits", noun=RegisteredLimit)
def list_registered(ask: Ask[Any]) -> Any:
    return page_answer(ask, RegisteredLimit, select_page(ask, RegisteredLimit))


@call(
    "GET",
    "/registered_limits/{id}",
    "get_registered_limit",
    noun=RegisteredLimit,
    target=named(RegisteredLimit),
)
def show_registered(ask: Ask[Any]) -> RegisteredLimit:
    return found(ask, RegisteredLimit)


@call("POST", "/registered_limits", "create_registered_limits", http=201)
def create_registered(ask: Ask[Any]) -> Any:
    rows = []
    for one in _many(ask, "registered_limits", NewRegistered):
        _check(ask, one.resource_name, one.default_limit, one.service_id, one.region_id)
        same = {"service_id": one.service_id, "region_key": one.region_id or "", "resource_name": one.resource_name}
        if ask.tx.one(RegisteredLimit, **same) is not None:
            raise Taken(kind="registered_limit", details="Duplicate entry")
        row = RegisteredLimit(
            id=ask.cloud.clock.new_hex_id(), region_key=one.region_id or "", **msgspec.structs.asdict(one)
        )
        rows.append(ask.tx.add(row))
    return {"registered_limits": render_rows(ask, RegisteredLimit, rows, "detail")}


def _in_use(ask: Ask[Any], row: RegisteredLimit) -> None:
    same = {"service_id": row.service_id, "region_key": row.region_key, "resource_name": row.resource_name}
    if ask.tx.one(Limit, **same) is not None:
        raise Forbidden(
            f"Unable to update or delete registered limit {row.id} because there are project limits associated with it."
        )


@call(
    "PATCH",
    "/registered_limits/{id}",
    "update_registered_limit",
    noun=RegisteredLimit,
    body=ChangedRegistered,
    target=named(RegisteredLimit),
)
def update_registered(ask: Ask[Any]) -> RegisteredLimit:
    row, given = found(ask, RegisteredLimit), ask.given
    changes = {k for k in ("service_id", "region_id", "resource_name") if k in given and given[k] != getattr(row, k)}
    if changes:
        _in_use(ask, row)
        region_id = given.get("region_id", row.region_id)
        _check(
            ask, given.get("resource_name", row.resource_name), 0, given.get("service_id", row.service_id), region_id
        )
        given["region_key"] = region_id or ""
        same = {k: given.get(k, getattr(row, k)) for k in ("service_id", "region_key", "resource_name")}
        if ask.tx.one(RegisteredLimit, **same) is not None:
            raise Taken(kind="registered_limit", details="Duplicate entry")
    return ask.tx.put(row, **given)


@call("DELETE", "/registered_limits/{id}", "delete_registered_limit", target=named(RegisteredLimit), http=204)
def delete_registered(ask: Ask[Any]) -> None:
    row = found(ask, RegisteredLimit)
    _in_use(ask, row)
    ask.tx.drop(row)


# -- limits of projects and domains


def _target(ask: Ask[Any]) -> dict[str, Any]:
    row = ask.tx.get(Limit, ask.params["id"])
    ask.target = row
    project = ask.tx.get(Project, row.project_id) if row is not None else None
    if row is None:
        return {}
    return {
        **flat("limit", row),
        "target.limit.domain.id": row.domain_id or "None",
        "target.limit.project.domain_id": project.domain_id if project is not None else "None",
    }


@call("GET", "/limits/model", "get_limit_model")
def show_model(ask: Ask[Any]) -> Any:
    name = ask.cloud.settings[IdentityConfig].limit_model
    return {"model": {"name": name, "description": MODELS[name]}}


@call("GET", "/limits", "list_limits", noun=Limit)
def list_limits(ask: Ask[Any]) -> Any:
    """Everything for the cloud's administrators and services, else what concerns the token's project or domain."""
    who = ask.who
    if who.system or {"admin", "service"} & who.roles:
        page = select_page(ask, Limit)
    elif who.domain_id:
        ids = [who.domain_id, *(p.id for p in ask.tx.find(Project, domain_id=who.domain_id))]
        page = select_page(ask, Limit, Limit.c("owner_id").in_(ids))
    else:
        page = select_page(ask, Limit, owner_id=who.project_id or "-")
    return page_answer(ask, Limit, page)


@call("GET", "/limits/{id}", "get_limit", noun=Limit, target=_target)
def show_limit(ask: Ask[Any]) -> Limit:
    return found(ask, Limit)


@call("POST", "/limits", "create_limits", http=201)
def create_limits(ask: Ask[Any]) -> Any:
    rows = []
    strict = ask.cloud.settings[IdentityConfig].limit_model == STRICT
    for one in _many(ask, "limits", NewLimit):
        if bool(one.project_id) == bool(one.domain_id):
            raise BadRequest("Invalid input for field/attribute limits: a limit is a project's or a domain's.")
        _check(ask, one.resource_name, one.resource_limit, one.service_id, one.region_id)
        owner = ask.tx.get(Project, one.project_id or one.domain_id)
        if owner is None or owner.is_domain != bool(one.domain_id):
            raise BadRequest(f"Could not find project or domain: {one.project_id or one.domain_id}.")
        same = {"service_id": one.service_id, "region_key": one.region_id or "", "resource_name": one.resource_name}
        if ask.tx.one(RegisteredLimit, **same) is None:
            raise Forbidden("Unable to create a limit that has no corresponding registered limit.")
        if ask.tx.one(Limit, owner_id=owner.id, **same) is not None:
            raise Taken(kind="limit", details="Duplicate entry")
        row = Limit(
            id=ask.cloud.clock.new_hex_id(),
            owner_id=owner.id,
            region_key=one.region_id or "",
            **msgspec.structs.asdict(one),
        )
        rows.append(ask.tx.add(row))
    if strict:  # when all of the request are there, for they may lean on each other
        for row in rows:
            check_tree(ask.tx, row)
    return {"limits": render_rows(ask, Limit, rows, "detail")}


@call("PATCH", "/limits/{id}", "update_limit", noun=Limit, body=ChangedLimit, target=_target)
def update_limit(ask: Ask[Any]) -> Limit:
    row = ask.tx.put(found(ask, Limit), **ask.given)
    if ask.cloud.settings[IdentityConfig].limit_model == STRICT:
        check_tree(ask.tx, row)
    return row


@call("DELETE", "/limits/{id}", "delete_limit", target=_target, http=204)
def delete_limit(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, Limit))
