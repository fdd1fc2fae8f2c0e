"""Where things fit: the search for a provider with room, and claims that cannot overcommit.

Source: Placement API reference, "Allocation candidates" and "Allocations". A provider has room for an amount when
used + amount <= (total - reserved) * allocation_ratio and the amount respects min_unit, max_unit and step_size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.core.store import Tx
from nutshell.placement.port import Candidate, Fit, Inventory, Rejected, Wanted
from nutshell.placement.tables import Provider

ROOM = (
    "(i{n}.total - i{n}.reserved) * i{n}.allocation_ratio - i{n}.used >= ?"
    " AND i{n}.min_unit <= ? AND i{n}.max_unit >= ? AND ? % i{n}.step_size = 0"
)


@dataclass(frozen=True)
class Scheduling:
    """Implements `placement.port.Placement`."""

    def ensure_provider(
        self, tx: Tx, provider_id: str, name: str, inventories: Mapping[str, Inventory], traits: frozenset[str]
    ) -> None:
        provider = tx.get(Provider, provider_id)
        if provider is None:
            tx.add(Provider(id=provider_id, name=name, root_id=provider_id))
        elif provider.name != name:
            tx.put(provider, name=name)
        changed = _ensure_inventories(tx, provider_id, inventories)
        have = {
            t for (t,) in _rows(tx, "SELECT trait FROM placement_provider_trait WHERE provider_id = ?", provider_id)
        }
        for trait in sorted(traits - have):
            tx.sql("INSERT INTO placement_provider_trait (provider_id, trait) VALUES (?, ?)", provider_id, trait)
        if provider is not None and (changed or traits - have):
            tx.put(tx.need(Provider, provider_id), quiet=True)

    def set_disabled(self, tx: Tx, provider_id: str, disabled: bool) -> None:
        provider = tx.get(Provider, provider_id)
        if provider is not None and provider.disabled != disabled:
            tx.put(provider, disabled=disabled)

    def remove_provider(self, tx: Tx, provider_id: str) -> None:
        for table in ("placement_inventory", "placement_provider_trait", "placement_provider_aggregate"):
            tx.sql(f"DELETE FROM {table} WHERE provider_id = ?", provider_id)
        provider = tx.get(Provider, provider_id)
        if provider is not None:
            tx.drop(provider)

    def fit(self, tx: Tx, wanted: Wanted, limit: int = 1000, explain: bool = False) -> Fit:
        resources = [(name, amount) for name, amount in wanted.resources.items() if amount > 0]
        joins, values = [], []
        for n, (name, amount) in enumerate(resources):
            joins.append(
                f"JOIN placement_inventory i{n} ON i{n}.provider_id = p.id AND i{n}.resource_class = ? AND "
                + ROOM.format(n=n)
            )
            values += [name, amount, amount, amount, amount]
        wheres = ["NOT p.disabled"]
        for trait in sorted(wanted.required):
            wheres.append(
                "EXISTS (SELECT 1 FROM placement_provider_trait t WHERE t.provider_id = p.id AND t.trait = ?)"
            )
            values.append(trait)
        for trait in sorted(wanted.forbidden):
            wheres.append(
                "NOT EXISTS (SELECT 1 FROM placement_provider_trait t WHERE t.provider_id = p.id AND t.trait = ?)"
            )
            values.append(trait)
        frees = [f"(i{n}.total - i{n}.reserved) * i{n}.allocation_ratio - i{n}.used" for n in range(len(resources))]
        order = " ORDER BY " + ", ".join([*(f"{f} DESC" for f in _by_weight(resources, frees)), "p.name"])
        text = (
            f"SELECT p.id, p.name{''.join(', ' + f for f in frees)} FROM placement_resource_providers p"
            f" {' '.join(joins)} WHERE {' AND '.join(wheres)}{order} LIMIT ?"
        )
        found = [
            Candidate(r[0], r[1], {name: int(r[2 + n]) for n, (name, _) in enumerate(resources)})
            for r in _rows(tx, text, *values, limit)
        ]
        rejected = _explain(tx, wanted, {c.provider_id for c in found}) if explain else ()
        return Fit(found, rejected)

    def claim(
        self, tx: Tx, consumer_id: str, provider_id: str, resources: Mapping[str, int], project_id: str, user_id: str
    ) -> bool:
        held = self.allocations(tx, consumer_id).get(provider_id, {})
        for name in sorted({*resources, *held}):
            delta = resources.get(name, 0) - held.get(name, 0)
            if delta > 0 and not _take(tx, provider_id, name, delta, resources[name]):
                for done in sorted({*resources, *held}):
                    if done >= name:
                        break
                    _use(tx, provider_id, done, held.get(done, 0) - resources.get(done, 0))
                return False
            if delta < 0:
                _use(tx, provider_id, name, delta)
        tx.sql("DELETE FROM placement_allocation WHERE consumer_id = ? AND provider_id = ?", consumer_id, provider_id)
        for name, amount in resources.items():
            if amount > 0:
                tx.sql(
                    "INSERT INTO placement_allocation (consumer_id, provider_id, resource_class, used)"
                    " VALUES (?, ?, ?, ?)",
                    *(consumer_id, provider_id, name, amount),
                )
        ensure_consumer(tx, consumer_id, project_id, user_id)
        return True

    def release(self, tx: Tx, consumer_id: str) -> None:
        for provider_id, resources in self.allocations(tx, consumer_id).items():
            for name, amount in resources.items():
                _use(tx, provider_id, name, -amount)
        tx.sql("DELETE FROM placement_allocation WHERE consumer_id = ?", consumer_id)
        tx.sql("DELETE FROM placement_consumer WHERE id = ?", consumer_id)

    def move(self, tx: Tx, from_consumer: str, to_consumer: str) -> None:
        self.release(tx, to_consumer)
        tx.sql("UPDATE placement_allocation SET consumer_id = ? WHERE consumer_id = ?", to_consumer, from_consumer)
        tx.sql("UPDATE placement_consumer SET id = ? WHERE id = ?", to_consumer, from_consumer)

    def allocations(self, tx: Tx, consumer_id: str) -> Mapping[str, Mapping[str, int]]:
        found: dict[str, dict[str, int]] = {}
        text = "SELECT provider_id, resource_class, used FROM placement_allocation WHERE consumer_id = ?"
        for provider_id, name, used in _rows(tx, text, consumer_id):
            found.setdefault(provider_id, {})[name] = used
        return found


def ensure_consumer(tx: Tx, consumer_id: str, project_id: str, user_id: str, kind: str = "INSTANCE") -> None:
    tx.sql(
        "INSERT INTO placement_consumer (id, project_id, user_id, type, generation) VALUES (?, ?, ?, ?, 1)"
        " ON CONFLICT (id) DO UPDATE SET generation = placement_consumer.generation + 1",
        *(consumer_id, project_id, user_id, kind),
    )


def _rows(tx: Tx, text: str, *values: Any) -> list[Any]:
    return tx.sql(text, *values).fetchall()


def _by_weight(resources: Sequence[tuple[str, int]], frees: Sequence[str]) -> list[str]:
    """Memory first, as compute's default weigher spreads: the emptiest host wins."""
    rank = {"MEMORY_MB": 0, "VCPU": 1}
    pairs = sorted(zip(resources, frees, strict=True), key=lambda p: rank.get(p[0][0], 2))
    return [free for _, free in pairs]


def _ensure_inventories(tx: Tx, provider_id: str, inventories: Mapping[str, Inventory]) -> bool:
    """Make the inventories these; an operator's allocation ratio stays. True when something changed."""
    text = (
        "SELECT resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio"
        " FROM placement_inventory WHERE provider_id = ?"
    )
    have = {r[0]: tuple(r[1:]) for r in _rows(tx, text, provider_id)}
    changed = False
    for name, i in inventories.items():
        wanted = (i.total, i.reserved, i.min_unit, i.max_unit, i.step_size)
        if name not in have:
            tx.sql(
                "INSERT INTO placement_inventory (provider_id, resource_class, total, reserved, min_unit, max_unit,"
                " step_size, allocation_ratio, used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                *(provider_id, name, *wanted, i.allocation_ratio),
            )
            changed = True
        elif have[name][:5] != wanted:
            tx.sql(
                "UPDATE placement_inventory SET total = ?, reserved = ?, min_unit = ?, max_unit = ?, step_size = ?"
                " WHERE provider_id = ? AND resource_class = ?",
                *(*wanted, provider_id, name),
            )
            changed = True
    return changed


def _take(tx: Tx, provider_id: str, name: str, delta: int, amount: int) -> bool:
    """Use more of an inventory if it has room; the check and the change are one statement."""
    text = (
        "UPDATE placement_inventory SET used = used + ? WHERE provider_id = ? AND resource_class = ?"
        " AND (total - reserved) * allocation_ratio - used >= ?"
        " AND min_unit <= ? AND max_unit >= ? AND ? % step_size = 0"
    )
    return tx.sql(text, delta, provider_id, name, delta, amount, amount, amount).rowcount == 1


def _use(tx: Tx, provider_id: str, name: str, delta: int) -> None:
    tx.sql(
        "UPDATE placement_inventory SET used = used + ? WHERE provider_id = ? AND resource_class = ?",
        *(delta, provider_id, name),
    )


def _explain(tx: Tx, wanted: Wanted, fitting: set[str]) -> list[Rejected]:
    """For each provider that does not fit, what it lacked in words."""
    rejected = []
    for provider in tx.find(Provider, order="name", limit=1000):
        if provider.id in fitting:
            continue
        text = (
            "SELECT resource_class, (total - reserved) * allocation_ratio, used, max_unit"
            " FROM placement_inventory WHERE provider_id = ?"
        )
        have = {r[0]: r[1:] for r in _rows(tx, text, provider.id)}
        lacked = ["it is disabled"] if provider.disabled else []
        for name, amount in wanted.resources.items():
            if amount <= 0:
                continue
            if name not in have:
                lacked.append(f"it has no {name}")
                continue
            total, used, most = int(have[name][0]), have[name][1], have[name][2]
            if total - used < amount:
                lacked.append(f"{name}: {amount} wanted, {max(0, total - used)} of {total} free")
            elif amount > most:
                lacked.append(f"{name}: {amount} wanted, at most {most} at once")
        traits = {
            t for (t,) in _rows(tx, "SELECT trait FROM placement_provider_trait WHERE provider_id = ?", provider.id)
        }
        lacked += [f"trait {t} is missing" for t in sorted(wanted.required - traits)]
        lacked += [f"trait {t} is forbidden" for t in sorted(wanted.forbidden & traits)]
        rejected.append(Rejected(provider.id, provider.name, tuple(lacked)))
    return rejected
