"""Stores whose data are objects: this cloud's object store, and any that speaks S3 (Amazon S3 API reference).

Both take a file in pieces and give it out in pieces; what an interrupted copy left is deleted by the image's address.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from nutshell.core.config import ConfigError
from nutshell.image.files import CHUNK
from nutshell.image.stores import StoreFault, StoreFull, refused
from nutshell.object_store.port import Depot

MIB = 1 << 20
ENDLESS = 1 << 62
MOST_PARTS = 10_000  # of one S3 upload
FULL = (413, 507, "QuotaExceeded", "EntityTooLarge", "XMinioStorageFull")  # how S3 services say so
LEAST_PART = 5 * MIB  # but for the last


@dataclass(frozen=True)
class SwiftStore:
    """The object store of this cloud, asked in this process: no token, no HTTP."""

    id: str
    depot: Callable[[], Depot]
    container: str = "images"
    segment_bytes: int = 200 * MIB
    kind: str = "swift"
    read_only: bool = False

    def address(self, image_id: str) -> str:
        return f"swift+config://{self.id}/{self.container}/{image_id}"

    def put(self, image_id: str, source: Path) -> str:
        try:
            self.depot().put(self.container, image_id, source, self.segment_bytes)
        except OSError as why:
            raise refused(f"store {self.id} cannot take the data", why) from why
        return self.address(image_id)

    def read(self, url: str, start: int, end: int) -> Iterator[bytes]:
        try:
            yield from self.depot().read(self.container, _name(url), start, end)
        except OSError as why:
            raise StoreFault(f"store {self.id} has not the data: {why.strerror}") from why

    def size(self, url: str) -> int:
        try:
            return self.depot().size(self.container, _name(url))
        except OSError as why:
            raise StoreFault(f"store {self.id} has not the data: {why.strerror}") from why

    def delete(self, url: str) -> None:
        try:
            self.depot().delete(self.container, _name(url))
        except OSError as why:
            raise StoreFault(f"store {self.id} cannot delete the data: {why.strerror}") from why

    def properties(self) -> Mapping[str, Any]:
        size = self.segment_bytes // MIB
        return {"container": self.container, "large_object_size": size, "large_object_chunk_size": size}


@dataclass(frozen=True)
class S3Settings:
    """How a bucket is reached. `credentials`: a file in the AWS clients' format; None: what they would find."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    credentials: Path | None = None
    part_bytes: int = 64 * MIB

    @classmethod
    def of(cls, text: str, region: str, credentials: Path | None, part_bytes: int) -> "S3Settings":
        """From "bucket[/prefix]@https://host[:port][/path]". ConfigError."""
        place, _, endpoint = text.partition("@")
        bucket, _, prefix = place.strip("/").partition("/")
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or not bucket or parts.username or parts.query:
            raise ConfigError("image.stores: a bucket is written s3:BUCKET[/PREFIX]@https://HOST[:PORT][/PATH]")
        if find_spec("boto3") is None:
            raise ConfigError("image.stores: an S3 store needs boto3: pip install 'nutshell-cloud[s3-images]'")
        folder = f"{prefix}/" if prefix else ""
        return cls(endpoint.rstrip("/"), bucket, folder, region, credentials, max(part_bytes, LEAST_PART))


@dataclass(frozen=True)
class S3Store:
    """A bucket of somebody's; it must exist."""

    id: str
    settings: S3Settings
    kind: str = "s3"
    read_only: bool = False

    @cached_property
    def _client(self) -> Any:
        """Loaded with the first use; safe to share between threads."""
        import boto3
        from botocore.config import Config

        how = Config(
            retries={"max_attempts": 2, "mode": "standard"},
            connect_timeout=10,
            read_timeout=60,
            s3={"addressing_style": "path"},
            user_agent_extra="nutshell",
        )
        settings = self.settings
        keys = _keys(settings.credentials, self.id) if settings.credentials is not None else {}
        return boto3.session.Session().client(
            "s3", endpoint_url=settings.endpoint, region_name=settings.region, config=how, **keys
        )

    def _key(self, url: str) -> dict[str, str]:
        return {"Bucket": self.settings.bucket, "Key": self.settings.prefix + _name(url)}

    def address(self, image_id: str) -> str:
        return f"s3://{self.settings.bucket}/{self.settings.prefix}{image_id}"

    def put(self, image_id: str, source: Path) -> str:
        from boto3.s3.transfer import TransferConfig

        url = self.address(image_id)
        part = max(self.settings.part_bytes, -(-source.stat().st_size // MOST_PARTS))
        how = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=2)
        try:
            key = self._key(url)
            self._client.upload_file(str(source), key["Bucket"], key["Key"], Config=how)
        except Exception as why:
            self._fail("cannot take the data", why)
        return url

    def read(self, url: str, start: int, end: int) -> Iterator[bytes]:
        if start >= end:
            return
        asked = {} if not start and end >= ENDLESS else {"Range": f"bytes={start}-{'' if end >= ENDLESS else end - 1}"}
        try:
            body = self._client.get_object(**self._key(url), **asked)["Body"]
            try:
                yield from body.iter_chunks(CHUNK)  # raises when the connection ends before the data
            finally:
                body.close()
        except Exception as why:
            self._fail("has not the data", why)

    def size(self, url: str) -> int:
        try:
            return int(self._client.head_object(**self._key(url))["ContentLength"])
        except Exception as why:
            self._fail("has not the data", why)

    def delete(self, url: str) -> None:
        """The object, and the parts of uploads that were never completed."""
        key = self._key(url)
        try:
            self._client.delete_object(**key)
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=key["Bucket"], Prefix=key["Key"]
            )
            for one in (u for page in pages for u in page.get("Uploads", ()) if u["Key"] == key["Key"]):
                self._client.abort_multipart_upload(**key, UploadId=one["UploadId"])
        except Exception as why:
            self._fail("cannot delete the data", why)

    def _fail(self, what: str, why: Exception) -> NoReturn:
        """StoreFault for what the library or the other side refused; anything else is raised as it is."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        kind = StoreFault
        if isinstance(why, ClientError):
            error, told = why.response.get("Error", {}), why.response.get("ResponseMetadata", {})
            text = f"{error.get('Code', '')} {error.get('Message', '')}".strip()
            kind = StoreFull if told.get("HTTPStatusCode") in FULL or error.get("Code") in FULL else StoreFault
        elif isinstance(why, BotoCoreError | Boto3Error | OSError):
            text = str(why)
        else:
            raise why
        raise kind(f"store {self.id} {what}: {text}") from why

    def properties(self) -> Mapping[str, Any]:
        size = self.settings.part_bytes // MIB
        return {
            "s3_store_host": self.settings.endpoint,
            "s3_store_bucket": self.settings.bucket,
            "s3_store_large_object_size": size,
            "s3_store_large_object_chunk_size": size,
        }


def _keys(file: Path, store_id: str) -> dict[str, str]:
    """The section named as the store, else [default]. StoreFault that tells nothing of what is in the file."""
    from configparser import ConfigParser
    from configparser import Error as IniError

    found = ConfigParser(interpolation=None, default_section="")
    try:
        with open(file) as text:
            found.read_file(text)
        section = found[store_id if found.has_section(store_id) else "default"]
        names = ("aws_access_key_id", "aws_secret_access_key")
        keys = {name: section[name] for name in names}
    except OSError as why:
        raise StoreFault(f"store {store_id} cannot read its credentials {file}: {why.strerror}") from None
    except (IniError, KeyError, UnicodeDecodeError):
        raise StoreFault(f"store {store_id} finds no keys in its credentials {file}") from None
    token = section.get("aws_session_token")
    return keys if token is None else {**keys, "aws_session_token": token}


def _name(url: str) -> str:
    """The image's id."""
    return url.rpartition("/")[2]
