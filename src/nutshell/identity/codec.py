"""Tokens as text: who, for what and until when, signed, so that nothing is stored when one is issued.

Source: Identity API v3 "Tokens"; signature: RFC 2104 (HMAC) with SHA-256. A token is "nt" + base64url(key number +
mac + msgpack); the keys are renewed (keys.py).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from nutshell.core.errors import Unauthorized

METHODS = ("password", "token", "application_credential", "totp", "external", "mapped", "oauth1", "ec2credential")
SCOPES = ("unscoped", "project", "domain", "system", "trust")
MAC_BYTES = 24
KEY_BYTES = 2
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


class Ring(Protocol):
    """Signing keys by number, as `Keys` has them."""

    def newest(self, purpose: str) -> tuple[int, bytes]: ...
    def find(self, purpose: str, number: int) -> bytes | None: ...


@dataclass(frozen=True)
class Signer:
    """Texts that only this cloud can have written."""

    ring: Ring
    prefix: str

    def write(self, content: bytes) -> str:
        number, key = self.ring.newest("tokens")
        head = number.to_bytes(KEY_BYTES, "big")
        return self.prefix + base64.urlsafe_b64encode(head + self._mac(key, content) + content).decode().rstrip("=")

    def read(self, text: str) -> bytes:
        """The content of a text written before. Raises Unauthorized for any other."""
        if not text.startswith(self.prefix) or len(text) > 1024 or not text.isascii():
            raise Unauthorized()
        text = text[len(self.prefix) :]
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            raise Unauthorized() from None
        mac, content = raw[KEY_BYTES : KEY_BYTES + MAC_BYTES], raw[KEY_BYTES + MAC_BYTES :]
        key = self.ring.find("tokens", int.from_bytes(raw[:KEY_BYTES], "big"))
        if key is None or not hmac.compare_digest(mac, self._mac(key, content)):
            raise Unauthorized()
        return content

    def _mac(self, key: bytes, content: bytes) -> bytes:
        return hmac.digest(key, self.prefix.encode() + content, hashlib.sha256)[:MAC_BYTES]


class Codec:
    """Writes and reads tokens."""

    def __init__(self, ring: Ring) -> None:
        self._signer = Signer(ring, PREFIX)

    def write(self, claims: Claims) -> str:
        content = msgspec.msgpack.encode(
            [
                1,
                short_id(claims.user_id),
                method_bits(claims.methods),
                SCOPES.index(claims.scope),
                short_id(claims.scope_id),
                claims.issued_at,
                claims.expires_at,
                _audit_bytes(claims.audit_id),
                _audit_bytes(claims.chain),
                short_id(claims.app_credential_id),
                short_id(claims.trust_id),
            ]
        )
        return self._signer.write(content)

    def read(self, token: str) -> Claims:
        """The claims of a token we signed, whether still valid or not. Raises Unauthorized for any other text."""
        part: list[Any] = msgspec.msgpack.decode(self._signer.read(token))
        return Claims(
            user_id=long_id(part[1]),
            methods=methods_of(part[2]),
            scope=SCOPES[part[3]],
            scope_id=long_id(part[4]),
            issued_at=part[5],
            expires_at=part[6],
            audit_id=_audit_text(part[7]),
            chain=_audit_text(part[8]),
            app_credential_id=long_id(part[9]),
            trust_id=long_id(part[10]),
        )


def method_bits(methods: Sequence[str]) -> int:
    return sum(1 << METHODS.index(m) for m in set(methods))


def methods_of(bits: int) -> tuple[str, ...]:
    return tuple(m for i, m in enumerate(METHODS) if bits >> i & 1)


def short_id(text: str) -> str | bytes:
    """An id of 32 hexadecimal digits as its 16 bytes; any other text as it is."""
    if len(text) == 32:
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            return text
        return raw if raw.hex() == text else text
    return text


def long_id(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value


def _audit_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==") if text else b""


def _audit_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=") if raw else ""
