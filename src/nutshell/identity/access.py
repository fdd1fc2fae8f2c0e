"""Access rules: the few requests that a token got with a limited application credential may make.

Source: Identity API v3, "Access rules"; patterns as keystonemiddleware reads them.
"""

import re
from functools import lru_cache

from nutshell.core.errors import Unauthorized
from nutshell.core.policy import Who
from nutshell.core.service import Service

# What a rule may call our services.
TYPES = {
    "volume": {"block-storage", "block-store", "volume", "volumev3"},
    "network": {"network"},
    "object_store": {"object-store"},
}


@lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    """`*` and `{name}` stand for one part of a path, `**` for any number."""
    parts = re.split(r"(\*\*|\*|\{[^}]*\})", path)
    return re.compile("".join(".*" if p == "**" else "[^/]+" if p[:1] in ("*", "{") else re.escape(p) for p in parts))


def admit(who: Who, service: Service, method: str, path: str) -> None:
    """Raise Unauthorized when the caller's access rules do not let this request pass."""
    rules = who.facts.get("access_rules")
    if rules is None:
        return
    below = path.removeprefix(service.mount)
    for rule in rules:
        if (
            rule["method"] == method
            and (rule["service"] == service.name or rule["service"] in TYPES.get(service.name, ()))
            and any(_pattern(rule["path"]).fullmatch(p) for p in (path, below))
        ):
            return
    raise Unauthorized()
