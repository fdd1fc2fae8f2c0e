"""Extensions: the parts of the API that are built here, by their aliases (Networking API v2.0, "Extensions").

Names and dates are those the aliases have in every OpenStack cloud; what is not in this list is not built.
"""

from typing import Any

from nutshell.core.service import Ask
from nutshell.network import errors
from nutshell.network.service import network

# alias: (name, date, what it gives)
EXTENSIONS: dict[str, tuple[str, str, str]] = {
    "address-scope": ("Address scope", "2015-07-26T10:00:00-00:00", "Address plans without overlaps."),
    "agent": ("agent", "2013-02-03T10:00:00-00:00", "Agents of the cloud's hosts."),
    "allowed-address-pairs": ("Allowed Address Pairs", "2013-07-23T10:00:00-00:00", "More addresses for a port."),
    "availability_zone": ("Availability Zone", "2015-01-01T10:00:00-00:00", "Zones of networks and routers."),
    "availability_zone_filter": (
        "Availability Zone Filter Extension",
        "2018-06-22T10:00:00-00:00",
        "Zones are filtered by their attributes.",
    ),
    "binding": ("Port Binding", "2014-02-03T10:00:00-00:00", "Where a port is plugged."),
    "dhcp_agent_scheduler": ("DHCP Agent Scheduler", "2013-02-07T10:00:00-00:00", "Which agent serves DHCP."),
    "dns-integration": ("DNS Integration", "2015-08-15T18:00:00-00:00", "Names of ports in DNS."),
    "ext-gw-mode": (
        "Neutron L3 Configurable external gateway mode",
        "2013-03-28T10:00:00-00:00",
        "Source NAT of a router's gateway can be switched.",
    ),
    "external-net": ("Neutron external network", "2013-01-14T10:00:00-00:00", "Networks that lead out."),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "2013-03-17T12:00:00-00:00", "DHCP options of a port."),
    "extraroute": ("Neutron Extra Route", "2013-02-01T10:00:00-00:00", "Static routes of a router."),
    "extraroute-atomic": (
        "Atomically add/remove extra routes",
        "2019-07-10T00:00:00+00:00",
        "Routes are added and removed one by one.",
    ),
    "fip-port-details": ("Floating IP Port Details Extension", "2018-04-09T10:00:00-00:00", "The port, in full."),
    "floatingip-pools": ("Floating IP Pools Extension", "2018-03-21T10:00:00-00:00", "Subnets of floating IPs."),
    "ip-substring-filtering": ("IP address substring filtering", "2017-11-28T09:00:00-00:00", "Of ports."),
    "l3_agent_scheduler": ("L3 Agent Scheduler", "2013-02-07T10:00:00-00:00", "Which agent serves a router."),
    "net-mtu": ("Network MTU", "2015-03-25T10:00:00-00:00", "The MTU of a network."),
    "net-mtu-writable": ("Network MTU (writable)", "2017-07-12T00:00:00-00:00", "It can be chosen."),
    "network-ip-availability": (
        "Network IP Availability",
        "2015-09-24T00:00:00-00:00",
        "How many addresses are used and left.",
    ),
    "network_availability_zone": ("Network Availability Zone", "2015-01-01T10:00:00-00:00", "Zone hints."),
    "pagination": ("Pagination support", "2016-06-12T00:00:00-00:00", "Listings come in pages."),
    "port-security": ("Port Security", "2012-07-23T10:00:00-00:00", "Anti-spoofing can be switched."),
    "port-security-groups-filtering": (
        "Port filtering on security groups",
        "2018-01-09T09:00:00-00:00",
        "Ports are filtered by their groups.",
    ),
    "project-id": ("project_id field enabled", "2016-09-09T09:09:09-09:09", "project_id is shown and taken."),
    "provider": ("Provider Network", "2012-09-07T10:00:00-00:00", "How a network is carried."),
    "quotas": ("Quota management support", "2012-07-29T10:00:00-00:00", "Limits of a project."),
    "quota-check-limit": (
        "Quota engine limit check",
        "2021-09-08T16:00:00-00:00",
        "A limit below what is used can be refused.",
    ),
    "quota_details": ("Quota details management support", "2017-02-10T10:00:00-00:00", "What is used of a limit."),
    "rbac-policies": ("RBAC Policies", "2015-06-17T12:15:12-00:00", "Sharing with single projects."),
    "rbac-security-groups": (
        "Add security_group type to network RBAC",
        "2019-02-14T00:00:00-00:00",
        "Security groups are shared too.",
    ),
    "rbac-address-scope": (
        "Add address_scope type to RBAC",
        "2020-04-01T10:00:00-00:00",
        "Address scopes are shared too.",
    ),
    "rbac-subnetpool": ("Add subnetpool type to RBAC", "2020-04-01T10:00:00-00:00", "Subnet pools are shared too."),
    "revision-if-match": (
        "If-Match constraints based on revision_number",
        "2016-12-11T00:00:00-00:00",
        "A change can name the revision it means.",
    ),
    "router": ("Neutron L3 Router", "2012-07-20T10:00:00-00:00", "Routers and floating IPs."),
    "router_availability_zone": ("Router Availability Zone", "2015-01-01T10:00:00-00:00", "Zone hints."),
    "security-group": ("security-group", "2012-10-05T10:00:00-00:00", "Security groups and their rules."),
    "security-groups-normalized-cidr": (
        "Normalized CIDR field for security group rules",
        "2020-07-28T10:00:00-00:00",
        "A rule's prefix in canonical form.",
    ),
    "security-groups-rules-belongs-to-default-sg": (
        "Security group rule belongs to the project's default security group",
        "2023-05-23T10:00:00-00:00",
        "Which rules came with a default group.",
    ),
    "service-type": ("Neutron Service Type Management", "2013-01-20T00:00:00-00:00", "Service providers."),
    "sorting": ("Sorting support", "2016-06-12T00:00:00-00:00", "Listings can be sorted."),
    "standard-attr-description": ("standard-attr-description", "2016-02-10T10:00:00-00:00", "Descriptions."),
    "standard-attr-revisions": (
        "Resource revision numbers",
        "2016-04-11T10:00:00-00:00",
        "Every change counts a revision.",
    ),
    "standard-attr-tag": ("Tag support for resources with standard attribute", "2017-01-01T00:00:00-00:00", "Tags."),
    "standard-attr-timestamp": ("Resource timestamps", "2016-09-12T10:00:00-00:00", "created_at, updated_at."),
    "stateful-security-group": ("Stateful security group", "2019-11-26T09:00:00-00:00", "Groups can be stateless."),
    "default-subnetpools": ("Default Subnetpools", "2016-02-18T18:00:00-00:00", "A pool for whoever names none."),
    "subnet_allocation": ("Subnet Allocation", "2015-03-30T10:00:00-00:00", "Subnets are cut from pools."),
    "subnet-external-network": (
        "Subnet belongs to an external network",
        "2024-02-05T18:00:00-00:00",
        "Subnets of external networks are seen by all.",
    ),
    "subnet-service-types": ("Subnet service types", "2016-03-15T18:00:00-00:00", "Subnets for some ports only."),
    "subnet-dns-publish-fixed-ip": (
        "Subnet DNS publish fixed IP",
        "2019-05-24T10:00:00-00:00",
        "Whether a subnet's addresses are published.",
    ),
    "subnetpool-prefix-ops": (
        "Subnet Pool Prefix Operations",
        "2019-02-08T10:00:00-00:00",
        "Prefixes are added to a pool and taken out.",
    ),
    "tag-creation": ("Tag creation extension", "2024-07-23T10:00:00-00:00", "Tags are added with POST."),
    "tag-ports-during-bulk-creation": (
        "Tag Ports During Bulk Creation",
        "2019-12-29T19:00:00-00:00",
        "Ports are created with tags.",
    ),
    "trunk": ("Trunk Extension", "2016-01-01T10:00:00-00:00", "A port for several networks, by VLANs."),
    "trunk-details": ("Trunk port details", "2016-01-01T10:00:00-00:00", "A port shows its trunk."),
}

network.policy({"get_extension": ""})


def _shown(alias: str) -> dict[str, Any]:
    name, date, what = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": what, "updated": date, "links": []}


@network.route("GET", "/extensions", rule="get_extension")
def list_all(ask: Ask[Any]) -> dict[str, Any]:
    return {"extensions": [_shown(alias) for alias in EXTENSIONS]}


@network.route("GET", "/extensions/{id}", rule="get_extension")
def show(ask: Ask[Any]) -> dict[str, Any]:
    if ask.params["id"] not in EXTENSIONS:
        raise errors.ExtensionNotFound(id=ask.params["id"])
    return {"extension": _shown(ask.params["id"])}
