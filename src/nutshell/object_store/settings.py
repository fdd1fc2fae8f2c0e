"""The object store's settings."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.config import setting


@dataclass(frozen=True)
class ObjectStoreConfig:
    """The object store: what it keeps, how often, and how carefully it reads."""

    table: ClassVar[str] = "object_store"

    replicas: int = setting(2, "How often the standard policy keeps bytes, on devices of different zones; with fewer"
                               " devices, as often as there are.")  # fmt: skip
    silver_replicas: int = setting(1, "The same for the policy silver.")
    verify_reads: str = setting(
        "small", "Which bytes are verified when they are read.", choices=("all", "small", "none")
    )
    reserve_mib: int = setting(64, "Room that uploads leave on a device, so that things can still be deleted.")
