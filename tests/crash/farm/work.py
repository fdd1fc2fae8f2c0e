"""Random work from a seed: each worker has things of its own, and writes down what was answered before it goes on."""

import random
import threading
from collections.abc import Callable
from typing import Any

from tests.crash.farm.ledger import EITHER, GONE, THERE, Ledger, Thing
from tests.crash.farm.objects import ObjectWork

from nutshell.testing.client import Client

COMPUTE, NETWORK, VOLUME = "/compute/v2.1", "/network/v2.0", "/volume/v3"
IMAGE, IDENTITY, OBJECTS = "/image/v2", "/identity/v3", "/object-store/v1"
NEWEST = {"OpenStack-API-Version": "compute 2.90"}
# How many of a kind one worker keeps at most: quotas and the machine are small.
MOST = {"server": 2, "volume": 3, "snapshot": 2, "port": 4, "network": 2, "floatingip": 2, "group": 2,
        "image": 3, "user": 3, "project": 2, "keypair": 2}  # fmt: skip
WORKERS = 3
REFUSALS = (400, 403, 409, 413)


class Died(Exception):
    """The cloud went away before it answered."""


class Worker:
    """Does random things as the demo user (and as the administrator, to users and projects) until the cloud dies."""

    def __init__(self, number: int, seed: str, ledger: Ledger, clients: tuple[Client, Client], given: "Given") -> None:
        self.number, self.ledger, self.given = number, ledger, given
        self.demo, self.admin = clients
        self.random = random.Random(f"{seed}-{number}")
        self.prefix = f"f{seed}-{number}".replace("/", "-")
        self.count = 0
        self.done: list[str] = []  # for the log of a finding
        self.wrong: list[str] = []
        self.objects = ObjectWork(number, self.random, ledger.stored, self.send)

    def run(self, ended: threading.Event) -> None:
        works = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("do_")]
        works += self.objects.works()
        try:
            while not ended.is_set():
                self.random.choice(works)()
        except Died:
            pass
        self.wrong += self.objects.wrong

    # -- the bookkeeping

    def call(self, client: Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        self.done.append(f"{method} {path}")
        try:
            status, _, answer = client.call(method, path, body, NEWEST)
        except Exception as why:  # http.client raises several kinds when the other side vanishes
            if isinstance(why, OSError) or type(why).__module__ == "http.client":
                self.done[-1] += " …"
                raise Died from why
            raise
        self.done[-1] += f" {status}"
        if status >= 500:
            self.wrong.append(f"{self.done[-1]}: {answer}")
        return status, answer

    def create(self, client: Client, kind: str, path: str, body: Any, **facts: Any) -> Thing | None:
        """Send a creation; `body` is {one: {…}} and gets the name."""
        thing = Thing(
            kind, "", next(iter(body.values()))["name"], path, self.number, facts={k: {v} for k, v in facts.items()}
        )
        self.ledger.sending(thing)
        status, made = self.call(client, "POST", path, body)
        if status >= 300:
            if status not in REFUSALS:
                self.wrong.append(f"{self.done[-1]}: {made}")
            self.ledger.refused(thing)
            return None
        found = next(iter(made.values()))
        key = found["name"] if kind == "keypair" else found["id"]
        self.ledger.made(thing, key, f"{path}/{key}")
        return thing

    def delete(self, client: Client, thing: Thing) -> bool:
        thing.state = EITHER
        status, answer = self.call(client, "DELETE", thing.path)
        if status < 300:
            thing.state = GONE
            return True
        thing.state = THERE
        if status not in REFUSALS:
            self.wrong.append(f"{self.done[-1]}: {answer}")
        return False

    def change(self, work: Callable[[], tuple[int, Any]], thing: Thing, **facts: Any) -> bool:
        """Send a change that, when it is taken, makes these facts so."""
        before = {name: set(thing.facts.get(name, {None})) for name in facts}
        for name, value in facts.items():
            thing.facts[name] = before[name] | {value}
        status, answer = work()
        taken = status < 300
        for name, value in facts.items():
            thing.facts[name] = {value} if taken else before[name]
        if not taken and status not in REFUSALS:
            self.wrong.append(f"{self.done[-1]}: {answer}")
        return taken

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}-{self.count}"

    def room(self, kind: str) -> bool:
        mine = [t for t in self.ledger.all() if (t.owner, t.kind) == (self.number, kind)]
        if kind == "server" and len(mine) >= self.given.servers:  # a deleted one may hold its processors for a while
            return False
        return len([t for t in mine if t.state != GONE]) < MOST[kind]

    def some(self, kind: str, **facts: Any) -> Thing | None:
        found = self.ledger.of(self.number, kind, **facts)
        return self.random.choice(sorted(found, key=lambda t: t.name)) if found else None

    # -- compute

    def do_make_server(self) -> None:
        if not self.room("server"):
            return
        body = {"name": self.name(), "imageRef": self.given.image, "flavorRef": self.given.flavor}
        body |= {"networks": [{"uuid": self.given.private}]}
        self.create(self.demo, "server", f"{COMPUTE}/servers", {"server": body}, status="ACTIVE")

    do_make_a_server = do_make_server  # twice as often

    def do_delete_server(self) -> None:
        thing = self.some("server")
        if thing is None or self.random.random() < 0.4:
            return
        held = [v for v in self.ledger.of(self.number, "volume") if thing.id in v.facts["server"]]
        for volume in held:
            volume.facts["server"].add(None)
        for image in self.ledger.of(self.number, "image"):
            if image.source == thing.id:
                image.state = EITHER
        gone = self.delete(self.demo, thing)
        for volume in held:
            volume.facts["server"] = {None} if gone else {thing.id}

    def act(self, thing: Thing, action: dict[str, Any], **facts: Any) -> None:
        self.change(lambda: self.call(self.demo, "POST", f"{thing.path}/action", action), thing, **facts)

    def do_stop(self) -> None:
        if thing := self.some("server", status="ACTIVE"):
            self.act(thing, {"os-stop": None}, status="SHUTOFF")

    def do_start(self) -> None:
        if thing := self.some("server", status="SHUTOFF"):
            self.act(thing, {"os-start": None}, status="ACTIVE")

    def do_reboot(self) -> None:
        if thing := self.some("server", status="ACTIVE"):
            self.act(thing, {"reboot": {"type": self.random.choice(["HARD", "SOFT"])}})

    def do_rename_server(self) -> None:
        if thing := self.some("server"):
            self.rename(self.demo, thing, "server")

    def do_label_server(self) -> None:
        if thing := self.some("server"):
            value = self.name()
            body = {"metadata": {"label": value}}
            self.change(lambda: self.call(self.demo, "POST", f"{thing.path}/metadata", body), thing, label=value)

    def do_snapshot_server(self) -> None:
        thing = self.some("server", status="ACTIVE")
        if thing is None or not self.room("image"):
            return
        image = Thing("image", "", self.name(), f"{IMAGE}/images", self.number, facts={"status": {"active"}})
        image.source = thing.id
        self.ledger.sending(image)
        body = {"createImage": {"name": image.name}}
        status, answer = self.call(self.demo, "POST", f"{thing.path}/action", body)
        if status == 202:
            self.ledger.made(image, answer["image_id"], f"{IMAGE}/images/{answer['image_id']}")
        else:
            self.ledger.refused(image)

    def do_keypair(self) -> None:
        thing = self.some("keypair")
        if thing is not None and self.random.random() < 0.5:
            self.delete(self.demo, thing)
        elif self.room("keypair"):
            path = f"{COMPUTE}/os-keypairs"
            self.create(self.demo, "keypair", path, {"keypair": {"name": self.name(), "public_key": self.given.key}})

    # -- volumes

    def do_make_volume(self) -> None:
        if self.room("volume"):
            body = {"volume": {"name": self.name(), "size": 1}}
            self.create(self.demo, "volume", f"{VOLUME}/volumes", body, server=None, size=1)

    def do_delete_volume(self) -> None:
        if (thing := self.some("volume", server=None)) and self.random.random() < 0.5:
            self.delete(self.demo, thing)

    def do_extend(self) -> None:
        if (thing := self.some("volume", server=None)) and (size := thing.fact("size")) and size < 4:
            body = {"os-extend": {"new_size": size + 1}}
            self.change(lambda: self.call(self.demo, "POST", f"{thing.path}/action", body), thing, size=size + 1)

    def do_attach(self) -> None:
        server, volume = self.some("server"), self.some("volume", server=None)
        if server is not None and volume is not None:
            path, body = f"{server.path}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume.id}}
            self.change(lambda: self.call(self.demo, "POST", path, body), volume, server=server.id)

    do_attach_again = do_attach

    def do_detach(self) -> None:
        held = [v for v in self.ledger.of(self.number, "volume") if v.fact("server") is not None]
        if held:
            volume = self.random.choice(sorted(held, key=lambda t: t.name))
            path = f"{COMPUTE}/servers/{volume.fact('server')}/os-volume_attachments/{volume.id}"
            self.change(lambda: self.call(self.demo, "DELETE", path), volume, server=None)

    def do_snapshot(self) -> None:
        snapshot = self.some("snapshot")
        if snapshot is not None and self.random.random() < 0.5:
            self.delete(self.demo, snapshot)
        elif (volume := self.some("volume", server=None)) and self.room("snapshot"):
            body = {"snapshot": {"name": self.name(), "volume_id": volume.id}}
            self.create(self.demo, "snapshot", f"{VOLUME}/snapshots", body)

    # -- networks

    def do_port(self) -> None:
        thing = self.some("port")
        if thing is not None and self.random.random() < 0.5:
            if self.random.random() < 0.5:
                self.rename(self.demo, thing, "port")
            else:
                self._delete_port(thing)
        elif self.room("port"):
            body = {"port": {"name": self.name(), "network_id": self.given.private}}
            self.create(self.demo, "port", f"{NETWORK}/ports", body)

    def _delete_port(self, thing: Thing) -> None:
        """The floating IP that leads to it leads nowhere afterwards."""
        leading = [f for f in self.ledger.of(self.number, "floatingip") if thing.id in f.facts["port"]]
        for floating in leading:
            floating.facts["port"].add(None)
        if self.delete(self.demo, thing):
            for floating in leading:
                floating.facts["port"].discard(thing.id)
        else:
            for floating in leading:
                floating.facts["port"] = {thing.id}

    def do_network(self) -> None:
        thing = self.some("network")
        if thing is not None and self.random.random() < 0.5:
            if thing.fact("subnet") is None and self.random.random() < 0.6:
                path = f"{NETWORK}/subnets"
                cidr = f"10.{self.number + 50}.{self.random.randrange(250)}.0/24"
                body = {"subnet": {"network_id": thing.id, "ip_version": 4, "cidr": cidr}}
                self.change(lambda: self.call(self.demo, "POST", path, body), thing, subnet=cidr)
            else:
                self.delete(self.demo, thing)
        elif self.room("network"):
            self.create(self.demo, "network", f"{NETWORK}/networks", {"network": {"name": self.name()}})

    def do_group(self) -> None:
        thing = self.some("group")
        if thing is not None and self.random.random() < 0.5:
            self.delete(self.demo, thing)
        elif self.room("group"):
            body = {"security_group": {"name": self.name()}}
            self.create(self.demo, "group", f"{NETWORK}/security-groups", body)

    def do_floating(self) -> None:
        thing = self.some("floatingip")
        if thing is None or self.random.random() < 0.3:
            if self.room("floatingip"):
                self._make_floating()
            return
        if self.random.random() < 0.3:
            self.delete(self.demo, thing)
            return
        taken = {t.fact("port") for t in self.ledger.of(self.number, "floatingip")}
        free = [p.id for p in self.ledger.of(self.number, "port") if p.id not in taken]
        port = None if thing.fact("port") else self.random.choice(sorted(free) or [None])
        body = {"floatingip": {"port_id": port}}
        self.change(lambda: self.call(self.demo, "PUT", thing.path, body), thing, port=port)

    def _make_floating(self) -> None:
        """A floating IP has no name: its description is one."""
        path, name = f"{NETWORK}/floatingips", self.name()
        thing = Thing("floatingip", "", name, path, self.number, facts={"port": {None}})
        self.ledger.sending(thing)
        body = {"floatingip": {"floating_network_id": self.given.public, "description": name}}
        status, made = self.call(self.demo, "POST", path, body)
        if status == 201:
            self.ledger.made(thing, made["floatingip"]["id"], f"{path}/{made['floatingip']['id']}")
        else:
            self.ledger.refused(thing)

    # -- images

    def do_image(self) -> None:
        thing = self.some("image")
        roll = self.random.random()
        if thing is not None and thing.fact("status") == "queued" and roll < 0.6:
            self.change(lambda: self._upload(thing.path), thing, status="active")
        elif thing is not None and roll < 0.8:
            self.delete(self.demo, thing)
        elif self.room("image"):
            self._make_image()

    def _make_image(self) -> None:
        name, path = self.name(), f"{IMAGE}/images"
        thing = Thing("image", "", name, path, self.number, facts={"status": {"queued"}})
        self.ledger.sending(thing)
        body = {"name": name, "disk_format": "raw", "container_format": "bare"}
        status, made = self.call(self.demo, "POST", path, body)
        if status == 201:
            self.ledger.made(thing, made["id"], f"{path}/{made['id']}")
        else:
            self.ledger.refused(thing)

    def _upload(self, path: str) -> tuple[int, Any]:
        return self.transfer("PUT", f"{path}/file", self.random.randbytes(200_000), {})

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """A request below the project's account in the object store."""
        return self.transfer(method, f"{OBJECTS}/AUTH_{self.demo.project_id}/{path}", body, headers)

    def transfer(self, method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """With a body of bytes, on a fresh connection."""
        self.done.append(f"{method} {path}")
        said = {"X-Auth-Token": self.demo.token, "Content-Type": "application/octet-stream", **headers}
        try:
            self.demo.connection.close()
            self.demo.connection.request(method, path, data, said)
            answer = self.demo.connection.getresponse()
            found = answer.status, answer.read()
        except Exception as why:
            self.done[-1] += " …"
            raise Died from why
        self.done[-1] += f" {found[0]}"
        return found

    # -- identity

    def do_user(self) -> None:
        thing = self.some("user")
        roll = self.random.random()
        if thing is not None and roll < 0.3:
            self.delete(self.admin, thing)
        elif thing is not None and roll < 0.6:
            self.rename(self.admin, thing, "user", "PATCH")
        elif self.room("user"):
            body = {"user": {"name": self.name(), "enabled": True}}
            self.create(self.admin, "user", f"{IDENTITY}/users", body, role=None)

    def do_project(self) -> None:
        thing = self.some("project")
        if thing is not None and self.random.random() < 0.4:
            for user in self.ledger.of(self.number, "user"):
                if thing.id in user.facts["role"]:
                    user.facts["role"].add(None)
            gone = self.delete(self.admin, thing)
            for user in self.ledger.of(self.number, "user"):
                if thing.id in user.facts["role"]:
                    user.facts["role"] = {None} if gone else {thing.id}
        elif self.room("project"):
            self.create(self.admin, "project", f"{IDENTITY}/projects", {"project": {"name": self.name()}})

    def do_grant(self) -> None:
        user, project = self.some("user"), self.some("project")
        if user is None or project is None or user.fact("role") not in (None, project.id):
            return
        if len(user.facts["role"]) > 1:
            return
        path = f"{IDENTITY}/projects/{project.id}/users/{user.id}/roles/{self.given.role}"
        if user.fact("role") is None:
            self.change(lambda: self.call(self.admin, "PUT", path), user, role=project.id)
        else:
            self.change(lambda: self.call(self.admin, "DELETE", path), user, role=None)

    def rename(self, client: Client, thing: Thing, one: str, method: str = "PUT") -> None:
        name = self.name()
        thing.facts.setdefault("name", {thing.name})
        self.change(lambda: self.call(client, method, thing.path, {one: {"name": name}}), thing, name=name)


def fitting(admin: Client, flavor: dict[str, Any]) -> int:
    """How many servers of a flavor the cloud holds, as placement has its hosts: one more would rightly find no host."""
    wanted, places = {"VCPU": flavor["vcpus"], "MEMORY_MB": flavor["ram"]}, 0
    for provider in admin.get("/placement/resource_providers")["resource_providers"]:
        path = f"/placement/resource_providers/{provider['uuid']}/inventories"
        has = {
            name: int((one["total"] - one["reserved"]) * one["allocation_ratio"])
            for name, one in admin.get(path)["inventories"].items()
        }
        places += min(has.get(name, 0) // amount for name, amount in wanted.items())
    return places


class Given:
    """What the first start made, and workers refer to."""

    def __init__(self, demo: Client, admin: Client) -> None:
        images = [i for i in demo.get(f"{IMAGE}/images?status=active")["images"] if i["visibility"] == "public"]
        self.image = images[0]["id"]
        flavors = demo.get(f"{COMPUTE}/flavors/detail")["flavors"]
        flavor = min(flavors, key=lambda f: (f["ram"], f["disk"]))
        self.flavor = flavor["id"]
        self.servers = fitting(admin, flavor) // WORKERS
        self.private = demo.get(f"{NETWORK}/networks?name=private")["networks"][0]["id"]
        self.public = demo.get(f"{NETWORK}/networks?name=public")["networks"][0]["id"]
        self.role = admin.get(f"{IDENTITY}/roles?name=member")["roles"][0]["id"]
        self.key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl farm@example"
