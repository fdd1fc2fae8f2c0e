"""Tokens: issue, show, check and revoke, and what a token's owner may scope to.

Source: Identity API v3, "Authentication and token management".
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from nutshell.core.errors import Forbidden, Unauthorized
from nutshell.core.http import read_body
from nutshell.core.render import render_rows
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.identity import receipts
from nutshell.identity.auth_request import Auth, read_request
from nutshell.identity.authority import Authority
from nutshell.identity.claiming import claim, counts_uses
from nutshell.identity.domains import shown as shown_domain
from nutshell.identity.errors import Missing
from nutshell.identity.keys import Keys
from nutshell.identity.projects import Project
from nutshell.identity.revocations import EXPIRED_WINDOW_S, Revocation
from nutshell.identity.scopes import on_system, projects_of
from nutshell.identity.service import call, found, identity
from nutshell.identity.sessions import Session
from nutshell.identity.settings import IdentityConfig
from nutshell.identity.signin import Proven, prove, settled
from nutshell.identity.trusts import consume
from nutshell.identity.users import User, user_target

SUBJECT = "x-subject-token"
JSON = {"Content-Type": "application/json", "Vary": "X-Auth-Token"}


@identity.route("POST", "/auth/tokens", public=True, streams=True, writes=False)
async def issue(ask: Ask[Any], receive: Callable[[], Awaitable[Any]]) -> Answer:
    auth = read_request(await read_body(receive, ask.service.max_body))
    authority, cloud, keys = ask.cloud.port(Authority), ask.cloud, ask.cloud.port(Keys)
    try:
        proven = await prove(cloud, auth, ask.source)
        held = ask.headers.get(receipts.HEADER)
        if held:
            before = cloud.read(lambda tx: receipts.read(tx, keys, held, proven.user_id))
            proven = replace(proven, methods=tuple(dict.fromkeys((*proven.methods, *before))))
        if not receipts.enough(proven.options, proven.methods):
            ttl_s = cloud.settings[IdentityConfig].receipt_ttl_s
            return cloud.read(lambda tx: receipts.write(tx, keys, proven, ttl_s))
        await settled(cloud, proven, ask.source)
        if counts_uses(auth):
            token, session = await cloud.write_async(lambda tx: _issue_once(tx, authority, auth, proven))
        else:
            token, session = cloud.read(lambda tx: authority.issue(tx, claim(tx, auth, proven, authority.ttl_s)))
    except Unauthorized as why:
        why.headers = {"WWW-Authenticate": f'Keystone uri="{ask.base}/identity"'}
        raise
    return Answer(201, authority.body(session, ask.base, _with_catalog(ask)), {**JSON, "X-Subject-Token": token})


def _issue_once(tx: Tx, authority: Authority, auth: Auth, proven: Proven) -> tuple[str, Session]:
    """Issue and count the use of the trust, both or neither."""
    claims = claim(tx, auth, proven, authority.ttl_s)
    issued = authority.issue(tx, claims)
    consume(tx, claims.trust_id)
    return issued


def _with_catalog(ask: Ask[Any]) -> bool:
    return "nocatalog" not in ask.query


def _subject(ask: Ask[Any]) -> dict[str, Any]:
    """The target of rules about a token: whose it is."""
    token = ask.headers.get(SUBJECT, "")
    try:
        return {"target.token.user_id": ask.cloud.port(Authority).claims(token).user_id} if token else {}
    except Unauthorized:
        return {}


def _session(ask: Ask[Any]) -> tuple[str, Session]:
    token = ask.headers.get(SUBJECT, "")
    if not token:
        raise Missing(kind="token", id="")
    window = EXPIRED_WINDOW_S if ask.flag("allow_expired") else 0
    try:
        return token, ask.cloud.port(Authority).session(token, ask.tx, window)
    except Unauthorized:
        raise Missing(kind="token", id=token) from None


def _show(ask: Ask[Any]) -> Answer:
    token, session = _session(ask)
    body = ask.cloud.port(Authority).body(session, ask.base, _with_catalog(ask), ask.tx)
    return Answer(200, body, {**JSON, "X-Subject-Token": token})


call("GET", "/auth/tokens", "validate_token", target=_subject)(_show)
call("HEAD", "/auth/tokens", "check_token", target=_subject)(_show)


@call("DELETE", "/auth/tokens", "revoke_token", target=_subject, http=204)
def revoke(ask: Ask[Any]) -> None:
    """End a token, and unless ?cascade=false the tokens got with it."""
    claims = _session(ask)[1].claims
    there = ask.tx.get(Revocation, claims.audit_id)
    cascade = "cascade" not in ask.query or ask.flag("cascade")
    if there is None:
        facts: dict[str, Any] = {"expires_at": claims.expires_at, "user_id": claims.user_id, "chain": cascade}
        ask.tx.add(Revocation(id=claims.audit_id, revoked_at=ask.cloud.clock.real(), **facts))


@call("GET", "/auth/catalog", "get_auth_catalog")
def show_catalog(ask: Ask[Any]) -> Any:
    if not ask.who.project_id:
        raise Forbidden("A project-scoped token is required to produce a service catalog.")
    shown = ask.cloud.port(Authority).catalog(ask.base, ask.who, ask.tx)
    return {"catalog": shown, "links": {"self": ask.base + ask.path}}


@call("GET", "/auth/projects", "get_auth_projects")
def list_projects(ask: Ask[Any]) -> Any:
    rows = projects_of(ask.tx, ask.who.user_id)
    return {
        "projects": render_rows(ask, Project, rows, "detail"),
        **ask.service.page_links(ask, "projects", rows, False),
    }


@call("GET", "/auth/domains", "get_auth_domains")
def list_domains(ask: Ask[Any]) -> Any:
    rows = projects_of(ask.tx, ask.who.user_id, domains=True)
    return {"domains": [shown_domain(ask, r) for r in rows], **ask.service.page_links(ask, "domains", rows, False)}


@call("GET", "/auth/system", "get_auth_system")
def show_system(ask: Ask[Any]) -> Any:
    scopes = [{"all": True}] if on_system(ask.tx, ask.who.user_id) else []
    return {"system": scopes, "links": {"self": ask.base + ask.path}}


@call("GET", "/users/{id}/projects", "list_user_projects", target=user_target)
def list_projects_of(ask: Ask[Any]) -> Any:
    user = found(ask, User)
    rows = projects_of(ask.tx, user.id)
    return {
        "projects": render_rows(ask, Project, rows, "detail"),
        **ask.service.page_links(ask, "projects", rows, False),
    }


@call("DELETE", "/users/{id}/tokens", "revoke_tokens_for_user", target=user_target, http=204)
def revoke_all(ask: Ask[Any]) -> None:
    """Every token that the user has ends."""
    ask.tx.put(found(ask, User), tokens_after=ask.cloud.clock.real())


@call("GET", "/auth/tokens/OS-PKI/revoked", "revocation_list")
def list_revoked(ask: Ask[Any]) -> Any:
    raise Forbidden("You are not authorized to perform the requested action.")
