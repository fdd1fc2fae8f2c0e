"""Carrying out the steps of a plan: the only place where servers' operations touch the world. See `plan.Step`."""

from collections.abc import Callable, Mapping
from typing import Any

from nutshell.compute.capability import Disks, Hypervisor, Pausable, Power
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device, Kind
from nutshell.compute.migrations import forget_migrations, mark_migration
from nutshell.compute.nodes import DEFAULT_ZONE, Node, node_id
from nutshell.compute.servers.guest import GIB, await_volumes, make_guest, own_disks, rescue_id
from nutshell.compute.servers.noun import Server, record
from nutshell.compute.servers.place import choose_host, resources
from nutshell.compute.servers.plan import Step
from nutshell.compute.servers.status import Want
from nutshell.compute.servers.work import Hopeless, Later, Work
from nutshell.core.operations import Operation, finish
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.image.port import Images
from nutshell.network.port import Networking
from nutshell.placement.port import Placement
from nutshell.volume.port import Volumes


def _patience(work: Work) -> float:
    return work.cloud.settings[ComputeConfig].stop_timeout_s


def place(work: Work) -> None:
    def choose(tx: Tx) -> tuple[Server, Operation]:
        server = work.fresh(tx)
        choice = choose_host(tx, work.cloud.port(Placement), server)
        host = choice.host
        node = tx.one(Node, name=host)
        zone = node.zone if node is not None else DEFAULT_ZONE
        work.read_in(tx)
        net = work.cloud.port(Networking)
        for port in work.ports:
            net.bind_port(tx, port.port_id, device_id=server.id, host=host, zone=zone, hostname=server.hostname)
        op = tx.put(work.op, quiet=True, notes={**work.op.notes, "considered": dict(choice.considered)})
        return record(tx, server, step="placed", host=host, zone=zone), op

    work.server, work.op = work.cloud.write(choose)


def volumes(work: Work) -> None:
    if any(not d.attachment_id for d in work.volumes()):
        await_volumes(work)


def realise(work: Work) -> None:
    if work.ports:
        work.cloud.port(Networking).realise(work.cloud, [p.port_id for p in work.ports])


def start(work: Work) -> None:
    work.cloud.driver(Hypervisor).start(work.server.host, make_guest(work))


def disks(work: Work) -> None:
    own_disks(work)


def stop(work: Work) -> None:
    work.cloud.driver(Hypervisor).stop(work.server.id, _patience(work))


def end(work: Work) -> None:
    work.cloud.driver(Hypervisor).stop(work.server.id, 0)


def reboot(work: Work) -> None:
    work.cloud.driver(Hypervisor).reboot(work.server.id, False, _patience(work))


def wipe(work: Work) -> None:
    work.cloud.driver(Hypervisor).destroy(work.server.id)
    work.cloud.driver(Disks).delete_disks(work.server.id)
    work.note("wiped")


def claim(work: Work) -> None:
    """The new flavor's resources beside the old ones, which the operation keeps until it is confirmed."""

    def both(tx: Tx) -> Server:
        s, placement = work.fresh(tx), work.cloud.port(Placement)
        new = work.op.args["flavor"]
        provider = node_id(s.host)
        placement.move(tx, s.id, work.op.id)
        wanted = resources(new, s.local)
        if not placement.claim(tx, s.id, provider, wanted, s.project_id, s.user_id):
            lacks = ", ".join(f"{amount} {name}" for name, amount in wanted.items())
            raise Hopeless(f"No valid host was found. {s.host}: has no room for {lacks} more.", soft=True)
        mark_migration(tx, work.op.id, "migrating")
        before = {"flavor": s.flavor, "flavor_id": s.flavor_id, "want": s.was, "claim": work.op.id}
        return record(tx, s, step="claimed", resized_from=before, flavor=new, flavor_id=new["id"])

    work.server = work.cloud.write(both)


def grow(work: Work) -> None:
    s = work.server
    if s.local.get("root") and s.flavor["disk"] > 0:
        work.cloud.driver(Disks).resize_root(s.id, s.flavor["disk"] * GIB)
    work.note("grown")


def unclaim(work: Work) -> None:
    def back(tx: Tx) -> Server:
        s, placement = work.fresh(tx), work.cloud.port(Placement)
        old = s.resized_from or {}
        placement.release(tx, s.id)
        placement.move(tx, old["claim"], s.id)
        give_back(work, tx, s, s.flavor, old["flavor"])
        mark_migration(tx, old["claim"], "reverted")
        return record(tx, s, step="reverted", flavor=old["flavor"], flavor_id=old["flavor_id"], resized_from=None)

    work.server = work.cloud.write(back)


def confirm(work: Work) -> None:
    def settle(tx: Tx) -> Server:
        s = work.fresh(tx)
        if s.resized_from is not None:
            work.cloud.port(Placement).release(tx, s.resized_from["claim"])
            give_back(work, tx, s, s.resized_from["flavor"], s.flavor)
            mark_migration(tx, s.resized_from["claim"], "confirmed")
        return record(tx, s, resized_from=None)

    work.server = work.cloud.write(settle)


def give_back(work: Work, tx: Tx, s: Server, gone: Mapping[str, int], kept: Mapping[str, int]) -> None:
    """A resize holds the larger of both sizes of quota; return what the one that stays does not need."""
    amounts = {"compute.cores": gone["vcpus"] - kept["vcpus"], "compute.ram": gone["ram"] - kept["ram"]}
    work.cloud.quotas.give_back(tx, s.project_id, {n: max(0, a) for n, a in amounts.items()})


def snapshot(work: Work) -> None:
    image_id = work.op.args["image_id"]
    target = work.cloud.port(Images).staging_path(image_id)
    if work.op.args.get("empty"):  # a server on volumes: the image names their snapshots and has no data
        target.touch()
        return
    work.cloud.driver(Disks).snapshot_root(work.server.id, str(target))
    work.note("written")


def upload(work: Work) -> None:
    work.cloud.port(Images).complete(work.op.args["image_id"])
    if work.server.task == "shelve":
        work.note("imaged")
    if "keep" in work.op.args:
        work.cloud.write(lambda tx: _rotate(work, tx))


def _owner(work: Work) -> Who:
    """The server's project, as it deals with its own images."""
    return Who(project_id=work.server.project_id, roles=frozenset({"member", "reader"}))


def _rotate(work: Work, tx: Tx) -> None:
    """Delete the backups beyond those to keep, oldest first."""
    images, who, kind = work.cloud.port(Images), _owner(work), work.op.args["type"]
    mine = [
        i
        for i in images.listed(tx, who)
        if i.properties.get("instance_uuid") == work.server.id and i.properties.get("backup_type") == kind
    ]
    for old in mine[work.op.args["keep"] :]:
        if not old.protected:
            images.delete(tx, who, old.image_id)


def offload(work: Work) -> None:
    work.cloud.driver(Hypervisor).destroy(work.server.id)
    work.cloud.driver(Disks).delete_disks(work.server.id)

    def leave(tx: Tx) -> Server:
        s = work.fresh(tx)
        work.cloud.port(Placement).release(tx, s.id)
        return record(tx, s, host="", seen=None)

    work.server = work.cloud.write(leave)


def destroy(work: Work) -> None:
    if work.server.host:
        work.cloud.driver(Hypervisor).destroy(work.server.id)
        work.cloud.driver(Disks).delete_disks(work.server.id)
        if work.server.was is Want.RESCUED:
            work.cloud.driver(Disks).delete_disks(rescue_id(work.server.id))


def paused(name: str) -> Callable[[Work], None]:
    return lambda work: getattr(work.cloud.driver(Pausable), name)(work.server.id)


def finish_all(work: Work) -> None:
    """Record what was reached, and what follows from it."""
    if work.server.task == "delete":
        work.cloud.write(lambda tx: _gone(work, tx))
        return
    seen = _look(work)
    wanted = {Want.RUNNING: Power.RUNNING, Want.RESCUED: Power.RUNNING}.get(work.server.want)
    if work.server.task in ("create", "start", "reboot-hard") and wanted and seen is None:
        raise Later("the guest is not there yet")
    if work.server.task == "unrescue":
        work.cloud.driver(Disks).delete_disks(rescue_id(work.server.id))
    work.cloud.write(lambda tx: _reached(work, tx, seen))


def _look(work: Work) -> Power | None:
    if not work.server.host:
        return None
    found = work.cloud.driver(Hypervisor).observe([work.server.id])
    return found[0].power if found else None


def _reached(work: Work, tx: Tx, seen: Power | None) -> None:
    s = work.fresh(tx)
    changes: dict[str, Any] = {"task": "", "step": "", "due_at": None, "seen": seen, "failed": False, "fault": None}
    if work.op.kind in ("createImage", "createBackup"):
        changes |= {"failed": s.failed, "fault": s.fault}
    if s.launched_at is None or work.op.kind == "rebuild":
        changes["launched_at"] = tx.now
    if work.op.kind == "unrescue":
        changes["rescue_image_id"] = ""
    if work.op.kind == "unshelve" and s.shelved_image_id:
        changes["shelved_image_id"] = ""
        images, who = work.cloud.port(Images), _owner(work)
        if images.find(tx, who, s.shelved_image_id) is not None:
            images.delete(tx, who, s.shelved_image_id)
    if work.op.kind == "resize":
        mark_migration(tx, work.op.id, "finished")
    _attach_all(work, tx, s)
    record(tx, s, **changes)
    finish(tx, work.op)


def _attach_all(work: Work, tx: Tx, s: Server) -> None:
    """Whatever was to come with the guest is now in it."""
    fresh = [d for d in work.devices if d.phase == "attaching" and d.due_at is None]
    if not fresh or work.op.kind not in ("create", "unshelve"):
        return
    found = work.cloud.ports.get(Volumes)
    for d in fresh:
        if d.kind is Kind.VOLUME and found is not None:
            found.attached(tx, d.attachment_id, f"/dev/{d.device}", s.host)
    tx.sql(
        f"UPDATE {Device.table.name} SET phase = 'attached', generation = generation + 1"
        " WHERE server_id = ? AND phase = 'attaching' AND due_at IS NULL",
        s.id,
    )


def _gone(work: Work, tx: Tx) -> None:
    """The server's last transaction: everything it held is let go with it."""
    s = work.fresh(tx)
    work.read_in(tx)
    store = work.cloud.ports.get(Volumes)
    for d in work.volumes():
        if store is not None:
            if d.attachment_id:
                store.detached(tx, d.attachment_id)
            if d.delete_on_termination:
                store.delete(tx, d.target_id)
    net = work.cloud.ports.get(Networking)
    for port in work.ports:
        if net is not None:
            (net.unbind_port if port.preserve else net.delete_port)(tx, port.port_id)
    tx.drop_where(Device, server_id=s.id)
    work.cloud.port(Placement).release(tx, s.id)
    held = [s.flavor]
    if s.resized_from is not None:
        work.cloud.port(Placement).release(tx, s.resized_from["claim"])
        held.append(s.resized_from["flavor"])
    amounts = {
        "compute.instances": 1,
        "compute.cores": max(f["vcpus"] for f in held),
        "compute.ram": max(f["ram"] for f in held),
    }
    work.cloud.quotas.give_back(tx, s.project_id, amounts)
    forget_migrations(tx, s.id)
    s = record(tx, s, quiet=True, task="", step="", due_at=None, seen=None, terminated_at=tx.now)
    tx.drop(s)
    finish(tx, work.op)


CARRY: dict[Step, Callable[[Work], None]] = {
    Step.PLACE: place,
    Step.VOLUMES: volumes,
    Step.REALISE: realise,
    Step.START: start,
    Step.DISKS: disks,
    Step.STOP: stop,
    Step.END: end,
    Step.REBOOT: reboot,
    Step.PAUSE: paused("pause"),
    Step.UNPAUSE: paused("unpause"),
    Step.SUSPEND: paused("suspend"),
    Step.RESUME: paused("resume"),
    Step.WIPE: wipe,
    Step.CLAIM: claim,
    Step.GROW: grow,
    Step.UNCLAIM: unclaim,
    Step.CONFIRM: confirm,
    Step.SNAPSHOT: snapshot,
    Step.UPLOAD: upload,
    Step.OFFLOAD: offload,
    Step.DESTROY: destroy,
    Step.FINISH: finish_all,
}
