"""What must hold for every archive and descriptor that OVA import is given."""

import io
import tarfile
from pathlib import Path
from random import Random

from nutshell.image.ova.archive import OvaRefused
from nutshell.image.ova.ovf import read_machine
from nutshell.image.ova.unpacking import unpack

WORDS = (b"<Disk ovf:diskId='d1' ovf:fileRef='f1'/>", b"<Item><ResourceType>17</ResourceType></Item>", b"&lt;", b"&#0;",
         b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"ovf:parentRef='d1'", b"2^99", b"byte * 2^40", b"99999999999999",
         b"../", b"/etc/passwd", b"disk.vmdk", b"xmlns:ovf='x'", b"\xff\xfe", b"\0", b"<a>" * 70,
         b"SHA256(vm.ovf)= 00\n")  # fmt: skip


def judge_descriptor(data: bytes) -> bool:
    """Whether the descriptor is taken. AssertionError when a number in it is impossible."""
    try:
        machine = read_machine(data)
    except OvaRefused:
        return False
    assert machine.vcpus >= 0
    assert machine.memory_mib >= 0
    assert all(d.capacity >= 0 for d in machine.disks)
    return True


def judge_archive(data: bytes, folder: Path) -> bool:
    """Whether the archive is unpacked. What is refused leaves nothing; what is taken is no bomb."""
    source = folder / "archive"
    source.write_bytes(data)
    try:
        unpacked = unpack(source, "disk-{}")
    except OvaRefused:
        assert [p.name for p in folder.iterdir()] == ["archive"]
        return False
    made = [p for p in folder.iterdir() if p != source]
    assert {p for p, _ in unpacked.disks} == set(made)
    assert sum(p.stat().st_size for p in made) <= len(data)
    for path in made:
        path.unlink()
    return True


def archive(descriptor: bytes, disk: bytes, random: Random) -> bytes:
    """A sound archive of these, or one whose bytes were changed and its headers' sums mended."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("vm.ovf", descriptor), ("disk.vmdk", disk)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    changed = bytearray(file.getvalue())
    if random.random() < 0.5:
        at = random.choice((0, 1024, 1536, 2048)) + random.randrange(512)
        if at < len(changed):
            changed[at] = random.choice((0, 0x30, 0x37, 0x80, 0xFF, random.randrange(256)))
        return mend_sums(bytes(changed))
    return bytes(changed)


def mend_sums(data: bytes) -> bytes:
    """The same bytes with the sums of what looks like a tar header made to hold."""
    found = bytearray(data)
    for start in range(0, len(found) - 511, 512):
        if found[start + 257 : start + 262] == b"ustar":
            found[start + 148 : start + 156] = b" " * 8
            found[start + 148 : start + 156] = b"%06o\0 " % sum(found[start : start + 512])
    return bytes(found)


def judge_any(data: bytes, folder: Path) -> bool:
    """A descriptor as such and in a sound archive, anything else as an archive: whether it is taken."""
    if data[257:262] == b"ustar":
        return judge_archive(data, folder)
    taken = judge_descriptor(data)
    packed = judge_archive(archive(data, b"\0" * 600, Steady()), folder)
    assert taken or not packed, "an archive is taken whose descriptor is not"
    return taken


class Steady(Random):
    """Changes nothing."""

    def random(self) -> float:
        return 1.0


def changed(descriptor: bytes, random: Random) -> bytes:
    """The descriptor after a few changes: words put in, doubled and cut pieces, odd bytes."""
    data = bytearray(descriptor)
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(data) + 1)
        match random.randrange(5):
            case 0:
                data[at:at] = random.choice(WORDS)
            case 1:
                at = data.find(b"<", at)
                end = data.find(b">", at) + 1
                data[at:at] = data[at:end] * random.randrange(1, 4) if 0 <= at < end else b""
            case 2:
                data[at : at + random.randrange(1, 30)] = b""
            case 3 if at < len(data):
                data[at] = random.randrange(256)
            case _:
                at = data.find(b'"', at) + 1
                data[at : data.find(b'"', at)] = random.choice(WORDS)
    return bytes(data)
