"""Multipart uploads (S3 API Reference: CreateMultipartUpload … CompleteMultipartUpload).

An upload is an empty object "<key>/<upload id>" in the container "<bucket>+segments", whose metadata is what the object
will have; its parts lie below it. The completed object is a static large object of these parts.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.object_store.numbers import count
from nutshell.object_store.rows import ContainerRow, ObjectRow
from nutshell.object_store.s3 import checksums, listings, objects, parts, quotas, versions, writes
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, parse, shown, text_in, xml
from nutshell.object_store.s3.site import OBJECT, SEALED, Bucket, Site

LEAST_PART = 5 << 20
MOST_PARTS = 10_000
UPLOADED = OBJECT + "part-checksum"
ALGORITHM, TYPE = OBJECT + "upload-algorithm", OBJECT + "upload-type"


@dataclass(frozen=True)
class Upload:
    bucket: Bucket
    home: ContainerRow
    row: ObjectRow

    def part(self, number: int) -> str:
        return f"{self.row.name}/{number:05d}"


def find(site: Site, req: Request, bucket: Bucket) -> Upload:
    upload_id = req.query.get("uploadId", "")
    home = site.engine.find(bucket.account.name, bucket.name + parts.SEGMENTS)[1]
    name = f"{req.key}/{upload_id}"
    row = site.engine.read(lambda i: i.object(home.id, name)) if home is not None and upload_id else None
    if row is None or home is None or row.kind != "upload":
        raise S3Error("NoSuchUpload", UploadId=upload_id)
    return Upload(bucket, home, row)


async def create(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutObject")
    writes.check_key(req.key)
    meta = {**writes.metadata_from(req), **writes.own_facts(req)}
    algorithm = req.headers.get("x-amz-checksum-algorithm", "").lower()
    if algorithm and algorithm not in checksums.SIZES:
        raise S3Error("InvalidRequest", checksums.UNKNOWN)
    kind = _type_of(req, algorithm)
    if algorithm:
        meta |= {ALGORITHM: algorithm, TYPE: kind}
    meta[OBJECT + "initiator"] = req.person
    upload_id = base64.urlsafe_b64encode(int(time.time() * 1000).to_bytes(6, "big") + os.urandom(12)).decode()
    content_type = req.headers.get("content-type") or "binary/octet-stream"

    def work(index: Any) -> None:
        home = index.container(bucket.account.id, bucket.name + parts.SEGMENTS)
        now = site.now()
        if home is None:
            name = bucket.name + parts.SEGMENTS
            home = ContainerRow(index.new_id(), bucket.account.id, name, bucket.row.policy, now, now, {})
            index.put_container(home)
        row = ObjectRow(home.id, f"{req.key}/{upload_id}", now, 0, hashlib.md5(b"", usedforsecurity=False).hexdigest(),
                        content_type, 0, meta, kind="upload")  # fmt: skip
        index.put_object(row, index.object(home.id, row.name))

    await site.engine.change(work)
    headers = objects.seal_headers(meta)
    if algorithm:
        headers |= {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind}
    nodes: list[Node] = [("Bucket", bucket.name), ("Key", req.key), ("UploadId", upload_id)]
    return xml("InitiateMultipartUploadResult", nodes, headers=headers)


def _type_of(req: Request, algorithm: str) -> str:
    kind = req.headers.get("x-amz-checksum-type", "").upper()
    if not algorithm:
        if kind:
            raise S3Error("InvalidRequest", "The x-amz-checksum-type header can only be used with the"
                                            " x-amz-checksum-algorithm header.")  # fmt: skip
        return ""
    kind = kind or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    if kind not in ("FULL_OBJECT", "COMPOSITE"):
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")
    if algorithm.startswith("sha") if kind == "FULL_OBJECT" else algorithm == "crc64nvme":
        raise S3Error(
            "InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
        )
    return kind


def _number(req: Request) -> int:
    text = req.query.get("partNumber", "")
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MOST_PARTS:
        raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive",
                      ArgumentName="partNumber", ArgumentValue=text)  # fmt: skip
    return int(text)


async def put_part(site: Site, req: Request) -> Answer:
    """UploadPart and UploadPartCopy."""
    number = _number(req)
    bucket = site.bucket(req, "s3:PutObject")
    upload = find(site, req, bucket)
    if "x-amz-copy-source" in req.headers:
        return await _copy_part(site, req, upload, number)
    name = f"{bucket.account.name}/{upload.home.name}/{upload.part(number)}"
    default = upload.row.meta.get(ALGORITHM, "")
    named, _ = checksums.wanted(req)
    if named and default and named != default:
        raise S3Error("InvalidRequest", f"Checksum Type mismatch occurred, expected checksum Type: {default}, actual"
                                        f" checksum Type: {named}")  # fmt: skip
    async with writes.taking(site, req, name, upload.home.policy, default, SEALED in upload.row.meta) as taken:
        await site.engine.change(_naming(site, req, upload, number, (taken.staged, taken.checksum)))
        headers = {"etag": f'"{taken.staged.md5}"', **objects.seal_headers(upload.row.meta)}
        if taken.checksum and req.headers.keys() & checksums.ASKED:
            algorithm, value, _ = taken.checksum.split(" ")
            headers[checksums.PREFIX + algorithm] = value
    return Answer(200, headers)


def _naming(site: Site, req: Request, upload: Upload, number: int, taken: tuple[Any, str]) -> Any:
    staged, checksum = taken

    def work(index: Any) -> None:
        if index.object(upload.home.id, upload.row.name) is None:
            raise S3Error("NoSuchUpload")
        quotas.check(site, req, index, upload.home, staged.size)
        meta = {UPLOADED: checksum} if checksum else {}
        row = ObjectRow(upload.home.id, upload.part(number), site.now(), staged.size, staged.md5, "binary/octet-stream",
                        index.keep(staged), meta)  # fmt: skip
        index.put_object(row, index.object(upload.home.id, row.name))

    return work


async def _copy_part(site: Site, req: Request, upload: Upload, number: int) -> Answer:
    source_bucket, row = writes.source(site, req)
    pieces = await parts.content(site.engine, source_bucket.account.id, row)
    size = sum(p.length for p in pieces)
    start, end = writes.copy_range(req, size)
    if end - start > writes.MOST_BYTES:
        raise S3Error(
            "InvalidRequest", "The specified copy source is larger than the maximum allowable size for a copy source"
        )
    algorithm = upload.row.meta.get(ALGORITHM, "")
    running = checksums.accumulator(algorithm) if algorithm else None
    name = f"{upload.bucket.account.name}/{upload.home.name}/{upload.part(number)}"
    hashes = [running] if running is not None else []
    async with site.engine.upload(name, upload.home.policy, end - start, hashes, SEALED in upload.row.meta) as up:
        async for data in parts.stream(site.engine, parts.cut(pieces, start, end)):
            await up.feed(data)
        staged = await up.finish()
        checksum = f"{algorithm} {checksums.encoded(running)} FULL_OBJECT" if running is not None else ""
        await site.engine.change(_naming(site, req, upload, number, (staged, checksum)))
    headers = {"x-amz-copy-source-version-id": versions.version_id(row)} if source_bucket.versioned else {}
    nodes: list[Node] = [("LastModified", objects.iso_time(site.now())), ("ETag", f'"{staged.md5}"')]
    return xml("CopyPartResult", nodes, headers=headers)


async def abort(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:AbortMultipartUpload")
    upload = find(site, req, bucket)

    def work(index: Any) -> None:
        row = index.object(upload.home.id, upload.row.name)
        if row is not None:
            index.drop_object(row)
        parts.drop_all(index, upload.home.id, upload.row.name + "/")

    await site.engine.change(work)
    return Answer(204)


async def list_parts(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:ListMultipartUploadParts")
    upload = find(site, req, bucket)
    limit, encoding = listings.limit_of(req, "max-parts"), listings.encoding_of(req)
    text = req.query.get("part-number-marker", "0")
    if not text.isdecimal() or len(text) > 10 or int(text) > 2147483647:
        raise S3Error("InvalidArgument", "Argument part-number-marker must be an integer between 0 and 2147483647",
                      ArgumentName="part-number-marker", ArgumentValue=text)  # fmt: skip
    marker = int(text)
    after = upload.part(marker) if marker <= 99999 else upload.row.name + "/~"
    prefix = upload.row.name + "/"
    rows = site.engine.read(
        lambda i: i.list_objects(upload.home.id, after=after, until="", prefix=prefix, limit=limit + 1, reverse=False)
    )
    more, rows = len(rows) > limit, rows[:limit]
    last = int(rows[-1].name.rpartition("/")[2]) if rows else 0
    person = upload.row.meta.get(OBJECT + "owner", "")
    initiator = upload.row.meta.get(OBJECT + "initiator", person)
    nodes: list[Node] = [
        ("Bucket", bucket.name), ("Key", shown(req.key, encoding)), ("UploadId", req.query["uploadId"]),
        ("Initiator", [("ID", initiator), ("DisplayName", initiator)]),
        ("Owner", [("ID", person), ("DisplayName", person)]), ("StorageClass", "STANDARD"),
        ("PartNumberMarker", str(marker)), ("NextPartNumberMarker", str(last)), ("MaxParts", str(limit)),
    ]  # fmt: skip
    if encoding:
        nodes.append(("EncodingType", encoding))
    if ALGORITHM in upload.row.meta:
        nodes += [("ChecksumAlgorithm", upload.row.meta[ALGORITHM].upper()), ("ChecksumType", upload.row.meta[TYPE])]
    nodes.append(("IsTruncated", str(more).lower()))
    nodes += [("Part", _part_nodes(row)) for row in rows]
    return xml("ListPartsResult", nodes)


def _part_nodes(row: ObjectRow) -> list[Node]:
    nodes: list[Node] = [("PartNumber", str(int(row.name.rpartition("/")[2]))),
                         ("LastModified", objects.iso_time(row.ts)), ("ETag", f'"{row.etag}"'),
                         ("Size", str(row.size))]  # fmt: skip
    if UPLOADED in row.meta:
        algorithm, value, _ = row.meta[UPLOADED].split(" ")
        nodes.append(("Checksum" + algorithm.upper(), value))
    return nodes


async def list_uploads(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:ListBucketMultipartUploads")
    limit, encoding = listings.limit_of(req, "max-uploads"), listings.encoding_of(req)
    prefix, delimiter = req.query.get("prefix", ""), req.query.get("delimiter", "")
    marker = req.query.get("key-marker", "")
    id_marker = req.query.get("upload-id-marker", "") if marker else ""
    home = site.engine.find(bucket.account.name, bucket.name + parts.SEGMENTS)[1]
    found = site.engine.read(lambda i: _open(i, home, prefix)) if home is not None else []
    rows: list[tuple[str, str, ObjectRow]] = []
    folders: list[str] = []
    more = False
    for key, upload_id, row in found:
        if marker and (key < marker or (key == marker and (not id_marker or upload_id <= id_marker))):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        folder = key[: at + len(delimiter)] if at >= 0 else ""
        if folder and (folder in folders or folder == marker):
            continue
        if len(rows) + len(folders) >= limit:
            more = True
            break
        if folder:
            folders.append(folder)
        else:
            rows.append((key, upload_id, row))
    nodes: list[Node] = [("Bucket", bucket.name), ("KeyMarker", shown(marker, encoding)), ("UploadIdMarker", id_marker),
                         ("NextKeyMarker", shown(rows[-1][0], encoding) if rows and (more or rows[1:]) else ""),
                         ("NextUploadIdMarker", rows[-1][1] if rows and (more or rows[1:]) else "")]  # fmt: skip
    if delimiter:
        nodes.append(("Delimiter", shown(delimiter, encoding)))
    if prefix:
        nodes.append(("Prefix", shown(prefix, encoding)))
    nodes.append(("MaxUploads", str(limit)))
    if encoding:
        nodes.append(("EncodingType", encoding))
    nodes.append(("IsTruncated", str(more).lower()))
    for key, upload_id, row in rows:
        person = row.meta.get(OBJECT + "owner", "")
        nodes.append(("Upload", [("Key", shown(key, encoding)), ("UploadId", upload_id),
                                 ("Initiator", [("ID", person), ("DisplayName", person)]),
                                 ("Owner", [("ID", person), ("DisplayName", person)]), ("StorageClass", "STANDARD"),
                                 ("Initiated", objects.iso_time(row.ts))]))  # fmt: skip
    nodes += [("CommonPrefixes", [("Prefix", shown(f, encoding))]) for f in folders]
    return xml("ListMultipartUploadsResult", nodes)


def _open(index: Any, home: ContainerRow, prefix: str) -> list[tuple[str, str, ObjectRow]]:
    """(key, upload id, row) of every upload that goes on, by key, the oldest first."""
    found = []
    after = ""
    while True:
        rows = index.list_objects(home.id, after=after, until="", prefix=prefix, limit=1000, reverse=False)
        for row in rows:
            if row.kind == "upload":
                key, _, upload_id = row.name.rpartition("/")
                found.append((key, upload_id, row))
        if len(rows) < 1000:
            break
        after = rows[-1].name
    return sorted(found, key=lambda f: (f[0], f[2].ts, f[1]))


# -- completion
async def complete(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutObject")
    writes.refuse_conditions(req)
    before = site.object(bucket, req.key)
    again = before is not None and before.meta.get(parts.UPLOAD) == req.query.get("uploadId")
    upload = None if again else find(site, req, bucket)
    raw = await objects.checked_body(Request(**{**_fields(req), "headers": _without_checksums(req)}), 2 << 20)
    wanted = _listed(raw, req.query.get("uploadId", ""))
    if upload is None:  # asked again after the answer was lost
        if before is None or _etag([etag for _, etag, _ in wanted]) != before.meta.get(OBJECT + "etag"):
            raise S3Error("NoSuchUpload", UploadId=req.query.get("uploadId", ""))
        return _completed(req, bucket, before)
    rows = site.engine.read(lambda i: _chosen(i, upload, wanted))
    writes.write_conditions(req, before)
    kept, total = _manifest(upload, rows)
    said_size = req.headers.get("x-amz-mp-object-size")
    if said_size is not None and count(said_size) != total:
        raise S3Error(
            "InvalidRequest", "The provided 'x-amz-mp-object-size' header value does not match what was computed"
        )
    meta = {k: v for k, v in upload.row.meta.items() if k not in (ALGORITHM, TYPE, OBJECT + "initiator")}
    meta |= _facts(req, upload, rows, kept, total)
    _check_said(req, meta)
    body = json.dumps(kept).encode()
    name = f"{bucket.account.name}/{bucket.name}/{req.key}"
    async with site.engine.upload(name, bucket.row.policy, len(body), seal=SEALED in meta) as up:
        await up.feed(body)
        staged = await up.finish()
        draft = ObjectRow(bucket.row.id, req.key, 0, total, staged.md5, upload.row.type, 0, meta, kind="slo",
                          shown={"slo_etag": f'"{meta["x-object-sysmeta-slo-etag"]}"'})  # fmt: skip
        place = writes.placing(site, req, bucket, draft, staged)

        def work(index: Any) -> ObjectRow:
            if index.object(upload.home.id, upload.row.name) is None:
                raise S3Error("NoSuchUpload", UploadId=req.query["uploadId"])
            now = _chosen(index, upload, wanted)
            if [r.blob for r in now] != [r.blob for r in rows]:
                raise S3Error("InvalidPart")
            used = {r.name for r in rows}
            for row in index.list_objects(upload.home.id, after="", until="", prefix=upload.row.name + "/",
                                          limit=MOST_PARTS, reverse=False):  # fmt: skip
                if row.name not in used:
                    index.drop_object(row)
            index.drop_object(index.object(upload.home.id, upload.row.name))
            return place(index)

        made = await site.engine.change(work)
    return _completed(req, bucket, made)


def _fields(req: Request) -> dict[str, Any]:
    return {name: getattr(req, name) for name in req.__dataclass_fields__}


def _without_checksums(req: Request) -> dict[str, str]:
    """The checksum headers here speak of the object, not of this body."""
    return {k: v for k, v in req.headers.items() if not k.startswith(checksums.PREFIX)}


def _completed(req: Request, bucket: Bucket, row: ObjectRow) -> Answer:
    nodes: list[Node] = [("Location", objects.location(req)), ("Bucket", bucket.name), ("Key", req.key),
                         ("ETag", objects.etag_of(row))]  # fmt: skip
    kept = row.meta.get(OBJECT + "checksum")
    if kept:
        algorithm, value, kind = kept.split(" ")
        nodes += [("Checksum" + algorithm.upper(), value), ("ChecksumType", kind)]
    headers = objects.seal_headers(row.meta)
    if bucket.versioned == "Enabled":
        headers["x-amz-version-id"] = versions.version_id(row)
    return xml("CompleteMultipartUploadResult", nodes, headers=headers)


def _listed(raw: bytes, upload_id: str) -> list[tuple[int, str, dict[str, str]]]:
    """(number, etag, checksums) of each part that the client lists."""
    root = parse(raw, "CompleteMultipartUpload")
    found = []
    for element in root.iterfind("Part"):
        text = text_in(element, "PartNumber")
        etag = text_in(element, "ETag").strip('"')
        if not text.isdecimal() or len(text) > 9 or element.find("ETag") is None:
            raise S3Error("MalformedXML")
        if not 1 <= int(text) <= MOST_PARTS:
            raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive",
                          ArgumentName="partNumber", ArgumentValue=text)  # fmt: skip
        if not re.fullmatch("[0-9a-fA-F]{32}", etag):
            raise S3Error("InvalidPart", UploadId=upload_id, PartNumber=text, ETag=etag)
        said = {
            c.tag[len("Checksum") :].lower(): (c.text or "").strip() for c in element if c.tag.startswith("Checksum")
        }
        found.append((int(text), etag, said))
    if not found:
        raise S3Error("MalformedXML")
    if any(a[0] >= b[0] for a, b in itertools.pairwise(found)):
        raise S3Error("InvalidPartOrder")
    return found


def _chosen(index: Any, upload: Upload, wanted: Sequence[tuple[int, str, dict[str, str]]]) -> list[ObjectRow]:
    rows = []
    for i, (number, etag, said) in enumerate(wanted):
        row: ObjectRow | None = index.object(upload.home.id, upload.part(number))
        if row is None or row.etag != etag:
            raise S3Error("InvalidPart", UploadId=upload.row.name.rpartition("/")[2], PartNumber=str(number),
                          ETag=etag)  # fmt: skip
        if row.size < LEAST_PART and i < len(wanted) - 1:
            raise S3Error("EntityTooSmall", ProposedSize=str(row.size), MinSizeAllowed=str(LEAST_PART),
                          PartNumber=str(number), ETag=etag)  # fmt: skip
        kept = row.meta.get(UPLOADED, "").split(" ")
        for algorithm, value in said.items():
            if algorithm in checksums.SIZES and kept[0] == algorithm and kept[1] != value:
                raise S3Error("InvalidPart", UploadId=upload.row.name.rpartition("/")[2], PartNumber=str(number),
                          ETag=etag)  # fmt: skip
        rows.append(row)
    return rows


def _manifest(upload: Upload, rows: Sequence[ObjectRow]) -> tuple[list[dict[str, Any]], int]:
    kept = [
        {"name": f"/{upload.home.name}/{r.name}", "bytes": r.size, "hash": r.etag, "content_type": r.type,
         "last_modified": objects.iso_time(r.ts)[:-1]}
        for r in rows if r.size or len(rows) == 1
    ]  # fmt: skip
    return kept, sum(r.size for r in rows)


def _etag(etags: Sequence[str]) -> str:
    """Of the whole, from those of its parts."""
    digest = hashlib.md5(b"".join(bytes.fromhex(e) for e in etags), usedforsecurity=False).hexdigest()
    return f"{digest}-{len(etags)}"


def _facts(
    req: Request, upload: Upload, rows: Sequence[ObjectRow], kept: Sequence[dict[str, Any]], total: int
) -> dict[str, str]:
    """What the finished object's metadata says beside the client's."""
    joined = hashlib.md5("".join(e["hash"] for e in kept).encode(), usedforsecurity=False).hexdigest()
    facts = {
        OBJECT + "etag": _etag([r.etag for r in rows]),
        parts.UPLOAD: req.query["uploadId"],
        "x-object-sysmeta-slo-etag": joined,
        "x-object-sysmeta-slo-size": str(total),
        "x-static-large-object": "True",
    }
    algorithm, kind = upload.row.meta.get(ALGORITHM, ""), upload.row.meta.get(TYPE, "")
    values = [r.meta.get(UPLOADED, "").split(" ") for r in rows]
    if algorithm and all(v[0] == algorithm for v in values):
        if kind == "COMPOSITE":
            running = checksums.accumulator(algorithm)
            running.update(b"".join(base64.b64decode(v[1]) for v in values))
            facts[OBJECT + "checksum"] = f"{algorithm} {checksums.encoded(running)}-{len(rows)} COMPOSITE"
        else:
            whole = checksums.combine(algorithm, [(v[1], r.size) for v, r in zip(values, rows, strict=True)])
            facts[OBJECT + "checksum"] = f"{algorithm} {whole} FULL_OBJECT"
    return facts


def _check_said(req: Request, meta: dict[str, str]) -> None:
    """A checksum of the whole that came with the request."""
    for algorithm in checksums.SIZES:
        said = req.headers.get(checksums.PREFIX + algorithm)
        kept = meta.get(OBJECT + "checksum", "").split(" ")
        if said is not None and kept[0] == algorithm and said.split("-")[0] != kept[1].split("-")[0]:
            raise S3Error("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
