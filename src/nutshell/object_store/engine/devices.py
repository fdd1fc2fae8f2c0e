"""The device table, and where bytes belong: a pure function of a name and this table.

Weighted rendezvous hashing: each device draws a number from the name and itself, the highest win (Thaler and
Ravishankar, 1998; weights after Schindelhauer and Schomaker, 2005). A device that goes or comes moves only its share.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path


class DeviceState(StrEnum):
    ACTIVE = "active"  # takes and gives bytes
    DRAINING = "draining"  # gives bytes, takes no new ones; what it holds moves elsewhere
    LOST = "lost"  # its directory is not there, or another's


@dataclass(frozen=True)
class Device:
    """A directory, usually a disk of its own. `zone`: what may fail together."""

    name: str
    path: str
    zone: str = "zone1"
    weight: float = 1.0
    state: DeviceState = DeviceState.ACTIVE

    @property
    def directory(self) -> Path:
        return Path(self.path)


@dataclass(frozen=True)
class Policy:
    """How often bytes are kept; `index` is what rows hold."""

    index: int
    name: str
    replicas: int
    aliases: tuple[str, ...] = ()


def hash_name(name: str) -> int:
    """63 bits of a name: what a blob remembers of where it belongs."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def choose(key: int, replicas: int, devices: Sequence[Device]) -> list[Device]:
    """The devices for a name's bytes, the best first: as many zones as there are, then as many devices."""
    usable = [d for d in devices if d.state == DeviceState.ACTIVE and d.weight > 0]
    if len(usable) <= 1:
        return usable
    ranked = sorted(usable, key=lambda d: _score(key, d), reverse=True)
    chosen: list[Device] = []
    for apart in (True, False):
        for device in ranked:
            if len(chosen) == replicas:
                return chosen
            if device not in chosen and not (apart and any(device.zone == c.zone for c in chosen)):
                chosen.append(device)
    return chosen


def _score(key: int, device: Device) -> float:
    drawn = hashlib.blake2b(struct.pack(">Q", key) + device.name.encode(), digest_size=8).digest()
    unit = (int.from_bytes(drawn, "big") + 1) / (2**64 + 2)
    return -device.weight / math.log(unit)


def read_table(path: Path, first: Path) -> list[Device]:
    """The table in the state directory; without one, a single device beside it."""
    try:
        said = json.loads(path.read_text())
    except FileNotFoundError:
        return [Device("d1", str(first))]
    return [Device(**{**one, "state": DeviceState(one["state"])}) for one in said["devices"]]


def write_table(path: Path, devices: Sequence[Device]) -> None:
    """Replace the table in one step."""
    replace_file(path, json.dumps({"devices": [asdict(d) for d in devices]}, indent=2))


def replace_file(path: Path, text: str) -> None:
    """The file is the old one or the new one, whatever happens."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


def with_state(devices: Sequence[Device], name: str, state: DeviceState) -> list[Device]:
    return [replace(d, state=state) if d.name == name else d for d in devices]
