"""What ended before its time: revoked tokens, and the list of such events for whoever checks tokens by itself.

Source: Identity API v3 extensions, "OS-REVOKE".
"""

from typing import Any

from nutshell.core.clock import iso_micros_z, parse_iso
from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest
from nutshell.core.reconcile import Loop
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.service import call
from nutshell.identity.settings import IdentityConfig

EXPIRED_WINDOW_S = 2 * 24 * 3600  # how long after its end ?allow_expired=1 still shows a token


class Revocation(Resource, service="identity", one="revocation", many="revocations", indexes=(("expires_at",),)):
    """A token that was revoked before its end: the id is its audit id; `chain`: all that descend from it, too. Or a
    thing that is gone, with all tokens that rested on it (`kind`: user, project, domain; the id is any)."""

    expires_at: float = field()
    user_id: str = field(default="")
    chain: bool = field(default=True)
    kind: str = field(default="token")
    gone_id: str = field(default="")
    revoked_at: float = field(default=0.0)


def remember_gone(tx: Tx, kind: str, gone_id: str) -> None:
    """A user, project or domain is deleted: its tokens are none any more, and others may be told so for a while."""
    now = tx.clock.real()
    until = now + EXPIRED_WINDOW_S
    tx.add(
        Revocation(id=tx.clock.new_hex_id(), kind=kind, gone_id=gone_id, expires_at=until, revoked_at=now), quiet=True
    )


@call("GET", "/OS-REVOKE/events", "list_revoke_events")
def list_events(ask: Ask[Any]) -> Any:
    """?since=: only what was revoked from then on."""
    since = 0.0
    if ask.asked("since"):
        try:
            since = parse_iso(ask.asked("since"))
        except ValueError:
            raise BadRequest(f"invalidate date format {ask.asked('since')}", field="since") from None
    events = [*_tokens_and_gone(ask.tx, since), *_ended(ask, since)]
    links = {"next": None, "previous": None, "self": f"{ask.url}/OS-REVOKE/events"}
    return {"events": [shown for _, shown in sorted(events, key=lambda e: e[0])], "links": links}


def _tokens_and_gone(tx: Tx, since: float) -> list[tuple[float, dict[str, Any]]]:
    found = []
    for row in tx.find(Revocation, Revocation.c("revoked_at") >= since):
        if row.kind == "token":
            about = {"audit_chain_id" if row.chain else "audit_id": row.id}
        else:
            about = {f"{row.kind}_id": row.gone_id}
        found.append((row.revoked_at, {**about, **_times(row.revoked_at)}))
    return found


def _ended(ask: Ask[Any], since: float) -> list[tuple[float, dict[str, Any]]]:
    """Users, projects and domains of which tokens issued before some time count no more."""
    from nutshell.identity.projects import Project
    from nutshell.identity.users import User

    oldest = max(since, ask.cloud.clock.real() - ask.cloud.settings[IdentityConfig].token_ttl_s - EXPIRED_WINDOW_S, 1)
    found: list[tuple[float, dict[str, Any]]] = []
    for user in ask.tx.find(User, User.c("tokens_after") >= oldest):
        found.append((user.tokens_after, {"user_id": user.id, **_times(user.tokens_after)}))
    for place in ask.tx.find(Project, Project.c("tokens_after") >= oldest):
        about = {"domain_id" if place.is_domain else "project_id": place.id}
        found.append((place.tokens_after, {**about, **_times(place.tokens_after)}))
    return found


def _times(at: float) -> dict[str, str]:
    return {"issued_before": iso_micros_z(at), "revoked_at": iso_micros_z(at)}


def forget_old(cloud: Cloud) -> None:
    """Forget the revocations of tokens that nobody may see any more."""
    before = cloud.clock.real() - EXPIRED_WINDOW_S
    if cloud.read(lambda tx: tx.count(Revocation, Revocation.c("expires_at") < before)):
        cloud.write(lambda tx: tx.drop_where(Revocation, Revocation.c("expires_at") < before))


FORGETTING = Loop("identity-revocations", forget_old, every_s=3600)
