"""Proving who one is (Identity API v3, "Authentication"; RFC 6238 for one-time passwords).

Every refusal is the same 401, and costs the same whether the user exists or not; only whoever knows the right password
is told that it has expired.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Unauthorized
from nutshell.core.store import Tx
from nutshell.identity.application_credentials import ApplicationCredential
from nutshell.identity.auth_request import Auth, CredentialProof, Named, Scope, UserProof
from nutshell.identity.authority import Authority
from nutshell.identity.credentials import Credential, Vault
from nutshell.identity.errors import ForbiddenAction, Missing, PasswordExpired, UnknownMethod
from nutshell.identity.logins import Gate, Login, failed, inactive, locked, succeeded, use_up
from nutshell.identity.password_rules import expired
from nutshell.identity.passwords import Passwords
from nutshell.identity.projects import Project
from nutshell.identity.settings import IdentityConfig
from nutshell.identity.totp import find_step, read_secret
from nutshell.identity.users import User

SIGN_IN = ("password", "token", "application_credential", "totp")
ACTIVE_EVERY_S = 6 * 3600  # how exactly it is known when a user was here last


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
    options: Mapping[str, Any] = field(default_factory=dict)  # the user's
    slowed_as: str = ""  # what the gate calls the user, when a secret was looked at
    settle: bool = False  # whether the login is to be noted (see `settled`)


async def prove(cloud: Cloud, auth: Auth, source: str = "") -> Proven:
    """Check every method that the request names. Raises Unauthorized, also when they prove different users;
    TooManyRequests for an address that fails too often (`source`)."""
    found: Proven | None = None
    given = auth.identity
    if not given.methods:
        raise Unauthorized()
    for method in dict.fromkeys(given.methods):
        if method == "password" and given.password is not None:
            one = await _by_password(cloud, given.password.user, source)
        elif method == "totp" and given.totp is not None:
            one = await _by_totp(cloud, given.totp.user, source)
        elif method == "token" and given.token is not None:
            one = _by_token(cloud, given.token.id, auth)
        elif method == "application_credential" and given.application_credential is not None:
            one = await _by_credential(cloud, given.application_credential, source)
        elif method in SIGN_IN:
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
    return replace(
        a,
        methods=tuple(dict.fromkeys((*a.methods, *b.methods))),
        default_project_id=a.default_project_id or b.default_project_id,
        chain=a.chain or b.chain,
        ends_at=min(ends) if ends else 0,
        slowed_as=a.slowed_as or b.slowed_as,
        settle=a.settle or b.settle,
    )


async def settled(cloud: Cloud, proven: Proven, source: str) -> None:
    """All that was asked is proved: forget what failed before."""
    if proven.slowed_as:
        cloud.port(Gate).passed(source, proven.slowed_as)
    if proven.settle:
        await cloud.write_async(lambda tx: succeeded(tx, proven.user_id))


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


def _slowed_as(proof: UserProof, user: User | None) -> str:
    """One name for a user, however the request names it."""
    if user is not None:
        return user.id
    domain = proof.domain.id or proof.domain.name if proof.domain else ""
    return f"{proof.id or ''}/{domain or ''}/{proof.name or ''}"


def _wanted(cloud: Cloud, proof: UserProof, always: bool = False) -> tuple[User | None, Login | None]:
    """The user, and what is known of its logins where a rule asks for that."""
    config = cloud.settings[IdentityConfig]
    asks = always or bool(config.lockout_attempts or config.disable_inactive_days)

    def work(tx: Tx) -> tuple[User | None, Login | None]:
        user = find_user(tx, proof)
        return user, tx.get(Login, user.id) if user is not None and asks else None

    return cloud.read(work)


async def _right(cloud: Cloud, owner_id: str, stored: str, secret: str, source: str, slowed_as: str) -> bool:
    """Whether the secret is right. One that was verified before passes at once; others line up."""
    passwords, gate = cloud.port(Passwords), cloud.port(Gate)
    if stored and passwords.known(owner_id, stored, secret):
        return True
    gate.admit(source, slowed_as)
    right = await asyncio.wrap_future(cloud.hashing.submit(passwords.verify, owner_id, stored, secret))
    if not right:
        gate.failed(source, slowed_as)
    return right


def _settles(config: IdentityConfig, login: Login | None, now: float) -> bool:
    """Whether a successful login has to be noted: not each one is a write."""
    if config.lockout_attempts and login is not None and login.failures:
        return True
    return bool(config.disable_inactive_days) and (login is None or now - login.active_at > ACTIVE_EVERY_S)


async def _fail(cloud: Cloud, user: User | None, login: Login | None) -> None:
    """Count a failed login where a rule wants it, then refuse."""
    config = cloud.settings[IdentityConfig]
    if user is not None and config.lockout_attempts and not locked(config, user, login, cloud.clock.now()):
        await cloud.write_async(lambda tx: failed(tx, config, user.id))
    raise Unauthorized()


async def _by_password(cloud: Cloud, proof: UserProof, source: str) -> Proven:
    if proof.password is None:
        raise Unauthorized()
    config, now = cloud.settings[IdentityConfig], cloud.clock.now()
    user, login = _wanted(cloud, proof)
    stored, name = user.password_hash if user is not None else "", _slowed_as(proof, user)
    right = await _right(cloud, user.id if user else "", stored, proof.password, source, name)
    if not right or user is None:
        await _fail(cloud, user, login)
    assert user is not None
    if locked(config, user, login, now) or inactive(config, user, login, now):
        raise Unauthorized()
    if expired(user.password_expires_at, user.options, now):
        raise PasswordExpired(user_id=user.id)
    return Proven(
        user.id,
        ("password",),
        user.default_project_id or "",
        options=user.options,
        slowed_as=name,
        settle=_settles(config, login, now),
    )


async def _by_totp(cloud: Cloud, proof: UserProof, source: str) -> Proven:
    """By a one-time password of any of the user's credentials of type totp; none counts twice."""
    if proof.passcode is None:
        raise Unauthorized()
    config, vault, now = cloud.settings[IdentityConfig], cloud.port(Vault), cloud.clock.now()
    user, login = _wanted(cloud, proof, always=True)
    name = _slowed_as(proof, user)
    cloud.port(Gate).admit(source, name)
    rows = cloud.read(lambda tx: tx.find(Credential, user_id=user.id, type="totp")) if user is not None else []
    used = login.totp_step if login is not None else 0
    keys = [read_secret(vault.open(row.sealed)) for row in rows]
    steps = [
        find_step(k, proof.passcode, cloud.clock.real(), config.totp_steps_back, used) for k in keys if k is not None
    ]
    step = max((s for s in steps if s is not None), default=None)
    if step is None or user is None:
        cloud.port(Gate).failed(source, name)
        await _fail(cloud, user, login)
    assert user is not None and step is not None  # noqa: PT018
    if locked(config, user, login, now) or inactive(config, user, login, now):
        raise Unauthorized()
    await cloud.write_async(lambda tx: use_up(tx, user.id, step))
    return Proven(
        user.id,
        ("totp",),
        user.default_project_id or "",
        options=user.options,
        slowed_as=name,
        settle=_settles(config, login, now),
    )


def _by_token(cloud: Cloud, token: str, auth: Auth) -> Proven:
    try:
        session = cloud.port(Authority).session(token)
    except Unauthorized:
        raise Missing(kind="token", id="") from None
    claims = session.claims
    wanted = auth.scope if isinstance(auth.scope, Scope) else Scope()
    if claims.scope == "system" and (wanted.project or wanted.domain):
        raise ForbiddenAction(rule="Using a system-scoped token to create a project-scoped or domain-scoped token.")
    if claims.trust_id:
        raise ForbiddenAction(rule="Using trust-scoped token to create another token.")
    if claims.app_credential_id or "ec2credential" in claims.methods:  # what was delegated cannot be widened
        raise ForbiddenAction(rule="Using a delegated token to create another token is not allowed.")
    methods = tuple(dict.fromkeys(("token", *claims.methods)))
    options = _options(cloud, claims.user_id)
    return Proven(claims.user_id, methods, "", claims.chain or claims.audit_id, claims.expires_at, options=options)


def _options(cloud: Cloud, user_id: str) -> Mapping[str, Any]:
    user = cloud.read(lambda tx: tx.get(User, user_id))
    return user.options if user is not None else {}


async def _by_credential(cloud: Cloud, proof: CredentialProof, source: str) -> Proven:
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
    name = row.id if row else f"{proof.id or ''}/{proof.name or ''}"
    if not await _right(cloud, row.id if row else "", stored, proof.secret, source, name) or row is None:
        raise Unauthorized()
    return Proven(
        row.user_id,
        ("application_credential",),
        app_credential_id=row.id,
        project_id=row.project_id,
        options=_options(cloud, row.user_id),
        slowed_as=name,
    )
