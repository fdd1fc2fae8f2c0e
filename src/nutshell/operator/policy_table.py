"""Who may do what, as a page: every route with its rule, and whether each role passes it, on own and others' things.

Made from the declarations and the same evaluator that decides requests.
"""

from collections.abc import Sequence

from nutshell.core.policy import COMMON, Rules, Who
from nutshell.core.service import Route, Service

ROLES = {
    "reader": ("reader",),
    "member": ("member", "reader"),
    "manager": ("manager", "member", "reader"),
    "admin": ("admin", "manager", "member", "reader"),
    "service": ("service",),
}
USER, PROJECT, DOMAIN, OTHER = "u", "p", "d", "other"


def rules_of(services: Sequence[Service]) -> Rules:
    """The default rules of these services."""
    texts = dict(COMMON)
    for s in services:
        texts.update(s.rules)
    return Rules(texts)


def callers() -> dict[str, Who]:
    """A caller for each role on a project, and an administrator of the system."""
    found = {
        name: Who(user_id=USER, project_id=PROJECT, project_domain_id=DOMAIN, user_domain_id=DOMAIN, roles=frozenset(r))
        for name, r in ROLES.items()
    }
    found["system admin"] = Who(user_id=USER, user_domain_id=DOMAIN, system=True, roles=frozenset(ROLES["admin"]))
    return found


def targets() -> dict[str, dict[str, str]]:
    """A thing of the caller's, and one of somebody else's."""
    names = ("project_id", "tenant_id", "user_id", "domain_id", "owner", "target.project.domain_id",
             "target.user.domain_id", "target.group.domain_id", "target.domain_id", "target.domain.id")  # fmt: skip
    own = {n: DOMAIN if "domain" in n else USER if n == "user_id" else PROJECT for n in names}
    return {"own": own, "others": dict.fromkeys(names, OTHER)}


def verdict(rules: Rules, rule: str, who: Who) -> str:
    """ "✓" on own and others' things, "own" on own ones only, "" on none."""
    own, others = (rules.allows(rule, who, target) for target in targets().values())
    return "✓" if own and others else "own" if own else "others" if others else ""


def policy_page(services: Sequence[Service]) -> str:
    """docs/POLICY.md."""
    rules = rules_of(services)
    lines = [
        "# Policy",
        "",
        "Every route, its rule, and who passes the rule by default: ✓ on anybody's things, own: on things of the"
        " caller's own project (or user), empty: not at all. What a caller may not see answers 404 before this table is"
        " asked. `policy.yaml` in the state directory replaces rules by name. Generated from the declarations"
        " (`make docs`).",
    ]
    who = callers()
    for s in services:
        if not s.rules:
            continue
        lines += ["", f"## {s.name}", "", f"| route | rule | {' | '.join(who)} |", "|---" * (2 + len(who)) + "|"]
        for route in _distinct(s):
            if route.rule is None:
                continue
            cells = [verdict(rules, route.rule, w) for w in who.values()]
            lines.append(f"| `{_named(route)}` | `{route.rule}` | {' | '.join(cells)} |")
        lines += ["", f"### Default rules of {s.name}", ""]
        lines += [f"- `{name}`: `{text or '@'}`" for name, text in sorted(s.rules.items())]
    return "\n".join(lines) + "\n"


def _distinct(service: Service) -> list[Route]:
    """A route once, whatever its prefixes and versions."""
    found: dict[tuple[str, str | None], Route] = {}
    for route in service.routes:
        found.setdefault((_named(route), route.rule), route)
    return sorted(found.values(), key=_named)


def _named(route: Route) -> str:
    return f"{route.method} {route.path or '/'}" + (f" {route.action}" if route.action else "")
