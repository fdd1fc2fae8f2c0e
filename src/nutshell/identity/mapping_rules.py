"""The language of federation mappings: which rules are well formed, and what they make of an assertion. Pure.

Source: Keystone documentation, "Mapping Combinations"; schema versions 1.0, 2.0 (domains of projects), 3.0
(projects_json).
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from nutshell.core.errors import BadRequest

VERSIONS = ("1.0", "2.0", "3.0")
CONDITIONS = ("any_one_of", "not_any_of", "blacklist", "whitelist")
PLACE = re.compile(r"\{\{|\}\}|\{(\d*)\}")
LONGEST_VALUE = 64 * 1024


class Place(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None


class LocalUser(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None
    email: str | None = None
    domain: Place | None = None
    type: Literal["ephemeral", "local"] | None = None


class LocalRole(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class LocalProject(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    roles: list[LocalRole]
    domain: Place | None = None


class LocalGroup(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None
    domain: Place | None = None


class Local(msgspec.Struct, forbid_unknown_fields=True):
    user: LocalUser | None = None
    projects: list[LocalProject] | None = None
    projects_json: str | None = None
    group: LocalGroup | None = None
    groups: str | None = None
    group_ids: str | None = None
    domain: Place | None = None


class Remote(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    any_one_of: list[Any] | None = None
    not_any_of: list[Any] | None = None
    blacklist: list[Any] | None = None
    whitelist: list[Any] | None = None
    regex: bool | None = None


class Rule(msgspec.Struct, forbid_unknown_fields=True):
    local: list[Local]
    remote: list[Remote]


def check_rules(rules: Any, version: str) -> None:
    """400 naming what is wrong with them."""
    try:
        found = msgspec.convert(rules, list[Rule])
    except msgspec.ValidationError as why:
        raise BadRequest(f"Invalid input for field 'rules': {why}", field="rules") from None
    if not found:
        raise _wrong("at least one rule is required")
    for rule in found:
        if not rule.remote:
            raise _wrong("each rule has at least one remote condition")
        for local in rule.local:
            _check_local(local, version)
        for remote in rule.remote:
            _check_remote(remote)


def _check_local(local: Local, version: str) -> None:
    group = local.group
    if group is not None:
        by_id, by_name = group.id is not None, group.name is not None or group.domain is not None
        if by_id == by_name or (by_name and (group.name is None or group.domain is None)):
            raise _wrong("a group has an id, or a name and a domain")
    if version == "1.0" and any(p.domain is not None for p in local.projects or ()):
        raise _wrong("projects have a domain from schema version 2.0 on")
    if version != "3.0" and local.projects_json is not None:
        raise _wrong("projects_json is known from schema version 3.0 on")


def _check_remote(remote: Remote) -> None:
    given = [name for name in CONDITIONS if getattr(remote, name) is not None]
    if len(given) > 1 or (not given and remote.regex is not None):
        raise _wrong(f"a remote condition has one of {', '.join(CONDITIONS)}, or only a type")
    if remote.regex:
        for pattern in getattr(remote, given[0]):
            try:
                re.compile(pattern)
            except (re.error, TypeError):
                raise _wrong(f"{pattern!r} is no regular expression") from None


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"Invalid input for field 'rules': {why}.", field="rules")


@dataclass(frozen=True)
class Mapped:
    """What the rules make of an assertion."""

    user: dict[str, Any]
    group_ids: tuple[str, ...] = ()
    group_names: tuple[dict[str, Any], ...] = ()
    projects: tuple[dict[str, Any], ...] = field(default=())


def evaluate(rules: Sequence[Mapping[str, Any]], assertion: Mapping[str, str], version: str = "1.0") -> Mapped:
    """What checked rules make of the attributes that an identity provider asserts (several values of one are parted
    by ";"). BadRequest when no rule applies, or one refers to a value that is not there."""
    said = {name: text.split(";") for name, text in assertion.items() if len(text) <= LONGEST_VALUE}
    made: list[dict[str, Any]] = []
    for rule in rules:
        values = _admitted(rule["remote"], said)
        if values is not None:
            made.extend(_filled(local, values) for local in rule["local"])
    if not made:
        raise BadRequest("Could not map any federated user properties to identity values.")
    return _gathered(made, version)


def _admitted(conditions: Sequence[Mapping[str, Any]], said: Mapping[str, list[str]]) -> list[list[str]] | None:
    """The values that {0}, {1} … stand for; None when a condition does not hold."""
    values: list[list[str]] = []
    for one in conditions:
        there = said.get(one["type"])
        if not there or there == [""]:
            return None
        kind = next((c for c in CONDITIONS if one.get(c) is not None), "")
        if not kind:
            values.append(there)
            continue
        hit = [v for v in there if _matches(v, one[kind], bool(one.get("regex")))]
        if kind == "any_one_of" and not hit:
            return None
        if kind == "not_any_of" and hit:
            return None
        if kind in ("blacklist", "whitelist"):
            values.append(hit if kind == "whitelist" else [v for v in there if v not in hit])
    return values


def _matches(value: str, wanted: Sequence[Any], regex: bool) -> bool:
    return any(re.search(w, value) for w in wanted) if regex else value in wanted


def _filled(local: Any, values: list[list[str]]) -> Any:
    """The local side with {0}, {1} … replaced, however deep it is. Never `str.format`: a rule is data."""
    if isinstance(local, dict):
        return {k: _filled(v, values) for k, v in local.items()}
    if isinstance(local, list):
        return [_filled(v, values) for v in local]
    if not isinstance(local, str):
        return local
    count = 0

    def fill(m: re.Match[str]) -> str:
        nonlocal count
        if m[0] in ("{{", "}}"):
            return m[0][0]
        at = int(m[1]) if m[1] else count
        count += 1
        if at >= len(values):
            raise BadRequest(f"The mapping refers to {m[0]}, and the rule has {len(values)} values.")
        return values[at][0] if len(values[at]) == 1 else str(values[at])

    return PLACE.sub(fill, local)


def _gathered(made: list[dict[str, Any]], version: str) -> Mapped:
    user: dict[str, Any] = {}
    ids: dict[str, None] = {}
    names: list[dict[str, Any]] = []
    projects: list[dict[str, Any]] = []
    for one in made:
        user = user or dict(one.get("user") or {})
        group = one.get("group") or {}
        if group.get("id"):
            ids[group["id"]] = None
        elif group:
            names.append(group)
        if one.get("groups"):
            names.extend(_named_groups(one))
        ids.update(dict.fromkeys(_listed(one["group_ids"]) if one.get("group_ids") else []))
        mine = [*(one.get("projects") or []), *_projects_json(one.get("projects_json"))]
        projects += [p if version == "1.0" or p.get("domain") else {**p, "domain": one.get("domain")} for p in mine]
    user.setdefault("type", "ephemeral")
    domain = made[-1].get("domain")
    if version != "1.0" and not user.get("domain") and domain is not None:
        user["domain"] = domain
    unique = {json.dumps(g, sort_keys=True): g for g in names}
    return Mapped(user, tuple(ids), tuple(unique.values()), tuple(projects))


def _listed(text: str) -> list[str]:
    """A list that came through a place as its text, or one value."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return [text]
    return [str(v) for v in found] if isinstance(found, list) else [text]


def _named_groups(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    domain = one.get("domain")
    found = []
    for text in _listed(one["groups"]):
        if text.startswith("JSON:"):
            group = _json(text.removeprefix("JSON:"))
            if not isinstance(group, dict) or "domain" not in group:
                raise BadRequest("Invalid rule: both 'groups' and 'domain' keywords must be specified.")
            found.append(group)
        elif domain is None:
            raise BadRequest("Invalid rule: both 'groups' and 'domain' keywords must be specified.")
        else:
            found.append({"name": text, "domain": domain})
    return found


def _projects_json(text: str | None) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        return msgspec.to_builtins(msgspec.convert(_json(text), list[LocalProject]))  # type: ignore[no-any-return]
    except msgspec.ValidationError as why:
        raise BadRequest(f"Invalid projects_json: {why}") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadRequest("The mapping was given a text that is no JSON.") from None
