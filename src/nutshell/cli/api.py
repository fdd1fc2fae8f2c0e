"""The API process: reads what `nutshell up` says, sets up its log, serves until it is told to end.

Started as `python -m nutshell.cli.api --settings-json FD --ready-fd FD`. On the ready pipe it says "ready", or "error:"
and why its settings cannot be used.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Sequence


class JsonLines(logging.Formatter):
    """One JSON object a line. What is JSON already (the access log) stands in it as it is."""

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line: dict[str, object] = {"at": at, "level": record.levelname.lower(), "log": record.name}
        if said.startswith("{") and said.endswith("}"):
            return json.dumps(line)[:-1] + ', "request": ' + said + "}"
        line["message"] = said
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr(level: str) -> None:
    """Every logger of this process writes structured lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def main(arguments: Sequence[str]) -> None:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    ready = int(options["--ready-fd"])
    from nutshell import app
    from nutshell.core.config import CloudConfig, ConfigError, load_launch

    with os.fdopen(int(options["--settings-json"])) as given:
        said = given.read()
    os.set_inheritable(ready, False)
    try:
        settings = load_launch(app.tables(app.parts()), said, os.environ)
    except ConfigError as error:
        os.write(ready, f"error: {error}\n".encode())
        raise SystemExit(2) from error
    log_to_stderr(settings[CloudConfig].log_level)
    app.run(settings, ready)


if __name__ == "__main__":
    main(sys.argv[1:])
