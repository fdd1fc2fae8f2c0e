"""Making servers: the verb checks all and records what is wanted; the loop builds (Compute API, "Create Server")."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nutshell.compute import wire
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device, Kind
from nutshell.compute.errors import FlavorUnknown, KeypairUnknown
from nutshell.compute.flavors import Flavor, find_flavor
from nutshell.compute.keypairs import KeyPair, find_keypair
from nutshell.compute.nodes import Node
from nutshell.compute.server_groups import check_joining
from nutshell.compute.servers import checks
from nutshell.compute.servers.drives import Drive, check_order, free_devices, is_uuid, read_drives
from nutshell.compute.servers.nics import Nic, choose_nics, read_nics
from nutshell.compute.servers.noun import Server, derived
from nutshell.compute.servers.operate import add_operation
from nutshell.compute.service import compute, links
from nutshell.core.errors import BadRequest, Fault, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import Span
from nutshell.image.port import ImageFacts
from nutshell.network.port import Networking
from nutshell.volume.port import Volumes

RULE = "os_compute_api:servers"
PASSWORD_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"  # noqa: S105 - an alphabet
GIB = checks.GIB


class NewServer(Body):
    name: str = field()
    flavor_id: str | int = field(wire="flavorRef")
    image_id: str = field(default="", wire="imageRef")
    admin_pass: str = field(default="", wire="adminPass", max_length=255)
    metadata: dict[str, Any] = field(factory=dict)
    networks: Any = field(default=None)
    disk_config: str = field(default="MANUAL", wire="OS-DCF:diskConfig", pattern="^(AUTO|MANUAL)$")
    access_ip_v4: str | None = field(default=None, wire="accessIPv4")
    access_ip_v6: str | None = field(default=None, wire="accessIPv6")
    personality: list[dict[str, str]] = field(factory=list, until="2.56")
    zone: str | None = field(default=None, wire="availability_zone")
    old_drives: Any = field(default=None, wire="block_device_mapping")
    drives: Any = field(default=None, wire="block_device_mapping_v2")
    config_drive: bool | str = field(default=False)
    key_name: str = field(default="")
    min_count: int | str = field(default=1)
    max_count: int | str | None = field(default=None)
    return_reservation_id: bool | str = field(default=False)
    security_groups: list[dict[str, str]] = field(factory=list)
    user_data: str | None = field(default=None, max_length=65535)
    description: str | None = field(default=None, since="2.19", max_length=255)
    tags: list[str] = field(factory=list, since="2.52")
    trusted: list[str] | None = field(default=None, wire="trusted_image_certificates", since="2.63")
    host: str | None = field(default=None, since="2.74")
    hypervisor_hostname: str | None = field(default=None, since="2.74")
    hostname: str | None = field(default=None, since="2.90", max_length=255)


@dataclass(frozen=True)
class Order:
    """What is asked for, checked: everything the new rows need but their names."""

    flavor: Flavor
    image: ImageFacts | None
    drives: tuple[Drive, ...]
    nics: tuple[Nic, ...]
    group_ids: tuple[str, ...]
    keypair: KeyPair | None
    zone: str | None
    wanted_host: str
    local_root: bool


@compute.verb(Server, "create", rule=f"{RULE}:create", body=NewServer, http=202)
def create(ask: Ask[Any]) -> Answer:
    g = ask.given
    wire.check_name("name", g["name"])
    fewest, most = _counts(g)
    order = _order(ask, g, most)
    password = g.get("admin_pass") or make_password()
    count = _take_quota(ask, order.flavor, fewest, most)
    hints = _hints(ask)
    if hints.get("group"):
        check_joining(ask, hints["group"], count)
    reservation = "r-" + ask.new_id().replace("-", "")[:8]
    made = [_make(ask, order, hints, i, count, reservation) for i in range(count)]
    if wire.truth("return_reservation_id", g.get("return_reservation_id", False)):
        return Answer(202, {"reservation_id": reservation})
    first = made[0]
    shown: dict[str, Any] = {
        "id": first.id,
        "links": links(ask, "servers", first.id),
        "OS-DCF:diskConfig": first.disk_config,
        "security_groups": [{"name": n} for n in first.group_names or ["default"]],
        "adminPass": password,
    }
    return Answer(202, {"server": shown}, {"Location": shown["links"][0]["href"]})


def make_password() -> str:
    return "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(12))


def _counts(g: Mapping[str, Any]) -> tuple[int, int]:
    fewest = wire.whole("min_count", g.get("min_count", 1), 1)
    asked = g.get("max_count")
    most = fewest if asked is None else wire.whole("max_count", asked, 1)
    if fewest > most:
        raise BadRequest("min_count must be <= max_count")
    return fewest, most


def _order(ask: Ask[Any], g: Mapping[str, Any], most: int) -> Order:
    tx, who = ask.tx, ask.who
    checks.check_metadata(ask, g.get("metadata", {}))
    checks.check_files(ask, g.get("personality", []))
    checks.check_user_data(g.get("user_data"))
    checks.check_plain(g)
    if g.get("trusted"):
        raise BadRequest("trusted_image_certificates: image signatures are not verified by this cloud.")
    image_id = g.get("image_id", "")
    if image_id and not is_uuid(image_id):
        raise wire.invalid("imageRef", image_id, f"{image_id!r} is not a 'uuid'")
    flavor = find_flavor(tx, who, str(g["flavor_id"]))
    if flavor is None:
        raise FlavorUnknown(id=g["flavor_id"])
    more = frozenset({"tag"} if ask.at in Span.of("2.32", "2.32") or ask.at in Span.of("2.42", "") else ())
    more |= {"volume_type"} if ask.at in Span.of("2.67", "") else frozenset()
    image = checks.find_image(ask, image_id) if image_id else None
    drives = _drives_of(g, image, image_id, more)
    if drives and any(d.destination == "volume" for d in drives):
        ask.must(f"{RULE}:create:attach_volume")
    local_root = drives[0].destination == "local"
    if image is not None and local_root:
        checks.check_fit(ask, flavor, image)
    keypair = find_keypair(tx, who.user_id, g["key_name"]) if g.get("key_name") else None
    if g.get("key_name") and keypair is None:
        raise KeypairUnknown()
    zone, wanted_host = _place(ask, g)
    tagged = ask.at in Span.of("2.32", "2.36") or ask.at in Span.of("2.42", "")
    keys = frozenset({"uuid", "port", "fixed_ip"} | ({"tag"} if tagged else set()))
    asked = read_nics(g.get("networks"), keys, ask.at in Span.of("2.37", ""))
    if ask.at in Span.of("2.37", "") and "networks" not in g:
        raise BadRequest("Invalid input for field/attribute server. 'networks' is a required property")
    if most > 1 and any(n.port_id or n.fixed_ip for n in asked or ()):
        raise BadRequest("Unable to launch multiple instances with a single configured port or fixed address.")
    if most > 1 and any(d.source == "volume" for d in drives):
        raise BadRequest("Cannot attach one or more volumes to multiple instances")
    net = ask.cloud.port(Networking)
    nics = _as_400(lambda: choose_nics(net, tx, who, asked))
    names = sorted({str(s["name"]) for s in g.get("security_groups", []) if s.get("name")})
    groups = _as_400(lambda: net.security_groups(tx, who, names)) if names and names != ["default"] else ()
    return Order(flavor, image, drives, nics, tuple(groups), keypair, zone, wanted_host, local_root)


def _as_400(find: Any) -> Any:
    """What another service does not find is a mistake of this request."""
    try:
        return find()
    except NotFound as why:
        raise BadRequest(str(why)) from None


def _drives_of(
    g: Mapping[str, Any], image: ImageFacts | None, image_id: str, more: frozenset[str]
) -> tuple[Drive, ...]:
    if image is not None and not g.get("drives") and not g.get("old_drives"):
        inside = image.properties.get("block_device_mapping")
        if inside:  # an image of a server that booted from a volume: it names the snapshots
            items = _mapping_inside(inside)
            kept = ("source_type", "destination_type", "snapshot_id", "volume_size", "boot_index", "device_name")
            plain = [{k: i[k] for k in kept if i.get(k) is not None} for i in items]
            plain = [
                i | {"delete_on_termination": bool(o.get("delete_on_termination"))}
                for i, o in zip(plain, items, strict=True)
            ]
            return read_drives(None, plain, "", frozenset())
    return check_order(read_drives(g.get("old_drives"), g.get("drives"), image_id, more))


def _mapping_inside(inside: Any) -> list[dict[str, Any]]:
    """An image's own block device mapping, which a user may have written: 400 for what is none."""
    import msgspec

    try:
        found = msgspec.json.decode(inside) if isinstance(inside, str) else inside
        return msgspec.convert(found, list[dict[str, Any]])
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("The image's property block_device_mapping is not valid.") from None


def _place(ask: Ask[Any], g: Mapping[str, Any]) -> tuple[str | None, str]:
    """(zone, host) asked for. An administrator may name a host: "zone:host", or host since 2.74."""
    zone, host = g.get("zone") or None, ""
    if zone and ":" in zone:
        parts = zone.split(":")
        if len(parts) > 3:
            raise BadRequest("Unable to parse availability_zone")
        ask.must(f"{RULE}:create:forced_host")
        zone, host = parts[0] or None, (parts[1] or (parts[2] if len(parts) == 3 else ""))
    asked = g.get("host") or g.get("hypervisor_hostname")
    if asked:
        ask.must("compute:servers:create:requested_destination")
        if host:
            raise BadRequest(
                "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are"
                " mutually exclusive."
            )
        host = asked
    if host and ask.tx.one(Node, name=host) is None:
        raise BadRequest(f"Compute host {host} could not be found.")
    if zone and ask.tx.count(Node, zone=zone) == 0:
        raise BadRequest("The requested availability zone is not available")
    return zone, host


def _take_quota(ask: Ask[Any], flavor: Flavor, fewest: int, most: int) -> int:
    """How many servers there may be, between the two; their quota is taken. 403 when not even the fewest."""
    quotas, tx, project = ask.cloud.quotas, ask.tx, ask.who.project_id
    count = most
    each = {"compute.instances": 1, "compute.cores": flavor.vcpus, "compute.ram": flavor.ram_mib}
    if fewest < most:
        limits, used = quotas.limits(tx, project, list(each)), quotas.used(tx, project, list(each))
        room = [(limits[n] - used[n]) // a for n, a in each.items() if limits[n] >= 0]
        count = max(fewest, min([most, *room]))
    quotas.take(tx, project, {n: a * count for n, a in each.items()})
    return count


def _make(ask: Ask[Any], order: Order, hints: dict[str, Any], index: int, count: int, reservation: str) -> Server:
    tx, who, g = ask.tx, ask.who, ask.given
    name = g["name"] if count == 1 else f"{g['name']}-{index + 1}"
    hostname = g.get("hostname")
    if hostname and count > 1:
        hostname = f"{hostname}-{index + 1}"
    server_id = ask.new_id()
    row = Server(
        id=server_id,
        project_id=who.project_id,
        user_id=who.user_id,
        name=name,
        description=g.get("description") if ask.at in Span.of("2.19", "") else name,
        hostname=hostname or checks.default_hostname(name, server_id),
        image_id=order.image.image_id if order.image is not None and (order.local_root or g.get("image_id")) else "",
        image=checks.image_copy(order.image),
        flavor_id=order.flavor.id,
        flavor=checks.flavor_copy(order.flavor),
        key_name=order.keypair.name if order.keypair else None,
        public_key=order.keypair.public_key if order.keypair else "",
        key_type=order.keypair.type if order.keypair else "ssh",
        metadata=g.get("metadata", {}),
        tags=list(dict.fromkeys(g.get("tags", []))),
        user_data=g.get("user_data"),
        local=_local_drives(order),
        files={f["path"]: f["contents"] for f in g.get("personality", [])},
        group_names=sorted({s["name"] for s in g.get("security_groups", []) if s.get("name")}) or ["default"],
        config_drive=wire.truth("config_drive", g.get("config_drive") or False),
        disk_config=g.get("disk_config", "MANUAL"),
        access_ip_v4=checks.plain_address(g.get("access_ip_v4")),
        access_ip_v6=checks.plain_address(g.get("access_ip_v6")),
        zone=order.zone or "",
        pinned_zone=order.zone,
        wanted_host=order.wanted_host,
        hints=hints,
        server_group_id=str(hints.get("group") or ""),
        reservation_id=reservation,
        launch_index=index,
        task="create",
        request_id=ask.request_id,
        due_at=ask.now,
    )
    deadline_s = ask.cloud.settings[ComputeConfig].build_timeout_s
    op = add_operation(tx, row, "create", ask.new_id(), deadline_s)
    row = tx.add(_with(row, operation_id=op.id, **derived(row.__dict__)))
    _add_nics(ask, row, order)
    _add_volumes(ask, row, order)
    return row


def _with(row: Server, **changes: Any) -> Server:
    from dataclasses import replace

    return replace(row, **changes)


def _hints(ask: Ask[Any]) -> dict[str, Any]:
    body = ask.body if isinstance(ask.body, dict) else {}
    found = body.get("os:scheduler_hints", body.get("OS-SCH-HNT:scheduler_hints")) or {}
    if not isinstance(found, dict):
        raise wire.invalid("os:scheduler_hints", found, "It is not an object.")
    group = found.get("group")
    if isinstance(group, list):
        found = {**found, "group": group[0] if group else None}
        group = found["group"]
    if group is not None and not is_uuid(group):
        raise wire.invalid("group", group, f"{group!r} is not a 'uuid'")
    for name in ("same_host", "different_host"):
        if name in found:
            ids = found[name] if isinstance(found[name], list) else [found[name]]
            if not all(is_uuid(i) for i in ids):
                raise wire.invalid(name, found[name], "is not a 'uuid'")
    return found


def _local_drives(order: Order) -> dict[str, Any]:
    """What the loop needs to know of the disks that no device row stands for: sizes and device names."""
    blank = [d for d in order.drives if d.source == "blank" and d.destination == "local"]
    swap_mib = sum(d.size_gib * 1024 for d in blank if d.guest_format == "swap") or order.flavor.swap_mib
    ephemerals = [d.size_gib or order.flavor.ephemeral_gib for d in blank if d.guest_format != "swap"]
    if not ephemerals and order.flavor.ephemeral_gib:
        ephemerals = [order.flavor.ephemeral_gib]
    names = [f"ephemeral{n}" for n in range(len(ephemerals))] + (["swap"] if swap_mib else [])
    free = free_devices({d.device for d in order.drives} | {"vda"})
    return {
        "root": order.local_root,
        "ephemerals": ephemerals,
        "swap_mib": swap_mib,
        "devices": {name: next(free) for name in names},
    }


def _add_nics(ask: Ask[Any], row: Server, order: Order) -> None:
    net, tx = ask.cloud.port(Networking), ask.tx
    zone = order.zone or "nova"
    for position, nic in enumerate(order.nics):
        if nic.port_id:
            port = net.bind_port(tx, nic.port_id, device_id=row.id, host="", zone=zone, hostname=row.hostname)
        else:
            try:
                port = net.create_port(
                    tx,
                    ask.who,
                    network_id=nic.network_id,
                    device_id=row.id,
                    fixed_ip=nic.fixed_ip,
                    security_group_ids=order.group_ids or None,
                    zone=zone,
                    hostname=row.hostname,
                )
            except NotFound as why:
                raise BadRequest(str(why)) from None
        tx.add(
            Device(
                id=port.port_id, server_id=row.id, kind=Kind.NIC, target_id=port.port_id, tag=nic.tag, position=position
            ),
            quiet=True,
        )


def _add_volumes(ask: Ask[Any], row: Server, order: Order) -> None:
    volumes, tx = ask.cloud.ports.get(Volumes), ask.tx
    wanted = [d for d in order.drives if d.destination == "volume"]
    if not wanted:
        return
    if volumes is None:
        raise BadRequest("This cloud has no volume service.")
    taken = {d.device for d in wanted if d.device} | {"vda", *row.local["devices"].values()}
    names = free_devices(taken)
    for position, drive in enumerate(wanted):
        device = drive.device or ("vda" if drive.boot_index == 0 else next(names))
        tx.add(_volume_device(ask, row, order, drive, device, position), quiet=True)


def _volume_device(ask: Ask[Any], row: Server, order: Order, drive: Drive, device: str, position: int) -> Device:
    volumes, tx = ask.cloud.port(Volumes), ask.tx
    attachment_id, shareable = "", False
    if drive.source == "volume":
        facts = _as_400(lambda: volumes.need(tx, ask.who, drive.source_id))
        if drive.boot_index == 0 and not facts.bootable:
            raise BadRequest(f"Block Device {drive.source_id} is not bootable.")
        try:
            attachment_id = volumes.reserve(
                tx, drive.source_id, row.id, allow_multiattach=ask.at in Span.of("2.60", "")
            ).attachment_id
        except Fault as why:
            raise BadRequest(
                f"Block Device Mapping is Invalid: failed to get volume {drive.source_id}. {why}"
            ) from None
        volume_id, shareable = facts.volume_id, facts.multiattach
    else:
        volume_id = _new_volume(ask, order, drive)
    return Device(
        id=ask.new_id(),
        server_id=row.id,
        kind=Kind.VOLUME,
        target_id=volume_id,
        attachment_id=attachment_id,
        device=device,
        boot_index=drive.boot_index,
        delete_on_termination=drive.delete_on_termination,
        shareable=shareable,
        tag=drive.tag,
        position=position,
    )


def _new_volume(ask: Ask[Any], order: Order, drive: Drive) -> str:
    volumes, tx = ask.cloud.port(Volumes), ask.tx
    size = drive.size_gib
    if drive.source == "snapshot":
        _, least = _as_400(lambda: volumes.need_snapshot(tx, ask.who, drive.source_id))
        if size and size < least:
            raise BadRequest(
                f"Block Device Mapping is Invalid: volume size {size} is smaller than the snapshot's {least}."
            )
        size = size or least
    if drive.source == "image":
        image = checks.find_image(ask, drive.source_id)
        least = max(image.min_disk_gib, math.ceil(image.virtual_size / GIB))
        if size < least:
            raise BadRequest(
                f"Volume is smaller than the minimum size specified in image metadata: {size} < {least} GiB."
            )
    facts = volumes.create(
        tx,
        ask.who,
        size_gib=size,
        image_id=drive.source_id if drive.source == "image" else None,
        snapshot_id=drive.source_id if drive.source == "snapshot" else None,
        volume_type=drive.volume_type,
    )
    return facts.volume_id
