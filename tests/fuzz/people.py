"""Projects with one thing of every kind, and callers of every role and scope of one, to whom the other is foreign."""

import base64
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.world import World

QCOW2_FREE = b"\0" * 4096  # content of a raw image
V3, NET, VOL, COM, IMG = "/identity/v3", "/network/v2.0", "/volume/v3", "/compute/v2.1", "/image/v2"
PASSWORD = "a good long password"


@dataclass
class Side:
    """A project with a user, and the ids (or names) of what they own: kind → value."""

    name: str
    token: str = ""
    ids: dict[str, str] = field(default_factory=dict)


def furnish(world: World, name: str) -> Side:
    """A domain, a project, a user with the roles member and manager on both, and one thing of every kind."""
    side = Side(name)
    _people(world, side)
    _network(world, side)
    _volume(world, side)
    _image(world, side)
    _compute(world, side)
    _delegation(world, side)
    return side


def role(world: World, name: str) -> str:
    return str(world.done("GET", f"{V3}/roles?name={name}")["roles"][0]["id"])


def _people(world: World, side: Side) -> None:
    ids, name = side.ids, side.name
    ids["domain"] = world.done("POST", f"{V3}/domains", {"domain": {"name": name}})["domain"]["id"]
    made = world.done("POST", f"{V3}/projects", {"project": {"name": name, "domain_id": ids["domain"]}})
    ids["project"], ids["project_name"] = made["project"]["id"], name
    side.token, ids["user"] = person(world, name, ["member", "manager"], ids["domain"], {"project": ids["project"]})
    given = {"name": f"{name}-group", "domain_id": ids["domain"]}
    ids["group"] = world.done("POST", f"{V3}/groups", {"group": given})["group"]["id"]
    world.done("PUT", f"{V3}/groups/{ids['group']}/users/{ids['user']}")
    world.done("PUT", f"{V3}/projects/{ids['project']}/tags/{name}")
    made = world.done("POST", f"{V3}/roles", {"role": {"name": f"{name}-role", "domain_id": ids["domain"]}})
    ids["role"] = made["role"]["id"]
    world.done("PUT", f"{V3}/domains/{ids['domain']}/users/{ids['user']}/roles/{ids['role']}")
    world.done("PUT", f"{V3}/projects/{ids['project']}/groups/{ids['group']}/roles/{role(world, 'reader')}")


def person(world: World, name: str, roles: list[str], domain: str, scope: dict[str, Any]) -> tuple[str, str]:
    """A user with roles on {"project": id}, {"domain": id}, {"system": …} or nothing, and a token of that scope."""
    given = {"name": name, "password": PASSWORD, "domain_id": domain}
    user_id = world.done("POST", f"{V3}/users", {"user": given})["user"]["id"]
    asked: Any = None
    for kind, value in scope.items():
        place = "/system" if kind == "system" else f"/{kind}s/{value}"
        asked = {"system": {"all": True}} if kind == "system" else {kind: {"id": value}}
        for r in roles:
            world.done("PUT", f"{V3}{place}/users/{user_id}/roles/{role(world, r)}")
    return sign_in(world, user_id, asked), user_id


def sign_in(world: World, user_id: str, scope: Any) -> str:
    """A token by the user's password; scope None: an unscoped one."""
    identity = {"methods": ["password"], "password": {"user": {"id": user_id, "password": PASSWORD}}}
    auth: dict[str, Any] = {"identity": identity, "scope": scope or "unscoped"}
    reply = world.call("POST", f"{V3}/auth/tokens", {"auth": auth})
    assert reply.status == 201, reply.raw
    return reply.headers["x-subject-token"]


def _network(world: World, side: Side) -> None:
    ids, name = side.ids, side.name
    reply = world.call("GET", f"{NET}/networks", token=side.token)
    ids["request"] = reply.headers["x-openstack-request-id"]

    def make(one: str, many: str, **given: Any) -> Any:
        return world.done("POST", f"{NET}/{many}", {one: given}, token=side.token)[one]

    public = world.done("GET", f"{NET}/networks?name=public")["networks"][0]["id"]
    ids["public"] = public
    ids["network"] = make("network", "networks", name=f"{name}-net")["id"]
    ids["subnet"] = make("subnet", "subnets", network_id=ids["network"], ip_version=4, cidr="10.9.0.0/24")["id"]
    ids["port"] = make("port", "ports", network_id=ids["network"], name=f"{name}-port")["id"]
    ids["device_port"] = make("port", "ports", network_id=ids["network"])["id"]
    router = make("router", "routers", name=f"{name}-router", external_gateway_info={"network_id": public})
    ids["router"] = router["id"]
    plugged = {"subnet_id": ids["subnet"]}
    answer = world.done("PUT", f"{NET}/routers/{ids['router']}/add_router_interface", plugged, token=side.token)
    ids["router_port"] = answer["port_id"]
    floating = make("floatingip", "floatingips", floating_network_id=public, port_id=ids["port"])
    ids["floatingip"], ids["floating_address"] = floating["id"], floating["floating_ip_address"]
    group = make("security_group", "security-groups", name=f"{name}-sg")
    ids["security_group"], ids["security_group_name"] = group["id"], group["name"]
    rule = make("security_group_rule", "security-group-rules", security_group_id=group["id"], direction="ingress")
    ids["security_group_rule"] = rule["id"]
    pool = make("subnetpool", "subnetpools", name=f"{name}-pool", prefixes=["10.80.0.0/16"], default_prefixlen=24)
    ids["subnetpool"] = pool["id"]
    scope = make("address_scope", "address-scopes", name=f"{name}-scope", ip_version=6)
    ids["address_scope"] = scope["id"]
    ids["trunk_port"] = make("port", "ports", network_id=ids["network"])["id"]
    ids["subport"] = make("port", "ports", network_id=ids["network"])["id"]
    ids["free_port"] = make("port", "ports", network_id=ids["network"])["id"]
    carried = {"port_id": ids["subport"], "segmentation_type": "vlan", "segmentation_id": 7}
    ids["trunk"] = make("trunk", "trunks", port_id=ids["trunk_port"], name=f"{name}-trunk", sub_ports=[carried])["id"]
    third = "3" * 32
    policy = {"object_type": "network", "object_id": ids["network"], "action": "access_as_shared",
              "target_tenant": third}  # fmt: skip
    ids["rbac_policy"] = make("rbac_policy", "rbac-policies", **policy)["id"]


def _volume(world: World, side: Side) -> None:
    ids, name = side.ids, side.name

    def make(one: str, many: str, **given: Any) -> str:
        return str(world.done("POST", f"{VOL}/{many}", {one: given}, token=side.token)[one]["id"])

    def ready(many: str, one: str, kind: str) -> None:
        path = f"{VOL}/{many}/{ids[kind]}"
        world.until(lambda: world.done("GET", path, token=side.token)[one]["status"] == "available")

    given = {"name": f"{name}-type", "os-volume-type-access:is_public": False}
    ids["volume_type"] = world.done("POST", f"{VOL}/types", {"volume_type": given})["volume_type"]["id"]
    ids["volume_type_name"] = f"{name}-type"
    access = {"addProjectAccess": {"project": ids["project"]}}
    world.done("POST", f"{VOL}/types/{ids['volume_type']}/action", access)
    for kind in ("volume", "server_volume", "transferred"):
        ids[kind] = make("volume", "volumes", size=1, name=f"{name}-{kind}", metadata={"a": "b"})
    for kind in ("volume", "server_volume", "transferred"):
        ready("volumes", "volume", kind)
    ids["snapshot"] = make("snapshot", "snapshots", volume_id=ids["volume"], name=f"{name}-snapshot")
    ready("snapshots", "snapshot", "snapshot")
    ids["backup"] = make("backup", "backups", volume_id=ids["volume"], name=f"{name}-backup")
    ready("backups", "backup", "backup")
    ids["transfer"] = make("transfer", "volume-transfers", volume_id=ids["transferred"], name=f"{name}-transfer")


def _image(world: World, side: Side) -> None:
    ids, name = side.ids, side.name
    given = {"name": f"{name}-image", "disk_format": "raw", "container_format": "bare", "visibility": "private"}
    ids["image"] = world.done("POST", f"{IMG}/images", given, token=side.token)["id"]
    for path in (f"{IMG}/images/{ids['image']}/file",):
        reply = world.call(
            "PUT", path, QCOW2_FREE, token=side.token, headers={"Content-Type": "application/octet-stream"}
        )
        assert reply.status == 204, reply.raw
    world.done("PUT", f"{IMG}/images/{ids['image']}/tags/t", token=side.token)
    shared = {**given, "name": f"{name}-shared", "visibility": "shared"}
    ids["shared_image"] = world.done("POST", f"{IMG}/images", shared, token=side.token)["id"]
    ids["image_member"] = "3" * 32
    ids["namespace"] = f"{name}-namespace"
    world.done("POST", f"{IMG}/metadefs/namespaces", {"namespace": ids["namespace"], "visibility": "private"})
    members: dict[str, Any] = {
        "objects": {"name": "a", "properties": {}},
        "properties": {"name": "a", "title": "a", "type": "string"},
        "tags/a": None,
        "resource_types": {"name": "a"},
    }
    for kind, given in members.items():
        world.done("POST", f"{IMG}/metadefs/namespaces/{ids['namespace']}/{kind}", given)
    path = f"{IMG}/images/{ids['shared_image']}/members"
    world.done("POST", path, {"member": ids["image_member"]}, token=side.token)


def _compute(world: World, side: Side) -> None:
    ids, name, token = side.ids, side.name, side.token
    flavor = {"name": f"{name}-flavor", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    ids["flavor"] = world.done("POST", f"{COM}/flavors", {"flavor": flavor})["flavor"]["id"]
    access = {"addTenantAccess": {"tenant": ids["project"]}}
    world.done("POST", f"{COM}/flavors/{ids['flavor']}/action", access)
    ids["keypair"] = f"{name}-key"
    key = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + b"k" * 32).decode()
    world.done("POST", f"{COM}/os-keypairs", {"keypair": {"name": ids["keypair"], "public_key": key}}, token=token)
    group = {"name": f"{name}-servers", "policy": "anti-affinity"}
    made = world.done("POST", f"{COM}/os-server-groups", {"server_group": group}, token=token)
    ids["server_group"] = made["server_group"]["id"]
    server = {
        "name": f"{name}-server",
        "flavorRef": ids["flavor"],
        "imageRef": ids["image"],
        "networks": [{"port": ids["device_port"]}],
        "key_name": ids["keypair"],
        "metadata": {"a": "b"},
        "tags": ["t"],
    }
    reply = world.call("POST", f"{COM}/servers", {"server": server}, token=token)
    assert reply.status == 202, reply.raw
    ids["server"] = reply.body["server"]["id"]
    path = f"{COM}/servers/{ids['server']}"
    world.until(lambda: world.done("GET", path, token=token)["server"]["status"] == "ACTIVE")
    attached = {"volumeAttachment": {"volumeId": ids["server_volume"]}}
    world.done("POST", f"{path}/os-volume_attachments", attached, token=token)
    volume = f"{VOL}/volumes/{ids['server_volume']}"
    world.until(lambda: world.done("GET", volume, token=token)["volume"]["status"] == "in-use")
    found = world.done("GET", f"{VOL}/attachments?volume_id={ids['server_volume']}", token=token)
    ids["attachment"] = found["attachments"][0]["id"]
    found = world.done("GET", f"{path}/os-instance-actions", token=token)
    ids["action_request"] = found["instanceActions"][0]["request_id"]


def _delegation(world: World, side: Side) -> None:
    ids, name, token = side.ids, side.name, side.token
    given: dict[str, Any] = {"type": "cert", "blob": "secret", "user_id": ids["user"], "project_id": ids["project"]}
    ids["credential"] = world.done("POST", f"{V3}/credentials", {"credential": given}, token=token)["credential"]["id"]
    path = f"{V3}/users/{ids['user']}/credentials/OS-EC2"
    ids["ec2"] = world.done("POST", path, {"tenant_id": ids["project"]}, token=token)["credential"]["access"]
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    path = f"{V3}/users/{ids['user']}/application_credentials"
    made = world.done(
        "POST", path, {"application_credential": {"name": f"{name}-app", "access_rules": rules}}, token=token
    )
    ids["application_credential"] = made["application_credential"]["id"]
    ids["access_rule"] = made["application_credential"]["access_rules"][0]["id"]
    given = {
        "trustor_user_id": ids["user"],
        "trustee_user_id": ids["user"],
        "impersonation": False,
        "project_id": ids["project"],
        "roles": [{"name": "member"}],
    }
    ids["trust"] = world.done("POST", f"{V3}/OS-TRUST/trusts", {"trust": given}, token=token)["trust"]["id"]


def callers(world: World, side: Side) -> dict[str, str]:
    """Who asks → token: every role and scope of this side, none of which reaches into another's project."""
    project, domain = {"project": side.ids["project"]}, {"domain": side.ids["domain"]}
    found = {"owner": side.token}
    for name, roles, scope in (
        ("reader", ["reader"], project),
        ("member", ["member"], project),
        ("service", ["service"], project),
        ("domain reader", ["reader"], domain),
        ("domain manager", ["manager"], domain),
        ("system reader", ["reader"], {"system": "all"}),
        ("unscoped", [], {}),
    ):
        found[name], _ = person(world, f"{side.name} {name}", roles, side.ids["domain"], scope)
    return found
