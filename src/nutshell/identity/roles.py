"""Roles, and which role implies which (Identity API v3, "Roles", "Implied roles")."""

from collections.abc import Callable
from typing import Any

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import ImmutableDelete, ImmutableUpdate, Missing, Taken
from nutshell.identity.filters import text_filters
from nutshell.identity.projects import NOT_BLANK, Project, check_options, refuse_twin
from nutshell.identity.service import call, existing, found, merged_extra


class Role(Resource, service="identity", one="role", many="roles", extras="keep", unique=(("domain_id", "name"),)):
    name: str = field(filter=True, sort=True)
    domain_id: str = field(default="", hidden=True)  # empty: a role of the whole cloud
    description: str | None = field(default=None)
    options: dict[str, Any] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Role.shows("domain_id")
def shown_domain(row: Role, ctx: Context) -> str | None:
    return row.domain_id or None


@Role.shows("links")
def links(row: Role, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("roles", row.id)}


text_filters(Role, "name")


class Implication(
    Resource,
    service="identity",
    one="implied_role",
    many="implied_roles",
    path="/role_inferences",
    unique=(("prior_id", "implied_id"),),
):
    prior_id: str = field()
    implied_id: str = field(index=True)


class NewRole(Body, extras="keep"):
    name: str = field(min_length=1, max_length=255, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    description: str | None = field(default=None, max_length=255)
    options: dict[str, Any] = field(factory=dict)


class ChangedRole(Body, extras="keep"):
    name: str = field(default="", min_length=1, max_length=255, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    description: str | None = field(default=None, max_length=255)
    options: dict[str, Any] = field(factory=dict)


def _rule(verb: str) -> Callable[[Ask[Any]], str]:
    """A domain's own role has rules of its own (…_domain_role)."""
    return lambda ask: f"{verb}_domain_role" if ask.target.domain_id else f"{verb}_role"


def _listing_rule(ask: Ask[Any]) -> str:
    return "list_domain_roles" if ask.asked("domain_id") else "list_roles"


def _new_rule(ask: Ask[Any]) -> str:
    given = ask.body.get("role") if isinstance(ask.body, dict) else None
    return "create_domain_role" if isinstance(given, dict) and given.get("domain_id") else "create_role"


_target = existing(Role)


@call("GET", "/roles", _listing_rule, noun=Role)
def list_roles(ask: Ask[Any]) -> Any:
    return page_answer(ask, Role, select_page(ask, Role, domain_id=ask.asked("domain_id")))


@call("GET", "/roles/{id}", _rule("get"), noun=Role, target=_target)
def show_role(ask: Ask[Any]) -> Role:
    return found(ask, Role)


@call("POST", "/roles", _new_rule, noun=Role, body=NewRole, http=201)
def create_role(ask: Ask[Any]) -> Role:
    given = ask.given
    check_options(given, "role")
    given["domain_id"] = given.get("domain_id") or ""
    if given["domain_id"] and ask.tx.one(Project, id=given["domain_id"], is_domain=True) is None:
        raise Missing(kind="domain", id=given["domain_id"])
    refuse_twin(ask, Role, "role", given["name"], domain_id=given["domain_id"])
    return ask.tx.add(Role(id=ask.cloud.clock.new_hex_id(), **given))


@call("PATCH", "/roles/{id}", _rule("update"), noun=Role, body=ChangedRole, target=_target)
def update_role(ask: Ask[Any]) -> Role:
    row, given = found(ask, Role), ask.given
    check_options(given, "role")
    if "options" in given:
        given["options"] = {k: v for k, v in {**row.options, **given["options"]}.items() if v is not None}
    if row.options.get("immutable") and given.get("options", row.options).get("immutable"):
        raise ImmutableUpdate(kind="role", id=row.id)
    if "domain_id" in given and (given.pop("domain_id") or "") != row.domain_id:
        raise BadRequest("Cannot change Domain ID")
    if "name" in given:
        refuse_twin(ask, Role, "role", given["name"], but=row.id, domain_id=row.domain_id)
    return ask.tx.put(row, **merged_extra(row, given))


@call("DELETE", "/roles/{id}", _rule("delete"), noun=Role, target=_target, http=204)
def delete_role(ask: Ask[Any]) -> None:
    row = found(ask, Role)
    if row.options.get("immutable"):
        raise ImmutableDelete(kind="role", id=row.id)
    drop_role(ask.tx, row)


def drop_role(tx: Tx, row: Role) -> None:
    from nutshell.identity.assignments import Assignment

    for one in tx.find(Assignment, role_id=row.id, actor_kind="user", target_kind="project"):
        tx.sql(
            "DELETE FROM identity_application_credentials WHERE user_id = ? AND project_id = ?",
            one.actor_id,
            one.target_id,
        )
    tx.drop_where(Assignment, role_id=row.id)
    tx.drop_where(Implication, prior_id=row.id)
    tx.drop_where(Implication, implied_id=row.id)
    tx.drop(row)


# -- which role implies which


def _brief(ask: Ask[Any], row: Role) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "links": {"self": f"{ask.url}/roles/{row.id}"}}


def _pair(ask: Ask[Any]) -> tuple[Role, Role]:
    return found(ask, Role, ask.params["id"]), found(ask, Role, ask.params["implied_id"])


def _one_pair(ask: Ask[Any], prior: Role, implied: Role) -> dict[str, Any]:
    return {
        "role_inference": {"prior_role": _brief(ask, prior), "implies": _brief(ask, implied)},
        "links": {"self": f"{ask.url}/roles/{prior.id}/implies/{implied.id}"},
    }


def _pair_row(ask: Ask[Any]) -> tuple[Role, Role, Implication]:
    prior, implied = _pair(ask)
    row = ask.tx.one(Implication, prior_id=prior.id, implied_id=implied.id)
    if row is None:
        raise Missing(f"{prior.id} does not imply {implied.id}.", kind="implied role", id=implied.id)
    return prior, implied, row


@call("GET", "/roles/{id}/implies", "list_implied_roles")
def list_implied(ask: Ask[Any]) -> Any:
    prior = found(ask, Role, ask.params["id"])
    ids = [i.implied_id for i in ask.tx.find(Implication, prior_id=prior.id)]
    return {
        "role_inference": {
            "prior_role": _brief(ask, prior),
            "implies": [_brief(ask, r) for r in ask.tx.find(Role, id=ids, order="name")],
        },
        "links": {"self": f"{ask.url}/roles/{prior.id}/implies"},
    }


@call("GET", "/roles/{id}/implies/{implied_id}", "get_implied_role")
def show_implied(ask: Ask[Any]) -> Any:
    return _one_pair(ask, *_pair_row(ask)[:2])


@call("HEAD", "/roles/{id}/implies/{implied_id}", "check_implied_role", http=204)
def has_implied(ask: Ask[Any]) -> None:
    _pair_row(ask)


@call("PUT", "/roles/{id}/implies/{implied_id}", "create_implied_role", http=201)
def add_implied(ask: Ask[Any]) -> Any:
    prior, implied = _pair(ask)
    if implied.name == "admin":
        raise Forbidden(f"{implied.id} cannot be an implied roles.")
    if prior.id == implied.id or (implied.domain_id and not prior.domain_id):
        raise Forbidden(f"{implied.id} cannot be an implied roles.")
    if ask.tx.one(Implication, prior_id=prior.id, implied_id=implied.id) is not None:
        raise Taken(kind="implied_role", details=f"{prior.id} implies {implied.id} already.")
    ask.tx.add(Implication(id=ask.cloud.clock.new_hex_id(), prior_id=prior.id, implied_id=implied.id))
    return Answer(201, _one_pair(ask, prior, implied))


@call("DELETE", "/roles/{id}/implies/{implied_id}", "delete_implied_role", http=204)
def drop_implied(ask: Ask[Any]) -> None:
    ask.tx.drop(_pair_row(ask)[2])


@call("GET", "/role_inferences", "list_role_inference_rules")
def list_inferences(ask: Ask[Any]) -> Any:
    by_id = {r.id: r for r in ask.tx.find(Role)}
    groups: dict[str, list[str]] = {}
    for pair in ask.tx.find(Implication, order="prior_id, implied_id"):
        groups.setdefault(pair.prior_id, []).append(pair.implied_id)
    return {
        "role_inferences": [
            {"prior_role": _brief(ask, by_id[prior]), "implies": [_brief(ask, by_id[i]) for i in implied]}
            for prior, implied in groups.items()
        ],
        "links": {"self": f"{ask.url}/role_inferences"},
    }


def expand(tx: Tx, role_ids: set[str]) -> set[str]:
    """These roles and all they imply, however far; two queries a transaction."""
    implied: dict[str, list[str]] | None = tx.memo.get("implied")
    if implied is None:
        implied = {}
        for prior, one in tx.sql("SELECT prior_id, implied_id FROM identity_implied_roles").fetchall():
            implied.setdefault(prior, []).append(one)
        tx.memo["implied"] = implied
    done: set[str] = set()
    waiting = list(role_ids)
    while waiting:
        one = waiting.pop()
        if one not in done:
            done.add(one)
            waiting.extend(implied.get(one, ()))
    return done
