"""The standard definitions: what OpenStack's services know of properties, there from the first start (NOTICE)."""

import uuid
from pathlib import Path

import msgspec

from nutshell.core.cloud import Cloud
from nutshell.core.store import Tx
from nutshell.identity.port import Identity
from nutshell.image.metadefs.namespaces import MetadefResourceType, build

FILE = Path(__file__).with_name("standard.json")
SPACE = uuid.UUID("6e757473-6865-6c6c-8000-6d6574616465")
SYSTEM_TYPES = (
    "OS::Cinder::Volume",
    "OS::Glance::Image",
    "OS::Nova::Aggregate",
    "OS::Nova::Flavor",
    "OS::Nova::Server",
    "OS::Trove::Instance",
)


def seed(cloud: Cloud, tx: Tx) -> None:
    """All of them at the first start; what an administrator deletes or changes stays so."""
    if tx.count(MetadefResourceType):
        return
    identity = cloud.ports.get(Identity)
    owner = identity.find_project(tx, "admin") if identity is not None else None
    types = set(SYSTEM_TYPES)
    for body in msgspec.json.decode(FILE.read_bytes()):
        body.setdefault("visibility", "public")
        row = build(str(uuid.uuid5(SPACE, body["namespace"])), body, tx.now, owner or "admin")
        tx.add(row, quiet=True)
        types.update(a["name"] for a in row.associations)
    for name in sorted(types):
        tx.add(MetadefResourceType(id=str(uuid.uuid5(SPACE, name)), name=name, updated_at=tx.now), quiet=True)
