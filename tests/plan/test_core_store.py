"""State: groups of writes, the outbox, compare-and-swap, counters, and operations cut off at every step."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests import toy
from tests.toy import Boat

from nutshell.app import Running
from nutshell.core.clock import Clock
from nutshell.core.errors import QuotaExceeded, StaleRow, Unstorable
from nutshell.core.events import Event, cursor_of, move_cursor, prune, read_after
from nutshell.core.housekeeping import sweep
from nutshell.core.operations import Operation, begin
from nutshell.core.quota import Quotas
from nutshell.core.sqlite_schema import UnknownSchema
from nutshell.core.store import SqliteStore, Store, Tx


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    s: Store
    if request.param == "sqlite":
        s = SqliteStore(tmp_path / "x.db", Clock(), durable=False)
    else:
        from nutshell.core.postgres import PostgresStore

        s = PostgresStore(request.getfixturevalue("postgres_url"), Clock())
    yield s
    s.close()


def add(store: Store, name: str) -> Boat:
    return store.write(lambda tx: tx.add(Boat(id=name, name=name, project_id="p")))


def test_many_writers_lose_nothing_and_refuse_alone(store: Store) -> None:
    """A write that fails inside a group takes nothing of its neighbours with it."""

    def work(tx: Tx, i: int) -> int:
        tx.add(Boat(id=str(i), name=str(i), project_id="p"))
        if i % 3 == 0:
            raise KeyError(i)
        return i

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(store.write, lambda tx, i=i: work(tx, i)) for i in range(300)]
        failed = sum(1 for f in futures if f.exception() is not None)
    assert failed == 100
    kept = store.read(lambda tx: tx.find(Boat))
    assert {int(b.id) for b in kept} == {i for i in range(300) if i % 3}
    told = store.read(lambda tx: read_after(tx, 0, 1000))
    assert len(told) == 200, "an event for each row that stayed, none for the others"


def test_a_reader_sees_one_snapshot(store: Store) -> None:
    add(store, "a")

    def look(tx: Tx) -> tuple[int, int]:
        first = tx.count(Boat)
        other = threading.Thread(target=add, args=(store, "b"))
        other.start()
        other.join()
        return first, tx.count(Boat)

    assert store.read(look) == (1, 1)
    assert store.read(lambda tx: tx.count(Boat)) == 2


def test_compare_and_swap(store: Store) -> None:
    boat = add(store, "a")
    store.write(lambda tx: tx.put(boat, length_m=2))
    with pytest.raises(StaleRow):
        store.write(lambda tx: tx.put(boat, length_m=3))
    with pytest.raises(StaleRow):
        store.write(lambda tx: tx.drop(boat))
    found = store.read(lambda tx: tx.need(Boat, "a"))
    assert (found.length_m, found.generation) == (2, 2)


@pytest.mark.parametrize("value", [2**63, -(2**70)])
def test_a_number_beyond_the_database_is_refused(store: Store, value: int) -> None:
    with pytest.raises(Unstorable):
        store.write(lambda tx: tx.sql("SELECT CAST(? AS BIGINT)", value).fetchone())
    assert store.write(lambda tx: tx.sql("SELECT 1").fetchone())


def test_a_tombstone_frees_the_name_and_can_be_found(store: Store) -> None:
    boat = add(store, "a")
    store.write(lambda tx: tx.drop(boat))
    assert store.read(lambda tx: tx.get(Boat, "a")) is None
    store.write(lambda tx: tx.add(Boat(id="a2", name="a", project_id="p")))
    assert len(store.read(lambda tx: tx.find(Boat, deleted=True, name="a"))) == 2


def test_consumers_of_the_outbox_each_see_everything_once(store: Store) -> None:
    woken: list[Event] = []
    store.on_commit(woken.extend)
    seen: dict[str, list[str]] = {"audit": [], "meter": []}

    def consume(name: str) -> None:
        for event in store.read(lambda tx: read_after(tx, cursor_of(tx, name), 7)):
            seen[name].append(event.resource_id)
            store.write(lambda tx, seq=event.seq: move_cursor(tx, name, seq))

    for i in range(20):
        add(store, f"b{i}")
        consume("audit")
        if i % 6 == 0:
            consume("meter")
    for _ in range(5):
        consume("meter")
    expected = [f"b{i}" for i in range(20)]
    assert seen == {"audit": expected, "meter": expected}
    assert [e.resource_id for e in woken] == expected
    store.write(lambda tx: move_cursor(tx, "meter", 5))  # late and wrong: a cursor never moves back
    assert store.read(lambda tx: cursor_of(tx, "meter")) == 20
    store.write(lambda tx: move_cursor(tx, "slow", 12))
    assert store.write(lambda tx: prune(tx, keep=3)) == 12, "events are kept for the slowest consumer"


def test_quota_counters_under_concurrency(store: Store) -> None:
    quotas = Quotas({"toy.boats": 25})

    def take() -> bool:
        try:
            store.write(lambda tx: quotas.take(tx, "p", {"toy.boats": 1}))
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(lambda _: take(), range(60)))
    assert taken == 25
    assert store.read(lambda tx: quotas.used(tx, "p", ["toy.boats"])) == {"toy.boats": 25}
    store.write(lambda tx: quotas.give_back(tx, "p", {"toy.boats": 5}))
    store.write(lambda tx: quotas.set_limits(tx, "p", {"toy.boats": -1}))
    store.write(lambda tx: quotas.take(tx, "p", {"toy.boats": 100}))
    assert store.read(lambda tx: quotas.used(tx, "p", ["toy.boats"])) == {"toy.boats": 120}


def test_values_survive_the_database(store: Store) -> None:
    row = Operation(id="o", kind="k", resource_kind="r", resource_id="i", args={"a": [1, {"b": None}]}, roles=["x"])
    store.write(lambda tx: tx.add(row))
    found = store.read(lambda tx: tx.need(Operation, "o"))
    assert (found.args, found.roles, found.finished_at) == ({"a": [1, {"b": None}]}, ["x"], None)


class Cut(BaseException):
    """The process was killed here."""


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("before", [True, False], ids=["before-the-row", "after-the-row"])
def test_an_operation_cut_off_at_any_step_ends_in_the_same_state(tmp_path: Path, at: int, before: bool) -> None:
    running = toy.start(tmp_path)
    cloud = running.cloud
    cloud.write(lambda tx: tx.add(Boat(id="b", name="b", project_id="p", afloat=True)))

    def ask(tx: Tx) -> None:
        begin(tx, tx.need(Boat, "b"), "load", {"tons": 4}, new_id="op", deadline_s=60)
        tx.put(tx.need(Boat, "b"), due_at=tx.now)

    cloud.write(ask)
    writes = 0
    whole = cloud.store.write

    def cut_write(work: object) -> object:
        nonlocal writes
        writes += 1
        if writes == at and before:
            raise Cut
        result = whole(work)  # type: ignore[arg-type]
        if writes == at:
            raise Cut
        return result

    cloud.store.write = cut_write  # type: ignore[method-assign, assignment]
    try:
        for _ in range(8):
            boat = cloud.read(lambda tx: tx.need(Boat, "b"))
            if boat.due_at is not None:
                toy.settle(cloud, boat)
    except Cut:
        pass
    running.close()

    again = toy.start(tmp_path)
    try:
        for _ in range(8):
            boat = again.cloud.read(lambda tx: tx.need(Boat, "b"))
            if boat.due_at is not None:
                toy.settle(again.cloud, boat)
        boat = again.cloud.read(lambda tx: tx.need(Boat, "b"))
        operation = again.cloud.read(lambda tx: tx.need(Operation, "op"))
        assert (boat.length_m, boat.due_at, operation.step) == (5, None, "closed")
        assert operation.finished_at is not None
    finally:
        again.close()


def test_the_loop_settles_new_rows_and_isolates_failures(tmp_path: Path) -> None:
    running: Running = toy.start(tmp_path)
    try:
        running.runner.start()
        for i in range(30):
            running.cloud.write(lambda tx, i=i: tx.add(Boat(id=f"b{i}", name=f"b{i}", project_id="p", due_at=tx.now)))
        done = threading.Event()
        for _ in range(200):
            if running.cloud.read(lambda tx: tx.count(Boat, afloat=True)) == 30:
                done.set()
                break
            done.wait(0.02)
        assert done.is_set()
    finally:
        running.close()


def test_housekeeping_forgets_what_is_long_over(tmp_path: Path) -> None:
    running = toy.start(tmp_path)
    cloud = running.cloud
    try:
        cloud.write(lambda tx: tx.add(Boat(id="old", name="old", project_id="p")))
        cloud.write(lambda tx: tx.drop(tx.need(Boat, "old")))
        cloud.write(lambda tx: tx.add(Boat(id="kept", name="kept", project_id="p")))
        sweep(cloud)
        assert len(cloud.read(lambda tx: tx.find(Boat, deleted=True))) == 2
        cloud.clock.step(31 * 86400)
        sweep(cloud)
        assert [b.id for b in cloud.read(lambda tx: tx.find(Boat, deleted=True))] == ["kept"]
    finally:
        running.close()


def test_processes_on_one_postgresql_hear_of_each_other_and_share_the_loops(postgres_url: str) -> None:
    from nutshell.core.postgres import PostgresStore

    one, two = PostgresStore(postgres_url, Clock()), PostgresStore(postgres_url, Clock())
    try:
        heard = threading.Event()
        two.on_commit(lambda events: heard.set() if events[0].resource_id == "x" else None)
        for _ in range(100):  # until the other listens
            one.write(lambda tx: tx.tell(Boat(id="x", name="x"), "update", {}))
            if heard.wait(0.1):
                break
        assert heard.is_set()
        assert one.lead("boats")
        assert one.lead("boats")
        assert not two.lead("boats")
        one.close()
        taken = any(two.lead("boats") or time.sleep(0.05) for _ in range(100))  # the server ends the session by itself
        assert taken
    finally:
        two.close()


def test_postgresql_tries_again_what_could_not_be_serialised(postgres_url: str) -> None:
    from nutshell.core.postgres import PostgresStore

    store = PostgresStore(postgres_url, Clock(), writers=8)
    try:
        store.write(lambda tx: tx.add(Boat(id="b", name="b", project_id="p")))

        def grow(tx: Tx) -> None:
            boat = tx.need(Boat, "b")
            tx.put(boat, length_m=boat.length_m + 1)

        futures = [store.submit(grow) for _ in range(40)]
        for f in futures:
            f.result()
        assert store.read(lambda tx: tx.need(Boat, "b")).length_m == 41
    finally:
        store.close()


def test_a_database_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    SqliteStore(path, Clock()).close()
    with sqlite3.connect(path) as c:
        c.execute("ALTER TABLE quota_limit ADD COLUMN colour TEXT")
    before = path.read_bytes()
    with pytest.raises(UnknownSchema, match="quota_limit"):
        SqliteStore(path, Clock())
    assert path.read_bytes() == before


def test_a_kept_statement_takes_each_callers_values(store: Store) -> None:
    for i in range(6):
        store.write(lambda tx, i=i: tx.add(Boat(id=f"b{i}", name=f"b{i}", project_id="p", length_m=i)))
    c = Boat.c

    def names(*conditions: object, **equals: object) -> list[str]:
        return store.read(lambda tx: [b.id for b in tx.find(Boat, *conditions, order="id", **equals)])  # type: ignore[arg-type]

    for least in (1, 3, 5):
        assert names(c("length_m") >= least) == [f"b{i}" for i in range(least, 6)]
    assert names(c("length_m").in_([1, 2]), c("name") != "b1") == ["b2"]
    assert names(c("length_m").in_([1, 2, 3, 4]), c("name") != "b2") == ["b1", "b3", "b4"]
    assert names(c("length_m").in_([])) == []
    for low, high in ((0, 1), (2, 4)):
        where = (c("length_m") == low) | (c("length_m") == high)
        assert store.read(lambda tx, where=where: tx.execute(sa.select(c("id")).where(where).order_by(c("id")))) == [
            (f"b{low}",),
            (f"b{high}",),
        ]


def test_a_copy_in_memory_goes_its_own_way() -> None:
    one = SqliteStore(None, Clock())
    add(one, "a")
    two = SqliteStore(None, Clock(), like=one)
    add(two, "b")
    add(one, "c")
    try:
        assert [b.id for b in two.read(lambda tx: tx.find(Boat, order="id"))] == ["a", "b"]
        assert [b.id for b in one.read(lambda tx: tx.find(Boat, order="id"))] == ["a", "c"]
    finally:
        one.close()
        two.close()


def test_a_row_has_exactly_its_attributes_and_they_do_not_change() -> None:
    boat = Boat(id="b", name="Anna", project_id="p")
    assert boat == Boat(project_id="p", name="Anna", id="b")
    assert list(boat.__dict__) == list(Boat.fields), "in the order of the columns"
    assert replace(boat, name="Berta").name == "Berta"
    with pytest.raises(TypeError):
        Boat(id="b", project_id="p", nam="Anna")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Boat(name="Anna")  # type: ignore[call-arg]
    with pytest.raises(FrozenInstanceError):
        boat.name = "Berta"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del boat.name
