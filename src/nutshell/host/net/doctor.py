"""What the `linux` network driver needs of its machine, found or not, and how to mend it."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from nutshell.host.net.dnsmasq import dnsmasq_path


def _library() -> bool:
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        return False
    return True


def _br_netfilter() -> bool:
    return Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() or _module("br_netfilter")


def _module(name: str) -> bool:
    """Whether the running kernel could load the module."""
    release = os.uname().release
    listing = Path("/lib/modules", release, "modules.dep")
    return listing.exists() and f"/{name}.ko" in listing.read_text()


def _tun() -> bool:
    if os.geteuid() != 0:
        return Path("/dev/net/tun").exists()
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _sysctl_writable() -> bool:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    return path.exists() and (path.read_text().strip() == "1" or os.geteuid() != 0 or os.access(path, os.W_OK))


_NEEDS: tuple[tuple[str, Callable[[], bool], str], ...] = (
    ("root", lambda: os.geteuid() == 0, "run `nutshell host` as root, or with CAP_NET_ADMIN and CAP_SYS_ADMIN"),
    ("dnsmasq", lambda: dnsmasq_path() is not None, "apt install dnsmasq-base"),
    ("libnftables", _library, "apt install libnftables1"),
    ("br_netfilter", _br_netfilter, "modprobe br_netfilter; a kernel without it needs CONFIG_BRIDGE_NETFILTER"),
    ("/dev/net/tun", _tun, "modprobe tun, as root; in a container, pass the device in"),
    ("network namespaces", lambda: Path("/proc/self/ns/net").exists(), "a kernel with CONFIG_NET_NS"),
    ("ip_forward", _sysctl_writable, "sysctl net.ipv4.ip_forward=1"),
)


def doctor() -> list[tuple[str, bool, str]]:
    """(need, met, how to mend) for each need; touches nothing. An ordinary user's view is that of what is installed."""
    return [(need, met(), mend) for need, met, mend in _NEEDS]
