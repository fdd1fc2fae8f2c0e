"""kill -9 under load: every acknowledged write is there to the byte, and the counters agree with the names."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nutshell.object_store.engine.keeping import Keeper
from tests.objects.engine_rig import ACCOUNT, get, make_engine, run

ROUNDS = 4


def written(directory: Path, seed: int, seconds: float) -> list[list[str]]:
    """What a writer said until it was killed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.objects.writer", str(directory), str(seed)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "src"},
    )
    assert child.stdout is not None
    first = child.stdout.readline()  # it works now
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    said = first + child.stdout.read()
    child.wait()
    child.stdout.close()
    return [line.split() for line in said.decode().splitlines() if line]


def test_nothing_acknowledged_is_missing_after_kill_9(tmp_path: Path) -> None:
    known: dict[str, str | None] = {}
    acknowledged = 0
    for seed in range(ROUNDS):
        open_names: set[str] = set()
        for kind, name, *rest in written(tmp_path / "s", seed, 0.15 + 0.2 * seed):
            if kind == "try":
                open_names.add(name)
                continue
            open_names.discard(name)
            known[name] = rest[0] if kind == "put" else None
            acknowledged += 1
        engine = make_engine(tmp_path / "s")
        account = engine.read(lambda i: i.account(ACCOUNT))
        assert account is not None
        c = engine.read(lambda i: i.container(account.id, "c"))  # noqa: B023 - called at once
        assert c is not None
        rows = engine.read(lambda i: i.list_objects(c.id, after="", until="", prefix="", limit=9999, reverse=False))  # noqa: B023
        usage = engine.read(lambda i: i.container_usage(c.id))  # noqa: B023
        assert (usage.objects, usage.bytes) == (len(rows), sum(r.size for r in rows))
        found = {r.name: r.etag for r in rows}
        for row in rows:
            data = run(get(engine, c, row.name))
            assert data is not None
            assert hashlib.md5(data).hexdigest() == row.etag, row.name
        for name, etag in known.items():
            if name not in open_names:  # what was under way may have happened or not
                assert found.get(name) == etag, name
        known = {name: found.get(name) for name in {*known, *open_names}}
        Keeper(engine).sweep_orphans()
        engine.close()
    assert acknowledged > 50
