"""The ETag quoter: ETags in the quotes that RFC 9110 wants, for accounts or containers that ask for it.

Source: Object Storage documentation, "Etag Quoter" (X-Account-Rfc-Compliant-Etags, X-Container-Rfc-Compliant-Etags).
"""

from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true
from nutshell.object_store.swift.site import Site

NAME = "rfc-compliant-etags"


def _may(site: Site, req: Request) -> bool:
    """Whether the caller may know what the place is like: refusals come by here, too."""
    try:
        site.admitted(req)
    except Refusal:
        return False
    return True


def quoted_etags(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        kind = "container" if req.container else "account"
        header = f"x-{kind}-{NAME}"
        if not req.obj and req.method in ("PUT", "POST") and header in req.headers:
            value = req.headers.pop(header)
            req.headers[f"x-{kind}-sysmeta-{NAME}"] = str(is_true(value)) if value else ""
            req.notes["inside"] = True
        answer = await inner(req)
        account, container = site.engine.find(req.account, req.container)
        of_account = account.meta.get(f"x-account-sysmeta-{NAME}", "") if account is not None else ""
        of_container = container.meta.get(f"x-container-sysmeta-{NAME}", "") if container is not None else ""
        if not req.obj:
            said = of_container if req.container else of_account
            if said and _may(site, req):
                answer.headers[header] = said
        elif is_true(of_container or of_account) and "etag" in answer.headers:
            etag = answer.headers["etag"]
            if not etag.startswith(('"', "W/")):
                answer.headers["etag"] = f'"{etag}"'
        return answer

    return handle
