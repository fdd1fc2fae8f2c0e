"""Processes of a cloud: started apart from the terminal, found again after any crash, ended for certain.

Source: proc(5), field 22 of /proc/<pid>/stat: a pid with another start time is another process.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nutshell.cli.places import read_json, write_private
from nutshell.cli.warm import GIVES_BACK


@dataclass(frozen=True)
class Record:
    """A process that was started: `facts` is what is worth knowing of it (endpoint, drivers)."""

    pid: int
    start: int  # clock ticks after boot
    facts: dict[str, Any]


def start_time(pid: int) -> int | None:
    """When the process was started, in ticks since boot; None when it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after = text.rpartition(")")[2].split()
    return None if after[0] in "ZX" else int(after[19])


def find(path: Path) -> Record | None:
    """The recorded process if it still runs."""
    said = read_json(path)
    if said is None or not isinstance(said.get("pid"), int):
        return None
    record = Record(said["pid"], said.get("start", -1), said.get("facts", {}))
    return record if start_time(record.pid) == record.start else None


def joined(run: Path) -> dict[str, Record]:
    """The API processes beside the first that run, by name (`nutshell join`)."""
    found = {path.stem: find(path) for path in sorted(run.glob("api-*.json"))}
    return {name: record for name, record in found.items() if record is not None}


def remember(path: Path, pid: int, facts: Mapping[str, Any]) -> None:
    """Write the record by which `find` knows the process. A process already gone is recorded as such."""
    record = Record(pid, start_time(pid) or -1, dict(facts))
    write_private(path, json.dumps(asdict(record), indent=1))


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    fds: Sequence[int] = (),
    user: tuple[int, int] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process of its own session, its output appended to the log. `user` is (uid, gid) to run as."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > 64 << 20:
        log.rename(log.with_suffix(".log.1"))
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640), "ab") as out:
        if user is not None:
            os.fchown(out.fileno(), *user)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            pass_fds=tuple(fds),
            start_new_session=True,
            cwd=cwd or "/",
            env=GIVES_BACK | os.environ,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
        )


def end(record: Record, patience_s: float = 10.0) -> None:
    """Ask the process and what it started (its process group) to end, then make it. Returns when it is gone.

    Raises PermissionError when it belongs to somebody else.
    """
    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        if start_time(record.pid) != record.start:
            break
        os.kill(record.pid, number)
        deadline = time.monotonic() + wait_s
        while start_time(record.pid) == record.start and time.monotonic() < deadline:
            time.sleep(0.01)
    if _group_has_members(record.pid):
        os.killpg(record.pid, signal.SIGKILL)


def _group_has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def open_files(proc: Path = Path("/proc")) -> Iterator[Path]:
    """Every open file of every process that may be looked into; processes come and go meanwhile."""
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            try:
                yield from list((folder / "fd").iterdir())
            except OSError:
                continue


def find_holders(path: Path) -> list[int]:
    """Processes that hold the file open: whom the record does not know because its writer was killed first."""
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for fd in open_files():
        try:
            seen = os.stat(fd)
        except OSError:
            continue
        if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(fd.parts[2]))
    return sorted(set(found) - {os.getpid()})


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, to show why a process did not come up."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
