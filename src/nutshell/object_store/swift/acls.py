"""Access control lists: of containers ("X-Container-Read", "X-Container-Write") and of accounts (JSON).

Source: Object Storage documentation, "Access Control Lists (ACLs)".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlparse

from nutshell.core.policy import Who
from nutshell.object_store.callers import words_for

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


def names_of(who: Who) -> frozenset[str]:
    """Everything by which a list may mean this caller (names only within the default domain)."""
    if not who.user_id:
        return frozenset()
    projects, users = words_for(who)
    pairs = {f"{p}:{u}" for p in (*projects, "*") for u in (*users, "*")}
    alone = {*(projects - {who.project_id}), f"AUTH_{who.project_id}"} if who.project_id else set()
    return frozenset(pairs | alone | set(who.roles))


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


def account_level(meta: Mapping[str, str], names: frozenset[str]) -> str:
    """The best that the account's list gives: admin, read-write, read-only or ""."""
    text = meta.get("x-account-access-control")
    if not text:
        return ""
    try:
        said = read_account_acl(text)
    except ValueError:
        return ""
    return next((level for level in LEVELS if names & set(said.get(level, ()))), "")
