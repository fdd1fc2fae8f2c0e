"""Mappings: what a user that another identity provider vouches for is here (Identity API v3, "OS-FEDERATION").

The rules are checked when they are stored (mapping_rules.py); nobody can log in by federation yet.
"""

from typing import Any

from nutshell.core.errors import BadRequest
from nutshell.core.listing import page_answer, select_page
from nutshell.core.render import Context, render_row
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.identity.errors import Taken
from nutshell.identity.mapping_rules import VERSIONS, check_rules
from nutshell.identity.service import call, found

PATH = "/OS-FEDERATION/mappings"


class Mapping(Resource, service="identity", one="mapping", many="mappings", path=PATH):
    rules: list[dict[str, Any]] = field(factory=list)
    schema_version: str = field(default=VERSIONS[0])


@Mapping.shows("links")
def links(row: Mapping, ctx: Context) -> dict[str, str]:
    return {"self": ctx.link("OS-FEDERATION", "mappings", row.id)}


def _given(ask: Ask[Any]) -> dict[str, Any]:
    """rules and schema_version of the body, checked."""
    given = ask.body.get("mapping") if isinstance(ask.body, dict) else None
    if not isinstance(given, dict):
        raise BadRequest("Invalid input for field 'mapping': an object is required.", field="mapping")
    version = given.get("schema_version") or VERSIONS[0]
    if version not in VERSIONS:
        raise BadRequest(f"Invalid input for field 'schema_version': it is one of {', '.join(VERSIONS)}.")
    check_rules(given.get("rules"), version)
    return {"rules": given["rules"], "schema_version": version}


@call("GET", PATH, "list_mappings", noun=Mapping)
def list_mappings(ask: Ask[Any]) -> Any:
    return page_answer(ask, Mapping, select_page(ask, Mapping))


@call("GET", PATH + "/{id}", "get_mapping", noun=Mapping)
def show_mapping(ask: Ask[Any]) -> Mapping:
    return found(ask, Mapping, ask.params["id"])


@call("PUT", PATH + "/{id}", "create_mapping", noun=Mapping)
def create_mapping(ask: Ask[Any]) -> Any:
    given, key = _given(ask), ask.params["id"]
    if len(key) > 64:
        raise BadRequest("Invalid input for field 'id': it has at most 64 characters.", field="id")
    if ask.tx.get(Mapping, key) is not None:
        raise Taken(kind="mapping", details=f"Duplicate ID, {key}.")
    return Answer(201, {"mapping": render_row(ask, ask.tx.add(Mapping(id=key, **given)), "detail")})


@call("PATCH", PATH + "/{id}", "update_mapping", noun=Mapping)
def update_mapping(ask: Ask[Any]) -> Mapping:
    given = _given(ask)
    return ask.tx.put(found(ask, Mapping, ask.params["id"]), **given)


@call("DELETE", PATH + "/{id}", "delete_mapping", http=204)
def delete_mapping(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, Mapping, ask.params["id"]))
