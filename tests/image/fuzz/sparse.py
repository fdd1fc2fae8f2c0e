"""Large, mostly empty files as short texts that can be mutated: extents at offsets, or the bytes themselves."""

import struct

MARK = b"SPRS"
BLOCK = 512
LONGEST = 12 << 20  # a fresh VHDX has 8 MiB
RECORD = struct.Struct("<IH")


def pack(content: bytes) -> bytes:
    """The blocks that are not zero, each run with its place; the file's end is a record of no bytes."""
    parts = [MARK]
    start: int | None = None
    for offset in range(0, len(content) + BLOCK, BLOCK):
        block = content[offset : offset + BLOCK]
        if block.strip(b"\0"):
            start = offset if start is None else start
            if offset - start < 0x8000:
                continue
        if start is not None:
            run = content[start:offset].rstrip(b"\0") or b"\0"
            parts.append(RECORD.pack(start, len(run)) + run)
            start = offset if block.strip(b"\0") else None
    parts.append(RECORD.pack(len(content), 0))
    return b"".join(parts)


def expand(data: bytes) -> bytes:
    """The file a text stands for. Any bytes stand for some file of at most `LONGEST`."""
    if not data.startswith(MARK):
        return data[:LONGEST]
    extents: list[tuple[int, bytes]] = []
    at, end = len(MARK), 0
    while at + RECORD.size <= len(data):
        offset, length = RECORD.unpack_from(data, at)
        at += RECORD.size
        run = data[at : at + length]
        at += length
        if offset + len(run) <= LONGEST:
            extents.append((offset, run))
            end = max(end, offset + len(run))
    found = bytearray(end)
    for offset, run in extents:
        found[offset : offset + len(run)] = run
    return bytes(found)
