"""What the tests through real clients share."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory of its own with a short name: the sockets of real servers need short paths (unix(7))."""
    directory = Path(tempfile.mkdtemp(prefix="nutshell-"))
    directory.chmod(0o755)  # the API's user walks through it
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
