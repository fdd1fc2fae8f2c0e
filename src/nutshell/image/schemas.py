"""What an image's members may hold, as JSON schema and as checks (Image API v2, "Image schemas")."""

from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask
from nutshell.image.service import image
from nutshell.image.shapes import fault_in

CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop")
STATUSES = (
    "queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated",
)  # fmt: skip
ID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"


def _text(about: str, longest: int | None = None, *, null: bool = False, fixed: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"type": ["null", "string"] if null else "string", "description": about}
    if fixed:
        found["readOnly"] = True
    if longest is not None:
        found["maxLength"] = longest
    return found


PROPERTIES: Mapping[str, dict[str, Any]] = {
    "id": {**_text("An identifier for the image"), "pattern": ID},
    "name": _text("Descriptive name for the image", 255, null=True),
    "status": {**_text("Status of the image", fixed=True), "enum": list(STATUSES)},
    "visibility": {
        **_text("Scope of image accessibility"),
        "enum": ["community", "public", "private", "shared"],
    },
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {
        "type": "boolean",
        "description": "If true, image will not appear in default image list response.",
    },
    "checksum": _text("md5 hash of image contents.", 32, null=True, fixed=True),
    "os_hash_algo": _text("Algorithm to calculate the os_hash_value", 64, null=True, fixed=True),
    "os_hash_value": _text(
        "Hexdigest of the image contents using the algorithm specified by the os_hash_algo", 128, null=True, fixed=True
    ),
    "owner": _text("Owner of the image", 255, null=True),
    "size": {"type": ["null", "integer"], "readOnly": True, "description": "Size of image file in bytes"},
    "virtual_size": {"type": ["null", "integer"], "readOnly": True, "description": "Virtual size of image in bytes"},
    "container_format": {
        **_text("Format of the container", null=True),
        "enum": [None, *CONTAINER_FORMATS],
    },
    "disk_format": {**_text("Format of the disk", null=True), "enum": [None, *DISK_FORMATS]},
    "created_at": _text("Date and time of image registration", fixed=True),
    "updated_at": _text("Date and time of the last image modification", fixed=True),
    "tags": {
        "type": "array",
        "description": "List of strings related to the image",
        "items": {"type": "string", "maxLength": 255},
    },
    "direct_url": _text("URL to access the image file kept in external store", fixed=True),
    "min_ram": {"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
    "min_disk": {"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
    "self": _text("An image self url", fixed=True),
    "file": _text("An image file url", fixed=True),
    "stores": _text("Store in which image data resides; a comma-separated list of store identifiers.", fixed=True),
    "schema": _text("An image schema url", fixed=True),
    "locations": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "url": {"type": "string", "maxLength": 255},
                "metadata": {"type": "object"},
                "validation_data": {
                    "type": "object",
                    "writeOnly": True,
                    "description": "What the data must hash to",
                    "additionalProperties": False,
                    "required": ["os_hash_algo", "os_hash_value"],
                    "properties": {
                        "checksum": {"type": "string", "minLength": 32, "maxLength": 32},
                        "os_hash_algo": {"type": "string", "maxLength": 64},
                        "os_hash_value": {"type": "string", "maxLength": 128},
                    },
                },
            },
            "required": ["url", "metadata"],
        },
        "description": "A set of URLs to access the image file kept in external store",
    },
}
MEMBER_PROPERTIES: Mapping[str, dict[str, Any]] = {
    "member_id": _text("An identifier for the image member (tenantId)"),
    "image_id": {**_text("An identifier for the image"), "pattern": ID},
    "created_at": _text("Date and time of image member creation"),
    "updated_at": _text("Date and time of last modification of image member"),
    "status": {**_text("The status of this image member"), "enum": ["pending", "accepted", "rejected"]},
    "schema": {"readOnly": True, "type": "string"},
}


def check(name: str, value: Any) -> None:
    """400 unless the value may stand in this member; any other member of an image is a property, and text."""
    fault = fault_in(value, PROPERTIES.get(name, {"type": "string"}))
    if fault:
        raise BadRequest(f"Provided object does not match schema 'image': {fault}")


def image_schema() -> dict[str, Any]:
    return {
        "name": "image",
        "properties": dict(PROPERTIES),
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


def member_schema() -> dict[str, Any]:
    return {"name": "member", "properties": dict(MEMBER_PROPERTIES)}


def collection(name: str, item: dict[str, Any], *, pages: bool) -> dict[str, Any]:
    """The schema of a listing."""
    found: dict[str, Any] = {
        "name": name,
        "properties": {name: {"type": "array", "items": item}, "schema": {"type": "string"}},
        "links": [{"rel": "describedby", "href": "{schema}"}],
    }
    if pages:
        found["properties"] |= {"first": {"type": "string"}, "next": {"type": "string"}}
        found["links"] = [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, *found["links"]]
    return found


@image.route("GET", "/schemas/image", rule="get_images")
def show_image_schema(ask: Ask[Any]) -> dict[str, Any]:
    return image_schema()


@image.route("GET", "/schemas/images", rule="get_images")
def show_images_schema(ask: Ask[Any]) -> dict[str, Any]:
    return collection("images", image_schema(), pages=True)


@image.route("GET", "/schemas/member", rule="get_images")
def show_member_schema(ask: Ask[Any]) -> dict[str, Any]:
    return member_schema()


@image.route("GET", "/schemas/members", rule="get_images")
def show_members_schema(ask: Ask[Any]) -> dict[str, Any]:
    return collection("members", member_schema(), pages=False)
