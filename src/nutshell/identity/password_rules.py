"""What a new password must be, how long it holds, and which former ones may not come back.

Source: Keystone administration guide, "Security compliance and PCI-DSS".
"""

import re
from functools import lru_cache
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.identity.passwords import Passwords
from nutshell.identity.settings import IdentityConfig

DAY_S = 24 * 3600
LONGEST_PASSWORD = 4096


class FormerPassword(
    Resource, service="identity", one="former_password", many="former_passwords", indexes=(("user_id",),)
):
    """One that a user had before; only its hash."""

    user_id: str = field()
    password_hash: str = field(hidden=True)


@lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def check_strength(config: IdentityConfig, password: str | None) -> None:
    """400 for one that is empty, too long or not as the operator wants passwords."""
    if password is None:
        return
    if not 1 <= len(password) <= LONGEST_PASSWORD:
        raise BadRequest(
            f"Password validation error: the password must have 1 to {LONGEST_PASSWORD} characters.", field="password"
        )
    if config.password_regex and not _compiled(config.password_regex).match(password):
        about = config.password_regex_description or f"it does not match {config.password_regex}"
        raise BadRequest(f"The password does not match the requirements: {about}.", field="password")


def new_expiry(config: IdentityConfig, options: dict[str, Any], now: float, own: bool) -> float | None:
    """When a password set now ends. `own`: chosen by its user, else by an administrator."""
    if not own and config.change_password_upon_first_use and not options.get("ignore_change_password_upon_first_use"):
        return now
    if config.password_expires_days and not options.get("ignore_password_expiry"):
        return now + config.password_expires_days * DAY_S
    return None


def expired(expires_at: float | None, options: dict[str, Any], now: float) -> bool:
    return expires_at is not None and expires_at <= now and not options.get("ignore_password_expiry")


def check_age(config: IdentityConfig, set_at: float, own: bool, now: float) -> None:
    """400 for a user who chose the present password only lately."""
    left_s = set_at + config.minimum_password_age_days * DAY_S - now
    if own and config.minimum_password_age_days and left_s > 0:
        raise BadRequest(
            "You cannot change your password at this time due to the minimum password age. Once you change your"
            f" password, it must be used for {config.minimum_password_age_days} day(s) before it can be changed. Please"
            f" try again in {int(left_s // DAY_S)} day(s) or contact your administrator to reset your password.",
            field="password",
        )


def former(tx: Tx, config: IdentityConfig, user_id: str, present: str) -> list[str]:
    """The hashes of the last passwords that count, the present one first."""
    if not config.password_history:
        return []
    rows = tx.find(FormerPassword, user_id=user_id, order="created_at desc, id desc", limit=config.password_history - 1)
    return [h for h in (present, *(r.password_hash for r in rows)) if h]


def check_history(config: IdentityConfig, passwords: Passwords, hashes: list[str], password: str) -> None:
    """400 for a password that is one of these; 30 ms each."""
    if any(passwords.matches(h, password) for h in hashes):
        raise BadRequest(
            "The new password cannot be identical to a previous password. The total number which includes the new"
            f" password must be unique is {config.password_history}.",
            field="password",
        )


def remember_former(tx: Tx, config: IdentityConfig, new_id: str, user_id: str, password_hash: str) -> None:
    """Keep the hash of the password that is replaced, and no more of the older ones than may count."""
    rows = tx.find(FormerPassword, user_id=user_id, order="created_at desc, id desc")
    for row in rows[max(config.password_history - 1, 0) :]:
        tx.drop(row, quiet=True)
    if password_hash and config.password_history:
        tx.add(FormerPassword(id=new_id, user_id=user_id, password_hash=password_hash), quiet=True)
