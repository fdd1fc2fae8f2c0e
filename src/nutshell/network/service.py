"""The network service: its mount, versions, error format and page links (Networking API v2.0, "API Discovery").

Rules follow the service's current defaults; those of one noun stand in the noun's file.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from nutshell.core.clock import iso_seconds
from nutshell.core.errors import Fault
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask, Service
from nutshell.network import errors

ADMIN = "rule:admin_only"
READER = "rule:admin_only or (role:reader and project_id:%(project_id)s)"
MEMBER = "rule:admin_only or (role:member and project_id:%(project_id)s)"
NET_MEMBER = "(role:member and rule:network_owner)"
NET_READER = "(role:reader and rule:network_owner)"
ADMIN_OR_SERVICE = "rule:admin_only or rule:service_api"


def page_links(ask: Ask[Any], many: str, rows: Sequence[Any], more: bool) -> dict[str, Any]:
    """`networks_links`, when the client asked for pages: on beyond every full page, back before every one but the
    last in reverse, which is the one that is not full. Beyond an empty page back means from the end."""
    if not ask.asked("limit"):
        return {}
    found = []
    kept = [(k, v) for k, values in ask.query.items() if k not in ("marker", "page_reverse") for v in values]
    reverse = ask.flag("page_reverse")
    here = ask.url + ask.path.split(ask.service.mount, 1)[-1].split("/v2.0", 1)[-1]
    full = len(rows) >= int(ask.asked("limit"))
    if full or reverse:
        ahead = [("marker", rows[-1].id)] if rows else []
        found.append({"rel": "next", "href": f"{here}?{urlencode([*kept, *ahead])}"})
    if full or not reverse:
        behind = [("marker", rows[0].id)] if rows else []
        found.append({"rel": "previous", "href": f"{here}?{urlencode([*kept, *behind, ('page_reverse', 'True')])}"})
    return {f"{many}_links": found} if found else {}


KINDS: dict[str, type[Fault]] = {
    "network": errors.NetworkNotFound,
    "subnet": errors.SubnetNotFound,
    "port": errors.PortNotFound,
    "subnetpool": errors.SubnetPoolNotFound,
    "router": errors.RouterNotFound,
    "floatingip": errors.FloatingIPNotFound,
    "security_group": errors.SecurityGroupNotFound,
    "security_group_rule": errors.SecurityGroupRuleNotFound,
    "rbac_policy": errors.RbacPolicyNotFound,
    "trunk": errors.TrunkNotFound,
    "address_scope": errors.AddressScopeNotFound,
    "agent": errors.AgentNotFound,
}


def not_found(noun: type[Resource], key: str) -> Fault:
    return KINDS[noun.one](id=key)


network = Service(
    name="network",
    mount="/network",
    prefixes=("/v2.0",),
    error=errors.render,
    time=iso_seconds,
    page_links=page_links,
    max_limit=None,
    lax=True,
    any_field_filters=True,
    fields_query=True,
    not_found=not_found,
    default_sort="id asc",
    default_sort_dir="asc",
)

network.policy(
    {
        "service_api": "role:service",
        "network_owner": "project_id:%(network:project_id)s",
        "shared": "field:networks:shared=True",
        "external": "field:networks:router:external=True",
        "external_network": "field:subnets:router:external=True",
        "network_device": "field:port:device_owner=~^network:",
        "regular_user": "",
    }
)


def reads(noun: type[Resource]) -> None:
    """Give a noun its list and show. Both are open to all: `visible=` of the noun, its get rule, decides which rows
    there are for the caller, as in every network service (a list is never refused, a hidden thing is not found)."""
    network.reads(noun, list_rule="regular_user", show_rule="regular_user")


def _version(ask: Ask[Any]) -> dict[str, Any]:
    href = f"{ask.base}{ask.service.mount}/v2.0/"
    return {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}


@network.route("GET", "/", prefixes=("",), public=True)
def versions(ask: Ask[Any]) -> Answer:
    return Answer(200, {"versions": [_version(ask)]})


COLLECTIONS = (
    "networks",
    "subnets",
    "ports",
    "subnetpools",
    "address-scopes",
    "routers",
    "floatingips",
    "security-groups",
    "security-group-rules",
    "rbac-policies",
    "trunks",
    "agents",
    "quotas",
    "extensions",
    "availability_zones",
    "network-ip-availabilities",
    "service-providers",
)


@network.route("GET", "/", public=True)
def root(ask: Ask[Any]) -> Answer:
    """The resources of the version, each with its address."""
    base = f"{ask.base}{ask.service.mount}/v2.0"
    rows = [
        {
            "name": name.removesuffix("ies") + "y" if name.endswith("ies") else name.removesuffix("s"),
            "collection": name,
            "links": [{"rel": "self", "href": f"{base}/{name}"}],
        }
        for name in COLLECTIONS
    ]
    return Answer(200, {"resources": rows})
