"""Interoperable import: the calls that order it (Image API v2, "Interoperable image import", "Tasks", "Stores")."""

import uuid
from collections.abc import Mapping
from typing import Any

from nutshell.core.errors import BadRequest, Conflict, Forbidden, NotFound
from nutshell.core.service import Answer, Ask
from nutshell.image import limits
from nutshell.image.data import files_of
from nutshell.image.fetch import FetchRefused, judge
from nutshell.image.images import Image, Status, check_visibility, leave_data, load, read_new, take_image
from nutshell.image.remote import RemoteImages
from nutshell.image.service import image, own
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import Stores
from nutshell.image.tasks import OPEN, ImageTask, open_task, read_order, whole

GOING, FAILED = "os_glance_importing_to_stores", "os_glance_failed_import"
Method = Mapping[str, Any]


def read(ask: Ask[Any]) -> Method:
    """Before an import: the method that is asked for; its address is one that may be fetched. 400."""
    body = ask.body
    if not isinstance(body, dict) or not isinstance(body.get("method"), dict):
        raise BadRequest("Import request requires a 'method' field.")
    method: Method = body["method"]
    name = method.get("name")
    if not isinstance(name, str):
        raise BadRequest("Import request requires a 'name' field.")
    if name not in ask.cloud.settings[ImageConfig].import_methods:
        raise BadRequest(f"Unknown import method name '{name}'.")
    for flag in ("all_stores_must_succeed", "all_stores"):
        if not isinstance(body.get(flag, True), bool):
            raise BadRequest(f"'{flag}' must be boolean value only")
    check_state(ask, ask.target, name)
    if name == "web-download":
        judge_uri(ask, method.get("uri"), "web-download")
    if name == "glance-download":
        _check_remote(method)
    return method


def judge_uri(ask: Ask[Any], uri: Any, what: str) -> None:
    try:
        judge(uri, ask.cloud.settings[ImageConfig].fetch_rules())
    except FetchRefused as why:
        raise BadRequest(f"URI for {what} does not pass filtering: {uri} ({why})") from None


def _check_remote(method: Method) -> None:
    for name in ("glance_region", "glance_image_id"):
        if not isinstance(method.get(name), str):
            raise BadRequest(f"'{name}' needs to be set for glance-download import method")
    try:
        uuid.UUID(method["glance_image_id"])
    except ValueError:
        raise BadRequest(f"Remote image id does not look like a UUID: {method['glance_image_id']}") from None


def wanted_stores(ask: Ask[Any]) -> list[str]:
    """The stores the data shall be in. 400 for a contradiction, 409 for a store there is not."""
    stores, body, header = ask.cloud.port(Stores), ask.body, ask.headers.get("x-image-meta-store")
    if body.get("all_stores"):
        if "stores" in body or header is not None:
            raise BadRequest("All_stores parameter can't be used with x-image-meta-store header or stores parameter")
        return stores.writable()
    if "stores" in body and header is not None:
        raise BadRequest("Stores parameter and x-image-meta-store header can't be both specified")
    found = body.get("stores", [stores.default.id if header is None else header])
    if not isinstance(found, list) or not found or not all(isinstance(s, str) for s in found):
        raise BadRequest("'stores' must be a list of names")
    for one in found:
        if stores.need(one).read_only:
            raise Conflict(f"Store {one} cannot be written.")
    return list(dict.fromkeys(found))


@image.route("POST", "/images/{image_id}/import", rule="get_image", noun=Image, verb="import", against=load,
             wrap="", before=read)  # fmt: skip
def import_image(ask: Ask[Any]) -> Answer:
    row: Image = ask.target
    method: Method = ask.prepared
    name = str(method["name"])
    ask.must("copy_image" if name == "copy-image" else "modify_image", row.policy_target())
    check_state(ask, row, name)
    if name != "copy-image":
        limits.room(ask.cloud, ask.tx, row.project_id or "", "image_size_total")
    if name in ("web-download", "glance-download"):
        limits.check_uploading(ask.cloud, ask.tx, row.project_id or "")
    if ask.tx.count(ImageTask, image_id=row.id, status=list(OPEN)):
        raise Conflict("Image has active task")
    stores = wanted_stores(ask)
    if name == "copy-image":
        present = {one["store"] for one in row.locations} & set(stores)
        if present and not ask.body.get("all_stores"):
            raise BadRequest(f"Image is already present at store '{sorted(present)[0]}'")
        stores = [s for s in stores if s not in present]
        if not stores:
            return Answer(202)
    order = {"image_id": row.id, "import_req": ask.body, "backend": stores}
    task = open_task(ask, row, order, stores=stores)
    if name == "glance-download":
        ask.cloud.port(RemoteImages).remember(task.id, ask.base, ask.token)
    status = row.status if name == "copy-image" else Status.IMPORTING
    extra = {**row.extra, GOING: ",".join(stores), FAILED: ""}
    extra |= _injected(ask) if name != "copy-image" else {}
    ask.tx.put(row, status=status, due_at=ask.now, extra=extra, verb="import")
    return Answer(202)


def check_state(ask: Ask[Any], row: Image, name: str) -> None:
    """409 in a state this method cannot start from."""
    if name == "copy-image":
        if row.status != Status.ACTIVE:
            raise Conflict("Only images with status active can be targeted for copying")
        return
    if row.status == Status.ACTIVE:
        raise Conflict("Image with status active cannot be target for import")
    if name == "glance-direct":
        if row.status != Status.UPLOADING or not files_of(ask.cloud).staged(row.id).exists():
            raise Conflict("Image needs to be staged before 'glance-direct' method can be used")
    elif row.status != Status.QUEUED:
        raise Conflict(f"Image needs to be in 'queued' state to use '{name}' method")
    for member in ("container_format", "disk_format"):
        if not getattr(row, member):
            raise Conflict(f"'{member}' needs to be set before import")


def _injected(ask: Ask[Any]) -> dict[str, str]:
    """The properties the operator gives to imported images."""
    settings = ask.cloud.settings[ImageConfig]
    if set(settings.inject_not_for) & set(ask.who.roles):
        return {}
    return {name: value for name, _, value in (text.partition("=") for text in settings.inject)}


def _judge_task(ask: Ask[Any]) -> Mapping[str, Any]:
    order = read_order(ask.body)
    judge_uri(ask, order["import_from"], "import_from")
    return order


@image.route("POST", "/tasks", rule="tasks_api_access", noun=ImageTask, verb="create", wrap="", before=_judge_task)
def create_task(ask: Ask[Any]) -> Answer:
    order = ask.prepared
    given = read_new({"disk_format": order["import_from_format"], "container_format": "bare"}
                     | order["image_properties"])  # fmt: skip
    owner = given.pop("owner", ask.who.project_id)
    ask.must("add_image", {**own(ask.who), "owner": owner, "project_id": owner})
    check_visibility(ask, given.get("visibility", ""), {"project_id": owner, "owner": owner})
    image_id = given.pop("id", None) or ask.new_id()
    if ask.tx.find(Image, id=image_id, deleted=True):
        raise Conflict(f"Image ID {image_id} already exists!")
    take_image(ask.cloud, ask.tx, owner)
    stores = [ask.cloud.port(Stores).default.id]
    made = Image(id=image_id, project_id=owner, updated_at=ask.now, **given)
    row = ask.tx.add(made)
    task = open_task(ask, row, order, kind="import", stores=stores, status="pending")
    ask.tx.put(row, status=Status.IMPORTING, due_at=ask.now, verb="import")
    return Answer(201, whole(ask, task), {"Location": f"{ask.url}/tasks/{task.id}"})


def _store_and_image(ask: Ask[Any]) -> Mapping[str, Any]:
    if ask.params["store_id"] not in ask.cloud.port(Stores).by_id:
        raise Conflict(f"The selected store {ask.params['store_id']} is not available on this node.")
    return load(ask)


@image.route("DELETE", "/stores/{store_id}/{image_id}", rule="delete_image_location", noun=Image,
             verb="delete_from_store", against=_store_and_image, http=204)  # fmt: skip
def delete_from_store(ask: Ask[Any]) -> None:
    row: Image = ask.target
    store_id = ask.params["store_id"]
    ask.must("get_image_location", row.policy_target())
    if row.status != Status.ACTIVE:
        raise Conflict("It's not allowed to remove image data from store if image status is not 'active'")
    if len(row.locations) == 1:
        raise Forbidden(
            "Cannot delete image data from the only store containing it. Consider deleting the image instead."
        )
    gone = [one for one in row.locations if one["store"] == store_id][:1]
    if not gone:
        raise NotFound(kind="Store", id=f"Image {row.id} is not stored in store {store_id}.")
    leave_data(ask.cloud, ask.tx, row.id, gone)
    ask.tx.put(row, locations=[one for one in row.locations if one not in gone])
