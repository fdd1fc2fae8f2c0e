"""Bodies as signatures wrap them: whole with a digest, unsigned, or in signed chunks with a trailer (aws-chunked).

Source: S3 API Reference, "Signature calculations for the Authorization header: transferring payload in multiple
chunks" and "... including trailing headers".
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

EMPTY = hashlib.sha256(b"").hexdigest()
LONGEST_LINE = 16 << 10
OFF_LOOP = 256 << 10  # bytes from which on hashing leaves the event loop
MOST = 5 << 30
LEAST = 8192  # bytes of a signed chunk that is not the last
ENDED = "The request body terminated unexpectedly"


@dataclass(frozen=True)
class Seed:
    """What the signatures of chunks begin from."""

    key: bytes
    when: str
    scope: str
    signature: str
    strict: bool = True  # signed in a header, which tells how the body is wrapped


def unwrap(req: Request, seed: Seed | None, payload: str = "") -> None:
    """Set the request's `length`, `sha256` and `body`."""
    said = payload or req.headers.get("x-amz-content-sha256", "")
    text = req.headers.get("content-length")
    if text is not None and not text.isdecimal():
        raise S3Error("InvalidArgument", "Invalid Content-Length")
    req.length = int(text) if text is not None else None
    if said.startswith("STREAMING-") and (seed.strict if seed is not None else not req.who.user_id):
        _streaming(req, seed, said)
    elif seed is not None and seed.strict and said != "UNSIGNED-PAYLOAD" and not re.fullmatch("[0-9a-fA-F]{64}", said):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD,"
                                         " STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD,"
                                         " STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                      ArgumentName="x-amz-content-sha256", ArgumentValue=said)  # fmt: skip
    elif said not in ("", "UNSIGNED-PAYLOAD"):  # any other word is a digest that nothing has
        req.sha256 = said


def _streaming(req: Request, seed: Seed | None, said: str) -> None:
    signed = said.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    known = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
             "STREAMING-UNSIGNED-PAYLOAD-TRAILER")  # fmt: skip
    if said not in known:
        raise S3Error("NotImplemented" if said.startswith("STREAMING-AWS4-ECDSA") else "InvalidArgument")
    text = req.headers.get("x-amz-decoded-content-length", "")
    if not text.isdecimal():
        raise S3Error("MissingContentLength")
    if signed and seed is None:
        raise S3Error("AccessDenied")
    req.length = int(text)
    req.body = _Decoder(req, seed if signed else None, said.endswith("-TRAILER")).pieces()


class _Decoder:
    """Chunks, each `size[;chunk-signature=…]\\r\\n<bytes>\\r\\n`; the last is empty; then perhaps a trailer."""

    def __init__(self, req: Request, seed: Seed | None, trailer: bool) -> None:
        self._source = req.raw_chunks()
        self._req, self._seed, self._trailer = req, seed, trailer
        self._previous = seed.signature if seed is not None else ""
        self._buffer = bytearray()

    async def pieces(self) -> AsyncIterator[bytes]:
        total, number, small = 0, 0, 0
        while True:
            line = await self._line()
            size_text, _, more = line.partition(b";")
            if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size_text.strip()):
                raise S3Error("IncompleteBody", ENDED)
            size = int(size_text, 16)
            total += size
            if total > MOST or (self._req.length is not None and total > self._req.length):
                raise S3Error("IncompleteBody", "The chunks hold more than x-amz-decoded-content-length says.")
            number += 1
            if self._seed is not None and size and small:
                raise S3Error("InvalidChunkSizeError", Chunk=str(number), BadChunkSize=str(small))
            small = size if size < LEAST else 0
            digest = hashlib.sha256() if self._seed is not None else None
            left = size
            while left:
                piece = await self._take(left)
                left -= len(piece)
                if digest is not None:
                    if len(piece) >= OFF_LOOP:
                        await asyncio.to_thread(digest.update, piece)
                    else:
                        digest.update(piece)
                yield piece
            if digest is not None:
                self._check(more, digest.hexdigest())
            if size == 0:
                break
            if bytes(await self._exactly(2)) != b"\r\n":
                raise S3Error("IncompleteBody", ENDED)
        if self._req.length is not None and total != self._req.length:
            raise S3Error("IncompleteBody")
        if self._trailer:
            await self._read_trailer()

    def _check(self, more: bytes, digest: str) -> None:
        assert self._seed is not None
        said = re.fullmatch(rb"chunk-signature=([^;\s]+)", more.strip())
        words = ("AWS4-HMAC-SHA256-PAYLOAD", self._seed.when, self._seed.scope, self._previous, EMPTY, digest)
        self._previous = hmac.new(self._seed.key, "\n".join(words).encode(), hashlib.sha256).hexdigest()
        if said is None:
            raise S3Error("IncompleteBody", ENDED)
        if not hmac.compare_digest(said[1].decode("latin1"), self._previous):
            raise self._wrong(said[1].decode("latin1"), "\n".join(words))

    async def _read_trailer(self) -> None:
        lines: list[bytes] = []
        while True:
            line = await self._line(ending=True)
            if not line:
                break
            lines.append(line)
            if len(lines) > 20:
                raise S3Error("MalformedTrailerError")
        signature = ""
        kept = []
        for line in lines:
            name, colon, value = line.decode("latin1").partition(":")
            if not colon:
                raise S3Error("MalformedTrailerError")
            if name.strip().lower() == "x-amz-trailer-signature":
                signature = value.strip()
            else:
                self._req.trailer[name.strip().lower()] = value.strip()
                kept.append(f"{name.strip().lower()}:{value.strip()}\n")
        announced = self._req.headers.get("x-amz-trailer", "").strip().lower()
        if announced and announced not in self._req.trailer:
            raise S3Error("MalformedTrailerError")
        if any(name != announced for name in self._req.trailer):
            raise S3Error("MalformedTrailerError")
        if self._seed is None:
            return
        digest = hashlib.sha256("".join(kept).encode()).hexdigest()
        words = ("AWS4-HMAC-SHA256-TRAILER", self._seed.when, self._seed.scope, self._previous, digest)
        right = hmac.new(self._seed.key, "\n".join(words).encode(), hashlib.sha256).hexdigest()
        if not signature:
            raise S3Error("IncompleteBody", ENDED)
        if not hmac.compare_digest(signature, right):
            raise self._wrong(signature, "\n".join(words))

    def _wrong(self, given: str, words: str) -> S3Error:
        spelt = " ".join(f"{b:02x}" for b in words.encode())
        return S3Error("SignatureDoesNotMatch", AWSAccessKeyId=self._req.access, StringToSign=words,
                       SignatureProvided=given, StringToSignBytes=spelt)  # fmt: skip

    # -- bytes of the connection
    async def _more(self) -> bool:
        async for piece in self._source:
            self._buffer += piece
            return True
        return False

    async def _line(self, ending: bool = False) -> bytes:
        """Up to CRLF. `ending`: the end of the body ends it, too."""
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > LONGEST_LINE:
                raise S3Error("IncompleteBody", ENDED)
            if not await self._more():
                if not ending:
                    raise S3Error("IncompleteBody", ENDED)
                rest = bytes(self._buffer)
                self._buffer.clear()
                return rest
        at = self._buffer.index(b"\r\n")
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 2]
        return line

    async def _take(self, most: int) -> bytes:
        if not self._buffer and not await self._more():
            raise S3Error("IncompleteBody", ENDED)
        if len(self._buffer) <= most:
            piece = bytes(self._buffer)
            self._buffer.clear()
            return piece
        piece = bytes(self._buffer[:most])
        del self._buffer[:most]
        return piece

    async def _exactly(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            out += await self._take(size - len(out))
        return out
