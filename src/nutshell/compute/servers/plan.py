"""What is to be done next for a server's open operation: pure, from the row alone.

Every step is safe to repeat, and those that cannot be undone are recorded (`server.step`), so that a plan made again
after a crash goes on where it has to.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.status import Want


class Step(StrEnum):
    """One move towards what is wanted."""

    PLACE = "place"  # choose a host, claim its resources, bind the ports to it
    VOLUMES = "volumes"  # every volume is there and reserved for this server
    REALISE = "realise"  # the network driver makes the ports
    START = "start"  # own disks, config drive, and the guest runs
    DISKS = "disks"  # own disks only; the guest stays off
    STOP = "stop"  # power off, asking the guest first
    END = "end"  # power off at once
    REBOOT = "reboot"  # ask the guest to start anew
    PAUSE = "pause"
    UNPAUSE = "unpause"
    SUSPEND = "suspend"
    RESUME = "resume"
    WIPE = "wipe"  # destroy the guest and its own disks, to make them anew
    CLAIM = "claim"  # the resources of the new flavor, the old ones kept aside
    GROW = "grow"  # the root disk to the new flavor's size
    UNCLAIM = "unclaim"  # back to the old flavor and its resources
    CONFIRM = "confirm"  # let go of the old flavor's resources
    SNAPSHOT = "snapshot"  # write the root disk into an image's staging file
    UPLOAD = "upload"  # make that image active
    OFFLOAD = "offload"  # leave the host: guest and disks go, resources are released
    DESTROY = "destroy"  # end everything on the host
    FINISH = "finish"  # record what was reached


RUN = (Step.VOLUMES, Step.REALISE, Step.START)
AWAKE = (Want.RUNNING, Want.PAUSED, Want.RESCUED)


def plan(server: Server) -> Sequence[Step]:
    """The steps that are left, in order."""
    found = _PLANS[server.task](server)
    return (*found, Step.FINISH)


def ran_before_resize(server: Server) -> bool:
    """Whether a resized server was running when its resize began."""
    return server.resized_from is not None and server.resized_from["want"] == Want.RUNNING


def _create(s: Server) -> Sequence[Step]:
    return RUN if s.host else (Step.PLACE, *RUN)


def _rebuild(s: Server) -> Sequence[Step]:
    again = RUN if s.want is Want.RUNNING else (Step.DISKS,)
    return again if s.step == "wiped" else (Step.WIPE, *again)


def _resize(s: Server) -> Sequence[Step]:
    running = ran_before_resize(s) if s.resized_from else s.was is Want.RUNNING
    rest: tuple[Step, ...] = (Step.STOP, Step.GROW, *(RUN if running else ()))
    if s.step == "grown":
        rest = RUN if running else ()
    return rest if s.step else (Step.CLAIM, *rest)


def _revert(s: Server) -> Sequence[Step]:
    if s.step == "reverted":
        return RUN if s.want is Want.RUNNING else ()
    return (Step.STOP, Step.UNCLAIM, *(RUN if s.want is Want.RUNNING else ()))


def _shelve(s: Server) -> Sequence[Step]:
    rest = (Step.OFFLOAD,) if s.want is Want.OFFLOADED else ()
    if s.step == "imaged" or not s.local.get("root"):
        return (Step.STOP, *rest)
    return (Step.STOP, Step.SNAPSHOT, Step.UPLOAD, *rest)


def _unshelve(s: Server) -> Sequence[Step]:
    return RUN if s.host else (Step.PLACE, *RUN)


def _image(s: Server) -> Sequence[Step]:
    return (Step.UPLOAD,) if s.step == "written" else (Step.SNAPSHOT, Step.UPLOAD)


_PLANS: dict[str, Callable[[Server], Sequence[Step]]] = {
    "create": _create,
    "start": lambda s: RUN,
    "stop": lambda s: (Step.STOP,),
    "reboot": lambda s: (Step.REBOOT,),
    "reboot-hard": lambda s: (Step.END, *RUN),
    "pause": lambda s: (Step.PAUSE,),
    "unpause": lambda s: (Step.UNPAUSE,),
    "suspend": lambda s: (Step.SUSPEND,),
    "resume": lambda s: (Step.RESUME,),
    "rebuild": _rebuild,
    "resize": _resize,
    "confirmResize": lambda s: (Step.CONFIRM,),
    "revertResize": _revert,
    "rescue": lambda s: (Step.STOP, *RUN),
    "unrescue": lambda s: (Step.STOP, *RUN),
    "shelve": _shelve,
    "shelveOffload": lambda s: (Step.OFFLOAD,),
    "unshelve": _unshelve,
    "createImage": _image,
    "createBackup": _image,
    "delete": lambda s: (Step.DESTROY,),
}
OPERATIONS = frozenset(_PLANS)
