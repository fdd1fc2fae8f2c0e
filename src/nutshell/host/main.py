"""`nutshell host`: the process with the rights to touch this machine. It serves the driver Protocols on a socket.

Started by `nutshell up` as `python -m nutshell.host.main serve …`; `stop` ends it and leaves guests and networks as
they are; `clear` ends them too. Any of the three may be repeated after a crash.
"""

import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from nutshell.cli import processes
from nutshell.cli.api import log_to_stderr
from nutshell.cli.places import Places, read_json
from nutshell.cli.states import take_lock
from nutshell.compute.capability import (
    Consoles,
    Disks,
    HotPluggable,
    Hypervisor,
    Pausable,
    Watchable,
)
from nutshell.core.drivers import DriverFault
from nutshell.host.guard import guarded
from nutshell.host.rpc import Server
from nutshell.network.capability import NetworkDriver
from nutshell.volume.capability import Growable, ImageMaking, Snapshotting, VolumeDriver

HYPERVISOR = (Hypervisor, Watchable, Pausable, HotPluggable, Consoles, Disks)
NETWORK = (NetworkDriver,)
VOLUME = (VolumeDriver, Growable, Snapshotting, ImageMaking)
STOP_S = 5.0  # how long a guest may take to power off when the whole cloud goes down

log = logging.getLogger("nutshell.host")
_state = click.option("--state", type=click.Path(path_type=Path), required=True)


@dataclass(frozen=True)
class Drivers:
    """The real drivers of one cloud on this machine."""

    hypervisor: Any
    network: Any
    volume: Any

    def close(self) -> None:
        """Let go of guests and networks; they stay."""
        for one in (self.hypervisor, self.network, self.volume):
            if hasattr(one, "close"):
                one.close()


def compose(places: Places, cloud: str, metadata: tuple[str, str]) -> Drivers:
    """The drivers, which adopt what they find running. `metadata` is the API's address and the shared secret."""
    from nutshell.host.disks.files import FileVolumes
    from nutshell.host.net.driver import LinuxNetwork
    from nutshell.host.qemu.driver import QemuHypervisor

    name = os.uname().nodename
    network = LinuxNetwork(places.host_state, cloud, metadata)
    hypervisor = QemuHypervisor(places.host_state, name, network.open_tap, cloud)
    volume = FileVolumes(places.host_state / "volumes", name, hypervisor)
    return Drivers(hypervisor, network, volume)


@click.group()
def cli() -> None:
    """The host side of a cloud."""


@cli.command()
@_state
@click.option("--cloud", required=True, help="The cloud's short id; every object on this machine carries it.")
@click.option("--api-user", default="0:0", help="uid:gid that may call.")
@click.option("--metadata", required=True, help="The API's address for the guests' metadata requests.")
@click.option("--log-level", default="info")
def serve(state: Path, cloud: str, api_user: str, metadata: str, log_level: str) -> None:
    """Serve the drivers until SIGTERM."""
    log_to_stderr(log_level)
    os.umask(0o022)
    places = Places(state)
    lock = take_lock(places.run / "host.lock")
    if lock is None:
        raise click.ClickException("another host process serves this cloud")
    record = places.run / "host.json"
    processes.remember(record, os.getpid(), {"arguments": sys.argv[1:]})
    record.chmod(0o644)  # the user who started us by sudo looks who serves; nothing in it is secret
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    uid, _, gid = api_user.partition(":")
    owner = (int(uid), int(gid))
    drivers = compose(places, cloud, (metadata, read_secret(places)))
    served = {
        "hypervisor": (HYPERVISOR, drivers.hypervisor),
        "network": (NETWORK, drivers.network),
        "volume": (VOLUME, drivers.volume),
    }
    kept = {name: (kinds, guarded(driver, kinds, state, owner)) for name, (kinds, driver) in served.items()}
    server = Server(places.host_socket, kept, owner)
    log.info("serving %s for cloud %s", ", ".join(kept), cloud)
    ended.wait()
    server.close()
    drivers.close()
    log.info("ended; guests and networks stay")


@cli.command()
@_state
def simulate(state: Path) -> None:
    """Serve a simulated world that several API processes share, until SIGTERM."""
    from nutshell.host.simulated import serve_simulated

    log_to_stderr("info")
    os.umask(0o077)
    serve_simulated(Places(state))


@cli.command()
@_state
def stop(state: Path) -> None:
    """End the host process; guests, networks and DHCP go on."""
    end_process(Places(state))


@cli.command()
@_state
@click.option("--erase", is_flag=True, help="Disks too.")
def clear(state: Path, erase: bool) -> None:
    """End the host process, every guest, network, link and process of the cloud. Disks stay unless erased."""
    places = Places(state)
    end_process(places)
    mark = read_json(places.mark)
    if mark is None:
        return
    from nutshell.host.net.driver import LinuxNetwork
    from nutshell.host.qemu.driver import QemuHypervisor

    cloud = str(mark["id"])
    network = LinuxNetwork(places.host_state, cloud, ("http://127.0.0.1:9", "none"))
    try:
        hypervisor = QemuHypervisor(places.host_state, os.uname().nodename, network.open_tap, cloud)
        hypervisor.stop_all(STOP_S)
        hypervisor.close()
    finally:  # whatever became of the guests: nothing of the networks stays
        network.remove_everything()
        network.close()
    places.host_socket.unlink(missing_ok=True)
    if erase:
        shutil.rmtree(places.host_state)


def end_process(places: Places) -> None:
    """End whoever serves this cloud, noted or not."""
    record = processes.find(places.run / "host.json")
    pids = {record.pid} if record else set()
    for pid in pids | set(processes.find_holders(places.run / "host.lock")):
        start = processes.start_time(pid)
        if start is not None:
            processes.end(processes.Record(pid, start, {}))


def read_secret(places: Places) -> str:
    """What proves to the API that a metadata request comes from the host and not from a user."""
    try:
        return places.metadata_secret.read_text().strip()
    except OSError as error:
        raise click.ClickException(f"cannot read {places.metadata_secret}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit code 1 and one line when the machine or a driver refuses."""
    try:
        cli(args=list(arguments) if arguments is not None else None, prog_name="nutshell host")
    except DriverFault as fault:
        print(json.dumps({"level": "error", "log": "nutshell.host", "message": fault.why}), file=sys.stderr)
        raise SystemExit(1) from fault


if __name__ == "__main__":
    main()
