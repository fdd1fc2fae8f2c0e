"""Cross-origin rules of buckets, and what they mean for a browser's request (Fetch standard; S3 User Guide, "CORS")."""

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

from nutshell.object_store.s3.errors import S3Error
from nutshell.object_store.s3.messages import Answer, Node, Request, parse, text_in
from nutshell.object_store.s3.site import Site

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
LISTS = ("AllowedOrigin", "AllowedMethod", "AllowedHeader", "ExposeHeader")


def accept(raw: bytes) -> str:
    root = parse(raw, "CORSConfiguration")
    rules = []
    for element in root.iterfind("CORSRule"):
        rule: dict[str, Any] = {name: [(e.text or "").strip() for e in element.iterfind(name)] for name in LISTS}
        if not rule["AllowedOrigin"] or not rule["AllowedMethod"]:
            raise S3Error("MalformedXML")
        for method in rule["AllowedMethod"]:
            if method not in METHODS:
                raise S3Error(
                    "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
                )
        for name in ("AllowedOrigin", "AllowedHeader"):
            if any(v.count("*") > 1 for v in rule[name]):
                raise S3Error("InvalidRequest", f"{name} can not have more than one wildcard.")
        age = text_in(element, "MaxAgeSeconds")
        if age:
            if not age.isdecimal():
                raise S3Error("MalformedXML")
            rule["MaxAgeSeconds"] = age
        if text_in(element, "ID"):
            rule["ID"] = text_in(element, "ID")
        rules.append(rule)
    if not 1 <= len(rules) <= 100:
        raise S3Error("MalformedXML")
    return json.dumps(rules)


def document(written: str) -> list[Node]:
    nodes: list[Node] = []
    for rule in json.loads(written):
        inner: list[Node] = [("ID", rule["ID"])] if "ID" in rule else []
        inner += [(name, value) for name in LISTS for value in rule[name]]
        if "MaxAgeSeconds" in rule:
            inner.append(("MaxAgeSeconds", rule["MaxAgeSeconds"]))
        nodes.append(("CORSRule", inner))
    return nodes


def _like(value: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]").replace("?", "[?]"))


def _rule(site: Site, req: Request, origin: str, method: str, headers: list[str]) -> Mapping[str, Any] | None:
    bucket = site.find(req, req.bucket) if req.bucket else None
    written = bucket.document("cors") if bucket is not None else ""
    for rule in json.loads(written or "[]"):
        if not any(_like(origin, o) for o in rule["AllowedOrigin"]) or method not in rule["AllowedMethod"]:
            continue
        if all(any(_like(h, a.lower()) for a in rule["AllowedHeader"]) for h in headers):
            found: Mapping[str, Any] = rule
            return found
    return None


def _headers(rule: Mapping[str, Any], origin: str) -> dict[str, str]:
    every = "*" in rule["AllowedOrigin"]
    out = {"access-control-allow-origin": "*" if every else origin,
           "access-control-allow-methods": ", ".join(rule["AllowedMethod"]),
           "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"}  # fmt: skip
    if not every:
        out["access-control-allow-credentials"] = "true"
    if rule["ExposeHeader"]:
        out["access-control-expose-headers"] = ", ".join(rule["ExposeHeader"])
    if "MaxAgeSeconds" in rule:
        out["access-control-max-age"] = rule["MaxAgeSeconds"]
    return out


async def preflight(site: Site, req: Request) -> Answer:
    origin, method = req.headers.get("origin", ""), req.headers.get("access-control-request-method", "")
    if not origin or not method:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.")
    asked = [h.strip().lower() for h in req.headers.get("access-control-request-headers", "").split(",") if h.strip()]
    rule = _rule(site, req, origin, method, asked)
    if rule is None:
        raise S3Error("AccessForbidden", "CORSResponse: This CORS request is not allowed. This is usually because the"
                                         " evalution of Origin, request method / Access-Control-Request-Method or"
                                         " Access-Control-Request-Headers are not whitelisted by the resource's CORS"
                                         " spec.", 403, Method=method)  # fmt: skip
    out = _headers(rule, origin)
    if asked:
        out["access-control-allow-headers"] = ", ".join(asked)
    return Answer(200, out)


def decorate(site: Site, req: Request, answer: Answer) -> None:
    """What an answer says to the browser that asked from another origin."""
    origin = req.headers.get("origin")
    if origin:
        rule = _rule(site, req, origin, req.method, [])
        if rule is not None:
            answer.headers.update(_headers(rule, origin))
