"""Containers (Object Storage API, "Containers")."""

from typing import Any

import msgspec

from nutshell.object_store.rows import ContainerRow, Usage, timestamp
from nutshell.object_store.swift import acls, checks, listings
from nutshell.object_store.swift.accounts import ensure
from nutshell.object_store.swift.authorize import OWNERS_ONLY, hide
from nutshell.object_store.swift.messages import Refusal, Request, Response, plain
from nutshell.object_store.swift.site import Site
from nutshell.object_store.syncing import target_of

KEPT = (
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    "x-container-sync-to",
    "x-versions-location",
    "x-history-location",
    "x-versions-enabled",
)


def headers_of(site: Site, req: Request, row: ContainerRow, usage: Usage) -> dict[str, str]:
    out = {
        "x-container-object-count": str(usage.objects),
        "x-container-bytes-used": str(usage.bytes),
        "x-timestamp": timestamp(row.created),
        "x-put-timestamp": timestamp(row.created),
        "last-modified": checks.http_time(row.changed),
        "accept-ranges": "bytes",
        "x-storage-policy": site.policy_names[row.policy],
    }
    out.update({k: v for k, v in row.meta.items() if not k.startswith("x-container-sysmeta-")})
    if req.owner:
        out["x-container-sharding"] = "False"
    else:
        hide(out)
    return out


async def get(site: Site, req: Request) -> Response:
    limit = checks.listing_limit(req, checks.LIMITS["container_listing_limit"])
    _, row = site.container(req)
    usage = site.engine.read(lambda i: i.container_usage(row.id))
    answer = Response(204 if req.method == "HEAD" else 200, headers_of(site, req, row, usage))
    answer.row = row
    if req.method == "GET":
        answer.entries = listings.objects(site, req, row, limit)
    return answer


def metadata_from(req: Request, old: dict[str, str]) -> dict[str, str]:
    """The container's metadata after the request's headers. 400 beyond the limits."""
    checks.check_metadata(req, "container")
    meta = dict(old)
    for key, value in req.headers.items():
        name = "x-" + key[len("x-remove-") :] if key.startswith("x-remove-") else key
        value = "" if name != key else value
        if not (name.startswith("x-container-meta-") or name in KEPT
                or (name.startswith("x-container-sysmeta-") and req.notes.get("inside"))):  # fmt: skip
            continue
        if name in OWNERS_ONLY and not req.owner:
            continue
        if name in ("x-container-read", "x-container-write") and value:
            try:
                value = acls.clean(name, value)
            except ValueError as why:
                raise Refusal(400, str(why)) from None
        if name == "x-container-sync-to" and value and target_of(value) is None:
            raise Refusal(400, f"Invalid X-Container-Sync-To: {value!r} is no container of this cloud's realm")
        if value:
            meta[name] = value
        elif name == key or name != "x-versions-enabled":
            meta.pop(name, None)
    checks.check_merged(meta, "container")
    return meta


async def put(site: Site, req: Request) -> Response:
    site.admitted(req)
    checks.check_container_name(req.container)
    metadata_from(req, {})
    wanted = req.headers.get("x-storage-policy", "")
    policy = site.policy_index(wanted) if wanted else None
    if wanted and policy is None:
        raise Refusal(400, f"Invalid X-Storage-Policy '{wanted}'")

    def work(index: Any) -> tuple[int, ContainerRow]:
        row: ContainerRow | None = None
        known = index.account(req.account)
        if known is not None and not known.deleted_at:
            row = index.container(known.id, req.container)
        now = site.now()
        if row is not None:
            if policy is not None and policy != row.policy:
                raise Refusal(409)
            changed = msgspec.structs.replace(row, changed=now, meta=metadata_from(req, row.meta))
            index.put_container(changed)
            return 202, changed
        meta = metadata_from(req, {})
        account = ensure(index, site, req.account)
        made = ContainerRow(index.new_id(), account.id, req.container, policy or 0, now, now, meta)
        index.put_container(made)
        return 201, made

    status, row = await site.engine.change(work)
    return plain(status, headers={"x-storage-policy": site.policy_names[row.policy]})


async def post(site: Site, req: Request) -> Response:
    site.container(req)
    metadata_from(req, {})

    def work(index: Any) -> None:
        account = index.account(req.account)
        row = index.container(account.id, req.container) if account is not None else None
        if row is None:
            raise Refusal(404)
        index.put_container(msgspec.structs.replace(row, changed=site.now(), meta=metadata_from(req, row.meta)))

    await site.engine.change(work)
    return plain(204)


async def delete(site: Site, req: Request) -> Response:
    site.container(req)

    def work(index: Any) -> None:
        account = index.account(req.account)
        row = index.container(account.id, req.container) if account is not None else None
        if row is None:
            raise Refusal(404)
        if index.container_usage(row.id).objects or index.list_versions(row.id, after=("", 0), prefix="", limit=1):
            raise Refusal(409)
        index.drop_container(row)

    await site.engine.change(work)
    return plain(204)
