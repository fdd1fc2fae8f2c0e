"""Who may do what with accounts, containers and objects: policy's rules, then the lists that owners wrote."""

from nutshell.core.cloud import Cloud
from nutshell.core.errors import Unauthorized
from nutshell.object_store.rows import AccountRow, ContainerRow
from nutshell.object_store.service import objects
from nutshell.object_store.swift import acls
from nutshell.object_store.swift.messages import NOBODY, Refusal, Request

READS = ("GET", "HEAD")
OWNERS_ONLY = (
    "x-container-read",
    "x-container-write",
    "x-container-sync-key",
    "x-container-sync-to",
    "x-account-meta-temp-url-key",
    "x-account-meta-temp-url-key-2",
    "x-container-meta-temp-url-key",
    "x-container-meta-temp-url-key-2",
    "x-account-access-control",
)


def authenticate(cloud: Cloud, req: Request) -> None:
    """Find out who asks. A token that is not valid makes nobody of them; `authorize` then says 401."""
    token = req.headers.get("x-auth-token") or req.headers.get("x-storage-token") or ""
    req.token = token
    if token and cloud.authenticate is not None:
        try:
            req.who = cloud.authenticate(token)
            if cloud.admits is not None and req.who.facts.get("access_rules") is not None:
                cloud.admits(req.who, objects, req.method, req.here)
        except Unauthorized:
            req.who = NOBODY
            req.notes["bad_token"] = True


def authorize(cloud: Cloud, req: Request, account: AccountRow | None, container: ContainerRow | None) -> None:
    """Pass, or 401 (nobody) or 403 (somebody). Sets `req.owner`."""
    if req.trusted:
        return
    if req.allow is not None:
        req.owner = False
        if not req.allow(req):
            raise denied(req)
        return
    who, rules = req.who, cloud.rules
    target = {"project_id": req.account.removeprefix("AUTH_"), "account": req.account}
    req.owner = False
    reads = req.method in READS
    if who.user_id:
        if rules.allows("object_store:reseller_admin", who, target):
            req.owner = True
            return
        if reads and rules.allows("object_store:read_any", who, target):
            return
        own = rules.allows("object_store:own", who, target)
        if own and not (req.method in ("DELETE", "PUT") and not req.container):
            req.owner = True
            return
        if not own and reads and rules.allows("object_store:read", who, target):
            return
        level = acls.account_level(cloud, who, req.account, account.meta) if account is not None else ""
        if level == "admin" and not (req.method in ("DELETE", "PUT") and not req.container):
            req.owner = True
            return
        if (level == "read-write" and (req.container or reads)) or (level == "read-only" and reads):
            return
    if container is not None and _listed(cloud, req, container):
        return
    raise denied(req)


def _listed(cloud: Cloud, req: Request, container: ContainerRow) -> bool:
    """Whether the container's own lists admit this. Writing a container's own metadata is the owner's."""
    if req.method in READS:
        hosts, members = acls.split(container.meta.get("x-container-read", ""))
        admitted = hosts and acls.referrer_allowed(req.headers.get("referer", ""), hosts)
        if admitted and (req.obj or ".rlistings" in members):
            return True
    elif req.obj:
        _, members = acls.split(container.meta.get("x-container-write", ""))
    else:
        return False
    return acls.means(cloud, req.who, req.account, members) or acls.means_role(req.who, req.account, members)


def denied(req: Request) -> Refusal:
    if req.who.user_id:
        return Refusal(403)
    realm = req.account or "unknown"
    return Refusal(401, headers={"www-authenticate": f'Swift realm="{realm}"'})


def hide(headers: dict[str, str]) -> None:
    """Take out what only owners see."""
    for name in OWNERS_ONLY:
        headers.pop(name, None)
