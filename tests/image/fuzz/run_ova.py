"""Coverage-guided fuzzing of the OVA reader: `python -m tests.image.fuzz.run_ova WORK_FOLDER [libFuzzer's options]`.

Needs `atheris`. The work folder begins as `tests/image/fuzz/ova_corpus`; files that reach new code are kept in it.
"""

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["nutshell.image.ova"]):
    from tests.image.fuzz.ovas import changed, judge_any, mend_sums

FOLDER = tempfile.TemporaryDirectory(prefix="nutshell-ova-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


def one(data: bytes) -> None:
    judge_any(data, Path(FOLDER.name))


def change(data: bytes, most: int, seed: int) -> bytes:
    """libFuzzer's own changes and ours, each half of the time; the headers' sums mostly hold."""
    random = Random(seed)
    found = changed(data, random) if random.random() < 0.5 else bytes(atheris.Mutate(data, most))
    if random.random() < 0.8:
        found = mend_sums(found)
    return found[:most]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one, custom_mutator=change)
    atheris.Fuzz()
