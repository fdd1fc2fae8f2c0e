"""What a test may demand of a cloud's state, with answers that say what is there instead."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from nutshell.app import Running
from nutshell.core.cloud import Cloud
from nutshell.core.operations import Operation
from nutshell.core.resource import NOUNS, Resource
from nutshell.core.store import Tx
from nutshell.identity.port import Identity

POLL_S = 0.002
SHORT_S = 1.0  # who looks again so soon polls; what comes later is a timer
# Made by the cloud itself or kept for the record; who exists is the identity service's own business.
KEPT = frozenset({"compute.node", "network.agent", "volume.message"})
# A project's default security group comes with its first port and stays, as it does in OpenStack.
OWN_ACCORD = {
    "network.security_group": "name <> 'default'",
    "network.security_group_rule": "security_group_id IN"
    " (SELECT id FROM network_security_groups WHERE name <> 'default')",
}
Inventory = Mapping[str, frozenset[str]]
Usage = Mapping[tuple[str, str], int]


def settle(running: Running, timeout_s: float) -> None:
    """Until no row is due but those that a timer of more than a second holds back."""
    clock = running.cloud.clock

    def wrong() -> str:
        found = running.cloud.read(lambda tx: _under_way(running, tx))
        found = found or ", ".join(_at_work(running, name) for name in running.runner.busy())
        if found and clock.stopped:
            clock.step(POLL_S)  # what polls in short steps goes on
        return found

    _until(wrong, timeout_s)


def _at_work(running: Running, loop: str) -> str:
    """Which loop, and where in our code its thread is."""
    thread = running.runner._states[loop].thread
    frame = sys._current_frames().get(thread.ident or 0) if thread is not None else None
    while frame is not None and f"{os.sep}nutshell{os.sep}" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None:
        return f"loop {loop} is at work, without a thread"
    return f"loop {loop} is at work in {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _under_way(running: Running, tx: Tx) -> str:
    """What is being worked on, in words; empty when nothing is."""
    soon = running.cloud.clock.now() + SHORT_S
    paused = running.runner.paused(SHORT_S)
    found = []
    for noun in NOUNS:
        if "due_at" in noun.fields and noun.table.name in _tables(tx):
            rows = tx.sql(f"SELECT id FROM {noun.table.name} WHERE due_at <= ?", soon).fetchall()
            found += [f"{noun.one} {i} is due" for (i,) in rows if i not in paused]
    return "; ".join(found[:5])


def _tables(tx: Tx) -> frozenset[str]:
    known: frozenset[str] | None = tx.memo.get("tables")
    if known is None:
        rows = tx.sql("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        known = tx.memo["tables"] = frozenset(name for (name,) in rows)
    return known


def _until(wrong: Callable[[], str], timeout_s: float) -> None:
    """Return when nothing is wrong, twice in a row; else AssertionError with the last answer."""
    deadline, good = time.monotonic() + timeout_s, 0
    while True:
        why = wrong()
        good = 0 if why else good + 1
        if good == 2:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s: {why}")
        time.sleep(POLL_S)


def assert_servers(running: Running, project: str, counts: Mapping[str, int], timeout_s: float) -> None:
    from nutshell.compute.servers.noun import Server

    wanted = {k: v for k, v in counts.items() if v}

    def wrong() -> str:
        found: Counter[str] = Counter()
        about: list[str] = []
        for row in running.cloud.read(lambda tx: tx.find(Server, **_of(running.cloud, tx, project))):
            found[row.status] += 1
            fault = f": {row.fault['message']}" if row.fault else ""
            about.append(f"{row.name} ({row.id}) is {row.status}{fault}")
        if dict(found) == wanted:
            return ""
        return f"servers should be {_counts(wanted)}, but are {_counts(found)}: " + "; ".join(about[:10])

    _until(wrong, timeout_s)


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{k}={v}" for k, v in sorted(found.items())) or "none"


def _of(cloud: Cloud, tx: Tx, project: str) -> dict[str, Any]:
    if not project:
        return {}
    found = cloud.port(Identity).find_project(tx, project)
    if found is None:
        raise ValueError(f"there is no project {project!r}")
    return {"project_id": found}


def inventory(cloud: Cloud) -> Inventory:
    """The ids of all that lives, by kind."""
    return cloud.read(lambda tx: {n.event_kind: _ids(tx, n) for n in NOUNS if _counts_as_left(n)})


def _counts_as_left(noun: type[Resource]) -> bool:
    kind = noun.event_kind
    return not kind.startswith(("identity.", "nutshell.")) and noun is not Operation and kind not in KEPT


def _ids(tx: Tx, noun: type[Resource]) -> frozenset[str]:
    if noun.table.name not in _tables(tx):
        return frozenset()
    where = OWN_ACCORD.get(noun.event_kind, "1 = 1") + (" AND deleted_at IS NULL" if noun.tombstone else "")
    return frozenset(i for (i,) in tx.sql(f"SELECT id FROM {noun.table.name} WHERE {where}").fetchall())


def assert_nothing_left(running: Running, before: Inventory, timeout_s: float) -> None:
    def wrong() -> str:
        now = inventory(running.cloud)
        left = {kind: sorted(ids - before.get(kind, frozenset())) for kind, ids in now.items()}
        shown = [f"{len(ids)} {kind} ({', '.join(ids[:3])})" for kind, ids in sorted(left.items()) if ids]
        return f"left in the cloud: {'; '.join(shown)}" if shown else _in_the_world(running.cloud)

    _until(wrong, timeout_s)


def _in_the_world(cloud: Cloud) -> str:
    from nutshell.compute.capability import Hypervisor

    guests = [seen.server_id for seen in cloud.driver(Hypervisor).observe(None)]
    return f"left on the hypervisor: guests {', '.join(guests[:5])}" if guests else ""


def usage(cloud: Cloud) -> Usage:
    """(project id, name) → how much of a quota is used."""
    rows = cloud.read(lambda tx: tx.sql("SELECT project_id, name, used FROM quota_usage").fetchall())
    return {(owner, name): used for owner, name, used in rows}


def assert_no_quota_used(running: Running, before: Usage, project: str, timeout_s: float) -> None:
    owner = running.cloud.read(lambda tx: _of(running.cloud, tx, project)).get("project_id", "")

    def wrong() -> str:
        now = usage(running.cloud)
        more = {k: used - before.get(k, 0) for k, used in now.items() if owner in ("", k[0])}
        shown = [f"{name} {count:+d} of project {of}" for (of, name), count in sorted(more.items()) if count]
        return f"quota in use: {', '.join(shown)}" if shown else ""

    _until(wrong, timeout_s)
