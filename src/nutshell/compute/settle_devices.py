"""The loop over devices: volumes and interfaces that come to or leave a server while it lives.

An operation on the whole server goes first; a device of a server that is gone is let go.
"""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from nutshell.compute.capability import HotPluggable, Nic
from nutshell.compute.devices import Device, Kind, Phase
from nutshell.compute.servers.guest import GIB, volume_disk
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.work import Work
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import Fault, StaleRow
from nutshell.core.operations import Operation, finish
from nutshell.core.store import Tx
from nutshell.network.port import Networking, PortInfo
from nutshell.volume.port import Volumes

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

log = logging.getLogger("nutshell.compute")


def settle_device(cloud: "Cloud", device: Device) -> None:
    """Bring one device to where it is wanted, and record it."""
    server, op = cloud.read(lambda tx: (tx.get(Server, device.server_id), tx.get(Operation, device.operation_id)))
    if server is None:
        cloud.write(lambda tx: _let_go(cloud, tx, device))
        return
    if server.task:
        cloud.write(lambda tx: tx.put(device, quiet=True, touch=False, due_at=tx.now + 0.1))
        return
    try:
        if server.host:
            MOVES[device.phase](cloud, server, device)
    except DriverFault as why:
        if not why.final and op is not None and cloud.clock.now() < op.deadline:
            raise
        _give_up(cloud, server, device, op, why.why)
        return
    except StaleRow:
        raise
    except Fault as why:
        _give_up(cloud, server, device, op, str(why))
        return
    cloud.write(lambda tx: _reached(cloud, tx, server, device, op))


def _plug(cloud: "Cloud", server: Server, device: Device) -> None:
    driver = cloud.driver(HotPluggable)
    if device.kind is Kind.VOLUME:
        op = Operation(id="", kind="", resource_kind="", resource_id="")
        driver.plug_disk(server.id, volume_disk(Work(cloud, server, op), device))
        return
    port = _port(cloud, server.id, device.target_id)
    if port is None:
        raise DriverFault(f"port {device.target_id} is gone", final=True)
    cloud.port(Networking).realise(cloud, [device.target_id])
    driver.plug_nic(server.id, Nic(port.port_id, port.mac, port.mtu))


def _port(cloud: "Cloud", server_id: str, port_id: str) -> PortInfo | None:
    net = cloud.port(Networking)
    mine = cloud.read(lambda tx: net.ports_of(tx, [server_id]).get(server_id, ()))
    return next((p for p in mine if p.port_id == port_id), None)


def _unplug(cloud: "Cloud", server: Server, device: Device) -> None:
    driver = cloud.driver(HotPluggable)
    if device.kind is Kind.VOLUME:
        driver.unplug_disk(device.server_id, device.target_id)
    else:
        driver.unplug_nic(device.server_id, device.target_id)


def _grow(cloud: "Cloud", server: Server, device: Device) -> None:
    """A volume that is in the guest has another size now."""
    facts = cloud.read(lambda tx: cloud.port(Volumes).facts(tx, device.target_id))
    if facts is not None and device.kind is Kind.VOLUME:
        cloud.driver(HotPluggable).resize_disk(server.id, device.target_id, facts.size_gib * GIB)


MOVES = {Phase.ATTACHING: _plug, Phase.ATTACHED: _grow, Phase.DETACHING: _unplug}


def _reached(cloud: "Cloud", tx: Tx, server: Server, device: Device, op: Operation | None) -> None:
    if device.phase is Phase.DETACHING:
        _let_go(cloud, tx, device)
    else:
        store = cloud.ports.get(Volumes)
        if device.kind is Kind.VOLUME and store is not None:  # also of a server that is shelved: it comes back with it
            store.attached(tx, device.attachment_id, f"/dev/{device.device}", server.host)
        tx.put(device, phase=Phase.ATTACHED, due_at=None)
    if op is not None:
        finish(tx, op)


def _let_go(cloud: "Cloud", tx: Tx, device: Device) -> None:
    """The device is the server's no more: tell the service it belongs to."""
    if device.kind is Kind.VOLUME:
        store = cloud.ports.get(Volumes)
        if store is not None and device.attachment_id:
            store.detached(tx, device.attachment_id)
    else:
        net = cloud.port(Networking)
        mine = net.ports_of(tx, [device.server_id]).get(device.server_id, ())
        port = next((p for p in mine if p.port_id == device.target_id), None)
        if port is not None:
            (net.unbind_port if port.preserve else net.delete_port)(tx, port.port_id)
    tx.drop(device)


def _give_up(cloud: "Cloud", server: Server, device: Device, op: Operation | None, why: str) -> None:
    """What was to come does not come; what was to leave stays."""
    log.warning("server %s: %s %s of %s failed: %s", server.id, device.phase, device.kind, device.target_id, why)
    if device.phase is Phase.ATTACHING and server.host:
        with suppress(DriverFault):  # it may have come after all, too late
            _unplug(cloud, server, device)

    def record_it(tx: Tx) -> None:
        if device.phase is Phase.ATTACHING:
            _let_go(cloud, tx, device)
        else:
            store = cloud.ports.get(Volumes)
            if device.kind is Kind.VOLUME and store is not None:
                store.attached(tx, device.attachment_id, f"/dev/{device.device}", server.host)
            tx.put(device, phase=Phase.ATTACHED, due_at=None)
        if op is not None:
            finish(tx, op, why)

    cloud.write(record_it)
