"""Form POST: uploads by a browser's form, signed with the keys of temporary URLs (Object Storage API, "Form POST").

Files are passed on as they come; only the fields before them are held.
"""

import hmac
import re
from collections.abc import AsyncIterator
from html import escape
from urllib.parse import quote

from nutshell.object_store.numbers import whole
from nutshell.object_store.swift.messages import REASONS, Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site
from nutshell.object_store.swift.temporary_urls import read_signature, signing_keys

MOST_FIELD = 8192
WAIT = 64 << 10
DIGESTS = ("sha1", "sha256", "sha512")  # forms made for the first clients are signed with SHA-1


class _Wrong(Exception):
    def __init__(self, status: int, why: str) -> None:
        self.status, self.why = status, why


def forms(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        kind = req.headers.get("content-type", "")
        if req.method != "POST" or not req.container or not kind.lower().startswith("multipart/form-data"):
            return await inner(req)
        found = re.search(r'boundary="?([^";]+)"?', kind)
        if found is None or "temp_url_sig" in req.query:
            return await inner(req)
        reader = _Reader(req.chunks(), found[1].encode("latin1"))
        try:
            return await _Form(site, inner, req).run(reader)
        except _Wrong as why:
            text = f"FormPost: {why.why.title()}"
            kind = "text/html; charset=UTF-8" if why.status == 401 else "text/plain"
            return Response(why.status, {"content-type": kind}, text.encode())

    return handle


class _Reader:
    """The parts of a multipart body, one after the other."""

    def __init__(self, source: AsyncIterator[bytes], boundary: bytes) -> None:
        self._source, self._mark = source, b"\r\n--" + boundary
        self._held = b"\r\n"
        self._ended = False

    async def _more(self) -> bool:
        try:
            self._held += await self._source.__anext__()
        except StopAsyncIteration:
            self._ended = True
        return not self._ended

    async def next(self) -> dict[str, str] | None:
        """The next part's headers; None after the last."""
        async for _ in self.body():
            pass
        while len(self._held) < len(self._mark) + 2 and await self._more():
            pass
        rest = self._held[len(self._mark) :]
        if not self._held.startswith(self._mark) or rest.startswith(b"--"):
            return None
        while b"\r\n\r\n" not in self._held[len(self._mark) :]:
            if len(self._held) > WAIT or not await self._more():
                raise _Wrong(400, "invalid starting boundary")
        head, _, self._held = self._held[len(self._mark) :].partition(b"\r\n\r\n")
        headers = {}
        for line in head.decode("utf-8", "replace").split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        self._held = b"" + self._held
        return headers

    async def body(self) -> AsyncIterator[bytes]:
        """The current part's bytes, up to the boundary (which stays)."""
        while True:
            at = self._held.find(self._mark)
            if at >= 0:
                piece, self._held = self._held[:at], self._held[at:]
                if piece:
                    yield piece
                return
            safe = len(self._held) - len(self._mark)
            if safe > WAIT:
                piece, self._held = self._held[:safe], self._held[safe:]
                yield piece
            if not await self._more():
                piece, self._held = self._held, b""
                if piece.strip():
                    yield piece
                return


class _Form:
    def __init__(self, site: Site, inner: Handler, req: Request) -> None:
        self._site, self._inner, self._req = site, inner, req
        self._fields: dict[str, str] = {}
        self._signed = False

    async def run(self, reader: _Reader) -> Response:
        count, status, message, answer = 0, 0, "", None
        while (head := await reader.next()) is not None:
            said = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', head.get("content-disposition", "")))
            if said.get("filename"):
                count += 1
                if count > self._number("max_file_count"):
                    status, message = 400, "max file count exceeded"
                    break
                answer = await self._upload(reader, said["filename"], head)
                status = answer.status
                if not answer.good:
                    break
            elif "name" in said:
                self._fields[said["name"].lower()] = await self._field(reader)
        if not status:
            status, message = 400, "no files to process"
        return self._finish(status, message, answer)

    async def _field(self, reader: _Reader) -> str:
        value = b""
        async for piece in reader.body():
            value += piece
            if len(value) > MOST_FIELD:
                raise _Wrong(400, "a field is too long")
        return value.decode("utf-8", "replace")

    def _number(self, name: str) -> int:
        text = self._fields.get(name) or "0"
        found = whole(text.strip())
        if found is None:
            raise _Wrong(400, f"{'expired' if name == 'expires' else name} not an integer")
        return found

    def _check(self) -> None:
        """The signature over what the form may do."""
        if self._number("expires") < self._site.cloud.clock.now():
            raise _Wrong(401, "form expired")
        digest, signature = read_signature(self._fields.get("signature", ""), DIGESTS)
        limits = (self._fields.get(n) or "0" for n in ("max_file_size", "max_file_count", "expires"))
        rest = [self._fields.get("redirect") or "", *limits]
        path = f"/{self._req.version}/{self._req.account}/{self._req.container}"
        path += f"/{self._req.obj}" if self._req.obj or self._req.path.endswith("/") else ""
        for key, _ in signing_keys(self._site, self._req):
            for one in {path, self._req.mount + path}:
                made = hmac.new(key.encode("latin1"), "\n".join([one, *rest]).encode(), digest or "sha256").hexdigest()
                if digest and hmac.compare_digest(made, signature):
                    self._signed = True
                    return
        raise _Wrong(401, "invalid signature")

    async def _upload(self, reader: _Reader, filename: str, head: dict[str, str]) -> Response:
        most = self._number("max_file_size")
        headers = {"transfer-encoding": "chunked"}
        for field, header in (("x_delete_at", "x-delete-at"), ("x_delete_after", "x-delete-after")):
            if field in self._fields:
                headers[header] = str(self._number(field))
        self._check()
        for name in ("content-type", "content-encoding"):
            value = self._fields.get(name) or head.get(name)
            if value:
                headers[name] = value.encode().decode("latin1")

        async def capped() -> AsyncIterator[bytes]:
            size = 0
            async for piece in reader.body():
                size += len(piece)
                if size > most:
                    raise _Wrong(400, "max_file_size exceeded")
                yield piece

        sub = self._req.sub("PUT", obj=self._req.obj + filename, headers=headers, body=capped())
        account = self._req.account
        sub.allow = lambda r: r.account == account
        try:
            return await self._inner(sub)
        except Refusal as why:
            return why.response()

    def _finish(self, status: int, message: str, answer: Response | None) -> Response:
        redirect = self._fields.get("redirect")
        if redirect and self._signed:  # else anybody could send a browser anywhere from here
            where = f"{redirect}{'&' if '?' in redirect else '?'}status={status}&message={quote(message)}"
            where = quote(where, safe="/:?#[]@!$&'()*+,;=%~")
            body = f'<html><body><p><a href="{escape(where)}">Click to continue...</a></p></body></html>'
            return Response(303, {"location": where, "content-type": "text/html; charset=UTF-8"}, body.encode())
        body = f"{status} {REASONS[status][0]}" + (f"\r\nFormPost: {message.title()}" if message else "")
        if answer is not None and not answer.good and answer.body:
            return Response(status, {"content-type": "text/plain"}, answer.body)
        return Response(status, {"content-type": "text/plain"}, body.encode())
