"""What must hold after every kill: nothing acknowledged is missing, nothing is half or stuck, all counts agree."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.crash.farm.ledger import EITHER, GONE, THERE, Ledger
from tests.crash.farm.work import COMPUTE, IDENTITY, IMAGE, NETWORK, NEWEST, VOLUME

from nutshell.testing.client import Client

LISTS = {
    "server": (f"{COMPUTE}/servers/detail?all_tenants=1", "servers"),
    "volume": (f"{VOLUME}/volumes/detail?all_tenants=1", "volumes"),
    "snapshot": (f"{VOLUME}/snapshots/detail?all_tenants=1", "snapshots"),
    "port": (f"{NETWORK}/ports", "ports"),
    "network": (f"{NETWORK}/networks", "networks"),
    "subnet": (f"{NETWORK}/subnets", "subnets"),
    "floatingip": (f"{NETWORK}/floatingips", "floatingips"),
    "group": (f"{NETWORK}/security-groups", "security_groups"),
    "image": (f"{IMAGE}/images?limit=500", "images"),
    "user": (f"{IDENTITY}/users", "users"),
    "project": (f"{IDENTITY}/projects", "projects"),
    "grant": (f"{IDENTITY}/role_assignments", "role_assignments"),
}


@dataclass
class View:
    """The cloud as its API shows it at one moment."""

    rows: dict[str, list[dict[str, Any]]]
    project: str
    limits: dict[str, Any]
    volume_limits: dict[str, Any]
    network_quota: dict[str, Any]
    allocations: dict[str, Any]
    used: Counter[str]
    held: dict[str, int]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        return {row["name"] if kind == "keypair" else row["id"]: row for row in self.rows[kind]}


def look(demo: Client, admin: Client) -> View:
    rows = {kind: get(admin, path)[many] for kind, (path, many) in LISTS.items()}
    rows["keypair"] = [pair["keypair"] for pair in get(demo, f"{COMPUTE}/os-keypairs")["keypairs"]]
    seen = {i["id"] for i in rows["image"]}  # private ones of the project
    rows["image"] += [i for i in get(demo, LISTS["image"][0])["images"] if i["id"] not in seen]
    allocations = {s["id"]: get(admin, f"/placement/allocations/{s['id']}")["allocations"] for s in rows["server"]}
    used: Counter[str] = Counter()
    for provider in get(admin, "/placement/resource_providers")["resource_providers"]:
        used.update(get(admin, f"/placement/resource_providers/{provider['uuid']}/usages")["usages"])
    quota = get(admin, f"{NETWORK}/quotas/{demo.project_id}/details.json")["quota"]
    held = {
        a["network_id"]: a["used_ips"]
        for a in get(admin, f"{NETWORK}/network-ip-availabilities")["network_ip_availabilities"]
    }
    limits = get(demo, f"{COMPUTE}/limits")["limits"]["absolute"]
    volumes = get(demo, f"{VOLUME}/limits")["limits"]["absolute"]
    return View(rows, demo.project_id, limits, volumes, quota, allocations, used, held)


def get(client: Client, path: str) -> Any:
    status, _, body = client.call("GET", path, None, NEWEST)
    assert status == 200, (path, status, body)
    return body


def differences(view: View, ledger: Ledger) -> list[str]:
    """Everything that is not as it must be; empty when all is well."""
    return [*_kept(view, ledger), *_settled(view), *_agrees(view), *_counted(view)]


def _kept(view: View, ledger: Ledger) -> Iterator[str]:
    """What was acknowledged is so, and nothing is there that nobody asked for."""
    known = set()
    for thing in ledger.all():
        known.add(thing.id)
        row = view.of(thing.kind).get(thing.id)
        what = f"{thing.kind} {thing.id} ({thing.name})"
        if row is None and thing.state == THERE:
            yield f"{what} was acknowledged and is missing"
        if row is not None and thing.state == GONE:
            yield f"{what} was deleted and is still there: {row.get('status')}"
        if row is not None and thing.state != GONE:
            seen = facts_of(thing.kind, row, view)
            for name, values in thing.facts.items():
                if seen[name] not in values:
                    yield f"{what}: {name} is {seen[name]}, not {values}"
    sent = {(t.kind, t.name) for t in ledger.sent.values()}
    for kind in view.rows.keys() - {"grant"}:
        for key, row in view.of(kind).items():
            name = str(row.get("description") if kind == "floatingip" else row.get("name"))
            ours = name.startswith("f") and name.count("-") >= 3
            if ours and key not in known and (kind, name) not in sent:
                yield f"{kind} {key} ({name}) is there, and nobody was told of it"


def facts_of(kind: str, row: dict[str, Any], view: View) -> dict[str, Any]:
    """The same facts as the ledger has, as the API shows them."""
    seen: dict[str, Any] = {"name": row.get("name"), "status": row.get("status")}
    if kind == "server":
        seen["label"] = row["metadata"].get("label")
    if kind == "volume":
        held = [a["server_id"] for a in row["attachments"]]
        seen |= {"server": held[0] if held else None, "size": row["size"]}
    if kind == "network":
        cidrs = [s["cidr"] for s in view.rows["subnet"] if s["network_id"] == row["id"]]
        seen["subnet"] = cidrs[0] if cidrs else None
    if kind == "floatingip":
        seen["port"] = row["port_id"]
    if kind == "user":
        roles = [g["scope"]["project"]["id"] for g in view.rows["grant"] if g.get("user", {}).get("id") == row["id"]]
        seen["role"] = roles[0] if roles else None
    return seen


def _settled(view: View) -> Iterator[str]:
    """Nothing is between two states for ever, and nothing failed."""
    for s in view.rows["server"]:
        if s["status"] not in ("ACTIVE", "SHUTOFF") or s["OS-EXT-STS:task_state"]:
            yield f"server {s['id']} is {s['status']}, {s['OS-EXT-STS:task_state']}: {s.get('fault', '')}"
    for kind, good in (
        ("volume", ("available", "in-use")),
        ("snapshot", ("available",)),
        ("image", ("active", "queued")),
    ):
        for row in view.rows[kind]:
            if row["status"] not in good:
                yield f"{kind} {row['id']} is {row['status']}"
    for f in view.rows["floatingip"]:
        if f["status"] != ("ACTIVE" if f["port_id"] else "DOWN"):
            yield f"floating IP {f['id']} of port {f['port_id']} is {f['status']}"


def _agrees(view: View) -> Iterator[str]:
    """Servers, their ports, volumes and allocations tell the same story."""
    servers, ports = set(view.of("server")), view.rows["port"]
    plugged = Counter(p["device_id"] for p in ports if p["device_owner"].startswith("compute:"))
    if plugged != Counter(servers):
        yield f"servers {sorted(servers)} and the devices of ports {dict(plugged)} differ"
    attached = {(s["id"], v["id"]) for s in view.rows["server"] for v in s["os-extended-volumes:volumes_attached"]}
    held = {(a["server_id"], v["id"]) for v in view.rows["volume"] for a in v["attachments"]}
    if attached != held:
        yield f"servers say attached: {attached - held}; volumes say: {held - attached}"
    for v in view.rows["volume"]:
        if (v["status"] == "in-use") != bool(v["attachments"]):
            yield f"volume {v['id']} is {v['status']} with {v['attachments']}"
    addresses = Counter((p["network_id"], ip["ip_address"]) for p in ports for ip in p["fixed_ips"])
    yield from (f"address {a} is given {n} times" for a, n in addresses.items() if n > 1)
    held_ips = Counter(network for network, _ in addresses)
    for network, used in view.held.items():
        if used != held_ips[network]:
            yield f"network {network}: {used} addresses are taken, ports have {held_ips[network]}"
    lost = {p["id"] for p in ports} & {f["port_id"] for f in view.rows["floatingip"]} ^ {
        f["port_id"] for f in view.rows["floatingip"] if f["port_id"]
    }
    if lost - {None}:
        yield f"floating IPs lead to ports that are not: {lost}"


def _given(row: dict[str, Any]) -> bool:
    """What the cloud made by itself is not on the project's account: DHCP ports, the first router's leg, "default"."""
    by_cloud = row.get("device_owner") in ("network:dhcp", "network:router_interface")
    return by_cloud or ("security_group_rules" in row and row["name"] == "default")


def _counted(view: View) -> Iterator[str]:
    """Quotas and allocations are what the rows add up to."""
    mine = [s for s in view.rows["server"] if s["tenant_id"] == view.project]
    volumes = [v for v in view.rows["volume"] if v["os-vol-tenant-attr:tenant_id"] == view.project]
    sizes = sum(v["size"] for v in volumes) + sum(s["size"] for s in view.rows["snapshot"])
    pairs: dict[str, tuple[Any, Any]] = {
        "instances": (view.limits["totalInstancesUsed"], len(mine)),
        "cores": (view.limits["totalCoresUsed"], sum(s["flavor"]["vcpus"] for s in mine)),
        "ram": (view.limits["totalRAMUsed"], sum(s["flavor"]["ram"] for s in mine)),
        "volumes": (view.volume_limits["totalVolumesUsed"], len(volumes)),
        "snapshots": (view.volume_limits["totalSnapshotsUsed"], len(view.rows["snapshot"])),
        "gigabytes": (view.volume_limits["totalGigabytesUsed"], sizes),
        "VCPU": (view.used["VCPU"], sum(s["flavor"]["vcpus"] for s in view.rows["server"])),
        "MEMORY_MB": (view.used["MEMORY_MB"], sum(s["flavor"]["ram"] for s in view.rows["server"])),
    }
    for name, kind in (
        ("network", "network"), ("subnet", "subnet"), ("port", "port"), ("floatingip", "floatingip"),
        ("security_group", "group"),
    ):  # fmt: skip
        rows = [r for r in view.rows[kind] if r["project_id"] == view.project and not _given(r)]
        pairs[f"network quota {name}"] = (view.network_quota[name]["used"], len(rows))
    for name, (counted, there) in pairs.items():
        if counted != there:
            yield f"{name}: {counted} are counted, {there} are there"
    for server, found in view.allocations.items():
        if len(found) != 1:
            yield f"server {server} has allocations {found}"


def adopt(ledger: Ledger, view: View) -> None:
    """After a check that found nothing wrong: what was open is as it is seen."""
    for (kind, name), thing in list(ledger.sent.items()):
        field = "description" if kind == "floatingip" else "name"
        row = next((r for r in view.rows[kind] if r.get(field) == name), None)
        if row is None:
            ledger.refused(thing)
        else:
            key = row["name"] if kind == "keypair" else row["id"]
            ledger.made(thing, key, f"{thing.path}/{key}")
    for thing in ledger.all():
        row = view.of(thing.kind).get(thing.id)
        if thing.state == EITHER:
            thing.state = THERE if row is not None else GONE
        if row is not None:
            seen = facts_of(thing.kind, row, view)
            thing.facts = {name: {seen[name]} for name in thing.facts}
    ledger.forget_gone()


def settle(demo: Client, admin: Client, ledger: Ledger, patience_s: float) -> tuple[View, list[str]]:
    """Wait until all is as it must be; what is still wrong after the time."""
    end = time.monotonic() + patience_s
    pause = 0.02
    while True:
        view = look(demo, admin)
        found = differences(view, ledger)
        if not found or time.monotonic() > end:
            return view, found
        time.sleep(pause)
        pause = min(0.5, pause * 1.5)
