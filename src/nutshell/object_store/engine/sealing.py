"""Encryption at rest: each blob has a key of its own, wrapped by a key derived for its container from a root secret.

Bytes: AES-256 in counter mode (NIST SP 800-38A), so that any range opens by itself; keys are wrapped with AES-GCM (SP
800-38D). Integrity is the checksums' business.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Wrapped(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a blob remembers: the root's name, whose container key wraps, and the wrapped key with its counter."""

    root: str
    scope: str
    nonce: bytes
    key: bytes
    counter: bytes


ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Wrapped)


class Seal:
    """One blob's cipher, for bytes in their order."""

    def __init__(self, key: bytes, counter: bytes, sealed: bytes) -> None:
        self.sealed = sealed
        self._cipher = _cipher(key, counter)

    def encrypt(self, data: bytes | memoryview) -> bytes:
        done: bytes = self._cipher.update(data)
        return done


class Sealer:
    """The root secrets by name; new blobs use `active`. Older roots open what they sealed.

    `seals`: whether all that is new is sealed, or what asks for it alone; `make`: the first root, where there is none.
    """

    def __init__(
        self, roots: Mapping[str, bytes], active: str, seals: bool = True,
        make: Callable[[], tuple[str, bytes]] | None = None,
    ) -> None:  # fmt: skip
        self._roots, self.active, self.seals = dict(roots), active, seals
        self._make, self._making = make, threading.Lock()
        self._derived: dict[tuple[str, str], bytes] = {}

    def new_seal(self, scope: str) -> Seal:
        """A fresh key for the bytes of one object. `scope`: "account/container"."""
        with self._making:
            if not self.active and self._make is not None:
                name, secret = self._make()
                self._roots[name], self.active = secret, name
        key, counter = os.urandom(32), os.urandom(16)
        return Seal(key, counter, self._wrap(scope, key, counter))

    def decrypt(self, sealed: bytes, data: bytes, offset: int) -> bytes:
        """Bytes that lie at `offset` of a blob."""
        said = DECODER.decode(sealed)
        key = self._unwrap(said)
        first, skip = divmod(offset, 16)
        start = (int.from_bytes(said.counter, "big") + first) % (1 << 128)
        cipher = _cipher(key, start.to_bytes(16, "big"))
        if skip:
            cipher.update(bytes(skip))
        done: bytes = cipher.update(data)
        return done

    @property
    def older(self) -> list[str]:
        """Roots that open only."""
        return sorted(set(self._roots) - {self.active})

    def rewrap(self, sealed: bytes) -> bytes | None:
        """The same key wrapped under the active root; None when it is already."""
        said = DECODER.decode(sealed)
        if said.root == self.active:
            return None
        return self._wrap(said.scope, self._unwrap(said), said.counter)

    def _wrap(self, scope: str, key: bytes, counter: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(12)
        wrapped = AESGCM(self._container_key(self.active, scope)).encrypt(nonce, key, scope.encode())
        return ENCODER.encode(Wrapped(self.active, scope, nonce, wrapped, counter))

    def _unwrap(self, said: Wrapped) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._container_key(said.root, said.scope)).decrypt(said.nonce, said.key, said.scope.encode())

    def _container_key(self, root: str, scope: str) -> bytes:
        found = self._derived.get((root, scope))
        if found is None:
            account, _, container = scope.partition("/")
            of_account = hmac.digest(self._roots[root], b"account\0" + account.encode(), hashlib.sha256)
            found = hmac.digest(of_account, b"container\0" + container.encode(), hashlib.sha256)
            if len(self._derived) > 10_000:
                self._derived.clear()
            self._derived[root, scope] = found
        return found


def _cipher(key: bytes, counter: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
