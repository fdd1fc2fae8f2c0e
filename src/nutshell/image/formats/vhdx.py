"""VHDX: Hyper-V's disk image ([MS-VHDX])."""

import struct
import uuid
from collections.abc import Iterator

from nutshell.image.formats.parse import WINDOW_LIMIT, ImageRefused, Parse, Piece, Tail, Window, possible

KIB, MIB = 1 << 10, 1 << 20
BAT, METADATA = "2dc27766-f623-4200-9d64-115e9bfd4a08", "8b7ca206-4790-4b9a-b8fe-575f050f886e"
PARAMETERS, DISK_SIZE = "caa16737-fa36-4d43-b3b6-33f0aa44e76b", "2fa54224-cd1b-4876-b211-5dbed83bf4b8"
SECTOR_SIZE, PHYSICAL = "8141bf1d-a96f-4709-ba47-f233a8faab5f", "cda348c7-445d-4471-9cc9-e9885251c556"
PAGE_83 = "beca12ab-b2e6-4523-93ef-c309e000c746"
PARENT = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"
ITEMS = {PARAMETERS: 8, DISK_SIZE: 8, SECTOR_SIZE: 4, PHYSICAL: 4, PAGE_83: 16}


def _crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC = tuple(_crc_of(n) for n in range(256))


def crc32c(data: bytes) -> int:
    """The Castagnoli checksum (RFC 3720, appendix B.4)."""
    found = 0xFFFFFFFF
    for byte in data:
        found = _CRC[(found ^ byte) & 0xFF] ^ found >> 8
    return found ^ 0xFFFFFFFF


def guid(data: bytes) -> str:
    return str(uuid.UUID(bytes_le=bytes(data)))


def parse_vhdx() -> Parse:
    headers = []
    for at in (64 * KIB, 128 * KIB):
        headers.append((yield Window(at, 4 * KIB)))
    log = _check_headers(headers)
    tables = []
    for at in (192 * KIB, 256 * KIB):
        tables.append((yield Window(at, 64 * KIB)))
    regions = _regions(tables)
    (bat_at, bat_length), (at, length) = regions[BAT], regions[METADATA]
    if log is not None and log[0] < at:
        _check_log((yield Window(*log)), regions)
    metadata = yield Window(at, length)
    if log is not None and log[0] > at:
        _check_log((yield Window(*log)), regions)
    virtual_size, block, sector = _check_metadata(metadata)
    ratio = (1 << 23) * sector // block  # a bitmap's entry follows so many blocks'
    blocks = -(-virtual_size // block)
    if (blocks + (blocks - 1) // max(ratio, 1)) * 8 > bat_length:
        raise ImageRefused("the vhdx block table does not fit the virtual size")
    end = yield Tail(0)
    if bat_at + bat_length > end.size or at + length > end.size:
        raise ImageRefused("the vhdx tables lie outside the file")
    return possible(virtual_size)


def _check_headers(headers: list[Piece]) -> tuple[int, int] | None:
    """Where the log is, if one may have to be replayed. ImageRefused."""
    log = None
    valid = 0
    for one in headers:
        if not one.data.startswith(b"head"):
            continue
        given = one.get("<I", 4, "vhdx header")[0]
        if len(one.data) < 4 * KIB or crc32c(one.data[:4] + bytes(4) + one.data[8:]) != given:
            continue
        valid += 1
        log_version, version, length, at = one.get("<HHIQ", 64)
        if version != 1 or log_version:
            raise ImageRefused("the vhdx version is not supported")
        if any(one.data[48:64]):
            if at < MIB or at % MIB or not 0 < length <= WINDOW_LIMIT or length % (4 * KIB):
                raise ImageRefused("the vhdx log is not where it may be")
            if log not in (None, (at, length)):
                raise ImageRefused("the vhdx headers name different logs")
            log = (at, length)
    if not valid:
        raise ImageRefused("the vhdx image has no valid header")
    return log


def _regions(tables: list[Piece]) -> dict[str, tuple[int, int]]:
    """What is where. Both copies must agree, for which of them is read is the reader's choice. ImageRefused."""
    found: dict[str, tuple[int, int]] = {}
    for n, one in enumerate(tables):
        signature, given, count = one.get("<4sII", 0, "vhdx region table")
        if signature != b"regi" or len(one.data) < 64 * KIB:
            raise ImageRefused("a vhdx region table is missing")
        if crc32c(one.data[:4] + bytes(4) + one.data[8:]) != given or count > 2047:
            raise ImageRefused("a vhdx region table is damaged")
        here = {}
        for i in range(count):
            at, length, required = one.get("<QII", 16 + 32 * i + 16, "vhdx region table")
            name = guid(one.data[16 + 32 * i : 32 + 32 * i])
            if name not in (BAT, METADATA):
                if required & 1:
                    raise ImageRefused(f"the vhdx image needs an unknown region ({name})")
                continue
            if name in here or at < MIB or at % MIB or not length or length % MIB or at > 1 << 48:
                raise ImageRefused("a vhdx region is not where it may be")
            here[name] = (at, length)
        if len(here) != 2 or (n and here != found):
            raise ImageRefused("the vhdx region tables are not whole, or disagree")
        found = here
    (one_at, one_length), (other_at, other_length) = sorted(found.values())
    if one_at + one_length > other_at or found[METADATA][1] > WINDOW_LIMIT or other_length > 1 << 32:
        raise ImageRefused("the vhdx regions overlap or are too large")
    return found


def _items(piece: Piece) -> Iterator[tuple[str, int, int, int]]:
    """(item, offset, length, flags) of the metadata table. ImageRefused."""
    signature, _, count = piece.get("<8sHH", 0, "vhdx metadata")
    if signature != b"metadata" or count > 2047:
        raise ImageRefused("the vhdx metadata is missing")
    for i in range(count):
        start = 32 + 32 * i
        offset, length, flags = piece.get("<III", start + 16, "vhdx metadata")
        yield guid(piece.data[start : start + 16]), offset, length, flags


def _check_metadata(piece: Piece) -> tuple[int, int, int]:
    """(virtual size, block size, sector size). ImageRefused."""
    values: dict[str, bytes] = {}
    for item, offset, length, flags in _items(piece):
        if item == PARENT:
            raise ImageRefused("the vhdx image has a parent")
        if item not in ITEMS:
            if flags & 4:
                raise ImageRefused(f"the vhdx image needs an unknown item ({item})")
            continue
        if item in values or length != ITEMS[item] or offset < 64 * KIB or offset + length > len(piece.data):
            raise ImageRefused("the vhdx metadata is not valid")
        values[item] = piece.data[offset : offset + length]
    if not {PARAMETERS, DISK_SIZE, SECTOR_SIZE} <= set(values):
        raise ImageRefused("the vhdx metadata is not whole")
    block, flags = struct.unpack("<II", values[PARAMETERS])
    (size,), (sector,) = struct.unpack("<Q", values[DISK_SIZE]), struct.unpack("<I", values[SECTOR_SIZE])
    if flags & 2:
        raise ImageRefused("the vhdx image has a parent")
    if not MIB <= block <= 256 * MIB or block & (block - 1) or sector not in (512, 4096):
        raise ImageRefused("the vhdx block size is not valid")
    return possible(size), block, sector


def _check_log(piece: Piece, regions: dict[str, tuple[int, int]]) -> None:
    """What a replay would write must not be what was just judged. ImageRefused."""
    at, length = regions[METADATA]
    for start in range(0, len(piece.data) - 31, 32):
        kind = piece.data[start : start + 4]
        if kind not in (b"desc", b"zero"):
            continue
        place = piece.get("<Q", start + 16)[0]
        extent = 4 * KIB if kind == b"desc" else piece.get("<Q", start + 8)[0]
        if place < MIB or place + extent < place or (place < at + length and place + extent > at):
            raise ImageRefused("the vhdx log would change what the image says of itself")
