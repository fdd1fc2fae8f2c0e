"""Service providers: the clouds whose identity trusts this one, as data (Identity API v3, "OS-FEDERATION")."""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import Taken
from nutshell.identity.service import call, found

SP = "/OS-FEDERATION/service_providers"
LONGEST_ID = 64
URL = r"^[a-zA-Z0-9+.-]+://.+"


class ServiceProvider(Resource, service="identity", one="service_provider", many="service_providers", path=SP):
    enabled: bool = field(default=False, filter=True)
    description: str | None = field(default=None)
    auth_url: str = field()
    sp_url: str = field()
    relay_state_prefix: str | None = field(default="ss:mem:")


@ServiceProvider.shows("links")
def sp_links(row: ServiceProvider, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("OS-FEDERATION", "service_providers", row.id)}


def enabled(tx: Tx) -> list[dict[str, str]]:
    """As tokens name them."""
    rows = tx.find(ServiceProvider, enabled=True, order="id")
    return [{"id": r.id, "auth_url": r.auth_url, "sp_url": r.sp_url} for r in rows]


class NewSp(Body):
    auth_url: str = field(pattern=URL, max_length=225)
    sp_url: str = field(pattern=URL, max_length=225)
    enabled: bool = field(default=False)
    description: str | None = field(default=None)
    relay_state_prefix: str | None = field(default="ss:mem:", max_length=256)


class ChangedSp(Body):
    auth_url: str = field(default="", pattern=URL, max_length=225)
    sp_url: str = field(default="", pattern=URL, max_length=225)
    enabled: bool = field(default=False)
    description: str | None = field(default=None)
    relay_state_prefix: str | None = field(default="ss:mem:", max_length=256)


def new_key(ask: Ask[Any], noun: type[Resource], param: str = "id") -> str:
    """The id that the address names for something new. 400 when it is too long, 409 when it is taken."""
    key = ask.params[param]
    if not 1 <= len(key) <= LONGEST_ID:
        raise BadRequest(f"Invalid input for field 'id': it has 1 to {LONGEST_ID} characters.", field="id")
    if ask.tx.get(noun, key) is not None:
        raise Taken(kind=noun.one, details=f"Duplicate ID, {key}.")
    return key


def some(given: dict[str, Any], what: str) -> dict[str, Any]:
    """An update's values; 400 when there are none."""
    if not given:
        raise BadRequest(f"Invalid input for field '{what}': it changes nothing.", field=what)
    return given


@call("GET", SP, "list_service_providers", noun=ServiceProvider)
def list_sps(ask: Ask[Any]) -> Any:
    return page_answer(ask, ServiceProvider, select_page(ask, ServiceProvider))


@call("GET", SP + "/{id}", "get_service_provider", noun=ServiceProvider)
def show_sp(ask: Ask[Any]) -> ServiceProvider:
    return found(ask, ServiceProvider, ask.params["id"])


@call("PUT", SP + "/{id}", "create_service_provider", noun=ServiceProvider, body=NewSp, http=201)
def create_sp(ask: Ask[Any]) -> Any:
    row = ask.tx.add(ServiceProvider(id=new_key(ask, ServiceProvider), **ask.given))
    return Answer(201, {"service_provider": render_row(ask, row, "detail")})


@call("PATCH", SP + "/{id}", "update_service_provider", noun=ServiceProvider, body=ChangedSp)
def update_sp(ask: Ask[Any]) -> ServiceProvider:
    row = found(ask, ServiceProvider, ask.params["id"])
    return ask.tx.put(row, **some(ask.given, "service_provider"))


@call("DELETE", SP + "/{id}", "delete_service_provider", http=204)
def delete_sp(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, ServiceProvider, ask.params["id"]))
