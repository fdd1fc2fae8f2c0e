"""Reaching into the demonstration's servers as their user would: ping and ssh, from this machine.

Source: ssh(1), ping(8); RFC 8709 for the kind of key.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nutshell.cli.demo.session import DemoFailed, wait_until

USER = "cirros"


def make_key(directory: Path) -> tuple[Path, str]:
    """A fresh ed25519 key: the private file, mode 0600, and the public line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from nutshell.cli.places import write_private

    key = Ed25519PrivateKey.generate()
    private = directory / "demo-key"
    write_private(private, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{public} nutshell-demo"


def ping(address: str, timeout_s: float) -> str:
    """The line that says how long the answer took; DemoFailed when none comes."""
    if shutil.which("ping") is None:
        raise DemoFailed("there is no ping on this machine: apt-get install -y iputils-ping")

    def answered() -> str:
        done = subprocess.run(["ping", "-n", "-c", "1", "-W", "2", address], capture_output=True, text=True)
        return next((line for line in done.stdout.splitlines() if "time=" in line), "") if done.returncode == 0 else ""

    line: str = wait_until(answered, timeout_s, lambda: f"{address} does not answer to ping")
    return line


@dataclass(frozen=True)
class Guest:
    """A server that is reached over its floating IP with the demonstration's key."""

    address: str
    key: Path

    def run(self, command: str, timeout_s: float = 60.0) -> str:
        """What the command prints there; DemoFailed when it fails."""
        done = self._ssh(command, timeout_s)
        if done.returncode != 0:
            raise DemoFailed(
                f"on {self.address}, {command!r} ended with {done.returncode}: {done.stderr.strip()[-400:]}"
            )
        return done.stdout.strip()

    def wait(self, timeout_s: float) -> None:
        """Blocks until a login with the key works."""
        last = ""

        def works() -> bool:
            nonlocal last
            done = self._ssh("true", 20)
            last = done.stderr.strip()[-300:]
            return done.returncode == 0

        wait_until(works, timeout_s, lambda: f"no ssh login at {self.address}: {last}")

    def _ssh(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "5",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        said = ["ssh", "-F", "none", "-i", str(self.key)]
        for name, value in options.items():
            said += ["-o", f"{name}={value}"]
        try:
            return subprocess.run(
                [*said, f"{USER}@{self.address}", command],
                capture_output=True,
                text=True,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise DemoFailed("there is no ssh on this machine: apt-get install -y openssh-client") from error
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(said, 255, "", f"no end after {timeout_s:.0f} s")
