"""An OVA becomes images: the first disk the image itself, each further one an image of its own."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nutshell.image.formats.detect import HEAD_BYTES, detect
from nutshell.image.ova.archive import Member, OvaRefused, members, read
from nutshell.image.ova.ovf import LIMIT_BYTES, Disk, Machine, read_machine

DIGEST = re.compile(r"(SHA1|SHA256|SHA384|SHA512)\s*\(([^)]+)\)\s*=\s*([0-9a-fA-F]+)$")
GIB = 1 << 30


@dataclass(frozen=True)
class Unpacked:
    """What an archive held: the machine, and its disks in their order as files with their formats."""

    machine: Machine
    disks: list[tuple[Path, str]]

    def flavor(self) -> str:
        """The hardware as a flavor would have it: "vcpus=2,ram=2048,disk=20" (MiB and GiB)."""
        m = self.machine
        return f"vcpus={m.vcpus or 1},ram={m.memory_mib or 512},disk={-(-m.disks[0].capacity // GIB)}"

    def properties(self) -> dict[str, str]:
        return {**self.machine.properties, "ova_suggested_flavor": self.flavor()}


def unpack(source: Path, name: str) -> Unpacked:
    """The archive's disks become `name` with "1", "2", … in place of "{}", beside it. OvaRefused: nothing is left."""
    made: list[Path] = []
    try:
        return _unpack(source, name, made)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _unpack(source: Path, name: str, made: list[Path]) -> Unpacked:
    with open(source, "rb") as file:
        entries = {one.name: one for one in members(file, source.stat().st_size)}
        first = next(iter(entries), "")
        if not first.lower().endswith(".ovf"):
            raise OvaRefused("its first file is no OVF descriptor")
        manifest = _manifest(file, entries)
        descriptor = _small(file, entries[first])
        if manifest and not _same(manifest[first], [descriptor]):
            raise OvaRefused(f"{first} is not what the manifest says")
        machine = read_machine(descriptor)
        for one in entries.values():
            announced = machine.files.get(one.name, -1)
            if announced not in (-1, one.size):
                raise OvaRefused(f"{one.name} has {one.size} bytes, not the {announced} that are announced")
        if len({d.href for d in machine.disks}) < len(machine.disks):  # each would be unpacked on its own
            raise OvaRefused("two disks are in one file")
        for n, disk in enumerate(machine.disks, 1):
            if disk.href not in entries:
                raise OvaRefused(f"the disk {disk.href!r} is not in it")
            made.append(source.with_name(name.format(n)))
            with open(made[-1], "wb") as out:
                chunks = (data for data in read(file, entries[disk.href]) if out.write(data))
                if not _same(manifest.get(disk.href), chunks):
                    raise OvaRefused(f"{disk.href} is not what the manifest says")
    return Unpacked(machine, list(zip(made, (_format(p, d) for p, d in zip(made, machine.disks, strict=True)),
                                      strict=True)))  # fmt: skip


def _format(path: Path, disk: Disk) -> str:
    """As the content shows; what shows nothing is as the descriptor says."""
    with open(path, "rb") as file:
        found = detect(file.read(HEAD_BYTES))[0]
    return disk.format if found in ("raw", "gpt", "mbr") else found


def _small(file: BinaryIO, one: Member) -> bytes:
    if one.size > LIMIT_BYTES:
        raise OvaRefused(f"{one.name} is too large")
    return b"".join(read(file, one))


def _same(expected: tuple[str, str] | None, chunks: Iterable[bytes]) -> bool:
    """Reads all; whether it hashes to what is expected."""
    if expected is None:
        for _ in chunks:
            pass
        return True
    digest = hashlib.new(expected[0].lower(), usedforsecurity=False)
    for data in chunks:
        digest.update(data)
    return digest.hexdigest() == expected[1]


def _manifest(file: BinaryIO, entries: Mapping[str, Member]) -> dict[str, tuple[str, str]]:
    """File name → (digest's name, value); nothing when there is no manifest, else every file. OvaRefused."""
    found: dict[str, tuple[str, str]] = {}
    rest = [n for n in entries if not n.lower().endswith((".mf", ".cert"))]
    texts = [_small(file, one) for one in entries.values() if one.name.lower().endswith(".mf")]
    for line in (line.strip() for text in texts for line in text.decode("utf-8", "replace").splitlines()):
        one = DIGEST.match(line)
        if one is None and line:
            raise OvaRefused(f"the manifest has a line that is none: {line[:60]!r}")
        if one is not None:
            found[one[2].strip()] = (one[1], one[3].lower())
    wrong = set(found) ^ set(rest)
    if texts and wrong:
        raise OvaRefused(f"the manifest and the archive do not have the same files: {sorted(wrong)[0]}")
    return found
