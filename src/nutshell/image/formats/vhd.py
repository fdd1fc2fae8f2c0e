"""VHD: fixed and dynamic disks (Microsoft, "Virtual Hard Disk Image Format Specification" 1.0)."""

from nutshell.image.formats.parse import ImageRefused, Parse, Piece, Tail, Window, possible

FIXED, DYNAMIC = 2, 3
FOOTER = 512
NONE = 0xFFFFFFFFFFFFFFFF
ENTRIES_LIMIT = 1 << 22


def parse_vhd() -> Parse:
    """A dynamic disk: a copy of the footer comes first."""
    head = yield Window(0, FOOTER)
    at, size = check_footer(head, DYNAMIC)
    if at % 512 or not 512 <= at <= 1 << 30:
        raise ImageRefused("the vhd header is not where it may be")
    dynamic = yield Window(at, 1024)
    table, entries = _check_dynamic(dynamic, size)
    end = yield Tail(FOOTER)
    if table % 512 or table + 4 * entries > end.size or table < at + 1024:
        raise ImageRefused("the vhd block table lies outside the file")
    if check_footer(end, DYNAMIC) != (at, size):
        raise ImageRefused("the vhd footer contradicts its copy at the start")
    return possible(size)


def parse_fixed_vhd() -> Parse:
    """A fixed disk: the guest's bytes, then the footer."""
    end = yield Tail(FOOTER)
    if not end.data.startswith(b"conectix"):
        raise ImageRefused("the content is raw, not vhd as declared")
    _, size = check_footer(end, FIXED)
    if size != end.size - FOOTER:
        raise ImageRefused("the vhd footer and the file have different sizes")
    return possible(size)


def checksum(data: bytes, at: int) -> int:
    """Ones' complement of the sum of all bytes but the checksum's own."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def check_footer(piece: Piece, wanted: int) -> tuple[int, int]:
    """(where the dynamic header is, virtual size). ImageRefused."""
    cookie, features, version, at = piece.get(">8sIIQ", 0, "vhd footer")
    size, _, kind, given = piece.get(">QIII", 48, "vhd footer")
    if len(piece.data) != FOOTER or cookie != b"conectix":
        raise ImageRefused("the vhd footer is missing")
    if version != 0x00010000 or not features & 2:
        raise ImageRefused("the vhd version is not supported")
    if checksum(piece.data, 64) != given:
        raise ImageRefused("the vhd footer's checksum is wrong")
    if kind != wanted:
        words = {4: "it is a differencing disk", FIXED: "it is a fixed disk", DYNAMIC: "it is a dynamic disk"}
        raise ImageRefused(f"the vhd image is not of the kind it seems: {words.get(kind, 'an unknown one')}")
    if kind == FIXED and at != NONE:
        raise ImageRefused("the fixed vhd image has a dynamic header")
    return at, possible(size)


def _check_dynamic(piece: Piece, size: int) -> tuple[int, int]:
    """(where the block table is, its entries). ImageRefused."""
    cookie, _, table, version, entries, block, given = piece.get(">8sQQIIII", 0, "vhd header")
    if len(piece.data) != 1024 or cookie != b"cxsparse" or version != 0x00010000:
        raise ImageRefused("the vhd header is missing")
    if checksum(piece.data, 36) != given:
        raise ImageRefused("the vhd header's checksum is wrong")
    if any(piece.data[40:60]) or any(piece.data[64:768]):
        raise ImageRefused("the vhd image has a parent")
    if block < 512 or block & (block - 1) or entries > ENTRIES_LIMIT or entries * block < size:
        raise ImageRefused("the vhd block table does not fit the virtual size")
    return table, entries
