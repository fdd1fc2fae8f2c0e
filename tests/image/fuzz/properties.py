"""What must hold for every file whatsoever that the image inspector is given."""

import io
import time

from tests.image.fuzz.sparse import expand

from nutshell.image.formats import ImageFacts, ImageRefused, Inspector, inspect

DECLARED = ("qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "iso", "ploop", "luks", "aki")
LIMIT_S = 1.0  # for one file of at most 12 MiB
VIRTUAL_LIMIT = 1 << 50
HELD_LIMIT = 2 << 20


class Stream(io.BytesIO):
    """A file that notes how much was read of it, and refuses to be moved."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert 0 < (size or -1) <= 1 << 24, f"a read of {size} bytes"
        found = super().read(size)
        self.taken += len(found)
        return found


def streamed(content: bytes, declared: str, step: int) -> ImageFacts | str:
    """The verdict on bytes that come in pieces: facts, or why they were refused."""
    inspector, why = Inspector(declared), ""
    try:
        for start in range(0, len(content), step):
            inspector.feed(content[start : start + step])
            held = sum(len(v) for v in vars(inspector).values() if isinstance(v, bytes | bytearray))
            assert held <= HELD_LIMIT, f"{held} bytes are kept"
        return inspector.finish()
    except ImageRefused as refused:
        why = refused.why
    assert 0 < len(why) < 500
    return why


def check(data: bytes, declared: tuple[str, ...] = DECLARED, limit_s: float = LIMIT_S) -> set[str]:
    """Judge the file as each format; the formats it passes as. AssertionError when a property does not hold."""
    content = expand(data)
    passed = set()
    for name in declared:
        spent_s = limit_s
        for _ in range(3):  # by both clocks: that of the processor's time jumps on some machines, the other waits
            began, worked = time.perf_counter(), time.thread_time()
            if agree(content, name):
                passed.add(name)
            spent_s = min(spent_s, time.perf_counter() - began, time.thread_time() - worked)
            if spent_s < limit_s:
                break
        assert spent_s < limit_s, f"{name}: more than {limit_s} s for {len(content)} bytes"
    return passed


def agree(content: bytes, name: str) -> bool:
    """Whether the file passes: as a whole, in pieces and as a file alike."""
    whole = streamed(content, name, 1 << 20)
    pieces = streamed(content, name, 4093 if len(content) < 1 << 20 else 65521)
    assert whole == pieces, f"{name}: whole {whole}, in pieces {pieces}"
    file = Stream(content)
    facts = inspect(file, name)
    assert file.taken <= len(content)
    if isinstance(whole, str):
        assert facts.refused, f"{name}: refused as a stream ({whole}), not as a file"
        return False
    assert facts == whole
    assert not facts.refused
    assert facts.size == len(content)
    assert 0 <= facts.virtual_size <= VIRTUAL_LIMIT
    return True
