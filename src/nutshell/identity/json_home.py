"""The API's resources as a JSON home document: which there are and how their addresses are made.

Source: draft-nottingham-json-home; Identity API v3, "JSON Home".
"""

# ruff: noqa: E501 - rows of a table

from typing import Any

RELATIONS = "https://docs.openstack.org/api/openstack-identity/3/"
# Names of address parts whose relation is called otherwise.
PARTS = {
    "consumer_id": "ext/OS-OAUTH1/1.0/param/consumer_id",
    "endpoint_group_id": "ext/OS-EP-FILTER/1.0/param/endpoint_group_id",
    "group": "param/config_group",
    "idp_id": "ext/OS-FEDERATION/1.0/param/idp_id",
    "implied_role_id": "param/role_id",
    "mapping_id": "ext/OS-FEDERATION/1.0/param/mapping_id",
    "option": "param/config_option",
    "prior_role_id": "param/role_id",
    "protocol_id": "ext/OS-FEDERATION/1.0/param/protocol_id",
    "service_provider_id": "ext/OS-FEDERATION/1.0/param/service_provider_id",
    "trust_id": "ext/OS-TRUST/1.0/param/trust_id",
    "value": "param/tag_value",
}
# relation: address
RESOURCES = {
    "ext/OS-EC2/1.0/rel/ec2tokens": "/ec2tokens",
    "ext/OS-EC2/1.0/rel/user_credential": "/users/{user_id}/credentials/OS-EC2/{credential_id}",
    "ext/OS-EC2/1.0/rel/user_credentials": "/users/{user_id}/credentials/OS-EC2",
    "ext/OS-ENDPOINT-POLICY/1.0/rel/endpoint_policy": "/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy",
    "ext/OS-ENDPOINT-POLICY/1.0/rel/endpoint_policy_association": "/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints/{endpoint_id}",
    "ext/OS-ENDPOINT-POLICY/1.0/rel/policy_endpoints": "/policies/{policy_id}/OS-ENDPOINT-POLICY/endpoints",
    "ext/OS-ENDPOINT-POLICY/1.0/rel/region_and_service_policy_association": "/policies/{policy_id}/OS-ENDPOINT-POLICY/services/{service_id}/regions/{region_id}",
    "ext/OS-ENDPOINT-POLICY/1.0/rel/service_policy_association": "/policies/{policy_id}/OS-ENDPOINT-POLICY/services/{service_id}",
    "ext/OS-EP-FILTER/1.0/rel/endpoint_group": "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}",
    "ext/OS-EP-FILTER/1.0/rel/endpoint_group_to_project_association": "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}",
    "ext/OS-EP-FILTER/1.0/rel/endpoint_groups": "/OS-EP-FILTER/endpoint_groups",
    "ext/OS-EP-FILTER/1.0/rel/endpoint_projects": "/OS-EP-FILTER/endpoints/{endpoint_id}/projects",
    "ext/OS-EP-FILTER/1.0/rel/endpoints_in_endpoint_group": "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints",
    "ext/OS-EP-FILTER/1.0/rel/project_endpoint": "/OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}",
    "ext/OS-EP-FILTER/1.0/rel/project_endpoint_groups": "/OS-EP-FILTER/projects/{project_id}/endpoint_groups",
    "ext/OS-EP-FILTER/1.0/rel/project_endpoints": "/OS-EP-FILTER/projects/{project_id}/endpoints",
    "ext/OS-EP-FILTER/1.0/rel/projects_associated_with_endpoint_group": "/OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects",
    "ext/OS-FEDERATION/1.0/rel/domains": "/auth/domains",
    "ext/OS-FEDERATION/1.0/rel/identity_provider": "/OS-FEDERATION/identity_providers/{idp_id}",
    "ext/OS-FEDERATION/1.0/rel/identity_provider_protocol": "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}",
    "ext/OS-FEDERATION/1.0/rel/identity_provider_protocols": "/OS-FEDERATION/identity_providers/{idp_id}/protocols",
    "ext/OS-FEDERATION/1.0/rel/identity_providers": "/OS-FEDERATION/identity_providers",
    "ext/OS-FEDERATION/1.0/rel/mapping": "/OS-FEDERATION/mappings/{mapping_id}",
    "ext/OS-FEDERATION/1.0/rel/mappings": "/OS-FEDERATION/mappings",
    "ext/OS-FEDERATION/1.0/rel/projects": "/auth/projects",
    "ext/OS-FEDERATION/1.0/rel/service_provider": "/OS-FEDERATION/service_providers/{service_provider_id}",
    "ext/OS-FEDERATION/1.0/rel/service_providers": "/OS-FEDERATION/service_providers",
    "ext/OS-INHERIT/1.0/rel/domain_group_role_inherited_to_projects": "/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects",
    "ext/OS-INHERIT/1.0/rel/domain_group_roles_inherited_to_projects": "/OS-INHERIT/domains/{domain_id}/groups/{group_id}/roles/inherited_to_projects",
    "ext/OS-INHERIT/1.0/rel/domain_user_role_inherited_to_projects": "/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/{role_id}/inherited_to_projects",
    "ext/OS-INHERIT/1.0/rel/domain_user_roles_inherited_to_projects": "/OS-INHERIT/domains/{domain_id}/users/{user_id}/roles/inherited_to_projects",
    "ext/OS-INHERIT/1.0/rel/project_group_role_inherited_to_projects": "/OS-INHERIT/projects/{project_id}/groups/{group_id}/roles/{role_id}/inherited_to_projects",
    "ext/OS-INHERIT/1.0/rel/project_user_role_inherited_to_projects": "/OS-INHERIT/projects/{project_id}/users/{user_id}/roles/{role_id}/inherited_to_projects",
    "ext/OS-PKI/1.0/rel/revocations": "/auth/tokens/OS-PKI/revoked",
    "ext/OS-OAUTH1/1.0/rel/consumer": "/OS-OAUTH1/consumers/{consumer_id}",
    "ext/OS-OAUTH1/1.0/rel/consumers": "/OS-OAUTH1/consumers",
    "ext/OS-REVOKE/1.0/rel/events": "/OS-REVOKE/events",
    "ext/OS-TRUST/1.0/rel/trust": "/OS-TRUST/trusts/{trust_id}",
    "ext/OS-TRUST/1.0/rel/trust_role": "/OS-TRUST/trusts/{trust_id}/roles/{role_id}",
    "ext/OS-TRUST/1.0/rel/trust_roles": "/OS-TRUST/trusts/{trust_id}/roles",
    "ext/OS-TRUST/1.0/rel/trusts": "/OS-TRUST/trusts",
    "ext/s3tokens/1.0/rel/s3tokens": "/s3tokens",
    "rel/access_rule": "/users/{user_id}/access_rules/{access_rule_id}",
    "rel/access_rules": "/users/{user_id}/access_rules",
    "rel/application_credential": "/users/{user_id}/application_credentials/{application_credential_id}",
    "rel/application_credentials": "/users/{user_id}/application_credentials",
    "rel/auth_catalog": "/auth/catalog",
    "rel/auth_domains": "/auth/domains",
    "rel/auth_projects": "/auth/projects",
    "rel/auth_system": "/auth/system",
    "rel/auth_tokens": "/auth/tokens",
    "rel/credential": "/credentials/{credential_id}",
    "rel/credentials": "/credentials",
    "rel/domain": "/domains/{domain_id}",
    "rel/domain_config": "/domains/{domain_id}/config",
    "rel/domain_config_default": "/domains/config/default",
    "rel/domain_config_default_group": "/domains/config/{group}/default",
    "rel/domain_config_default_option": "/domains/config/{group}/{option}/default",
    "rel/domain_config_group": "/domains/{domain_id}/config/{group}",
    "rel/domain_config_option": "/domains/{domain_id}/config/{group}/{option}",
    "rel/domain_group_role": "/domains/{domain_id}/groups/{group_id}/roles/{role_id}",
    "rel/domain_group_roles": "/domains/{domain_id}/groups/{group_id}/roles",
    "rel/domain_user_role": "/domains/{domain_id}/users/{user_id}/roles/{role_id}",
    "rel/domain_user_roles": "/domains/{domain_id}/users/{user_id}/roles",
    "rel/domains": "/domains",
    "rel/endpoint": "/endpoints/{endpoint_id}",
    "rel/endpoints": "/endpoints",
    "rel/group": "/groups/{group_id}",
    "rel/group_user": "/groups/{group_id}/users/{user_id}",
    "rel/group_users": "/groups/{group_id}/users",
    "rel/groups": "/groups",
    "rel/implied_role": "/roles/{prior_role_id}/implies/{implied_role_id}",
    "rel/implied_roles": "/roles/{prior_role_id}/implies",
    "rel/limit": "/limits/{limit_id}",
    "rel/limit_model": "/limits/model",
    "rel/limits": "/limits",
    "rel/policies": "/policies",
    "rel/policy": "/policies/{policy_id}",
    "rel/project": "/projects/{project_id}",
    "rel/project_group_role": "/projects/{project_id}/groups/{group_id}/roles/{role_id}",
    "rel/project_group_roles": "/projects/{project_id}/groups/{group_id}/roles",
    "rel/project_tags": "/projects/{project_id}/tags/{value}",
    "rel/project_user_role": "/projects/{project_id}/users/{user_id}/roles/{role_id}",
    "rel/project_user_roles": "/projects/{project_id}/users/{user_id}/roles",
    "rel/projects": "/projects",
    "rel/region": "/regions/{region_id}",
    "rel/regions": "/regions",
    "rel/registered_limit": "/registered_limits/{registered_limit_id}",
    "rel/registered_limits": "/registered_limits",
    "rel/role": "/roles/{role_id}",
    "rel/role_assignments": "/role_assignments",
    "rel/role_inferences": "/role_inferences",
    "rel/roles": "/roles",
    "rel/service": "/services/{service_id}",
    "rel/services": "/services",
    "rel/system_group_role": "/system/groups/{group_id}/roles/{role_id}",
    "rel/system_group_roles": "/system/groups/{group_id}/roles",
    "rel/system_user_role": "/system/users/{user_id}/roles/{role_id}",
    "rel/system_user_roles": "/system/users/{user_id}/roles",
    "rel/user": "/users/{user_id}",
    "rel/user_change_password": "/users/{user_id}/password",
    "rel/user_groups": "/users/{user_id}/groups",
    "rel/user_projects": "/users/{user_id}/projects",
    "rel/user_tokens": "/users/{user_id}/tokens",
    "rel/users": "/users",
}

EXPERIMENTAL = ("rel/limit", "rel/limits", "rel/limit_model", "rel/registered_limit", "rel/registered_limits")


def document(prefix: str) -> dict[str, Any]:
    """The document; addresses begin with `prefix`."""
    found: dict[str, Any] = {}
    for relation, path in RESOURCES.items():
        parts = [p[1:-1] for p in path.split("/") if p.startswith("{")]
        if parts:
            related = {p: RELATIONS + PARTS.get(p, f"param/{p}") for p in parts}
            found[RELATIONS + relation] = {"href-template": prefix + path, "href-vars": related}
        else:
            found[RELATIONS + relation] = {"href": prefix + path}
        if relation in EXPERIMENTAL:
            found[RELATIONS + relation]["hints"] = {"status": "experimental"}
    return {"resources": found}
