"""What a token means now: its claims checked against the rows they speak of.

Source: Identity API v3, "Validate and show information for token"; revocation as in "OS-REVOKE".
"""

from dataclasses import dataclass, field
from typing import Any

from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import Unauthorized
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.identity.application_credentials import ApplicationCredential, limits_of
from nutshell.identity.codec import Claims
from nutshell.identity.projects import Project
from nutshell.identity.roles import Role
from nutshell.identity.scopes import roles_on
from nutshell.identity.trusts import Trust
from nutshell.identity.users import User


@dataclass(frozen=True)
class Session:
    """A valid token: its caller, and the token as the API shows it (without the catalog)."""

    claims: Claims
    who: Who
    shown: dict[str, Any]
    rendered: dict[tuple[str, bool], bytes] = field(default_factory=dict, repr=False)  # by base address and catalog


def open_session(tx: Tx, claims: Claims) -> Session:
    """The session of these claims, or Unauthorized when anything they rest on is gone, disabled or revoked."""
    if _revoked(tx, claims):
        raise Unauthorized()
    trust = _trust(tx, claims)
    user, user_domain = _user(tx, claims.user_id, claims)
    trustor_id = claims.user_id
    if trust is not None:
        trustor_id = trust.trustor_user_id
        trustor, trustor_domain = _user(tx, trustor_id, claims)
        if trust.impersonation:
            user, user_domain = trustor, trustor_domain
    shown: dict[str, Any] = {
        "methods": list(claims.methods),
        "user": {
            "domain": {"id": user_domain.id, "name": user_domain.name},
            "id": user.id,
            "name": user.name,
            "password_expires_at": None if user.password_expires_at is None else iso_micros_z(user.password_expires_at),
        },
        "audit_ids": claims.audit_ids,
        "expires_at": iso_micros_z(claims.expires_at),
        "issued_at": iso_micros_z(claims.issued_at),
    }
    facts: dict[str, Any] = {
        "methods": list(claims.methods),
        "expires_at": claims.expires_at,
        "audit_ids": claims.audit_ids,
        "token": {},
    }
    only = None
    if claims.app_credential_id:
        only = _delegation(tx, claims, shown, facts)
    if trust is not None:
        only = frozenset(trust.role_ids)
        shown["OS-TRUST:trust"] = {
            "id": trust.id,
            "impersonation": trust.impersonation,
            "trustor_user": {"id": trust.trustor_user_id},
            "trustee_user": {"id": trust.trustee_user_id},
        }
        facts["trust_id"] = trust.id
    roles = _scope(tx, trustor_id, claims, shown, facts, only)
    return Session(claims, _who(user, user_domain, roles, claims, facts), shown)


def _user(tx: Tx, user_id: str, claims: Claims) -> tuple[User, Project]:
    """An enabled user and its domain."""
    user = tx.get(User, user_id)
    if user is None or not user.enabled or claims.issued_at <= user.tokens_after:
        raise Unauthorized()
    return user, _living(tx.get(Project, user.domain_id), claims)


def _trust(tx: Tx, claims: Claims) -> Trust | None:
    """The living trust a token rests on, and all it was handed on from. The last use of a trust leaves its tokens."""
    if not claims.trust_id:
        return None
    trust = above = tx.get(Trust, claims.trust_id)
    while above is not None:
        if above.expires_at is not None and above.expires_at <= tx.clock.real():
            raise Unauthorized()
        if above.redelegated_trust_id is None:
            break
        above = tx.get(Trust, above.redelegated_trust_id)
    if trust is None or above is None or trust.trustee_user_id != claims.user_id:
        raise Unauthorized()
    return trust


def _revoked(tx: Tx, claims: Claims) -> bool:
    ids = claims.audit_ids
    rows = tx.sql(
        f"SELECT id, chain FROM identity_revocations WHERE id IN ({','.join('?' * len(ids))})", *ids
    ).fetchall()
    return any(audit_id == claims.audit_id or chain for audit_id, chain in rows)


def _living(row: Project | None, claims: Claims) -> Project:
    if row is None or not row.enabled or claims.issued_at <= row.tokens_after:
        raise Unauthorized()
    return row


def _delegation(tx: Tx, claims: Claims, shown: dict[str, Any], facts: dict[str, Any]) -> frozenset[str]:
    """What an application credential leaves of its user's roles. Unauthorized when it is gone or over."""
    row = tx.get(ApplicationCredential, claims.app_credential_id)
    if row is None or row.user_id != claims.user_id or (row.expires_at or claims.expires_at) < tx.clock.real():
        raise Unauthorized()
    shown["application_credential"] = limits_of(row)
    facts["application_credential"] = limits_of(row)
    if row.access_rules is not None:
        facts["access_rules"] = row.access_rules
    return frozenset(row.role_ids)


def _scope(
    tx: Tx,
    user_id: str,
    claims: Claims,
    shown: dict[str, Any],
    facts: dict[str, Any],
    only: frozenset[str] | None,
) -> list[Role]:
    """What the token is for goes into `shown` and `facts`; the roles there. Unauthorized when no role is left."""
    if claims.scope == "unscoped":
        return []
    place: Project | None = None
    if claims.scope == "system":
        shown["system"] = {"all": True}
    else:
        place = _living(tx.get(Project, claims.scope_id), claims)
        if claims.scope == "domain":
            shown["domain"] = facts["token"]["domain"] = {"id": place.id, "name": place.name}
        else:
            domain = _living(tx.get(Project, place.domain_id), claims) if place.domain_id else None
            shown["project"] = facts["token"]["project"] = {
                "domain": {"id": domain.id, "name": domain.name} if domain else {"id": None, "name": None},
                "id": place.id,
                "name": place.name,
            }
            shown["is_domain"] = place.is_domain
    roles = roles_on(tx, user_id, place, only)
    if not roles:
        raise Unauthorized()
    shown["roles"] = [{"id": r.id, "name": r.name} for r in roles]
    return roles


def _who(user: User, user_domain: Project, roles: list[Role], claims: Claims, facts: dict[str, Any]) -> Who:
    project = facts["token"].get("project") or {"id": "", "name": "", "domain": {"id": "", "name": ""}}
    domain = facts["token"].get("domain") or {"id": "", "name": ""}
    return Who(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user_domain.id,
        user_domain_name=user_domain.name,
        project_id=project["id"],
        project_name=project["name"],
        project_domain_id=project["domain"]["id"] or "",
        project_domain_name=project["domain"]["name"] or "",
        domain_id=domain["id"],
        domain_name=domain["name"],
        system=claims.scope == "system",
        roles=frozenset(r.name.lower() for r in roles),
        facts=facts,
    )
