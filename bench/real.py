"""Real servers against bare QEMU: from the request to ACTIVE and to the guest's DHCP lease, in alternating rounds.

The bare side starts the same disk by hand, with the same machine, memory and translation cache, on QEMU's own user
network, whose DHCP server answers at once. Needs root and QEMU.
"""

import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud import admin, cloud, wait

from nutshell.testing.client import Client

Figures = dict[str, list[float]]
READY = ("login:", "ready in")


def real_servers(quick: bool) -> Iterator[tuple[str, str, str]]:
    """Rows of the table: what, measured, aim."""
    figures: Figures = {"ours active": [], "ours lease": [], "bare start": [], "bare lease": []}
    with cloud(simulate=False) as (base, state), tempfile.TemporaryDirectory(prefix="nutshell-bare-") as folder:
        client = admin(base, state, "demo")
        disk = download(client, Path(folder))
        for i in range(3 if quick else 5):
            ours(client, f"bench-{i}", figures)
            bare(disk, Path(folder) / str(i), figures)
    medians = {name: statistics.median(values) for name, values in figures.items()}
    active, start = medians["ours active"], medians["bare start"]
    yield "real server create → ACTIVE", f"{active:.2f} s (bare {start:.2f} s)", "bare + 0.3 s"
    lease, by_hand = medians["ours lease"], medians["bare lease"]
    yield "real server create → DHCP lease", f"{lease:.2f} s (bare {by_hand:.2f} s)", "bare + 1 s"


def download(client: Client, folder: Path) -> Path:
    image = next(i for i in client.get("/image/v2/images")["images"] if i["name"] == "cirros")
    _, _, data = client.call("GET", f"/image/v2/images/{image['id']}/file")
    compressed, base = folder / "image.qcow2", folder / "base.qcow2"
    compressed.write_bytes(data)
    convert = ["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", str(compressed), str(base)]
    subprocess.run(convert, check=True)
    return base


def ours(client: Client, name: str, figures: Figures) -> None:
    flavor = next(f for f in client.get("/compute/v2.1/flavors/detail")["flavors"] if f["ram"] == 128)["id"]
    image = next(i for i in client.get("/image/v2/images")["images"] if i["name"] == "cirros")["id"]
    network = client.get("/network/v2.0/networks?name=private")["networks"][0]["id"]
    body = {"server": {"name": name, "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}]}}
    began = time.perf_counter()
    status, _, made = client.call("POST", "/compute/v2.1/servers", body)
    assert status == 202, made
    path = f"/compute/v2.1/servers/{made['server']['id']}"

    def active() -> bool:
        found = client.get(path)["server"]
        assert found["status"] != "ERROR", found
        return bool(found["status"] == "ACTIVE")

    wait(active)
    figures["ours active"].append(time.perf_counter() - began)

    def console() -> str:
        _, _, answer = client.call("POST", path + "/action", {"os-getConsoleOutput": {}})
        return str(answer["output"]) if isinstance(answer, dict) and "output" in answer else ""

    wait(lambda: " has 10." in console(), pause_s=0.05)
    figures["ours lease"].append(time.perf_counter() - began)
    wait(lambda: any(word in console() for word in READY), pause_s=0.2)
    client.call("DELETE", path)
    wait(lambda: client.call("GET", path)[0] == 404, pause_s=0.05)


def bare(base: Path, folder: Path, figures: Figures) -> None:
    folder.mkdir()
    disk, monitor, serial = folder / "disk.qcow2", folder / "qmp.sock", folder / "serial.log"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "qcow2", str(disk), "1G"]
    command: list[Any] = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35", "-cpu", "max"]
    command += ["-accel", "tcg,tb-size=64", "-m", "128", "-device", "VGA"]
    command += [
        "-drive",
        f"file={disk},format=qcow2,if=virtio",
        "-netdev",
        "user,id=n",
        "-device",
        "virtio-net-pci,netdev=n",
    ]
    command += ["-qmp", f"unix:{monitor},server=on,wait=off", "-serial", f"file:{serial}"]
    began = time.perf_counter()
    subprocess.run(make, check=True)
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL)
    try:
        wait(lambda: greets(monitor))
        figures["bare start"].append(time.perf_counter() - began)
        wait(lambda: serial.exists() and " has 10." in serial.read_text(errors="replace"), pause_s=0.05)
        figures["bare lease"].append(time.perf_counter() - began)
        wait(lambda: any(word in serial.read_text(errors="replace") for word in READY), pause_s=0.2)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def greets(monitor: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(monitor))
            s.settimeout(5)
            return b"QMP" in s.recv(4096)
    except OSError:
        return False
