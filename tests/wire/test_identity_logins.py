"""Password rules, lock-out, one-time passwords, multi-factor rules and receipts, renewed keys."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.wire.identity_rig import Rig

from nutshell.core.config import ConfigError
from nutshell.identity import totp
from nutshell.identity.keys import Keys
from nutshell.identity.logins import disable_inactive
from nutshell.identity.renewal import renew

RULES = {
    "password_regex": r"^(?=.*\d).{5,}$",
    "password_regex_description": "five characters, one of them a digit",
    "password_history": 2,
    "password_expires_days": 90,
    "minimum_password_age_days": 1,
    "lockout_attempts": 3,
    "lockout_duration_s": 600,
    "disable_inactive_days": 30,
    "login_failures_free": 5,
}
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("identity"), RULES)
    made.cloud.clock.stop()
    admin = made.get("/users?name=admin").json()["users"][0]["id"]
    assert made.patch(f"/users/{admin}", {"user": {"options": {"ignore_user_inactivity": True}}}).status_code == 200
    yield made
    made.close()


def user(rig: Rig, name: str, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = rig.make("user", "/users", name=name, password=values.pop("password", "first1"), **values)
    return found


def change(rig: Rig, who: dict[str, Any], old: str, new: str) -> tuple[int, str]:
    body = {"user": {"original_password": old, "password": new}}
    answer = rig.post(f"/users/{who['id']}/password", body, token="")
    return answer.status_code, answer.text


def test_a_password_is_as_the_operator_wants_it(rig: Rig) -> None:
    answer = rig.post("/users", {"user": {"name": "weak", "password": "short"}})
    assert answer.status_code == 400
    assert "one of them a digit" in answer.text
    one = user(rig, "strong")
    assert rig.patch(f"/users/{one['id']}", {"user": {"password": "letters"}}).status_code == 400
    assert change(rig, one, "first1", "letters")[0] == 400
    shown = rig.get("/domains/default/config/security_compliance").json()["config"]["security_compliance"]
    assert shown == {k: RULES[k] for k in ("password_regex", "password_regex_description")}


def test_former_passwords_and_too_young_ones_stay(rig: Rig) -> None:
    one = user(rig, "changer")
    assert change(rig, one, "first1", "first1")[0] == 400  # the present one is one of the two
    assert change(rig, one, "first1", "second2")[0] == 204
    status, text = change(rig, one, "second2", "third3")
    assert status == 400
    assert "minimum password age" in text
    rig.cloud.clock.step(DAY_S)
    assert change(rig, one, "second2", "first1")[0] == 400
    assert change(rig, one, "second2", "third3")[0] == 204
    rig.cloud.clock.step(DAY_S)
    assert change(rig, one, "third3", "first1")[0] == 204  # two others lie between
    assert rig.patch(f"/users/{one['id']}", {"user": {"password": "first1"}}).status_code == 200  # an administrator may


def test_an_expired_password_is_good_for_another_alone(rig: Rig) -> None:
    one = user(rig, "old", options={})
    free = user(rig, "old-but-free", options={"ignore_password_expiry": True, "ignore_user_inactivity": True})
    assert one["password_expires_at"] is not None
    assert free["password_expires_at"] is None
    rig.patch(f"/users/{one['id']}", {"user": {"options": {"ignore_user_inactivity": True}}})
    assert rig.password("old", "first1").status_code == 201
    rig.cloud.clock.step(90 * DAY_S + 1)
    answer = rig.password("old", "first1")
    assert answer.status_code == 401
    assert f"The password is expired and needs to be changed for user: {one['id']}." in answer.text
    assert "expired" not in rig.password("old", "wrong1").text
    assert rig.password("old-but-free", "first1").status_code == 201
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(rig.cloud.clock.now()))
    names = {u["name"] for u in rig.get(f"/users?password_expires_at=lt:{before}").json()["users"]}
    assert "old" in names
    assert "old-but-free" not in names
    later = rig.get(f"/users?password_expires_at=gt:{before}&name=old").json()["users"]
    assert later == []
    assert rig.get("/users?password_expires_at=lt:tomorrow").status_code == 400
    assert change(rig, one, "first1", "second2")[0] == 204
    assert rig.password("old", "second2").status_code == 201


def test_too_many_failures_lock_a_user_for_a_while(rig: Rig) -> None:
    one = user(rig, "victim")
    user(rig, "unlockable", options={"ignore_lockout_failure_attempts": True})
    for name in ("victim", "unlockable"):
        assert rig.password(name, "first1").status_code == 201
        for _ in range(3):
            assert rig.password(name, "wrong1").status_code == 401
    assert rig.password("victim", "first1").status_code == 401
    assert rig.password("unlockable", "first1").status_code == 201
    rig.cloud.clock.step(601)
    assert rig.password("victim", "first1").status_code == 201
    for _ in range(3):
        assert rig.password("victim", "wrong1").status_code == 401
    assert rig.password("victim", "first1").status_code == 401
    assert rig.patch(f"/users/{one['id']}", {"user": {"enabled": True}}).status_code == 200
    assert rig.password("victim", "first1").status_code == 201


def test_whoever_fails_waits_and_known_logins_do_not(rig: Rig) -> None:
    user(rig, "known")
    user(rig, "unknown-yet")
    assert rig.password("known", "first1").status_code == 201
    for name in ("known", "unknown-yet"):
        rig.patch(
            f"/users/{rig.get(f'/users?name={name}').json()['users'][0]['id']}",
            {"user": {"options": {"ignore_lockout_failure_attempts": True}}},
        )
        for _ in range(5):
            assert rig.password(name, "wrong1").status_code == 401
        answer = rig.password(name, "wrong1")
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
    assert rig.password("known", "first1").status_code == 201
    assert rig.password("unknown-yet", "first1").status_code == 429
    rig.cloud.clock.step(61)
    assert rig.password("unknown-yet", "first1").status_code == 201


def test_users_that_never_come_are_disabled(rig: Rig) -> None:
    away, kept = user(rig, "away"), user(rig, "kept", options={"ignore_user_inactivity": True})
    disable_inactive(rig.cloud)
    rig.cloud.clock.step(20 * DAY_S)
    assert rig.password("away", "first1").status_code == 201
    rig.cloud.clock.step(20 * DAY_S)
    disable_inactive(rig.cloud)
    assert rig.get(f"/users/{away['id']}").json()["user"]["enabled"]
    rig.cloud.clock.step(11 * DAY_S)
    assert rig.password("away", "first1").status_code == 401
    disable_inactive(rig.cloud)
    assert not rig.get(f"/users/{away['id']}").json()["user"]["enabled"]
    assert rig.get(f"/users/{kept['id']}").json()["user"]["enabled"]
    assert rig.patch(f"/users/{away['id']}", {"user": {"enabled": True}}).status_code == 200
    assert rig.password("away", "first1").status_code == 201


def code_of(rig: Rig, who: dict[str, Any]) -> str:
    secret = b"12345678901234567890"
    if not rig.get(f"/credentials?user_id={who['id']}&type=totp").json()["credentials"]:
        rig.make("credential", "/credentials", type="totp", user_id=who["id"], blob=base64.b32encode(secret).decode())
    return totp.code(secret, int(time.time() // totp.STEP_S))


def by_totp(rig: Rig, who: dict[str, Any], passcode: str, receipt: str = "") -> Any:
    body = {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {"id": who["id"], "passcode": passcode}}}}}
    return rig.post("/auth/tokens", body, token="", **({"Openstack_Auth_Receipt": receipt} if receipt else {}))


def test_a_one_time_password_counts_once(rig: Rig) -> None:
    one = user(rig, "timed")
    assert by_totp(rig, one, "000000").status_code == 401
    passcode = code_of(rig, one)
    answer = by_totp(rig, one, passcode)
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"]["methods"] == ["totp"]
    assert by_totp(rig, one, passcode).status_code == 401
    no_code = {"methods": ["totp"], "totp": {"user": {"id": one["id"]}}}
    assert rig.auth(no_code).status_code == 401


def test_rules_ask_for_several_methods_and_a_receipt_keeps_what_was_proved(rig: Rig) -> None:
    rules = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"], ["nothing"]]}
    one, other = user(rig, "double", options=rules), user(rig, "other")
    answer = rig.password("double", "first1")
    assert answer.status_code == 401
    receipt = answer.headers["Openstack-Auth-Receipt"]
    assert answer.json()["required_auth_methods"] == [["password", "totp"]]
    assert answer.json()["receipt"]["methods"] == ["password"]
    assert answer.json()["receipt"]["user"]["id"] == one["id"]
    assert rig.get("/projects", token=receipt).status_code == 401  # it is no token
    assert by_totp(rig, other, code_of(rig, other), receipt).status_code == 401  # another's
    done = by_totp(rig, one, code_of(rig, one), receipt)
    assert done.status_code == 201, done.text
    assert sorted(done.json()["token"]["methods"]) == ["password", "totp"]
    token = done.headers["X-Subject-Token"]
    again = rig.auth({"methods": ["token"], "token": {"id": token}})
    assert again.status_code == 201  # a token carries how it was got
    assert rig.auth({"methods": ["token"], "token": {"id": receipt}}).status_code == 404
    assert by_totp(rig, one, "000000", receipt).status_code == 401
    rig.patch(f"/users/{one['id']}", {"user": {"options": {"multi_factor_auth_enabled": False}}})
    assert rig.password("double", "first1").status_code == 201
    for bad in ([[]], [["password", "password"]], [["a"], ["a"]], ["password"], [[5]]):
        wrong = {"user": {"options": {"multi_factor_auth_rules": bad}}}
        assert rig.patch(f"/users/{one['id']}", wrong).status_code == 400


def test_a_password_set_by_an_administrator_may_have_to_be_changed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, {"change_password_upon_first_use": True})
    try:
        one, free = user(rig, "new"), user(rig, "free", options={"ignore_change_password_upon_first_use": True})
        assert rig.password("free", "first1").status_code == 201
        assert rig.password("new", "first1").status_code == 401
        assert change(rig, one, "first1", "my own")[0] == 204
        assert rig.password("new", "my own").status_code == 201
        assert rig.patch(f"/users/{one['id']}", {"user": {"password": "reset"}}).status_code == 200
        assert rig.password("new", "reset").status_code == 401
        assert free["password_expires_at"] is None
    finally:
        rig.close()


def test_keys_are_renewed_and_nothing_is_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    try:
        token = rig.login("admin", "an admin's password", project="admin")
        blobs = {}
        for n in range(5):
            made = rig.make("credential", "/credentials", type="cert", blob=f"secret {n}", user_id="anybody")
            blobs[made["id"]] = made["blob"]
        assert rig.call("GET", "/identity/keys", token="").status_code == 401
        answer = rig.call("POST", "/identity/keys")
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"keys": {"tokens": 2, "credentials": 2}, "waiting": 5}
        keys = rig.cloud.port(Keys)
        assert keys.newest("tokens")[0] == 1  # until every process has heard of it
        wait_s = renew(rig.cloud)
        assert wait_s is not None
        time.sleep(wait_s + 0.05)
        assert keys.newest("tokens")[0] == 2
        while renew(rig.cloud) is not None:
            pass
        assert rig.call("GET", "/identity/keys").json()["waiting"] == 0
        assert rig.check(token) == 200
        assert {c["id"]: c["blob"] for c in rig.get("/credentials").json()["credentials"]} == blobs
        rig.login("admin", "an admin's password", project="admin")
    finally:
        rig.close()
    (tmp_path / "keys" / "master").write_bytes(b"x" * 32)
    with pytest.raises(ConfigError):
        Rig(tmp_path)
