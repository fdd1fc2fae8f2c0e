"""A user's own new password (Identity API v3, "Change password for user")."""

from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.errors import BadRequest, Conflict, Unauthorized
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.logins import Gate, Login, failed, inactive, locked, succeeded
from nutshell.identity.password_rules import (
    check_age,
    check_history,
    check_strength,
    former,
    new_expiry,
    remember_former,
)
from nutshell.identity.passwords import Passwords
from nutshell.identity.service import identity
from nutshell.identity.settings import IdentityConfig
from nutshell.identity.users import User


class OwnPassword(Body):
    password: str = field()
    original_password: str = field()


def _verified(ask: Ask[Any]) -> tuple[str, str]:
    """Before the transaction: (the hash of the old password, of the new one). 401 when the old one is wrong, also for
    an unknown user; 400 for a new one that the rules do not allow. An expired password is good for this alone."""
    cloud, passwords, given = ask.cloud, ask.cloud.port(Passwords), ask.given
    config, user_id = cloud.settings[IdentityConfig], ask.params["id"]

    def find(tx: Tx) -> tuple[User | None, Login | None, list[str]]:
        user = tx.get(User, user_id)
        return user, tx.get(Login, user_id), former(tx, config, user_id, user.password_hash) if user else []

    user, login, hashes = cloud.read(find)
    stored = user.password_hash if user is not None and user.enabled else ""
    cloud.port(Gate).admit(ask.source, user_id)
    if not passwords.verify(user_id, stored, given["original_password"]):
        _fail(cloud, ask.source, user_id, user, login)
    now = cloud.clock.now()
    if user is None or locked(config, user, login, now) or inactive(config, user, login, now):
        raise Unauthorized()
    if user.options.get("lock_password"):
        raise BadRequest(
            "You cannot change your password at this time due to password policy disallowing password changes. Please"
            " contact your administrator to reset your password."
        )
    check_strength(config, given["password"])
    check_age(config, user.password_set_at, user.password_own, now)
    check_history(config, passwords, hashes, given["password"])
    return stored, passwords.hash(given["password"])


def _fail(cloud: Cloud, source: str, user_id: str, user: User | None, login: Login | None) -> None:
    config = cloud.settings[IdentityConfig]
    cloud.port(Gate).failed(source, user_id)
    if user is not None and config.lockout_attempts and not locked(config, user, login, cloud.clock.now()):
        cloud.write(lambda tx: failed(tx, config, user_id))
    raise Unauthorized()


@identity.route("POST", "/users/{id}/password", public=True, body=OwnPassword, wrap="user", http=204, before=_verified)
def change_password(ask: Ask[Any]) -> None:
    """All the user's tokens end with the old password."""
    config, row = ask.cloud.settings[IdentityConfig], ask.tx.need(User, ask.params["id"])
    stored, made = ask.prepared
    if row.password_hash != stored:
        raise Conflict("The password was changed by another request meanwhile.")
    remember_former(ask.tx, config, ask.cloud.clock.new_hex_id(), row.id, stored)
    ask.tx.put(
        row,
        password_hash=made,
        password_expires_at=new_expiry(config, row.options, ask.now, own=True),
        password_set_at=ask.now,
        password_own=True,
        tokens_after=ask.cloud.clock.real(),
    )
    if config.lockout_attempts or config.disable_inactive_days:
        succeeded(ask.tx, row.id)
