"""Asks for another project's things and for things that do not exist, and compares the answers."""

import itertools
import json
import re
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.fuzz.people import Side
from tests.fuzz.places import bodies, named, template
from tests.fuzz.world import Reply, World

from nutshell.core.policy import Who
from nutshell.core.service import Route, Service
from nutshell.core.versions import NEVER, show
from nutshell.operator.policy_table import targets

HOLE = re.compile(r"\$[a-z_]+\d?")
OWN_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}|fa:16:3e[0-9a-f:]+")
NOBODY = Who(user_id="nobody", project_id="nowhere", user_domain_id="nowhere", project_domain_id="nowhere")
NOT_SECRET = ("public", "image_member", "project_name", "public_image", "own")  # known to both, or of the cloud


@dataclass(frozen=True)
class Asked:
    """One request with holes, and which holes are filled with foreign ids."""

    service: Service
    route: Route
    path: str
    body: Any
    foreign: frozenset[str]

    def __str__(self) -> str:
        body = "" if self.body is None else " " + json.dumps(self.body)
        return f"{self.route.method} {self.path}{body} foreign: {', '.join(sorted(self.foreign))}"


def distinct(service: Service) -> list[Route]:
    """Each route once, in its newest version, under the prefix without a project."""
    found: dict[str, Route] = {}
    for route in service.routes:
        if route.socket or (route.public and "{" not in route.path) or "{" in route.prefix:
            continue
        known = found.get(named(service, route))
        if known is None or (known.prefix == route.prefix and route.span.since > known.span.since):
            found[named(service, route)] = route
    return list(found.values())


def requests(service: Service, route: Route) -> Iterator[Asked]:
    """Every way a foreign id may come into a request of this route. LookupError: the route is not covered."""
    path = service.mount + route.prefix + template(service, route)
    in_path = HOLE.findall(path)
    for body in bodies(service, route):
        in_body = HOLE.findall(json.dumps(body)) if body is not None else []
        holes = [h for h in dict.fromkeys([*in_path, *in_body]) if h[1:] not in (*NOT_SECRET, "token")]
        sets = [frozenset({h}) for h in holes]
        if len(in_path) > 1:
            sets.append(frozenset(in_path))
        for foreign in dict.fromkeys(sets):
            yield Asked(service, route, path, body, foreign)
    if route.method == "GET" and not path.rsplit("/", 1)[-1].startswith("$"):
        for name, hole in queries(service, route):
            yield Asked(
                service, route, f"{path}?{urlencode({name: hole}, safe='$')}", None, frozenset(HOLE.findall(hole))
            )


def queries(service: Service, route: Route) -> Iterator[tuple[str, str]]:
    """Filters of a listing and the foreign ids they are given."""
    usual = {
        "project_id": "$project", "tenant_id": "$project", "owner": "$project", "user_id": "$user", "user": "$user",
        "domain_id": "$domain", "scope.project.id": "$project", "user.id": "$user", "scope.domain.id": "$domain",
        "parent_id": "$project", "network_id": "$network", "device_id": "$server", "server": "$server",
        "instance_uuid": "$server", "volume_id": "$volume", "image": "$image", "flavor": "$flavor",
        "security_group_id": "$security_group", "subnet_id": "$subnet", "router_id": "$router", "port_id": "$port",
        "fixed_ips": "ip_address=$floating_address", "floating_ip_address": "$floating_address", "member": "$project",
        "key_name": "$keypair", "snapshot_id": "$snapshot", "host": "$server", "trustor_user_id": "$user",
        "trustee_user_id": "$user", "consumer_uuid": "$server", "role.id": "$role", "group.id": "$group",
        "object_id": "$network", "target_tenant": "$project", "name": "$project_name",
    }  # fmt: skip
    known = None if route.noun is None else {*route.noun.filters, *(f.on_wire for f in route.noun.fields.values())}
    for name, hole in usual.items():
        if known is None or name in known or name in ("project_id", "tenant_id", "user_id"):
            yield name, hole
    last = [h for h in [LISTED.get((service.name, route.path.strip("/").split("/")[0]))] if h]
    for hole, name in itertools.product(last, ("marker", "id", "ids", "uuid")):
        yield name, hole


LISTED: Mapping[tuple[str, str], str] = {
    ("identity", "users"): "$user", ("identity", "projects"): "$project", ("identity", "groups"): "$group",
    ("identity", "domains"): "$domain", ("identity", "roles"): "$role", ("identity", "credentials"): "$credential",
    ("image", "images"): "$image",
    ("network", "networks"): "$network", ("network", "subnets"): "$subnet", ("network", "ports"): "$port",
    ("network", "routers"): "$router", ("network", "floatingips"): "$floatingip",
    ("network", "security-groups"): "$security_group", ("network", "security-group-rules"): "$security_group_rule",
    ("network", "subnetpools"): "$subnetpool", ("network", "address-scopes"): "$address_scope",
    ("network", "rbac-policies"): "$rbac_policy", ("network", "trunks"): "$trunk",
    ("volume", "volumes"): "$volume", ("volume", "snapshots"): "$snapshot", ("volume", "backups"): "$backup",
    ("volume", "attachments"): "$attachment", ("volume", "volume-transfers"): "$transfer",
    ("volume", "os-volume-transfer"): "$transfer", ("volume", "types"): "$volume_type",
    ("compute", "servers"): "$server", ("compute", "os-keypairs"): "$keypair", ("compute", "flavors"): "$flavor",
    ("compute", "os-server-groups"): "$server_group", ("compute", "images"): "$image",
    ("compute", "os-volumes"): "$volume", ("compute", "os-snapshots"): "$snapshot",
    ("compute", "os-security-groups"): "$security_group", ("compute", "os-floating-ips"): "$floatingip",
    ("compute", "os-networks"): "$network", ("compute", "os-tenant-networks"): "$network",
}  # fmt: skip


def missing(kind: str, like: str) -> str:
    """An id of this kind that nothing has, in the form of `like`."""
    fresh = uuid.uuid5(uuid.NAMESPACE_URL, "nothing/" + kind)
    if kind == "floating_address":
        return "172.24.4.249"
    if re.fullmatch(r"[0-9a-f]{32}", like):
        return fresh.hex
    if like.startswith("req-"):
        return f"req-{fresh}"
    return str(fresh) if re.fullmatch(r"[0-9a-f-]{36}", like) else f"missing-{kind}"


class Judge:
    """Compares what one caller is told about another project's things with what it is told about nothing."""

    def __init__(self, world: World, own: Side, victim: Side, token: str, kept: sqlite3.Connection) -> None:
        """`kept`: the database as every request shall find it."""
        self.world, self.own, self.victim, self.token, self.kept = world, own, victim, token, kept
        self.who = world.cloud.authenticate(token) if world.cloud.authenticate else NOBODY
        self.missing = {k: missing(k, v) for k, v in victim.ids.items()}
        self.secret = {v for k, v in victim.ids.items() if k not in NOT_SECRET}

    def wrong(self, asked: Asked) -> str:
        """Empty, or how the answers differ and what was told of the other project."""
        other = self.fresh(asked, self.victim.ids)
        nothing = self.fresh(asked, self.missing)
        values = {self.victim.ids[h[1:]] for h in asked.foreign}
        seen, new = plain(other, values), asked.route.method != "GET"
        told = sorted(s for s in self.secret - values if s in seen)
        if told:
            return f"told of the other project's {[k for k, v in self.victim.ids.items() if v in told]}: {other.status}"
        expected = plain(nothing, {self.missing[h[1:]] for h in asked.foreign})
        if new:  # what was made has an id of its own
            seen, expected = OWN_ID.sub("NEW", seen), OWN_ID.sub("NEW", expected)
        if asked.path.startswith("/nutshell/v1/requests?"):  # the list of one's own requests grows by each
            seen = expected = ""
        if (other.status, seen) != (nothing.status, expected):
            return f"{other.status} {seen[:300]}\n    nothing: {nothing.status} {expected[:300]}"
        names = [sorted(set(r.headers) - {"content-length"}) for r in (other, nothing)]
        return "" if names[0] == names[1] else f"headers {names}"

    def fresh(self, asked: Asked, foreign: Mapping[str, str]) -> Reply:
        """The answer in the state all began with: what the request changed is taken back."""
        reply = self.answer(asked, foreign)
        if reply.status < 400 and asked.route.writes:
            self.world.restore(self.kept)
        return reply

    def answer(self, asked: Asked, foreign: Mapping[str, str]) -> Reply:
        def fill(match: re.Match[str]) -> str:
            hole = match[0]
            if hole == "$token":
                return self.token
            if hole == "$own":
                return self.own.ids["network"]
            return (foreign if hole in asked.foreign else self.own.ids)[hole[1:]]

        path = HOLE.sub(lambda m: quote(fill(m), safe=""), asked.path)
        body = None if asked.body is None else json.loads(HOLE.sub(fill, json.dumps(asked.body)))
        headers = dict(self.version(asked))
        if asked.path.endswith("/images/$image") and asked.route.method == "PATCH":
            headers["Content-Type"] = "application/openstack-images-v2.1-json-patch"
        return self.world.call(asked.route.method, path, body, token=self.token, headers=headers)

    def version(self, asked: Asked) -> Mapping[str, str]:
        versions = asked.service.versions
        if versions is None:
            return {}
        at = versions.highest if asked.route.span.until == NEVER else min(asked.route.span.until, versions.highest)
        return {"OpenStack-API-Version": f"{versions.name} {show(at)}"}

    def privileged(self, route: Route) -> bool:
        """Whether policy gives this caller everybody's things by its role: then there is nothing to hide."""
        rules, others = self.world.cloud.rules, targets()["others"]
        names = [n for n in (route.rule, route.noun.visible if route.noun is not None else "") if n]
        return any(rules.allows(n, self.who, others) and not rules.allows(n, NOBODY, others) for n in names)


def plain(reply: Reply, values: set[str]) -> str:
    """The body with the ids asked for, times, request ids and new ids made alike."""
    text = reply.raw.decode("utf-8", "replace")
    if "json" not in reply.headers.get("content-type", "json") and reply.status < 300:
        text = f"{len(reply.raw)} bytes"  # a disk; an archive's headers hold the time
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "ID").replace(quote(value, safe=""), "ID")
    text = re.sub(r"req-[0-9a-f-]{36}", "REQUEST", text)
    text = re.sub(r'"adminPass":"[^"]*"', '"adminPass":"…"', text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "TIME", text)
