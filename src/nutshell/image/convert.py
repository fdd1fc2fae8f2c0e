"""Converts an inspected image with qemu-img: both formats named, time and memory limited (qemu-img(1))."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

FORMATS = {"qcow2": "qcow2", "raw": "raw", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
_MEMORY_BYTES, _CPU_S, _LONGEST_S = 2 << 30, 1800, 3600


class ConvertFault(Exception):
    """The image could not be converted; the text says why, for the user."""


def convert(source: Path, source_format: str, target: Path, target_format: str, options: Sequence[str] = ()) -> None:
    """A copy in another format, without a backing file. The source must have passed the inspector as that format.

    Blocks. ConvertFault; what was made in vain is removed.
    """
    limits = ["prlimit", f"--as={_MEMORY_BYTES}", f"--cpu={_CPU_S}", "--core=0", "--nofile=64"]
    formats = ["-f", FORMATS[source_format], "-O", FORMATS[target_format]]
    formats += [word for option in options for word in ("-o", option)]
    command = [*limits, "qemu-img", "convert", "-q", *formats, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_LONGEST_S)
    except OSError as why:
        raise ConvertFault(f"cannot run qemu-img ({why.strerror}): apt-get install qemu-utils") from why
    except subprocess.TimeoutExpired as why:
        target.unlink(missing_ok=True)
        raise ConvertFault(f"converting takes longer than {_LONGEST_S} s") from why
    if done.returncode != 0:
        target.unlink(missing_ok=True)
        raise ConvertFault(f"the image cannot be converted: {done.stderr.strip()[-200:]}")
