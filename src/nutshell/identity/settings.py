"""Identity's settings: tokens, and the rules for passwords and logins (PCI-DSS 4.0, requirement 8)."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.config import setting


@dataclass(frozen=True)
class IdentityConfig:
    """Identity: tokens."""

    table: ClassVar[str] = "identity"

    token_ttl_s: int = setting(3600, "Seconds that a token is valid.")
    signature_ttl_s: int = setting(900, "Seconds that a request signed with an EC2 key may be old.")
