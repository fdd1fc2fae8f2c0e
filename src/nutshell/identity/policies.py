"""Policies: texts that a deployment keeps here for its services to fetch (Identity API v3, "Policies")."""

from typing import Any

from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.service import call, found, merged_extra, named


class Policy(Resource, service="identity", one="policy", many="policies", extras="keep"):
    type: str = field(filter=True)
    blob: str | dict[str, Any] = field()
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Policy.shows("links")
def links(row: Policy, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("policies", row.id)}


class NewPolicy(Body, extras="keep"):
    type: str = field(max_length=255)
    blob: str = field()


class ChangedPolicy(Body, extras="keep"):
    type: str = field(default="", max_length=255)
    blob: str = field(default="")


@call("GET", "/policies", "list_policies", noun=Policy)
def list_policies(ask: Ask[Any]) -> Any:
    return page_answer(ask, Policy, select_page(ask, Policy))


@call("GET", "/policies/{id}", "get_policy", noun=Policy, target=named(Policy))
def show_policy(ask: Ask[Any]) -> Policy:
    return found(ask, Policy)


@call("POST", "/policies", "create_policy", noun=Policy, body=NewPolicy, http=201)
def create_policy(ask: Ask[Any]) -> Policy:
    return ask.tx.add(Policy(id=ask.cloud.clock.new_hex_id(), **ask.given))


@call("PATCH", "/policies/{id}", "update_policy", noun=Policy, body=ChangedPolicy, target=named(Policy))
def update_policy(ask: Ask[Any]) -> Policy:
    row = found(ask, Policy)
    return ask.tx.put(row, **merged_extra(row, ask.given))


@call("DELETE", "/policies/{id}", "delete_policy", target=named(Policy), http=204)
def delete_policy(ask: Ask[Any]) -> None:
    row = found(ask, Policy)
    ask.tx.sql("DELETE FROM identity_policy_associations WHERE policy_id = ?", row.id)
    ask.tx.drop(row)
