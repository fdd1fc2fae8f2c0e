"""The keys that sign tokens and seal secrets: derived from one master key, renewed by number.

The master key is a file in the state directory; the database holds for each key a number and a random salt, so that
every process with the same master has the same keys and neither the file nor the database alone gives one away.
Source: RFC 5869 (HKDF: one expansion with SHA-256), NIST SP 800-57, "Cryptoperiods".
"""

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nutshell.core.cloud import Cloud
from nutshell.core.config import ConfigError
from nutshell.core.events import Event
from nutshell.core.resource import Resource
from nutshell.core.resource import field as column
from nutshell.core.store import Tx

log = logging.getLogger("nutshell.identity")
PURPOSES = ("tokens", "credentials")
HEARD_S = 3.0  # a new key is used only when every process has heard of it
LOOK_AGAIN_S = 0.5


class KeyRow(Resource, service="identity", one="key", many="keys", unique=(("purpose", "number"),)):
    """One key of the cloud. The highest number of a purpose is the one in use; older ones still open."""

    purpose: str = column()
    number: int = column()
    salt: str = column(hidden=True)
    check: str = column(hidden=True)  # tells whether a master key is the right one
    used_from: float = column()


@dataclass(frozen=True)
class Key:
    secret: bytes = field(repr=False)
    used_from: float  # real time: by then every process has heard of it


class Keys:
    """The keys of every purpose, by number. One per process; learns of new ones by event.

    `several`: whether other processes may make keys, so that one not known here is looked for.
    """

    def __init__(self, cloud: Cloud, master: bytes, several: bool) -> None:
        self._cloud, self._master, self._several = cloud, master, several
        self._found: dict[str, dict[int, Key]] = {}
        self._looked_at = 0.0
        cloud.store.on_commit(self._told)

    def newest(self, purpose: str) -> tuple[int, bytes]:
        """(number, key) of the key in use."""
        if not self._found:  # a cloud in memory that began as a copy of another
            self._cloud.read(self._read)
        keys, now = self._found[purpose], self._cloud.clock.real()
        number = max((n for n, k in keys.items() if k.used_from <= now), default=min(keys))
        return number, keys[number].secret

    def find(self, purpose: str, number: int) -> bytes | None:
        """The key of this number; None when there is none (any more)."""
        key = self._found.get(purpose, {}).get(number)
        if key is None and self._several and time.monotonic() - self._looked_at > LOOK_AGAIN_S:
            self._looked_at = time.monotonic()
            self._cloud.threads.submit(self._cloud.read, self._read).result()  # the caller's transaction is open
            key = self._found.get(purpose, {}).get(number)
        return key.secret if key is not None else None

    def begin_as(self, other: "Keys") -> None:
        """Take the master key of the cloud that this one is a copy of."""
        self._master, self._found = other._master, {}

    def make(self, tx: Tx, purpose: str) -> int:
        """A new key, in use in a moment; its number."""
        rows = tx.find(KeyRow, purpose=purpose, order="number desc", limit=1)
        number, salt = (rows[0].number + 1 if rows else 1), secrets.token_hex(32)
        new_id = self._cloud.clock.new_hex_id()
        used_from = self._cloud.clock.real() + HEARD_S if rows else 0.0
        check = self._check(salt)
        tx.add(KeyRow(id=new_id, purpose=purpose, number=number, salt=salt, check=check, used_from=used_from))
        return number

    def begin(self, tx: Tx) -> None:
        """At every start: the first keys, when there are none. ConfigError when those there were made with another
        master key."""
        rows = tx.find(KeyRow)
        for row in rows:
            if not hmac.compare_digest(row.check, self._check(row.salt)):
                raise ConfigError(
                    "the keys in this database were made with another master key; every process of one cloud needs"
                    " the same keys/master in its state directory: copy it from where the cloud was made"
                )
        for purpose in PURPOSES:
            if not any(r.purpose == purpose for r in rows):
                self.make(tx, purpose)
        self._read(tx)

    def _read(self, tx: Tx) -> None:
        rows = tx.find(KeyRow)
        found: dict[str, dict[int, Key]] = {p: {} for p in PURPOSES}
        for row in rows:
            secret = self._derive(row.salt, f"{row.purpose} {row.number}")
            found.setdefault(row.purpose, {})[row.number] = Key(secret, row.used_from)
        self._found = found

    def _told(self, events: Sequence[Event]) -> None:
        if any(e.kind == KeyRow.event_kind for e in events):
            self._cloud.read(self._read)

    def _derive(self, salt: str, purpose: str) -> bytes:
        return hmac.digest(hmac.digest(bytes.fromhex(salt), self._master, "sha256"), purpose.encode() + b"\1", "sha256")

    def _check(self, salt: str) -> str:
        return self._derive(salt, "check").hex()[:16]


def load_master(state: Path | None) -> bytes:
    """The master key in the state directory, made on the first start (mode 0600). Without a directory: a fresh one."""
    if state is None:
        return secrets.token_bytes(32)
    folder = state / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "master"
    if not path.exists():
        fresh = folder / f".master.{os.getpid()}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # the first of two starters wins, and both read the winner's
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    key = path.read_bytes()
    if len(key) < 32:
        raise ConfigError(f"{path} is not whole ({len(key)} bytes, 32 are needed); bring it back from a backup")
    return hashlib.sha256(key).digest() if len(key) > 32 else key
