"""Runs qemu-img: formats always named, resources limited, results under their final name only when complete."""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from nutshell.core.drivers import DriverFault

_MEMORY_LIMIT = 4 << 30  # an image made to exhaust its reader gets no further than this
_QUICK_S, _LONG_S = 60, 3_600


def temporary(path: Path) -> Path:
    """The name under which `path` is being made; leftovers are removed when the driver starts."""
    return path.with_name(f".{path.name}.tmp")


def sweep(directory: Path) -> None:
    """Remove what an interrupted run left behind."""
    for leftover in directory.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def make(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a file under a temporary name; it gets its own name when all of it is on disk."""
    fresh = temporary(path)
    fresh.unlink(missing_ok=True)
    try:
        write(fresh)
        file = os.open(fresh, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise DriverFault(f"cannot write {path}: {error.strerror}") from error
    except DriverFault:
        fresh.unlink(missing_ok=True)
        raise


def virtual_size(path: Path, format: str) -> int:
    said = json.loads(_run(["info", "-U", "--output=json", "-f", format, str(path)], _QUICK_S))
    return int(said["virtual-size"])


def create_empty(path: Path, size: int) -> None:
    _run(["create", "-q", "-f", "qcow2", str(path), str(size)], _QUICK_S)


def create_overlay(path: Path, base: Path, base_format: str, size: int) -> None:
    _run(["create", "-q", "-f", "qcow2", "-b", str(base), "-F", base_format, str(path), str(size)], _QUICK_S)


def convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    """A copy without a backing file; holes stay holes."""
    _run(["convert", "-q", "-f", source_format, "-O", target_format, str(source), str(target)], _LONG_S)


def grow(path: Path, format: str, size: int) -> None:
    _run(["resize", "-q", "-f", format, str(path), str(size)], _QUICK_S)


def _run(arguments: Sequence[str], timeout_s: float) -> str:
    command = ["prlimit", f"--as={_MEMORY_LIMIT}", "--core=0", "qemu-img", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
    except OSError as error:
        raise DriverFault(f"cannot run qemu-img ({error.strerror}): apt-get install qemu-utils", final=True) from error
    except subprocess.TimeoutExpired as error:
        raise DriverFault(f"qemu-img {arguments[0]} took longer than {timeout_s} s") from error
    if done.returncode != 0:
        raise DriverFault(f"qemu-img {arguments[0]}: {done.stderr.strip()[-400:]}")
    return done.stdout
