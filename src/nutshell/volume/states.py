"""What a volume's status is: one pure function of what is wanted, what is, what is being done and who is attached."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol


class Want(StrEnum):
    """What its owner asked for."""

    PRESENT = "present"  # it should exist
    ABSENT = "absent"  # it should go


class Seen(StrEnum):
    """What the driver was last known to have."""

    NOTHING = ""  # it was not made yet
    PRESENT = "present"  # it is there


class Task(StrEnum):
    """The one operation in progress; its value is the status shown meanwhile."""

    NONE = ""  # nothing is being done
    EXTENDING = "extending"  # the drive is growing
    UPLOADING = "uploading"  # its content is being written to an image
    REVERTING = "reverting"  # it is going back to a snapshot
    RETYPING = "retyping"  # it is getting another type
    RESTORING = "restoring-backup"  # a backup is taking the place of its content


class Hold(StrEnum):
    """What somebody else is doing with it; its value is the status shown meanwhile."""

    NONE = ""  # nobody holds it
    ATTACHING = "attaching"  # reserved by an attacher of the old kind
    DETACHING = "detaching"  # it is being let go
    TRANSFER = "awaiting-transfer"  # offered to another project
    BACKUP = "backing-up"  # a backup is being made
    MAINTENANCE = "maintenance"  # an administrator keeps users away


class Link(StrEnum):
    """How far an attachment is; its value is the attachment's status."""

    RESERVED = "reserved"  # for a server, without a connector
    ATTACHING = "attaching"  # the connector is known
    ATTACHED = "attached"  # the server has it
    DETACHING = "detaching"  # the server is letting go


class Row(Protocol):
    """The columns of a volume that make its status."""

    @property
    def want(self) -> Want: ...
    @property
    def seen(self) -> Seen: ...
    @property
    def task(self) -> Task: ...
    @property
    def hold(self) -> Hold: ...
    @property
    def failed(self) -> str: ...
    @property
    def override(self) -> str: ...


def status_of(row: Row, links: Sequence[Link]) -> str:
    """The status users see. `links`: of its attachments."""
    if row.override:
        return row.override
    if row.failed:
        return row.failed
    if row.want == Want.ABSENT:
        return "deleting"
    if row.seen == Seen.NOTHING:
        return "creating"
    if row.task:
        return str(row.task)
    if row.hold:
        return str(row.hold)
    if Link.ATTACHED in links:
        return "in-use"
    if Link.DETACHING in links:
        return "detaching"
    if Link.ATTACHING in links:
        return "attaching"
    if Link.RESERVED in links:
        return "reserved"
    return "available"


def attach_status_of(links: Sequence[Link]) -> str:
    return "attached" if Link.ATTACHED in links or Link.DETACHING in links else "detached"
