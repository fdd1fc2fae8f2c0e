"""Host aggregates: hosts with metadata in common; the metadata "availability_zone" puts them into a zone.

Source: Compute API reference, "Host aggregates". A host is in at most one zone: `Node.zone` is kept by these verbs.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nutshell.compute import wire
from nutshell.compute.nodes import DEFAULT_ZONE, Node
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask, Handler
from nutshell.core.store import Tx
from nutshell.core.versions import Span

RULE = "os_compute_api:os-aggregates:"
PATH = "/os-aggregates"
ZONE = "availability_zone"
WITH_UUID = Span.of("2.41", "")


class NoAggregate(NotFound):
    """Aggregate {id} could not be found."""


class NoHost(NotFound):
    """Compute host {host} could not be found."""


class NotInAggregate(NotFound):
    """Cannot remove host {host} in aggregate {id}"""


class AggregateExists(Conflict):
    """Aggregate {name} already exists."""


class AlreadyInAggregate(Conflict):
    """Aggregate {id} already has host {host}."""


class CannotAdd(Conflict):
    """Cannot add host to aggregate {id}. Reason: {why}."""


class CannotRemove(Conflict):
    """Cannot remove host from aggregate {id}. Reason: {why}."""


class CannotUpdate(BadRequest):
    """Cannot update aggregate {id}. Reason: {why}."""


class Aggregate(Resource, service="compute", one="aggregate", many="aggregates", path=PATH, unique=(("name",),)):
    """Hosts by name, in the order they were added. `number` is its id on the wire."""

    number: int = field(unique=True)
    name: str = field()
    hosts: list[str] = field(factory=list)
    metadata: dict[str, str] = field(factory=dict)

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE)


def as_json(ask: Ask[Any], a: Aggregate) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": a.number,
        "name": a.name,
        ZONE: a.zone,
        "hosts": a.hosts,
        "metadata": a.metadata,
        "created_at": iso_micros(a.created_at),
        "updated_at": None if a.updated_at is None else iso_micros(a.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    return found | ({"uuid": a.id} if ask.at in WITH_UUID else {})


def need(ask: Ask[Any]) -> Aggregate:
    """The aggregate the path names by its number."""
    key = ask.params["id"]
    if not key.isascii() or not key.removeprefix("-").isdecimal():
        raise BadRequest("id must be an integer")
    found = ask.tx.one(Aggregate, number=int(key)) if abs(int(key)) <= wire.BIG else None
    if found is None:
        raise NoAggregate(id=key)
    return found


@compute.route("GET", PATH, rule=RULE + "index")
def index(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    return {"aggregates": [as_json(ask, a) for a in ask.tx.find(Aggregate, order="number")]}


@compute.route("GET", PATH + "/{id}", rule=RULE + "show")
def show(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    return {"aggregate": as_json(ask, need(ask))}


class NewAggregate(Body):
    name: str = field()
    zone: str | None = field(default=None, wire=ZONE, min_length=1, max_length=255)


def _zone(name: str | None) -> str | None:
    """400 for a zone's name that could not be asked for: a colon separates it from a host."""
    if name is not None and (":" in name or name != name.strip() or not wire.printable(name)):
        raise wire.invalid(ZONE, name, f"{name!r} is not a 'az_name'")
    return name


def _free_name(tx: Tx, name: str, beside: str = "") -> str:
    found = tx.one(Aggregate, name=name)
    if found is not None and found.id != beside:
        raise AggregateExists(name=name)
    return name


@compute.route("POST", PATH, rule=RULE + "create", noun=Aggregate, verb="create", body=NewAggregate)
def create(ask: Ask[Any]) -> dict[str, Any]:
    zone = _zone(ask.given.get("zone"))
    name = _free_name(ask.tx, wire.check_name("name", ask.given["name"]))
    newest = ask.tx.sql(f"SELECT max(number) FROM {Aggregate.table.name}").fetchone()[0] or 0
    made = Aggregate(id=ask.new_id(), number=newest + 1, name=name, metadata={ZONE: zone} if zone else {})
    shown = as_json(ask, ask.tx.add(made))
    return {"aggregate": {k: v for k, v in shown.items() if k not in ("hosts", "metadata")}}


class AggregateUpdate(Body):
    name: str = field(default="")
    zone: str | None = field(default=None, wire=ZONE, min_length=1, max_length=255)


@compute.route("PUT", PATH + "/{id}", rule=RULE + "update", noun=Aggregate, verb="update", body=AggregateUpdate)
def update(ask: Ask[Any]) -> dict[str, Any]:
    a, given = need(ask), ask.given
    if not given:
        raise BadRequest("Invalid input for field/attribute aggregate. Value: {}. {} does not have enough properties")
    changes: dict[str, Any] = {}
    if "name" in given:
        changes["name"] = _free_name(ask.tx, wire.check_name("name", given["name"].strip()), a.id)
    if "zone" in given:
        changes["metadata"] = _change_zone(ask, a, _zone(given["zone"]), a.metadata)
    return {"aggregate": as_json(ask, ask.tx.put(a, **changes))}


def _change_zone(ask: Ask[Any], a: Aggregate, zone: str | None, metadata: dict[str, str]) -> dict[str, str]:
    """The metadata with another zone, its hosts moved there. 400 where that would carry servers along."""
    if not zone:
        raise CannotUpdate(f"Aggregate {a.name} does not support empty named availability zone", id=a.number)
    others = _zones_of(ask.tx, a.hosts, a.id) - {zone}
    if others:
        raise CannotUpdate(f"One or more hosts already in availability zone(s) {sorted(others)}", id=a.number)
    if zone != a.zone:
        if ask.tx.count(Server, host=a.hosts):
            raise CannotUpdate("One or more hosts contain instances in this zone", id=a.number)
        _move(ask.tx, a.hosts, zone)
    return {**metadata, ZONE: zone}


def _zones_of(tx: Tx, hosts: Sequence[str], beside: str) -> set[str]:
    """The zones other aggregates put any of these hosts into."""
    return {a.zone for a in tx.find(Aggregate) if a.id != beside and a.zone and set(a.hosts) & set(hosts)}


def _move(tx: Tx, hosts: Sequence[str], zone: str) -> None:
    for node in tx.find(Node, name=hosts):
        tx.put(node, zone=zone)


@compute.route("DELETE", PATH + "/{id}", rule=RULE + "delete")
def delete(ask: Ask[Any]) -> None:
    a = need(ask)
    if a.hosts:
        raise BadRequest(f"Cannot remove host from aggregate {a.number}. Reason: Host aggregate is not empty.")
    ask.tx.drop(a)


class OneHost(Body):
    host: str = field(min_length=1, max_length=255, pattern="^[a-zA-Z0-9-._]*$")


def _action(name: str, body: type[Body]) -> Callable[[Handler], Handler]:
    return compute.route(
        "POST", PATH + "/{id}/action", rule=RULE + name, noun=Aggregate, verb=name, action=name, body=body
    )


@_action("add_host", OneHost)
def add_host(ask: Ask[Any]) -> dict[str, Any]:
    """409 when the host is in it already, is in another zone, or has servers that would change their zone."""
    a, host = need(ask), ask.given["host"]
    node = ask.tx.one(Node, name=host)
    if node is None:
        raise NoHost(host=host)
    if host in a.hosts:
        raise AlreadyInAggregate(id=a.number, host=host)
    if a.zone:
        others = _zones_of(ask.tx, [host], a.id) - {a.zone}
        if others:
            raise CannotAdd(f"One or more hosts already in availability zone(s) {sorted(others)}", id=a.number)
        if node.zone != a.zone:
            if ask.tx.count(Server, host=host):
                raise CannotAdd(f"Host {host} has servers that would change their availability zone", id=a.number)
            _move(ask.tx, [host], a.zone)
    return {"aggregate": as_json(ask, ask.tx.put(a, hosts=[*a.hosts, host]))}


@_action("remove_host", OneHost)
def remove_host(ask: Ask[Any]) -> dict[str, Any]:
    a, host = need(ask), ask.given["host"]
    if host not in a.hosts:
        raise NotInAggregate(id=a.number, host=host)
    if a.zone and not _zones_of(ask.tx, [host], a.id) and a.zone != DEFAULT_ZONE:
        if ask.tx.count(Server, host=host):
            raise CannotRemove(f"Host {host} has servers that would change their availability zone", id=a.number)
        _move(ask.tx, [host], DEFAULT_ZONE)
    return {"aggregate": as_json(ask, ask.tx.put(a, hosts=[h for h in a.hosts if h != host]))}


class NewMetadata(Body):
    metadata: dict[str, str | None] = field()


@_action("set_metadata", NewMetadata)
def set_metadata(ask: Ask[Any]) -> dict[str, Any]:
    """Merge; null removes a key."""
    a, given = need(ask), ask.given["metadata"]
    for key, value in given.items():
        if not 1 <= len(key) <= 255 or (value is not None and len(value) > 255):
            raise wire.invalid("metadata", key, "is not text of 1 to 255 characters")
    merged: dict[str, str] = {k: v for k, v in {**a.metadata, **given}.items() if v is not None}
    if ZONE in given:
        merged = _change_zone(ask, a, _zone(given[ZONE]), merged)
    return {"aggregate": as_json(ask, ask.tx.put(a, metadata=merged))}


class Cache(Body):
    cache: list[dict[str, str]] = field(min_length=1)


@compute.route("POST", PATH + "/{id}/images", rule="compute:aggregates:images", http=202, since="2.81", noun=Aggregate,
               verb="images", body=Cache, wrap="")  # fmt: skip
def cache_images(ask: Ask[Any]) -> None:
    need(ask)
    ids = [i.get("id", "") for i in ask.given["cache"]]
    if len(set(ids)) != len(ids):
        raise BadRequest("Duplicate images in request")
    raise BadRequest("The hypervisor of this cloud caches an image when a server first needs it, and not before.")


def forget_host(tx: Tx, host: str) -> None:
    """A host that is no more is in no aggregate."""
    for a in tx.find(Aggregate):
        if host in a.hosts:
            tx.put(a, hosts=[h for h in a.hosts if h != host])
