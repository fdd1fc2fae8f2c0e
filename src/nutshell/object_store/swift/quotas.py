"""Quotas on containers and accounts, and read-only ones (Object Storage documentation, "Container quotas", "Account
quotas", "Read only").

X-Container-Meta-Quota-Bytes and -Count are the owner's; X-Account-Quota-Bytes (also by policy) the reseller's.
"""

from typing import Any

from nutshell.object_store.numbers import count
from nutshell.object_store.rows import AccountRow, ContainerRow
from nutshell.object_store.swift.messages import Handler, Refusal, Request, Response, is_true
from nutshell.object_store.swift.site import Site

BYTES, COUNT = "x-container-meta-quota-bytes", "x-container-meta-quota-count"
WRITES = ("PUT", "POST", "DELETE", "COPY")


def quotas(site: Site, inner: Handler) -> Handler:
    async def handle(req: Request) -> Response:
        if req.method not in ("PUT", "POST", "DELETE", "COPY"):
            return await inner(req)
        if site.config.read_only:
            raise Refusal(405, "Writes are disabled.")
        account, container = site.engine.find(req.account, req.container)
        if account is not None:
            _refuse_read_only(site, req, account, container)
        if not req.container:
            _account_headers(site, req)
        elif not req.obj:
            _container_headers(req)
        elif req.method == "PUT" and account is not None:
            _check(site, req, account, container)
        return await inner(req)

    return handle


def _refuse_read_only(site: Site, req: Request, account: AccountRow, container: ContainerRow | None) -> None:
    inner = container.meta if container is not None else {}
    said = account.meta.get("x-account-sysmeta-read-only") or inner.get("x-container-sysmeta-read-only", "")
    if is_true(said) and not site.cloud.rules.allows("object_store:reseller_admin", req.who, {}):
        site.admitted(req)
        raise Refusal(405, "Writes are disabled for this account.")


def _container_headers(req: Request) -> None:
    for name in (BYTES, COUNT):
        value = req.headers.get(name)
        if value and count(value) is None:
            raise Refusal(400, "Invalid bytes quota." if name == BYTES else "Invalid count quota.")


def _account_headers(site: Site, req: Request) -> None:
    """Only resellers set an account's quotas; others are told so."""
    for name in list(req.headers):
        bare = name.removeprefix("x-remove-") if name.startswith("x-remove-") else name.removeprefix("x-")
        if not bare.startswith(("account-quota-bytes", "account-quota-count", "account-meta-quota-bytes")):
            continue
        if not site.cloud.rules.allows("object_store:reseller_admin", req.who, {}):
            raise Refusal(403)
        value = "" if name.startswith("x-remove-") else req.headers.pop(name)
        if value and count(value) is None:
            raise Refusal(400, "Invalid bytes quota.")
        policy = bare.partition("policy-")[2]
        if policy and site.policy_index(policy) is None:
            raise Refusal(400, f"No such policy: {policy}")
        req.headers.pop(name, None)
        kept = "x-account-sysmeta-" + bare.removeprefix("account-").removeprefix("meta-")
        req.headers[kept] = value
        req.notes["inside"] = True


def _check(site: Site, req: Request, account: AccountRow, container: ContainerRow | None) -> None:
    size = req.length or 0
    same = req.notes.get("same_bytes")
    size = max(size, same.size if same is not None else 0)
    meta = container.meta if container is not None else {}
    if container is not None and (BYTES in meta or COUNT in meta):
        row = container
        used = site.engine.read(lambda i: i.container_usage(row.id))
        most, number = count(meta.get(BYTES, "")), count(meta.get(COUNT, ""))
        full = most is not None and used.bytes + size > most
        if full or (number is not None and used.objects + 1 > number):
            site.admitted(req)  # how full it is is not told to strangers
            raise Refusal(413, "Upload exceeds quota.")
    whole = {k: v for k, v in account.meta.items() if k.startswith("x-account-sysmeta-quota-")}
    if not whole or site.cloud.rules.allows("object_store:reseller_admin", req.who, {}):
        return
    by_policy: dict[int, Any] = site.engine.read(lambda i: dict(i.account_usage(account.id)))
    for name, value in whole.items():
        policy = name.partition("policy-")[2]
        index = site.policy_index(policy) if policy else None
        mine = [u for i, u in by_policy.items() if not policy or i == index]
        if policy and (container is None or container.policy != index):
            continue
        counts = "quota-count" in name  # "account" has a count in it, too
        used_now = sum(u.objects if counts else u.bytes for u in mine)
        if used_now + (1 if counts else size) > int(value):
            site.admitted(req)
            raise Refusal(413, "Upload exceeds policy quota." if policy else "Upload exceeds quota.")


def account_quota_headers(meta: dict[str, str]) -> dict[str, str]:
    """How an account's answer shows its quotas."""
    out = {}
    for name, value in meta.items():
        if name.startswith("x-account-sysmeta-quota-"):
            bare = name.removeprefix("x-account-sysmeta-")
            out["x-account-" + bare] = value
            if bare == "quota-bytes":
                out["x-account-meta-quota-bytes"] = value
    return out
