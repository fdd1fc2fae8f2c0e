"""Small views of a server: addresses, security groups, password, topology, diagnostics (Compute API, "Server ips",
"Server security groups", "Server passwords", "Server topology", "Server diagnostics")."""

from collections.abc import Sequence
from typing import Any

from nutshell.compute.devices import Device, Kind
from nutshell.compute.errors import WrongState
from nutshell.compute.servers.noun import Server, addresses, record
from nutshell.compute.servers.operate import check_lock
from nutshell.compute.service import compute
from nutshell.core.errors import BadRequest, NotFound
from nutshell.core.resource import field
from nutshell.core.schema import Body
from nutshell.core.service import Ask
from nutshell.network.port import Networking, PortInfo

GROUPS = "os_compute_api:os-security-groups"
IPS = "os_compute_api:ips"
PASSWORD = "os_compute_api:os-server-password"  # noqa: S105 - a rule's name


class NoSuchNetwork(NotFound):
    """Instance is not a member of specified network"""


class NoSuchGroup(NotFound):
    """Security group {name} not associated with the instance {id}"""


def _ports(ask: Ask[Server]) -> Sequence[PortInfo]:
    return ask.cloud.port(Networking).ports_of(ask.tx, [ask.target.id]).get(ask.target.id, ())


def _plain(ask: Ask[Server]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"version": a["version"], "addr": a["addr"]} for a in mine]
        for name, mine in addresses(_ports(ask)).items()
    }


@compute.route("GET", "/servers/{id}/ips", rule=f"{IPS}:index", noun=Server, loads=True)
def list_addresses(ask: Ask[Server]) -> Any:
    return {"addresses": _plain(ask)}


@compute.route("GET", "/servers/{id}/ips/{network}", rule=f"{IPS}:show", noun=Server, loads=True)
def show_addresses(ask: Ask[Server]) -> Any:
    found = _plain(ask)
    if ask.params["network"] not in found:
        raise NoSuchNetwork()
    return {ask.params["network"]: found[ask.params["network"]]}


@compute.route("GET", "/servers/{id}/os-security-groups", rule=f"{GROUPS}:list", noun=Server, loads=True)
def list_groups(ask: Ask[Server]) -> Any:
    """The groups of the server's ports. Their rules are the network service's: ask there."""
    found: dict[str, dict[str, Any]] = {}
    for p in _ports(ask):
        for group_id, name in zip(p.security_group_ids, p.security_group_names, strict=False):
            found[group_id] = {
                "id": group_id,
                "name": name,
                "description": "",
                "tenant_id": ask.target.project_id,
                "rules": [],
            }
    return {"security_groups": list(found.values())}


class GroupName(Body):
    name: str = field(min_length=1, max_length=255)


def _group_id(ask: Ask[Server]) -> str:
    check_lock(ask)
    if ask.target.launched_at is None:
        raise WrongState(action="addSecurityGroup", id=ask.target.id, attr="vm_state", state=ask.target.vm_state)
    found = ask.cloud.port(Networking).security_groups(ask.tx, ask.who, [ask.given["name"]])
    return found[0]


@compute.action(Server, "addSecurityGroup", rule=f"{GROUPS}:add", body=GroupName)
def add_group(ask: Ask[Server]) -> None:
    net, group_id = ask.cloud.port(Networking), _group_id(ask)
    ports = _ports(ask)
    if not ports:
        raise BadRequest(f"Server {ask.target.id} has no port a security group could be applied to.")
    for p in ports:
        if group_id not in p.security_group_ids:
            net.set_port_groups(ask.tx, p.port_id, [*p.security_group_ids, group_id])
    record(ask.tx, ask.target, group_names=sorted({*ask.target.group_names, ask.given["name"]}))


@compute.action(Server, "removeSecurityGroup", rule=f"{GROUPS}:remove", body=GroupName)
def remove_group(ask: Ask[Server]) -> None:
    net, group_id = ask.cloud.port(Networking), _group_id(ask)
    ports = [p for p in _ports(ask) if group_id in p.security_group_ids]
    if not ports:
        raise NoSuchGroup(name=ask.given["name"], id=ask.target.id)
    for p in ports:
        net.set_port_groups(ask.tx, p.port_id, [g for g in p.security_group_ids if g != group_id])
    record(ask.tx, ask.target, group_names=[n for n in ask.target.group_names if n != ask.given["name"]])


@compute.route("GET", "/servers/{id}/os-server-password", rule=f"{PASSWORD}:show", noun=Server, loads=True)
def show_password(ask: Ask[Server]) -> Any:
    return {"password": ask.target.password}


@compute.route(
    "DELETE", "/servers/{id}/os-server-password", rule=f"{PASSWORD}:clear", noun=Server, loads=True, http=204
)
def clear_password(ask: Ask[Server]) -> None:
    record(ask.tx, ask.target, password="")


@compute.route("GET", "/servers/{id}/topology", rule="compute:server:topology:index", noun=Server, loads=True,
               since="2.78")  # fmt: skip
def show_topology(ask: Ask[Server]) -> Any:
    """Guests here have one plain memory node: no NUMA topology is laid out."""
    return {"nodes": [], "pagesize_kb": None}


DIAGNOSTICS = "os_compute_api:os-server-diagnostics"
WITH_GUEST = ("active", "rescued", "paused", "suspended")


@compute.route("GET", "/servers/{id}/diagnostics", rule=DIAGNOSTICS, noun=Server, loads=True, until="2.47")
def diagnose_old(ask: Ask[Server]) -> Any:
    """The driver's own words, as versions before 2.48 had them: memory in KiB."""
    s = ask.target
    if s.vm_state not in WITH_GUEST:
        raise WrongState(action="get_diagnostics", id=s.id, attr="vm_state", state=s.vm_state)
    return {"memory": s.flavor["ram"] * 1024}


@compute.route("GET", "/servers/{id}/diagnostics", rule=DIAGNOSTICS, noun=Server, loads=True, since="2.48")
def diagnose(ask: Ask[Server]) -> Any:
    """What is known of the guest without asking it; counters the driver does not keep are null."""
    s = ask.target
    if s.vm_state not in WITH_GUEST:
        raise WrongState(action="get_diagnostics", id=s.id, attr="vm_state", state=s.vm_state)
    disks = ask.tx.count(Device, server_id=s.id, kind=Kind.VOLUME) + (1 if s.local.get("root") else 0)
    none = dict.fromkeys(("rx_octets", "rx_errors", "rx_drop", "rx_packets", "rx_rate"))
    none |= dict.fromkeys(("tx_octets", "tx_errors", "tx_drop", "tx_packets", "tx_rate"))
    ports = _ports(ask)
    disk = dict.fromkeys(("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count"))
    return {
        "state": "running" if s.vm_state == "active" else s.vm_state,
        "driver": "libvirt",
        "hypervisor": "kvm",
        "hypervisor_os": "linux",
        "uptime": int(ask.now - (s.launched_at or ask.now)),
        "config_drive": s.config_drive,
        "num_cpus": s.flavor["vcpus"],
        "num_nics": len(ports),
        "num_disks": disks,
        "cpu_details": [{"id": n, "time": None, "utilisation": None} for n in range(s.flavor["vcpus"])],
        "memory_details": {"maximum": s.flavor["ram"], "used": None},
        "nic_details": [{"mac_address": p.mac, **none} for p in ports],
        "disk_details": [dict(disk) for _ in range(disks)],
    }
