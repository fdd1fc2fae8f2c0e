"""Formats without tables of their own: raw disks, with or without a partition table, optical discs (ECMA-119)."""

from nutshell.image.formats.parse import ImageRefused, Parse, Tail, Window, possible

SECTOR = 2048


def parse_raw() -> Parse:
    """A guest's bytes as they are; what its partitions say is the guest's affair."""
    end = yield Tail(0)
    return possible(end.size)


def parse_iso() -> Parse:
    """The size that the primary volume has; a disc without one (UDF alone) has its file's."""
    volume = yield Window(16 * SECTOR, SECTOR)
    size = None
    if volume.data[:6] == b"\x01CD001":
        sectors, block = volume.get("<I", 80, "iso volume")[0], volume.get("<H", 128, "iso volume")[0]
        if block not in (512, 1024, 2048):
            raise ImageRefused(f"iso blocks of {block} bytes are not valid")
        size = sectors * block
    end = yield Tail(0)
    return possible(end.size if size is None else size)
