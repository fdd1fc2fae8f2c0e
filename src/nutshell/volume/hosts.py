"""Where volumes are kept and who keeps them: pools, services, hosts (Block Storage API v3, "Services", "Hosts")."""

from collections.abc import Mapping, Sequence
from typing import Any

from nutshell.core.clock import iso_micros
from nutshell.core.drivers import DriverFault
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import Resource, field
from nutshell.core.service import Answer, Ask
from nutshell.core.store import Tx
from nutshell.volume.capability import PoolFacts, VolumeDriver
from nutshell.volume.making import GIB
from nutshell.volume.service import volume
from nutshell.volume.tables import ZONE, Snapshot, Volume

SCHEDULER, KEEPER = "cinder-scheduler", "cinder-volume"
HERE = "nutshell"


class Agent(
    Resource, service="volume", one="service", many="services", path="/os-services", unique=(("binary", "host"),)
):
    """What an administrator said of a part of the service; a part nobody spoke of has no row."""

    binary: str = field()
    host: str = field()
    disabled: bool = field(default=False)
    reason: str | None = field(default=None)
    frozen: bool = field(default=False)


def pools(ask: Ask[Any]) -> Sequence[PoolFacts]:
    """What the driver has; nothing while it does not answer."""
    try:
        return ask.cloud.driver(VolumeDriver).pools()
    except DriverFault:
        return []


def facts_of(pool: PoolFacts) -> dict[str, Any]:
    """A pool as its types may ask for it."""
    return {
        "pool_name": pool.name.partition("#")[2],
        "vendor_name": pool.vendor,
        "driver_version": "1.0",
        "storage_protocol": pool.protocol,
        "volume_backend_name": pool.name.partition("@")[2].partition("#")[0],
        "QoS_support": False,
        "multiattach": True,
        "thin_provisioning_support": True,
    }


def suits(pool: PoolFacts, specs: Mapping[str, str]) -> bool:
    """Whether a pool has what a type's extra specs ask for (unscoped ones, and those of scope "capabilities")."""
    facts = facts_of(pool)
    for key, wanted in specs.items():
        scope, colon, name = key.rpartition(":")
        if colon and scope != "capabilities":
            continue
        has = facts.get(name)
        if wanted.startswith("<is>"):
            fits = str(bool(has)).lower() == wanted[4:].strip().lower()
        elif wanted.startswith("<in>"):
            fits = has is not None and wanted[4:].strip() in str(has)
        else:
            fits = str(has) == wanted
        if not fits:
            return False
    return True


def usable(tx: Tx, found: Sequence[PoolFacts], specs: Mapping[str, str]) -> PoolFacts | None:
    """The pool a new volume goes to: it suits, its service is enabled, and it has the most room."""
    shut = {a.host for a in tx.find(Agent, binary=KEEPER) if a.disabled or a.frozen}
    fitting = [p for p in found if suits(p, specs) and p.name.partition("#")[0] not in shut]
    return max(fitting, key=lambda p: p.free, default=None)


@volume.route("GET", "/scheduler-stats/get_pools", rule="scheduler_extension:scheduler_stats:get_pools", before=pools)
def list_pools(ask: Ask[Any]) -> Answer:
    found = []
    for pool in ask.prepared:
        one: dict[str, Any] = {"name": pool.name}
        if ask.flag("detail"):
            one["capabilities"] = {
                **facts_of(pool),
                "total_capacity_gb": pool.total // GIB,
                "free_capacity_gb": pool.free // GIB,
                "reserved_percentage": 0,
                "timestamp": iso_micros(ask.now),
            }
        found.append(one)
    return Answer(200, {"pools": found})


@volume.route("GET", "/capabilities/{host}", rule="volume_extension:capabilities", before=pools)
def show_capabilities(ask: Ask[Any]) -> Answer:
    host = ask.params["host"]
    for pool in ask.prepared:
        if host in (pool.name, pool.name.partition("#")[0]):
            facts = facts_of(pool)
            shown = {k: facts[k] for k in ("vendor_name", "volume_backend_name", "pool_name", "driver_version",
                                           "storage_protocol")}  # fmt: skip
            thin = {"title": "Thin Provisioning", "description": "Drives take room as they are written.",
                    "type": "boolean"}  # fmt: skip
            about: dict[str, Any] = {
                "display_name": None,
                "description": None,
                "visibility": None,
                "replication_targets": [],
            }
            return Answer(200, {"namespace": f"OS::Storage::Capabilities::{host}", **shown, **about,
                                "properties": {"thin_provisioning": thin}})  # fmt: skip
    raise NotFound(kind="Service", id=host)


def agents(ask: Ask[Any]) -> list[Agent]:
    """Every part there is, with what was said of it."""
    said = {(a.binary, a.host): a for a in ask.tx.find(Agent)}
    found = sorted({pool.name.partition("#")[0] for pool in ask.prepared})
    parts = [(SCHEDULER, HERE), *((KEEPER, host) for host in found)]
    return [said.get(p) or Agent(id="", binary=p[0], host=p[1]) for p in parts]


@volume.route("GET", "/os-services", rule="volume_extension:services:index", before=pools)
def list_services(ask: Ask[Any]) -> Answer:
    binary, host = ask.asked("binary"), ask.asked("host")
    found = [
        {
            "binary": a.binary,
            "host": a.host,
            "zone": ZONE,
            "status": "disabled" if a.disabled else "enabled",
            "state": "up",
            "updated_at": iso_micros(ask.now),
            "disabled_reason": a.reason,
        }
        for a in agents(ask)
        if binary in ("", a.binary) and host in ("", a.host, a.host.partition("@")[0])
    ]
    return Answer(200, {"services": found})


def _named(ask: Ask[Any], *needed: str) -> list[Agent]:
    """The parts a body names. 400 without the members needed, 404 for none."""
    body = ask.body if isinstance(ask.body, dict) else {}
    for name in needed:
        if not isinstance(body.get(name), str) or not body[name].strip():
            raise BadRequest(f"Invalid input for field/attribute {name}. Value: {body.get(name)}. It is not text.")
    binary = body.get("binary") or body.get("service") or ""
    if "binary" in needed and not binary:
        raise BadRequest("Invalid input for field/attribute binary: it is required.")
    found = [a for a in agents(ask) if a.host == body["host"] and binary in ("", a.binary)]
    if not found:
        raise NotFound(kind="Service", id=f"{binary} on {body['host']}")
    return found


def _say(ask: Ask[Any], found: Sequence[Agent], **said: Any) -> None:
    for a in found:
        if a.id:
            ask.tx.put(a, **said)
        else:
            ask.tx.add(Agent(id=ask.new_id(), binary=a.binary, host=a.host, **said))


def _switch(path: str, disabled: bool, *needed: str) -> None:
    @volume.route("PUT", path, rule="volume_extension:services:update", before=pools, wrap="")
    def switch(ask: Ask[Any]) -> Answer:
        found = _named(ask, "host", *needed)
        reason = ask.body.get("disabled_reason") if needed else None
        _say(ask, found, disabled=disabled, reason=reason)
        status = "disabled" if disabled else "enabled"
        body = {"host": found[0].host, "service": found[0].binary, "binary": found[0].binary, "disabled": disabled,
                "status": status}  # fmt: skip
        return Answer(200, {**body, "disabled_reason": reason} if needed else body)


_switch("/os-services/enable", False)
_switch("/os-services/disable", True)
_switch("/os-services/disable-log-reason", True, "disabled_reason")


def _freeze(path: str, rule: str, frozen: bool) -> None:
    @volume.route("PUT", path, rule=rule, before=pools, wrap="")
    def freeze(ask: Ask[Any]) -> Answer:
        body = ask.body if isinstance(ask.body, dict) else {}
        found = [a for a in agents(ask) if a.binary == KEEPER and a.host == body.get("host")]
        if not found:
            raise BadRequest(f"Service cinder-volume could not be found on host {body.get('host')}.")
        _say(ask, found, frozen=frozen)
        return Answer(202)


_freeze("/os-services/freeze", "volume:freeze_host", True)
_freeze("/os-services/thaw", "volume:thaw_host", False)


@volume.route("GET", "/os-hosts", rule="volume_extension:hosts", before=pools)
def list_hosts(ask: Ask[Any]) -> Answer:
    found = [
        {
            "host_name": a.host,
            "service": a.binary,
            "zone": ZONE,
            "service-status": "available",
            "service-state": "disabled" if a.disabled else "enabled",
            "last-update": iso_micros(ask.now),
        }
        for a in agents(ask)
        if ask.asked("zone") in ("", ZONE) and ask.asked("service") in ("", a.binary)
    ]
    return Answer(200, {"hosts": found})


@volume.route("GET", "/os-hosts/{host}", rule="volume_extension:hosts", before=pools)
def show_host(ask: Ask[Any]) -> Answer:
    host = ask.params["host"]
    if not [a for a in agents(ask) if a.binary == KEEPER and a.host == host]:
        raise NotFound(kind="Host", id=host)
    volumes = [v for v in ask.tx.find(Volume) if v.host.partition("#")[0] == host]
    snapshots = ask.tx.find(Snapshot, volume_id=[v.id for v in volumes])
    totals = [("(total)", volumes, snapshots)]
    for project_id in sorted({v.project_id for v in volumes}):
        totals.append((project_id, [v for v in volumes if v.project_id == project_id],
                       [s for s in snapshots if s.project_id == project_id]))  # fmt: skip
    found = [
        {
            "resource": {
                "host": host,
                "project": project,
                "volume_count": str(len(vs)),
                "total_volume_gb": str(sum(v.size for v in vs)),
                "snapshot_count": str(len(ss)),
                "total_snapshot_gb": str(sum(s.size for s in ss)),
            }
        }
        for project, vs, ss in totals
    ]
    return Answer(200, {"host": found})
