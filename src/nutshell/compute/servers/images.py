"""Images of servers, and servers made anew from images (Compute API, "Create Image", "Rebuild Server", "Create
Backup")."""

import re
from typing import Any

import msgspec

from nutshell.compute import wire
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device, Kind
from nutshell.compute.errors import KeypairUnknown
from nutshell.compute.keypairs import find_keypair
from nutshell.compute.servers import checks
from nutshell.compute.servers.change import answer_with
from nutshell.compute.servers.create import make_password
from nutshell.compute.servers.drives import is_uuid
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import begin, check_lock, check_state
from nutshell.compute.servers.power import SLEEPY
from nutshell.compute.servers.status import Want
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Answer, Ask
from nutshell.core.versions import Span
from nutshell.image.port import Images
from nutshell.volume.port import Volumes

RULE = "os_compute_api:servers"
LEFT_OUT = re.compile(r"^(image_id|owner_.*|os_hash_.*|stores|os_hidden|block_device_mapping|bdm_v2)$")


class CreateImage(Body):
    name: str = field()
    metadata: dict[str, Any] = field(factory=dict)


@compute.action(Server, "createImage", rule=f"{RULE}:create_image", body=CreateImage)
def create_image(ask: Ask[Server]) -> Answer:
    s = ask.target
    name = wire.check_name("name", ask.given["name"])
    checks.check_metadata(ask, ask.given.get("metadata", {}))
    check_state(s, "createImage", SLEEPY)
    properties = image_properties(s) | ask.given.get("metadata", {})
    if s.local.get("root"):
        image_id = _make_image(ask, name, properties)
        deadline = ask.cloud.settings[ComputeConfig].build_timeout_s
        begin(ask, s, "createImage", s.want, deadline, {"image_id": image_id})
    else:
        ask.must(f"{RULE}:create_image:allow_volume_backed", s.policy_target())
        mapping = _snapshots(ask, name)
        form = {"root_device_name": s.root_device, "bdm_v2": "True", "block_device_mapping": mapping}
        image_id = _make_image(ask, name, properties | form, "raw")
        deadline = ask.cloud.settings[ComputeConfig].build_timeout_s
        begin(ask, s, "createImage", s.want, deadline, {"image_id": image_id, "empty": True})
    if ask.at in Span.of("2.45", ""):
        return Answer(202, {"image_id": image_id})
    return Answer(202, None, {"Location": f"{ask.base}/image/v2/images/{image_id}"})


def image_properties(s: Server) -> dict[str, Any]:
    """What an image of this server is told: the properties of the image it came from, and where it was made."""
    kept = {k: v for k, v in s.image.get("properties", {}).items() if not LEFT_OUT.match(k)}
    own = {"image_type": "snapshot", "instance_uuid": s.id, "user_id": s.user_id, "image_state": "available"}
    return kept | own | {"base_image_ref": s.image_id, "owner_id": s.project_id, "image_location": "snapshot"}


def _make_image(ask: Ask[Server], name: str, properties: dict[str, Any], form: str = "qcow2") -> str:
    s = ask.target
    return ask.cloud.port(Images).create(
        ask.tx,
        ask.who,
        name=name,
        disk_format=form,
        properties=properties,
        min_disk_gib=s.flavor["disk"] if s.local.get("root") else 0,
        min_ram_mib=s.image.get("min_ram", 0),
        project_id=ask.who.project_id,
    )


def _snapshots(ask: Ask[Server], name: str) -> str:
    """A snapshot of each volume of the server, as the block device mapping of the image."""
    store, tx, found = ask.cloud.port(Volumes), ask.tx, []
    for d in tx.find(Device, server_id=ask.target.id, kind=Kind.VOLUME, order="position"):
        facts = store.facts(tx, d.target_id)
        found.append(
            {
                "source_type": "snapshot",
                "destination_type": "volume",
                "snapshot_id": store.snapshot(tx, ask.who, d.target_id, f"snapshot for {name}"),
                "volume_size": facts.size_gib if facts is not None else None,
                "boot_index": d.boot_index,
                "device_name": f"/dev/{d.device}",
                "delete_on_termination": d.delete_on_termination,
            }
        )
    return msgspec.json.encode(found).decode()


class Rebuild(Body):
    image_id: str = field(wire="imageRef")
    name: str = field(default="")
    admin_pass: str = field(default="", wire="adminPass", max_length=255)
    metadata: dict[str, Any] = field(factory=dict)
    preserve_ephemeral: bool | str = field(default=False)
    disk_config: str = field(default="", wire="OS-DCF:diskConfig", pattern="^(AUTO|MANUAL)$")
    access_ip_v4: str | None = field(default=None, wire="accessIPv4")
    access_ip_v6: str | None = field(default=None, wire="accessIPv6")
    personality: list[dict[str, str]] = field(factory=list, until="2.56")
    description: str | None = field(default=None, since="2.19", max_length=255)
    key_name: str | None = field(default=None, since="2.54")
    user_data: str | None = field(default=None, since="2.57", max_length=65535)
    trusted: list[str] | None = field(default=None, wire="trusted_image_certificates", since="2.63")
    hostname: str | None = field(default=None, since="2.90", max_length=255)


def _rebuild(ask: Ask[Server]) -> Answer:
    s, g = ask.target, ask.given
    check_lock(ask)
    if not is_uuid(g["image_id"]):
        raise wire.invalid("imageRef", g["image_id"], "is not a 'uuid'")
    check_state(s, "rebuild", ("active", "stopped", "error"))
    changes = _rebuild_changes(ask)
    image = checks.find_image(ask, g["image_id"])
    if not s.local.get("root"):
        raise BadRequest("Rebuilding the boot volume of a server is not supported: its disk is not the server's own.")
    if image.min_ram_mib > s.flavor["ram"]:
        raise BadRequest("Flavor's memory is too small for requested image.")
    need = max(image.min_disk_gib * checks.GIB, image.virtual_size)
    if s.flavor["disk"] and need > s.flavor["disk"] * checks.GIB:
        raise BadRequest("Flavor's disk is too small for requested image.")
    changes |= {"image_id": image.image_id, "image": checks.image_copy(image)}
    want = s.want if s.want in (Want.RUNNING, Want.STOPPED) else Want.RUNNING
    deadline = ask.cloud.settings[ComputeConfig].build_timeout_s
    row = begin(ask, s, "rebuild", want, deadline, **changes)
    extra: dict[str, Any] = {"adminPass": g.get("admin_pass") or make_password()}
    without = frozenset({"key_name"}) if ask.at not in Span.of("2.54", "") else frozenset()
    if ask.at in Span.of("2.57", ""):
        extra["user_data"] = row.user_data
    made = answer_with(ask, row, extra, without)
    made.body["server"].pop("OS-EXT-SRV-ATTR:user_data", None)  # it is "user_data" in this answer
    link = made.body["server"]["links"][0]["href"]
    return Answer(202, made.body, {"Location": link})


def _rebuild_changes(ask: Ask[Server]) -> dict[str, Any]:
    g = ask.given
    checks.check_plain({k: v for k, v in g.items() if k != "config_drive"})
    changes: dict[str, Any] = {}
    if g.get("name"):
        changes["name"] = wire.check_name("name", g["name"])
    for name in ("description", "disk_config", "hostname", "user_data"):
        if name in g:
            changes[name] = g[name]
    for name in ("access_ip_v4", "access_ip_v6"):
        if name in g:
            changes[name] = checks.plain_address(g[name])
    if "metadata" in g:
        checks.check_metadata(ask, g["metadata"])
        changes["metadata"] = g["metadata"]
    if "user_data" in g:
        checks.check_user_data(g["user_data"])
    if g.get("personality"):
        checks.check_files(ask, g["personality"])
        changes["files"] = {f["path"]: f["contents"] for f in g["personality"]}
    if g.get("trusted"):
        raise BadRequest("trusted_image_certificates: image signatures are not verified by this cloud.")
    if "key_name" in g:
        pair = find_keypair(ask.tx, ask.target.user_id, g["key_name"]) if g["key_name"] else None
        if g["key_name"] and pair is None:
            raise KeypairUnknown()
        changes |= {"key_name": g["key_name"], "public_key": pair.public_key if pair else ""}
    return changes


compute.action(Server, "rebuild", rule=f"{RULE}:rebuild", body=Rebuild, view="basic", until="2.74")(_rebuild)
compute.action(Server, "rebuild", rule=f"{RULE}:rebuild", body=Rebuild, view="show", since="2.75")(_rebuild)


class Backup(Body):
    name: str = field()
    backup_type: str = field(min_length=1, max_length=255)
    rotation: int | str = field()
    metadata: dict[str, Any] = field(factory=dict)


@compute.action(Server, "createBackup", rule="os_compute_api:os-create-backup", body=Backup)
def create_backup(ask: Ask[Server]) -> Answer:
    """An image of the server; the oldest of its kind beyond `rotation` are deleted once the new one is there."""
    s, g = ask.target, ask.given
    check_lock(ask)
    name = wire.check_name("name", g["name"])
    keep = wire.whole("rotation", g["rotation"])
    checks.check_metadata(ask, g.get("metadata", {}))
    check_state(s, "createBackup", SLEEPY)
    if not s.local.get("root"):
        raise BadRequest("Backup is not supported for volume-backed instances.")
    own = {"image_type": "backup", "backup_type": g["backup_type"]}
    image_id = _make_image(ask, name, image_properties(s) | g.get("metadata", {}) | own)
    deadline = ask.cloud.settings[ComputeConfig].build_timeout_s
    begin(ask, s, "createBackup", s.want, deadline, {"image_id": image_id, "keep": keep, "type": g["backup_type"]})
    if ask.at in Span.of("2.45", ""):
        return Answer(202, {"image_id": image_id})
    return Answer(202, None, {"Location": f"{ask.base}/image/v2/images/{image_id}"})
