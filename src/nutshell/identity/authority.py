"""Who calls: tokens issued and read, with what they mean kept in memory until something relevant changes."""

import threading
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.core.errors import Unauthorized
from nutshell.core.events import UNHEARD, Event
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.identity import catalog, ec2, providers
from nutshell.identity.codec import Claims, Codec, Ring
from nutshell.identity.credentials import Vault
from nutshell.identity.endpoint_filter import endpoints_of
from nutshell.identity.port import Ec2Credential
from nutshell.identity.projects import DEFAULT_DOMAIN, Project
from nutshell.identity.revocations import Revocation
from nutshell.identity.sessions import Session, open_session
from nutshell.identity.users import User

MOST_SESSIONS = 5_000  # with their rendered bodies some 5 KiB each
CATALOG_KINDS = frozenset({"identity.service", "identity.endpoint", "identity.region"})
# What a creation of these cannot change: tokens that exist already.
HARMLESS_NEW = frozenset(
    f"identity.{kind}"
    for kind in ("user", "project", "group", "role", "credential", "application_credential", "access_rule", "trust")
)
# What no token rests on.
UNRELATED = frozenset(
    f"identity.{kind}"
    for kind in (
        "consumer", "domain_config", "former_password", "identity_provider", "limit", "mapping", "policy",
        "policy_association", "protocol", "registered_limit", "remote_id",
    )
)  # fmt: skip


class Authority:
    """Implements `Identity` (port.py). One per cloud."""

    def __init__(self, cloud: Cloud, keys: Ring, ttl_s: int) -> None:
        self._cloud, self._codec, self.ttl_s = cloud, Codec(keys), ttl_s
        self._sessions: dict[str, Session] = {}
        self._keys: dict[str, tuple[Ec2Credential, int]] = {}  # by access key; with the end of what is known
        self._entries: catalog.Entries | None = None
        self._providers: list[dict[str, str]] | None = None
        self._epoch = 0
        self._lock = threading.Lock()
        cloud.store.on_commit(self._told)

    # -- the port
    def who(self, token: str) -> Who:
        """The caller a token stands for. Raises Unauthorized."""
        return self.session(token).who

    def ec2_credential(self, access: str) -> Ec2Credential | None:
        known = self._keys.get(access)
        if known is not None and known[1] > self._cloud.clock.real():
            return known[0]
        epoch = self._epoch
        found = self._cloud.read(lambda tx: self._pair(tx, access))
        if found is None:
            return None
        with self._lock:
            if epoch == self._epoch and len(self._keys) < MOST_SESSIONS:
                self._keys[access] = found
        return found[0]

    def _pair(self, tx: Tx, access: str) -> tuple[Ec2Credential, int] | None:
        row = ec2.find_pair(tx, access)
        if row is None:
            return None
        blob = ec2.opened(self._cloud.port(Vault), row)
        claims = ec2.claims_of(tx, row, blob, self.ttl_s)
        try:
            who = open_session(tx, claims).who
        except Unauthorized:
            return None
        pair = Ec2Credential(access, row.user_id, row.project_id or "", who, blob["secret"])
        return pair, claims.expires_at

    def project_exists(self, tx: Tx, project_id: str) -> bool:
        return tx.count(Project, id=project_id) == 1

    def project_name(self, tx: Tx, project_id: str) -> str:
        row = tx.get(Project, project_id)
        return row.name if row is not None else ""

    def find_project(self, tx: Tx, name: str) -> str | None:
        row = tx.one(Project, name=name, domain_id=DEFAULT_DOMAIN)
        return row.id if row is not None else None

    def find_user(self, tx: Tx, name: str) -> str | None:
        row = tx.one(User, name=name, domain_id=DEFAULT_DOMAIN)
        return row.id if row is not None else None

    async def sign_in(self, project: str, user: str, password: str, source: str = "") -> tuple[str, str, float]:
        from nutshell.identity.claiming import sign_in  # which needs this module

        return await sign_in(self._cloud, self, project, user, password, source)

    async def log_in(self, name: str, secret: str, project: str, source: str = "") -> tuple[str, str, float]:
        from nutshell.identity.claiming import log_in

        return await log_in(self._cloud, self, name, secret, project, source)

    # -- tokens
    def issue(self, tx: Tx, claims: Claims) -> tuple[str, Session]:
        """A token for these claims. Unauthorized when its user may not have it."""
        epoch = self._epoch
        session = open_session(tx, claims)
        token = self._codec.write(claims)
        self._keep(token, session, epoch)
        return token, session

    def session(self, token: str, tx: Tx | None = None, window_s: int = 0) -> Session:
        """What a token means now. `window_s`: how long after its end it is still shown. Raises Unauthorized."""
        found = self._sessions.get(token)
        if found is None:
            claims = self._codec.read(token)
            if claims.expires_at + window_s <= self._cloud.clock.real():
                raise Unauthorized()
            epoch = self._epoch
            work: Callable[[Tx], Session] = lambda tx: open_session(tx, claims)  # noqa: E731
            found = self._cloud.read(work) if tx is None else work(tx)
            self._keep(token, found, epoch)
        if found.claims.expires_at + window_s <= self._cloud.clock.real():
            raise Unauthorized()
        return found

    def claims(self, token: str) -> Claims:
        """What a token says, valid or not. Raises Unauthorized when we did not write it."""
        known = self._sessions.get(token)
        return self._codec.read(token) if known is None else known.claims

    def body(self, session: Session, base: str, with_catalog: bool, tx: Tx | None = None) -> bytes:
        """The token as the API answers it."""
        key = (base, with_catalog)
        found = session.rendered.get(key)
        if found is None:
            shown = dict(session.shown)
            if with_catalog and session.claims.scope != "unscoped":
                shown["catalog"] = self.catalog(base, session.who, tx)
            providers = self._service_providers(tx)
            if providers:
                shown["service_providers"] = providers
            found = msgspec.json.encode({"token": shown})
            if len(session.rendered) < 4:
                session.rendered[key] = found
        return found

    def catalog(self, base: str, who: Who, tx: Tx | None = None) -> list[dict[str, Any]]:
        entries = self._entries
        if entries is None:
            epoch = self._epoch
            entries = self._cloud.read(catalog.entries) if tx is None else catalog.entries(tx)
            with self._lock:
                if epoch == self._epoch:
                    self._entries = entries
        work: Callable[[Tx], frozenset[str] | None] = lambda tx: endpoints_of(tx, who.project_id)  # noqa: E731
        only = self._cloud.read(work) if tx is None else work(tx)
        return catalog.render(entries, base, who.user_id, who.project_id, only)

    def _service_providers(self, tx: Tx | None) -> list[dict[str, str]]:
        """The clouds whose identity trusts this one, as tokens name them."""
        found = self._providers
        if found is None:
            epoch = self._epoch
            found = self._cloud.read(providers.enabled) if tx is None else providers.enabled(tx)
            with self._lock:
                if epoch == self._epoch:
                    self._providers = found
        return found

    def _keep(self, token: str, session: Session, epoch: int) -> None:
        """Remember, unless something changed since the session was read."""
        with self._lock:
            if epoch != self._epoch:
                return
            if len(self._sessions) >= MOST_SESSIONS:
                for old in list(islice(self._sessions, MOST_SESSIONS // 4)):
                    del self._sessions[old]
            self._sessions[token] = session

    def _told(self, events: Sequence[Event]) -> None:
        """After a commit: forget what it may have changed."""
        mine = [e for e in events if (e.kind.startswith("identity.") and e.kind not in UNRELATED) or e.kind == UNHEARD]
        mine = [e for e in mine if e.verb != "create" or e.kind not in HARMLESS_NEW]
        if not mine:
            return
        with self._lock:
            self._epoch += 1
            if all(_ends_tokens(e) for e in mine):
                self._forget({e.resource_id for e in mine})
                return
            self._sessions.clear()
            self._keys.clear()
            if any(e.kind in CATALOG_KINDS or e.kind == UNHEARD for e in mine):
                self._entries = None
            if any(e.kind == providers.ServiceProvider.event_kind for e in mine):
                self._providers = None

    def _forget(self, audit_ids: set[str]) -> None:
        """The tokens with these audit ids, and what descends from them: the others keep their meaning."""
        gone = [t for t, s in self._sessions.items() if s.claims.audit_id in audit_ids or s.claims.chain in audit_ids]
        for token in gone:
            del self._sessions[token]


def _ends_tokens(event: Event) -> bool:
    """Whether it is the revocation of a token and nothing else."""
    return event.kind == Revocation.event_kind and event.verb == "create"
