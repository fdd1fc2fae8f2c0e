"""Expiration rules of buckets, and the sweep that carries them out.

Rules may expire objects by age or date, remove past versions, and abort uploads; transitions to other storage classes
are refused: there is one class. Source: S3 API Reference, "PutBucketLifecycleConfiguration".
"""

import calendar
import json
import time
import xml.etree.ElementTree as ET
from typing import Any

from nutshell.object_store.rows import TICKS, ContainerRow, ObjectRow
from nutshell.object_store.s3 import parts, versions
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Node, parse, text_in
from nutshell.object_store.s3.site import REGISTRY, Bucket, Site

DAY_S = 86400
PAGE = 1000


def accept(raw: bytes) -> str:
    root = parse(raw, "LifecycleConfiguration")
    rules = [_rule(element) for element in root.iterfind("Rule")]
    if not 1 <= len(rules) <= 1000:
        raise S3Error("MalformedXML")
    names = [r["ID"] for r in rules if r["ID"]]
    if len(set(names)) != len(names):
        raise S3Error("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule")
    for number, rule in enumerate(rules):
        rule["ID"] = rule["ID"] or f"rule-{number + 1}"
    return json.dumps(rules)


def _rule(element: ET.Element) -> dict[str, Any]:
    for name in ("Transition", "NoncurrentVersionTransition"):
        if element.find(name) is not None:
            raise S3Error("NotImplemented", "There is one storage class: rules may expire, not move.")
    status = text_in(element, "Status")
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML")
    rule: dict[str, Any] = {
        "ID": text_in(element, "ID"),
        "Status": status,
        "filtered": element.find("Filter") is not None,
    }
    if len(rule["ID"]) > 255:
        raise S3Error("InvalidArgument", "ID length should not exceed allowed limit of 255")
    where = element.find("Filter")
    both = where.find("And") if where is not None else None
    source = both if both is not None else where if where is not None else element
    rule["Prefix"] = source.findtext("Prefix") or ""
    rule["Tags"] = [[t.findtext("Key") or "", t.findtext("Value") or ""] for t in source.iterfind("Tag")]
    for name in ("ObjectSizeGreaterThan", "ObjectSizeLessThan"):
        text = text_in(source, name)
        if text:
            rule[name] = _number(text, 0)
    expiry = element.find("Expiration")
    if expiry is not None:
        rule["Expiration"] = _expiration(expiry)
    past = element.find("NoncurrentVersionExpiration")
    if past is not None:
        rule["NoncurrentDays"] = _number(text_in(past, "NoncurrentDays"), 1)
        kept = text_in(past, "NewerNoncurrentVersions")
        rule["NewerNoncurrentVersions"] = _number(kept, 1) if kept else 0
    uploads = element.find("AbortIncompleteMultipartUpload")
    if uploads is not None:
        rule["DaysAfterInitiation"] = _number(text_in(uploads, "DaysAfterInitiation"), 1)
    if not rule.keys() & {"Expiration", "NoncurrentDays", "DaysAfterInitiation"}:
        raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule")
    return rule


def _number(text: str, least: int) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise S3Error("MalformedXML")
    if int(text) < least:
        raise S3Error("InvalidArgument", "A lifecycle period must be a positive integer")
    return int(text)


def _expiration(element: ET.Element) -> dict[str, Any]:
    days, date, marker = (text_in(element, n) for n in ("Days", "Date", "ExpiredObjectDeleteMarker"))
    if sum(bool(v) for v in (days, date, marker)) != 1:
        raise S3Error("MalformedXML")
    if days:
        return {"Days": _number(days, 1)}
    if marker:
        return {"ExpiredObjectDeleteMarker": marker}
    try:
        when = calendar.timegm(time.strptime(date[:10], "%Y-%m-%d"))
    except ValueError:
        raise S3Error("MalformedXML") from None
    if len(date) > 10 and not date[10:].startswith("T00:00:00"):
        raise S3Error("InvalidArgument", "'Date' must be at midnight GMT")
    return {"Date": when}


def document(written: str) -> list[Node]:
    nodes: list[Node] = []
    for rule in json.loads(written):
        inner: list[Node] = [("ID", rule["ID"])]
        where: list[Node] = [("Prefix", rule["Prefix"])] if rule["Prefix"] or not rule["filtered"] else []
        where += [("Tag", [("Key", k), ("Value", v)]) for k, v in rule["Tags"]]
        where += [(n, str(rule[n])) for n in ("ObjectSizeGreaterThan", "ObjectSizeLessThan") if n in rule]
        if rule["filtered"]:
            inner.append(("Filter", [("And", where)] if len(where) > 1 else where))
        else:
            inner += where
        inner.append(("Status", rule["Status"]))
        expiry = rule.get("Expiration")
        if expiry:
            if "Date" in expiry:
                text = time.strftime("%Y-%m-%dT00:00:00.000Z", time.gmtime(expiry["Date"]))
                inner.append(("Expiration", [("Date", text)]))
            else:
                inner.append(("Expiration", [(k, str(v)) for k, v in expiry.items()]))
        if "NoncurrentDays" in rule:
            said: list[Node] = [("NoncurrentDays", str(rule["NoncurrentDays"]))]
            if rule["NewerNoncurrentVersions"]:
                said.append(("NewerNoncurrentVersions", str(rule["NewerNoncurrentVersions"])))
            inner.append(("NoncurrentVersionExpiration", said))
        if "DaysAfterInitiation" in rule:
            days: list[Node] = [("DaysAfterInitiation", str(rule["DaysAfterInitiation"]))]
            inner.append(("AbortIncompleteMultipartUpload", days))
        nodes.append(("Rule", inner))
    return nodes


# -- the loop
def sweep(site: Site) -> int:
    """Carry out every bucket's rules: how many things went. Blocks; a page of objects a transaction."""
    registry, _ = site.engine.find(REGISTRY, "")
    if registry is None:
        return 0
    gone, after = 0, ""
    while True:
        page = site.engine.read(
            lambda i, after=after: i.list_containers(  # type: ignore[misc]
                registry.id, after=after, until="", prefix="", limit=PAGE, reverse=False
            )
        )
        for entry, _ in page:
            bucket = site.registered(entry.name)
            if bucket is not None and bucket.document("lifecycle"):
                gone += _sweep_bucket(site, bucket)
        if len(page) < PAGE:
            return gone
        after = page[-1][0].name


def _sweep_bucket(site: Site, bucket: Bucket) -> int:
    gone = 0
    for rule in json.loads(bucket.document("lifecycle")):
        if rule["Status"] != "Enabled":
            continue
        if rule.get("Expiration"):
            gone += _expire_present(site, bucket, rule)
        if "NoncurrentDays" in rule or "ExpiredObjectDeleteMarker" in rule.get("Expiration", {}):
            gone += _expire_past(site, bucket, rule)
        if "DaysAfterInitiation" in rule:
            gone += _abort_left(site, bucket, rule)
    return gone


def _midnight(ticks: int, days: int) -> float:
    """When something of this age is over: the midnight after that many days."""
    return (ticks // TICKS // DAY_S + 1 + days) * DAY_S


def _meant(rule: dict[str, Any], row: ObjectRow) -> bool:
    if not row.name.startswith(rule["Prefix"]):
        return False
    if row.size <= rule.get("ObjectSizeGreaterThan", -1) or row.size >= rule.get("ObjectSizeLessThan", 1 << 62):
        return False
    tags = json.loads(row.meta.get("x-object-sysmeta-s3-tags", "[]"))
    return all(tag in tags for tag in rule["Tags"])


def _expire_present(site: Site, bucket: Bucket, rule: dict[str, Any]) -> int:
    now, expiry = site.cloud.clock.now(), rule["Expiration"]

    def over(row: ObjectRow) -> bool:
        if "Date" in expiry:
            return bool(now >= expiry["Date"])
        return "Days" in expiry and now >= _midnight(row.ts, expiry["Days"])

    gone, after = 0, ""
    while True:
        rows = site.engine.read(
            lambda i, after=after: i.list_objects(  # type: ignore[misc]
                bucket.row.id, after=after, until="", prefix=rule["Prefix"], limit=PAGE, reverse=False
            )
        )
        due = [r for r in rows if _meant(rule, r) and over(r)]
        if due:
            gone += site.engine.change_now(lambda i, due=due: _delete_each(site, i, bucket, due))  # type: ignore[misc]
        if len(rows) < PAGE:
            return gone
        after = rows[-1].name


def _delete_each(site: Site, index: Any, bucket: Bucket, due: list[ObjectRow]) -> int:
    """Those that are still what they were."""
    gone = 0
    for row in due:
        found = index.object(bucket.row.id, row.name)
        if found is not None and found.ts == row.ts:
            versions.delete(index, bucket, row.name, site.now())
            gone += 1
    return gone


def _expire_past(site: Site, bucket: Bucket, rule: dict[str, Any]) -> int:
    """Past versions past their time, counted from when they became past; markers that hide nothing any more."""
    now = site.cloud.clock.now()
    due: list[ObjectRow] = []
    after: tuple[str, int] = ("", 0)
    name, newer, since = "", 0, 0
    while True:
        rows = site.engine.read(
            lambda i, after=after: i.list_versions(bucket.row.id, after=after, prefix=rule["Prefix"], limit=PAGE)  # type: ignore[misc]
        )
        for row in rows:
            if row.name != name:
                name, newer = row.name, 0
                key = name
                present = site.engine.read(lambda i, key=key: i.object(bucket.row.id, key))  # type: ignore[misc]
                since = present.ts if present is not None else 0
            if since and "NoncurrentDays" in rule and _meant(rule, row):
                if newer >= rule["NewerNoncurrentVersions"] and now >= _midnight(since, rule["NoncurrentDays"]):
                    due.append(row)
                newer += 1
            elif (
                not since
                and rule.get("Expiration", {}).get("ExpiredObjectDeleteMarker") == "true"
                and _alone(site, bucket, row)
            ):
                due.append(row)
            since = row.ts
        if len(rows) < PAGE:
            break
        after = (rows[-1].name, rows[-1].version)
    for start in range(0, len(due), PAGE):
        part = due[start : start + PAGE]
        site.engine.change_now(lambda i, part=part: _drop_each(i, bucket, part))  # type: ignore[misc]
    return len(due)


def _alone(site: Site, bucket: Bucket, row: ObjectRow) -> bool:
    """Whether a marker hides nothing any more."""
    return row.kind == "marker" and len(site.engine.read(lambda i: versions.past_of(i, bucket, row.name))) == 1


def _drop_each(index: Any, bucket: Bucket, due: list[ObjectRow]) -> None:
    for row in due:
        found = index.version(bucket.row.id, row.name, row.version)
        if found is not None:
            parts.release(index, bucket, found)
            index.drop_version(found)


def _abort_left(site: Site, bucket: Bucket, rule: dict[str, Any]) -> int:
    home: ContainerRow | None = site.engine.find(bucket.account.name, bucket.name + parts.SEGMENTS)[1]
    if home is None:
        return 0
    now, gone, after = site.cloud.clock.now(), 0, ""
    while True:
        rows = site.engine.read(
            lambda i, after=after: i.list_objects(  # type: ignore[misc]
                home.id, after=after, until="", prefix=rule["Prefix"], limit=PAGE, reverse=False
            )
        )
        old = [r for r in rows if r.kind == "upload" and now >= _midnight(r.ts, rule["DaysAfterInitiation"])]
        for row in old:
            site.engine.change_now(lambda i, row=row: _abort(i, home, row))  # type: ignore[misc]
            gone += 1
        if len(rows) < PAGE:
            return gone
        after = rows[-1].name


def _abort(index: Any, home: ContainerRow, row: ObjectRow) -> None:
    if index.object(home.id, row.name) is not None:
        index.drop_object(row)
        parts.drop_all(index, home.id, row.name + "/")
