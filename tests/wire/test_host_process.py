"""`nutshell host` as a process: serves the real drivers, comes back after kill -9, leaves nothing when cleared."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nutshell.cli import hosts, processes, states
from nutshell.cli.launch import Programs
from nutshell.cli.places import Places
from nutshell.compute.capability import Consoles, Hypervisor
from nutshell.core.drivers import DriverFault
from nutshell.host.rpc import Client
from nutshell.network.capability import Network, NetworkDriver, Subnet

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU"),
]
NETWORK = Network(
    "0a000000-0000-4000-8000-000000000001", 7, 1450, False, (Subnet("s", "10.9.0.0/24", 4, None, False, None),)
)


@pytest.fixture
def places(short_path: Path) -> Iterator[Places]:
    places = Places(short_path)
    yield places
    hosts.stop(places, Programs(), clear=True)


def namespaces(identity: str) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if line.startswith(f"nut-{identity}-")]


def test_it_serves_survives_kill_9_and_leaves_nothing(places: Places) -> None:
    identity = states.prepare(places, False, None)
    kind = hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
    assert kind in ("QEMU", "KVM")
    client = Client(places.host_socket)
    hypervisor = client.proxy("hypervisor", (Hypervisor, Consoles))
    network = client.proxy("network", (NetworkDriver,))
    assert isinstance(hypervisor, Consoles)
    network.ensure_network(NETWORK)
    record = processes.find(places.run / "host.json")
    assert record is not None

    os.kill(record.pid, signal.SIGKILL)
    while processes.start_time(record.pid) == record.start:
        time.sleep(0.01)
    hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
    assert network.existing().networks == (NETWORK.network_id,)
    assert namespaces(identity)

    again = processes.find(places.run / "host.json")
    hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
    assert processes.find(places.run / "host.json") == again

    hosts.stop(places, Programs(), clear=True)
    assert namespaces(identity) == []
    with pytest.raises(DriverFault):
        Client(places.host_socket, patience_s=0.1).proxy("network", (NetworkDriver,))


def test_paths_outside_the_state_directory_are_refused(places: Places) -> None:
    from nutshell.compute.capability import Disks

    identity = states.prepare(places, False, None)
    hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
    hypervisor = Client(places.host_socket).proxy("hypervisor", (Hypervisor, Disks))
    name = hypervisor.hosts()[0].name
    with pytest.raises(DriverFault, match="not in the cloud's state directory"):
        hypervisor.create_root(name, "0a000000-0000-4000-8000-000000000002", "/etc/shadow", "raw", 1 << 20)


def test_a_host_that_still_dies_when_it_is_looked_for_is_started_anew(places: Places) -> None:
    """Found by the kill farm: `kill -9` takes a moment, and a start within it waited a minute for the dead."""
    identity = states.prepare(places, False, None)
    hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
    record = processes.find(places.run / "host.json")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    while processes.start_time(record.pid) == record.start:
        time.sleep(0.01)
    with subprocess.Popen(["sleep", "0.5"]) as dying:
        processes.remember(places.run / "host.json", dying.pid, record.facts)
        began = time.monotonic()
        hosts.start(places, Programs(), identity, None, "http://127.0.0.1:9")
        assert time.monotonic() - began < hosts.START_S / 2
    again = processes.find(places.run / "host.json")
    assert again is not None
    assert again.pid not in (record.pid, dying.pid)
