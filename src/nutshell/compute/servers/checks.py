"""What a request about a server may say: images, metadata, user data, files, names; and copies of what it names."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from nutshell.compute import wire
from nutshell.compute.errors import TooMany
from nutshell.compute.flavors import Flavor
from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.service import Ask
from nutshell.image.port import ImageFacts, Images

GIB = 2**30


def find_image(ask: Ask[Any], image_id: str) -> ImageFacts:
    """The image, usable by the caller now. 400 otherwise."""
    found = ask.cloud.port(Images).find(ask.tx, ask.who, image_id)
    if found is None:
        raise BadRequest("Can not find requested image")
    if found.status != "active":
        raise BadRequest(f"Image {image_id} is not active.")
    return found


def check_fit(ask: Ask[Any], flavor: Flavor, image: ImageFacts) -> None:
    """400 when the flavor is too small for the image."""
    if image.min_ram_mib > flavor.ram_mib:
        raise BadRequest("Flavor's memory is too small for requested image.")
    if flavor.disk_gib == 0:
        if not ask.may("os_compute_api:servers:create:zero_disk_flavor"):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    need = max(image.min_disk_gib * GIB, image.virtual_size)
    if need > flavor.disk_gib * GIB:
        raise BadRequest(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.disk_gib * GIB} bytes, image is"
            f" {need} bytes."
        )


def check_metadata(ask: Ask[Any], metadata: Mapping[str, Any]) -> None:
    """400 on what is no text, 403 on too many."""
    for key, value in metadata.items():
        if not re.fullmatch(r"[a-zA-Z0-9\-_:. ]{1,255}", key):
            raise wire.invalid("metadata", key, f"{key!r} does not match '^[a-zA-Z0-9-_:. ]{{1,255}}$'")
        if not isinstance(value, str) or len(value) > 255:
            raise wire.invalid(key, value, f"{value!r} is not text of at most 255 characters")
    most = ask.cloud.quotas.limit(ask.tx, ask.who.project_id, "compute.metadata_items") if metadata else -1
    if 0 <= most < len(metadata):
        raise TooMany(f"Maximum number of metadata items exceeds {most}")


def check_user_data(text: str | None) -> None:
    if text is None:
        return
    try:
        base64.b64decode(text.encode(), validate=False)
        if re.search(r"[^A-Za-z0-9+/=\s]", text):
            raise ValueError
    except (ValueError, binascii.Error):
        raise wire.invalid("user_data", text[:60], "is not a 'base64'") from None


def check_files(ask: Ask[Any], files: Sequence[Mapping[str, str]]) -> None:
    names = ["compute.injected_files", "compute.injected_file_content_bytes", "compute.injected_file_path_bytes"]
    if not files:
        return
    limits = ask.cloud.quotas.limits(ask.tx, ask.who.project_id, names)
    for f in files:
        if set(f) != {"path", "contents"}:
            raise wire.invalid("personality", "", "Each file has a path and contents.")
        try:
            content = base64.b64decode(f["contents"], validate=True)
        except (ValueError, binascii.Error):
            raise wire.invalid("contents", "", "is not a 'base64'") from None
        if 0 <= limits[names[1]] < len(content):
            raise TooMany("Personality content limit exceeded")
        if 0 <= limits[names[2]] < len(f["path"]):
            raise TooMany("Personality file path too long")
    if 0 <= limits[names[0]] < len(files):
        raise TooMany("Personality file limit exceeded")


def check_plain(g: Mapping[str, Any]) -> None:
    from ipaddress import AddressValueError, IPv4Address, IPv6Address

    for name, label, kind in (("access_ip_v4", "accessIPv4", IPv4Address), ("access_ip_v6", "accessIPv6", IPv6Address)):
        if g.get(name):
            try:
                kind(g[name])
            except AddressValueError:
                raise wire.invalid(label, g[name], "is not an address") from None
    tags = g.get("tags", [])
    if len(tags) > 50:
        raise wire.invalid("tags", tags, "is too long")
    for tag in tags:
        wire.check_tag(tag)
    wire.truth("config_drive", g.get("config_drive") or False)
    if g.get("description") is not None and not wire.printable(g["description"]):
        raise wire.invalid("description", g["description"], "is not printable")
    check_hostname(g.get("hostname"))


def plain_address(text: str | None) -> str:
    """An address in its usual form; "" for none."""
    return str(ip_address(text)) if text else ""


def check_hostname(name: str | None) -> None:
    if name is not None and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]*[a-zA-Z0-9]", name):
        raise wire.invalid("hostname", name, f"{name!r} does not match '^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$'")


def default_hostname(name: str, server_id: str) -> str:
    """A host name from a server's name: what RFC 1123 allows of it."""
    text = re.sub(r"[^a-z0-9-]+", "-", name.lower().replace("_", "-").replace(" ", "-").replace(".", "-")).strip("-")
    return text[:63].strip("-") or f"server-{server_id}"


def flavor_copy(f: Flavor) -> dict[str, Any]:
    return {
        "id": f.id,
        "name": f.name,
        "vcpus": f.vcpus,
        "ram": f.ram_mib,
        "disk": f.disk_gib,
        "ephemeral": f.ephemeral_gib,
        "swap": f.swap_mib,
        "extra_specs": f.extra_specs,
    }


def image_copy(image: ImageFacts | None) -> dict[str, Any]:
    if image is None:
        return {}
    return {
        "disk_format": image.disk_format,
        "min_disk": image.min_disk_gib,
        "min_ram": image.min_ram_mib,
        "virtual_size": image.virtual_size,
        "properties": dict(image.properties),
    }
