"""The simulated world in a process of its own, on the host's socket: what several API processes share.

Started by `nutshell up --simulate --database URL`. It keeps the journals that a single API process would keep itself.
"""

import logging
import os
import signal
import threading

from nutshell.cli import processes
from nutshell.cli.places import Places
from nutshell.cli.states import take_lock
from nutshell.core.config import Settings, load_launch
from nutshell.host.rpc import Server

log = logging.getLogger("nutshell.host")


def serve_simulated(places: Places) -> None:
    """Serve until SIGTERM. Raises RuntimeError when another process does already."""
    from nutshell import app

    lock = take_lock(places.run / "host.lock")
    if lock is None:
        raise RuntimeError("another process serves this cloud's world")
    processes.remember(places.run / "host.json", os.getpid(), {"simulate": True})
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    settings = load_launch(app.tables(app.parts()), places.launch.read_text(), os.environ)
    server = Server(places.host_socket, worlds(places, settings))
    log.info("serving the simulated world")
    ended.wait()
    server.close()


def worlds(places: Places, settings: Settings) -> dict[str, tuple[tuple[type, ...], object]]:
    """The memory drivers with the directories they have inside an API process."""
    from nutshell.compute.simulated_hosts import Mortal
    from nutshell.compute.wiring import simulated
    from nutshell.host.main import HYPERVISOR, NETWORK, VOLUME
    from nutshell.network.drivers.memory import MemoryNetwork
    from nutshell.volume.drivers.memory import MemoryVolumes

    return {
        "hypervisor": ((*HYPERVISOR, Mortal), simulated(settings)),
        "network": (NETWORK, MemoryNetwork(places.state / "world")),
        "volume": (VOLUME, MemoryVolumes(places.state / "simulated")),
    }
