"""Values as the Compute API takes them: numbers and booleans that may come as text, names, tags.

Source: the JSON schemas of the Compute API reference ("Request" tables); https://docs.openstack.org/api-ref/compute/.
"""

import unicodedata
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.service import Ask
from nutshell.core.versions import Span

WORDS = dict.fromkeys(("true", "1", "on", "yes"), True) | dict.fromkeys(("false", "0", "off", "no"), False)
BIG = 2**31 - 1


def invalid(name: str, value: Any, why: str) -> BadRequest:
    return BadRequest(f"Invalid input for field/attribute {name}. Value: {value}. {why}", field=name, value=value)


def whole(name: str, value: Any, lo: int = 0, hi: int = BIG) -> int:
    """An integer, or decimal text of one, within bounds. 400 otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise invalid(name, value, f"{value!r} is not of type 'integer', 'string'")
    if isinstance(value, str) and not value.isdecimal():
        raise invalid(name, value, f"{value!r} does not match '^[0-9]*$'")
    found = int(value)
    if found < lo:
        raise invalid(name, value, f"{value} is less than the minimum of {lo}")
    if found > hi:
        raise invalid(name, value, f"{value} is greater than the maximum of {hi}")
    return found


def truth(name: str, value: Any) -> bool:
    """A boolean, or one of the words the API takes for it. 400 otherwise."""
    found = value if isinstance(value, bool) else WORDS.get(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise invalid(name, value, f"{value!r} is not one of [True, 'True', 'true', '1', False, 'False', 'false', '0']")
    return found


def check_name(name: str, value: str) -> str:
    """Printable, without blanks at its ends. 400 otherwise."""
    if not 1 <= len(value) <= 255:
        raise invalid(name, value, f"{value!r} is too {'long' if value else 'short'}")
    if value != value.strip() or not printable(value):
        raise invalid(name, value, "printable characters. Can not start or end with whitespace.")
    return value


def printable(text: str) -> bool:
    return all((kind := unicodedata.category(c))[0] != "C" and (kind[0] != "Z" or kind == "Zs") for c in text)


def check_tag(value: str) -> str:
    if not 1 <= len(value) <= 60 or "/" in value or "," in value:
        raise invalid("tag", value, f"{value!r} does not match '^[^,/]*$' or is not 1 to 60 characters long")
    return value


def only_query(ask: Ask[Any], known: frozenset[str], since: str) -> None:
    """From version `since` on, refuse query parameters that are not known."""
    if ask.at in Span.of(since, ""):
        for name in ask.query:
            if name not in known:
                raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")
