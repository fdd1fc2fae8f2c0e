"""Listing and showing servers (Compute API, "List Servers": filters, sorting, pages, changes-since)."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from nutshell.compute import wire
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.status import POWER, STATUSES
from nutshell.compute.service import compute
from nutshell.core.clock import parse_iso
from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page, show_row
from nutshell.core.policy import who_value
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import Span
from nutshell.network.port import Networking

RULE = "os_compute_api:servers"
Condition = sa.ColumnElement[bool]
PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})
USUAL = frozenset({"limit", "all_tenants"})  # a list that asks for no more has a query that is known already
OPEN = frozenset(
    {"name", "status", "image", "flavor", "ip", "changes-since", "all_tenants", "reservation_id", "ip6"}
)  # fmt: skip - what anybody may filter by
OPEN_283 = frozenset(
    {"availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at", "power_state",
     "task_state", "vm_state", "progress", "user_id"}
)  # fmt: skip
TAGS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})
NEVER = frozenset(
    {"block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices"}
)
# wire name → (column, how it is compared)
COLUMNS: Mapping[str, tuple[str, str]] = {
    "name": ("name", "regex"),
    "display_name": ("name", "regex"),
    "description": ("description", "regex"),
    "display_description": ("description", "regex"),
    "hostname": ("hostname", "regex"),
    "key_name": ("key_name", "equal"),
    "uuid": ("id", "equal"),
    "user_id": ("user_id", "equal"),
    "image": ("image_id", "equal"),
    "image_ref": ("image_id", "equal"),
    "flavor": ("flavor_id", "equal"),
    "host": ("host", "equal"),
    "node": ("host", "equal"),
    "reservation_id": ("reservation_id", "equal"),
    "availability_zone": ("zone", "equal"),
    "vm_state": ("vm_state", "equal"),
    "task_state": ("task_state", "equal"),
    "launch_index": ("launch_index", "int"),
    "progress": ("progress", "int"),
    "access_ip_v4": ("access_ip_v4", "equal"),
    "access_ip_v6": ("access_ip_v6", "equal"),
    "root_device_name": ("root_device", "equal"),
    "locked_by": ("locked_by", "equal"),
    "created_at": ("created_at", "time"),
    "launched_at": ("launched_at", "time"),
    "terminated_at": ("terminated_at", "time"),
    "config_drive": ("config_drive", "bool"),
}
OTHERS = frozenset(
    {"project_id", "tenant_id", "kernel_id", "ramdisk_id", "power_state", "auto_disk_config", "soft_deleted", "deleted",
     "status", "ip", "ip6", "all_tenants", "changes-since"}
)  # fmt: skip
SORTS = {
    "access_ip_v4": "access_ip_v4", "access_ip_v6": "access_ip_v6", "auto_disk_config": "disk_config",
    "availability_zone": "zone", "config_drive": "config_drive", "created_at": "created_at",
    "display_description": "description", "display_name": "name", "host": "host", "hostname": "hostname",
    "image_ref": "image_id", "instance_type_id": "flavor_id", "kernel_id": "id", "key_name": "key_name",
    "launch_index": "launch_index", "launched_at": "launched_at", "locked_by": "locked_by", "node": "host",
    "power_state": "seen", "progress": "progress", "project_id": "project_id", "ramdisk_id": "id",
    "root_device_name": "root_device", "task_state": "task_state", "terminated_at": "terminated_at",
    "updated_at": "updated_at", "user_id": "user_id", "uuid": "id", "vm_state": "vm_state",
}  # fmt: skip
IGNORED_SORTS = frozenset(
    {"architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted",
     "deleted_at", "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on",
     "locked", "memory_mb", "os_type", "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus",
     "vm_mode"}
)  # fmt: skip


def _list(ask: Ask[Any]) -> Answer:
    every = _all_tenants(ask)
    wheres: list[Condition] = []
    dead, usual = False, None if every else ("mine", _mine)
    if not USUAL.issuperset(ask.query):
        (wheres, dead), usual = _conditions(ask, every), None
    asked, ask.query = ask.query, _paging(ask)
    page = select_page(ask, Server, *wheres, deleted=dead, usual=usual)
    ask.query = asked  # the next page's link says what this request said
    return page_answer(ask, Server, page)


compute.verb(Server, "list", rule=f"{RULE}:detail", path="/detail")(_list)
compute.verb(Server, "list", rule=f"{RULE}:index", view="brief")(_list)
compute.verb(Server, "show", rule=f"{RULE}:show", view="show")(show_row)


def _mine() -> Condition:
    found: Condition = Server.c("project_id") == who_value("project_id")
    return found


def _all_tenants(ask: Ask[Any]) -> bool:
    if "all_tenants" not in ask.query:
        return False
    text = ask.asked("all_tenants")
    if text != "" and text.lower() not in wire.WORDS and not text.isdecimal():
        raise BadRequest(f"Invalid value for all_tenants: {text}")
    wanted = text == "" or (bool(int(text)) if text.isdecimal() else wire.WORDS[text.lower()])
    if wanted:
        ask.must(f"{RULE}:{'index' if ask.route.view == 'brief' else 'detail'}:get_all_tenants")
    return wanted


def _allowed(ask: Ask[Any]) -> frozenset[str]:
    """The filters this caller may use in this version."""
    found = OPEN | (TAGS if ask.at in Span.of("2.26", "") else frozenset())
    if ask.at in Span.of("2.66", ""):
        found |= {"changes-before"}
    if ask.at in Span.of("2.83", ""):
        found |= OPEN_283
    if ask.may(f"{RULE}:allow_all_filters"):
        found |= frozenset(COLUMNS) | OTHERS
    return found | ({"locked"} if ask.at in Span.of("2.73", "") else frozenset())


def _conditions(ask: Ask[Any], every: bool) -> tuple[list[Condition], bool]:
    """What the query asks for, and whether the dead are to be looked at."""
    known = frozenset(COLUMNS) | OTHERS | PAGING | NEVER
    known |= TAGS if ask.at in Span.of("2.26", "") else frozenset()
    known |= {"changes-before"} if ask.at in Span.of("2.66", "") else frozenset()
    known |= {"locked"} if ask.at in Span.of("2.73", "") else frozenset()
    for name in ask.query:
        if name in NEVER or name.startswith("_"):
            raise BadRequest(f"Invalid filter field: {name}.")
    wire.only_query(ask, known, "2.75")
    allowed = _allowed(ask)
    given = {k: v for k, v in ask.query.items() if k in allowed}
    wheres: list[Condition] = []
    if not every:
        wheres.append(Server.c("project_id") == ask.who.project_id)
    elif given.get("project_id") or given.get("tenant_id"):
        wheres.append(Server.c("project_id") == (given.get("project_id") or given["tenant_id"])[-1])
    for name, values in given.items():
        how = COLUMNS.get(name)
        if how is not None:
            wheres.append(_compare(ask, name, *how, values))
    dead = _lifetimes(ask, given, wheres)
    if "status" in given:
        wheres.append(_status(ask, given["status"]))
    if "power_state" in given:
        wheres.append(Server.c("seen").in_([p.value for p, n in POWER.items() if str(n) in given["power_state"]]))
    if "locked" in given:
        locked = Server.c("locked_by") != ""
        wheres.append(locked if wire.truth("locked", given["locked"][-1]) else ~locked)
    wheres.extend(_tagged(name, given[name][-1]) for name in TAGS & set(given))
    for name in ("ip", "ip6"):
        if name in given:
            wheres.append(_with_address(ask, wheres, given[name][-1], 6 if name == "ip6" else 4))
    return wheres, dead


def _compare(ask: Ask[Any], name: str, column: str, how: str, values: list[str]) -> Condition:
    c, value = Server.c(column), values[-1]
    if how == "regex":
        return _matches(name, c, value)
    if how == "int":
        return c == (int(value) if value.isdecimal() else -1)
    if how == "bool":
        return c == wire.WORDS.get(value.lower(), False)
    if how == "time":
        return c == _time(name, value)
    return c.is_(None) if value in ("None", "null") else c == value


def _matches(name: str, column: Any, text: str) -> Condition:
    """A regular expression anywhere in the text; plain text is looked for by the database itself."""
    try:
        re.compile(text)
    except re.error:
        raise wire.invalid(name, text, f"{text!r} is not a 'regex'") from None
    if re.fullmatch(r"[\w \-@:/]*", text):
        found: Condition = column.contains(text, autoescape=True)
        return found
    matched: Condition = column.regexp_match(text)
    return matched


def _time(name: str, text: str) -> float:
    try:
        return parse_iso(text.replace(" ", "+"))
    except ValueError:
        raise wire.invalid(name, text, f"{text!r} is not a 'date-time'") from None


def _lifetimes(ask: Ask[Any], given: Mapping[str, list[str]], wheres: list[Condition]) -> bool:
    """changes-since, changes-before and deleted; True when the dead count."""
    changed = sa.func.coalesce(Server.c("deleted_at"), Server.c("updated_at"), Server.c("created_at"))
    since = _time("changes-since", given["changes-since"][-1]) if "changes-since" in given else None
    before = _time("changes-before", given["changes-before"][-1]) if "changes-before" in given else None
    if since is not None:
        wheres.append(changed >= since)
    if before is not None:
        if since is not None and before < since:
            raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
        wheres.append(changed <= before)
    deleted = given.get("deleted") or given.get("soft_deleted")
    if "deleted" in [s.lower() for s in given.get("status", [])]:
        if "admin" not in ask.who.roles:
            raise Forbidden("Only administrators may list deleted instances")
        deleted = ["true"]
    if deleted is not None and given.get("deleted", deleted) is deleted:
        wanted = wire.WORDS.get(deleted[-1].lower(), False)
        wheres.append(Server.c("deleted_at").is_not(None) if wanted else Server.c("deleted_at").is_(None))
        return wanted
    return since is not None or before is not None


def _status(ask: Ask[Any], values: list[str]) -> Condition:
    wanted = [v.upper() for v in values]
    known = [v for v in wanted if v in STATUSES | {"MIGRATING", "PASSWORD", "SOFT_DELETED", "UNKNOWN"}]
    if not known:
        if ask.at in Span.of("2.38", ""):
            raise BadRequest("Invalid status value")
        return sa.false()
    return sa.or_(Server.c("status").in_(known), sa.and_(sa.literal("DELETED" in known), Server.c("want") == "gone"))


def _tagged(name: str, text: str) -> Condition:
    """Tags are one JSON array in a column; a tag holds no comma and its JSON text is unambiguous."""
    tags = [msgspec.json.encode(t).decode() for t in text.split(",")]
    each = [Server.c("tags").contains(t, autoescape=True) for t in tags]
    joined = sa.or_(sa.false(), *each) if name.endswith("any") else sa.and_(sa.true(), *each)
    return sa.not_(joined) if name.startswith("not") else joined


def _with_address(ask: Ask[Any], wheres: list[Condition], text: str, version: int) -> Condition:
    """Servers with an address that matches: the network service knows the addresses, so it is asked for all."""
    try:
        pattern = re.compile(text)
    except re.error:
        raise wire.invalid("ip", text, f"{text!r} is not a 'regex'") from None
    ids = [s.id for s in ask.tx.find(Server, *wheres)]
    ports = ask.cloud.port(Networking).ports_of(ask.tx, ids) if ids else {}
    hit: Callable[[str], bool] = lambda ip: pattern.search(ip) is not None  # noqa: E731 - a name for mypy
    found = [
        server_id
        for server_id, mine in ports.items()
        if any(a.version == version and hit(a.ip) for p in mine for a in p.addresses)
    ]
    return Server.c("id").in_(found) if found else sa.false()


def _paging(ask: Ask[Any]) -> dict[str, list[str]]:
    """The query with only paging left, the sort keys as our columns."""
    keys, ways = ask.query.get("sort_key", []), ask.query.get("sort_dir", [])
    kept_keys: list[str] = []
    kept_ways: list[str] = []
    for i, key in enumerate(keys):
        locked = key == "locked" and ask.at in Span.of("2.73", "")
        if key in IGNORED_SORTS and not locked:
            if ask.at in Span.of("2.75", ""):
                raise wire.invalid("sort_key", key, "is not one of the keys servers can be sorted by")
            continue
        if key not in SORTS and not locked:
            raise wire.invalid("sort_key", key, "is not one of the keys servers can be sorted by")
        if key in ("host", "node") and "admin" not in ask.who.roles:
            raise Forbidden("Only administrators can sort servers by host or node")
        kept_keys.append("locked_by" if locked else SORTS[key])
        kept_ways.append(ways[i] if i < len(ways) else ways[0] if len(ways) == 1 else "desc")
    for way in ways:
        if way not in ("asc", "desc"):
            raise BadRequest(f"Unknown sort direction, must be one of: asc, desc. Got: {way}")
    found = {k: v for k, v in ask.query.items() if k in ("limit", "marker")}
    if ask.asked("limit"):
        found["limit"] = [str(min(wire.whole("limit", ask.asked("limit")), 1000))]
    if kept_keys:
        found |= {"sort_key": kept_keys, "sort_dir": kept_ways}
    return found
