"""What the index remembers: accounts, containers, objects and their bytes.

Times are whole numbers of 10 microseconds since the epoch (Swift's X-Timestamp has five decimals): see `stamp`.
"""

import time
from typing import Any

import msgspec

TICKS = 100_000


class AccountRow(msgspec.Struct, frozen=True, gc=False):
    """`meta`: headers by lower-case name ("x-account-meta-colour"). `deleted_at`: the reaper takes what it holds."""

    id: int
    name: str
    created: int
    changed: int
    meta: dict[str, str]
    deleted_at: int = 0


class ContainerRow(msgspec.Struct, frozen=True, gc=False):
    id: int
    account_id: int
    name: str
    policy: int
    created: int
    changed: int
    meta: dict[str, str]


class Usage(msgspec.Struct, frozen=True, gc=False):
    containers: int = 0
    objects: int = 0
    bytes: int = 0


class ObjectRow(msgspec.Struct, frozen=True, gc=False):
    """One name's present content, or (in the versions) one of its past ones.

    size: as listings show it; blob: 0 where there are no bytes; delete_at: seconds, 0 for never; kind: "" for plain
    bytes, else what the layer above made of it ("slo", "symlink", "marker"); shown: further members for listings.
    """

    container_id: int
    name: str
    ts: int
    size: int
    etag: str
    type: str
    blob: int
    meta: dict[str, str]
    delete_at: int = 0
    version: int = 0  # 0: written while versions were not kept
    kind: str = ""
    shown: dict[str, Any] = {}


class Place(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One replica: in a segment of a device's log at an offset, or (segment 0) a file named after the blob."""

    device: str
    segment: int
    offset: int


class Blob(msgspec.Struct, frozen=True, gc=False):
    """Bytes that lie on devices, referenced by object rows. `sums`: CRC-32 of each chunk, four bytes each."""

    id: int
    refs: int
    size: int
    sums: bytes
    places: list[Place]
    policy: int
    key: int  # where it belongs: hash of its first name, see devices.place
    sealed: bytes = b""  # how to open it, where it is encrypted


def stamp(seconds: float | None = None) -> int:
    """Now (or that time), in ticks."""
    return int((time.time() if seconds is None else seconds) * TICKS)


def timestamp(ticks: int) -> str:
    """ "1700000000.12345", as Swift writes times."""
    return f"{ticks // TICKS:010d}.{ticks % TICKS:05d}"
