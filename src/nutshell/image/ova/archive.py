"""Tar archives as OVAs are: plain files one after the other, read and written in one pass (POSIX.1-1988, ustar).

Links, directories, paths, sparse members and extended headers are refused: nothing but a name and its bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
CHUNK = 1 << 20
MEMBERS_LIMIT = 128
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+@()=~ -]{0,99}")


class OvaRefused(Exception):
    """The archive is not a sound OVA; the text says why, for the user."""


@dataclass(frozen=True)
class Member:
    """One file of the archive; its bytes are in the archive's file."""

    name: str
    size: int
    offset: int


def members(file: BinaryIO, size: int) -> Iterator[Member]:
    """The files, in order. The position in the file is the reader's to move. OvaRefused."""
    at, seen = 0, set[str]()
    while at + BLOCK <= size:
        file.seek(at)
        block = file.read(BLOCK)
        if not any(block):
            return
        one = _member(block, at + BLOCK)
        if one.offset + one.size > size:
            raise OvaRefused(f"{one.name} is cut off")
        if one.name.lower() in seen or len(seen) == MEMBERS_LIMIT:
            raise OvaRefused(f"{one.name} is there twice" if one.name.lower() in seen else "there are too many files")
        seen.add(one.name.lower())
        yield one
        at = one.offset + -(-one.size // BLOCK) * BLOCK
    raise OvaRefused("the archive has no end")


def _member(block: bytes, offset: int) -> Member:
    if block[257:262] != b"ustar":
        raise OvaRefused("it is no tar archive")
    if _number(block[148:156]) != sum(block[:148]) + sum(block[156:]) + 8 * ord(" "):
        raise OvaRefused("a tar header is damaged")
    if block[156:157] not in (b"0", b"\0"):
        raise OvaRefused("it holds something that is no plain file")
    name = block[:100].partition(b"\0")[0].decode("ascii", "replace")
    if any(block[345:500]) and block[263:265] == b"00":
        raise OvaRefused("it holds files in folders")
    if NAME.fullmatch(name) is None or ".." in name:
        raise OvaRefused(f"{name!r} is no plain file name")
    return Member(name, _number(block[124:136]), offset)


def _number(field: bytes) -> int:
    """Octal text, or a large binary number. OvaRefused."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if re.fullmatch(rb"[0-7]*", text) is None:
        raise OvaRefused("a tar header is damaged")
    return int(text or b"0", 8)


def read(file: BinaryIO, one: Member) -> Iterator[bytes]:
    """A member's bytes."""
    file.seek(one.offset)
    left = one.size
    while left:
        data = file.read(min(CHUNK, left))
        if not data:
            raise OvaRefused(f"{one.name} is cut off")
        left -= len(data)
        yield data


def header(name: str, size: int, at: float) -> bytes:
    """The block before a file's bytes."""
    number = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    parts = [name.encode("ascii").ljust(100, b"\0"), b"0000644\0", b"0000000\0" * 2, number, b"%011o\0" % int(at)]
    rest = b"0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32 + 8 + 8 + 155 + 12)
    block = b"".join(parts) + b" " * 8 + rest
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)
