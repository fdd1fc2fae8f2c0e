"""`make release VERSION=1.2.0`: record the schema of the version that is about to be released, and give it its number.

Changes files of the source tree: `released/<version>.json`, the pending change's name, the version in two files. Commit
and tag what it leaves.
"""

import re
import sys
from pathlib import Path

from nutshell import app
from nutshell.upgrade.changes import CHANGES, NEXT
from nutshell.upgrade.releases import record

PACKAGE = Path(__file__).parents[1]


def release(version: str) -> list[Path]:
    """The files that were changed. ValueError when the version is not newer than the last."""
    app.parts()
    written = [record(version)]
    if any(change.to == NEXT for change in CHANGES):
        path = PACKAGE / "upgrade" / "changes.py"
        content = path.read_text()
        head, _, said = content.rpartition("CHANGES: tuple")
        path.write_text(f"{head}CHANGES: tuple{said.replace('NEXT', repr(version).replace(chr(39), chr(34)))}")
        written.append(path)
    for path, pattern in (
        (PACKAGE / "__init__.py", r'(?m)^__version__ = ".*"$'),
        (PACKAGE.parents[1] / "pyproject.toml", r'(?m)^version = ".*"$'),
    ):
        key = pattern.split("^")[1].split(" ")[0]
        path.write_text(re.sub(pattern, f'{key} = "{version}"', path.read_text(), count=1))
        written.append(path)
    return written


if __name__ == "__main__":
    for changed in release(sys.argv[1]):
        print(f"wrote {changed}")
    print(f"now: bring CHANGELOG.md up to date, commit as 'release {sys.argv[1]}', tag v{sys.argv[1]}")
