"""The filters of the Swift API in their order, outermost first (as in Swift's sample proxy configuration)."""

from collections.abc import Awaitable, Callable, Sequence

from nutshell.object_store.failing import answered
from nutshell.object_store.swift import listings
from nutshell.object_store.swift.bulk import bulk_deletes
from nutshell.object_store.swift.copying import copies
from nutshell.object_store.swift.cors import cross_origin
from nutshell.object_store.swift.dlo import dynamic_objects
from nutshell.object_store.swift.etags import quoted_etags
from nutshell.object_store.swift.extracting import archives
from nutshell.object_store.swift.forms import forms
from nutshell.object_store.swift.history import past_containers
from nutshell.object_store.swift.messages import ClientLeft, Handler, Refusal, Request, Response, plain
from nutshell.object_store.swift.quotas import quotas
from nutshell.object_store.swift.rates import rate_limits
from nutshell.object_store.swift.site import Site
from nutshell.object_store.swift.slo import static_objects
from nutshell.object_store.swift.static_web import static_web
from nutshell.object_store.swift.symlinks import symlinks
from nutshell.object_store.swift.temporary_urls import temporary_urls
from nutshell.object_store.swift.versions import object_versions

Filter = Callable[[Site, Handler], Handler]


async def handled(work: Awaitable[Response], req: Request) -> Response:
    """The answer to a request, whatever it is."""
    try:
        return await answered(work, plain, req.trans_id, req.method)
    except Refusal as why:
        return why.response()
    except ClientLeft:
        return plain(499)


def format_listings(site: Site, inner: Handler) -> Handler:
    """Listings travel inside as entries and leave as text, JSON or XML."""

    async def handle(req: Request) -> Response:
        if req.obj or req.method not in ("GET", "HEAD") or not req.account:
            return await inner(req)
        listings.listing_type(req)
        answer = await inner(req)
        if answer.good and (answer.entries is not None or req.method == "HEAD"):
            return listings.render(req, answer)
        return answer

    return handle


FILTERS: Sequence[Filter] = (
    cross_origin,
    quoted_etags,
    format_listings,
    bulk_deletes,
    temporary_urls,
    forms,
    archives,
    rate_limits,
    static_web,
    copies,
    quotas,
    static_objects,
    dynamic_objects,
    past_containers,
    object_versions,
    symlinks,
)


def assemble(site: Site, core: Handler) -> Handler:
    handler = core
    for one in reversed(FILTERS):
        handler = one(site, handler)
    return handler
