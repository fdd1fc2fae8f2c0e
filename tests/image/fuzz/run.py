"""Coverage-guided fuzzing of the image inspector: `python -m tests.image.fuzz.run WORK_FOLDER [libFuzzer's options]`.

Needs `atheris` (pip install atheris). New files that reach new code are kept in the folder; a file that breaks a
property is written beside it as crash-….
"""

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["nutshell.image.formats"]):
    from tests.image.fuzz.properties import DECLARED, check

from tests.image.fuzz.mutations import mended, mutate


def one(data: bytes) -> None:
    """One file, judged as the format it is said to be by its first bytes' sum, as raw, and as qcow2."""
    chosen = DECLARED[sum(data[:64]) % len(DECLARED)]
    check(data, tuple(sorted({chosen, "raw", _alike(data)})), limit_s=15.0)  # instrumented code is slow


def _alike(data: bytes) -> str:
    for sign, name in ((b"KDMV", "vmdk"), (b"Disk Desc", "vmdk"), (b"\x7f\x10\xda\xbe", "vdi"), (b"conectix", "vhd"),
                       (b"vhdxfile", "vhdx"), (b"CD001", "iso"), (b"LUKS", "luks")):  # fmt: skip
        if sign in data[:4096]:
            return name
    return "qcow2"


def change(data: bytes, most: int, seed: int) -> bytes:
    """libFuzzer's own changes and ours, each half of the time."""
    random = Random(seed)
    if random.random() < 0.5:
        found = bytes(atheris.Mutate(data, most))
        return (mended(found) if random.random() < 0.3 else found)[:most]
    return mutate(data, random)[:most]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one, custom_mutator=change)
    atheris.Fuzz()
