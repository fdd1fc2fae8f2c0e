"""Quotas: counters changed in the transaction of the verb that uses them.

A limit of -1 is none. Usage rows are created when first used; limits set for a project override the defaults, which
an operator may override for the whole cloud (the "default" quota class).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from nutshell.core.errors import QuotaExceeded
from nutshell.core.resource import METADATA, TEXT
from nutshell.core.store import Tx

LIMITS = sa.Table(
    "quota_limit",
    METADATA,
    sa.Column("project_id", TEXT, primary_key=True),  # "" is the default class
    sa.Column("name", TEXT, primary_key=True),  # "compute.instances"
    sa.Column("value", sa.BigInteger, nullable=False),
)
USAGE = sa.Table(
    "quota_usage",
    METADATA,
    sa.Column("project_id", TEXT, primary_key=True),
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
)


class Outer(Protocol):
    """Limits that are kept elsewhere and go before those here (identity's unified limits)."""

    def limits(self, tx: Tx, project_id: str, names: Sequence[str]) -> Mapping[str, int]:
        """Of these names those it knows, with the limit of the project ("": the default)."""
        ...

    def shared(self, tx: Tx, project_id: str, name: str) -> tuple[Sequence[str], int] | None:
        """The projects that may use only so much together; None when no such limit holds."""
        ...


@dataclass(frozen=True)
class Quotas:
    """Names are "service.resource". `defaults`: what each service declared."""

    defaults: Mapping[str, int]
    outer: Outer | None = None

    def limit(self, tx: Tx, project_id: str, name: str) -> int:
        return self.limits(tx, project_id, [name])[name]

    def limits(self, tx: Tx, project_id: str, names: list[str]) -> dict[str, int]:
        """The limits in force for a project ("" for the defaults)."""
        found = {n: self.defaults[n] for n in names}
        marks = ",".join("?" * len(names))
        rows = tx.sql(
            f"SELECT name, value FROM quota_limit WHERE project_id IN ('', ?) AND name IN ({marks})"
            " ORDER BY project_id",
            project_id,
            *names,
        ).fetchall()
        found.update(dict(rows))
        if self.outer is not None:
            found.update(self.outer.limits(tx, project_id, names))
        return found

    def used(self, tx: Tx, project_id: str, names: list[str]) -> dict[str, int]:
        marks = ",".join("?" * len(names))
        rows = tx.sql(
            f"SELECT name, used FROM quota_usage WHERE project_id = ? AND name IN ({marks})",
            project_id,
            *names,
        ).fetchall()
        return dict.fromkeys(names, 0) | {n: int(v) for n, v in rows}

    def set_limits(self, tx: Tx, project_id: str, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            tx.sql(
                "INSERT INTO quota_limit (project_id, name, value) VALUES (?,?,?) ON CONFLICT (project_id, name)"
                " DO UPDATE SET value = excluded.value",
                project_id,
                name,
                value,
            )

    def clear_limits(self, tx: Tx, project_id: str, prefix: str) -> None:
        """Back to the defaults for one service's names ("compute.")."""
        tx.sql("DELETE FROM quota_limit WHERE project_id = ? AND name LIKE ?", project_id, prefix + "%")

    def take(self, tx: Tx, project_id: str, amounts: Mapping[str, int]) -> None:
        """Use some of a project's quota, or QuotaExceeded (the transaction then changes nothing)."""
        names = [n for n, a in amounts.items() if a]
        if not names:
            return
        limits = self.limits(tx, project_id, names)
        for name in names:
            amount = amounts[name]
            row = tx.sql(
                "INSERT INTO quota_usage (project_id, name, used) VALUES (?,?,?) ON CONFLICT (project_id, name)"
                " DO UPDATE SET used = quota_usage.used + excluded.used RETURNING used",
                project_id,
                name,
                amount,
            ).fetchone()
            if limits[name] >= 0 and row[0] > limits[name] and amount > 0:
                raise _exceeded(name, amount, row[0] - amount, limits[name])
            shared = self.outer.shared(tx, project_id, name) if self.outer is not None and amount > 0 else None
            if shared is not None:
                together = sum(self.used(tx, one, [name])[name] for one in shared[0])
                if together > shared[1]:
                    raise _exceeded(name, amount, together - amount, shared[1])

    def give_back(self, tx: Tx, project_id: str, amounts: Mapping[str, int]) -> None:
        for name, amount in amounts.items():
            if amount:
                tx.sql(
                    "UPDATE quota_usage SET used = CASE WHEN used > ? THEN used - ? ELSE 0 END"
                    " WHERE project_id = ? AND name = ?",
                    amount,
                    amount,
                    project_id,
                    name,
                )


def _exceeded(name: str, amount: int, used: int, limit: int) -> QuotaExceeded:
    short = name.partition(".")[2]
    return QuotaExceeded(name=short, requested=amount, used=used, limit=limit, full_name=name)
