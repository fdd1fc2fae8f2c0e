"""Objects made of others: their bytes one after the other, by sub-requests for what a range needs of each."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response

DEEPEST = 10


@dataclass(frozen=True)
class Part:
    """Bytes `first` to `last` (exclusive) of an object, or the bytes themselves."""

    container: str
    obj: str
    first: int
    last: int
    size: int  # of the whole object
    etag: str = ""  # what it must still have
    data: bytes | None = None

    @property
    def length(self) -> int:
        return len(self.data) if self.data is not None else self.last - self.first


class PartGone(ConnectionError):
    """A part is not there any more, or is not what it was: an answer that has begun is broken off."""


def cut(parts: Sequence[Part], start: int, end: int) -> list[Part]:
    """The parts, or pieces of them, that make up this range of the whole."""
    found, at = [], 0
    for part in parts:
        a, b = max(start, at), min(end, at + part.length)
        if a < b:
            if part.data is not None:
                found.append(Part("", "", 0, 0, 0, data=part.data[a - at : b - at]))
            else:
                first = part.first + a - at
                found.append(Part(part.container, part.obj, first, first + b - a, part.size, part.etag))
        at += part.length
    return found


async def open_part(inner: Handler, req: Request, part: Part, depth: int) -> Response:
    """The part's bytes. PartGone; Refusal when the caller may not read it."""
    headers = {"referer": req.headers["referer"]} if "referer" in req.headers else {}
    if (part.first, part.last) != (0, part.size):
        headers["range"] = f"bytes={part.first}-{part.last - 1}"
    answer = await inner(
        req.sub("GET", container=part.container, obj=part.obj, headers=headers, notes={"depth": depth + 1})
    )
    if answer.status not in (200, 206):
        raise PartGone(f"{part.container}/{part.obj} answers {answer.status}")
    length = answer.headers.get("content-length", "")
    if part.etag and answer.headers.get("etag", "").strip('"') != part.etag:
        raise PartGone(f"{part.container}/{part.obj} has changed")
    if length.isdecimal() and int(length) != part.length:
        raise PartGone(f"{part.container}/{part.obj} has another size")
    return answer


async def check_first(inner: Handler, req: Request, parts: Sequence[Part], span: tuple[int, int]) -> Response | None:
    """Open what comes first before the answer begins: 409 when it cannot be had."""
    depth = req.notes.get("depth", 0)
    if depth >= DEEPEST:
        raise Refusal(409)
    wanted = cut(parts, *span)
    first = next((p for p in wanted[:1] if p.data is None), None)
    if first is None:
        return None
    try:
        return await open_part(inner, req, first, depth)
    except (PartGone, Refusal) as why:
        if isinstance(why, Refusal) and why.status == 401:
            raise
        raise Refusal(409) from None


def pieces_of(
    inner: Handler, req: Request, parts: Sequence[Part], opened: Response | None
) -> Callable[[int, int], AsyncIterator[bytes]]:
    """What ranges.answer takes: the bytes of a range. `opened`: the first part of the first range, already open."""
    depth = req.notes.get("depth", 0)
    waiting = [opened] if opened is not None else []

    async def pieces(start: int, end: int) -> AsyncIterator[bytes]:
        for part in cut(parts, start, end):
            if part.data is not None:
                yield part.data
                continue
            try:
                answer = waiting.pop() if waiting else await open_part(inner, req, part, depth)
            except (PartGone, Refusal) as why:
                raise PartGone(f"a part of a large object: {why}") from None
            if answer.stream is None:
                yield answer.body
            else:
                async for piece in answer.stream:
                    yield piece

    return pieces
