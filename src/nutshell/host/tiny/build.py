"""Builds the tiny image: packages to trees to a disk, as any user (sources: see the modules it calls)."""

import gzip
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from nutshell.host.tiny.contents import early_tree, root_tree
from nutshell.host.tiny.disk import MIB, assemble, boot_partition, compress
from nutshell.host.tiny.packages import LINKED_BUSYBOX, BuildFailed, fetch, kernel_package, known_packages, unpack
from nutshell.host.tiny.trees import cpio, ext4

# Debian package -> a program of it that the build runs.
NEEDS = {
    "apt": "apt-get",
    "dpkg": "dpkg-deb",
    "dosfstools": "mkfs.fat",
    "e2fsprogs": "mke2fs",
    "mtools": "mcopy",
    "qemu-utils": "qemu-img",
    "syslinux": "syslinux",
    "syslinux-common": "",  # the boot record
}
ROOT_SIZE = 32 * MIB
STEPS = ("find packages", "download packages", "unpack", "initial RAM disk", "root file system", "boot files", "disk")

__all__ = ["NEEDS", "STEPS", "BuildFailed", "build_tiny", "missing"]


def missing() -> list[str]:
    """The Debian packages that must be installed before an image can be built."""
    paths = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacking = [package for package, program in NEEDS.items() if program and not shutil.which(program, path=paths)]
    if not any(Path(name).exists() for name in ("/usr/lib/SYSLINUX/mbr.bin", "/usr/lib/syslinux/mbr/mbr.bin")):
        lacking.append("syslinux-common")
    return lacking


def build_tiny(target: Path, progress: Callable[[str, float], None], downloads: Path | None = None) -> Path:
    """The path of the new qcow2 image, put in place whole when it is done.

    `progress` hears each step's name and the part done, from 0 to 1. `downloads` keeps the packages for another
    build. BuildFailed says what is missing or which command failed. Takes some ten seconds; needs no rights.
    """
    lacking = missing()
    if lacking:
        raise BuildFailed(f"building the tiny image needs Debian packages; run: apt-get install {' '.join(lacking)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nutshell-tiny-", dir=target.parent) as folder:
        scratch = Path(folder)
        made = _build(scratch, downloads or scratch / "debs", progress)
        os.replace(made, target)
    progress("done", 1.0)
    return target


def _build(scratch: Path, downloads: Path, progress: Callable[[str, float], None]) -> Path:
    steps = iter(STEPS)

    def step() -> None:
        name = next(steps)
        progress(name, STEPS.index(name) / len(STEPS))

    step()
    kernel_name, names = kernel_package(), known_packages()
    step()
    fetch((kernel_name, LINKED_BUSYBOX, *names), downloads)
    step()
    debs, linked, kernel = scratch / "guest", scratch / "linked", scratch / "kernel"
    unpack(names, downloads, debs)
    unpack((kernel_name,), downloads, kernel)
    unpack((LINKED_BUSYBOX,), downloads, linked)
    image = next(kernel.glob("boot/vmlinuz-*"), None)
    if image is None:
        raise BuildFailed(f"{kernel_name} brought no kernel")
    release = image.name.removeprefix("vmlinuz-")
    step()
    initrd = gzip.compress(cpio(early_tree(debs, kernel)), 9, mtime=0)
    step()
    root = scratch / "root.ext4"
    ext4(root_tree(debs, linked, kernel, release), scratch, root, ROOT_SIZE)
    step()
    boot = boot_partition(scratch, image, initrd)
    step()
    raw, made = scratch / "disk.raw", scratch / "disk.qcow2"
    assemble(boot, root, raw)
    compress(raw, made)
    return made
