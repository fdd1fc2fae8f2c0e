"""Whom a container's lists let in: words mean who they mean in Keystone's clouds (keystoneauth), and nobody else."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.objects.swift_rig import Swift, swift_cloud


@dataclass
class People:
    """Of the default domain: "near" with a guest, "far" with a member; of another: "away" with a member."""

    cloud: Swift
    ids: dict[str, str]
    tokens: dict[str, str]

    def call(self, method: str, who: str, project: str, path: str, **headers: str) -> int:
        self.cloud.root = f"/v1/AUTH_{self.ids[project]}"
        return self.cloud(method, path, b"x" if method == "PUT" else b"", token=self.tokens[who], **headers).status


def ask(cloud: Swift, method: str, path: str, body: Any) -> Any:
    import json

    given = {"x-auth-token": cloud.token, "content-type": "application/json"}
    got = cloud.raw(method, "/identity/v3" + path, json.dumps(body).encode(), "", given)
    assert got.status < 300, got
    return got if path == "/auth/tokens" else got.json() if got.body else {}


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with swift_cloud() as cloud:
        ids: dict[str, str] = {"default": "default"}
        tokens: dict[str, str] = {"": ""}
        ids["other"] = ask(cloud, "POST", "/domains", {"domain": {"name": "other"}})["domain"]["id"]
        roles = {r["name"]: r["id"] for r in cloud.raw("GET", "/identity/v3/roles", b"", "",
                                                       {"x-auth-token": cloud.token}).json()["roles"]}  # fmt: skip
        roles["guest"] = ask(cloud, "POST", "/roles", {"role": {"name": "Guest"}})["role"]["id"]
        for user, project, domain, role in (
            ("host", "near", "default", "member"),
            ("guest", "near", "default", "guest"),
            ("friend", "far", "default", "member"),
            ("away", "away", "other", "member"),
            ("double", "far", "other", "member"),  # in another project of the same name
        ):
            if f"{project}@{domain}" not in ids:
                made = ask(cloud, "POST", "/projects", {"project": {"name": project, "domain_id": ids[domain]}})
                ids[f"{project}@{domain}"] = made["project"]["id"]
                ids.setdefault(project, made["project"]["id"])
            home = ids[f"{project}@{domain}"]
            body = {"name": "friend" if user == "double" else user, "password": "secret", "domain_id": ids[domain]}
            ids[user] = ask(cloud, "POST", "/users", {"user": body})["user"]["id"]
            ask(cloud, "PUT", f"/projects/{home}/users/{ids[user]}/roles/{roles[role]}", {})
            known = {"user": {"id": ids[user], "password": "secret"}}
            login = {"identity": {"methods": ["password"], "password": known}, "scope": {"project": {"id": home}}}
            tokens[user] = ask(cloud, "POST", "/auth/tokens", {"auth": login}).headers["x-subject-token"]
        yield People(cloud, ids, tokens)


@pytest.mark.parametrize(
    ("said", "who", "admitted"),
    [
        ("far:friend", "friend", True), ("far:{friend}", "friend", True), ("{far}:friend", "friend", True),
        ("{far}:{friend}", "friend", True), ("far:*", "friend", True), ("*:friend", "friend", True),
        ("*:*", "friend", True), ("*:*", "", False), ("far:guest", "friend", False), ("near:friend", "friend", False),
        ("AUTH_{far}", "friend", True), ("AUTH_{far}", "guest", False), ("far", "friend", False),
        ("{far}", "friend", False), ("near", "guest", False), ("friend", "friend", False),
        ("far:friend", "double", False), ("{double}", "double", False), ("*:{double}", "double", True),
        ("away:away", "away", False), ("{away_project}:*", "away", True),
        ("member", "friend", False), ("Member", "away", False), ("guest", "guest", True), ("GUEST", "guest", True),
    ],
)  # fmt: skip
def test_whom_a_word_means(people: People, said: str, who: str, admitted: bool) -> None:
    """A name alone is a role's, which counts in the account's own project; names are the default domain's."""
    word = said.format(**people.ids, away_project=people.ids["away@other"])
    assert people.call("PUT", "host", "near", "/c") in (201, 202)
    assert people.call("PUT", "host", "near", "/c/o") == 201
    lists = {"x_container_read": word, "x_container_write": word}
    assert people.call("POST", "host", "near", "/c", **lists) == 204
    refused = 403 if who else 401
    assert people.call("GET", who, "near", "/c/o") == (200 if admitted else refused)
    assert people.call("PUT", who, "near", "/c/o") == (201 if admitted else refused)
    assert people.call("POST", who, "near", "/c") == refused, "its own metadata is the owner's"
    assert people.call("OPTIONS", who, "near", "/c/o") == 200


@pytest.mark.parametrize(("said", "admitted"), [("far:friend", False), ("far:*", False), ("{far}:{friend}", True)])
def test_names_mean_nobody_in_the_lists_of_another_domain(people: People, said: str, admitted: bool) -> None:
    """There they are those of that domain, which the caller's are not."""
    assert people.call("PUT", "away", "away@other", "/c") in (201, 202)
    assert people.call("PUT", "away", "away@other", "/c/o") == 201
    assert people.call("POST", "away", "away@other", "/c", x_container_read=said.format(**people.ids)) == 204
    assert people.call("GET", "friend", "away@other", "/c/o") == (200 if admitted else 403)
