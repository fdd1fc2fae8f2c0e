"""What other services may ask of volume."""

# house: parameters waived 2026-11-22: a volume is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.volume.capability import Connection

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


@dataclass(frozen=True)
class VolumeFacts:
    volume_id: str
    project_id: str
    name: str
    status: str
    size_gib: int
    bootable: bool
    multiattach: bool
    encrypted: bool
    image_metadata: Mapping[str, Any]
    zone: str


@dataclass(frozen=True)
class AttachmentFacts:
    attachment_id: str
    volume_id: str
    server_id: str
    device: str
    attached: bool


class Volumes(Protocol):
    """Refusals are volume's own Faults. Calls with a transaction are part of the caller's."""

    def need(self, tx: Tx, who: Who, volume_id: str) -> VolumeFacts:
        """NotFound for a volume the caller may not see."""
        ...

    def facts(self, tx: Tx, volume_id: str) -> VolumeFacts | None: ...

    def need_snapshot(self, tx: Tx, who: Who, snapshot_id: str) -> tuple[str, int]:
        """(volume id, GiB) of a snapshot the caller may see."""
        ...

    def create(
        self,
        tx: Tx,
        who: Who,
        *,
        size_gib: int,
        name: str = "",
        image_id: str | None = None,
        snapshot_id: str | None = None,
        source_volume_id: str | None = None,
        volume_type: str | None = None,
        zone: str = "nova",
    ) -> VolumeFacts:
        """A volume that is being created (boot from volume); quota is taken."""
        ...

    def snapshot(self, tx: Tx, who: Who, volume_id: str, name: str) -> str:
        """A snapshot that is being created of a volume, attached or not (server image of a volume-backed server)."""
        ...

    def reserve(
        self, tx: Tx, volume_id: str, server_id: str, *, read_only: bool = False, allow_multiattach: bool = True
    ) -> AttachmentFacts:
        """The volume is "reserved" (or stays in-use) and has an attachment for this server; 400/409 when it cannot."""
        ...

    def attached(self, tx: Tx, attachment_id: str, device: str, host: str) -> None:
        """The guest has it: "in-use". Repeat is success."""
        ...

    def detaching(self, tx: Tx, attachment_id: str) -> None: ...

    def detached(self, tx: Tx, attachment_id: str) -> None:
        """The guest let go, or never had it: the attachment ends. Absent is success."""
        ...

    def attachments_of(self, tx: Tx, server_ids: Sequence[str]) -> Mapping[str, Sequence[AttachmentFacts]]: ...

    def delete(self, tx: Tx, volume_id: str) -> None:
        """Ask for deletion (delete_on_termination); absent is success."""
        ...

    def connect(self, cloud: "Cloud", volume_id: str) -> Connection:
        """Where the hypervisor finds it. Blocks; not inside a transaction; DriverFault while it is not there yet."""
        ...
