"""What measures of identity and image find there: made by the API, or, where that takes too long, put in as rows.

Everything bears the prefix `bench`; `clear` takes it away again.
"""

import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from peer import run
from settings import Layout
from side import Side

DEPTH = 5
USERS = 100  # in the groups, round about


@dataclass(frozen=True)
class Hierarchy:
    """Projects one below the other, the lowest last; a user who is in some of the groups."""

    project_ids: Sequence[str]
    user_id: str
    role_id: str


class Planter(Protocol):
    def people(self, count: int) -> None:
        """So many users and projects."""
        ...

    def images(self, count: int) -> None: ...

    def hierarchy(self, groups: int) -> Hierarchy:
        """Projects five deep; groups with a member each and an inherited role on one of the upper four."""
        ...

    def revocations(self, count: int) -> None: ...

    def same_cost(self, user_ids: Sequence[str], password: str) -> str:
        """Makes the first login of these cost the hash as much as ours; what it did, in words."""
        ...

    def clear(self) -> None: ...


def name() -> str:
    return f"bench{uuid.uuid4().hex[5:]}"


class ByApi:
    """For any cloud; revocations go into ours as rows where `state` says where that is."""

    def __init__(self, side: Side, state: Path | None = None) -> None:
        self.side, self.state = side, state
        self.made: list[tuple[str, str]] = []

    def _make(self, service: str, noun: str, path: str, **facts: object) -> str:
        body = facts if service == "image" else {noun: facts}
        found = self.side.call(service, "POST", path, body).json()
        made: str = (found if service == "image" else found[noun])["id"]
        self.made.append((service, f"{path}/{made}"))
        return made

    def people(self, count: int) -> None:
        for _ in range(count):
            self._make("identity", "user", "/users", name=name(), domain_id="default")
            self._make("identity", "project", "/projects", name=name(), domain_id="default")

    def images(self, count: int) -> None:
        for _ in range(count):
            self._make("image", "image", "/images", name=name(), disk_format="raw", container_format="bare")

    def hierarchy(self, groups: int) -> Hierarchy:
        call = self.side.call
        roles = {r["name"]: r["id"] for r in call("identity", "GET", "/roles").json()["roles"]}
        projects = ["default"]
        for _ in range(DEPTH):
            above = projects[-1]
            projects.append(
                self._make("identity", "project", "/projects", name=name(), domain_id="default", parent_id=above)
            )
        users = [self._make("identity", "user", "/users", name=name(), domain_id="default") for _ in range(USERS)]
        for n in range(groups):
            group = self._make("identity", "group", "/groups", name=name(), domain_id="default")
            call("identity", "PUT", f"/groups/{group}/users/{users[n % USERS]}")
            on = f"/OS-INHERIT/projects/{projects[1 + n % (DEPTH - 1)]}/groups/{group}/roles/{roles['member']}"
            call("identity", "PUT", f"{on}/inherited_to_projects")
        return Hierarchy(projects[1:], users[0], roles["member"])

    def revocations(self, count: int) -> None:
        if self.state is None:
            for _ in range(count):
                revoked = self.side.call("identity", "POST", "/auth/tokens", self.side.login_body())
                self.side.call(
                    "identity",
                    "DELETE",
                    "/auth/tokens",
                    headers={"X-Subject-Token": revoked.headers["X-Subject-Token"]},
                )
            return
        now = time.time()
        with sqlite3.connect(self.state / "cloud.db", timeout=60) as base:
            columns = [(r[1], r[2], r[3], r[4]) for r in base.execute("PRAGMA table_info(identity_revocations)")]
            known = {"expires_at": now + 3600, "revoked_at": now, "created_at": now, "kind": "token", "chain": 1}
            names = [c for c, *_ in columns]
            rows = (
                [name() if c == "id" else known.get(c, _zero(kind)) for c, kind, *_ in columns] for _ in range(count)
            )
            base.executemany(
                f"INSERT INTO identity_revocations ({','.join(names)}) VALUES ({','.join('?' * len(names))})", rows
            )
        base.close()

    def same_cost(self, user_ids: Sequence[str], password: str) -> str:
        return "its own hash"

    def clear(self) -> None:
        for service, path in reversed(self.made):
            self.side.call(service, "DELETE", path)
        self.made.clear()
        if self.state is not None:
            with sqlite3.connect(self.state / "cloud.db", timeout=60) as base:
                base.execute("DELETE FROM identity_revocations WHERE id LIKE 'bench%'")
            base.close()


def _zero(kind: str) -> object:
    return "" if "CHAR" in kind or "TEXT" in kind else 0


class AsRows:
    """For the peer: straight into its databases, as its services would have written them."""

    def __init__(self, at: Layout, own_hash_ms: float) -> None:
        self.at, self.own_hash_ms = at, own_hash_ms

    def _sql(self, database: str, words: Iterable[str]) -> str:
        command = ["mariadb", "--no-defaults", f"--socket={self.at.state}/mariadb.sock", "-uroot", "-N", database]
        text = ";\n".join(words)
        done = subprocess.run(command, input=f"BEGIN;\n{text};\nCOMMIT;\n", capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{database}: {done.stderr[-500:]}")
        return done.stdout

    def _insert(self, table: str, columns: str, rows: Iterable[str]) -> list[str]:
        """Thousands of rows a statement."""
        every = list(rows)
        parts = [every[n : n + 5000] for n in range(0, len(every), 5000)]
        return [f"INSERT INTO {table} ({columns}) VALUES {','.join(part)}" for part in parts]

    def _users(self, ids: Sequence[str]) -> list[str]:
        return [
            *self._insert("user", "id, extra, enabled, domain_id", (f"('{i}', '{{}}', 1, 'default')" for i in ids)),
            *self._insert("local_user", "user_id, domain_id, name", (f"('{i}', 'default', '{i}')" for i in ids)),
        ]

    def _projects(self, ids: Sequence[str], above: Sequence[str]) -> list[str]:
        rows = (f"('{i}', '{i}', '{{}}', '', 1, 'default', '{a}', 0)" for i, a in zip(ids, above, strict=True))
        return self._insert("project", "id, name, extra, description, enabled, domain_id, parent_id, is_domain", rows)

    def people(self, count: int) -> None:
        ids = [name() for _ in range(count)]
        self._sql("keystone", [*self._users(ids), *self._projects(ids, ["default"] * count)])

    def images(self, count: int) -> None:
        owner = self._sql("keystone", ["SELECT id FROM project WHERE name = 'admin'"]).strip()
        ids = [f"bench{str(uuid.uuid4())[5:]}" for _ in range(count)]
        rows = (
            f"('{i}', '{i}', 'queued', now() + INTERVAL {n} MICROSECOND, now(), 0, 'raw', 'bare', '{owner}', 0, 0,"
            " 0, 'shared', 0)"
            for n, i in enumerate(ids)
        )
        columns = "id, name, status, created_at, updated_at, deleted, disk_format, container_format, owner, min_disk,"
        self._sql("glance", self._insert("images", f"{columns} min_ram, protected, visibility, os_hidden", rows))

    def hierarchy(self, groups: int) -> Hierarchy:
        role = self._sql("keystone", ["SELECT id FROM role WHERE name = 'member'"]).strip()
        projects, users = [name() for _ in range(DEPTH)], [name() for _ in range(USERS)]
        ids = [name() for _ in range(groups)]
        given = (f"('GroupProject', '{i}', '{projects[n % (DEPTH - 1)]}', '{role}', 1)" for n, i in enumerate(ids))
        self._sql(
            "keystone",
            [
                *self._users(users),
                *self._projects(projects, ["default", *projects[:-1]]),
                *self._insert(
                    "`group`", "id, domain_id, name, extra", (f"('{i}', 'default', '{i}', '{{}}')" for i in ids)
                ),
                *self._insert(
                    "user_group_membership",
                    "user_id, group_id",
                    (f"('{users[n % USERS]}', '{i}')" for n, i in enumerate(ids)),
                ),
                *self._insert("assignment", "type, actor_id, target_id, role_id, inherited", given),
            ],
        )
        return Hierarchy(projects, users[0], role)

    def revocations(self, count: int) -> None:
        rows = (f"(now() - INTERVAL 1 SECOND, now(), '{name()[:32]}')" for _ in range(count))
        self._sql("keystone", self._insert("revocation_event", "issued_before, revoked_at, audit_id", rows))

    def same_cost(self, user_ids: Sequence[str], password: str) -> str:
        """bcrypt, at the cost whose time is next to that of our Argon2id here."""
        script = """import bcrypt, sys, time
word, wanted, best = sys.argv[1].encode(), float(sys.argv[2]), None
for cost in range(4, 14):
    began = time.process_time()
    made = bcrypt.hashpw(word, bcrypt.gensalt(cost))
    ms = (time.process_time() - began) * 1000
    if best is None or abs(ms - wanted) < abs(best[0] - wanted):
        best = (ms, cost, made.decode())
print(*best)"""
        found = run(self.at.venv / "bin/python", "-c", script, password, str(self.own_hash_ms))
        ms, cost, stored = found.split()
        ids = ",".join(f"'{i}'" for i in user_ids)
        which = f"local_user_id IN (SELECT id FROM local_user WHERE user_id IN ({ids}))"
        self._sql("keystone", [f"UPDATE password SET password_hash = '{stored}' WHERE {which}"])
        return f"bcrypt at cost {cost}, {float(ms):.0f} ms (Argon2id {self.own_hash_ms:.0f} ms)"

    def clear(self) -> None:
        like = "LIKE 'bench%'"
        self._sql(
            "keystone",
            [
                f"DELETE FROM assignment WHERE actor_id {like}",
                f"DELETE FROM user_group_membership WHERE group_id {like}",
                f"DELETE FROM `group` WHERE id {like}",
                f"DELETE FROM local_user WHERE user_id {like}",
                f"DELETE FROM user WHERE id {like}",
                "SET foreign_key_checks = 0",
                f"DELETE FROM project WHERE id {like}",
                "SET foreign_key_checks = 1",
                f"DELETE FROM revocation_event WHERE audit_id {like}",
            ],
        )
        self._sql("glance", [f"DELETE FROM images WHERE id {like}"])


def own_hash_ms() -> float:
    """Processor time of one verification of ours, the best of five."""
    from nutshell.identity.passwords import Passwords

    passwords, taken = Passwords(), []
    stored = passwords.hash("x")
    for _ in range(5):
        began = time.process_time()
        passwords.matches(stored, "x")
        taken.append((time.process_time() - began) * 1000)
    return min(taken)
