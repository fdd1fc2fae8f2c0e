"""The image inspector and the qcow2 writer: known files, hostile files, and mutated ones."""

import io
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nutshell.image.formats import ImageRefused, Inspector, inspect, write_qcow2

MIB = 1 << 20


def small_qcow2(size: int = 16 * MIB, content: bytes = b"boot" * 1000, cluster_bits: int = 12) -> bytes:
    file = io.BytesIO()
    write_qcow2(file, [content], size, cluster_bits=cluster_bits)
    return file.getvalue()


def patched(data: bytes, offset: int, layout: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, offset, value)
    return bytes(changed)


def facts_of(data: bytes, declared: str, step: int = 777) -> tuple[str, int, str]:
    """Streams the data in small steps: (format, virtual size, refusal)."""
    inspector = Inspector(declared)
    try:
        for start in range(0, len(data), step):
            inspector.feed(data[start : start + step])
        facts = inspector.finish()
    except ImageRefused as refused:
        return "", 0, refused.why
    assert facts.size == len(data)
    return facts.format, facts.virtual_size, ""


@pytest.mark.parametrize("cluster_bits", [9, 12, 16])
def test_written_qcow2_is_accepted(cluster_bits: int) -> None:
    data = small_qcow2(cluster_bits=cluster_bits)
    assert facts_of(data, "qcow2") == ("qcow2", 16 * MIB, "")


def test_writing_is_reproducible_and_refuses_nonsense(tmp_path: Path) -> None:
    assert small_qcow2() == small_qcow2()
    with pytest.raises(ValueError, match="longer"):
        write_qcow2(tmp_path / "a", [b"x" * 513], 512)
    with pytest.raises(ValueError, match="multiple"):
        write_qcow2(tmp_path / "a", [], 100)


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
@pytest.mark.parametrize("cluster_bits", [9, 16])
def test_qemu_finds_no_fault_and_reads_the_same_content(tmp_path: Path, cluster_bits: int) -> None:
    content = [b"a" * 70_000, bytes(300_000), b"end", bytes(range(256)) * 3000]
    path, raw = tmp_path / "x.qcow2", tmp_path / "x.raw"
    written = write_qcow2(path, content, 64 * MIB, cluster_bits=cluster_bits)
    assert written == path.stat().st_size
    subprocess.run(["qemu-img", "check", "-f", "qcow2", path], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw], check=True)
    assert raw.read_bytes() == b"".join(content).ljust(64 * MIB, b"\0")
    assert inspect(path, "qcow2").virtual_size == 64 * MIB


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
@pytest.mark.parametrize(
    ("kind", "options", "accepted"),
    [
        ("qcow2", ["-o", "compat=0.10"], True),
        ("qcow2", ["-o", "compression_type=zstd"], True),
        ("qcow2", ["-o", "lazy_refcounts=on"], True),
        ("qcow2", ["-o", "extended_l2=on"], False),
        ("qcow2", ["-o", "data_file=outside.raw"], False),
        ("vmdk", [], True),
        ("vdi", [], True),
        ("vhdx", [], True),
        ("qed", [], False),
    ],
)
def test_files_made_by_qemu(tmp_path: Path, kind: str, options: list[str], accepted: bool) -> None:
    path = tmp_path / "disk"
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, path, "8M"], check=True, cwd=tmp_path)
    facts = inspect(path, kind)
    assert facts.format == kind
    assert bool(facts.refused) is not accepted
    if kind in ("qcow2", "vmdk", "vdi") and accepted:
        assert facts.virtual_size == 8 * MIB
    assert inspect(path, "raw").refused


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_backing_file_made_by_qemu_is_refused(tmp_path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "base", "8M"], check=True, cwd=tmp_path)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top"]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert "backing file" in inspect(tmp_path / "top", "qcow2").refused


@pytest.mark.parametrize(
    ("offset", "layout", "value", "why"),
    [
        (4, ">I", 1, "version 1"),
        (8, ">Q", 512, "backing file"),
        (20, ">I", 30, "cluster"),
        (20, ">I", 63, "cluster"),
        (24, ">Q", 1 << 62, "virtual size"),
        (24, ">Q", 1 << 40, "too small"),
        (32, ">I", 2, "encrypted"),
        (36, ">I", 0, "too small"),
        (36, ">I", 0xFFFFFFFF, "too large"),
        (40, ">Q", 1 << 40, "outside the file"),
        (40, ">Q", 4097, "not at a cluster"),
        (48, ">Q", 1 << 50, "outside the file"),
        (48, ">Q", 0, "missing"),
        (56, ">I", 0xFFFFFFFF, "too large"),
        (60, ">I", 100_000, "snapshot"),
        (60, ">I", 1, "snapshot"),
        (72, ">Q", 4, "external file"),
        (72, ">Q", 2, "corrupt"),
        (72, ">Q", 1 << 4, "unknown features"),
        (72, ">Q", 1 << 63, "unknown features"),
        (72, ">Q", 8, "compression"),
        (96, ">I", 7, "reference counts"),
        (100, ">I", 103, "header"),
        (100, ">I", 0xFFFFFFF8, "header"),
        (112, ">I", 0x44415441, "external data file"),
        (112, ">I", 0x0537BE77, "encrypted"),
        (112, ">Q", 0x12345678_FFFFFFFF, "extension"),
    ],
)
def test_hostile_header_is_refused(offset: int, layout: str, value: int, why: str) -> None:
    _, _, refused = facts_of(patched(small_qcow2(), offset, layout, value), "qcow2")
    assert why in refused


def iso_image() -> bytes:
    data = bytearray(64 * 1024)
    data[32768:32774] = b"\x01CD001"
    struct.pack_into("<I", data, 32768 + 80, 32)
    struct.pack_into("<H", data, 32768 + 128, 2048)
    return bytes(data)


def partitioned(kind: int) -> bytes:
    data = bytearray(64 * 1024)
    data[446:462] = struct.pack("<BBBBBBBBII", 0, 0, 2, 0, kind, 0, 0, 0, 1, 127)
    data[510:512] = b"\x55\xaa"
    return bytes(data)


def changed(data: bytes, at: int, to: bytes) -> bytes:
    return data[:at] + to + data[at + len(to) :]


@pytest.mark.parametrize(
    ("data", "declared", "found", "virtual_size"),
    [
        (b"anything" * 200, "raw", "raw", 1600),
        (b"", "raw", "raw", 0),
        (b"#!kernel", "aki", "raw", 8),
        (partitioned(0x83), "raw", "mbr", 65536),
        (partitioned(0xEE), "raw", "gpt", 65536),
        (iso_image(), "iso", "iso", 65536),
        (partitioned(0x83)[:32768] + iso_image()[32768:], "iso", "iso", 65536),  # bootable from a stick too
    ],
)
def test_honest_content_is_accepted(data: bytes, declared: str, found: str, virtual_size: int) -> None:
    assert facts_of(data, declared) == (found, virtual_size, "")


@pytest.mark.parametrize(
    ("data", "declared", "why"),
    [
        (b"no qcow2 at all" * 99, "qcow2", "is raw, not qcow2"),
        (small_qcow2(), "raw", "is qcow2, not raw"),
        (b"QFI\xfb", "qcow2", "cut off"),
        (b"", "qcow2", "is raw"),
        (b"KDMV" + bytes(600), "raw", "is vmdk"),
        (b"# Disk DescriptorFile\nversion=1\n", "raw", "is vmdk"),
        (b"conectix" + bytes(600), "raw", "is vhd"),
        (b"vhdxfile" + bytes(600), "raw", "is vhdx"),
        (b"LUKS\xba\xbe" + bytes(600), "raw", "not allowed"),
        (iso_image(), "raw", "is iso"),
        (bytes(65536), "iso", "is raw"),
        (changed(partitioned(0x83), 446, b"\x01"), "raw", "boot flag"),
        (changed(partitioned(0x83), 450, b"\0"), "raw", "no partition"),
        (changed(partitioned(0xEE), 447, b"\1"), "raw", "first block"),
        (changed(partitioned(0xEE), 454, b"\2"), "raw", "first block"),
        (changed(partitioned(0xEE), 466, b"\x83"), "raw", "further partitions"),
        (changed(partitioned(0x83), 466, b"\xee"), "raw", "first block"),
        (small_qcow2()[:32768].ljust(32768, b"\0") + iso_image()[32768:], "qcow2", "several formats"),
        (small_qcow2()[:8192], "qcow2", "outside the file"),
    ],
)
def test_dishonest_content_is_refused(data: bytes, declared: str, why: str) -> None:
    assert why in facts_of(data, declared)[2]


def test_refusal_comes_while_the_upload_still_runs_and_memory_stays_bounded() -> None:
    inspector = Inspector("qcow2")
    with pytest.raises(ImageRefused):
        inspector.feed(bytes(MIB))
    honest = Inspector("raw")
    for _ in range(64):
        honest.feed(bytes(MIB))
    assert not honest.needs_more
    assert len(honest._head) <= 40 * 1024
    assert honest.finish().virtual_size == 64 * MIB


SEEDS = [small_qcow2(), small_qcow2(cluster_bits=9), iso_image(), partitioned(0xEE), b"KDMV" + bytes(600)]
DECLARED = ["qcow2", "raw", "iso", "vmdk", "vdi", "vhd", "vhdx", "ami", "ploop", "no such format"]
EDITS = st.lists(st.tuples(st.integers(0, 160) | st.integers(0, 40_000), st.binary(min_size=1, max_size=9)), max_size=8)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), EDITS, st.sampled_from(DECLARED), st.integers(1, 50_000), st.integers(0, 70_000))
@example(b"QFI\xfb\0\0\0\3" + b"\xff" * 200, [], "qcow2", 3, 70_000)
def test_mutated_files_are_only_ever_refused(
    seed: bytes, edits: list[tuple[int, bytes]], declared: str, step: int, cut: int
) -> None:
    data = bytearray(seed)
    for offset, new in edits:
        data[offset : offset + len(new)] = new
    started = time.monotonic()
    found, virtual_size, why = facts_of(bytes(data[:cut]), declared, step=max(step, 50))
    assert why or (found and 0 <= virtual_size <= 1 << 50)
    assert time.monotonic() - started < 2


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(DECLARED))
def test_any_bytes_after_a_magic_are_only_ever_refused(tail: bytes, declared: str) -> None:
    for magic in (b"QFI\xfb\0\0\0\3", b"QFI\xfb\0\0\0\2", b"KDMV", b"vhdxfile", b""):
        _, virtual_size, why = facts_of(magic + tail, declared)
        assert why or virtual_size <= 1 << 50


class _Measured(io.BytesIO):
    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= MIB
        self.asked += 1
        return super().read(size)


def test_a_stream_is_read_once_in_bounded_pieces() -> None:
    stream = _Measured(small_qcow2().ljust(5 * MIB, b"\0"))
    assert inspect(stream, "qcow2").size == 5 * MIB
    assert stream.asked == 6


def test_a_kernel_that_looks_like_qcow2_costs_nothing() -> None:
    """Its cluster size was taken for a shift by four thousand million bits: half a GiB and seconds."""
    data = patched(small_qcow2(), 20, ">I", 0xFFFFFFF0)
    start = time.perf_counter()
    assert facts_of(data, "aki") == ("qcow2", len(data), "")
    assert time.perf_counter() - start < 0.5


def test_partition_tables_are_the_guests_affair_where_the_operator_says_so() -> None:
    content = changed(partitioned(0x83), 446, b"\x01")
    lenient = Inspector("raw", any_partitions=True)
    lenient.feed(content)
    assert lenient.finish().format == "mbr"
