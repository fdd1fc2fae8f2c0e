"""Ready clients: openstacksdk and keystoneauth, reaching the cloud without a socket."""

from typing import TYPE_CHECKING, Any

import requests
from keystoneauth1 import exceptions as ksa
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from nutshell.testing.adapter import InProcess
from nutshell.testing.front import Front, Unanswered
from nutshell.testing.shared import SHARED

if TYPE_CHECKING:
    from nutshell.cli.says import Account
    from nutshell.testing.private import PrivateCloud


class WatchedSession(Session):  # type: ignore[misc]  # keystoneauth has no types here
    """Notes requests to services that the catalog does not have: nobody else sees them."""

    def __init__(self, front: Front, **rest: Any) -> None:
        super().__init__(**rest)
        self._front = front

    def request(self, url: str, method: str, **rest: Any) -> Any:
        try:
            return super().request(url, method, **rest)
        except ksa.EndpointNotFound as why:
            wanted = (rest.get("endpoint_filter") or {}).get("service_type", "?")
            self._front.note(Unanswered(method, url, f"the catalog has no service of type {wanted}: {why}"))
            raise


def session(cloud: "PrivateCloud", front: Front, account: "Account") -> Session:
    """A session of this account."""
    wire = requests.Session()
    wire.trust_env = False  # no proxy, no .netrc
    wire.mount(cloud.url, InProcess(SHARED, front))
    auth = v3.Password(
        auth_url=cloud.auth_url,
        username=account.username,
        password=account.password,
        project_name=account.project,
        user_domain_name="Default",
        project_domain_name="Default",
    )
    return WatchedSession(front, auth=auth, session=wire)


def connect(cloud: "PrivateCloud", front: Front, account: "Account", more: dict[str, Any]) -> Any:
    """A connection of this account, its region that of the cloud."""
    from openstack.config import cloud_region
    from openstack.connection import Connection

    made = session(cloud, front, account)
    region = cloud_region.from_session(made, region_name=cloud.region, load_yaml_config=False, load_envvars=False)
    return Connection(config=region, **more)
