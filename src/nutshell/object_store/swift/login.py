"""/auth/v1.0: the login of the first clients ("X-Auth-User: project:user"), answered from identity.

Source: Object Storage documentation, "Auth v1.0" (TempAuth's protocol).
"""

import typing as t

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.errors import TooManyRequests, Unauthorized, Unavailable
from nutshell.identity.port import Identity
from nutshell.object_store.swift.messages import Refusal, Response, plain


class Login:
    """An ASGI application at /auth."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        headers = {k.decode("latin1").lower(): v.decode("latin1") for k, v in scope.get("headers", ())}
        try:
            answer = await self._answer(scope, headers)
        except Refusal as why:
            answer = why.response()
        answer.headers.setdefault("content-length", str(len(answer.body)))
        said = [(k.encode("latin1"), v.encode("latin1")) for k, v in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": said})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: t.Any, headers: dict[str, str]) -> Response:
        parts = scope["path"].strip("/").split("/")
        if parts[:2] not in (["auth", "v1.0"], ["auth", "v1"]) or len(parts) > 4:
            raise Refusal(404)
        if scope["method"] != "GET":
            raise Refusal(405, headers={"allow": "GET"})
        name = headers.get("x-storage-user") or headers.get("x-auth-user") or ""
        secret = headers.get("x-storage-pass") or headers.get("x-auth-key") or ""
        if len(parts) == 4 and parts[2]:  # /auth/v1/<project>/auth
            project, user = parts[2], name.split(":", 1)[-1]
        else:
            project, colon, user = name.partition(":")
            if not colon:
                raise Refusal(401, headers={"www-authenticate": 'Swift realm="unknown"'})
        try:
            source = (scope.get("client") or ("",))[0]
            token, project_id, expires = await self._cloud.port(Identity).sign_in(project, user, secret, source)
        except Unauthorized:
            raise Refusal(401, headers={"www-authenticate": f'Swift realm="{project or "unknown"}"'}) from None
        except (TooManyRequests, Unavailable) as why:
            raise Refusal(why.http, headers={k.lower(): v for k, v in why.headers.items()}) from None
        fixed = self._cloud.settings[CloudConfig].endpoint.rstrip("/")
        base = fixed or f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}"
        return plain(
            200,
            headers={
                "x-storage-url": f"{base}/v1/AUTH_{project_id}",
                "x-storage-token": token,
                "x-auth-token": token,
                "x-auth-token-expires": str(max(0, int(expires - self._cloud.clock.real()))),
                "content-type": "text/plain; charset=UTF-8",
            },
        )
