"""Tasks: what became of each import (Image API v2, "Tasks", "List Image's tasks")."""

from collections.abc import Mapping, Sequence
from typing import Any

from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.listing import select_page
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image.images import Image, load
from nutshell.image.schemas import ID, collection
from nutshell.image.service import image

TEXT = {"type": "string"}
BLOB = {"type": ["null", "object"]}
PROPERTIES: Mapping[str, Any] = {
    "id": {**TEXT, "pattern": ID, "description": "The task's id"},
    "type": {**TEXT, "enum": ["import", "api_image_import", "location_import"], "description": "What is done"},
    "status": {**TEXT, "enum": ["pending", "processing", "success", "failure"], "description": "How far it is"},
    "input": {**BLOB, "description": "What was asked for"},
    "result": {**BLOB, "description": "What came of it"},
    "owner": {**TEXT, "description": "The project it is for"},
    "message": {**TEXT, "description": "Why it failed, for people"},
    "image_id": {**TEXT, "description": "The image it is about"},
    "request_id": {**TEXT, "description": "The request it began with"},
    "user_id": {**TEXT, "description": "Who asked"},
    "expires_at": {"type": ["null", "string"], "description": "When it is forgotten"},
    "created_at": {**TEXT, "description": "When it was asked for"},
    "updated_at": {**TEXT, "description": "When it last changed"},
    "self": {"readOnly": True, **TEXT},
    "schema": {"readOnly": True, **TEXT},
}
LASTS_S = 48 * 3600.0  # how long a finished task is worth asking for
OPEN = ("pending", "processing")


class ImageTask(Resource, service="image", one="task", many="tasks", indexes=(("image_id",),)):
    """One piece of work on one image."""

    image_id: str = field()
    project_id: str = field(default="", wire="owner")
    user_id: str = field(default="")
    request_id: str = field(default="")
    kind: str = field(default="api_image_import", wire="type")
    status: str = field(default="pending", filter=True, sort=True)  # pending, processing, success, failure
    message: str = field(default="")
    input: dict[str, Any] = field(factory=dict)
    stores: list[str] = field(factory=list)  # where the data shall be
    ended: bool = field(default=False)


@ImageTask.filters_by("type")
def by_type(ask: Ask[Any], values: list[str]) -> Any:
    return ImageTask.c("kind") == values[-1]


def open_task(
    ask: Ask[Any],
    row: Image,
    order: Mapping[str, Any],
    *,
    kind: str = "api_image_import",
    stores: Sequence[str] = (),
    status: str = "processing",
) -> ImageTask:
    return ask.tx.add(
        ImageTask(
            id=ask.new_id(),
            image_id=row.id,
            project_id=row.project_id or "",
            user_id=ask.who.user_id,
            request_id=ask.request_id,
            kind=kind,
            status=status,
            input=dict(order),
            stores=list(stores),
            updated_at=ask.now,
        )
    )


def close_tasks(tx: Tx, image_id: str, why: str = "", message: str = "") -> None:
    """The open tasks of an image end: in success, or in failure when there is a reason."""
    for task in tx.find(ImageTask, image_id=image_id, status=list(OPEN)):
        tx.put(task, status="failure" if why else "success", message=why or message, ended=True)


def shown(ask: Ask[Any], row: ImageTask) -> dict[str, Any]:
    time = ask.service.time
    ended = row.status in ("success", "failure")
    return {
        "id": row.id,
        "type": row.kind,
        "status": row.status,
        "owner": row.project_id,
        "expires_at": time((row.updated_at or row.created_at) + LASTS_S) if ended else None,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at or row.created_at),
        "input": row.input,
        "result": {"image_id": row.image_id} if row.status == "success" else None,
        "message": row.message,
        "image_id": row.image_id,
        "request_id": row.request_id,
        "user_id": row.user_id,
    }


def whole(ask: Ask[Any], row: ImageTask) -> dict[str, Any]:
    return {**shown(ask, row), "self": f"/v2/tasks/{row.id}", "schema": "/v2/schemas/task"}


@image.route("GET", "/schemas/task", rule="get_images")
def show_task_schema(ask: Ask[Any]) -> dict[str, Any]:
    return {"name": "task", "properties": dict(PROPERTIES)}


@image.route("GET", "/schemas/tasks", rule="get_images")
def show_tasks_schema(ask: Ask[Any]) -> dict[str, Any]:
    brief = {k: v for k, v in PROPERTIES.items() if k not in ("input", "result", "message")}
    return collection("tasks", {"name": "task", "properties": brief}, pages=False)


@image.route("GET", "/images/{image_id}/tasks", rule="get_image", noun=Image, verb="tasks", against=load)
def list_tasks_of_image(ask: Ask[Any]) -> Answer:
    rows = ask.tx.find(ImageTask, image_id=ask.target.id, order="created_at, id")
    return Answer(200, {"tasks": [{**shown(ask, r), "deleted": False, "deleted_at": None} for r in rows]})


@image.route("GET", "/tasks", rule="tasks_api_access", noun=ImageTask, verb="list")
def list_tasks(ask: Ask[Any]) -> Answer:
    page = select_page(ask, ImageTask)
    brief = [{k: v for k, v in shown(ask, r).items() if k not in ("input", "result", "message")} for r in page.rows]
    body: dict[str, Any] = {
        "tasks": [{**t, "self": f"/v2/tasks/{t['id']}", "schema": "/v2/schemas/task"} for t in brief],
        "first": "/v2/tasks",
        "schema": "/v2/schemas/tasks",
    }
    if page.more:
        body["next"] = f"/v2/tasks?marker={page.rows[-1].id}"
    return Answer(200, body)


@image.route("GET", "/tasks/{task_id}", rule="tasks_api_access", noun=ImageTask, verb="show")
def show_task(ask: Ask[Any]) -> Answer:
    row = ask.tx.get(ImageTask, ask.params["task_id"])
    if row is None:
        raise NotFound(kind="Task", id=ask.params["task_id"])
    return Answer(200, whole(ask, row))


def read_order(body: Any) -> Mapping[str, Any]:
    """The input of a task that imports: where from, in which format, and the image's members. 400."""
    if not isinstance(body, dict) or not isinstance(body.get("input"), dict) or not isinstance(body.get("type"), str):
        raise BadRequest('Expected a task in the form: {"type": "import", "input": {…}}')
    if body["type"] != "import":
        raise BadRequest(f"Invalid task type: {body['type']}. The types are: import")
    order: dict[str, Any] = body["input"]
    for name in ("import_from", "import_from_format", "image_properties"):
        if not order.get(name):
            raise BadRequest(f"Input does not contain '{name}' field")
    if not isinstance(order["image_properties"], dict) or not isinstance(order["import_from"], str):
        raise BadRequest("'image_properties' must be an object and 'import_from' an address")
    return order
