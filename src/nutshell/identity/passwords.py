"""Passwords and secrets: Argon2id, and an honest memory of logins that this process has verified already.

Source: RFC 9106; OWASP Password Storage Cheat Sheet (19 MiB, t=2, p=1).
"""

import hashlib
import secrets
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MOST = 10_000


class Passwords:
    """Hashes and verifies. A verified login is remembered as a keyed hash of user, stored hash and password, under a
    key that lives and dies with this process: a changed password has another stored hash and is not found."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, None] = {}
        self._hasher: PasswordHasher | None = None

    def hash(self, password: str) -> str:
        """The stored form. Takes about 30 ms and 19 MiB."""
        return self._argon2().hash(password)

    def known(self, owner_id: str, stored: str, password: str) -> bool:
        """Whether this very login has been verified before; takes microseconds."""
        return self._tag(owner_id, stored, password) in self._known

    def remember(self, owner_id: str, stored: str, password: str) -> None:
        if len(self._known) >= MOST:
            for old in list(islice(self._known, MOST // 4)):
                self._known.pop(old, None)
        self._known[self._tag(owner_id, stored, password)] = None

    def verify(self, owner_id: str, stored: str, password: str) -> bool:
        """Whether the password is right. `stored` empty (no such user, no password): the same work, and False."""
        if not stored:
            self.hash(password)
            return False
        right = self.matches(stored, password)
        if right:
            self.remember(owner_id, stored, password)
        return right

    def matches(self, stored: str, password: str) -> bool:
        """As `verify`, of no login: nothing is remembered."""
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            return self._argon2().verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def _tag(self, owner_id: str, stored: str, password: str) -> bytes:
        text = b"\0".join(part.encode("utf-8", "surrogatepass") for part in (owner_id, stored, password))
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _argon2(self) -> "PasswordHasher":
        if self._hasher is None:
            from argon2 import PasswordHasher

            self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        return self._hasher
