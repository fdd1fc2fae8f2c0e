"""The loop that makes the world as the rows want it, and the sweep that compares the two.

Order: what is gone goes first (routers, ports), then networks, groups, ports and routers are made, then groups and
networks that are gone. `wanted` counts changes; a push clears `due_at` only if nothing changed since it was read.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.drivers import DriverFault
from nutshell.core.reconcile import Loop
from nutshell.core.resource import Resource
from nutshell.core.store import Tx
from nutshell.network.agents import heartbeat
from nutshell.network.bodies import mark
from nutshell.network.capability import NetworkDriver
from nutshell.network.floatingips import FloatingIp
from nutshell.network.networks import Network
from nutshell.network.ports import Port
from nutshell.network.push import ONE_BY_ONE, Pushing
from nutshell.network.removals import remove_from_world
from nutshell.network.routers import GATEWAY, INTERFACE, Router
from nutshell.network.security_groups import SecurityGroup

log = logging.getLogger("nutshell.network")
KINDS = ("network", "subnet", "port", "router", "security_group", "security_group_rule", "floatingip")
BATCH = 500
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
SWEEP_S = 30.0


def loops(cloud: Cloud) -> list[Loop]:
    pauses, alive = Pauses(), set[str]()
    return [
        Loop(
            "network",
            lambda c: settle(c, pauses),
            frozenset(f"network.{kind}" for kind in KINDS),
            every_s=15.0,
        ),
        Loop("network-sweep", lambda c: sweep(c, alive), frozenset(), every_s=SWEEP_S),
    ]


class Pauses:
    """How long to leave alone what failed; grows with each failure."""

    def __init__(self) -> None:
        self._of: dict[str, float] = {}

    def failed(self, key: str) -> float:
        self._of[key] = min(LONGEST_PAUSE_S, 2 * self._of.get(key, FIRST_PAUSE_S / 2))
        return self._of[key]

    def done(self, key: str) -> None:
        self._of.pop(key, None)


def settle(cloud: Cloud, pauses: Pauses) -> float | None:
    """One pass. Returns when to come again for what failed."""
    due = cloud.read(lambda tx: _next(tx, cloud.clock.now()))
    if due is None or due > 0:
        return due
    d = cloud.driver(NetworkDriver)
    _removals(cloud, pauses, ("router", "port"), d)
    for noun in (Network, SecurityGroup, Port, Router):
        _settle_kind(cloud, pauses, noun)
    _removals(cloud, pauses, ("group", "network"), d)
    due = cloud.read(lambda tx: _next(tx, cloud.clock.now()))
    return None if due is None else max(0.05, due)


def _next(tx: Tx, now: float) -> float | None:
    """In how many seconds something is due; None: nothing."""
    tables = [n.table.name for n in (Network, SecurityGroup, Port, Router)]
    text = " UNION ALL ".join(f"SELECT min(due_at) FROM {t}" for t in [*tables, "network_removal"])
    found = [at for (at,) in tx.sql(text).fetchall() if at is not None]
    return min(found) - now if found else None


def _settle_kind(cloud: Cloud, pauses: Pauses, noun: type[Any]) -> None:
    """Push the due rows of a noun: together where the driver takes many, and each alone if that fails, so that a bad
    one does not hold up the others."""
    now = cloud.clock.now()
    rows = cloud.read(lambda tx: tx.find(noun, noun.c("due_at") <= now, order="due_at", limit=BATCH))
    ids = [row.id for row in rows]
    if not ids or (noun not in ONE_BY_ONE and _push(cloud, pauses, noun, ids, alone=len(ids) == 1)):
        return
    if noun in ONE_BY_ONE or len(ids) > 1:
        for row_id in ids:
            _push(cloud, pauses, noun, [row_id])


def _push(cloud: Cloud, pauses: Pauses, noun: type[Any], ids: list[str], alone: bool = True) -> bool:
    try:
        rows = cloud.port(Pushing).push(cloud, noun, ids)
    except Exception as why:
        if isinstance(why, DriverFault):
            log.warning("%s %s: %s", noun.one, ids[0], why.why)
        else:
            log.exception("%s %s", noun.one, ids[0])
        if alone:
            _later(cloud, noun, ids[0], pauses.failed(ids[0]))
        return False
    for row_id in ids:
        pauses.done(row_id)
    cloud.write(lambda tx: made(tx, rows))
    return True


def _later(cloud: Cloud, noun: type[Any], row_id: str, pause_s: float) -> None:
    at = cloud.clock.now() + pause_s
    cloud.write(lambda tx: tx.sql(f"UPDATE {noun.table.name} SET due_at = ? WHERE id = ?", at, row_id).rowcount)


def made(tx: Tx, rows: Sequence[Any]) -> None:
    """The world has these rows as they were read: nothing is due unless they changed since; what depends is ACTIVE."""
    for row in rows:
        tx.sql(f"UPDATE {row.table.name} SET due_at = NULL WHERE id = ? AND wanted = ?", row.id, row.wanted)
        if isinstance(row, Port):
            _active(tx, tx.find(Port, id=row.id, status="DOWN"))
        elif isinstance(row, Network):
            _active(tx, tx.find(Port, network_id=row.id, device_owner="network:dhcp", status="DOWN"))
        elif isinstance(row, Router):
            _active(tx, tx.find(Port, device_id=row.id, device_owner=[INTERFACE, GATEWAY], status="DOWN"))
            was, now = ("DOWN", "ACTIVE") if row.admin_state_up and row.hosted else ("ACTIVE", "DOWN")
            for floating in tx.find(FloatingIp, router_id=row.id, status=was):
                tx.put(floating, status=now, touch=False)


def _active(tx: Tx, ports: Sequence[Port]) -> None:
    for port in ports:
        if port.admin_state_up:
            tx.put(port, status="ACTIVE", touch=False)


def _removals(cloud: Cloud, pauses: Pauses, kinds: tuple[str, ...], d: NetworkDriver) -> None:
    now = cloud.clock.now()
    for kind in kinds:
        ids = cloud.read(lambda tx, kind=kind: _gone(tx, kind, now))  # type: ignore[misc]
        if kind == "port" and ids:
            _remove(cloud, pauses, kind, ids, lambda ids=ids: d.remove_ports(ids))  # type: ignore[misc]
        elif kind == "group" and ids:
            _remove(cloud, pauses, kind, ids, lambda ids=ids: d.remove_groups(ids))  # type: ignore[misc]
        else:
            for one in ids:
                call = d.remove_router if kind == "router" else d.remove_network
                _remove(cloud, pauses, kind, [one], lambda call=call, one=one: call(one))  # type: ignore[misc]


def _gone(tx: Tx, kind: str, now: float) -> list[str]:
    rows = tx.sql("SELECT id FROM network_removal WHERE kind = ? AND due_at <= ? LIMIT ?", kind, now, BATCH).fetchall()
    return [row_id for (row_id,) in rows]


def _remove(cloud: Cloud, pauses: Pauses, kind: str, ids: list[str], call: Callable[[], None]) -> None:
    marks = ",".join("?" * len(ids))
    try:
        call()
    except Exception as why:
        if isinstance(why, DriverFault):
            log.warning("removing %s %s: %s", kind, ids[0], why.why)
        else:
            log.exception("removing %s %s", kind, ids[0])
        at = cloud.clock.now() + max(pauses.failed(i) for i in ids)
        text = f"UPDATE network_removal SET due_at = ? WHERE kind = ? AND id IN ({marks})"
        cloud.write(lambda tx: tx.sql(text, at, kind, *ids).rowcount)
        return
    for i in ids:
        pauses.done(i)
    cloud.port(Pushing).forget(ids)
    cloud.write(lambda tx: _removed(tx, kind, ids))


def _removed(tx: Tx, kind: str, ids: list[str]) -> None:
    """The world has them no more. A port that was bound again meanwhile is made again."""
    marks = ",".join("?" * len(ids))
    tx.sql(f"DELETE FROM network_removal WHERE kind = ? AND id IN ({marks})", kind, *ids)
    if kind == "port":
        back = tx.find(Port, Port.c("binding_host_id") != "", id=ids)
        mark(tx, Port.table.name, [p.id for p in back])


def sweep(cloud: Cloud, alive: set[str]) -> float | None:
    """Compare what the driver finds with the rows: what is missing is due again, what is unknown is removed.

    The host answered, so its agents are alive; `alive` remembers whether it answered the last time.
    """
    started = time.monotonic()
    try:
        found = cloud.driver(NetworkDriver).existing()
        first = not alive
        alive.add("host")
        cloud.write(lambda tx: heartbeat(cloud, tx, first))
    except DriverFault as why:
        alive.clear()
        log.warning("sweep: %s", why.why)
        return 5.0
    changed = cloud.write(lambda tx: compare(tx, found))
    if changed:
        log.info("sweep: %d things to mend, looked for %.3f s", changed, time.monotonic() - started)
        from nutshell.core.reconcile import Runner

        runner = cloud.ports.get(Runner)
        if runner is not None:
            runner.wake("network")
    return None


def compare(tx: Tx, found: Any) -> int:
    """Mark what is missing as due and record what is unknown for removal; how many."""
    wanted: dict[str, tuple[type[Resource], str, Any]] = {
        "network": (Network, "", found.networks),
        "group": (SecurityGroup, "", found.groups),
        "port": (Port, " WHERE binding_host_id != ''", found.ports),
        "router": (Router, "", found.routers),
    }
    changed = 0
    for kind, (noun, where, there) in wanted.items():
        rows = {i for (i,) in tx.sql(f"SELECT id FROM {noun.table.name}{where}").fetchall()}
        missing, unknown = sorted(rows - set(there)), sorted(set(there) - rows)
        for row_id in missing:
            tx.sql(f"UPDATE {noun.table.name} SET wanted = wanted + 1, due_at = ? WHERE id = ?", tx.now, row_id)
        for row_id in unknown:
            remove_from_world(tx, kind, row_id)
        changed += len(missing) + len(unknown)
    return changed
