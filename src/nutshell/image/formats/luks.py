"""LUKS: encrypted disks, versions 1 and 2 ("LUKS1 On-Disk Format", "LUKS2 On-Disk Format Specification")."""

from nutshell.image.formats.parse import ImageRefused, Parse, Tail, Window, possible

SECTOR = 512


def parse_luks() -> Parse:
    """The bytes behind the header; the data itself cannot be looked into."""
    head = yield Window(0, 4096)
    version = head.get(">H", 6, "luks header")[0]
    if version == 2:
        length = head.get(">Q", 8, "luks header")[0]
        if not 16 << 10 <= length <= 4 << 20 or length & (length - 1):
            raise ImageRefused(f"a luks header of {length} bytes is not valid")
        end = yield Tail(0)
        if end.size < 2 * length:
            raise ImageRefused("the luks header is cut off")
        return possible(end.size - 2 * length)
    if version != 1:
        raise ImageRefused(f"luks version {version} is not supported")
    payload, key_bytes = head.get(">II", 104, "luks header")
    if not payload:
        raise ImageRefused("the luks header belongs to data elsewhere")
    if not 16 <= key_bytes <= 512:
        raise ImageRefused(f"a luks key of {key_bytes} bytes is not valid")
    for slot in range(8):
        state, material, stripes = head.get(">I36xII", 208 + 48 * slot, "luks header")
        if state == 0x00AC71F3 and (material + -(-key_bytes * stripes // SECTOR) > payload or not material):
            raise ImageRefused("a luks key slot reaches into the data")
        if state not in (0x00AC71F3, 0x0000DEAD):
            raise ImageRefused("a luks key slot is not valid")
    end = yield Tail(0)
    if payload * SECTOR > end.size:
        raise ImageRefused("the luks data lies outside the file")
    return possible(end.size - payload * SECTOR)
