"""What projects used of the cloud in a span of time: server hours, and sizes times hours.

Source: Compute API reference, "Usage reports". Computed from the servers, deleted ones as long as they are kept.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nutshell.compute import wire
from nutshell.compute.servers.noun import Server
from nutshell.compute.service import compute
from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_limit
from nutshell.core.service import Ask
from nutshell.core.versions import Span

RULE = "os_compute_api:os-simple-tenant-usage:"
PATH = "/os-simple-tenant-usage"
PAGED = Span.of("2.40", "")
FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
MOST = 1000


def _time(ask: Ask[Any], name: str) -> float | None:
    text = ask.query.get(name, [""])[0]
    for form in FORMS if text else ():
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass
    if text:
        raise BadRequest("Datetime is in invalid format")
    return None


def window(ask: Ask[Any]) -> tuple[float, float]:
    """From and to; what lies ahead has not been used yet."""
    begin, end = _time(ask, "start"), _time(ask, "end")
    end = ask.now if end is None else end
    begin = min(ask.now, end) if begin is None else begin
    if begin > end or (begin == end and "start" in ask.query):
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    return begin, min(end, ask.now)


def page(ask: Ask[Any], begin: float, end: float, project_id: str | None) -> tuple[list[Server], bool]:
    """The servers that ran in the window, by project and id, and whether more follow."""
    ended = Server.c("terminated_at")
    wheres: list[sa.ColumnElement[bool]] = [
        Server.c("launched_at") <= end,
        sa.or_(ended.is_(None), ended >= begin),
        sa.or_(Server.c("deleted_at").is_(None), ended.is_not(None)),
    ]
    if project_id is not None:
        wheres.append(Server.c("project_id") == project_id)
    paged = ask.at in PAGED
    limit = (page_limit(ask) or MOST) if paged else MOST
    if paged and ask.asked("marker"):
        own: dict[str, Any] = {} if project_id is None else {"project_id": project_id}
        marker = ask.tx.one(Server, deleted=True, id=ask.asked("marker"), **own)
        if marker is None:
            raise BadRequest(f"Marker {ask.asked('marker')} could not be found.")
        project = Server.c("project_id")
        later = sa.and_(project == marker.project_id, Server.c("id") > marker.id)
        wheres.append(sa.or_(project > marker.project_id, later))
    rows = ask.tx.find(Server, *wheres, deleted=True, order="project_id, id", limit=limit + 1)
    return rows[:limit], len(rows) > limit


def one(s: Server, begin: float, end: float, now: float) -> dict[str, Any]:
    """A server's part."""
    launched, ended = s.launched_at or now, s.terminated_at
    until = end if ended is None else min(end, ended)
    return {
        "instance_id": s.id,
        "name": s.name,
        "tenant_id": s.project_id,
        "flavor": s.flavor["name"],
        "vcpus": s.flavor["vcpus"],
        "memory_mb": s.flavor["ram"],
        "local_gb": s.flavor["disk"] + s.flavor["ephemeral"],
        "hours": max(0.0, until - max(launched, begin)) / 3600,
        "started_at": iso_micros(launched),
        "ended_at": None if ended is None else iso_micros(ended),
        "state": s.vm_state if ended is None else "terminated",
        "uptime": int((now if ended is None else ended) - launched),
    }


def sums(rows: Sequence[Server], begin: float, end: float, now: float, detailed: bool) -> list[dict[str, Any]]:
    """The projects' totals, each with its servers if `detailed`."""
    found: dict[str, dict[str, Any]] = {}
    for s in rows:
        part = one(s, begin, end, now)
        total = found.get(s.project_id)
        if total is None:
            total = found[s.project_id] = {
                "tenant_id": s.project_id,
                "start": iso_micros(begin),
                "stop": iso_micros(end),
                "total_hours": 0.0,
                "total_vcpus_usage": 0.0,
                "total_memory_mb_usage": 0.0,
                "total_local_gb_usage": 0.0,
            }
            if detailed:
                total["server_usages"] = []
        total["total_hours"] += part["hours"]
        for name in ("vcpus", "memory_mb", "local_gb"):
            total[f"total_{name}_usage"] += part[name] * part["hours"]
        if detailed:
            total["server_usages"].append(part)
    return list(found.values())


def _links(ask: Ask[Any], path: str, name: str, rows: Sequence[Server], more: bool) -> Mapping[str, Any]:
    if not more or ask.at not in PAGED:
        return {}
    kept = [(k, v) for k, values in ask.query.items() if k != "marker" for v in values]
    href = f"{ask.url}{path}?{urlencode([*kept, ('marker', rows[-1].id)])}"
    return {name: [{"rel": "next", "href": href}]}


@compute.route("GET", PATH, rule=RULE + "list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    """Every project that had a server."""
    wire.only_query(ask, frozenset({"start", "end", "detailed", "limit", "marker"}), "2.75")
    begin, end = window(ask)
    rows, more = page(ask, begin, end, None)
    found = sums(rows, begin, end, ask.now, ask.query.get("detailed", ["0"])[0] == "1")
    return {"tenant_usages": found, **_links(ask, PATH, "tenant_usages_links", rows, more)}


def _of_path(ask: Ask[Any]) -> dict[str, Any]:
    return {"project_id": ask.params["id"]}


@compute.route("GET", PATH + "/{id}", rule=RULE + "show", against=_of_path)
def show(ask: Ask[Any]) -> dict[str, Any]:
    """One project, with its servers; empty when it had none."""
    wire.only_query(ask, frozenset({"start", "end", "limit", "marker"}), "2.75")
    begin, end = window(ask)
    rows, more = page(ask, begin, end, ask.params["id"])
    found = sums(rows, begin, end, ask.now, detailed=True)
    path = f"{PATH}/{ask.params['id']}"
    return {"tenant_usage": found[0] if found else {}, **_links(ask, path, "tenant_usage_links", rows, more)}
