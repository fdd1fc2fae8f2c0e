"""The devices over HTTP, for `nutshell object-store devices`: list, add, drain, remove, with their progress."""

from pathlib import Path
from typing import Any

import msgspec

from nutshell.core.errors import BadRequest, Conflict, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.object_store.engine.devices import Device, DeviceState, with_state
from nutshell.object_store.port import Keeping, ObjectEngine
from nutshell.object_store.service import objects

RULE = "object_store:devices"


class NewDevice(Body):
    name: str = field(max_length=64)
    path: str = field()
    zone: str = field(default="zone1", max_length=64)
    weight: float = field(default=1.0)


def _engine(ask: Ask[Any]) -> Any:
    return ask.cloud.port(ObjectEngine)


def _found(engine: Any, name: str) -> Device:
    for device in engine.devices:
        if device.name == name:
            known: Device = device
            return known
    raise NotFound(f"There is no device {name}; there are: {', '.join(d.name for d in engine.devices)}.")


def _shown(engine: Any, keeper: Any) -> list[dict[str, Any]]:
    held, room = keeper.on_devices(), engine.free_bytes()
    nothing = {"blobs": 0, "bytes": 0, "alone": 0}
    out = []
    for device in engine.devices:
        mine = held.get(device.name)
        counts = nothing if mine is None else {"blobs": mine.blobs, "bytes": mine.bytes, "alone": mine.alone}
        free = room.get(device.name) if device.state != DeviceState.LOST else None
        out.append({"name": device.name, "path": device.path, "zone": device.zone, "weight": device.weight,
                    "state": str(device.state), **counts, "free_bytes": free})  # fmt: skip
    return out


def _progress(report: Any) -> dict[str, Any]:
    """The running or the last pass over all blobs."""
    return {"done": report.done, "of": report.of, "moved": report.moved, "running": report.began > report.ended,
            "damaged": len(report.damaged), "repaired": report.repaired, "lost": len(report.lost),
            "failed": len(report.failed), "why": report.failed[0] if report.failed else ""}  # fmt: skip


@objects.route("GET", "/devices", rule=RULE, slow=True)
def list_devices(ask: Ask[Any]) -> Any:
    """Every device, what it holds (`alone`: blobs without another replica that can be read), and how far the pass over
    the blobs is that moves what has to move."""
    engine, keeper = _engine(ask), ask.cloud.port(Keeping)
    return {"devices": _shown(engine, keeper), "pass": _progress(keeper.report)}


@objects.route("GET", "/devices/{name}", rule=RULE, slow=True)
def show_device(ask: Ask[Any]) -> Any:
    engine, keeper = _engine(ask), ask.cloud.port(Keeping)
    device = _found(engine, ask.params["name"])
    one = next(d for d in _shown(engine, keeper) if d["name"] == device.name)
    return {"device": one, "pass": _progress(keeper.report)}


@objects.route("POST", "/devices", rule=RULE, body=NewDevice, wrap="device", writes=False, slow=True, http=201)
def add_device(ask: Ask[Any]) -> Any:
    engine, given = _engine(ask), ask.given
    path = Path(given["path"])
    if any(d.name == given["name"] for d in engine.devices):
        raise Conflict(f"There is a device {given['name']} already.")
    if given["name"] in engine.names_taken:
        raise Conflict(f"There was a device {given['name']}, and the store's records still name it: take another name.")
    if any(Path(d.path) == path for d in engine.devices):
        raise Conflict(f"{path} is a device's already.")
    if not path.is_absolute() or not path.is_dir():
        raise BadRequest(f"{path} is no directory here; a device is an existing directory, named absolutely.")
    if (path / "device.id").exists():
        raise Conflict(f"{path} was a device of some cloud: empty it first.")
    if given["weight"] <= 0:
        raise BadRequest("A device's weight is more than 0.")
    device = Device(given["name"], str(path), given["zone"], given["weight"])
    engine.set_devices([*engine.devices, device])
    return {"device": msgspec.to_builtins(device)}


@objects.route("POST", "/devices/{name}/drain", rule=RULE, wrap="", writes=False, slow=True, http=202)
def drain_device(ask: Ask[Any]) -> None:
    """It takes nothing new; what it holds moves in the background."""
    engine = _engine(ask)
    device = _found(engine, ask.params["name"])
    others = [d for d in engine.devices if d.name != device.name and d.state == DeviceState.ACTIVE]
    if not others:
        raise Conflict(f"{device.name} is the only device that takes bytes; add another first.")
    engine.set_devices(with_state(engine.devices, device.name, DeviceState.DRAINING))


@objects.route("DELETE", "/devices/{name}", rule=RULE, writes=False, slow=True, http=204)
def remove_device(ask: Ask[Any]) -> None:
    """An empty one, or a lost one (its replicas are made anew from the others)."""
    engine = _engine(ask)
    device = _found(engine, ask.params["name"])
    held = ask.cloud.port(Keeping).on_devices().get(device.name)
    if device.state == DeviceState.ACTIVE or (held is not None and device.state != DeviceState.LOST):
        how = f"nutshell object-store devices drain {device.name}"
        raise Conflict(f"{device.name} still holds {held.blobs if held else 0} blobs; drain it first: {how}")
    if held is not None and held.alone and not ask.flag("give_up"):
        raise Conflict(
            f"{held.alone} blobs have no replica but the one on {device.name}, which is lost; bring its directory back,"
            f" or give them up: nutshell object-store devices remove {device.name} --give-up"
        )
    engine.set_devices([d for d in engine.devices if d.name != device.name])


@objects.route("POST", "/scrub", rule=RULE, wrap="", writes=False, slow=True)
def scrub(ask: Ask[Any]) -> Any:
    """Read everything now, as fast as it goes; what is damaged is mended from another replica."""
    report = ask.cloud.port(Keeping).scrub(0.0)
    found = {"damaged": report.damaged[:100], "lost": report.lost[:100]}
    return {"checked": report.done, "repaired": report.repaired, **found}
