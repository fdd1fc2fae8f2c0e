"""Judges an image while it streams by: is it what it is said to be, and safe to open (as Glance's format checks do)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO

from nutshell.image.formats.detect import HEAD_BYTES, detect
from nutshell.image.formats.luks import parse_luks
from nutshell.image.formats.parse import WINDOW_LIMIT, ImageRefused, Parse, Piece, Tail, Window
from nutshell.image.formats.plain import parse_iso, parse_partitioned, parse_raw
from nutshell.image.formats.qcow2_check import parse_qcow2
from nutshell.image.formats.vdi import parse_vdi
from nutshell.image.formats.vhd import parse_fixed_vhd, parse_vhd
from nutshell.image.formats.vhdx import parse_vhdx
from nutshell.image.formats.vmdk import parse_vmdk

PARSERS: Mapping[str, Callable[[], Parse]] = {
    "qcow2": parse_qcow2,
    "vmdk": parse_vmdk,
    "vdi": parse_vdi,
    "vhd": parse_vhd,
    "vhdx": parse_vhdx,
    "iso": parse_iso,
    "luks": parse_luks,
    "raw": parse_raw,
    "gpt": parse_partitioned,
    "mbr": parse_partitioned,
    "ploop": parse_raw,
}
UNCHECKED = frozenset({"ami", "aki", "ari"})  # kernels and their like: no format of their own
PLAIN = frozenset({"raw", "gpt", "mbr"})
NEVER_SAFE = frozenset({"luks", "qed"})  # unless it is what was declared, and so what is expected
TAIL_BYTES = 1536
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class ImageFacts:
    """What an image is. `refused` is empty for one that may be used, else the reason it must not be."""

    declared: str
    format: str  # "qcow2", "raw", "gpt" and "mbr" (raw with a partition table), "iso", "vmdk", …
    virtual_size: int  # bytes a guest sees; for raw the bytes of the file
    size: int  # bytes of the file
    refused: str = ""


class Inspector:
    """Fed an image's bytes in order; keeps 40 KiB of them and one window of 1 MiB, and believes no length it reads."""

    def __init__(self, declared: str, *, any_raw: bool = False, any_partitions: bool = False) -> None:
        """`any_raw`: content without any format's sign may be declared as anything; nothing opens it by mistake.
        `any_partitions`: partition tables are not judged."""
        self.declared = declared
        self._any_raw, self._any_partitions = any_raw, any_partitions
        self.size = 0
        self.format = ""
        self._head = bytearray()
        self._tail = b""
        self._parse: Parse | None = None
        self._wanted: Window | Tail | None = None
        self._window = bytearray()
        self._done: ImageFacts | None = None

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. ImageRefused as soon as they say so."""
        start = self.size
        self.size += len(chunk)
        if self._done is not None:
            return
        self._tail = (self._tail + bytes(chunk[-TAIL_BYTES:]))[-TAIL_BYTES:]
        try:
            if not self.format:
                self._head += chunk[: HEAD_BYTES - len(self._head)]
                if len(self._head) < HEAD_BYTES:
                    return
                self._begin()
            while isinstance(self._wanted, Window):
                missing = self._wanted.offset + len(self._window)
                if missing >= self.size:
                    return
                end = self._wanted.offset + self._wanted.length
                self._window += chunk[max(missing - start, 0) : max(end - start, 0)]
                if len(self._window) < self._wanted.length:
                    return
                self._next(Piece(bytes(self._window)))
        except ImageRefused as why:
            self._done = ImageFacts(self.declared, self.format, 0, self.size, why.why)
            raise

    def skip(self, count: int) -> None:
        """Counts bytes that exist but need not be read (`needs_more` is false); the file's last ones must be fed."""
        self.size += count

    @property
    def needs_more(self) -> bool:
        """Whether the next bytes still matter for more than their number and the last of them."""
        return not self.format or isinstance(self._wanted, Window)

    def finish(self) -> ImageFacts:
        """The facts of the whole image. ImageRefused if it must not be used."""
        facts = self.facts()
        if facts.refused:
            raise ImageRefused(facts.refused)
        return facts

    def facts(self) -> ImageFacts:
        """The facts of what was fed, which is the whole image; a refusal stands in them."""
        if self._done is None:
            try:
                virtual_size = self._end()
                self._done = ImageFacts(self.declared, self.format, virtual_size, self.size)
            except ImageRefused as why:
                self._done = ImageFacts(self.declared, self.format, 0, self.size, why.why)
        return self._done

    def _end(self) -> int:
        """The virtual size, now that there is no more. ImageRefused."""
        if not self.format:
            self._begin()
        if self._parse is None:
            return self.size
        try:
            while True:
                if isinstance(self._wanted, Window):
                    self._next(Piece(bytes(self._window)))
                elif self._wanted is not None:
                    last = self._tail[len(self._tail) - min(self._wanted.length, len(self._tail)) :]
                    if self.format not in PLAIN and self.format != "vhd" and self._tail[-512:].startswith(b"conectix"):
                        raise ImageRefused(f"the content has the marks of several formats: {self.format}, vhd")
                    self._parse.send(Piece(last, self.size))
                    raise AssertionError("a parser ends with the tail")
        except StopIteration as done:
            found: int = done.value
            return found

    def _begin(self) -> None:
        """The head is known: the format is, and its parser starts. ImageRefused."""
        found = detect(bytes(self._head))
        self.format = name = found[0]
        if self.declared in UNCHECKED:
            return
        if len(found) > 1:
            raise ImageRefused(f"the content has the marks of several formats: {', '.join(found)}")
        if name in NEVER_SAFE and name != self.declared:
            raise ImageRefused(f"the format {name} is not allowed")
        parser = PARSERS.get(name)
        if name in ("gpt", "mbr") and self._any_partitions:
            parser = parse_raw
        if name in PLAIN and self.declared == "vhd" and not self._any_raw:
            self.format, parser = "vhd", parse_fixed_vhd
        elif name != self.declared and not (name in PLAIN and (self._any_raw or self.declared in ("raw", "ploop"))):
            raise ImageRefused(f"the content is {'raw' if name in PLAIN else name}, not {self.declared} as declared")
        if parser is None:
            raise ImageRefused(f"the format {name} is not allowed")
        self._parse = parser()
        self._ask(next(self._parse))

    def _next(self, piece: Piece) -> None:
        assert self._parse is not None
        self._ask(self._parse.send(piece))

    def _ask(self, wanted: Window | Tail) -> None:
        """Wait for what the parser wants next; from the head it has it at once. ImageRefused."""
        while isinstance(wanted, Window):
            if not 0 < wanted.length <= WINDOW_LIMIT:
                raise ImageRefused("a table of the image is missing or too large")
            last = self._wanted if isinstance(self._wanted, Window) else None
            passed = HEAD_BYTES if last is None else max(HEAD_BYTES, last.offset + last.length)
            in_head = wanted.offset + wanted.length <= HEAD_BYTES
            if last is not None and not in_head and wanted.offset < passed:
                raise ImageRefused("the tables of the image overlap or are in an unusual order")
            start = bytes(self._head[wanted.offset : wanted.offset + wanted.length])
            if not in_head:
                self._wanted, self._window = wanted, bytearray(start)
                return
            assert self._parse is not None
            wanted = self._parse.send(Piece(start))
        self._wanted = wanted


def inspect(source: str | Path | BinaryIO, declared: str) -> ImageFacts:
    """The facts of a whole file; a refusal stands in them. Read once, front to back, in pieces.

    OSError as reading raises.
    """
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            return _inspect_file(file, declared)
    inspector = Inspector(declared)
    try:
        while chunk := source.read(_READ_BYTES):
            inspector.feed(chunk)
    except ImageRefused:
        pass  # the facts say why
    return inspector.facts()


def _inspect_file(file: BinaryIO, declared: str) -> ImageFacts:
    """As a stream, but what no parser wants is passed over."""
    size = file.seek(0, SEEK_END)
    file.seek(0)
    inspector = Inspector(declared)
    try:
        inspector.feed(file.read(HEAD_BYTES))
        while inspector.needs_more and (chunk := file.read(_READ_BYTES)):
            inspector.feed(chunk)
        inspector.skip(max(0, size - TAIL_BYTES - inspector.size))
        file.seek(inspector.size)
        inspector.feed(file.read())
    except ImageRefused:
        return inspector.facts()
    return inspector.facts()
