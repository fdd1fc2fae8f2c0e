"""The image inspector against its corpus and some thousand files mutated from it, the same ones each time."""

import os
import time
from pathlib import Path
from random import Random

import pytest
from tests.image.fuzz.mutations import mutate
from tests.image.fuzz.properties import DECLARED, check

CORPUS = {p.name: p.read_bytes() for p in sorted((Path(__file__).parent / "fuzz" / "corpus").iterdir())}
SEED = int(os.environ.get("NUTSHELL_FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("NUTSHELL_FUZZ_MINUTES", "0"))
ROUNDS = 3000


@pytest.mark.parametrize("name", CORPUS)
def test_a_known_file_is_judged_without_fault(name: str) -> None:
    passed = check(CORPUS[name])
    if name.startswith(("qcow2-backing", "qcow2-data", "qcow2-luks", "luks", "qed", "qcow2-and-iso")):
        assert passed <= {"aki", "luks"}


def test_mutated_files_are_judged_without_fault(tmp_path: Path) -> None:
    """`NUTSHELL_FUZZ_MINUTES` goes on that long."""
    random, files = Random(SEED), list(CORPUS.values())
    end, rounds = time.monotonic() + 60 * MINUTES, 0
    while rounds < ROUNDS or time.monotonic() < end:
        rounds += 1
        data = mutate(random.choice(files), random, files)
        declared = (random.choice(DECLARED), random.choice(DECLARED), "qcow2")
        try:
            check(data, declared)
        except BaseException:
            (tmp_path / "breaks").write_bytes(data)
            print(f"from tests.image.fuzz.properties import check; check(bytes.fromhex({data.hex()!r}), {declared})")
            raise
