"""Receipts: what a user has proved already, when its multi-factor rules ask for more.

Source: Identity API v3, "Multi-Factor Authentication", "Authentication receipts".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import Unauthorized
from nutshell.core.service import Answer
from nutshell.core.store import Tx
from nutshell.identity.codec import Signer, long_id, method_bits, methods_of, short_id
from nutshell.identity.keys import Keys
from nutshell.identity.projects import Project
from nutshell.identity.signin import SIGN_IN, Proven
from nutshell.identity.users import User

HEADER = "openstack-auth-receipt"


def _rules(options: Mapping[str, Any]) -> list[set[str]]:
    """The user's rules, of methods that exist; a rule of which nothing exists would lock the user out and is none."""
    if options.get("multi_factor_auth_enabled") is False:
        return []
    found = [set(rule) & set(SIGN_IN) for rule in options.get("multi_factor_auth_rules") or ()]
    return [rule for rule in found if rule]


def enough(options: Mapping[str, Any], methods: Sequence[str]) -> bool:
    """Whether these methods satisfy one of the user's rules, or there are none."""
    rules = _rules(options)
    return not rules or any(rule <= set(methods) for rule in rules)


def write(tx: Tx, keys: Keys, proven: Proven, ttl_s: int) -> Answer:
    """The 401 that says what else is to be proved, with the receipt for what was."""
    user, now = tx.need(User, proven.user_id), tx.clock.real()
    domain = tx.need(Project, user.domain_id)
    content = msgspec.msgpack.encode([1, short_id(user.id), method_bits(proven.methods), now, int(now) + ttl_s])
    required = [sorted(r) for r in _rules(proven.options) if r & set(proven.methods)]
    body = {
        "receipt": {
            "methods": list(proven.methods),
            "user": {"id": user.id, "name": user.name, "domain": {"id": domain.id, "name": domain.name}},
            "expires_at": iso_micros_z(int(now) + ttl_s),
            "issued_at": iso_micros_z(now),
        },
        "required_auth_methods": required,
    }
    return Answer(401, body, {"Openstack-Auth-Receipt": Signer(keys, "nr").write(content), "Vary": "X-Auth-Token"})


def read(tx: Tx, keys: Keys, text: str, user_id: str) -> tuple[str, ...]:
    """The methods proved before. Unauthorized for a receipt that is over, another user's, or older than the user's
    present password."""
    _, owner, bits, issued_at, expires_at = msgspec.msgpack.decode(Signer(keys, "nr").read(text))
    user = tx.get(User, user_id)
    if long_id(owner) != user_id or expires_at <= tx.clock.real() or user is None or issued_at <= user.tokens_after:
        raise Unauthorized()
    return methods_of(bits)
