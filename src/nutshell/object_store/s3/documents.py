"""The documents of a bucket and of an object: versioning, lists, policy, CORS, lifecycle, tags, location.

Each is kept as JSON or text in the bucket's metadata (S3 API Reference, "Get…" and "Put…" of the same names).
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.s3 import cors, grants, lifecycle, objects, policies, versions, writes
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, parse, text_in, xml
from nutshell.object_store.s3.site import CONTAINER, OBJECT, VERSIONING, Bucket, Site

MOST = 256 << 10


Operation = Callable[[Site, Request], Awaitable[Answer]]


def _shows(name: str, action: str, missing: str, root: str, nodes: Callable[[str], list[Node]]) -> Operation:
    """Read one of a bucket's documents; `missing`: the code when there is none."""

    async def show(site: Site, req: Request) -> Answer:
        bucket = site.bucket(req, action)
        written = bucket.document(name)
        if not written:
            raise S3Error(missing, BucketName=bucket.name)
        return xml(root, nodes(written))

    return show


def _removes(name: str, action: str) -> Operation:
    """Take one of a bucket's documents away. Absent is success."""

    async def remove(site: Site, req: Request) -> Answer:
        await site.edit(site.bucket(req, action), {CONTAINER + name: ""})
        return Answer(204)

    return remove


async def get_location(site: Site, req: Request) -> Answer:
    site.bucket(req, "s3:GetBucketLocation")
    region = site.regions[0]
    answer = xml("LocationConstraint", [])
    if region != "us-east-1":
        answer.body = answer.body.replace(b"></LocationConstraint>", f">{region}</LocationConstraint>".encode())
    return answer


# -- versioning
async def get_versioning(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:GetBucketVersioning")
    return xml("VersioningConfiguration", [("Status", bucket.versioned)] if bucket.versioned else [])


async def put_versioning(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutBucketVersioning")
    status = text_in(parse(await objects.checked_body(req, MOST), "VersioningConfiguration"), "Status")
    if status not in ("Enabled", "Suspended"):
        raise S3Error("MalformedXML")
    if any(bucket.row.meta.get(h) for h in ("x-versions-location", "x-history-location")):
        raise S3Error("IllegalVersioningConfigurationException", "The container keeps versions by the older headers.")
    await site.edit(bucket, {VERSIONING: str(status == "Enabled")})
    return Answer(200)


# -- lists
async def get_bucket_acl(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:GetBucketAcl")
    return xml("AccessControlPolicy", grants.document(_owner(bucket), bucket.document("acl")))


async def put_bucket_acl(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutBucketAcl")
    await site.edit(bucket, {CONTAINER + "acl": await _acl(req, _owner(bucket))})
    return Answer(200)


def _owner(bucket: Bucket) -> str:
    return bucket.owner or bucket.account.name.removeprefix("AUTH_")


async def _acl(req: Request, owner: str) -> str:
    said = grants.from_headers(req)
    raw = await objects.checked_body(req, MOST)
    if said is not None:
        if raw.strip():
            raise S3Error("InvalidRequest", "The request has both headers and a document of grants.")
        return said
    if not raw.strip():
        raise S3Error("MissingSecurityHeader", MissingHeaderName="x-amz-acl")
    return grants.from_body(raw, owner)


async def get_object_acl(site: Site, req: Request) -> Answer:
    bucket, row = objects.looked_up(site, req, "s3:GetObjectAcl")
    owner = row.meta.get(OBJECT + "owner") or _owner(bucket)
    return xml("AccessControlPolicy", grants.document(owner, row.meta.get(OBJECT + "acl", "")))


async def put_object_acl(site: Site, req: Request) -> Answer:
    bucket, row = objects.looked_up(site, req, "s3:PutObjectAcl")
    owner = row.meta.get(OBJECT + "owner") or _owner(bucket)
    await _edit_object(site, req, bucket, OBJECT + "acl", await _acl(req, owner))
    return Answer(200)


async def _edit_object(site: Site, req: Request, bucket: Bucket, name: str, value: str) -> ObjectRow:
    """Change one fact of an object (or one version of it); its bytes and its time stay."""

    def work(index: Any) -> ObjectRow:
        wanted = req.query.get("versionId")
        row: ObjectRow | None
        if wanted is not None:
            row, present = versions.find(index, bucket, req.key, wanted)
        else:
            row, present = index.object(bucket.row.id, req.key), True
        if row is None:
            raise S3Error("NoSuchKey", Key=req.key)
        meta = {k: v for k, v in {**row.meta, name: value}.items() if v}
        changed = msgspec.structs.replace(row, meta=meta)
        index.share(row.blob)
        if present:
            index.put_object(changed, row)
        else:
            index.drop_version(row)
            index.put_version(changed)
        return changed

    found: ObjectRow = await site.engine.change(work)
    return found


# -- policy
async def get_policy(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:GetBucketPolicy")
    written = bucket.document("policy")
    if not written:
        raise S3Error("NoSuchBucketPolicy", BucketName=bucket.name)
    return Answer(200, {"content-type": "application/json"}, written.encode())


async def put_policy(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutBucketPolicy")
    written = policies.accept(await objects.checked_body(req, MOST), bucket.name)
    await site.edit(bucket, {CONTAINER + "policy": written})
    return Answer(204)


async def get_policy_status(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:GetBucketPolicyStatus")
    written = bucket.document("policy")
    if not written:
        raise S3Error("NoSuchBucketPolicy", BucketName=bucket.name)
    return xml("PolicyStatus", [("IsPublic", str(policies.public(written)).lower())])


# -- CORS and lifecycle
async def put_cors(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutBucketCORS")
    await site.edit(bucket, {CONTAINER + "cors": cors.accept(await objects.checked_body(req, MOST))})
    return Answer(200)


async def put_lifecycle(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutLifecycleConfiguration")
    written = lifecycle.accept(await objects.checked_body(req, MOST))
    await site.edit(bucket, {CONTAINER + "lifecycle": written})
    return Answer(200)


# -- tags
async def _tags_in(req: Request, most: int) -> str:
    root = parse(await objects.checked_body(req, MOST), "Tagging")
    if root.find("TagSet") is None:
        raise S3Error("MalformedXML")
    pairs = [(t.findtext("Key") or "", t.findtext("Value") or "") for t in root.iterfind("TagSet/Tag")]
    return writes.tags_kept(pairs, most)


def _tags(written: str) -> list[Node]:
    return [("TagSet", [("Tag", [("Key", k), ("Value", v)]) for k, v in json.loads(written or "[]")])]


async def put_bucket_tags(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:PutBucketTagging")
    await site.edit(bucket, {CONTAINER + "tags": await _tags_in(req, 50)})
    return Answer(204)


async def get_object_tags(site: Site, req: Request) -> Answer:
    bucket, row = objects.looked_up(site, req, "s3:GetObjectTagging")
    return xml("Tagging", _tags(row.meta.get(OBJECT + "tags", "")), headers=_version(bucket, row))


async def put_object_tags(site: Site, req: Request) -> Answer:
    bucket, _ = objects.looked_up(site, req, "s3:PutObjectTagging")
    row = await _edit_object(site, req, bucket, OBJECT + "tags", await _tags_in(req, 10))
    return Answer(200, _version(bucket, row))


async def delete_object_tags(site: Site, req: Request) -> Answer:
    bucket, _ = objects.looked_up(site, req, "s3:DeleteObjectTagging")
    row = await _edit_object(site, req, bucket, OBJECT + "tags", "")
    return Answer(204, _version(bucket, row))


def _version(bucket: Bucket, row: ObjectRow) -> dict[str, str]:
    return {"x-amz-version-id": versions.version_id(row)} if bucket.versioned else {}


get_cors = _shows("cors", "s3:GetBucketCORS", "NoSuchCORSConfiguration", "CORSConfiguration", cors.document)
get_lifecycle = _shows(
    "lifecycle",
    "s3:GetLifecycleConfiguration",
    "NoSuchLifecycleConfiguration",
    "LifecycleConfiguration",
    lifecycle.document,
)
get_bucket_tags = _shows("tags", "s3:GetBucketTagging", "NoSuchTagSet", "Tagging", _tags)
delete_policy = _removes("policy", "s3:DeleteBucketPolicy")
delete_cors = _removes("cors", "s3:PutBucketCORS")
delete_lifecycle = _removes("lifecycle", "s3:PutLifecycleConfiguration")
delete_bucket_tags = _removes("tags", "s3:PutBucketTagging")
