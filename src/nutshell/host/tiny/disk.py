"""Puts a bootable disk together without mounting: MBR, a FAT partition with SYSLINUX and the kernel, the root.

Sources: SYSLINUX's doc/syslinux.txt; mtools(1); the classical PC partition table.
"""

import struct
from pathlib import Path

from nutshell.host.tiny.packages import BuildFailed, run
from nutshell.host.tiny.trees import EPOCH

MIB = 1 << 20
SECTOR = 512
BOOT_START = MIB
MBR_CODE = ("/usr/lib/SYSLINUX/mbr.bin", "/usr/lib/syslinux/mbr/mbr.bin")
DISK_SIGNATURE = 0x6E757473
# The timer check fails when many guests start at once on few cores; the firmware's disk probe is slow; nothing here
# needs the protections against other code in the same guest.
COMMAND_LINE = (
    "console=tty0 console=ttyS0,115200 no_timer_check loglevel=5 edd=off mitigations=off nokaslr noreplace-smp "
    "cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1 net.ifnames=0 panic=10"
)
CONFIGURATION = f"DEFAULT tiny\nPROMPT 0\nLABEL tiny\n  KERNEL /vmlinuz\n  INITRD /initrd\n  APPEND {COMMAND_LINE}\n"


def boot_partition(scratch: Path, kernel: Path, initrd: bytes) -> Path:
    """A FAT file system, as a file, with the kernel, the initial RAM disk and SYSLINUX."""
    part = scratch / "boot.fat"
    size = -(-(kernel.stat().st_size + len(initrd)) // MIB + -2) * MIB
    with part.open("wb") as file:
        file.truncate(size)
    hidden = str(BOOT_START // SECTOR)
    run(["mkfs.fat", "--invariant", "-i", "6e757473", "-n", "BOOT", "-s", "16", "-h", hidden, part])
    epoch = str(EPOCH)
    (scratch / "initrd").write_bytes(initrd)
    (scratch / "syslinux.cfg").write_text(CONFIGURATION)
    for source in (kernel, scratch / "initrd", scratch / "syslinux.cfg"):
        name = "vmlinuz" if source is kernel else source.name
        run(["mcopy", "-i", part, source, f"::{name}"], SOURCE_DATE_EPOCH=epoch, TZ="UTC")
    run(["syslinux", "--install", part], SOURCE_DATE_EPOCH=epoch, TZ="UTC")
    return part


def assemble(boot: Path, root: Path, target: Path) -> None:
    """The whole disk, raw and sparse."""
    code = next((Path(name) for name in MBR_CODE if Path(name).exists()), None)
    if code is None:
        raise BuildFailed("mbr.bin is not installed (Debian package syslinux-common)")
    root_start = BOOT_START + boot.stat().st_size
    table = _entry(0x80, 0x0C, BOOT_START, boot.stat().st_size) + _entry(0, 0x83, root_start, root.stat().st_size)
    record = code.read_bytes()[:440].ljust(440, b"\0") + struct.pack("<IH", DISK_SIGNATURE, 0)
    with target.open("wb") as file:
        file.write(record + table.ljust(64, b"\0") + b"\x55\xaa")
        for start, part in ((BOOT_START, boot), (root_start, root)):
            file.seek(start)
            file.write(part.read_bytes())
        file.truncate(root_start + root.stat().st_size)


def _entry(flags: int, kind: int, start: int, size: int) -> bytes:
    """One entry of the partition table, addressed by sector alone."""
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", flags, beyond, kind, beyond, start // SECTOR, size // SECTOR)


def compress(raw: Path, target: Path) -> None:
    """The disk as a compressed qcow2, written in order so that it comes out the same each time."""
    run(["qemu-img", "convert", "-m", "1", "-c", "-f", "raw", "-O", "qcow2", raw, target])
