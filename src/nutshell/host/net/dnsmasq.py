"""DHCP and DNS of one network: a dnsmasq in the network's namespace, which outlives our processes.

Source: dnsmasq(8); RFC 2131 (DHCP), RFC 3442 (classless routes, option 121). Its files lie under /run/nutshell, which
it can read as an ordinary user. The name of its configuration file says what is in it, so that the command line of a
running process tells what it was started with.
"""

import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from hashlib import blake2b
from ipaddress import ip_network
from pathlib import Path

from nutshell.core.drivers import DriverFault
from nutshell.host.net.namespaces import Namespace
from nutshell.network.capability import Network, Subnet

METADATA = "169.254.169.254"
LEASE_S = 86400


def config_text(network: Network, directory: Path) -> str:
    """The configuration file: everything but the addresses handed out."""
    user = pwd.getpwnam("nobody")
    served = [subnet for subnet in network.subnets if subnet.dhcp and subnet.dhcp_ip and not _made_by_guests(subnet)]
    lines = [
        f"user={user.pw_name}", f"group={_group(user.pw_gid)}", f"pid-file={directory}/pid",
        f"log-facility={directory}/log", "interface=ns0", "except-interface=lo", "bind-interfaces",
        "no-hosts", "no-resolv", "server=127.0.0.1", "no-negcache", "bogus-priv", f"addn-hosts={directory}/names",
        f"dhcp-hostsfile={directory}/hosts", f"dhcp-leasefile={directory}/leases", "dhcp-lease-max=65536",
        "dhcp-authoritative", "dhcp-ignore=tag:!known", "dhcp-ignore-clid", "no-ping",
        f"dhcp-option-force=26,{network.mtu}",
    ]  # fmt: skip
    if network.dns_domain:
        domain = network.dns_domain.rstrip(".")
        lines += [f"domain={domain}", f"local=/{domain}/"]
    for number, subnet in enumerate(served):
        lines += _subnet_lines(network, subnet, f"s{number}")
    return "\n".join(lines) + "\n"


def _group(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name


def _subnet_lines(network: Network, subnet: Subnet, tag: str) -> Iterator[str]:
    cidr = ip_network(subnet.cidr)
    if cidr.version == 6:
        yield f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.prefixlen},{LEASE_S}"
        servers = ",".join(f"[{server}]" for server in subnet.dns_servers or (subnet.dhcp_ip,) if server)
        yield f"dhcp-option=tag:{tag},option6:dns-server,{servers}"
        return
    yield f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.netmask},{LEASE_S}"
    yield f"dhcp-option=tag:{tag},3" + (f",{subnet.gateway_ip}" if subnet.gateway_ip else "")
    servers = ",".join(server for server in subnet.dns_servers or (subnet.dhcp_ip,) if server)
    yield f"dhcp-option=tag:{tag},6,{servers}"
    routes = [(f"{METADATA}/32", subnet.dhcp_ip or "")]
    routes += [(other.cidr, "0.0.0.0") for other in network.subnets if other.ip_version == 4 and other != subnet]
    routes += [(str(ip_network(to, strict=False)), via) for to, via in subnet.routes]
    if subnet.gateway_ip and all(ip_network(to).prefixlen for to, _ in routes):
        routes.append(("0.0.0.0/0", subnet.gateway_ip))
    joined = ",".join(f"{to},{via}" for to, via in routes)
    yield f"dhcp-option=tag:{tag},121,{joined}"
    yield f"dhcp-option=tag:{tag},249,{joined}"


def _made_by_guests(subnet: Subnet) -> bool:
    """IPv6 guests of the subnet make their own addresses and ask nobody."""
    modes = {subnet.ra_mode, subnet.address_mode}
    return subnet.ip_version == 6 and modes != {""} and not modes & {"dhcpv6-stateful", "dhcpv6-stateless"}


def hosts_text(network: Network) -> str:
    """One reservation a line: who is not in it gets no answer."""
    lines = []
    for subnet in network.subnets:
        for lease in subnet.leases if subnet.dhcp and not _made_by_guests(subnet) else ():
            ip = f"[{lease.ip}]" if ":" in lease.ip else lease.ip
            lines.append(",".join([lease.mac.lower(), ip, *([lease.hostname] if lease.hostname else [])]))
    return "\n".join(lines) + "\n"


def names_text(network: Network) -> str:
    """The names of the network's ports, as a hosts file."""
    domain = network.dns_domain.rstrip(".")
    lines = []
    for subnet in network.subnets:
        for lease in subnet.leases:
            if lease.hostname:
                full = f"{lease.hostname}.{domain} " if domain else ""
                lines.append(f"{lease.ip} {full}{lease.hostname}")
    return "\n".join(lines) + "\n"


class Dnsmasq:
    """The one dnsmasq of a network."""

    def __init__(self, directory: Path, space: Namespace) -> None:
        self._directory = directory
        self._space = space
        self._told = ""  # the reservations that the running process surely read

    def ensure(self, network: Network) -> None:
        """Runs with this network's subnets, reservations and names; restarted only when the subnets changed."""
        directory = self._directory
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        config = config_text(network, directory)
        path = directory / f"config-{blake2b(config.encode(), digest_size=8).hexdigest()}"
        hosts, names = hosts_text(network), names_text(network)
        process = self.process()
        if process and f"--conf-file={path}" not in _command(process):
            self.stop()
            process = 0
        if process and self._told == hosts + names and (directory / "hosts").exists():
            return
        old = _read(directory / "hosts")
        _write(directory / "hosts", hosts)
        _write(directory / "names", names)
        if process:
            if old != hosts:
                self._release(network, hosts)
            os.kill(process, signal.SIGHUP)
        else:
            for stale in directory.glob("config-*"):
                stale.unlink()
            _write(path, config)
            self._prune_leases(hosts)
            self._start(path)
        self._told = hosts + names

    def _start(self, config: Path) -> None:
        program = dnsmasq_path()
        if program is None:
            raise DriverFault("dnsmasq is not installed (apt install dnsmasq-base)", final=True)

        command = [program, f"--conf-file={config}"]

        def spawn() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                timeout=20, cwd="/", start_new_session=True, close_fds=True,
            )  # fmt: skip

        done = self._space.run(spawn)  # returns when the server is ready and has gone into the background
        if done.returncode:
            raise DriverFault(f"dnsmasq did not start: {done.stderr.strip()}")

    def process(self) -> int:
        """The running server's process id; 0 when none runs. A reused id is told by the command line."""
        text = _read(self._directory / "pid").strip()
        if text.isdigit() and any(str(self._directory) in word for word in _command(int(text))):
            return int(text)
        return 0

    def stop(self) -> None:
        """Ended when this returns. Absent is success."""
        process = self.process()
        if process:
            end(process)
        (self._directory / "pid").unlink(missing_ok=True)
        self._told = ""

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _leases(self) -> Iterator[tuple[str, str]]:
        for line in _read(self._directory / "leases").splitlines():
            words = line.split()
            if len(words) >= 5 and words[1].count(":") == 5:
                yield words[1], words[2]

    def _release(self, network: Network, hosts: str) -> None:
        """Tell the server that guests which are gone gave their addresses back, or it would refuse them to others."""
        reserved = {tuple(line.split(",")[:2]) for line in hosts.splitlines() if "," in line}
        servers = [(ip_network(s.cidr), s.dhcp_ip) for s in network.subnets if s.ip_version == 4 and s.dhcp_ip]
        gone = [lease for lease in self._leases() if lease not in reserved]
        messages = []
        for mac, ip in gone:
            for cidr, server in servers:
                if ip_network(ip).subnet_of(cidr) and server is not None:  # type: ignore[arg-type]
                    messages.append((release_message(mac, ip, server), server))

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for message, server in messages:
                    sender.sendto(message, (server, 67))

        if messages:
            self._space.run(send)

    def _prune_leases(self, hosts: str) -> None:
        reserved = {tuple(line.split(",")[:2]) for line in hosts.splitlines() if "," in line}
        path = self._directory / "leases"
        kept = []
        for line in _read(path).splitlines():
            words = line.split()
            if len(words) < 5 or words[1].count(":") != 5 or (words[1], words[2]) in reserved:
                kept.append(line)
        if path.exists():
            path.write_text("".join(line + "\n" for line in kept))


def release_message(mac: str, ip: str, server: str) -> bytes:
    """A DHCPRELEASE (RFC 2131, 4.4.4) as the guest would send it."""
    head = struct.pack("!BBBBIHH4s4s4s4s", 1, 1, 6, 0, 1, 0, 0, socket.inet_aton(ip), b"", b"", b"")
    body = bytes.fromhex(mac.replace(":", "")).ljust(16, b"\0") + b"\0" * 192
    options = b"\x63\x82\x53\x63" + b"\x35\x01\x07" + b"\x36\x04" + socket.inet_aton(server) + b"\xff"
    return head + body + options


def dnsmasq_path() -> str | None:
    """Where the program is: also in the administrator's directories, which a user's PATH may lack."""
    return shutil.which("dnsmasq", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def end(process: int) -> None:
    """The process is gone when this returns: asked first, killed after a second."""
    for signal_number, patience_s in ((signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
        until = time.monotonic() + patience_s
        try:
            os.kill(process, signal_number)
            while time.monotonic() < until:
                if not _command(process):
                    return
                time.sleep(0.002)
        except ProcessLookupError:
            return


def strays(directory: Path) -> list[int]:
    """Every dnsmasq whose files lie under `directory`, pid file or not."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            command = _command(int(entry))
            if command and command[0].endswith("dnsmasq") and any(f"{directory}/" in word for word in command):
                found.append(int(entry))
    return found


def _command(process: int) -> list[str]:
    """The words of a process's command line; empty when it is gone or a zombie."""
    try:
        return Path("/proc", str(process), "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Replaced as a whole, readable by the server's user."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)
