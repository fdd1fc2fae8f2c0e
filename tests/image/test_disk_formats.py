"""Each format's parser: files that qemu-img makes pass, one changed field is refused with its reason."""

import io
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.image.fuzz.sparse import expand
from tests.image.test_formats import facts_of

from nutshell.image.formats import inspect
from nutshell.image.formats.vhd import checksum
from nutshell.image.formats.vhdx import crc32c
from nutshell.image.formats.vmdk import SECTOR

KIB = 1 << 10
CORPUS = Path(__file__).parent / "fuzz" / "corpus"


def corpus(name: str) -> bytearray:
    return bytearray(expand((CORPUS / name).read_bytes()))


Change = Callable[[bytearray], None]


def put(offset: int, layout: str, *values: object) -> Change:
    return lambda data: struct.pack_into(layout, data, offset, *values)


def both(*changes: Change) -> Change:
    def change(data: bytearray) -> None:
        for one in changes:
            one(data)

    return change


def swap(old: bytes, new: bytes) -> Change:
    def change(data: bytearray) -> None:
        at = data.index(old)
        data[at : at + len(old)] = new.ljust(len(old), b"\n")[: len(old)] if len(new) <= len(old) else new

    return change


def vhd_again(data: bytearray) -> None:
    """Both footers and the header with right checksums."""
    data[-512:] = data[:512]
    for at in (0, len(data) - 512):
        struct.pack_into(">I", data, at + 64, checksum(bytes(data[at : at + 512]), 64))
    struct.pack_into(">I", data, 512 + 36, checksum(bytes(data[512:1536]), 36))


def vhdx_again(data: bytearray) -> None:
    """Headers and region tables with right checksums."""
    for at, length in ((64, 4), (128, 4), (192, 64), (256, 64)):
        struct.pack_into("<I", data, at * KIB + 4, 0)
        value = crc32c(bytes(data[at * KIB : (at + length) * KIB]))
        struct.pack_into("<I", data, at * KIB + 4, value)


def vhdx_item(data: bytearray, name: bytes) -> int:
    """Where a metadata item's entry is."""
    return data.index(name)


DISK_SIZE = bytes.fromhex("24 42 a5 2f 1b cd 76 48 b2 11 5d be d8 3b f4 b8")
PARAMETERS = bytes.fromhex("37 67 a1 ca 36 fa 43 4d b3 b6 33 f0 aa 44 e7 6b")
PARENT = bytes.fromhex("2d 5f d3 a8 0b b3 4d 45 ab f7 d3 d8 48 34 ab 0c")


def vhdx_value(name: bytes, layout: str, value: int, skip: int = 0) -> Change:
    def change(data: bytearray) -> None:
        entry = vhdx_item(data, name)
        region = data.index(b"metadata")
        (offset,) = struct.unpack_from("<I", data, entry + 16)
        struct.pack_into(layout, data, region + offset + skip, value)

    return change


@pytest.mark.parametrize(
    ("name", "declared"),
    [("vmdk-sparse", "vmdk"), ("vmdk-stream", "vmdk"), ("vdi", "vdi"), ("vdi-static", "vdi"), ("vhd", "vhd"),
     ("vhd-fixed", "vhd"), ("vhdx", "vhdx"), ("vhdx-fixed", "vhdx"), ("iso", "iso"), ("gpt", "raw"), ("luks", "luks")],
)  # fmt: skip
def test_the_corpus_has_a_good_file_of_each(name: str, declared: str) -> None:
    data = bytes(corpus(name))
    found = facts_of(data, declared, step=65_521)
    assert found[2] == ""
    assert inspect(io.BytesIO(data), declared).virtual_size == found[1] > 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([put(4, "<I", 9)], "version 9"),
        ([put(12, "<Q", 0)], "no capacity"),
        ([put(12, "<Q", 1 << 60)], "virtual size"),
        ([put(12, "<Q", 256)], "different sizes"),
        ([put(20, "<Q", 3)], "grains"),
        ([put(28, "<Q", 0)], "descriptor is missing"),
        ([put(36, "<Q", 1 << 40)], "too large"),
        ([put(28, "<Q", 1 << 20)], "not one"),
        ([put(56, "<Q", 1 << 40)], "outside the file"),
        ([put(73, "4s", b"\n\n\n\n")], "as text"),
        ([swap(b"# Disk Desc", b"# Dusk Desc")], "not one"),
        ([swap(b"monolithicSparse", b"monolithicFlat\" ")], "type monolithicflat"),
        ([swap(b"monolithicSparse", b"custom")], "not allowed"),
        ([swap(b"parentCID=ffffffff", b"parentCID=00000001")], "parent"),
        ([swap(b"# The Disk Data Base", b"parentFileNameHint=x")], "parent"),
        ([swap(b"RW 128 SPARSE", b"RW 128 FLAT  ")], "other files"),
        ([swap(b"RW 128 SPARSE \"", b"RW 128 SPARSE \"/")], "plain name"),
        ([swap(b"# Extent description", b'RW 1 FLAT "passwd" 0')], "2 extents"),
    ],
)  # fmt: skip
def test_vmdk(changes: list[Change], why: str) -> None:
    data = corpus("vmdk-sparse")
    for change in changes:
        change(data)
    assert why in facts_of(bytes(data), "vmdk")[2]


def test_vmdk_stream_whose_footer_says_otherwise() -> None:
    data = corpus("vmdk-stream")
    header = bytes(data[:SECTOR])
    put(56, "<Q", 0xFFFFFFFFFFFFFFFF)(data)
    marker = struct.pack("<QII", 1, 0, 3).ljust(SECTOR, b"\0")
    good = bytes(data) + marker + header + bytes(SECTOR)
    assert facts_of(good, "vmdk")[2] == ""
    other = bytearray(header)
    put(12, "<Q", 0)(other)
    assert "contradicts" in facts_of(bytes(data) + marker + bytes(other) + bytes(SECTOR), "vmdk")[2]
    assert "footer" in facts_of(bytes(data) + header, "vmdk")[2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put(0x44, "<I", 0x00010002), "version"),
        (put(0x48, "<I", 0xFFFF), "header"),
        (put(0x4C, "<I", 4), "depends on another"),
        (put(0x1A8, "<I", 1), "parent"),
        (put(0x1B8, "<I", 1), "parent"),
        (put(0x154, "<I", 513), "not where"),
        (put(0x178, "<I", 1 << 21), "not where"),
        (put(0x170, "<Q", 1 << 55), "virtual size"),
        (put(0x170, "<Q", 1 << 40), "does not fit"),
        (put(0x184, "<I", 99), "does not fit"),
        (put(0x180, "<I", 0x3FFFFFFF), "reaches into the data"),
    ],
)
def test_vdi(change: Change, why: str) -> None:
    data = corpus("vdi")
    change(data)
    assert why in facts_of(bytes(data), "vdi")[2]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ([put(64, ">I", 0)], "checksum"),
        ([put(60, ">I", 4), vhd_again], "differencing"),
        ([put(60, ">I", 2), vhd_again], "fixed"),
        ([put(12, ">I", 5), vhd_again], "version"),
        ([put(48, ">Q", 1 << 60), vhd_again], "virtual size"),
        ([put(48, ">Q", 1 << 45), vhd_again], "does not fit"),
        ([put(16, ">Q", 1 << 40), vhd_again], "not where"),
        ([put(512 + 40, ">I", 1), vhd_again], "parent"),
        ([put(512 + 64, ">I", 1), vhd_again], "parent"),
        ([put(512 + 576, ">I", 1), vhd_again], "parent"),
        ([put(512 + 16, ">Q", 1 << 40), vhd_again], "outside the file"),
        ([put(512 + 28, ">I", 1 << 30), vhd_again], "does not fit"),
        ([put(512 + 32, ">I", 3), vhd_again], "does not fit"),
        ([lambda d: d.extend(b"more")], "footer is missing"),
        ([vhd_again, lambda d: put(len(d) - 512 + 48, ">Q", 512)(d)], "checksum"),
    ],
)
def test_vhd(changes: list[Change], why: str) -> None:
    data = corpus("vhd")
    vhd_again(data)
    for change in changes:
        change(data)
    assert why in facts_of(bytes(data), "vhd")[2]


def test_fixed_vhd() -> None:
    data = corpus("vhd-fixed")
    assert facts_of(bytes(data), "raw") == ("raw", len(data), "")
    assert "different sizes" in facts_of(bytes(512) + bytes(data), "vhd")[2]
    assert "is raw" in facts_of(bytes(data[:-512]), "vhd")[2]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put(64 * KIB + 66, "<H", 2), "version"),
        (put(192 * KIB, "4s", b"none"), "region table is missing"),
        (put(256 * KIB + 8, "<I", 9999), "damaged"),
        (both(put(192 * KIB + 16, "<I", 1), put(192 * KIB + 44, "<I", 1)), "unknown region"),
        (put(256 * KIB + 32, "<Q", 5 << 20), "disagree"),
        (put(192 * KIB + 32, "<Q", 512), "not where"),
        (vhdx_value(DISK_SIZE, "<Q", 1 << 60), "virtual size"),
        (vhdx_value(DISK_SIZE, "<Q", 1 << 45), "does not fit"),
        (vhdx_value(PARAMETERS, "<I", 3), "block size"),
        (vhdx_value(PARAMETERS, "<I", 2, 4), "parent"),
        (swap(PARAMETERS, PARENT), "parent"),
        (swap(DISK_SIZE, bytes(16)), "unknown item"),
        (both(put(64 * KIB + 48, "<I", 1), put(1 << 20, "<4sIQQ", b"desc", 0, 0, 64 * KIB)), "log"),
    ],
)
def test_vhdx(change: Change, why: str) -> None:
    data = corpus("vhdx")
    change(data)
    if why != "damaged":
        vhdx_again(data)
    assert why in facts_of(bytes(data), "vhdx", step=65_521)[2]


def test_vhdx_checksums() -> None:
    data = corpus("vhdx")
    put(192 * KIB + 4, "<I", 1)(data)
    assert "damaged" in facts_of(bytes(data), "vhdx", step=65_521)[2]
    assert crc32c(b"123456789") == 0xE3069283


def test_luks_is_known_but_not_what_servers_may_start_from() -> None:
    data = bytes(corpus("luks"))
    assert "not allowed" in facts_of(data, "raw")[2]
    changed = bytearray(data)
    put(104, ">I", 0)(changed)
    assert "elsewhere" in facts_of(bytes(changed), "luks")[2]


def test_a_disk_that_ends_like_another_one() -> None:
    data = bytes(corpus("vdi")).ljust(4 << 20, b"\0") + bytes(corpus("vhd-fixed")[-512:])
    assert "several formats" in facts_of(data, "vdi")[2]


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
@pytest.mark.parametrize(
    ("kind", "options"),
    [("vmdk", []), ("vmdk", ["-o", "subformat=streamOptimized"]), ("vdi", []), ("vpc", []), ("vhdx", []),
     ("vpc", ["-o", "subformat=fixed,force_size=on"])],
)  # fmt: skip
def test_disks_with_data_made_by_qemu(tmp_path: Path, kind: str, options: list[str]) -> None:
    source, target = tmp_path / "raw", tmp_path / "disk"
    source.write_bytes(bytes(range(256)) * 4096 + bytes(7 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, source, target], check=True)
    facts = inspect(target, {"vpc": "vhd"}.get(kind, kind))
    assert facts.refused == ""
    assert facts.virtual_size >= 8 << 20
    assert facts_of(target.read_bytes(), facts.declared, step=65_521)[1] == facts.virtual_size
