"""The promised numbers, measured: prints a table of medians beside their aims.

python bench/bench.py [--quick] [--only start,servers] [--real]. Nothing here passes or fails: machines are noisy.
A latency is from the request's first byte to the answer's last, as one client on the same machine sees it.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cloud import Client, admin, cloud, free_port, nutshell, pss_mib, wait

ROWS: list[tuple[str, str, str]] = []


def row(what: str, measured: str, aim: str = "") -> None:
    ROWS.append((what, measured, aim))
    print(f"{what:<58} {measured:>22}   {aim}", flush=True)


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def rate(work: Callable[[int], Any], seconds: float) -> tuple[float, float]:
    """(per second, median ms) of one client."""
    taken, end, i = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        taken.append(timed(lambda i=i: work(i)))  # type: ignore[misc]
        i += 1
    return 1000 * len(taken) / sum(taken), statistics.median(taken)


def start(quick: bool) -> None:
    """From executing `nutshell up --simulate` to the first valid token; memory when idle."""
    first, again, memory, count = [], [], [], []
    for _ in range(3 if quick else 7):
        with tempfile.TemporaryDirectory(prefix="nutshell-bench-") as name:
            for figures in (first, again):
                port = free_port()
                began = time.perf_counter()
                nutshell("up", "--simulate", "--state", name, "--port", str(port))
                base = f"http://127.0.0.1:{port}"
                client = admin(base, Path(name))
                client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": client.token})
                figures.append((time.perf_counter() - began) * 1000)
                if figures is again:
                    time.sleep(0.5)
                    pids = json.loads(nutshell("status", "--json", "--state", name).stdout)["pids"]
                    numbers = list(pids.values()) if isinstance(pids, dict) else pids
                    memory.append(pss_mib(numbers))
                    count.append(len(numbers))
                nutshell("down", "--state", name)
    row("up --simulate → first valid token, first start", f"{statistics.median(first):.0f} ms", "700 ms, at most 1 s")
    row("up --simulate → first valid token, later starts", f"{statistics.median(again):.0f} ms", "700 ms")
    row(f"memory of all processes (PSS), {count[0]} of them", f"{statistics.median(memory):.0f} MiB", "120 MiB")


def tokens(base: str, state: Path, seconds: float) -> None:
    client = admin(base, state)

    def cold() -> None:
        admin(base, state)

    row("token issue, password, first of a process", f"{timed(cold):.1f} ms")
    per_s, median = rate(lambda i: client.call("POST", "/identity/v3/auth/tokens", client.login_body), seconds)
    row("token issue, one client", f"{per_s:.0f} /s, {median:.2f} ms", "310 /s")
    subject = {"X-Subject-Token": client.token}
    per_s, median = rate(lambda i: client.get("/identity/v3/auth/tokens", headers=subject), seconds)
    row("token validate, one client", f"{per_s:.0f} /s, {median:.2f} ms", "4,500 /s")


def raise_quotas(client: Client) -> None:
    body = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    client.call("PUT", f"/compute/v2.1/os-quota-sets/{client.project_id}", body)
    body = {"quota": {"port": -1, "network": -1, "subnet": -1}}
    client.call("PUT", f"/network/v2.0/quotas/{client.project_id}", body)
    client.call("PUT", f"/volume/v3/os-quota-sets/{client.project_id}", {"quota_set": {"volumes": -1, "gigabytes": -1}})


def network_of(client: Client) -> str:
    """A network with a subnet wide enough for everything here."""
    _, _, made = client.call("POST", "/network/v2.0/networks", {"network": {"name": "bench"}})
    subnet = {"network_id": made["network"]["id"], "ip_version": 4, "cidr": "10.64.0.0/16"}
    client.call("POST", "/network/v2.0/subnets", {"subnet": subnet})
    return str(made["network"]["id"])


def lists(base: str, state: Path, seconds: float) -> None:
    client = admin(base, state)
    for name, path, aim in [
        ("GET images", "/image/v2/images", "2,400 to 3,650 /s"),
        ("GET networks", "/network/v2.0/networks", "2,600 /s"),
    ]:
        per_s, median = rate(lambda i, path=path: client.get(path), seconds)  # type: ignore[misc]
        row(f"{name} (few), one client", f"{per_s:.0f} /s, {median:.2f} ms", aim)


def ports(base: str, state: Path, seconds: float) -> None:
    client = admin(base, state)
    raise_quotas(client)
    network = network_of(client)

    def create(i: int) -> None:
        status, _, body = client.call("POST", "/network/v2.0/ports", {"port": {"network_id": network, "name": f"p{i}"}})
        assert status == 201, body

    per_s, median = rate(create, seconds)
    row("POST port, one client", f"{per_s:.0f} /s, {median:.2f} ms", "430 /s")
    have = len(client.get("/network/v2.0/ports")["ports"])
    for i in range(have, 1000):
        create(i)
    taken = [timed(lambda: client.get("/network/v2.0/ports?limit=1000", decode=False)) for _ in range(9)]
    row("GET 1,000 ports", f"{statistics.median(taken):.1f} ms", "20 ms")


def volumes(base: str, state: Path, seconds: float) -> None:
    client = admin(base, state)
    raise_quotas(client)
    for i in range(100):
        status, _, body = client.call("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": f"v{i}"}})
        assert status == 202, body
    taken = [timed(lambda: client.get("/volume/v3/volumes/detail?limit=100", decode=False)) for _ in range(15)]
    row("GET volumes/detail, 100", f"{statistics.median(taken):.1f} ms", "5 ms")


def servers(base: str, state: Path, seconds: float, quick: bool) -> None:
    client = admin(base, state)
    raise_quotas(client)
    flavor = next(f for f in client.get("/compute/v2.1/flavors/detail")["flavors"] if f["ram"] == 128)["id"]
    image = client.get("/image/v2/images")["images"][0]["id"]
    network = network_of(client)
    version = {"OpenStack-API-Version": "compute 2.90"}

    def create(name: str, nets: Any) -> str:
        body = {"server": {"name": name, "imageRef": image, "flavorRef": flavor, "networks": nets}}
        status, _, made = client.call("POST", "/compute/v2.1/servers", body, version)
        assert status == 202, made
        return str(made["server"]["id"])

    def until_active(server_id: str) -> bool:
        found = client.get(f"/compute/v2.1/servers/{server_id}")["server"]["status"]
        assert found != "ERROR", client.get(f"/compute/v2.1/servers/{server_id}")
        return bool(found == "ACTIVE")

    for label, nets, aim in [("no network", "none", "20 ms"), ("one port", [{"uuid": network}], "30 ms")]:
        taken = [
            timed(lambda nets=nets: wait(lambda s=create("one", nets): until_active(s)))  # type: ignore[misc]
            for _ in range(5 if quick else 15)
        ]
        row(f"server create → ACTIVE, {label}", f"{statistics.median(taken):.0f} ms", aim)
    began = time.perf_counter()
    for _ in range(50):
        create("burst", [{"uuid": network}])
    wait(lambda: len(client.get("/compute/v2.1/servers?name=burst&status=ACTIVE")["servers"]) == 50)
    row("50 servers, one port each, until all ACTIVE", f"{time.perf_counter() - began:.2f} s", "1 s")
    have = len(client.get("/compute/v2.1/servers?limit=1000")["servers"])
    for _ in range(have, 1000):
        create("many", [{"uuid": network}])
    wait(lambda: len(client.get("/compute/v2.1/servers?status=ACTIVE&limit=1000")["servers"]) >= 1000)
    for size, aim in [(1, "1 ms"), (100, "5 ms"), (1000, "50 ms")]:
        path = f"/compute/v2.1/servers/detail?limit={size}"
        taken = [timed(lambda path=path: client.get(path, headers=version, decode=False)) for _ in range(9)]  # type: ignore[misc]
        row(f"GET servers/detail, {size}", f"{statistics.median(taken):.1f} ms", aim)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="shorter rounds")
    options.add_argument(
        "--only", default="start,tokens,lists,ports,volumes,servers,private,saving", help="comma separated"
    )
    options.add_argument("--real", action="store_true", help="also real servers (root and QEMU)")
    given = options.parse_args()
    only = given.only.split(",")
    seconds = 1.0 if given.quick else 4.0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    if "start" in only:
        start(given.quick)
    rest = {"tokens": tokens, "lists": lists, "ports": ports, "volumes": volumes}
    for name, work in rest.items():
        if name in only:
            with cloud() as (base, state):
                work(base, state, seconds)
    if "servers" in only:
        with cloud() as (base, state):
            servers(base, state, seconds, given.quick)
    from private import private_clouds, saving

    for name, measure in (("private", private_clouds), ("saving", saving)):
        if name in only:
            for what, measured, aim in measure(given.quick):
                row(what, measured, aim)
    if given.real:
        from real import real_servers

        for what, measured, aim in real_servers(given.quick):
            row(what, measured, aim)


if __name__ == "__main__":
    main()
