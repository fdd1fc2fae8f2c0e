"""The server: its row and how it is shown (Compute API, "Servers", "Show Server Details")."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from nutshell.compute.capability import Power
from nutshell.compute.devices import Device, Kind
from nutshell.compute.nodes import Node, is_up
from nutshell.compute.servers.status import Want, power_state, words
from nutshell.compute.service import bookmark, links
from nutshell.core.clock import iso_micros
from nutshell.core.render import OMIT, Context
from nutshell.core.resource import Resource, field
from nutshell.core.store import Tx
from nutshell.network.port import Networking, PortInfo

EXTENDED = "os_compute_api:os-extended-server-attributes"
SHOWS_FAULT = ("ERROR", "DELETED")
SHOWS_PROGRESS = ("ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING")


class Server(
    Resource,
    service="compute",
    one="server",
    many="servers",
    tombstone=True,
    visible="os_compute_api:servers:show",
    sort="created_at desc, id desc",
    indexes=(("project_id", "deleted_at", "created_at"), ("host",)),
):
    """One virtual machine."""

    project_id: str = field(wire="tenant_id")
    user_id: str = field(default="")
    name: str = field(brief=True)
    description: str | None = field(default=None, since="2.19")
    hostname: str = field(default="", hidden=True)
    image_id: str = field(default="", hidden=True)
    image: dict[str, Any] = field(factory=dict, hidden=True)  # its format, sizes and properties when it was used
    flavor_id: str = field(default="", hidden=True)
    flavor: dict[str, Any] = field(factory=dict, hidden=True)  # a copy: a flavor may go
    key_name: str | None = field(default=None)
    public_key: str = field(default="", hidden=True)
    key_type: str = field(default="ssh", hidden=True)
    metadata: dict[str, str] = field(factory=dict)
    tags: list[str] = field(factory=list, since="2.26")
    user_data: str | None = field(default=None, hidden=True)  # base64, as given
    files: dict[str, str] = field(factory=dict, hidden=True)  # personality: path → base64
    group_names: list[str] = field(factory=list, hidden=True)  # security groups asked for
    local: dict[str, Any] = field(factory=dict, hidden=True)  # own disks: root (yes or no), ephemerals in GiB, swap_mib
    config_drive: bool = field(default=False, hidden=True)
    disk_config: str = field(default="MANUAL", wire="OS-DCF:diskConfig")
    access_ip_v4: str = field(default="", wire="accessIPv4")
    access_ip_v6: str = field(default="", wire="accessIPv6")
    zone: str = field(default="", wire="OS-EXT-AZ:availability_zone")
    pinned_zone: str | None = field(default=None, wire="pinned_availability_zone", since="2.96")
    wanted_host: str = field(default="", hidden=True)  # an administrator's choice
    hints: dict[str, Any] = field(factory=dict, hidden=True)  # the scheduler's
    server_group_id: str = field(default="", hidden=True)
    host: str = field(default="", hidden=True)
    reservation_id: str = field(default="", hidden=True)
    launch_index: int = field(default=0, hidden=True)
    root_device: str = field(default="/dev/vda", hidden=True)
    launched_at: float | None = field(default=None, hidden=True)
    terminated_at: float | None = field(default=None, hidden=True)
    want: Want = field(default=Want.RUNNING, hidden=True)
    was: Want = field(default=Want.RUNNING, hidden=True)  # what was wanted before the open operation
    seen: Power | None = field(default=None, hidden=True)
    task: str = field(default="", hidden=True)  # the open operation's kind
    step: str = field(default="", hidden=True)
    operation_id: str = field(default="", hidden=True)
    failed: bool = field(default=False, hidden=True)
    fault: dict[str, Any] | None = field(default=None, hidden=True)
    resized_from: dict[str, Any] | None = field(default=None, hidden=True)  # until confirmed: flavor, want, claim
    rescue_image_id: str = field(default="", hidden=True)
    shelved_image_id: str = field(default="", hidden=True)
    locked_by: str = field(default="", hidden=True)
    locked_reason: str | None = field(default=None, since="2.73")
    password: str = field(default="", hidden=True)  # encrypted by the guest for the key pair's owner
    progress: int = field(default=0, hidden=True)
    request_id: str = field(default="", hidden=True)
    status: str = field(default="BUILD", hidden=True)  # these three are derived: `record` keeps them, for filters
    vm_state: str = field(default="building", wire="OS-EXT-STS:vm_state")
    task_state: str | None = field(default=None, wire="OS-EXT-STS:task_state")
    due_at: float | None = field(default=None, hidden=True, index=True)


def derived(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that follow from others."""
    said = words(
        values["want"],
        values["was"],
        values["launched_at"] is not None,
        values["failed"],
        values["task"],
        values["step"],
    )
    return {"status": said.status, "vm_state": said.vm_state, "task_state": said.task_state}


def record(tx: Tx, server: Server, *, touch: bool = True, quiet: bool = False, **changes: Any) -> Server:
    """Change a server's row, the derived columns with it."""
    return tx.put(server, touch=touch, quiet=quiet, **changes, **derived({**server.__dict__, **changes}))


class Related:
    """What a page of servers needs beyond its rows, fetched with the first row shown, in a fixed number of queries."""

    def __init__(self, tx: Tx, rows: Sequence[Server]) -> None:
        self._tx, self._rows, self._ready = tx, rows, False
        self.ports: Mapping[str, Sequence[PortInfo]] = {}
        self.volumes: dict[str, list[Device]] = {}
        self.nodes: dict[str, Node] = {}
        self.base = self.mark = self.images = ""
        self.host_states: dict[tuple[str, str, str], Any] = {}

    def of(self, ctx: Context) -> "Related":
        if not self._ready:
            self._ready = True
            ids = [r.id for r in self._rows]
            self.ports = ctx.ask.cloud.port(Networking).ports_of(self._tx, ids) if ids else {}
            found = self._tx.find(Device, server_id=ids, kind=Kind.VOLUME, order="position") if ids else []
            for d in found:
                self.volumes.setdefault(d.server_id, []).append(d)
            self.nodes = {n.name: n for n in self._tx.find(Node)}
            self.base, self.mark = ctx.ask.url + "/servers/", bookmark(ctx.ask, "servers", "")
        return self


@Server.preloads
def _related(tx: Tx, rows: Sequence[Server]) -> Related:
    return Related(tx, rows)


@Server.shows("links", brief=True)
def _links(s: Server, ctx: Context) -> Any:
    if not ctx.rel.mark:
        ctx.rel.base, ctx.rel.mark = ctx.ask.url + "/servers/", bookmark(ctx.ask, "servers", "")
    return [{"rel": "self", "href": ctx.rel.base + s.id}, {"rel": "bookmark", "href": ctx.rel.mark + s.id}]


Server.shows("status")(lambda s, ctx: s.status)
Server.shows("OS-EXT-STS:power_state")(lambda s, ctx: power_state(s.seen))
Server.shows("created")(lambda s, ctx: ctx.ask.service.time(s.created_at))
Server.shows("updated")(lambda s, ctx: ctx.ask.service.time(s.updated_at or s.created_at))
Server.shows("config_drive")(lambda s, ctx: "True" if s.config_drive else "")
Server.shows("scheduler_hints", since="2.100")(
    lambda s, ctx: {name: v if isinstance(v, list) else [v] for name, v in s.hints.items()}
)
Server.shows("locked", since="2.9")(lambda s, ctx: bool(s.locked_by))
Server.shows("trusted_image_certificates", since="2.63")(lambda s, ctx: None)
Server.shows("OS-SRV-USG:launched_at")(lambda s, ctx: None if s.launched_at is None else iso_micros(s.launched_at))
Server.shows("OS-SRV-USG:terminated_at")(
    lambda s, ctx: None if s.terminated_at is None else iso_micros(s.terminated_at)
)
Server.shows("progress")(lambda s, ctx: s.progress if s.status in SHOWS_PROGRESS else OMIT)
Server.shows("hostId")(lambda s, ctx: host_id(s))
Server.shows("OS-EXT-SRV-ATTR:host", see=EXTENDED)(lambda s, ctx: s.host or None)
Server.shows("OS-EXT-SRV-ATTR:instance_name", see=EXTENDED)(lambda s, ctx: instance_name(s.id))
Server.shows("OS-EXT-SRV-ATTR:hypervisor_hostname", see=EXTENDED)(lambda s, ctx: s.host or None)
Server.shows("OS-EXT-SRV-ATTR:hostname", since="2.3", until="2.89", see=EXTENDED)(lambda s, ctx: s.hostname)
Server.shows("OS-EXT-SRV-ATTR:hostname", since="2.90")(lambda s, ctx: s.hostname)
Server.shows("OS-EXT-SRV-ATTR:kernel_id", since="2.3", see=EXTENDED)(lambda s, ctx: "")
Server.shows("OS-EXT-SRV-ATTR:ramdisk_id", since="2.3", see=EXTENDED)(lambda s, ctx: "")
Server.shows("OS-EXT-SRV-ATTR:launch_index", since="2.3", see=EXTENDED)(lambda s, ctx: s.launch_index)
Server.shows("OS-EXT-SRV-ATTR:reservation_id", since="2.3", see=EXTENDED)(lambda s, ctx: s.reservation_id)
Server.shows("OS-EXT-SRV-ATTR:root_device_name", since="2.3", see=EXTENDED)(lambda s, ctx: s.root_device)
Server.shows("OS-EXT-SRV-ATTR:user_data", since="2.3", see=EXTENDED)(lambda s, ctx: s.user_data)


def instance_name(server_id: str) -> str:
    return f"instance-{server_id.replace('-', '')[:8]}"


def host_id(s: Server) -> str:
    """The host's name as a project may know it: the same for its servers on one host, and nothing else."""
    return _host_id(s.project_id, s.host) if s.host else ""


@lru_cache(maxsize=4096)
def _host_id(project_id: str, host: str) -> str:
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest()


@Server.shows("fault")
def _fault(s: Server, ctx: Context) -> Any:
    if s.fault is None or s.status not in SHOWS_FAULT:
        return OMIT
    found: dict[str, Any] = {k: s.fault[k] for k in ("code", "message", "created") if k in s.fault}
    if s.fault.get("details") and "admin" in ctx.ask.who.roles:
        found["details"] = s.fault["details"]
    return found


@Server.shows("image", until="2.97")
def _image(s: Server, ctx: Context) -> Any:
    if not s.image_id:
        return ""
    if not ctx.rel.images:
        ctx.rel.images = bookmark(ctx.ask, "images", "")
    return {"id": s.image_id, "links": [{"rel": "bookmark", "href": ctx.rel.images + s.image_id}]}


@Server.shows("image", since="2.98")
def _image_with_properties(s: Server, ctx: Context) -> Any:
    return "" if not s.image_id else {**_image(s, ctx), "properties": s.image.get("properties", {})}


@Server.shows("flavor", until="2.46")
def _flavor_link(s: Server, ctx: Context) -> Any:
    return {"id": s.flavor_id, "links": links(ctx.ask, "flavors", s.flavor_id)[1:]}


@Server.shows("flavor", since="2.47")
def _flavor_inside(s: Server, ctx: Context) -> Any:
    f = s.flavor
    found = {
        "vcpus": f["vcpus"],
        "ram": f["ram"],
        "disk": f["disk"],
        "ephemeral": f["ephemeral"],
        "swap": f["swap"],
        "original_name": f["name"],
    }
    if ctx.may("os_compute_api:servers:show:flavor-extra-specs", s):
        found["extra_specs"] = f["extra_specs"]
    return found


@Server.shows("addresses")
def _addresses(s: Server, ctx: Context) -> Any:
    return {} if s.vm_state == "building" else addresses(ctx.rel.of(ctx).ports.get(s.id, ()))


def addresses(ports: Sequence[PortInfo]) -> dict[str, list[dict[str, Any]]]:
    """Network name → addresses, floating ones after the fixed one they lead to."""
    found: dict[str, list[dict[str, Any]]] = {}
    for p in ports:
        mine = found.setdefault(p.network_name, [])
        for a in p.addresses:
            mine.append(_address(a.ip, a.version, "fixed", p.mac))
            if a.floating_ip:
                mine.append(_address(a.floating_ip, 4, "floating", p.mac))
    return found


def _address(ip: str, version: int, kind: str, mac: str) -> dict[str, Any]:
    return {"addr": ip, "version": version, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": mac}


@Server.shows("security_groups")
def _security_groups(s: Server, ctx: Context) -> Any:
    ports = ctx.rel.of(ctx).ports.get(s.id, ())
    names = dict.fromkeys(n for p in ports for n in p.security_group_names) or dict.fromkeys(
        s.group_names if s.vm_state == "building" else ()
    )
    return [{"name": n} for n in names] if names else OMIT


@Server.shows("os-extended-volumes:volumes_attached", until="2.2")
def _volumes_old(s: Server, ctx: Context) -> Any:
    return [{"id": d.target_id} for d in ctx.rel.of(ctx).volumes.get(s.id, ())]


@Server.shows("os-extended-volumes:volumes_attached", since="2.3")
def _volumes(s: Server, ctx: Context) -> Any:
    mine = ctx.rel.of(ctx).volumes.get(s.id, ())
    return [{"id": d.target_id, "delete_on_termination": d.delete_on_termination} for d in mine]


@Server.shows("host_status", since="2.16")
def _host_status(s: Server, ctx: Context) -> Any:
    known, key = ctx.rel.host_states, (s.host, s.project_id, s.user_id)
    if key not in known:
        known[key] = _host_status_of(s, ctx)
    return known[key]


def _host_status_of(s: Server, ctx: Context) -> Any:
    node = ctx.rel.of(ctx).nodes.get(s.host) if s.host else None
    if not s.host:
        status = ""
    elif node is None:
        status = "UNKNOWN"
    else:
        status = "MAINTENANCE" if not node.enabled else "UP" if is_up(node) else "DOWN"
    if ctx.may("os_compute_api:servers:show:host_status", s):
        return status
    known_only = ctx.may("os_compute_api:servers:show:host_status:unknown-only", s)
    return status if known_only and status == "UNKNOWN" else OMIT


@Server.shows("server_groups", since="2.71", views="show")
def _server_groups(s: Server, ctx: Context) -> Any:
    return [s.server_group_id] if s.server_group_id else []
