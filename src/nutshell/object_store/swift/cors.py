"""Cross-origin requests (Object Storage documentation, "CORS"): what a container's owner lets pages of others read.

Strict mode: headers only for origins that the container names.
"""

from collections.abc import Mapping

from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site

SIMPLE = ("cache-control", "content-language", "content-type", "expires", "last-modified", "pragma", "etag",
          "x-timestamp", "x-trans-id", "x-openstack-request-id")  # fmt: skip
METHODS = {
    "account": ("HEAD", "GET", "PUT", "POST", "DELETE", "OPTIONS"),
    "container": ("HEAD", "GET", "PUT", "POST", "DELETE", "OPTIONS"),
    "object": ("HEAD", "GET", "PUT", "POST", "COPY", "OPTIONS", "DELETE"),
}


def _meta(site: Site, req: Request) -> Mapping[str, str]:
    _, container = site.engine.find(req.account, req.container) if req.container else (None, None)
    return container.meta if container is not None else {}


def _allowed(meta: Mapping[str, str], origin: str) -> bool:
    said = meta.get("x-container-meta-access-control-allow-origin", "").split()
    return bool(origin) and ("*" in said or origin in [s.strip() for s in said])


def cross_origin(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        origin = req.headers.get("origin", "")
        if req.method == "OPTIONS":
            return _preflight(site, req, origin)
        if not origin or not req.container:
            return await inner(req)
        meta = _meta(site, req)
        try:
            answer = await inner(req)
        except Refusal as why:
            answer = why.response()
        if _allowed(meta, origin):
            _admit(answer, meta, origin)
        return answer

    return handle


def _admit(answer: Response, meta: Mapping[str, str], origin: str) -> None:
    exposed = set(SIMPLE) | {h for h in answer.headers if h.startswith(("x-container-meta-", "x-object-meta-"))}
    exposed |= {h.strip().lower() for h in meta.get("x-container-meta-access-control-expose-headers", "").split() if h}
    answer.headers.setdefault("access-control-expose-headers", ", ".join(sorted(exposed)))
    star = meta.get("x-container-meta-access-control-allow-origin", "").strip() == "*"
    answer.headers["access-control-allow-origin"] = "*" if star else origin
    if not star:
        answer.headers["vary"] = ", ".join(filter(None, (answer.headers.get("vary"), "Origin")))


def _preflight(site: Site, req: Request, origin: str) -> Response:
    kind = "object" if req.obj else "container" if req.container else "account"
    allow = ", ".join(METHODS[kind])
    asked = req.headers.get("access-control-request-method", "")
    if not origin or not req.container:  # accounts know nothing of origins
        return Response(200, {"allow": allow})
    meta = _meta(site, req)
    if not _allowed(meta, origin) or asked not in METHODS[kind]:
        return Response(401, {"allow": allow})
    star = meta.get("x-container-meta-access-control-allow-origin", "").strip() == "*"
    out = {
        "allow": allow,
        "access-control-allow-origin": "*" if star else origin,
        "access-control-allow-methods": allow,
    }
    if not star:
        out["vary"] = "Origin"
    age = meta.get("x-container-meta-access-control-max-age")
    if age:
        out["access-control-max-age"] = age
    headers = {h.strip().lower() for h in req.headers.get("access-control-request-headers", "").split(",") if h.strip()}
    if headers:
        out["access-control-allow-headers"] = ", ".join(sorted(headers))
        out["vary"] = ", ".join(filter(None, (out.get("vary"), "Access-Control-Request-Headers")))
    return Response(200, out)
