"""The steps of the demonstration, in order; every one is checked by what can be seen from outside."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nutshell.cli import processes
from nutshell.cli.demo.guests import Guest, make_key, ping
from nutshell.cli.demo.screen import Screen, open_screen
from nutshell.cli.demo.session import DemoFailed, Session, wait_until
from nutshell.cli.places import Places, read_json
from nutshell.cli.says import Refusal, accounts_in, environment, state_option

NAME = "nutshell-demo"
BOOT_S = 240.0  # a guest under emulation on a loaded machine


@dataclass(frozen=True)
class Stage:
    """What every step works with."""

    cloud: Session
    screen: Screen
    simulate: bool
    key: Path
    public_key: str


def run_demo(places: Places) -> None:
    """Show every step; Refusal at the first that did not really happen. The cloud and its two servers stay."""
    record = processes.find(places.run / "api.json")
    account = accounts_in(read_json(places.credentials)).get("demo")
    if record is None or account is None:
        raise Refusal(f"this cloud is not up; start it: nutshell up{state_option(places)}")
    variables = environment(record.facts["endpoint"], record.facts["region"], account)
    if record.facts.get("cacert"):
        variables["OS_CACERT"] = record.facts["cacert"]
    screen = open_screen()
    began = time.monotonic()
    try:
        with screen.step("sign in as demo") as note:
            cloud = Session(variables)
            note(f"a token for project {cloud.project_id}")
        key, public = make_key(places.state)
        _perform(Stage(cloud, screen, bool(record.facts.get("simulate")), key, public))
    except DemoFailed as failure:
        raise Refusal(f"the demonstration failed: {failure}\nThe API's log: {places.logs / 'api.log'}") from failure
    screen.write(f"\nEverything above really happened, in {time.monotonic() - began:.1f} s. The cloud is left running.")
    screen.write(f"Look around: openstack --os-cloud nutshell server list. Stop: nutshell down{state_option(places)}")


def _perform(stage: Stage) -> None:
    clear_earlier(stage)
    image, flavor = find_image_and_flavor(stage)
    network_id, external_id = make_network(stage)
    group = make_access(stage)
    first = boot(stage, "one", image, flavor, network_id, group)
    show_console(stage, first)
    address = give_address(stage, first, external_id)
    log_in(stage, address, first["name"])
    volume_id = make_volume(stage)
    text = f"written on {first['name']}: {secrets.token_hex(8)}"
    attach(stage, first, volume_id)
    write_file(stage, address, text)
    detach(stage, first, volume_id)
    second = boot(stage, "two", image, flavor, network_id, group)
    attach(stage, second, volume_id)
    other = give_address(stage, second, external_id)
    read_file(stage, other, text)


def clear_earlier(stage: Stage) -> None:
    """Remove what an earlier run made: only things of its name."""
    cloud = stage.cloud
    with stage.screen.step("clear what an earlier run left") as note:
        found = [one for one in cloud.get("compute", f"/servers?name={NAME}")["servers"] if _ours(one)]
        for one in found:
            cloud.delete("compute", f"/servers/{one['id']}")
        for one in found:
            _wait_gone(cloud, "compute", f"/servers/{one['id']}")
        for one in cloud.get("network", f"/floatingips?description={NAME}")["floatingips"]:
            cloud.delete("network", f"/floatingips/{one['id']}")
        for one in filter(_ours, cloud.get("volume", "/volumes/detail")["volumes"]):
            wait_until(lambda: cloud.try_delete("volume", f"/volumes/{one['id']}"), 30, lambda: "the volume is kept")  # noqa: B023
            _wait_gone(cloud, "volume", f"/volumes/{one['id']}")
        for port in cloud.get("network", f"/ports?name={NAME}")["ports"]:
            cloud.delete("network", f"/ports/{port['id']}")
        for router in cloud.get("network", f"/routers?name={NAME}")["routers"]:
            for port in cloud.get("network", f"/ports?device_id={router['id']}")["ports"]:
                if port["device_owner"] == "network:router_interface":
                    cloud.put("network", f"/routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
            cloud.delete("network", f"/routers/{router['id']}")
        for kind in ("networks", "security-groups"):
            for one in cloud.get("network", f"/{kind}?name={NAME}")[kind.replace("-", "_")]:
                wait_until(lambda: cloud.try_delete("network", f"/{kind}/{one['id']}"), 30, lambda: "it is in use")  # noqa: B023
        cloud.delete("compute", f"/os-keypairs/{NAME}")
        note(f"{len(found)} servers of an earlier run" if found else "nothing was there")


def find_image_and_flavor(stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    with stage.screen.step("find an image and a flavor") as note:

        def ready() -> dict[str, Any] | None:
            images = stage.cloud.get("image", "/images?status=active&sort=created_at:asc")["images"]
            named = [one for one in images if "tiny" in one["name"].lower() or "cirros" in one["name"].lower()]
            return next(iter(named or images), None)

        image = wait_until(ready, 60, lambda: "no image is active")
        flavors = stage.cloud.get("compute", "/flavors/detail")["flavors"]
        fit = [one for one in flavors if one["ram"] >= image["min_ram"] and one["disk"] >= image["min_disk"]]
        if not fit:
            raise DemoFailed(f"no flavor is large enough for the image {image['name']}")
        flavor = min(fit, key=lambda one: (one["ram"], one["disk"]))
        note(f"image {image['name']} ({image['size'] / 2**20:.1f} MiB), flavor {flavor['name']} ({flavor['ram']} MiB)")
    return image, flavor


def make_network(stage: Stage) -> tuple[str, str]:
    """(network id, external network id)"""
    cloud = stage.cloud
    with stage.screen.step("make a network, a subnet and a router to the outside") as note:
        outside = cloud.get("network", "/networks?router:external=true")["networks"]
        if not outside:
            raise DemoFailed("there is no external network")
        network = cloud.post("network", "/networks", {"network": {"name": NAME}})["network"]
        subnet = {"name": NAME, "network_id": network["id"], "ip_version": 4, "cidr": "10.99.0.0/24"}
        made = cloud.post("network", "/subnets", {"subnet": subnet})["subnet"]
        gateway = {"network_id": outside[0]["id"]}
        router = cloud.post("network", "/routers", {"router": {"name": NAME, "external_gateway_info": gateway}})[
            "router"
        ]
        cloud.put("network", f"/routers/{router['id']}/add_router_interface", {"subnet_id": made["id"]})
        shown = cloud.get("network", f"/routers/{router['id']}")["router"]
        if not shown["external_gateway_info"]:
            raise DemoFailed("the router has no gateway")
        note(f"{made['cidr']} behind {shown['external_gateway_info']['external_fixed_ips'][0]['ip_address']}")
    return network["id"], outside[0]["id"]


def make_access(stage: Stage) -> str:
    """The security group's id; the key pair is named as everything here."""
    cloud = stage.cloud
    with stage.screen.step("make a key pair, and a security group for ping and ssh") as note:
        cloud.post("compute", "/os-keypairs", {"keypair": {"name": NAME, "public_key": stage.public_key}})
        group = cloud.post("network", "/security-groups", {"security_group": {"name": NAME}})["security_group"]
        for more in ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}):
            rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", **more}
            cloud.post("network", "/security-group-rules", {"security_group_rule": rule})
        note("an ed25519 key; ICMP and TCP port 22 let in, nothing else")
    return str(group["id"])


def boot(
    stage: Stage, which: str, image: dict[str, Any], flavor: dict[str, Any], network_id: str, group: str
) -> dict[str, Any]:
    """The server, ACTIVE, with its port's id as "port_id"."""
    cloud, name = stage.cloud, f"{NAME}-{which}"
    with stage.screen.step(f"boot server {name}") as note:
        port = {"port": {"network_id": network_id, "name": NAME, "security_groups": [group]}}
        port_id = cloud.post("network", "/ports", port)["port"]["id"]
        wanted = {
            "name": name,
            "imageRef": image["id"],
            "flavorRef": flavor["id"],
            "key_name": NAME,
            "networks": [{"port": port_id}],
        }
        server_id = cloud.post("compute", "/servers", {"server": wanted})["server"]["id"]
        server = _wait_server(cloud, server_id, "ACTIVE")
        address = server["addresses"][NAME][0]["addr"]
        note(f"ACTIVE with {address}")
    return {**server, "port_id": port_id}


def show_console(stage: Stage, server: dict[str, Any]) -> None:
    if stage.simulate:
        stage.screen.skip("follow the serial console", "a simulated server boots nothing")
        return
    with stage.screen.step("follow the serial console up to the login prompt") as note:
        shown = 0

        def prompt() -> str:
            nonlocal shown
            said = stage.cloud.post("compute", f"/servers/{server['id']}/action", {"os-getConsoleOutput": {}})["output"]
            lines = [line.strip("\r") for line in said.splitlines() if line.strip()]
            for line in lines[max(shown, len(lines) - 3) :]:
                note(line)
            shown = max(shown, len(lines))
            return next((line for line in reversed(lines) if line.rstrip().endswith("login:")), "")

        wait_until(prompt, BOOT_S, lambda: "no login prompt on the serial console", 0.5)


def give_address(stage: Stage, server: dict[str, Any], external_id: str) -> str:
    """The floating IP, once the server shows it."""
    cloud = stage.cloud
    with stage.screen.step(f"give {server['name']} a floating IP") as note:
        wanted = {"floating_network_id": external_id, "port_id": server["port_id"], "description": NAME}
        address: str = cloud.post("network", "/floatingips", {"floatingip": wanted})["floatingip"][
            "floating_ip_address"
        ]

        def shown() -> bool:
            seen = cloud.get("compute", f"/servers/{server['id']}")["server"]["addresses"][NAME]
            return any(one["addr"] == address and one["OS-EXT-IPS:type"] == "floating" for one in seen)

        wait_until(shown, 30, lambda: "the server does not show its floating IP")
        note(address)
    if stage.simulate:
        stage.screen.skip(f"ping {address}", "a simulated network carries no packets")
        return address
    with stage.screen.step(f"ping {address}") as note:
        note(ping(address, BOOT_S))
    return address


def log_in(stage: Stage, address: str, name: str) -> None:
    if stage.simulate:
        stage.screen.skip("log in by ssh", "a simulated server runs nothing")
        return
    with stage.screen.step(f"run a command over ssh at {address}") as note:
        guest = Guest(address, stage.key)
        guest.wait(BOOT_S)
        said = guest.run("hostname; uname -sr; uptime")
        if said.splitlines()[0].partition(".")[0] != name:
            raise DemoFailed(f"the guest calls itself {said.splitlines()[0]!r} and not {name!r}")
        for line in said.splitlines():
            note(line)


def make_volume(stage: Stage) -> str:
    with stage.screen.step("make a volume of 1 GiB") as note:
        made = stage.cloud.post("volume", "/volumes", {"volume": {"name": NAME, "size": 1}})["volume"]
        _wait_volume(stage.cloud, made["id"], "available")
        note(f"available: {made['id']}")
    return str(made["id"])


def attach(stage: Stage, server: dict[str, Any], volume_id: str) -> None:
    cloud = stage.cloud
    with stage.screen.step(f"attach the volume to {server['name']}") as note:
        path = f"/servers/{server['id']}/os-volume_attachments"
        made = cloud.post("compute", path, {"volumeAttachment": {"volumeId": volume_id}})["volumeAttachment"]
        _wait_volume(cloud, volume_id, "in-use")
        note(f"in use as {made['device']}")


def write_file(stage: Stage, address: str, text: str) -> None:
    if stage.simulate:
        stage.screen.skip("write a file on the volume", "a simulated server runs nothing")
        return
    with stage.screen.step("make a file system on it and write a file") as note:
        guest = Guest(address, stage.key)
        _wait_disk(guest)
        guest.run("sudo mkfs.ext4 -q -F /dev/vdb && sudo mkdir -p /mnt/v && sudo mount -t ext4 /dev/vdb /mnt/v", 120)
        guest.run(f"echo '{text}' | sudo tee /mnt/v/file >/dev/null && sync && sudo umount /mnt/v")
        note(text)


def detach(stage: Stage, server: dict[str, Any], volume_id: str) -> None:
    with stage.screen.step(f"detach the volume from {server['name']}") as note:
        stage.cloud.call("DELETE", "compute", f"/servers/{server['id']}/os-volume_attachments/{volume_id}")
        _wait_volume(stage.cloud, volume_id, "available")
        note("available again")


def read_file(stage: Stage, address: str, text: str) -> None:
    if stage.simulate:
        stage.screen.skip("read the file on the second server", "a simulated server runs nothing")
        return
    with stage.screen.step("read the file on the second server") as note:
        guest = Guest(address, stage.key)
        guest.wait(BOOT_S)
        _wait_disk(guest)
        said = guest.run("sudo mkdir -p /mnt/v && sudo mount -t ext4 /dev/vdb /mnt/v && cat /mnt/v/file")
        if said != text:
            raise DemoFailed(f"the file holds {said!r} and not {text!r}")
        note(said)


def _wait_disk(guest: Guest) -> None:
    def there() -> bool:
        return guest.run("test -b /dev/vdb && echo yes || echo no") == "yes"

    wait_until(there, 60, lambda: "the guest does not see the disk /dev/vdb", 0.5)


def _ours(one: dict[str, Any]) -> bool:
    return str(one["name"]) == NAME or str(one["name"]).startswith(f"{NAME}-")


def _wait_gone(cloud: Session, service: str, path: str) -> None:
    def gone() -> bool:
        said = cloud.call("GET", service, path, also=(404,))
        return "itemNotFound" in (said or {})

    wait_until(gone, 60, lambda: f"{service}{path} does not go away")


def _wait_server(cloud: Session, server_id: str, status: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def reached() -> dict[str, Any] | None:
        nonlocal seen
        seen = cloud.get("compute", f"/servers/{server_id}")["server"]
        if seen["status"] == "ERROR":
            raise DemoFailed(f"the server is in ERROR: {seen.get('fault', {}).get('message')}")
        return seen if seen["status"] == status else None

    found: dict[str, Any] = wait_until(reached, 120, lambda: f"the server is {seen['status']} and not {status}")
    return found


def _wait_volume(cloud: Session, volume_id: str, status: str) -> None:
    seen = ""

    def reached() -> bool:
        nonlocal seen
        seen = cloud.get("volume", f"/volumes/{volume_id}")["volume"]["status"]
        if seen.startswith("error"):
            raise DemoFailed(f"the volume is in {seen}")
        return bool(seen == status)

    wait_until(reached, 120, lambda: f"the volume is {seen} and not {status}")
