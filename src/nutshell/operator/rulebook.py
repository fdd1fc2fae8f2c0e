"""The fault rules in force, and what they do. Implements `core.faults.Faults`.

Rules are rows, so that every API process of a cloud has them: each reads them anew when a commit says they changed.
How often a rule's calls came is counted in memory where one process serves (SQLite; written to the row behind the
answer), and in the row's own transaction where several may (PostgreSQL), for "the third call" must be one for all.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from nutshell.compute.port import Hosts
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.drivers import DriverFault
from nutshell.core.events import Event
from nutshell.core.faults import Change, Cut, halved, refusal
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.operator.fault_rules import LONGEST_S, At, Effect, FaultRule
from nutshell.operator.matching import is_turn, means_call, means_request, means_work, name_of

KEPT = 10_000  # operations whose turn is remembered: a loop looks at one many times


class Rulebook:
    """Also the tests' way in: `add`, `rules`, `clear`, `counted`."""

    def __init__(self, cloud: Cloud, enabled: bool) -> None:
        self.enabled, self.on = enabled, False
        self.rules: tuple[FaultRule, ...] = ()
        self._cloud = cloud
        self._shared = bool(cloud.settings[CloudConfig].database)
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[int, int]] = {}
        self._cleared: dict[str, threading.Event] = {}
        self._turns: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._lost: set[str] = set()
        if enabled:
            cloud.store.on_commit(self._told)

    # -- for those in this process

    def add(self, **said: Any) -> FaultRule:
        """Set a rule; members as in the API. ValueError says what is wrong with it."""
        from nutshell.core.errors import Fault
        from nutshell.core.schema import check
        from nutshell.core.versions import ALWAYS
        from nutshell.operator.fault_rules import wrong_with

        try:
            given = check(FaultRule, said, "create", ALWAYS, where="fault")
        except Fault as why:
            raise ValueError(str(why)) from None
        rule = FaultRule(id=self._cloud.clock.new_id(), **given)
        wrong = "fault rules are off: [faults] enabled" if not self.enabled else ""
        wrong = wrong or wrong_with(rule, self._cloud.services) or self.refuse(rule)
        if wrong:
            raise ValueError(wrong)
        return self._cloud.write(lambda tx: tx.add(rule))

    def clear(self, rule_id: str = "") -> None:
        """Take one rule away, or all."""

        def work(tx: Tx) -> None:
            for rule in tx.find(FaultRule):
                if rule_id in ("", rule.id):
                    tx.drop(rule)

        self._cloud.write(work)

    def counted(self, rule: FaultRule) -> tuple[int, int]:
        """(matching calls, strikes), as they are; on PostgreSQL as they were when the rule was read."""
        calls, hits = self._counts.get(rule.id, (0, 0))
        return max(calls, rule.calls), max(hits, rule.hits)

    def refuse(self, rule: FaultRule) -> str:
        if rule.at is not At.HOST:
            return ""
        hosts = self._cloud.ports.get(Hosts)
        if hosts is None:
            return "only simulated hosts can be lost: this cloud's are real"
        names = hosts.names()
        return "" if rule.host in names else f"there is no host {rule.host!r}; there are: {', '.join(sorted(names))}"

    # -- the rules in force

    def load(self) -> None:
        """Read the rules as they are now; hosts that rules take away are away."""
        rules = tuple(self._cloud.read(lambda tx: tx.find(FaultRule, order="created_at, id")))
        with self._lock:
            known = {r.id for r in rules}
            for gone in [i for i in self._cleared if i not in known]:
                self._cleared.pop(gone).set()
                self._counts.pop(gone, None)
            for rule in rules:
                self._cleared.setdefault(rule.id, threading.Event())
                self._counts.setdefault(rule.id, (rule.calls, rule.hits))
            self.rules, self.on = rules, bool(rules)
            lost = {r.host for r in rules if r.effect is Effect.LOST}
            back, self._lost = self._lost - lost, lost
        self._act_on_hosts(rules, back)

    def _told(self, events: Sequence[Event]) -> None:
        if any(e.kind == FaultRule.event_kind for e in events):
            self.load()

    def _act_on_hosts(self, rules: Sequence[FaultRule], back: set[str]) -> None:
        hosts = self._cloud.ports.get(Hosts)
        if hosts is None:
            return
        for name in back:
            hosts.find(name)
        for rule in rules:
            if rule.at is At.HOST and not self._counts[rule.id][1]:
                self._counts[rule.id] = (1, 1)
                self._save(rule, 1, 1)
                if rule.effect is Effect.RESTART:
                    hosts.restart(rule.host)
            if rule.effect is Effect.LOST:
                hosts.lose(rule.host)

    # -- the seams (core/faults.py)

    async def request(self, ask: Ask[Any]) -> Change | None:
        changes: list[Change] = []
        if ask.service.name in ("nutshell", "system"):
            return None
        rules = [r for r in self.rules if r.at is At.REQUEST]
        name = name_of(ask) if any(r.resource_name for r in rules) else None
        for rule in rules:
            if not means_request(rule, ask, name):
                continue
            if not (await self._cloud.in_thread(partial(self._count, rule)) if self._shared else self._count(rule)):
                continue
            if rule.delay_s:
                await asyncio.sleep(rule.delay_s)
            if rule.effect is Effect.CUT_BODY:
                changes.append(halved)
            elif rule.after:
                changes.append(partial(_refuse, rule))
            elif rule.effect is not Effect.DELAY:
                _refuse(rule)
        return None if not changes else lambda answer: _all(changes, answer)

    def work(self, kind: str, row: Resource, key: str) -> None:
        for rule in self.rules:
            if not means_work(rule, kind, row):
                continue
            seen = self._turns.get((rule.id, key))
            if seen is not None:
                continue
            struck = self._turns[(rule.id, key)] = self._count_apart(rule)
            while len(self._turns) > KEPT:
                self._turns.popitem(last=False)
            if struck:
                self._strike(rule, always_final=True)

    def driver(self, service: str, method: str, given: Sequence[Any]) -> None:
        for rule in self.rules:
            if means_call(rule, service, method, given) and self._count_apart(rule):
                self._strike(rule)

    def _strike(self, rule: FaultRule, always_final: bool = False) -> None:
        if rule.effect is Effect.HANG:
            cleared = self._cleared.get(rule.id)
            if cleared is not None:
                cleared.wait(rule.delay_s or LONGEST_S)
            raise DriverFault(rule.message, final=rule.final)
        if rule.delay_s:
            self._cloud.clock.sleep(rule.delay_s)
        if rule.effect in (Effect.FAIL, Effect.ERROR):
            raise DriverFault(rule.message, final=rule.final or always_final)

    # -- counting

    def _count(self, rule: FaultRule) -> bool:
        """Count a matching call; whether the rule strikes at it."""
        if self._shared:
            calls, struck = self._cloud.write(lambda tx: _count_in(tx, rule))
            return struck
        with self._lock:
            calls, hits = self._counts.get(rule.id, (0, 0))
            struck = is_turn(rule, calls + 1, hits)
            self._counts[rule.id] = (calls + 1, hits + struck)
            self._save(rule, calls + 1, hits + struck)
        return struck

    def _count_apart(self, rule: FaultRule) -> bool:
        """As `_count`, also where this thread may be in a transaction: then the count has one of its own."""
        return self._cloud.threads.submit(self._count, rule).result() if self._shared else self._count(rule)

    def _save(self, rule: FaultRule, calls: int, hits: int) -> None:
        """Behind the answer: in the order of the counts, for the queue is one."""
        text = f"UPDATE {FaultRule.table.name} SET calls = ?, hits = ? WHERE id = ?"
        with suppress(RuntimeError):  # the store is closed: the cloud ends
            self._cloud.store.submit(lambda tx: tx.sql(text, calls, hits, rule.id).rowcount)


def _count_in(tx: Tx, rule: FaultRule) -> tuple[int, bool]:
    table = FaultRule.table.name
    row = tx.sql(f"UPDATE {table} SET calls = calls + 1 WHERE id = ? RETURNING calls, hits", rule.id).fetchone()
    if row is None:  # taken away meanwhile
        return 0, False
    struck = is_turn(rule, row[0], row[1])
    if struck:
        tx.sql(f"UPDATE {table} SET hits = hits + 1 WHERE id = ?", rule.id)
    return row[0], struck


def _refuse(rule: FaultRule, answer: Answer | None = None) -> Answer:
    """Instead of the request, or of its answer."""
    if rule.effect is Effect.CUT:
        raise Cut(f"cut by fault rule {rule.id}")
    headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    raise refusal(rule.status, rule.message, headers)


def _all(changes: Sequence[Change], answer: Answer) -> Answer:
    for change in changes:
        answer = change(answer)
    return answer
