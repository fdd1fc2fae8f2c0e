"""Network namespaces by name, as `ip netns` keeps them: files under /run/netns that hold a namespace open.

Source: namespaces(7), network_namespaces(7), ip-netns(8).
"""

import ctypes
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import TypeVar

from nutshell.host.net.links import Links
from nutshell.host.net.netlink import NetlinkSocket
from nutshell.host.net.nft import Nft

_T = TypeVar("_T")
_NEWNET = 0x40000000
_BIND, _SHARED, _RECURSIVE, _DETACH = 0x1000, 1 << 20, 0x4000, 2
ROOT = "/run/netns"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _in_thread(work: Callable[[], _T]) -> _T:
    """What `work` returns or raises, run in a thread of its own: a thread that changes namespace ends afterwards."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_namespace(path: str, work: Callable[[], _T]) -> _T:
    """What `work` returns, run inside the namespace that this file holds open."""

    def enter() -> _T:
        with open(path, "rb") as file:
            _check(_libc().setns(file.fileno(), _NEWNET), path)
        return work()

    return _in_thread(enter)


class Namespace:
    """One named namespace with the sockets kept open into it. Not for two threads at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = f"{ROOT}/{name}"
        self._inode = self._settled = 0
        self._netlink: NetlinkSocket | None = None
        self._nft: Nft | None = None

    def exists(self) -> bool:
        return self.inode() != 0

    def ensure(self, sysctls: Mapping[str, str]) -> None:
        """It exists, its loopback is up, and its settings are these: made sure of once per process."""
        if not self.exists():
            self._create()
        if self._settled != self.inode():
            links = self.links()
            links.shape(links.need("lo"), up=True)
            self.set_sysctls(sysctls)
            self._settled = self.inode()

    def _create(self) -> None:
        _mount_root()
        Path(self.path).unlink(missing_ok=True)  # what a kill between the two steps below leaves
        os.close(os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

        def make() -> None:
            libc = _libc()
            _check(libc.unshare(_NEWNET), "unshare")
            _check(libc.mount(b"/proc/thread-self/ns/net", self.path.encode(), b"none", _BIND, None), self.path)

        _in_thread(make)

    def delete(self) -> None:
        """Let go of it; the kernel ends it once no process or socket is inside. Absent is success."""
        self.close()
        path = Path(self.path)
        if path.exists():
            _libc().umount2(self.path.encode(), _DETACH)  # fails on a bare file that was never mounted: fine
            path.unlink(missing_ok=True)

    def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, run inside; sockets and processes it starts stay inside."""

        return in_namespace(self.path, work)

    def set_sysctls(self, values: Mapping[str, str]) -> None:
        """Write these files under /proc/sys/net of the namespace; those absent from the kernel are passed over."""

        def write() -> None:
            for name, value in values.items():
                path = Path("/proc/sys/net", name)
                if path.exists() and path.read_text().strip() != value:
                    path.write_text(value)

        self.run(write)

    def links(self) -> Links:
        self._refresh()
        if self._netlink is None:
            self._netlink = self.run(NetlinkSocket)
        return Links(self._netlink)

    def nft(self) -> Nft:
        self._refresh()
        if self._nft is None:
            self._nft = self.run(Nft)
        return self._nft

    def open(self) -> int:
        """A file descriptor of the namespace, to be closed by the caller."""
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def socket(self, protocol: int) -> NetlinkSocket:
        return self.run(lambda: NetlinkSocket(protocol))

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
        if self._nft is not None:
            self._nft.close()
        self._netlink = self._nft = None

    def inode(self) -> int:
        """Which namespace the name stands for; 0 when the name is missing or a bare file."""
        try:
            stat = os.stat(self.path)
        except FileNotFoundError:
            return 0
        return stat.st_ino if stat.st_dev != os.stat(ROOT).st_dev else 0

    def _refresh(self) -> None:
        """Sockets into a namespace that somebody deleted and made again lead nowhere: drop them."""
        inode = self.inode()
        if inode != self._inode:
            self.close()
            self._inode = inode


def root_links() -> Links:
    """Links of the host's own namespace, that of the calling thread."""
    return Links(NetlinkSocket(socket.NETLINK_ROUTE))


def names(prefix: str) -> list[str]:
    """The namespaces whose names begin so."""
    try:
        return sorted(name for name in os.listdir(ROOT) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def _mount_root() -> None:
    """/run/netns must be a shared mount, or a namespace deleted here would live on in other mount namespaces."""
    os.makedirs(ROOT, exist_ok=True)
    libc = _libc()
    if libc.mount(b"", ROOT.encode(), b"none", _SHARED | _RECURSIVE, None) != 0:
        _check(libc.mount(ROOT.encode(), ROOT.encode(), b"none", _BIND | _RECURSIVE, None), ROOT)
        _check(libc.mount(b"", ROOT.encode(), b"none", _SHARED | _RECURSIVE, None), ROOT)
