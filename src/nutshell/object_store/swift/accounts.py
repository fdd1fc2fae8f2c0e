"""Accounts (Object Storage API, "Accounts"): one a project, made when first needed."""

from typing import Any

import msgspec

from nutshell.object_store.rows import AccountRow, Usage, timestamp
from nutshell.object_store.swift import acls, checks, listings
from nutshell.object_store.swift.authorize import hide
from nutshell.object_store.swift.messages import Refusal, Request, Response, plain
from nutshell.object_store.swift.quotas import account_quota_headers
from nutshell.object_store.swift.site import Site


def headers_of(site: Site, req: Request, row: AccountRow, usage: dict[int, Usage]) -> dict[str, str]:
    out = {
        "x-account-container-count": str(sum(u.containers for u in usage.values())),
        "x-account-object-count": str(sum(u.objects for u in usage.values())),
        "x-account-bytes-used": str(sum(u.bytes for u in usage.values())),
        "x-timestamp": timestamp(row.created),
        "x-put-timestamp": timestamp(row.created),
        "accept-ranges": "bytes",
    }
    for index, used in usage.items():
        name = site.policy_names[index].title()
        out[f"x-account-storage-policy-{name}-container-count"] = str(used.containers)
        out[f"x-account-storage-policy-{name}-object-count"] = str(used.objects)
        out[f"x-account-storage-policy-{name}-bytes-used"] = str(used.bytes)
    out.update({k: v for k, v in row.meta.items() if not k.startswith("x-account-sysmeta-")})
    out.update(account_quota_headers(row.meta))
    if not req.owner:
        hide(out)
    return out


async def get(site: Site, req: Request) -> Response:
    account, _ = site.admitted(req)
    limit = checks.listing_limit(req, checks.LIMITS["account_listing_limit"])
    if account is not None and account.deleted_at:
        return plain(410, headers={"x-account-status": "Deleted"})
    if account is None:
        checks.check_account_name(req.account)
        now = site.now()
        account = AccountRow(0, req.account, now, now, {})
    row = account
    usage = site.engine.read(lambda i: dict(i.account_usage(row.id)))
    out = headers_of(site, req, row, usage)
    if req.account == f"AUTH_{req.who.project_id}" and req.who.project_domain_id not in ("", "default"):
        out["x-account-project-domain-id"] = req.who.project_domain_id
    answer = Response(204 if req.method == "HEAD" else 200, out)
    if req.method == "GET":
        answer.entries = listings.containers(site, req, row, limit)
    return answer


def metadata_from(req: Request, old: dict[str, str]) -> dict[str, str]:
    """The account's metadata after the request's headers. 400 beyond the limits."""
    checks.check_metadata(req, "account")
    meta = dict(old)
    for key, value in req.headers.items():
        if key.startswith("x-remove-account-meta-"):
            meta.pop("x-" + key[len("x-remove-") :], None)
        elif key.startswith("x-account-meta-") or (key.startswith("x-account-sysmeta-") and req.notes.get("inside")):
            if key.startswith(("x-account-meta-temp-url-key", "x-account-meta-quota-bytes")) and not req.owner:
                continue
            _set(meta, key, value)
        elif key == "x-account-access-control" and req.owner:
            _set(meta, key, _access_list(value))
    checks.check_merged(meta, "account")
    return meta


def _set(meta: dict[str, str], key: str, value: str) -> None:
    if value:
        meta[key] = value
    else:
        meta.pop(key, None)


def _access_list(value: str) -> str:
    try:
        said = acls.read_account_acl(value)
    except ValueError as why:
        raise Refusal(400, f"X-Account-Access-Control invalid: {why}") from None
    return msgspec.json.encode(dict(sorted(said.items()))).decode() if any(said.values()) else ""


async def put(site: Site, req: Request) -> Response:
    site.admitted(req)
    checks.check_account_name(req.account)
    return await _write(site, req, 202, 201)


async def post(site: Site, req: Request) -> Response:
    site.admitted(req)
    checks.check_account_name(req.account)
    return await _write(site, req, 204, 204)


async def _write(site: Site, req: Request, known: int, fresh: int) -> Response:
    metadata_from(req, {})

    def work(index: Any) -> int:
        row = index.account(req.account)
        if row is not None and row.deleted_at:
            raise Refusal(403, "", {"x-account-status": "Deleted"})
        now = site.now()
        if row is None:
            index.put_account(AccountRow(index.new_id(), req.account, now, now, metadata_from(req, {})))
            return fresh
        index.put_account(msgspec.structs.replace(row, changed=now, meta=metadata_from(req, row.meta)))
        return known

    return plain(await site.engine.change(work))


async def delete(site: Site, req: Request) -> Response:
    """The account's owner is gone: the reaper takes what it holds."""
    site.admitted(req)

    def work(index: Any) -> None:
        row = index.account(req.account)
        if row is None or row.deleted_at:
            raise Refusal(404)
        index.put_account(msgspec.structs.replace(row, deleted_at=site.now(), meta={}))

    await site.engine.change(work)
    return plain(204)


def ensure(index: Any, site: Site, name: str) -> AccountRow:
    """The account, made if need be. 404 while it is being deleted."""
    row: AccountRow | None = index.account(name)
    if row is None:
        checks.check_account_name(name)
        now = site.now()
        row = AccountRow(index.new_id(), name, now, now, {})
        index.put_account(row)
    if row.deleted_at:
        raise Refusal(404)
    return row
