"""Unified limits as rows, how those of a domain and of its projects go together, and what services are told of them.

Source: Identity API v3, "Unified Limits"; Keystone administration guide, "Enforcement models".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nutshell.core.errors import Forbidden
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.identity.projects import Project

STRICT = "strict_two_level"
MODELS = {
    "flat": "A limit stands by itself, whatever those of the projects above.",
    STRICT: "No project has a higher limit than its domain, and projects lie directly below their domain.",
}
# What Nova calls its resources there; others have the same names as in their quotas.
NAMES = {
    "instances": "servers",
    "cores": "class:VCPU",
    "ram": "class:MEMORY_MB",
    "metadata_items": "server_metadata_items",
    "injected_files": "server_injected_files",
    "injected_file_content_bytes": "server_injected_file_content_bytes",
    "injected_file_path_bytes": "server_injected_file_path_bytes",
    "key_pairs": "server_key_pairs",
}


class RegisteredLimit(
    Resource,
    service="identity",
    one="registered_limit",
    many="registered_limits",
    unique=(("service_id", "region_key", "resource_name"),),
):
    service_id: str = field(filter=True)
    region_id: str | None = field(default=None, filter=True)
    region_key: str = field(default="", hidden=True)  # the region or "", for uniqueness
    resource_name: str = field(filter=True)
    default_limit: int = field()
    description: str | None = field(default=None)


class Limit(
    Resource,
    service="identity",
    one="limit",
    many="limits",
    unique=(("owner_id", "service_id", "region_key", "resource_name"),),
):
    project_id: str | None = field(default=None, filter=True)
    domain_id: str | None = field(default=None, filter=True)
    owner_id: str = field(default="", hidden=True)
    service_id: str = field(filter=True)
    region_id: str | None = field(default=None, filter=True)
    region_key: str = field(default="", hidden=True)
    resource_name: str = field(filter=True)
    resource_limit: int = field()
    description: str | None = field(default=None)


def check_tree(tx: Tx, row: Limit) -> None:
    """403 when a limit, as it is now, does not fit those of its domain or of the projects below."""
    same: dict[str, Any] = {
        "service_id": row.service_id,
        "region_key": row.region_key,
        "resource_name": row.resource_name,
    }
    if row.project_id:
        project = tx.need(Project, row.project_id)
        if project.parent_id != project.domain_id:
            raise _misfit(row, "its project does not lie directly below a domain")
        above = tx.one(Limit, owner_id=project.domain_id, **same)
        registered = tx.one(RegisteredLimit, **same)
        most = above.resource_limit if above is not None else registered.default_limit if registered else -1
        if most >= 0 and not 0 <= row.resource_limit <= most:
            raise _misfit(row, f"the limit of its domain is {most}")
        return
    below = [p.id for p in tx.find(Project, domain_id=row.owner_id)]
    for one in tx.find(Limit, owner_id=below, **same):
        if row.resource_limit >= 0 and not 0 <= one.resource_limit <= row.resource_limit:
            raise _misfit(row, f"the limit of its project {one.project_id} is {one.resource_limit}")


def _misfit(row: Limit, why: str) -> Forbidden:
    whose = f"project_id: {row.project_id}" if row.project_id else f"domain_id: {row.domain_id}"
    return Forbidden(
        f"Invalid resource limit: The resource limit ({whose}, resource_name: {row.resource_name}, resource_limit:"
        f" {row.resource_limit}, service_id: {row.service_id}, region_id: {row.region_id}) doesn't satisfy current"
        f" hierarchy model: {why}."
    )


@dataclass(frozen=True)
class UnifiedLimits:
    """What the services' quotas ask (`core.quota.Outer`): the limits of the services that are to have them here."""

    services: frozenset[str]
    region: str
    strict: bool

    def limits(self, tx: Tx, project_id: str, names: Sequence[str]) -> Mapping[str, int]:
        found = {}
        for service in self.services:
            mine = {_there(n): n for n in names if n.startswith(f"{service}.")}
            if mine:
                values = self._registered(tx, service, list(mine)) | self._own(tx, service, project_id, list(mine))
                found.update({mine[there]: value for there, value in values.items()})
        return found

    def shared(self, tx: Tx, project_id: str, name: str) -> tuple[Sequence[str], int] | None:
        service = name.partition(".")[0]
        project = tx.get(Project, project_id)
        if not self.strict or service not in self.services or project is None or not project.domain_id:
            return None
        there = _there(name)
        values = self._registered(tx, service, [there]) | self._own(tx, service, project.domain_id, [there])
        most = values.get(there, -1)
        if most < 0:
            return None
        return [project.domain_id, *(p.id for p in tx.find(Project, domain_id=project.domain_id))], most

    def _registered(self, tx: Tx, service: str, names: list[str]) -> dict[str, int]:
        rows = tx.sql(
            "SELECT resource_name, default_limit FROM identity_registered_limits"
            f" WHERE service_id IN (SELECT id FROM identity_services WHERE type = ?) AND region_key IN ('', ?)"
            f" AND resource_name IN ({','.join('?' * len(names))}) ORDER BY region_key",
            service,
            self.region,
            *names,
        ).fetchall()
        return dict(rows)  # that of the region last: it goes before

    def _own(self, tx: Tx, service: str, owner_id: str, names: list[str]) -> dict[str, int]:
        rows = tx.sql(
            "SELECT resource_name, resource_limit FROM identity_limits WHERE owner_id = ?"
            f" AND service_id IN (SELECT id FROM identity_services WHERE type = ?) AND region_key IN ('', ?)"
            f" AND resource_name IN ({','.join('?' * len(names))}) ORDER BY region_key",
            owner_id,
            service,
            self.region,
            *names,
        ).fetchall()
        return dict(rows)


def _there(name: str) -> str:
    """ "compute.cores" as unified limits call it."""
    service, _, short = name.partition(".")
    return NAMES.get(short, short) if service == "compute" else short
