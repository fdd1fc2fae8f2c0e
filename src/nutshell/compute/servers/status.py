"""OpenStack's words for a server's state, from what is wanted, what is seen and the open operation; pure.

Source: nova's public state tables (https://docs.openstack.org/nova/latest/reference/vm-states.html) and the API
guide, "Server concepts" (https://docs.openstack.org/api-guide/compute/server_concepts.html).
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from nutshell.compute.capability import Power


class Want(StrEnum):
    """What the server's owner wants it to be."""

    RUNNING = "running"  # its guest executes
    STOPPED = "stopped"  # powered off, on its host
    PAUSED = "paused"  # in memory, not executing
    SUSPENDED = "suspended"  # memory on disk
    RESCUED = "rescued"  # runs from a rescue image
    RESIZED = "resized"  # has its new size, waits to be confirmed or reverted
    SHELVED = "shelved"  # off, with an image of it; still on its host
    OFFLOADED = "offloaded"  # shelved, and gone from its host
    GONE = "gone"  # deleted


@dataclass(frozen=True)
class Words:
    """How the API shows a server's state."""

    status: str
    vm_state: str
    task_state: str | None


VM_STATES = {
    Want.RUNNING: "active",
    Want.STOPPED: "stopped",
    Want.PAUSED: "paused",
    Want.SUSPENDED: "suspended",
    Want.RESCUED: "rescued",
    Want.RESIZED: "resized",
    Want.SHELVED: "shelved",
    Want.OFFLOADED: "shelved_offloaded",
    Want.GONE: "deleted",
}
# (operation, its last recorded step) → task_state; the step "" is the first.
TASKS = {
    ("create", ""): "scheduling",
    ("create", "placed"): "spawning",
    ("start", ""): "powering-on",
    ("stop", ""): "powering-off",
    ("reboot", ""): "rebooting",
    ("reboot-hard", ""): "rebooting_hard",
    ("pause", ""): "pausing",
    ("unpause", ""): "unpausing",
    ("suspend", ""): "suspending",
    ("resume", ""): "resuming",
    ("rebuild", ""): "rebuilding",
    ("rebuild", "wiped"): "rebuild_spawning",
    ("resize", ""): "resize_prep",
    ("resize", "claimed"): "resize_migrating",
    ("resize", "grown"): "resize_finish",
    ("confirmResize", ""): None,
    ("revertResize", ""): "resize_reverting",
    ("rescue", ""): "rescuing",
    ("unrescue", ""): "unrescuing",
    ("shelve", ""): "shelving",
    ("shelve", "imaged"): "shelving_offloading",
    ("shelveOffload", ""): "shelving_offloading",
    ("unshelve", ""): "unshelving",
    ("unshelve", "placed"): "spawning",
    ("createBackup", ""): "image_backup",
    ("createBackup", "written"): "image_uploading",
    ("createImage", ""): "image_snapshot",
    ("createImage", "written"): "image_uploading",
    ("delete", ""): "deleting",
}
_STATUS = {
    "active": "ACTIVE",
    "building": "BUILD",
    "stopped": "SHUTOFF",
    "paused": "PAUSED",
    "suspended": "SUSPENDED",
    "rescued": "RESCUE",
    "resized": "VERIFY_RESIZE",
    "shelved": "SHELVED",
    "shelved_offloaded": "SHELVED_OFFLOADED",
    "error": "ERROR",
    "deleted": "DELETED",
}
_BUSY = {
    ("active", "rebooting"): "REBOOT",
    ("active", "rebooting_hard"): "HARD_REBOOT",
    ("resized", "resize_reverting"): "REVERT_RESIZE",
    **{(v, t): "REBUILD" for v in ("active", "stopped", "error") for t in ("rebuilding", "rebuild_spawning")},
    **{(v, t): "RESIZE" for v in ("active", "stopped") for t in ("resize_prep", "resize_migrating", "resize_finish")},
}
STATUSES = frozenset({*_STATUS.values(), *_BUSY.values()})
POWER = {
    Power.RUNNING: 1,
    Power.PAUSED: 3,
    Power.SHUTDOWN: 4,
    Power.CRASHED: 4,  # as libvirt tells nova of a process that died
    Power.SUSPENDED: 4,
    Power.UNKNOWN: 0,
}


@lru_cache(maxsize=1024)
def words(want: Want, was: Want, built: bool, failed: bool, task: str, step: str) -> Words:
    """`want`: what is wanted; `was`: what held before the open operation `task` (its last `step`); `built`: it once
    ran; `failed`: the last operation failed for good, or an administrator said so."""
    if want is Want.GONE and not task:
        return Words("DELETED", "deleted", None)
    task_state = TASKS.get((task, step), TASKS.get((task, ""))) if task else None
    if failed:
        vm_state = "error"
    elif not built:
        vm_state = "building"
    else:
        vm_state = VM_STATES[was if task else want]
    return Words(_BUSY.get((vm_state, task_state or ""), _STATUS[vm_state]), vm_state, task_state)


def power_state(seen: Power | None) -> int:
    return 0 if seen is None else POWER[seen]
