"""Requests to the S3 API signed by hand (signature version 4), so that any header, path or body can be sent."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from tests.fuzz.people import Side
from tests.fuzz.world import Reply, World

ROOT = "/s3"


@dataclass(frozen=True)
class Pair:
    """An access key and its secret; the empty one signs nothing."""

    access: str = ""
    secret: str = field(default="", repr=False)


NOBODY = Pair()


def pair_of(world: World, token: str, project: str) -> Pair:
    """A pair of the token's user for this project, made by the administrator: readers make none."""
    me = world.done("GET", "/identity/v3/auth/tokens", token=token, **{"X-Subject-Token": token})["token"]["user"]["id"]
    path = f"/identity/v3/users/{me}/credentials/OS-EC2"
    made = world.done("POST", path, {"tenant_id": project})["credential"]
    return Pair(made["access"], made["secret"])


def side_pair(world: World, side: Side) -> Pair:
    return pair_of(world, side.token, side.ids["project"])


def ask(
    world: World, pair: Pair, method: str, path: str, body: bytes = b"", query: Any = (),
    headers: Mapping[str, str] | None = None,
) -> Reply:  # fmt: skip
    """`path` as it goes over the wire, from the bucket on ("/bucket/key", percent-encoded); `query`: pairs."""
    given = {"x-amz-content-sha256": hashlib.sha256(body).hexdigest(), **(headers or {})}
    text = urlencode(list(dict(query).items()) if isinstance(query, dict) else list(query), quote_via=quote)
    if pair.access:
        given["x-amz-date"] = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        given["Authorization"] = authorization(pair, method, ROOT + path, text, given)
    given.setdefault("Content-Type", "application/xml")
    return world.call(method, ROOT + path + (f"?{text}" if text else ""), body, headers=given)


def authorization(pair: Pair, method: str, path: str, query: str, given: Mapping[str, str]) -> str:
    """The Authorization header over the host and every x-amz-* header."""
    heads = {k.lower(): " ".join(v.split()) for k, v in given.items() if k.lower().startswith("x-amz-")}
    heads["host"] = "cloud.example:5000"
    names = ";".join(sorted(heads))
    escaped: Any = {"safe": "~", "errors": "surrogateescape"}
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    asked = "&".join(f"{k}={v}" for k, v in sorted((quote(k, **escaped), quote(v, **escaped)) for k, v in pairs))
    path = quote(unquote(path, errors="surrogateescape"), safe="/~", errors="surrogateescape")
    canonical = "\n".join([method, path, asked, *(f"{n}:{heads[n]}" for n in sorted(heads)), "", names,
                           heads["x-amz-content-sha256"]])  # fmt: skip
    date = heads["x-amz-date"][:8]
    scope = f"{date}/us-east-1/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    said = f"AWS4-HMAC-SHA256\n{heads['x-amz-date']}\n{scope}\n{digest}"
    key = b"AWS4" + pair.secret.encode()
    for word in (date, "us-east-1", "s3", "aws4_request", said):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return f"AWS4-HMAC-SHA256 Credential={pair.access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
