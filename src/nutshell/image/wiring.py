"""Wiring of the image service."""

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop, settling
from nutshell.core.store import Tx
from nutshell.image import data, discovery, imports, limits, locations, members, schemas, tasks, updating
from nutshell.image.cache import CachedImage, ImageCache
from nutshell.image.cache import settle as fill_cache
from nutshell.image.chosen_stores import stores_of
from nutshell.image.files import ImageFiles
from nutshell.image.images import Image
from nutshell.image.importing import settle
from nutshell.image.metadefs import contents, namespaces, standard
from nutshell.image.metadefs import schemas as metadef_schemas
from nutshell.image.offers import ImageOffers
from nutshell.image.ova import exporting
from nutshell.image.port import Images
from nutshell.image.remote import CatalogImages, RemoteImages
from nutshell.image.seeds import seed as seed_images
from nutshell.image.service import image as service
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import Stores
from nutshell.image.sweeping import sweep

ROUTES_IN = (
    contents,
    data,
    discovery,
    exporting,
    imports,
    limits,
    locations,
    members,
    metadef_schemas,
    namespaces,
    schemas,
    tasks,
    updating,
)  # imported for the routes they declare
quotas = dict.fromkeys(limits.NAMES, -1)


config = ImageConfig


def wire(cloud: Cloud) -> None:
    settings, chosen = cloud.settings[CloudConfig], cloud.settings[ImageConfig]
    files = ImageFiles.of(settings.state, not settings.simulate)
    files.algorithm = chosen.hashing_algorithm
    files.any_raw = not chosen.require_format_match
    files.any_partitions = "mbr" in chosen.gpt_safety_checks_nonfatal
    cache = settings.state / "image-cache" if settings.state is not None else files.directory / "cache"
    cloud.ports[ImageFiles] = files
    cloud.ports[Stores] = stores_of(cloud, files)
    cloud.ports[ImageCache] = ImageCache(cloud, cache)
    cloud.ports[RemoteImages] = CatalogImages(cache.with_name("image-callers"))
    cloud.ports[Images] = ImageOffers(cloud, files)


def seed(cloud: Cloud, tx: Tx) -> None:
    seed_images(cloud, tx)
    standard.seed(cloud, tx)


def loops(cloud: Cloud) -> list[Loop]:
    return [
        Loop("image-files", sweep, frozenset({Image.event_kind}), every_s=60.0),
        settling("image-imports", Image, settle, workers=4),
        settling("image-cache", CachedImage, fill_cache, workers=2),
    ]


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
