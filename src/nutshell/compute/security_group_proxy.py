"""Security groups as compute once had them, before 2.36: only rules for what comes in, ports as numbers from -1.

Source: Compute API reference, "Security groups" and "Rules for security group" (deprecated). The network service has
them; each route asks it on behalf of the same caller.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

from nutshell.compute.network_proxy import LAST, READ, WRITE, network
from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.listing import page_limit
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask

RULE = "os_compute_api:os-security-groups:"
compute.policy({RULE + v: READ for v in ("get", "show")})
compute.policy({RULE + v: WRITE for v in ("create", "update", "delete", "rule:create", "rule:delete")})
Row = dict[str, Any]


class NoGroup(NotFound):
    """Security group {id} not found."""


class NoRule(NotFound):
    """Security group rule {id} not found."""


def _as_rule(r: Row, groups: Mapping[str, Row]) -> Row | None:
    """One inbound rule; None for one whose source group is gone."""
    protocol, low, high = r["protocol"], r["port_range_min"], r["port_range_max"]
    if protocol and low is None and high is None:
        low, high = (1, 65535) if protocol.upper() in ("TCP", "UDP") else (-1, -1)
    found: Row = {
        "id": r["id"],
        "parent_group_id": r["security_group_id"],
        "ip_protocol": protocol,
        "from_port": low,
        "to_port": high,
        "group": {},
        "ip_range": {},
    }
    if r["remote_group_id"]:
        source = groups.get(r["remote_group_id"])
        if source is None:
            return None
        found["group"] = {"name": source["name"], "tenant_id": source["project_id"]}
    else:
        found["ip_range"] = {"cidr": r["remote_ip_prefix"] or ("::/0" if r["ethertype"] == "IPv6" else "0.0.0.0/0")}
    return found


def _as_groups(ask: Ask[Any], rows: Sequence[Row]) -> list[Row]:
    known = {g["id"]: g for g in rows}
    for g in rows:
        for r in g["security_group_rules"]:
            source = r["remote_group_id"]
            if source and source not in known:
                with suppress(NotFound):
                    known[source] = network(ask, "GET", f"/security-groups/{source}")["security_group"]
    return [
        {
            "id": g["id"],
            "name": g["name"],
            "description": g["description"],
            "tenant_id": g["project_id"],
            "rules": [
                shown
                for r in g["security_group_rules"]
                if r["direction"] == "ingress" and (shown := _as_rule(r, known)) is not None
            ],
        }
        for g in rows
    ]


def _need(ask: Ask[Any], group_id: Any) -> Row:
    if not is_uuid(group_id):
        raise BadRequest("Security group id should be uuid")
    try:
        found: Row = network(ask, "GET", f"/security-groups/{group_id}")["security_group"]
    except NotFound:
        raise NoGroup(id=group_id) from None
    return found


@compute.route("GET", "/os-security-groups", rule=RULE + "get", until=LAST, writes=True)
def list_groups(ask: Ask[Any]) -> Any:
    """The project's, its default one made now if need be; an administrator may ask for everybody's."""
    everybody = ask.flag("all_tenants") and "admin" in ask.who.roles
    query = {} if everybody else {"project_id": ask.who.project_id}
    rows = network(ask, "GET", "/security-groups", **query)["security_groups"]
    first = int(ask.asked("offset")) if ask.asked("offset").isdecimal() else 0
    rows = rows[first : first + (page_limit(ask) or len(rows))]
    return {"security_groups": sorted(_as_groups(ask, rows), key=lambda g: (g["tenant_id"], g["name"]))}


@compute.route("GET", "/os-security-groups/{id}", rule=RULE + "show", until=LAST)
def show_group(ask: Ask[Any]) -> Any:
    return {"security_group": _as_groups(ask, [_need(ask, ask.params["id"])])[0]}


class Group(Body):
    name: str = field(min_length=1, max_length=255)
    description: str = field(max_length=255)


@compute.route("POST", "/os-security-groups", rule=RULE + "create", body=Group, wrap="security_group", until=LAST)
def create_group(ask: Ask[Any]) -> Any:
    wanted = {"security_group": {"project_id": ask.who.project_id, **ask.given}}
    made = network(ask, "POST", "/security-groups", wanted)["security_group"]
    return {"security_group": _as_groups(ask, [made])[0]}


@compute.route("PUT", "/os-security-groups/{id}", rule=RULE + "update", body=Group, wrap="security_group", until=LAST)
def update_group(ask: Ask[Any]) -> Any:
    found = _need(ask, ask.params["id"])
    try:
        changed = network(ask, "PUT", f"/security-groups/{found['id']}", {"security_group": ask.given})
    except Conflict as why:
        raise BadRequest(str(why)) from None
    return {"security_group": _as_groups(ask, [changed["security_group"]])[0]}


@compute.route("DELETE", "/os-security-groups/{id}", rule=RULE + "delete", until=LAST, http=202)
def delete_group(ask: Ask[Any]) -> None:
    found = _need(ask, ask.params["id"])
    try:
        network(ask, "DELETE", f"/security-groups/{found['id']}")
    except Conflict as why:
        raise BadRequest(str(why)) from None


class NewRule(Body):
    parent_group_id: str = field()
    group_id: str | None = field(default=None)
    ip_protocol: str | None = field(default=None)
    from_port: int | str | None = field(default=None)
    to_port: int | str | None = field(default=None)
    cidr: str | None = field(default=None)


def _number(value: int | str | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    try:
        return int(value)
    except ValueError:
        raise BadRequest("To and From ports must be integers") from None


def _ports(protocol: str | None, low: int | None, high: int | None, grouped: bool) -> tuple[int, int] | None:
    """The ports, or ICMP's type and code; None for all. 400 for what cannot be."""
    kind = (protocol or "").upper()
    if grouped and low is None and high is None:
        low, high = {"ICMP": (-1, -1), "TCP": (1, 65535), "UDP": (1, 65535)}.get(kind, (None, None))
    if not kind or low is None or high is None:
        if grouped:
            return None
        raise BadRequest("Not enough parameters to build a valid rule.")
    if kind not in ("TCP", "UDP", "ICMP"):
        raise BadRequest(f"Invalid IP protocol {protocol}.")
    least, most = (-1, 255) if kind == "ICMP" else (1, 65535)
    if not (least <= low <= most and least <= high <= most) or (kind != "ICMP" and low > high):
        raise BadRequest(f"Invalid port range {low}:{high}. Valid {kind} values are between {least} and {most}")
    return low, high


def _cidr(text: str | None) -> str:
    found = text or "0.0.0.0/0"
    try:
        ip_network(found, strict=False)
    except ValueError:
        raise BadRequest(f"Invalid cidr {text}.") from None
    return found


@compute.route("POST", "/os-security-group-rules", rule=RULE + "rule:create", body=NewRule,
               wrap="security_group_rule", until=LAST)  # fmt: skip
def create_rule(ask: Ask[Any]) -> Any:
    g = ask.given
    parent = _need(ask, g["parent_group_id"])
    source = _need(ask, g["group_id"]) if g.get("group_id") is not None else None
    ports = _ports(g.get("ip_protocol"), _number(g.get("from_port")), _number(g.get("to_port")), source is not None)
    cidr = None if source is not None else _cidr(g.get("cidr"))
    wanted: Row = {
        "security_group_id": parent["id"],
        "project_id": ask.who.project_id,
        "direction": "ingress",
        "ethertype": "IPv6" if cidr is not None and ":" in cidr else "IPv4",
        "remote_ip_prefix": cidr,
        "remote_group_id": source["id"] if source is not None else None,
    }
    if ports is not None:
        wanted["protocol"] = g["ip_protocol"].lower()
        low, high = (None if p == -1 else p for p in ports)
        wanted |= {"port_range_min": low, "port_range_max": high}
    try:
        made = network(ask, "POST", "/security-group-rules", {"security_group_rule": wanted})["security_group_rule"]
    except Conflict as why:
        raise BadRequest(str(why)) from None
    known = {source["id"]: source} if source is not None else {}
    return {"security_group_rule": _as_rule(made, known)}


@compute.route("DELETE", "/os-security-group-rules/{id}", rule=RULE + "rule:delete", until=LAST, http=202)
def delete_rule(ask: Ask[Any]) -> None:
    if not is_uuid(ask.params["id"]):
        raise BadRequest("Security group id should be uuid")
    try:
        network(ask, "DELETE", f"/security-group-rules/{ask.params['id']}")
    except NotFound:
        raise NoRule(id=ask.params["id"]) from None
