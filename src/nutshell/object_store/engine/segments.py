"""A device's log: records of bytes and of index changes, appended to segment files, one flush for many.

A record is header, bytes, description. The description (MessagePack) names the devices that took part in the batch, the
blobs in the bytes, and the index changes in order: enough to bring an index that lags behind up to date.
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nutshell.object_store.errors import EngineError, NoRoom, NotWritable

HEADER = struct.Struct("<4sIQQQII")  # magic, version, sequence, bytes, description's bytes, its CRC, header's CRC
MAGIC = b"NsOs"
SEGMENT_BYTES = 64 << 20
AHEAD = 256 << 10  # a segment's blocks are written before there is a record for them: then a flush writes no file size
ZEROS = bytes(AHEAD)
ENCODER = msgspec.msgpack.Encoder()


class Described(msgspec.Struct, array_like=True, gc=False):
    """A record's description. blobs: (id, offset in the bytes, length, sums); changes: (statement, values)."""

    devices: list[str]
    blobs: list[tuple[int, int, int, bytes]]
    changes: list[tuple[str, list[Any]]]


class Record(msgspec.Struct, gc=False):
    seq: int
    offset: int  # of the header in the segment
    data_bytes: int
    said: Described
    end: int


DECODER = msgspec.msgpack.Decoder(Described)


class Log:
    """One device's segments. Only the committing thread appends; anybody reads."""

    def __init__(self, device: str, directory: Path, durable: bool) -> None:
        self.device, self.directory, self._durable = device, directory / "log", durable
        self._out = -1
        self.segment = 0  # the one that is appended to
        self.tail = 0
        self._ahead = 0  # up to here there are blocks
        self._readers: dict[int, int] = {}

    def numbers(self) -> list[int]:
        """The segments there are, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(int(p.stem) for p in self.directory.iterdir() if p.suffix == ".seg" and p.stem.isdigit())

    def file(self, segment: int) -> Path:
        return self.directory / f"{segment:08d}.seg"

    def begin(self, needed: int) -> None:
        """See that there is a segment with room: a new one after a start, for the last one may end in a torn record."""
        if self._out >= 0 and (self.tail == 0 or self.tail + needed <= SEGMENT_BYTES):
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            known = self.numbers()
            number = max([self.segment, *known]) + 1
            out = os.open(self.file(number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            if self._durable:
                _sync_directory(self.directory)
        except OSError as why:
            raise refusal(self.device, why) from why
        self._end()
        self._out, self.segment, self.tail, self._ahead = out, number, 0, 0

    def _end(self) -> None:
        """Nothing more is appended to this segment."""
        if self._out >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._out, self.tail)
            os.close(self._out)
        self._out = -1

    def append(self, parts: Sequence[bytes]) -> None:
        """Write a record at the tail. What could not be written whole is taken back."""
        total = sum(map(len, parts))
        if self._durable and self.tail + total > self._ahead:
            parts, self._ahead = [*parts, ZEROS], self.tail + total + AHEAD
        try:
            done = os.pwritev(self._out, parts, self.tail)
            while done < total:
                done += os.pwrite(self._out, b"".join(parts)[done:], self.tail + done)
        except OSError as why:
            self.abandon()
            raise refusal(self.device, why) from why
        self.tail += total

    def flush(self) -> None:
        if not self._durable:
            return
        try:
            os.fdatasync(self._out)
        except OSError as why:
            raise refusal(self.device, why) from why

    def take_back(self, tail: int) -> None:
        """The batch did not happen: its record goes."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._out, tail)
            self.tail = tail
            return
        self.abandon()

    def abandon(self) -> None:
        """After an error nothing more is appended behind what may be torn."""
        self._end()

    def read(self, segment: int, offset: int, length: int, *, waits: bool = True) -> bytes | None:
        """Bytes from a segment; without `waits`, None if the disk would have to be asked. OSError when gone."""
        fd = self._readers.get(segment)
        if fd is None:
            fd = self._readers[segment] = os.open(self.file(segment), os.O_RDONLY)
        if waits:
            return os.pread(fd, length, offset)
        data = bytearray(length)
        try:
            got = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return os.pread(fd, length, offset)  # a file system without RWF_NOWAIT
        return bytes(data) if got == length else None

    def forget(self, segment: int) -> None:
        """Remove a segment that nothing refers to."""
        self.file(segment).unlink(missing_ok=True)
        fd = self._readers.pop(segment, None)
        if fd is not None:
            os.close(fd)

    def records(self, segment: int, start: int = 0) -> Iterator[Record]:
        """The whole records of a segment, up to the first that is torn."""
        try:
            source = open(self.file(segment), "rb")  # noqa: SIM115 - closed below
        except OSError:
            return
        with source:
            at, size = start, os.fstat(source.fileno()).st_size
            while at + HEADER.size <= size:
                source.seek(at)
                head = source.read(HEADER.size)
                magic, _, seq, data_bytes, said_bytes, said_crc, head_crc = HEADER.unpack(head)
                end = at + HEADER.size + data_bytes + said_bytes
                if magic != MAGIC or zlib.crc32(head[:-4]) != head_crc or end > size:
                    return
                source.seek(at + HEADER.size + data_bytes)
                said = source.read(said_bytes)
                if zlib.crc32(said) != said_crc:
                    return
                yield Record(seq, at, data_bytes, DECODER.decode(said), end)
                at = end

    def close(self) -> None:
        self._end()
        for fd in self._readers.values():
            os.close(fd)
        self._readers.clear()


def frame(seq: int, data: Sequence[bytes], said: Described) -> list[bytes]:
    """The parts of a record, ready to be written."""
    description = ENCODER.encode(said)
    size = sum(map(len, data))
    head = HEADER.pack(MAGIC, 1, seq, size, len(description), zlib.crc32(description), 0)
    head = head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))
    return [head, *data, description]


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refusal(device: str, why: OSError) -> EngineError:
    import errno

    if why.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoRoom(f"device {device} is full")
    return NotWritable(f"device {device} cannot be written: {why.strerror}")
