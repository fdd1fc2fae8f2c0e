"""Which endpoints a project's catalog shows (Identity API v3 extensions, "OS-EP-FILTER").

A project with endpoints or endpoint groups of its own sees those only; one without sees the whole catalog.
"""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.catalog import INTERFACES, Endpoint
from nutshell.identity.errors import Missing
from nutshell.identity.projects import Project
from nutshell.identity.service import call, found, named

ROOT = "/OS-EP-FILTER"
FILTERS = frozenset({"interface", "service_id", "region_id", "enabled"})


class EndpointGroup(
    Resource, service="identity", one="endpoint_group", many="endpoint_groups", path=f"{ROOT}/endpoint_groups"
):
    name: str = field(filter=True)
    description: str | None = field(default=None)
    chosen_by: dict[str, Any] = field(factory=dict, wire="filters")


class Shown(
    Resource,
    service="identity",
    one="project_endpoint",
    many="project_endpoints",
    path=f"{ROOT}/projects",
    unique=(("project_id", "of_id"),),
):
    """An endpoint or an endpoint group that a project's catalog shows."""

    project_id: str = field()
    of_id: str = field(index=True)
    is_group: bool = field(default=False)


@EndpointGroup.shows("links")
def links(row: EndpointGroup, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("OS-EP-FILTER", "endpoint_groups", row.id)}


class NewGroup(Body):
    name: str = field(min_length=1, max_length=255)
    chosen_by: dict[str, Any] = field(wire="filters")
    description: str | None = field(default=None)


class ChangedGroup(Body):
    name: str = field(default="", min_length=1, max_length=255)
    chosen_by: dict[str, Any] = field(factory=dict, wire="filters")
    description: str | None = field(default=None)


def _check(given: dict[str, Any]) -> dict[str, Any]:
    wanted = given.get("chosen_by")
    if wanted is not None:
        if not set(wanted) <= FILTERS:
            raise BadRequest(f"Invalid input for field 'filters': it may name {', '.join(sorted(FILTERS))}.")
        for name, value in wanted.items():
            right = bool if name == "enabled" else str | None if name == "region_id" else str
            if not isinstance(value, right):
                raise BadRequest(f"Invalid input for field 'filters': {value!r} is no {name}.")
        if wanted.get("interface", "public") not in INTERFACES:
            raise BadRequest(f"Invalid input for field 'filters': interface is one of {list(INTERFACES)}.")
    return given


def _chosen(tx: Tx, group: EndpointGroup) -> list[Endpoint]:
    """Those that have all that the filters say; without filters every one."""
    return tx.find(Endpoint, order="created_at, id", **group.chosen_by)


# -- endpoint groups


@call("GET", f"{ROOT}/endpoint_groups", "list_endpoint_groups", noun=EndpointGroup)
def list_groups(ask: Ask[Any]) -> Any:
    return page_answer(ask, EndpointGroup, select_page(ask, EndpointGroup))


@call("POST", f"{ROOT}/endpoint_groups", "create_endpoint_group", noun=EndpointGroup, body=NewGroup, http=201)
def create_group(ask: Ask[Any]) -> EndpointGroup:
    return ask.tx.add(EndpointGroup(id=ask.cloud.clock.new_hex_id(), **_check(ask.given)))


_group = named(EndpointGroup)


@call("GET", f"{ROOT}/endpoint_groups/{{id}}", "get_endpoint_group", noun=EndpointGroup, target=_group)
def show_group(ask: Ask[Any]) -> EndpointGroup:
    return found(ask, EndpointGroup)


@call(
    "PATCH",
    f"{ROOT}/endpoint_groups/{{id}}",
    "update_endpoint_group",
    noun=EndpointGroup,
    body=ChangedGroup,
    target=_group,
)
def update_group(ask: Ask[Any]) -> EndpointGroup:
    return ask.tx.put(found(ask, EndpointGroup), **_check(ask.given))


@call("DELETE", f"{ROOT}/endpoint_groups/{{id}}", "delete_endpoint_group", target=_group, http=204)
def delete_group(ask: Ask[Any]) -> None:
    row = found(ask, EndpointGroup)
    ask.tx.drop_where(Shown, of_id=row.id)
    ask.tx.drop(row)


@call(
    "GET",
    f"{ROOT}/endpoint_groups/{{id}}/endpoints",
    "list_endpoints_associated_with_endpoint_group",
    target=_group,
)
def list_endpoints_of_group(ask: Ask[Any]) -> Any:
    return _endpoints(ask, _chosen(ask.tx, found(ask, EndpointGroup)))


@call(
    "GET",
    f"{ROOT}/endpoint_groups/{{id}}/projects",
    "list_projects_associated_with_endpoint_group",
    target=_group,
)
def list_projects_of_group(ask: Ask[Any]) -> Any:
    return _projects(ask, found(ask, EndpointGroup).id)


# -- which project shows which


def _endpoints(ask: Ask[Any], rows: list[Endpoint]) -> dict[str, Any]:
    return {
        "endpoints": render_rows(ask, Endpoint, rows, "detail"),
        **ask.service.page_links(ask, "endpoints", rows, False),
    }


def _projects(ask: Ask[Any], of_id: str) -> dict[str, Any]:
    ids = {s.project_id for s in ask.tx.find(Shown, of_id=of_id)}
    rows = ask.tx.find(Project, id=ids, order="name")
    return {
        "projects": render_rows(ask, Project, rows, "detail"),
        **ask.service.page_links(ask, "projects", rows, False),
    }


def _project(ask: Ask[Any]) -> Project:
    return found(ask, Project, ask.params["project_id"])


def _link(ask: Ask[Any], of: EndpointGroup | Endpoint, kind: str) -> Shown:
    row = ask.tx.one(Shown, project_id=_project(ask).id, of_id=of.id)
    if row is None:
        raise Missing(kind=f"{kind} of project", id=of.id)
    return row


def _show(ask: Ask[Any], of: EndpointGroup | Endpoint) -> None:
    project = _project(ask)
    if ask.tx.one(Shown, project_id=project.id, of_id=of.id) is None:
        row_id = ask.cloud.clock.new_hex_id()
        ask.tx.add(Shown(id=row_id, project_id=project.id, of_id=of.id, is_group=isinstance(of, EndpointGroup)))


_IN_GROUP = f"{ROOT}/endpoint_groups/{{id}}/projects/{{project_id}}"
_OF_PROJECT = f"{ROOT}/projects/{{project_id}}/endpoints/{{id}}"


@call("PUT", _IN_GROUP, "add_endpoint_group_to_project", target=_group, http=204)
def add_group(ask: Ask[Any]) -> None:
    _show(ask, found(ask, EndpointGroup))


@call("GET", _IN_GROUP, "get_endpoint_group_in_project", target=_group)
def show_group_in_project(ask: Ask[Any]) -> Any:
    row = _link(ask, found(ask, EndpointGroup), "endpoint group")
    return {
        "project_endpoint_group": {
            "endpoint_group_id": row.of_id,
            "project_id": row.project_id,
            "links": {"self": ask.base + ask.path},
        }
    }


@call("DELETE", _IN_GROUP, "remove_endpoint_group_from_project", target=_group, http=204)
def remove_group(ask: Ask[Any]) -> None:
    ask.tx.drop(_link(ask, found(ask, EndpointGroup), "endpoint group"))


_endpoint = named(Endpoint)


@call("PUT", _OF_PROJECT, "add_endpoint_to_project", target=_endpoint, http=204)
def add_endpoint(ask: Ask[Any]) -> None:
    _show(ask, found(ask, Endpoint))


@call("HEAD", _OF_PROJECT, "check_endpoint_in_project", target=_endpoint, http=204)
def check_endpoint(ask: Ask[Any]) -> None:
    _link(ask, found(ask, Endpoint), "endpoint")


call("GET", _OF_PROJECT, "check_endpoint_in_project", target=_endpoint, http=204)(check_endpoint)


@call("DELETE", _OF_PROJECT, "remove_endpoint_from_project", target=_endpoint, http=204)
def remove_endpoint(ask: Ask[Any]) -> None:
    ask.tx.drop(_link(ask, found(ask, Endpoint), "endpoint"))


@call("GET", f"{ROOT}/endpoints/{{id}}/projects", "list_projects_for_endpoint", target=_endpoint)
def list_projects(ask: Ask[Any]) -> Any:
    return _projects(ask, found(ask, Endpoint).id)


@call("GET", f"{ROOT}/projects/{{project_id}}/endpoints", "list_endpoints_for_project")
def list_endpoints(ask: Ask[Any]) -> Any:
    wanted = endpoints_of(ask.tx, _project(ask).id)
    return _endpoints(ask, ask.tx.find(Endpoint, id=wanted or [], order="created_at, id"))


@call("GET", f"{ROOT}/projects/{{project_id}}/endpoint_groups", "list_endpoint_groups_for_project")
def list_groups_of(ask: Ask[Any]) -> Any:
    ids = [s.of_id for s in ask.tx.find(Shown, project_id=_project(ask).id, is_group=True)]
    rows = ask.tx.find(EndpointGroup, id=ids, order="name")
    return {
        "endpoint_groups": render_rows(ask, EndpointGroup, rows, "detail"),
        **ask.service.page_links(ask, "endpoint_groups", rows, False),
    }


def endpoints_of(tx: Tx, project_id: str) -> frozenset[str] | None:
    """The ids of the endpoints this project's catalog is limited to; None when it is not."""
    rows = tx.find(Shown, project_id=project_id) if project_id else []
    if not rows:
        return None
    ids = {r.of_id for r in rows if not r.is_group}
    for group in tx.find(EndpointGroup, id=[r.of_id for r in rows if r.is_group]):
        ids |= {e.id for e in _chosen(tx, group)}
    return frozenset(ids)
