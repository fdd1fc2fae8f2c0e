"""For what a proven user asks: the claims of the token, from the scope that the request names.

Source: Identity API v3, "Authentication".
"""

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Unauthorized
from nutshell.core.store import Tx
from nutshell.identity.application_credentials import ApplicationCredential
from nutshell.identity.auth_request import (
    Auth,
    CredentialProof,
    Named,
    PasswordProof,
    Placed,
    Proofs,
    Scope,
    UserProof,
)
from nutshell.identity.authority import Authority
from nutshell.identity.codec import Claims, new_audit_id
from nutshell.identity.errors import ForbiddenAction
from nutshell.identity.projects import DEFAULT_DOMAIN, Project
from nutshell.identity.receipts import enough
from nutshell.identity.scopes import roles_on
from nutshell.identity.signin import Proven, find_domain, prove, settled
from nutshell.identity.trusts import Trust, over


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
            raise Unauthorized()
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


async def sign_in(
    cloud: Cloud, authority: Authority, project: str, user: str, password: str, source: str
) -> tuple[str, str, float]:
    """(token, project id, end) for a password alone, by names in the default domain: what older protocols know.
    Unauthorized also when the user's rules ask for more than a password."""
    domain = Named(id=DEFAULT_DOMAIN)
    proof = PasswordProof(UserProof(name=user, domain=domain, password=password))
    auth = Auth(Proofs(["password"], password=proof), Scope(project=Placed(name=project, domain=domain)))
    return await _token(cloud, authority, auth, source)


async def log_in(
    cloud: Cloud, authority: Authority, name: str, secret: str, project: str, source: str
) -> tuple[str, str, float]:
    """Likewise for HTTP Basic. `name`: a user's, `user@domain`, or an application credential's id; `project`: an id, or
    a name in the user's domain, "" for the user's own."""
    return await _token(cloud, authority, cloud.read(lambda tx: _basic(tx, name, secret, project)), source)


def _basic(tx: Tx, name: str, secret: str, project: str) -> Auth:
    """What the pair of Basic authentication means."""
    user, at, domain_name = name.rpartition("@")
    domain = Named(name=domain_name) if at and find_domain(tx, Named(name=domain_name)) else None
    if domain is None:
        user, domain = name, Named(id=DEFAULT_DOMAIN)
    placed: Placed | None = None
    if project:
        known = tx.get(Project, project)
        placed = Placed(id=project) if known is not None else Placed(name=project, domain=domain)
    scope = Scope(project=placed) if placed is not None else None
    if tx.get(ApplicationCredential, name) is not None:
        if placed is not None and placed.name is not None:
            scope = None  # its project is the only one: the caller compares
        return Auth(
            Proofs(["application_credential"], application_credential=CredentialProof(secret=secret, id=name)), scope
        )
    proof = PasswordProof(UserProof(name=user, domain=domain, password=secret))
    return Auth(Proofs(["password"], password=proof), scope)


async def _token(cloud: Cloud, authority: Authority, auth: Auth, source: str) -> tuple[str, str, float]:
    proven = await prove(cloud, auth, source)
    if not enough(proven.options, proven.methods):
        raise Unauthorized()
    await settled(cloud, proven, source)
    token, session = cloud.read(lambda tx: authority.issue(tx, claim(tx, auth, proven, authority.ttl_s)))
    return token, session.who.project_id, session.claims.expires_at
