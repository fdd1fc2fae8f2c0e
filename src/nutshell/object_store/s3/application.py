"""The S3 API as an ASGI application: from the socket to the operation and back."""

import logging
import os
import time
import typing as t
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_to_bytes

from nutshell.core.http import lifespan
from nutshell.core.trace import Traces
from nutshell.object_store.failing import answered
from nutshell.object_store.s3 import (
    buckets,
    cors,
    documents,
    forms,
    listings,
    multipart,
    objects,
    quotas,
    signing,
    writes,
)
from nutshell.object_store.s3.errors import NotModified, S3Error
from nutshell.object_store.s3.messages import Answer, Request, error_answer
from nutshell.object_store.s3.site import Site
from nutshell.object_store.settings import ObjectStoreConfig
from nutshell.object_store.sockets import draw_of, end_after, patient, send_answer, sends_parts

log = logging.getLogger("nutshell.object_store")
Scope = t.MutableMapping[str, t.Any]
Operation = t.Callable[[Site, Request], t.Awaitable[Answer]]

# (method, the subresource of the query or "") → operation; the first that the query names counts.
BUCKET: Mapping[tuple[str, str], Operation] = {
    ("GET", "acl"): documents.get_bucket_acl, ("PUT", "acl"): documents.put_bucket_acl,
    ("GET", "location"): documents.get_location,
    ("GET", "versioning"): documents.get_versioning, ("PUT", "versioning"): documents.put_versioning,
    ("GET", "versions"): listings.list_versions, ("GET", "uploads"): multipart.list_uploads,
    ("GET", "policyStatus"): documents.get_policy_status,
    ("GET", "policy"): documents.get_policy, ("PUT", "policy"): documents.put_policy,
    ("DELETE", "policy"): documents.delete_policy,
    ("GET", "cors"): documents.get_cors, ("PUT", "cors"): documents.put_cors, ("DELETE", "cors"): documents.delete_cors,
    ("GET", "lifecycle"): documents.get_lifecycle, ("PUT", "lifecycle"): documents.put_lifecycle,
    ("DELETE", "lifecycle"): documents.delete_lifecycle,
    ("GET", "tagging"): documents.get_bucket_tags, ("PUT", "tagging"): documents.put_bucket_tags,
    ("DELETE", "tagging"): documents.delete_bucket_tags,
    ("POST", "delete"): objects.delete_many,
    ("GET", ""): listings.list_objects, ("HEAD", ""): buckets.head, ("PUT", ""): buckets.create,
    ("DELETE", ""): buckets.delete, ("POST", ""): forms.post,
}  # fmt: skip
OBJECT: Mapping[tuple[str, str], Operation] = {
    ("GET", "acl"): documents.get_object_acl, ("PUT", "acl"): documents.put_object_acl,
    ("GET", "tagging"): documents.get_object_tags, ("PUT", "tagging"): documents.put_object_tags,
    ("DELETE", "tagging"): documents.delete_object_tags,
    ("GET", "attributes"): objects.attributes,
    ("POST", "uploads"): multipart.create, ("PUT", "uploadId"): multipart.put_part,
    ("POST", "uploadId"): multipart.complete, ("DELETE", "uploadId"): multipart.abort,
    ("GET", "uploadId"): multipart.list_parts,
    ("GET", ""): objects.get, ("HEAD", ""): objects.get, ("DELETE", ""): objects.delete,
}  # fmt: skip
# What a bucket or object simply does not have, and how S3 says so.
ABSENT = {
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError", "replication": "ReplicationConfigurationNotFoundError",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
}  # fmt: skip
UNSUPPORTED = frozenset(
    {"logging", "notification", "website", "accelerate", "requestPayment", "inventory", "metrics", "analytics",
     "intelligent-tiering", "torrent", "restore", "select", "retention", "legal-hold", "renameObject", *ABSENT}
)  # fmt: skip


class Application:
    """`await application(scope, receive, send)`, mounted at a path, or at the root of hosts of its own."""

    def __init__(self, site: Site, mount: str = "/s3", domain: str = "") -> None:
        """`domain`: what follows the bucket in a host's name; "" where buckets stand in the path alone."""
        self.site, self.mount, self.domain = site, mount, domain

    async def __call__(self, scope: Scope, receive: t.Any, send: t.Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4404})
            return
        started = time.perf_counter()
        patience_s = self.site.cloud.settings[ObjectStoreConfig].client_timeout_s
        request_id = f"tx{os.urandom(10).hex()}-{int(time.time()):010x}"
        req: Request | None = None
        try:
            req = read_request(scope, patient(receive, patience_s), request_id, self.mount, self._named(scope))
            answer = await self._answer(req)
        except S3Error as why:
            answer = error_answer(why, request_id)
        except Exception:
            log.exception("%s %s failed", request_id, scope["method"])
            answer = error_answer(S3Error("InternalError"), request_id)
        if answer.status == 200:
            empty = not answer.body and answer.stream is None and not answer.path
            answer.headers.setdefault("content-type", "text/html; charset=UTF-8" if empty else "application/xml")
        answer.headers |= {"x-amz-request-id": request_id, "x-amz-id-2": request_id}
        end_after(scope, answer)
        sent = 0
        try:
            sent = await send_answer(scope["method"], answer, send, _utf8, patience_s)
        finally:
            self.site.cloud.port(Traces).finished(
                None, request_id, scope["method"], scope["path"], answer.status, time.perf_counter() - started, sent,
                "object_store", *((req.who,) if req is not None else ()),
            )  # fmt: skip

    def _named(self, scope: Scope) -> str:
        """The bucket in the host's name."""
        if not self.domain:
            return ""
        host = next((v.decode("latin1") for k, v in scope["headers"] if k == b"host"), "")
        bare = host.partition(":")[0].lower()
        return bare[: -len(self.domain) - 1] if bare.endswith("." + self.domain) else ""

    async def _answer(self, req: Request) -> Answer:
        def refusal(status: int) -> Answer:
            return error_answer(S3Error("RequestTimeout" if status == 408 else "ServiceUnavailable"), req.request_id)

        try:
            if req.method == "OPTIONS":
                return await cors.preflight(self.site, req)
            answer = await answered(self._operate(req), refusal, req.request_id, req.method)
        except NotModified as why:
            answer = Answer(304, dict(why.headers))
        except S3Error as why:
            answer = error_answer(why, req.request_id)
        cors.decorate(self.site, req, answer)
        return answer

    async def _operate(self, req: Request) -> Answer:
        if not (req.method == "POST" and forms.is_form(req)):
            signing.authenticate(self.site.cloud, req, self.site.regions)
        quotas.refuse_read_only(self.site, req)
        return await operation(req)(self.site, req)


def operation(req: Request) -> Operation:
    """What the request asks for. MethodNotAllowed, NotImplemented."""
    if not req.bucket:
        if req.method != "GET":
            raise S3Error("MethodNotAllowed", Method=req.method, ResourceType="SERVICE")
        return buckets.list_all
    table = OBJECT if req.key else BUCKET
    for name in req.query:
        found = table.get((req.method, name)) if name else None
        if found is not None:
            return found
        if name in UNSUPPORTED:
            if req.method == "GET" and name in ABSENT:
                raise S3Error(ABSENT[name], BucketName=req.bucket)
            raise S3Error("NotImplemented", "The requested resource is not implemented", Subresource=name)
    if req.key and req.method == "PUT":
        return writes.copy if "x-amz-copy-source" in req.headers else writes.put
    found = table.get((req.method, ""))
    if found is None:
        raise S3Error("MethodNotAllowed", Method=req.method, ResourceType="OBJECT" if req.key else "BUCKET")
    return found


def read_request(scope: Scope, receive: t.Any, request_id: str, mount: str, bucket: str = "") -> Request:
    """`bucket`: the one that the host names. InvalidURI for what is no UTF-8."""
    raw = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0]
    headers: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin1").lower(), value.decode("latin1")
        headers[name] = f"{headers[name]},{text}" if name in headers else text
    for name, text in headers.items():
        if not text.isascii():  # text is UTF-8 on the wire
            try:
                headers[name] = text.encode("latin1").decode()
            except UnicodeDecodeError:
                continue
    path = raw.decode("latin1")
    rest = path[len(mount) :] if mount and path.startswith(mount) else path
    first, _, key_text = (bucket, "", rest[1:]) if bucket else rest[1:].partition("/")
    try:
        names = [unquote_to_bytes(p.encode("latin1")).decode() for p in (first, key_text)]
    except UnicodeDecodeError:
        raise S3Error("InvalidURI") from None
    if "\0" in names[1]:
        raise S3Error("InvalidURI")
    query_text = scope["query_string"].decode("latin1")
    query: dict[str, str] = {}
    for key_name, value_text in parse_qsl(query_text, keep_blank_values=True, encoding="utf-8", errors="replace"):
        query.setdefault(key_name, value_text)
    client = scope.get("client") or ("",)
    bare = f"/{first}/{key_text}" if bucket or key_text or rest.endswith("/") else f"/{first}"
    signed = scope.get("root_path", "") + path
    return Request(scope["method"], signed, query_text, names[0], names[1], query, headers, receive, request_id,
                   client[0], scope.get("scheme") == "https", bare, sends_parts=sends_parts(scope),
                   draw=draw_of(scope))  # fmt: skip


def _utf8(text: str) -> bytes:
    return text.encode()
