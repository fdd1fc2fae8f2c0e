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

from nutshell.object_store.numbers import count
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

EMPTY = hashlib.sha256(b"").hexdigest()
LONGEST_LINE = 16 << 10
OFF_LOOP = 256 << 10  # bytes from which on hashing leaves the event loop
MOST = 5 << 30
LEAST = 8192  # bytes of a signed chunk that is not the last
SIGNATURE = "x-amz-trailer-signature"
ENDED = "The request body terminated unexpectedly"


@dataclass(frozen=True)
class Seed:
    """What the signatures of chunks begin from."""

    key: bytes
    when: str
    scope: str
    signature: str
    canonical: bytes = b""  # the request as it was signed, for whoever looks for a difference
    strict: bool = True  # signed in a header, which tells how the body is wrapped


def unwrap(req: Request, seed: Seed | None, payload: str = "") -> None:
    """Set the request's `length`, `sha256` and `body`."""
    said = payload or req.headers.get("x-amz-content-sha256", "")
    text = req.headers.get("content-length")
    req.length = count(text) if text is not None else None
    if text is not None and req.length is None:
        raise S3Error("InvalidArgument", "Invalid Content-Length")
    if said.startswith("STREAMING-") and (seed.strict if seed is not None else not req.who.user_id):
        _streaming(req, seed, said)
    elif seed is not None and seed.strict and said != "UNSIGNED-PAYLOAD" and not re.fullmatch("[0-9a-fA-F]{64}", said):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD,"
                                         " STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD,"
                                         " STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                      ArgumentName="x-amz-content-sha256", ArgumentValue=said)  # fmt: skip
    elif said not in ("", "UNSIGNED-PAYLOAD"):  # any other word is a digest that nothing has
        if said.startswith("STREAMING-"):
            expected = _decoded_length(req)
            if req.length is not None and expected < req.length:
                raise incomplete(req.length, expected)
        req.sha256 = said


def _decoded_length(req: Request) -> int:
    text = req.headers.get("x-amz-decoded-content-length", "")
    if not text.isdecimal() or len(text) > 19:
        raise S3Error("MissingContentLength")
    return int(text)


def trailer_names(req: Request) -> list[str]:
    """What the request says its trailer holds."""
    said = req.headers.get("x-amz-trailer", "").strip()
    return [name.strip().lower() for name in said.rstrip(",").split(",")] if said else []


def incomplete(provided: int, expected: int) -> S3Error:
    return S3Error("IncompleteBody", NumberBytesExpected=str(expected), NumberBytesProvided=str(provided))


def _streaming(req: Request, seed: Seed | None, said: str) -> None:
    signed = said.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    known = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
             "STREAMING-UNSIGNED-PAYLOAD-TRAILER")  # fmt: skip
    if said not in known:
        raise S3Error("NotImplemented" if said.startswith("STREAMING-AWS4-ECDSA") else "InvalidArgument")
    req.length = _decoded_length(req)
    if signed and seed is None:
        raise S3Error("AccessDenied")
    req.body = _Decoder(req, seed if signed else None, said.endswith("-TRAILER")).pieces()


class _Decoder:
    """Chunks, each `size[;chunk-signature=…]\\r\\n<bytes>\\r\\n`; the last is empty; then perhaps a trailer."""

    def __init__(self, req: Request, seed: Seed | None, trailer: bool) -> None:
        self._source = req.raw_chunks()
        self._req, self._seed, self._trailer = req, seed, trailer
        self._expected = req.length or 0
        self._previous = seed.signature if seed is not None else ""
        self._buffer = bytearray()

    async def pieces(self) -> AsyncIterator[bytes]:
        total, number, small = 0, 0, 0
        while True:
            size, more = self._chunk_head(await self._line())
            number += 1
            if self._seed is not None and size and small:
                raise S3Error("InvalidChunkSizeError", Chunk=str(number), BadChunkSize=str(small))
            small = size if size < LEAST else 0
            total += size
            if total > MOST or total > self._expected:
                raise incomplete(total, self._expected)
            given = self._given(more)
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
                self._check(given, digest.hexdigest())
            if size == 0:
                break
            if bytes(await self._exactly(2)) != b"\r\n":
                raise S3Error("IncompleteBody", ENDED)
        await self._end()
        if total != self._expected:
            raise incomplete(total, self._expected)

    def _chunk_head(self, line: bytes) -> tuple[int, bytes]:
        text, _, more = line.partition(b";")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", text.strip()):
            raise S3Error("IncompleteBody", ENDED)
        return int(text, 16), more

    def _given(self, more: bytes) -> str:
        """The signature in a chunk's head."""
        if self._seed is None:
            return ""
        name, _, given = more.decode("latin1").partition("=")
        if more and name.strip() != "chunk-signature":
            raise self._wrong(more.decode("latin1"), self._words(""))
        if ";" in given or not given.strip():
            raise S3Error("IncompleteBody", ENDED)
        return given.strip()

    def _words(self, digest: str) -> str:
        """What a chunk's signature covers."""
        assert self._seed is not None
        seed = self._seed
        return "\n".join(("AWS4-HMAC-SHA256-PAYLOAD", seed.when, seed.scope, self._previous, EMPTY, digest))

    def _check(self, given: str, digest: str) -> None:
        words = self._words(digest)
        self._previous = self._signed(words)
        if not hmac.compare_digest(given.encode(), self._previous.encode()):
            raise self._wrong(given, words)

    def _signed(self, words: str) -> str:
        assert self._seed is not None
        return hmac.new(self._seed.key, words.encode(), hashlib.sha256).hexdigest()

    async def _end(self) -> None:
        """What follows the last chunk: a trailer where one was announced or has to be signed, else the end."""
        announced = set(trailer_names(self._req)) if self._trailer else set()
        if not announced and not (self._trailer and self._seed is not None):
            if await self._rest(2) not in (b"", b"\r\n"):
                raise S3Error("IncompleteBody", ENDED)
            return
        signature = await self._trailer_lines(announced)
        if self._seed is not None and signature is None:
            raise S3Error("IncompleteBody", ENDED)
        if set(self._req.trailer) != announced:
            raise S3Error("MalformedTrailerError")
        if self._seed is None:
            return
        kept = "".join(f"{name}:{value}\n" for name, value in sorted(self._req.trailer.items()))
        digest = hashlib.sha256((kept or "\n").encode()).hexdigest()
        seed = self._seed
        words = "\n".join(("AWS4-HMAC-SHA256-TRAILER", seed.when, seed.scope, self._previous, digest))
        if not hmac.compare_digest((signature or "").encode(), self._signed(words).encode()):
            raise self._wrong(signature or "", words)
        if not announced:
            raise S3Error("IncompleteBody", ENDED)

    async def _trailer_lines(self, announced: set[str]) -> str | None:
        """The trailer's signature, if it has one; the request learns what the other lines say."""
        signature = None
        while self._buffer or await self._more():
            line = (await self._line()).decode("latin1")
            if not line:
                break
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            if name == SIGNATURE and self._seed is not None:
                signature = value
            elif name in announced:  # said twice, the last counts
                self._req.trailer[name] = value
            else:
                raise S3Error("MalformedTrailerError")
        return signature

    def _wrong(self, given: str, words: str) -> S3Error:
        spelt = " ".join(f"{b:02x}" for b in words.encode())
        asked = self._seed.canonical if self._seed is not None else b""
        return S3Error("SignatureDoesNotMatch", AWSAccessKeyId=self._req.access, StringToSign=words,
                       SignatureProvided=given, StringToSignBytes=spelt,
                       CanonicalRequest=asked.decode("utf-8", "replace"),
                       CanonicalRequestBytes=" ".join(f"{b:02x}" for b in asked))  # fmt: skip

    # -- bytes of the connection
    async def _more(self) -> bool:
        async for piece in self._source:
            self._buffer += piece
            return True
        return False

    async def _line(self) -> bytes:
        """Up to CRLF."""
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > LONGEST_LINE or not await self._more():
                raise S3Error("IncompleteBody", ENDED)
        at = self._buffer.index(b"\r\n")
        line = bytes(self._buffer[:at])
        del self._buffer[: at + 2]
        return line

    async def _rest(self, most: int) -> bytes:
        """So many bytes, or fewer at the end of the body."""
        while len(self._buffer) < most and await self._more():
            pass
        piece = bytes(self._buffer[:most])
        del self._buffer[:most]
        return piece

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
