"""Reading request bodies: one object or several, whose project, and which attributes policy lets the caller set.

Source: Networking API v2.0, "Bulk-create"; the default rules `create_network:shared` and their like.
"""

import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from nutshell.core.errors import BadRequest, QuotaExceeded
from nutshell.core.resource import Resource
from nutshell.core.schema import check
from nutshell.core.service import Answer, Ask, own_target
from nutshell.core.store import Tx
from nutshell.network import errors
from nutshell.network.rowfacts import target_of

N = TypeVar("N", bound=Resource)
Given = dict[str, Any]


def create_each(ask: Ask[Any], noun: type[N], make: Callable[[Ask[Any], Given], N]) -> Answer:
    """Make what the body asks for, one object or a list of them, all or none."""
    from nutshell.core.render import render_rows

    body = ask.body
    if not isinstance(body, Mapping):
        raise BadRequest("Resource body required")
    if noun.many in body and noun.one not in body:
        items = body[noun.many]
        if not isinstance(items, list) or not items:
            raise BadRequest("Resources required")
        # each may be wrapped in its name once more, as an object alone is
        bare = [i[noun.one] if isinstance(i, dict) and set(i) == {noun.one} else i for i in items]
        rows = [make(ask, read(ask, noun, item)) for item in bare]
        return Answer(201, {noun.many: render_rows(ask, noun, rows, "detail")})
    if noun.one not in body:
        raise BadRequest(f"Unable to find '{noun.one}' in request body")
    row = make(ask, read(ask, noun, body[noun.one]))
    return Answer(201, {noun.one: render_rows(ask, noun, [row], "detail")[0]})


def read(ask: Ask[Any], noun: type[Resource], item: Any, verb: str = "create") -> Given:
    """One object's members, checked, with its project filled in."""
    if isinstance(item, dict) and "tenant_id" in item:
        item = {k: v for k, v in item.items() if k != "tenant_id"} | {"project_id": item["tenant_id"]}
        if verb != "create":
            raise BadRequest("Cannot update read-only attribute tenant_id")
    given = check(noun, item, verb, ask.at, lax=True, where=noun.one)
    if verb == "create":
        given["project_id"] = given.get("project_id") or ask.who.project_id
        if given["project_id"] != ask.who.project_id and not (ask.may("context_is_admin") or ask.may("service_api")):
            raise BadRequest(
                "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires"
                " admin privileges"
            )
    return given


def read_changes(ask: Ask[Any], noun: type[Resource]) -> Given:
    """The members of an update's body, checked."""
    if not isinstance(ask.body, Mapping) or noun.one not in ask.body:
        raise BadRequest(f"Unable to find '{noun.one}' in request body")
    return read(ask, noun, ask.body[noun.one], "update")


def allow(ask: Ask[Any], rule: str, given: Given, target: Mapping[str, Any], noun: type[Resource]) -> None:
    """The caller may do this to the target and set the given attributes, or 403 naming the rule.

    Attributes with a rule of their own (`create_network:shared`) are asked about when they are set, in a creation to
    something else than their default.
    """
    ask.must(rule, target)
    rules = ask.cloud.rules.texts
    for name, value in given.items():
        f = noun.fields.get(name)
        own = f"{rule}:{f.on_wire if f is not None else name}"
        if own in rules and not (rule.startswith("create_") and _is_default(noun, name, value)):
            ask.must(own, target)


def _is_default(noun: type[Resource], name: str, value: Any) -> bool:
    f = noun.__dataclass_fields__[name]
    default = f.default if f.default_factory is dc.MISSING else f.default_factory()
    return bool(value == default) or (value is None and default in ("", None, []))


def create_target(given: Given, parent: Resource | None = None) -> dict[str, Any]:
    """What rules of a creation are checked against."""
    found = dict(given) | {"tenant_id": given.get("project_id")}
    if parent is not None:
        found["network:project_id"] = target_of(parent).get("project_id")
    return found


def own_network(ask: Ask[Any]) -> dict[str, Any]:
    """A target for the route's own check of things below a network: whether the caller may do it to his own at all."""
    mine = ask.who.project_id
    return own_target(ask.who) | {
        "network:project_id": mine,
        "security_group:project_id": mine,
        "device_owner": "",
        "shared": False,
    }


def revision_matches(ask: Ask[Any], row: Resource) -> None:
    """The If-Match header with a revision number, when there is one; 412 if the row has moved on."""
    text = ask.headers.get("if-match", "")
    if "revision_number=" not in text:
        return
    wanted = text.partition("revision_number=")[2].strip("\"' ")
    if wanted != str(row.generation):
        raise errors.RevisionNumberConstraintFailed(wanted=wanted, current=row.generation)


def take(ask: Ask[Any], project_id: str, name: str, amount: int = 1) -> None:
    take_in(ask.cloud, ask.tx, project_id, name, amount)


def take_in(cloud: Any, tx: Tx, project_id: str, name: str, amount: int = 1) -> None:
    """Use quota, or 409 OverQuota."""
    try:
        cloud.quotas.take(tx, project_id, {f"network.{name}": amount})
    except QuotaExceeded as why:
        facts = why.facts
        raise errors.OverQuota(
            name=name, requested=facts["requested"], used=facts["used"], limit=facts["limit"]
        ) from None


def mark(tx: Tx, table: str, ids: Sequence[str], in_s: float = 0.0) -> None:
    """Have the loop look at these rows again (in so many seconds): their world changed though they did not."""
    if ids:
        marks = ",".join("?" * len(ids))
        at = tx.now + in_s
        tx.sql(
            f"UPDATE {table} SET wanted = wanted + 1, due_at = CASE WHEN due_at < ? THEN due_at ELSE ? END"
            f" WHERE id IN ({marks})",
            at,
            at,
            *ids,
        )
