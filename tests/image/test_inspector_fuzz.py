"""The image inspector against its corpus and some thousand files mutated from it, the same ones each time."""

import io
import os
import tarfile
import time
from pathlib import Path
from random import Random

import pytest
from tests.image.fuzz.mutations import mutate
from tests.image.fuzz.ovas import Steady, archive, changed, judge_any, judge_archive, judge_descriptor
from tests.image.fuzz.properties import DECLARED, check
from tests.image.fuzz.sparse import expand

CORPUS = {p.name: p.read_bytes() for p in sorted((Path(__file__).parent / "fuzz" / "corpus").iterdir())}
OVAS = {p.name: p.read_bytes() for p in sorted((Path(__file__).parent / "fuzz" / "ova_corpus").iterdir())}
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MINUTES = float(os.environ.get("FUZZ_MINUTES", "0"))
ROUNDS = 3000


@pytest.mark.parametrize("name", CORPUS)
def test_a_known_file_is_judged_without_fault(name: str) -> None:
    passed = check(CORPUS[name])
    if name.startswith(("qcow2-backing", "qcow2-data", "qcow2-luks", "luks", "qed", "qcow2-and-iso")):
        assert passed <= {"aki", "luks"}


def test_mutated_files_are_judged_without_fault(tmp_path: Path) -> None:
    """`FUZZ_MINUTES` goes on that long."""
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


def test_mutated_descriptors_and_archives_are_judged_without_fault(tmp_path: Path) -> None:
    random = Random(SEED)
    with tarfile.open(fileobj=io.BytesIO(expand(CORPUS["ova"]))) as tar:
        descriptor = tar.extractfile("vm.ovf").read()  # type: ignore[union-attr]
    assert judge_descriptor(descriptor)
    assert judge_archive(expand(CORPUS["ova"]), tmp_path)
    end, rounds = time.monotonic() + 60 * MINUTES / 4, 0
    while rounds < ROUNDS or time.monotonic() < end:
        rounds += 1
        data = changed(descriptor, random)
        try:
            judge_descriptor(data)
            if rounds % 3 == 0:
                data = archive(data if random.random() < 0.5 else descriptor, random.randbytes(100), random)
                judge_archive(data, tmp_path)
        except BaseException:
            print(f"data = bytes.fromhex({data.hex()!r})")
            raise


@pytest.mark.parametrize("name", OVAS)
def test_a_known_archive_is_judged_without_fault(name: str, tmp_path: Path) -> None:
    """What the coverage-guided run of tests/image/fuzz/run_ova.py kept; `taken-…` are sound."""
    assert judge_any(OVAS[name], tmp_path) is name.startswith("taken-")


def test_an_archive_is_no_bomb(tmp_path: Path) -> None:
    """Many disks in one file: each was unpacked on its own, the file's size times the disks'."""
    with tarfile.open(fileobj=io.BytesIO(expand(CORPUS["ova"]))) as tar:
        descriptor = tar.extractfile("vm.ovf").read()  # type: ignore[union-attr]
    one = b'<Disk ovf:diskId="d1" ovf:fileRef="f1"'
    assert one in descriptor
    more = b"".join(b'<Disk ovf:diskId="x%d" ovf:fileRef="f1"/>' % n for n in range(100))
    assert not judge_archive(archive(descriptor.replace(one, more + one), b"x" * 100_000, Steady()), tmp_path)
