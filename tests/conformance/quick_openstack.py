"""The `openstack` command without its start: one process has the client loaded and forks itself for each command.

python quick_openstack.py SOCKET COMMAND (with the clients' Python): serves at SOCKET and writes COMMAND, a script that
hands its arguments, directory, environment and open files over. What then runs is the client as it was installed; its
tests start it some seven hundred times, and loading it takes 1.5 s of processor time.
"""

import contextlib
import importlib.metadata
import json
import os
import signal
import socket
import sys
from pathlib import Path

GROUPS = (
    "openstack.cli",
    "openstack.common",
    "openstack.identity.v3",
    "openstack.image.v2",
    "cliff.",
    "keystoneauth1.",
)
SCRIPT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(said).to_bytes(4, "big")], [0, 1, 2])
server.sendall(said)
sys.exit(int(server.recv(8) or b"70"))
"""


def load() -> None:
    """What the client would import for any of its commands."""
    import stevedore
    from openstackclient import shell  # noqa: F401  the heaviest part

    for point in (p for found in importlib.metadata.distributions() for p in found.entry_points):
        if point.group.startswith(GROUPS):
            with contextlib.suppress(Exception):  # the client leaves out what cannot be loaded, too
                point.load()
    stevedore.ExtensionManager("openstack.cli.extension")


def serve(address: str, command: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    load()
    fresh = command.with_suffix(".new")
    fresh.write_text(SCRIPT.format(python=sys.executable, address=address))
    fresh.chmod(0o755)
    fresh.rename(command)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asking, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            answer(asking)
        asking.close()


def answer(asking: socket.socket) -> None:
    """In a process of its own: run the command, tell its exit code."""
    from openstackclient import shell

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(asking, 4, 3)
    wanted, said = int.from_bytes(size, "big"), b""
    while len(said) < wanted:
        said += asking.recv(wanted - len(said))
    arguments, directory, environment = json.loads(said)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  for as long as the process is
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["openstack", *arguments]
    try:
        code = shell.main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    sys.stdout.flush()
    sys.stderr.flush()
    asking.sendall(str(code or 0).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
