"""Requests signed with an EC2 key: their tokens, and what the port tells the services that check them."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from tests.wire.identity_rig import Rig

from nutshell.identity.port import Identity
from nutshell.identity.signatures import signing_key


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("identity"))
    yield made
    made.close()


def pair_of(rig: Rig, name: str) -> dict[str, Any]:
    user_id, project_id = rig.member(name)
    answer = rig.post(f"/users/{user_id}/credentials/OS-EC2", {"tenant_id": project_id})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["credential"]
    return found


def version_2(pair: dict[str, Any]) -> dict[str, Any]:
    params = {"SignatureVersion": "2", "Action": "DescribeInstances", "SignatureMethod": "HmacSHA256"}
    text = "GET\ncloud:8773\n/services\n" + "&".join(f"{k}={params[k]}" for k in sorted(params))
    signed = base64.b64encode(hmac.digest(pair["secret"].encode(), text.encode(), "sha256")).decode()
    request = {"verb": "GET", "host": "cloud:8773", "path": "/services", "params": params}
    return {**request, "access": pair["access"], "signature": signed, "headers": {}, "body_hash": ""}


def s3_body(pair: dict[str, Any]) -> dict[str, Any]:
    hashed = hashlib.sha256(b"a request").hexdigest()
    text = f"AWS4-HMAC-SHA256\n20261122T120000Z\n20261122/RegionOne/s3/aws4_request\n{hashed}"
    signed = hmac.digest(signing_key(pair["secret"], "20261122", "RegionOne", "s3"), text.encode(), "sha256").hex()
    token = base64.urlsafe_b64encode(text.encode()).decode()
    return {"credentials": {"access": pair["access"], "token": token, "signature": signed}}


def test_a_signed_request_gets_a_token(rig: Rig) -> None:
    pair = pair_of(rig, "signer")
    given = version_2(pair)
    answer = rig.post("/ec2tokens", {"ec2Credentials": given})
    assert answer.status_code == 200, answer.text
    token = answer.json()["token"]
    assert token["methods"] == ["ec2credential"]
    assert token["project"]["id"] == pair["tenant_id"]
    assert rig.check(answer.headers["X-Subject-Token"]) == 200
    derived = {"methods": ["token"], "token": {"id": answer.headers["X-Subject-Token"]}}
    assert rig.auth(derived, "unscoped").status_code == 403  # what was delegated is not widened
    for wrong in ({"signature": "x"}, {"path": "/other"}, {"signature": None}):
        assert rig.post("/ec2tokens", {"ec2Credentials": {**given, **wrong}}).status_code == 401
    old = {**given, "params": {**given["params"], "Timestamp": "2020-01-01T00:00:00Z"}}
    assert rig.post("/ec2tokens", {"ec2Credentials": old}).status_code == 401
    assert rig.post("/ec2tokens", {"ec2Credentials": {**given, "access": "unknown"}}).status_code == 404
    assert rig.post("/ec2tokens", {}).status_code == 400
    assert rig.post("/ec2tokens", {"credentials": given}, token="").status_code == 401
    assert rig.post("/ec2tokens", {"credentials": given}, token=rig.login("signer", "signer")).status_code == 403


def test_s3_signatures_are_checked(rig: Rig) -> None:
    pair = pair_of(rig, "keeper")
    body = s3_body(pair)
    answer = rig.post("/s3tokens", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["token"]["user"]["id"] == pair["user_id"]
    assert "X-Subject-Token" not in answer.headers
    assert rig.post("/s3tokens", {"credentials": {**body["credentials"], "signature": "0" * 64}}).status_code == 401


def test_the_port_knows_a_pair_while_it_counts(rig: Rig) -> None:
    pair = pair_of(rig, "caller")
    port = rig.cloud.port(Identity)
    found = port.ec2_credential(pair["access"])
    assert found is not None
    assert found.secret == pair["secret"]
    assert pair["secret"] not in repr(found)
    assert found.who.project_id == pair["tenant_id"]
    assert "member" in found.who.roles
    assert found.signing_key("20261122", "RegionOne") == signing_key(pair["secret"], "20261122", "RegionOne", "s3")
    assert port.ec2_credential(pair["access"]) is found
    assert port.ec2_credential("unknown") is None
    rig.patch(f"/users/{pair['user_id']}", {"user": {"enabled": False}})
    assert port.ec2_credential(pair["access"]) is None
    rig.patch(f"/users/{pair['user_id']}", {"user": {"enabled": True}})
    assert port.ec2_credential(pair["access"]) is not None
    rig.delete(f"/users/{pair['user_id']}/credentials/OS-EC2/{pair['access']}")
    assert port.ec2_credential(pair["access"]) is None
