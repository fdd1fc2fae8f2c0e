"""Access control lists: of containers ("X-Container-Read", "X-Container-Write") and of accounts (JSON).

Source: Object Storage documentation, "Access Control Lists (ACLs)".
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlparse

from nutshell.core.cloud import Cloud
from nutshell.core.policy import Who
from nutshell.object_store.callers import in_default_domain, words_for

LEVELS = ("admin", "read-write", "read-only")


def clean(header: str, value: str) -> str:
    """The list without its superfluous parts. ValueError says what is wrong with it."""
    kept = []
    for raw in value.split(","):
        item = raw.strip()
        if not item:
            continue
        first, colon, second = (part.strip() for part in item.partition(":"))
        if not colon or not first.startswith("."):
            kept.append(item)
            continue
        if first not in (".r", ".ref", ".referer", ".referrer"):
            raise ValueError(f"Unknown designator {first!r} in ACL: {item!r}")
        if "write" in header:
            raise ValueError(f"Referrers not allowed in write ACL: {item!r}")
        minus = "-" if second.startswith("-") else ""
        host = second.removeprefix("-").strip()
        if host != "*" and host.startswith("*"):
            host = host[1:].strip()
        if host in ("", "."):
            raise ValueError(f"No host/domain value after referrer designation in ACL: {item!r}")
        kept.append(f".r:{minus}{host}")
    return ",".join(kept)


def split(value: str) -> tuple[list[str], list[str]]:
    """(referrers, everybody else)."""
    items = value.split(",") if value else []
    return [i[3:] for i in items if i.startswith(".r:")], [unquote(i) for i in items if not i.startswith(".r:")]


def referrer_allowed(referrer: str, hosts: Sequence[str]) -> bool:
    """Whether the list admits whoever comes from there; the last word that fits counts."""
    came_from = urlparse(referrer or "").hostname or "unknown"
    allowed = False
    for host in hosts:
        bare = host.removeprefix("-")
        if bare == "*" or bare == came_from or (bare.startswith(".") and came_from.endswith(bare)):
            allowed = not host.startswith("-")
    return allowed


def means(cloud: Cloud, who: Who, account: str, members: Collection[str], whole: bool = False) -> bool:
    """Whether a list that the account's owner wrote means this caller: as PROJECT:USER by ids, by names where all are
    of the default domain, or by "*"; as AUTH_<project id>. `whole`: a project's name alone means all of it."""
    if not who.user_id or not members:
        return False
    for named in (False, True):
        projects, users = words_for(who, named)
        words = {f"{p}:{u}" for p in (*projects, "*") for u in (*users, "*")}
        words |= {f"AUTH_{who.project_id}"} if who.project_id else set()
        words |= projects - {who.project_id} if whole else set()
        if words & set(members):
            return not named or account == f"AUTH_{who.project_id}" or in_default_domain(cloud, account)
    return False


def means_role(who: Who, account: str, members: Collection[str]) -> bool:
    """Whether a container's list means the caller by a role, which it does in the account's own project alone."""
    mine = {r.lower() for r in who.roles} if account == f"AUTH_{who.project_id}" else set()
    return any(m.lower() in mine for m in members)


def read_account_acl(text: str) -> dict[str, list[str]]:
    """The account's list. ValueError when it is none."""
    try:
        said: Any = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise ValueError(f"Syntax error in input ({text!r})") from None
    if not isinstance(said, dict):
        raise ValueError(f"Syntax error in input ({text!r})")
    for key, members in said.items():
        if key not in LEVELS:
            raise ValueError(f"Key {key!r} not recognized")
        if not isinstance(members, list):
            raise ValueError(f"Value for key {key!r} must be a list")
        for member in members:
            if not isinstance(member, str):
                raise ValueError(f"Elements of {key!r} list must be strings")
    return said


def account_level(cloud: Cloud, who: Who, account: str, meta: Mapping[str, str]) -> str:
    """The best that the account's list gives: admin, read-write, read-only or ""."""
    text = meta.get("x-account-access-control")
    if not text:
        return ""
    try:
        said = read_account_acl(text)
    except ValueError:
        return ""
    return next((level for level in LEVELS if means(cloud, who, account, said.get(level, ()), whole=True)), "")
