"""What Swift's quotas and read-only marks mean to S3: they are one store's (see swift/quotas.py)."""

from typing import Any

from nutshell.object_store.numbers import count
from nutshell.object_store.rows import AccountRow, ContainerRow
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Request
from nutshell.object_store.settings import ObjectStoreConfig

BYTES, COUNT = "x-container-meta-quota-bytes", "x-container-meta-quota-count"
ACCOUNT = "x-account-sysmeta-quota-"
NAMES = ("standard", "silver")


def refuse_read_only(site: Any, req: Request) -> None:
    """AccessDenied for any change of a store, an account or a container that is read-only."""
    if req.method in ("GET", "HEAD", "OPTIONS"):
        return
    found = site.find(req, req.bucket) if req.bucket else None
    said = ""
    if found is not None:
        said = found.account.meta.get("x-account-sysmeta-read-only") or found.row.meta.get(
            "x-container-sysmeta-read-only"
        )
    marked = (said or "").lower() in ("true", "1", "yes", "on", "t", "y")
    if site.cloud.settings[ObjectStoreConfig].read_only or (
        marked and not site.cloud.rules.allows("object_store:reseller_admin", req.who, {})
    ):
        raise S3Error("AccessDenied", "Writes are disabled here: the store, the account or the bucket is read-only.")


def check(site: Any, req: Request, index: Any, home: ContainerRow, size: int) -> None:
    """Inside a change, before its first write: EntityTooLarge where these bytes exceed a quota."""
    meta = home.meta
    if BYTES in meta or COUNT in meta:
        used = index.container_usage(home.id)
        most, number = count(meta.get(BYTES, "")), count(meta.get(COUNT, ""))
        if most is not None and used.bytes + size > most:
            raise S3Error("EntityTooLarge", f"Upload exceeds quota: the bucket may hold {meta[BYTES]} bytes.")
        if number is not None and used.objects + 1 > number:
            raise S3Error("EntityTooLarge", f"Upload exceeds quota: the bucket may hold {meta[COUNT]} objects.")
    account: AccountRow | None = index.account_by_id(home.account_id)
    whole = {k: v for k, v in account.meta.items() if k.startswith(ACCOUNT)} if account is not None else {}
    if not whole or site.cloud.rules.allows("object_store:reseller_admin", req.who, {}):
        return
    usage = dict(index.account_usage(home.account_id))
    for name, value in whole.items():
        policy = name.partition("policy-")[2]
        if policy and policy.lower() != NAMES[home.policy]:
            continue
        counts = "quota-count" in name
        mine = [u for i, u in usage.items() if not policy or i == home.policy]
        if sum(u.objects if counts else u.bytes for u in mine) + (1 if counts else size) > int(value):
            raise S3Error("EntityTooLarge", "Upload exceeds the account's quota.")
