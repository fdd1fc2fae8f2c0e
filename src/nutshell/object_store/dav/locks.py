"""WebDAV's locks (RFC 4918, section 6), kept in the object store's index: they outlive the process.

One row for each locked path in the account `.dav` (container `locks`), one for each token (container `tokens`).
"""

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow, ContainerRow, ObjectRow, stamp

ACCOUNT, LOCKS, TOKENS = ".dav", "locks", "tokens"
LONGEST_S = 28 * 86400.0
TIDY_EVERY_S = 3600.0
PAGE = 1000
Lock = dict[str, Any]


class KeptLocks:
    """WsgiDAV's lock storage."""

    def __init__(self, engine: ObjectEngine) -> None:
        self._engine = engine
        self._guard = threading.Lock()  # looking and writing are one step
        self._tidied = time.monotonic()

    def open(self) -> None:
        """Nothing to open: the engine does when it is used."""

    def close(self) -> None:
        """Nor to close."""

    # -- rows
    def _container(self, name: str) -> ContainerRow | None:
        return self._engine.find(ACCOUNT, name)[1]

    def _row(self, container: str, name: str) -> ObjectRow | None:
        where = self._container(container)
        return None if where is None else self._engine.read(lambda i: i.object(where.id, name))

    def _at(self, path: str) -> list[Lock]:
        row = self._row(LOCKS, path)
        now = time.time()
        return [] if row is None else [lock for lock in row.shown["locks"] if lock["expire"] > now]

    def _below(self, path: str) -> Iterator[Lock]:
        where, after = self._container(LOCKS), ""
        prefix = path.rstrip("/") + "/"
        now = time.time()
        while where is not None:
            rows = self._engine.read(
                lambda i: i.list_objects(where.id, after=after, until="", prefix=prefix, limit=PAGE, reverse=False)  # noqa: B023 - called at once
            )
            for row in rows:
                yield from (lock for lock in row.shown["locks"] if lock["expire"] > now)
            if len(rows) < PAGE:
                return
            after = rows[-1].name

    def _write(self, path: str, locks: list[Lock], token: str, holds: bool) -> None:
        """What a path's locks are now, and whether this token means one of them."""

        def work(index: Any) -> None:
            now = stamp()
            account = index.account(ACCOUNT)
            if account is None:
                account = AccountRow(index.new_id(), ACCOUNT, now, now, {})
                index.put_account(account)
            for name, key, shown in ((LOCKS, path, {"locks": locks} if locks else None),
                                     (TOKENS, token, {"root": path} if holds else None)):  # fmt: skip
                where = index.container(account.id, name)
                if where is None:
                    where = ContainerRow(index.new_id(), account.id, name, 0, now, now, {})
                    index.put_container(where)
                old = index.object(where.id, key)
                if shown is not None:
                    index.put_object(ObjectRow(where.id, key, now, 0, "", "", 0, {}, shown=shown), old)
                elif old is not None:
                    index.drop_object(old)

        self._engine.change_now(work)

    # -- what WsgiDAV's lock manager asks
    def get(self, token: str) -> Lock | None:
        row = self._row(TOKENS, token)
        if row is None:
            return None
        return next((lock for lock in self._at(row.shown["root"]) if lock["token"] == token), None)

    def create(self, path: str, lock: Lock) -> Lock:
        """The lock, with its token and end."""
        root = _normal(path)
        with self._guard:
            self._tidy()
            wanted = float(lock["timeout"])
            timeout = wanted if 0 <= wanted <= LONGEST_S else LONGEST_S
            lock.update(
                root=root, timeout=timeout, expire=time.time() + timeout, token=f"opaquelocktoken:{uuid.uuid4()}"
            )
            self._write(root, [*self._at(root), lock], lock["token"], True)
        return lock

    def refresh(self, token: str, *, timeout: float) -> Lock:
        with self._guard:
            lock = self.get(token)
            if lock is None:
                raise ValueError("There is no such lock.")
            lasts = float(timeout) if 0 <= timeout <= LONGEST_S else LONGEST_S
            fresh = {**lock, "timeout": lasts, "expire": time.time() + lasts}
            others = [other for other in self._at(lock["root"]) if other["token"] != token]
            self._write(lock["root"], [*others, fresh], token, True)
        return fresh

    def delete(self, token: str) -> bool:
        with self._guard:
            row = self._row(TOKENS, token)
            if row is None:
                return False
            root = row.shown["root"]
            held = self._at(root)
            self._write(root, [lock for lock in held if lock["token"] != token], token, False)
        return any(lock["token"] == token for lock in held)

    def get_lock_list(self, path: str, *, include_root: bool, include_children: bool, token_only: bool) -> list[Any]:
        root = _normal(path)
        found = self._at(root) if include_root else []
        if include_children:
            found += self._below(root)
        return [lock["token"] for lock in found] if token_only else found

    def _tidy(self) -> None:
        """Now and then: locks that ran out."""
        if time.monotonic() - self._tidied < TIDY_EVERY_S:
            return
        self._tidied = time.monotonic()
        self.cleanup()

    def cleanup(self) -> None:
        where, after = self._container(LOCKS), ""
        while where is not None:
            rows = self._engine.read(
                lambda i: i.list_objects(where.id, after=after, until="", prefix="", limit=PAGE, reverse=False)  # noqa: B023 - called at once
            )
            for row in rows:
                for lock in row.shown["locks"]:
                    if lock["expire"] <= time.time():
                        self._write(row.name, self._at(row.name), lock["token"], False)
            if len(rows) < PAGE:
                return
            after = rows[-1].name

    def clear(self) -> None:
        for lock in list(self._below("/")):
            self.delete(lock["token"])


def _normal(path: str) -> str:
    return "/" + path.strip("/")
