"""One caller's account as files and folders: every access is a request through the filters of the Swift API.

The first part of a path is the project, the second a container; "/" in an object's name divides folders. A folder is
there when something is below it, or an object `name/` (or `name`) of the type application/directory marks it.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.swift.messages import Request, Response, plain
from nutshell.object_store.swift.pipeline import handled
from nutshell.object_store.swift.site import Site

DIRECTORY = "application/directory"
PAGE = 10_000
AT_ONCE = 32  # so many changes share one flush
MOST_MEMBERS = 50_000  # an answer that leaves some out would make clients delete their copies


@dataclass(frozen=True)
class Place:
    """What a path means; `name` has no slash at its end."""

    project: str
    container: str = ""
    name: str = ""

    @property
    def parent(self) -> "Place":
        above = self.name.rpartition("/")[0]
        return Place(self.project, self.container if self.name else "", above)

    @property
    def prefix(self) -> str:
        """How the names of everything below begin."""
        return self.name + "/" if self.name else ""


def place_of(path: str) -> Place:
    """`path` is normal: "/project/container/a/b"."""
    project, _, rest = path.strip("/").partition("/")
    container, _, name = rest.partition("/")
    return Place(project, container, name)


@dataclass(frozen=True)
class Found:
    """A file or folder that is there. `modified`: seconds since the epoch, where it is known."""

    place: Place
    folder: bool
    size: int = 0
    etag: str = ""
    type: str = ""
    modified: float | None = None


class Failure(Exception):
    """The store's answer was no."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass
class Share:
    """Used from a thread; requests run where the server's sockets are (`loop`)."""

    site: Site
    request: Request  # of which all others are made
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def asking(self, method: str, place: Place, name: str = "", **more: Any) -> Request:
        """`name`: instead of the place's."""
        return self.request.sub(method, container=place.container, obj=name or place.name, **more)

    async def ask(self, req: Request) -> Response:
        """The answer, whatever it is."""
        return await handled(self.site.handle(req), req)

    def call(self, method: str, place: Place, name: str = "", **more: Any) -> Response:
        """Raises Failure for what is no success."""
        answer: Response = self.wait(self.ask(self.asking(method, place, name, **more)))
        if not answer.good:
            raise Failure(answer)
        return answer

    def all_of(self, requests: Sequence[Request]) -> list[Response]:
        """The answers, in order; some at a time."""

        async def run() -> list[Response]:
            out: list[Response] = []
            for at in range(0, len(requests), AT_ONCE):
                some = (self.ask(r) for r in requests[at : at + AT_ONCE])
                out += await asyncio.gather(*some)
            return out

        found: list[Response] = self.wait(run())
        return found

    # -- looking
    def find(self, place: Place) -> Found | None:
        """Failure where it may not be seen."""
        if not place.container:
            return Found(place, folder=True)
        try:
            answer = self.call("HEAD", place)
        except Failure as why:
            if why.answer.status != 404:
                raise
            return Found(place, folder=True) if place.name and self._below(place) else None
        if not place.name:
            return Found(place, folder=True)
        row: ObjectRow | None = answer.row
        kind, size = answer.headers.get("content-type", ""), int(answer.headers.get("content-length", "0"))
        if is_folder(kind) or (not size and self._below(place)):
            return Found(place, folder=True)
        changed = row.ts / 100_000 if row is not None else None
        return Found(place, False, size, answer.headers.get("etag", "").strip('"'), kind, changed)

    def _below(self, place: Place) -> bool:
        try:
            return bool(self._page(place, {"prefix": place.prefix, "limit": "1"}))
        except Failure as why:
            if why.answer.status == 404:
                return False
            raise

    def _page(self, place: Place, query: Mapping[str, str]) -> list[dict[str, Any]]:
        where = Place(place.project, place.container)
        answer = self.call("GET", where, query={"format": "json", **query})
        found: list[dict[str, Any]] = msgspec.json.decode(answer.body) if answer.body else []
        return found

    def members(self, place: Place) -> Iterator[Found]:
        """What lies right in a folder."""
        if not place.project:
            return
        if not place.container:
            yield from self._containers(place)
            return
        known: dict[str, Found] = {}
        for entry in self._entries(place, {"prefix": place.prefix, "delimiter": "/"}):
            whole = entry.get("subdir") or entry["name"]
            bare = whole[len(place.prefix) :].removesuffix("/")
            if bare in ("", ".", ".."):
                continue
            where = Place(place.project, place.container, place.prefix + bare)
            if "subdir" not in entry and not is_folder(entry["content_type"]):
                known[bare] = _file(where, entry)
            elif bare not in known or not known[bare].size:  # a file of no bytes marks the folder of its name
                known[bare] = Found(where, folder=True)
            if len(known) > MOST_MEMBERS:
                raise Failure(plain(507, f"A folder of more than {MOST_MEMBERS} members is not listed here."))
        yield from known.values()

    def _containers(self, place: Place) -> Iterator[Found]:
        marker = ""
        while True:
            try:
                page = self._page(place, {"marker": marker})
            except Failure as why:
                if why.answer.status == 404:  # nobody stored anything yet
                    return
                raise
            for entry in page:
                if entry["name"] not in (".", ".."):
                    yield Found(Place(place.project, entry["name"]), True, modified=_seconds(entry["last_modified"]))
            if len(page) < PAGE:
                return
            marker = page[-1]["name"]

    def _entries(self, place: Place, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        marker = ""
        while page := self._page(place, {**query, "marker": marker, "limit": str(PAGE)}):
            yield from page
            if len(page) < PAGE:
                return
            marker = page[-1].get("subdir") or page[-1]["name"]

    def names_below(self, place: Place) -> list[str]:
        """Every object of a folder, its own marks too."""
        found = [e["name"] for e in self._entries(place, {"prefix": place.prefix})]
        if place.name and is_folder(self._type(place)):
            found.append(place.name)
        return found

    def _type(self, place: Place) -> str:
        answer: Response = self.wait(self.ask(self.asking("HEAD", place)))
        return answer.headers.get("content-type", "") if answer.good else ""

    # -- changing
    def make_folder(self, place: Place) -> None:
        if place.name:
            self.call("PUT", place, place.name + "/", headers={"content-length": "0", "content-type": DIRECTORY})
        else:
            self.call("PUT", place, headers={"content-length": "0"})

    def keep_folder(self, place: Place) -> None:
        """A folder stays when the last thing in it went, as on a disk."""
        if place.name and not self._below(place):
            self.make_folder(place)

    def delete(self, found: Found) -> list[Response]:
        """A file, or a folder with everything in it; what was refused."""
        place = found.place
        if not found.folder:
            return [a for a in self.all_of([self.asking("DELETE", place)]) if not a.good]
        names = self.names_below(place)
        refused = self._delete_all(place, names)
        if not refused and not place.name:
            refused = [a for a in self.all_of([self.asking("DELETE", place)]) if not a.good]
        return refused

    def _delete_all(self, place: Place, names: Sequence[str]) -> list[Response]:
        answers = self.all_of([self.asking("DELETE", place, name) for name in names])
        return [a for a in answers if not a.good and a.status != 404]

    def copy(self, found: Found, target: Place, deep: bool, move: bool) -> list[Response]:
        """What was refused. A moved object's source goes when its copy is there."""
        place = found.place
        if not found.folder:
            pairs = [(place.name, target.name)]
        else:
            self.make_folder(target)
            names = self.names_below(place) if deep else []
            cut = len(place.prefix)
            pairs = [(n, target.prefix + n[cut:]) for n in names if len(n) > cut]
        copies = [self._copying(place, name, target, to, move) for name, to in pairs]
        answers = self.all_of(copies)
        refused = [a for a in answers if not a.good]
        if move and not refused:
            refused = self.delete(found) if found.folder else self._delete_all(place, [place.name])
        return refused

    def _copying(self, place: Place, name: str, target: Place, to: str, move: bool) -> Request:
        headers = {"destination": quote(f"{target.container}/{to}"), "content-length": "0"}
        # a large object's list moves as such; a copy becomes a file of its own
        query = {"multipart-manifest": "get"} if move else {}
        return self.asking("COPY", place, name, headers=headers, query=query)


def is_folder(kind: str) -> bool:
    return kind.partition(";")[0].strip().lower() in (DIRECTORY, "application/x-directory")


def _file(place: Place, entry: Mapping[str, Any]) -> Found:
    kind = entry["content_type"]
    return Found(place, False, entry["bytes"], entry["hash"].strip('"'), kind, _seconds(entry["last_modified"]))


def _seconds(text: str) -> float:
    from datetime import UTC, datetime

    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
