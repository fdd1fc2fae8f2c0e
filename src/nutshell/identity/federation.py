"""Whom this cloud trusts: identity providers and their protocols, as data.

Source: Identity API v3 extensions, "OS-FEDERATION". Nobody can log in by federation yet.
"""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.identity.errors import Missing, Taken
from nutshell.identity.mappings import Mapping
from nutshell.identity.projects import Project, add_domain
from nutshell.identity.providers import LONGEST_ID, new_key, some
from nutshell.identity.service import call, found
from nutshell.identity.tokens import list_domains, list_projects

ROOT = "/OS-FEDERATION"
IDP = f"{ROOT}/identity_providers"


class IdentityProvider(Resource, service="identity", one="identity_provider", many="identity_providers", path=IDP):
    enabled: bool = field(default=False, filter=True)
    description: str | None = field(default=None)
    domain_id: str = field(default="")
    authorization_ttl: int | None = field(default=None)
    remote_ids: list[str] = field(factory=list)


@IdentityProvider.shows("links")
def idp_links(row: IdentityProvider, ctx: Context) -> dict[str, str]:
    here = ctx.link("OS-FEDERATION", "identity_providers", row.id)
    return {"self": here, "protocols": f"{here}/protocols"}


class RemoteId(Resource, service="identity", one="remote_id", many="remote_ids", path=IDP):
    """By what an identity provider calls itself; its id is that name, so no two providers have the same."""

    idp_id: str = field(index=True)


class Protocol(
    Resource,
    service="identity",
    one="protocol",
    many="protocols",
    path=f"{IDP}/protocols",
    unique=(("idp_id", "name"),),
):
    idp_id: str = field()
    name: str = field(hidden=True)
    mapping_id: str = field()
    remote_id_attribute: str | None = field(default=None)


@Protocol.shows("id")
def protocol_id(row: Protocol, ctx: Context) -> str:
    return row.name


@Protocol.shows("links")
def protocol_links(row: Protocol, ctx: Context) -> dict[str, str]:
    idp = ctx.link("OS-FEDERATION", "identity_providers", row.idp_id)
    return {"self": f"{idp}/protocols/{row.name}", "identity_provider": idp}


class ChangedIdp(Body):
    enabled: bool = field(default=False)
    description: str | None = field(default=None)
    authorization_ttl: int | None = field(default=None, lo=0, hi=2**31 - 1)
    remote_ids: list[str] | None = field(default=None)


class NewIdp(Body):
    enabled: bool = field(default=False)
    description: str | None = field(default=None)
    authorization_ttl: int | None = field(default=None, lo=0, hi=2**31 - 1)
    remote_ids: list[str] | None = field(default=None)
    domain_id: str | None = field(default=None)


class NewProtocol(Body):
    mapping_id: str = field(min_length=1, max_length=LONGEST_ID)
    remote_id_attribute: str | None = field(default=None, max_length=LONGEST_ID)


# -- identity providers


@call("GET", IDP, "list_identity_providers", noun=IdentityProvider)
def list_idps(ask: Ask[Any]) -> Any:
    return page_answer(ask, IdentityProvider, select_page(ask, IdentityProvider))


@call("GET", IDP + "/{id}", "get_identity_provider", noun=IdentityProvider)
def show_idp(ask: Ask[Any]) -> IdentityProvider:
    return found(ask, IdentityProvider, ask.params["id"])


@call("PUT", IDP + "/{id}", "create_identity_provider", noun=IdentityProvider, body=NewIdp, http=201)
def create_idp(ask: Ask[Any]) -> Any:
    """Without a domain it gets one of its own, as in Keystone."""
    given, key = ask.given, new_key(ask, IdentityProvider)
    domain_id = given.pop("domain_id", None)
    if domain_id and ask.tx.one(Project, id=domain_id, is_domain=True) is None:
        raise BadRequest(f"Could not find domain: {domain_id}.", field="domain_id")
    if not domain_id:
        about = f"Auto generated federated domain for Identity Provider: {key}"
        domain_id = add_domain(ask, {"name": ask.cloud.clock.new_hex_id(), "description": about, "enabled": True}).id
    remote_ids = given.pop("remote_ids", None) or []
    _set_remote_ids(ask.tx, key, remote_ids)
    row = ask.tx.add(IdentityProvider(id=key, domain_id=domain_id, remote_ids=remote_ids, **given))
    return Answer(201, {"identity_provider": render_row(ask, row, "detail")})


def _set_remote_ids(tx: Tx, idp_id: str, names: list[str]) -> None:
    if len(set(names)) != len(names) or any(not 1 <= len(n) <= LONGEST_ID * 4 for n in names):
        raise BadRequest(
            "Invalid input for field 'remote_ids': each is given once and is not empty.", field="remote_ids"
        )
    tx.drop_where(RemoteId, idp_id=idp_id)
    for name in names:
        if tx.get(RemoteId, name) is not None:
            raise Taken(kind="remote_id", details=f"Duplicate remote ID: {name}")
        tx.add(RemoteId(id=name, idp_id=idp_id), quiet=True)


@call("PATCH", IDP + "/{id}", "update_identity_provider", noun=IdentityProvider, body=ChangedIdp)
def update_idp(ask: Ask[Any]) -> Any:
    row, given = found(ask, IdentityProvider, ask.params["id"]), some(ask.given, "identity_provider")
    if "remote_ids" in given:
        given["remote_ids"] = given["remote_ids"] or []
        _set_remote_ids(ask.tx, row.id, given["remote_ids"])
    return ask.tx.put(row, **given)


@call("DELETE", IDP + "/{id}", "delete_identity_provider", http=204)
def delete_idp(ask: Ask[Any]) -> None:
    row = found(ask, IdentityProvider, ask.params["id"])
    ask.tx.drop_where(Protocol, idp_id=row.id)
    ask.tx.drop_where(RemoteId, idp_id=row.id)
    ask.tx.drop(row)


# -- protocols


def _protocol(ask: Ask[Any]) -> Protocol:
    name = ask.params["protocol_id"]
    row = ask.tx.one(Protocol, idp_id=ask.params["id"], name=name)
    if row is None:
        raise Missing(kind="federated protocol", id=f"{name} for Identity Provider: {ask.params['id']}")
    return row


def _shown(ask: Ask[Any], row: Protocol) -> dict[str, Any]:
    shown = render_row(ask, row, "detail")
    del shown["remote_id_attribute"], shown["idp_id"]
    return {"protocol": shown}


def _check_mapping(ask: Ask[Any], key: str | None) -> None:
    if key is not None and ask.tx.get(Mapping, key) is None:
        raise BadRequest(f"Invalid mapping id: {key}", field="mapping_id")


@call("GET", IDP + "/{id}/protocols", "list_protocols", noun=Protocol)
def list_protocols(ask: Ask[Any]) -> Any:
    idp = found(ask, IdentityProvider, ask.params["id"])
    return page_answer(ask, Protocol, select_page(ask, Protocol, idp_id=idp.id))


@call("GET", IDP + "/{id}/protocols/{protocol_id}", "get_protocol")
def show_protocol(ask: Ask[Any]) -> Any:
    return _shown(ask, _protocol(ask))


@call("PUT", IDP + "/{id}/protocols/{protocol_id}", "create_protocol", body=NewProtocol, wrap="protocol", http=201)
def create_protocol(ask: Ask[Any]) -> Any:
    idp, name = found(ask, IdentityProvider, ask.params["id"]), new_key(ask, Protocol, "protocol_id")
    _check_mapping(ask, ask.given["mapping_id"])
    if ask.tx.one(Protocol, idp_id=idp.id, name=name) is not None:
        raise Taken(kind="federation_protocol", details=f"Duplicate ID, {name}.")
    new_id = ask.cloud.clock.new_hex_id()
    return _shown(ask, ask.tx.add(Protocol(id=new_id, idp_id=idp.id, name=name, **ask.given)))


@call("PATCH", IDP + "/{id}/protocols/{protocol_id}", "update_protocol", body=NewProtocol, wrap="protocol")
def update_protocol(ask: Ask[Any]) -> Any:
    row = _protocol(ask)
    _check_mapping(ask, ask.given["mapping_id"])
    return _shown(ask, ask.tx.put(row, **ask.given))


@call("DELETE", IDP + "/{id}/protocols/{protocol_id}", "delete_protocol", http=204)
def delete_protocol(ask: Ask[Any]) -> None:
    ask.tx.drop(_protocol(ask))


# -- what a federated user may scope to: the same as any user

call("GET", f"{ROOT}/projects", "get_auth_projects")(list_projects)
call("GET", f"{ROOT}/domains", "get_auth_domains")(list_domains)
