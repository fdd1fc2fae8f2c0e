"""What a guest is told about itself: OpenStack's and EC2's metadata, for the metadata service and the config drive.

Source: https://docs.openstack.org/nova/latest/user/metadata.html and the EC2 instance metadata categories. Pure, but
for what it reads in the transaction it is given.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from nutshell.compute.devices import Device, Kind
from nutshell.compute.servers.noun import Server
from nutshell.core.store import Tx
from nutshell.network.port import NetworkInfo, Networking, PortInfo

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

# The dated versions guests ask for; each holds what the newest does (members were only ever added).
OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
    "2020-10-14", "2025-04-04", "latest",
)  # fmt: skip
EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "latest",
)  # fmt: skip
DOMAIN = ""  # host names are shown as they are


@dataclass(frozen=True)
class GuestData:
    """Everything there is to tell about one server."""

    server: Server
    ports: Sequence[PortInfo]
    devices: Sequence[Device]
    networks: Mapping[str, NetworkInfo]


def gather(cloud: "Cloud", tx: Tx, server: Server, ports: Sequence[PortInfo], devices: Sequence[Device]) -> GuestData:
    net = cloud.ports.get(Networking)
    ids = list(dict.fromkeys(p.network_id for p in ports))
    known = net.networks(tx, ids) if net is not None and ids else {}
    return GuestData(server, ports, devices, known)


def config_drive_files(
    cloud: "Cloud", tx: Tx, server: Server, ports: Sequence[PortInfo], devices: Sequence[Device]
) -> dict[str, bytes]:
    """The files of the config drive, by path."""
    data = gather(cloud, tx, server, ports, devices)
    found: dict[str, bytes] = {}
    for version in ("latest", "2012-08-10", "2018-08-27"):
        for name in openstack_names(data):
            found[f"openstack/{version}/{name}"] = openstack_file(data, name) or b""
    for n, content in enumerate(server.files.values()):
        found[f"openstack/content/{n:04d}"] = base64.b64decode(content)
    for version in ("latest", "2009-04-04"):
        found[f"ec2/{version}/meta-data.json"] = _json(ec2_tree(data))
        if server.user_data is not None:
            found[f"ec2/{version}/user-data"] = base64.b64decode(server.user_data)
    return found


# -- OpenStack's form


def openstack_names(data: GuestData) -> list[str]:
    names = ["meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"]
    return names + (["user_data"] if data.server.user_data is not None else [])


def openstack_file(data: GuestData, name: str) -> bytes | None:
    """One file of openstack/<version>/; None when there is none of this name."""
    if name == "meta_data.json":
        return _json(meta_data(data))
    if name == "network_data.json":
        return _json(network_data(data))
    if name in ("vendor_data.json", "vendor_data2.json"):
        return b"{}"
    if name == "user_data" and data.server.user_data is not None:
        return base64.b64decode(data.server.user_data)
    return None


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def meta_data(data: GuestData) -> dict[str, Any]:
    s = data.server
    found: dict[str, Any] = {
        "uuid": s.id,
        "name": s.name,
        "hostname": s.hostname,
        "availability_zone": s.zone or "nova",
        "launch_index": s.launch_index,
        "project_id": s.project_id,
        "random_seed": _seed(s),
        "devices": _tagged(data),
        "dedicated_cpus": [],
    }
    if s.metadata:
        found["meta"] = s.metadata
    if s.key_name:
        found["public_keys"] = {s.key_name: s.public_key}
        found["keys"] = [{"name": s.key_name, "type": s.key_type, "data": s.public_key}]
    if s.files:
        found["files"] = [{"path": path, "content_path": f"/content/{n:04d}"} for n, path in enumerate(s.files)]
    return found


def _seed(s: Server) -> str:
    """512 bytes to start a random number generator with. The same at every asking, unlike any other server's."""
    stream = b"".join(hashlib.sha512(f"{s.id}{s.reservation_id}{n}".encode()).digest() for n in range(8))
    return base64.b64encode(stream).decode()


def _tagged(data: GuestData) -> list[dict[str, Any]]:
    """The devices its owner tagged."""
    macs = {p.port_id: p.mac for p in data.ports}
    found: list[dict[str, Any]] = []
    for d in data.devices:
        if d.tag is None:
            continue
        if d.kind is Kind.NIC:
            entry = {"type": "nic", "bus": "pci", "mac": macs.get(d.target_id, "")}
        else:
            entry = {"type": "disk", "bus": "virtio", "serial": d.target_id, "path": f"/dev/{d.device}"}
        found.append({**entry, "tags": [d.tag]})
    return found


def network_data(data: GuestData) -> dict[str, Any]:
    """Links, the networks on them, and services (DNS)."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, Any]] = []
    for n, p in enumerate(data.ports):
        links.append(
            {"id": f"tap{p.port_id[:11]}", "vif_id": p.port_id, "type": "ovs", "mtu": p.mtu,
             "ethernet_mac_address": p.mac}
        )  # fmt: skip
        info = data.networks.get(p.network_id)
        for address in p.addresses:
            subnet = next((s for s in info.subnets if s.subnet_id == address.subnet_id), None) if info else None
            entry = {"id": f"network{len(networks)}", "link": links[n]["id"], "network_id": p.network_id}
            if subnet is None or subnet.dhcp:
                networks.append({**entry, "type": f"ipv{address.version}_dhcp"})
                continue
            whole = ip_network(subnet.cidr)
            routes = [_route(d, via) for d, via in subnet.routes]
            if subnet.gateway_ip:
                routes.insert(0, _route("::/0" if address.version == 6 else "0.0.0.0/0", subnet.gateway_ip))
            dns = [{"type": "dns", "address": a} for a in subnet.dns_servers]
            services.extend(d for d in dns if d not in services)
            networks.append(
                {**entry, "type": f"ipv{address.version}", "ip_address": address.ip, "netmask": str(whole.netmask),
                 "routes": routes, "services": dns}
            )  # fmt: skip
    return {"links": links, "networks": networks, "services": services}


def _route(destination: str, via: str) -> dict[str, str]:
    whole = ip_network(destination)
    return {"network": str(whole.network_address), "netmask": str(whole.netmask), "gateway": via}


# -- EC2's form


def ec2_tree(data: GuestData) -> dict[str, Any]:
    """meta-data: a value is text, a folder is a dict."""
    s = data.server
    fixed = [a.ip for p in data.ports for a in p.addresses if a.version == 4]
    floating = [a.floating_ip for p in data.ports for a in p.addresses if a.floating_ip]
    groups = dict.fromkeys(n for p in data.ports for n in p.security_group_names)
    found: dict[str, Any] = {
        "ami-id": f"ami-{_ec2_number(s.image_id)}",
        "ami-launch-index": str(s.launch_index),
        "ami-manifest-path": "FIXME",
        "block-device-mapping": {"ami": "vda", "root": s.root_device, **_ec2_drives(data)},
        "hostname": s.hostname,
        "instance-action": "none",
        "instance-id": f"i-{_ec2_number(s.id)}",
        "instance-type": s.flavor.get("name", ""),
        "local-hostname": s.hostname,
        "local-ipv4": fixed[0] if fixed else "",
        "placement": {"availability-zone": s.zone or "nova"},
        "public-hostname": s.hostname,
        "public-ipv4": floating[0] if floating else "",
        "reservation-id": s.reservation_id,
        "security-groups": "\n".join(groups),
    }
    if s.key_name:
        found["public-keys"] = {"0": {"openssh-key": s.public_key, "_name": f"0={s.key_name}"}}
    return found


def _ec2_drives(data: GuestData) -> dict[str, str]:
    volumes = [d for d in data.devices if d.kind is Kind.VOLUME]
    found = {f"ebs{n}": f"/dev/{d.device}" for n, d in enumerate(volumes)}
    own = data.server.local.get("devices", {})
    return found | {("swap" if k == "swap" else k): f"/dev/{v}" for k, v in own.items()}


def _ec2_number(text: str) -> str:
    """Eight hex digits for an id. EC2's ids are short; these are stable, and nothing is looked up by them."""
    return hashlib.sha256(text.encode()).hexdigest()[:8] if text else "00000000"


def ec2_answer(tree: Mapping[str, Any], path: Sequence[str]) -> str | None:
    """The text at a path: a value, or the names in a folder (folders end in "/"). None when there is nothing."""
    here: Any = tree
    for name in path:
        if not isinstance(here, Mapping) or name not in here or name == "_name":
            return None
        here = here[name]
    if not isinstance(here, Mapping):
        return str(here)
    lines = []
    for name, value in here.items():
        if name == "_name":
            continue
        if isinstance(value, Mapping):
            lines.append(value.get("_name", f"{name}/"))
        else:
            lines.append(name)
    return "\n".join(lines)
