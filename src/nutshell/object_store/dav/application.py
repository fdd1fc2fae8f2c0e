"""The WebDAV share as an ASGI application: who asks, files straight from the store, everything else through WsgiDAV.

WsgiDAV (the library that answers PROPFIND, LOCK and their kin) is a blocking WSGI application: it runs on a thread for
each such request and sees short bodies only. Files go past it: a PUT's body is read by the store's own upload while
WsgiDAV holds its locks, a GET is answered as the Swift API answers it, so nothing is ever whole in memory.
"""

import asyncio
import html
import io
import logging
import time
import typing as t
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree

from wsgidav.dav_error import DAVError
from wsgidav.request_resolver import RequestResolver
from wsgidav.util import normalize_path
from wsgidav.wsgidav_app import WsgiDAVApp

from nutshell.core.errors import TooManyRequests, Unauthorized, Unavailable
from nutshell.core.policy import Who
from nutshell.core.trace import Traces
from nutshell.object_store.dav.locks import KeptLocks
from nutshell.object_store.dav.resources import STAND_INS, Provider
from nutshell.object_store.dav.share import Failure, Share, place_of
from nutshell.object_store.dav.signing_in import Doorkeeper, pair_in
from nutshell.object_store.sockets import ClientSlow, draw_of, patient, pieces_of, send_answer, sends_parts
from nutshell.object_store.swift.messages import ClientLeft, Refusal, Request, Response, plain
from nutshell.object_store.swift.site import Site

log = logging.getLogger("nutshell.object_store")
MOUNT = "/dav"
MOST_XML = 1 << 20
METHODS = (
    "OPTIONS",
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
)
THREADS = 64  # one for each upload and each other request under way
GREETING = {"allow": ", ".join(METHODS), "dav": "1, 2", "ms-author-via": "DAV", "accept-ranges": "bytes"}
CHALLENGE = {"www-authenticate": 'Basic realm="nutshell", charset="UTF-8"'}
READING = ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
FINITE = b'<?xml version="1.0" encoding="utf-8"?><D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>'
WRITING = ("content-length", "content-type", "transfer-encoding")


def make_library(site: Site) -> t.Any:
    ElementTree.register_namespace("D", "DAV:")  # some clients know the properties by this prefix only
    logging.getLogger("wsgidav").setLevel(logging.CRITICAL)  # refusals are answers, failures are logged below
    config = {
        "provider_mapping": {"/": Provider()},
        "mount_path": MOUNT,
        "lock_storage": KeptLocks(site.engine),
        "property_manager": None,
        "middleware_stack": [RequestResolver],
        "hotfixes": {"re_encode_path_info": False},
        "logging": {"enable": False},
        "suppress_version_info": True,
        "verbose": 1,
    }
    return WsgiDAVApp(config)


class Application:
    """`await application(scope, receive, send)`, mounted at /dav."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._door = Doorkeeper(site.cloud)
        self._library = make_library(site)
        self._threads = ThreadPoolExecutor(THREADS, "webdav")

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 4404})
            return
        started, request_id = time.perf_counter(), "req-" + str(uuid.uuid4())
        headers = {k.decode("latin1").lower(): v.decode("latin1") for k, v in scope["headers"]}
        path, who = "", Who()
        patience_s = self.site.config.client_timeout_s
        receive = patient(receive, patience_s)
        try:
            path = path_in(scope)
            if scope["method"] == "OPTIONS":
                answer = Response(200, {**GREETING, "content-length": "0"})
            elif scope["method"] not in METHODS:
                answer = plain(405, headers={"allow": GREETING["allow"]})
            else:
                who = await self._admit(scope, headers, path)
                answer = await self._answer(scope, headers, path, receive, who, request_id)
        except Refusal as why:
            answer = why.response()
        except (TooManyRequests, Unavailable) as why:
            answer = plain(why.http, str(why), {k.lower(): v for k, v in why.headers.items()})
        except Unauthorized:
            answer = plain(401, headers=CHALLENGE)
        except ClientSlow:
            answer = plain(408)
        except Exception:
            log.exception("%s %s failed", request_id, scope["method"])
            answer = plain(500)
        answer.headers["x-openstack-request-id"] = request_id
        sent = 0
        try:
            sent = await send_answer(scope["method"], answer, send, _latin1, patience_s)
        finally:
            self.site.cloud.port(Traces).finished(
                None, request_id, scope["method"], MOUNT + path, answer.status, time.perf_counter() - started, sent,
                "object_store", who,
            )  # fmt: skip

    async def _admit(self, scope: t.Any, headers: dict[str, str], path: str) -> Who:
        pair = pair_in(headers.get("authorization", ""))
        if pair is None:
            raise Unauthorized()
        source = (scope.get("client") or ("",))[0]
        who = await self._door.admit(pair, place_of(path).project, source)
        self._door.check(who, scope["method"], MOUNT + path)
        return who

    async def _answer(
        self, scope: t.Any, headers: dict[str, str], path: str, receive: t.Any, who: Who, request_id: str
    ) -> Response:
        request = Request(
            scope["method"], MOUNT + path, "", "v1", f"AUTH_{who.project_id}" if who.project_id else "", "", "", {}, {},
            who=who, base=f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}",
            client=(scope.get("client") or ("",))[0], trans_id=request_id, notes={"may_send_part": sends_parts(scope)},
        )  # fmt: skip
        share = Share(self.site, request, asyncio.get_running_loop())
        if scope["method"] in ("GET", "HEAD"):
            return await self._read(share, headers, path)
        if scope["method"] == "PROPFIND" and headers.get("depth", "infinity").strip().lower() not in ("0", "1"):
            return Response(403, {"content-type": "application/xml; charset=utf-8"}, FINITE)
        environ = environ_of(scope, headers, path, who, share)
        if scope["method"] == "PUT":
            environ["nutshell.body"] = {"receive": receive, "draw": draw_of(scope)}
            environ["nutshell.upload"] = {k: headers[k] for k in WRITING if k in headers}
        else:
            body = await short_body(receive)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask_library, environ)

    # -- files
    async def _read(self, share: Share, headers: dict[str, str], path: str) -> Response:
        """A file as the Swift API sends it; a folder as a page for browsers."""
        place = place_of(path)
        if place.name and not path.endswith("/"):
            given = {k: headers[k] for k in READING if k in headers}
            notes = {"may_send_file": True, "may_send_part": share.request.notes["may_send_part"]}
            request = share.asking(share.request.method, place, headers=given, notes=notes)
            answer = await share.ask(request)
            if answer.status != 404 and not answer.headers.get("content-type", "").startswith("application/directory"):
                return as_file(answer)
        return await asyncio.get_running_loop().run_in_executor(self._threads, folder_page, share, path)

    # -- everything else, on a thread
    def _ask_library(self, environ: dict[str, t.Any]) -> Response:
        answer = Response(500)

        def start(status: str, headers: list[tuple[str, str]], why: t.Any = None) -> None:
            answer.status = int(status.split(" ", 1)[0])
            answer.headers = {k.lower(): v for k, v in headers}

        try:
            answer.body = b"".join(self._library(environ, start))
        except DAVError as why:
            if why.value >= 500 and why.value != 507:
                log.error("%s %s: %s", environ["REQUEST_METHOD"], why.value, why.get_user_info(), exc_info=why)
            answer = refused(why)
        if answer.headers.get("content-type", "").startswith("text/html"):  # the library's own pages
            answer = plain(answer.status) if answer.status >= 400 else Response(answer.status, answer.headers)
            answer.headers.pop("content-type", None)
        if answer.status == 204 and environ.get("nutshell.created"):
            answer = Response(201)
        answer.headers.pop("date", None)
        answer.headers.pop("content-length", None)
        return answer


def refused(why: DAVError) -> Response:
    """A refusal with its condition, where WebDAV has one for it, else with its reason."""
    if why.err_condition is not None:
        body = why.err_condition.as_string()
        return Response(
            why.value,
            {"content-type": "application/xml; charset=utf-8"},
            body.encode() if isinstance(body, str) else body,
        )
    return plain(why.value, why.context_info or "")


def _latin1(text: str) -> bytes:
    return text.encode("latin1", "replace")


def path_in(scope: t.Any) -> str:
    """The path below the mount, as text. 400 for what is none."""
    raw = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].removeprefix(MOUNT.encode())
    try:
        path = unquote_to_bytes(raw).decode()
        if "\0" in path or any(c in path for c in STAND_INS.values()):
            raise Refusal(400)
        return str(normalize_path(path or "/"))
    except (UnicodeDecodeError, DAVError):
        raise Refusal(400, "The path is no UTF-8 or leaves the share.") from None


async def short_body(receive: t.Any) -> bytes:
    """A body of XML. 413 for one that is no such thing."""
    body = bytearray()
    try:
        async for piece in pieces_of(receive, ClientLeft):
            body += piece
            if len(body) > MOST_XML:
                raise Refusal(413)
    except ClientLeft:
        raise Refusal(400) from None
    return bytes(body)


def environ_of(scope: t.Any, headers: dict[str, str], path: str, who: Who, share: Share) -> dict[str, t.Any]:
    environ: dict[str, t.Any] = {
        "REQUEST_METHOD": scope["method"], "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
        "SERVER_NAME": "localhost", "SERVER_PORT": "0", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
        "wsgi.url_scheme": scope.get("scheme", "http"), "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0",
        "wsgidav.auth.user_name": who.user_id, "nutshell.share": share,
    }  # fmt: skip
    for name, value in headers.items():
        if name not in ("content-length", "content-type", "authorization"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    if "destination" in headers:
        environ["HTTP_DESTINATION"] = destination(headers["destination"], headers.get("host", ""))
    return environ


def destination(text: str, host: str) -> str:
    """The path that a Destination header names, so that WsgiDAV reads it as it was meant. 400, 502."""
    scheme, mark, rest = text.partition("://")
    place, slash, path = rest.partition("/") if mark else ("", "/", text.removeprefix("/"))
    if mark and (scheme.lower() not in ("http", "https") or place.rpartition("@")[2].lower() != host.lower()):
        raise Refusal(502, "The destination is on another server.")
    try:
        clear = unquote_to_bytes(path.partition("#")[0].encode("latin1")).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "The destination is no UTF-8.") from None
    if "\0" in clear:
        raise Refusal(400)
    for char, instead in STAND_INS.items():
        clear = clear.replace(char, instead)
    return quote(slash + clear)


def as_file(answer: Response) -> Response:
    etag = answer.headers.get("etag", "")
    if etag and not etag.startswith(('"', "W/")):
        answer.headers["etag"] = f'"{etag}"'
    for name in [n for n in answer.headers if n.startswith("x-object-")]:
        del answer.headers[name]
    return answer


def folder_page(share: Share, path: str) -> Response:
    """For a browser: the members as links. 404."""
    place = place_of(path)
    try:
        found = share.find(place) if place.project else None
        if found is None or not found.folder:
            return plain(404) if place.project else Response(200, {"content-type": "text/plain"}, b"/dav/PROJECT\n")
        members = sorted(share.members(place), key=lambda f: (not f.folder, f.place.container, f.place.name))
    except Failure as why:
        return why.answer
    lines = []
    for one in members:
        bare = (one.place.name.rpartition("/")[2] or one.place.container) + ("/" if one.folder else "")
        href = quote(MOUNT + path.rstrip("/") + "/" + bare)
        lines.append(f'<li><a href="{href}">{html.escape(bare)}</a>{"" if one.folder else f" {one.size:,} bytes"}</li>')
    title = html.escape(path.strip("/"))
    text = f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>{''.join(lines)}</ul>"
    return Response(200, {"content-type": "text/html; charset=utf-8"}, text.encode())
