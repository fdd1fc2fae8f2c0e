"""Identity's resources over HTTP: made, shown, listed, changed, deleted, and who may do what."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.database import everything_kept
from tests.wire.identity_rig import ADMIN_PASSWORD, Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("identity"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def reader(rig: Rig) -> str:
    """A token of somebody who may only look at the project demo."""
    rig.member("onlooker", role="reader")
    return rig.login("onlooker", "onlooker", project="demo")


def names(answer: Any, many: str) -> set[str]:
    return {one["name"] for one in answer.json()[many]}


@pytest.mark.parametrize(
    ("one", "many", "values", "change"),
    [
        ("project", "projects", {"name": "p1", "tags": ["a"]}, {"description": "new"}),
        ("domain", "domains", {"name": "d1"}, {"enabled": False}),
        ("user", "users", {"name": "u1", "email": "u1@example.org"}, {"email": "other@example.org"}),
        ("group", "groups", {"name": "g1"}, {"description": "new"}),
        ("role", "roles", {"name": "r1"}, {"description": "new"}),
        ("region", "regions", {"id": "r-1", "description": "one"}, {"description": "two"}),
        ("service", "services", {"name": "s1", "type": "thing"}, {"description": "new"}),
        ("policy", "policies", {"type": "text", "blob": "x"}, {"blob": "y"}),
        ("credential", "credentials", {"type": "cert", "blob": "x", "user_id": "me"}, {"blob": "y"}),
    ],
)
def test_life_of_a_resource(rig: Rig, one: str, many: str, values: dict[str, Any], change: dict[str, Any]) -> None:
    made = rig.make(one, f"/{many}", **values)
    assert made["links"]["self"] == f"http://cloud.example:5000/identity/v3/{many}/{made['id']}"
    assert {k: made[k] for k in values} == values
    path = f"/{many}/{made['id']}"
    assert rig.get(path).json()[one] == made
    listing = rig.get(f"/{many}").json()
    assert made in listing[many]
    assert listing["links"]["self"].endswith(f"/identity/v3/{many}")
    changed = rig.patch(path, {one: change})
    assert changed.status_code == 200
    assert changed.json()[one] == {**made, **change}
    assert rig.delete(path).status_code == 204
    assert rig.get(path).status_code == 404
    assert rig.get(path).json()["error"]["title"] == "Not Found"
    assert rig.patch(path, {one: change}).status_code == 404
    assert rig.delete(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects", {"project": {"name": ""}}),
        ("/projects", {"project": {"name": "x" * 65}}),
        ("/projects", {"project": {"name": "x", "enabled": "yes"}}),
        ("/projects", {"project": {"name": "x", "tags": ["a/b"]}}),
        ("/projects", {"project": []}),
        ("/projects", {}),
        ("/users", {"user": {"name": 5}}),
        ("/users", {"user": {"name": "x", "password": ""}}),
        ("/users", {"user": {"name": "x", "options": {"nonsense": True}}}),
        ("/endpoints", {"endpoint": {"service_id": "x", "interface": "public", "url": "http://x"}}),
        ("/endpoints", {"endpoint": {"interface": "public", "url": "http://x"}}),
        ("/roles", {"role": {"description": "nameless"}}),
        ("/credentials", {"credential": {"type": "ec2", "blob": "not json"}}),
        ("/limits", {"limits": []}),
    ],
)
def test_bad_input_is_a_400_and_changes_nothing(rig: Rig, path: str, body: Any) -> None:
    many = path[1:]
    before = rig.get(path).json()[many]
    answer = rig.post(path, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == 400
    assert rig.get(path).json()[many] == before


@pytest.mark.parametrize(("one", "many"), [("project", "projects"), ("user", "users"), ("group", "groups")])
def test_names_are_unique_in_a_domain(rig: Rig, one: str, many: str) -> None:
    rig.make(one, f"/{many}", name="twin")
    assert rig.post(f"/{many}", {one: {"name": "twin"}}).status_code == 409
    other = rig.make("domain", "/domains", name=f"other-{many}")
    assert rig.make(one, f"/{many}", name="twin", domain_id=other["id"])["domain_id"] == other["id"]
    third = rig.make(one, f"/{many}", name="third")
    assert rig.patch(f"/{many}/{third['id']}", {one: {"name": "twin"}}).status_code == 409
    assert rig.post(f"/{many}", {one: {"name": "x", "domain_id": "nowhere"}}).status_code == 404


def test_a_password_is_never_shown_and_only_kept_hashed(rig: Rig) -> None:
    made = rig.make("user", "/users", name="secretive", password="s3cr3t-s3cr3t")
    assert "password" not in made
    assert "password_hash" not in made
    kept = everything_kept(rig.state)
    assert b"s3cr3t-s3cr3t" not in kept
    assert b"$argon2id$v=19$m=19456,t=2,p=1$" in kept


def test_a_credential_is_kept_encrypted(rig: Rig) -> None:
    rig.make("credential", "/credentials", type="totp", blob="visible-nowhere", user_id="me")
    assert b"visible-nowhere" not in everything_kept(rig.state)


def test_listings_are_filtered(rig: Rig) -> None:
    for name in ("alpha", "alphabet", "beta"):
        rig.make("user", "/users", name=name, enabled=name != "beta")
    assert names(rig.get("/users?name=alpha"), "users") == {"alpha"}
    assert names(rig.get("/users?name__startswith=alph"), "users") == {"alpha", "alphabet"}
    assert names(rig.get("/users?name__icontains=PHAB"), "users") == {"alphabet"}
    assert names(rig.get("/users?enabled=false&name=beta"), "users") == {"beta"}
    assert names(rig.get("/users?name__contains=%25"), "users") == set()


def test_tags(rig: Rig) -> None:
    one = rig.make("project", "/projects", name="tagged", tags=["red", "round"])
    path = f"/projects/{one['id']}/tags"
    assert rig.put(f"{path}/big").status_code == 201
    assert rig.get(path).json()["tags"] == ["red", "round", "big"]
    assert rig.get(f"{path}/big").status_code == 204
    assert names(rig.get("/projects?tags=red,big"), "projects") == {"tagged"}
    assert "tagged" not in names(rig.get("/projects?not-tags=red"), "projects")
    assert rig.delete(f"{path}/big").status_code == 204
    assert rig.delete(f"{path}/big").status_code == 404
    assert rig.put(path, {"tags": ["only"]}).json()["tags"] == ["only"]
    assert rig.delete(path).status_code == 204
    assert rig.get(path).json()["tags"] == []


def test_the_project_tree(rig: Rig) -> None:
    top = rig.make("project", "/projects", name="top")
    mid = rig.make("project", "/projects", name="mid", parent_id=top["id"])
    low = rig.make("project", "/projects", name="low", parent_id=mid["id"])
    assert top["parent_id"] == "default"
    shown = rig.get(f"/projects/{low['id']}?parents_as_ids").json()["project"]
    assert shown["parents"] == {mid["id"]: {top["id"]: {"default": None}}}
    shown = rig.get(f"/projects/{top['id']}?subtree_as_ids").json()["project"]
    assert shown["subtree"] == {mid["id"]: {low["id"]: None}}
    assert rig.delete(f"/projects/{top['id']}").status_code == 403
    assert rig.patch(f"/projects/{top['id']}", {"project": {"enabled": False}}).status_code == 403
    assert rig.patch(f"/projects/{low['id']}", {"project": {"parent_id": top["id"]}}).status_code == 403
    assert rig.post("/projects", {"project": {"name": "x", "parent_id": "nowhere"}}).status_code == 404
    last = rig.make("project", "/projects", name="l4", parent_id=low["id"])["id"]
    last = rig.make("project", "/projects", name="l5", parent_id=last)["id"]
    assert rig.post("/projects", {"project": {"name": "l6", "parent_id": last}}).status_code == 403


def test_a_domain_goes_only_when_disabled_and_takes_its_own_with_it(rig: Rig) -> None:
    domain = rig.make("domain", "/domains", name="doomed")
    user = rig.make("user", "/users", name="doomed", domain_id=domain["id"])
    project = rig.make("project", "/projects", name="doomed", domain_id=domain["id"])
    path = f"/domains/{domain['id']}"
    assert rig.get(f"/projects/{domain['id']}").json()["project"]["is_domain"] is True
    assert rig.delete(path).status_code == 403
    assert rig.patch(path, {"domain": {"enabled": False}}).status_code == 200
    assert rig.delete(path).status_code == 204
    assert rig.get(f"/users/{user['id']}").status_code == 404
    assert rig.get(f"/projects/{project['id']}").status_code == 404
    assert rig.delete("/domains/default").status_code in (400, 403)


def test_grants_and_assignments(rig: Rig) -> None:
    user_id, project_id = rig.member("granted")
    role = rig.role("member")
    path = f"/projects/{project_id}/users/{user_id}/roles"
    assert names(rig.get(path), "roles") == {"member"}
    assert rig.call("HEAD", f"{path}/{role}").status_code == 204
    assert rig.call("HEAD", f"{path}/{rig.role('admin')}").status_code == 404
    listed = rig.get(f"/role_assignments?user.id={user_id}&include_names").json()["role_assignments"]
    assert listed[0]["scope"]["project"]["name"] == "demo"
    assert listed[0]["role"]["name"] == "member"
    effective = rig.get(f"/role_assignments?user.id={user_id}&effective&include_names").json()["role_assignments"]
    assert {e["role"]["name"] for e in effective} == {"member", "reader"}
    assert rig.delete(f"{path}/{role}").status_code == 204
    assert rig.delete(f"{path}/{role}").status_code == 404
    assert rig.put(f"/projects/{project_id}/users/nobody/roles/{role}").status_code == 404
    assert rig.get("/role_assignments?user.id=a&group.id=b").status_code == 400


def test_system_grants(rig: Rig) -> None:
    user = rig.make("user", "/users", name="watch", password="watch")
    path = f"/system/users/{user['id']}/roles/{rig.role('reader')}"
    assert rig.password("watch", "watch", {"system": {"all": True}}).status_code == 401
    assert rig.put(path).status_code == 204
    token = rig.login("watch", "watch", scope={"system": {"all": True}})
    assert rig.get("/users", token=token).status_code == 200
    assert rig.post("/users", {"user": {"name": "x"}}, token=token).status_code == 403
    assert rig.delete(path).status_code == 204
    assert rig.get("/users", token=token).status_code == 401


def test_implied_roles_reach_tokens(rig: Rig) -> None:
    boss, helper = rig.make("role", "/roles", name="boss"), rig.make("role", "/roles", name="helper")
    path = f"/roles/{boss['id']}/implies/{helper['id']}"
    assert rig.put(path).status_code == 201
    rig.make("project", "/projects", name="works")
    rig.member("bossy", project="works", role="boss")
    token = rig.login("bossy", "bossy", project="works")
    shown = rig.get("/auth/tokens", X_Subject_Token=token).json()["token"]
    assert {r["name"] for r in shown["roles"]} == {"boss", "helper"}
    assert rig.delete(path).status_code == 204
    shown = rig.get("/auth/tokens", X_Subject_Token=token).json()["token"]
    assert {r["name"] for r in shown["roles"]} == {"boss"}
    assert rig.put(f"/roles/{boss['id']}/implies/{rig.role('admin')}").status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects"),
        ("GET", "/users"),
        ("GET", "/roles"),
        ("GET", "/endpoints"),
        ("GET", "/role_assignments"),
        ("GET", "/users/unknown"),
        ("POST", "/projects"),
        ("POST", "/users"),
        ("POST", "/roles"),
        ("DELETE", "/regions/RegionOne"),
        ("DELETE", "/domains/default"),
        ("PATCH", "/users/unknown"),
        ("POST", "/policies"),
        ("PUT", "/domains/default/config"),
        ("POST", "/registered_limits"),
    ],
)
def test_what_a_reader_may_not_do(rig: Rig, reader: str, method: str, path: str) -> None:
    answer = rig.call(method, path, {} if method in ("POST", "PATCH", "PUT") else None, token=reader)
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].startswith("You are not authorized to perform the requested action:")
    assert rig.call(method, path, token="").status_code == 401


def test_what_a_reader_may_see(rig: Rig, reader: str) -> None:
    me = rig.get("/auth/tokens", token=reader, X_Subject_Token=reader).json()["token"]
    assert rig.get(f"/users/{me['user']['id']}", token=reader).status_code == 200
    assert rig.get(f"/projects/{me['project']['id']}", token=reader).status_code == 200
    assert names(rig.get(f"/users/{me['user']['id']}/projects", token=reader), "projects") == {"demo"}
    assert rig.get("/regions", token=reader).status_code == 200
    assert rig.get("/domains/default", token=reader).status_code == 200


def test_a_manager_of_a_domain_sees_and_manages_that_domain_only(rig: Rig) -> None:
    domain = rig.make("domain", "/domains", name="managed")
    boss = rig.make("user", "/users", name="manager", password="manager", domain_id=domain["id"])
    assert rig.put(f"/domains/{domain['id']}/users/{boss['id']}/roles/{rig.role('manager')}").status_code == 204
    answer = rig.password("manager", "manager", {"domain": {"id": domain["id"]}}, domain=domain["id"])
    token = answer.headers["X-Subject-Token"]
    assert names(rig.get("/users", token=token), "users") == {"manager"}
    assert rig.post("/users", {"user": {"name": "mine"}}, token=token).status_code == 403
    mine = rig.post("/users", {"user": {"name": "mine", "domain_id": domain["id"]}}, token=token)
    assert mine.status_code == 201
    assert mine.json()["user"]["domain_id"] == domain["id"]
    assert rig.post("/users", {"user": {"name": "x", "domain_id": "default"}}, token=token).status_code == 403
    project = rig.post("/projects", {"project": {"name": "mine", "domain_id": domain["id"]}}, token=token).json()
    path = f"/projects/{project['project']['id']}/users/{mine.json()['user']['id']}/roles"
    assert rig.put(f"{path}/{rig.role('member')}", token=token).status_code == 204
    assert rig.put(f"{path}/{rig.role('admin')}", token=token).status_code == 403
    assert {"manager", "member", "reader"} <= names(rig.get("/roles", token=token), "roles")
    assert {d["id"] for d in rig.get("/domains", token=token).json()["domains"]} == {domain["id"]}


def test_a_domain_token_may_not_change_the_cloud(rig: Rig) -> None:
    token = rig.login("admin", ADMIN_PASSWORD, scope={"domain": {"id": "default"}})
    assert rig.post("/regions", {"region": {"id": "x"}}, token=token).status_code == 403
    assert rig.get("/services", token=token).status_code == 403
    assert rig.get("/users", token=token).status_code == 200


def test_regions_form_a_tree(rig: Rig) -> None:
    rig.make("region", "/regions", id="world")
    rig.make("region", "/regions", id="land", parent_region_id="world")
    assert rig.patch("/regions/world", {"region": {"parent_region_id": "land"}}).status_code == 400
    assert rig.post("/regions", {"region": {"id": "world"}}).status_code == 409
    service = rig.make("service", "/services", name="s", type="t")
    rig.make("endpoint", "/endpoints", service_id=service["id"], interface="public", url="http://x", region_id="land")
    assert rig.delete("/regions/world").status_code == 403
    assert rig.delete(f"/services/{service['id']}").status_code == 204
    assert rig.delete("/regions/world").status_code == 204
    assert rig.get("/regions/land").status_code == 404


def test_the_catalog_follows_services_and_filters(rig: Rig) -> None:
    def kinds() -> set[str]:
        return {s["type"] for s in rig.get("/auth/catalog").json()["catalog"]}

    assert kinds() == {"identity"}
    service = rig.make("service", "/services", name="dns", type="dns")
    end = rig.make(
        "endpoint",
        "/endpoints",
        service_id=service["id"],
        interface="public",
        url="http://dns/$(project_id)s",
        region="Mars",
    )
    project = rig.get("/projects?name=admin").json()["projects"][0]["id"]
    entry = next(s for s in rig.get("/auth/catalog").json()["catalog"] if s["type"] == "dns")
    assert entry["endpoints"][0]["url"] == f"http://dns/{project}"
    assert rig.put(f"/OS-EP-FILTER/projects/{project}/endpoints/{end['id']}").status_code == 204
    assert kinds() == {"dns"}
    assert rig.delete(f"/OS-EP-FILTER/projects/{project}/endpoints/{end['id']}").status_code == 204
    assert kinds() == {"identity", "dns"}
    assert rig.patch(f"/services/{service['id']}", {"service": {"enabled": False}}).status_code == 200
    assert kinds() == {"identity"}


def test_filters_of_an_endpoint_group(rig: Rig) -> None:
    """Without filters it has every endpoint; what no endpoint can have is refused, and breaks no listing."""
    path = "/OS-EP-FILTER/endpoint_groups"
    every = rig.get("/endpoints").json()["endpoints"]
    group = rig.make("endpoint_group", path, name="all", filters={"interface": "public"})["id"]
    chosen = rig.get(f"{path}/{group}/endpoints").json()["endpoints"]
    assert {e["interface"] for e in chosen} == {"public"}
    assert 0 < len(chosen) < len(every)
    assert rig.patch(f"{path}/{group}", {"endpoint_group": {"filters": {}}}).status_code == 200
    assert len(rig.get(f"{path}/{group}/endpoints").json()["endpoints"]) == len(every)
    for odd in (
        {"service_id": {"a": 1}},
        {"region_id": 5},
        {"enabled": "yes"},
        {"interface": ["public"]},
        {"url": "x"},
    ):
        assert rig.patch(f"{path}/{group}", {"endpoint_group": {"filters": odd}}).status_code == 400, odd


def test_limits(rig: Rig) -> None:
    service = rig.make("service", "/services", name="lim", type="lim")
    one = {"service_id": service["id"], "resource_name": "things", "default_limit": 5}
    made = rig.post("/registered_limits", {"registered_limits": [one]})
    assert made.status_code == 201
    registered = made.json()["registered_limits"][0]
    assert rig.post("/registered_limits", {"registered_limits": [one]}).status_code == 409
    project = rig.get("/projects?name=demo").json()["projects"][0]["id"]
    limit = {"service_id": service["id"], "resource_name": "things", "resource_limit": 9, "project_id": project}
    made = rig.post("/limits", {"limits": [limit]})
    assert made.status_code == 201
    path = f"/limits/{made.json()['limits'][0]['id']}"
    assert rig.patch(path, {"limit": {"resource_limit": 3}}).json()["limit"]["resource_limit"] == 3
    assert rig.delete(f"/registered_limits/{registered['id']}").status_code == 403
    assert rig.post("/limits", {"limits": [{**limit, "resource_name": "others"}]}).status_code == 403
    assert rig.delete(path).status_code == 204
    assert rig.delete(f"/registered_limits/{registered['id']}").status_code == 204
    assert rig.get("/limits/model").json()["model"]["name"] == "flat"


def test_immutable_resources_stay(rig: Rig) -> None:
    role = rig.make("role", "/roles", name="fixed", options={"immutable": True})
    path = f"/roles/{role['id']}"
    assert rig.patch(path, {"role": {"name": "loose"}}).status_code == 403
    assert rig.delete(path).status_code == 403
    assert rig.patch(path, {"role": {"options": {"immutable": False}}}).status_code == 200
    assert rig.delete(path).status_code == 204


def test_an_operators_rule_changes_who_may_list(tmp_path: Any) -> None:
    (tmp_path / "policy.yaml").write_text('"identity:list_users": "role:reader"\n')
    rig = Rig(tmp_path)
    try:
        rig.member("curious", role="reader")
        token = rig.login("curious", "curious", project="demo")
        assert "admin" in names(rig.get("/users", token=token), "users")
        assert rig.get("/projects", token=token).status_code == 403
    finally:
        rig.close()
