"""One-time passwords by time, as authenticator programs make them (RFC 6238, RFC 4226: SHA-1, 30 s, 6 digits)."""

import base64
import binascii
import hmac

STEP_S = 30


def code(key: bytes, step: int) -> str:
    """The one-time password of one step of 30 s since the epoch."""
    mac = hmac.digest(key, step.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 15
    return f"{(int.from_bytes(mac[at : at + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


def read_secret(text: str) -> bytes | None:
    """The key of a credential's blob (base32, with or without padding); None when it is none."""
    plain = text.strip().rstrip("=")
    try:
        return base64.b32decode(plain + "=" * (-len(plain) % 8), casefold=True)
    except (binascii.Error, ValueError):
        return None


def find_step(key: bytes, given: str, now: float, steps_back: int, after: int) -> int | None:
    """The step whose one-time password this is, of the present one and those before that still count. One that was
    used (`after` is its step), and all before it, do not count again."""
    present = int(now // STEP_S)
    found = None
    for step in range(present - steps_back, present + 1):
        if hmac.compare_digest(code(key, step).encode(), given.encode("utf-8", "surrogatepass")) and step > after:
            found = step
    return found
