"""Images of another region, for the import method glance-download (Image API v2, "The glance-download import method").

The region's image service is found in the caller's catalog, with the caller's token. While the task is open it is kept
in a file that only the cloud's own user may read: whichever process carries the task out, after a restart too.
"""

import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

CHUNK = 1 << 20
GRACE_S = 60.0  # the task of a younger file may not be written yet
COPIED = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")


class RemoteFault(Exception):
    """The other region could not be asked; the text says why, for the user."""


class RemoteImages(Protocol):
    def remember(self, task_id: str, base: str, token: str) -> None:
        """Who asked for the task, and where this cloud answers."""
        ...

    def keep_only(self, task_ids: Collection[str]) -> None:
        """Forget who asked for all other tasks."""
        ...

    def show(self, task_id: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        """The image, as its service shows it. RemoteFault."""
        ...

    def read(self, task_id: str, where: Mapping[str, Any]) -> Iterator[bytes]:
        """Its data. RemoteFault."""
        ...


@dataclass(frozen=True)
class CatalogImages:
    """Asks the endpoint that the catalog names. `where`: glance_region, glance_image_id, glance_service_interface."""

    directory: Path  # one file a task
    timeout_s: float = 60.0

    def remember(self, task_id: str, base: str, token: str) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.directory / task_id, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w") as out:
            json.dump({"base": base, "token": token}, out)

    def keep_only(self, task_ids: Collection[str]) -> None:
        for one in self.directory.iterdir() if self.directory.is_dir() else ():
            if one.name not in task_ids and time.time() - one.stat().st_mtime > GRACE_S:
                one.unlink(missing_ok=True)

    def _caller(self, task_id: str) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = json.loads((self.directory / task_id).read_text())
        except (OSError, ValueError):
            raise RemoteFault("it is not known any more who ordered the import; order it again") from None
        return found

    def show(self, task_id: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._open(task_id, f"{self._endpoint(task_id, where)}/v2/images/{where['glance_image_id']}") as answer:
            found: Mapping[str, Any] = json.load(answer)
        return found

    def read(self, task_id: str, where: Mapping[str, Any]) -> Iterator[bytes]:
        from http.client import HTTPException

        address = f"{self._endpoint(task_id, where)}/v2/images/{where['glance_image_id']}/file"
        with self._open(task_id, address) as answer:
            length, size = answer.getheader("Content-Length", ""), 0
            try:
                while data := answer.read(CHUNK):
                    size += len(data)
                    yield data
            except (OSError, HTTPException) as why:
                raise RemoteFault(f"{address} broke off: {why}") from None
            if length.isdecimal() and size != int(length):
                raise RemoteFault(f"{address} broke off after {size} of {length} bytes")

    def _endpoint(self, task_id: str, where: Mapping[str, Any]) -> str:
        base = self._caller(task_id)["base"]
        with self._open(task_id, f"{base}/identity/v3/auth/catalog") as answer:
            catalog = json.load(answer)["catalog"]
        region, interface = where["glance_region"], where.get("glance_service_interface", "public")
        for service in catalog:
            for endpoint in service["endpoints"] if service["type"] == "image" else ():
                if endpoint["interface"] == interface and region in (endpoint["region_id"], endpoint.get("region")):
                    return str(endpoint["url"]).rstrip("/").removesuffix("/v2")
        raise RemoteFault(f"the catalog has no {interface} image endpoint in region {region}")

    def _open(self, task_id: str, address: str) -> Any:
        from urllib.error import HTTPError, URLError
        from urllib.request import ProxyHandler, Request, build_opener

        request = Request(address, headers={"X-Auth-Token": self._caller(task_id)["token"]})  # noqa: S310 - the catalog's
        try:
            return build_opener(ProxyHandler({})).open(request, timeout=self.timeout_s)
        except HTTPError as why:
            hint = "; the token of who ordered the import is not valid any more" if why.code == 401 else ""
            raise RemoteFault(f"{address} answers {why.code} {why.reason}{hint}") from None
        except (URLError, OSError, ValueError) as why:
            raise RemoteFault(f"{address} does not answer: {why}") from None


def copied(shown: Mapping[str, Any]) -> dict[str, str]:
    """The properties that go along with an image into another region."""
    return {k: v for k, v in shown.items() if isinstance(v, str) and k.startswith(COPIED)}
