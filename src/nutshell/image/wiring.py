"""Wiring of the image service."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, setting
from nutshell.core.reconcile import Loop, settling
from nutshell.image import data, discovery, members, schemas, tasks
from nutshell.image.files import ImageFiles
from nutshell.image.images import Image
from nutshell.image.imports import settle
from nutshell.image.offers import ImageOffers
from nutshell.image.port import Images
from nutshell.image.seeds import seed
from nutshell.image.service import image as service
from nutshell.image.sweeping import sweep

ROUTES_IN = (data, discovery, members, schemas, tasks)  # imported for the routes they declare
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


def loops(cloud: Cloud) -> list[Loop]:
    return [
        Loop("image-files", sweep, frozenset({Image.event_kind}), every_s=60.0),
        settling("image-imports", Image, settle, workers=2),
    ]


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
