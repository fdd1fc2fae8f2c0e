"""Assignments as they work out: groups taken apart into their members, inherited roles on the projects they reach,
implied roles named (Identity API v3, "List role assignments", `effective`).

A thousand groups are thousands of lines: rows are read as they come, and each query stands once, not once a line.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from nutshell.core.store import Tx
from nutshell.identity.assignments import SYSTEM
from nutshell.identity.projects import Project
from nutshell.identity.roles import expand

MOST_VALUES = 10_000  # in one query; the databases take 32,766 and more


class Entry(NamedTuple):
    """One line of the list; `via_…` say what an effective line comes from."""

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool
    via_group: str = ""
    via_target: str = ""
    via_kind: str = ""
    via_role: str = ""


def read(tx: Tx, text: str, values: Collection[str]) -> list[Any]:
    """The rows of a query that ends in an open "… IN", for any number of values; in no order."""
    found: list[Any] = []
    every = list(values)
    for n in range(0, len(every), MOST_VALUES):
        part = every[n : n + MOST_VALUES]
        found += tx.sql(f"{text} ({','.join('?' * len(part))})", *part).fetchall()
    return found


def effective(
    tx: Tx, user_id: str, system: bool, scopes: Sequence[Project] | None, only_inherited: bool
) -> list[Entry]:
    """Of a user ("": all), on the system or these projects and domains (None: anywhere). Domains' own roles count by
    what they imply."""
    entries = _assigned(tx, user_id, system, scopes)
    if only_inherited:
        entries = [e for e in entries if e.inherited]
    entries = _spread(tx, _members(tx, entries, user_id), scopes)
    if scopes is not None:
        inside = {p.id for p in scopes}
        entries = [e for e in entries if e.target_id in inside]
    return _implied(tx, entries)


def _assigned(tx: Tx, user_id: str, system: bool, scopes: Sequence[Project] | None) -> list[Entry]:
    """The assignments from which the lines come, oldest first."""
    where, values = ["1 = 1"], list[Any]()
    if user_id:
        where.append("actor_id IN (SELECT ? UNION ALL SELECT group_id FROM identity_memberships WHERE user_id = ?)")
        values += [user_id, user_id]
    targets: Collection[str] = {SYSTEM} if system else ()
    if scopes is not None:
        targets = {i for p in scopes for i in (p.id, *p.lineage)}
        if not targets:
            return []
    if 0 < len(targets) <= MOST_VALUES:
        where.append(f"target_id IN ({','.join('?' * len(targets))})")
        values += targets
    rows = tx.sql(
        "SELECT actor_kind, actor_id, target_kind, target_id, role_id, inherited FROM identity_role_assignments"
        f" WHERE {' AND '.join(where)} ORDER BY created_at, id",
        *values,
    ).fetchall()
    return [
        Entry(kind, actor, on, target, role, bool(inherited))
        for kind, actor, on, target, role, inherited in rows
        if not targets or target in targets
    ]


def _members(tx: Tx, entries: list[Entry], user_id: str) -> list[Entry]:
    groups = {e.actor_id for e in entries if e.actor_kind == "group"}
    if not groups:
        return entries
    of: dict[str, list[str]] = {}
    if user_id:
        of = {group: [user_id] for group in groups}  # only groups of this user were read
    else:
        for group, user in read(tx, "SELECT group_id, user_id FROM identity_memberships WHERE group_id IN", groups):
            of.setdefault(group, []).append(user)
    found: list[Entry] = []
    for e in entries:
        if e.actor_kind == "user":
            found.append(e)
        else:
            _, group, kind, target, role, inherited, *_ = e
            found.extend([Entry("user", u, kind, target, role, inherited, group) for u in of.get(group, ())])
    return found


def _spread(tx: Tx, entries: list[Entry], scopes: Sequence[Project] | None) -> list[Entry]:
    """Inherited roles on each project they reach."""
    roots = {e.target_id for e in entries if e.inherited}
    if not roots:
        return entries
    reach: dict[str, list[str]] = {}
    for project_id, lineage in ((p.id, p.lineage) for p in scopes) if scopes is not None else _below(tx, roots):
        for above in lineage:
            reach.setdefault(above, []).append(project_id)
    found: list[Entry] = []
    for e in entries:
        if not e.inherited:
            found.append(e)
            continue
        actor_kind, actor_id, kind, target_id, role_id, _, group, *_ = e
        found.extend(
            [
                Entry(actor_kind, actor_id, "project", p, role_id, False, group, target_id, kind)
                for p in reach.get(target_id, ())
            ]
        )
    return found


def _below(tx: Tx, roots: set[str]) -> Iterable[tuple[str, Sequence[str]]]:
    """Every project below these, with those of them and of each other that are above it; a query a level."""
    parents: dict[str, str] = {}
    level: Collection[str] = roots
    while level:
        rows = read(tx, "SELECT id, parent_id FROM identity_projects WHERE parent_id IN", level)
        level = [project_id for project_id, _ in rows if project_id not in parents]
        parents.update(rows)
    for project_id in parents:
        lineage, at = [], project_id
        while at in parents:
            at = parents[at]
            lineage.append(at)
        yield project_id, lineage


def _implied(tx: Tx, entries: list[Entry]) -> list[Entry]:
    """Each line, and one for each role that its role implies; a line that comes twice stands once."""
    own = {r for (r,) in tx.sql("SELECT id FROM identity_roles WHERE domain_id <> ''").fetchall()}
    implied = {r: sorted(expand(tx, {r}) - {r} - own) for r in {e.role_id for e in entries}}
    found: dict[Entry, None] = {}
    for e in entries:
        if e.role_id not in own:
            found[e] = None
        for role_id in implied[e.role_id]:
            found[Entry(*e[:4], role_id, *e[5:9], e.role_id)] = None
    return list(found)
