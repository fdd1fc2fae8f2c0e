"""Fetches Debian packages and unpacks them, without installing anything and without rights (apt-get(8), dpkg(1))."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

KERNEL = "linux-image-cloud-amd64"
LINKED_BUSYBOX = "busybox"
GUEST = (
    "busybox-static",
    "dropbear-bin",
    "netcat-traditional",
    "e2fsprogs",
    "libblkid1",
    "libc6",
    "libcom-err2",
    "libcrypt1",
    "libe2p2",
    "libext2fs2",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "libuuid1",
    "util-linux",
    "zlib1g",
)


class BuildFailed(Exception):
    """The image could not be made; the message says which command failed and how."""


def run(command: Sequence[str | Path], *, cwd: Path | None = None, stdin: bytes = b"", **environment: str) -> bytes:
    """Standard output of a command; BuildFailed with the end of its standard error when it fails."""
    path = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"  # ordinary users lack the latter
    env = {**os.environ, "LC_ALL": "C", "PATH": path, **environment}
    try:
        done = subprocess.run(command, cwd=cwd, input=stdin, env=env, capture_output=True, check=False)
    except FileNotFoundError:
        raise BuildFailed(f"{command[0]} is not installed") from None
    if done.returncode:
        tail = done.stderr.decode(errors="replace").strip()[-600:]
        raise BuildFailed(f"{' '.join(map(str, command))}: exit code {done.returncode}: {tail}")
    return done.stdout


def kernel_package() -> str:
    """The package that the newest cloud kernel's name stands for, such as linux-image-6.1.0-56-cloud-amd64."""
    for line in run(["apt-cache", "depends", KERNEL]).decode().splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name
    raise BuildFailed(f"apt knows no package {KERNEL}; run: apt-get update")


def known_packages() -> tuple[str, ...]:
    """What must be fetched. A library that this Debian release does not have is part of another there."""
    known = set(run(["apt-cache", "pkgnames"]).decode().split())
    lost = [name for name in GUEST if name not in known and not name.startswith("lib")]
    if lost:
        raise BuildFailed(f"apt knows no package {' '.join(lost)}; run: apt-get update")
    return tuple(name for name in GUEST if name in known)


def fetch(names: Sequence[str], folder: Path) -> None:
    """Downloads the packages into the folder; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in names if not list(folder.glob(f"{name}_*.deb"))]
    if lacking:
        command = ["apt-get", "-q", "download", *lacking]
        if os.geteuid() == 0:
            command[1:1] = ["-o", "APT::Sandbox::User=root"]  # apt's own user cannot write into our folder
        run(command, cwd=folder)


def unpack(names: Sequence[str], folder: Path, into: Path) -> None:
    """The files of the packages, in one tree."""
    for name in names:
        for archive in sorted(folder.glob(f"{name}_*.deb")):
            run(["dpkg-deb", "--extract", archive, into])
