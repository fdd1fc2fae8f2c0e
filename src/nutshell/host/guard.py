"""The border of the host process: what an API without rights may ask of one that has them.

Source: path_resolution(7), chown(2). Paths in calls must lie in the cloud's state directory, so that a wronged API
cannot have /etc/shadow attached to a server; what the host makes for the API is given to the API's user.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nutshell.core.drivers import DriverFault

SOURCES = ("image_path",)
TARGETS = ("target_path",)  # files that the call writes for the API


def guarded(driver: Any, capabilities: Sequence[type], state: Path, owner: tuple[int, int]) -> SimpleNamespace:
    """The driver's methods of these capabilities (those it has), each behind the border."""
    members: dict[str, Any] = {}
    for capability in capabilities:
        if not isinstance(driver, capability):
            continue
        for name in inspect.get_annotations(capability):
            members[name] = getattr(driver, name)
        for name, declared in inspect.getmembers(capability, inspect.isfunction):
            if not name.startswith("_"):
                members[name] = _behind(getattr(driver, name), inspect.signature(declared), state, owner)
    if "console_address" in members:
        members["console_address"] = _opened(members["console_address"], state, owner)
    return SimpleNamespace(**members)


def _behind(
    method: Callable[..., Any], signature: inspect.Signature, state: Path, owner: tuple[int, int]
) -> Callable[..., Any]:
    names = list(signature.parameters)[1:]

    @wraps(method)
    def call(*arguments: Any) -> Any:
        given = dict(zip(names, arguments, strict=True))
        for value in given.values():
            _check_disks(value, state)
        for name in (*SOURCES, *TARGETS):
            if name in given:
                check_path(given[name], state)
        result = method(*arguments)
        for name in TARGETS:
            if name in given and Path(given[name]).exists():
                os.chown(given[name], *owner, follow_symlinks=False)
        return result

    return call


def _opened(console_address: Callable[..., str], state: Path, owner: tuple[int, int]) -> Callable[..., str]:
    """The console's socket is given to the API's user, and the way to it is opened for passing, not for looking."""

    @wraps(console_address)
    def call(*arguments: Any) -> str:
        address = Path(console_address(*arguments))
        os.chown(address, *owner)
        for folder in address.parents:
            if folder == state or not folder.is_relative_to(state):
                break
            mode = folder.stat().st_mode & 0o7777
            if not mode & 0o001:
                folder.chmod(mode | 0o011)
        return str(address)

    return call


def check_path(path: str, state: Path) -> None:
    """DriverFault when the path does not lie in the state directory, links followed."""
    if not Path(path).resolve().is_relative_to(state.resolve()):
        raise DriverFault(f"{path} is not in the cloud's state directory", final=True)


def _check_disks(value: Any, state: Path) -> None:
    """Every `path` in the dataclasses of an argument; addresses of other kinds (nbd+unix:…) name their scheme."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for item in dataclasses.fields(value):
            inner = getattr(value, item.name)
            if item.name == "path" and isinstance(inner, str):
                scheme, colon, rest = inner.partition(":")
                plain = not colon or "/" in scheme
                check_path(inner if plain else rest.partition("?socket=")[2] or rest, state)
            else:
                _check_disks(inner, state)
    elif isinstance(value, tuple | list):
        for one in value:
            _check_disks(one, state)
