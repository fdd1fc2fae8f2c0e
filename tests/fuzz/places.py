"""Where ids stand in requests: what each parameter of a path means, and a body for every route that takes ids in one.

A `$kind` is replaced by an id of that kind: the caller's own, another project's, or one that does not exist. A route
with a parameter or a body that is not told about here fails the test of isolation as not covered.
"""

import re
from collections.abc import Mapping
from typing import Any

from nutshell.core.service import Route, Service

# service → the segment before a parameter → what the parameter is. Literals are the cloud's own things, nobody's.
SEGMENTS: Mapping[str, Mapping[str, str]] = {
    "identity": {
        "domains": "$domain", "projects": "$project", "users": "$user", "groups": "$group", "roles": "$role",
        "trusts": "$trust", "credentials": "$credential", "OS-EC2": "$ec2", "implies": "$role", "tags": "t",
        "application_credentials": "$application_credential", "access_rules": "$access_rule", "limits": "1",
        "registered_limits": "1", "policies": "1", "endpoints": "1", "endpoint_groups": "1", "regions": "RegionOne",
        "services": "1", "mappings": "1", "service_providers": "1", "identity_providers": "1", "protocols": "1",
        "consumers": "1", "config": "identity", "identity": "driver", "security_compliance": "password_regex",
    },
    "image": {
        "images": "$image", "members": "$image_member", "tags": "t", "tasks": "1", "namespaces": "$namespace",
        "objects": "a", "properties": "a", "resource_types": "a", "cache": "$image", "nodes": "$image",
        "stores": "file",
    },
    "nutshell": {"requests": "$request", "faults": "1", "openapi": "image", "explain": "$server"},
    "object_store": {"devices": "1"},
    "placement": {
        "allocations": "$server", "resource_classes": "VCPU", "resource_providers": "1", "traits": "CUSTOM_X",
        "inventories": "VCPU",
    },
    "network": {
        "networks": "$network", "subnets": "$subnet", "ports": "$port", "routers": "$router", "agents": "1",
        "floatingips": "$floatingip", "security-groups": "$security_group", "subnetpools": "$subnetpool",
        "security-group-rules": "$security_group_rule", "rbac-policies": "$rbac_policy", "quotas": "$project",
        "tags": "t", "extensions": "router", "network-ip-availabilities": "$network", "dhcp-networks": "$network",
        "address-scopes": "$address_scope", "l3-routers": "$router", "trunks": "$trunk",
    },
    "volume": {
        "volumes": "$volume", "snapshots": "$snapshot", "backups": "$backup", "attachments": "$attachment",
        "volume-transfers": "$transfer", "os-volume-transfer": "$transfer", "types": "$volume_type",
        "os-quota-sets": "$project", "os-quota-class-sets": "default", "messages": "1", "qos-specs": "1",
        "os-hosts": "1", "capabilities": "1", "metadata": "a", "extra_specs": "a", "encryption": "cipher",
    },
    "compute": {
        "servers": "$server", "os-keypairs": "$keypair", "os-server-groups": "$server_group", "flavors": "$flavor",
        "os-quota-sets": "$project", "os-simple-tenant-usage": "$project", "images": "$image", "tags": "t",
        "os-security-groups": "$security_group", "os-security-group-rules": "$security_group_rule",
        "os-floating-ips": "$floatingip", "os-networks": "$network", "os-tenant-networks": "$network",
        "os-volumes": "$volume", "os-snapshots": "$snapshot", "os-interface": "$device_port",
        "os-volume_attachments": "$server_volume", "os-instance-actions": "$action_request", "metadata": "a",
        "ips": "private", "migrations": "1", "consoles": "1", "os-extra_specs": "a", "extensions": "1",
        "os-quota-class-sets": "default", "os-agents": "1", "os-aggregates": "1", "os-cells": "1", "os-hosts": "1",
        "os-certificates": "1", "os-cloudpipe": "1", "os-console-auth-tokens": "1", "os-fixed-ips": "1",
        "os-floating-ip-dns": "1", "entries": "1", "os-floating-ips-bulk": "1", "os-fping": "$server",
        "os-hypervisors": "1", "os-instance_usage_audit_log": "1", "os-security-group-default-rules": "1",
        "os-services": "1",
    },
}  # fmt: skip

_ROLES = [{"name": "member"}]
_SERVER = {"name": "s", "flavorRef": "42", "imageRef": "$image", "networks": "none"}
_NET = "network POST /"
# "service METHOD path action" → a body with ids in it
BODIES: Mapping[str, Any] = {
    "identity POST /credentials": {"credential": {"type": "cert", "blob": "x", "user_id": "$user",
                                                  "project_id": "$project"}},
    "identity PATCH /credentials/{id}": {"credential": {"user_id": "$user", "project_id": "$project"}},
    "identity POST /OS-TRUST/trusts": {"trust": {"trustor_user_id": "$user", "trustee_user_id": "$user",
                                                 "impersonation": False, "project_id": "$project", "roles": _ROLES}},
    "identity POST /auth/tokens": {"auth": {"identity": {"methods": ["token"], "token": {"id": "$token"}},
                                            "scope": {"project": {"id": "$project"}}}},
    "identity POST /groups": {"group": {"name": "g", "domain_id": "$domain"}},
    "identity PATCH /groups/{id}": {"group": {"domain_id": "$domain"}},
    "identity POST /limits": {"limits": [{"service_id": "1", "project_id": "$project", "resource_name": "r",
                                          "resource_limit": 1}]},
    "identity POST /projects": {"project": {"name": "p", "domain_id": "$domain", "parent_id": "$project"}},
    "identity PATCH /projects/{id}": {"project": {"domain_id": "$domain", "parent_id": "$project"}},
    "identity POST /roles": {"role": {"name": "r", "domain_id": "$domain"}},
    "identity PATCH /roles/{id}": {"role": {"domain_id": "$domain"}},
    "identity POST /users": {"user": {"name": "u", "domain_id": "$domain", "default_project_id": "$project"}},
    "identity PATCH /users/{id}": {"user": {"domain_id": "$domain", "default_project_id": "$project"}},
    "identity POST /users/{id}/application_credentials": {"application_credential": {
        "name": "a", "project_id": "$project", "roles": [{"id": "$role"}], "access_rules": [{"id": "$access_rule"}]}},
    "identity POST /users/{id}/credentials/OS-EC2": {"tenant_id": "$project"},
    "nutshell POST /faults": {"fault": {"service": "compute", "resource_id": "$server", "project_id": "$project"}},
    "identity PUT /OS-FEDERATION/identity_providers/{id}": {"identity_provider": {"domain_id": "$domain"}},
    "identity PATCH /OS-FEDERATION/identity_providers/{id}": {"identity_provider": {"domain_id": "$domain"}},
    "image POST /images": {"name": "i", "owner": "$project"},
    "image PATCH /images/{image_id}": [{"op": "replace", "path": "/owner", "value": "$project"}],
    "image POST /images/{image_id}/import": {"method": {"name": "glance-direct"}},
    "image POST /images/{image_id}/members": {"member": "$project"},
    "image PUT /images/{image_id}/members/{member_id}": {"status": "accepted"},
    "image POST /images/{image_id}/locations": {"url": "http://example.org/i"},
    "image POST /tasks": {"type": "import", "input": {"import_from": "http://example.org/i"}},
    "image POST /metadefs/namespaces": {"namespace": "$namespace", "owner": "$project"},
    "image PUT /metadefs/namespaces/{namespace}": {"namespace": "$namespace", "owner": "$project"},
    "placement POST /allocations": {"$server": {"allocations": {}, "project_id": "$project", "user_id": "$user",
                                                "consumer_generation": None, "consumer_type": "INSTANCE"}},
    "placement PUT /allocations/{consumer_uuid}": {"allocations": {}, "project_id": "$project", "user_id": "$user",
                                                   "consumer_generation": None, "consumer_type": "INSTANCE"},
    "network POST /networks": {"network": {"name": "n", "project_id": "$project"}},
    "network POST /subnets": {"subnet": {"network_id": "$network", "ip_version": 4, "cidr": "10.77.0.0/24",
                                         "project_id": "$project"}},
    "network POST /subnets pool": {"subnet": {"network_id": "$network", "ip_version": 4, "subnetpool_id": "$subnetpool",
                                              "prefixlen": 28}},
    "network POST /ports": {"port": {"network_id": "$network", "fixed_ips": [{"subnet_id": "$subnet"}],
                                     "security_groups": ["$security_group"], "device_id": "$server",
                                     "project_id": "$project"}},
    "network PUT /ports/{id}": {"port": {"fixed_ips": [{"subnet_id": "$subnet"}], "device_id": "$server",
                                         "security_groups": ["$security_group"]}},
    "network POST /floatingips": {"floatingip": {"floating_network_id": "$network", "port_id": "$port",
                                                 "subnet_id": "$subnet", "project_id": "$project"}},
    "network POST /floatingips port": {"floatingip": {"floating_network_id": "$public", "port_id": "$port"}},
    "network POST /floatingips address": {"floatingip": {"floating_network_id": "$public",
                                                         "floating_ip_address": "$floating_address"}},
    "network PUT /floatingips/{id}": {"floatingip": {"port_id": "$port"}},
    "network POST /rbac-policies": {"rbac_policy": {"object_type": "network", "object_id": "$network",
                                                    "action": "access_as_shared", "target_tenant": "$project"}},
    "network POST /rbac-policies group": {"rbac_policy": {"object_type": "security_group", "target_tenant": "x",
                                                          "object_id": "$security_group",
                                                          "action": "access_as_shared"}},
    "network PUT /rbac-policies/{id}": {"rbac_policy": {"target_tenant": "$project"}},
    "network POST /routers": {"router": {"name": "r", "external_gateway_info": {"network_id": "$network"},
                                         "project_id": "$project"}},
    "network PUT /routers/{id}": {"router": {"external_gateway_info": {
        "network_id": "$network", "external_fixed_ips": [{"subnet_id": "$subnet"}]}}},
    "network PUT /routers/{id}/add_router_interface": {"subnet_id": "$subnet"},
    "network PUT /routers/{id}/add_router_interface port": {"port_id": "$port"},
    "network PUT /routers/{id}/remove_router_interface": {"subnet_id": "$subnet"},
    "network POST /trunks": {"trunk": {"port_id": "$free_port", "sub_ports": [
        {"port_id": "$device_port", "segmentation_type": "vlan", "segmentation_id": 5}]}},
    "network PUT /trunks/{id}": {"trunk": {"name": "n"}},
    "network PUT /trunks/{id}/add_subports": {"sub_ports": [
        {"port_id": "$device_port", "segmentation_type": "vlan", "segmentation_id": 9}]},
    "network PUT /trunks/{id}/remove_subports": {"sub_ports": [{"port_id": "$subport"}]},
    "network PUT /routers/{id}/remove_router_interface port": {"port_id": "$router_port"},
    "network POST /security-groups": {"security_group": {"name": "g", "project_id": "$project"}},
    "network POST /security-group-rules": {"security_group_rule": {
        "security_group_id": "$security_group", "direction": "ingress", "remote_group_id": "$security_group",
        "project_id": "$project"}},
    "network POST /subnetpools": {"subnetpool": {"name": "p", "prefixes": ["10.99.0.0/16"], "project_id": "$project"}},
    "network POST /agents/{id}/dhcp-networks": {"network_id": "$network"},
    "network POST /subnetpools scope": {"subnetpool": {"name": "p", "prefixes": ["10.98.0.0/16"],
                                                       "address_scope_id": "$address_scope"}},
    "network PUT /subnetpools/{id} scope": {"subnetpool": {"address_scope_id": "$address_scope"}},
    "network POST /address-scopes": {"address_scope": {"name": "s", "ip_version": 4, "project_id": "$project"}},
    "network PUT /address-scopes/{id}": {"address_scope": {"name": "n"}},
    "network POST /agents/{id}/l3-routers": {"router_id": "$router"},
    "network PUT /subnetpools/{id}/add_prefixes": {"subnetpool": {"prefixes": ["10.97.0.0/16"]}},
    "network PUT /subnetpools/{id}/remove_prefixes": {"subnetpool": {"prefixes": ["10.97.0.0/16"]}},
    "volume POST /volumes": {"volume": {"size": 1, "snapshot_id": "$snapshot"}},
    "volume POST /volumes source": {"volume": {"size": 1, "source_volid": "$volume"}},
    "volume POST /volumes image": {"volume": {"size": 1, "imageRef": "$image"}},
    "volume POST /volumes backup": {"volume": {"size": 1, "backup_id": "$backup"}},
    "volume POST /volumes group": {"volume": {"size": 1, "group_id": "$project", "consistencygroup_id": "$project"}},
    "volume POST /volumes type": {"volume": {"size": 1, "volume_type": "$volume_type"}},
    "volume POST /volumes type's name": {"volume": {"size": 1, "volume_type": "$volume_type_name"}},
    "volume POST /volumes/{id}/action revert": {"revert": {"snapshot_id": "$snapshot"}},
    "volume POST /volumes/{id}/action os-retype": {"os-retype": {"new_type": "$volume_type",
                                                                 "migration_policy": "never"}},
    "volume POST /volumes/{id}/action os-attach": {"os-attach": {"instance_uuid": "$server", "mountpoint": "/dev/vdc"}},
    "volume POST /volumes/{id}/action os-detach": {"os-detach": {"attachment_id": "$attachment"}},
    "volume POST /volumes/{id}/action os-force_detach": {"os-force_detach": {"attachment_id": "$attachment"}},
    "volume POST /attachments": {"attachment": {"volume_uuid": "$volume", "instance_uuid": "$server"}},
    "volume POST /backups": {"backup": {"volume_id": "$volume", "snapshot_id": "$snapshot"}},
    "volume POST /backups/{id}/restore": {"restore": {"volume_id": "$volume"}},
    "volume POST /snapshots": {"snapshot": {"volume_id": "$volume"}},
    "volume POST /os-volume-transfer": {"transfer": {"volume_id": "$volume"}},
    "volume POST /volume-transfers": {"transfer": {"volume_id": "$volume"}},
    "volume POST /os-volume-transfer/{id}/accept": {"accept": {"auth_key": "0123456789abcdef"}},
    "volume POST /volume-transfers/{id}/accept": {"accept": {"auth_key": "0123456789abcdef"}},
    "volume POST /types/{id}/action addProjectAccess": {"addProjectAccess": {"project": "$project"}},
    "volume POST /types/{id}/action removeProjectAccess": {"removeProjectAccess": {"project": "$project"}},
    "compute POST /flavors/{id}/action addTenantAccess": {"addTenantAccess": {"tenant": "$project"}},
    "compute POST /flavors/{id}/action removeTenantAccess": {"removeTenantAccess": {"tenant": "$project"}},
    "compute POST /os-keypairs": {"keypair": {"name": "k", "user_id": "$user"}},
    "compute POST /os-security-group-rules": {"security_group_rule": {
        "parent_group_id": "$security_group", "group_id": "$security_group", "ip_protocol": "tcp", "from_port": 1,
        "to_port": 1}},
    "compute POST /os-server-external-events": {"events": [{"name": "network-changed", "server_uuid": "$server",
                                                            "tag": "$device_port"}]},
    "compute POST /os-snapshots": {"snapshot": {"volume_id": "$volume"}},
    "compute POST /os-volumes": {"volume": {"size": 1, "snapshot_id": "$snapshot"}},
    "compute POST /os-volumes type": {"volume": {"size": 1, "volume_type": "$volume_type"}},
    "compute POST /servers": {"server": _SERVER},
    "compute POST /servers flavor": {"server": {**_SERVER, "imageRef": "$public_image", "flavorRef": "$flavor"}},
    "compute POST /servers key": {"server": {**_SERVER, "imageRef": "$public_image", "key_name": "$keypair"}},
    "compute POST /servers network": {"server": {**_SERVER, "imageRef": "$public_image",
                                                 "networks": [{"uuid": "$network"}]}},
    "compute POST /servers port": {"server": {**_SERVER, "imageRef": "$public_image",
                                              "networks": [{"port": "$port"}]}},
    "compute POST /servers groups": {"server": {**_SERVER, "imageRef": "$public_image", "networks": [{"uuid": "$own"}],
                                                "security_groups": [{"name": "$security_group"}]}},
    "compute POST /servers groups' names": {"server": {
        **_SERVER, "imageRef": "$public_image", "networks": [{"uuid": "$own"}],
        "security_groups": [{"name": "$security_group_name"}]}},
    "compute POST /servers volume": {"server": {"name": "s", "flavorRef": "42", "networks": "none",
        "block_device_mapping_v2": [{"source_type": "volume", "destination_type": "volume", "uuid": "$volume",
                                     "boot_index": 0}]}},
    "compute POST /servers snapshot": {"server": {"name": "s", "flavorRef": "42", "networks": "none",
        "block_device_mapping_v2": [{"source_type": "snapshot", "destination_type": "volume", "uuid": "$snapshot",
                                     "boot_index": 0, "volume_size": 1}]}},
    "compute POST /servers older": {"server": {"name": "s", "flavorRef": "42", "networks": "none",
        "block_device_mapping": [{"volume_id": "$volume", "device_name": "vda"}]}},
    "compute POST /servers hints": {"server": {**_SERVER, "imageRef": "$public_image"},
                                    "os:scheduler_hints": {"group": "$server_group"}},
    "compute POST /servers near": {"server": {**_SERVER, "imageRef": "$public_image"},
                                   "os:scheduler_hints": {"same_host": ["$server"]}},
    "compute POST /servers/{id}/action addFixedIp": {"addFixedIp": {"networkId": "$network"}},
    "compute POST /servers/{id}/action addFloatingIp": {"addFloatingIp": {"address": "$floating_address"}},
    "compute POST /servers/{id}/action removeFloatingIp": {"removeFloatingIp": {"address": "$floating_address"}},
    "compute POST /servers/{id}/action addSecurityGroup": {"addSecurityGroup": {"name": "$security_group"}},
    "compute POST /servers/{id}/action removeSecurityGroup": {"removeSecurityGroup": {"name": "$security_group_name"}},
    "compute POST /servers/{id}/action rebuild": {"rebuild": {"imageRef": "$image", "key_name": "$keypair"}},
    "compute POST /servers/{id}/action rescue": {"rescue": {"rescue_image_ref": "$image"}},
    "compute POST /servers/{id}/action resize": {"resize": {"flavorRef": "$flavor"}},
    "compute POST /servers/{id}/action createImage": {"createImage": {"name": "i"}},
    "compute POST /servers/{id}/action createBackup": {"createBackup": {"name": "b", "backup_type": "daily",
                                                                        "rotation": 1}},
    "compute POST /servers/{id}/action changePassword": {"changePassword": {"adminPass": "x"}},
    "compute POST /servers/{id}/action reboot": {"reboot": {"type": "SOFT"}},
    "compute POST /servers/{id}/os-interface": {"interfaceAttachment": {"net_id": "$network"}},
    "compute POST /servers/{id}/os-interface port": {"interfaceAttachment": {"port_id": "$port"}},
    "compute POST /servers/{id}/os-volume_attachments": {"volumeAttachment": {"volumeId": "$volume"}},
    "compute PUT /servers/{id}/os-volume_attachments/{volume_id}": {"volumeAttachment": {"volumeId": "$volume"}},
    "compute POST /os-aggregates/{id}/images": {"cache": [{"id": "$image"}]},
    "compute PUT /servers/{id}": {"server": {"name": "n"}},
    "compute PUT /servers/{id}/metadata": {"metadata": {"a": "c"}},
    "compute POST /servers/{id}/metadata": {"metadata": {"a": "c"}},
    "compute PUT /servers/{id}/metadata/{key}": {"meta": {"a": "c"}},
    "compute PUT /servers/{id}/tags": {"tags": ["u"]},
    "compute POST /servers/{id}/remote-consoles": {"remote_console": {"protocol": "vnc", "type": "novnc"}},
    "volume PUT /volumes/{id}": {"volume": {"name": "n"}},
    "volume POST /volumes/{id}/action os-extend": {"os-extend": {"new_size": 2}},
    "network PUT /networks/{id}": {"network": {"name": "n"}},
    "network PUT /subnets/{id}": {"subnet": {"name": "n"}},
    "network PUT /security-groups/{id}": {"security_group": {"name": "n"}},
    "network PUT /subnetpools/{id}": {"subnetpool": {"name": "n"}},
}  # fmt: skip

# Fields of declared bodies that hold somebody's id, by their names.
ID_LIKE = re.compile(
    r"(_id|_ids|Id|Ref|_ref|_uuid|uuid)$|^(project|tenant|source_volid|key_name|security_groups|networks|volume_type"
    r"|new_type|member|block_device_mapping.*)$"
)
# Those that are no foreign id, with why.
NO_IDS = {
    "explicit_domain_id": "the new domain's own",
    "region_id": "the cloud's", "parent_region_id": "the cloud's", "service_id": "the cloud's",
    "remote_ids": "names of federated parties", "mapping_id": "the cloud's",
    "id": "the new thing's own", "serverId": "must repeat the path's", "uuid": "the new provider's own",
    "parent_provider_uuid": "the cloud's",
}  # fmt: skip
# Plain routes that read their bodies themselves and take no ids in them.
WITHOUT_IDS = re.compile(
    r"identity (PUT|PATCH) /OS-FEDERATION/.*"
    r"|identity (POST /(keys|ec2tokens|s3tokens|registered_limits)|(PUT|PATCH) /domains/\{id\}/config.*|PUT .*)$"
    r"|image (PUT|POST) /images/\{image_id\}/(file|stage|tags/\{tag\}|actions/\w+)$"
    r"|image (PUT|POST) /cache/.*|image (PUT|POST) /metadefs/namespaces/\{namespace\}/.*"
    r"|(placement|object_store) .*"
    r"|network (POST|PUT) /\w[\w-]*/\{id\}/tags(/\{tag\})?$"
    r"|network PUT /(agents/\{id\}|quotas/\{id\}|routers/\{id\}/(add|remove)_extraroutes)$"
    r"|volume PUT /(os-services/.*|os-quota-.*|qos-specs/.*|types/.*|\w+/\{id\}/metadata.*)$"
    r"|volume POST /(qos-specs|types/\{id\}/extra_specs|\w+/\{id\}/metadata)$"
    r"|compute (POST|PUT) /(os-agents|os-cells|os-certificates|os-cloudpipe|os-fixed-ips|os-floating-ip|os-networks"
    r"|os-security-group-default-rules|os-tenant-networks|os-quota|flavors/\{id\}/os-extra_specs).*$"
    r"|compute (POST /servers/\{id\}/consoles|PUT /servers/\{id\}/tags/\{tag\})$"
)


def named(service: Service, route: Route) -> str:
    return f"{service.name} {route.method} {route.path}" + (f" {route.action}" if route.action else "")


def template(service: Service, route: Route) -> str:
    """The route's path with what each parameter means, as "/servers/$server/tags/t". KeyError: not covered."""
    found, before = [], ""
    for segment in route.path.split("/"):
        if segment == "{image_id}":  # also where a store stands before it
            segment = "$image"
        elif before == "explain" and segment == "{kind}":
            segment = "server"
        elif segment.startswith("{"):
            segment = SEGMENTS[service.name][before]
        else:
            before = segment
        found.append(segment)
    return "/".join(found)


def bodies(service: Service, route: Route) -> list[Any]:
    """The bodies to send. LookupError: the route takes ids that no body here has."""
    if route.method in ("GET", "HEAD", "DELETE"):
        return [None]
    name = named(service, route)
    mine = [b for n, b in BODIES.items() if n == name or (n.startswith(name + " ") and not _other_action(n, name))]
    if mine:
        return mine
    if route.body is not None:
        wanted = [
            f.on_wire for f in route.body.fields.values()
            if ID_LIKE.search(f.on_wire) and f.on_wire not in NO_IDS and not (f.write and route.verb not in f.write)
        ]  # fmt: skip
        if wanted and service.name != "placement":
            raise LookupError(f"{name} takes {wanted}: give it a body in tests/fuzz/places.py")
    elif not route.action and not WITHOUT_IDS.match(name):
        raise LookupError(f"{name} reads its body itself: give it one in tests/fuzz/places.py")
    if route.action:
        return [{route.action: None if route.body is None else {}}]
    wrap = route.wrap if route.wrap is not None else route.noun.one if route.noun is not None else ""
    return [{wrap: {}} if wrap else {}]


def _other_action(key: str, name: str) -> bool:
    """Whether the key is an action's body and the name is the same path's without one."""
    return key.split(" ")[2].endswith("/action") and len(name.split(" ")) < 4
