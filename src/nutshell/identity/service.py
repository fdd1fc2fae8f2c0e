"""The Identity service: its place on the port, its error format, and how its routes check policy.

Source: Identity API reference v3.14 (https://docs.openstack.org/api-ref/identity/v3/).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from nutshell.core.clock import iso_micros_z
from nutshell.core.errors import BadRequest, Fault
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, Service
from nutshell.identity.errors import ForbiddenAction, Missing, render_error
from nutshell.identity.rules import BY_REQUEST, NOT_DOMAIN, NOT_SYSTEM, RULES

Row = TypeVar("Row", bound=Resource)
Target = Callable[[Ask[Any]], Mapping[str, Any]]
Handler = Callable[[Ask[Any]], Any]
Choice = Callable[[Ask[Any]], str]


def page_links(ask: Ask[Any], many: str, rows: Sequence[Any], more: bool) -> dict[str, Any]:
    """Keystone's "links" of a collection; `next` when a limit cut the page."""
    here = ask.base + ask.path
    query = {k: v[-1] for k, v in ask.query.items()}
    own = f"{here}?{urlencode(query)}" if query else here
    following = f"{here}?{urlencode({**query, 'marker': rows[-1].id})}" if more and rows else None
    found: dict[str, Any] = {"links": {"next": following, "self": own, "previous": None}}
    return found | ({"truncated": True} if more else {})


def refuse(fault: Fault, headers: Mapping[str, str]) -> Answer:
    """The refusal; a 401 says where to sign in."""
    more = {"WWW-Authenticate": 'Keystone uri="/identity"'} if fault.http == 401 else {}
    return Answer(fault.http, render_error(fault, ""), {**more, **fault.headers})


identity = Service(
    name="identity",
    mount="/identity",
    prefixes=("/v3",),
    error=render_error,
    refuses=refuse,
    headers={"Vary": "X-Auth-Token"},
    time=iso_micros_z,
    page_links=page_links,
    max_limit=None,
    update_method="PATCH",
    forbids=lambda rule: ForbiddenAction(rule=rule),
    not_found=lambda noun, key: Missing(kind=noun.one.replace("_", " "), id=key),
    default_sort="id",
    default_sort_dir="asc",
)
identity.policy(RULES)


def flat(prefix: str, row: Resource | None, **more: Any) -> dict[str, Any]:
    """A row as rules name it ("target.user.domain_id"); what is empty is the text "None", as in oslo.policy."""
    if row is None:
        return {}
    values = {**row.__dict__, **more}
    return {f"target.{prefix}.{k}": "None" if v in (None, "") else v for k, v in values.items()}


def no_target(ask: Ask[Any]) -> Mapping[str, Any]:
    return {}


def call(
    method: str, path: str, rule: str | Choice, *, target: Target = no_target, http: int = 200, **rest: Any
) -> Callable[[Handler], Handler]:
    """A route of Identity: `rule` without "identity:", or what chooses it; `target`: what it is checked against.

    As in Keystone a caller is told 404 only after policy let the request pass, so `target` must not raise for a
    missing row. Tokens of a scope that the operation does not admit are refused whatever their roles.
    """

    def against(ask: Ask[Any]) -> Mapping[str, Any]:
        facts = target(ask)
        chosen = rule if isinstance(rule, str) else rule(ask)
        if (ask.who.domain_id and chosen in NOT_DOMAIN) or (ask.who.system and chosen in NOT_SYSTEM):
            raise ForbiddenAction(rule=f"identity:{chosen}")
        if chosen is not rule:
            ask.must(f"identity:{chosen}", facts)
        return facts

    name = f"identity:{rule if isinstance(rule, str) else BY_REQUEST}"
    keep = identity.route(method, path, rule=name, against=against, http=http, **rest)
    if method != "PATCH" or "body" not in rest:
        return keep

    def changing(handler: Handler) -> Handler:
        def work(ask: Ask[Any]) -> Any:
            check_change(ask)
            return handler(ask)

        keep(work)
        return handler

    return changing


def check_change(ask: Ask[Any]) -> None:
    """400 for an update that says nothing (a project's may), or names another id than its address."""
    given, extra = ask.given, ask.given.get("extra") or {}
    if "id" in extra and extra["id"] != ask.params.get("id") and "/domains/" not in ask.path:
        raise BadRequest("Cannot change ID", field="id")
    if not extra and not (given.keys() - {"extra"}) and ask.path.rpartition("/")[0].rpartition("/")[2] != "projects":
        raise BadRequest("Invalid input for field 'body': it changes nothing.")


def named(noun: type[Resource], prefix: str = "", param: str = "id") -> Target:
    """The target of routes on one row: the row itself (kept in `ask.target`), or nothing when there is none."""

    def find(ask: Ask[Any]) -> Mapping[str, Any]:
        row = ask.tx.get(noun, ask.params[param])
        ask.target = row
        return flat(prefix or noun.one, row)

    return find


def existing(noun: type[Resource], prefix: str = "", param: str = "id") -> Target:
    """As `named`, for the few operations that tell everybody 404 before policy is asked."""

    def find(ask: Ask[Any]) -> Mapping[str, Any]:
        facts = named(noun, prefix, param)(ask)
        found(ask, noun)
        return facts

    return find


def found(ask: Ask[Any], noun: type[Row], key: str | None = None) -> Row:
    """The row the path names, or 404. `key`: another row of that noun, by its id."""
    row: Row | None = ask.target if key is None else ask.tx.get(noun, key)
    if row is None:
        raise Missing(kind=noun.one.replace("_", " "), id=key if key is not None else ask.params.get("id"))
    return row


def merged_extra(row: Any, given: dict[str, Any]) -> dict[str, Any]:
    """An update's values, its unknown members joined with those the row already had."""
    extra = given.pop("extra", None)
    if extra:
        given["extra"] = {**row.extra, **extra}
    return given
