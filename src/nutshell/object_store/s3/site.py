"""What every part of the S3 API works with: the engine, the buckets, and who may do what with them.

A bucket is a container of its project's account. Names are kept once for all projects in the account `.s3`, so that a
bucket is found without knowing whose it is; a container that Swift made is a bucket for its own project only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.object_store.callers import in_default_domain
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow, ContainerRow, ObjectRow, stamp
from nutshell.object_store.s3 import grants, names, policies
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request

REGISTRY = ".s3"
SEGMENTS = "+segments"
VERSIONING = "x-versions-enabled"  # the same header that Swift's object versioning keeps
SEALED = "x-object-sysmeta-s3-sealed"  # its bytes were asked to be encrypted
CONTAINER, OBJECT = "x-container-sysmeta-s3-", "x-object-sysmeta-s3-"


@dataclass(frozen=True)
class Bucket:
    account: AccountRow
    row: ContainerRow

    @property
    def name(self) -> str:
        return self.row.name

    def document(self, name: str) -> str:
        """One of the bucket's own documents ("acl", "policy", "cors" …); "" where there is none."""
        return self.row.meta.get(CONTAINER + name, "")

    @property
    def owner(self) -> str:
        return self.document("owner")

    @property
    def versioned(self) -> str:
        """ "Enabled", "Suspended" or ""."""
        said = self.row.meta.get(VERSIONING, "")
        return "" if not said else "Enabled" if said.lower() == "true" else "Suspended"


@dataclass
class Site:
    cloud: Cloud
    engine: ObjectEngine
    regions: Sequence[str]

    def now(self) -> int:
        return stamp(self.cloud.clock.now())

    # -- buckets
    def find(self, req: Request, name: str) -> Bucket | None:
        """The caller's own, else the one of this name."""
        if req.account:
            account, row = self.engine.find(req.account, name)
            if account is not None and row is not None and not account.deleted_at:
                return Bucket(account, row)
        return self.registered(name)

    def registered(self, name: str) -> Bucket | None:
        _, entry = self.engine.find(REGISTRY, name)
        if entry is None:
            return None
        account, row = self.engine.find(entry.meta.get("account", ""), name)
        if account is None or row is None or account.deleted_at:
            return None
        return Bucket(account, row)

    def bucket(self, req: Request, action: str, *, key: str = "", row: ObjectRow | None = None) -> Bucket:
        """The request's bucket, where the caller may do this ("s3:GetObject" …). NoSuchBucket, AccessDenied."""
        found = self.find(req, req.bucket)
        if found is None:
            raise S3Error("NoSuchBucket" if names.valid(req.bucket) else "InvalidBucketName", BucketName=req.bucket)
        self.check_owner(req, found, "x-amz-expected-bucket-owner")
        if not self.allows(req, action, found, key or req.key, row):
            raise S3Error("AccessDenied")
        return found

    def check_owner(self, req: Request, bucket: Bucket, header: str) -> None:
        expected = req.headers.get(header)
        if expected and expected not in (bucket.account.name.removeprefix("AUTH_"), bucket.owner):
            raise S3Error("AccessDenied")

    def allows(self, req: Request, action: str, bucket: Bucket, key: str, row: ObjectRow | None = None) -> bool:
        """A bucket policy's refusal counts most; then the project's roles, the policy's leave, and the lists."""
        written, account = bucket.document("policy"), bucket.account.name
        req.named = account == req.account or in_default_domain(self.cloud, account)
        verdict = policies.verdict(written, req, action, bucket.name, key) if written else ""
        if verdict == "Deny" and not (action in policies.OWNERS and self._own(req, bucket, action)):
            return False
        return verdict == "Allow" or self._own(req, bucket, action) or grants.admits(bucket, row, req, action)

    def _own(self, req: Request, bucket: Bucket, action: str) -> bool:
        if not req.who.user_id:
            return False
        rules, who = self.cloud.rules, req.who
        target = {"project_id": bucket.account.name.removeprefix("AUTH_"), "account": bucket.account.name}
        if rules.allows("object_store:own", who, target) or rules.allows("object_store:reseller_admin", who, target):
            return True
        reads = action.startswith(("s3:Get", "s3:List"))
        return reads and rules.allows("object_store:read", who, target)

    # -- objects
    def object(self, bucket: Bucket, key: str) -> ObjectRow | None:
        row = self.engine.read(lambda i: i.object(bucket.row.id, key))
        return None if row is not None and row.delete_at and row.delete_at <= self.cloud.clock.now() else row

    async def edit(self, bucket: Bucket, changes: dict[str, str]) -> None:
        """Write the bucket's own documents; "" takes one away."""

        def work(index: Any) -> None:
            row = index.container(bucket.account.id, bucket.name)
            if row is None:
                raise S3Error("NoSuchBucket", BucketName=bucket.name)
            meta = {k: v for k, v in {**row.meta, **changes}.items() if v}
            index.put_container(msgspec.structs.replace(row, changed=self.now(), meta=meta))

        await self.engine.change(work)


def ensure_account(index: Any, name: str, now: int) -> AccountRow:
    """Inside a change: the account, made if there is none."""
    known: AccountRow | None = index.account(name)
    if known is not None:
        if known.deleted_at:
            raise S3Error("AccessDenied", "The project's account is being deleted.")
        return known
    made = AccountRow(index.new_id(), name, now, now, {})
    index.put_account(made)
    return made
