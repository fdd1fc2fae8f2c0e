"""/info (what this cluster can do), /healthcheck and /crossdomain.xml."""

import os
import time
import typing as t

import msgspec

import nutshell
from nutshell.object_store.swift import checks
from nutshell.object_store.swift.messages import Response, plain
from nutshell.object_store.swift.site import Site
from nutshell.object_store.syncing import CLUSTER, REALM

CROSSDOMAIN = (
    '<?xml version="1.0"?>\n<!DOCTYPE cross-domain-policy SYSTEM '
    '"http://www.adobe.com/xml/dtds/cross-domain-policy.dtd" >\n<cross-domain-policy>\n'
    '<allow-access-from domain="*" secure="false" />\n</cross-domain-policy>'
)
FEATURES: t.Mapping[str, t.Any] = {
    "tempauth": {"account_acls": True},
    "bulk_delete": {"max_deletes_per_request": 10000, "max_failed_deletes": 1000},
    "bulk_upload": {"max_containers_per_extraction": 10000, "max_failed_extractions": 1000},
    "dlo": {"max_segments": 0},
    "slo": {
        "max_manifest_segments": 1000,
        "max_manifest_size": 8 << 20,
        "yield_frequency": 10,
        "min_segment_size": 1,
        "allow_async_delete": True,
    },
    "symlink": {"symloop_max": 2, "static_links": True},
    "versioned_writes": {"allowed_flags": ["x-versions-location", "x-history-location"]},
    "object_versioning": {},
    "tempurl": {
        "methods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
        "incoming_remove_headers": ["x-timestamp"],
        "incoming_allow_headers": [],
        "outgoing_remove_headers": ["x-object-meta-*"],
        "outgoing_allow_headers": ["x-object-meta-public-*"],
        "allowed_digests": ["sha256", "sha512"],
    },
    "formpost": {"allowed_digests": ["sha1", "sha256", "sha512"]},
    "staticweb": {},
    "container_quotas": {},
    "account_quotas": {},
    "etag_quoter": {"enable_by_default": False},
    "crossdomain": {},
    "s3api": {
        "max_bucket_listing": 1000,
        "max_parts_listing": 1000,
        "max_upload_part_num": 10000,
        "max_multi_delete_objects": 1000,
        "allow_multipart_uploads": True,
        "min_segment_size": 5 << 20,
        "s3_acl": True,
    },
    "read_only": {},
    "container_sync": {"realms": {REALM: {"clusters": {CLUSTER: {"current": True}}}}},
}


def describe(site: Site) -> dict[str, t.Any]:
    swift = {
        **checks.LIMITS,
        "version": f"2.38.0+nutshell.{nutshell.__version__}",
        "strict_cors_mode": True,
        "account_autocreate": True,
        "allow_account_management": True,
        "allow_open_expired": False,
        "valid_api_versions": ["v1", "v1.0"],
        "policies": [
            {"name": name, "aliases": name, **({"default": True} if i == 0 else {})}
            for i, name in site.policy_names.items()
        ],
    }
    return {"swift": swift, **FEATURES}


class Pages:
    """An ASGI application for the pages beside the accounts."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        answer = self._answer(scope.get("method", ""), scope["path"].removeprefix("/object-store").strip("/"))
        answer.headers["content-length"] = str(len(answer.body))
        answer.headers["x-trans-id"] = f"tx{os.urandom(11).hex()[:21]}-{int(time.time()):010x}"
        said = [(k.encode("latin1"), v.encode("latin1")) for k, v in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": said})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else answer.body})

    def _answer(self, method: str, page: str) -> Response:
        if method == "OPTIONS":
            return Response(200, {"allow": "HEAD, GET, OPTIONS"})
        if method not in ("GET", "HEAD"):
            return plain(405, headers={"allow": "HEAD, GET, OPTIONS"})
        if page == "info":
            return Response(
                200, {"content-type": "application/json; charset=UTF-8"}, msgspec.json.encode(describe(self._site))
            )
        if page == "healthcheck":
            return Response(200, {"content-type": "text/plain"}, b"OK")
        if page == "crossdomain.xml":
            return Response(200, {"content-type": "application/xml"}, CROSSDOMAIN.encode())
        return plain(412 if " " in page else 404)
