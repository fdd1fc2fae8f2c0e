"""Trusts: a user lets another act in its place, with some of its roles on one project (Identity API v3, "OS-TRUST")."""

from typing import Any

import msgspec

from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import ForbiddenAction, Missing
from nutshell.identity.projects import Project
from nutshell.identity.roles import Role
from nutshell.identity.scopes import roles_on
from nutshell.identity.service import call, flat, found
from nutshell.identity.times import expiry
from nutshell.identity.users import User

MOST_REDELEGATIONS = 3


class Trust(
    Resource, service="identity", one="trust", many="trusts", path="/OS-TRUST/trusts", indexes=(("trustor_user_id",),)
):
    trustor_user_id: str = field(filter=True)
    trustee_user_id: str = field(filter=True, index=True)
    project_id: str | None = field(default=None)
    impersonation: bool = field(default=False)
    expires_at: float | None = field(default=None, hidden=True)
    remaining_uses: int | None = field(default=None)
    role_ids: list[str] = field(factory=list, hidden=True)
    redelegation_count: int = field(default=0)
    redelegated_trust_id: str | None = field(default=None, hidden=True, index=True)


@Trust.shows("deleted_at")
def shown_deleted(row: Trust, ctx: Context) -> None:
    return None


@Trust.shows("expires_at")
def shown_expiry(row: Trust, ctx: Context) -> str | None:
    return None if row.expires_at is None else iso_micros_z(row.expires_at)


@Trust.shows("redelegated_trust_id")
def shown_origin(row: Trust, ctx: Context) -> Any:
    return row.redelegated_trust_id


@Trust.shows("links")
def links(row: Trust, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("OS-TRUST", "trusts", row.id)}


class RoleName(msgspec.Struct):
    id: str = ""
    name: str = ""


class NewTrust(Body, extras="ignore"):
    trustor_user_id: str = field()
    trustee_user_id: str = field()
    impersonation: bool = field()
    project_id: str | None = field(default=None)
    expires_at: str | None = field(default=None)
    remaining_uses: int | None = field(default=None, lo=1)
    roles: list[RoleName] = field(factory=list)
    allow_redelegation: bool = field(default=False)
    redelegation_count: int | None = field(default=None, lo=0)


def _new_target(ask: Ask[Any]) -> dict[str, Any]:
    given = ask.body.get("trust") if isinstance(ask.body, dict) else None
    trustor = given.get("trustor_user_id") if isinstance(given, dict) else None
    return {"target.trust.trustor_user_id": trustor} if isinstance(trustor, str) else {}


def _target(ask: Ask[Any]) -> dict[str, Any]:
    """The trust; 404 comes before policy here, as in Keystone."""
    row = ask.tx.get(Trust, ask.params["id"])
    if row is None or over(row, ask.cloud.clock.real()):
        raise Missing(kind="trust", id=ask.params["id"])
    ask.target = row
    return flat("trust", row)


def over(row: Trust, now: float) -> bool:
    """Whether its time or its uses have run out."""
    return (row.expires_at is not None and row.expires_at <= now) or row.remaining_uses == 0


def refuse_delegated(ask: Ask[Any], rule: str) -> None:
    """An application credential may not hand on what it was given."""
    if "application_credential" in ask.who.facts.get("methods", ()):
        raise ForbiddenAction(rule=f"identity:{rule}")


def _listing_rule(ask: Ask[Any]) -> str:
    if ask.asked("trustor_user_id"):
        return "list_trusts_for_trustor"
    return "list_trusts_for_trustee" if ask.asked("trustee_user_id") else "list_trusts"


def _listing_target(ask: Ask[Any]) -> dict[str, Any]:
    return {f"target.trust.{n}": ask.asked(n) for n in ("trustor_user_id", "trustee_user_id") if ask.asked(n)}


@call("GET", "/OS-TRUST/trusts", _listing_rule, noun=Trust, target=_listing_target)
def list_trusts(ask: Ask[Any]) -> Any:
    """Everybody may list the trusts that are theirs."""
    refuse_delegated(ask, _listing_rule(ask))
    return page_answer(ask, Trust, select_page(ask, Trust))


@call("POST", "/OS-TRUST/trusts", "create_trust", noun=Trust, body=NewTrust, target=_new_target, http=201)
def create_trust(ask: Ask[Any]) -> Any:
    given, tx = ask.given, ask.tx
    refuse_delegated(ask, "create_trust")
    if ask.who.user_id != given["trustor_user_id"]:
        raise ForbiddenAction(rule="The authenticated user should match the trustor")
    found(ask, User, given["trustee_user_id"])
    roles = _delegated(ask, given.get("project_id"), given.get("roles", []))
    count, uses = _redelegation(given)
    row = Trust(
        id=ask.cloud.clock.new_hex_id(),
        trustor_user_id=given["trustor_user_id"],
        trustee_user_id=given["trustee_user_id"],
        project_id=given.get("project_id"),
        impersonation=given["impersonation"],
        expires_at=expiry(ask, given.get("expires_at")),
        remaining_uses=uses,
        role_ids=[r.id for r in roles],
        redelegation_count=count,
    )
    source_id = ask.who.facts.get("trust_id")
    if source_id:
        row = _redelegated(found(ask, Trust, source_id), row, given)
    return _whole(ask, tx.add(row))


def _redelegation(given: dict[str, Any]) -> tuple[int, int | None]:
    """(how often it may be handed on, how often it may be used). 400 and 403 for what contradicts itself."""
    asked = given.get("redelegation_count")
    if not given.get("allow_redelegation") or asked == 0:
        return 0, given.get("remaining_uses")
    if asked is not None and asked > MOST_REDELEGATIONS:
        raise Forbidden(f"Requested redelegation depth of {asked} is greater than allowed {MOST_REDELEGATIONS}")
    if given.get("remaining_uses") is not None:
        raise BadRequest("remaining_uses must not be set if redelegation is allowed")
    return asked if asked is not None else MOST_REDELEGATIONS, None


def _redelegated(source: Trust, row: Trust, given: dict[str, Any]) -> Trust:
    """The trust as one handed on from another: never more than that one gives."""
    from dataclasses import replace

    if not 0 < source.redelegation_count <= MOST_REDELEGATIONS:
        raise Forbidden("Remaining redelegation depth of the trust is out of its allowed range.")
    if row.remaining_uses is not None:
        raise Forbidden("remaining_uses must not be set in order to redelegate a trust")
    if row.expires_at is not None and source.expires_at is not None and row.expires_at > source.expires_at:
        raise Forbidden("Requested expiration time is more than redelegated trust can provide")
    if not set(row.role_ids) <= set(source.role_ids) or row.project_id != source.project_id:
        raise Forbidden("Some of requested roles are not in redelegated trust")
    if row.impersonation and not source.impersonation:
        raise Forbidden("Impersonation is not allowed because redelegated trust does not specify impersonation.")
    left = source.redelegation_count - 1
    if given.get("redelegation_count") not in (None, 0, left):
        raise Forbidden("Modifying redelegation_count upon redelegation is forbidden.")
    return replace(
        row,
        redelegated_trust_id=source.id,
        expires_at=row.expires_at if row.expires_at is not None else source.expires_at,
        redelegation_count=left if row.redelegation_count else 0,
    )


def _delegated(ask: Ask[Any], project_id: str | None, wanted: list[RoleName]) -> list[Role]:
    if not project_id:
        if wanted:
            raise BadRequest("Expecting to find project_id in trust.", field="project_id")
        return []
    if not wanted:
        raise ForbiddenAction(rule="At least one role should be specified")
    project = found(ask, Project, project_id)
    mine = roles_on(ask.tx, ask.who.user_id, project)
    if not mine:  # who has no role there is not told that it exists
        raise Missing(kind="project", id=project_id)
    held = ask.who.facts.get("trust_id") is not None
    roles = []
    for w in wanted:
        match = [r for r in mine if r.id == w.id or (not w.id and r.name == w.name)]
        if not match or (held and match[0].name.lower() not in ask.who.roles):
            raise Missing(kind="role", id=w.id or w.name)
        roles.append(match[0])
    return roles


def _roles(ask: Ask[Any], row: Trust) -> list[dict[str, Any]]:
    return render_rows(ask, Role, ask.tx.find(Role, id=row.role_ids, order="name"), "detail")


def _whole(ask: Ask[Any], row: Trust) -> dict[str, Any]:
    shown = render_row(ask, row, "detail")
    shown["roles"] = _roles(ask, row)
    shown["roles_links"] = {"self": f"{shown['links']['self']}/roles", "next": None, "previous": None}
    return {"trust": shown}


@call("GET", "/OS-TRUST/trusts/{id}", "get_trust", noun=Trust, target=_target)
def show_trust(ask: Ask[Any]) -> Any:
    refuse_delegated(ask, "get_trust")
    return _whole(ask, found(ask, Trust))


@call("DELETE", "/OS-TRUST/trusts/{id}", "delete_trust", target=_target, http=204)
def delete_trust(ask: Ask[Any]) -> None:
    refuse_delegated(ask, "delete_trust")
    drop_trust(ask.tx, found(ask, Trust))


def drop_trust(tx: Tx, row: Trust) -> None:
    """Delete a trust and those handed on from it."""
    for child in tx.find(Trust, redelegated_trust_id=row.id):
        drop_trust(tx, child)
    tx.drop(row)


@call("GET", "/OS-TRUST/trusts/{id}/roles", "list_roles_for_trust", target=_target)
def list_roles(ask: Ask[Any]) -> Any:
    refuse_delegated(ask, "list_roles_for_trust")
    row = found(ask, Trust)
    links = {"self": f"{ask.url}/OS-TRUST/trusts/{row.id}/roles", "next": None, "previous": None}
    return {"roles": _roles(ask, row), "links": links}


@call("GET", "/OS-TRUST/trusts/{id}/roles/{role_id}", "get_role_for_trust", noun=Role, target=_target)
def show_role(ask: Ask[Any]) -> Role:
    refuse_delegated(ask, "get_role_for_trust")
    row = found(ask, Trust)
    if ask.params["role_id"] not in row.role_ids:
        raise Missing(kind="role", id=ask.params["role_id"])
    return found(ask, Role, ask.params["role_id"])


# -- signing in


def consume(tx: Tx, trust_id: str) -> None:
    """Use a trust once, where its uses are counted. The last use leaves it over."""
    tx.sql(
        "UPDATE identity_trusts SET remaining_uses = remaining_uses - 1, generation = generation + 1"
        " WHERE id = ? AND remaining_uses > 0",
        trust_id,
    )
