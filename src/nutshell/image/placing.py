"""Puts received data into stores so that nothing stays behind in them, whenever the process dies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.image.files import ImageFiles, Sums
from nutshell.image.images import Image, Status, leave_data
from nutshell.image.stores import ImageStore, Stores


def activate(cloud: Cloud, tx: Tx, row: Image, sums: Sums, places: Sequence[Mapping[str, Any]] | None = None) -> Image:
    """The data is in its place (in the state directory, if nothing else is said): the image can be used."""
    if places is None:
        home = cloud.port(Stores).home
        places = [{"store": home.id, "url": home.address(row.id), "metadata": {}}]
    return tx.put(
        row,
        locations=[dict(one) for one in places],
        status=Status.ACTIVE,
        size=sums.size,
        virtual_size=sums.virtual_size,
        checksum=sums.md5,
        os_hash_algo=sums.algorithm,
        os_hash_value=sums.os_hash,
        due_at=None,
        verb="activate",
    )


def put_into(cloud: Cloud, store: ImageStore, image_id: str, source: Path) -> dict[str, Any]:
    """The location of a whole copy. Blocks. StoreFault.

    What is put is first noted as left data: unless the image's row comes to name it, the sweep deletes it. The caller
    has claimed the image's data, so the sweep waits.
    """
    place = {"store": store.id, "url": store.address(image_id), "metadata": {}}
    if store is not cloud.port(Stores).home:  # whose stray files the sweep finds by themselves
        cloud.write(lambda tx: leave_data(cloud, tx, image_id, [place]))
    return {**place, "url": store.put(image_id, source)}


def accept(cloud: Cloud, image_id: str, sums: Sums, store: ImageStore | None = None) -> None:
    """The received file, under its final name, becomes the image's data in that store (else the default one).

    Blocks. StoreFault, and NotFound when the image was deleted meanwhile. Accepted already: nothing changes.
    """
    stores, files = cloud.port(Stores), cloud.port(ImageFiles)
    chosen, places = stores.default if store is None else store, None
    if chosen is not stores.home:
        places = [put_into(cloud, chosen, image_id, files.path(image_id))]

    def done(tx: Tx) -> None:
        row = tx.need(Image, image_id)
        if row.status not in (Status.ACTIVE, Status.DEACTIVATED):
            activate(cloud, tx, row, sums, places)

    cloud.write(done)
    if places is not None:
        files.path(image_id).unlink(missing_ok=True)
