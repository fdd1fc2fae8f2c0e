"""Buckets: list, create, show, delete (S3 API Reference: ListBuckets, CreateBucket, HeadBucket, DeleteBucket)."""

from typing import Any

from nutshell.object_store.rows import ContainerRow
from nutshell.object_store.s3 import grants, names, objects, parts
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, parse, text_in, xml
from nutshell.object_store.s3.site import CONTAINER, REGISTRY, Site, ensure_account


async def list_all(site: Site, req: Request) -> Answer:
    """The buckets of the caller's project; without a role in it, those that are the caller's own."""
    if not req.who.user_id:
        raise S3Error("AccessDenied")
    if not req.account:
        raise S3Error("AccessDenied")
    rules, target = site.cloud.rules, {"project_id": req.who.project_id, "account": req.account}
    reads = any(rules.allows(f"object_store:{r}", req.who, target) for r in ("own", "read", "reseller_admin"))
    account, _ = site.engine.find(req.account, "")
    found: list[ContainerRow] = []
    if account is not None:
        after = ""
        while True:
            page = site.engine.read(
                lambda i, after=after: i.list_containers(  # type: ignore[misc]
                    account.id, after=after, until="", prefix="", limit=1000, reverse=False
                )
            )
            seen = [row for row, _ in page if not row.name.endswith(parts.SEGMENTS)]
            found += [row for row in seen if reads or row.meta.get(CONTAINER + "owner") == req.person]
            if len(page) < 1000:
                break
            after = page[-1][0].name
    nodes: list[Node] = [
        ("Owner", [("ID", req.person), ("DisplayName", req.person)]),
        ("Buckets", [("Bucket", [("Name", r.name), ("CreationDate", objects.iso_time(r.created))]) for r in found]),
    ]
    return xml("ListAllMyBucketsResult", nodes)


async def create(site: Site, req: Request) -> Answer:
    if not names.valid(req.bucket):
        raise S3Error("InvalidBucketName", BucketName=req.bucket)
    raw = await objects.checked_body(req, 64 << 10)
    if raw.strip():
        wanted = text_in(parse(raw, "CreateBucketConfiguration"), "LocationConstraint")
        if wanted and wanted not in site.regions:
            raise S3Error("InvalidLocationConstraint", LocationConstraint=wanted)
    target = {"project_id": req.who.project_id, "account": req.account}
    rules = site.cloud.rules
    if not req.account or not any(
        rules.allows(f"object_store:{r}", req.who, target) for r in ("own", "reseller_admin")
    ):
        raise S3Error("AccessDenied")
    if req.headers.get("x-amz-bucket-object-lock-enabled", "").lower() == "true":
        raise S3Error("NotImplemented", "Object lock is not supported.")
    acl = grants.from_headers(req)
    meta = {CONTAINER + "owner": req.person}
    if acl and acl != "[]":
        meta[CONTAINER + "acl"] = acl

    def work(index: Any) -> None:
        now = site.now()
        registry = ensure_account(index, REGISTRY, now)
        account = ensure_account(index, req.account, now)
        if index.container(account.id, req.bucket) is not None:
            raise S3Error("BucketAlreadyOwnedByYou", BucketName=req.bucket)
        entry = index.container(registry.id, req.bucket)
        if entry is not None and entry.meta.get("account") != req.account:
            other = index.account(entry.meta.get("account", ""))
            if other is not None and not other.deleted_at and index.container(other.id, req.bucket) is not None:
                raise S3Error("BucketAlreadyExists", BucketName=req.bucket)
        entry_id = entry.id if entry is not None else index.new_id()
        index.put_container(ContainerRow(entry_id, registry.id, req.bucket, 0, now, now, {"account": req.account}))
        index.put_container(ContainerRow(index.new_id(), account.id, req.bucket, 0, now, now, meta))

    await site.engine.change(work)
    return Answer(200, {"location": f"/{req.bucket}"})


async def head(site: Site, req: Request) -> Answer:
    site.bucket(req, "s3:ListBucket")
    return Answer(200, {"x-amz-bucket-region": site.regions[0], "content-type": "application/xml"})


async def delete(site: Site, req: Request) -> Answer:
    bucket = site.bucket(req, "s3:DeleteBucket")

    def work(index: Any) -> None:
        row = index.container(bucket.account.id, bucket.name)
        if row is None:
            raise S3Error("NoSuchBucket", BucketName=bucket.name)
        if index.container_usage(row.id).objects or index.list_versions(row.id, after=("", 0), prefix="", limit=1):
            raise S3Error("BucketNotEmpty", BucketName=bucket.name)
        home = index.container(bucket.account.id, bucket.name + parts.SEGMENTS)
        if home is not None:  # uploads that were never completed go with their bucket
            parts.drop_all(index, home.id, "")
            index.drop_container(home)
        index.drop_container(row)
        registry = index.account(REGISTRY)
        entry = index.container(registry.id, bucket.name) if registry is not None else None
        if entry is not None and entry.meta.get("account") == bucket.account.name:
            index.drop_container(entry)

    await site.engine.change(work)
    return Answer(204)
