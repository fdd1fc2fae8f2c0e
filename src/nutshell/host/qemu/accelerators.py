"""Whether the processor's virtualisation truly works here, found out by running a guest; and this host's QEMU.

A machine may offer /dev/kvm and yet refuse to run, hang, or emulate more slowly than TCG does. So a boot sector is run
that enters 64-bit mode, copies 8 MiB downwards (as Linux moves itself) and ends QEMU through its debug-exit port.
Under TCG that takes 0.15 s; hardware takes less.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from nutshell.core.drivers import DriverFault

PROGRAM = "qemu-system-x86_64"
_PATIENCE_S = 2.0
_WORKED = 33  # isa-debug-exit: (0x10 << 1) | 1
# cli; segments 0; A20; page tables for 32 MiB at 0x1000; PAE, LME, PG; jump to 64-bit code;
# std; rep movsq of 8 MiB; out 0xf4, 0x10; hlt. Assembled with GNU as.
_BOOT_SECTOR = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007ce4920c02e692bf00106631c0b9000cfc66f3ab66c70600100320000066c70600200330000"
    "0bf003066b88300000066890583c708660500002000663d8300000272ec66b8001000000f22d866b8200000000f22e066"
    "b9800000c00f320d00010f3066b8110000800f22c0660f0116c87c66ea847c0000080048c7c7f8ffff0148c7c6f8ff7f0"
    "148c7c100001000fdf348a5fc0f31b807b0000083f9007504b010e6f4f4ebfd0f1f800000000000000000000000000000"
    "0000009a20000f00b87c"
)


@dataclass(frozen=True)
class Accelerator:
    """How guests run here."""

    kvm: bool
    why_not: str = ""

    @property
    def cpu(self) -> str:
        return "host" if self.kvm else "max"

    @property
    def vhost(self) -> bool:
        """Packets may bypass QEMU: worth it only where processors are hardware too."""
        return self.kvm and os.access("/dev/vhost-net", os.R_OK | os.W_OK)

    def option(self, ram_mib: int) -> str:
        """TCG's cache of translated code is small: its default would cost each guest up to 1 GiB, and while the code of
        before a restart is kept, the next start of the guest takes two to three times as long (measured)."""
        return "kvm" if self.kvm else f"tcg,thread=multi,tb-size={min(128, max(32, ram_mib // 8))}"


def qemu_version() -> int:
    """7002000 is 7.2.0. DriverFault when QEMU is missing."""
    try:
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise DriverFault(f"{PROGRAM} does not run ({error}): apt-get install qemu-system-x86", final=True) from error
    found = re.search(r"version (\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise DriverFault(f"{PROGRAM} names no version: {said!r}", final=True)
    major, minor, micro = map(int, found.groups())
    return major * 1_000_000 + minor * 1_000 + micro


def find_accelerator(memory: Path, version: int) -> Accelerator:
    """The answer, kept in the file `memory` for as long as this boot and this QEMU last."""
    key = f"{_boot_id()} {version} {os.path.exists('/dev/kvm')}"
    try:
        kept = json.loads(memory.read_text())
        if kept.pop("key") == key:
            return Accelerator(**kept)
    except (OSError, ValueError, TypeError, KeyError):
        pass  # not asked before
    found = probe_kvm()
    memory.write_text(json.dumps({"key": key, **asdict(found)}))
    return found


def probe_kvm() -> Accelerator:
    """Run the boot sector under KVM. Takes 0.1 s where it works, at most 2 s."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator(False, "/dev/kvm is absent or closed to this user")
    with tempfile.NamedTemporaryFile(prefix="nutshell-probe-") as disk:
        disk.write(_BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa")
        disk.truncate(1 << 20)
        disk.flush()
        ended, said = _run_probe(disk.name, "kvm", "host", _PATIENCE_S)
    if ended == _WORKED:
        return Accelerator(True)
    return Accelerator(False, f"a guest under KVM {said}")


def _run_probe(path: str, accelerator: str, cpu: str, patience_s: float) -> tuple[int | None, str]:
    command = [
        PROGRAM, "-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-m", "64", "-nodefaults", "-display", "none",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
        "-drive", f"if=none,id=d,file={path},format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=patience_s)
    except subprocess.TimeoutExpired:
        return None, f"did not finish within {patience_s} s what takes software 0.2 s"
    return done.returncode, f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
