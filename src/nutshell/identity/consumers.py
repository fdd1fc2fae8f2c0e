"""Consumers: programs that may ask users for access by OAuth 1.0a, as data (Identity API v3, "OS-OAUTH1").

Nobody can get a token by OAuth yet.
"""

import secrets
from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.credentials import Vault
from nutshell.identity.service import call, found, merged_extra

PATH = "/OS-OAUTH1/consumers"


class Consumer(Resource, service="identity", one="consumer", many="consumers", path=PATH, extras="keep"):
    description: str | None = field(default=None)
    sealed: str = field(default="", hidden=True)  # the secret, shown once
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Consumer.shows("links")
def links(row: Consumer, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("OS-OAUTH1", "consumers", row.id)}


class SomeConsumer(Body, extras="keep"):
    description: str | None = field(default=None, max_length=64)


@call("GET", PATH, "list_consumers", noun=Consumer)
def list_consumers(ask: Ask[Any]) -> Any:
    return page_answer(ask, Consumer, select_page(ask, Consumer))


@call("GET", PATH + "/{id}", "get_consumer", noun=Consumer)
def show_consumer(ask: Ask[Any]) -> Consumer:
    return found(ask, Consumer, ask.params["id"])


@call("POST", PATH, "create_consumer", noun=Consumer, body=SomeConsumer, http=201)
def create_consumer(ask: Ask[Any]) -> Any:
    secret = secrets.token_hex(32)
    extra = {k: v for k, v in ask.given.pop("extra", {}).items() if k not in ("id", "secret", "links")}
    sealed = ask.cloud.port(Vault).seal(secret)
    row = ask.tx.add(Consumer(id=ask.cloud.clock.new_hex_id(), sealed=sealed, extra=extra, **ask.given))
    return {"consumer": {**render_row(ask, row, "detail"), "secret": secret}}


@call("PATCH", PATH + "/{id}", "update_consumer", noun=Consumer, body=SomeConsumer)
def update_consumer(ask: Ask[Any]) -> Consumer:
    if "secret" in ask.given.get("extra", {}):
        raise BadRequest("Cannot change consumer secret", field="secret")
    row = found(ask, Consumer, ask.params["id"])
    return ask.tx.put(row, **merged_extra(row, ask.given))


@call("DELETE", PATH + "/{id}", "delete_consumer", http=204)
def delete_consumer(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, Consumer, ask.params["id"]))
