"""Images as the Compute API once showed them: a proxy to the image service, gone from version 2.36 on (metadata from
2.39 on). Source: Compute API reference, "Images (DEPRECATED)"."""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.servers.checks import check_metadata
from nutshell.compute.service import bookmark, compute, links, page_links
from nutshell.core.clock import parse_iso
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.image.port import ImageFacts, Images

RULE = "os_compute_api:images"
LAST, LAST_METADATA = "2.35", "2.38"
PATH = "/images/{id}"
STATUS = {
    "active": "ACTIVE",
    "queued": "SAVING",
    "saving": "SAVING",
    "uploading": "SAVING",
    "importing": "SAVING",
    "deactivated": "ACTIVE",
    "killed": "ERROR",
}
PROGRESS = {"queued": 25, "saving": 50, "active": 100}

compute.policy({RULE: "@"})  # the image service's own rules decide


class ImageMissing(NotFound):
    """Image not found."""


class ItemMissing(NotFound):
    """No metadata on image {id} with key {key}"""


def _need(ask: Ask[Any]) -> ImageFacts:
    found = ask.cloud.port(Images).find(ask.tx, ask.who, ask.params["id"])
    if found is None:
        raise ImageMissing()
    return found


def _links(ask: Ask[Any], image_id: str) -> list[dict[str, str]]:
    alternate = {"rel": "alternate", "type": "application/vnd.openstack.image"}
    return [*links(ask, "images", image_id), {**alternate, "href": f"{ask.base}/image/images/{image_id}"}]


def _brief(ask: Ask[Any], i: ImageFacts) -> dict[str, Any]:
    return {"id": i.image_id, "name": i.name, "links": _links(ask, i.image_id)}


def _whole(ask: Ask[Any], i: ImageFacts) -> dict[str, Any]:
    found = _brief(ask, i) | {
        "minRam": i.min_ram_mib,
        "minDisk": i.min_disk_gib,
        "metadata": dict(i.properties),
        "created": ask.service.time(i.created_at),
        "updated": ask.service.time(i.updated_at or i.created_at),
        "status": STATUS.get(i.status, "UNKNOWN"),
        "progress": PROGRESS.get(i.status, 0),
        "OS-EXT-IMG-SIZE:size": i.size,
    }
    made_of = i.properties.get("instance_uuid")
    if made_of:
        found["server"] = {"id": made_of, "links": links(ask, "servers", made_of)}
        found["server"]["links"][1]["href"] = bookmark(ask, "servers", made_of)
    if "auto_disk_config" in i.properties:
        on = str(i.properties["auto_disk_config"]).lower() in ("true", "1")
        found["OS-DCF:diskConfig"] = "AUTO" if on else "MANUAL"
    return found


def _list(ask: Ask[Any]) -> Answer:
    rows = [i for i in ask.cloud.port(Images).listed(ask.tx, ask.who) if _wanted(ask, i)]
    marker = ask.asked("marker")
    if marker:
        ids = [i.image_id for i in rows]
        if marker not in ids:
            raise BadRequest(f"marker [{marker}] not found")
        rows = rows[ids.index(marker) + 1 :]
    limit = min(wire.whole("limit", ask.asked("limit")) or 1000, 1000) if ask.asked("limit") else 1000
    page, more = rows[:limit], len(rows) > limit
    show = _brief if ask.route.view == "brief" else _whole
    found: dict[str, Any] = {"images": [show(ask, i) for i in page]}
    if more and page:
        link = page_links(ask, "images", [_Marked(page[-1].image_id)], True)
        found |= link
    return Answer(200, found)


class _Marked:
    """What a page link needs of the last row."""

    key = "id"

    def __init__(self, row_id: str) -> None:
        self.id = row_id


def _wanted(ask: Ask[Any], i: ImageFacts) -> bool:
    asked = ask.asked
    if asked("name") and i.name != asked("name"):
        return False
    if asked("status") and STATUS.get(i.status, "UNKNOWN") != asked("status").upper():
        return False
    if asked("server") and i.properties.get("instance_uuid") != asked("server").rstrip("/").rpartition("/")[2]:
        return False
    kind = "snapshot" if i.properties.get("image_type") == "snapshot" else "server"
    if asked("type") and asked("type").lower() not in (kind, str(i.properties.get("image_type"))):
        return False
    if asked("minRam") and i.min_ram_mib < wire.whole("minRam", asked("minRam")):
        return False
    if asked("minDisk") and i.min_disk_gib < wire.whole("minDisk", asked("minDisk")):
        return False
    if asked("changes-since") and (i.updated_at or i.created_at) < _time(asked("changes-since")):
        return False
    mine = {k.removeprefix("property-"): v[-1] for k, v in ask.query.items() if k.startswith("property-")}
    return all(str(i.properties.get(k)) == v for k, v in mine.items())


def _time(text: str) -> float:
    try:
        return parse_iso(text.replace(" ", "+"))
    except ValueError:
        raise wire.invalid("changes-since", text, f"{text!r} is not a 'date-time'") from None


compute.route("GET", "/images/detail", rule=RULE, until=LAST)(_list)
compute.route("GET", "/images", rule=RULE, until=LAST, view="brief")(_list)


@compute.route("GET", PATH, rule=RULE, until=LAST)
def show_image(ask: Ask[Any]) -> Any:
    return {"image": _whole(ask, _need(ask))}


@compute.route("DELETE", PATH, rule=RULE, until=LAST, http=204)
def delete_image(ask: Ask[Any]) -> None:
    _need(ask)
    ask.cloud.port(Images).delete(ask.tx, ask.who, ask.params["id"])


# -- metadata


class Everything(Body):
    metadata: dict[str, Any] = field()


class One(Body):
    meta: dict[str, Any] = field()


def _set(ask: Ask[Any], metadata: dict[str, Any]) -> dict[str, Any]:
    check_metadata(ask, metadata)
    ask.cloud.port(Images).set_properties(ask.tx, ask.who, ask.params["id"], metadata)
    return metadata


@compute.route("GET", PATH + "/metadata", rule=RULE, until=LAST_METADATA)
def list_metadata(ask: Ask[Any]) -> Any:
    return {"metadata": dict(_need(ask).properties)}


@compute.route("POST", PATH + "/metadata", rule=RULE, until=LAST_METADATA, body=Everything, wrap="")
def add_metadata(ask: Ask[Any]) -> Any:
    check_metadata(ask, ask.given["metadata"])
    return {"metadata": _set(ask, {**_need(ask).properties, **ask.given["metadata"]})}


@compute.route("PUT", PATH + "/metadata", rule=RULE, until=LAST_METADATA, body=Everything, wrap="")
def replace_metadata(ask: Ask[Any]) -> Any:
    _need(ask)
    return {"metadata": _set(ask, ask.given["metadata"])}


@compute.route("GET", PATH + "/metadata/{key}", rule=RULE, until=LAST_METADATA)
def show_metadata(ask: Ask[Any]) -> Any:
    return {"meta": {ask.params["key"]: _item(ask)[ask.params["key"]]}}


def _item(ask: Ask[Any]) -> dict[str, Any]:
    found = dict(_need(ask).properties)
    if ask.params["key"] not in found:
        raise ItemMissing(id=ask.params["id"], key=ask.params["key"])
    return found


@compute.route("PUT", PATH + "/metadata/{key}", rule=RULE, until=LAST_METADATA, body=One, wrap="")
def update_metadata(ask: Ask[Any]) -> Any:
    item = ask.given["meta"]
    if len(item) != 1:
        raise wire.invalid("meta", item, "It must hold exactly one item.")
    if ask.params["key"] not in item:
        raise BadRequest("Request body and URI mismatch")
    _set(ask, {**_need(ask).properties, **item})
    return {"meta": item}


@compute.route("DELETE", PATH + "/metadata/{key}", rule=RULE, until=LAST_METADATA, http=204)
def delete_metadata(ask: Ask[Any]) -> None:
    found = _item(ask)
    _set(ask, {k: v for k, v in found.items() if k != ask.params["key"]})
