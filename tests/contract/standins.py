"""Stand-in guests: a namespace whose card is pumped to a port's tap, through the same descriptor a hypervisor gets."""

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from nutshell.host.net import taps
from nutshell.host.net.namespaces import Namespace

_LEASE_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
env > {lease}
ip addr flush dev eth0 scope global
ip addr add $ip/$mask dev eth0
[ -z "$mtu" ] || ip link set eth0 mtu $mtu
set -- $staticroutes
while [ $# -ge 2 ]; do
  if [ $2 = 0.0.0.0 ]; then ip route replace $1 dev eth0; else ip route replace $1 via $2 dev eth0; fi
  shift 2
done
"""


class StandIn:
    """One guest. It keeps its end of the cable whatever becomes of the driver."""

    def __init__(self, directory: Path, name: str, mac: str, tap: int) -> None:
        self.space = Namespace(name)
        self.space.ensure({"ipv6/conf/default/accept_dad": "0", "ipv6/conf/all/accept_dad": "0"})
        self._tap = tap
        self._card = self.space.run(lambda: taps.attach("eth0", 0))
        links = self.space.links()
        links.shape(links.need("eth0"), up=True, mac=mac)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = Thread(target=self._pump, daemon=True)
        self._thread.start()
        self._lease = directory / f"{name}.lease"
        self._script = directory / f"{name}.sh"
        self._script.write_text(_LEASE_SCRIPT.format(lease=self._lease))
        self._script.chmod(0o755)

    def _pump(self) -> None:
        poll = select.poll()
        for file in (self._tap, self._card, self._stop_read):
            poll.register(file, select.POLLIN)
        other = {self._tap: self._card, self._card: self._tap}
        while True:
            for file, _ in poll.poll():
                if file == self._stop_read:
                    return
                try:
                    while True:  # whole frames with their virtio headers: both ends are taps of the same kind
                        os.write(other[file], os.read(file, 70000))
                except BlockingIOError:
                    pass
                except OSError:
                    time.sleep(0.001)  # one end is down

    def dhcp(self, mac: str = "") -> dict[str, str]:
        """What the guest's DHCP client was told; empty when nobody answered."""
        self._lease.unlink(missing_ok=True)
        command = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", str(self._script)]
        for option in ("mtu", "staticroutes", "dns", "hostname", "domain", "router"):
            command += ["-O", option]
        self.run(*command)
        if not self._lease.exists():
            return {}
        return dict(line.partition("=")[::2] for line in self._lease.read_text().splitlines())

    def run(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--net={self.space.path}", *command], capture_output=True, text=True, timeout=timeout
        )

    def address(self, cidr: str, gateway: str = "") -> None:
        """Configured by hand, without DHCP."""
        self.run("ip", "addr", "replace", cidr, "dev", "eth0")
        if gateway:
            self.run("ip", "route", "replace", "default", "via", gateway)

    def pings(self, ip: str, *options: str) -> bool:
        """Whether an answer comes within five seconds: address resolution may have to be tried again."""
        return self.run("ping", "-c", "1", "-w", "5", *options, ip).returncode == 0

    def fails_to_ping(self, ip: str, *options: str) -> bool:
        return self.run("ping", "-c", "1", "-W", "1", *options, ip).returncode == 1

    def serve_tcp(self, port: int, address: str = "0.0.0.0") -> socket.socket:
        """A listening socket inside the guest."""
        return self.space.run(lambda: socket.create_server((address, port)))

    def calls(self, ip: str, port: int, timeout: float = 0.7) -> bool:
        """Whether a TCP connection from the guest comes about."""
        return self.space.run(lambda: connects(ip, port, timeout))

    def asks(self, work: Callable[[], str]) -> str:
        return self.space.run(work)

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join(5)
        for file in (self._tap, self._card, self._stop_read, self._stop_write):
            os.close(file)
        self.space.delete()


def connects(ip: str, port: int, timeout: float = 0.7) -> bool:
    try:
        socket.create_connection((ip, port), timeout).close()
    except OSError:
        return False
    return True
