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
    account_writes_per_s: float = setting(0.0, "Changes of containers a second in one account; 0: no limit.")
    container_writes_per_s: float = setting(0.0, "Changes of objects a second in one container; 0: no limit.")
    client_timeout_s: float = setting(60.0, "How long a client may send nothing of its body, or take nothing of an"
                                            " answer, before the request ends (408).")  # fmt: skip
    read_only: bool = setting(False, "Refuse every change (405).")
    encrypt: bool = setting(False, "Encrypt new objects' bytes with keys from keys/objects-* in the state directory.")
    scrub_mib_per_s: int = setting(20, "How fast the scrubber reads; 0: it does not.")
    s3_region: str = setting("us-east-1", "The region that S3 clients sign for, beside the catalog's own.")
    s3_port: int = setting(0, "A further port that speaks S3 alone, buckets by host name (BUCKET.s3_domain) or by path;"
                              " 0: none, S3 is at /s3 of the cloud's port.")  # fmt: skip
    s3_domain: str = setting("s3.localhost", "What follows the bucket in the host names of s3_port.")
