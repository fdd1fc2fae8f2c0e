"""The stores that the settings choose (`[image]` stores, default_backend, store_weights)."""

from collections.abc import Sequence
from pathlib import Path

from nutshell.core.cloud import Cloud
from nutshell.core.config import ConfigError
from nutshell.image.files import ImageFiles
from nutshell.image.remote_stores import MIB, S3Settings, S3Store, SwiftStore
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import FileStore, ImageStore, Stores, WebStore
from nutshell.object_store.port import Depot

RULE = "is none of NAME, NAME=/directory, NAME=object-store, NAME=s3:BUCKET@https://HOST, NAME=http"


def stores_of(cloud: Cloud, files: ImageFiles) -> Stores:
    """All of them, none asked yet. ConfigError."""
    settings = cloud.settings[ImageConfig]
    found: dict[str, ImageStore] = {}
    homes: list[FileStore] = []
    for text in settings.stores:
        name, _, place = text.partition("=")
        if name in found or not name or name.startswith("os_glance_") or "," in name:
            raise ConfigError(f"image.stores: {text!r} is not a new name")
        if not place:
            homes.append(FileStore(name, files.directory, files.durable))
            found[name] = homes[-1]
        else:
            found[name] = _store(cloud, name, place, files.durable)
    if len(homes) != 1:
        raise ConfigError("image.stores: one store is only a name: that one lies in the state directory")
    default = settings.default_backend or next(iter(found))
    if default not in found or found[default].read_only:
        raise ConfigError(f"image.default_backend: {default!r} is no store that can be written")
    weights = _weights(settings.store_weights)
    unknown = set(weights) - set(found)
    if unknown:
        raise ConfigError(f"image.store_weights: there is no store {sorted(unknown)[0]}")
    return Stores(homes[0], found, default, weights)


def _store(cloud: Cloud, name: str, place: str, durable: bool) -> ImageStore:
    settings = cloud.settings[ImageConfig]
    if place == "http":
        return WebStore(name, settings.fetch_rules())
    if place == "object-store":
        return SwiftStore(name, lambda: cloud.port(Depot), segment_bytes=max(1, settings.segment_mib) * MIB)
    if place.startswith("s3:"):
        bucket = S3Settings.of(
            place.removeprefix("s3:"), settings.s3_region, settings.s3_credentials, settings.segment_mib * MIB
        )
        return S3Store(name, bucket)
    if place.startswith("/"):
        Path(place).mkdir(parents=True, exist_ok=True)
        return FileStore(name, Path(place), durable)
    raise ConfigError(f"image.stores: {name}={place} {RULE}")


def _weights(texts: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            found[name] = int(number)
        except ValueError:
            raise ConfigError(f"image.store_weights: {text!r} is not NAME=NUMBER") from None
    return found
