"""Reading and deleting objects (S3 API Reference: GetObject, HeadObject, GetObjectAttributes, DeleteObject(s))."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nutshell.object_store.port import Index
from nutshell.object_store.rows import TICKS, ObjectRow
from nutshell.object_store.s3 import checksums, parts, versions
from nutshell.object_store.s3.errors import NotModified, S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, header_text, parse, text_in, xml
from nutshell.object_store.s3.signing import http_seconds
from nutshell.object_store.s3.site import OBJECT, SEALED, Bucket, Site
from nutshell.object_store.swift import ranges

LARGE = 1 << 20  # from here on the server sends the file itself
RESPONSE = {
    "response-content-type": "content-type", "response-content-language": "content-language",
    "response-expires": "expires", "response-cache-control": "cache-control",
    "response-content-disposition": "content-disposition", "response-content-encoding": "content-encoding",
}  # fmt: skip
KEPT = ("content-disposition", "content-encoding", "content-language", "cache-control", "expires", "x-robots-tag")


def etag_of(row: ObjectRow) -> str:
    """Quoted, as S3 shows it: of a multipart object with the number of its parts."""
    return f'"{row.meta.get(OBJECT + "etag") or row.meta.get("x-object-sysmeta-slo-etag") or row.etag}"'


def http_time(ticks: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(ticks // TICKS))


def iso_time(ticks: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(ticks // TICKS))


def looked_up(site: Site, req: Request, action: str) -> tuple[Bucket, ObjectRow]:
    """The bucket and the version asked for. What is not there is a secret before those who may not list."""
    bucket = site.find(req, req.bucket)
    if bucket is None:
        raise S3Error("NoSuchBucket", BucketName=req.bucket)
    site.check_owner(req, bucket, "x-amz-expected-bucket-owner")
    wanted = req.query.get("versionId")
    row: ObjectRow | None = None
    missing = S3Error("NoSuchKey", Key=req.key)
    if wanted is not None:
        home = bucket

        def find(index: Index) -> ObjectRow:
            return versions.find(index, home, req.key, wanted)[0]

        try:
            row = site.engine.read(find)
        except S3Error as why:
            missing = why
    else:
        row = site.object(bucket, req.key)
    if not site.allows(req, action, bucket, req.key, row):
        raise S3Error("AccessDenied")
    if row is None:
        if missing.code != "InvalidArgument" and not site.allows(req, "s3:ListBucket", bucket, ""):
            raise S3Error("AccessDenied")
        if wanted is None and _deleted(site, bucket, req.key):
            missing.headers["x-amz-delete-marker"] = "true"
        raise missing
    if row.kind == "marker":
        marker = S3Error("MethodNotAllowed", Method=req.method, ResourceType="DeleteMarker")
        marker.headers |= {"x-amz-delete-marker": "true", "allow": "DELETE", "last-modified": http_time(row.ts)}
        raise marker
    return bucket, row


def _deleted(site: Site, bucket: Bucket, key: str) -> bool:
    if not bucket.versioned:
        return False
    found = site.engine.read(
        lambda i: i.list_versions(bucket.row.id, after=(key, versions.NEWEST), prefix=key, limit=1)
    )
    return bool(found) and found[0].name == key and found[0].kind == "marker"


def headers_of(bucket: Bucket, row: ObjectRow, req: Request) -> dict[str, str]:
    out = {
        "content-type": row.type,
        "etag": etag_of(row),
        "last-modified": http_time(row.ts),
        "accept-ranges": "bytes",
    }
    for name, value in row.meta.items():
        if name.startswith("x-object-meta-"):
            out["x-amz-meta-" + name[len("x-object-meta-") :]] = value
        elif name in KEPT:
            out[name] = value
    if bucket.row.meta.get("x-versions-enabled"):
        out["x-amz-version-id"] = versions.version_id(row)
    out |= seal_headers(row.meta)
    if row.delete_at:
        out["x-amz-expiration"] = f'expiry-date="{http_time(row.delete_at * TICKS)}", rule-id="swift-object-expiration"'
    tags = row.meta.get(OBJECT + "tags")
    if tags:
        out["x-amz-tagging-count"] = str(len(json.loads(tags)))
    if req.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" and "range" not in req.headers:
        out |= checksum_headers(row)
    return out


def seal_headers(meta: Mapping[str, str]) -> dict[str, str]:
    """That the bytes are encrypted, where it was asked for."""
    return {"x-amz-server-side-encryption": meta[SEALED]} if SEALED in meta else {}


def checksum_headers(row: ObjectRow) -> dict[str, str]:
    kept = row.meta.get(OBJECT + "checksum")
    if not kept:
        return {}
    name, value, kind = kept.split(" ")
    return {checksums.PREFIX + name: value, "x-amz-checksum-type": kind}


def check_conditions(req: Request, row: ObjectRow, prefix: str = "") -> None:
    """PreconditionFailed, or NotModified. `prefix`: of a copy's source ("x-amz-copy-source-")."""
    etag, at = etag_of(row).strip('"'), row.ts // TICKS

    def tags(name: str) -> list[str] | None:
        said = req.headers.get(prefix + name)
        return None if said is None else [t.strip().removeprefix("W/").strip('"') for t in said.split(",")]

    match, none = tags("if-match"), tags("if-none-match")
    since = http_seconds(req.headers.get(prefix + "if-modified-since", ""))
    unmodified = http_seconds(req.headers.get(prefix + "if-unmodified-since", ""))
    if match is not None:
        if "*" not in match and etag not in match:
            raise S3Error("PreconditionFailed", Condition="If-Match")
    elif unmodified is not None and at > unmodified:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    changed = (none is not None and ("*" in none or etag in none)) or (
        none is None and since is not None and at <= since
    )
    if changed:
        if prefix:
            raise S3Error("PreconditionFailed")
        raise NotModified({"etag": f'"{etag}"', "last-modified": http_time(row.ts), "accept-ranges": "bytes"})


async def get(site: Site, req: Request) -> Answer:
    """GET and HEAD of an object."""
    bucket, row = looked_up(site, req, "s3:GetObjectVersion" if "versionId" in req.query else "s3:GetObject")
    check_conditions(req, row)
    headers = headers_of(bucket, row, req)
    for name, header in RESPONSE.items():
        if name in req.query:
            if not req.who.user_id:
                raise S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET"
                                                " requests.")  # fmt: skip
            headers[header] = header_text(req.query[name], name)
    pieces = await parts.content(site.engine, bucket.account.id, row)
    size = sum(p.length for p in pieces)
    found = ranges.ranges_in(req.headers["range"], size) if "," in req.headers.get("range", "") else None
    if found and len(found) > 1 and req.method == "GET" and "partNumber" not in req.query:
        some = ranges.several(headers, found, size, lambda a, b: parts.stream(site.engine, parts.cut(pieces, a, b)))
        return Answer(some.status, some.headers, stream=some.stream)
    status, start, end = _range(req, row, pieces, size, headers, found)
    headers["content-length"] = str(end - start)
    if req.method == "HEAD" or start == end:
        return Answer(status, headers)
    only = pieces[0] if len(pieces) == 1 and pieces[0].blob is not None else None
    if only is not None and only.blob is not None:
        start, end = only.start + start, only.start + end
        if end - start >= LARGE and (req.sends_parts or end - start == only.blob.size):
            path = site.engine.path(only.blob)
            if path is not None:
                return Answer(status, headers, path=path, start=start if req.sends_parts else None)
        data = site.engine.peek(only.blob, start, end) if end - start <= LARGE else None
        if data is not None:
            return Answer(status, headers, data)
        return Answer(status, headers, stream=site.engine.fetch(only.blob, start, end))
    return Answer(status, headers, stream=parts.stream(site.engine, parts.cut(pieces, start, end)))


def _range(
    req: Request,
    row: ObjectRow,
    pieces: Any,
    size: int,
    headers: dict[str, str],
    found: Sequence[tuple[int, int]] | None = None,
) -> tuple[int, int, int]:
    """(status, first byte, after the last). `found`: of several ranges those that lie within the object."""
    number = req.query.get("partNumber")
    asked = req.headers.get("range", "").strip()
    if number is not None:
        if asked:
            raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        return _part(req, row, pieces, size, number, headers)
    if found is not None and len(found) <= 1:
        if not found:
            raise S3Error("InvalidRange", RangeRequested=asked, ActualObjectSize=str(size))
        headers["content-range"] = f"bytes {found[0][0]}-{found[0][1] - 1}/{size}"
        return 206, *found[0]
    if not asked or not asked.startswith("bytes=") or "," in asked:
        return 200, 0, size
    first, dash, last = asked[6:].strip().partition("-")
    if not dash or not (first or last) or not (first + last).isdecimal() or len(first + last) > 40:
        return 200, 0, size
    if first and last and int(last) < int(first):
        return 200, 0, size
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise S3Error("InvalidRange", RangeRequested=asked, ActualObjectSize=str(size))
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    return 206, start, end


def _part(
    req: Request, row: ObjectRow, pieces: Any, size: int, text: str, headers: dict[str, str]
) -> tuple[int, int, int]:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= 10000:
        raise S3Error("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive",
                      ArgumentName="partNumber", ArgumentValue=text)  # fmt: skip
    number, count = int(text), len(pieces) if row.kind == "slo" else 1
    if number > count:
        raise S3Error("InvalidPartNumber", ActualPartCount=str(count), PartNumberRequested=text)
    if row.kind == "slo":
        headers["x-amz-mp-parts-count"] = str(count)
    if not pieces:
        return 206 if size else 200, 0, 0
    start = sum(p.length for p in pieces[: number - 1])
    end = start + pieces[number - 1].length
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    return 206, start, end


async def attributes(site: Site, req: Request) -> Answer:
    bucket, row = looked_up(site, req, "s3:GetObject")
    wanted = {a.strip() for a in req.headers.get("x-amz-object-attributes", "").split(",") if a.strip()}
    known = {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}
    if not wanted or wanted - known:
        raise S3Error("InvalidArgument", "Invalid attribute name specified.")
    nodes: list[Node] = []
    if "ETag" in wanted:
        nodes.append(("ETag", etag_of(row).strip('"')))
    kept = checksum_headers(row)
    if "Checksum" in wanted and kept:
        (name, value), (_, kind) = kept.items()
        nodes.append(
            ("Checksum", [("Checksum" + name.removeprefix(checksums.PREFIX).upper(), value), ("ChecksumType", kind)])
        )
    if "ObjectParts" in wanted and row.meta.get(parts.UPLOAD):
        count = len(await parts.content(site.engine, bucket.account.id, row))
        nodes.append(("ObjectParts", [("TotalPartsCount", str(count))]))
    if "StorageClass" in wanted:
        nodes.append(("StorageClass", "STANDARD"))
    if "ObjectSize" in wanted:
        nodes.append(("ObjectSize", str(row.size)))
    headers = {"last-modified": http_time(row.ts)}
    if bucket.versioned:
        headers["x-amz-version-id"] = versions.version_id(row)
    return xml("GetObjectAttributesResponse", nodes, headers=headers)


# -- deletion
async def delete(site: Site, req: Request) -> Answer:
    version = req.query.get("versionId")
    bucket = site.bucket(req, "s3:DeleteObjectVersion" if version is not None else "s3:DeleteObject")
    row = await site.engine.change(lambda i: remove(site, i, bucket, req.key, version, req.headers.get("if-match")))
    headers: dict[str, str] = {}
    if row is not None:
        if row.kind == "marker":
            headers["x-amz-delete-marker"] = "true"
        headers["x-amz-version-id"] = versions.version_id(row)
    elif version is not None:
        headers["x-amz-version-id"] = version
    return Answer(204, headers)


def remove(
    site: Site, index: Any, bucket: Bucket, key: str, version: str | None, match: str | None
) -> ObjectRow | None:
    """Inside a change: the marker that was made, or the version that went."""
    if match is not None:
        row = index.object(bucket.row.id, key)
        if row is None:
            raise S3Error("NoSuchKey", Key=key)
        if match.strip() != "*" and match.strip().strip('"') != etag_of(row).strip('"'):
            raise S3Error("PreconditionFailed", Condition="If-Match")
    if version is not None:
        return versions.delete_version(index, bucket, key, version)
    return versions.delete(index, bucket, key, site.now())


async def delete_many(site: Site, req: Request) -> Answer:
    """POST ?delete: up to 1,000 keys in one transaction; each is answered for."""
    if "content-md5" not in req.headers and not checksums.wanted(req)[0]:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    bucket = site.bucket(req, "s3:ListBucket", key="") if not req.who.user_id else _any(site, req)
    raw = await checked_body(req, 2 << 20, "MalformedXML")
    root = parse(raw, "Delete")
    quiet = text_in(root, "Quiet").lower() == "true"
    asked = [(o.findtext("Key") or "", o.findtext("VersionId"), o.findtext("ETag")) for o in root.iterfind("Object")]
    if not asked or len(asked) > 1000:
        raise S3Error("MalformedXML")
    if not all(key for key, _, _ in asked):
        raise S3Error("UserKeyMustBeSpecified")
    nodes: list[Node] = []

    def work(index: Any) -> list[Node]:
        out: list[Node] = []
        for key, version, etag in asked:
            out += _one(site, req, index, bucket, (key, version, etag), quiet)
        return out

    nodes = await site.engine.change(work)
    return xml("DeleteResult", nodes)


def _any(site: Site, req: Request) -> Bucket:
    """Each key is authorised by itself."""
    found = site.find(req, req.bucket)
    if found is None:
        raise S3Error("NoSuchBucket", BucketName=req.bucket)
    return found


def _one(
    site: Site, req: Request, index: Any, bucket: Bucket, asked: tuple[str, str | None, str | None], quiet: bool
) -> list[Node]:
    key, version, etag = asked
    said: list[Node] = [("Key", key)] + ([("VersionId", version)] if version else [])
    try:
        if not site.allows(req, "s3:DeleteObjectVersion" if version else "s3:DeleteObject", bucket, key):
            raise S3Error("AccessDenied")
        row = remove(site, index, bucket, key, version or None, etag)
    except S3Error as why:
        return [("Error", [*said, ("Code", why.code), ("Message", why.message)])]
    if quiet:
        return []
    if row is not None and row.kind == "marker":
        said += [("DeleteMarker", "true"), ("DeleteMarkerVersionId", versions.version_id(row))]
    return [("Deleted", said)]


def check_sha256(req: Request, found: str) -> None:
    if found != req.sha256.lower():
        raise S3Error("XAmzContentSHA256Mismatch", ClientComputedContentSHA256=req.sha256,
                      S3ComputedContentSHA256=found)  # fmt: skip


async def checked_body(req: Request, limit: int, code: str = "EntityTooLarge") -> bytes:
    """A small body, held against what was said of it. `code`: past the limit."""
    import hashlib

    md5 = checksums.content_md5(req)
    name, said = checksums.wanted(req)
    raw = await req.read(limit, code)
    if req.length is not None and len(raw) != req.length:
        raise S3Error("IncompleteBody")
    if req.sha256:
        check_sha256(req, hashlib.sha256(raw).hexdigest())
    found = hashlib.md5(raw, usedforsecurity=False)
    if md5 and found.hexdigest() != md5:
        raise S3Error("BadDigest", ExpectedDigest=req.headers["content-md5"], CalculatedDigest=checksums.encoded(found))
    if name:
        running = checksums.accumulator(name)
        running.update(raw)
        checksums.check(name, said or req.trailer.get(checksums.PREFIX + name, ""), checksums.encoded(running))
    return raw


def source_of(req: Request) -> tuple[str, str, str | None]:
    """(bucket, key, version) of x-amz-copy-source."""
    from urllib.parse import unquote

    said = req.headers["x-amz-copy-source"]
    path, _, query = said.partition("?")
    bucket, slash, key = unquote(path).removeprefix("/").partition("/")
    if not slash or not bucket or not key:
        raise S3Error("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                      ArgumentName="x-amz-copy-source", ArgumentValue=said)  # fmt: skip
    version = None
    if query:
        name, _, version = query.partition("=")
        if name != "versionId" or "&" in version:
            raise S3Error("InvalidArgument", "Unsupported copy source parameter.", ArgumentName="x-amz-copy-source",
                          ArgumentValue=said)  # fmt: skip
    return bucket, key, version


def location(req: Request) -> str:
    scheme = "https" if req.secure else "http"
    return f"{scheme}://{req.headers.get('host', 'localhost')}{quote(req.bare_path, safe='/%~')}"
