"""What users hand on: application credentials with access rules, trusts, EC2 keys."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.wire.identity_rig import Rig


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    where: dict[str, str] = {}
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        psycopg = pytest.importorskip("psycopg")
        with psycopg.connect(server + "/postgres", autocommit=True) as c:
            c.execute("CREATE DATABASE delegation")
        where["database"] = server + "/delegation"
    made = Rig(tmp_path_factory.mktemp("identity"), **where)
    yield made
    made.close()


@pytest.fixture(scope="module")
def owner(rig: Rig) -> tuple[str, str]:
    """(user id, project token) of a member of demo."""
    user_id, _ = rig.member("owner")
    return user_id, rig.login("owner", "owner", project="demo")


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def make(rig: Rig, owner: tuple[str, str], **values: Any) -> dict[str, Any]:
    answer = rig.post(f"/users/{owner[0]}/application_credentials", {"application_credential": values}, token=owner[1])
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()["application_credential"]
    return found


def sign_in(rig: Rig, made: dict[str, Any], scope: Any = None, **other: Any) -> Any:
    proof = {"id": made["id"], "secret": made["secret"], **other}
    return rig.auth({"methods": ["application_credential"], "application_credential": proof}, scope)


def test_an_application_credential_stands_for_some_roles(rig: Rig, owner: tuple[str, str]) -> None:
    made = make(rig, owner, name="readonly", roles=[{"name": "reader"}])
    answer = sign_in(rig, made)
    token = answer.json()["token"]
    assert [r["name"] for r in token["roles"]] == ["reader"]
    assert token["project"]["name"] == "demo"
    assert token["application_credential"] == {"id": made["id"], "name": "readonly", "restricted": True}
    assert sign_in(rig, made, secret="wrong").status_code == 401
    assert sign_in(rig, made, {"system": {"all": True}}).status_code == 401
    shown = rig.get(f"/users/{owner[0]}/application_credentials/{made['id']}", token=owner[1]).json()
    assert "secret" not in shown["application_credential"]
    by_name = {"name": "readonly", "secret": made["secret"], "user": {"id": owner[0]}}
    again = rig.auth({"methods": ["application_credential"], "application_credential": by_name})
    assert again.status_code == 201


def test_a_restricted_one_makes_no_others(rig: Rig, owner: tuple[str, str]) -> None:
    token = sign_in(rig, make(rig, owner, name="narrow")).headers["X-Subject-Token"]
    path = f"/users/{owner[0]}/application_credentials"
    body = {"application_credential": {"name": "wider", "unrestricted": True}}
    assert rig.post(path, body, token=token).status_code == 403
    assert rig.post(f"/users/{owner[0]}/credentials/OS-EC2", {"tenant_id": "x"}, token=token).status_code == 403
    assert rig.get(f"/users/{owner[0]}/credentials/OS-EC2", token=token).status_code == 403
    assert rig.get("/credentials", token=token).status_code == 403
    assert rig.auth({"methods": ["token"], "token": {"id": token}}, "unscoped").status_code == 403
    free = sign_in(rig, make(rig, owner, name="broad", unrestricted=True)).headers["X-Subject-Token"]
    assert rig.post(path, body, token=free).status_code == 201


def test_it_ends_with_its_time_its_deletion_and_its_users_role(rig: Rig) -> None:
    user_id, project_id = rig.member("ender")
    me = (user_id, rig.login("ender", "ender", project="demo"))
    short = make(rig, me, name="short", expires_at=iso(time.time() + 1.2))
    token = sign_in(rig, short).headers["X-Subject-Token"]
    long = make(rig, me, name="long")
    kept = sign_in(rig, long).headers["X-Subject-Token"]
    assert rig.check(token) == 200
    time.sleep(1.3)
    assert sign_in(rig, short).status_code == 401
    path = f"/users/{user_id}/application_credentials/{long['id']}"
    assert rig.delete(path, token=me[1]).status_code == 204
    assert rig.check(kept) == 404
    assert sign_in(rig, long).status_code == 401
    third = make(rig, me, name="third")
    held = sign_in(rig, third).headers["X-Subject-Token"]
    assert rig.delete(f"/projects/{project_id}/users/{user_id}/roles/{rig.role('member')}").status_code == 204
    assert rig.check(held) == 404
    assert sign_in(rig, third).status_code == 401


@pytest.mark.parametrize(
    "values",
    [
        {"name": "x", "roles": [{"name": "admin"}]},
        {"name": "x", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "x", "expires_at": "soon"},
        {"name": ""},
        {"name": "x", "access_rules": [{"service": "compute", "method": "STEAL", "path": "/"}]},
    ],
)
def test_bad_ones_are_refused(rig: Rig, owner: tuple[str, str], values: dict[str, Any]) -> None:
    path = f"/users/{owner[0]}/application_credentials"
    assert rig.post(path, {"application_credential": values}, token=owner[1]).status_code == 400


def test_nobody_makes_one_for_another(rig: Rig, owner: tuple[str, str]) -> None:
    path = f"/users/{owner[0]}/application_credentials"
    assert rig.post(path, {"application_credential": {"name": "stolen"}}).status_code == 403


def test_access_rules_bind(rig: Rig, owner: tuple[str, str]) -> None:
    rules = [
        {"service": "identity", "method": "GET", "path": "/v3/regions"},
        {"service": "identity", "method": "GET", "path": "/v3/users/*"},
    ]
    made = make(rig, owner, name="bound", access_rules=rules)
    token = sign_in(rig, made).headers["X-Subject-Token"]
    assert rig.get("/regions", token=token).status_code == 200
    assert rig.get(f"/users/{owner[0]}", token=token).status_code == 200
    assert rig.get(f"/users/{owner[0]}/projects", token=token).status_code == 401
    assert rig.get("/auth/catalog", token=token).status_code == 401
    assert rig.call("HEAD", "/regions", token=token).status_code == 401
    listed = rig.get(f"/users/{owner[0]}/access_rules", token=owner[1]).json()["access_rules"]
    assert {(r["method"], r["path"]) for r in listed} == {("GET", "/v3/regions"), ("GET", "/v3/users/*")}
    path = f"/users/{owner[0]}/access_rules/{listed[0]['id']}"
    assert rig.delete(path, token=owner[1]).status_code == 403
    assert rig.delete(f"/users/{owner[0]}/application_credentials/{made['id']}", token=owner[1]).status_code == 204
    assert rig.delete(path, token=owner[1]).status_code == 204


# -- trusts


@pytest.fixture(scope="module")
def trustee(rig: Rig) -> tuple[str, str]:
    user = rig.make("user", "/users", name="trustee", password="trustee")
    return user["id"], rig.login("trustee", "trustee", scope="unscoped")


def entrust(rig: Rig, owner: tuple[str, str], trustee: tuple[str, str], **values: Any) -> Any:
    project = rig.get("/projects?name=demo").json()["projects"][0]["id"]
    body = {
        "trustor_user_id": owner[0],
        "trustee_user_id": trustee[0],
        "project_id": project,
        "impersonation": True,
        "roles": [{"name": "reader"}],
        **values,
    }
    return rig.post("/OS-TRUST/trusts", {"trust": body}, token=owner[1])


def use(rig: Rig, trust: dict[str, Any], name: str = "trustee") -> Any:
    return rig.password(name, name, {"OS-TRUST:trust": {"id": trust["id"]}})


def test_a_trust_lets_another_act(rig: Rig, owner: tuple[str, str], trustee: tuple[str, str]) -> None:
    trust = entrust(rig, owner, trustee).json()["trust"]
    answer = use(rig, trust)
    token = answer.json()["token"]
    assert token["user"]["id"] == owner[0]
    assert [r["name"] for r in token["roles"]] == ["reader"]
    assert token["OS-TRUST:trust"]["trustee_user"] == {"id": trustee[0]}
    assert use(rig, trust, "owner").status_code == 403
    held = answer.headers["X-Subject-Token"]
    assert rig.get("/auth/catalog", token=held).status_code == 200
    lasting = {"application_credential": {"name": "lasting"}}
    assert rig.post(f"/users/{owner[0]}/application_credentials", lasting, token=held).status_code == 403
    assert rig.get(f"/users/{owner[0]}/credentials/OS-EC2", token=held).status_code == 403
    assert rig.auth({"methods": ["token"], "token": {"id": held}}).status_code == 403
    assert rig.delete(f"/OS-TRUST/trusts/{trust['id']}", token=trustee[1]).status_code == 403
    assert rig.delete(f"/OS-TRUST/trusts/{trust['id']}", token=owner[1]).status_code == 204
    assert rig.check(held) == 404
    assert use(rig, trust).status_code == 401


def test_without_impersonation_the_trustee_acts_itself(
    rig: Rig, owner: tuple[str, str], trustee: tuple[str, str]
) -> None:
    trust = entrust(rig, owner, trustee, impersonation=False).json()["trust"]
    assert use(rig, trust).json()["token"]["user"]["id"] == trustee[0]


def test_uses_are_counted(rig: Rig, owner: tuple[str, str], trustee: tuple[str, str]) -> None:
    trust = entrust(rig, owner, trustee, remaining_uses=2).json()["trust"]
    held = use(rig, trust).headers["X-Subject-Token"]
    assert use(rig, trust).status_code == 201
    assert use(rig, trust).status_code == 401
    assert rig.check(held) == 200


def test_nobody_gives_what_it_does_not_have(rig: Rig, owner: tuple[str, str], trustee: tuple[str, str]) -> None:
    assert entrust(rig, owner, trustee, roles=[{"name": "admin"}]).status_code == 404
    assert entrust(rig, owner, trustee, roles=[]).status_code == 403
    assert entrust(rig, owner, trustee, trustor_user_id=trustee[0]).status_code == 403
    assert entrust(rig, owner, trustee, expires_at="2001-01-01T00:00:00Z").status_code == 400
    assert entrust(rig, owner, trustee, remaining_uses=0).status_code == 400


def test_a_trust_handed_on_is_never_more(rig: Rig, owner: tuple[str, str], trustee: tuple[str, str]) -> None:
    other = rig.make("user", "/users", name="second", password="second")
    first = entrust(rig, owner, trustee, allow_redelegation=True, redelegation_count=1).json()["trust"]
    held = use(rig, first).headers["X-Subject-Token"]
    wide = entrust(rig, (owner[0], held), (other["id"], ""), roles=[{"name": "member"}])
    assert wide.status_code == 404
    answer = entrust(rig, (owner[0], held), (other["id"], ""))
    assert answer.status_code == 201
    second = answer.json()["trust"]
    assert second["redelegated_trust_id"] == first["id"]
    token = use(rig, second, "second").headers["X-Subject-Token"]
    assert rig.check(token) == 200
    assert rig.delete(f"/OS-TRUST/trusts/{first['id']}", token=owner[1]).status_code == 204
    assert rig.check(token) == 404


# -- EC2


def test_ec2_pairs(rig: Rig, owner: tuple[str, str]) -> None:
    project = rig.get("/projects?name=demo").json()["projects"][0]["id"]
    path = f"/users/{owner[0]}/credentials/OS-EC2"
    pair = rig.post(path, {"tenant_id": project}, token=owner[1]).json()["credential"]
    assert rig.get(f"{path}/{pair['access']}", token=owner[1]).json()["credential"] == pair
    assert rig.get(path, token=owner[1]).json()["credentials"] == [pair]
    stranger = rig.login("demo", rig_password(rig), project="demo")
    assert rig.get(f"{path}/{pair['access']}", token=stranger).status_code == 403
    assert rig.delete(f"{path}/{pair['access']}", token=owner[1]).status_code == 204
    assert rig.get(f"{path}/{pair['access']}", token=owner[1]).status_code == 404


def rig_password(rig: Rig) -> str:
    import json

    return str(json.loads((rig.state / "credentials.json").read_text())["demo"]["password"])
