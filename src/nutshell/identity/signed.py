"""Tokens for requests that were signed with an EC2 key: /ec2tokens and /s3tokens.

Source: Identity API v3 extensions, "s3tokens", "OS-EC2"; asked by services that take Amazon's protocols.
"""

from typing import Any

from nutshell.core.errors import BadRequest, Unauthorized
from nutshell.core.service import Answer, Ask
from nutshell.identity.authority import Authority
from nutshell.identity.credentials import Vault
from nutshell.identity.ec2 import claims_of, find_pair, opened
from nutshell.identity.errors import Missing
from nutshell.identity.service import call
from nutshell.identity.settings import IdentityConfig
from nutshell.identity.signatures import ec2_right, s3_right, signed_at
from nutshell.identity.tokens import JSON


def _given(ask: Ask[Any]) -> dict[str, Any]:
    """The signed request's facts, under any of the three names that clients use."""
    body = ask.body
    if not isinstance(body, dict) or not body:
        raise BadRequest("request must include a request body")
    given: Any = next((body[n] for n in ("credentials", "credential", "ec2Credentials") if body.get(n)), {})
    if not isinstance(given, dict) or not isinstance(given.get("access"), str):
        raise Unauthorized("EC2 Signature not supplied")
    return given


def _token(ask: Ask[Any], s3: bool) -> tuple[str, bytes]:
    """A token and its body, for a request that was rightly and lately signed."""
    given = _given(ask)
    row = find_pair(ask.tx, given["access"])
    if row is None:
        raise Missing("EC2 access key not found.", kind="EC2 access key", id="")
    blob = opened(ask.cloud.port(Vault), row)
    secret = blob["secret"]
    right = s3_right(secret, str(given.get("token")), str(given.get("signature"))) if s3 else ec2_right(secret, given)
    at = signed_at(given)
    ttl_s = ask.cloud.settings[IdentityConfig].signature_ttl_s
    if not secret or not right or (at is not None and at + ttl_s < ask.cloud.clock.real()):
        raise Unauthorized()
    authority = ask.cloud.port(Authority)
    token, session = authority.issue(ask.tx, claims_of(ask.tx, row, blob, authority.ttl_s))
    return token, authority.body(session, ask.base, True, ask.tx)


@call("POST", "/ec2tokens", "ec2tokens_validate", writes=False)
def ec2_token(ask: Ask[Any]) -> Answer:
    token, body = _token(ask, s3=False)
    return Answer(200, body, {**JSON, "X-Subject-Token": token})


@call("POST", "/s3tokens", "s3tokens_validate", writes=False)
def s3_token(ask: Ask[Any]) -> Answer:
    """Without the token itself: the service that asks acts for the user by its own."""
    return Answer(200, _token(ask, s3=True)[1], JSON)
