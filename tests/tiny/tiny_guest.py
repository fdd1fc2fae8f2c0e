"""A guest of the tiny image under plain QEMU, for tests: its serial log, its monitor, a shell by ssh."""

import io
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.ports import free_port

SSH = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
# A small cache of translated code: the code of before a reboot makes the next boot slow while it is kept.
MACHINE = "q35 -accel tcg,tb-size=32 -cpu max -m 128 -nodefaults -display none -device VGA"


class TinyGuest:
    """One QEMU process on an overlay of the image. `net` is the argument of its user-mode network."""

    def __init__(self, folder: Path, image: Path, *extra: str, net: str = "user", size: str = "1G") -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir()
        disk = folder / "disk.qcow2"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk), size]
        subprocess.run(command, check=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
        self._arguments = [
            *["qemu-system-x86_64", "-machine", *MACHINE.split(), "-drive", f"file={disk},if=virtio,format=qcow2"],
            *["-device", "pcie-root-port,id=rp1,chassis=1,slot=1", "-device", "pcie-root-port,id=rp2,chassis=2,slot=2"],
            *["-netdev", f"{net},id=n0,hostfwd=tcp:127.0.0.1:{self.port}-:22"],
            *["-device", "virtio-net-pci,netdev=n0,romfile="],
            *["-serial", f"file:{folder / 'serial'}", "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off", *extra],
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def public_key(self) -> str:
        return (self.folder / "key.pub").read_text()

    def start(self) -> None:
        self._process = subprocess.Popen(self._arguments, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def wait_end(self, timeout_s: float) -> None:
        assert self._process
        self._process.wait(timeout_s)

    def log(self) -> str:
        path = self.folder / "serial"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, text: str, *, times: int = 1, timeout_s: float = 60) -> None:
        self.wait(lambda: self.log().count(text) >= times, f"{text!r} on the serial console", timeout_s)

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not done():
            assert self._process
            assert self._process.poll() is None, f"QEMU ended\n{self.log()[-2000:]}"
            assert time.monotonic() < end, f"no {what} after {timeout_s} s\n{self.log()[-2000:]}"
            time.sleep(0.1)

    def shell(self, command: str, *, check: bool = True) -> str:
        """Standard output of a command, as test suites run it: the user's shell over ssh with his key."""
        full = ["ssh", "-i", str(self.folder / "key"), "-p", str(self.port), *SSH, "-o", "BatchMode=yes"]
        prologue = "set -eu -o pipefail; PATH=$PATH:/sbin; "
        full += ["cirros@127.0.0.1", prologue + command]
        done = subprocess.run(full, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def shell_by_password(self, command: str, password: str) -> subprocess.CompletedProcess[str]:
        ask = self.folder / "ask"
        ask.write_text(f"#!/bin/sh\necho '{password}'\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        options = ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1", "-p", str(self.port), *SSH]
        full = ["ssh", *options, "cirros@127.0.0.1", command]
        return subprocess.run(full, capture_output=True, text=True, timeout=60, env=env)

    def monitor(self, *commands: dict[str, Any]) -> None:
        """Runs QMP commands; fails on an error."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(self.folder / "qmp"))
            file = channel.makefile("rw")
            file.readline()
            for command in ({"execute": "qmp_capabilities"}, *commands):
                file.write(json.dumps(command) + "\n")
                file.flush()
                while "event" in (answer := json.loads(file.readline())):
                    pass
                assert "error" not in answer, answer


def config_drive(path: Path, contents: dict[str, bytes]) -> None:
    """An ISO image called config-2 with `openstack/latest/NAME` for each of the contents."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="config-2")
    iso.add_directory("/OPENSTAC", rr_name="openstack", joliet_path="/openstack")
    iso.add_directory("/OPENSTAC/LATEST", rr_name="latest", joliet_path="/openstack/latest")
    for number, (name, content) in enumerate(contents.items()):
        where = {"rr_name": name, "joliet_path": f"/openstack/latest/{name}"}
        iso.add_fp(io.BytesIO(content), len(content), f"/OPENSTAC/LATEST/FILE{number}.;1", **where)
    iso.write(str(path))


def lacking() -> list[str]:
    return [name for name in ("qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen") if not shutil.which(name)]
