"""Tasks: what became of each import (Image API v2, "Tasks", "List Image's tasks")."""

from typing import Any

from nutshell.core.errors import NotFound
from nutshell.core.listing import select_page
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image.images import Image, load
from nutshell.image.service import image

LASTS_S = 48 * 3600.0  # how long a finished task is worth asking for

image.policy({"tasks_api_access": "rule:context_is_admin"})


class ImageTask(Resource, service="image", one="task", many="tasks", indexes=(("image_id",),)):
    """One import of one image."""

    image_id: str = field()
    project_id: str = field(default="", wire="owner")
    user_id: str = field(default="")
    request_id: str = field(default="")
    status: str = field(default="pending", filter=True, sort=True)  # pending, processing, success, failure
    message: str = field(default="")
    input: dict[str, Any] = field(factory=dict)


def open_task(tx: Tx, row: Image, new_id: str, user_id: str, order: dict[str, Any]) -> ImageTask:
    return tx.add(
        ImageTask(
            id=new_id,
            image_id=row.id,
            project_id=row.project_id or "",
            user_id=user_id,
            request_id=tx.request.id,
            status="processing",
            input={"image_id": row.id, "import_req": order},
            updated_at=tx.now,
        )
    )


def close_tasks(tx: Tx, image_id: str, why: str = "") -> None:
    """The open tasks of an image end: in success, or in failure when there is a reason."""
    for task in tx.find(ImageTask, image_id=image_id, status=["pending", "processing"]):
        tx.put(task, status="failure" if why else "success", message=why)


def shown(ask: Ask[Any], row: ImageTask) -> dict[str, Any]:
    time = ask.service.time
    return {
        "id": row.id,
        "type": "api_image_import",
        "status": row.status,
        "owner": row.project_id,
        "expires_at": time((row.updated_at or row.created_at) + LASTS_S)
        if row.status in ("success", "failure")
        else None,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at or row.created_at),
        "input": row.input,
        "result": {"image_id": row.image_id} if row.status == "success" else None,
        "message": row.message,
        "image_id": row.image_id,
        "request_id": row.request_id,
        "user_id": row.user_id,
    }


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
    return Answer(200, {**shown(ask, row), "self": f"/v2/tasks/{row.id}", "schema": "/v2/schemas/task"})
