"""Temporary URLs: a signature in the address instead of a token (Object Storage API, "Temporary URL").

Signed is "method\\nexpires\\npath", with the path as Swift has it (from /v1 on) or as the client sees it.
"""

import hmac
import ipaddress
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import quote

from nutshell.object_store.numbers import count
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
DIGESTS = {40: "sha1", 64: "sha256", 128: "sha512"}
ALLOWED = ("sha256", "sha512")
KEYS = ("temp-url-key", "temp-url-key-2")
LATEST = 253402300799  # the year 9999
REFUSED = ("x-object-manifest", "x-symlink-target")


def temporary_urls(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if ("temp_url_sig" not in req.query and "temp_url_expires" not in req.query) or req.method == "OPTIONS":
            return await inner(req)
        expires = read_expiry(req.query.get("temp_url_expires", ""), site.cloud.clock.now())
        scope = _scope(site, req, expires)
        if scope is None or not expires:
            raise invalid()
        if req.method not in ("GET", "HEAD"):
            for name in REFUSED:
                if name in req.headers:
                    raise Refusal(400, f"The header {name.title()!r} is not allowed in this tempurl")
        account, container, signed = req.account, req.container, dict(req.query)
        req.headers.pop("x-timestamp", None)
        req.query = {k: v for k, v in req.query.items() if k in ("temp_url_prefix", "filename", "inline")}
        shown = dict(req.query)
        req.query.clear()
        req.notes["temporary"] = True
        if "temp_url_prefix" in shown:
            req.notes["temporary_query"] = (_links(signed), shown["temp_url_prefix"])
        req.allow = lambda r: r.account == account and (scope == "account" or r.container == container)
        try:
            answer = await inner(req)
        except Refusal as why:
            answer = why.response()
        hidden = [n for n in answer.headers if n.startswith("x-object-meta-")]
        for name in hidden:
            if not name.startswith("x-object-meta-public-"):
                del answer.headers[name]
        if req.method in ("GET", "HEAD") and answer.good:
            if not req.obj and not answer.notes.get("made_by_staticweb"):
                raise invalid()
            _dispose(req, answer, shown)
            answer.headers["expires"] = formatdate(expires, usegmt=True)
        return answer

    return handle


def invalid() -> Refusal:
    return Refusal(
        401,
        "401 Unauthorized: Temp URL invalid\n",
        {"content-type": "text/html; charset=UTF-8", "www-authenticate": 'Swift realm="unknown"'},
    )


def read_expiry(text: str, now: float) -> int:
    """Seconds since the epoch, from a number or an ISO 8601 time in UTC; 0 when it is none or over."""
    at = 0
    if text.isdecimal():
        at = min(count(text) or 0, LATEST)
    else:
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"):
            try:
                at = int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp())
                break
            except ValueError:
                continue
    return at if at >= now else 0


def read_signature(text: str, allowed: Sequence[str] = ALLOWED) -> tuple[str, str]:
    """(digest, hexadecimal signature); ("", "") when it is none that is allowed."""
    name, colon, rest = text.partition(":")
    if colon:
        try:
            raw = rest.replace("+", "-").replace("/", "_")
            return (name, urlsafe_b64decode(raw + "=" * (-len(raw) % 4)).hex()) if name in allowed else ("", "")
        except ValueError:
            return "", ""
    found = DIGESTS.get(len(text), "")
    return (found, text.lower()) if found in allowed else ("", "")


def signing_keys(site: Site, req: Request) -> Iterator[tuple[str, str]]:
    """(key, scope) of the account and the container."""
    account, container = site.engine.find(req.account, req.container)
    for meta, scope in (
        (account.meta if account else {}, "account"),
        (container.meta if container else {}, "container"),
    ):
        for name in KEYS:
            key = meta.get(f"x-{scope}-meta-{name}")
            if key:
                yield key, scope


def _scope(site: Site, req: Request, expires: int) -> str | None:
    """What the signature opens, None for nothing."""
    digest, signature = read_signature(req.query.get("temp_url_sig", ""))
    prefix = req.query.get("temp_url_prefix")
    whole_container = req.method in ("GET", "HEAD") and prefix == ""
    if not digest or req.method not in METHODS or not req.container or not (req.obj.strip("/") or whole_container):
        return None
    span = req.query.get("temp_url_ip_range")
    if span:
        try:
            if ipaddress.ip_address(req.client) not in ipaddress.ip_network(span):
                return None
        except ValueError:
            return None
    if prefix is not None and not req.obj.startswith(prefix):
        return None
    tail = req.obj if prefix is None else prefix
    path = f"/v1/{req.account}/{req.container}/{tail}"
    lead = "" if prefix is None else "prefix:"
    paths = [lead + path, lead + req.mount + path] if req.mount else [lead + path]
    methods = ("HEAD", "GET", "POST", "PUT") if req.method == "HEAD" else (req.method,)
    for key, scope in signing_keys(site, req):
        for method in methods:
            for one in paths:
                said = f"{method}\n{expires}\n{one}"
                said = f"ip={span}\n{said}" if span else said
                made = hmac.new(key.encode("latin1"), said.encode(), digest).hexdigest()
                if hmac.compare_digest(made, signature):
                    return scope
    return None


def _links(signed: dict[str, str]) -> str:
    """What the links of a listing carry on, so that they open, too."""
    names = ("temp_url_prefix", "temp_url_expires", "temp_url_sig", "temp_url_ip_range")
    parts = [f"{n}={quote(signed[n], safe='/') if n != 'temp_url_sig' else signed[n]}" for n in names if n in signed]
    return "?" + "&amp;".join([*parts, *(["inline"] if "inline" in signed else [])])


def _dispose(req: Request, answer: Response, shown: dict[str, str]) -> None:
    """Content-Disposition: as the address says, else as the object does, else a download under its name."""
    filename = shown.get("filename")
    inline = "inline" in shown or answer.notes.get("made_by_staticweb")
    if inline and not filename:
        value = "inline"
    elif filename:
        value = _named("inline" if inline else "attachment", filename)
    elif "content-disposition" in answer.headers:
        value = answer.headers["content-disposition"]
    else:
        value = _named("attachment", req.obj.rstrip("/").rsplit("/", 1)[-1])
    answer.headers["content-disposition"] = value.replace("\n", "%0A")


def _named(kind: str, name: str) -> str:
    quoted = quote(name, safe=" /")
    return f"{kind}; filename=\"{quoted}\"; filename*=UTF-8''{quote(name)}"
