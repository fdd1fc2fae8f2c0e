"""Uploads from a browser's form (S3 API Reference, "Browser-based uploads using POST")."""

import base64
import binascii
import calendar
import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from nutshell.identity.port import Ec2Credential
from nutshell.object_store.numbers import count
from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.s3 import grants, objects, signing, versions, writes
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, xml
from nutshell.object_store.s3.site import SEALED, Bucket, Site

MOST_FIELDS = 20 << 10
FREE = ("policy", "x-amz-signature", "signature", "awsaccesskeyid", "file", "bucket")  # no condition need name them


def is_form(req: Request) -> bool:
    return (
        not req.key
        and "delete" not in req.query
        and req.headers.get("content-type", "").startswith("multipart/form-data")
    )


async def post(site: Site, req: Request) -> Answer:
    if not is_form(req):
        raise S3Error("InvalidRequest", "Bucket POST must be of the enclosure-type multipart/form-data", 412)
    form = _Form(req)
    fields, filename = await form.fields()
    key = fields.get("key", "")
    if not key:
        raise S3Error(
            "InvalidArgument", "Bucket POST must contain a field named 'key'.", ArgumentName="key", ArgumentValue=""
        )
    req.key = key.replace("${filename}", filename)
    fields["key"], fields["bucket"] = req.key, req.bucket
    sizes = _authenticate(site, req, fields)
    req.headers = {**_headers(fields), "host": req.headers.get("host", "")}
    bucket = site.bucket(req, "s3:PutObject")
    writes.check_key(req.key)
    row = await _store(site, req, bucket, form.content(), sizes)
    return _answer(req, fields, bucket, row)


async def _store(
    site: Site, req: Request, bucket: Bucket, content: AsyncIterator[bytes], sizes: tuple[int, int]
) -> ObjectRow:
    meta = {**writes.metadata_from(req), **writes.own_facts(req)}
    kind = req.headers.get("content-type") or "binary/octet-stream"
    name = f"{bucket.account.name}/{bucket.name}/{req.key}"
    async with site.engine.upload(name, bucket.row.policy, seal=SEALED in meta) as up:
        async for piece in content:
            if up.size + len(piece) > sizes[1]:
                raise S3Error("EntityTooLarge", MaxSizeAllowed=str(sizes[1]))
            await up.feed(piece)
        if up.size < sizes[0]:
            raise S3Error("EntityTooSmall", ProposedSize=str(up.size), MinSizeAllowed=str(sizes[0]))
        staged = await up.finish()
        draft = ObjectRow(bucket.row.id, req.key, 0, staged.size, staged.md5, kind, 0, meta)
        return await site.engine.change(writes.placing(site, req, bucket, draft, staged))


def _headers(fields: Mapping[str, str]) -> dict[str, str]:
    """Fields that stand for headers of a PUT."""
    plain = ("content-type", writes.SEALING, *objects.KEPT)
    out = {k: v for k, v in fields.items() if k.startswith("x-amz-meta-") or k in plain}
    if "acl" in fields:
        out["x-amz-acl"] = fields["acl"]
        grants.from_headers(Request("POST", "", "", "", "", {}, out, _nothing, ""))
    if fields.get("tagging"):
        pairs = re.findall(r"<Key>([^<]*)</Key>\s*<Value>([^<]*)</Value>", fields["tagging"])
        out["x-amz-tagging"] = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in pairs)
    return out


async def _nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _answer(req: Request, fields: Mapping[str, str], bucket: Bucket, row: ObjectRow) -> Answer:
    headers = {"etag": objects.etag_of(row)}
    if bucket.versioned == "Enabled":
        headers["x-amz-version-id"] = versions.version_id(row)
    req.bare_path = f"/{req.bucket}/{quote(req.key)}"
    headers["location"] = objects.location(req)
    target = fields.get("success_action_redirect") or fields.get("redirect", "")
    if target.startswith(("http://", "https://")):
        joint = "&" if "?" in target else "?"
        etag = quote(objects.etag_of(row), safe="")
        headers["location"] = (
            f"{target}{joint}bucket={quote(req.bucket, safe='')}&key={quote(req.key, safe='')}&etag={etag}"
        )
        return Answer(303, headers)
    status = fields.get("success_action_status", "204")
    if status == "201":
        nodes: list[Node] = [("Location", headers["location"]), ("Bucket", req.bucket), ("Key", req.key),
                             ("ETag", objects.etag_of(row))]  # fmt: skip
        return xml("PostResponse", nodes, 201, headers)
    return Answer(200 if status == "200" else 204, headers)


# -- who, and under which conditions
def _authenticate(site: Site, req: Request, fields: Mapping[str, str]) -> tuple[int, int]:
    """Check the signature over the policy and its conditions: the sizes it allows. Without any, nobody asks."""
    policy = fields.get("policy", "")
    if "x-amz-signature" in fields or "x-amz-credential" in fields:
        found = _four(site, fields, policy)
    elif "signature" in fields or "awsaccesskeyid" in fields:
        found = signing.credential(site.cloud, fields.get("awsaccesskeyid", ""))
        digest = hmac.new(found.secret.encode(), policy.encode(), hashlib.sha1).digest()
        if not hmac.compare_digest(base64.b64encode(digest).decode(), fields.get("signature", "")):
            raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=found.access)
    elif policy:
        raise S3Error("InvalidArgument", "Bucket POST must contain a field named 'AWSAccessKeyId'.")
    else:
        return 0, writes.MOST_BYTES
    if not policy:
        raise S3Error("AccessDenied", "A signed form needs a policy.")
    req.who, req.access = found.who, found.access
    return _conditions(site, policy, fields)


def _four(site: Site, fields: Mapping[str, str], policy: str) -> Ec2Credential:
    parts = fields.get("x-amz-credential", "").rsplit("/", 4)
    if fields.get("x-amz-algorithm") != signing.ALGORITHM or len(parts) != 5 or parts[4] != "aws4_request":
        raise S3Error("InvalidArgument", "X-Amz-Algorithm or X-Amz-Credential is malformed.")
    found = signing.credential(site.cloud, parts[0])
    key = found.signing_key(parts[1], parts[2], parts[3])
    right = hmac.new(key, policy.encode(), hashlib.sha256).hexdigest()
    if parts[2] not in site.regions or not hmac.compare_digest(right, fields.get("x-amz-signature", "")):
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=found.access)
    return found


def _conditions(site: Site, policy: str, fields: Mapping[str, str]) -> tuple[int, int]:
    try:
        found = json.loads(base64.b64decode(policy, validate=True))
        ends = calendar.timegm(time.strptime(found["expiration"][:19], "%Y-%m-%dT%H:%M:%S"))
        conditions = list(found["conditions"])
    except (binascii.Error, ValueError, KeyError, TypeError, RecursionError):
        raise S3Error("InvalidPolicyDocument", "Invalid Policy: Invalid JSON.") from None
    if site.cloud.clock.real() > ends:
        raise S3Error("AccessDenied", "Invalid according to Policy: Policy expired.")
    named: set[str] = set()
    sizes = (0, writes.MOST_BYTES)
    for condition in conditions:
        terms = [["eq", "$" + k, v] for k, v in condition.items()] if isinstance(condition, dict) else [condition]
        for term in terms:
            sizes = _condition(term, fields, named, sizes)
    for name in fields:
        if name not in named and name not in FREE and not name.startswith("x-ignore-"):
            raise S3Error("AccessDenied", f"Invalid according to Policy: Extra input fields: {name}")
    return sizes


def _condition(term: Any, fields: Mapping[str, str], named: set[str], sizes: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(term, list) or len(term) != 3:
        raise S3Error("InvalidPolicyDocument")
    operator, name, value = str(term[0]).lower(), term[1], term[2]
    if operator == "content-length-range":
        least, most = count(str(name)), count(str(value))
        if least is None or most is None:
            raise S3Error("InvalidPolicyDocument")
        return least, min(most, writes.MOST_BYTES)
    field = str(name).removeprefix("$").lower()
    named.add(field)
    have = fields.get(field, "")
    right = have == value if operator == "eq" else operator == "starts-with" and have.startswith(str(value))
    if not right:
        raise S3Error("AccessDenied", f"Invalid according to Policy: Policy Condition failed: {json.dumps(term)}")
    return sizes


class _Form:
    """multipart/form-data, read as it comes: the fields, then the file's bytes (RFC 7578)."""

    def __init__(self, req: Request) -> None:
        m = re.search(r'boundary="?([^";,]{1,70})"?', req.headers["content-type"])
        if m is None:
            raise S3Error("MalformedPOSTRequest")
        self._mark = b"\r\n--" + m[1].encode("latin1", "replace")
        self._source = req.raw_chunks()
        self._buffer = bytearray(b"\r\n")

    async def _more(self) -> None:
        async for piece in self._source:
            self._buffer += piece
            return
        raise S3Error("MalformedPOSTRequest")

    async def fields(self) -> tuple[dict[str, str], str]:
        """(the fields by lower-case name, the file's name); the file's bytes come next."""
        found: dict[str, str] = {}
        size = 0
        await self._until(self._mark)
        while True:
            head = await self._until(b"\r\n\r\n")
            if head.startswith(b"--"):
                raise S3Error("InvalidArgument", "POST requires exactly one file upload per request.",
                              ArgumentName="file", ArgumentValue="0")  # fmt: skip
            name, filename = _names(head)
            if name == "file":
                return found, filename
            value = await self._until(self._mark)
            size += len(name) + len(value)
            if size > MOST_FIELDS:
                raise S3Error(
                    "MaxPostPreDataLengthExceeded", "Your POST request fields preceding the file were too large."
                )
            found.setdefault(name, value.decode("utf-8", "replace"))

    async def _until(self, mark: bytes) -> bytes:
        while True:
            at = self._buffer.find(mark)
            if at >= 0:
                found = bytes(self._buffer[:at])
                del self._buffer[: at + len(mark)]
                return found
            if len(self._buffer) > MOST_FIELDS + 4096:
                raise S3Error("MaxPostPreDataLengthExceeded")
            await self._more()

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes, up to the next boundary."""
        hold = len(self._mark)
        while True:
            at = self._buffer.find(self._mark)
            if at >= 0:
                if at:
                    yield bytes(self._buffer[:at])
                return
            if len(self._buffer) > hold:
                ready = bytes(self._buffer[:-hold])
                del self._buffer[:-hold]
                yield ready
            await self._more()


def _names(head: bytes) -> tuple[str, str]:
    """(field, file name) of a part's headers."""
    text = head.decode("utf-8", "replace")
    m = re.search(r'content-disposition:[^\r\n]*?\bname="((?:[^"\\]|\\.)*)"', text, re.IGNORECASE)
    if m is None:
        raise S3Error("MalformedPOSTRequest")
    f = re.search(r'filename="((?:[^"\\]|\\.)*)"', text, re.IGNORECASE)
    return m[1].lower(), f[1].replace("\\", "/").rpartition("/")[2] if f else ""
