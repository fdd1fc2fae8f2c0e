"""Writing objects: PutObject and CopyObject, with their conditions, digests and checksums."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.s3 import checksums, chunked, grants, objects, parts, quotas, versions
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, header_text, xml
from nutshell.object_store.s3.site import OBJECT, SEALED, Bucket, Site
from nutshell.object_store.sockets import pour
from nutshell.object_store.swift import checks
from nutshell.object_store.swift.messages import Refusal

MOST_BYTES = 5 << 30
LONGEST_KEY = 1024
MOST_METADATA = 8 << 10
LEAST_COPIED = 1 << 20
SEALING = "x-amz-server-side-encryption"
STORAGE_CLASSES = ("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING")


@dataclass(frozen=True)
class Taken:
    """Bytes that were taken in and found right. `checksum`: "crc32 <base64> FULL_OBJECT", or ""."""

    staged: Any
    checksum: str


def check_key(key: str) -> None:
    if len(key.encode()) > LONGEST_KEY:
        raise S3Error("KeyTooLongError", Size=str(len(key.encode())), MaxSizeAllowed=str(LONGEST_KEY))


def metadata_from(req: Request) -> dict[str, str]:
    """What the headers say of an object, under the names that Swift's API has for it."""
    meta: dict[str, str] = {}
    size = 0
    for name, value in req.headers.items():
        if name.startswith("x-amz-meta-"):
            size += len(name) - len("x-amz-meta-") + len(value)
            if size > MOST_METADATA:
                raise S3Error("MetadataTooLarge")
            meta["x-object-meta-" + name[len("x-amz-meta-") :]] = header_text(value, name)
        elif name in objects.KEPT and value:
            meta[name] = header_text(value, name)
    if req.body is not None:  # it came in chunks, which are no coding of what is kept
        said = [c.strip() for c in meta.pop("content-encoding", "").split(",")]
        coding = ", ".join(c for c in said if c not in ("", "aws-chunked"))
        meta |= {"content-encoding": coding} if coding else {}
    chosen = req.headers.get("x-amz-storage-class", "STANDARD")
    if chosen not in STORAGE_CLASSES:
        raise S3Error("InvalidArgument", "The storage class you specified is not valid")
    sealed = req.headers.get(SEALING, "AES256")
    if sealed != "AES256" or any(n.startswith("x-amz-server-side-encryption-customer") for n in req.headers):
        raise S3Error("NotImplemented", "Encryption is the store's own: keys of clients or of a key manager are not"
                                        " supported.")  # fmt: skip
    return meta


def own_facts(req: Request) -> dict[str, str]:
    """Owner, list and tags of a new object."""
    facts = {OBJECT + "owner": req.person}
    acl = grants.from_headers(req)
    if acl and acl != "[]":
        facts[OBJECT + "acl"] = acl
    tagging = req.headers.get("x-amz-tagging")
    if tagging:
        pairs = parse_qsl(tagging, keep_blank_values=True)
        facts[OBJECT + "tags"] = tags_kept(pairs, 10)
    if SEALING in req.headers:
        facts[SEALED] = req.headers[SEALING]
    return {k: v for k, v in facts.items() if v}


def tags_kept(pairs: list[tuple[str, str]], most: int) -> str:
    if len(pairs) > most:
        raise S3Error("InvalidTag" if most == 50 else "BadRequest", f"Object tags cannot be greater than {most}", 400)
    if len({k for k, _ in pairs}) != len(pairs):
        raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key")
    for key, value in pairs:
        if not key or len(key) > 128 or key.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid")
        if len(value) > 256:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid")
    return json.dumps(pairs)


def check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise S3Error("EntityTooLarge")


class taking:
    """The request's body, taken in; thrown away at the end of the block unless a change named it."""

    def __init__(self, site: Site, req: Request, name: str, policy: int, default: str = "", seal: bool = False) -> None:
        """`default`: the checksum where the request names none; `seal`: encrypt the bytes."""
        self._site, self._req, self._default = site, req, default
        self._md5 = checksums.content_md5(req)
        self._algorithm, self._said = checksums.wanted(req)
        named = self._algorithm or default
        self._running = checksums.accumulator(named) if named else None
        self._named = named
        self._sha = None
        hashes = [self._running] if self._running is not None else []
        if req.sha256:
            if named == "sha256":
                self._sha = self._running
            else:
                self._sha = checksums.accumulator("sha256")
                hashes.append(self._sha)
        if req.length is None and req.headers.get("transfer-encoding", "").lower() != "chunked":
            raise S3Error("MissingContentLength")
        if req.length is not None and req.length > MOST_BYTES:
            raise S3Error("EntityTooLarge", ProposedSize=str(req.length), MaxSizeAllowed=str(MOST_BYTES))
        self._upload = site.engine.upload(name, policy, req.length, hashes, seal)

    async def __aenter__(self) -> Taken:
        up = await self._upload.__aenter__()
        try:
            await pour(self._req.chunks(), self._req.draw if self._req.body is None else None, up, check_size)
            if self._req.length is not None and up.size != self._req.length:
                raise chunked.incomplete(up.size, self._req.length)
            staged = await up.finish()
            return Taken(staged, self._checked(staged))
        except BaseException as why:
            await self._upload.__aexit__(type(why), why, why.__traceback__)
            raise

    def _checked(self, staged: Any) -> str:
        if self._sha is not None:
            objects.check_sha256(self._req, self._sha.digest().hex())
        if self._md5 and self._md5 != staged.md5:
            found = base64.b64encode(bytes.fromhex(staged.md5)).decode()
            raise S3Error("BadDigest", ExpectedDigest=self._md5, CalculatedDigest=found)
        if self._running is None:
            return ""
        found = checksums.encoded(self._running)
        if self._algorithm:
            said = self._said or self._req.trailer.get(checksums.PREFIX + self._algorithm, "")
            if said:
                checksums.check_form(self._algorithm, said, "header" if self._said else "trailing header")
                checksums.check(self._algorithm, said, found)
        return f"{self._named} {found} FULL_OBJECT"

    async def __aexit__(self, *why: object) -> None:
        await self._upload.__aexit__(*why)


def refuse_conditions(req: Request) -> None:
    """NotImplemented for conditions that make no write conditional, rather than to ignore them."""
    if req.headers.get("if-none-match", "*").strip() != "*":
        raise S3Error("NotImplemented", "Only If-None-Match: * makes a write conditional.")
    for header in ("If-Modified-Since", "If-Unmodified-Since"):
        if header.lower() in req.headers:
            raise S3Error("NotImplemented", f"{header} makes no write conditional.", Header=header)


def deletion(site: Site, req: Request) -> int:
    """When Swift's headers want the object deleted: seconds, 0 for never. InvalidArgument."""
    try:
        return checks.delete_at(req.headers, site.cloud.clock.now())
    except Refusal as why:
        name = "X-Delete-After" if "x-delete-after" in req.headers else "X-Delete-At"
        value = req.headers.get(name.lower(), "")
        raise S3Error("InvalidArgument", why.text, ArgumentName=name, ArgumentValue=value) from None


def write_conditions(req: Request, old: ObjectRow | None) -> None:
    """If-None-Match: * and If-Match of a write, inside its change."""
    none, match = req.headers.get("if-none-match"), req.headers.get("if-match")
    if none is not None and old is not None:
        raise S3Error("PreconditionFailed", Condition="If-None-Match")
    if match is not None:
        if old is None:
            raise S3Error("NoSuchKey", Key=req.key)
        if match.strip() != "*" and match.strip().strip('"') != objects.etag_of(old).strip('"'):
            raise S3Error("PreconditionFailed", Condition="If-Match")


def placing(site: Site, req: Request, bucket: Bucket, draft: ObjectRow, staged: Any) -> Callable[[Any], ObjectRow]:
    """The change that names the bytes."""

    def work(index: Any) -> ObjectRow:
        home = index.container(bucket.account.id, bucket.name)
        if home is None or home.id != bucket.row.id:
            raise S3Error("NoSuchBucket", BucketName=bucket.name)
        now = Bucket(bucket.account, home)
        old: ObjectRow | None = index.object(home.id, draft.name)
        write_conditions(req, old)
        quotas.check(site, req, index, home, draft.size if draft.kind != "slo" else 0)
        newest = _newest(index, now, draft.name, old)
        row = msgspec.structs.replace(draft, ts=max(site.now(), newest + 1))
        if staged is not None:
            row = msgspec.structs.replace(row, blob=index.keep(staged))
        return versions.replace(index, now, row, old)

    return work


def _newest(index: Any, bucket: Bucket, key: str, old: ObjectRow | None) -> int:
    if old is not None:
        return old.ts
    if not bucket.versioned:
        return 0
    found = index.list_versions(bucket.row.id, after=(key, versions.NEWEST), prefix=key, limit=1)
    return found[0].version if found and found[0].name == key else 0


async def put(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutObject")
    check_key(req.key)
    refuse_conditions(req)
    meta, due = {**metadata_from(req), **own_facts(req)}, deletion(site, req)
    kind = req.headers.get("content-type") or "binary/octet-stream"
    if "if-none-match" in req.headers or "if-match" in req.headers:
        write_conditions(req, site.object(bucket, req.key))  # before the body is read, and again when it is named
    name = f"{bucket.account.name}/{bucket.name}/{req.key}"
    async with taking(site, req, name, bucket.row.policy, seal=SEALED in meta) as taken:
        if taken.checksum:
            meta[OBJECT + "checksum"] = taken.checksum
        staged = taken.staged
        draft = ObjectRow(bucket.row.id, req.key, 0, staged.size, staged.md5, kind, 0, meta, due)
        row = await site.engine.change(placing(site, req, bucket, draft, staged))
    headers = {"etag": objects.etag_of(row), **objects.seal_headers(row.meta)}
    if bucket.versioned == "Enabled":
        headers["x-amz-version-id"] = versions.version_id(row)
    if req.headers.keys() & checksums.ASKED:
        headers |= objects.checksum_headers(row)
    return Answer(200, headers)


async def copy(site: Site, req: Request) -> Answer:
    """CopyObject: the bytes are shared where the whole is one blob; a large object's parts are written anew."""
    bucket = site.bucket(req, "s3:PutObject")
    check_key(req.key)
    source_bucket, row = source(site, req)
    directive = req.headers.get("x-amz-metadata-directive", "COPY").upper()
    tags = req.headers.get("x-amz-tagging-directive", "COPY").upper()
    if directive not in ("COPY", "REPLACE") or tags not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive.", ArgumentName="x-amz-metadata-directive",
                      ArgumentValue=directive)  # fmt: skip
    same = (source_bucket.row.id, row.name) == (bucket.row.id, req.key)
    itself = same and "versionId=" not in req.headers["x-amz-copy-source"]
    storage = "x-amz-storage-class" in req.headers
    if itself and directive == "COPY" and not storage:
        raise S3Error("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself"
                                        " without changing the object's metadata, storage class, website redirect"
                                        " location or encryption attributes.")  # fmt: skip
    said, due = own_facts(req), deletion(site, req)
    given = metadata_from(req)
    if directive == "COPY":
        given = {k: v for k, v in row.meta.items() if k.startswith("x-object-meta-") or k in objects.KEPT}
    if tags == "COPY" and OBJECT + "tags" in row.meta:
        said[OBJECT + "tags"] = row.meta[OBJECT + "tags"]
    kind = req.headers.get("content-type") if directive == "REPLACE" else row.type
    meta = {**given, **said}
    if OBJECT + "checksum" in row.meta and row.kind != "slo":
        meta[OBJECT + "checksum"] = row.meta[OBJECT + "checksum"]
    draft = ObjectRow(bucket.row.id, req.key, 0, row.size, row.etag, kind or "binary/octet-stream", 0, meta, due)
    made = await _copied(site, req, (bucket, draft), (source_bucket, row))
    nodes: list[Node] = [("LastModified", objects.iso_time(made.ts)), ("ETag", objects.etag_of(made))]
    headers = objects.seal_headers(made.meta)
    if bucket.versioned == "Enabled":
        headers["x-amz-version-id"] = versions.version_id(made)
    if source_bucket.versioned:
        headers["x-amz-copy-source-version-id"] = versions.version_id(row)
    return xml("CopyObjectResult", nodes, headers=headers)


def source(site: Site, req: Request) -> tuple[Bucket, ObjectRow]:
    """What x-amz-copy-source names, where the caller may read it and its conditions hold."""
    name, key, version = objects.source_of(req)
    asked = Request("GET", "", "", name, key, {"versionId": version} if version is not None else {},
                    {}, req.receive, req.request_id, req.client, req.secure, who=req.who)  # fmt: skip
    found, row = objects.looked_up(site, asked, "s3:GetObjectVersion" if version is not None else "s3:GetObject")
    site.check_owner(req, found, "x-amz-source-expected-bucket-owner")
    objects.check_conditions(req, row, "x-amz-copy-source-")
    return found, row


async def _copied(
    site: Site, req: Request, sink: tuple[Bucket, ObjectRow], source: tuple[Bucket, ObjectRow]
) -> ObjectRow:
    (bucket, draft), (source_bucket, row) = sink, source
    same_home = source_bucket.row.policy == bucket.row.policy
    seal = SEALED in draft.meta
    if row.kind != "slo" and same_home and (SEALED in row.meta or not seal):

        def share(index: Any) -> ObjectRow:
            if row.blob and index.blob(row.blob) is None:
                raise S3Error("NoSuchKey", Key=row.name)
            shared = msgspec.structs.replace(draft, blob=index.share(row.blob))
            return placing(site, req, bucket, shared, None)(index)

        return await site.engine.change(share)
    pieces = await parts.content(site.engine, source_bucket.account.id, row)
    size = sum(p.length for p in pieces)
    if size > MOST_BYTES:
        raise S3Error("InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy"
                                        f" source: {MOST_BYTES}")  # fmt: skip
    name = f"{bucket.account.name}/{bucket.name}/{req.key}"
    async with site.engine.upload(name, bucket.row.policy, size, seal=seal) as up:
        async for data in parts.stream(site.engine, pieces):
            await up.feed(data)
        staged = await up.finish()
        draft = msgspec.structs.replace(draft, size=staged.size, etag=staged.md5)
        return await site.engine.change(placing(site, req, bucket, draft, staged))


def copy_range(req: Request, size: int) -> tuple[int, int]:
    """x-amz-copy-source-range, which has to lie within the source."""
    said = req.headers.get("x-amz-copy-source-range")
    if said is None:
        return 0, size
    m = re.fullmatch(r"bytes=([0-9]{1,18})-([0-9]{1,18})", said)
    if m is None or int(m[2]) < int(m[1]):
        raise S3Error("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last where"
                                         " first and last are the zero-based offsets of the first and last bytes",
                      ArgumentName="x-amz-copy-source-range", ArgumentValue=said)  # fmt: skip
    if int(m[2]) >= size:
        raise S3Error("InvalidArgument", f"Range specified is not valid for source object of size: {size}",
                      ArgumentName="x-amz-copy-source-range", ArgumentValue=said)  # fmt: skip
    return int(m[1]), int(m[2]) + 1
