"""Credentials: secrets that identity keeps for users, encrypted (Identity API v3, "Credentials").

Encryption: Fernet (https://github.com/fernet/spec), with keys that are renewed (keys.py).
"""

import base64
import hashlib
from typing import Any

import msgspec

from nutshell.core.errors import BadRequest
from nutshell.core.listing import select_page
from nutshell.core.render import render_row, render_rows
from nutshell.core.resource import Resource, field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.identity.errors import ForbiddenAction, Taken
from nutshell.identity.keys import Keys
from nutshell.identity.service import call, found, merged_extra, named


class Credential(Resource, service="identity", one="credential", many="credentials", extras="keep"):
    user_id: str = field(filter=True, index=True)
    project_id: str | None = field(default=None, index=True)
    type: str = field(filter=True)
    sealed: str = field(default="", hidden=True)
    extra: dict[str, Any] = field(factory=dict, hidden=True)


@Credential.shows("links")
def links(row: Credential, ctx: Any) -> dict[str, str]:
    return {"self": ctx.link("credentials", row.id)}


_row = named(Credential)


class Vault:
    """Seals and opens what must not lie readable in the database: "number of the key:Fernet"."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def seal(self, text: str) -> str:
        from cryptography.fernet import Fernet

        number, key = self._keys.newest("credentials")
        return f"{number}:" + Fernet(base64.urlsafe_b64encode(key)).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        from cryptography.fernet import Fernet

        number, _, text = sealed.partition(":")
        key = self._keys.find("credentials", int(number))
        if key is None:
            raise LookupError(f"key {number} of the credentials is gone")
        return Fernet(base64.urlsafe_b64encode(key)).decrypt(text.encode()).decode()


class NewCredential(Body, extras="keep"):
    type: str = field(max_length=255)
    blob: str = field()
    user_id: str = field(min_length=1, max_length=64)
    project_id: str | None = field(default=None, max_length=64)


class ChangedCredential(Body, extras="keep"):
    type: str = field(default="", max_length=255)
    blob: str = field(default="")
    user_id: str = field(default="", min_length=1, max_length=64)
    project_id: str | None = field(default=None, max_length=64)


def new_target(ask: Ask[Any]) -> dict[str, Any]:
    given = ask.body.get("credential") if isinstance(ask.body, dict) else None
    owner = given.get("user_id") if isinstance(given, dict) else None
    return {"target.credential.user_id": owner or ask.who.user_id}


def shown(ask: Ask[Any], rows: list[Credential]) -> list[dict[str, Any]]:
    vault = ask.cloud.port(Vault)
    return [
        {**one, "blob": vault.open(row.sealed)}
        for one, row in zip(render_rows(ask, Credential, rows, "detail"), rows, strict=True)
    ]


def _ec2_id(kind: str, blob: str) -> str | None:
    """EC2 credentials are found by their access key, whose hash is their id."""
    if kind != "ec2":
        return None
    try:
        access = msgspec.json.decode(blob).get("access")
    except (msgspec.DecodeError, AttributeError, RecursionError):
        raise BadRequest("Invalid blob in credential", field="blob") from None
    if not isinstance(access, str) or not access:
        raise BadRequest("Invalid blob in credential", field="blob")
    return access_id(access)


def access_id(access: str) -> str:
    return hashlib.sha256(access.encode()).hexdigest()


def own(ask: Ask[Any]) -> dict[str, Any]:
    return {"target.credential.user_id": ask.who.user_id}


@call("GET", "/credentials", "list_credentials", noun=Credential, target=own)
def list_credentials(ask: Ask[Any]) -> Any:
    refuse_reading(ask, "list_credentials")
    everybody = ask.may("identity:list_credentials", {})
    mine: dict[str, Any] = {} if everybody else {"user_id": ask.who.user_id}
    page = select_page(ask, Credential, **mine)
    return {"credentials": shown(ask, page.rows), **ask.service.page_links(ask, "credentials", page.rows, page.more)}


def refuse_borrowed(ask: Ask[Any], rule: str) -> None:
    """A token that stands for a delegation may not make a lasting secret out of it."""
    if ask.who.facts.get("trust_id") or "application_credential" in ask.who.facts.get("methods", ()):
        raise ForbiddenAction(rule=f"identity:{rule}")


def refuse_reading(ask: Ask[Any], rule: str) -> None:
    """Nor may it read secrets that give more than it was given."""
    facts = ask.who.facts
    if facts.get("trust_id") or facts.get("application_credential", {}).get("restricted"):
        raise ForbiddenAction(rule=f"identity:{rule}")


@call("GET", "/credentials/{id}", "get_credential", noun=Credential, target=named(Credential))
def show_credential(ask: Ask[Any]) -> Any:
    refuse_reading(ask, "get_credential")
    return {"credential": shown(ask, [found(ask, Credential)])[0]}


@call("POST", "/credentials", "create_credential", noun=Credential, body=NewCredential, target=new_target, http=201)
def create_credential(ask: Ask[Any]) -> Any:
    given = ask.given
    refuse_borrowed(ask, "create_credential")
    blob, owner = given.pop("blob"), given.pop("user_id")
    project_id = given.pop("project_id", None)
    if given["type"] == "ec2" and not project_id:
        raise BadRequest("Expecting to find project_id in credential.", field="project_id")
    row_id = _ec2_id(given["type"], blob) or ask.cloud.clock.new_hex_id()
    if ask.tx.get(Credential, row_id) is not None:
        raise Taken(kind="credential", details="Duplicate entry.")
    sealed = ask.cloud.port(Vault).seal(blob)
    row = ask.tx.add(Credential(id=row_id, user_id=owner, project_id=project_id, sealed=sealed, **given))
    return {"credential": {**render_row(ask, row, "detail"), "blob": blob}}


@call(
    "PATCH", "/credentials/{id}", "update_credential", body=ChangedCredential, target=named(Credential), noun=Credential
)
def update_credential(ask: Ask[Any]) -> Any:
    refuse_borrowed(ask, "update_credential")
    row, given = found(ask, Credential), ask.given
    if "user_id" in given and given["user_id"] != row.user_id:
        ask.must("identity:update_credential", {"target.credential.user_id": given["user_id"]})
    if "blob" in given:
        given["sealed"] = ask.cloud.port(Vault).seal(given.pop("blob"))
    return {"credential": shown(ask, [ask.tx.put(row, **merged_extra(row, given))])[0]}


@call("DELETE", "/credentials/{id}", "delete_credential", target=named(Credential), http=204)
def delete_credential(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, Credential))
