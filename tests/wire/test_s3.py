"""The S3 API, driven by boto3 and by requests signed here."""

import asyncio
import hashlib
import io
import json
import os
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import nutshell.testing
from nutshell.object_store.s3 import checksums, chunked, messages
from nutshell.object_store.s3.errors import S3Error


@pytest.fixture(scope="module")
def cloud() -> Iterator[Any]:
    with nutshell.testing.cloud(allow_unanswered=True) as found:
        yield found


def client_of(cloud: Any, name: str = "admin", **config: Any) -> Any:
    connection = cloud.connection(name)
    user, project = connection.current_user_id, connection.current_project_id
    made = connection.identity.post(f"/users/{user}/credentials/OS-EC2", json={"tenant_id": project}).json()[
        "credential"
    ]
    return boto3.client(
        "s3",
        endpoint_url=f"{cloud.url}/s3",
        region_name="us-east-1",
        aws_access_key_id=made["access"],
        aws_secret_access_key=made["secret"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, **config),
    )


@pytest.fixture(scope="module")
def s3(cloud: Any) -> Any:
    return client_of(cloud)


@pytest.fixture(scope="module")
def other(cloud: Any) -> Any:
    return client_of(cloud, "demo")


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = "b-" + hashlib.sha1(request.node.name.encode()).hexdigest()[:12]
    s3.create_bucket(Bucket=name)
    return name


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as why:
        call(**arguments)
    return str(why.value.response["Error"]["Code"])


def test_an_object_keeps_its_bytes_and_metadata(s3: Any, bucket: str) -> None:
    key = "a/b ü+c.txt"
    put = s3.put_object(Bucket=bucket, Key=key, Body=b"hello", Metadata={"colour": "blue"}, ContentType="text/x")
    assert put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key=key)
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (b"hello", {"colour": "blue"}, "text/x")
    assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=1-3")["Body"].read() == b"ell"
    assert code(s3.get_object, Bucket=bucket, Key=key, Range="bytes=9-") == "InvalidRange"
    s3.delete_object(Bucket=bucket, Key=key)
    assert code(s3.get_object, Bucket=bucket, Key=key) == "NoSuchKey"


def test_a_multipart_object_is_whole_and_leaves_nothing(s3: Any, bucket: str, cloud: Any) -> None:
    data = os.urandom(11 << 20)
    s3.upload_fileobj(io.BytesIO(data), bucket, "big")
    head = s3.head_object(Bucket=bucket, Key="big")
    assert (head["ETag"][-3:], head["ContentLength"]) == ('-2"', len(data))
    assert s3.get_object(Bucket=bucket, Key="big")["Body"].read() == data
    across = s3.get_object(Bucket=bucket, Key="big", Range="bytes=8388600-8388615")["Body"].read()
    assert across == data[8388600:8388616]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/big")
    s3.delete_object(Bucket=bucket, Key="big")
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == data
    left = cloud.connection("admin").object_store.get(f"/{bucket}+segments?format=json")
    assert left.json() == []


def test_parts_are_checked_when_an_upload_is_completed(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    first = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x" * 10)["ETag"]
    second = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=2, Body=b"y")["ETag"]
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    asked = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    assert code(s3.complete_multipart_upload, **asked, MultipartUpload={"Parts": parts}) == "EntityTooSmall"
    assert code(s3.complete_multipart_upload, **asked, MultipartUpload={"Parts": parts[::-1]}) == "InvalidPartOrder"
    wrong = [{"PartNumber": 2, "ETag": first}]
    assert code(s3.complete_multipart_upload, **asked, MultipartUpload={"Parts": wrong}) == "InvalidPart"
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["k"]
    s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts[:1]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 10
    again = s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts[:1]})
    assert again["ETag"] == s3.head_object(Bucket=bucket, Key="k")["ETag"]
    assert code(s3.abort_multipart_upload, **asked) == "NoSuchUpload"


def test_an_empty_delimiter_is_repeated_in_the_listing_of_versions_alone(s3: Any, bucket: str) -> None:
    assert s3.list_object_versions(Bucket=bucket, Delimiter="")["Delimiter"] == ""
    assert "Delimiter" not in s3.list_object_versions(Bucket=bucket)
    assert "Delimiter" not in s3.list_objects_v2(Bucket=bucket, Delimiter="")


def test_versions_are_kept_and_come_back(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    two = s3.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=one)["Body"].read() == b"one"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"before"
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    assert code(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"
    listed = s3.list_object_versions(Bucket=bucket)
    assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [
        (two, False),
        (one, False),
        ("null", False),
    ]
    assert [m["IsLatest"] for m in listed["DeleteMarkers"]] == [True]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=two)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"one"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"after")
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"after"
    ids = [v["VersionId"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]]
    assert ids == ["null", one]
    assert code(s3.delete_bucket, Bucket=bucket) == "BucketNotEmpty"


@pytest.mark.parametrize("name", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
def test_checksums_are_held_against_the_bytes(s3: Any, bucket: str, name: str) -> None:
    running = checksums.accumulator(name)
    running.update(b"content")
    field, right = f"Checksum{name.upper()}", checksums.encoded(running)
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", **{field: right})
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[field] == right
    running.update(b"!")
    assert (
        code(s3.put_object, Bucket=bucket, Key="k", Body=b"content", **{field: checksums.encoded(running)})
        == "BadDigest"
    )


def test_the_checksum_of_a_whole_is_combined_from_its_parts() -> None:
    data = os.urandom(70_003)
    cuts = [data[:1000], data[1000:69_999], data[69_999:]]
    for name in ("crc32", "crc32c", "crc64nvme"):

        def digest(part: bytes, name: str = name) -> str:
            running = checksums.accumulator(name)
            running.update(part)
            return checksums.encoded(running)

        assert checksums.combine(name, [(digest(c), len(c)) for c in cuts]) == digest(data)


def test_pages_lead_to_the_end(s3: Any, bucket: str) -> None:
    keys = sorted(f"{folder}/{i}" for folder in "abc" for i in range(3))
    keys.append("top")
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert [o["Key"] for page in pages for o in page["Contents"]] == keys
    seen: list[str] = []
    for page in s3.get_paginator("list_objects").paginate(
        Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1}
    ):
        seen += [p["Prefix"] for p in page.get("CommonPrefixes", [])] + [o["Key"] for o in page.get("Contents", [])]
    assert seen == ["a/", "b/", "c/", "top"]


def test_conditional_writes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfMatch=etag) == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_another_project_needs_leave(s3: Any, other: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"mine")
    assert code(other.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert code(other.list_objects_v2, Bucket=bucket) == "AccessDenied"
    assert code(other.create_bucket, Bucket=bucket) == "BucketAlreadyExists"
    assert bucket not in [b["Name"] for b in other.list_buckets()["Buckets"]]
    person = other.list_buckets()["Owner"]["ID"]
    statement = {"Effect": "Allow", "Principal": {"AWS": person}, "Action": "s3:GetObject",
                 "Resource": f"arn:aws:s3:::{bucket}/*"}  # fmt: skip
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"
    assert code(other.put_object, Bucket=bucket, Key="k", Body=b"x") == "AccessDenied"
    s3.delete_bucket_policy(Bucket=bucket)
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"mine"
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [g["Permission"] for g in grants] == ["FULL_CONTROL", "READ"]


def test_nobody_reads_what_is_public_and_nothing_else(s3: Any, bucket: str, cloud: Any) -> None:
    s3.put_object(Bucket=bucket, Key="open", Body=b"for all", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="closed", Body=b"mine")
    with urllib.request.urlopen(f"{cloud.url}/s3/{bucket}/open") as answer:
        assert answer.read() == b"for all"
    with pytest.raises(urllib.error.HTTPError) as why:
        urllib.request.urlopen(f"{cloud.url}/s3/{bucket}/closed")
    assert why.value.code == 403


def test_a_wrong_secret_and_a_changed_url_are_refused(s3: Any, bucket: str, cloud: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    credentials = s3._request_signer._credentials
    wrong = boto3.client("s3", endpoint_url=f"{cloud.url}/s3", region_name="us-east-1",
                         aws_access_key_id=credentials.access_key, aws_secret_access_key="no")  # fmt: skip
    assert code(wrong.list_buckets) == "SignatureDoesNotMatch"
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"x"
    with pytest.raises(urllib.error.HTTPError) as why:
        urllib.request.urlopen(url.replace("/k?", "/other?"))
    assert why.value.code == 403


def test_the_older_signature(cloud: Any, bucket: str, s3: Any) -> None:
    s3.put_object(Bucket=bucket, Key="a b", Body=b"x")
    old = client_of(cloud, signature_version="s3")
    assert old.get_object(Bucket=bucket, Key="a b")["Body"].read() == b"x"


def test_a_form_uploads_what_its_policy_allows(s3: Any, bucket: str) -> None:
    import httpx

    form = s3.generate_presigned_post(bucket, "up/${filename}", Conditions=[["content-length-range", 1, 10]])
    done = httpx.post(form["url"], data=form["fields"], files={"file": ("name.txt", b"posted")})
    assert done.status_code == 204
    assert s3.get_object(Bucket=bucket, Key="up/name.txt")["Body"].read() == b"posted"
    large = httpx.post(form["url"], data=form["fields"], files={"file": ("name.txt", b"x" * 11)})
    assert large.status_code == 400
    assert "EntityTooLarge" in large.text
    more = httpx.post(form["url"], data=form["fields"] | {"acl": "public-read"}, files={"file": ("n", b"x")})
    assert more.status_code == 403


def test_documents_of_a_bucket(s3: Any, bucket: str) -> None:
    rules = [{"AllowedOrigins": ["https://*.example"], "AllowedMethods": ["GET"], "MaxAgeSeconds": 60}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    tags = [{"Key": "team", "Value": "blue"}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b=2")
    assert len(s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]) == 2
    assert code(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == "NoSuchLifecycleConfiguration"
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"
    s3.delete_bucket_cors(Bucket=bucket)
    s3.delete_bucket_tagging(Bucket=bucket)
    assert code(s3.get_bucket_cors, Bucket=bucket) == "NoSuchCORSConfiguration"
    assert code(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"


def test_lifecycle_rules_are_carried_out(s3: Any, bucket: str, cloud: Any) -> None:
    from nutshell.object_store.s3 import lifecycle
    from nutshell.object_store.s3.wiring import site_of

    for key in ("log/a", "log/b", "kept"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="log/c")["UploadId"]
    rule = {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "log/"}, "Expiration": {"Days": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}  # fmt: skip
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    assert lifecycle.sweep(site_of(cloud.state)) == 0
    cloud.clock.step(3 * 86400)
    assert lifecycle.sweep(site_of(cloud.state)) in (0, 3)  # the loop may have been first
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["kept"]
    assert code(s3.list_parts, Bucket=bucket, Key="log/c", UploadId=upload) == "NoSuchUpload"


def test_a_multipart_object_is_read_back_from_an_encrypted_store() -> None:
    with nutshell.testing.cloud({"object_store": {"encrypt": True}}, allow_unanswered=True) as cloud:
        s3 = client_of(cloud)
        s3.create_bucket(Bucket="sealed")
        data = os.urandom(9 << 20)
        s3.upload_fileobj(io.BytesIO(data), "sealed", "big")
        assert s3.head_object(Bucket="sealed", Key="big")["ETag"].endswith('-2"')
        assert s3.get_object(Bucket="sealed", Key="big")["Body"].read() == data


def test_quotas_of_a_container_hold_for_s3(s3: Any, bucket: str, cloud: Any) -> None:
    store = cloud.connection("admin").object_store
    assert store.post(f"/{bucket}", headers={"X-Container-Meta-Quota-Bytes": "10"}).status_code == 204
    s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 8)
    assert code(s3.put_object, Bucket=bucket, Key="b", Body=b"x" * 8) == "EntityTooLarge"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a"]


def test_odd_words_are_refused_and_change_nothing(s3: Any, bucket: str) -> None:
    long = "9" * 5000
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert code(s3.get_object, Bucket=bucket, Key="k", ResponseContentType="a\r\nSet-Cookie: b") == "InvalidArgument"
    assert s3.get_object(Bucket=bucket, Key="k", Range=f"bytes=0-{long}")["Body"].read() == b"x"
    assert code(s3.list_parts, Bucket=bucket, Key="k", UploadId="no", PartNumberMarker=5) == "NoSuchUpload"
    for condition in ("x", [1], {"StringEquals": []}, {"Never": {"aws:SourceIp": "::"}}):
        statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}",
                     "Condition": condition}  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        assert code(s3.put_bucket_policy, Bucket=bucket, Policy=policy) == "MalformedPolicy"
    assert code(s3.get_bucket_policy, Bucket=bucket) == "NoSuchBucketPolicy"


def test_a_document_type_is_refused() -> None:
    body = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&x;</Key></Object></Delete>'
    with pytest.raises(S3Error) as why:
        messages.parse(body, "Delete")
    assert why.value.code == "MalformedXML"


def test_several_ranges_come_in_parts(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"abcdefghij")
    got = s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-2,4-5,90-")
    body = got["Body"].read()
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentType"].startswith("multipart/byteranges")
    assert re.findall(rb"Content-Range: (.+)\r\n\r\n(.+)\r\n", body) == [
        (b"bytes 1-2/10", b"bc"),
        (b"bytes 4-5/10", b"ef"),
    ]
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=2-3,90-")["Body"].read() == b"cd"
    assert code(s3.get_object, Bucket=bucket, Key="k", Range="bytes=50-60,90-") == "InvalidRange"


def test_an_object_leaves_when_swifts_header_says(s3: Any, bucket: str, cloud: Any) -> None:
    signer = client_of(cloud, signature_version="s3v4")
    url = signer.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    for wrong in ({"x-delete-at": "soon"}, {"x-delete-after": "-5"}, {"x-delete-at": "12"}):
        status, said = _sent(url, b"x", wrong)
        assert (status, b"<Code>InvalidArgument<" in said) == (400, True), said
    assert _sent(url, b"x", {"x-delete-after": "60"})[0] == 200
    assert "swift-object-expiration" in s3.head_object(Bucket=bucket, Key="k")["Expiration"]
    cloud.clock.step(61)
    assert code(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"


def test_a_completed_upload_is_answered_again_for_the_same_parts_alone(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    tags = [
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=n, Body=b"x" * (5 << 20))["ETag"]
        for n in (1, 2)
    ]
    named = [{"ETag": tag, "PartNumber": n} for n, tag in enumerate(tags, 1)]
    asked = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    first = s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": named}, IfNoneMatch="*")
    again = s3.complete_multipart_upload(**asked, MultipartUpload={"Parts": named}, IfNoneMatch="*")
    assert first["ETag"] == again["ETag"]
    assert code(s3.complete_multipart_upload, **asked, MultipartUpload={"Parts": named[:1]}) == "NoSuchUpload"


def _sent(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    asked = urllib.request.Request(url, body, {"content-type": "", **headers}, method="PUT")
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as why:
        return why.code, why.read()


def test_chunks_belong_to_a_signature_in_the_header() -> None:
    presigned = chunked.Seed(b"", "", "", "", strict=False)
    headers = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "content-length": "11"}
    for said, wanted in (("", "MissingContentLength"), ("ten", "MissingContentLength"), ("1", "IncompleteBody")):
        asked = Lines(b"", 0).request
        asked.headers = {**headers, "x-amz-decoded-content-length": said}
        with pytest.raises(S3Error) as why:
            chunked.unwrap(asked, presigned, headers["x-amz-content-sha256"])
        assert why.value.code == wanted
    assert why.value.facts == {"NumberBytesExpected": "1", "NumberBytesProvided": "11"}


class Lines:
    """A body of an anonymous request in chunks, as the decoder reads it."""

    def __init__(self, body: bytes, length: int, trailer: str = "") -> None:
        kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        headers = {"x-amz-content-sha256": kind, "x-amz-decoded-content-length": str(length), "x-amz-trailer": trailer}
        self.sent = [{"type": "http.request", "body": bytes([b]), "more_body": True} for b in body]
        self.sent.append({"type": "http.request", "body": b"", "more_body": False})
        self.request = messages.Request("PUT", "/b/k", "", "b", "k", {}, headers, self.receive, "r")
        chunked.unwrap(self.request, None)

    async def receive(self) -> Any:
        return self.sent.pop(0)

    def read(self) -> bytes:
        return asyncio.run(self.request.read(100))


def test_what_follows_the_last_chunk_is_checked() -> None:
    for end in (b"", b"\r\n"):
        assert Lines(b"2\r\nhi\r\n0\r\n" + end, 2).read() == b"hi"
    told = Lines(b"2\r\nhi\r\n0\r\nX-Amz-Checksum-crc32: abc\r\n\r\n", 2, "x-amz-checksum-crc32,")
    assert told.read() == b"hi"
    assert told.request.trailer == {"x-amz-checksum-crc32": "abc"}
    for body, length, trailer, wanted in (
        (b"2\r\nhi\r\n0\r\n\r", 2, "", "IncompleteBody"),
        (b"2\r\nhi\r\n0\r\n\r\n", 3, "", "IncompleteBody"),
        (b"2\r\nhi\r\n0\r\nx-amz-checksum-crc32: abc\n", 2, "x-amz-checksum-crc32", "IncompleteBody"),
        (b"2\r\nhi\r\n0\r\nx-other: abc\r\n", 2, "x-amz-checksum-crc32", "MalformedTrailerError"),
        (b"2\r\nhi\r\n0\r\n\r\n", 2, "x-amz-checksum-crc32", "MalformedTrailerError"),
    ):
        with pytest.raises(S3Error) as why:
            Lines(body, length, trailer).read()
        assert why.value.code == wanted, body


def test_who_waits_to_send_a_body_and_is_refused_begins_a_new_connection(cloud: Any) -> None:
    place = urllib.parse.urlsplit(cloud.url)
    for path in ("/s3/no-such-bucket/k", "/object-store/v1/AUTH_none/c/k"):
        with socket.create_connection((place.hostname, place.port), timeout=10) as wire:
            wire.sendall(f"PUT {place.path}{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n".encode())
            wire.sendall(b"expect: 100-continue\r\n\r\n")
            answer = b""
            while piece := wire.recv(4096):  # the server ends it
                answer += piece
        assert b" 40" in answer.split(b"\r\n")[0]
        assert b"connection: close" in answer.lower()


def _sealed(cloud: Any, bucket: str, key: str) -> list[bool]:
    """Of each blob of an object, whether it lies encrypted."""
    from nutshell.object_store.s3 import parts
    from nutshell.object_store.s3.wiring import site_of

    site = site_of(cloud.state)
    found = site.registered(bucket)
    assert found is not None
    row = site.object(found, key)
    pieces = asyncio.run(parts.content(site.engine, found.account.id, row)) if row is not None else []
    return [bool(p.blob and p.blob.sealed) for p in pieces]


def test_what_is_asked_to_be_encrypted_is_and_nothing_else(s3: Any, bucket: str, cloud: Any) -> None:
    asked = {"ServerSideEncryption": "AES256"}
    for key, body in (("small", b"secret"), ("big", os.urandom(3 << 20))):
        assert s3.put_object(Bucket=bucket, Key=key, Body=body, **asked)["ServerSideEncryption"] == "AES256"
        got = s3.get_object(Bucket=bucket, Key=key, Range="bytes=2-4")
        assert (got["Body"].read(), got["ServerSideEncryption"]) == (body[2:5], "AES256")
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body
        assert _sealed(cloud, bucket, key) == [True]
    s3.put_object(Bucket=bucket, Key="plain", Body=b"open")
    assert "ServerSideEncryption" not in s3.head_object(Bucket=bucket, Key="plain")
    assert _sealed(cloud, bucket, "plain") == [False]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/plain", **asked)
    assert _sealed(cloud, bucket, "copy") == [True]
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"open"
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", **asked)
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload["UploadId"]}
    tag = s3.upload_part(**named, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"ETag": tag, "PartNumber": 1}]})
    assert s3.get_object(Bucket=bucket, Key="parts")["ServerSideEncryption"] == "AES256"
    assert _sealed(cloud, bucket, "parts") == [True]
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms") == "NotImplemented"
