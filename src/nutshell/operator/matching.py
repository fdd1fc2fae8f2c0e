"""Does a rule mean this request, operation or driver call, and is it this call's turn? Pure."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any

from nutshell.core.resource import Resource
from nutshell.core.service import Ask
from nutshell.operator.fault_rules import At, FaultRule


def is_turn(rule: FaultRule, call: int, hits: int) -> bool:
    """Whether the rule strikes at its `call`th matching call (from 1), having struck `hits` times before."""
    if rule.nth:
        return rule.nth <= call < rule.nth + (rule.count or 1)
    if rule.count and hits >= rule.count:
        return False
    if rule.every:
        return call % rule.every == 0
    if rule.probability:
        return random.Random(f"{rule.seed}:{call}").random() < rule.probability  # noqa: S311 - repeatable on purpose
    return True


def means_request(rule: FaultRule, ask: Ask[Any], name: str | None) -> bool:
    """`name`: that of the resource asked for, when the rule wants to know."""
    if rule.at is not At.REQUEST or (rule.of and rule.of != ask.service.name):
        return False
    if not rule.of and ask.service.name == "identity":
        return False  # a rule for all services would lock its author out, too
    if rule.operation and not _is_called(rule.operation, ask):
        return False
    if rule.project_id and rule.project_id != ask.who.project_id:
        return False
    if rule.resource_id and rule.resource_id not in ask.params.values():
        return False
    return not rule.resource_name or rule.resource_name == name


def _is_called(operation: str, ask: Ask[Any]) -> bool:
    route = ask.route
    if operation in (route.rule, route.action or None, ask.method):
        return True
    below = ask.path.removeprefix(ask.service.mount)
    prefix = route.prefix_used(ask.params)
    texts = [f"{ask.method} {p}" for p in (route.path, below, below.removeprefix(prefix))]
    return any(fnmatchcase(text, operation) for text in texts)


def name_of(ask: Ask[Any]) -> str | None:
    """The name of what a request makes or asks for."""
    noun = ask.route.noun
    if noun is None:
        return None
    if ask.method == "POST" and "id" not in ask.params:
        said = ask.body.get(noun.one) if isinstance(ask.body, Mapping) else None
        name = said.get("name") if isinstance(said, Mapping) else None
        return name if isinstance(name, str) else None
    if "id" not in ask.params or "name" not in noun.fields:
        return None
    row = ask.cloud.read(lambda tx: tx.one(noun, **{noun.key: ask.params["id"]}))
    return getattr(row, "name", None)


def means_work(rule: FaultRule, kind: str, row: Resource) -> bool:
    return (
        rule.at is At.OPERATION
        and rule.of in ("", row.service)
        and rule.operation in ("", kind, f"{row.one}:{kind}")
        and rule.resource_id in ("", row.id)
        and rule.resource_name in ("", getattr(row, "name", ""))
        and rule.project_id in ("", getattr(row, "project_id", ""))
    )


def means_call(rule: FaultRule, service: str, method: str, given: Sequence[Any]) -> bool:
    if rule.at is not At.DRIVER or rule.of not in ("", service):
        return False
    if rule.operation and rule.operation != method:
        return False
    if not rule.operation and method == "wait_changes":  # the long wait for news is no work of anybody's
        return False
    return not rule.resource_id or any(_mentions(value, rule.resource_id) for value in given)


def _mentions(value: Any, resource_id: str) -> bool:
    if isinstance(value, str):
        return value == resource_id
    if isinstance(value, list | tuple):
        return any(_mentions(one, resource_id) for one in value)
    if is_dataclass(value):
        return any(getattr(value, f.name) == resource_id for f in fields(value))
    return False
