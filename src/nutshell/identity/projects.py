"""Projects and domains: the tree that owns everything (Identity API v3, "Projects", "Domains", "Project tags").

A domain is a project that acts as one: `is_domain`, no domain of its own, no parent.
"""

from typing import Any

import msgspec
import sqlalchemy as sa

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import ImmutableDelete, ImmutableUpdate, Missing, Taken
from nutshell.identity.filters import text_filters
from nutshell.identity.service import call, flat, found, merged_extra, named
from nutshell.identity.settings import IdentityConfig

DEFAULT_DOMAIN = "default"
MOST_DEPTH = 5
MOST_TAGS = 80
NOT_BLANK = r"\S"


class Project(
    Resource,
    service="identity",
    one="project",
    many="projects",
    extras="keep",
    unique=(("domain_id", "name"),),
    indexes=(("parent_id",),),
):
    name: str = field(filter=True, sort=True)
    domain_id: str = field(default="", filter=True, sort=True, hidden=True)
    parent_id: str = field(default="", filter=True, hidden=True)
    is_domain: bool = field(default=False, filter=True)
    enabled: bool = field(default=True, filter=True)
    description: str = field(default="")
    tags: list[str] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict, hidden=True)
    lineage: list[str] = field(factory=list, hidden=True)  # the projects above it, nearest first, its domain last
    tokens_after: float = field(default=0.0, hidden=True)  # tokens issued before count as revoked


@Project.shows("domain_id")
def shown_domain(row: Project, ctx: Context) -> str | None:
    return row.domain_id or None


@Project.shows("parent_id")
def shown_parent(row: Project, ctx: Context) -> str | None:
    return row.parent_id or None


@Project.shows("links")
def links(row: Project, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("projects", row.id)}


text_filters(Project, "name", "description")


def _tags(row: sa.ColumnElement[Any], tag: str) -> sa.ColumnElement[bool]:
    return row.contains(msgspec.json.encode(tag).decode(), autoescape=True)  # the column is JSON text


@Project.filters_by("tags")
def has_all(ask: Ask[Any], given: list[str]) -> Any:
    return sa.and_(sa.true(), *(_tags(Project.c("tags"), t) for t in ",".join(given).split(",")))


@Project.filters_by("tags-any")
def has_any(ask: Ask[Any], given: list[str]) -> Any:
    return sa.or_(sa.false(), *(_tags(Project.c("tags"), t) for t in ",".join(given).split(",")))


@Project.filters_by("not-tags")
def lacks_all(ask: Ask[Any], given: list[str]) -> Any:
    return sa.not_(has_all(ask, given))


@Project.filters_by("not-tags-any")
def lacks_any(ask: Ask[Any], given: list[str]) -> Any:
    return sa.not_(has_any(ask, given))


class NewProject(Body, extras="keep"):
    name: str = field(min_length=1, max_length=64, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None, min_length=1, max_length=64)
    parent_id: str | None = field(default=None)
    is_domain: bool = field(default=False)
    enabled: bool = field(default=True)
    description: str | None = field(default="")
    tags: list[str] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)


class ChangedProject(Body, extras="keep"):
    name: str = field(default="", min_length=1, max_length=64, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    parent_id: str | None = field(default=None)
    is_domain: bool = field(default=False)
    enabled: bool = field(default=True)
    description: str | None = field(default="")
    tags: list[str] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)


def _given(ask: Ask[Any], wrap: str) -> dict[str, Any]:
    """The body's member before it is checked; policy looks at it first."""
    body = ask.body.get(wrap) if isinstance(ask.body, dict) else None
    return body if isinstance(body, dict) else {}


def own_domain(ask: Ask[Any], wrap: str) -> str:
    """The domain a new thing will belong to: named, else the token's, else the default one."""
    named_id = _given(ask, wrap).get("domain_id")
    return named_id if isinstance(named_id, str) and named_id else ask.who.domain_id or DEFAULT_DOMAIN


def named_domain(ask: Ask[Any], wrap: str) -> dict[str, Any]:
    """The target of rules on something new: the domain that the body names, if any."""
    named_id = _given(ask, wrap).get("domain_id")
    return {f"target.{wrap}.domain_id": named_id} if isinstance(named_id, str) else {}


def new_target(ask: Ask[Any]) -> dict[str, Any]:
    return named_domain(ask, "project")


def listing_target(ask: Ask[Any]) -> dict[str, Any]:
    return {"target.domain_id": ask.who.domain_id or "None"}


@call("GET", "/projects", "list_projects", noun=Project, target=listing_target)
def list_projects(ask: Ask[Any]) -> Any:
    if "is_domain" not in ask.query:
        return page_answer(ask, Project, select_page(ask, Project, is_domain=False, **seen_by(ask)))
    return page_answer(ask, Project, select_page(ask, Project, **seen_by(ask)))


def seen_by(ask: Ask[Any]) -> dict[str, Any]:
    """Whoever lists with a token for a domain sees that domain only."""
    return {"domain_id": ask.who.domain_id} if ask.who.domain_id else {}


@call("GET", "/projects/{id}", "get_project", noun=Project, target=named(Project))
def show_project(ask: Ask[Any]) -> Any:
    from nutshell.core.render import render_row

    row = found(ask, Project)
    shown = render_row(ask, row, "detail")
    shown.update(_family(ask, row))
    return {"project": shown}


def _family(ask: Ask[Any], row: Project) -> dict[str, Any]:
    """What ?parents_as_list, ?subtree_as_list, ?parents_as_ids and ?subtree_as_ids ask for."""
    from nutshell.core.render import render_rows
    from nutshell.identity.scopes import projects_of

    asked = {n for n in ("parents_as_list", "subtree_as_list", "parents_as_ids", "subtree_as_ids") if n in ask.query}
    for kind in ("parents", "subtree"):
        if {f"{kind}_as_list", f"{kind}_as_ids"} <= asked:
            raise BadRequest(f"Cannot use {kind}_as_list and {kind}_as_ids query params at the same time.")
    more: dict[str, Any] = {}
    mine = {p.id for p in projects_of(ask.tx, ask.who.user_id)} if asked else set()
    if "parents_as_list" in asked:
        above = [p for p in _above(ask.tx, row) if p.id in mine]
        more["parents"] = [{"project": one} for one in render_rows(ask, Project, above, "detail")]
    if "subtree_as_list" in asked:
        below = [p for p in subtree(ask.tx, row) if p.id in mine]
        more["subtree"] = [{"project": one} for one in render_rows(ask, Project, below, "detail")]
    if "parents_as_ids" in asked:
        nested: dict[str, Any] | None = None
        for one in reversed([p.id for p in _above(ask.tx, row)]):
            nested = {one: nested}
        more["parents"] = nested
    if "subtree_as_ids" in asked:
        more["subtree"] = _nested(subtree(ask.tx, row), row.id)
    return more


def _above(tx: Tx, row: Project) -> list[Project]:
    by_id = {p.id: p for p in tx.find(Project, id=row.lineage)} if row.lineage else {}
    return [by_id[i] for i in row.lineage if i in by_id]


def _nested(rows: list[Project], parent: str) -> dict[str, Any] | None:
    children = [r.id for r in rows if r.parent_id == parent]
    return {c: _nested(rows, c) for c in children} or None


def subtree(tx: Tx, row: Project) -> list[Project]:
    """Every project below this one, however deep; one query a level."""
    below: list[Project] = []
    level = [row.id]
    while level:
        rows = tx.find(Project, parent_id=level, order="id")
        below.extend(rows)
        level = [r.id for r in rows]
    return below


@call("POST", "/projects", "create_project", noun=Project, body=NewProject, target=new_target, http=201)
def create_project(ask: Ask[Any]) -> Project:
    given = ask.given
    check_options(given, "project")
    given["tags"] = checked_tags(given.get("tags", []))
    given["description"] = given.get("description") or ""
    if given.get("is_domain"):
        if given.get("parent_id") or given.get("domain_id"):
            raise BadRequest("A project acting as a domain has no parent and belongs to no domain.")
        return add_domain(ask, {k: v for k, v in given.items() if k not in ("parent_id", "domain_id")})
    parent_id = given.pop("parent_id", None)
    parent = ask.tx.get(Project, parent_id) if parent_id else None
    if parent_id and parent is None:
        raise Missing(kind="project", id=parent_id)
    domain_id = given.pop("domain_id", None) or (_domain_of(parent) if parent else own_domain(ask, "project"))
    domain = ask.tx.one(Project, id=domain_id, is_domain=True)
    if domain is None:
        raise Missing(kind="domain", id=domain_id)
    parent = parent or domain
    if _domain_of(parent) != domain_id:
        raise BadRequest("The domain of a project must be that of its parent.")
    if not parent.enabled:
        raise Forbidden(f"cannot create a project in a branch containing a disabled project: {parent.id}")
    strict = ask.cloud.settings[IdentityConfig].limit_model == "strict_two_level"
    if len(parent.lineage) + 1 > (1 if strict else MOST_DEPTH):
        raise Forbidden(f"Max hierarchy depth reached for {parent.id} branch.")
    refuse_twin(ask, Project, "project", given["name"], domain_id=domain_id)
    row = Project(
        id=ask.cloud.clock.new_hex_id(),
        domain_id=domain_id,
        parent_id=parent.id,
        lineage=[parent.id, *parent.lineage],
        **given,
    )
    return ask.tx.add(row)


def _domain_of(row: Project) -> str:
    return row.id if row.is_domain else row.domain_id


def add_domain(ask: Ask[Any], given: dict[str, Any]) -> Project:
    explicit = (given.get("extra") or {}).pop("explicit_domain_id", None)
    if explicit is not None and not (isinstance(explicit, str) and len(explicit) == 32 and explicit.isalnum()):
        raise BadRequest("Domain ID does not conform to required UUID format.")
    if explicit is not None and ask.tx.get(Project, explicit):
        raise Taken(kind="domain", details=f"Duplicate ID, {explicit}.")
    refuse_twin(ask, Project, "domain", given["name"], domain_id="")
    return ask.tx.add(Project(id=explicit or ask.cloud.clock.new_hex_id(), **{**given, "is_domain": True}))


def refuse_twin(ask: Ask[Any], noun: type[Resource], kind: str, name: str, but: str = "", **where: Any) -> None:
    """Conflict when another row of this noun has the name."""
    twin = ask.tx.one(noun, name=name, **where)
    if twin is not None and twin.id != but:
        raise Taken(kind=kind, details=f"Duplicate entry found with name {name}" + _in(where))


def _in(where: dict[str, Any]) -> str:
    return f" at domain ID {where['domain_id']}." if where.get("domain_id") else "."


@call("PATCH", "/projects/{id}", "update_project", noun=Project, body=ChangedProject, target=named(Project))
def update_project(ask: Ask[Any]) -> Project:
    return change_project(ask, found(ask, Project), ask.given, "project")


def change_project(ask: Ask[Any], row: Project, given: dict[str, Any], kind: str) -> Project:
    check_options(given, kind)
    if "options" in given:
        given["options"] = {k: v for k, v in {**row.options, **given["options"]}.items() if v is not None}
    if row.options.get("immutable") and given.get("options", row.options).get("immutable"):
        raise ImmutableUpdate(kind=kind, id=row.id)
    for fixed in ("domain_id", "parent_id", "is_domain"):
        if fixed in given and (given.pop(fixed) or "") != (getattr(row, fixed) or ""):
            if fixed == "domain_id":
                raise BadRequest("Cannot change Domain ID")
            raise Forbidden(f"Update of `{fixed}` is not allowed.")
    if "tags" in given:
        given["tags"] = checked_tags(given["tags"])
    if "description" in given:
        given["description"] = given["description"] or ""
    if "name" in given:
        refuse_twin(ask, Project, kind, given["name"], but=row.id, domain_id=row.domain_id)
    if "enabled" in given and given["enabled"] != row.enabled:
        _check_branch(ask.tx, row, given["enabled"])
        if not given["enabled"]:
            given["tokens_after"] = ask.cloud.clock.real()
    if row.id == DEFAULT_DOMAIN and given.get("enabled") is False:
        raise Forbidden("Cannot disable the default domain, for it would lock everybody out.")
    return ask.tx.put(row, **merged_extra(row, given))


def _check_branch(tx: Tx, row: Project, enable: bool) -> None:
    if row.is_domain:
        return
    if enable and any(not p.enabled for p in _above(tx, row)):
        raise Forbidden(f"cannot enable project {row.id} since it has disabled parents")
    if not enable and any(p.enabled for p in subtree(tx, row)):
        raise Forbidden(f"cannot disable project {row.id} since its subtree contains enabled projects")


@call("DELETE", "/projects/{id}", "delete_project", noun=Project, target=named(Project), http=204)
def delete_project(ask: Ask[Any]) -> None:
    row = found(ask, Project)
    if row.is_domain:
        delete_tree(ask, row)
        return
    if row.options.get("immutable"):
        raise ImmutableDelete(kind="project", id=row.id)
    if ask.tx.count(Project, parent_id=row.id):
        raise Forbidden(
            f"Cannot delete the project {row.id} since it is not a leaf in the hierarchy. Use the cascade option if"
            " you want to delete a whole subtree."
        )
    drop_project(ask.tx, row)


def drop_project(tx: Tx, row: Project) -> None:
    """Delete a project with what identity keeps about it."""
    from nutshell.identity.revocations import remember_gone
    from nutshell.identity.scopes import forget_target

    forget_target(tx, row.id)
    remember_gone(tx, "domain" if row.is_domain else "project", row.id)
    tx.drop(row)


def delete_tree(ask: Ask[Any], domain: Project) -> None:
    """Delete a disabled domain with its users, groups, roles and projects."""
    from nutshell.identity.scopes import forget_domain

    if domain.id == DEFAULT_DOMAIN:
        raise BadRequest("The default domain cannot be deleted.")
    if domain.options.get("immutable"):
        raise ImmutableDelete(kind="domain", id=domain.id)
    if domain.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    for one in ask.tx.find(Project, domain_id=domain.id):
        drop_project(ask.tx, one)
    forget_domain(ask.tx, domain.id)
    drop_project(ask.tx, domain)


def check_options(given: dict[str, Any], kind: str) -> None:
    """Resource options: only `immutable`, a boolean (null removes it)."""
    for name, value in (given.get("options") or {}).items():
        if name != "immutable" or not isinstance(value, bool | None):
            raise BadRequest(f"Invalid input for field 'options': {name!r} is no option of a {kind}.")


# -- tags


def checked_tags(tags: list[str]) -> list[str]:
    """Tags without repeats, in order. 400 for one that is empty, too long or holds a comma or slash."""
    tags = list(dict.fromkeys(tags))
    if len(tags) > MOST_TAGS:
        raise BadRequest(f"Invalid input for field 'tags': a project has at most {MOST_TAGS} tags.")
    for t in tags:
        if not 1 <= len(t) <= 255 or "/" in t or "," in t:
            raise BadRequest(f"Invalid input for field 'tags': {t!r} is not a tag.")
    return tags


class Tags(Body):
    tags: list[str] = field()


def _tag_target(ask: Ask[Any]) -> dict[str, Any]:
    ask.target = ask.tx.get(Project, ask.params["id"])
    return flat("project", ask.target)


def _tags_links(ask: Ask[Any]) -> dict[str, Any]:
    return {"links": {"self": ask.base + ask.path}}


@call("GET", "/projects/{id}/tags", "list_project_tags", target=_tag_target)
def list_tags(ask: Ask[Any]) -> Any:
    return {"tags": found(ask, Project).tags, **_tags_links(ask)}


@call("PUT", "/projects/{id}/tags", "update_project_tags", target=_tag_target, body=Tags, wrap="")
def set_tags(ask: Ask[Any]) -> Any:
    if len(set(ask.given["tags"])) != len(ask.given["tags"]):
        raise BadRequest("Invalid input for field 'tags': something stands there twice.")
    row = ask.tx.put(found(ask, Project), tags=checked_tags(ask.given["tags"]))
    return {"tags": row.tags, **_tags_links(ask)}


@call("DELETE", "/projects/{id}/tags", "delete_project_tags", target=_tag_target, http=204)
def clear_tags(ask: Ask[Any]) -> None:
    ask.tx.put(found(ask, Project), tags=[])


@call("GET", "/projects/{id}/tags/{tag}", "get_project_tag", target=_tag_target, http=204)
def has_tag(ask: Ask[Any]) -> None:
    if ask.params["tag"] not in found(ask, Project).tags:
        raise Missing(kind="project tag", id=ask.params["tag"])


@call("PUT", "/projects/{id}/tags/{tag}", "create_project_tag", target=_tag_target, http=201)
def add_tag(ask: Ask[Any]) -> Answer:
    row, tag = found(ask, Project), ask.params["tag"]
    if tag in row.tags:
        raise BadRequest(f"Invalid input for field 'tags': {tag!r} is there already.")
    ask.tx.put(row, tags=checked_tags([*row.tags, tag]))
    return Answer(201, headers={"Location": ask.base + ask.path})


@call("DELETE", "/projects/{id}/tags/{tag}", "delete_project_tag", target=_tag_target, http=204)
def drop_tag(ask: Ask[Any]) -> None:
    row = found(ask, Project)
    if ask.params["tag"] not in row.tags:
        raise Missing(kind="project tag", id=ask.params["tag"])
    ask.tx.put(row, tags=[t for t in row.tags if t != ask.params["tag"]])
