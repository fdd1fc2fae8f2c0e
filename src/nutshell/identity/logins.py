"""Failed and successful logins: users locked by too many, addresses slowed, users disabled that never come.

Source: Keystone administration guide, "Security compliance and PCI-DSS"; NIST SP 800-63B, 5.2.2 "Rate limiting".
"""

import threading
from itertools import islice

from nutshell.core.clock import Clock
from nutshell.core.cloud import Cloud
from nutshell.core.errors import TooManyRequests, Unauthorized
from nutshell.core.reconcile import Loop
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.identity.password_rules import DAY_S
from nutshell.identity.settings import IdentityConfig
from nutshell.identity.users import User

FORGOTTEN_AFTER_S = 900  # a key without failures for so long begins anew
MOST_KEYS = 20_000


class Login(Resource, service="identity", one="login", many="logins"):
    """What is known of a user's logins; its id is the user's. There only for users of whom a rule wants to know."""

    failures: int = field(default=0)
    failed_at: float = field(default=0.0)
    active_at: float = field(default=0.0, index=True)
    totp_step: int = field(default=0)  # the last one-time password used: none counts twice


def locked(config: IdentityConfig, user: User, row: Login | None, now: float) -> bool:
    """Whether too many failed logins keep this user out for now."""
    if not config.lockout_attempts or row is None or user.options.get("ignore_lockout_failure_attempts"):
        return False
    if row.failures < config.lockout_attempts:
        return False
    return not config.lockout_duration_s or now < row.failed_at + config.lockout_duration_s


def inactive(config: IdentityConfig, user: User, row: Login | None, now: float) -> bool:
    """Whether the user has been away for so long that it counts as disabled. Of whom nothing is known yet, the days
    are counted from the first sweep on."""
    if not config.disable_inactive_days or row is None or user.options.get("ignore_user_inactivity"):
        return False
    return now - max(user.created_at, row.active_at) >= config.disable_inactive_days * DAY_S


def failed(tx: Tx, config: IdentityConfig, user_id: str) -> None:
    """Count a failed login. What is over begins anew."""
    row = tx.get(Login, user_id)
    if row is None:
        tx.add(Login(id=user_id, failures=1, failed_at=tx.now), quiet=True)
        return
    over = row.failures >= config.lockout_attempts and tx.now >= row.failed_at + config.lockout_duration_s
    failures = 1 if over and config.lockout_duration_s else row.failures + 1
    tx.put(row, quiet=True, failures=failures, failed_at=tx.now)


def use_up(tx: Tx, user_id: str, totp_step: int) -> None:
    """Take a one-time password; Unauthorized when another login took it meanwhile."""
    row = tx.get(Login, user_id)
    if row is None:
        tx.add(Login(id=user_id, totp_step=totp_step), quiet=True)
    elif row.totp_step >= totp_step:
        raise Unauthorized()
    else:
        tx.put(row, quiet=True, totp_step=totp_step)


def succeeded(tx: Tx, user_id: str) -> None:
    """Forget failures, and note that the user was here."""
    row = tx.get(Login, user_id)
    if row is None:
        tx.add(Login(id=user_id, active_at=tx.now), quiet=True)
    else:
        tx.put(row, quiet=True, failures=0, active_at=tx.now)


def enabled_again(tx: Tx, config: IdentityConfig, user_id: str) -> None:
    """An administrator lets the user in: what kept it out is forgotten."""
    if not config.lockout_attempts and not config.disable_inactive_days:
        return
    row = tx.get(Login, user_id)
    if row is not None:
        tx.put(row, quiet=True, failures=0, active_at=tx.now)
    else:
        tx.add(Login(id=user_id, active_at=tx.now), quiet=True)


class Gate:
    """Slows whoever fails: by address and user, and by address alone. In memory, so each process counts by itself.

    Nobody is kept out for good by others: another address does not wait, and a login that this process has verified
    before passes without being asked.
    """

    def __init__(self, config: IdentityConfig, clock: Clock) -> None:
        self._config, self._clock, self._lock = config, clock, threading.Lock()
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}

    def admit(self, source: str, user: str) -> None:
        """TooManyRequests, with Retry-After, for whoever has to wait."""
        free = self._config.login_failures_free
        if not free:
            return
        now = self._clock.now()
        with self._lock:
            wait_s = max(self._wait((source, user), free, now), self._wait((source, ""), free * 10, now))
        if wait_s > 0:
            raise TooManyRequests(
                "Too many failed logins came from your address; wait before the next.",
                headers={"Retry-After": str(int(wait_s) + 1)},
            )

    def failed(self, source: str, user: str) -> None:
        now = self._clock.now()
        with self._lock:
            for key in ((source, user), (source, "")):
                count, at = self._failures.pop(key, (0, 0.0))
                self._failures[key] = (1 if now - at > FORGOTTEN_AFTER_S else count + 1, now)
            if len(self._failures) > MOST_KEYS:
                for old in list(islice(self._failures, MOST_KEYS // 4)):
                    del self._failures[old]

    def passed(self, source: str, user: str) -> None:
        with self._lock:
            self._failures.pop((source, user), None)

    def _wait(self, key: tuple[str, str], free: int, now: float) -> float:
        count, at = self._failures.get(key, (0, 0.0))
        if count < free or now - at > FORGOTTEN_AFTER_S:
            return 0.0
        return at + min(2.0 ** min(count - free, 20), self._config.login_wait_s) - now


def disable_inactive(cloud: Cloud) -> None:
    """Disable the users that have been away for longer than the rule allows."""
    config = cloud.settings[IdentityConfig]
    if not config.disable_inactive_days:
        return

    def work(tx: Tx) -> None:
        seen = {r.id: r for r in tx.find(Login)}
        for user in tx.find(User, enabled=True):
            row = seen.get(user.id)
            if row is None or not row.active_at:
                enabled_again(tx, config, user.id)  # from now on its days are counted
            elif inactive(config, user, row, tx.now):
                tx.put(user, enabled=False, tokens_after=tx.clock.real())

    cloud.write(work)


INACTIVE = Loop("identity-inactive-users", disable_inactive, every_s=3600)
