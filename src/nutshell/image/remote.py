"""Images of another region, for the import method glance-download (Image API v2, "The glance-download import method").

The region's image service is found in the caller's catalog; the caller's token is used, and kept in memory only.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

CHUNK = 1 << 20
COPIED = ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")


class RemoteFault(Exception):
    """The other region could not be asked; the text says why, for the user."""


class RemoteImages(Protocol):
    def remember(self, task_id: str, base: str, token: str) -> None:
        """Who asked for the task, and where this cloud answers."""
        ...

    def show(self, task_id: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        """The image, as its service shows it. RemoteFault."""
        ...

    def read(self, task_id: str, where: Mapping[str, Any]) -> Iterator[bytes]:
        """Its data. RemoteFault."""
        ...


@dataclass
class CatalogImages:
    """Asks the endpoint that the catalog names. `where`: glance_region, glance_image_id, glance_service_interface."""

    callers: dict[str, tuple[str, str]] = field(default_factory=dict, repr=False)
    timeout_s: float = 60.0

    def remember(self, task_id: str, base: str, token: str) -> None:
        self.callers[task_id] = (base, token)

    def show(self, task_id: str, where: Mapping[str, Any]) -> Mapping[str, Any]:
        with self._open(task_id, f"{self._endpoint(task_id, where)}/v2/images/{where['glance_image_id']}") as answer:
            found: Mapping[str, Any] = json.load(answer)
        return found

    def read(self, task_id: str, where: Mapping[str, Any]) -> Iterator[bytes]:
        address = f"{self._endpoint(task_id, where)}/v2/images/{where['glance_image_id']}/file"
        with self._open(task_id, address) as answer:
            while data := answer.read(CHUNK):
                yield data
        self.callers.pop(task_id, None)

    def _endpoint(self, task_id: str, where: Mapping[str, Any]) -> str:
        if task_id not in self.callers:
            raise RemoteFault("the cloud was restarted; order the import again")
        base, _ = self.callers[task_id]
        with self._open(task_id, f"{base}/identity/v3/auth/catalog") as answer:
            catalog = json.load(answer)["catalog"]
        region, interface = where["glance_region"], where.get("glance_service_interface", "public")
        for service in catalog:
            for endpoint in service["endpoints"] if service["type"] == "image" else ():
                if endpoint["interface"] == interface and region in (endpoint["region_id"], endpoint.get("region")):
                    return str(endpoint["url"]).rstrip("/").removesuffix("/v2")
        raise RemoteFault(f"the catalog has no {interface} image endpoint in region {region}")

    def _open(self, task_id: str, address: str) -> Any:
        from urllib.error import URLError
        from urllib.request import ProxyHandler, Request, build_opener

        request = Request(address, headers={"X-Auth-Token": self.callers[task_id][1]})  # noqa: S310 - the catalog's
        try:
            return build_opener(ProxyHandler({})).open(request, timeout=self.timeout_s)
        except (URLError, OSError, ValueError) as why:
            raise RemoteFault(f"{address} does not answer: {why}") from None


def copied(shown: Mapping[str, Any]) -> dict[str, str]:
    """The properties that go along with an image into another region."""
    return {k: v for k, v in shown.items() if isinstance(v, str) and k.startswith(COPIED)}
