"""Wiring of the image service."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, setting
from nutshell.core.reconcile import Loop, settling
from nutshell.core.store import Tx
from nutshell.image import data, discovery, members, schemas, tasks
from nutshell.image.files import ImageFiles
from nutshell.image.images import Image
from nutshell.image.imports import settle
from nutshell.image.metadefs import contents, namespaces, standard
from nutshell.image.metadefs import schemas as metadef_schemas
from nutshell.image.offers import ImageOffers
from nutshell.image.port import Images
from nutshell.image.seeds import seed as seed_images
from nutshell.image.service import image as service
from nutshell.image.sweeping import sweep

ROUTES_IN = (
    contents,
    data,
    discovery,
    members,
    metadef_schemas,
    namespaces,
    schemas,
    tasks,
)  # imported for the routes they declare
quotas = {"image_count_total": -1, "image_size_total": -1}


@dataclass(frozen=True)
class ImageConfig:
    """The image service."""

    table: ClassVar[str] = "image"

    require_format_match: bool = setting(
        True,
        "Refuse data that is not what disk_format says. False: data without any format's sign may be declared as"
        " anything; what is unsafe is refused in any case.",
    )


config = ImageConfig


def wire(cloud: Cloud) -> None:
    settings = cloud.settings[CloudConfig]
    strict = cloud.settings[ImageConfig].require_format_match
    files = ImageFiles.of(settings.state, durable=not settings.simulate, any_raw=not strict)
    cloud.ports[ImageFiles] = files
    cloud.ports[Images] = ImageOffers(cloud, files)


def seed(cloud: Cloud, tx: Tx) -> None:
    seed_images(cloud, tx)
    standard.seed(cloud, tx)


def loops(cloud: Cloud) -> list[Loop]:
    return [
        Loop("image-files", sweep, frozenset({Image.event_kind}), every_s=60.0),
        settling("image-imports", Image, settle, workers=2),
    ]


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
