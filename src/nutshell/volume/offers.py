"""What the volume service does for the others (`port.py`)."""

# house: parameters waived 2026-11-22: a volume is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence

from nutshell.core.cloud import Cloud
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import NotFound
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.volume import attaching, making, snapshots
from nutshell.volume.capability import Connection, VolumeDriver
from nutshell.volume.port import AttachmentFacts, VolumeFacts
from nutshell.volume.service import InvalidVolume
from nutshell.volume.states import Hold, Link, Seen
from nutshell.volume.tables import Snapshot, Volume, VolumeAttachment, save


def facts_of(row: Volume) -> VolumeFacts:
    return VolumeFacts(
        volume_id=row.id,
        project_id=row.project_id,
        name=row.name or "",
        status=row.status,
        size_gib=row.size,
        bootable=row.bootable,
        multiattach=row.multiattach,
        encrypted=False,
        image_metadata=row.image_metadata or {},
        zone=row.availability_zone,
    )


def attachment_of(row: VolumeAttachment) -> AttachmentFacts:
    attached = row.status in (Link.ATTACHED, Link.DETACHING)
    return AttachmentFacts(row.id, row.volume_id, row.instance or "", row.device or "", attached)


class VolumeOffers:
    """Implements `Volumes`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _need(self, tx: Tx, who: Who, volume_id: str) -> Volume:
        row = tx.get(Volume, volume_id)
        if row is None or not self._cloud.rules.allows("volume:get", who, row.policy_target()):
            raise NotFound(kind="Volume", id=volume_id)
        return row

    def need(self, tx: Tx, who: Who, volume_id: str) -> VolumeFacts:
        return facts_of(self._need(tx, who, volume_id))

    def facts(self, tx: Tx, volume_id: str) -> VolumeFacts | None:
        row = tx.get(Volume, volume_id)
        return None if row is None else facts_of(row)

    def need_snapshot(self, tx: Tx, who: Who, snapshot_id: str) -> tuple[str, int]:
        row = tx.get(Snapshot, snapshot_id)
        if row is None or not self._cloud.rules.allows("volume:get_snapshot", who, row.policy_target()):
            raise NotFound(kind="Snapshot", id=snapshot_id)
        return row.volume_id, row.size

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
        wish = making.Wish(
            size=size_gib or None,
            name=name,
            description="",
            volume_type=volume_type,
            image_id=image_id,
            snapshot_id=snapshot_id,
            source_volid=source_volume_id,
        )
        return facts_of(making.make(self._cloud, tx, who, wish))

    def snapshot(self, tx: Tx, who: Who, volume_id: str, name: str) -> str:
        row = self._need(tx, who, volume_id)
        return snapshots.make(self._cloud, tx, who, row, attached_too=True, name=name, description="").id

    def reserve(
        self, tx: Tx, volume_id: str, server_id: str, *, read_only: bool = False, allow_multiattach: bool = True
    ) -> AttachmentFacts:
        row = tx.need(Volume, volume_id)
        if row.multiattach and not allow_multiattach:
            raise InvalidVolume(f"Volume {volume_id} is multi-attachable, which this request cannot use.")
        mode = "ro" if read_only else None
        return attachment_of(
            attaching.reserve(tx, row, self._cloud.clock.new_id(), server_id, mode=mode, by_compute=True)
        )

    def attached(self, tx: Tx, attachment_id: str, device: str, host: str) -> None:
        attaching.complete(tx, tx.need(VolumeAttachment, attachment_id), device, host)

    def detaching(self, tx: Tx, attachment_id: str) -> None:
        row = tx.get(VolumeAttachment, attachment_id)
        if row is None or row.status == Link.DETACHING:
            return
        tx.put(row, status=Link.DETACHING)
        save(tx, tx.need(Volume, row.volume_id), verb="detaching")

    def detached(self, tx: Tx, attachment_id: str) -> None:
        row = tx.get(VolumeAttachment, attachment_id)
        if row is not None:
            attaching.let_go(tx, row)

    def attachments_of(self, tx: Tx, server_ids: Sequence[str]) -> Mapping[str, Sequence[AttachmentFacts]]:
        found: dict[str, list[AttachmentFacts]] = {}
        for row in tx.find(VolumeAttachment, instance=list(server_ids), order="created_at, id"):
            found.setdefault(row.instance or "", []).append(attachment_of(row))
        return found

    def delete(self, tx: Tx, volume_id: str) -> None:
        row = tx.get(Volume, volume_id)
        if row is not None:
            making.delete(self._cloud, tx, row)

    def connect(self, cloud: Cloud, volume_id: str) -> Connection:
        row = cloud.read(lambda tx: tx.get(Volume, volume_id))
        if row is None or row.failed == "error":
            why = f"volume {volume_id} " + ("does not exist" if row is None else f"could not be made: {row.fault}")
            raise DriverFault(why, final=True)
        if row.seen == Seen.NOTHING:
            raise DriverFault(f"volume {volume_id} is still being made")
        return cloud.driver(VolumeDriver).connect(volume_id)


__all__ = ["Hold"]
