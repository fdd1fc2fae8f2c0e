"""What the program needs of Identity: its service, settings, port and first rows."""

from collections.abc import Mapping

from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig
from nutshell.core.reconcile import Loop
from nutshell.identity import (  # noqa: F401 - importing them declares their routes
    application_credentials,
    assignments,
    catalog,
    credentials,
    discovery,
    domain_configs,
    domains,
    ec2,
    endpoint_filter,
    groups,
    limits,
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
from nutshell.identity.codec import load_key
from nutshell.identity.passwords import Passwords
from nutshell.identity.port import Identity
from nutshell.identity.seed import seed
from nutshell.identity.service import identity as service
from nutshell.identity.settings import IdentityConfig

config = IdentityConfig
quotas: Mapping[str, int] = {}


def wire(cloud: Cloud) -> None:
    cloud.ports[Passwords] = Passwords()
    state = cloud.settings[CloudConfig].state
    cloud.ports[credentials.Vault] = credentials.Vault(load_key(state, "credentials"))
    key = load_key(state, "tokens")
    authority = Authority(cloud, key, cloud.settings[IdentityConfig].token_ttl_s)
    cloud.ports[Authority] = cloud.ports[Identity] = authority
    cloud.authenticate = authority.who
    cloud.admits = admit


def loops(cloud: Cloud) -> list[Loop]:
    return []


__all__ = ["config", "loops", "quotas", "seed", "service", "wire"]
