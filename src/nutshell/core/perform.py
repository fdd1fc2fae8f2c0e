"""The part of the pipeline inside a transaction: load, authorise, validate, run the verb, render."""

import typing as t
from collections.abc import Mapping

from nutshell.core import errors
from nutshell.core.resource import Resource
from nutshell.core.schema import check
from nutshell.core.service import Answer, Ask, own_target
from nutshell.core.store import Tx


def prepare(ask: Ask[t.Any], tx: Tx) -> None:
    """Load the target, authorise, validate. Raises 404 for what the caller may not see, 403, 400."""
    ask.tx = tx
    route = ask.route
    if ask.service.admits is not None:
        ask.service.admits(ask)
    if route.loads:
        ask.target = load(ask)
    if route.rule is not None and not ask.cloud.rules.allows(route.rule, ask.who, _policy_target(ask)):
        raise ask.service.forbids(route.rule)
    if route.body is not None:
        ask.given = check(
            route.body, _unwrapped(ask), route.verb, ask.at, lax=ask.service.lax, where=_wrap(ask) or "body"
        )


def perform(ask: Ask[t.Any], tx: Tx) -> Answer:
    """The whole inside of a request; what comes back needs no database any more."""
    from nutshell.core.render import render_row, render_rows

    prepare(ask, tx)
    route, noun = ask.route, ask.route.noun
    made = route.handler(ask)
    if isinstance(made, Answer):
        return made
    if made is None:
        return Answer(route.http)
    if isinstance(made, Resource):
        return Answer(route.http, {made.one: render_row(ask, made, route.view)})
    if isinstance(made, list) and noun is not None:
        return Answer(route.http, {noun.many: render_rows(ask, noun, made, route.view)})
    return Answer(route.http, made)


def load(ask: Ask[t.Any]) -> Resource:
    """The row the path names. NotFound also for one the caller may not see; 403 where the caller may not do this to
    anything, whether it exists or not (of nouns without a rule of visibility, which the verb's own rule hides)."""
    noun, rule = ask.route.noun, ask.route.rule
    assert noun is not None
    key = ask.params["id"]
    row = ask.tx.one(noun, **{noun.key: key})
    if row is None and not noun.visible and rule is not None:
        ask.must(rule, own_target(ask.who))
    if row is None or not visible(ask, row):
        raise not_found(ask, noun, key)
    return row


def visible(ask: Ask[t.Any], row: Resource) -> bool:
    """Whether the caller may know that this row exists. Asks the database only about policy columns the row lacks."""
    if not row.visible:
        return True
    target: Mapping[str, t.Any] = row.policy_target()
    if any(name not in target for name in row.columns_for_policy):
        from nutshell.core.listing import visible_where

        return ask.tx.count(type(row), *bound_to(ask, visible_where(ask, type(row))), id=row.id) == 1
    return ask.cloud.rules.allows(row.visible, ask.who, target)


def bound_to(ask: Ask[t.Any], *conditions: t.Any) -> list[t.Any]:
    """The conditions with the caller's values filled in."""
    from sqlalchemy.sql import visitors
    from sqlalchemy.sql.elements import BindParameter

    def fill(element: t.Any, **_: t.Any) -> t.Any:
        if isinstance(element, BindParameter) and str(element.key).startswith("who_"):
            return BindParameter(None, ask.who.credential(str(element.key)[4:]), unique=True, type_=element.type)
        return None

    return [visitors.replacement_traverse(condition, {}, fill) for condition in conditions]


def not_found(ask: Ask[t.Any], noun: type[Resource], key: str) -> errors.Fault:
    if ask.service.not_found is not None:
        return ask.service.not_found(noun, key)
    return errors.NotFound(kind=noun.one.replace("_", " ").capitalize(), id=key)


def _policy_target(ask: Ask[t.Any]) -> Mapping[str, t.Any]:
    if ask.route.against is not None:
        return t.cast(Mapping[str, t.Any], ask.route.against(ask))
    if ask.target is not None:
        return t.cast(Resource, ask.target).policy_target()
    return own_target(ask.who)


def _wrap(ask: Ask[t.Any]) -> str:
    route = ask.route
    if route.wrap is not None:
        return route.wrap
    return route.action or (route.noun.one if route.noun is not None else "")


def _unwrapped(ask: Ask[t.Any]) -> t.Any:
    wrap = _wrap(ask)
    if not wrap:
        return ask.body if ask.body is not None else {}
    if not isinstance(ask.body, Mapping) or wrap not in ask.body:
        raise errors.BadRequest(
            f"Invalid input for field/attribute body. '{wrap}' is a required property", missing=wrap
        )
    others = [n for n in ask.body if n != wrap]
    if others and ask.route.noun is not None and ask.route.noun.extras == "refuse" and not ask.service.lax:
        allowed = ask.route.view == "create-with-hints" or any(n.startswith(("os:", "OS-")) for n in others)
        if not allowed:
            raise errors.BadRequest(f"Additional properties are not allowed ('{others[0]}' was unexpected)")
    given = ask.body[wrap]
    return {} if given is None and ask.route.action else given
