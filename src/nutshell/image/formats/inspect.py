"""Judges an image while it streams by: is it what it is said to be, and safe to open (as Glance's format checks do)."""

from dataclasses import dataclass
from os import fstat
from pathlib import Path
from typing import BinaryIO

from nutshell.image.formats import qcow2_check
from nutshell.image.formats.detect import HEAD_BYTES, detect, header_size

UNCHECKED = frozenset({"ami", "aki", "ari"})  # kernels and their like: no format of their own
NEVER_SAFE = frozenset({"luks", "qed"})
_READ_BYTES = 1 << 20


class ImageRefused(Exception):
    """The content is not what it was declared to be, or is unsafe; `why` is a sentence for the user."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class ImageFacts:
    """What an image is. `refused` is empty for one that may be used, else the reason it must not be."""

    declared: str
    format: str  # "qcow2", "raw", "gpt" and "mbr" (raw with a partition table), "iso", "vmdk", …
    virtual_size: int  # bytes a guest sees; for raw the bytes of the file
    size: int  # bytes of the file
    refused: str = ""


class Inspector:
    """Fed an image's bytes in order; keeps 40 KiB of them at most and believes no length it reads."""

    def __init__(self, declared: str, *, any_raw: bool = False) -> None:
        """`any_raw`: content without any format's sign may be declared as anything; nothing opens it by mistake."""
        self.declared = declared
        self._any_raw = any_raw
        self.size = 0
        self._head = bytearray()
        self._judged = False

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. ImageRefused as soon as the first 40 KiB say so."""
        self.size += len(chunk)
        if self._judged:
            return
        self._head += chunk[: HEAD_BYTES - len(self._head)]
        if len(self._head) >= HEAD_BYTES:
            self._judged = True
            facts = self._judge_head()
            if facts.refused:
                raise ImageRefused(facts.refused)

    def skip(self, count: int) -> None:
        """Counts bytes that exist but need not be read (`needs_more` is false)."""
        self.size += count

    @property
    def needs_more(self) -> bool:
        """Whether the next bytes still matter for more than their number."""
        return not self._judged

    def finish(self) -> ImageFacts:
        """The facts of the whole image. ImageRefused if it must not be used."""
        facts = self.facts()
        if facts.refused:
            raise ImageRefused(facts.refused)
        return facts

    def facts(self) -> ImageFacts:
        """The facts of what was fed so far, taken as the whole image; a refusal stands in them."""
        facts = self._judge_head()
        if facts.refused or facts.format != "qcow2" or self.declared in UNCHECKED:
            return facts
        header = qcow2_check.parse(bytes(self._head))
        why = header if isinstance(header, str) else qcow2_check.outside(header, self.size)
        return ImageFacts(self.declared, facts.format, facts.virtual_size, self.size, why or "")

    def _judge_head(self) -> ImageFacts:
        head = bytes(self._head)
        found = detect(head)
        name = found[0]
        if self.declared in UNCHECKED:
            return ImageFacts(self.declared, name, self.size, self.size)
        if len(found) > 1:
            return self._refused(name, f"the content has the marks of several formats: {', '.join(found)}")
        if name in NEVER_SAFE:
            return self._refused(name, f"the format {name} is not allowed")
        plain = name in ("raw", "gpt", "mbr")
        if name != self.declared and not (plain and (self._any_raw or self.declared in ("raw", "ploop"))):
            shown = "raw" if plain else name
            return self._refused(name, f"the content is {shown}, not {self.declared} as declared")
        if name == "qcow2":
            return self._judge_qcow2(head)
        virtual_size = header_size(name, head)
        if virtual_size is None or plain:
            virtual_size = self.size
        if virtual_size > qcow2_check.VIRTUAL_SIZE_LIMIT:
            return self._refused(name, f"a virtual size of {virtual_size} bytes is not possible")
        return ImageFacts(self.declared, name, virtual_size, self.size)

    def _judge_qcow2(self, head: bytes) -> ImageFacts:
        header = qcow2_check.parse(head)
        if isinstance(header, str):
            return self._refused("qcow2", header)
        why = qcow2_check.refusal(header, head)
        return ImageFacts(self.declared, "qcow2", 0 if why else header.size, self.size, why or "")

    def _refused(self, name: str, why: str) -> ImageFacts:
        return ImageFacts(self.declared, name, 0, self.size, why)


def inspect(source: str | Path | BinaryIO, declared: str) -> ImageFacts:
    """The facts of a whole file; a refusal stands in them. A path's first 40 KiB are read, a stream to its end.

    OSError as reading raises.
    """
    inspector = Inspector(declared)
    try:
        if isinstance(source, str | Path):
            with open(source, "rb") as file:
                inspector.feed(file.read(HEAD_BYTES))
                inspector.skip(max(0, fstat(file.fileno()).st_size - inspector.size))
            return inspector.facts()
        while chunk := source.read(_READ_BYTES):
            inspector.feed(chunk)
    except ImageRefused:
        pass  # the facts say why
    return inspector.facts()
