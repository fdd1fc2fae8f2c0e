"""Bodies of the routes that read them by themselves, told by hand; a test finds the routes that are missing here."""

import re
from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
MAYBE: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer"}
YES_NO: Schema = {"type": "boolean"}
FREE: Schema = {"type": "object"}
NOTHING: Schema = {"description": "nothing is read"}


def one(name: str, inner: Schema) -> Schema:
    return {"type": "object", "properties": {name: inner}, "required": [name]}


def some(required: str = "", /, **members: Schema) -> Schema:
    """An object with these members; `required`: their names."""
    return {"type": "object", "properties": members, "required": required.split()}


def each(inner: Schema) -> Schema:
    return {"type": "array", "items": inner}


def texts(inner: Schema = TEXT) -> Schema:
    return {"type": "object", "additionalProperties": inner}


_LIMIT = some(service_id=TEXT, region_id=MAYBE, resource_name=TEXT, resource_limit=WHOLE, default_limit=WHOLE,
              project_id=MAYBE, domain_id=MAYBE, description=MAYBE)  # fmt: skip
_AUTH = one("auth", some("identity", scope={"type": ["object", "string"]}, identity=some(
    "methods", methods=each(TEXT), token=one("id", TEXT), password=one("user", some(
        id=TEXT, name=TEXT, password=TEXT, domain=some(id=TEXT, name=TEXT))))))  # fmt: skip
_SIGNED = {"type": "object", "properties": {"credentials": FREE, "ec2Credentials": FREE}}
_PROPERTY = some("title type", name=TEXT, title=TEXT, type=TEXT, description=TEXT, operators=each(TEXT), default={},
                 enum=each(TEXT), minimum=WHOLE, maximum=WHOLE, minLength=WHOLE, maxLength=WHOLE, pattern=TEXT,
                 readonly=YES_NO, items=FREE, uniqueItems=YES_NO)  # fmt: skip
_OBJECT = some("name", name=TEXT, description=TEXT, required=each(TEXT), properties=texts(_PROPERTY))
_NAMESPACE = some("namespace", namespace=TEXT, display_name=TEXT, description=TEXT, visibility=TEXT, protected=YES_NO,
                  owner=TEXT, resource_type_associations=each(one("name", TEXT)), properties=texts(_PROPERTY),
                  objects=each(_OBJECT), tags=each(one("name", TEXT)))  # fmt: skip
_IMAGE = some(id=TEXT, name=MAYBE, visibility=TEXT, disk_format=MAYBE, container_format=MAYBE, min_disk=WHOLE,
              min_ram=WHOLE, protected=YES_NO, os_hidden=YES_NO, tags=each(TEXT), owner=TEXT)  # fmt: skip
_PATCH = each(some("op path", op={"enum": ["add", "replace", "remove", "move"]}, path=TEXT, value={}))
_ALLOCATION = some(
    "allocations project_id user_id consumer_generation consumer_type", project_id=TEXT, user_id=TEXT,
    consumer_generation={"type": ["integer", "null"]}, consumer_type=TEXT, mappings=FREE,
    allocations=texts(one("resources", texts(WHOLE))))  # fmt: skip
_METADATA = one("metadata", texts())
_TAGS = one("tags", each(TEXT))
_QUOTA = one("quota_set", texts(WHOLE))
_NAMED = some("binary", host=TEXT, binary=TEXT, disabled_reason=TEXT, cluster=TEXT)

# (service, method, pattern of the path) → body
_BODIES: tuple[tuple[str, str, str, Schema], ...] = (
    ("identity", "POST", "/auth/tokens", _AUTH),
    ("identity", "POST", "/(ec2|s3)tokens", _SIGNED),
    ("identity", "POST", "/limits", one("limits", each(_LIMIT))),
    ("identity", "POST", "/registered_limits", one("registered_limits", each(_LIMIT))),
    ("identity", "PUT|PATCH", "/domains/{id}/config.*", one("config", FREE)),
    ("identity", "PUT", "/(groups|projects|domains|system|roles|OS-INHERIT|OS-EP-FILTER)/.*", NOTHING),
    ("identity", "POST", "/keys", NOTHING),
    ("identity", "PUT", "/policies/{id}/OS-ENDPOINT-POLICY/.*", NOTHING),
    ("identity", "PUT|PATCH", "/OS-FEDERATION/mappings/{id}", one("mapping", some(
        "rules", schema_version=TEXT, rules=each(some("local remote", local=each(FREE), remote=each(FREE)))))),
    ("image", "POST", "/images", _IMAGE),
    ("image", "PATCH", "/images/{image_id}", _PATCH),
    ("image", "POST", "/images/{image_id}/import", one("method", some("name", name=TEXT, uri=TEXT))),
    ("image", "POST", "/images/{image_id}/members", one("member", TEXT)),
    ("image", "PUT", "/images/{image_id}/members/{member_id}", one("status", TEXT)),
    ("image", "POST", "/images/{image_id}/actions/.*", NOTHING),
    ("image", "PUT", "/images/{image_id}/tags/{tag}", NOTHING),
    ("image", "POST|PUT", "/metadefs/namespaces(/{namespace})?", _NAMESPACE),
    ("image", "POST|PUT", "/metadefs/namespaces/{namespace}/objects.*", _OBJECT),
    ("image", "POST|PUT", "/metadefs/namespaces/{namespace}/properties.*", _PROPERTY),
    ("image", "POST", "/metadefs/namespaces/{namespace}/tags", one("tags", each(one("name", TEXT)))),
    ("image", "POST|PUT", "/metadefs/namespaces/{namespace}/tags/{name}", some(name=TEXT)),
    ("image", "POST", "/metadefs/namespaces/{namespace}/resource_types", some("name", name=TEXT, prefix=TEXT)),
    ("image", "PUT|POST", "/cache/.*", NOTHING),
    ("image", "POST", "/tasks", some("type input", type=TEXT, input=FREE)),
    ("image", "POST", "/images/{image_id}/locations", some("url", url=TEXT, validation_data=FREE)),
    ("metadata", "POST", "/openstack/{version}/password", TEXT),
    ("object_store", "POST", "/devices", some("name", name=TEXT, path=TEXT, zone=TEXT, weight={"type": "number"})),
    ("object_store", "POST", "/devices/{name}/drain|/scrub", NOTHING),
    ("placement", "POST", "/allocations", texts(_ALLOCATION)),
    ("placement", "PUT", "/allocations/{consumer_uuid}", _ALLOCATION),
    ("placement", "POST", "/reshaper", some("inventories allocations", inventories=texts(FREE),
                                            allocations=texts(_ALLOCATION))),
    ("placement", "PUT", "/(traits|resource_classes)/{name}", NOTHING),
    ("network", "POST|PUT", "/.*/tags", _TAGS),
    ("network", "PUT", "/.*/tags/{tag}", NOTHING),
    ("network", "PUT", "/agents/{id}", one("agent", some(admin_state_up=YES_NO, description=TEXT))),
    ("network", "POST", "/agents/{id}/dhcp-networks", one("network_id", TEXT)),
    ("network", "POST", "/agents/{id}/l3-routers", one("router_id", TEXT)),
    ("network", "PUT", "/quotas/{id}", one("quota", texts(WHOLE))),
    ("network", "PUT", "/routers/{id}/(add|remove)_extraroutes", one("router", one("routes", each(
        some("destination nexthop", destination=TEXT, nexthop=TEXT))))),
    ("network", "PUT", "/subnetpools/{id}/(add|remove)_prefixes", one("prefixes", each(TEXT))),
    ("network", "PUT", "/routers/{id}/(add|remove)_router_interface", some(subnet_id=TEXT, port_id=TEXT)),
    ("volume", "POST", "/(os-volume-transfer|volume-transfers)/{id}/accept", one("accept", one("auth_key", TEXT))),
    ("volume", "POST", "/qos-specs", one("qos_specs", some("name", name=TEXT, consumer=TEXT))),
    ("network", "PUT", "/trunks/{id}/(add|remove)_subports", one("sub_ports", each(some(
        "port_id", port_id=TEXT, segmentation_type=TEXT, segmentation_id=WHOLE)))),
    ("volume", "PUT", "/qos-specs/{id}", one("qos_specs", texts())),
    ("volume", "PUT", "/qos-specs/{id}/delete_keys", one("keys", each(TEXT))),
    ("volume", "POST", "/types/{id}/extra_specs", one("extra_specs", texts())),
    ("volume", "PUT", "/types/{id}/extra_specs/{key}", texts()),
    ("volume", "POST|PUT", "/(volumes|snapshots)/{id}/metadata", _METADATA),
    ("volume", "PUT", "/(volumes|snapshots)/{id}/metadata/{key}", one("meta", texts())),
    ("volume", "PUT", "/os-quota-sets/{target_id}", _QUOTA),
    ("volume", "PUT", "/os-quota-class-sets/{name}", one("quota_class_set", texts(WHOLE))),
    ("volume", "PUT", "/os-services/.*", _NAMED),
    ("compute", "POST", "/flavors/{id}/os-extra_specs", one("extra_specs", texts())),
    ("compute", "PUT", "/flavors/{id}/os-extra_specs/{key}", texts()),
    ("compute", "PUT", "/os-quota-sets/{id}", _QUOTA),
    ("compute", "PUT", "/os-quota-class-sets/{id}", one("quota_class_set", texts(WHOLE))),
    ("compute", "POST", "/servers/{id}/os-interface", one("interfaceAttachment", some(
        net_id=TEXT, port_id=TEXT, tag=TEXT, fixed_ips=each(one("ip_address", TEXT))))),
    ("compute", "PUT", "/servers/{id}/tags/{tag}", NOTHING),
    ("compute", "POST|PUT", "/(os-agents|os-cells|os-certificates|os-cloudpipe|os-fixed-ips|os-floating-ip|os-networks"
     "|os-security-group-default-rules|os-tenant-networks|servers/{id}/consoles).*", NOTHING),
)  # fmt: skip


def plain_body(service: str, method: str, path: str) -> Schema | None:
    """The body told by hand; None when the route is not known here."""
    for name, methods, pattern, body in _BODIES:
        wanted = re.sub(r"\{(\w+)\}", r"\\{\1\\}", pattern)
        if name == service and re.fullmatch(methods, method) and re.fullmatch(wanted, path):
            return body
    return None
