"""What real servers need of this machine, whether it is there, and the command that mends what is not.

Source: the names of Debian 12's packages; `kvm_probe` of the hypervisor driver tells whether KVM truly works.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nutshell.cli.says import Refusal


@dataclass(frozen=True)
class Need:
    """One thing, where it was found ("" if it was not) and how to get it. `wanted_by` says what lacks it otherwise."""

    name: str
    found: str
    mend: str
    wanted_by: str
    package: str = ""  # Debian package, if that is how to get it
    optional: bool = False


@dataclass(frozen=True)
class Machine:
    """How to look; tests give another."""

    which: Callable[[str], str | None] = lambda name: shutil.which(name, path=_path())
    exists: Callable[[str], bool] = lambda path: Path(path).exists()
    module: Callable[[str], bool] = lambda name: _has_module(name)
    root: Callable[[], str] = lambda: _root_by()
    network: Callable[[], Sequence[tuple[str, bool, str]]] = lambda: _network_doctor()


PROGRAMS = (
    ("qemu-system-x86_64", "qemu-system-x86", "servers"),
    ("qemu-img", "qemu-utils", "disks"),
    ("mkfs.ext4", "e2fsprogs", "ephemeral disks"),
    ("syslinux", "syslinux", "building the tiny image"),
    ("mcopy", "mtools", "building the tiny image"),
    ("mkfs.fat", "dosfstools", "building the tiny image"),
)
MODULES = (
    ("qemu.qmp", "qemu.qmp", "speaking with QEMU"),
    ("pycdlib", "pycdlib", "config drives"),
)


def find_needs(machine: Machine | None = None) -> list[Need]:
    """Every need, in the order of the lists above."""
    machine = machine or Machine()
    needs = [
        Need("root", machine.root(), "run as root, or let this user use sudo without a password", "networks and guests")
    ]
    for name, package, why in PROGRAMS:
        needs.append(Need(name, machine.which(name) or "", f"apt-get install -y {package}", why, package))
    for name, package, why in MODULES:
        found = "installed" if machine.module(name) else ""
        needs.append(Need(f"python {name}", found, f"{sys.executable} -m pip install '{package}'", why))
    for name, met, mend in machine.network():
        if name != "root":
            package = mend.removeprefix("apt install ") if mend.startswith("apt install ") else ""
            needs.append(Need(name, "found" if met else "", mend, "networks", package))
    kvm = "/dev/kvm" if machine.exists("/dev/kvm") else ""
    needs.append(
        Need("/dev/kvm", kvm, "enable virtualization in the firmware (guests run slower without)", "speed", "", True)
    )
    needs.append(
        Need("ssh", machine.which("ssh") or "", "apt-get install -y openssh-client", "nutshell demo", "", True)
    )
    return needs


def missing(needs: Sequence[Need]) -> list[Need]:
    """Those without which no real server runs."""
    return [need for need in needs if not need.found and not need.optional]


def mending(needs: Sequence[Need]) -> list[str]:
    """The fewest commands that get what is missing."""
    packages = sorted({need.package for need in needs if need.package})
    commands = [f"apt-get install -y {' '.join(packages)}"] if packages else []
    return commands + list(dict.fromkeys(need.mend for need in needs if not need.package))


def refuse_if_missing(machine: Machine | None = None) -> None:
    """Raises Refusal (exit code 2) naming what is missing for real servers and the commands that install it."""
    lacking = missing(find_needs(machine))
    if lacking:
        names = "\n".join(f"  {need.name:<20} for {need.wanted_by}" for need in lacking)
        commands = "\n".join(f"  {command}" for command in mending(lacking))
        raise Refusal(
            f"real servers need what this machine does not have:\n{names}\nGet it with:\n{commands}\n"
            "or start a simulated cloud: nutshell up --simulate",
            2,
        )


def _path() -> str:
    """PATH with the administrator's directories, which an ordinary user's may lack."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _network_doctor() -> Sequence[tuple[str, bool, str]]:
    """What the network driver itself says; asked as this user, who may not be the one that runs it."""
    from nutshell.host.net.doctor import doctor

    own = doctor()
    return (
        own if os.geteuid() == 0 else [(name, met or name in ("/dev/net/tun", "ip_forward"), m) for name, met, m in own]
    )


def _root_by() -> str:
    from nutshell.cli.hosts import privileged

    before = privileged()
    return "" if before is None else "sudo" if before else "this user"
