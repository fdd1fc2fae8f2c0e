"""VMDK: one file with its descriptor inside, whole or as a stream (VMware, "Virtual Disk Format 5.0").

Refused is whatever names another file: descriptors alone, extents elsewhere, parents, the old COWD format.
"""

import re

from nutshell.image.formats.parse import ImageRefused, Parse, Piece, Tail, Window, possible

SECTOR = 512
DESCRIPTOR_LIMIT = 64 << 10
AT_END = 0xFFFFFFFFFFFFFFFF
HEADER = "<4sIIQQQQIQQQB4sH"
TYPES = {"monolithicsparse": 0, "streamoptimized": 1}
EXTENT = re.compile(r'(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?(?:\s+\d+)?$')


def parse_vmdk() -> Parse:
    head = yield Window(0, SECTOR)
    if not head.data.startswith(b"KDMV"):
        raise ImageRefused("the vmdk image keeps its data in other files")
    fields = head.get(HEADER, 0, "vmdk header")
    version, flags, capacity, grain, at, length, directory = *fields[1:7], fields[9]
    if version not in (1, 2, 3):
        raise ImageRefused(f"vmdk version {version} is not supported")
    if not capacity:
        raise ImageRefused("the vmdk image has no capacity of its own: its descriptor would name other files")
    if fields[12] not in (b"\n \r\n", b"\0\0\0\0"):
        raise ImageRefused("the vmdk image was damaged by a transfer as text")
    if not 1 <= grain <= 128 << 11 or grain & (grain - 1):
        raise ImageRefused(f"vmdk grains of {grain} sectors are not valid")
    virtual_size = possible(capacity * SECTOR)
    if not at or not length or length * SECTOR > DESCRIPTOR_LIMIT or at * SECTOR > 1 << 40:
        raise ImageRefused("the vmdk descriptor is missing or too large")
    descriptor = yield Window(at * SECTOR, length * SECTOR)
    kind = check_descriptor(descriptor.data, capacity)
    end = yield Tail(3 * SECTOR)
    if (at + length) * SECTOR > end.size:
        raise ImageRefused("the vmdk descriptor lies outside the file")
    if directory == AT_END:
        _check_footer(end, head)
    elif directory * SECTOR > end.size:
        raise ImageRefused("the vmdk grain directory lies outside the file")
    if kind == "streamoptimized" and not flags & 1 << 16:
        raise ImageRefused("the vmdk image is a stream without compressed grains")
    return virtual_size


def check_descriptor(data: bytes, capacity: int) -> str:
    """The kind of image the descriptor tells of. ImageRefused for one that names other files."""
    text = data.partition(b"\0")[0].decode("utf-8", "replace")
    if not text.lower().startswith("# disk descriptorfile"):
        raise ImageRefused("the vmdk descriptor is not one")
    if b"parentfilenamehint" in data.lower():
        raise ImageRefused("the vmdk image has a parent")
    lines = [line.strip() for line in text.splitlines()]
    extents = [line for line in lines if re.match(r"(RW|RDONLY|NOACCESS)\b", line, re.IGNORECASE)]
    values = [(n.strip().lower(), v.strip().strip('"')) for n, mark, v in (x.partition("=") for x in lines) if mark]
    kinds = [v.lower() for n, v in values if n == "createtype"]
    if len(kinds) != 1 or kinds[0] not in TYPES:
        shown = kinds[0][:40] if kinds else "(none)"
        raise ImageRefused(f"a vmdk image of type {shown} is not allowed; {' and '.join(TYPES)} are")
    if any(n == "parentcid" and v.lower() != "ffffffff" for n, v in values):
        raise ImageRefused("the vmdk image has a parent")
    if len(extents) != 1:
        raise ImageRefused(f"the vmdk image has {len(extents)} extents, not one")
    found = EXTENT.match(extents[0])
    if found is None or found[3] != "SPARSE" or found[1] != "RW":
        raise ImageRefused("the vmdk image keeps its data in other files")
    if found[4] is None or "/" in found[4] or "\\" in found[4]:
        raise ImageRefused("the vmdk extent has no plain name")
    if int(found[2][:20]) != capacity:
        raise ImageRefused("the vmdk descriptor and header have different sizes")
    return kinds[0]


def _check_footer(end: Piece, head: Piece) -> None:
    """A stream has its header's last word at the end: it must say what the header says."""
    if len(end.data) < 3 * SECTOR:
        raise ImageRefused("the vmdk footer is cut off")
    value, size, kind = end.get("<QII", 0)
    footer = Piece(end.data[SECTOR : 2 * SECTOR])
    if (value, size, kind) != (1, 0, 3) or any(end.data[2 * SECTOR :]):
        raise ImageRefused("the vmdk footer is not valid")
    fields, first = list(footer.get(HEADER, 0)), list(head.get(HEADER, 0))
    place = fields[9]
    fields[9] = first[9] = 0  # where the directory lies, which only the footer knows
    fields[8] = first[8] = fields[11] = first[11] = 0
    if fields != first:
        raise ImageRefused("the vmdk footer contradicts the header")
    if place * SECTOR > end.size:
        raise ImageRefused("the vmdk grain directory lies outside the file")
