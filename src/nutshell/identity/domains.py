"""Domains: projects that act as one (Identity API v3, "Domains")."""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import select_page
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.projects import (
    NOT_BLANK,
    Project,
    add_domain,
    change_project,
    check_options,
    checked_tags,
    delete_tree,
)
from nutshell.identity.service import call, flat, found


class NewDomain(Body, extras="keep"):
    name: str = field(min_length=1, max_length=64, pattern=NOT_BLANK)
    enabled: bool = field(default=True)
    description: str | None = field(default="", max_length=255)
    tags: list[str] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)
    explicit_domain_id: str = field(default="")


class ChangedDomain(Body, extras="keep"):
    name: str = field(default="", min_length=1, max_length=64, pattern=NOT_BLANK)
    enabled: bool = field(default=True)
    description: str | None = field(default="", max_length=255)
    tags: list[str] = field(factory=list)
    options: dict[str, Any] = field(factory=dict)


def shown(ask: Ask[Any], row: Project) -> dict[str, Any]:
    return {
        **row.extra,
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "enabled": row.enabled,
        "tags": row.tags,
        "options": row.options,
        "links": {"self": f"{ask.url}/domains/{row.id}"},
    }


def target(ask: Ask[Any]) -> dict[str, Any]:
    ask.target = ask.tx.one(Project, id=ask.params["id"], is_domain=True)
    return flat("domain", ask.target)


def _target(ask: Ask[Any]) -> dict[str, Any]:
    """As `target`; 404 comes before policy here, as in Keystone."""
    facts = target(ask)
    _found(ask)
    return facts


def _listing(ask: Ask[Any]) -> dict[str, Any]:
    return {"target.domain.id": ask.who.domain_id or "None"}


@call("GET", "/domains", "list_domains", noun=Project, target=_listing)
def list_domains(ask: Ask[Any]) -> Any:
    mine: dict[str, Any] = {"id": ask.who.domain_id} if ask.who.domain_id else {}
    page = select_page(ask, Project, is_domain=True, **mine)
    rows = [shown(ask, r) for r in page.rows]
    return {"domains": rows, **ask.service.page_links(ask, "domains", page.rows, page.more)}


@call("GET", "/domains/{id}", "get_domain", target=target)
def show_domain(ask: Ask[Any]) -> Any:
    return {"domain": shown(ask, _found(ask))}


def _found(ask: Ask[Any]) -> Project:
    if ask.target is None:
        from nutshell.identity.errors import Missing

        raise Missing(kind="domain", id=ask.params["id"])
    return found(ask, Project)


@call("POST", "/domains", "create_domain", body=NewDomain, wrap="domain", http=201)
def create_domain(ask: Ask[Any]) -> Any:
    given = ask.given
    check_options(given, "domain")
    given["tags"] = checked_tags(given.get("tags", []))
    given["description"] = given.get("description") or ""
    explicit = given.pop("explicit_domain_id", None)
    if explicit is not None:
        given["extra"] = {**given.get("extra", {}), "explicit_domain_id": explicit}
    if "is_domain" in given.get("extra", {}):
        raise BadRequest("Additional properties are not allowed ('is_domain' was unexpected)")
    return {"domain": shown(ask, add_domain(ask, given))}


@call("PATCH", "/domains/{id}", "update_domain", body=ChangedDomain, wrap="domain", target=_target)
def update_domain(ask: Ask[Any]) -> Any:
    return {"domain": shown(ask, change_project(ask, _found(ask), ask.given, "domain"))}


@call("DELETE", "/domains/{id}", "delete_domain", target=_target, http=204)
def delete_domain(ask: Ask[Any]) -> None:
    delete_tree(ask, _found(ask))
