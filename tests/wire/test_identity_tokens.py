"""Tokens as clients see them: how they are got, what they say, and when they end."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.database import everything_kept, on_postgresql
from tests.wire.identity_rig import ADMIN_PASSWORD, Rig

from nutshell.identity.authority import Authority
from nutshell.identity.passwords import Passwords
from nutshell.identity.revocations import Revocation


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("identity"))
    yield made
    made.close()


def by_token(rig: Rig, token: str, scope: Any = None) -> Any:
    return rig.auth({"methods": ["token"], "token": {"id": token}}, scope)


def test_versions_are_discovered_without_a_token(rig: Rig) -> None:
    root = rig.get("/identity", token="")
    assert root.status_code == 300
    assert root.json()["versions"]["values"][0]["id"] == "v3.14"
    one = rig.get("/identity/v3/", token="")
    assert one.status_code == 200
    assert one.json()["version"]["links"][0]["href"] == "http://cloud.example:5000/identity/v3/"


def test_a_project_token_says_who_where_and_what(rig: Rig) -> None:
    answer = rig.password("admin", ADMIN_PASSWORD, {"project": {"name": "admin", "domain": {"name": "Default"}}})
    token = answer.json()["token"]
    assert token["user"]["name"] == "admin"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert [r["name"] for r in token["roles"]] == ["admin", "manager", "member", "reader"]
    assert token["methods"] == ["password"]
    assert token["expires_at"].endswith(".000000Z")
    urls = [e["url"] for s in token["catalog"] for e in s["endpoints"] if s["type"] == "identity"]
    assert urls == ["http://cloud.example:5000/identity"] * 3


def test_addresses_follow_the_request(rig: Rig) -> None:
    answer = rig.get("/auth/catalog", X_Forwarded_Proto="https", X_Forwarded_Host="cloud.test")
    assert answer.json()["catalog"][0]["endpoints"][0]["url"] == "https://cloud.test/identity"
    listed = rig.get("/endpoints", X_Forwarded_Host="cloud.test").json()["endpoints"]
    assert {e["url"] for e in listed} == {"http://cloud.test/identity"}


@pytest.mark.parametrize(
    ("scope", "member"),
    [({"domain": {"id": "default"}}, "domain"), ({"system": {"all": True}}, "system"), ("unscoped", None)],
)
def test_other_scopes(rig: Rig, scope: Any, member: str | None) -> None:
    token = rig.password("admin", ADMIN_PASSWORD, scope).json()["token"]
    assert "project" not in token
    if member is None:
        assert "roles" not in token
        assert "catalog" not in token
    else:
        assert token[member]
        assert "admin" in [r["name"] for r in token["roles"]]


def test_a_user_without_default_project_gets_an_unscoped_token(rig: Rig) -> None:
    rig.make("user", "/users", name="loner", password="loner")
    token = rig.password("loner", "loner").json()["token"]
    assert not {"project", "domain", "system", "roles"} & set(token)


@pytest.mark.parametrize(
    ("name", "password", "scope"),
    [
        ("admin", "wrong", None),
        ("nobody", "wrong", None),
        ("admin", ADMIN_PASSWORD, {"project": {"id": "nowhere"}}),
        ("demo-stranger", "demo-stranger", {"project": {"name": "admin", "domain": {"id": "default"}}}),
        ("demo-stranger", "demo-stranger", {"system": {"all": True}}),
    ],
)
def test_every_refusal_is_the_same(rig: Rig, name: str, password: str, scope: Any) -> None:
    if name == "demo-stranger" and not rig.get("/users?name=demo-stranger").json()["users"]:
        rig.make("user", "/users", name=name, password=name)
    answer = rig.password(name, password, scope)
    assert answer.status_code == 401
    assert answer.json()["error"] == {
        "code": 401,
        "message": "The request you have made requires authentication.",
        "title": "Unauthorized",
    }
    assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"auth": {}},
        {"auth": {"identity": {"methods": ["password"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "x"}}}}},
        {"auth": {"identity": {"methods": "password"}}},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": 5}}}},
    ],
)
def test_a_malformed_request_is_a_400(rig: Rig, body: Any) -> None:
    assert rig.post("/auth/tokens", body, token="").status_code == 400


def test_an_unknown_method_is_refused(rig: Rig) -> None:
    assert rig.auth({"methods": ["magic"]}).status_code == 401


def test_a_rescoped_token_keeps_its_end_and_its_line(rig: Rig) -> None:
    first = rig.password("admin", ADMIN_PASSWORD, "unscoped")
    second = by_token(rig, first.headers["X-Subject-Token"], {"system": {"all": True}})
    assert second.status_code == 201
    a, b = first.json()["token"], second.json()["token"]
    assert b["expires_at"] == a["expires_at"]
    assert set(b["methods"]) == {"password", "token"}
    assert b["audit_ids"][1] == a["audit_ids"][0]


def test_validate_check_and_revoke(rig: Rig) -> None:
    token = rig.login("admin", ADMIN_PASSWORD, project="admin")
    shown = rig.get("/auth/tokens", X_Subject_Token=token)
    assert shown.headers["X-Subject-Token"] == token
    assert rig.call("HEAD", "/auth/tokens", X_Subject_Token=token).status_code == 200
    assert "catalog" not in rig.get("/auth/tokens?nocatalog", X_Subject_Token=token).json()["token"]
    assert rig.delete("/auth/tokens", X_Subject_Token=token).status_code == 204
    assert rig.check(token) == 404
    assert rig.get("/projects", token=token).status_code == 401


def test_revoking_ends_the_tokens_got_with_it(rig: Rig) -> None:
    first = rig.login("admin", ADMIN_PASSWORD, scope="unscoped")
    second = by_token(rig, first, {"system": {"all": True}}).headers["X-Subject-Token"]
    third = by_token(rig, first, {"domain": {"id": "default"}}).headers["X-Subject-Token"]
    assert rig.delete("/auth/tokens", X_Subject_Token=third).status_code == 204
    assert (rig.check(first), rig.check(second), rig.check(third)) == (200, 200, 404)
    assert rig.delete("/auth/tokens", X_Subject_Token=first).status_code == 204
    assert (rig.check(first), rig.check(second)) == (404, 404)


def test_a_forged_token_is_none(rig: Rig) -> None:
    token = rig.admin
    for bad in (
        token[:-4] + "AAAA",
        token[:10] + ("A" if token[10] != "A" else "B") + token[11:],
        "nt",
        "x",
        token * 9,
    ):
        assert rig.get("/projects", token=bad).status_code == 401


def test_strangers_may_not_look_at_a_token(rig: Rig) -> None:
    rig.member("looker")
    own = rig.login("looker", "looker", project="demo")
    assert rig.get("/auth/tokens", token=own, X_Subject_Token=own).status_code == 200
    assert rig.get("/auth/tokens", token=own, X_Subject_Token=rig.admin).status_code == 403
    assert rig.delete("/auth/tokens", token=own, X_Subject_Token=rig.admin).status_code == 403


def test_a_changed_password_ends_the_old_tokens_and_the_remembered_login(rig: Rig) -> None:
    user_id, _ = rig.member("changer")
    token = rig.login("changer", "changer", project="demo")
    change = {"user": {"password": "another", "original_password": "wrong"}}
    assert rig.post(f"/users/{user_id}/password", change, token=token).status_code == 401
    change["user"]["original_password"] = "changer"
    assert rig.post(f"/users/{user_id}/password", change, token=token).status_code == 204
    assert rig.check(token) == 404
    assert rig.password("changer", "changer").status_code == 401
    assert rig.password("changer", "another").status_code == 201


@pytest.mark.parametrize("what", ["user", "project"])
def test_disabling_ends_tokens_at_once_and_for_good(rig: Rig, what: str) -> None:
    name = f"off-{what}"
    project = rig.make("project", "/projects", name=name)
    user_id, project_id = rig.member(name, project=name)
    token = rig.login(name, name, project=name)
    assert rig.get("/auth/projects", token=token).status_code == 200
    path = f"/users/{user_id}" if what == "user" else f"/projects/{project_id}"
    assert rig.patch(path, {what: {"enabled": False}}).status_code == 200
    assert rig.get("/auth/projects", token=token).status_code == 401
    assert rig.password(name, name, {"project": {"id": project["id"]}}).status_code == 401
    assert rig.patch(path, {what: {"enabled": True}}).status_code == 200
    assert rig.check(token) == 404
    assert rig.password(name, name, {"project": {"id": project["id"]}}).status_code == 201


def test_disabling_a_domain_ends_its_users_tokens(rig: Rig) -> None:
    domain = rig.make("domain", "/domains", name="shaky")
    rig.make("user", "/users", name="dweller", password="dweller", domain_id=domain["id"])
    token = rig.password("dweller", "dweller", domain=domain["id"]).headers["X-Subject-Token"]
    assert rig.check(token) == 200
    assert rig.patch(f"/domains/{domain['id']}", {"domain": {"enabled": False}}).status_code == 200
    assert rig.check(token) == 404
    assert rig.password("dweller", "dweller", domain=domain["id"]).status_code == 401


def test_losing_the_last_role_ends_the_token(rig: Rig) -> None:
    user_id, project_id = rig.member("loser")
    token = rig.login("loser", "loser", project="demo")
    role = rig.role("member")
    assert rig.delete(f"/projects/{project_id}/users/{user_id}/roles/{role}").status_code == 204
    assert rig.check(token) == 404


def test_roles_by_group_and_by_inheritance(rig: Rig) -> None:
    user = rig.make("user", "/users", name="heir", password="heir")
    group = rig.make("group", "/groups", name="heirs")
    parent = rig.make("project", "/projects", name="parent")
    child = rig.make("project", "/projects", name="child", parent_id=parent["id"])
    assert rig.put(f"/groups/{group['id']}/users/{user['id']}").status_code == 204
    path = f"/OS-INHERIT/projects/{parent['id']}/groups/{group['id']}/roles/{rig.role('reader')}/inherited_to_projects"
    assert rig.put(path).status_code == 204
    below = rig.password("heir", "heir", {"project": {"id": child["id"]}})
    assert [r["name"] for r in below.json()["token"]["roles"]] == ["reader"]
    assert rig.password("heir", "heir", {"project": {"id": parent["id"]}}).status_code == 401
    token = below.headers["X-Subject-Token"]
    assert [p["name"] for p in rig.get("/auth/projects", token=token).json()["projects"]] == ["child"]
    assert rig.delete(f"/groups/{group['id']}/users/{user['id']}").status_code == 204
    assert rig.check(token) == 404


def test_a_login_is_remembered_only_as_long_as_its_hash_stands(rig: Rig) -> None:
    passwords = rig.cloud.port(Passwords)
    stored = passwords.hash("right")
    assert not passwords.known("u", stored, "right")
    assert passwords.verify("u", stored, "right")
    assert passwords.known("u", stored, "right")
    assert not passwords.known("u", stored, "wrong")
    assert not passwords.known("u", passwords.hash("right"), "right")
    assert not passwords.known("v", stored, "right")


def test_an_unknown_user_costs_what_a_known_one_costs(rig: Rig) -> None:
    def cost(name: str) -> float:
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            assert rig.password(name, "wrong").status_code == 401
            taken.append(time.perf_counter() - started)
        return min(taken)

    known, unknown = cost("admin"), cost("no-such-user")
    assert unknown > 0.4 * known
    assert known > 0.4 * unknown


def test_a_revoked_token_takes_its_descendants_and_leaves_the_others_in_memory(rig: Rig) -> None:
    other = rig.login("admin", ADMIN_PASSWORD, project="admin")
    first = rig.login("admin", ADMIN_PASSWORD, project="admin")
    exchanged = rig.auth({"methods": ["token"], "token": {"id": first}})
    child = exchanged.headers["X-Subject-Token"]
    sessions = rig.cloud.port(Authority)._sessions
    assert [rig.check(t) for t in (other, first, child)] == [200, 200, 200]
    assert rig.delete("/auth/tokens", X_Subject_Token=first).status_code == 204
    assert other in sessions
    assert first not in sessions
    assert child not in sessions
    assert [rig.check(t) for t in (other, first, child)] == [200, 404, 404]


def test_what_no_token_rests_on_leaves_all_in_memory(rig: Rig) -> None:
    token = rig.login("admin", ADMIN_PASSWORD, project="admin")
    rig.make("policy", "/policies", blob="{}", type="application/json")
    assert token in rig.cloud.port(Authority)._sessions


def test_revocation_costs_the_same_however_many_were_revoked(rig: Rig) -> None:
    token = rig.login("admin", ADMIN_PASSWORD, project="admin")
    authority = rig.cloud.port(Authority)

    def lookups() -> int:
        """SQL statements for validating a token that is not in memory."""
        authority._sessions.clear()
        counted = []

        def work(tx: Any) -> None:
            before = tx.sql_count
            authority.session(token, tx)
            counted.append(tx.sql_count - before)

        rig.cloud.read(work)
        return counted[0]

    few = lookups()

    def revoke_many(tx: Any) -> None:
        for i in range(2000):
            tx.add(Revocation(id=f"gone-{i}", expires_at=time.time() + 3600), quiet=True)

    rig.cloud.write(revoke_many)
    assert lookups() == few

    if on_postgresql():
        return

    def plan(tx: Any) -> list[Any]:
        return list(tx.sql("EXPLAIN QUERY PLAN SELECT id FROM identity_revocations WHERE id IN ('a','b')").fetchall())

    assert "SEARCH" in str(rig.cloud.read(plan)[0][3])


def test_an_expired_token_is_over_but_may_be_shown_for_a_while(tmp_path: Path) -> None:
    from dataclasses import replace

    rig = Rig(tmp_path)
    try:
        authority = rig.cloud.port(Authority)
        claims = replace(authority.claims(rig.admin), expires_at=int(time.time()) - 5)
        old = authority._codec.write(claims)
        assert rig.check(old) == 404
        assert rig.get("/projects", token=old).status_code == 401
        assert rig.get("/auth/tokens?allow_expired=1", X_Subject_Token=old).status_code == 200
        assert rig.check(old) == 404
    finally:
        rig.close()


def test_a_second_start_keeps_keys_users_and_passwords(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    said = (tmp_path / "credentials.json").read_text()
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    token = first.admin
    first.close()
    second = Rig(tmp_path)
    try:
        assert second.check(token) == 200
        assert (tmp_path / "credentials.json").read_text() == said
        assert len(second.get("/services").json()["services"]) == 1
        assert ADMIN_PASSWORD.encode() not in everything_kept(tmp_path)
    finally:
        second.close()
