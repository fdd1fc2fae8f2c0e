"""The object engine: what was acknowledged is there, after crashes, with a lost or rotten disk, on a full one."""

import asyncio
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nutshell.object_store.engine.committing import Change
from nutshell.object_store.engine.devices import Device, DeviceState, choose, hash_name, with_state
from nutshell.object_store.engine.keeping import Keeper
from nutshell.object_store.engine.sealing import Sealer
from nutshell.object_store.engine.segments import AHEAD
from nutshell.object_store.engine.staging import MOST_HELD, blob_file
from nutshell.object_store.errors import NoRoom
from tests.objects.engine_rig import delete, get, make_container, make_engine, put, run

SMALL, LARGE = b"x" * 5000, os.urandom(1 << 20) * 3 + b"tail"


def test_small_and_large_objects_come_back(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    row = run(put(engine, c, "small", [SMALL[:10], SMALL[10:]]))
    assert row.etag == hashlib.md5(SMALL).hexdigest()
    assert run(put(engine, c, "large", [LARGE[:70_000], LARGE[70_000:]])).etag == hashlib.md5(LARGE).hexdigest()
    run(put(engine, c, "empty", []))
    assert [run(get(engine, c, n)) for n in ("small", "large", "empty", "none")] == [SMALL, LARGE, b"", None]
    usage = engine.read(lambda i: i.container_usage(c.id))
    assert (usage.objects, usage.bytes) == (3, len(SMALL) + len(LARGE))
    engine.close()


def test_an_index_that_was_lost_is_made_anew_from_the_logs(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    for n in range(30):
        run(put(engine, c, f"o{n:02}", [b"%d" % n]))
    delete(engine, c, "o07")
    engine.close()
    for path in (tmp_path / "s").glob("index.db*"):
        path.unlink()
    engine = make_engine(tmp_path / "s")
    names = [
        r.name
        for r in engine.read(lambda i: i.list_objects(c.id, after="", until="", prefix="", limit=99, reverse=False))
    ]
    assert names == [f"o{n:02}" for n in range(30) if n != 7]
    assert run(get(engine, c, "o12")) == b"12"
    assert engine.read(lambda i: i.container_usage(c.id)).objects == 29
    engine.close()


@pytest.mark.parametrize("hole", [False, True])  # a block is not what was written, those around it are
@pytest.mark.parametrize("cut", [1, 20, 60, 5000])
def test_a_torn_last_record_was_never_acknowledged_and_leaves_nothing(tmp_path: Path, cut: int, hole: bool) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    run(put(engine, c, "kept", [SMALL]))
    saved = {p.name: p.read_bytes() for p in (tmp_path / "s").glob("index.db*")}
    run(put(engine, c, "torn", [SMALL]))
    engine.close()
    for path in (tmp_path / "s").glob("index.db*"):
        path.unlink()
    for name, data in saved.items():  # the index as it was on disk when power failed
        (tmp_path / "s" / name).write_bytes(data)
    log = max((tmp_path / "s" / "d1" / "log").iterdir())
    size = log.stat().st_size
    if hole:
        with open(log, "r+b") as file:
            file.seek(size - cut)
            was = file.read(min(cut, 4096))
            file.seek(size - cut)
            file.write(bytes(255 - b for b in was))
    else:
        os.truncate(log, size - cut)
    engine = make_engine(tmp_path / "s")
    assert run(get(engine, c, "kept")) == SMALL
    assert run(get(engine, c, "torn")) is None
    run(put(engine, c, "after", [SMALL]))
    assert run(get(engine, c, "after")) == SMALL
    assert engine.read(lambda i: i.container_usage(c.id)).objects == 2
    engine.close()


def test_changes_that_raise_undo_only_themselves(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)

    def bad(index: Any) -> None:
        index.put_account(index.account("AUTH_a"))
        raise ValueError("half way")

    async def together() -> list[Any]:
        import asyncio

        return await asyncio.gather(
            *(put(engine, c, f"o{n}", [SMALL]) for n in range(20)), engine.change(bad), return_exceptions=True
        )

    results = run(together())
    assert isinstance(results[-1], ValueError)
    assert not any(isinstance(r, BaseException) for r in results[:-1])
    assert engine.read(lambda i: i.container_usage(c.id)).objects == 20
    engine.close()


def test_placement_is_a_pure_function_and_moves_only_a_devices_share() -> None:
    devices = [Device(f"d{n}", f"/d{n}", f"z{n % 3}") for n in range(6)]
    keys = [hash_name(f"a/c/o{n}") for n in range(600)]
    before = {k: {d.name for d in choose(k, 2, devices)} for k in keys}
    assert before == {k: {d.name for d in choose(k, 2, list(reversed(devices)))} for k in keys}
    assert all(len({d.zone for d in choose(k, 2, devices)}) == 2 for k in keys)
    after = {k: {d.name for d in choose(k, 2, with_state(devices, "d0", DeviceState.DRAINING))} for k in keys}
    assert all(before[k] == after[k] for k in keys if "d0" not in before[k])
    shares = [sum(d.name in before[k] for k in keys) for d in devices]
    assert min(shares) > 100


def test_a_lost_disk_loses_nothing_and_is_made_up_for(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", devices=3, replicas=2)
    c = make_container(engine)
    for n in range(12):
        run(put(engine, c, f"s{n}", [SMALL + b"%d" % n]))
    run(put(engine, c, "big", [LARGE]))
    engine.close()
    shutil.rmtree(tmp_path / "s" / "disk1")
    engine = make_engine(tmp_path / "s", devices=3, replicas=2)
    assert engine.devices[0].state == DeviceState.LOST
    assert all(run(get(engine, c, f"s{n}")) == SMALL + b"%d" % n for n in range(12))
    assert run(get(engine, c, "big")) == LARGE
    report = Keeper(engine).pass_over(verify=False)
    assert not report.lost
    blobs = engine.read(lambda i: i.list_blobs(0, 99))
    assert all(sorted(p.device for p in b.places) == ["d2", "d3"] for b in blobs)
    engine.close()


def test_a_disk_that_goes_and_comes_back_is_noticed(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", devices=3, replicas=2)
    c = make_container(engine)
    keeper = Keeper(engine)
    for n in range(12):
        run(put(engine, c, f"s{n}", [SMALL + b"%d" % n]))
    run(put(engine, c, "big", [LARGE]))
    assert keeper.follow_table() is not None
    assert Keeper(engine).follow_table() is None  # what was settled is known after a start
    assert not keeper.watch()
    (tmp_path / "s" / "disk1").rename(tmp_path / "away")
    assert [(d.name, d.state) for d in keeper.watch()] == [("d1", DeviceState.LOST)]
    assert not keeper.watch()
    report = keeper.follow_table()
    assert report is not None
    assert report.moved
    assert not report.lost
    while keeper.follow_table() is not None:
        pass
    assert set(keeper.on_devices()) == {"d2", "d3"}
    run(put(engine, c, "later", [LARGE]))
    shutil.rmtree(tmp_path / "s" / "disk1", ignore_errors=True)
    (tmp_path / "away").rename(tmp_path / "s" / "disk1")
    assert [(d.name, d.state) for d in keeper.watch()] == [("d1", DeviceState.ACTIVE)]
    while keeper.follow_table() is not None:
        pass
    assert keeper.on_devices()["d1"].blobs
    engine.close()
    engine = make_engine(tmp_path / "s", devices=3, replicas=2)
    assert all(d.state == DeviceState.ACTIVE for d in engine.devices)
    assert all(run(get(engine, c, f"s{n}")) == SMALL + b"%d" % n for n in range(12))
    assert run(get(engine, c, "big")) == run(get(engine, c, "later")) == LARGE
    assert not Keeper(engine).scrub(0).damaged
    engine.close()


def test_a_disk_in_a_lost_ones_place_has_a_name_of_its_own(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", devices=2, replicas=2)
    c = make_container(engine)
    for n in range(6):
        run(put(engine, c, f"s{n}", [SMALL + b"%d" % n]))
    shutil.rmtree(tmp_path / "s" / "disk2")
    keeper = Keeper(engine)
    keeper.watch()
    engine.set_devices([d for d in engine.devices if d.name != "d2"])
    assert "d2" in engine.names_taken
    (tmp_path / "s" / "disk2").mkdir()
    engine.set_devices([*engine.devices, Device("d3", str(tmp_path / "s" / "disk2"), "zone2")])
    while keeper.follow_table() is not None:
        pass
    for n in range(6, 9):
        run(put(engine, c, f"s{n}", [SMALL + b"%d" % n]))
    assert keeper.on_devices()["d3"].blobs == 9
    engine.close()
    for name in ("index.db", "index.db-wal", "index.db-shm"):  # the logs are enough, those of the lost disk or not
        (tmp_path / "s" / name).unlink(missing_ok=True)
    engine = make_engine(tmp_path / "s", devices=2, replicas=2)
    assert all(run(get(engine, c, f"s{n}")) == SMALL + b"%d" % n for n in range(9))
    engine.close()


def test_what_only_a_lost_disk_held_is_counted(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", devices=2, replicas=1)
    c = make_container(engine)
    for n in range(12):
        run(put(engine, c, f"s{n}", [SMALL]))
    shutil.rmtree(tmp_path / "s" / "disk1")
    keeper = Keeper(engine)
    keeper.watch()
    held = keeper.on_devices()
    assert held["d1"].alone == held["d1"].blobs > 0
    engine.set_devices(list(engine.devices))
    assert '"state": "lost"' not in (tmp_path / "s" / "devices.json").read_text()  # it may come back
    engine.close()


def test_draining_empties_a_device(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", devices=3, replicas=2)
    c = make_container(engine)
    for n in range(10):
        run(put(engine, c, f"s{n}", [SMALL + b"%d" % n]))
    run(put(engine, c, "big", [LARGE]))
    engine.set_devices(with_state(engine.devices, "d2", DeviceState.DRAINING))
    keeper = Keeper(engine)
    keeper.pass_over(verify=False)
    assert "d2" not in keeper.on_devices()
    assert not list((tmp_path / "s" / "disk2" / "data").glob("*/*"))
    assert run(get(engine, c, "s3")) == SMALL + b"3"
    assert run(get(engine, c, "big")) == LARGE
    engine.close()


@pytest.mark.parametrize(("name", "content"), [("small", SMALL), ("big", LARGE)])
def test_rot_is_read_around_found_and_mended(tmp_path: Path, name: str, content: bytes) -> None:
    engine = make_engine(tmp_path / "s", devices=2, replicas=2, verify="all")
    c = make_container(engine)
    row = run(put(engine, c, name, [content]))
    blob = engine.read(lambda i: i.blob(row.blob))
    assert blob is not None
    place = blob.places[0]
    device = engine.device(place.device)
    assert device is not None
    path = device.directory / "log" / f"{place.segment:08d}.seg" if place.segment else blob_file(device, blob.id)
    with open(path, "r+b") as file:
        file.seek(place.offset + 100)
        file.write(b"ROT!")
    assert run(get(engine, c, name)) == content
    report = Keeper(engine).scrub(0)
    assert (len(report.damaged), report.repaired, report.lost) == (1, 1, [])
    healed = engine.read(lambda i: i.blob(row.blob))
    assert healed is not None
    assert all(Keeper(engine).whole(healed, p) for p in healed.places)
    engine.close()


def test_compaction_gives_space_back_and_keeps_what_lives(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    for n in range(40):
        run(put(engine, c, f"o{n:02}", [SMALL + b"%d" % n]))
    for n in range(1, 40):
        delete(engine, c, f"o{n:02}")
    engine.close()  # the next start begins a new segment
    engine = make_engine(tmp_path / "s")
    run(put(engine, c, "new", [SMALL]))
    before = sum(p.stat().st_size for p in (tmp_path / "s" / "d1" / "log").iterdir())
    assert Keeper(engine).compact() == 1
    assert sum(p.stat().st_size for p in (tmp_path / "s" / "d1" / "log").iterdir()) < before / 5 + AHEAD
    assert run(get(engine, c, "o00")) == SMALL + b"0"
    engine.close()
    engine = make_engine(tmp_path / "s")
    assert run(get(engine, c, "o00")) == SMALL + b"0"
    engine.close()


def test_uploads_that_were_cut_off_leave_no_file(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)

    async def half() -> None:
        async with engine.upload("AUTH_a/c/half", 0) as up:
            await up.feed(LARGE)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        run(half())
    assert not list((tmp_path / "s" / "d1" / "data").glob("*/*"))
    run(put(engine, c, "whole", [LARGE]))
    (tmp_path / "s" / "d1" / "data" / "0a").mkdir(parents=True, exist_ok=True)
    (tmp_path / "s" / "d1" / "data" / "0a" / "000000000000000a").write_bytes(b"left by a crash")
    assert Keeper(engine).sweep_orphans() == 1
    assert run(get(engine, c, "whole")) == LARGE
    engine.close()


def test_a_full_disk_refuses_bytes_but_lets_go_of_some(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", reserve_bytes=0)
    c = make_container(engine)
    run(put(engine, c, "o", [SMALL]))
    engine.close()
    full = make_engine(tmp_path / "s", reserve_bytes=1 << 62)
    with pytest.raises(NoRoom):
        run(put(full, c, "more", [SMALL]))
    with pytest.raises(NoRoom):
        run(put(full, c, "more", [LARGE]))
    delete(full, c, "o")
    assert run(get(full, c, "o")) is None
    full.close()


def test_encrypted_bytes_open_from_any_offset_and_after_rotation(tmp_path: Path) -> None:
    sealer = Sealer({"1": b"1" * 32}, "1")
    engine = make_engine(tmp_path / "s", sealer=sealer)
    c = make_container(engine)
    run(put(engine, c, "small", [SMALL]))
    row = run(put(engine, c, "big", [LARGE]))
    assert not any(b"xxxxxxxx" in p.read_bytes() for p in (tmp_path / "s" / "d1" / "log").iterdir())
    engine.close()
    engine = make_engine(tmp_path / "s", sealer=Sealer({"1": b"1" * 32, "2": b"2" * 32}, "2"))
    assert run(get(engine, c, "small")) == SMALL
    blob = engine.read(lambda i: i.blob(row.blob))
    assert blob is not None

    async def part() -> bytes:
        return b"".join([p async for p in engine.fetch(blob, 1_048_571, 1_048_600)])

    assert run(part()) == LARGE[1_048_571:1_048_600]
    keeper = Keeper(engine)
    assert keeper.rewrap() == 2
    assert keeper.rewrap() == 0
    assert run(get(engine, c, "big")) == LARGE
    engine.close()
    (tmp_path / "s" / "index.db").unlink()  # the logs say so, too
    engine = make_engine(tmp_path / "s", sealer=Sealer({"2": b"2" * 32}, "2"))  # the older root is not needed any more
    assert run(get(engine, c, "small")) == SMALL
    assert run(get(engine, c, "big")) == LARGE
    assert Keeper(engine).rewrap() == 0
    engine.close()


def test_a_page_costs_the_same_wherever_it_begins(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", durable=False)
    c = make_container(engine)
    from nutshell.object_store.rows import ObjectRow

    def fill(index: Any) -> None:
        for n in range(5000):
            index.put_object(ObjectRow(c.id, f"d{n // 100:03}/o{n:05}", 1, 0, "e", "t", 0, {}), None)

    engine.change_now(fill)
    plan = engine.read(
        lambda i: i._sql(
            "EXPLAIN QUERY PLAN SELECT name FROM objects WHERE container=? AND name > ? ORDER BY name LIMIT 10",
            (c.id, "d040/"),
        ).fetchall()
    )
    assert "SEARCH" in plan[0][3]
    assert "TEMP" not in str(plan)
    page = engine.read(lambda i: i.list_objects(c.id, after="d040/", until="", prefix="d04", limit=3, reverse=False))
    assert [r.name for r in page] == ["d040/o04000", "d040/o04001", "d040/o04002"]
    last = engine.read(lambda i: i.list_objects(c.id, after="", until="", prefix="d04", limit=2, reverse=True))
    assert [r.name for r in last] == ["d049/o04999", "d049/o04998"]
    engine.close()


def test_many_uploads_at_once_hold_little_each(tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "s", durable=False)
    make_container(engine)
    held: list[int] = []

    async def one(n: int, ready: asyncio.Barrier) -> str:
        async with engine.upload(f"AUTH_a/c/o{n}", 0) as up:
            await ready.wait()
            for at in range(0, len(LARGE), 65536):
                await up.feed(LARGE[at : at + 65536])
                held.append(up._held)
            return (await up.finish()).md5

    async def together() -> list[str]:
        ready = asyncio.Barrier(64)
        return await asyncio.gather(*(one(n, ready) for n in range(64)))

    assert set(run(together())) == {hashlib.md5(LARGE).hexdigest()}
    assert max(held[: 64 * 40]) * 64 <= MOST_HELD + 64 * 65536
    engine.close()


def test_the_first_root_is_made_when_something_asks_and_stays(tmp_path: Path) -> None:
    from nutshell.object_store.roots import load_sealer

    sealer = load_sealer(tmp_path, False)
    other = load_sealer(tmp_path, False)
    assert not (tmp_path / "keys").exists()
    seals = [s.new_seal("a/c") for s in (sealer, other)]  # both believed to be the first
    later = load_sealer(tmp_path, False)
    for seal in seals:
        assert later.decrypt(seal.sealed, seal.encrypt(b"secret"), 0) == b"secret"
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["objects-1"]
    assert not later.seals


def test_a_change_that_comes_while_another_loop_finds_nothing_is_not_forgotten(tmp_path: Path) -> None:
    """The turn was given back without a word to the loop that had found it taken: its caller waited for ever."""
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    committer: Any = engine._opened().committer
    look, came = committer._next_batch, list[threading.Thread]()

    def look_slowly() -> Any:
        found = look()
        if not found and not came:  # now, with the turn held and nothing found, the other loop's change comes
            came.append(threading.Thread(target=run, args=(put(engine, c, "other", [SMALL]),), daemon=True))
            came[0].start()
            until(lambda: bool(committer._waiting) and committer._called is None)
        return found

    committer._next_batch = look_slowly
    committer._begin(asyncio.new_event_loop())
    came[0].join(20)
    assert not came[0].is_alive()
    assert run(get(engine, c, "other")) == SMALL
    engine.close()


def test_a_loop_that_stands_still_holds_up_no_other(tmp_path: Path) -> None:
    """A caller that gave up leaves its change waiting, and a loop that does not run: the next ones are carried out."""
    engine = make_engine(tmp_path / "s")
    c = make_container(engine)
    committer: Any = engine._opened().committer
    still = asyncio.new_event_loop()
    with committer._turn:  # somebody else's batch is being written
        committer._waiting.append(Change(lambda index: None, still, still.create_future()))
        other = threading.Thread(target=run, args=(put(engine, c, "other", [SMALL]),), daemon=True)
        other.start()
        until(lambda: len(committer._waiting) == 2 and committer._called is None)
    committer._call_next()
    other.join(20)
    assert not other.is_alive()
    still.close()
    engine.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)
