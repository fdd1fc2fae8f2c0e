"""The body of POST /auth/tokens (Identity API v3, "Authentication")."""

from typing import Any

import msgspec

from nutshell.core.errors import BadRequest


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
    passcode: str | None = None  # a one-time password


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
    totp: PasswordProof | None = None


class System(msgspec.Struct):
    all: bool = False


class Scope(msgspec.Struct, forbid_unknown_fields=True):
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("Malformed request body: it is not valid JSON.") from None
    scope = auth.scope if isinstance(auth.scope, Scope) else None
    user = auth.identity.password.user if auth.identity.password else None
    other = auth.identity.totp.user if auth.identity.totp else None
    named: list[tuple[str, Any]] = [
        ("identity/password/user", user),
        ("identity/password/user/domain", user.domain if user else None),
        ("identity/totp/user", other),
        ("scope/project", scope.project if scope else None),
        ("scope/project/domain", scope.project.domain if scope and scope.project else None),
        ("scope/domain", scope.domain if scope else None),
    ]
    for where, one in named:
        if one is not None and one.id is None and one.name is None:
            raise BadRequest(f"Invalid input for field {where}: id or name must be present.")
    if (
        scope is not None
        and not any((scope.project, scope.domain, scope.system, scope.trust))
        and scope.unscoped is None
    ):
        raise BadRequest("Invalid input for field 'scope': it names nothing.")
    return auth
