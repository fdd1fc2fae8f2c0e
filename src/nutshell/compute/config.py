"""Settings of the compute service."""

from dataclasses import dataclass
from typing import ClassVar

from nutshell.core.config import setting


@dataclass(frozen=True)
class ComputeConfig:
    """Servers: how long operations may take and how they are carried out."""

    table: ClassVar[str] = "compute"

    build_timeout_s: float = setting(600.0, "A server that is not running after so long is in ERROR.")
    operation_timeout_s: float = setting(300.0, "Any other operation fails after so long.")
    stop_timeout_s: float = setting(60.0, "How long a guest may take to shut itself down before it is ended.")
    resume_guests_state_on_host_boot: bool = setting(
        True, "Servers that ran when their host or the cloud went down are started when it is back; else they stay off."
    )
    watch_s: float = setting(1.0, "How long one wait for news of guests lasts; a process that ends waits for it.")
    workers: int = setting(8, "Servers looked after at the same time.")
    hosts: int = setting(1, "Simulated hosts (with --simulate).")
    host_vcpus: int = setting(0, "Processors of each simulated host; 0: the driver's default.")
