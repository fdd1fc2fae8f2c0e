"""The life of every resource, rightly and wrongly, as requests (requests_identity.py has the rest)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PASSWORD = "an admin's password"
LONG = "x" * 300
NOBODY, ADMIN, MEMBER, SYSTEM = "", "admin", "member", "system"


@dataclass(frozen=True)
class Step:
    method: str
    path: str
    body: Any = None
    token: str = ADMIN
    keep: dict[str, str] = field(default_factory=dict)  # name → "user.id" or "header:X-Subject-Token"
    headers: dict[str, str] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True)
class Thing:
    """A resource: how it is made and changed; `id_name` is what its id is called here."""

    path: str
    one: str
    id_name: str
    create: dict[str, Any]
    update: dict[str, Any]
    put: bool = False  # made by PUT to its own address
    filters: tuple[str, ...] = ()
    wrong: bool = True  # whether members are given wrong values


THINGS = (
    Thing("/regions", "region", "region", {"description": "d", "parent_region_id": None}, {"description": "e"}),
    Thing("/services", "service", "service", {"type": "odd", "name": "n", "description": "d", "enabled": True},
          {"name": "m"}, filters=("type=odd", "name=n")),
    Thing("/endpoints", "endpoint", "endpoint", {"service_id": "<fixed_service>", "interface": "public",
          "url": "http://x", "region_id": "<fixed_region>"}, {"url": "http://y"}, filters=("interface=public",)),
    Thing("/domains", "domain", "domain", {"name": "dom", "description": "d", "enabled": False, "tags": ["t"]},
          {"description": "e", "name": "dom2"}, filters=("name=dom", "enabled=false")),
    Thing("/projects", "project", "project", {"name": "proj", "domain_id": "default", "description": "d",
          "enabled": True, "tags": ["t"], "options": {}}, {"description": "e", "name": "proj2"},
          filters=("name=proj", "domain_id=default", "is_domain=true", "tags=t", "parent_id=default", "enabled=false")),
    Thing("/users", "user", "user", {"name": "usr", "domain_id": "default", "password": "secret", "enabled": True,
          "default_project_id": "<fixed_project>", "options": {"lock_password": False}, "email": "e@x"},
          {"name": "usr2", "email": "f@x"}, filters=("name=usr", "enabled=true", "domain_id=default",
          "name__contains=us", "password_expires_at=lt:2030-01-01T00:00:00Z", "password_expires_at=odd")),
    Thing("/groups", "group", "group", {"name": "grp", "domain_id": "default", "description": "d"},
          {"description": "e", "name": "grp2"}, filters=("name=grp", "domain_id=default")),
    Thing("/roles", "role", "role", {"name": "rol", "description": "d", "options": {}}, {"description": "e"},
          filters=("name=rol", "domain_id=default")),
    Thing("/credentials", "credential", "credential", {"type": "cert", "blob": "b", "user_id": "<member_id>",
          "project_id": "<fixed_project>"}, {"blob": "c"}, filters=("type=cert", "user_id=<member_id>")),
    Thing("/policies", "policy", "policy", {"type": "text/plain", "blob": "b"}, {"blob": "c"},
          filters=("type=text/plain",)),
    Thing("/OS-EP-FILTER/endpoint_groups", "endpoint_group", "ep_group", {"name": "eg", "description": "d",
          "filters": {"interface": "public"}}, {"description": "e"}),
    Thing("/OS-OAUTH1/consumers", "consumer", "consumer", {"description": "d"}, {"description": "e"}),
    Thing("/OS-FEDERATION/service_providers", "service_provider", "sp", {"auth_url": "http://a/v3",
          "sp_url": "http://a/sp", "enabled": True, "description": "d"}, {"description": "e"}, put=True),
    Thing("/OS-FEDERATION/identity_providers", "identity_provider", "idp", {"enabled": True, "description": "d",
          "remote_ids": ["r1"], "authorization_ttl": 5}, {"description": "e", "remote_ids": ["r2"]}, put=True,
          filters=("enabled=true",)),
    Thing("/OS-FEDERATION/mappings", "mapping", "mapping", {"rules": [{"local": [{"user": {"name": "{0}"}}],
          "remote": [{"type": "UserName"}]}]}, {"rules": [{"local": [{"user": {"name": "{0}"}}],
          "remote": [{"type": "Other"}]}]}, put=True),
)  # fmt: skip
WRONG: tuple[tuple[str, Any], ...] = (
    ("null", None), ("number", 5), ("empty", ""), ("long", LONG), ("list", [1]), ("object", {"a": 1}), ("true", True),
)  # fmt: skip


def life(thing: Thing) -> Iterator[Step]:
    own = f"{thing.path}/<{thing.id_name}>"
    keep = {thing.id_name: f"{thing.one}.id"}
    new = f"{thing.path}/oracle-{thing.id_name}" if thing.put else thing.path
    make = "PUT" if thing.put else "POST"
    for token in (ADMIN, SYSTEM, MEMBER, NOBODY, "no token at all"):
        yield Step("GET", thing.path, token=token, about=f"as {token or 'nobody'}")
        yield Step(
            make,
            f"{thing.path}/refused" if thing.put else new,
            {thing.one: thing.create} if token in (MEMBER, NOBODY) else {},
            token,
            about=f"as {token or 'nobody'}",
        )
    if thing.wrong:
        yield from wrong_bodies(thing, make, f"{thing.path}/oracle-wrong" if thing.put else thing.path, thing.create)
    yield Step(make, new, {thing.one: thing.create}, keep=keep)
    yield Step(make, new, {thing.one: thing.create}, about="again", keep={"twin": f"{thing.one}.id"})
    if not thing.put:
        yield Step("DELETE", f"{thing.path}/<twin>", about="the twin, where there is one")
    for query in ("limit=1", "marker=nothing", "odd=1", f"limit={'z'}", "sort_key=name", *thing.filters):
        yield Step("GET", f"{thing.path}?{query}")
    for method, path in (("GET", own), ("HEAD", own), ("GET", f"{thing.path}/none"), ("HEAD", f"{thing.path}/none")):
        for token in (ADMIN, MEMBER, NOBODY):
            yield Step(method, path, token=token, about=f"as {token or 'nobody'}")
    yield Step("HEAD", thing.path)
    for method, path in (("DELETE", thing.path), ("PATCH", thing.path), ("POST", own)):
        yield Step(method, path, {thing.one: {}}, about="no such method")
    for token in (MEMBER, NOBODY):
        yield Step("PATCH", own, {thing.one: thing.update}, token, about=f"as {token or 'nobody'}")
        yield Step("DELETE", own, token=token, about=f"as {token or 'nobody'}")
    yield Step("PATCH", f"{thing.path}/none", {thing.one: thing.update})
    yield from wrong_bodies(thing, "PATCH", own, thing.update)
    yield Step("PATCH", own, {thing.one: thing.update})
    yield Step("PATCH", own, {thing.one: {"id": "other", **thing.update}}, about="with an id")
    yield Step("DELETE", f"{thing.path}/none")
    yield Step("DELETE", own)
    yield Step("DELETE", own, about="again")
    yield Step("GET", own, about="gone")


def wrong_bodies(thing: Thing, method: str, path: str, good: dict[str, Any]) -> Iterator[Step]:
    for about, body in (("no JSON", "{"), ("a list", []), ("empty", {}), ("null", {thing.one: None}),
                        ("text", {thing.one: "x"}), ("empty object", {thing.one: {}}), ("no body", None)):  # fmt: skip
        yield Step(method, path, body, about=f"body: {about}", keep={"odd": f"{thing.one}.id"})
        yield (
            Step("DELETE", f"{thing.path}/<odd>", about=f"what {method} with body: {about} made")
            if method != "PATCH"
            else Step("GET", path)
        )
    for name in good:
        for about, value in (("absent", ...), *WRONG):
            given = {k: v for k, v in good.items() if k != name} if value is ... else {**good, name: value}
            # what is made by mistake is deleted, so that both go on alike
            yield Step(method, path, {thing.one: given}, about=f"{name}: {about}", keep={"odd": f"{thing.one}.id"})
            if method != "PATCH":
                where = path if thing.put else f"{thing.path}/<odd>"
                if thing.one == "domain":
                    yield Step("PATCH", where, {"domain": {"enabled": False}}, about="before it goes")
                yield Step("DELETE", where, about=f"what {name}: {about} made")
    if method == "PATCH":
        yield Step(method, path, {thing.one: good}, about="right again")
