"""Past versions, as Swift's object versioning keeps them too: the past lies in the index beside the present.

A row's version id is its timestamp; "null" for what was written while versions were not kept (a past one of those is
marked in `shown`). Source: S3 User Guide, "Using versioning in S3 buckets".
"""

import re
from typing import Any

import msgspec

from nutshell.object_store.rows import TICKS, ObjectRow, timestamp
from nutshell.object_store.s3 import parts
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.site import Bucket

NULL = {"null": True}
NEWEST = 1 << 62
MARKER_TYPE = "application/x-deleted;swift_versions_deleted=1"


def version_id(row: ObjectRow) -> str:
    return "null" if not row.version or row.shown.get("null") else timestamp(row.version)


def parse(text: str) -> int:
    """A version id as the index has it; 0 for "null"."""
    if text == "null":
        return 0
    m = re.fullmatch(r"(\d{1,12})\.(\d{5})", text)
    if m is None:
        raise S3Error("InvalidArgument", "Invalid version id specified", ArgumentName="versionId", ArgumentValue=text)
    return int(m[1]) * TICKS + int(m[2])


def find(index: Any, bucket: Bucket, key: str, text: str) -> tuple[ObjectRow, bool]:
    """(the version, whether it is the present). NoSuchVersion."""
    wanted = parse(text)
    row: ObjectRow | None = index.object(bucket.row.id, key)
    if row is not None and row.version == wanted:
        return row, True
    past = null_past(index, bucket, key) if not wanted else index.version(bucket.row.id, key, wanted)
    if past is None:
        raise S3Error("NoSuchVersion", Key=key, VersionId=text)
    return past, False


def past_of(index: Any, bucket: Bucket, key: str) -> list[ObjectRow]:
    """All of a key's past, the newest first."""
    found: list[ObjectRow] = []
    after = (key, NEWEST)
    while True:
        page = index.list_versions(bucket.row.id, after=after, prefix=key, limit=1000)
        mine = [r for r in page if r.name == key]
        found += mine
        if len(mine) < 1000:
            return found
        after = (key, mine[-1].version)


def null_past(index: Any, bucket: Bucket, key: str) -> ObjectRow | None:
    return next((r for r in past_of(index, bucket, key) if r.shown.get("null")), None)


def bury(index: Any, row: ObjectRow) -> None:
    """The present becomes past; its bytes stay when it is replaced or dropped."""
    index.share(row.blob)
    shown = row.shown if row.version else {**row.shown, **NULL}
    index.put_version(msgspec.structs.replace(row, version=row.version or row.ts, shown=shown))


def drop_null(index: Any, bucket: Bucket, key: str) -> None:
    """A new null version takes the place of the old one."""
    old = null_past(index, bucket, key)
    if old is not None:
        parts.release(index, bucket, old)
        index.drop_version(old)


def replace(index: Any, bucket: Bucket, row: ObjectRow, old: ObjectRow | None) -> ObjectRow:
    """Write the row under its name; what was there goes where the bucket's versioning says."""
    keeps = bucket.versioned
    row = msgspec.structs.replace(row, version=row.ts if keeps == "Enabled" else 0)
    if old is not None:
        if keeps == "Enabled" or (keeps and old.version):
            bury(index, old)
        else:
            parts.release(index, bucket, old)
    if keeps == "Suspended":
        drop_null(index, bucket, row.name)
    index.put_object(row, old)
    return row


def delete(index: Any, bucket: Bucket, key: str, now: int) -> ObjectRow | None:
    """Delete without naming a version: the marker that says so, where versions are kept."""
    row: ObjectRow | None = index.object(bucket.row.id, key)
    keeps = bucket.versioned
    if not keeps:
        if row is not None:
            parts.release(index, bucket, row)
            index.drop_object(row)
        return None
    if row is not None:
        if keeps == "Enabled" or row.version:
            bury(index, row)
        else:
            parts.release(index, bucket, row)
        index.drop_object(row)
    newest = index.list_versions(bucket.row.id, after=(key, NEWEST), prefix=key, limit=1)
    now = max(now, *(r.version + 1 for r in newest if r.name == key), row.ts + 1 if row is not None else 0, 0)
    if keeps == "Suspended":
        drop_null(index, bucket, key)
    marker = ObjectRow(bucket.row.id, key, now, 0, "", MARKER_TYPE, 0, {}, 0, now, "marker",
                       NULL if keeps == "Suspended" else {})  # fmt: skip
    index.put_version(marker)
    return marker


def delete_version(index: Any, bucket: Bucket, key: str, text: str) -> ObjectRow | None:
    """Delete one version for good; the newest one left becomes the present. None when there was none."""
    try:
        row, present = find(index, bucket, key, text)
    except S3Error as why:
        if why.code != "NoSuchVersion":
            raise
        return None
    parts.release(index, bucket, row)
    if present:
        index.drop_object(row)
    else:
        index.drop_version(row)
    if index.object(bucket.row.id, key) is None:
        left = [
            r for r in index.list_versions(bucket.row.id, after=(key, NEWEST), prefix=key, limit=1) if r.name == key
        ]
        if left and left[0].kind != "marker":
            _raise(index, left[0])
    return row


def _raise(index: Any, row: ObjectRow) -> None:
    """The newest of the past becomes the present again."""
    index.share(row.blob)
    index.drop_version(row)
    null = bool(row.shown.get("null"))
    shown = {k: v for k, v in row.shown.items() if k != "null"}
    index.put_object(msgspec.structs.replace(row, version=0 if null else row.version, shown=shown), None)
