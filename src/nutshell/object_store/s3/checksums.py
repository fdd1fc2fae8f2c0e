"""The checksums that clients send and ask for (S3 API Reference, "Checking object integrity").

An accumulator has `update(bytes)` and `digest()`; the engine feeds them while it takes the bytes in.
"""

import base64
import binascii
import hashlib
import typing as t
import zlib
from collections.abc import Callable

from nutshell.object_store.s3.chunked import trailer_names
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

PREFIX = "x-amz-checksum-"
MISMATCH = "Value for x-amz-sdk-checksum-algorithm header is invalid."
SINGLE, SEVERAL = "Expecting a single x-amz-checksum- header", ". Multiple checksum Types are not allowed."
UNKNOWN = (
    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C,"
    " CRC64NVME, SHA1, SHA256]"
)


class Running:
    """A CRC as an accumulator."""

    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step, self._size, self._value = step, size, 0

    def update(self, data: t.Any) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


def _crt(name: str) -> Callable[[bytes, int], int]:
    """From the library that has it in machine code, loaded when one is asked for. NotImplemented where it is not."""
    try:
        from awscrt import checksums  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise S3Error("NotImplemented", f"{name.upper()} needs nutshell[s3] to be installed on the server.") from None

    step: Callable[[bytes, int], int] = getattr(checksums, name)
    return lambda data, value: step(bytes(data), value)


def accumulator(name: str) -> t.Any:
    """For "crc32", "crc32c", "crc64nvme", "sha1", "sha256" """
    if name == "crc32":
        return Running(zlib.crc32, 4)
    if name == "crc32c":
        return Running(_crt("crc32c"), 4)
    if name == "crc64nvme":
        return Running(_crt("crc64nvme"), 8)
    return hashlib.sha1(usedforsecurity=False) if name == "sha1" else hashlib.sha256()


SIZES = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}
ASKED = frozenset({"x-amz-trailer", *(PREFIX + name for name in SIZES)})  # who sends one is told one


def wanted(req: Request) -> tuple[str, str]:
    """(algorithm, value in base64) that a request names; the value is "" while it is to come in a trailer."""
    said = {n.removeprefix(PREFIX): v for n, v in req.headers.items() if n.startswith(PREFIX)}
    for other in ("mode", "type", "algorithm"):
        said.pop(other, None)
    trailers = trailer_names(req)
    named = req.headers.get("x-amz-sdk-checksum-algorithm", "").lower()
    if len(said) > 1:
        raise S3Error("InvalidRequest", SINGLE + SEVERAL)
    if any(not t.startswith(PREFIX) or t.removeprefix(PREFIX) not in SIZES for t in trailers):
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    if len(trailers) > 1:
        raise S3Error("InvalidRequest", SINGLE + SEVERAL)
    if trailers:
        name = trailers[0].removeprefix(PREFIX)
        if said:
            raise S3Error("InvalidRequest", SINGLE)
        if named and named != name:
            raise S3Error("InvalidRequest", MISMATCH)
        if req.body is None:  # no chunks, so nothing could follow them
            raise S3Error("MalformedTrailerError")
        return name, ""
    if named and named not in SIZES:
        raise S3Error("InvalidRequest", UNKNOWN)
    for name, value in said.items():
        if name not in SIZES:
            raise S3Error("InvalidRequest", "The algorithm type you specified in x-amz-checksum- header is invalid.")
        if named and named != name:
            raise S3Error("InvalidRequest", MISMATCH)
        check_form(name, value)
        return name, value
    if named:
        raise S3Error("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-*"
                                        " or x-amz-trailer headers were found.")  # fmt: skip
    return "", ""


def check_form(name: str, value: str, kind: str = "header") -> None:
    try:
        raw = base64.b64decode(value, validate=True)
        right = len(raw) == SIZES[name] and base64.b64encode(raw).decode() == value
    except (binascii.Error, ValueError):
        right = False
    if not right:
        raise S3Error("InvalidRequest", f"Value for {PREFIX}{name} {kind} is invalid.")


def check(name: str, said: str, found: str) -> None:
    """BadDigest where the content is not what was said."""
    if said != found:
        raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def encoded(accumulated: t.Any) -> str:
    return base64.b64encode(accumulated.digest()).decode()


def content_md5(req: Request) -> str:
    """Content-MD5 in hexadecimal; "" without."""
    said = req.headers.get("content-md5")
    if said is None:
        return ""
    try:
        raw = base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 16:
        raise S3Error("InvalidDigest")
    return raw.hex()


POLYNOMIALS = {"crc32": (0xEDB88320, 32), "crc32c": (0x82F63B78, 32), "crc64nvme": (0x9A6C9329AC4BC9B5, 64)}


def combine(name: str, parts: t.Sequence[tuple[str, int]]) -> str:
    """The CRC of the whole from (the CRC in base64, the length) of each part: linear algebra over GF(2), as zlib's
    crc32_combine does it (a part's CRC is moved past the next part's length by squaring the shift matrix)."""
    polynomial, bits = POLYNOMIALS[name]
    value = 0
    for text, length in parts:
        value = _past(value, length, polynomial, bits) ^ int.from_bytes(base64.b64decode(text), "big")
    return base64.b64encode(value.to_bytes(bits // 8, "big")).decode()


def _times(matrix: t.Sequence[int], vector: int) -> int:
    out, i = 0, 0
    while vector:
        if vector & 1:
            out ^= matrix[i]
        vector >>= 1
        i += 1
    return out


def _past(value: int, length: int, polynomial: int, bits: int) -> int:
    """What a CRC becomes when that many zero bytes follow."""
    matrix = [polynomial, *(1 << i for i in range(bits - 1))]  # one zero bit
    for _ in range(3):  # to one zero byte
        matrix = [_times(matrix, column) for column in matrix]
    while length and value:
        if length & 1:
            value = _times(matrix, value)
        length >>= 1
        matrix = [_times(matrix, column) for column in matrix]
    return value
