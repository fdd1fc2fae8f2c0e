"""Application credentials: secrets of a user's own that stand for some of its roles on one project.

Source: Identity API v3, "Application credentials", "Access rules".
"""

import secrets
from typing import Any

import msgspec

from nutshell.core.clock import iso_micros
from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import ForbiddenAction, Missing
from nutshell.identity.password_rules import LONGEST_PASSWORD
from nutshell.identity.passwords import Passwords
from nutshell.identity.projects import refuse_twin
from nutshell.identity.roles import Role, expand
from nutshell.identity.service import call, found
from nutshell.identity.times import expiry
from nutshell.identity.users import User, user_target

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class ApplicationCredential(
    Resource,
    service="identity",
    one="application_credential",
    many="application_credentials",
    path="/users/{user_id}/application_credentials",
    unique=(("user_id", "name"),),
):
    name: str = field(filter=True)
    user_id: str = field()
    project_id: str = field(index=True)
    description: str | None = field(default=None)
    role_ids: list[str] = field(factory=list, hidden=True)
    secret_hash: str = field(default="", hidden=True)
    expires_at: float | None = field(default=None, hidden=True)
    unrestricted: bool = field(default=False)
    access_rules: list[dict[str, str]] | None = field(default=None, hidden=True)
    system: str | None = field(default=None)


@ApplicationCredential.preloads
def role_names(tx: Tx, rows: list[ApplicationCredential]) -> dict[str, Role]:
    ids = {i for r in rows for i in r.role_ids}
    return {r.id: r for r in tx.find(Role, id=ids)} if ids else {}


@ApplicationCredential.shows("roles")
def shown_roles(row: ApplicationCredential, ctx: Context) -> list[dict[str, Any]]:
    known = [ctx.rel[i] for i in row.role_ids if i in ctx.rel]
    return [
        {
            "id": r.id,
            "name": r.name,
            "domain_id": r.domain_id or None,
            "description": r.description,
            "options": r.options,
        }
        for r in known
    ]


@ApplicationCredential.shows("expires_at")
def shown_expiry(row: ApplicationCredential, ctx: Context) -> str | None:
    return None if row.expires_at is None else iso_micros(row.expires_at)


@ApplicationCredential.shows("access_rules")
def shown_rules(row: ApplicationCredential, ctx: Context) -> Any:
    from nutshell.core.render import OMIT

    return OMIT if row.access_rules is None else row.access_rules


@ApplicationCredential.shows("links")
def links(row: ApplicationCredential, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("users", row.user_id, "application_credentials", row.id)}


class AccessRule(
    Resource,
    service="identity",
    one="access_rule",
    many="access_rules",
    path="/users/{user_id}/access_rules",
    unique=(("user_id", "service_type", "method", "url_path"),),
):
    user_id: str = field(hidden=True)
    service_type: str = field(wire="service", filter=True)
    method: str = field(filter=True)
    url_path: str = field(wire="path", filter=True)


@AccessRule.shows("links")
def rule_links(row: AccessRule, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("users", row.user_id, "access_rules", row.id)}


class RoleName(msgspec.Struct, forbid_unknown_fields=False):
    id: str = ""
    name: str = ""


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    id: str = ""
    service: str = ""
    method: str = ""
    path: str = ""


class NewCredential(Body):
    name: str = field(min_length=1, max_length=255, pattern=r"\S")
    description: str | None = field(default=None)
    secret: str | None = field(default=None)
    expires_at: str | None = field(default=None)
    project_id: str | None = field(default=None)
    roles: list[RoleName] = field(factory=list)
    unrestricted: bool | None = field(default=False)
    access_rules: list[Rule] | None = field(default=None)


def limits_of(row: ApplicationCredential) -> dict[str, Any]:
    """As tokens carry it."""
    found: dict[str, Any] = {"id": row.id, "name": row.name, "restricted": not row.unrestricted}
    return found | ({"access_rules": row.access_rules} if row.access_rules else {})


def _restricted(ask: Ask[Any], rule: str) -> None:
    """A token got with an application credential may not make or delete others, unless that one is unrestricted; one
    got with a trust may not make a lasting secret of the trustor's."""
    if ask.who.facts.get("trust_id") or ask.who.facts.get("application_credential", {}).get("restricted"):
        raise ForbiddenAction(rule=f"identity:{rule}")


def _secret(ask: Ask[Any]) -> tuple[str, str]:
    """Before the transaction: the secret and its hash."""
    secret = ask.given.get("secret") or secrets.token_urlsafe(64)
    if not 1 <= len(secret) <= LONGEST_PASSWORD:
        raise BadRequest(
            f"Invalid input for field 'secret': it has 1 to {LONGEST_PASSWORD} characters.", field="secret"
        )
    return secret, ask.cloud.port(Passwords).hash(secret)


def _user_of(ask: Ask[Any]) -> User:
    if ask.target is None:
        raise Missing(kind="user", id=ask.params["id"])
    return found(ask, User)


@call(
    "POST",
    "/users/{id}/application_credentials",
    "create_application_credential",
    noun=ApplicationCredential,
    body=NewCredential,
    target=user_target,
    http=201,
    before=_secret,
)
def create(ask: Ask[Any]) -> Any:
    _restricted(ask, "create_application_credential")
    given, user = ask.given, _user_of(ask)
    secret, hashed = ask.prepared
    project_id = ask.who.project_id
    if not project_id or given.get("project_id", project_id) not in (None, project_id):
        raise BadRequest("Invalid application credential: it belongs to the project of the token that makes it.")
    refuse_twin(ask, ApplicationCredential, "application_credential", given["name"], user_id=user.id)
    row = ask.tx.add(
        ApplicationCredential(
            id=ask.cloud.clock.new_hex_id(),
            name=given["name"],
            user_id=user.id,
            project_id=project_id,
            description=given.get("description"),
            role_ids=_roles(ask, given.get("roles") or []),
            secret_hash=hashed,
            expires_at=expiry(ask, given.get("expires_at")),
            unrestricted=bool(given.get("unrestricted")),
            access_rules=_rules(ask, user.id, given.get("access_rules")),
        )
    )
    ask.cloud.port(Passwords).remember(row.id, hashed, secret)
    return {"application_credential": {**render_row(ask, row, "detail"), "secret": secret}}


def _roles(ask: Ask[Any], wanted: list[RoleName]) -> list[str]:
    """The ids of the roles named; without names, those of the token. 400 for a role the token does not have."""
    mine = {r.id: r for r in ask.tx.find(Role, domain_id="") if r.name.lower() in ask.who.roles}
    if not wanted:
        return sorted(mine)
    ids = []
    for w in wanted:
        match = [r.id for r in mine.values() if r.id == w.id or (not w.id and r.name == w.name)]
        if not match:
            raise BadRequest(
                f"Invalid application credential: Could not find role assignment with role: {w.id or w.name}, user or"
                f" group: {ask.who.user_id}, project, domain, or system: {ask.who.project_id}."
            )
        ids.append(match[0])
    return sorted(set(ids) & expand(ask.tx, set(mine)))


def _rules(ask: Ask[Any], user_id: str, given: list[Rule] | None) -> list[dict[str, str]] | None:
    """Access rules as they are kept: those the user has already are shared, by id."""
    if given is None:
        return None
    made = []
    for rule in given:
        if rule.id:
            row = ask.tx.one(AccessRule, id=rule.id, user_id=user_id)
            if row is None:
                raise Missing(kind="Access Rule", id=rule.id)
        elif not (rule.service and rule.path.startswith("/") and rule.method in METHODS):
            raise BadRequest("Invalid input for field 'access_rules': a rule has a service, a method and a path.")
        else:
            same: dict[str, Any] = {"service_type": rule.service, "method": rule.method, "url_path": rule.path}
            row = ask.tx.one(AccessRule, user_id=user_id, **same) or ask.tx.add(
                AccessRule(id=ask.cloud.clock.new_hex_id(), user_id=user_id, **same)
            )
        made.append({"id": row.id, "service": row.service_type, "method": row.method, "path": row.url_path})
    return made


@call(
    "GET",
    "/users/{id}/application_credentials",
    "list_application_credentials",
    noun=ApplicationCredential,
    target=user_target,
)
def list_all(ask: Ask[Any]) -> Any:
    user = _user_of(ask)
    return page_answer(ask, ApplicationCredential, select_page(ask, ApplicationCredential, user_id=user.id))


def _target(ask: Ask[Any]) -> dict[str, Any]:
    """Whose it is, whatever the address says."""
    row = ask.tx.get(ApplicationCredential, ask.params["credential_id"])
    ask.target = row
    return {"user_id": row.user_id if row is not None else ask.params["id"]}


def _one(ask: Ask[Any]) -> ApplicationCredential:
    if ask.target is None:
        raise Missing(kind="Application Credential", id=ask.params["credential_id"])
    return found(ask, ApplicationCredential)


@call(
    "GET",
    "/users/{id}/application_credentials/{credential_id}",
    "get_application_credential",
    noun=ApplicationCredential,
    target=_target,
)
def show(ask: Ask[Any]) -> ApplicationCredential:
    return _one(ask)


@call(
    "DELETE",
    "/users/{id}/application_credentials/{credential_id}",
    "delete_application_credential",
    target=_target,
    http=204,
)
def delete(ask: Ask[Any]) -> None:
    _restricted(ask, "delete_application_credential")
    ask.tx.drop(_one(ask))


@call("GET", "/users/{id}/access_rules", "list_access_rules", noun=AccessRule, target=user_target)
def list_rules(ask: Ask[Any]) -> Any:
    return page_answer(ask, AccessRule, select_page(ask, AccessRule, user_id=_user_of(ask).id))


def _one_rule(ask: Ask[Any]) -> AccessRule:
    row = ask.tx.one(AccessRule, id=ask.params["rule_id"], user_id=ask.params["id"])
    if row is None:
        raise Missing(kind="Access Rule", id=ask.params["rule_id"])
    return row


@call("GET", "/users/{id}/access_rules/{rule_id}", "get_access_rule", noun=AccessRule, target=user_target)
def show_rule(ask: Ask[Any]) -> AccessRule:
    return _one_rule(ask)


@call("DELETE", "/users/{id}/access_rules/{rule_id}", "delete_access_rule", target=user_target, http=204)
def delete_rule(ask: Ask[Any]) -> None:
    row = _one_rule(ask)
    users = ask.tx.find(ApplicationCredential, user_id=row.user_id)
    if any(r["id"] == row.id for c in users for r in c.access_rules or ()):
        raise Forbidden(f"Access rule {row.id} is in use by an application credential.")
    ask.tx.drop(row)
