"""What placement keeps: providers, their inventories, traits and aggregates, and who has allocated what.

Source: Placement API reference; amounts are in the resource class's unit (MEMORY_MB: MiB, DISK_GB: GiB). `used` of an
inventory is kept beside it, changed in the transaction of each allocation, so that a search sums nothing.
"""

import sqlalchemy as sa

from nutshell.core.resource import METADATA, TEXT, Resource, field


class Provider(
    Resource,
    service="placement",
    one="resource_provider",
    many="resource_providers",
    sort="name",
    unique=(("name",),),
):
    """A host, or something else that has things to give. `generation` is the API's own."""

    name: str = field(write="create update", min_length=1, max_length=200)
    parent_id: str | None = field(default=None, index=True)
    root_id: str = field(default="", index=True)
    disabled: bool = field(default=False, hidden=True)  # takes no new servers (its compute service is disabled)


INVENTORIES = sa.Table(
    "placement_inventory",
    METADATA,
    sa.Column("provider_id", TEXT, primary_key=True),
    sa.Column("resource_class", TEXT, primary_key=True),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("min_unit", sa.BigInteger, nullable=False),
    sa.Column("max_unit", sa.BigInteger, nullable=False),
    sa.Column("step_size", sa.BigInteger, nullable=False),
    sa.Column("allocation_ratio", sa.Float, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
)
PROVIDER_TRAITS = sa.Table(
    "placement_provider_trait",
    METADATA,
    sa.Column("provider_id", TEXT, primary_key=True),
    sa.Column("trait", TEXT, primary_key=True),
)
PROVIDER_AGGREGATES = sa.Table(
    "placement_provider_aggregate",
    METADATA,
    sa.Column("provider_id", TEXT, primary_key=True),
    sa.Column("aggregate_id", TEXT, primary_key=True),
)
ALLOCATIONS = sa.Table(
    "placement_allocation",
    METADATA,
    sa.Column("consumer_id", TEXT, primary_key=True),
    sa.Column("provider_id", TEXT, primary_key=True, index=True),
    sa.Column("resource_class", TEXT, primary_key=True),
    sa.Column("used", sa.BigInteger, nullable=False),
)
CONSUMERS = sa.Table(
    "placement_consumer",
    METADATA,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("project_id", TEXT, nullable=False, index=True),
    sa.Column("user_id", TEXT, nullable=False),
    sa.Column("type", TEXT, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
)
CUSTOM_TRAITS = sa.Table("placement_trait", METADATA, sa.Column("name", TEXT, primary_key=True))
CUSTOM_CLASSES = sa.Table("placement_resource_class", METADATA, sa.Column("name", TEXT, primary_key=True))
