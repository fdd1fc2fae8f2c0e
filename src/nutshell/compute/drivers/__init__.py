"""Hypervisor drivers by name. `memory` is complete and needs nothing; `qemu` is served by `nutshell host`."""

from typing import Final

BUILT_IN: Final[dict[str, str]] = {
    "memory": "nutshell.compute.drivers.memory:MemoryHypervisor",
    "qemu": "nutshell.host.qemu.driver:QemuHypervisor",
}
