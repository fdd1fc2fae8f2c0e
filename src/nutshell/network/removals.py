"""What is gone from the rows but may still be in the world, until the driver has removed it."""

import sqlalchemy as sa

from nutshell.core.resource import METADATA
from nutshell.core.store import Tx

REMOVALS = sa.Table(
    "network_removal",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),  # "network", "port", "router", "group"
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("segment", sa.BigInteger, nullable=False),  # a network's, which nobody else gets meanwhile
)


def remove_from_world(tx: Tx, kind: str, resource_id: str, segment: int = 0) -> None:
    """Have the loop remove it. Repeat is success."""
    tx.sql(
        "INSERT INTO network_removal (kind, id, due_at, segment) VALUES (?,?,?,?) ON CONFLICT (kind, id) DO NOTHING",
        kind,
        resource_id,
        tx.now,
        segment,
    )


def keep_in_world(tx: Tx, kind: str, resource_id: str) -> None:
    """It is wanted again."""
    tx.sql("DELETE FROM network_removal WHERE kind = ? AND id = ?", kind, resource_id)
