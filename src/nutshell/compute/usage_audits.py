"""Reports of the hosts' usage audits, which nothing here runs: each host says that it has none.

Source: Compute API reference, "Instance usage audit log". Usage is in the events and in the usage reports.
"""

from datetime import UTC, datetime
from typing import Any

from nutshell.compute import wire
from nutshell.compute.nodes import Node
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask

RULE = "os_compute_api:os-instance-usage-audit-log:"
PATH = "/os-instance_usage_audit_log"


def last_month(before: datetime) -> tuple[datetime, datetime]:
    """The last whole calendar month before a moment, the period audits would have."""
    end = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return end.replace(month=(end.month - 2) % 12 + 1, year=end.year - (end.month == 1)), end


def _report(ask: Ask[Any], before: datetime) -> dict[str, Any]:
    begin, end = last_month(before)
    hosts = [n.name for n in ask.tx.find(Node, order="number")]
    return {
        "period_beginning": str(begin),
        "period_ending": str(end),
        "num_hosts": len(hosts),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(hosts),
        "hosts_not_run": hosts,
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": f"0 of {len(hosts)} hosts done. 0 errors." if hosts else "ALL hosts done. 0 errors.",
        "log": {},
    }


@compute.route("GET", PATH, rule=RULE + "list")
def index(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    return {"instance_usage_audit_logs": _report(ask, datetime.fromtimestamp(ask.now, UTC).replace(tzinfo=None))}


@compute.route("GET", PATH + "/{before}", rule=RULE + "show")
def show(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    text = ask.params["before"]
    try:
        before = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise BadRequest(f"Invalid timestamp for date {text}") from None
    return {"instance_usage_audit_log": _report(ask, before)}
