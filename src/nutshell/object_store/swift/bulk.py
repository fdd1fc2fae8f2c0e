"""Bulk delete: many objects and containers in one request (Object Storage documentation, "Bulk delete").

Also the form in which everything that works on many objects reports.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from nutshell.object_store.swift.messages import REASONS, Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site

MOST_DELETES, MOST_FAILURES = 10_000, 1_000
LONGEST = 1024 + 256 + 2


def line(status: int) -> str:
    return f"{status} {REASONS[status][0]}"


def report_type(req: Request) -> str:
    """The best of the formats that the client takes; text where it is not clear."""
    accept = req.headers.get("accept", "")
    for item in accept.split(","):
        kind = item.split(";")[0].strip().lower()
        if kind in ("application/json", "text/plain", "application/xml", "text/xml"):
            return kind
        if kind in ("*/*", "text/*"):
            return "text/plain"
        if kind == "application/*":
            return "application/json"
    return "text/plain"


def report(
    kind: str,
    facts: Mapping[str, Any],
    wrong: Sequence[tuple[str, str]],
    *,
    status: int = 200,
    upload: bool = False,
    root: str = "delete",
    lead: bytes = b"",
) -> Response:
    """The outcome in the client's format; the status inside counts."""
    root = "upload" if upload else root
    if kind == "application/json":
        body = json.dumps({**facts, "Errors": [list(w) for w in wrong]})
    elif kind.endswith("/xml"):
        said = "".join(f"<{(n := k.replace(' ', '_').lower())}>{escape(str(facts[k]))}</{n}>\n" for k in sorted(facts))
        errors = "".join(f"<object><name>{escape(a)}</name><status>{escape(b)}</status></object>\n" for a, b in wrong)
        body = f"<{root}>\n{said}<errors>\n{errors}</errors>\n</{root}>\n"
        if root != "upload":
            body = '<?xml version="1.0" encoding="UTF-8"?>\n' + body
    else:
        body = "".join(f"{k}: {facts[k]}\n" for k in sorted(facts)) + "Errors:\n"
        body += "".join(f"{a}, {b}\n" for a, b in wrong)
    return Response(status, {"content-type": kind}, lead + body.encode())


def bulk_deletes(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if "bulk-delete" not in req.query or req.method not in ("POST", "DELETE"):
            return await inner(req)
        facts: dict[str, Any] = {"Number Deleted": 0, "Number Not Found": 0, "Response Body": ""}
        try:
            if req.headers.get("content-type", "text/plain").split(";")[0].strip() not in ("text/plain", ""):
                raise Refusal(406)
            names = await _names(req)
        except Refusal as why:
            facts |= {"Response Status": line(why.status), "Response Body": why.response().body.decode()}
            return report(report_type(req), facts, [])
        return await delete_each(inner, req, names)

    return handle


async def _names(req: Request) -> list[str]:
    if req.length is None and req.headers.get("transfer-encoding", "").lower() != "chunked":
        raise Refusal(411)
    raw = await req.read(MOST_DELETES * LONGEST)
    lines = raw.split(b"\n")
    if any(len(one) > LONGEST * 2 for one in lines):
        raise Refusal(400, "Invalid File Name")
    names = [unquote(one.strip().decode("latin1"), "utf-8", "surrogateescape") for one in lines if one.strip()]
    if len(names) > MOST_DELETES:
        raise Refusal(413, f"Maximum Bulk Deletes: {MOST_DELETES} per request")
    return names


async def delete_each(
    inner: Handler, req: Request, names: Sequence[str], last_query: Mapping[str, str] | None = None
) -> Response:
    """Delete objects, then containers. `last_query`: the query for the last name (a manifest's version)."""
    deleted = missing = 0
    wrong: list[tuple[str, str]] = []
    worst = 400
    objects = [n for n in names if "/" in n.strip("/")]
    for name in [*objects, *(n for n in names if "/" not in n.strip("/"))]:
        container, _, obj = name.lstrip("/").partition("/")
        query = dict(last_query or {}) if last_query and name == names[-1] else {}
        status = await _delete(inner, req, container, obj, query)
        if 200 <= status < 300:
            deleted += 1
        elif status == 404:
            missing += 1
        else:
            worst = max(worst, 502 if status >= 500 else 400)
            wrong.append((quote(name, errors="surrogateescape"), line(status)))
        if len(wrong) >= MOST_FAILURES:
            break
    facts: dict[str, Any] = {"Number Deleted": deleted, "Number Not Found": missing, "Response Body": ""}
    facts["Response Status"] = "200 OK"
    if len(wrong) >= MOST_FAILURES:
        facts |= {"Response Status": line(400), "Response Body": "Max delete failures exceeded"}
    elif wrong:
        facts["Response Status"] = line(worst) if worst == 400 else "502 Bad Gateway"
    elif not deleted and not missing:
        facts |= {"Response Status": line(400), "Response Body": "Invalid bulk delete."}
    return report(report_type(req), facts, wrong)


async def _delete(inner: Handler, req: Request, container: str, obj: str, query: dict[str, str]) -> int:
    try:
        f"{container}/{obj}".encode()
    except UnicodeEncodeError:
        return 412
    if "\0" in container + obj:
        return 412
    try:
        answer = await inner(req.sub("DELETE", container=container, obj=obj if obj.strip("/") else "", query=query))
    except Refusal as why:
        return why.status
    return answer.status
