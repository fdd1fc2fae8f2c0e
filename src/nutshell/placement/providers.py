"""Resource providers: what has things to give, in trees.

Source: Placement API reference, "Resource providers" and "Resource provider aggregates".
"""

import uuid
from collections.abc import Sequence
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.placement.errors import Changed, NameTaken, NoProvider, ProviderInUse, ProviderIsParent
from nutshell.placement.queries import matching
from nutshell.placement.service import placement
from nutshell.placement.tables import Provider

RULE = "placement:resource_providers:"
placement.policy(
    {
        "admin_or_service_api": "role:admin or role:service",
        "admin_or_project_reader_or_service_api": "role:admin or (role:reader and project_id:%(project_id)s)"
        " or role:service",
        **{RULE + verb: "rule:admin_or_service_api" for verb in ("list", "create", "show", "update", "delete")},
        **{RULE + "aggregates:" + verb: "rule:admin_or_service_api" for verb in ("list", "update")},
    }
)


class NewProvider(Body):
    """POST /resource_providers before 1.14 takes no parent."""

    name: str = field(min_length=1, max_length=200)
    uuid: str = field(default="")
    parent: str | None = field(default=None, wire="parent_provider_uuid", since="1.14")


class ChangedProvider(Body):
    """PUT /resource_providers/{uuid}."""

    name: str = field(min_length=1, max_length=200)
    parent: str | None = field(default=None, wire="parent_provider_uuid", since="1.14")


def need(ask: Ask[Any]) -> Provider:
    """The provider the path names."""
    found = ask.tx.get(Provider, ask.params["uuid"])
    if found is None:
        raise NoProvider(id=ask.params["uuid"])
    return found


def generation(row: Provider) -> int:
    """The API's counter; the row's own starts at 1."""
    return row.generation - 1


def changed(ask: Ask[Any], row: Provider, asked: int | None) -> Provider:
    """The provider with its generation moved on; 409 when the caller's knowledge of it is old."""
    if asked is not None and asked != generation(row):
        raise Changed("resource provider generation conflict")
    return ask.tx.put(row)


def as_json(ask: Ask[Any], row: Provider, links: Sequence[str], nested: bool) -> dict[str, Any]:
    url = f"/placement/resource_providers/{row.id}"
    found: dict[str, Any] = {
        "uuid": row.id,
        "name": row.name,
        "generation": generation(row),
        "links": [
            {"rel": "self", "href": url},
            *({"rel": rel, "href": f"{url}/{rel}"} for rel in links),
        ],
    }
    if nested:
        found |= {"parent_provider_uuid": row.parent_id, "root_provider_uuid": row.root_id}
    return found


LINKS = ("inventories", "usages", "aggregates", "traits", "allocations")
SHAPES = [("", "1.0", 2, False), ("1.1", "1.5", 3, False), ("1.6", "1.10", 4, False), ("1.11", "1.13", 5, False),
          ("1.14", "", 5, True)]  # fmt: skip  # since, until, how many links, parents shown


def _create(ask: Ask[Any]) -> Provider:
    given = ask.given
    provider_id = _uuid(given["uuid"]) if given.get("uuid") else ask.new_id()
    if ask.tx.get(Provider, provider_id) is not None:
        raise NameTaken(what=f"uuid: {provider_id}")
    if ask.tx.count(Provider, name=given["name"]):
        raise NameTaken(what=f"name: {given['name']}")
    root = _root_of(ask.tx, given.get("parent"), provider_id)
    return ask.tx.add(Provider(id=provider_id, name=given["name"], parent_id=given.get("parent"), root_id=root))


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise BadRequest(f"JSON does not validate: '{text}' is not a 'uuid'") from None


def _root_of(tx: Tx, parent_id: str | None, provider_id: str) -> str:
    if parent_id is None:
        return provider_id
    parent = tx.get(Provider, parent_id)
    if parent is None:
        raise BadRequest(f"Unable to create resource provider: parent provider UUID {parent_id} does not exist.")
    if parent.id == provider_id:
        raise BadRequest("parent provider UUID cannot be same as UUID. Please set parent provider UUID to None"
                         " if there is no parent.")  # fmt: skip
    return parent.root_id


@placement.route("POST", "/resource_providers", rule=RULE + "create", body=NewProvider, until="1.19", wrap="")
def create_without_body(ask: Ask[Any]) -> Answer:
    row = _create(ask)
    return Answer(201, None, {"Location": f"{ask.base}/placement/resource_providers/{row.id}"})


@placement.route("POST", "/resource_providers", rule=RULE + "create", body=NewProvider, since="1.20", wrap="")
def create(ask: Ask[Any]) -> Answer:
    row = _create(ask)
    return Answer(
        200, as_json(ask, row, LINKS, True), {"Location": f"{ask.base}/placement/resource_providers/{row.id}"}
    )


def _shapes(links: int, nested: bool, since: str, until: str) -> None:
    """Register what shows providers, in the form of a span of versions."""

    @placement.route("GET", "/resource_providers", rule=RULE + "list", since=since, until=until)
    def index(ask: Ask[Any]) -> dict[str, Any]:
        return {"resource_providers": [as_json(ask, r, LINKS[:links], nested) for r in matching(ask)]}

    @placement.route("GET", "/resource_providers/{uuid}", rule=RULE + "show", since=since, until=until)
    def show(ask: Ask[Any]) -> dict[str, Any]:
        return as_json(ask, need(ask), LINKS[:links], nested)

    @placement.route(
        "PUT",
        "/resource_providers/{uuid}",
        rule=RULE + "update",
        body=ChangedProvider,
        wrap="",
        since=since,
        until=until,
    )
    def update(ask: Ask[Any]) -> dict[str, Any]:
        return as_json(ask, _update(ask), LINKS[:links], nested)


for _since, _until, _links, _nested in SHAPES:
    _shapes(_links, _nested, _since, _until)


def _update(ask: Ask[Any]) -> Provider:
    row = need(ask)
    name = ask.given["name"]
    if name != row.name and ask.tx.count(Provider, name=name):
        raise NameTaken(what=name)
    changes: dict[str, Any] = {"name": name}
    if "parent" in ask.given and ask.given["parent"] != row.parent_id:
        changes |= _moved(ask.tx, row, ask.given["parent"])
    return ask.tx.put(row, **changes)


def _moved(tx: Tx, row: Provider, parent_id: str | None) -> dict[str, Any]:
    """A provider and all below it under another parent."""
    root = _root_of(tx, parent_id, row.id)
    below = tx.find(Provider, root_id=row.root_id)
    family = {row.id}
    while more := {p.id for p in below if p.parent_id in family} - family:
        family |= more
    if parent_id in family:
        raise BadRequest("creating loop in the provider tree is not allowed.")
    for p in below:
        if p.id in family and p.id != row.id:
            tx.put(p, root_id=root, quiet=True)
    return {"parent_id": parent_id, "root_id": root}


@placement.route("DELETE", "/resource_providers/{uuid}", rule=RULE + "delete", http=204)
def delete(ask: Ask[Any]) -> None:
    row = need(ask)
    if ask.tx.count(Provider, parent_id=row.id):
        raise ProviderIsParent(id=row.id)
    if ask.tx.sql("SELECT 1 FROM placement_allocation WHERE provider_id = ? LIMIT 1", row.id).fetchone():
        raise ProviderInUse(id=row.id)
    for table in ("placement_inventory", "placement_provider_trait", "placement_provider_aggregate"):
        ask.tx.sql(f"DELETE FROM {table} WHERE provider_id = ?", row.id)
    ask.tx.drop(row)


def aggregates_of(tx: Tx, provider_id: str) -> list[str]:
    text = "SELECT aggregate_id FROM placement_provider_aggregate WHERE provider_id = ? ORDER BY aggregate_id"
    return [a for (a,) in tx.sql(text, provider_id).fetchall()]


def _set_aggregates(ask: Ask[Any], row: Provider, wanted: Any) -> list[str]:
    if not isinstance(wanted, list) or len(set(map(str, wanted))) != len(wanted):
        raise BadRequest("JSON does not validate: aggregates must be an array of unique uuids")
    ids = sorted(_uuid(str(a)) for a in wanted)
    ask.tx.sql("DELETE FROM placement_provider_aggregate WHERE provider_id = ?", row.id)
    for a in ids:
        ask.tx.sql("INSERT INTO placement_provider_aggregate (provider_id, aggregate_id) VALUES (?, ?)", row.id, a)
    return ids


AGGREGATES = "/resource_providers/{uuid}/aggregates"


@placement.route("GET", AGGREGATES, rule=RULE + "aggregates:list", since="1.1", until="1.18")
def aggregates_before_generations(ask: Ask[Any]) -> dict[str, Any]:
    return {"aggregates": aggregates_of(ask.tx, need(ask).id)}


@placement.route("GET", AGGREGATES, rule=RULE + "aggregates:list", since="1.19")
def aggregates(ask: Ask[Any]) -> dict[str, Any]:
    row = need(ask)
    return {"aggregates": aggregates_of(ask.tx, row.id), "resource_provider_generation": generation(row)}


@placement.route("PUT", AGGREGATES, rule=RULE + "aggregates:update", since="1.1", until="1.18")
def set_aggregates_before_generations(ask: Ask[Any]) -> dict[str, Any]:
    return {"aggregates": _set_aggregates(ask, need(ask), ask.body)}


class Aggregates(Body):
    """PUT …/aggregates since 1.19."""

    aggregates: list[str] = field()
    generation: int = field(wire="resource_provider_generation")


@placement.route("PUT", AGGREGATES, rule=RULE + "aggregates:update", since="1.19", body=Aggregates, wrap="")
def set_aggregates(ask: Ask[Any]) -> dict[str, Any]:
    row = changed(ask, need(ask), ask.given["generation"])
    ids = _set_aggregates(ask, row, ask.given["aggregates"])
    return {"aggregates": ids, "resource_provider_generation": generation(row)}
