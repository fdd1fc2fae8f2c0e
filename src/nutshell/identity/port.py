"""What other services may ask of identity."""

from dataclasses import dataclass, field
from typing import Protocol

from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.identity.signatures import signing_key


@dataclass(frozen=True)
class Ec2Credential:
    """A pair of access key and secret, and the caller that a request signed with it has."""

    access: str
    user_id: str
    project_id: str
    who: Who
    secret: str = field(repr=False)

    def signing_key(self, date: str, region: str, service: str = "s3") -> bytes:
        """The key of signature version 4 for one day ("20261122"), region and service."""
        return signing_key(self.secret, date, region, service)


class Identity(Protocol):
    def who(self, token: str) -> Who:
        """The caller a token stands for, from a cache while nothing relevant changed. Raises Unauthorized."""
        ...

    def ec2_credential(self, access: str) -> Ec2Credential | None:
        """The pair of this access key, from the same cache; None when there is none or its user may not act on its
        project any more. Whether a request is signed with its secret is the asker's to check."""
        ...

    def project_exists(self, tx: Tx, project_id: str) -> bool: ...

    def project_name(self, tx: Tx, project_id: str) -> str: ...

    def find_project(self, tx: Tx, name: str) -> str | None:
        """The id of the default domain's project of this name (for seeds: "admin", "demo")."""
        ...

    def find_user(self, tx: Tx, name: str) -> str | None: ...

    async def sign_in(self, project: str, user: str, password: str, source: str = "") -> tuple[str, str, float]:
        """A token for a user of the default domain in a project of it, by names: (token, project id, when it ends).
        `source`: the address it comes from. Raises Unauthorized, TooManyRequests, Unavailable."""
        ...

    async def log_in(self, name: str, secret: str, project: str, source: str = "") -> tuple[str, str, float]:
        """Likewise for HTTP Basic: `name` is a user's, `user@domain` or an application credential's id; `project` an id
        or a name in the user's domain, "" for the user's own (an unscoped token has the project id "")."""
        ...
