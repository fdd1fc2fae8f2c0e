"""What the program needs of Identity: its service, settings, port and first rows."""

from collections.abc import Mapping
from dataclasses import replace

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.identity import (  # noqa: F401 - importing them declares their routes
    application_credentials,
    assignments,
    catalog,
    consumers,
    credentials,
    discovery,
    domain_configs,
    domains,
    ec2,
    endpoint_filter,
    endpoint_policies,
    federation,
    groups,
    limits,
    mappings,
    own_password,
    policies,
    projects,
    role_assignments,
    roles,
    signed,
    tokens,
    trusts,
    users,
)
from nutshell.identity.access import admit
from nutshell.identity.authority import Authority
from nutshell.identity.keys import Keys, load_master
from nutshell.identity.limit_models import STRICT, UnifiedLimits
from nutshell.identity.logins import INACTIVE, Gate
from nutshell.identity.passwords import Passwords
from nutshell.identity.port import Identity
from nutshell.identity.renewal import RENEWAL
from nutshell.identity.revocations import FORGETTING
from nutshell.identity.seed import seed
from nutshell.identity.service import identity as service
from nutshell.identity.settings import IdentityConfig, check_settings

config = IdentityConfig
quotas: Mapping[str, int] = {}


def wire(cloud: Cloud) -> None:
    cloud_config, config = cloud.settings[CloudConfig], cloud.settings[IdentityConfig]
    check_settings(config)
    cloud.ports[Passwords] = Passwords()
    cloud.ports[Gate] = Gate(config, cloud.clock)
    keys = cloud.ports[Keys] = Keys(cloud, load_master(cloud_config.state), several=bool(cloud_config.database))
    cloud.ports[credentials.Vault] = credentials.Vault(keys)
    authority = Authority(cloud, keys, config.token_ttl_s)
    cloud.ports[Authority] = cloud.ports[Identity] = authority
    if config.unified_limits:
        strict = config.limit_model == STRICT
        outer = UnifiedLimits(frozenset(config.unified_limits), cloud_config.region, strict)
        cloud.quotas = replace(cloud.quotas, outer=outer)
    cloud.authenticate = authority.who
    cloud.admits = admit


def loops(cloud: Cloud) -> list[Loop]:
    return [INACTIVE, RENEWAL, FORGETTING]


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
