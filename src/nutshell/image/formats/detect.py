"""Tells a disk image's format from its first bytes (each format's own header; UEFI specification 5 for GPT)."""

HEAD_BYTES = 40 * 1024  # the farthest sign lies in ISO 9660's and UDF's descriptors, from 32 KiB on
SECTOR = 2048

_AT_START = (
    (b"QFI\xfb", "qcow2"),
    (b"QED\x00", "qed"),
    (b"KDMV", "vmdk"),
    (b"COWD", "vmdk"),
    (b"conectix", "vhd"),
    (b"vhdxfile", "vhdx"),
    (b"LUKS\xba\xbe", "luks"),
    (b"WithoutFreeSpace", "ploop"),
    (b"WithouFreSpacExt", "ploop"),
)


def detect(head: bytes) -> tuple[str, ...]:
    """Every format whose sign is in the head; ("raw",) when there is none.

    A partition table ("gpt" or "mbr") is only named when nothing else is: bootable ISO images carry one too.
    """
    found = [name for magic, name in _AT_START if head.startswith(magic)]
    if head[:21].lower() == b"# disk descriptorfile":
        found.append("vmdk")
    if head[0x40:0x44] == b"\x7f\x10\xda\xbe":
        found.append("vdi")
    if _is_iso(head):
        found.append("iso")
    if found:
        return tuple(found)
    return (_partition_table(head) or "raw",)


def _is_iso(head: bytes) -> bool:
    first = 16 * SECTOR
    if head[first + 1 : first + 6] in (b"CD001", b"NSR02", b"NSR03"):
        return True
    if head[first + 1 : first + 6] != b"BEA01":
        return False
    return any(head[first + n * SECTOR + 1 :][:5] in (b"NSR02", b"NSR03") for n in (1, 2))


def _partition_table(head: bytes) -> str | None:
    if len(head) < 512 or head[510:512] != b"\x55\xaa":
        return None
    if head[0x10] == 2 and head[0x15] == 0xF8:  # two FATs on a fixed disk: a file system's boot sector, no table
        return None
    if head[512:520] == b"EFI PART" or 0xEE in head[450:510:16]:
        return "gpt"
    return "mbr"
