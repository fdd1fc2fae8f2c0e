"""EC2 credentials: a pair of access key and secret for Amazon's protocols, kept as a credential of type ec2.

Source: Identity API v3 extensions, "OS-EC2".
"""

import secrets
from typing import Any

import msgspec

from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.identity.codec import Claims, new_audit_id
from nutshell.identity.credentials import Credential, Vault, access_id, refuse_borrowed, refuse_reading
from nutshell.identity.errors import Missing
from nutshell.identity.projects import Project
from nutshell.identity.service import call, found
from nutshell.identity.trusts import Trust
from nutshell.identity.users import User, user_target

ROOT = "/users/{id}/credentials/OS-EC2"


class NewPair(Body, extras="ignore"):
    tenant_id: str = field()


def find_pair(tx: Tx, access: str) -> Credential | None:
    return tx.one(Credential, id=access_id(access), type="ec2")


def opened(vault: Vault, row: Credential) -> dict[str, Any]:
    """What is sealed in it: access, secret, and what the pair was made with (trust_id, app_cred_id)."""
    blob: dict[str, Any] = msgspec.json.decode(vault.open(row.sealed))
    return {**blob, "secret": str(blob.get("secret", ""))}


def claims_of(tx: Tx, row: Credential, blob: dict[str, Any], ttl_s: int) -> Claims:
    """What a token got with the pair says. One made under a trust that impersonates is the trustee's."""
    user_id, now = row.user_id, tx.clock.real()
    trust = tx.get(Trust, blob.get("trust_id") or None)
    if trust is not None and trust.impersonation:
        user_id = trust.trustee_user_id
    return Claims(
        user_id=user_id,
        methods=("ec2credential",),
        scope="project",
        scope_id=row.project_id or "",
        issued_at=now,
        expires_at=int(now) + ttl_s,
        audit_id=new_audit_id(),
        app_credential_id=blob.get("app_cred_id") or "",
        trust_id=blob.get("trust_id") or "",
    )


def _new_target(ask: Ask[Any]) -> dict[str, Any]:
    return {"target.credential.user_id": ask.params["id"]}


def _target(ask: Ask[Any]) -> dict[str, Any]:
    """The pair, whoever the address says it belongs to; 404 comes before policy here, as in Keystone."""
    row = find_pair(ask.tx, ask.params["access"])
    if row is None:
        raise Missing(kind="credential", id=ask.params["access"])
    ask.target = row
    return {"target.credential.user_id": row.user_id}


def _shown(ask: Ask[Any], row: Credential) -> dict[str, Any]:
    blob = msgspec.json.decode(ask.cloud.port(Vault).open(row.sealed))
    return {
        "user_id": row.user_id,
        "tenant_id": row.project_id,
        "access": blob["access"],
        "secret": blob["secret"],
        "trust_id": blob.get("trust_id"),
        "links": {"self": f"{ask.url}/users/{row.user_id}/credentials/OS-EC2/{blob['access']}"},
    }


@call("GET", ROOT, "ec2_list_credentials", target=user_target)
def list_pairs(ask: Ask[Any]) -> Any:
    refuse_reading(ask, "ec2_list_credentials")
    user = found(ask, User)
    rows = ask.tx.find(Credential, user_id=user.id, type="ec2", order="created_at, id")
    return {
        "credentials": [_shown(ask, r) for r in rows],
        **ask.service.page_links(ask, "credentials", rows, False),
    }


@call("POST", ROOT, "ec2_create_credential", target=_new_target, body=NewPair, wrap="", http=201)
def create_pair(ask: Ask[Any]) -> Any:
    refuse_borrowed(ask, "ec2_create_credential")
    user = found(ask, User, ask.params["id"])
    project = found(ask, Project, ask.given["tenant_id"])
    access, secret = secrets.token_hex(16), secrets.token_hex(16)
    blob = msgspec.json.encode({"access": access, "secret": secret, "trust_id": None}).decode()
    row = ask.tx.add(
        Credential(
            id=access_id(access),
            user_id=user.id,
            project_id=project.id,
            type="ec2",
            sealed=ask.cloud.port(Vault).seal(blob),
        )
    )
    return {"credential": _shown(ask, row)}


@call("GET", ROOT + "/{access}", "ec2_get_credential", target=_target)
def show_pair(ask: Ask[Any]) -> Any:
    refuse_reading(ask, "ec2_get_credential")
    return {"credential": _shown(ask, found(ask, Credential))}


@call("DELETE", ROOT + "/{access}", "ec2_delete_credential", target=_target, http=204)
def delete_pair(ask: Ask[Any]) -> None:
    ask.tx.drop(found(ask, Credential))
