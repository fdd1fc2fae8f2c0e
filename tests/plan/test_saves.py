"""Saved clouds on the disk: whole or not there, whatever is killed; links where files never change; holes stay."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from nutshell.cli import copying, fork, saves
from nutshell.cli.places import Places
from nutshell.cli.save import check_room, copy_state, save
from nutshell.cli.says import Refusal


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A small simulated cloud that does not run."""
    made = Places(tmp_path / "c")
    for directory in ("images", "world", "keys", "run", "log"):
        (made.state / directory).mkdir(parents=True)
    made.mark.write_text(json.dumps({"id": "abc", "simulate": True, "uid": os.geteuid()}))
    (made.state / "keys" / "tokens").write_bytes(b"k" * 32)
    (made.state / "keys" / "tokens").chmod(0o600)
    (made.state / "images" / "one").write_bytes(b"image")
    (made.state / "images" / "two.part").write_bytes(b"half")
    (made.state / "world" / "world.jsonl").write_text("{}\n")
    (made.state / "run" / "api.json").write_text("{}")
    with closing(sqlite3.connect(made.state / "cloud.db")) as c:
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE t (a, b)")
        c.commit()
    return made


def rows(state: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(state / "cloud.db")) as c:
        assert c.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found: list[tuple[int, int]] = c.execute("SELECT a, b FROM t").fetchall()
        return found


def content(state: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(state)): p.read_bytes()
        for p in sorted(state.rglob("*"))
        if p.is_file() and not p.name.startswith("cloud.db") and p.parent.name not in ("run", "log")
    }


def test_what_is_saved_and_how(places: Places) -> None:
    save(places, "one", lambda _: None)
    state = saves.folder(places) / "one" / "state"
    assert set(content(state)) == {"cloud.json", "images/one", "keys/tokens", "world/world.jsonl"}
    assert (state / "images" / "one").stat().st_ino == (places.state / "images" / "one").stat().st_ino
    assert (state / "world" / "world.jsonl").stat().st_ino != (places.state / "world" / "world.jsonl").stat().st_ino
    assert (state / "keys" / "tokens").stat().st_mode & 0o777 == 0o600
    assert (saves.folder(places).stat().st_mode & 0o777) == 0o700
    assert [one.name for one in saves.every(places)] == ["one"]


def test_a_taken_name_a_bad_name_and_an_unknown_one_are_refused(places: Places) -> None:
    save(places, "one", lambda _: None)
    with pytest.raises(Refusal, match=r"called 'one' already, made .*--replace"):
        save(places, "one", lambda _: None)
    (places.state / "world" / "world.jsonl").write_text("new\n")
    save(places, "one", lambda _: None, replace=True)
    assert (saves.folder(places) / "one" / "state" / "world" / "world.jsonl").read_text() == "new\n"
    with pytest.raises(Refusal, match="no name for a saved cloud") as refused:
        save(places, "../one", lambda _: None)
    assert refused.value.code == 2
    with pytest.raises(Refusal, match="no saved cloud is called 'two'; there are: one"):
        saves.find(places, "two")
    saves.delete(places, "one")
    assert not saves.folder(places).exists()


def test_no_cloud_and_postgresql_are_refused(places: Places, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"there is no cloud in"):
        save(Places(tmp_path / "nothing"), "one", lambda _: None)
    (places.state / "cloud.db").unlink()
    with pytest.raises(Refusal, match=r"PostgreSQL.*pg_dump"):
        save(places, "one", lambda _: None)


def test_no_room_is_said_before_anything_is_copied(places: Places) -> None:
    with (places.state / "world" / "disk").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 << 20)
    needed = copying.room_needed(copying.files_of(places.state), places.state, places.state)
    assert 4 << 20 <= needed < 5 << 20 or needed < 1 << 20  # the latter where files are cloned
    check_room(places.state, needed, needed)
    with pytest.raises(Refusal, match=r"no room for .*are needed, 0 MiB are free"):
        check_room(places.state, needed, needed - 1 if needed < 1 << 20 else 1000)


def test_a_save_while_rows_are_written_is_one_moment(places: Places) -> None:
    """Each transaction writes two rows: a save must never have one of them only."""
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(places.state / "cloud.db", isolation_level=None, timeout=30)) as c:
            for i in range(100_000):
                if ended.is_set():
                    return
                c.execute("BEGIN IMMEDIATE")
                c.execute("INSERT INTO t VALUES (?, 1)", (i,))
                c.execute("INSERT INTO t VALUES (?, 2)", (i,))
                c.execute("COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            save(places, f"s{n}", lambda _: None)
            found = rows(saves.folder(places) / f"s{n}" / "state")
            assert len(found) == 2 * len({a for a, _ in found})
    finally:
        ended.set()
        writer.join()


def test_a_killed_save_leaves_nothing_that_can_be_restored(places: Places) -> None:
    for n in range(300):
        (places.state / "world" / f"f{n}").write_bytes(b"x" * 2000)
    code = (
        "import sys; from pathlib import Path; from nutshell.cli.places import Places; from nutshell.cli.save import"
        " save\nprint('go', flush=True)\nfor n in range(50): save(Places(Path(sys.argv[1])), 's', print, replace=True)"
    )
    wanted = content(places.state) | {}
    for pause_s in (0.0, 0.01, 0.03, 0.07, 0.11, 0.2):
        child = subprocess.Popen([sys.executable, "-c", code, str(places.state)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(pause_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        for one in saves.every(places):
            state = saves.folder(places) / one.name / "state"
            assert content(state) == {k: v for k, v in wanted.items() if not k.endswith(".part")}
            rows(state)
    save(places, "after", lambda _: None)
    assert not [p.name for p in saves.folder(places).iterdir() if p.name.startswith(".")]
    assert "after" in [one.name for one in saves.every(places)]


def test_a_replaced_save_whose_command_was_killed_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".a.old").mkdir()
    (tmp_path / ".b.old").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / ".c.12.part").mkdir()
    saves.tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_restore_replaces_everything_and_only_on_request(places: Places) -> None:
    save(places, "one", lambda _: None)
    before = {k: v for k, v in content(places.state).items() if not k.endswith(".part")}
    (places.state / "images" / "new").write_text("new")
    (places.state / "keys" / "tokens").write_text("other")
    with pytest.raises(Refusal, match=r"replaces all that is stored.*--yes") as refused:
        fork.restore(places, "one", lambda _: None)
    assert refused.value.code == 2
    assert (places.state / "images" / "new").exists()
    fork.restore(places, "one", lambda _: None, yes=True)
    assert content(places.state) == before
    shutil.rmtree(places.state)
    fork.restore(places, "one", lambda _: None)
    assert content(places.state) == before


@pytest.mark.parametrize("stage", ["copied half", "copied", "cleared half", "cleared", "moved half", "moved"])
def test_a_killed_restore_is_finished_or_did_not_happen(places: Places, stage: str) -> None:
    save(places, "one", lambda _: None)
    (places.state / "images" / "new").write_text("new")
    before = content(places.state)
    half = places.state / (".restoring" if stage == "copied half" else ".restored")
    copy_state(Places(saves.folder(places) / "one" / "state"), half, durable=False)
    wanted = content(half)
    if stage == "cleared half":
        places.mark.unlink()
    if stage in ("cleared", "moved half", "moved"):
        for old in places.state.iterdir():
            if not old.name.startswith(".") and old.name not in ("run", "log"):
                fork._remove(old)
        (half / ".cleared").touch()
    if stage in ("moved half", "moved"):
        for new in sorted(half.iterdir())[: 3 if stage == "moved half" else 99]:
            if new.name != ".cleared":
                new.rename(places.state / new.name)
    fork.finish_restore(places)
    assert content(places.state) == (before if stage == "copied half" else wanted)
    assert not half.exists()
    rows(places.state)


def test_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (tmp_path / "a" / "disk").open("wb") as file:
        file.seek(200 << 20)
        file.write(b"end")
        file.truncate(300 << 20)
    told: list[int] = []
    copying.copy_files(tmp_path / "a", tmp_path / "b", copying.files_of(tmp_path / "a"), told.append)
    assert sum(told) < 1 << 20
    one, two = (tmp_path / name / "disk" for name in "ab")
    assert two.stat().st_size == 300 << 20
    assert two.stat().st_blocks <= one.stat().st_blocks + 16
    with two.open("rb") as file:
        file.seek(200 << 20)
        assert file.read(4) == b"end\0"
