"""The list of extensions, which clients of old ask what a cloud can do (Compute API, "Extensions").

Every compute service since the 2.1 API answers with the same list: extensions are no longer added or left out.
"""

from typing import Any

from nutshell.compute import wire
from nutshell.compute.service import compute
from nutshell.core.errors import NoRoute
from nutshell.core.service import Ask

RULE = "os_compute_api:extensions"
# Aliases without their "os-", whose names follow from them.
PLAIN = (
    "admin-actions", "admin-password", "agents", "aggregates", "assisted-volume-snapshots", "attach-interfaces",
    "availability-zone", "block-device-mapping", "block-device-mapping-v2-boot", "cell-capacities", "cells",
    "certificates", "cloudpipe", "cloudpipe-update", "config-drive", "console-auth-tokens", "console-output",
    "consoles", "create-backup", "deferred-delete", "evacuate", "extended-evacuate-find-host",
    "extended-floating-ips", "extended-hypervisors", "extended-networks", "extended-quotas",
    "extended-rescue-with-image", "extended-services", "extended-services-delete", "extended-status",
    "extended-volumes", "flavor-access", "flavor-extra-specs", "flavor-manage", "flavor-rxtx", "flavor-swap",
    "floating-ip-dns", "floating-ip-pools", "floating-ips", "floating-ips-bulk", "fping", "hide-server-addresses",
    "hosts", "hypervisor-status", "hypervisors", "instance-actions", "keypairs", "lock-server", "migrate-server",
    "migrations", "multiple-create", "networks", "pause-server", "personality", "rescue",
    "security-group-default-rules", "security-groups", "server-diagnostics", "server-external-events",
    "server-group-quotas", "server-groups", "server-list-multi-status", "server-password", "server-sort-keys",
    "server-start-stop", "services", "shelve", "simple-tenant-usage", "suspend-server", "used-limits",
    "used-limits-for-admin", "user-data", "user-quotas", "virtual-interfaces", "volume-attachment-update",
    "volumes",
)  # fmt: skip
ODD = {
    "NMN": "Multinic",
    "OS-DCF": "DiskConfig",
    "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IMG-SIZE": "ImageSize",
    "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus",
    "OS-FLV-DISABLED": "FlavorDisabled",
    "OS-FLV-EXT-DATA": "FlavorExtraData",
    "OS-SCH-HNT": "SchedulerHints",
    "OS-SRV-USG": "ServerUsage",
    "os-access-ips": "AccessIPs",
    "os-baremetal-ext-status": "BareMetalExtStatus",
    "os-baremetal-nodes": "BareMetalNodes",
    "os-create-server-ext": "Createserverext",
    "os-fixed-ips": "FixedIPs",
    "os-instance_usage_audit_log": "OSInstanceUsageAuditLog",
    "os-networks-associate": "NetworkAssociationSupport",
    "os-preserve-ephemeral-rebuild": "PreserveEphemeralOnRebuild",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-tenant-networks": "OSTenantNetworks",
}


def _name(alias: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in alias.split("-"))


ALL = {f"os-{a}": _name(a) for a in PLAIN} | ODD


def _shown(alias: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": ALL[alias],
        "description": "",
        "links": [],
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
    }


@compute.route("GET", "/extensions", rule=RULE)
def index(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    return {"extensions": [_shown(a) for a in sorted(ALL)]}


@compute.route("GET", "/extensions/{alias}", rule=RULE)
def show(ask: Ask[Any]) -> dict[str, Any]:
    wire.only_query(ask, frozenset(), "2.102")
    if ask.params["alias"] not in ALL:
        raise NoRoute()
    return {"extension": _shown(ask.params["alias"])}
