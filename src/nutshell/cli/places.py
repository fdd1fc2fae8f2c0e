"""Where a cloud keeps its things on this machine: paths in its state directory.

Source: the Filesystem Hierarchy Standard 3.0 (/var/lib) and the XDG base directories for ordinary users.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Places:
    """Paths below one state directory."""

    state: Path

    @property
    def mark(self) -> Path:
        """Says that this directory is a cloud's, which kind, and the cloud's short id."""
        return self.state / "cloud.json"

    @property
    def credentials(self) -> Path:
        return self.state / "credentials.json"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def host_state(self) -> Path:
        """What `nutshell host` keeps: owned by root in real mode."""
        return self.state / "host"

    @property
    def host_socket(self) -> Path:
        return self.run / "host.sock"

    @property
    def launch(self) -> Path:
        """The settings that the first API process was started with, for those that join it."""
        return self.run / "launch.json"

    @property
    def metadata_secret(self) -> Path:
        """Shared by the API and the host process: a request that carries it was passed on by the host."""
        return self.state / "metadata.secret"

    @property
    def tiny_image(self) -> Path:
        return self.state / "cache" / "tiny.qcow2"


def default_state() -> Path:
    """Root's clouds live under /var/lib, others' in their home."""
    if os.geteuid() == 0:
        return Path("/var/lib/nutshell")
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "nutshell"


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object; None when there is no such file or a crash left half of one."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it. A symbolic link is written through."""
    target = path.resolve()
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    kept = os.stat(target) if target.exists() else None
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if kept is not None and os.geteuid() == 0:
        os.chown(fresh, kept.st_uid, kept.st_gid)
    fresh.rename(target)
