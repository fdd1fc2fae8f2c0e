"""Disks that become full or read-only under a working store: what is refused leaves nothing, and it recovers."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nutshell.object_store.engine.devices import Device, write_table
from nutshell.object_store.engine.keeping import Keeper
from tests.objects.swift_rig import Swift, swift_cloud

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems: needs root")]
SMALL, LARGE = b"s" * 9000, os.urandom(1 << 20) * 3
MIB = 1 << 20


def run(*command: object) -> None:
    subprocess.run([str(c) for c in command], check=True, capture_output=True)


@contextmanager
def memory_disk(at: Path, mib: int) -> Iterator[Path]:
    at.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", at)
    try:
        yield at
    finally:
        run("umount", "-l", at)


@contextmanager
def file_disk(at: Path) -> Iterator[Path]:
    """An ext4 file system in a file, of which `fail` makes a read-only one as the kernel does after an error."""
    image = at.with_suffix(".img")
    at.mkdir(parents=True)
    with open(image, "wb") as file:
        file.truncate(96 * MIB)
    run("mkfs.ext4", "-q", "-F", image)
    run("mount", "-o", "loop", image, at)
    try:
        yield at
    finally:
        run("umount", "-l", at)


def fail(disk: Path) -> None:
    run("sync", "-f", disk)  # a simulated cloud does not flush
    run("mount", "-o", "remount,abort", disk)


def mend(disk: Path) -> None:
    run("umount", disk)
    run("mount", "-o", "loop", disk.with_suffix(".img"), disk)


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Something else takes all but so many bytes of the disk."""
    found = os.statvfs(disk)
    taken = disk / "filler"
    taken.write_bytes(b"\0" * max(0, found.f_bavail * found.f_frsize - left))
    try:
        yield
    finally:
        taken.unlink()


class Known:
    """What was acknowledged."""

    def __init__(self, swift: Swift) -> None:
        self.swift, self.objects = swift, dict[str, bytes]()
        assert swift("PUT", "/c").status in (201, 202)

    def put(self, name: str, data: bytes) -> int:
        got = self.swift("PUT", f"/c/{name}", data)
        if got.status == 201:
            self.objects[name] = data
        else:
            assert b"<html>" in got.body, "said as Swift does"
        return got.status

    def delete(self, name: str) -> int:
        status = self.swift("DELETE", f"/c/{name}").status
        if status == 204:
            del self.objects[name]
        return status

    def check(self, swift: Swift | None = None) -> None:
        """The names, counts and bytes are those that were acknowledged."""
        self.swift = swift or self.swift
        listed = {o["name"]: o["hash"] for o in json.loads(self.swift("GET", "/c", query="format=json").body or "[]")}
        assert listed == {n: hashlib.md5(data).hexdigest() for n, data in self.objects.items()}
        head = self.swift("HEAD", "/c").headers
        assert int(head["x-container-object-count"]) == len(self.objects)
        assert int(head["x-container-bytes-used"]) == sum(map(len, self.objects.values()))
        for name, data in self.objects.items():
            assert self.swift("GET", f"/c/{name}").body == data, name


def forget_failures(swift: Swift) -> None:
    """As if the seconds had passed for which a device that failed is left out."""
    swift.engine._failed.clear()
    swift.engine._room = (0.0, {})


def blob_files(store: Path) -> int:
    return len(list(store.glob("d1/data/??/*")))


@pytest.mark.parametrize("size", [len(LARGE), len(SMALL)], ids=["files", "log"])
def test_a_full_disk_refuses_with_507_and_recovers(tmp_path: Path, size: int) -> None:
    data = (LARGE + LARGE)[:size]
    with memory_disk(tmp_path / "s" / "objects", 16) as disk:
        with swift_cloud(tmp_path / "s", reserve_mib=0) as swift:
            known = Known(swift)
            known.put("first", data)
            with filled(disk, size + 60_000):  # room for one, and for half of another
                forget_failures(swift)
                said = [known.put(f"o{n}", data) for n in range(8)]
                assert said[-1] == 507
                assert set(said) <= {201, 507}
                known.check()
                assert blob_files(disk) == (len(known.objects) if size > MIB else 0)
            forget_failures(swift)
            assert known.put("after", data) == 201
            assert known.delete("first") == 204
            known.check()
        with swift_cloud(tmp_path / "s", reserve_mib=0) as swift:
            known.check(swift)


@pytest.mark.parametrize("apart", [False, True], ids=["one disk", "index alone"])
def test_a_disk_that_fills_anywhere_in_a_change_leaves_no_half_of_it(tmp_path: Path, apart: bool) -> None:
    """The room that is left moves through a change's parts: data, log record, index. With `apart` only the index's disk
    is full, so that the log has the change already when the index refuses it."""
    refused = 0
    with memory_disk(tmp_path / "s" / "objects", 24) as disk:
        if apart:
            write_table(disk / "devices.json", [Device("d1", str(tmp_path / "d1"))])
        with swift_cloud(tmp_path / "s", reserve_mib=0) as swift:
            known = Known(swift)
            for left in range(0, 120_000, 8_000):
                with filled(disk, left):
                    for n in range(6):
                        forget_failures(swift)
                        status = known.put(f"{left}-{n}", SMALL)
                        assert status in (201, 507), status
                        refused += status == 507
                    if known.objects and known.delete(min(known.objects)) == 507:
                        refused += 1
                forget_failures(swift)
                assert known.put(f"{left}-after", SMALL) == 201
            known.check()
        for lost in (False, True):
            if lost:  # it is made anew from the logs: what was refused must not be in them
                for path in disk.glob("index.db*"):
                    path.unlink()
            with swift_cloud(tmp_path / "s", reserve_mib=0) as swift:
                known.check(swift)
    assert refused > 10


def test_a_disk_that_becomes_read_only_refuses_writes_with_503_and_goes_on_reading(tmp_path: Path) -> None:
    with file_disk(tmp_path / "s" / "objects") as disk:
        with swift_cloud(tmp_path / "s") as swift:
            known = Known(swift)
            for name, data in (("small", SMALL), ("large", LARGE)):
                assert known.put(name, data) == 201
            fail(disk)
            for again in (False, True):  # the second time the device is left out already
                assert [known.put(n, d) for n, d in (("a", SMALL), ("b", LARGE), ("small", LARGE))] == [503] * 3, again
                assert known.delete("small") == 503
                assert swift("POST", "/c/small", x_object_meta_a="b").status == 503
                assert swift("PUT", "/new").status == 503
            known.check()
        mend(disk)
        with swift_cloud(tmp_path / "s") as swift:
            known.check(swift)
            assert known.put("after", LARGE) == 201
            assert known.delete("small") == 204
            known.check()


def test_of_two_devices_one_becomes_read_only_and_nothing_is_refused(tmp_path: Path) -> None:
    """What was written with one copy gets its second when the disk is back."""
    (tmp_path / "s" / "objects").mkdir(parents=True)
    with file_disk(tmp_path / "bad") as disk:
        table = [Device("d1", str(tmp_path / "good"), "z1"), Device("d2", str(disk), "z2")]
        write_table(tmp_path / "s" / "objects" / "devices.json", table)
        with swift_cloud(tmp_path / "s") as swift:
            known = Known(swift)
            assert known.put("before", LARGE) == 201
            fail(disk)
            for n in range(4):
                assert known.put(f"small{n}", SMALL) == 201
                forget_failures(swift)
                assert known.put(f"large{n}", LARGE) == 201
                forget_failures(swift)
            Keeper(swift.engine).repair_noted()
            forget_failures(swift)
            assert known.delete("before") == 204
            known.check()
        mend(disk)
        with swift_cloud(tmp_path / "s") as swift:
            known.check(swift)
            Keeper(swift.engine).repair_noted()
            blobs = swift.engine.read(lambda i: i.list_blobs(0, 99))
            assert [sorted(p.device for p in b.places) for b in blobs] == [["d1", "d2"]] * 8
            known.check()
