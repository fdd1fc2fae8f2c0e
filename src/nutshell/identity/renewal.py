"""Renewing the keys: new ones on an administrator's word, secrets sealed anew, old keys forgotten when nothing needs
them.

Ours alone: `nutshell identity rotate-keys` asks for it.
"""

import logging
from contextlib import suppress
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import StaleRow
from nutshell.core.reconcile import Loop
from nutshell.core.resource import Resource
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.consumers import Consumer
from nutshell.identity.credentials import Credential, Vault
from nutshell.identity.domain_configs import DomainConfig
from nutshell.identity.keys import HEARD_S, PURPOSES, KeyRow, Keys
from nutshell.identity.revocations import EXPIRED_WINDOW_S
from nutshell.identity.service import call
from nutshell.identity.settings import IdentityConfig

log = logging.getLogger("nutshell.identity")
SEALED: tuple[type[Resource], ...] = (Consumer, Credential, DomainConfig)
AT_ONCE = 200
GRACE_S = 60.0  # another process may still have sealed with the key before


@call("GET", "/keys", "list_keys", prefixes=("",))
def list_keys(ask: Ask[Any]) -> Any:
    """Which keys there are, and how many secrets still wait to be sealed with the newest."""
    keys = ask.tx.find(KeyRow, order="purpose, number")
    return {"keys": [_shown(ask, row) for row in keys], "waiting": sum(_waiting(ask.tx, noun) for noun in SEALED)}


def _shown(ask: Ask[Any], row: KeyRow) -> dict[str, Any]:
    return {"purpose": row.purpose, "number": row.number, "created_at": ask.service.time(row.created_at)}


@call("POST", "/keys", "rotate_keys", prefixes=("",), http=202)
def rotate(ask: Ask[Any]) -> Any:
    """A new key for every purpose. What the old ones signed stays good until its time is over."""
    made = {purpose: ask.cloud.port(Keys).make(ask.tx, purpose) for purpose in PURPOSES}
    return {"keys": made, "waiting": sum(ask.tx.count(noun) for noun in SEALED)}


def _newest(tx: Tx, purpose: str) -> KeyRow:
    return tx.find(KeyRow, purpose=purpose, order="number desc", limit=1)[0]


def _waiting(tx: Tx, noun: type[Resource]) -> int:
    return tx.count(noun, noun.c("sealed").not_like(f"{_newest(tx, 'credentials').number}:%"))


def renew(cloud: Cloud) -> float | None:
    """Seal some of what is not sealed with the newest key; then forget the keys that nothing needs."""
    newest = cloud.read(lambda tx: _newest(tx, "credentials"))
    if newest.number > 1:
        wait_s = newest.used_from - cloud.clock.real()
        if wait_s > 0:
            return wait_s
        if any(_seal_some(cloud, noun, newest.number) for noun in SEALED):
            return 0.0
    if cloud.read(lambda tx: tx.count(KeyRow)) > len(PURPOSES):
        cloud.write(lambda tx: _forget(tx, cloud.settings[IdentityConfig].token_ttl_s))
    return None


def _seal_some(cloud: Cloud, noun: type[Resource], number: int) -> bool:
    """Whether there was anything. A row changed meanwhile is met again by the next pass."""
    vault = cloud.port(Vault)
    rows: list[Any] = cloud.read(lambda tx: tx.find(noun, noun.c("sealed").not_like(f"{number}:%"), limit=AT_ONCE))
    fresh = []
    for row in rows:
        try:
            fresh.append((row, vault.seal(vault.open(row.sealed))))
        except Exception:  # one that cannot be opened must not keep the others from being sealed
            log.exception("%s %s cannot be opened", noun.one, row.id)

    def keep(tx: Tx) -> None:
        for row, sealed in fresh:
            if tx.count(noun, id=row.id, generation=row.generation):
                tx.put(row, quiet=True, touch=False, sealed=sealed)

    if fresh:
        with suppress(StaleRow):
            cloud.write(keep)
    return bool(fresh)


def _forget(tx: Tx, ttl_s: int) -> None:
    now = tx.clock.real()
    for purpose in PURPOSES:
        newest = _newest(tx, purpose)
        kept_s = GRACE_S if purpose == "credentials" else ttl_s + EXPIRED_WINDOW_S
        if now < newest.used_from + kept_s:
            continue
        if purpose == "credentials" and any(_waiting(tx, noun) for noun in SEALED):
            continue
        for row in tx.find(KeyRow, purpose=purpose):
            if row.number < newest.number:
                tx.drop(row)


RENEWAL = Loop("identity-keys", renew, frozenset({KeyRow.event_kind}), every_s=max(GRACE_S, HEARD_S))
