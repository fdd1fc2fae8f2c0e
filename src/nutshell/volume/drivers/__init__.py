"""Stores of drives by name. `memory` is complete and ships; `file` is served by `nutshell host`."""

BUILT_IN = {
    "memory": "nutshell.volume.drivers.memory:MemoryVolumes",
    "file": "nutshell.host.disks.files:FileVolumes",
}
