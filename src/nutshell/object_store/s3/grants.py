"""Access control lists of buckets and objects (S3 API Reference, "Access control list (ACL) overview").

Kept as JSON: a list of [grantee, permission]; a grantee is a person ("project:user", a user's or a project's id) or
the URI of a group. Owners are not in the list: the bucket's project always may.
"""

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from nutshell.object_store.rows import ObjectRow
from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import XSI, Node, Request, parse, text_in

if TYPE_CHECKING:
    from nutshell.object_store.s3.site import Bucket

EVERYONE = "http://acs.amazonaws.com/groups/global/AllUsers"
KNOWN = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
PERMISSIONS = ("FULL_CONTROL", "WRITE", "READ", "WRITE_ACP", "READ_ACP")
HEADERS = {f"x-amz-grant-{p.lower().replace('_', '-')}": p for p in PERMISSIONS}
Grants = list[tuple[str, str]]
CANNED: dict[str, Grants] = {
    "private": [],
    "public-read": [(EVERYONE, "READ")],
    "public-read-write": [(EVERYONE, "READ"), (EVERYONE, "WRITE")],
    "authenticated-read": [(KNOWN, "READ")],
    "bucket-owner-read": [],
    "bucket-owner-full-control": [],
    "log-delivery-write": [],
}
# Which permission of which list admits an action.
OBJECT_ACTIONS = {
    "s3:GetObject": "READ", "s3:GetObjectVersion": "READ", "s3:GetObjectTagging": "READ",
    "s3:GetObjectAcl": "READ_ACP", "s3:PutObjectAcl": "WRITE_ACP",
}  # fmt: skip
BUCKET_ACTIONS = {
    "s3:ListBucket": "READ", "s3:ListBucketVersions": "READ", "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE", "s3:DeleteObject": "WRITE", "s3:AbortMultipartUpload": "WRITE",
    "s3:GetBucketAcl": "READ_ACP", "s3:PutBucketAcl": "WRITE_ACP",
}  # fmt: skip


def admits(bucket: "Bucket", row: ObjectRow | None, req: Request, action: str) -> bool:
    wanted = BUCKET_ACTIONS.get(action)
    if wanted is not None:
        return _has(bucket.document("acl"), wanted, req)
    wanted = OBJECT_ACTIONS.get(action)
    if wanted is None or row is None:
        return False
    return _has(row.meta.get("x-object-sysmeta-s3-acl", ""), wanted, req)


def _has(written: str, permission: str, req: Request) -> bool:
    if not written:
        return False
    mine = {EVERYONE}
    if req.who.user_id:
        mine |= {KNOWN, *req.names}
    return any(g in mine and p in (permission, "FULL_CONTROL") for g, p in json.loads(written))


def from_headers(req: Request) -> str | None:
    """What x-amz-acl or x-amz-grant-* say, as it is kept; None when they say nothing."""
    canned = req.headers.get("x-amz-acl")
    given = [(h, p) for h, p in HEADERS.items() if h in req.headers]
    if canned is not None:
        if given:
            raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
        if canned not in CANNED:
            raise S3Error("InvalidArgument", ArgumentName="x-amz-acl", ArgumentValue=canned)
        return json.dumps(CANNED[canned])
    if not given:
        return None
    found: Grants = []
    for header, permission in given:
        for item in req.headers[header].split(","):
            kind, equals, value = item.strip().partition("=")
            if not equals or kind.strip().lower() not in ("id", "uri"):
                raise S3Error("InvalidArgument", "Grantees are named by id= or uri=", ArgumentName=header,
                              ArgumentValue=item.strip())  # fmt: skip
            found.append((_grantee(kind.strip().lower(), value.strip().strip('"')), permission))
    return json.dumps(found)


def _grantee(kind: str, value: str) -> str:
    if kind == "uri" and value not in (EVERYONE, KNOWN):
        raise S3Error("InvalidArgument", "Invalid group uri", ArgumentName="uri", ArgumentValue=value)
    if not value:
        raise S3Error("InvalidArgument", "Invalid id")
    return value


def from_body(raw: bytes, owner: str) -> str:
    """An AccessControlPolicy document."""
    root = parse(raw, "AccessControlPolicy", "MalformedACLError")
    if text_in(root, "Owner/ID") not in (owner, ""):
        raise S3Error("AccessDenied")
    if root.find("AccessControlList") is None:
        raise S3Error("MalformedACLError")
    found: Grants = []
    for grant in root.iterfind("AccessControlList/Grant"):
        permission, grantee = text_in(grant, "Permission"), grant.find("Grantee")
        if permission not in PERMISSIONS or grantee is None:
            raise S3Error("MalformedACLError")
        found.append((_named(grantee), permission))
    return json.dumps([g for g in found if g != (owner, "FULL_CONTROL")])


def _named(grantee: ET.Element) -> str:
    uri, person = text_in(grantee, "URI"), text_in(grantee, "ID")
    if uri:
        return _grantee("uri", uri)
    if not person:
        raise S3Error("MalformedACLError")
    return person


def document(owner: str, written: str) -> list[Node]:
    """What AccessControlPolicy holds."""
    given: Grants = [(owner, "FULL_CONTROL"), *((g, p) for g, p in json.loads(written or "[]"))]
    nodes: list[Node] = []
    for grantee, permission in given:
        group = grantee.startswith("http://")
        kind = "Group" if group else "CanonicalUser"
        inner: list[Node] = [("URI", grantee)] if group else [("ID", grantee), ("DisplayName", grantee)]
        head = f'Grantee xmlns:xsi="{XSI}" xsi:type="{kind}"'
        nodes.append(("Grant", [(head, inner), ("Permission", permission)]))
    return [("Owner", [("ID", owner), ("DisplayName", owner)]), ("AccessControlList", nodes)]
