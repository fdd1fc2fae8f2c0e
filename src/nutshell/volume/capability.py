"""What a store of drives must be able to do.

Every call is safe to repeat after a crash, may block until done, and fails with `DriverFault`. Sizes are bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Connection:
    """Where a hypervisor finds a volume."""

    path: str
    format: str  # "raw" or "qcow2"


@dataclass(frozen=True)
class PoolFacts:
    """One pool of space as its driver sees it."""

    name: str  # "host@backend#pool"
    total: int
    free: int
    vendor: str = "Open Source"
    protocol: str = "file"


@runtime_checkable
class VolumeDriver(Protocol):
    """Stores drives. A volume that exists is never emptied by a repeated create."""

    name: str

    def pools(self) -> Sequence[PoolFacts]: ...
    def existing(self, volume_ids: Sequence[str] | None) -> Sequence[str]: ...
    def create(self, volume_id: str, size: int) -> None: ...
    def create_from_image(self, volume_id: str, size: int, image_path: str, image_format: str) -> None: ...
    def create_from_volume(self, volume_id: str, size: int, source_id: str) -> None: ...
    def delete(self, volume_id: str) -> None: ...
    def connect(self, volume_id: str) -> Connection: ...


@runtime_checkable
class Growable(Protocol):
    def grow(self, volume_id: str, size: int) -> None:
        """Never shrinks. Safe while a guest has it open; a driver that can tells the guest, too."""
        ...


@runtime_checkable
class Snapshotting(Protocol):
    def snapshot(self, volume_id: str, snapshot_id: str) -> None: ...
    def create_from_snapshot(self, volume_id: str, size: int, snapshot_id: str) -> None: ...
    def revert(self, volume_id: str, snapshot_id: str) -> None: ...
    def delete_snapshot(self, snapshot_id: str) -> None: ...


@runtime_checkable
class ImageMaking(Protocol):
    def write_image(self, volume_id: str, target_path: str, format: str) -> int:
        """The volume's content as an image file of that format ("raw", "qcow2"); returns its bytes."""
        ...
