"""The short way: requests for plain objects in plain containers, with which none of the filters has anything to do.

Most requests are such, and the filters' cost would be a fifth of theirs. Whatever is not certain goes the long way.
"""

from nutshell.object_store.rows import AccountRow, ContainerRow
from nutshell.object_store.swift import reads, writes
from nutshell.object_store.swift.messages import Request, Response
from nutshell.object_store.swift.site import Site

METHODS = {"GET": reads.get, "HEAD": reads.get, "PUT": writes.put, "DELETE": writes.delete}
# Headers that some filter looks at: cors, static_web, copying, slo, dlo, symlinks.
ODD = frozenset(("origin", "x-web-mode", "x-copy-from", "x-static-large-object", "x-object-manifest",
                 "x-symlink-target"))  # fmt: skip
PLAIN = frozenset(("x-container-read", "x-container-write"))  # metadata of a container that no filter looks at


async def shortly(site: Site, req: Request) -> Response | None:
    """The answer, or None for a request that has to pass the filters."""
    handler = METHODS.get(req.method)
    if handler is None or req.query or not req.obj or not req.who.user_id or not ODD.isdisjoint(req.headers):
        return None
    account, container = site.engine.find(req.account, req.container)
    if account is None or container is None or not _plain(site, account, container):
        return None
    if handler is not reads.get:
        return await handler(site, req)
    found = site.engine.read(lambda i: i.stored(container.id, req.obj))
    if found is not None and (found[0].kind or "x-object-manifest" in found[0].meta):
        return None
    req.notes["stored"] = found
    return await reads.get(site, req)


def _plain(site: Site, account: AccountRow, container: ContainerRow) -> bool:
    if site.config.read_only or site.config.container_writes_per_s or account.deleted_at:
        return False
    if container.meta and not PLAIN.issuperset(container.meta):
        return False
    return not any(name.startswith("x-account-sysmeta-") for name in account.meta)
