"""The metadata service as guests meet it behind 169.254.169.254: OpenStack's tree and EC2's.

The host's proxy forwards a guest's request here with the guest's address (X-Forwarded-For) and its network or router
(X-Neutron-Network-ID, X-Neutron-Router-ID), and proves by the cloud's secret that it is the proxy. Source:
https://docs.openstack.org/nova/latest/user/metadata.html
"""

# house: walls waived 2026-11-22: the paths of a state directory stand beside the command line

import hmac
import os
import secrets
from pathlib import Path
from typing import Any

from nutshell.cli.places import Places
from nutshell.compute.devices import Device
from nutshell.compute.guest_data import (
    EC2_VERSIONS,
    OPENSTACK_VERSIONS,
    GuestData,
    ec2_answer,
    ec2_tree,
    gather,
    openstack_file,
    openstack_names,
)
from nutshell.compute.servers.noun import Server, record
from nutshell.core.errors import BadRequest, Conflict, Fault, Forbidden, NotFound
from nutshell.core.service import Answer, Ask, Service
from nutshell.network.port import Networking

SECRET_HEADER = "x-nutshell-metadata-secret"  # noqa: S105 - a header's name
LONGEST_PASSWORD = 4 * 255
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


def render_error(fault: Fault, request_id: str) -> Any:
    return f"{fault.http} {fault}\n".encode()


metadata = Service(name="metadata", mount="/metadata", error=render_error)


class Nothing(NotFound):
    """Not Found"""


class MetadataSecret:
    """The secret shared by the host's proxy and this service, in a file only the cloud's user reads."""

    def __init__(self, state: Path | None) -> None:
        self.value = _kept(Places(state).metadata_secret) if state is not None else secrets.token_hex(32)


def _kept(path: Path) -> str:
    """The file's content; made with mode 0600 when absent."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as f:
            f.write(secrets.token_hex(32))
        fresh.rename(path)
    return path.read_text().strip()


def _data(ask: Ask[Any]) -> GuestData:
    """The guest that asks. 403 without the proxy's secret, 404 when no server has this address."""
    secret = ask.cloud.port(MetadataSecret).value
    if not hmac.compare_digest(ask.headers.get(SECRET_HEADER, "").encode(), secret.encode()):
        raise Forbidden("Only the metadata proxy may ask.")
    ip = ask.headers.get("x-forwarded-for", "").split(",")[0].strip()
    where = ask.headers.get("x-neutron-network-id") or ask.headers.get("x-neutron-router-id") or ""
    if not ip or not where:
        raise BadRequest("X-Forwarded-For and X-Neutron-Network-ID are missing.")
    net = ask.cloud.port(Networking)
    port = net.port_at(ask.tx, where, ip)
    server = ask.tx.get(Server, port.device_id) if port is not None and port.device_id else None
    if server is None:
        raise Nothing()
    ports = net.ports_of(ask.tx, [server.id]).get(server.id, ())
    devices = ask.tx.find(Device, server_id=server.id, order="position")
    places = {d.target_id: d.position for d in devices}
    ports = sorted(ports, key=lambda p: places.get(p.port_id, 999))
    return gather(ask.cloud, ask.tx, server, ports, devices)


def _text(lines: str | bytes) -> Answer:
    return Answer(200, lines.encode() if isinstance(lines, str) else lines, TEXT)


@metadata.route("GET", "/", public=True)
def versions(ask: Ask[Any]) -> Answer:
    _data(ask)
    return _text("\n".join(EC2_VERSIONS))


@metadata.route("GET", "/openstack", public=True)
def openstack_versions(ask: Ask[Any]) -> Answer:
    _data(ask)
    return _text("\n".join(OPENSTACK_VERSIONS))


@metadata.route("GET", "/openstack/content/{number}", public=True)
def content(ask: Ask[Any]) -> Answer:
    import base64

    files = list(_data(ask).server.files.values())
    number = ask.params["number"]
    if not number.isdecimal() or len(number) > 9 or int(number) >= len(files):
        raise Nothing()
    return Answer(200, base64.b64decode(files[int(number)]), {"Content-Type": "application/octet-stream"})


@metadata.route("GET", "/openstack/{version}", public=True)
def openstack_folder(ask: Ask[Any]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], OPENSTACK_VERSIONS)
    return _text("\n".join([*openstack_names(data), "password"]))


def _check(version: str, known: tuple[str, ...]) -> None:
    if version not in known:
        raise Nothing()


@metadata.route("GET", "/openstack/{version}/{name}", public=True)
def openstack_one(ask: Ask[Any]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], OPENSTACK_VERSIONS)
    name = ask.params["name"]
    found = openstack_file(data, name)
    if found is None:
        raise Nothing()
    octets = {"Content-Type": "application/octet-stream"}
    return Answer(200, found, JSON if name.endswith(".json") else octets)


@metadata.route("GET", "/openstack/{version}/password", public=True)
def password(ask: Ask[Any]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], OPENSTACK_VERSIONS)
    return _text(data.server.password)


@metadata.route("POST", "/openstack/{version}/password", public=True, wrap="")
def keep_password(ask: Ask[Any]) -> Answer:
    """The guest's own password, encrypted by it for the key pair's owner; it may be set once."""
    data = _data(ask)
    _check(ask.params["version"], OPENSTACK_VERSIONS)
    if data.server.password:
        raise Conflict("The password is set already.")
    if len(ask.raw) > LONGEST_PASSWORD:
        raise BadRequest("password too long")
    record(ask.tx, data.server, password=ask.raw.decode("ascii", "replace"))
    return Answer(200)


@metadata.route("GET", "/{version}", public=True)
def ec2_folder(ask: Ask[Any]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], EC2_VERSIONS)
    return _text("meta-data/" + ("\nuser-data" if data.server.user_data is not None else ""))


@metadata.route("GET", "/{version}/user-data", public=True)
def ec2_user_data(ask: Ask[Any]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], EC2_VERSIONS)
    found = openstack_file(data, "user_data")
    if found is None:
        raise Nothing()
    return Answer(200, found, {"Content-Type": "application/octet-stream"})


@metadata.route("GET", "/{version}/meta-data", public=True)
def ec2_top(ask: Ask[Any]) -> Answer:
    return _ec2(ask, ())


@metadata.route("GET", "/{version}/meta-data/{path*}", public=True)
def ec2_one(ask: Ask[Any]) -> Answer:
    return _ec2(ask, tuple(p for p in ask.params["path"].split("/") if p))


def _ec2(ask: Ask[Any], path: tuple[str, ...]) -> Answer:
    data = _data(ask)
    _check(ask.params["version"], EC2_VERSIONS)
    found = ec2_answer(ec2_tree(data), path)
    if found is None:
        raise Nothing()
    return _text(found)
