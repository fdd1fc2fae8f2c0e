"""VDI: VirtualBox's disk image, version 1.1 (VirtualBox, VDICore.h; QEMU, block/vdi.c)."""

from nutshell.image.formats.parse import ImageRefused, Parse, Tail, Window, possible

BLOCK = 1 << 20
BLOCKS_LIMIT = 0x3FFFFFFF
DYNAMIC, STATIC = 1, 2


def parse_vdi() -> Parse:
    head = yield Window(0, 512)
    _signature, version, header_size, kind = head.get("<IIII", 0x40, "vdi header")
    map_at, data_at = head.get("<II", 0x154, "vdi header")
    sector, _, disk_size, block, _, blocks, allocated = head.get("<IIQIIII", 0x168, "vdi header")
    if version != 0x00010001:
        raise ImageRefused(f"vdi version {version >> 16}.{version & 0xFFFF} is not supported")
    if not 0x180 <= header_size <= 0x1C0:
        raise ImageRefused(f"a vdi header of {header_size} bytes is not valid")
    if kind not in (DYNAMIC, STATIC):
        raise ImageRefused("the vdi image depends on another one")
    if any(head.data[0x1A8:0x1C8]):
        raise ImageRefused("the vdi image has a parent")
    if sector != 512 or block != BLOCK or map_at % 512 or data_at % 512 or map_at < 512 or data_at <= map_at:
        raise ImageRefused("the vdi tables are not where they may be")
    if blocks > BLOCKS_LIMIT or allocated > blocks or possible(disk_size) > blocks * BLOCK:
        raise ImageRefused("the vdi block map does not fit the virtual size")
    if map_at + 4 * blocks > data_at:
        raise ImageRefused("the vdi block map reaches into the data")
    end = yield Tail(0)
    if map_at + 4 * blocks > end.size:
        raise ImageRefused("the vdi block map lies outside the file")
    return int(disk_size)
