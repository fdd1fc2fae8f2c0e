"""The catalog: regions, services and their endpoints (Identity API v3, "Service catalog and endpoints", "Regions").

An endpoint's address may hold $(base)s: the address by which the request reached this cloud.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import Missing, Taken
from nutshell.identity.service import call, found, merged_extra, named

INTERFACES = ("public", "internal", "admin")
PART = re.compile(r"[$%]\((\w+)\)s")


class Region(Resource, service="identity", one="region", many="regions", extras="keep"):
    description: str = field(default="")
    parent_region_id: str | None = field(default=None, filter=True)
    extra: dict[str, Any] = field(factory=dict, hidden=True)


class CatalogService(
    Resource, service="identity", one="service", many="services", extras="keep", table="identity_services"
):
    type: str = field(filter=True)
    name: str = field(default="", filter=True)
    description: str | None = field(default=None, hidden=True)
    enabled: bool = field(default=True)
    extra: dict[str, Any] = field(factory=dict, hidden=True)


class Endpoint(Resource, service="identity", one="endpoint", many="endpoints", extras="keep"):
    service_id: str = field(filter=True, index=True)
    region_id: str | None = field(default=None, filter=True, index=True)
    interface: str = field(filter=True)
    url: str = field(hidden=True)
    enabled: bool = field(default=True)
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Region.shows("links")
def region_links(row: Region, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("regions", row.id)}


@CatalogService.shows("links")
def service_links(row: CatalogService, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("services", row.id)}


@CatalogService.shows("description")
def service_description(row: CatalogService, ctx: Context) -> Any:
    from nutshell.core.render import OMIT

    return OMIT if row.description is None else row.description


@Endpoint.shows("links")
def endpoint_links(row: Endpoint, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("endpoints", row.id)}


@Endpoint.shows("region")
def endpoint_region(row: Endpoint, ctx: Context) -> str | None:
    return row.region_id


@Endpoint.shows("url")
def endpoint_url(row: Endpoint, ctx: Context) -> str:
    return row.url.replace("$(base)s", ctx.ask.base)


@Endpoint.filters_by("region")
def by_region(ask: Ask[Any], given: list[str]) -> Any:
    return Endpoint.c("region_id") == given[-1]


# -- regions


class NewRegion(Body, extras="keep"):
    id: str | None = field(default=None, max_length=255)
    description: str | None = field(default="", max_length=255)
    parent_region_id: str | None = field(default=None, min_length=1, max_length=255)


class ChangedRegion(Body, extras="keep"):
    description: str | None = field(default="", max_length=255)
    parent_region_id: str | None = field(default=None, min_length=1, max_length=255)


@call("GET", "/regions", "list_regions", noun=Region)
def list_regions(ask: Ask[Any]) -> Any:
    return page_answer(ask, Region, select_page(ask, Region))


@call("GET", "/regions/{id}", "get_region", noun=Region, target=named(Region))
def show_region(ask: Ask[Any]) -> Region:
    return found(ask, Region)


def _check_parent(tx: Tx, region_id: str, parent_id: str | None) -> None:
    above = parent_id
    while above:
        if above == region_id:
            raise BadRequest(
                f"The specified parent region {parent_id} would create a circular region hierarchy.", parent=parent_id
            )
        row = tx.get(Region, above)
        if row is None:
            raise Missing(kind="region", id=above)
        above = row.parent_region_id


def _add_region(ask: Ask[Any], region_id: str) -> Region:
    given = ask.given
    given["description"] = given.get("description") or ""
    if ask.tx.get(Region, region_id):
        raise Taken(kind="region", details=f"Duplicate ID, {region_id}.")
    _check_parent(ask.tx, region_id, given.get("parent_region_id"))
    return ask.tx.add(Region(id=region_id, **given))


@call("POST", "/regions", "create_region", noun=Region, body=NewRegion, http=201)
def create_region(ask: Ask[Any]) -> Region:
    return _add_region(ask, ask.given.pop("id", None) or ask.cloud.clock.new_hex_id())


@call("PUT", "/regions/{id}", "create_region", noun=Region, body=NewRegion, http=201)
def create_region_named(ask: Ask[Any]) -> Region:
    if ask.given.pop("id", ask.params["id"]) != ask.params["id"]:
        raise BadRequest("The region's id in the body is not that of the address.")
    return _add_region(ask, ask.params["id"])


@call("PATCH", "/regions/{id}", "update_region", noun=Region, body=ChangedRegion, target=named(Region))
def update_region(ask: Ask[Any]) -> Region:
    row, given = found(ask, Region), ask.given
    if "description" in given:
        given["description"] = given["description"] or ""
    _check_parent(ask.tx, row.id, given.get("parent_region_id"))
    return ask.tx.put(row, **merged_extra(row, given))


@call("DELETE", "/regions/{id}", "delete_region", target=named(Region), http=204)
def delete_region(ask: Ask[Any]) -> None:
    row = found(ask, Region)
    family = [row.id]
    for one in family:
        family.extend(r.id for r in ask.tx.find(Region, parent_region_id=one))
    if ask.tx.count(Endpoint, region_id=family):
        raise Forbidden(f"Unable to delete region {row.id} because it or its child regions have associated endpoints.")
    for region in ask.tx.find(Region, id=family):
        ask.tx.sql("DELETE FROM identity_policy_associations WHERE region_id = ?", region.id)
        ask.tx.drop(region)


# -- services


class NewService(Body, extras="keep"):
    type: str = field(min_length=1, max_length=255)
    name: str = field(default="", min_length=1, max_length=255)
    description: str | None = field(default=None)
    enabled: bool = field(default=True)


class ChangedService(Body, extras="keep"):
    type: str = field(default="", min_length=1, max_length=255)
    name: str = field(default="", min_length=1, max_length=255)
    description: str | None = field(default=None)
    enabled: bool = field(default=True)


@call("GET", "/services", "list_services", noun=CatalogService)
def list_services(ask: Ask[Any]) -> Any:
    return page_answer(ask, CatalogService, select_page(ask, CatalogService))


@call("GET", "/services/{id}", "get_service", noun=CatalogService, target=named(CatalogService))
def show_service(ask: Ask[Any]) -> CatalogService:
    return found(ask, CatalogService)


@call("POST", "/services", "create_service", noun=CatalogService, body=NewService, http=201)
def create_service(ask: Ask[Any]) -> CatalogService:
    return ask.tx.add(CatalogService(id=ask.cloud.clock.new_hex_id(), **ask.given))


@call(
    "PATCH",
    "/services/{id}",
    "update_service",
    noun=CatalogService,
    body=ChangedService,
    target=named(CatalogService),
)
def update_service(ask: Ask[Any]) -> CatalogService:
    row = found(ask, CatalogService)
    return ask.tx.put(row, **merged_extra(row, ask.given))


@call("DELETE", "/services/{id}", "delete_service", target=named(CatalogService), http=204)
def delete_service(ask: Ask[Any]) -> None:
    row = found(ask, CatalogService)
    ask.tx.sql(
        "DELETE FROM identity_project_endpoints"
        " WHERE of_id IN (SELECT id FROM identity_endpoints WHERE service_id = ?)",
        row.id,
    )
    ask.tx.sql(
        "DELETE FROM identity_policy_associations"
        " WHERE service_id = ? OR endpoint_id IN (SELECT id FROM identity_endpoints WHERE service_id = ?)",
        row.id,
        row.id,
    )
    ask.tx.drop_where(Endpoint, service_id=row.id)
    ask.tx.drop(row)


# -- endpoints


class NewEndpoint(Body, extras="keep"):
    service_id: str = field()
    interface: str = field()
    url: str = field(min_length=1, max_length=225)
    region_id: str | None = field(default=None, min_length=1, max_length=255)
    region: str | None = field(default=None)
    enabled: bool = field(default=True)


class ChangedEndpoint(Body, extras="keep"):
    service_id: str = field(default="")
    interface: str = field(default="")
    url: str = field(default="", min_length=1, max_length=225)
    region_id: str | None = field(default=None, min_length=1, max_length=255)
    region: str | None = field(default=None)
    enabled: bool = field(default=True)


def _check_endpoint(ask: Ask[Any], given: dict[str, Any]) -> dict[str, Any]:
    if given.get("interface", "public") not in INTERFACES:
        raise BadRequest(
            f"Invalid input for field 'interface': '{given['interface']}' is not one of {list(INTERFACES)}",
            field="interface",
        )
    if "url" in given:
        known = {"base", "project_id", "tenant_id", "user_id", "public_bind_host", "admin_bind_host", "public_port"}
        url = given["url"]
        unknown = [m for m in PART.findall(url) if m not in known]
        if unknown or re.search(r"[$%]\((?!\w+\)s)", url):
            raise BadRequest(f"Cannot create an endpoint with an invalid URL: {url}.", field="url")
    if "region" in given:  # the older name: a region that is not there yet is made
        region = given.pop("region")
        given.setdefault("region_id", region)
        if region and ask.tx.get(Region, region) is None:
            ask.tx.add(Region(id=region))
    if given.get("region_id") and ask.tx.get(Region, given["region_id"]) is None:
        raise BadRequest(f"Could not find region: {given['region_id']}.", field="region_id")
    if "service_id" in given and ask.tx.get(CatalogService, given["service_id"]) is None:
        raise BadRequest(f"Could not find service: {given['service_id']}.", field="service_id")
    return given


@call("GET", "/endpoints", "list_endpoints", noun=Endpoint)
def list_endpoints(ask: Ask[Any]) -> Any:
    return page_answer(ask, Endpoint, select_page(ask, Endpoint))


@call("GET", "/endpoints/{id}", "get_endpoint", noun=Endpoint, target=named(Endpoint))
def show_endpoint(ask: Ask[Any]) -> Endpoint:
    return found(ask, Endpoint)


@call("POST", "/endpoints", "create_endpoint", noun=Endpoint, body=NewEndpoint, http=201)
def create_endpoint(ask: Ask[Any]) -> Endpoint:
    return ask.tx.add(Endpoint(id=ask.cloud.clock.new_hex_id(), **_check_endpoint(ask, ask.given)))


@call("PATCH", "/endpoints/{id}", "update_endpoint", noun=Endpoint, body=ChangedEndpoint, target=named(Endpoint))
def update_endpoint(ask: Ask[Any]) -> Endpoint:
    row = found(ask, Endpoint)
    return ask.tx.put(row, **merged_extra(row, _check_endpoint(ask, ask.given)))


@call("DELETE", "/endpoints/{id}", "delete_endpoint", target=named(Endpoint), http=204)
def delete_endpoint(ask: Ask[Any]) -> None:
    row = found(ask, Endpoint)
    ask.tx.sql("DELETE FROM identity_project_endpoints WHERE of_id = ?", row.id)
    ask.tx.sql("DELETE FROM identity_policy_associations WHERE endpoint_id = ?", row.id)
    ask.tx.drop(row)


# -- as tokens carry it

Entries = Sequence[tuple[CatalogService, Sequence[Endpoint]]]


def entries(tx: Tx) -> Entries:
    """Enabled services with their enabled endpoints, in two queries."""
    of: dict[str, list[Endpoint]] = {}
    for e in tx.find(Endpoint, enabled=True, order="created_at, id"):
        of.setdefault(e.service_id, []).append(e)
    return [(s, of.get(s.id, [])) for s in tx.find(CatalogService, enabled=True, order="created_at, id")]


def substitute(url: str, values: Mapping[str, str]) -> str | None:
    """The address with its parts filled in; None when one is not known (an unscoped address of a project)."""
    missing: list[str] = []

    def fill(m: re.Match[str]) -> str:
        value = values.get(m[1], "")
        if not value:
            missing.append(m[1])
        return value

    made = PART.sub(fill, url)
    return None if missing else made


def render(
    found: Entries, base: str, user_id: str, project_id: str, only: frozenset[str] | None = None
) -> list[dict[str, Any]]:
    """The catalog as tokens carry it. `only`: the ids of the endpoints it is limited to."""
    values = {"base": base, "project_id": project_id, "tenant_id": project_id, "user_id": user_id}
    shown = []
    for service, endpoints in found:
        places = []
        for e in endpoints:
            if only is not None and e.id not in only:
                continue
            url = substitute(e.url, values)
            if url is not None:
                places.append(
                    {"id": e.id, "interface": e.interface, "region_id": e.region_id, "region": e.region_id, "url": url}
                )
        if only is not None and not places:
            continue
        shown.append({"endpoints": places, "id": service.id, "type": service.type, "name": service.name})
    return shown
