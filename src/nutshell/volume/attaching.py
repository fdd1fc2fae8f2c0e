"""How volumes are given to servers and taken back: the rows, for both attachment APIs and for compute."""

from collections.abc import Sequence
from typing import Any

from nutshell.core.cloud import Cloud
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import BadRequest, Conflict, NotFound, Unavailable
from nutshell.core.service import Ask
from nutshell.core.store import Tx
from nutshell.volume.capability import VolumeDriver
from nutshell.volume.making import connection_of
from nutshell.volume.service import InvalidInput, InvalidVolume
from nutshell.volume.states import Hold, Link, Seen
from nutshell.volume.tables import Volume, VolumeAttachment, save


def reserve(
    tx: Tx,
    row: Volume,
    new_id: str,
    server_id: str | None,
    *,
    mode: str | None,
    connector: dict[str, Any] | None = None,
    by_compute: bool = False,
) -> VolumeAttachment:
    """An attachment for a server; 400 when the volume cannot have (another) one."""
    free = row.status == "available" or (row.status == "downloading")
    shared = row.multiattach and row.status in ("in-use", "reserved", "attaching")
    if not (free or shared):
        allowed = "'available', 'in-use'" if row.multiattach else "'available'"
        raise InvalidVolume(f"Volume {row.id} status must be {allowed} to reserve, but it is {row.status}.")
    if server_id and tx.count(VolumeAttachment, volume_id=row.id, instance=server_id):
        raise InvalidVolume(f"Volume {row.id} is attached to server {server_id} already.")
    if row.read_only and mode == "rw":
        raise InvalidVolume(f"Volume {row.id} is read-only and cannot be attached as rw.")
    made = tx.add(
        VolumeAttachment(
            id=new_id,
            volume_id=row.id,
            instance=server_id,
            project_id=row.project_id,
            attach_mode=mode or ("ro" if row.read_only else None),
            status=Link.ATTACHING if connector else Link.RESERVED,
            by_compute=by_compute,
            **_from(connector),
        )
    )
    save(tx, row, verb="reserve")
    return made


def _from(connector: dict[str, Any] | None) -> dict[str, Any]:
    if not connector:
        return {}
    return {"connector": connector, "host": connector.get("host"), "device": connector.get("mountpoint")}


def initialise(tx: Tx, row: VolumeAttachment, connector: dict[str, Any], info: dict[str, Any]) -> VolumeAttachment:
    """The attacher is known, and is told where the volume is."""
    mode = connector.get("mode") or row.attach_mode or "rw"
    told = {**info, "access_mode": mode, "attachment_id": row.id}
    status = row.status if row.status == Link.ATTACHED else Link.ATTACHING
    new = tx.put(row, attach_mode=mode, connection_info=told, status=status, **_from(connector))
    save(tx, tx.need(Volume, row.volume_id), verb="attach")
    return new


def complete(tx: Tx, row: VolumeAttachment, device: str | None = None, host: str | None = None) -> None:
    """The server has it. Repeat is success."""
    changes: dict[str, Any] = {k: v for k, v in (("device", device), ("host", host)) if v}
    tx.put(
        row,
        status=Link.ATTACHED,
        attach_mode=row.attach_mode or "rw",
        attached_since=row.attached_since or tx.now,
        **changes,
    )
    volume = tx.need(Volume, row.volume_id)
    save(tx, volume, verb="attached", hold=Hold.NONE if volume.hold == Hold.ATTACHING else volume.hold)


class HeldByCompute(Conflict):
    """Detach volume from instance {server_id} using the Compute API"""


def refuse_behind_compute(ask: Ask[Any], attachments: Sequence[VolumeAttachment]) -> None:
    """What compute gave to a server, only compute takes away: a guest would go on writing to a drive that is given to
    somebody else (OSSA-2023-003). 409 but for a service."""
    held = next((a for a in attachments if a.by_compute), None)
    if held is not None and "service" not in ask.who.roles:
        raise HeldByCompute(server_id=held.instance)


def let_go(tx: Tx, row: VolumeAttachment) -> None:
    """The server has it no more, or never had it."""
    tx.drop(row)
    volume = tx.get(Volume, row.volume_id)
    if volume is not None:
        hold = Hold.NONE if volume.hold in (Hold.DETACHING, Hold.ATTACHING) else volume.hold
        save(tx, volume, verb="detached", hold=hold)


def attach_old(ask: Ask[Volume], server_id: str | None, host: str | None, device: str, mode: str) -> None:
    """The old way: the attacher reports that it has it."""
    tx, row = ask.tx, ask.target
    if row.status not in ("attaching", "available", "in-use", "detaching", "reserved"):
        raise InvalidVolume(f"Volume {row.id} must be available or attaching to be attached, but it is {row.status}.")
    mine = tx.find(VolumeAttachment, volume_id=row.id)
    known = [a for a in mine if (server_id and a.instance == server_id) or (host and a.host == host)]
    if row.read_only and mode == "rw":
        raise BadRequest(f"Invalid attaching mode '{mode}' for volume {row.id}.")
    if not known and [a for a in mine if a.status == Link.ATTACHED] and not row.multiattach:
        raise InvalidVolume("volume is already attached")
    attachment = (
        known[0]
        if known
        else tx.add(
            VolumeAttachment(
                id=ask.new_id(),
                volume_id=row.id,
                instance=server_id,
                project_id=row.project_id,
                host=host,
                attach_mode=mode,
                device=device,
            )
        )
    )
    complete(tx, attachment, device, host)


def detach_old(ask: Ask[Volume], attachment_id: str | None) -> None:
    """The old way: the attacher reports that it let go."""
    tx, row = ask.tx, ask.target
    mine = tx.find(VolumeAttachment, volume_id=row.id)
    if attachment_id:
        mine = [a for a in mine if a.id == attachment_id]
        if not mine and tx.one(VolumeAttachment, id=attachment_id, project_id=row.project_id) is not None:
            raise InvalidInput("Mismatched volume and attachment")
        if not mine:
            raise NotFound(kind="Volume attachment", id=attachment_id)
    refuse_behind_compute(ask, mine)
    if len(mine) > 1:
        raise InvalidVolume("Detach volume failed: More than one attachment, but no attachment_id provided.")
    if mine:
        let_go(tx, mine[0])
    else:
        save(tx, row, hold=Hold.NONE)


def connect_info(cloud: Cloud, row: Volume, mode: str = "rw") -> dict[str, Any]:
    """Where the volume is. Asks the driver; never inside a transaction. 400 while it is not there, 503."""
    if row.seen == Seen.NOTHING or row.failed == "error":
        raise InvalidVolume(f"Volume {row.id} is not there yet: it is {row.status}.")
    try:
        found = cloud.driver(VolumeDriver).connect(row.id)
    except DriverFault as fault:
        raise Unavailable(f"Unable to fetch connection information from backend: {fault.why}") from None
    return connection_of(row.id, found.path, found.format, mode)
