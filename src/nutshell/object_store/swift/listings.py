"""Listings: pages of names with prefixes, delimiters and markers, as text, JSON or XML (Object Storage API)."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import msgspec

from nutshell.object_store.rows import AccountRow, ContainerRow, timestamp
from nutshell.object_store.swift.checks import iso_time
from nutshell.object_store.swift.messages import Refusal, Request, Response, is_true, unwire
from nutshell.object_store.swift.site import Site

Page = Callable[[str, str, str, int], Sequence[Any]]  # (after, until, prefix, limit) → rows with a name
LAST = "\U0010ffff"


def _span(req: Request) -> tuple[str, str, bool]:
    """(after, until, reverse)."""
    return req.query.get("marker", ""), req.query.get("end_marker", ""), is_true(req.query.get("reverse", ""))


def containers(site: Site, req: Request, account: AccountRow, limit: int) -> list[dict[str, Any]]:
    after, until, reverse = _span(req)

    def page(after: str, until: str, prefix: str, limit: int) -> Any:
        return site.engine.read(
            lambda i: i.list_containers(
                account.id, after=after, until=until, prefix=prefix, limit=limit, reverse=reverse
            )
        )

    found = walk(page, lambda r: r[0].name, (after, until, req.query.get("prefix", "")),
                 req.query.get("delimiter", ""), limit, reverse)  # fmt: skip
    return [
        {"subdir": one}
        if isinstance(one, str)
        else {
            "name": one[0].name,
            "count": one[1].objects,
            "bytes": one[1].bytes,
            "last_modified": iso_time(one[0].changed),
            "storage_policy": site.policy_names[one[0].policy],
        }
        for one in found
    ]


def objects(site: Site, req: Request, container: ContainerRow, limit: int) -> list[dict[str, Any]]:
    after, until, reverse = _span(req)
    prefix, delimiter = req.query.get("prefix", ""), req.query.get("delimiter", "")
    path = req.query.get("path")
    if path is not None:  # pseudo-directories, as the first clients asked for them
        prefix = path.rstrip("/") + "/" if path.strip("/") else ""
        delimiter = "/"

    def page(after: str, until: str, prefix: str, limit: int) -> Any:
        return site.engine.read(
            lambda i: i.list_objects(
                container.id, after=after, until=until, prefix=prefix, limit=limit, reverse=reverse
            )
        )

    found = walk(page, lambda r: r.name, (after, until, prefix), delimiter, limit, reverse, keep=path is None)
    place = quote(f"/{req.version}/{req.account}/{req.container}/")
    return [{"subdir": one} if isinstance(one, str) else _present(one, place) for one in found]


def _present(row: Any, place: str) -> dict[str, Any]:
    """Where versions are kept, the present one's address is shown."""
    if not row.version:
        return entry_of(row)
    address = f"{place}{quote(row.name)}?version-id={timestamp(row.version)}"
    return {**entry_of(row), "symlink_path": address, "version_symlink": True}


def entry_of(row: Any) -> dict[str, Any]:
    return {
        "name": row.name,
        "hash": row.etag,
        "bytes": row.size,
        "content_type": unwire(row.type),
        "last_modified": iso_time(row.ts),
        **row.shown,
    }


def walk(
    page: Page, name_of: Callable[[Any], str], span: tuple[str, str, str], delimiter: str, limit: int,
    reverse: bool, *, keep: bool = True,
) -> list[Any]:  # fmt: skip
    """Rows, and as text the common beginnings up to the delimiter; each of those is skipped over in one step."""
    after, until, prefix = span
    if not delimiter:
        return list(page(after, until, prefix, limit))
    out: list[Any] = []
    batch = 1  # behind a folder another is likely; rows among rows are read by the hundred
    while len(out) < limit:
        rows = page(after, until, prefix, batch)
        jumped = False
        for row in rows:
            name = name_of(row)
            cut = name.find(delimiter, len(prefix))
            after = name
            folder = name[: cut + len(delimiter)]
            if cut < 0 or (not keep and folder == name):
                if keep or name != prefix:
                    out.append(row)
            else:
                if keep and folder != span[0]:
                    out.append(folder)
                after = folder if reverse else folder + LAST
                jumped = True
                break
            if len(out) >= limit:
                break
        if not jumped and len(rows) < batch:
            break
        batch = 1 if jumped else min(batch * 4, limit, 500)
    return out[:limit]


def render(req: Request, answer: Response) -> Response:
    """The entries in the format that was asked for. 406 when it is none of ours."""
    kind = listing_type(req)
    if "format" not in req.query:
        answer.headers["vary"] = ", ".join(filter(None, (answer.headers.get("vary"), "Accept")))
    answer.headers["content-type"] = f"{kind}; charset=utf-8"
    if req.method == "HEAD":
        answer.headers["content-length"] = "0"
        return answer
    entries = answer.entries or []
    if kind == "application/json":
        answer.body = msgspec.json.encode(entries)
    elif kind == "text/plain":
        answer.body = "".join([e.get("name", e.get("subdir", "")) + "\n" for e in entries]).encode()
    else:
        answer.body = _xml(req, entries)
    if not answer.body:
        answer.status = 204
    answer.entries = None
    return answer


def listing_type(req: Request) -> str:
    asked = req.query.get("format", "")
    if asked:
        return {"json": "application/json", "xml": "application/xml"}.get(asked.lower(), "text/plain")
    accept = req.headers.get("accept", "").strip()
    if not accept:
        return "text/plain"
    kinds = ("text/plain", "application/json", "application/xml", "text/xml")
    weighed: list[tuple[float, int, str]] = []
    for order, item in enumerate(accept.split(",")):
        name, *parameters = (p.strip() for p in item.split(";"))
        weight = 1.0
        for p in parameters:
            key, _, value = p.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    raise Refusal(400, "Invalid Accept header") from None
        if "/" not in name:
            raise Refusal(400, "Invalid Accept header")
        group = name.split("/")[0]
        for i, kind in enumerate(kinds):
            if weight > 0 and (name == kind or name == "*/*" or name == f"{group}/*" == f"{kind.split('/')[0]}/*"):
                exact = 0 if name == kind else 1 if name != "*/*" else 2
                weighed.append((-weight, exact * 100 + order * 10 + i, kind))
                break
    if not weighed:
        raise Refusal(406)
    return min(weighed)[2]


def _xml(req: Request, entries: Sequence[dict[str, Any]]) -> bytes:
    if req.container:
        root, inner, members = "container", "object", ("name", "hash", "bytes", "content_type", "last_modified")
        name = req.container
    else:
        root, inner, members = "account", "container", ("name", "count", "bytes", "last_modified", "storage_policy")
        name = req.account
    parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} name={quoteattr(name)}>']
    if root == "account":
        parts.append("\n")
    for e in entries:
        if "subdir" in e:
            text = f"<name>{escape(e['subdir'])}</name>" if root == "container" else ""
            parts.append(f"<subdir name={quoteattr(e['subdir'])}>{text}</subdir>")
        else:
            said = "".join(f"<{m}>{escape(str(e[m]))}</{m}>" for m in members if m in e)
            parts.append(f"<{inner}>{said}</{inner}>")
        if root == "account":
            parts.append("\n")
    parts.append(f"</{root}>")
    return "".join(parts).encode()
