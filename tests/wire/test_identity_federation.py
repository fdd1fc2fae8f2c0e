"""Federation as data, policies of endpoints, revocation events, and what ends with what."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.wire.identity_rig import ADMIN_PASSWORD, Rig

from nutshell.core.routing import Router

RULES = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "UserName"}]}]
FED = "/OS-FEDERATION"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("identity"))
    yield made
    made.close()


def test_identity_providers_have_protocols_and_mappings(rig: Rig) -> None:
    mapping = f"{FED}/mappings/staff"
    assert rig.put(mapping, {"mapping": {"rules": []}}).status_code == 400
    made = rig.put(mapping, {"mapping": {"rules": RULES}})
    assert made.status_code == 201, made.text
    assert made.json()["mapping"]["schema_version"] == "1.0"
    assert rig.put(mapping, {"mapping": {"rules": RULES}}).status_code == 409
    changed = rig.patch(mapping, {"mapping": {"rules": RULES, "schema_version": "2.0"}})
    assert changed.json()["mapping"]["schema_version"] == "2.0"
    idp = f"{FED}/identity_providers/acme"
    made = rig.put(idp, {"identity_provider": {"remote_ids": ["https://acme/1"], "enabled": True}})
    assert made.status_code == 201, made.text
    shown = made.json()["identity_provider"]
    assert shown["links"]["protocols"].endswith("/acme/protocols")
    assert rig.get(f"/domains/{shown['domain_id']}").status_code == 200
    other = {"identity_provider": {"remote_ids": ["https://acme/1"], "domain_id": "default"}}
    assert rig.put(f"{FED}/identity_providers/other", other).status_code == 409
    assert rig.get(f"{FED}/identity_providers/other").status_code == 404
    assert rig.patch(idp, {"identity_provider": {"remote_ids": None}}).json()["identity_provider"]["remote_ids"] == []
    assert rig.put(f"{FED}/identity_providers/other", other).status_code == 201
    assert rig.patch(idp, {"identity_provider": {}}).status_code == 400
    assert [i["id"] for i in rig.get(f"{FED}/identity_providers?enabled=true").json()["identity_providers"]] == ["acme"]
    protocol = f"{idp}/protocols/saml2"
    assert rig.put(protocol, {"protocol": {"mapping_id": "nothing"}}).status_code == 400
    made = rig.put(protocol, {"protocol": {"mapping_id": "staff"}})
    assert made.status_code == 201, made.text
    assert made.json()["protocol"]["id"] == "saml2"
    assert rig.put(protocol, {"protocol": {"mapping_id": "staff"}}).status_code == 409
    assert [p["id"] for p in rig.get(f"{idp}/protocols").json()["protocols"]] == ["saml2"]
    assert rig.delete(idp).status_code == 204
    assert rig.get(protocol).status_code == 404
    assert rig.delete(mapping).status_code == 204


def test_service_providers_stand_in_tokens_while_enabled(rig: Rig) -> None:
    path = f"{FED}/service_providers/beta"
    body = {"auth_url": "https://beta/v3/auth", "sp_url": "https://beta/sp", "enabled": True}
    assert rig.put(path, {"service_provider": {"auth_url": "beta"}}).status_code == 400
    made = rig.put(path, {"service_provider": body})
    assert made.status_code == 201, made.text
    assert made.json()["service_provider"]["relay_state_prefix"] == "ss:mem:"
    token = rig.get("/auth/tokens", X_Subject_Token=rig.admin).json()["token"]
    assert token["service_providers"] == [{k: body[k] for k in ("auth_url", "sp_url")} | {"id": "beta"}]
    assert rig.patch(path, {"service_provider": {"enabled": False}}).status_code == 200
    assert "service_providers" not in rig.get("/auth/tokens", X_Subject_Token=rig.admin).json()["token"]
    assert rig.delete(path).status_code == 204


def test_only_administrators_change_them(rig: Rig) -> None:
    rig.member("anybody")
    token = rig.login("anybody", "anybody", project="demo")
    for path in ("mappings", "identity_providers", "service_providers"):
        assert rig.get(f"{FED}/{path}", token=token).status_code == 403
        assert rig.put(f"{FED}/{path}/x", {}, token=token).status_code == 403
    assert rig.get(f"{FED}/projects", token=token).json()["projects"][0]["name"] == "demo"
    assert rig.get(f"{FED}/domains", token=token).json()["domains"] == []


def test_the_nearest_policy_holds_for_an_endpoint(rig: Rig) -> None:
    rig.make("region", "/regions", id="world")
    rig.make("region", "/regions", id="city", parent_region_id="world")
    service = rig.make("service", "/services", type="thing", name="thing")
    at = {"service_id": service["id"], "interface": "public", "url": "http://x"}
    endpoint = rig.make("endpoint", "/endpoints", region_id="city", **at)
    named = {n: rig.make("policy", "/policies", type="t", blob=n)["id"] for n in ("one", "two", "three")}
    places = {
        "one": f"services/{service['id']}",
        "two": f"services/{service['id']}/regions/world",
        "three": f"endpoints/{endpoint['id']}",
    }
    effective = f"/endpoints/{endpoint['id']}/OS-ENDPOINT-POLICY/policy"
    assert rig.get(effective).status_code == 404
    for name, place in places.items():
        path = f"/policies/{named[name]}/OS-ENDPOINT-POLICY/{place}"
        assert rig.get(path).status_code == 404
        assert rig.put(path).status_code == 204
        assert rig.get(path).status_code == 204
        assert rig.call("HEAD", path).status_code == 204
        assert rig.get(effective).json()["policy"]["id"] == named[name]
        listed = rig.get(f"/policies/{named[name]}/OS-ENDPOINT-POLICY/endpoints").json()["endpoints"]
        assert [e["id"] for e in listed] == [endpoint["id"]]
    instead = f"/policies/{named['one']}/OS-ENDPOINT-POLICY/{places['three']}"
    assert rig.put(instead).status_code == 204
    assert rig.get(effective).json()["policy"]["id"] == named["one"]
    assert rig.delete(instead).status_code == 204
    assert rig.get(effective).json()["policy"]["id"] == named["two"]
    assert rig.delete(f"/policies/{named['two']}").status_code == 204
    assert rig.get(effective).json()["policy"]["id"] == named["one"]
    assert rig.put(f"/policies/{named['one']}/OS-ENDPOINT-POLICY/services/none").status_code == 404


def test_what_was_revoked_is_listed(rig: Rig) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    user_id, _ = rig.member("ended")
    token = rig.login("ended", "ended", project="demo")
    audit_id = rig.get("/auth/tokens", X_Subject_Token=token).json()["token"]["audit_ids"][0]
    assert rig.delete("/auth/tokens", X_Subject_Token=token).status_code == 204
    rig.patch(f"/users/{user_id}", {"user": {"enabled": False}})
    gone = rig.make("project", "/projects", name="gone")
    rig.delete(f"/projects/{gone['id']}")
    events = rig.get(f"/OS-REVOKE/events?since={since}").json()["events"]
    assert any(e.get("audit_chain_id") == audit_id for e in events)
    assert any(e.get("user_id") == user_id for e in events)
    assert any(e.get("project_id") == gone["id"] for e in events)
    assert all({"issued_before", "revoked_at"} <= set(e) for e in events)
    assert rig.get("/OS-REVOKE/events?since=2099-01-01T00:00:00Z").json()["events"] == []
    assert rig.get("/OS-REVOKE/events?since=soon").status_code == 400
    assert rig.get("/OS-REVOKE/events", token="").status_code == 401


def credential(rig: Rig, name: str, **values: Any) -> dict[str, Any]:
    user_id, _ = rig.member(name)
    token = rig.login(name, name, project="demo")
    answer = rig.post(
        f"/users/{user_id}/application_credentials", {"application_credential": {"name": "c", **values}}, token=token
    )
    assert answer.status_code == 201, answer.text
    return {"user_id": user_id, **answer.json()["application_credential"]}


def sign_in(rig: Rig, made: dict[str, Any]) -> int:
    proof = {"id": made["id"], "secret": made["secret"]}
    return rig.auth({"methods": ["application_credential"], "application_credential": proof}).status_code


def test_an_application_credential_ends_with_any_of_its_roles(rig: Rig) -> None:
    made = credential(rig, "two-roles")
    project_id = rig.get("/projects?name=demo").json()["projects"][0]["id"]
    extra = f"/projects/{project_id}/users/{made['user_id']}/roles/{rig.role('manager')}"
    assert rig.put(extra).status_code == 204
    token = rig.login("two-roles", "two-roles", project="demo")
    body = {"application_credential": {"name": "wider"}}
    answer = rig.post(f"/users/{made['user_id']}/application_credentials", body, token=token)
    wider = {"user_id": made["user_id"], **answer.json()["application_credential"]}
    assert sign_in(rig, wider) == 201
    assert rig.delete(extra).status_code == 204
    assert sign_in(rig, wider) == 401
    assert sign_in(rig, made) == 201


def test_a_disabled_user_loses_its_application_credentials(rig: Rig) -> None:
    made = credential(rig, "loser")
    for enabled in (False, True):
        assert rig.patch(f"/users/{made['user_id']}", {"user": {"enabled": enabled}}).status_code == 200
    assert sign_in(rig, made) == 401


def test_whoever_leaves_a_group_needs_a_new_token(rig: Rig) -> None:
    user_id, _ = rig.member("leaver")
    group = rig.make("group", "/groups", name="leavers")
    assert rig.put(f"/groups/{group['id']}/users/{user_id}").status_code == 204
    token = rig.login("leaver", "leaver", project="demo")
    assert rig.delete(f"/groups/{group['id']}/users/{user_id}").status_code == 204
    assert rig.check(token) == 404


def test_the_json_home_lists_addresses_that_are_there(rig: Rig) -> None:
    answer = rig.get("/identity/v3", Accept="application/json-home")
    assert answer.headers["content-type"] == "application/json-home"
    resources = answer.json()["resources"]
    users = resources["https://docs.openstack.org/api/openstack-identity/3/rel/users"]
    assert users == {"href": "/users"}
    router = rig.cloud.port(Router)
    for one in resources.values():
        path = one.get("href") or re.sub(r"\{\w+\}", "x", one["href-template"])
        assert router.find("/identity/v3" + path) is not None, path
    assert rig.get("/identity/", Accept="application/json-home").json()["resources"]


def test_all_tokens_of_a_user_end_at_once(rig: Rig) -> None:
    user_id, _ = rig.member("many-tokens")
    tokens = [rig.login("many-tokens", "many-tokens", project="demo") for _ in range(2)]
    other = rig.member("another-one") and rig.login("another-one", "another-one", project="demo")
    assert rig.delete(f"/users/{user_id}/tokens", token=other).status_code == 403
    assert rig.delete(f"/users/{user_id}/tokens", token=tokens[0]).status_code == 204
    assert [rig.check(t) for t in tokens] == [404, 404]
    assert rig.check(other) == 200
    assert rig.delete("/users/none/tokens").status_code == 404


def test_a_consumers_secret_is_shown_once(rig: Rig) -> None:
    made = rig.make("consumer", "/OS-OAUTH1/consumers", description="one")
    path = f"/OS-OAUTH1/consumers/{made['id']}"
    assert len(made["secret"]) == 64
    assert "secret" not in rig.get(path).json()["consumer"]
    assert rig.patch(path, {"consumer": {"secret": "mine"}}).status_code == 400
    assert rig.patch(path, {"consumer": {"description": "x" * 65}}).status_code == 400
    assert rig.patch(path, {"consumer": {"description": "two"}}).json()["consumer"]["description"] == "two"
    assert [c["id"] for c in rig.get("/OS-OAUTH1/consumers").json()["consumers"]] == [made["id"]]
    assert rig.delete(path).status_code == 204
    assert rig.get(path).status_code == 404


def test_a_domains_administrator_has_no_say_in_what_concerns_the_whole_cloud(rig: Rig) -> None:
    token = rig.password("admin", ADMIN_PASSWORD, {"domain": {"id": "default"}}).headers["X-Subject-Token"]
    for path in ("mappings", "identity_providers", "service_providers"):
        assert rig.get(f"{FED}/{path}", token=token).status_code == 403
        assert rig.put(f"{FED}/{path}/x", {}, token=token).status_code == 403
    assert rig.get("/policies/x/OS-ENDPOINT-POLICY/endpoints", token=token).status_code == 403
    assert rig.put("/policies/x/OS-ENDPOINT-POLICY/endpoints/y", token=token).status_code == 403
