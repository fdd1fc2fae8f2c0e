"""The API process: reads what `nutshell up` says, sets up its log, serves until it is told to end.

Started as `python -m nutshell.cli.api TOLD READY`: it loads its code, then hears its settings on the pipe TOLD. On the
pipe READY it says "ready", or "error: " and why its settings cannot be used.
"""

import gc
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from nutshell.cli.warm import listen, obey


class JsonLines(logging.Formatter):
    """One JSON object a line. The access log's come many at once, as JSON already."""

    def __init__(self) -> None:
        super().__init__()
        self._stamp = (0, "")  # most lines are of the second of the line before

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower()
        if isinstance(record.msg, list):  # core/trace.py, Entries
            head = f'", "level": "{level}", "log": "{record.name}", "request": '
            return "\n".join([f'{{"at": "{self._at(at)}{head}{said.decode()}}}' for at, said in record.msg])
        line: dict[str, object] = {"at": self._at(record.created), "level": level, "log": record.name}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)

    def _at(self, seconds: float) -> str:
        second = int(seconds)
        if second != self._stamp[0]:
            self._stamp = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._stamp[1]}.{int(seconds % 1 * 1000):03}Z"


def log_to_stderr(level: str) -> None:
    """Every logger of this process writes structured lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class Early(threading.Thread):
    """Hears the settings while the code is loaded; before a first start it then hashes the first passwords."""

    def __init__(self, told: int) -> None:
        super().__init__(daemon=True)
        self._fd, self.told = told, ["", "", "", ""]
        self.made: dict[type, Any] = {}
        self.start()

    def run(self) -> None:
        self.told = listen(self._fd)
        if not self.told[3]:
            return
        cloud = json.loads(self.told[0])["overrides"].get("cloud", {})
        if "state" in cloud and not os.path.exists(os.path.join(cloud["state"], "credentials.json")):
            from nutshell.identity.first import FirstPasswords, make_ahead

            self.made[FirstPasswords] = make_ahead(cloud.get("admin_password", ""))


def main(arguments: Sequence[str]) -> None:
    os.umask(0o077)
    told, ready = map(int, arguments)
    early = Early(told)
    gc.disable()  # what is loaded stays; looking through it again and again takes a tenth of the time
    import uvloop  # noqa: F401 - loaded before the settings are heard, as the rest

    from nutshell import app
    from nutshell.core import http  # noqa: F401 - likewise
    from nutshell.core.config import CloudConfig, ConfigError, load_launch
    from nutshell.server import listening  # noqa: F401 - likewise

    tables = app.tables(app.parts())
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 20)  # a page of 1,000 rows makes 30,000 objects and no rubbish cycles: half its time
    os.set_inheritable(ready, False)
    early.join()
    said = obey(early.told)
    try:
        settings = load_launch(tables, said, os.environ)
    except ConfigError as error:
        os.write(ready, f"error: {error}\n".encode())
        raise SystemExit(2) from error
    log_to_stderr(settings[CloudConfig].log_level)
    try:
        app.run(settings, ready, early.made)
    except ConfigError as error:  # the state is not usable, for a reason its owner can do something about
        os.write(ready, f"error: {error}\n".encode())
        raise SystemExit(2) from error


if __name__ == "__main__":
    main(sys.argv[1:])
