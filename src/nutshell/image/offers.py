"""What the image service does for the others (`port.py`)."""

# house: parameters waived 2026-11-22: an image is made from this many facts, all by keyword

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.errors import Conflict, Forbidden, NotFound
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.image.cache import ImageCache
from nutshell.image.files import ImageFiles
from nutshell.image.formats import ImageRefused
from nutshell.image.images import PACKED, Image, ImageMember, Status, find_visible, forget_in, take_image
from nutshell.image.patches import READ_ONLY
from nutshell.image.placing import accept
from nutshell.image.port import ImageFacts
from nutshell.image.schemas import PROPERTIES
from nutshell.image.stores import StoreFault, Stores


def facts_of(row: Image) -> ImageFacts:
    return ImageFacts(
        image_id=row.id,
        name=row.name or "",
        project_id=row.project_id or "",
        status=row.status,
        disk_format=row.disk_format or "",
        container_format=row.container_format or "",
        size=row.size or 0,
        virtual_size=row.virtual_size or 0,
        min_disk_gib=row.min_disk,
        min_ram_mib=row.min_ram,
        properties=dict(row.extra),
        created_at=row.created_at,
        updated_at=row.updated_at or row.created_at,
        protected=row.protected,
    )


class ImageOffers:
    """Implements `Images`."""

    def __init__(self, cloud: Cloud, files: ImageFiles) -> None:
        self._cloud, self._files = cloud, files

    def find(self, tx: Tx, who: Who, image_id: str) -> ImageFacts | None:
        admin = self._cloud.rules.allows("context_is_admin", who, {})
        found = find_visible(tx, who, image_id, admin=admin)
        if found is None or not self._cloud.rules.allows("get_image", who, found[1]):
            return None
        return facts_of(found[0])

    def facts(self, tx: Tx, image_id: str) -> ImageFacts | None:
        row = tx.get(Image, image_id)
        return None if row is None else facts_of(row)

    def path(self, image_id: str) -> Path:
        path = self._files.path(image_id)
        row = self._cloud.read(lambda tx: tx.get(Image, image_id))
        if row is not None and row.container_format in PACKED:
            raise StoreFault(f"Image {image_id} is in container format {row.container_format}: no disk to use as it is")
        if row is None or path.exists():
            return path
        stores, cache = self._cloud.port(Stores), self._cloud.port(ImageCache)
        return stores.local(row.locations) or cache.file(image_id) or cache.fill(row)

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
        owner = project_id or who.project_id
        take_image(self._cloud, tx, owner)
        extra = {k: str(v) for k, v in properties.items() if k not in READ_ONLY and k not in PROPERTIES}
        row = Image(
            id=self._cloud.clock.new_id(),
            name=name,
            project_id=owner,
            visibility="private",
            disk_format=disk_format,
            container_format="bare",
            min_disk=min_disk_gib,
            min_ram=min_ram_mib,
            extra=extra,
            updated_at=tx.now,
        )
        return tx.add(row).id

    def staging_path(self, image_id: str) -> Path:
        return self._files.staged(image_id)

    def complete(self, image_id: str) -> None:
        row = self._cloud.read(lambda tx: tx.get(Image, image_id))
        if row is None or row.status in (Status.ACTIVE, Status.DEACTIVATED):
            return
        if row.status == Status.KILLED:
            raise Conflict(f"Image {image_id} is killed.")
        with self._files.held(image_id):
            self._accept(image_id, row.disk_format or "raw")

    def _accept(self, image_id: str, disk_format: str) -> None:
        staged, path = self._files.staged(image_id), self._files.path(image_id)
        source = staged if staged.exists() else path  # renamed already, when we were killed before the row
        try:
            sums = self._files.sum_up(source, disk_format)
        except (ImageRefused, FileNotFoundError):
            self._cloud.write(lambda tx: self.fail(tx, image_id))
            raise
        if source is staged:
            self._files.keep(staged, path)
        try:
            accept(self._cloud, image_id, sums)
        except NotFound:  # deleted meanwhile
            self._files.remove(image_id)

    def fail(self, tx: Tx, image_id: str) -> None:
        row = tx.get(Image, image_id)
        if row is not None and row.status != Status.ACTIVE:
            tx.put(row, status=Status.KILLED, verb="kill")

    def listed(self, tx: Tx, who: Who) -> Sequence[ImageFacts]:
        c, member = Image.table.c, ImageMember.table.c
        ways = [c.visibility == "public"]
        if who.project_id:
            accepted = sa.select(member.image_id).where(member.member_id == who.project_id, member.status == "accepted")
            ways += [c.project_id == who.project_id, sa.and_(c.visibility == "shared", c.id.in_(accepted))]
        return [facts_of(r) for r in tx.find(Image, sa.or_(*ways), order="created_at desc, id desc")]

    def set_properties(self, tx: Tx, who: Who, image_id: str, properties: Mapping[str, str]) -> None:
        tx.put(self._need(tx, who, image_id, "modify_image"), extra=dict(properties))

    def delete(self, tx: Tx, who: Who, image_id: str) -> None:
        row = self._need(tx, who, image_id, "delete_image")
        if row.protected:
            raise Forbidden(f"Image {row.id} is protected and cannot be deleted.")
        forget_in(self._cloud, tx, row)

    def _need(self, tx: Tx, who: Who, image_id: str, rule: str) -> Image:
        rules = self._cloud.rules
        found = find_visible(tx, who, image_id, admin=rules.allows("context_is_admin", who, {}))
        if found is None:
            raise NotFound(kind="Image", id=image_id)
        if not rules.allows(rule, who, found[1]):
            raise Forbidden(f"You are not authorized to complete {rule} action.")
        return found[0]
