"""Looking at the machine's processes, which come and go meanwhile."""

import os
from pathlib import Path

from nutshell.cli import processes


class Vanishing(type(Path())):  # type: ignore[misc]
    """A process whose folder goes between its being listed and being looked into."""

    def iterdir(self):  # type: ignore[no-untyped-def]
        if self.name == "fd" and self.parent.name == "2":
            raise FileNotFoundError(self)
        return super().iterdir()


def test_a_process_that_ends_meanwhile_is_passed_over(tmp_path: Path) -> None:
    """`nutshell down` ended with a traceback when any process of the machine ended while it looked."""
    for pid in ("1", "2", "3", "self"):
        (tmp_path / pid / "fd").mkdir(parents=True)
        (tmp_path / pid / "fd" / "0").touch()
    found = {p.parts[-3] for p in processes.open_files(Vanishing(tmp_path))}
    assert found == {"1", "3"}


def test_who_holds_a_file_is_found(tmp_path: Path) -> None:
    held = tmp_path / "held"
    reading, writing = os.pipe()
    with open(held, "w") as file:
        pid = os.fork()
        if not pid:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        assert file.fileno() > 0
        assert processes.find_holders(held) == [pid]
    os.close(writing)
    os.waitpid(pid, 0)
    os.close(reading)
    assert processes.find_holders(held) == []
