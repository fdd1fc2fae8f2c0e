"""Static web: containers as web sites, with index pages, listings and error pages of their own.

Source: Object Storage documentation, "Static web". For anonymous requests, and others with X-Web-Mode: true.
"""

import html
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nutshell.object_store.swift.authorize import authorize
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true, plain, unwire
from nutshell.object_store.swift.site import Site

STYLE = '  <style type="text/css">\n   h1 {font-size: 1em; font-weight: bold;}\n%s  </style>\n'
TABLE = "   th {text-align: left; padding: 0px 1em 0px 1em;}\n   td {padding: 0px 1em 0px 1em;}\n   a {text-decoration: none;}\n"  # noqa: E501


def static_web(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if not req.container or req.method not in ("GET", "HEAD"):
            return await inner(req)
        temporary = "temporary" in req.notes
        if req.who.user_id and not is_true(req.headers.get("x-web-mode", "")) and not temporary:
            return await inner(req)
        account, container = site.engine.find(req.account, req.container)
        if container is None:
            return await inner(req)
        pages = _Pages(site, inner, req, container.meta)
        if req.obj:
            return await pages.object()
        try:
            authorize(site.cloud, req, account, container)
        except Refusal as why:
            return await pages.error(why.response())
        return await pages.container()

    return handle


def human(size: int) -> str:
    """ "12K", as listings show sizes."""
    if size < 1024:
        return str(size)
    value, units = float(size), iter("KMGTPEZY")
    unit = ""
    while value >= 1023.5 or not unit:
        value /= 1024
        unit = next(units)
        if value < 1023.5:
            break
    return f"{round(value)}{unit}i"


class _Pages:
    """The web answers of one request."""

    def __init__(self, site: Site, inner: Handler, req: Request, meta: Mapping[str, str]) -> None:
        self._site, self._inner, self._req = site, inner, req
        self._says = {
            name: unwire(meta.get(f"x-container-meta-web-{name}", "").strip())
            for name in ("index", "error", "listings", "listings-label", "listings-css", "directory-type")
        }

    async def _get(self, obj: str, query: dict[str, str] | None = None) -> Response:
        headers = dict(self._req.headers) if query is None else {}
        if query is not None:
            headers = {k: v for k, v in self._req.headers.items() if k == "referer"}
        asked = self._req.sub(
            "GET" if query is not None else "", obj=obj, headers=headers, query=query or {}, notes=dict(self._req.notes)
        )
        asked.notes.pop("may_send_file", None) if query is not None else None
        try:
            return await self._inner(asked)
        except Refusal as why:
            return why.response()

    async def error(self, answer: Response) -> Response:
        """The site's own page for a status, with that status."""
        if self._says["error"]:
            page = await self._get(f"{answer.status}{self._says['error']}", {})
            if page.good:
                page.status = answer.status
                return page
        return answer

    def _with_slash(self) -> Response:
        path = self._req.path + "/"
        return plain(301, headers={"location": self._req.base + path})

    async def container(self) -> Response:
        says, req = self._says, self._req
        if not says["listings"] and not says["index"]:
            return plain(404) if is_true(req.headers.get("x-web-mode", "")) else await self._inner(req)
        if not req.path.endswith("/"):
            return self._with_slash()
        if not says["index"]:
            return await self.listing("")
        answer = await self._get(says["index"])
        if answer.status == 404:
            return await self.listing("")
        if answer.status >= 400:
            return await self.error(answer)
        answer.notes["made_by_staticweb"] = True
        return answer

    async def object(self) -> Response:
        says, req = self._says, self._req
        try:
            answer = await self._inner(req)
        except Refusal as why:
            answer = why.response()
        kind = says["directory-type"] or "application/directory"
        small = int(answer.headers.get("content-length", "0") or 0) <= 1
        marker = answer.status < 400 and answer.headers.get("content-type", "").split(";")[0] == kind and small
        if answer.status < 400 and not (marker and (says["listings"] or says["index"])):
            return answer
        if answer.status >= 400 and answer.status != 404:
            return answer
        if not says["listings"] and not says["index"]:
            return answer
        if says["index"]:
            page = await self._get(req.obj.rstrip("/") + "/" + says["index"])
            if page.status < 400:
                page.notes["made_by_staticweb"] = True
                return page if req.obj.endswith("/") else self._with_slash()
            if page.status != 404:
                return await self.error(page)
        if req.obj.endswith("/"):
            return await self.listing(req.obj)
        below = await self._get("", {"limit": "1", "delimiter": "/", "prefix": req.obj + "/"})
        if not below.good or not below.entries:
            return await self.error(plain(404))
        return self._with_slash()

    async def listing(self, prefix: str) -> Response:
        says, req = self._says, self._req
        if not is_true(says["listings"]):
            return await self.error(self._disabled(prefix))
        query = {"delimiter": "/", **({"prefix": prefix} if prefix else {})}
        answer = await self._get("", query)
        if not answer.good:
            return await self.error(answer)
        entries = answer.entries or []
        if prefix and not entries:
            return await self.error(plain(404))
        body = _page(says, self._label(), prefix, entries, req.notes.get("temporary_query", ("", "")))
        done = Response(200, {"content-type": "text/html; charset=UTF-8"}, body.encode())
        done.notes["made_by_staticweb"] = True
        return done

    def _label(self) -> str:
        req = self._req
        tail = req.obj
        if self._says["listings-label"]:
            return f"{self._says['listings-label']}/{tail}"
        return f"/{req.version}/{req.account}/{req.container}/{tail}"

    def _disabled(self, prefix: str) -> Response:
        index = self._says["index"]
        body = _head(self._says, self._label(), prefix, "   p {font-size: 2}\n")
        body += "<body>  <h1>Web Listing Disabled</h1>   <p>The owner of this web site has disabled web listing."
        body += "   <p>If you are the owner of this web site, you can enable   web listing by setting X-Container-Meta-Web-Listings.</p>"  # noqa: E501
        if index:
            body += f"<h1>Index File Not Found</h1> <p>The owner of this web site has set  <b>X-Container-Meta-Web-Index: {html.escape(index)}</b>.  However, this file is not found.</p>"  # noqa: E501
        return Response(404, {"content-type": "text/html; charset=UTF-8"}, (body + " </body>\n</html>\n").encode())


def _head(says: Mapping[str, str], label: str, prefix: str, style: str) -> str:
    css = says["listings-css"]
    if css.startswith(("/", "http://", "https://")):
        link = quote(css, ":/")
    else:
        link = "../" * prefix.count("/") + quote(css)
    look = f'  <link rel="stylesheet" type="text/css" href="{link}" />\n' if css else STYLE % style
    return f"<!DOCTYPE html>\n<html>\n <head>\n  <title>Listing of {html.escape(label)}</title>\n{look} </head>\n"


def _page(
    says: Mapping[str, str], label: str, prefix: str, entries: list[dict[str, Any]], temporary: tuple[str, str]
) -> str:
    suffix, limit = temporary
    rows = []
    if len(prefix) > len(limit):
        rows.append(_row("item", f"../{suffix}", "../", "&nbsp;", "&nbsp;", ' id="parent"'))
    for e in sorted(entries, key=lambda e: "name" in e):
        if "subdir" in e:
            name = e["subdir"][len(prefix) :]
            rows.append(_row("item subdir", quote(name) + suffix, html.escape(name), "&nbsp;", "&nbsp;"))
        else:
            name = e["name"][len(prefix) :]
            kinds = " ".join("type-" + html.escape(t.lower()) for t in e["content_type"].split("/"))
            at = e["last_modified"].split(".")[0].replace("T", " ")
            rows.append(_row(f"item {kinds}", quote(name) + suffix, html.escape(name), human(e["bytes"]), at))
    heading = (
        '   <tr id="heading">\n    <th class="colname">Name</th>\n    <th class="colsize">Size</th>\n'
        '    <th class="coldate">Date</th>\n   </tr>\n'
    )
    return (
        _head(says, label, prefix, TABLE)
        + f' <body>\n  <h1 id="title">Listing of {html.escape(label)}</h1>\n  <table id="listing">\n'
        + heading
        + "".join(rows)
        + "  </table>\n </body>\n</html>\n"
    )


def _row(kind: str, link: str, name: str, size: str, at: str, more: str = "") -> str:
    return (
        f'   <tr{more} class="{kind}">\n    <td class="colname"><a href="{link}">{name}</a></td>\n'
        f'    <td class="colsize">{size}</td>\n    <td class="coldate">{at}</td>\n   </tr>\n'
    )
