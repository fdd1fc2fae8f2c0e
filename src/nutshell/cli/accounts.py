"""The unprivileged user that the API runs as in real mode.

Source: useradd(8), path_resolution(7).
"""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from pathlib import Path

NAME = "nutshell"


def api_user(state: Path, port: int) -> tuple[tuple[int, int] | None, str]:
    """(uid, gid) for the API and "", or None and why it has to run as the caller. Makes the user when it can."""
    if os.geteuid() != 0:
        return None, ""
    if port < 1024:
        return None, f"the API runs as root, for only root may listen on port {port}"
    try:
        found = pwd.getpwnam(NAME)
    except KeyError:
        if shutil.which("useradd") is None:
            return None, "the API runs as root: there is no useradd to make the user nutshell"
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        made = subprocess.run([*command, "--shell", "/usr/sbin/nologin", NAME], capture_output=True, text=True)
        try:
            found = pwd.getpwnam(NAME)
        except KeyError:
            return None, f"the API runs as root: useradd said {made.stderr.strip()!r}"
    import msgspec

    package = Path(__file__).parents[1]
    for needed in (state, package, Path(sys.executable), Path(os.__file__), Path(msgspec.__file__)):
        hurdle = _hurdle(needed, found.pw_uid, found.pw_gid, parents_only=needed == state)
        if hurdle is not None:
            return None, f"the API runs as root, for the user {NAME} may not enter {hurdle}"
    return (found.pw_uid, found.pw_gid), ""


def _hurdle(path: Path, uid: int, gid: int, parents_only: bool) -> Path | None:
    """The first directory on the way (or the thing itself) that this user cannot use; None: it can. The names on the
    way and the place a link leads to are both walked."""
    ways = {path.absolute(), path.resolve()}
    for way in ways:
        for step in [*reversed(way.parents), *([] if parents_only else [way])]:
            try:
                seen = step.stat()
            except FileNotFoundError:
                break  # not made yet: it will be ours
            shift = 6 if seen.st_uid == uid else 3 if seen.st_gid == gid else 0
            need = stat.S_IXOTH if stat.S_ISDIR(seen.st_mode) else stat.S_IROTH
            if not (seen.st_mode >> shift) & need:
                return step
    return None
