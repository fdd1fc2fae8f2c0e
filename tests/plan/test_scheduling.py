"""The search for room and claims: nothing is overcommitted, and every refusal says what was lacking."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nutshell.core.clock import Clock
from nutshell.core.store import SqliteStore
from nutshell.placement.port import Inventory, Wanted
from nutshell.placement.scheduling import Scheduling

PLACEMENT = Scheduling()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    s = SqliteStore(tmp_path / "x.db", Clock(), durable=False)
    yield s
    s.close()


def host(store: SqliteStore, name: str, vcpus: int, ram: int, traits: frozenset[str] = frozenset()) -> None:
    inventories = {"VCPU": Inventory(vcpus, allocation_ratio=2.0), "MEMORY_MB": Inventory(ram, reserved=512)}
    store.write(lambda tx: PLACEMENT.ensure_provider(tx, name, name, inventories, traits))


def names(store: SqliteStore, wanted: Wanted) -> list[str]:
    return [c.name for c in store.read(lambda tx: PLACEMENT.fit(tx, wanted)).candidates]


def test_the_emptiest_host_comes_first_and_traits_decide(store: SqliteStore) -> None:
    host(store, "small", 2, 2048)
    host(store, "big", 8, 8192, frozenset({"HW_CPU_X86_AVX2"}))
    assert names(store, Wanted({"VCPU": 1, "MEMORY_MB": 1024})) == ["big", "small"]
    assert names(store, Wanted({"VCPU": 4, "MEMORY_MB": 1536})) == ["big", "small"], "ratio 2 makes four of two"
    assert names(store, Wanted({"VCPU": 1, "MEMORY_MB": 1537})) == ["big"], "512 MiB are reserved"
    assert names(store, Wanted({"VCPU": 1}, required=frozenset({"HW_CPU_X86_AVX2"}))) == ["big"]
    assert names(store, Wanted({"VCPU": 1}, forbidden=frozenset({"HW_CPU_X86_AVX2"}))) == ["small"]


def test_a_refusal_says_what_each_host_lacked(store: SqliteStore) -> None:
    host(store, "small", 1, 1024)
    wanted = Wanted({"VCPU": 5, "MEMORY_MB": 600, "PGPU": 1}, required=frozenset({"COMPUTE_X"}))
    fit = store.read(lambda tx: PLACEMENT.fit(tx, wanted, explain=True))
    assert fit.candidates == []
    assert fit.rejected[0].lacked == (
        "VCPU: 5 wanted, 2 of 2 free",
        "MEMORY_MB: 600 wanted, 512 of 512 free",
        "it has no PGPU",
        "trait COMPUTE_X is missing",
    )


def test_claims_never_overcommit_and_a_failed_one_changes_nothing(store: SqliteStore) -> None:
    host(store, "h", 4, 4608)

    def claim(i: int) -> bool:
        return store.write(lambda tx: PLACEMENT.claim(tx, f"s{i}", "h", {"VCPU": 1, "MEMORY_MB": 1024}, "p", "u"))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(20))) == 4
    used = dict(store.read(lambda tx: tx.sql("SELECT resource_class, used FROM placement_inventory").fetchall()))
    assert used == {"VCPU": 4, "MEMORY_MB": 4096}


def test_claim_again_move_and_release(store: SqliteStore) -> None:
    host(store, "h", 4, 4608)
    assert store.write(lambda tx: PLACEMENT.claim(tx, "s", "h", {"VCPU": 1, "MEMORY_MB": 1024}, "p", "u"))
    assert store.write(lambda tx: PLACEMENT.claim(tx, "s", "h", {"VCPU": 2, "MEMORY_MB": 512}, "p", "u"))
    assert not store.write(lambda tx: PLACEMENT.claim(tx, "s", "h", {"VCPU": 3, "MEMORY_MB": 9999}, "p", "u"))
    assert store.read(lambda tx: PLACEMENT.allocations(tx, "s")) == {"h": {"VCPU": 2, "MEMORY_MB": 512}}
    store.write(lambda tx: PLACEMENT.move(tx, "s", "migration"))
    assert store.read(lambda tx: PLACEMENT.allocations(tx, "s")) == {}
    store.write(lambda tx: PLACEMENT.release(tx, "migration"))
    used = dict(store.read(lambda tx: tx.sql("SELECT resource_class, used FROM placement_inventory").fetchall()))
    assert used == {"VCPU": 0, "MEMORY_MB": 0}
