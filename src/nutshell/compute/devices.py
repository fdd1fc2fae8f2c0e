"""Devices of servers: attached volumes and network interfaces, with what is wanted of each.

The row of a volume has the attachment's id, the row of an interface the port's. `due_at` says that the device wants
attention by itself (a live attach or detach); while a server is built or deleted, its own operation sees to them.
"""

from enum import StrEnum

from nutshell.core.resource import Resource, field


class Phase(StrEnum):
    """Where a device is."""

    ATTACHING = "attaching"  # asked for, not yet in the guest
    ATTACHED = "attached"  # in the guest, or in its definition while it is off
    DETACHING = "detaching"  # on its way out


class Kind(StrEnum):
    """What a device is."""

    VOLUME = "volume"  # a drive of the volume service
    NIC = "nic"  # a port of the network service


class Device(Resource, service="compute", one="device", many="devices", indexes=(("server_id",), ("target_id",))):
    """One volume or port of one server."""

    server_id: str = field()
    kind: Kind = field()
    target_id: str = field()  # the volume's or the port's id
    attachment_id: str = field(default="")  # the volume service's; "" until the volume is there to be reserved
    phase: Phase = field(default=Phase.ATTACHING)
    device: str = field(default="")  # "vdb"
    boot_index: int | None = field(default=None)
    delete_on_termination: bool = field(default=False)
    read_only: bool = field(default=False)
    shareable: bool = field(default=False)
    tag: str | None = field(default=None)
    position: int = field(default=0)
    operation_id: str = field(default="")  # its instance action
    request_id: str = field(default="")
    due_at: float | None = field(default=None, index=True)
