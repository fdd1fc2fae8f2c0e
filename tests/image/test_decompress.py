"""Unpacking on import: one file, whole, within limits."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path

import pytest

from nutshell.image.decompress import PackedRefused, packing, unpack

DATA = b"\0" * (3 << 20) + b"disk" * 1000
MOST = 1 << 30


def zipped(*files: bytes, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as archive:
        for n, data in enumerate(files):
            archive.writestr(f"../{n}.img", data)
    return out.getvalue()


def unpacked(folder: Path, packed: bytes, most: int = MOST) -> bytes:
    source, target = folder / "source", folder / "target"
    source.write_bytes(packed)
    kind = packing(source)
    assert kind is not None
    try:
        unpack(source, target, kind, most)
        return target.read_bytes()
    finally:
        assert [p.name for p in folder.iterdir()] in (["source"], ["source", "target"], ["target", "source"])
        if target.exists():
            assert target.stat().st_blocks * 512 < len(DATA) / 2  # zeros are holes
            target.unlink()


def gzipped(data: bytes) -> bytes:
    """The same at each call: the workers of a test run compare the names of their tests."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    "packed",
    [gzipped(DATA), gzipped(DATA[:9]) + gzipped(DATA[9:]), zipped(DATA),
     zipped(DATA, how=zipfile.ZIP_STORED)],
)  # fmt: skip
def test_what_was_packed_comes_out(tmp_path: Path, packed: bytes) -> None:
    assert unpacked(tmp_path, packed) == DATA
    assert unpacked(tmp_path, packed, len(DATA)) == DATA


def damaged(packed: bytes) -> bytes:
    return packed[: len(packed) // 2] + bytes([packed[len(packed) // 2] ^ 0xFF]) + packed[len(packed) // 2 + 1 :]


def encrypted() -> bytes:
    data = bytearray(zipped(b"x"))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (gzipped(DATA)[:-20], "damaged"),
        (damaged(gzipped(DATA)), "damaged"),
        (gzipped(b"x") + b"junk", "damaged"),
        (zipped(DATA)[:-30], "damaged"),
        (damaged(zipped(b"disk" * 9000, how=zipfile.ZIP_STORED)), "damaged"),
        (zipped(b"a", b"b"), "not exactly one"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
        (zipped(b"a", how=zipfile.ZIP_BZIP2), "otherwise"),
        (zipped(b"a", how=zipfile.ZIP_LZMA), "otherwise"),
        (encrypted(), "encrypted"),
        (gzipped(gzipped(b"x")), "more than once"),
        (zipped(gzipped(b"x")), "more than once"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path: Path, packed: bytes, why: str) -> None:
    with pytest.raises(PackedRefused, match=why):
        unpacked(tmp_path, packed)


@pytest.mark.parametrize("packed", [gzipped(DATA), zipped(DATA)])
def test_a_bomb_stops_at_the_limit(tmp_path: Path, packed: bytes) -> None:
    with pytest.raises(PackedRefused, match="more than the limit"):
        unpacked(tmp_path, packed, len(DATA) - 1)


def test_a_directory_larger_than_any_is_not_read(tmp_path: Path) -> None:
    """A zip of one small file whose directory says that it has 2 MiB."""
    whole = zipped(b"x")
    at = whole.index(b"PK\x05\x06")
    lying = whole[:at] + b"\0" * (2 << 20) + whole[at : at + 12] + (2 << 20).to_bytes(4, "little") + whole[at + 16 :]
    with pytest.raises(PackedRefused):
        unpacked(tmp_path, lying)


@pytest.mark.parametrize("data", [b"", b"PK", b"\x1f\x8b", b"QFI\xfb" + b"\0" * 9, zlib.compress(b"x")])
def test_what_is_not_packed_is_left_alone(tmp_path: Path, data: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(data)
    assert packing(source) is None
