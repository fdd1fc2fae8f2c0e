"""A compute service in a process, beside the real placement and stand-ins for image, network and volume."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from tests.database import database_for
from tests.toy import toy_who

from nutshell import app
from nutshell.compute import wiring as compute_wiring
from nutshell.compute.drivers.memory import MemoryHypervisor
from nutshell.core.cloud import Cloud
from nutshell.core.config import CloudConfig, load_settings
from nutshell.core.errors import Conflict, NotFound
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.identity.port import Identity
from nutshell.image.port import ImageFacts, Images
from nutshell.network.port import Address, NetworkInfo, Networking, PortInfo, SubnetInfo
from nutshell.placement import wiring as placement_wiring
from nutshell.volume.capability import Connection
from nutshell.volume.port import AttachmentFacts, VolumeFacts, Volumes

MEMBER, READER, OTHER = "u:p:member,reader", "r:p:reader", "v:q:member,reader"
ADMIN = "root:adm:admin,member,reader"
IMAGE = "11111111-1111-4111-8111-111111111111"
NET, NET2 = "22222222-2222-4222-8222-222222222222", "22222222-2222-4222-8222-222222222223"
VOLUME = "33333333-3333-4333-8333-333333333333"


class StandInIdentity:
    def who(self, token: str) -> Who:
        return toy_who(token)

    def project_exists(self, tx: Tx, project_id: str) -> bool:
        return project_id in ("p", "q", "adm")

    def project_name(self, tx: Tx, project_id: str) -> str:
        return project_id

    def find_project(self, tx: Tx, name: str) -> str | None:
        return name

    def find_user(self, tx: Tx, name: str) -> str | None:
        return name


class StandInImages:
    """One active image; others come by `create`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known = {IMAGE: ImageFacts(IMAGE, "tiny", "p", "active", "qcow2", "bare", 65536, 2**20, 0, 0, {})}

    def find(self, tx: Tx, who: Who, image_id: str) -> ImageFacts | None:
        return self.known.get(image_id)

    def facts(self, tx: Tx, image_id: str) -> ImageFacts | None:
        return self.known.get(image_id)

    def path(self, image_id: str) -> Path:
        return self.root / image_id

    def create(
        self, tx: Tx, who: Who, *, name: str, disk_format: str, properties: Mapping[str, Any], min_disk_gib: int = 0,
        min_ram_mib: int = 0, project_id: str = "",
    ) -> str:  # fmt: skip
        made = tx.clock.new_id()
        self.known[made] = ImageFacts(
            made, name, who.project_id, "queued", disk_format, "bare", 0, 0, min_disk_gib, min_ram_mib, properties
        )
        return made

    def staging_path(self, image_id: str) -> Path:
        return self.root / f"{image_id}.part"

    def complete(self, image_id: str) -> None:
        self.known[image_id] = replace(self.known[image_id], status="active", size=65536)

    def fail(self, tx: Tx, image_id: str) -> None:
        self.known[image_id] = replace(self.known[image_id], status="killed")

    def listed(self, tx: Tx, who: Who) -> Sequence[ImageFacts]:
        return list(self.known.values())[::-1]

    def set_properties(self, tx: Tx, who: Who, image_id: str, properties: Mapping[str, str]) -> None:
        self.known[image_id] = replace(self.known[image_id], properties=properties)

    def delete(self, tx: Tx, who: Who, image_id: str) -> None:
        del self.known[image_id]


class StandInNetworks:
    """Networks without rows: its ports live in this object."""

    def __init__(self) -> None:
        self.nets: dict[str, str] = {NET: "private"}
        self.ports: dict[str, PortInfo] = {}
        self.realised: list[str] = []
        self.count = 1

    def available_networks(self, tx: Tx, who: Who) -> Sequence[str]:
        return list(self.nets)

    def need_network(self, tx: Tx, who: Who, network_id: str) -> str:
        if network_id not in self.nets:
            raise NotFound(kind="Network", id=network_id)
        return network_id

    def need_port(self, tx: Tx, who: Who, port_id: str) -> PortInfo:
        if port_id not in self.ports:
            raise NotFound(kind="Port", id=port_id)
        return self.ports[port_id]

    def security_groups(self, tx: Tx, who: Who, names_or_ids: Sequence[str]) -> Sequence[str]:
        for n in names_or_ids:
            if n not in ("default", "web"):
                raise NotFound(kind="Security group", id=n)
        return list(names_or_ids)

    def add_port(self, network_id: str = NET) -> str:
        """A user's own port."""
        port = self._make(network_id, "", ("default",), None)
        self.ports[port.port_id] = replace(port, preserve=True)
        return port.port_id

    def _make(self, network_id: str, device_id: str, groups: Sequence[str], ip: str | None) -> PortInfo:
        import uuid

        self.count += 1
        port = PortInfo(
            str(uuid.uuid4()), network_id, self.nets[network_id], "p", f"fa:16:3e:00:00:{self.count % 256:02x}", 1450,
            (Address(ip or f"10.0.0.{self.count}", "s1", 4),), device_id, "DOWN", tuple(groups), tuple(groups),
        )  # fmt: skip
        self.ports[port.port_id] = port
        return port

    def create_port(
        self, tx: Tx, who: Who, *, network_id: str, device_id: str, fixed_ip: str | None = None,
        security_group_ids: Sequence[str] | None = None, host: str = "", zone: str = "nova",
        tags: Sequence[str] = (), hostname: str = "",
    ) -> PortInfo:  # fmt: skip
        return self._make(network_id, device_id, security_group_ids or ("default",), fixed_ip)

    def bind_port(
        self, tx: Tx, port_id: str, *, device_id: str, host: str, zone: str = "nova", hostname: str = ""
    ) -> PortInfo:
        port = self.ports[port_id]
        if port.device_id not in ("", device_id):
            raise Conflict("in use")
        self.ports[port_id] = port = replace(port, device_id=device_id)
        return port

    def unbind_port(self, tx: Tx, port_id: str) -> None:
        self.ports[port_id] = replace(self.ports[port_id], device_id="")

    def delete_port(self, tx: Tx, port_id: str) -> None:
        self.ports.pop(port_id, None)

    def ports_of(self, tx: Tx, device_ids: Sequence[str]) -> Mapping[str, Sequence[PortInfo]]:
        found: dict[str, list[PortInfo]] = {}
        for p in self.ports.values():
            if p.device_id in device_ids:
                found.setdefault(p.device_id, []).append(p)
        return found

    def networks(self, tx: Tx, network_ids: Sequence[str]) -> Mapping[str, NetworkInfo]:
        subnet = SubnetInfo("s1", "10.0.0.0/24", 4, "10.0.0.1", True, ("10.0.0.2",), ())
        return {n: NetworkInfo(n, self.nets[n], 1450, (subnet,)) for n in network_ids}

    def port_at(self, tx: Tx, network_id: str, ip: str) -> PortInfo | None:
        return next(
            (p for p in self.ports.values() if p.network_id == network_id and any(a.ip == ip for a in p.addresses)),
            None,
        )

    def set_port_groups(self, tx: Tx, port_id: str, group_ids: Sequence[str]) -> None:
        self.ports[port_id] = replace(
            self.ports[port_id], security_group_ids=tuple(group_ids), security_group_names=tuple(group_ids)
        )

    def realise(self, cloud: Cloud, port_ids: Sequence[str]) -> None:
        self.realised.extend(port_ids)


class StandInVolumes:
    """One available volume; others come by `create`."""

    def __init__(self) -> None:
        self.known = {VOLUME: VolumeFacts(VOLUME, "p", "data", "available", 1, True, False, False, {}, "nova")}
        self.held: dict[str, AttachmentFacts] = {}
        self.snapshots: list[str] = []

    def need(self, tx: Tx, who: Who, volume_id: str) -> VolumeFacts:
        if volume_id not in self.known:
            raise NotFound(kind="Volume", id=volume_id)
        return self.known[volume_id]

    def facts(self, tx: Tx, volume_id: str) -> VolumeFacts | None:
        return self.known.get(volume_id)

    def need_snapshot(self, tx: Tx, who: Who, snapshot_id: str) -> tuple[str, int]:
        return VOLUME, 1

    def create(
        self, tx: Tx, who: Who, *, size_gib: int, name: str = "", image_id: str | None = None,
        snapshot_id: str | None = None, source_volume_id: str | None = None, volume_type: str | None = None,
        zone: str = "nova",
    ) -> VolumeFacts:  # fmt: skip
        made = tx.clock.new_id()
        self.known[made] = VolumeFacts(made, "p", name, "available", size_gib, True, False, False, {}, zone)
        return self.known[made]

    def snapshot(self, tx: Tx, who: Who, volume_id: str, name: str) -> str:
        self.snapshots.append(volume_id)
        return tx.clock.new_id()

    def reserve(
        self, tx: Tx, volume_id: str, server_id: str, *, read_only: bool = False, allow_multiattach: bool = True
    ) -> AttachmentFacts:
        if self.known[volume_id].status != "available":
            raise Conflict(f"volume {volume_id} is {self.known[volume_id].status}")
        made = AttachmentFacts(tx.clock.new_id(), volume_id, server_id, "", False)
        self.held[made.attachment_id] = made
        self.known[volume_id] = replace(self.known[volume_id], status="reserved")
        return made

    def attached(self, tx: Tx, attachment_id: str, device: str, host: str) -> None:
        held = self.held[attachment_id]
        self.held[attachment_id] = replace(held, attached=True, device=device)
        self.known[held.volume_id] = replace(self.known[held.volume_id], status="in-use")

    def detaching(self, tx: Tx, attachment_id: str) -> None:
        held = self.held[attachment_id]
        self.known[held.volume_id] = replace(self.known[held.volume_id], status="detaching")

    def detached(self, tx: Tx, attachment_id: str) -> None:
        held = self.held.pop(attachment_id, None)
        if held is not None and held.volume_id in self.known:
            self.known[held.volume_id] = replace(self.known[held.volume_id], status="available")

    def attachments_of(self, tx: Tx, server_ids: Sequence[str]) -> Mapping[str, Sequence[AttachmentFacts]]:
        return {s: [h for h in self.held.values() if h.server_id == s] for s in server_ids}

    def delete(self, tx: Tx, volume_id: str) -> None:
        self.known.pop(volume_id, None)

    def connect(self, cloud: Cloud, volume_id: str) -> Connection:
        return Connection(f"memory:{volume_id}", "raw")


class Rig:
    """The running cloud with its stand-ins, and short calls."""

    def __init__(
        self,
        state: Path,
        *,
        loops: bool = True,
        settings: Mapping[str, object] | None = None,
        like: "Rig | None" = None,
    ) -> None:
        """`like`: an earlier life of the same cloud, whose stand-ins go on."""
        self.images = like.images if like else StandInImages(state)
        self.networks = like.networks if like else StandInNetworks()
        self.volumes = like.volumes if like else StandInVolumes()

        def wire(cloud: Cloud) -> None:
            cloud.authenticate = toy_who
            cloud.ports[Identity] = StandInIdentity()
            cloud.ports[Images] = self.images
            cloud.ports[Networking] = self.networks
            cloud.ports[Volumes] = self.volumes
            compute_wiring.wire(cloud)

        p, c = placement_wiring, compute_wiring
        parts = [
            app.Part(p.service, p.config, p.quotas, p.wire, p.loops, p.seed),
            app.Part(c.service, c.config, c.quotas, wire, c.loops, c.seed, c.more_services),
        ]
        given: dict[type, Mapping[str, object]] = {
            CloudConfig: {"state": state, "simulate": True, "database": database_for(state)}
        }
        given[c.config] = {"watch_s": 0.05, **(settings or {})}
        self.running = app.build(load_settings([CloudConfig, p.config, c.config], None, {}, given), of=parts)
        self.cloud = self.running.cloud
        from nutshell.compute.capability import Hypervisor

        self.world: MemoryHypervisor = self.cloud.drivers[Hypervisor]
        if loops:
            self.running.runner.start()
            until(lambda: self.cloud.read(lambda tx: tx.sql("SELECT count(*) FROM compute_nodes").fetchone()[0]) > 0)

    def close(self) -> None:
        self.running.close()
        self.world.close()

    def call(self, method: str, path: str, token: str = MEMBER, at: str = "", **rest: Any) -> httpx.Response:
        headers = {"X-Auth-Token": token} if token else {}
        if at:
            headers["OpenStack-API-Version"] = f"compute {at}"
        headers |= rest.pop("headers", {})

        async def go() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.running.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:
                return await client.request(method, "/compute/v2.1" + path, headers=headers, **rest)

        return asyncio.run(go())

    def boot(self, token: str = MEMBER, at: str = "2.90", wait: str = "ACTIVE", **body: Any) -> str:
        """A server's id, once it has the status waited for."""
        server = {"name": "one", "flavorRef": "42", "imageRef": IMAGE, "networks": "auto", **body}
        answer = self.call("POST", "/servers", token, at, json={"server": server})
        assert answer.status_code == 202, answer.text
        made: str = answer.json()["server"]["id"]
        if wait:
            self.until(made, wait, token)
        return made

    def show(self, server_id: str, token: str = MEMBER, at: str = "2.96") -> dict[str, Any]:
        answer = self.call("GET", f"/servers/{server_id}", token, at)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["server"]
        return found

    def until(self, server_id: str, status: str, token: str = MEMBER) -> dict[str, Any]:
        def there() -> bool:
            now = self.show(server_id, token)
            return now["status"] == status and now["OS-EXT-STS:task_state"] is None

        until(there, lambda: str(self.show(server_id, token)))
        return self.show(server_id, token)

    def act(
        self, server_id: str, name: str, value: Any = None, token: str = MEMBER, at: str = "2.90"
    ) -> httpx.Response:
        return self.call("POST", f"/servers/{server_id}/action", token, at, json={name: value})

    def gone(self, server_id: str) -> None:
        until(lambda: self.call("GET", f"/servers/{server_id}").status_code == 404)


def until(true: Any, say: Any = None, seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, say() if say is not None else "it did not happen in time"
        time.sleep(0.003)
