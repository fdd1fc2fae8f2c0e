"""Unpacks an image that came as one gzip or zip file (Image API v2, import plugin "image_decompression"; RFC 1952;
PKWARE's APPNOTE).

What comes out is written as it comes, zeros as holes, and never more than there may be.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nutshell.image.files import CHUNK

MAGIC = {"gzip": b"\x1f\x8b\x08", "zip": b"PK\x03\x04"}
MOST_READ = 1 << 20  # of a zip's directory, which holds one entry
STORED, DEFLATED = 0, 8


class PackedRefused(Exception):
    """The file cannot be unpacked; the text says why, for the user."""


def packing(path: Path) -> str | None:
    """ "gzip" or "zip", by the first bytes; None for anything else."""
    with open(path, "rb") as file:
        head = file.read(4)
    return next((name for name, magic in MAGIC.items() if head.startswith(magic)), None)


def unpack(source: Path, target: Path, kind: str, most: int) -> None:
    """What is packed in the source, of at most so many bytes. Blocks. PackedRefused; a failed target is removed."""
    try:
        with open(source, "rb") as file, open(target, "wb") as out:
            _write(_gunzip(file) if kind == "gzip" else _unzip(file), out, most)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if packing(target) is not None:
        target.unlink()
        raise PackedRefused("the image is packed more than once")


def _write(chunks: Iterator[bytes], out: BinaryIO, most: int) -> None:
    size = 0
    for data in chunks:
        size += len(data)
        if size > most:
            raise PackedRefused(f"it unpacks to more than the limit of {most} bytes")
        if data.count(0) == len(data):
            out.seek(len(data), 1)
        else:
            out.write(data)
    out.truncate(size)


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    import gzip

    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while data := packed.read(CHUNK):
                yield data
    except (EOFError, zlib.error, gzip.BadGzipFile) as why:
        raise PackedRefused(f"its gzip data is damaged: {why}") from None


class _Sparing:
    """The file as zipfile may read it: never much of it at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(min(count, MOST_READ + 1) if count >= 0 else MOST_READ + 1)
        if len(data) > MOST_READ:
            raise PackedRefused("its zip directory is too large")
        return data


def _unzip(file: BinaryIO) -> Iterator[bytes]:
    import zipfile

    try:
        with zipfile.ZipFile(_Sparing(file)) as archive:
            entries = archive.infolist()
            if len(entries) != 1 or entries[0].is_dir():
                raise PackedRefused("the zip archive has not exactly one file")
            if entries[0].flag_bits & 1 or entries[0].compress_type not in (STORED, DEFLATED):
                raise PackedRefused("the zip archive is encrypted or packed otherwise than by deflate")
            with archive.open(entries[0]) as packed:
                while data := packed.read(CHUNK):
                    yield data
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, ValueError, OverflowError) as why:
        raise PackedRefused(f"its zip data is damaged: {why}") from None
