"""A server's own disks: overlays over cached images, blank disks, config drives, all below one directory."""

import hashlib
import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from nutshell.compute.capability import Disk
from nutshell.core.drivers import DriverFault
from nutshell.host.qemu import images

_FORMATTERS: dict[str, list[str]] = {
    "swap": ["mkswap", "-q"],
    "ext4": ["mkfs.ext4", "-q", "-F", "-L"],
    "vfat": ["mkfs.vfat", "-n"],
}


class DiskStore:
    """`<state>/disks/<server id>/` holds disks, `<state>/image-cache/` the images below them."""

    def __init__(self, state: Path) -> None:
        self._disks = state / "disks"
        self._cache = state / "image-cache"
        self._lock = threading.Lock()  # an image must not be pruned between its caching and its first overlay
        for directory in (self._disks, self._cache):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o700)
            images.sweep(directory)

    def create_root(self, server_id: str, image: Path, image_format: str, size: int) -> Disk:
        path = self._place(server_id, "root.qcow2")
        if not path.exists():
            if image_format not in ("raw", "qcow2"):
                raise DriverFault(f"no root disk can be made from a {image_format} image", final=True)
            with self._lock:
                base, base_format = self._cached(image, image_format)
                whole = max(size, images.virtual_size(base, base_format))
                (path.parent / "base.json").write_bytes(msgspec.json.encode(base.name))
                images.make(path, lambda fresh: images.create_overlay(fresh, base, base_format, -(-whole // 512) * 512))
        return Disk("root", str(path), "qcow2", "vda", boot_index=0)

    def create_blank(self, server_id: str, disk_id: str, size: int, filesystem: str) -> Disk:
        if filesystem and filesystem not in _FORMATTERS:
            raise DriverFault(f"no file system {filesystem}", final=True)
        path = self._place(server_id, f"{disk_id}.raw")
        if not path.exists():
            images.make(path, lambda fresh: _blank(fresh, size, filesystem, disk_id))
        return Disk(disk_id, str(path), "raw", f"vd{chr(ord('b') + self._rank(server_id, path))}")

    def write_config_drive(self, server_id: str, files: dict[str, bytes]) -> Disk:
        from nutshell.host.qemu.config_drives import write_config_drive

        path = self._place(server_id, "config.iso")
        images.make(path, lambda fresh: write_config_drive(fresh, files))
        return Disk("config", str(path), "raw", "sda", bus="scsi", cdrom=True, read_only=True)

    def root(self, server_id: str) -> Path:
        path = self._disks / server_id / "root.qcow2"
        if not path.exists():
            raise DriverFault(f"server {server_id} has no root disk here", final=True)
        return path

    def grow_root(self, server_id: str, size: int) -> None:
        path = self.root(server_id)
        if images.virtual_size(path, "qcow2") < size:
            images.grow(path, "qcow2", size)

    def copy_root(self, server_id: str, target: Path) -> None:
        """For a guest that does not live."""
        path = self.root(server_id)
        images.make(target, lambda fresh: images.convert(path, "qcow2", fresh, "qcow2"))

    def delete(self, server_id: str) -> None:
        with self._lock:
            shutil.rmtree(self._disks / server_id, ignore_errors=True)
            self._prune()

    def delete_all(self) -> None:
        for directory in (self._disks, self._cache):
            shutil.rmtree(directory, ignore_errors=True)

    def _place(self, server_id: str, name: str) -> Path:
        directory = self._disks / server_id
        directory.mkdir(exist_ok=True)
        return directory / name

    def _rank(self, server_id: str, path: Path) -> int:
        """How many blank disks of this server are older."""
        made = sorted((self._disks / server_id).glob("*.raw"), key=lambda each: (each.stat().st_ctime_ns, each.name))
        return made.index(path)

    def _cached(self, image: Path, image_format: str) -> tuple[Path, str]:
        """The image in our cache: linked when it can serve as it is, else converted. An image file never changes."""
        try:
            status = image.stat()
        except OSError as error:
            raise DriverFault(f"image {image} cannot be read: {error.strerror}", final=True) from error
        facts = f"{image} {status.st_size} {status.st_mtime_ns} {image_format}"
        cached = self._cache / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.{image_format}"
        if not cached.exists():
            source = cached.with_suffix(".json")
            source.write_bytes(msgspec.json.encode(str(image)))
            images.make(cached, lambda fresh: _take(image, image_format, fresh))
        return cached, image_format

    def _prune(self) -> None:
        """Remove cached images that no overlay names and whose source is deleted."""
        used = set()
        for base in self._disks.glob("*/base.json"):
            with suppress(OSError, msgspec.DecodeError):
                used.add(msgspec.json.decode(base.read_bytes(), type=str))
        for source in self._cache.glob("*.json"):
            with suppress(OSError, msgspec.DecodeError):
                if Path(msgspec.json.decode(source.read_bytes(), type=str)).exists():
                    continue
                for cached in self._cache.glob(f"{source.stem}.*"):
                    if cached.name not in used and cached != source:
                        cached.unlink(missing_ok=True)
                if not any(self._cache.glob(f"{source.stem}.[!j]*")):
                    source.unlink(missing_ok=True)


def _take(image: Path, image_format: str, fresh: Path) -> None:
    if image_format == "qcow2":  # compressed clusters would be unpacked again at every read
        images.convert(image, "qcow2", fresh, "qcow2")
        return
    try:
        os.link(image, fresh)
    except OSError:  # another file system
        images.convert(image, "raw", fresh, "raw")


def _blank(path: Path, size: int, filesystem: str, label: str) -> None:
    with path.open("wb") as out:
        out.truncate(size)
    if not filesystem:
        return
    command = _FORMATTERS[filesystem]
    words = [*command, label[:11]] if filesystem != "swap" else command
    _run_formatter([*words, str(path)])


def _run_formatter(command: list[str]) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": path}, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverFault(f"cannot run {command[0]}: {error}", final=True) from error
    if done.returncode != 0:
        raise DriverFault(f"{command[0]}: {done.stderr.strip()[-300:]}", final=True)
