"""What every part of the Swift API works with."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.object_store.port import ObjectEngine
from nutshell.object_store.rows import AccountRow, ContainerRow, stamp
from nutshell.object_store.settings import ObjectStoreConfig
from nutshell.object_store.swift.authorize import authorize
from nutshell.object_store.swift.messages import Handler, Refusal, Request

MOST_OWNERS = 4096


@dataclass
class Site:
    """One cloud's object store. `handle`: the whole pipeline, once it is put together."""

    cloud: Cloud
    engine: ObjectEngine
    config: ObjectStoreConfig
    policy_names: Mapping[int, str]
    handle: Handler = field(default=None)  # type: ignore[assignment]
    remembered: dict[str, Any] = field(default_factory=dict)
    owners: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # account → (caller, its row, the rules)

    def now(self) -> int:
        """In ticks, by the cloud's clock."""
        return stamp(self.cloud.clock.now())

    def admitted(self, req: Request) -> tuple[AccountRow | None, ContainerRow | None]:
        """What the request is about, if the caller may do this. 401, 403; 410 for an account that goes."""
        account, container = self.engine.find(req.account, req.container)
        if req.container and req.allow is None and not req.trusted:
            # Who owns the account is asked once: it follows from the caller, the account's row and the rules alone,
            # and each of them is another object once it is another.
            known, grounds = self.owners.get(req.account), (req.who, account, self.cloud.rules)
            if known is not None and all(map(operator.is_, known, grounds)):
                req.owner = True
                return account, container
            authorize(self.cloud, req, account, container)
            if req.owner:
                if len(self.owners) > MOST_OWNERS:
                    self.owners.clear()
                self.owners[req.account] = grounds
            return account, container
        authorize(self.cloud, req, account, container)
        return account, container

    def container(self, req: Request) -> tuple[AccountRow, ContainerRow]:
        """The same, for what must exist: 404."""
        account, container = self.admitted(req)
        if account is None or account.deleted_at or container is None:
            raise Refusal(404)
        return account, container

    def policy_index(self, name: str) -> int | None:
        return next((i for i, n in self.policy_names.items() if n.lower() == name.lower()), None)
