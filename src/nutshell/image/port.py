"""What other services may ask of image."""

# house: parameters waived 2026-11-22: an image is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nutshell.core.policy import Who
from nutshell.core.store import Tx


@dataclass(frozen=True)
class ImageFacts:
    """An image as its users need it. Sizes in bytes unless named."""

    image_id: str
    name: str
    project_id: str
    status: str  # "active" when it can be used
    disk_format: str
    container_format: str
    size: int
    virtual_size: int
    min_disk_gib: int
    min_ram_mib: int
    properties: Mapping[str, Any]  # hw_…, os_…, block_device_mapping, …
    created_at: float = 0.0
    updated_at: float = 0.0
    protected: bool = False


class Images(Protocol):
    def find(self, tx: Tx, who: Who, image_id: str) -> ImageFacts | None:
        """The image if the caller may see it."""
        ...

    def facts(self, tx: Tx, image_id: str) -> ImageFacts | None:
        """The image whoever asks: for loops, after the verb checked the caller."""
        ...

    def path(self, image_id: str) -> Path:
        """Where its data is: an inspected file whose format is the image's disk_format ("qcow2", "raw", "iso").

        Blocks while data is fetched that lies elsewhere; OSError or StoreFault when it cannot be had.
        """
        ...

    def create(
        self,
        tx: Tx,
        who: Who,
        *,
        name: str,
        disk_format: str,
        properties: Mapping[str, Any],
        min_disk_gib: int = 0,
        min_ram_mib: int = 0,
        project_id: str = "",
    ) -> str:
        """A new image in state "queued", for a snapshot or an upload made by another service; its id."""
        ...

    def staging_path(self, image_id: str) -> Path:
        """Where the maker of a queued image writes its data before `complete`."""
        ...

    def complete(self, image_id: str) -> None:
        """The staged file is whole: inspect, hash and activate. Blocks; not inside a transaction. Repeat is success."""
        ...

    def fail(self, tx: Tx, image_id: str) -> None:
        """The data will not come: the image is killed."""
        ...

    def listed(self, tx: Tx, who: Who) -> Sequence[ImageFacts]:
        """What the caller's listing shows: own, public and accepted images, newest first."""
        ...

    def set_properties(self, tx: Tx, who: Who, image_id: str, properties: Mapping[str, str]) -> None:
        """Exactly these custom properties. NotFound, Forbidden."""
        ...

    def delete(self, tx: Tx, who: Who, image_id: str) -> None:
        """NotFound for what the caller may not see, Forbidden for what is protected or another's."""
        ...
