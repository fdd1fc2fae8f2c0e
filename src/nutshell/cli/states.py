"""The state directory: made once, marked with the cloud's kind and short id, guarded by locks, erased on request."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nutshell.cli.places import Places, read_json, write_private
from nutshell.cli.says import Refusal, state_option
from nutshell.core.config import FILE_NAME

# A socket's path has at most 107 characters (unix(7)); below the directory stands host/s/<server id>.qmp.
LONGEST = 107 - len("/host/s/.qmp") - 36


def prepare(places: Places, simulate: bool, user: tuple[int, int] | None) -> str:
    """Make the directory fit for use and return the cloud's short id.

    `user` is who the API runs as. The directory is root's with the sticky bit then: the API keeps its files in it,
    and cannot move away what root writes to. Raises Refusal when the directory holds something else.
    """
    check(places, simulate)
    if not simulate and len(str(places.state)) > LONGEST:
        raise Refusal(
            f"{places.state} is too long a path for the sockets of real servers: at most {LONGEST} characters", 2
        )
    try:
        places.state.mkdir(parents=True, exist_ok=True)
        for directory in (places.run, places.logs, places.host_state):
            directory.mkdir(mode=0o711, exist_ok=True)
    except OSError as error:
        raise Refusal(f"cannot make {error.filename}: {error.strerror}; choose another with --state DIR", 2) from error
    said = read_json(places.mark) or {}
    uid, gid = user or (os.geteuid(), os.getegid())
    if os.geteuid() == 0 and said.get("uid", 0) != uid:
        _give(places, uid, gid)
    if user is not None:
        os.chown(places.state, 0, gid)
    places.state.chmod(0o1770 if user is not None else 0o700)
    identity = said.get("id") or secrets.token_hex(3)
    if not simulate and not places.metadata_secret.exists():
        write_private(places.metadata_secret, secrets.token_hex(32))
        os.chown(places.metadata_secret, uid, gid)
    for half in _halves(places):
        half.unlink(missing_ok=True)
    now = {"id": identity, "simulate": simulate, "uid": uid}
    if said != now:
        write_private(places.mark, json.dumps(now))
    return str(identity)


def check(places: Places, simulate: bool) -> None:
    """Raises Refusal when the directory is of the other kind, or no cloud's."""
    said = read_json(places.mark)
    if said is None:
        ours = {FILE_NAME, "run", "log", "host", places.tiny_image.parent.name}
        strange = [one.name for one in _entries(places.state) if one.name not in ours and one not in _halves(places)]
        if strange:
            raise Refusal(
                f"{places.state} is no cloud's state directory: it holds {strange[0]!r}. "
                "Choose an empty one: --state DIR",
                2,
            )
    elif bool(said.get("simulate")) != simulate:
        kind = "simulated" if said.get("simulate") else "real"
        flag = " with --simulate" if said.get("simulate") else " without --simulate"
        raise Refusal(
            f"{places.state} holds a {kind} cloud. Start it{flag}, choose another --state DIR, "
            f"or erase it: nutshell reset --yes{state_option(places)}",
            2,
        )


def erase(places: Places) -> None:
    """Remove the directory of a cloud; a configuration file in it is kept."""
    keep = places.state / FILE_NAME
    for one in _entries(places.state):
        if one == keep:
            continue
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink(missing_ok=True)
    if not keep.exists() and places.state.exists():
        try:
            places.state.rmdir()
        except OSError as error:
            raise Refusal(f"{places.state} is empty but stays: {error.strerror}") from error


@contextmanager
def one_command_at_a_time(places: Places) -> Iterator[None]:
    """Blocks while another `up`, `down` or `reset` of this cloud works; the kernel frees the lock of a killed one."""
    import hashlib
    import tempfile

    name = hashlib.sha256(str(places.state.absolute()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"nutshell-{os.geteuid()}-{name}.lock"
    lock = _held(path)
    try:
        yield
    finally:
        if not places.state.exists():  # erased: the lock goes too, while it is still held
            path.unlink(missing_ok=True)
        os.close(lock)


def _held(path: Path) -> int:
    """The file open and locked; one that was removed while we waited for it is no lock any more."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except FileNotFoundError:
            pass
        os.close(lock)


def take_lock(path: Path) -> int | None:
    """An open, locked file to be inherited by the process it stands for; None when somebody holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _halves(places: Places) -> list[Path]:
    """What a killed `up` left of the mark it was about to write."""
    return list(places.state.glob(f".{places.mark.name}.*"))


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _give(places: Places, uid: int, gid: int) -> None:
    """Hand what the API keeps to the user it now runs as; what the host process keeps stays root's."""
    ours = {places.run, places.logs, places.host_state, places.mark, places.tiny_image.parent}
    for one in _entries(places.state):
        if one in ours:
            continue
        os.chown(one, uid, gid, follow_symlinks=False)
        if one.is_dir() and not one.is_symlink():
            for root, directories, files in os.walk(one):
                for name in (*directories, *files):
                    os.chown(Path(root) / name, uid, gid, follow_symlinks=False)
