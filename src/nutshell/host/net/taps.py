"""Tap devices: a port's end of the cable, opened by the hypervisor.

Source: Documentation/networking/tuntap.rst. A tap is persistent, so it outlives whoever holds it; only one holder at
a time can be attached.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Sequence

_SETIFF, _SETPERSIST = 0x400454CA, 0x400454CB
_TAP, _NO_PI, _VNET_HDR = 0x0002, 0x1000, 0x4000


def _attach(name: str) -> int:
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(file, _SETIFF, struct.pack("16sH22x", name.encode(), _TAP | _NO_PI | _VNET_HDR))
    except OSError:
        os.close(file)
        raise
    return file


def create_all(names: Sequence[str]) -> None:
    for name in names:
        create(name)


def create(name: str) -> None:
    """Make the persistent tap in the calling thread's namespace; one that a guest holds is left alone."""
    try:
        file = _attach(name)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return
        raise
    try:
        fcntl.ioctl(file, _SETPERSIST, 1)
    finally:
        os.close(file)


def attach(name: str, patience_s: float) -> int:
    """A file descriptor of the tap, with virtio headers; waits `patience_s` for a dying holder to let go."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return _attach(name)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)
