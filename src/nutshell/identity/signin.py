"""Proving who one is, and for what one asks: the body of POST /auth/tokens (Identity API v3, "Authentication").

Every refusal is the same 401, and costs the same whether the user exists or not.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Unauthorized
from nutshell.core.store import Tx
from nutshell.identity.application_credentials import ApplicationCredential
from nutshell.identity.authority import Authority
from nutshell.identity.codec import Claims, new_audit_id
from nutshell.identity.errors import ForbiddenAction, UnknownMethod
from nutshell.identity.passwords import Passwords
from nutshell.identity.projects import Project
from nutshell.identity.scopes import roles_on
from nutshell.identity.trusts import Trust, over
from nutshell.identity.users import User


class Named(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class Placed(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: Named | None = None


class UserProof(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    domain: Named | None = None
    password: str | None = None


class PasswordProof(msgspec.Struct):
    user: UserProof


class TokenProof(msgspec.Struct):
    id: str


class CredentialProof(msgspec.Struct):
    secret: str
    id: str | None = None
    name: str | None = None
    user: UserProof | None = None


class Proofs(msgspec.Struct):
    methods: list[str]
    password: PasswordProof | None = None
    token: TokenProof | None = None
    application_credential: CredentialProof | None = None


class System(msgspec.Struct):
    all: bool = False


class Scope(msgspec.Struct):
    project: Placed | None = None
    domain: Named | None = None
    system: System | None = None
    trust: Named | None = msgspec.field(default=None, name="OS-TRUST:trust")
    unscoped: dict[str, Any] | None = None


class Auth(msgspec.Struct):
    identity: Proofs
    scope: Scope | str | None = None


class Request(msgspec.Struct):
    auth: Auth


def read_request(raw: bytes) -> Auth:
    """The body, checked. 400 for what is no authentication request."""
    try:
        auth = msgspec.json.decode(raw, type=Request).auth
    except msgspec.ValidationError as why:
        raise BadRequest(f"Invalid input for field 'auth': {why}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("Malformed request body: it is not valid JSON.") from None
    scope = auth.scope if isinstance(auth.scope, Scope) else None
    user = auth.identity.password.user if auth.identity.password else None
    named: list[tuple[str, Any]] = [
        ("identity/password/user", user),
        ("identity/password/user/domain", user.domain if user else None),
        ("scope/project", scope.project if scope else None),
        ("scope/project/domain", scope.project.domain if scope and scope.project else None),
        ("scope/domain", scope.domain if scope else None),
    ]
    for where, one in named:
        if one is not None and one.id is None and one.name is None:
            raise BadRequest(f"Invalid input for field {where}: id or name must be present.")
    return auth


@dataclass(frozen=True)
class Proven:
    """Who was proved, how, and what the proof itself limits."""

    user_id: str
    methods: tuple[str, ...]
    default_project_id: str = ""
    chain: str = ""  # the first audit id of the token it was proved with
    ends_at: int = 0  # a token got with a token ends with it
    app_credential_id: str = ""
    project_id: str = ""  # the only project an application credential is for


async def prove(cloud: Cloud, auth: Auth) -> Proven:
    """Check every method that the request names. Raises Unauthorized, also when they prove different users."""
    found: Proven | None = None
    if not auth.identity.methods:
        raise Unauthorized()
    for method in dict.fromkeys(auth.identity.methods):
        one: Proven | None = None
        if method == "password" and auth.identity.password is not None:
            one = await _by_password(cloud, auth.identity.password.user)
        elif method == "token" and auth.identity.token is not None:
            one = _by_token(cloud, auth.identity.token.id)
        elif method == "application_credential" and auth.identity.application_credential is not None:
            one = await _by_credential(cloud, auth.identity.application_credential)
        elif method in ("password", "token", "application_credential"):
            raise BadRequest(f"Expecting to find {method} in identity.")
        else:
            raise UnknownMethod()
        found = one if found is None else _joined(found, one)
    assert found is not None
    return found


def _joined(a: Proven, b: Proven) -> Proven:
    if a.user_id != b.user_id or a.app_credential_id or b.app_credential_id:
        raise Unauthorized()
    ends = [e for e in (a.ends_at, b.ends_at) if e]
    return Proven(
        user_id=a.user_id,
        methods=tuple(dict.fromkeys((*a.methods, *b.methods))),
        default_project_id=a.default_project_id or b.default_project_id,
        chain=a.chain or b.chain,
        ends_at=min(ends) if ends else 0,
    )


def find_user(tx: Tx, proof: UserProof) -> User | None:
    """The living, enabled user this names, in a domain that is enabled."""
    if proof.id is not None:
        user = tx.get(User, proof.id)
    elif proof.domain is None:
        raise BadRequest("Expecting to find domain in user.")
    else:
        domain = find_domain(tx, proof.domain)
        user = tx.one(User, name=proof.name, domain_id=domain.id) if domain else None
    if user is None or not user.enabled:
        return None
    return user if tx.count(Project, id=user.domain_id, enabled=True) else None


def find_domain(tx: Tx, named: Named) -> Project | None:
    if named.id is not None:
        return tx.one(Project, id=named.id, is_domain=True)
    return tx.one(Project, name=named.name, domain_id="", is_domain=True)


async def _right(cloud: Cloud, owner_id: str, stored: str, secret: str) -> bool:
    passwords = cloud.port(Passwords)
    if stored and passwords.known(owner_id, stored, secret):
        return True
    return await asyncio.wrap_future(cloud.hashing.submit(passwords.verify, owner_id, stored, secret))


async def _by_password(cloud: Cloud, proof: UserProof) -> Proven:
    if proof.password is None:
        raise BadRequest("Expecting to find password in user.")
    user = cloud.read(lambda tx: find_user(tx, proof))
    stored = user.password_hash if user is not None else ""
    if not await _right(cloud, user.id if user else "", stored, proof.password) or user is None:
        raise Unauthorized()
    return Proven(user.id, ("password",), user.default_project_id or "")


def _by_token(cloud: Cloud, token: str) -> Proven:
    session = cloud.port(Authority).session(token)
    claims = session.claims
    if claims.trust_id:
        raise ForbiddenAction(rule="Using trust-scoped token to create another token.")
    if claims.app_credential_id or "ec2credential" in claims.methods:  # what was delegated cannot be widened
        raise ForbiddenAction(rule="Using a delegated token to create another token is not allowed.")
    methods = tuple(dict.fromkeys(("token", *claims.methods)))
    return Proven(claims.user_id, methods, "", claims.chain or claims.audit_id, claims.expires_at)


async def _by_credential(cloud: Cloud, proof: CredentialProof) -> Proven:
    def find(tx: Tx) -> ApplicationCredential | None:
        if proof.id is not None:
            row = tx.get(ApplicationCredential, proof.id)
        elif proof.name is not None and proof.user is not None:
            user = find_user(tx, proof.user)
            row = tx.one(ApplicationCredential, user_id=user.id, name=proof.name) if user else None
        else:
            raise BadRequest("Expecting to find id, or name and user, in application_credential.")
        return row

    row = cloud.read(find)
    stored = row.secret_hash if row is not None else ""
    if not await _right(cloud, row.id if row else "", stored, proof.secret) or row is None:
        raise Unauthorized()
    return Proven(row.user_id, ("application_credential",), app_credential_id=row.id, project_id=row.project_id)


def claim(tx: Tx, auth: Auth, proven: Proven, ttl_s: int) -> Claims:
    """The claims of the token asked for. 401 for a scope that does not exist; roles are checked when it opens."""
    now = tx.clock.real()
    trust = _trust(tx, auth, proven)
    kind, scope_id = _scope(tx, auth, proven) if trust is None else ("project", trust.project_id or "")
    if trust is not None and not scope_id:
        kind = "unscoped"
    return Claims(
        user_id=proven.user_id,
        methods=proven.methods,
        scope=kind,
        scope_id=scope_id,
        issued_at=now,
        expires_at=min(proven.ends_at or int(now) + ttl_s, int(now) + ttl_s),
        audit_id=new_audit_id(),
        chain=proven.chain,
        app_credential_id=proven.app_credential_id,
        trust_id=trust.id if trust is not None else "",
    )


def _scope(tx: Tx, auth: Auth, proven: Proven) -> tuple[str, str]:
    scope = auth.scope
    if proven.app_credential_id:
        if isinstance(scope, Scope) and (scope.domain or scope.system or scope.trust):
            raise Unauthorized()
        if isinstance(scope, Scope) and scope.project and _project(tx, scope.project) != proven.project_id:
            raise Unauthorized()
        return "project", proven.project_id
    if scope is None:
        return _default(tx, proven)
    if isinstance(scope, str):
        if scope != "unscoped":
            raise BadRequest(f"Invalid input for field 'scope': {scope!r}")
        return "unscoped", ""
    asked = [x for x in (scope.project, scope.domain, scope.system, scope.trust) if x is not None]
    if len(asked) > 1:
        raise BadRequest("Invalid input for field 'scope': it names more than one thing.")
    if scope.project is not None:
        return "project", _project(tx, scope.project)
    if scope.domain is not None:
        domain = find_domain(tx, scope.domain)
        if domain is None:
            raise Unauthorized()
        return "domain", domain.id
    if scope.system is not None:
        if not scope.system.all:
            raise BadRequest("Invalid input for field 'scope/system': all must be true.")
        return "system", ""
    return "unscoped", ""


def counts_uses(auth: Auth) -> bool:
    """Whether issuing this token may change a row: trusts may be limited to a number of uses."""
    return isinstance(auth.scope, Scope) and auth.scope.trust is not None


def _trust(tx: Tx, auth: Auth, proven: Proven) -> Trust | None:
    """The trust that the request wants to use. 403 for another's, 401 for one that is over."""
    scope = auth.scope
    if not isinstance(scope, Scope) or scope.trust is None or proven.app_credential_id:
        return None
    trust = tx.get(Trust, scope.trust.id) if scope.trust.id else None
    if trust is None or over(trust, tx.clock.real()):
        raise Unauthorized()
    if trust.trustee_user_id != proven.user_id:
        raise ForbiddenAction(rule="The authenticated user is not the trustee.")
    return trust


def _project(tx: Tx, placed: Placed) -> str:
    if placed.id is not None:
        row = tx.get(Project, placed.id)
    elif placed.domain is None:
        raise BadRequest("Expecting to find domain in project.")
    else:
        domain = find_domain(tx, placed.domain)
        row = tx.one(Project, name=placed.name, domain_id=domain.id) if domain else None
    if row is None:
        raise Unauthorized()
    return row.id


def _default(tx: Tx, proven: Proven) -> tuple[str, str]:
    """The user's default project if the user can have a token for it, else no scope."""
    row = tx.get(Project, proven.default_project_id) if proven.default_project_id else None
    if row is None or not row.enabled or not roles_on(tx, proven.user_id, row):
        return "unscoped", ""
    if tx.count(Project, id=row.domain_id, enabled=True) == 0:
        return "unscoped", ""
    return "project", row.id
