"""Settings of one domain's users: kept and shown (Identity API v3, "Domain configuration").

As in Keystone without domain-specific drivers, which is its default, the settings are kept and change nothing.
"""

from typing import Any

import msgspec

from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.identity.credentials import Vault
from nutshell.identity.errors import Missing
from nutshell.identity.projects import DEFAULT_DOMAIN, Project
from nutshell.identity.service import call
from nutshell.identity.settings import IdentityConfig

Settings = dict[str, dict[str, Any]]
SECRET = ("ldap", "password")  # may be written, is never shown
# Keystone's defaults (https://docs.openstack.org/keystone/latest/configuration/config-options.html)
DEFAULTS: Settings = {
    "identity": {"driver": "sql", "list_limit": None},
    "ldap": {
        "url": "ldap://localhost",
        "user": None,
        "suffix": "cn=example,cn=com",
        "query_scope": "one",
        "page_size": 0,
        "alias_dereferencing": "default",
        "debug_level": None,
        "chase_referrals": None,
        "user_tree_dn": None,
        "user_filter": None,
        "user_objectclass": "inetOrgPerson",
        "user_id_attribute": "cn",
        "user_name_attribute": "sn",
        "user_mail_attribute": "mail",
        "user_description_attribute": "description",
        "user_pass_attribute": "userPassword",
        "user_enabled_attribute": "enabled",
        "user_enabled_invert": False,
        "user_enabled_mask": 0,
        "user_enabled_default": "True",
        "user_attribute_ignore": ["default_project_id"],
        "user_default_project_id_attribute": None,
        "user_enabled_emulation": False,
        "user_enabled_emulation_dn": None,
        "user_enabled_emulation_use_group_config": False,
        "user_additional_attribute_mapping": [],
        "group_tree_dn": None,
        "group_filter": None,
        "group_objectclass": "groupOfNames",
        "group_id_attribute": "cn",
        "group_name_attribute": "ou",
        "group_members_are_ids": False,
        "group_member_attribute": "member",
        "group_desc_attribute": "description",
        "group_attribute_ignore": [],
        "group_additional_attribute_mapping": [],
        "tls_cacertfile": None,
        "tls_cacertdir": None,
        "use_tls": False,
        "tls_req_cert": "demand",
        "use_pool": True,
        "pool_size": 10,
        "pool_retry_max": 3,
        "pool_retry_delay": 0.1,
        "pool_connection_timeout": -1,
        "pool_connection_lifetime": 600,
        "use_auth_pool": True,
        "auth_pool_size": 100,
        "auth_pool_connection_lifetime": 60,
    },
}


class DomainConfig(Resource, service="identity", one="domain_config", many="domain_configs"):
    """The id is the domain's."""

    sealed: str = field(default="", hidden=True)


def _domain(ask: Ask[Any]) -> Project:
    row = ask.tx.one(Project, id=ask.params["id"], is_domain=True)
    if row is None:
        raise Missing(kind="domain", id=ask.params["id"])
    return row


def _kept(ask: Ask[Any]) -> tuple[DomainConfig | None, Settings]:
    row = ask.tx.get(DomainConfig, _domain(ask).id)
    return row, {} if row is None else msgspec.json.decode(ask.cloud.port(Vault).open(row.sealed))


def _keep(ask: Ask[Any], row: DomainConfig | None, settings: Settings) -> None:
    sealed = ask.cloud.port(Vault).seal(msgspec.json.encode(settings).decode())
    if row is None:
        ask.tx.add(DomainConfig(id=ask.params["id"], sealed=sealed))
    elif settings:
        ask.tx.put(row, sealed=sealed)
    else:
        ask.tx.drop(row)


def _shown(settings: Settings) -> Settings:
    """Without what may not be shown."""
    found = {g: {o: v for o, v in options.items() if (g, o) != SECRET} for g, options in settings.items()}
    return {g: options for g, options in found.items() if options}


def _missing(ask: Ask[Any], what: str) -> Missing:
    return Missing(kind=f"{what} in domain configuration for domain", id=ask.params.get("id", "default"))


def _check_group(group: str, option: str | None = None) -> None:
    """403 for what is no group or option that a domain may set."""
    if group not in DEFAULTS:
        raise Forbidden(f"Invalid domain specific configuration: Group {group} is not supported.")
    if option is not None and option not in DEFAULTS[group] and (group, option) != SECRET:
        raise Forbidden(f"Invalid domain specific configuration: Option {option} in group {group} is not supported.")


def _given(ask: Ask[Any]) -> dict[str, Any]:
    config = ask.body.get("config", {}) if isinstance(ask.body, dict) else None
    if not isinstance(config, dict):
        raise BadRequest("Invalid input for field/attribute body. 'config' is a required property", field="config")
    if not config:
        raise Forbidden("Invalid domain specific configuration: No options specified.")
    return config


def _checked(config: dict[str, Any]) -> Settings:
    for group, options in config.items():
        if not isinstance(options, dict) or not options:
            raise Forbidden(f"Invalid domain specific configuration: No options specified for group {group}.")
        for option in options:
            _check_group(group, option)
    return config


@call("PUT", "/domains/{id}/config", "create_domain_config")
def create(ask: Ask[Any]) -> Any:
    row, _ = _kept(ask)
    config = _checked(_given(ask))
    _keep(ask, row, config)
    return Answer(200 if row is not None else 201, {"config": _shown(config)})


@call("GET", "/domains/{id}/config", "get_domain_config")
def show(ask: Ask[Any]) -> Any:
    settings = _shown(_kept(ask)[1])
    if not settings:
        raise _missing(ask, "any options")
    return {"config": settings}


@call("PATCH", "/domains/{id}/config", "update_domain_config")
def update(ask: Ask[Any]) -> Any:
    row, settings = _kept(ask)
    return _updated(ask, row, settings, _checked(_given(ask)))


def _updated(ask: Ask[Any], row: DomainConfig | None, settings: Settings, config: Settings) -> Any:
    """Only what is set already may be changed."""
    for group, options in config.items():
        if group not in settings:
            raise _missing(ask, f"group {group}")
        settings[group] = {**settings[group], **options}
    _keep(ask, row, settings)
    return {"config": _shown(settings)}


@call("DELETE", "/domains/{id}/config", "delete_domain_config", http=204)
def delete(ask: Ask[Any]) -> None:
    row, _ = _kept(ask)
    if row is not None:
        ask.tx.drop(row)


@call("GET", "/domains/{id}/config/{group}", "get_domain_config")
def show_group(ask: Ask[Any]) -> Any:
    group = ask.params["group"]
    settings = _kept(ask)[1]
    _check_group(group)
    if group not in _shown(settings):
        raise _missing(ask, f"group {group}")
    return {"config": {group: _shown(settings)[group]}}


@call("PATCH", "/domains/{id}/config/{group}", "update_domain_config")
def update_group(ask: Ask[Any]) -> Any:
    row, settings = _kept(ask)
    config, group = _given(ask), ask.params["group"]
    _check_group(group)
    if set(config) != {group}:
        raise Forbidden(f"Invalid domain specific configuration: the body is not about group {group}.")
    return _updated(ask, row, settings, _checked(config))


@call("DELETE", "/domains/{id}/config/{group}", "delete_domain_config", http=204)
def delete_group(ask: Ask[Any]) -> None:
    row, settings = _kept(ask)
    _check_group(ask.params["group"])
    if settings.pop(ask.params["group"], None) is None:
        raise _missing(ask, f"group {ask.params['group']}")
    _keep(ask, row, settings)


@call("GET", "/domains/{id}/config/{group}/{option}", "get_domain_config")
def show_option(ask: Ask[Any]) -> Any:
    group, option = ask.params["group"], ask.params["option"]
    settings = _shown(_kept(ask)[1])
    _check_group(group, option)
    if option not in settings.get(group, {}):
        raise _missing(ask, f"option {option} in group {group}")
    return {"config": {option: settings[group][option]}}


@call("PATCH", "/domains/{id}/config/{group}/{option}", "update_domain_config")
def update_option(ask: Ask[Any]) -> Any:
    row, settings = _kept(ask)
    group, option, config = ask.params["group"], ask.params["option"], _given(ask)
    _check_group(group, option)
    if set(config) != {option}:
        raise Forbidden(f"Invalid domain specific configuration: the body is not about option {option}.")
    if option not in settings.get(group, {}):
        raise _missing(ask, f"option {option} in group {group}")
    return _updated(ask, row, settings, {group: config})


@call("DELETE", "/domains/{id}/config/{group}/{option}", "delete_domain_config", http=204)
def delete_option(ask: Ask[Any]) -> None:
    row, settings = _kept(ask)
    group, option = ask.params["group"], ask.params["option"]
    _check_group(group, option)
    if option not in settings.get(group, {}):
        raise _missing(ask, f"option {option} in group {group}")
    del settings[group][option]
    _keep(ask, row, {g: options for g, options in settings.items() if options})


# -- what everybody may know: the rules for passwords

COMPLIANCE = ("password_regex", "password_regex_description")


@call("GET", "/domains/{id}/config/security_compliance", "get_security_compliance_domain_config")
def show_compliance(ask: Ask[Any]) -> Any:
    return {"config": {"security_compliance": _compliance(ask)}}


@call("GET", "/domains/{id}/config/security_compliance/{option}", "get_security_compliance_domain_config")
def show_compliance_option(ask: Ask[Any]) -> Any:
    rules, option = _compliance(ask), ask.params["option"]
    if option not in COMPLIANCE:
        raise Forbidden(f"Invalid domain specific configuration: {option} may not be read.")
    return {"config": {option: rules[option]}}


def _compliance(ask: Ask[Any]) -> dict[str, str | None]:
    if _domain(ask).id != DEFAULT_DOMAIN:
        raise Forbidden("Invalid domain specific configuration: only the default domain's rules may be read.")
    config = ask.cloud.settings[IdentityConfig]
    return {name: getattr(config, name) or None for name in COMPLIANCE}


# -- what holds where nothing is set


@call("GET", "/domains/config/default", "get_domain_config_default")
def show_defaults(ask: Ask[Any]) -> Any:
    return {"config": DEFAULTS}


@call("GET", "/domains/config/{group}/default", "get_domain_config_default")
def show_group_defaults(ask: Ask[Any]) -> Any:
    _check_group(ask.params["group"])
    return {"config": {ask.params["group"]: DEFAULTS[ask.params["group"]]}}


@call("GET", "/domains/config/{group}/{option}/default", "get_domain_config_default")
def show_option_default(ask: Ask[Any]) -> Any:
    group, option = ask.params["group"], ask.params["option"]
    _check_group(group, option)
    if option not in DEFAULTS[group]:
        raise _missing(ask, f"option {option} in group {group}")
    return {"config": {option: DEFAULTS[group][option]}}
