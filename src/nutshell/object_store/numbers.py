"""Numbers as requests may say them: ASCII digits, few enough to be meant."""

import re

NUMBER = re.compile(r"-?[0-9]{1,18}")


def whole(text: str) -> int | None:
    """None for what is no number, or one that nothing here can have."""
    return int(text) if NUMBER.fullmatch(text) else None


def count(text: str) -> int | None:
    """Likewise, and not below nothing."""
    found = whole(text)
    return found if found is not None and found >= 0 and text[0] != "-" else None
