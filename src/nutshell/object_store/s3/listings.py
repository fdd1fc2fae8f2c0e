"""Listings of buckets: ListObjects, ListObjectsV2, ListObjectVersions."""

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nutshell.object_store.numbers import whole
from nutshell.object_store.port import Index
from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.s3 import objects, versions
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, shown, xml
from nutshell.object_store.s3.site import OBJECT, Bucket, Site

MOST = 1000
LAST = "\U0010ffff"


@dataclass
class Page:
    rows: list[tuple[ObjectRow, bool]] = field(default_factory=list)  # and whether it is the newest of its name
    folders: list[str] = field(default_factory=list)
    truncated: bool = False
    last: tuple[str, str] = ("", "")  # the last name (or folder) and its version id

    @property
    def count(self) -> int:
        return len(self.rows) + len(self.folders)


@dataclass(frozen=True)
class Asked:
    """What both listings are asked for."""

    prefix: str
    delimiter: str
    limit: int
    encoding: str

    def folder_of(self, name: str) -> str:
        """The one that a name is folded into, or ""."""
        at = name.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
        return name[: at + len(self.delimiter)] if at >= 0 else ""

    def answer(self, element: str, bucket: Bucket, page: Page, marks: list[Node], entries: list[Node]) -> Answer:
        """`marks`: where the page begins, and the next."""
        nodes: list[Node] = [("Name", bucket.name), ("Prefix", shown(self.prefix, self.encoding)), *marks]
        nodes.append(("MaxKeys", str(self.limit)))
        if self.delimiter:
            nodes.append(("Delimiter", shown(self.delimiter, self.encoding)))
        if self.encoding:
            nodes.append(("EncodingType", self.encoding))
        nodes += [("IsTruncated", str(page.truncated).lower()), *entries]
        return xml(element, nodes + [("CommonPrefixes", [("Prefix", shown(f, self.encoding))]) for f in page.folders])


def asked_of(req: Request) -> Asked:
    return Asked(req.query.get("prefix", ""), req.query.get("delimiter", ""), limit_of(req), encoding_of(req))


def limit_of(req: Request, name: str = "max-keys") -> int:
    text = req.query.get(name, str(MOST))
    number = whole(text)
    if number is None:
        raise S3Error("InvalidArgument", "Provided max-keys not an integer or within integer range", ArgumentName=name,
                      ArgumentValue=text)  # fmt: skip
    if number < 0 or number > 2147483647:
        raise S3Error("InvalidArgument", f"Argument {name} must be an integer between 0 and 2147483647",
                      ArgumentName=name, ArgumentValue=text)  # fmt: skip
    return min(number, MOST)


def encoding_of(req: Request) -> str:
    said = req.query.get("encoding-type", "")
    if said not in ("", "url"):
        raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request", ArgumentName="encoding-type",
                      ArgumentValue=said)  # fmt: skip
    return said


def page_of(index: Index, bucket: Bucket, asked: Asked, after: str) -> Page:
    """The present objects after a name, folded at the delimiter: costs what the page costs."""
    page, prefix = Page(), asked.prefix
    if after and after.startswith(prefix) and after == asked.folder_of(after):
        after += LAST  # a marker within a folder: the folder was on the page before
    batch = 1 if asked.delimiter else asked.limit + 1  # behind a folder another is likely
    while True:
        want = min(batch, asked.limit + 1 - page.count)
        rows = index.list_objects(bucket.row.id, after=after, until="", prefix=prefix, limit=want, reverse=False)
        jumped = False
        for row in rows:
            if page.count >= asked.limit:
                page.truncated = True
                return page
            if folder := asked.folder_of(row.name):
                page.folders.append(folder)
                page.last = (folder, "")
                after, jumped = folder + LAST, True
                break
            page.rows.append((row, True))
            page.last = (row.name, "")
            after = row.name
        if not jumped and len(rows) < want:
            return page
        batch = 1 if jumped else batch * 4


async def list_objects(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:ListBucket")
    query, asked = req.query, asked_of(req)
    second = query.get("list-type") == "2"
    after = query.get("start-after" if second else "marker", "")
    if second and "continuation-token" in query:
        after = _token(query["continuation-token"])
    page = site.engine.read(lambda i: page_of(i, bucket, asked, after)) if asked.limit else Page()
    marks: list[Node] = []
    if second:
        if "start-after" in query:
            marks.append(("StartAfter", shown(query["start-after"], asked.encoding)))
        if "continuation-token" in query:
            marks.append(("ContinuationToken", query["continuation-token"]))
        if page.truncated:
            marks.append(("NextContinuationToken", base64.urlsafe_b64encode(page.last[0].encode()).decode()))
        marks.append(("KeyCount", str(page.count)))
    else:
        marks.append(("Marker", shown(after, asked.encoding)))
        if page.truncated and asked.delimiter:
            marks.append(("NextMarker", shown(page.last[0], asked.encoding)))
    owner = not second or query.get("fetch-owner") == "true"
    entries: list[Node] = [("Contents", _contents(bucket, row, asked.encoding, owner)) for row, _ in page.rows]
    return asked.answer("ListBucketResult", bucket, page, marks, entries)


def _token(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text.encode()).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect",
                      ArgumentName="continuation-token") from None  # fmt: skip


def owner_of(bucket: Bucket, row: ObjectRow) -> Node:
    owner = row.meta.get(OBJECT + "owner") or bucket.owner or bucket.account.name.removeprefix("AUTH_")
    return ("Owner", [("ID", owner), ("DisplayName", owner)])


def _contents(bucket: Bucket, row: ObjectRow, encoding: str, owner: bool) -> list[Node]:
    nodes: list[Node] = [("Key", shown(row.name, encoding)), ("LastModified", objects.iso_time(row.ts)),
                         ("ETag", objects.etag_of(row))]  # fmt: skip
    nodes += checksum_nodes(row)
    nodes.append(("Size", str(row.size)))
    if owner:
        nodes.append(owner_of(bucket, row))
    nodes.append(("StorageClass", "STANDARD"))
    return nodes


def checksum_nodes(row: ObjectRow) -> list[Node]:
    kept = row.meta.get(OBJECT + "checksum")
    if not kept:
        return []
    name, _, kind = kept.split(" ")
    return [("ChecksumAlgorithm", name.upper()), ("ChecksumType", kind)]


# -- versions
def all_versions(
    index: Any, bucket: Bucket, prefix: str, after: tuple[str, int], start: bool = False
) -> Iterator[tuple[ObjectRow, bool]]:
    """Present and past by name, the newest first, with whether it is the newest. `after`: (name, version) left out."""
    name, version = after
    present = _in_batches(
        lambda last, n: index.list_objects(
            bucket.row.id, after=last[0], until="", prefix=prefix, limit=n, reverse=False
        ),
        (name if version == 0 else _before(name), 0),
    )
    past = _in_batches(lambda last, n: index.list_versions(bucket.row.id, after=last, prefix=prefix, limit=n), after)
    here, gone = next(present, None), next(past, None)
    while here is not None or gone is not None:
        if here is not None and (gone is None or here.name <= gone.name):
            row, here = here, next(present, None)
            if (row.name, 1) == (name, 1) and version and _age(row) >= version:
                continue
            yield row, True
        else:
            assert gone is not None
            row, gone = gone, next(past, None)
            yield row, False


def _age(row: ObjectRow) -> int:
    return row.version or row.ts


def _before(name: str) -> str:
    """The greatest text below a name, nearly: so that the name itself is listed."""
    return name[:-1] + chr(ord(name[-1]) - 1) + LAST if name and ord(name[-1]) not in (0, 0xE000) else name[:-1]


def _in_batches(
    some: Callable[[tuple[str, int], int], Sequence[ObjectRow]], after: tuple[str, int]
) -> Iterator[ObjectRow]:
    batch = 2  # often only the first is wanted
    while True:
        rows = some(after, batch)
        yield from rows
        if len(rows) < batch:
            return
        batch = min(MOST, batch * 8)
        after = (rows[-1].name, rows[-1].version)


async def list_versions(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:ListBucketVersions")
    query, asked = req.query, asked_of(req)
    marker, version = query.get("key-marker", ""), query.get("version-id-marker", "")
    if "version-id-marker" in query and "key-marker" in query:
        versions.parse(version)
    elif "version-id-marker" in query:
        raise S3Error("InvalidArgument", "A version-id marker cannot be specified without a key marker.",
                      ArgumentName="version-id-marker", ArgumentValue=version)  # fmt: skip
    page = site.engine.read(lambda i: _versions_page(i, bucket, asked, (marker, version)))
    marks: list[Node] = [("KeyMarker", shown(marker, asked.encoding)), ("VersionIdMarker", version)]
    if query.get("delimiter") == "":  # this listing alone repeats an empty one
        marks.append(("Delimiter", ""))
    if page.truncated:
        marks += [("NextKeyMarker", shown(page.last[0], asked.encoding)),
                  ("NextVersionIdMarker", page.last[1] or "null")]  # fmt: skip
    entries: list[Node] = []
    for row, latest in page.rows:
        said: list[Node] = [("Key", shown(row.name, asked.encoding)), ("VersionId", versions.version_id(row)),
                            ("IsLatest", str(latest).lower()), ("LastModified", objects.iso_time(row.ts))]  # fmt: skip
        if row.kind == "marker":
            entries.append(("DeleteMarker", [*said, owner_of(bucket, row)]))
        else:
            said += [("ETag", objects.etag_of(row)), *checksum_nodes(row), ("Size", str(row.size)),
                     owner_of(bucket, row), ("StorageClass", "STANDARD")]  # fmt: skip
            entries.append(("Version", said))
    return asked.answer("ListVersionsResult", bucket, page, marks, entries)


def _marked(index: Any, bucket: Bucket, key: str, text: str) -> int:
    """The age of the version that a page ended with, which may be gone by now."""
    try:
        return _age(versions.find(index, bucket, key, text)[0])
    except S3Error as why:
        if why.code != "NoSuchVersion":
            raise
        return versions.parse(text)


def _versions_page(index: Any, bucket: Bucket, asked: Asked, marker: tuple[str, str]) -> Page:
    page = Page()
    if not asked.limit:
        return page
    after = (marker[0], 0)
    if marker[1]:
        after = (marker[0], _marked(index, bucket, *marker))
    seen = {marker[0]} if marker[0] and marker[1] else set()
    folded = marker[0].startswith(asked.prefix) and asked.folder_of(marker[0])
    if folded and marker[1] in ("", "null") and marker[0].endswith(asked.delimiter):
        after = (marker[0] + LAST, 0)  # the page before ended with this folder
    while True:
        jumped = False
        for row, present in all_versions(index, bucket, asked.prefix, after):
            if page.count >= asked.limit:
                page.truncated = True
                return page
            if folder := asked.folder_of(row.name):
                page.folders.append(folder)
                page.last = (folder, "")
                after, jumped = (folder + LAST, 0), True
                break
            page.rows.append((row, present or row.name not in seen))
            seen.add(row.name)
            page.last = (row.name, versions.version_id(row))
        if not jumped:
            return page
