"""Every operation of the S3 API as a request that would succeed for the bucket's owner, from the API's own tables."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from nutshell.object_store.s3.application import BUCKET, OBJECT

KEY, MISSING = "thing", "other"
XML = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class Operation:
    """`$upload`, `$version` and `$bucket` in query and headers are filled in; `on_object`: the path has a key."""

    name: str
    method: str
    on_object: bool
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


GRANTS = b"""<AccessControlPolicy><Owner/><AccessControlList><Grant><Grantee>
<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"""
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
POLICY = (b'{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*",'
          b' "Resource": ["arn:aws:s3:::$bucket", "arn:aws:s3:::$bucket/*"]}]}')  # fmt: skip
BODIES: Mapping[str, bytes] = {
    "PUT versioning": b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>",
    "PUT acl": GRANTS,
    "PUT policy": POLICY,
    "PUT tagging": TAGS,
    "PUT cors": b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    b"</CORSRule></CORSConfiguration>",
    "PUT lifecycle": b"<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>x</Prefix></Filter>"
    b"<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
    "POST delete": b"<Delete><Object><Key>thing</Key></Object></Delete>",
    "POST uploadId": b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>$etag</ETag></Part>"
    b"</CompleteMultipartUpload>",
    "PUT uploadId": b"part",
}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "GET attributes": {"x-amz-object-attributes": "ETag,ObjectSize,ObjectParts"},
    "POST delete": {"Content-MD5": base64.b64encode(hashlib.md5(BODIES["POST delete"]).digest()).decode()},
}
FORM = "a form is authorised by its own policy, not by a signature: tests/wire/test_s3.py"
NOT_ASKED = {("POST", ""): FORM}  # of buckets


def operations() -> list[Operation]:
    found = []
    for on_object, table in ((False, BUCKET), (True, OBJECT)):
        for method, sub in table:
            if not on_object and (method, sub) in NOT_ASKED:
                continue
            said = f"{method} {sub}".strip()
            query = {sub: "$upload" if sub == "uploadId" else ""} if sub else {}
            if said == "PUT uploadId":
                query["partNumber"] = "1"
            place = "/bucket/key" if on_object else "/bucket"
            name = f"{method} {place}" + (f"?{sub}" if sub else "")
            found.append(Operation(name, method, on_object, query, BODIES.get(said, b""), HEADERS.get(said, {})))
    found += [
        Operation("PUT /bucket/key", "PUT", True, {}, b"mine"),
        Operation("PUT /bucket/key from itself", "PUT", True, {}, b"", {"x-amz-copy-source": "/$bucket/$key",
                                                                   "x-amz-metadata-directive": "REPLACE"}),
        Operation("PUT /bucket/key?uploadId from itself", "PUT", True, {"uploadId": "$upload", "partNumber": "2"}, b"",
                  {"x-amz-copy-source": "/$bucket/$key"}),
        Operation("GET /bucket?list-type=2", "GET", False, {"list-type": "2", "prefix": "th"}),
        *(Operation(f"{method} /bucket/key?versionId", method, True, {"versionId": "$version"})
          for method in ("GET", "HEAD", "DELETE")),
    ]  # fmt: skip
    return found
