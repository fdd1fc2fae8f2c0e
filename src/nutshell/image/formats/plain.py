"""Formats without tables of their own: raw disks, with or without a partition table, optical discs (ECMA-119)."""

from nutshell.image.formats.parse import ImageRefused, Parse, Piece, Tail, Window, possible

SECTOR = 2048
PROTECTIVE = 0xEE  # the partition that stands for a whole GUID partition table


def parse_raw() -> Parse:
    """A guest's bytes as they are; what its partitions say is the guest's affair."""
    end = yield Tail(0)
    return possible(end.size)


def parse_partitioned() -> Parse:
    """A raw disk whose first sector has a partition table: one that is well formed (UEFI specification 5.2)."""
    sector = yield Window(0, 512)
    kinds = [_partition(sector, n) for n in range(4)]
    used = [n for n, kind in enumerate(kinds) if kind]
    if not used:
        raise ImageRefused("its partition table has no partition")
    if PROTECTIVE in kinds and used != [0]:
        raise ImageRefused("its protective partition table has further partitions")
    end = yield Tail(0)
    return possible(end.size)


def _partition(sector: Piece, number: int) -> int:
    """The kind of a primary partition; 0 where there is none. ImageRefused."""
    at = 446 + 16 * number
    boot, head, cylinders, kind = sector.get("<BBHB", at, "partition table")
    if boot not in (0x00, 0x80):
        raise ImageRefused(f"partition {number + 1} has a boot flag that is none")
    if kind == PROTECTIVE and (head, cylinders, sector.get("<I", at + 8)[0]) != (0, 0x0002, 1):
        raise ImageRefused("its protective partition does not begin at the first block")
    return int(kind)


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
