"""What happened: one append-only table, written in the transaction of the change itself (an outbox).

Reconcilers, telemetry, the audit trail and webhooks all read it, each with its own cursor.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from nutshell.core.resource import METADATA, TEXT

EVENTS = sa.Table(
    "event",
    METADATA,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", TEXT, nullable=False),  # "compute.server"
    sa.Column("verb", TEXT, nullable=False),  # "create", "update", "delete", or a service's own word
    sa.Column("resource_id", TEXT, nullable=False),
    sa.Column("project_id", TEXT, nullable=False),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("request_id", TEXT, nullable=False),
    sa.Column("facts", TEXT, nullable=False),
    sa.Column("txid", sa.BigInteger, nullable=False, server_default="0"),  # PostgreSQL: the transaction that wrote it
    sqlite_autoincrement=True,
)
CURSORS = sa.Table(
    "event_cursor",
    METADATA,
    sa.Column("consumer", TEXT, primary_key=True),
    sa.Column("seq", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Event:
    at: float
    kind: str
    verb: str
    resource_id: str
    project_id: str = ""
    user_id: str = ""
    request_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    row: Any = None  # as it then was; only for those told at the commit itself


@dataclass(frozen=True)
class Request:
    """Who and what caused the work at hand; crosses services, events, loops and drivers."""

    id: str = ""
    user_id: str = ""
    project_id: str = ""


UNHEARD = "store.unheard"  # the kind of an event nobody wrote: what other processes committed may have been missed

_CURRENT: ContextVar[Request] = ContextVar("nutshell_request", default=Request())  # noqa: B039 - frozen


def current_request() -> Request:
    return _CURRENT.get()


def set_request(request: Request) -> None:
    _CURRENT.set(request)


class _Sql(Protocol):
    dialect: Any

    def sql(self, text: str, *values: Any) -> Any: ...


def read_after(tx: _Sql, seq: int, limit: int = 500) -> list[Event]:
    """Events after a cursor, oldest first: on PostgreSQL only those older than every open transaction, for a number
    taken earlier may be committed later."""
    settled = "" if tx.dialect.sql.name == "sqlite" else " AND txid < txid_snapshot_xmin(txid_current_snapshot())"
    rows = tx.sql(
        "SELECT at, kind, verb, resource_id, project_id, user_id, request_id, facts, seq FROM event"
        f" WHERE seq > ?{settled} ORDER BY seq LIMIT ?",
        seq,
        limit,
    ).fetchall()
    return [
        Event(at, kind, verb, resource, project, user, request, msgspec.json.decode(facts), seq)
        for at, kind, verb, resource, project, user, request, facts, seq in rows
    ]


def cursor_of(tx: _Sql, consumer: str) -> int:
    """Where a consumer is; a new one starts at the beginning of what is kept."""
    row = tx.sql("SELECT seq FROM event_cursor WHERE consumer = ?", consumer).fetchone()
    return int(row[0]) if row else 0


def move_cursor(tx: _Sql, consumer: str, seq: int) -> None:
    """Record that a consumer has dealt with everything up to `seq`; it never moves back."""
    tx.sql(
        "INSERT INTO event_cursor (consumer, seq) VALUES (?, ?) ON CONFLICT (consumer)"
        " DO UPDATE SET seq = excluded.seq WHERE event_cursor.seq < excluded.seq",
        consumer,
        seq,
    )


def prune(tx: _Sql, keep: int = 10_000) -> int:
    """Forget events that every consumer has dealt with, but for the newest `keep`. Returns how many went."""
    row = tx.sql("SELECT min(seq) FROM event_cursor").fetchone()
    newest = tx.sql("SELECT max(seq) FROM event").fetchone()[0] or 0
    done = newest if row[0] is None else row[0]
    found: int = tx.sql("DELETE FROM event WHERE seq <= ?", min(done, newest - keep)).rowcount
    return found
