"""Ports that the servers of tests listen on: below those the kernel gives to outgoing connections.

Source: Documentation/networking/ip-sysctl.rst, ip_local_port_range. A port that bind(0) gives is one of that range, and
any connection of another test may have it by the time a server asks for it.
"""

import random
import socket
from functools import cache
from pathlib import Path

LOWEST = 15000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@cache
def _untried() -> list[int]:
    """The ports of this process that were neither handed out nor found taken, in no order."""
    try:
        end = int(RANGE.read_text().split()[0])
    except OSError:  # not on Linux
        end = 32768
    ports = list(range(LOWEST, max(end, LOWEST + 1000)))
    random.SystemRandom().shuffle(ports)  # its own: tests seed the other, alike in all processes
    return ports


def free_port() -> int:
    """One that nobody listens on, and that this process was not given before."""
    untried = _untried()
    while untried:
        port = untried.pop()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closed connections linger
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port is left from {LOWEST} on")
