"""Images: what servers boot from, and who may see them (Image API v2, "Images")."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Conflict, Forbidden, NotFound, QuotaExceeded, TooLarge
from nutshell.core.listing import select_page
from nutshell.core.policy import Who, who_value
from nutshell.core.render import OMIT, Context, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.image import patches, queries, schemas
from nutshell.image.service import ImageNotFound, image, is_admin, own
from nutshell.image.settings import ImageConfig
from nutshell.image.stores import Stores

PACKED = ("compressed", "docker")
PROPERTY_LIMIT = TAG_LIMIT = 128


class Status(StrEnum):
    """Where an image's data is."""

    QUEUED = "queued"  # there is none yet
    SAVING = "saving"  # it is being received
    UPLOADING = "uploading"  # it is being staged, or is staged
    IMPORTING = "importing"  # staged data is being checked
    ACTIVE = "active"  # it can be used
    DEACTIVATED = "deactivated"  # it is there, but only administrators may read it
    KILLED = "killed"  # it will never come


class Image(
    Resource,
    service="image",
    one="image",
    many="images",
    tombstone=True,
    extras="keep",
    indexes=(("project_id",), ("visibility",)),
):
    """An image."""

    name: str | None = field(default=None, sort=True)
    project_id: str | None = field(default=None, wire="owner")
    status: Status = field(default=Status.QUEUED, sort=True)
    visibility: str = field(default="shared")
    protected: bool = field(default=False)
    os_hidden: bool = field(default=False)
    disk_format: str | None = field(default=None, sort=True)
    container_format: str | None = field(default=None, sort=True)
    min_disk: int = field(default=0)
    min_ram: int = field(default=0)
    size: int | None = field(default=None, sort=True)
    virtual_size: int | None = field(default=None)
    checksum: str | None = field(default=None)
    os_hash_algo: str | None = field(default=None)
    os_hash_value: str | None = field(default=None)
    tags: list[str] = field(factory=list)
    extra: dict[str, str] = field(factory=dict, hidden=True)  # the properties its users gave it
    locations: list[dict[str, Any]] = field(factory=list, hidden=True)  # where its data is: store, url, metadata
    due_at: float | None = field(default=None, hidden=True, index=True)

    @property
    def judged_as(self) -> str:
        """The disk format its data is inspected for; packed containers hold no disk that anything may open."""
        return "ami" if self.container_format in PACKED else self.disk_format or "raw"

    def policy_target(self) -> Mapping[str, Any]:
        return {**self.__dict__, "owner": self.project_id, "member_id": ""}


class ImageMember(
    Resource,
    service="image",
    one="member",
    many="members",
    path="/images/{image_id}/members",
    unique=(("image_id", "member_id"),),
    indexes=(("member_id",),),
):
    """A project an image is shared with."""

    image_id: str = field()
    member_id: str = field()
    status: str = field(default="pending")


class LeftData(Resource, service="image", one="left_data", many="left_data"):
    """Data in a store that no image needs any more; the sweep deletes it."""

    image_id: str = field()
    store: str = field()
    url: str = field()


@Image.shows("created_at")
def created_at(row: Image, ctx: Context) -> str:
    return ctx.ask.service.time(row.created_at)


@Image.shows("updated_at")
def updated_at(row: Image, ctx: Context) -> str:
    return ctx.ask.service.time(row.updated_at or row.created_at)


@Image.filters_by("id")
def by_id(ask: Ask[Any], values: list[str]) -> None:
    """`queries.conditions` reads it, with its operators ("in:a,b")."""


@Image.shows("self")
def self_link(row: Image, ctx: Context) -> str:
    return f"/v2/images/{row.id}"


@Image.shows("file")
def file_link(row: Image, ctx: Context) -> str:
    return f"/v2/images/{row.id}/file"


@Image.shows("schema")
def schema_link(row: Image, ctx: Context) -> str:
    return "/v2/schemas/image"


@Image.shows("stores")
def stores(row: Image, ctx: Context) -> Any:
    if not row.locations:
        return OMIT
    sorted_ones = ctx.ask.cloud.port(Stores).sorted(row.locations)
    return ",".join(one["store"] for one in sorted_ones) if sorted_ones else OMIT


def locations_shown(ask: Ask[Any], row: Image) -> list[dict[str, Any]]:
    return [
        {"url": one["url"], "metadata": {**one["metadata"], "store": one["store"]}}
        for one in ask.cloud.port(Stores).sorted(row.locations)
    ]


@Image.shows("locations")
def locations(row: Image, ctx: Context) -> Any:
    if not ctx.ask.cloud.settings[ImageConfig].show_locations:
        return OMIT
    return locations_shown(ctx.ask, row) if ctx.ask.may("get_image_location", row.policy_target()) else []


@Image.shows("direct_url")
def direct_url(row: Image, ctx: Context) -> Any:
    found = locations(row, ctx)
    return found[0]["url"] if found and found is not OMIT else OMIT


def find_visible(tx: Tx, who: Who, image_id: str, *, admin: bool) -> tuple[Image, Mapping[str, Any]] | None:
    """The image and its policy target, if the caller may know of it."""
    row = tx.get(Image, image_id)
    if row is None:
        return None
    target = dict(row.policy_target())
    maybe_member = who.project_id and row.project_id != who.project_id and row.visibility == "shared"
    if maybe_member and tx.count(ImageMember, image_id=image_id, member_id=who.project_id):
        target["member_id"] = who.project_id
    open_to_all = row.visibility in ("public", "community") or row.project_id is None
    mine = bool(who.project_id) and who.project_id in (row.project_id, target["member_id"])
    return (row, target) if admin or open_to_all or mine else None


def load(ask: Ask[Any]) -> Mapping[str, Any]:
    """Sets `ask.target` to the image of the path and answers its policy target. 404 for what the caller may not see."""
    image_id = ask.params["image_id"]
    found = find_visible(ask.tx, ask.who, image_id, admin=is_admin(ask))
    if found is None or not ask.may("get_image", found[1]):
        raise ImageNotFound(id=image_id)
    ask.target, target = found
    return target


def shown(ask: Ask[Any], row: Image) -> dict[str, Any]:
    return render_rows(ask, Image, [row], "detail")[0]


USUAL = frozenset(("limit", "sort", "sort_key", "sort_dir"))  # what a query may say that is no condition


@image.route("GET", "/images", rule="get_images", noun=Image, verb="list")
def list_images(ask: Ask[Any]) -> Answer:
    queries.check_sorting(ask)
    table = Image.table
    if USUAL.issuperset(ask.query):  # one query for all who ask so, found again without being put together
        who = (bool(ask.who.project_id), is_admin(ask))
        page = select_page(ask, Image, usual=(who, lambda: sa.and_(*_wanted(ask, table, who_value("project_id")))))
    else:
        page = select_page(ask, Image, *_wanted(ask, table, ask.who.project_id))
    rows = _allowed(ask, page.rows)
    body: dict[str, Any] = {"images": render_rows(ask, Image, rows, "detail")}
    pairs = [(k, v) for k, values in ask.query.items() for v in values if k != "marker"]
    body["first"] = "/v2/images" + ("?" + urlencode(pairs) if pairs else "")
    body["schema"] = "/v2/schemas/images"
    if page.more and page.rows:
        body["next"] = "/v2/images?" + urlencode([*pairs, ("marker", page.rows[-1].id)])
    return Answer(200, body)


def _allowed(ask: Ask[Any], rows: Sequence[Image]) -> list[Image]:
    """Those that policy lets the caller see; it is asked once for all that it cannot tell apart."""
    seen: dict[tuple[str | None, str], bool] = {}
    for row in rows:
        key = row.project_id, row.visibility
        if key not in seen:
            seen[key] = ask.may("get_image", _list_target(ask, row))
    return [r for r in rows if seen[r.project_id, r.visibility]]


def _list_target(ask: Ask[Any], row: Image) -> Mapping[str, Any]:
    """A row of the listing: whoever sees a shared image of others is its member."""
    member = ask.who.project_id if row.visibility == "shared" else ""
    return {"project_id": row.project_id, "owner": row.project_id, "visibility": row.visibility, "member_id": member}


def _wanted(ask: Ask[Any], table: sa.Table, project_id: Any) -> Sequence[sa.ColumnElement[bool]]:
    """All conditions of a listing. `project_id`: the caller's, or what stands for it in a query."""
    where = queries.conditions(ask, table)
    mine = project_id if ask.who.project_id else None
    return [*where, *_in_sight(ask, table, mine, queries.visibility(ask), queries.member_status(ask))]


def _in_sight(
    ask: Ask[Any], table: sa.Table, project_id: Any, asked: str, status: str
) -> Sequence[sa.ColumnElement[bool]]:
    """Which images a listing shows: own, public and accepted ones; community ones only when asked for or own."""
    c, has_project = table.c, project_id is not None
    found: list[sa.ColumnElement[bool]] = []
    if asked and asked != "all":
        found.append(c.visibility == asked)
    elif not asked:
        mine = c.project_id == project_id if has_project else sa.false()
        found.append(sa.or_(mine, c.visibility != "community"))
    if is_admin(ask):
        return found
    ways: list[sa.ColumnElement[bool]] = [c.visibility.in_(("public", "community"))]
    if has_project:
        member = ImageMember.table.c
        shared = sa.select(member.image_id).where(member.member_id == project_id)
        if status != "all":
            shared = shared.where(member.status == status)
        ways += [c.project_id == project_id, sa.and_(c.visibility == "shared", c.id.in_(shared))]
    return [*found, sa.or_(*ways)]


@image.route("GET", "/images/{image_id}", rule="get_image", noun=Image, verb="show", against=load)
def show_image(ask: Ask[Any]) -> Answer:
    return Answer(200, shown(ask, ask.target))


def _to_create(ask: Ask[Any]) -> Mapping[str, Any]:
    """The policy target of a create: the image as it would be."""
    body = ask.body if isinstance(ask.body, dict) else {}
    owner = body.get("owner", ask.who.project_id)
    if owner != ask.who.project_id and not is_admin(ask):
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'")
    return {"project_id": owner, "owner": owner, "visibility": body.get("visibility", "shared")}


@image.route("POST", "/images", rule="add_image", noun=Image, verb="create", against=_to_create, wrap="")
def create_image(ask: Ask[Any]) -> Answer:
    given = read_new(ask.body)
    check_visibility(ask, given.get("visibility", ""), _to_create(ask))
    image_id = given.pop("id", None) or ask.new_id()
    if ask.tx.find(Image, id=image_id, deleted=True):
        raise Conflict(f"Image ID {image_id} already exists!")
    owner = given.pop("owner", ask.who.project_id)
    take_image(ask.cloud, ask.tx, owner)
    row = ask.tx.add(Image(id=image_id, project_id=owner, updated_at=ask.now, **given))
    headers = {
        "Location": f"{ask.url}/images/{row.id}",
        "OpenStack-image-import-methods": ",".join(ask.cloud.settings[ImageConfig].import_methods),
        "OpenStack-image-store-ids": ",".join(ask.cloud.port(Stores).by_id),
    }
    return Answer(201, shown(ask, row), headers)


def take_image(cloud: Cloud, tx: Tx, project_id: str | None) -> None:
    """One more image in a project's quota, or 413 as this service says it."""
    try:
        cloud.quotas.take(tx, project_id or "", {"image.image_count_total": 1})
    except QuotaExceeded as why:
        raise TooLarge(f"Resource image_count_total is over limit of {why.facts['limit']}") from None


def read_new(body: Any) -> dict[str, Any]:
    """The columns of a new image from a request's body. 400, 403."""
    if not isinstance(body, dict):
        raise BadRequest("Body expected in request." if body is None else "The body must be a JSON object.")
    found: dict[str, Any] = {}
    extra: dict[str, str] = {}
    for name, value in body.items():
        if name in patches.DISALLOWED:
            raise Forbidden(f"Attribute '{name}' is read-only.")
        schemas.check(name, value)
        if name in patches.READ_ONLY and name != "id":
            raise Forbidden(f"Attribute '{name}' is read-only.")
        patches.refuse_reserved(name)
        if name == "locations":
            raise Forbidden("It's not allowed to set locations of an image.")
        if name not in schemas.PROPERTIES and len(name) > 255:
            raise BadRequest("Custom property should not be greater than 255 characters.")
        (found if name in schemas.PROPERTIES else extra)[name] = value
    for name in ("min_disk", "min_ram"):
        check_number(name, found.get(name, 0))
    found["tags"] = read_tags(found.get("tags", []))
    check_extra(extra)
    return {**found, "extra": extra}


def check_number(name: str, value: int) -> None:
    if value < 0:
        raise BadRequest(f"Invalid value '{value}' for parameter '{name}': Cannot be a negative value")
    if value > 2**31 - 1:
        raise BadRequest(f"Invalid value '{value}' for parameter '{name}': it is too large")


def check_extra(extra: Mapping[str, str]) -> None:
    if len(extra) > PROPERTY_LIMIT:
        raise TooLarge(
            f"The limit has been exceeded on the number of allowed image properties. Attempted: {len(extra)},"
            f" Maximum: {PROPERTY_LIMIT}"
        )


def read_tags(given: Sequence[str]) -> list[str]:
    found = sorted(set(given))
    if len(found) > TAG_LIMIT:
        raise TooLarge(
            f"The limit has been exceeded on the number of allowed image tags. Attempted: {len(found)},"
            f" Maximum: {TAG_LIMIT}"
        )
    return found


def check_visibility(ask: Ask[Any], wanted: str, target: Mapping[str, Any]) -> None:
    rule = {"public": "publicize_image", "community": "communitize_image"}.get(wanted)
    if rule is not None:
        ask.must(rule, target)


@image.route("DELETE", "/images/{image_id}", rule="delete_image", noun=Image, verb="delete", against=load, http=204)
def delete_image(ask: Ask[Any]) -> None:
    row: Image = ask.target
    if row.protected:
        raise Forbidden(f"Image {row.id} is protected and cannot be deleted.")
    forget(ask, row)


def forget(ask: Ask[Any], row: Image) -> None:
    """The row becomes a tombstone; the loop removes the file."""
    forget_in(ask.cloud, ask.tx, row)


def forget_in(cloud: Cloud, tx: Tx, row: Image) -> None:
    cloud.quotas.give_back(tx, row.project_id or "", {"image.image_count_total": 1})
    tx.drop_where(ImageMember, image_id=row.id)
    leave_data(cloud, tx, row.id, row.locations)
    tx.drop(row)


def leave_data(cloud: Cloud, tx: Tx, image_id: str, left: Sequence[Mapping[str, Any]]) -> None:
    """What these locations hold is deleted once this transaction is on disk."""
    for one in left:
        row = LeftData(id=cloud.clock.new_id(), image_id=image_id, store=one["store"], url=one["url"])
        tx.add(row, quiet=True)


@image.route(
    "POST", "/images/{image_id}/actions/deactivate", rule="deactivate", noun=Image, verb="deactivate", against=load,
    http=204, wrap="",
)  # fmt: skip
def deactivate(ask: Ask[Any]) -> None:
    _switch(ask, Status.ACTIVE, Status.DEACTIVATED, "deactivate")


@image.route(
    "POST", "/images/{image_id}/actions/reactivate", rule="reactivate", noun=Image, verb="reactivate", against=load,
    http=204, wrap="",
)  # fmt: skip
def reactivate(ask: Ask[Any]) -> None:
    _switch(ask, Status.DEACTIVATED, Status.ACTIVE, "reactivate")


def _switch(ask: Ask[Any], before: Status, after: Status, verb: str) -> None:
    row: Image = ask.target
    if row.status == before:
        ask.tx.put(row, status=after, verb=verb)
    elif row.status != after:
        raise Forbidden(f"Not allowed to {verb} image in status '{row.status}'")


@image.route(
    "PUT", "/images/{image_id}/tags/{tag}", rule="modify_image", noun=Image, verb="tag", against=load, http=204, wrap=""
)
def add_tag(ask: Ask[Any]) -> None:
    row: Image = ask.target
    tag = ask.params["tag"]
    schemas.check("tags", [tag])
    if tag not in row.tags:
        ask.tx.put(row, tags=read_tags([*row.tags, tag]))


@image.route("DELETE", "/images/{image_id}/tags/{tag}", rule="modify_image", noun=Image, against=load, http=204)
def remove_tag(ask: Ask[Any]) -> None:
    row: Image = ask.target
    tag = ask.params["tag"]
    if tag not in row.tags:
        raise NotFound(kind="Tag", id=tag)
    ask.tx.put(row, tags=[t for t in row.tags if t != tag])


__all__ = ["Image", "ImageMember", "Status", "find_visible", "load", "own"]
