"""Members: the projects an image is shared with, and what they said to it (Image API v2, "Sharing")."""

from typing import Any

from nutshell.core.errors import BadRequest, Conflict, Forbidden, NotFound
from nutshell.core.service import Answer, Ask
from nutshell.image.images import Image, ImageMember, load
from nutshell.image.service import image

STATES = ("pending", "accepted", "rejected")


class NotAMember(NotFound):
    """{member_id} not found in the member list of the image {id}."""


def shown(ask: Ask[Any], row: ImageMember) -> dict[str, Any]:
    return {
        "member_id": row.member_id,
        "image_id": row.image_id,
        "status": row.status,
        "created_at": ask.service.time(row.created_at),
        "updated_at": ask.service.time(row.updated_at or row.created_at),
        "schema": "/v2/schemas/member",
    }


def need_shared(ask: Ask[Any], doing: str) -> Image:
    row: Image = ask.target
    if row.visibility != "shared":
        raise Forbidden(f"Not allowed to {doing} members for image {row.id}: Only shared images have members.")
    return row


def find(ask: Ask[Any], image_id: str) -> ImageMember:
    """The member of the path, or 404; others than the owner and the administrator see only themselves."""
    member_id = ask.params["member_id"]
    row = ask.tx.one(ImageMember, image_id=image_id, member_id=member_id)
    outsider = ask.target.project_id != ask.who.project_id and member_id != ask.who.project_id
    if row is None or (outsider and not ask.may("context_is_admin", {})):
        raise NotAMember(id=image_id, member_id=member_id)
    return row


@image.route("GET", "/images/{image_id}/members", rule="get_members", noun=ImageMember, verb="list", against=load)
def list_members(ask: Ask[Any]) -> Answer:
    row = need_shared(ask, "list")
    rows = ask.tx.find(ImageMember, image_id=row.id, order="created_at, id")
    if row.project_id != ask.who.project_id and not ask.may("context_is_admin", {}):
        rows = [m for m in rows if m.member_id == ask.who.project_id]
    return Answer(200, {"members": [shown(ask, m) for m in rows], "schema": "/v2/schemas/members"})


@image.route("POST", "/images/{image_id}/members", rule="add_member", noun=ImageMember, verb="create", against=load,
             wrap="")  # fmt: skip
def add_member(ask: Ask[Any]) -> Answer:
    row = need_shared(ask, "create")
    if not isinstance(ask.body, dict):
        raise BadRequest('Expected a member in the form: {"member": "image_id"}')
    if "member" not in ask.body:
        raise BadRequest("Member to be added not specified")
    member_id = ask.body["member"]
    if not member_id or not isinstance(member_id, str):
        raise BadRequest("Member can't be empty")
    if len(member_id) > 255:
        raise BadRequest("Invalid member id: it is longer than 255 characters")
    if ask.tx.count(ImageMember, image_id=row.id, member_id=member_id):
        raise Conflict(f"Member {member_id} is duplicated for image {row.id}")
    made = ask.tx.add(ImageMember(id=ask.new_id(), image_id=row.id, member_id=member_id, updated_at=ask.now))
    return Answer(200, shown(ask, made))


@image.route("GET", "/images/{image_id}/members/{member_id}", rule="get_member", noun=ImageMember, verb="show",
             against=load)  # fmt: skip
def show_member(ask: Ask[Any]) -> Answer:
    row: Image = ask.target
    if row.visibility != "shared":
        raise NotFound(kind="Member", id=ask.params["member_id"])
    return Answer(200, shown(ask, find(ask, row.id)))


@image.route("PUT", "/images/{image_id}/members/{member_id}", rule="modify_member", noun=ImageMember, verb="update",
             against=load, wrap="")  # fmt: skip
def update_member(ask: Ask[Any]) -> Answer:
    row = need_shared(ask, "update")
    if not isinstance(ask.body, dict):
        raise BadRequest('Expected a status in the form: {"status": "status"}')
    if "status" not in ask.body:
        raise BadRequest("Status not specified")
    status = ask.body["status"]
    if status not in STATES:
        raise BadRequest(f'Incorrect request: Status must be "pending", "accepted" or "rejected", not {status!r}')
    return Answer(200, shown(ask, ask.tx.put(find(ask, row.id), status=status)))


@image.route("DELETE", "/images/{image_id}/members/{member_id}", rule="delete_member", noun=ImageMember, verb="delete",
             against=load, http=204)  # fmt: skip
def remove_member(ask: Ask[Any]) -> None:
    row = need_shared(ask, "delete")
    ask.tx.drop(find(ask, row.id))
