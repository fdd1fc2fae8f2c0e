"""Users and their passwords (Identity API v3, "Users")."""

import operator as op
from typing import Any

import sqlalchemy as sa

from nutshell.core.clock import iso_micros_z, parse_iso
from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.errors import Missing
from nutshell.identity.filters import text_filters
from nutshell.identity.password_rules import check_strength, new_expiry, remember_former
from nutshell.identity.passwords import Passwords
from nutshell.identity.projects import (
    NOT_BLANK,
    Project,
    listing_target,
    named_domain,
    own_domain,
    refuse_twin,
    seen_by,
)
from nutshell.identity.service import call, flat, found, merged_extra, named
from nutshell.identity.settings import IdentityConfig

OPTIONS = {
    "ignore_change_password_upon_first_use": bool,
    "ignore_password_expiry": bool,
    "ignore_lockout_failure_attempts": bool,
    "lock_password": bool,
    "ignore_user_inactivity": bool,
    "multi_factor_auth_enabled": bool,
    "multi_factor_auth_rules": list,
}


class User(Resource, service="identity", one="user", many="users", extras="keep", unique=(("domain_id", "name"),)):
    name: str = field(filter=True, sort=True)
    domain_id: str = field(filter=True, sort=True)
    enabled: bool = field(default=True, filter=True)
    default_project_id: str | None = field(default=None, hidden=True, filter=True)
    options: dict[str, Any] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict, hidden=True)
    password_hash: str = field(default="", hidden=True)
    password_expires_at: float | None = field(default=None, hidden=True)
    password_set_at: float = field(default=0.0, hidden=True)
    password_own: bool = field(default=False, hidden=True)  # chosen by the user itself
    tokens_after: float = field(default=0.0, hidden=True)  # tokens issued before count as revoked


@User.shows("default_project_id")
def shown_project(row: User, ctx: Context) -> Any:
    from nutshell.core.render import OMIT

    return row.default_project_id or OMIT


@User.shows("password_expires_at")
def shown_expiry(row: User, ctx: Context) -> str | None:
    return None if row.password_expires_at is None else iso_micros_z(row.password_expires_at)


@User.shows("links")
def links(row: User, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("users", row.id)}


text_filters(User, "name")
COMPARED = {"lt": op.lt, "lte": op.le, "gt": op.gt, "gte": op.ge, "eq": op.eq, "neq": op.ne}


@User.filters_by("password_expires_at")
def by_expiry(ask: Ask[Any], given: list[str]) -> Any:
    """?password_expires_at=lt:2026-12-31T00:00:00Z; without a comparison: at that very time."""
    found_all = []
    for text in given:
        kind, _, time = text.partition(":") if text.partition(":")[0] in COMPARED else ("eq", "", text)
        try:
            at = parse_iso(time)
        except ValueError:
            raise BadRequest(
                f"{text!r} is no time to compare with, as lt:2026-12-31T00:00:00Z.", field="password_expires_at"
            ) from None
        found_all.append(COMPARED[kind](User.c("password_expires_at"), at))
    return sa.and_(*found_all)


class NewUser(Body, extras="keep"):
    name: str = field(min_length=1, max_length=255, pattern=NOT_BLANK)
    domain_id: str = field(default="", min_length=1, max_length=64)
    default_project_id: str | None = field(default=None, max_length=64)
    enabled: bool = field(default=True)
    password: str | None = field(default=None)
    options: dict[str, Any] = field(factory=dict)


class ChangedUser(Body, extras="keep"):
    name: str = field(default="", min_length=1, max_length=255, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    default_project_id: str | None = field(default=None)
    enabled: bool = field(default=True)
    password: str | None = field(default=None)
    options: dict[str, Any] = field(factory=dict)


def new_target(ask: Ask[Any]) -> dict[str, Any]:
    return named_domain(ask, "user")


def target(ask: Ask[Any]) -> dict[str, Any]:
    return {**named(User)(ask), "user_id": ask.params["id"]}


def check_user_options(given: dict[str, Any]) -> None:
    for name, value in (given.get("options") or {}).items():
        if name not in OPTIONS or not isinstance(value, OPTIONS[name] | None):
            raise BadRequest(f"Invalid input for field 'options': {name!r} is no option of a user, or not of its type.")
    rules = (given.get("options") or {}).get("multi_factor_auth_rules") or []
    for rule in rules:
        if not (isinstance(rule, list) and rule and all(isinstance(m, str) for m in rule)):
            raise BadRequest("Invalid input for field 'multi_factor_auth_rules': each rule is a list of methods.")
        if len(set(rule)) != len(rule) or rules.count(rule) > 1:
            raise BadRequest("Invalid input for field 'multi_factor_auth_rules': something stands there twice.")


def hashed(ask: Ask[Any]) -> str | None:
    """Before the transaction: the given password's hash. 400 for one that is not as the operator wants them."""
    password = ask.given.get("password")
    check_strength(ask.cloud.settings[IdentityConfig], password)
    return None if password is None else ask.cloud.port(Passwords).hash(password)


def _password_set(ask: Ask[Any], options: dict[str, Any], own: bool = False) -> dict[str, Any]:
    """The columns of a password that is set now; `ask.prepared` is its hash."""
    config = ask.cloud.settings[IdentityConfig]
    expires_at = new_expiry(config, options, ask.now, own) if ask.prepared else None
    return {
        "password_hash": ask.prepared or "",
        "password_expires_at": expires_at,
        "password_set_at": ask.now,
        "password_own": own,
    }


@call("GET", "/users", "list_users", noun=User, target=listing_target)
def list_users(ask: Ask[Any]) -> Any:
    return page_answer(ask, User, select_page(ask, User, **seen_by(ask)))


@call("GET", "/users/{id}", "get_user", noun=User, target=target)
def show_user(ask: Ask[Any]) -> User:
    return found(ask, User)


@call("POST", "/users", "create_user", noun=User, body=NewUser, target=new_target, http=201, before=hashed)
def create_user(ask: Ask[Any]) -> User:
    given = ask.given
    check_user_options(given)
    given.pop("password", None)
    given["domain_id"] = given.get("domain_id") or own_domain(ask, "user")
    if ask.tx.one(Project, id=given["domain_id"], is_domain=True) is None:
        raise Missing(kind="domain", id=given["domain_id"])
    _check_default_project(ask, given)
    refuse_twin(ask, User, "user", given["name"], domain_id=given["domain_id"])
    given.update(_password_set(ask, given.get("options") or {}))
    return ask.tx.add(User(id=ask.cloud.clock.new_hex_id(), **given))


def _check_default_project(ask: Ask[Any], given: dict[str, Any]) -> None:
    project_id = given.get("default_project_id")
    if project_id and ask.tx.one(Project, id=project_id, is_domain=True):
        raise BadRequest("User's default project ID cannot be a domain ID: " + str(project_id))


@call("PATCH", "/users/{id}", "update_user", noun=User, body=ChangedUser, target=target, before=hashed)
def update_user(ask: Ask[Any]) -> User:
    from nutshell.identity.logins import enabled_again

    row, given = found(ask, User), ask.given
    check_user_options(given)
    if "options" in given:
        given["options"] = {k: v for k, v in {**row.options, **given["options"]}.items() if v is not None}
    if "domain_id" in given and given.pop("domain_id") != row.domain_id:
        raise BadRequest("Cannot change Domain ID")
    _check_default_project(ask, given)
    if "name" in given:
        refuse_twin(ask, User, "user", given["name"], but=row.id, domain_id=row.domain_id)
    if "password" in given:
        given.pop("password")
        remember_former(
            ask.tx, ask.cloud.settings[IdentityConfig], ask.cloud.clock.new_hex_id(), row.id, row.password_hash
        )
        given.update(_password_set(ask, given.get("options", row.options)))
        given["tokens_after"] = ask.cloud.clock.real()
    if given.get("enabled") is False and row.enabled:
        given["tokens_after"] = ask.cloud.clock.real()
        for table in ("application_credentials", "access_rules"):  # as in Keystone: they do not come back with the user
            ask.tx.sql(f"DELETE FROM identity_{table} WHERE user_id = ?", row.id)
    if given.get("enabled"):
        enabled_again(ask.tx, ask.cloud.settings[IdentityConfig], row.id)
    return ask.tx.put(row, **merged_extra(row, given))


@call("DELETE", "/users/{id}", "delete_user", noun=User, target=target, http=204)
def delete_user(ask: Ask[Any]) -> None:
    from nutshell.identity.scopes import drop_user

    drop_user(ask.tx, found(ask, User))


def user_target(ask: Ask[Any]) -> dict[str, Any]:
    """The target of routes below a user (…/users/{id}/projects)."""
    user = ask.tx.get(User, ask.params["id"])
    ask.target = user
    return {**flat("user", user), "user_id": ask.params["id"], "target.user.id": ask.params["id"]}
