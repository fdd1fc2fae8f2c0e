"""The default policy of Identity, under OpenStack's rule names.

Source: https://docs.openstack.org/keystone/latest/configuration/policy.html. Rules of operations that this service
does not have are not declared.
"""

ADMIN = "rule:admin_required"
SYSTEM_READER = "(role:reader and system_scope:all)"
READ = f"{ADMIN} or {SYSTEM_READER}"
OWNER = "user_id:%(user_id)s"


def _in_domain(role: str, *owned: str) -> str:
    """Holders of a role on the domain that all of these belong to."""
    return f"(role:{role} and {' and '.join(f'domain_id:%(target.{o})s' for o in owned)})"


def _grants(role: str) -> str:
    """A role on the domain of both sides of a grant."""
    sides = [(actor, target) for actor in ("user", "group") for target in ("project.domain_id", "domain.id")]
    return "(" + " or ".join(_in_domain(role, f"{actor}.domain_id", target) for actor, target in sides) + ")"


_ROLE_OF_DOMAIN = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
_MANAGED_ROLE = "('manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s)"
_CHANGE_GRANT = f"{ADMIN} or ({_grants('admin')} and {_ROLE_OF_DOMAIN}) or ({_grants('manager')} and {_MANAGED_ROLE})"
_PROJECT_DOMAIN = "domain_id:%(target.project.domain_id)s and not None:%(target.project.domain_id)s"
_READ_PROJECT = f"{READ} or (role:reader and {_PROJECT_DOMAIN}) or project_id:%(target.project.id)s"
_WRITE_PROJECT = f"{ADMIN} or (role:manager and {_PROJECT_DOMAIN})"
_READ_GROUP = f"{READ} or {_in_domain('reader', 'group.domain_id')}"
_WRITE_GROUP = f"{ADMIN} or {_in_domain('manager', 'group.domain_id')}"
_MEMBERSHIP = f"{ADMIN} or {_in_domain('manager', 'group.domain_id', 'user.domain_id')}"
_WRITE_USER = f"{ADMIN} or (role:manager and token.domain.id:%(target.user.domain_id)s)"
_READ_CREDENTIAL = f"{READ} or user_id:%(target.credential.user_id)s"
_WRITE_CREDENTIAL = f"{ADMIN} or user_id:%(target.credential.user_id)s"
_WRITE_EC2 = f"{ADMIN} or (role:member and user_id:%(target.credential.user_id)s)"
_TRUSTOR = "user_id:%(target.trust.trustor_user_id)s"
_TRUSTEE = "user_id:%(target.trust.trustee_user_id)s"
_READ_TRUST = f"{READ} or {_TRUSTOR} or {_TRUSTEE}"
_ACCESS_RULE = f"{SYSTEM_READER} or user_id:%(target.user.id)s"

_PLACES = ("endpoint", "service", "region_and_service")

_RULES: dict[str, str] = {
    # tokens
    "get_auth_catalog": "",
    "get_auth_projects": "",
    "get_auth_domains": "",
    "get_auth_system": "",
    "check_token": f"{READ} or user_id:%(target.token.user_id)s",
    "validate_token": f"{READ} or role:service or user_id:%(target.token.user_id)s",
    "revoke_tokens_for_user": f"{ADMIN} or {OWNER}",
    "revoke_token": f"{ADMIN} or user_id:%(target.token.user_id)s",
    "list_revoke_events": f"{ADMIN} or role:service",
    "revocation_list": f"{ADMIN} or role:service",
    "ec2tokens_validate": f"{ADMIN} or role:service",
    "s3tokens_validate": f"{ADMIN} or role:service",
    # keys (ours alone)
    "list_keys": ADMIN,
    "rotate_keys": ADMIN,
    # domains, projects
    "get_domain": f"{READ} or token.domain.id:%(target.domain.id)s or token.project.domain.id:%(target.domain.id)s",
    "list_domains": f"{READ} or (role:reader and domain_id:%(target.domain.id)s)",
    **dict.fromkeys(("create_domain", "update_domain", "delete_domain"), ADMIN),
    **dict.fromkeys(("create_domain_config", "update_domain_config", "delete_domain_config"), ADMIN),
    **dict.fromkeys(("get_domain_config", "get_domain_config_default"), READ),
    "get_security_compliance_domain_config": "",
    **dict.fromkeys(("get_project", "list_project_tags", "get_project_tag"), _READ_PROJECT),
    "list_projects": f"{READ} or (role:reader and domain_id:%(target.domain_id)s)",
    "list_user_projects": f"{READ} or {_in_domain('reader', 'user.domain_id')} or user_id:%(target.user.id)s",
    **dict.fromkeys(("create_project", "update_project", "delete_project"), _WRITE_PROJECT),
    **dict.fromkeys(
        ("update_project_tags", "create_project_tag", "delete_project_tags", "delete_project_tag"), _WRITE_PROJECT
    ),
    # users, groups
    "get_user": f"{READ} or (role:reader and token.domain.id:%(target.user.domain_id)s) or user_id:%(target.user.id)s",
    "list_users": f"{READ} or (role:reader and domain_id:%(target.domain_id)s)",
    **dict.fromkeys(("create_user", "update_user", "delete_user"), _WRITE_USER),
    **dict.fromkeys(("list_projects_for_user", "list_domains_for_user"), ""),
    **dict.fromkeys(("get_group", "list_groups", "list_users_in_group"), _READ_GROUP),
    "list_groups_for_user": f"{READ} or {_in_domain('reader', 'user.domain_id')} or {OWNER}",
    **dict.fromkeys(("create_group", "update_group", "delete_group"), _WRITE_GROUP),
    **dict.fromkeys(("add_user_to_group", "remove_user_from_group"), _MEMBERSHIP),
    "check_user_in_group": f"{READ} or {_in_domain('reader', 'group.domain_id', 'user.domain_id')}",
    # roles, assignments
    "get_role": f"{READ} or (role:manager and {_MANAGED_ROLE})",
    "list_roles": f"{READ} or (role:manager and not domain_id:None)",
    **dict.fromkeys(("create_role", "update_role", "delete_role"), ADMIN),
    **dict.fromkeys(("create_domain_role", "update_domain_role", "delete_domain_role"), ADMIN),
    **dict.fromkeys(("get_domain_role", "list_domain_roles"), READ),
    **dict.fromkeys(
        ("get_implied_role", "list_implied_roles", "list_role_inference_rules", "check_implied_role"), READ
    ),
    **dict.fromkeys(("create_implied_role", "delete_implied_role"), ADMIN),
    "check_grant": f"{READ} or ({_grants('reader')} and {_ROLE_OF_DOMAIN})",
    "list_grants": f"{READ} or {_grants('reader')}",
    **dict.fromkeys(("create_grant", "revoke_grant"), _CHANGE_GRANT),
    **dict.fromkeys(
        (f"{verb}_for_{who}" for verb in ("list_system_grants", "check_system_grant") for who in ("user", "group")),
        READ,
    ),
    **dict.fromkeys(
        (f"{verb}_system_grant_for_{who}" for verb in ("create", "revoke") for who in ("user", "group")), ADMIN
    ),
    **dict.fromkeys(
        ("list_role_assignments", "list_role_assignments_for_tree"),
        f"{READ} or (role:reader and domain_id:%(target.domain_id)s and not None:%(target.domain_id)s)",
    ),
    # catalog
    **dict.fromkeys(("get_region", "list_regions"), ""),
    **dict.fromkeys(("create_region", "update_region", "delete_region"), ADMIN),
    **dict.fromkeys(("get_service", "list_services", "get_endpoint", "list_endpoints"), READ),
    **dict.fromkeys(("create_service", "update_service", "delete_service"), ADMIN),
    **dict.fromkeys(("create_endpoint", "update_endpoint", "delete_endpoint"), ADMIN),
    # what users keep
    **dict.fromkeys(("get_application_credential", "list_application_credentials"), f"{READ} or {OWNER}"),
    "create_application_credential": OWNER,
    "delete_application_credential": f"{ADMIN} or {OWNER}",
    **dict.fromkeys(("get_access_rule", "list_access_rules"), _ACCESS_RULE),
    "delete_access_rule": "(role:admin and system_scope:all) or user_id:%(target.user.id)s",
    **dict.fromkeys(("get_credential", "list_credentials", "ec2_get_credential"), _READ_CREDENTIAL),
    **dict.fromkeys(("create_credential", "update_credential", "delete_credential"), _WRITE_CREDENTIAL),
    "ec2_list_credentials": f"{READ} or {OWNER}",
    **dict.fromkeys(("ec2_create_credential", "ec2_delete_credential"), _WRITE_EC2),
    # trusts
    "create_trust": _TRUSTOR,
    "list_trusts": READ,
    "list_trusts_for_trustor": f"{READ} or {_TRUSTOR}",
    "list_trusts_for_trustee": f"{READ} or {_TRUSTEE}",
    **dict.fromkeys(("list_roles_for_trust", "get_role_for_trust", "get_trust"), _READ_TRUST),
    "delete_trust": f"{ADMIN} or {_TRUSTOR}",
    # limits
    **dict.fromkeys(("get_limit_model", "list_limits", "get_registered_limit", "list_registered_limits"), ""),
    "get_limit": f"{READ} or domain_id:%(target.limit.domain.id)s or domain_id:%(target.limit.project.domain_id)s"
    " or (project_id:%(target.limit.project_id)s and not None:%(target.limit.project_id)s)",
    **dict.fromkeys(("create_limits", "update_limit", "delete_limit"), ADMIN),
    **dict.fromkeys(("create_registered_limits", "update_registered_limit", "delete_registered_limit"), ADMIN),
    # federation as data
    **{
        f"{verb}_{one}": ADMIN
        for one in ("identity_provider", "protocol", "mapping", "service_provider")
        for verb in ("create", "update", "delete")
    },
    **dict.fromkeys((f"get_{one}" for one in ("identity_provider", "protocol", "mapping", "service_provider")), READ),
    **dict.fromkeys((f"list_{one}s" for one in ("identity_provider", "protocol", "mapping", "service_provider")), READ),
    # policies, endpoint filter, consumers
    **dict.fromkeys(
        (f"{verb}_policy_association_for_{kind}" for verb in ("create", "delete") for kind in _PLACES), ADMIN
    ),
    **dict.fromkeys((f"check_policy_association_for_{kind}" for kind in _PLACES), READ),
    **dict.fromkeys(("get_policy_for_endpoint", "list_endpoints_for_policy"), READ),
    **dict.fromkeys(("get_policy", "list_policies"), READ),
    **dict.fromkeys(("create_policy", "update_policy", "delete_policy"), ADMIN),
    **dict.fromkeys(("get_consumer", "list_consumers"), READ),
    **dict.fromkeys(("create_consumer", "update_consumer", "delete_consumer"), ADMIN),
    **dict.fromkeys(("create_endpoint_group", "update_endpoint_group", "delete_endpoint_group"), ADMIN),
    **dict.fromkeys(("add_endpoint_group_to_project", "remove_endpoint_group_from_project"), ADMIN),
    **dict.fromkeys(("add_endpoint_to_project", "remove_endpoint_from_project"), ADMIN),
    **dict.fromkeys(
        (
            "list_endpoint_groups",
            "get_endpoint_group",
            "list_projects_associated_with_endpoint_group",
            "list_endpoints_associated_with_endpoint_group",
            "get_endpoint_group_in_project",
            "list_endpoint_groups_for_project",
            "list_projects_for_endpoint",
            "check_endpoint_in_project",
            "list_endpoints_for_project",
        ),
        READ,
    ),
}
RULES = {f"identity:{name}": text for name, text in _RULES.items()}
# Routes whose rule depends on the request check the right one themselves; their own lets everybody pass.
BY_REQUEST = "by_request"
RULES[f"identity:{BY_REQUEST}"] = ""

# Operations that a token scoped to a domain may not call, whatever its roles: those that concern the whole cloud.
NOT_DOMAIN = frozenset(
    f"{verb}_{noun}"
    for nouns, verbs in (
        (("domain",), "create update delete"),
        (("domain_config",), "create get update delete"),
        (("role", "domain_role", "implied_role"), "create update delete"),
        (("service", "endpoint", "policy", "consumer", "endpoint_group"), "create get update delete"),
        (("region", "registered_limit", "limit"), "update delete"),
        (("region", "registered_limits", "limits"), "create"),
        (("services", "endpoints", "policies", "consumers", "endpoint_groups", "implied_roles"), "list"),
        (("domain_roles", "role_inference_rules", "access_rules", "application_credentials"), "list"),
        (("access_rule", "application_credential"), "get create delete"),
        (("trust",), "create get delete"),
        (("trusts", "trusts_for_trustor", "trusts_for_trustee", "roles_for_trust", "revoke_events"), "list"),
        (("implied_role",), "get check"),
        (("domain_role", "role_for_trust", "domain_config_default"), "get"),
        (("system_grant_for_user", "system_grant_for_group"), "create check revoke"),
        (("system_grants_for_user", "system_grants_for_group"), "list"),
        (("endpoint_group_to_project", "endpoint_to_project"), "add"),
        (("endpoint_group_from_project", "endpoint_from_project"), "remove"),
        (("endpoints_for_project", "projects_for_endpoint", "endpoint_groups_for_project"), "list"),
        (("projects_associated_with_endpoint_group", "endpoints_associated_with_endpoint_group"), "list"),
        (("endpoint_in_project",), "check"),
        (("endpoint_group_in_project",), "get"),
        (("identity_provider", "protocol", "mapping", "service_provider"), "create get update delete"),
        (("identity_providers", "protocols", "mappings", "service_providers", "endpoints_for_policy"), "list"),
        (tuple(f"policy_association_for_{place}" for place in _PLACES), "create check delete"),
        (("policy_for_endpoint",), "get"),
    )
    for noun in nouns
    for verb in verbs.split()
) | frozenset({"ec2_get_credential", "ec2_list_credentials", "ec2_create_credential", "ec2_delete_credential"})
NOT_SYSTEM = frozenset({"create_application_credential", "create_trust"})
