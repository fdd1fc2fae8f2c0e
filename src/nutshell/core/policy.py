"""Who may do what: oslo.policy's rule language, evaluated on a row or compiled into a query.

Syntax: https://docs.openstack.org/oslo.policy/latest/reference/api/oslo_policy.policy.html#policy-rule-expressions
One parsed rule serves both questions: may this caller do it to this target (`Rule.check`), and which rows may this
caller see (`Rule.where`). An operator's policy.yaml replaces rules by name; listings follow.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, false, not_, or_, true

Columns = Callable[[str], ColumnElement[Any] | None]
TOKEN = re.compile(r"\s*(\(|\)|(?:%\([^)]*\)s|'[^']*'|\"[^\"]*\"|[^\s()'\"])+)")


@dataclass(frozen=True)
class Who:
    """The caller: what the token says, and nothing else."""

    user_id: str = ""
    user_name: str = ""
    user_domain_id: str = ""
    user_domain_name: str = ""
    project_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    project_domain_name: str = ""
    domain_id: str = ""
    domain_name: str = ""
    system: bool = False
    roles: frozenset[str] = frozenset()
    is_admin_project: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict, hash=False, compare=False)  # methods, expiry, trust…

    def credential(self, name: str) -> Any:
        """What the left side of a check such as `user_id:%(user_id)s` means."""
        if name == "system_scope":
            return "all" if self.system else None
        if name == "is_admin_project":
            return str(self.is_admin_project)
        if hasattr(self, name):
            return getattr(self, name) or None
        found: Any = self.facts
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


@dataclass(frozen=True)
class Rule:
    """One node of a parsed rule. kind: and, or, not, rule, role, true, false, match, field."""

    kind: str
    left: str = ""
    right: str = ""
    parts: tuple["Rule", ...] = ()

    def check(self, who: Who, target: Mapping[str, Any], rules: "Rules") -> bool:
        match self.kind:
            case "and":
                return all(p.check(who, target, rules) for p in self.parts)
            case "or":
                return any(p.check(who, target, rules) for p in self.parts)
            case "not":
                return not self.parts[0].check(who, target, rules)
            case "true" | "false":
                return self.kind == "true"
            case "rule":
                return rules.rule(self.right).check(who, target, rules)
            case "role":
                wanted = self.right
                if wanted.startswith("%("):
                    wanted = str(target.get(wanted[2:-2], ""))
                return wanted.lower() in who.roles
            case "field":
                _, column, value = self.field_parts()
                return _same(target.get(column), value)
            case _:
                return self._match(who, target)

    def field_parts(self) -> tuple[str, str, str]:
        table, _, rest = self.right.partition(":")
        column, _, value = rest.partition("=")
        return table, column, value

    def _match(self, who: Who, target: Mapping[str, Any]) -> bool:
        right: Any = self.right
        if right.startswith("%("):
            right = target.get(right[2:-2])
            if right is None:
                return False
        left = _literal(self.left)
        if left is None:
            left = who.credential(self.left)
        if left is None:
            return str(right) == "None" if not self.right.startswith("%(") else False
        return str(left) == str(right)

    def where(self, who: Who, column: Columns, rules: "Rules") -> ColumnElement[bool]:
        """The rows this rule lets `who` see. An attribute the table lacks never matches."""
        match self.kind:
            case "and":
                return and_(true(), *(p.where(who, column, rules) for p in self.parts))
            case "or":
                return or_(false(), *(p.where(who, column, rules) for p in self.parts))
            case "not":
                return not_(self.parts[0].where(who, column, rules))
            case "rule":
                return rules.rule(self.right).where(who, column, rules)
            case "field":
                _, name, value = self.field_parts()
                found = column(name)
                return false() if found is None else found == _typed(value)
            case "match" if self.right.startswith("%("):
                found = column(self.right[2:-2])
                left = _literal(self.left)
                if found is None or (left is None and who.credential(self.left) is None):
                    return false()
                same: ColumnElement[bool] = found == (who_value(self.left) if left is None else _typed(left))
                return same
            case _:
                return true() if self.check(who, {}, rules) else false()

    def looks_at_target(self, rules: "Rules") -> bool:
        if self.kind == "rule":
            return rules.rule(self.right).looks_at_target(rules)
        if self.parts:
            return any(p.looks_at_target(rules) for p in self.parts)
        return self.kind == "field" or self.right.startswith("%(")


def who_value(name: str) -> Any:
    """The caller's attribute as a bound parameter, so that one compiled query serves every caller."""
    return bindparam("who_" + name)


def _literal(text: str) -> str | None:
    if text[:1] in "'\"" and text[-1:] == text[:1]:
        return text[1:-1]
    return text if text in ("True", "False", "None") or text.isdigit() else None


def _typed(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def _same(value: Any, text: str) -> bool:
    if text.startswith("~"):  # field:port:device_owner=~^network: is a regular expression
        return re.match(text[1:], str(value or "")) is not None
    return value is not None and (value == _typed(text) or str(value).lower() == text.lower())


ALLOW, DENY = Rule("true"), Rule("false")


@lru_cache(maxsize=4096)
def parse(text: str) -> Rule:
    """A rule from its text. Raises ValueError with what is wrong."""
    tokens = TOKEN.findall(text)
    if "".join(tokens).replace(" ", "") != re.sub(r"\s", "", text):
        raise ValueError(f"cannot read policy rule {text!r}")
    if not tokens:
        return ALLOW
    rule, rest = _any_of(tokens, text)
    if rest:
        raise ValueError(f"unexpected {rest[0]!r} in policy rule {text!r}")
    return rule


def _any_of(tokens: list[str], text: str) -> tuple[Rule, list[str]]:
    return _joined(tokens, text, "or", _all_of)


def _all_of(tokens: list[str], text: str) -> tuple[Rule, list[str]]:
    return _joined(tokens, text, "and", _single)


def _joined(
    tokens: list[str], text: str, word: str, inner: Callable[[list[str], str], tuple[Rule, list[str]]]
) -> tuple[Rule, list[str]]:
    first, rest = inner(tokens, text)
    parts = [first]
    while rest and rest[0].lower() == word:
        part, rest = inner(rest[1:], text)
        parts.append(part)
    return (parts[0] if len(parts) == 1 else Rule(word, parts=tuple(parts))), rest


def _single(tokens: list[str], text: str) -> tuple[Rule, list[str]]:
    if not tokens:
        raise ValueError(f"policy rule {text!r} ends too early")
    word, rest = tokens[0], tokens[1:]
    if word == "(":
        rule, rest = _any_of(rest, text)
        if not rest or rest[0] != ")":
            raise ValueError(f"missing ')' in policy rule {text!r}")
        return rule, rest[1:]
    if word.lower() == "not":
        rule, rest = _single(rest, text)
        return Rule("not", parts=(rule,)), rest
    if word in ("@", "!"):
        return (ALLOW if word == "@" else DENY), rest
    left, colon, right = word.partition(":")
    if not colon:
        raise ValueError(f"cannot read {word!r} in policy rule {text!r}")
    if left in ("rule", "field"):
        return Rule(left, right=right), rest
    return (
        Rule("role", right=right if right.startswith("%(") else right.lower())
        if left == "role"
        else Rule("match", left=left, right=right)
    ), rest


class Rules:
    """Every rule by name: the declared defaults, replaced by the operator's."""

    def __init__(self, defaults: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> None:
        self.texts = {**defaults, **(overrides or {})}
        self._parsed = {name: parse(text) for name, text in self.texts.items()}
        self._looks: dict[str, bool] = {}

    def rule(self, name: str) -> Rule:
        """A rule by name; a name nobody declared denies (oslo.policy's default rule)."""
        return self._parsed.get(name) or self._parsed.get("default", DENY)

    def looks_at_target(self, name: str) -> bool:
        """As the rule's own, remembered: lists ask for each guarded member."""
        found = self._looks.get(name)
        if found is None:
            found = self._looks[name] = self.rule(name).looks_at_target(self)
        return found

    def allows(self, name: str, who: Who, target: Mapping[str, Any]) -> bool:
        return self.rule(name).check(who, target, self)


# The rules every service's defaults are written with (https://governance.openstack.org/tc/goals/selected/consistent-and-secure-rbac.html).
COMMON = {
    "context_is_admin": "role:admin",
    "admin_required": "role:admin",
    "admin_api": "role:admin",
    "admin_only": "role:admin",
    "project_reader": "role:reader and project_id:%(project_id)s",
    "project_member": "role:member and project_id:%(project_id)s",
    "project_manager": "role:manager and project_id:%(project_id)s",
    "project_reader_or_admin": "rule:project_reader or rule:admin_api",
    "project_member_or_admin": "rule:project_member or rule:admin_api",
    "project_manager_or_admin": "rule:project_manager or rule:admin_api",
    "admin_or_owner": "role:admin or project_id:%(project_id)s",
    "owner": "project_id:%(project_id)s",
}
