"""Identity's settings: tokens, and the rules for passwords and logins (PCI DSS 4.0, requirement 8)."""

import re
from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.config import ConfigError, setting


@dataclass(frozen=True)
class IdentityConfig:
    """Identity: tokens, passwords, logins."""

    table: ClassVar[str] = "identity"

    token_ttl_s: int = setting(3600, "Seconds that a token is valid.")
    receipt_ttl_s: int = setting(300, "Seconds to prove the rest of what multi-factor rules ask.")
    signature_ttl_s: int = setting(900, "Seconds that a request signed with an EC2 key may be old.")
    totp_steps_back: int = setting(1, "How many one-time passwords before the present one count, of 30 s each.")

    password_regex: str = setting("", "What every new password must match from its beginning; empty: anything.")
    password_regex_description: str = setting("", "The same for people; told to whose password does not match.")
    password_expires_days: int = setting(0, "Days that a password is valid; 0: for ever.")
    minimum_password_age_days: int = setting(0, "Days before users may change again a password that they chose.")
    password_history: int = setting(0, "How many last passwords a user may not choose again; 0: any may be.")
    change_password_upon_first_use: bool = setting(
        False, "A password that an administrator set is good only for choosing another."
    )

    lockout_attempts: int = setting(0, "Failed logins in a row that lock a user, whoever made them; 0: never.")
    lockout_duration_s: int = setting(1800, "Seconds that a locked user stays locked; 0: until enabled again.")
    disable_inactive_days: int = setting(0, "Days without a login after which a user is disabled; 0: never.")
    login_failures_free: int = setting(
        10,
        "Failed logins of one user from one address before that address has to wait, each time twice as long; ten"
        " times as many of all users from it. 0: nobody waits.",
    )
    login_wait_s: int = setting(60, "The longest such wait, in seconds.")

    limit_model: str = setting(
        "flat",
        "How unified limits of a domain and of its projects go together; strict_two_level: no project has more than its"
        " domain, all together use no more, and projects lie directly below their domain.",
        choices=("flat", "strict_two_level"),
    )
    unified_limits: tuple[str, ...] = setting(
        (), "Services (image, compute) whose quotas are the registered limits and limits, where there is one."
    )


def check_settings(config: IdentityConfig) -> None:
    """ConfigError for what cannot be used."""
    try:
        re.compile(config.password_regex)
    except re.error as why:
        raise ConfigError(f"[identity] password_regex is no regular expression: {why}") from None
    for key, value in vars(config).items():
        if isinstance(value, int) and value < 0:
            raise ConfigError(f"[identity] {key} must be 0 or more, not {value}")
    unknown = set(config.unified_limits) - {"image", "compute"}
    if unknown:
        raise ConfigError(f"[identity] unified_limits knows image and compute, not {', '.join(sorted(unknown))}")
    if config.minimum_password_age_days >= config.password_expires_days > 0:
        raise ConfigError("[identity] minimum_password_age_days must be less than password_expires_days")
