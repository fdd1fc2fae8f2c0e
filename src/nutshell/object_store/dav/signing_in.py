"""HTTP Basic authentication against identity (RFC 7617): a user's name and password, or an application credential.

Clients send the pair with every request: what it stood for a moment ago is remembered as a token, and that token is
looked at each time, so that a changed password or a disabled user counts at once.
"""

import base64
import binascii
import hashlib
import os
import time
from dataclasses import dataclass, field

from nutshell.core.cloud import Cloud
from nutshell.core.errors import Unauthorized
from nutshell.core.policy import Who
from nutshell.identity.port import Identity
from nutshell.object_store.service import objects

REMEMBERED_S = 60.0
MOST = 10_000


def pair_in(header: str) -> tuple[str, str] | None:
    """(name, secret) of an Authorization header; None for what is none."""
    kind, _, text = header.strip().partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, secret) if colon and name and "\0" not in name else None


@dataclass
class Doorkeeper:
    """One per process."""

    cloud: Cloud
    _key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    _known: dict[bytes, tuple[str, float]] = field(default_factory=dict, repr=False)

    async def admit(self, pair: tuple[str, str], project: str, source: str) -> Who:
        """The caller, in that project ("": its own). Unauthorized; TooManyRequests, Unavailable as identity says."""
        name, secret = pair
        wanted = project.removeprefix("AUTH_")
        key = hashlib.blake2b("\0".join((name, secret, wanted)).encode(), key=self._key).digest()
        known = self._known.get(key)
        if known is not None and known[1] > time.monotonic():
            try:
                return self._who(known[0], wanted)
            except Unauthorized:
                del self._known[key]
        token, _, _ = await self.cloud.port(Identity).log_in(name, secret, wanted, source)
        who = self._who(token, wanted)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = (token, time.monotonic() + REMEMBERED_S)
        return who

    def _who(self, token: str, project: str) -> Who:
        assert self.cloud.authenticate is not None
        who = self.cloud.authenticate(token)
        if project and project not in (who.project_id, who.project_name):  # an application credential's is another
            raise Unauthorized()
        return who

    def check(self, who: Who, method: str, path: str) -> None:
        """Unauthorized where the caller's application credential may make other requests only."""
        if self.cloud.admits is not None:
            self.cloud.admits(who, objects, method, path)
