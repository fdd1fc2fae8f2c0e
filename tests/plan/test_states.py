"""The state directory's lock: one command at a time, and no trace of it once the cloud is erased."""

import threading
from pathlib import Path

from nutshell.cli import states
from nutshell.cli.places import Places


def locks(folder: Path) -> list[Path]:
    return list(folder.glob("nutshell-*.lock"))


def test_one_command_at_a_time_over_an_erasure(tmp_path: Path) -> None:
    import tempfile

    kept, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    try:
        places = Places(tmp_path / "state")
        inside, most = [], []

        def command(erases: bool) -> None:
            for _ in range(50):
                with states.one_command_at_a_time(places):
                    inside.append(1)
                    most.append(len(inside))
                    if erases and places.state.exists():
                        places.state.rmdir()
                    elif not erases:
                        places.state.mkdir(exist_ok=True)
                    inside.pop()

        threads = [threading.Thread(target=command, args=(erases,)) for erases in (True, False, True, False)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert max(most) == 1
        with states.one_command_at_a_time(places):
            if places.state.exists():
                places.state.rmdir()
        assert locks(tmp_path) == []
    finally:
        tempfile.tempdir = kept
