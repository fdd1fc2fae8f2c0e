"""Users and their passwords (Identity API v3, "Users")."""

from typing import Any

from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import BadRequest, Unauthorized
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.errors import Missing
from nutshell.identity.filters import text_filters
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
from nutshell.identity.service import call, flat, found, identity, merged_extra, named

LONGEST_PASSWORD = 4096
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


class NewUser(Body, extras="keep"):
    name: str = field(min_length=1, max_length=255, pattern=NOT_BLANK)
    domain_id: str | None = field(default=None)
    default_project_id: str | None = field(default=None)
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


class OwnPassword(Body):
    password: str = field()
    original_password: str = field()


def new_target(ask: Ask[Any]) -> dict[str, Any]:
    return named_domain(ask, "user")


def target(ask: Ask[Any]) -> dict[str, Any]:
    return {**named(User)(ask), "user_id": ask.params["id"]}


def check_password(password: str | None) -> None:
    if password is not None and not 1 <= len(password) <= LONGEST_PASSWORD:
        raise BadRequest(
            f"Password validation error: the password must have 1 to {LONGEST_PASSWORD} characters.", field="password"
        )


def check_user_options(given: dict[str, Any]) -> None:
    for name, value in (given.get("options") or {}).items():
        if name not in OPTIONS or not isinstance(value, OPTIONS[name] | None):
            raise BadRequest(f"Invalid input for field 'options': {name!r} is no option of a user, or not of its type.")


def hashed(ask: Ask[Any]) -> str | None:
    """Before the transaction: the given password's hash."""
    password = ask.given.get("password")
    check_password(password)
    return None if password is None else ask.cloud.port(Passwords).hash(password)


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
    return ask.tx.add(User(id=ask.cloud.clock.new_hex_id(), password_hash=ask.prepared or "", **given))


def _check_default_project(ask: Ask[Any], given: dict[str, Any]) -> None:
    project_id = given.get("default_project_id")
    if project_id and ask.tx.one(Project, id=project_id, is_domain=True):
        raise BadRequest("User's default project ID cannot be a domain ID: " + str(project_id))


@call("PATCH", "/users/{id}", "update_user", noun=User, body=ChangedUser, target=target, before=hashed)
def update_user(ask: Ask[Any]) -> User:
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
        given["password_hash"] = ask.prepared or ""
        given["tokens_after"] = ask.cloud.clock.real()
    if given.get("enabled") is False and row.enabled:
        given["tokens_after"] = ask.cloud.clock.real()
    return ask.tx.put(row, **merged_extra(row, given))


@call("DELETE", "/users/{id}", "delete_user", noun=User, target=target, http=204)
def delete_user(ask: Ask[Any]) -> None:
    from nutshell.identity.scopes import drop_user

    drop_user(ask.tx, found(ask, User))


def _verified(ask: Ask[Any]) -> str:
    """Before the transaction: the new password's hash, if the old one is right. 401 also for an unknown user."""
    passwords = ask.cloud.port(Passwords)
    given = ask.given
    user = ask.cloud.read(lambda tx: tx.get(User, ask.params["id"]))
    check_password(given["password"])
    right = passwords.verify(user.id if user else "", user.password_hash if user else "", given["original_password"])
    if user is None or not right or not user.enabled:
        raise Unauthorized()
    if user.options.get("lock_password"):
        raise BadRequest(
            "You cannot change your password at this time due to password policy disallowing password changes."
        )
    if given["password"] == given["original_password"]:
        raise BadRequest("The new password cannot be identical to the old one.")
    return passwords.hash(given["password"])


@identity.route("POST", "/users/{id}/password", public=True, body=OwnPassword, wrap="user", http=204, before=_verified)
def change_password(ask: Ask[Any]) -> None:
    """The user's own new password; all the user's tokens end with the old one."""
    row = ask.tx.need(User, ask.params["id"])
    ask.tx.put(row, password_hash=ask.prepared, tokens_after=ask.cloud.clock.real())


def user_target(ask: Ask[Any]) -> dict[str, Any]:
    """The target of routes below a user (…/users/{id}/projects)."""
    user = ask.tx.get(User, ask.params["id"])
    ask.target = user
    return {**flat("user", user), "user_id": ask.params["id"], "target.user.id": ask.params["id"]}
