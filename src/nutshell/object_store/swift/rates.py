"""Rate limits: so many changes a second of an account's containers, and of a container's objects (Object Storage
documentation, "Rate limiting"). Off unless configured; a request that would wait too long is refused (498).
"""

import asyncio

from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response
from nutshell.object_store.swift.site import Site

LONGEST_WAIT_S = 60.0
MOST_KNOWN = 10_000


def rate_limits(site: Site, inner: Handler) -> Handler:
    per_account, per_container = site.config.account_writes_per_s, site.config.container_writes_per_s
    if not per_account and not per_container:
        return inner
    due: dict[str, float] = {}  # key → when the next one may go

    async def handle(req: Request) -> Response:
        key, rate = "", 0.0
        if req.container and not req.obj and req.method in ("PUT", "DELETE", "POST"):
            key, rate = req.account, per_account
        elif req.obj and req.method in ("PUT", "DELETE", "POST", "COPY"):
            key, rate = f"{req.account}/{req.container}", per_container
        if rate:
            now = asyncio.get_running_loop().time()
            at = max(now, due.get(key, 0.0))
            if at - now > LONGEST_WAIT_S:
                raise Refusal(498, "Slow down")
            if len(due) > MOST_KNOWN:
                due.clear()
            due[key] = at + 1 / rate
            if at > now:
                await asyncio.sleep(at - now)
        return await inner(req)

    return handle
