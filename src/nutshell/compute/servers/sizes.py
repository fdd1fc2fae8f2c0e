"""Resizing a server, confirming and reverting it (Compute API, "Resize Server")."""

from typing import Any

from nutshell.compute.config import ComputeConfig
from nutshell.compute.errors import FlavorUnknown
from nutshell.compute.flavors import find_flavor
from nutshell.compute.migrations import begin_migration
from nutshell.compute.servers.checks import GIB, flavor_copy
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.operate import begin, check_lock, check_state
from nutshell.compute.servers.power import need_built, timeout_s
from nutshell.compute.servers.status import Want
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask

RULE = "os_compute_api:servers"


class Resize(Body):
    flavor_id: str | int = field(wire="flavorRef")
    disk_config: str = field(default="", wire="OS-DCF:diskConfig", pattern="^(AUTO|MANUAL)$")


@compute.action(Server, "resize", rule=f"{RULE}:resize", body=Resize)
def resize(ask: Ask[Server]) -> None:
    check_lock(ask)
    s = ask.target
    check_state(s, "resize", ("active", "stopped"))
    need_built(s, "resize")
    flavor = find_flavor(ask.tx, ask.who, str(ask.given["flavor_id"]))
    if flavor is None:
        raise FlavorUnknown(id=ask.given["flavor_id"])
    new = flavor_copy(flavor)
    if flavor.id == s.flavor_id:
        raise BadRequest("When resizing, instances must change flavor!")
    if s.local.get("root"):
        if flavor.disk_gib < s.flavor["disk"]:
            raise BadRequest("Server disk was unable to be resized because: Resize to a smaller disk is not possible.")
        if flavor.disk_gib == 0 and s.flavor["disk"] != 0:
            raise BadRequest("Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.")
        if flavor.ram_mib < s.image.get("min_ram", 0):
            raise BadRequest("Flavor's memory is too small for requested image.")
        if flavor.disk_gib * GIB < s.image.get("min_disk", 0) * GIB:
            raise BadRequest("Flavor's disk is too small for requested image.")
    more = {
        "compute.cores": max(0, new["vcpus"] - s.flavor["vcpus"]),
        "compute.ram": max(0, new["ram"] - s.flavor["ram"]),
    }
    ask.cloud.quotas.take(ask.tx, s.project_id, more)
    changes: dict[str, Any] = {"disk_config": ask.given["disk_config"]} if ask.given.get("disk_config") else {}
    deadline = ask.cloud.settings[ComputeConfig].build_timeout_s
    row = begin(ask, s, "resize", Want.RESIZED, deadline, {"flavor": new, "quota": more}, **changes)
    begin_migration(ask.tx, row, flavor.id)


def _need_resized(ask: Ask[Server], action: str) -> dict[str, Any]:
    check_lock(ask)
    check_state(ask.target, action, ("resized",))
    if ask.target.resized_from is None:
        raise BadRequest("Instance has not been resized.")
    return ask.target.resized_from


@compute.action(Server, "confirmResize", rule=f"{RULE}:confirm_resize", http=204)
def confirm(ask: Ask[Server]) -> None:
    old = _need_resized(ask, "confirmResize")
    begin(ask, ask.target, "confirmResize", Want(old["want"]), timeout_s(ask))


@compute.action(Server, "revertResize", rule=f"{RULE}:revert_resize")
def revert(ask: Ask[Server]) -> None:
    old = _need_resized(ask, "revertResize")
    begin(ask, ask.target, "revertResize", Want(old["want"]), timeout_s(ask))
