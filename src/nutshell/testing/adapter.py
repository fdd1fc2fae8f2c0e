"""A transport for `requests` (and so for keystoneauth and openstacksdk) that calls the cloud without a socket."""

import io
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from nutshell.testing.front import Front
from nutshell.testing.shared import Shared


class InProcess(HTTPAdapter):  # type: ignore[misc]  # requests has no types here
    """Mount it at the cloud's address. Answers come whole; a body may be bytes, text, a file or an iterable."""

    def __init__(self, shared: Shared, front: Front) -> None:
        super().__init__()
        self._shared, self._front = shared, front

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        scope, body = self._scope(request), _chunks(request.body)
        limit_s = timeout[1] if isinstance(timeout, tuple) else timeout
        try:
            status, headers, content = self._shared.call(_call(self._front, scope, body), limit_s)
        except TimeoutError:
            raise requests.exceptions.ReadTimeout(f"no answer within {limit_s} s", request=request) from None
        except ConnectionError as why:
            raise requests.exceptions.ConnectionError(f"the connection was cut: {why}", request=request) from None
        kept = HTTPHeaderDict()
        for name, value in headers:
            kept.add(name.decode("latin1"), value.decode("latin1"))
        raw = HTTPResponse(
            io.BytesIO(content), kept, status, preload_content=False, request_method=request.method or "GET"
        )
        return self.build_response(request, raw)

    def _scope(self, request: requests.PreparedRequest) -> dict[str, Any]:
        at = urlsplit(request.url or "")
        raw = at.path.removeprefix(f"/{self._front.name}") or "/"
        headers = [(str(k).lower().encode("latin1"), _bytes(v)) for k, v in request.headers.items()]
        return {
            "type": "http",
            "http_version": "1.1",
            "scheme": at.scheme,
            "method": request.method,
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": at.query.encode(),
            "headers": [(b"host", at.netloc.encode()), *headers],
            "client": ("127.0.0.1", 0),
        }


async def _call(front: Front, scope: dict[str, Any], body: Iterable[bytes]) -> tuple[int, list[Any], bytes]:
    """Status, headers and content. ConnectionError when the cloud hung up instead of answering."""
    chunks = iter(body)
    status, headers, content, whole = 0, [], io.BytesIO(), False

    async def receive() -> MutableMapping[str, Any]:
        found = next(chunks, None)
        return {"type": "http.request", "body": found or b"", "more_body": found is not None}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status, headers, whole
        if message["type"] == "http.response.start":
            status, headers = message["status"], message["headers"]
        else:
            content.write(message.get("body", b""))
            whole = not message.get("more_body")

    await front(scope, receive, send)
    if not status or not whole:
        raise ConnectionError("closed before the answer was whole")
    return status, headers, content.getvalue()


def _chunks(body: Any) -> Iterable[bytes]:
    if not body:
        return []
    if isinstance(body, bytes | str):
        return [_bytes(body)]
    if hasattr(body, "read"):
        return iter(lambda: _bytes(body.read(1 << 20)) or None, None)
    return (_bytes(part) for part in body)


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8")
