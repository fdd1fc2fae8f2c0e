"""Migrations: each resize of a server, from its start until it is confirmed or reverted (Compute API, "Migrations").

A migration has the id of the operation that made it, which is also the placement consumer that keeps the old size.
Servers do not move between hosts here, so there is never a live migration in progress.
"""

from typing import Any

import sqlalchemy as sa

from nutshell.compute import wire
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute, page_links
from nutshell.core.clock import iso_micros, parse_iso
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.listing import page_limit
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.core.versions import Span

INDEX = "os_compute_api:os-migrations:index"
SERVERS = "os_compute_api:servers:migrations:"
TYPED, PAGED, BEFORE, OWNED = Span.of("2.23", ""), Span.of("2.59", ""), Span.of("2.66", ""), Span.of("2.80", "")
FILTERS = {
    "status": "status",
    "instance_uuid": "server_id",
    "migration_type": "type",
    "source_compute": "source_host",
    "user_id": "user_id",
    "project_id": "project_id",
}
MOST = 1000


class Migration(
    Resource, service="compute", one="migration", many="migrations", tombstone=True, indexes=(("server_id",),)
):
    """One move of a server to another size. It outlives its server for as long as deleted servers are kept."""

    number: int = field(unique=True)
    server_id: str = field()
    project_id: str = field(default="")
    user_id: str = field(default="")
    type: str = field(default="resize")
    status: str = field(default="pre-migrating")
    source_host: str = field(default="")
    target_host: str = field(default="")
    old_flavor_id: str = field(default="")
    new_flavor_id: str = field(default="")


class NoMigration(NotFound):
    """In-progress live migration {number} is not found for server {server_id}."""


def begin_migration(tx: Tx, server: Server, new_flavor_id: str) -> None:
    """A resize was asked for; `server` has its operation already, and its old flavor still."""
    newest = tx.sql(f"SELECT max(number) FROM {Migration.table.name}").fetchone()[0] or 0
    made = Migration(
        id=server.operation_id,
        number=newest + 1,
        server_id=server.id,
        project_id=server.project_id,
        user_id=tx.request.user_id,
        source_host=server.host,
        target_host=server.host,
        old_flavor_id=server.flavor_id,
        new_flavor_id=new_flavor_id,
    )
    tx.add(made)


def mark_migration(tx: Tx, migration_id: str, status: str) -> None:
    """A migration got so far. None of this id is fine: its server was resized before there were migrations."""
    found = tx.get(Migration, migration_id)
    if found is not None and found.status != status:
        tx.put(found, status=status)


def forget_migrations(tx: Tx, server_id: str) -> None:
    """The server is gone; what is left of its migrations is shown as long as it would be."""
    for m in tx.find(Migration, server_id=server_id):
        tx.drop(m, quiet=True)


def as_json(ask: Ask[Any], m: Migration, hosts: bool) -> dict[str, Any]:
    source, target = (m.source_host, m.target_host) if hosts else (None, None)
    found: dict[str, Any] = {
        "id": m.number,
        "status": m.status,
        "instance_uuid": m.server_id,
        "source_node": source,
        "source_compute": source,
        "dest_node": target,
        "dest_compute": target,
        "dest_host": None,
        "old_instance_type_id": _whole(m.old_flavor_id),
        "new_instance_type_id": _whole(m.new_flavor_id),
        "created_at": iso_micros(m.created_at),
        "updated_at": None if m.updated_at is None else iso_micros(m.updated_at),
    }
    if ask.at in TYPED:
        found["migration_type"] = m.type
    if ask.at in PAGED:
        found["uuid"] = m.id
    if ask.at in OWNED:
        found |= {"user_id": m.user_id, "project_id": m.project_id}
    return found


def _whole(flavor_id: str) -> int | None:
    """Flavors have no numbers here but those whose id is one."""
    return int(flavor_id) if flavor_id.isascii() and flavor_id.isdecimal() and len(flavor_id) < 10 else None


def _time(ask: Ask[Any], name: str) -> float | None:
    text = ask.asked(name)
    try:
        return parse_iso(text.replace(" ", "+")) if text else None
    except ValueError:
        raise wire.invalid(name, text, f"{text!r} is not a 'date-time'") from None


def _wanted(ask: Ask[Any]) -> list[sa.ColumnElement[bool]]:
    wheres: list[sa.ColumnElement[bool]] = []
    for name, column in FILTERS.items():
        if ask.asked(name) and (name not in ("user_id", "project_id") or ask.at in OWNED):
            wheres.append(Migration.c(column) == ask.asked(name))
    if ask.asked("host"):
        host = ask.asked("host")
        wheres.append(sa.or_(Migration.c("source_host") == host, Migration.c("target_host") == host))
    changed = sa.func.coalesce(Migration.c("updated_at"), Migration.c("created_at"))
    since = _time(ask, "changes-since") if ask.at in PAGED else None
    before = _time(ask, "changes-before") if ask.at in BEFORE else None
    if since is not None:
        wheres.append(changed >= since)
    if before is not None:
        if since is not None and before < since:
            raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
        wheres.append(changed <= before)
    return wheres


def _known(ask: Ask[Any]) -> None:
    known = {"hidden", "host", "instance_uuid", "source_compute", "status", "migration_type", "limit", "marker",
             "changes-since"}  # fmt: skip
    known |= {"changes-before"} if ask.at in BEFORE else set()
    known |= {"user_id", "project_id"} if ask.at in OWNED else set()
    wire.only_query(ask, frozenset(known), "2.59")


@compute.route("GET", "/os-migrations", rule=INDEX)
def index(ask: Ask[Any]) -> dict[str, Any]:
    _known(ask)
    if ask.asked("project_id") != ask.who.project_id or ask.at not in OWNED:
        ask.must(INDEX + ":all_projects")
    wheres, limit = _wanted(ask), MOST
    if ask.at in PAGED:
        limit = page_limit(ask) or MOST
        if ask.asked("marker"):
            marker = ask.tx.one(Migration, deleted=True, id=ask.asked("marker"))
            if marker is None:
                raise BadRequest(f"Marker {ask.asked('marker')} could not be found.")
            wheres.append(Migration.c("number") < marker.number)
    rows = ask.tx.find(Migration, *wheres, deleted=True, order="number desc", limit=limit + 1)
    page, hosts = rows[:limit], ask.may(INDEX + ":host")
    found: dict[str, Any] = {"migrations": [as_json(ask, m, hosts) for m in page]}
    if ask.at in PAGED and page:
        found |= page_links(ask, "migrations", page, len(rows) > limit)
    return found


# -- live migrations of one server, of which there are none


@compute.route("GET", "/servers/{id}/migrations", rule=SERVERS + "index", noun=Server, loads=True, since="2.23")
def of_server(ask: Ask[Server]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    return {"migrations": []}


def _none(ask: Ask[Server]) -> None:
    raise NoMigration(number=ask.params["number"], server_id=ask.target.id)


ONE = "/servers/{id}/migrations/{number}"
compute.route("GET", ONE, rule=SERVERS + "show", noun=Server, loads=True, since="2.23")(_none)
compute.route("DELETE", ONE, rule=SERVERS + "delete", noun=Server, loads=True, since="2.24")(_none)


class Nothing(Body):
    force_complete: None = field()


@compute.route("POST", ONE + "/action", rule=SERVERS + "force_complete", noun=Server, loads=True, since="2.22",
               body=Nothing, wrap="")  # fmt: skip
def force_complete(ask: Ask[Server]) -> None:
    raise BadRequest(str(NoMigration(number=ask.params["number"], server_id=ask.target.id)))
