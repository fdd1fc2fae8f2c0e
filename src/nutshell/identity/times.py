"""Times that a body gives: when something shall end."""

from typing import Any

from nutshell.core.clock import parse_iso
from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask


def expiry(ask: Ask[Any], text: str | None) -> float | None:
    """Seconds since the epoch (real time). 400 for what is no time, or has passed."""
    if text is None:
        return None
    try:
        at = parse_iso(text)
    except ValueError:
        raise BadRequest(
            "Timestamp not in expected format. The server could not comply with the request since it is either"
            " malformed or otherwise incorrect. The client is assumed to be in error.",
            field="expires_at",
        ) from None
    if at <= ask.cloud.clock.real():
        raise BadRequest(
            "The 'expires_at' must not be before now. The server could not comply with the request since it is either"
            " malformed or otherwise incorrect. The client is assumed to be in error.",
            field="expires_at",
        )
    return at
