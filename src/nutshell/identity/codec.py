"""Tokens as text: who, for what and until when, signed, so that nothing is stored when one is issued.

Source: Identity API v3 "Tokens"; signature: RFC 2104 (HMAC) with SHA-256. A token is "nt" + base64url(mac + msgpack).
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nutshell.core.errors import Unauthorized

METHODS = ("password", "token", "application_credential", "totp", "external", "mapped", "oauth1", "ec2credential")
SCOPES = ("unscoped", "project", "domain", "system", "trust")
MAC_BYTES = 24
PREFIX = "nt"


@dataclass(frozen=True)
class Claims:
    """What a token says. Times are real seconds since the epoch; `chain` is the audit id of the first of its line."""

    user_id: str
    methods: tuple[str, ...]
    scope: str
    scope_id: str
    issued_at: float
    expires_at: int
    audit_id: str
    chain: str = ""
    app_credential_id: str = ""
    trust_id: str = ""

    @property
    def audit_ids(self) -> list[str]:
        return [self.audit_id, self.chain] if self.chain else [self.audit_id]


def new_audit_id() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


class Codec:
    """Writes and reads tokens with one key of at least 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, claims: Claims) -> str:
        content = msgspec.msgpack.encode(
            [
                1,
                _short(claims.user_id),
                sum(1 << METHODS.index(m) for m in claims.methods),
                SCOPES.index(claims.scope),
                _short(claims.scope_id),
                claims.issued_at,
                claims.expires_at,
                _audit_bytes(claims.audit_id),
                _audit_bytes(claims.chain),
                _short(claims.app_credential_id),
                _short(claims.trust_id),
            ]
        )
        return PREFIX + base64.urlsafe_b64encode(self._mac(content) + content).decode().rstrip("=")

    def read(self, token: str) -> Claims:
        """The claims of a token we signed, whether still valid or not. Raises Unauthorized for any other text."""
        if not token.startswith(PREFIX) or len(token) > 1024 or not token.isascii():
            raise Unauthorized()
        text = token[len(PREFIX) :]
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            raise Unauthorized() from None
        mac, content = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(content)):
            raise Unauthorized()
        part: list[Any] = msgspec.msgpack.decode(content)
        return Claims(
            user_id=_long(part[1]),
            methods=tuple(m for i, m in enumerate(METHODS) if part[2] >> i & 1),
            scope=SCOPES[part[3]],
            scope_id=_long(part[4]),
            issued_at=part[5],
            expires_at=part[6],
            audit_id=_audit_text(part[7]),
            chain=_audit_text(part[8]),
            app_credential_id=_long(part[9]),
            trust_id=_long(part[10]),
        )

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, hashlib.sha256)[:MAC_BYTES]


def _short(text: str) -> str | bytes:
    """An id of 32 hexadecimal digits as its 16 bytes; any other text as it is."""
    if len(text) == 32:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            return text
        return raw if raw.hex() == text else text
    return text


def _long(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value


def _audit_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==") if text else b""


def _audit_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=") if raw else ""


def load_key(state: Path | None, name: str) -> bytes:
    """The key of this name in the state directory, made on the first start (mode 0600). Without one: fresh."""
    if state is None:
        return secrets.token_bytes(32)
    folder = state / "keys"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    if not path.exists():
        fresh = folder / f".{name}.{os.getpid()}"
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
    return path.read_bytes()
