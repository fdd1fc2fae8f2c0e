"""A process that has loaded the API's code and forks one that serves, as often as it is told: a start without imports.

What is forked goes on as `nutshell.cli.api` does after it has heard its settings. Told "start" on standard input, it
answers "<pid>" when that process serves, or "failed"; told "start <seconds>", it kills that process after them.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Zygote:
    """The farm's side of it."""

    def __init__(self, state: Path, port: int, url: str) -> None:
        self.log = state / "log" / "api.log"
        command = [sys.executable, __file__, str(state), str(port), url]
        self.process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self) -> int:
        """The pid of a process that serves."""
        self.process.stdin.write("start\n")
        self.process.stdin.flush()
        said = self.process.stdout.readline().strip()
        assert said.isdigit(), self.log.read_text()[-3000:]
        return int(said)

    def start_and_kill(self, after_s: float) -> int:
        """Start one and kill it so soon; 1."""
        self.process.stdin.write(f"start {after_s}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "killed"
        return 1

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)


def serve(state: Path, port: int, url: str, ready: int) -> None:
    """The forked process: its own session, its log, then the API until it is killed."""
    from nutshell import app
    from nutshell.cli.api import log_to_stderr
    from nutshell.core.config import CloudConfig, load_settings

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(state / "log" / "api.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    for fd in (1, 2):
        os.dup2(log, fd)
    log_to_stderr("info")
    given = {"state": state, "port": port, "simulate": True, "database": url, "world": "apart" if url else "inside"}
    app.run(load_settings(app.tables(app.parts()), None, {}, {CloudConfig: given}), ready)


def main(state: Path, port: int, url: str) -> None:
    from nutshell import app
    from nutshell.core import http  # noqa: F401
    from nutshell.server import listening  # noqa: F401

    app.parts()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed leave no zombies
    for told in sys.stdin:
        hear, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(hear)
                serve(state, port, url, ready)
            finally:
                os._exit(1)
        os.close(ready)
        after_s = told.partition(" ")[2].strip()
        if after_s:
            time.sleep(float(after_s))
            os.kill(pid, signal.SIGKILL)
            os.close(hear)
            print("killed", flush=True)
            continue
        said = os.read(hear, 100)
        os.close(hear)
        print(pid if said.startswith(b"ready") else "failed", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
