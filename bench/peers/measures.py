"""What is measured on each side: each function returns (what, unit, samples, whether more is better).

A latency is from the request's first byte to the answer's last; what a measure makes it deletes again.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import identity_measures
from side import Side
from timing import Taken, both, repeat


def lists(side: Side, _: int) -> Taken:
    rows: Taken = []
    for name, path in (("image", "/images"), ("network", "/networks")):
        taken = repeat(lambda i, name=name, path=path: side.call(name, "GET", path))  # type: ignore[misc]
        rows += both(f"GET {path} (few)", taken)
    return rows


@contextmanager
def network(side: Side) -> Iterator[str]:
    made = side.call("network", "POST", "/networks", {"network": {"name": "bench"}}).json()["network"]["id"]
    try:
        subnet = {"network_id": made, "ip_version": 4, "cidr": "10.64.0.0/16"}
        side.call("network", "POST", "/subnets", {"subnet": subnet})
        yield made
    finally:
        for port in side.call("network", "GET", f"/ports?network_id={made}").json()["ports"]:
            side.call("network", "DELETE", f"/ports/{port['id']}", refused_too=True)
        side.call("network", "DELETE", f"/networks/{made}")


def raise_quotas(side: Side) -> None:
    quotas = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    side.call("compute", "PUT", f"/os-quota-sets/{side.project_id}", quotas)
    side.call("network", "PUT", f"/quotas/{side.project_id}", {"quota": {"port": -1, "network": -1, "subnet": -1}})
    quotas = {"quota_set": {"volumes": -1, "gigabytes": -1}}
    side.call("volume", "PUT", f"/os-quota-sets/{side.project_id}", quotas)


def ports(side: Side, _: int) -> Taken:
    raise_quotas(side)
    with network(side) as net:

        def create(i: int) -> None:
            side.call("network", "POST", "/ports", {"port": {"network_id": net, "name": f"p{i}"}})

        made = repeat(create)
        have = len(side.call("network", "GET", f"/ports?network_id={net}&fields=id").json()["ports"])
        for number in range(have, 1000):
            create(number)
        path = f"/ports?network_id={net}"
        listing = repeat(lambda i: side.call("network", "GET", path))
        return [*both("POST port", made), ("GET 1,000 ports", "ms", listing, False)]


def volumes(side: Side, _: int) -> Taken:
    raise_quotas(side)
    made = [
        side.call("volume", "POST", "/volumes", {"volume": {"size": 1}}).json()["volume"]["id"] for _n in range(100)
    ]
    wait(lambda: statuses(side, "volume", "/volumes/detail?limit=1000", "volumes", made) == {"available"})
    listing = repeat(lambda i: side.call("volume", "GET", "/volumes/detail?limit=100"))
    for found in made:
        side.call("volume", "DELETE", f"/volumes/{found}")
    wait(lambda: not statuses(side, "volume", "/volumes/detail?limit=1000", "volumes", made))
    return [("GET volumes/detail, 100", "ms", listing, False)]


def statuses(side: Side, service: str, path: str, noun: str, among: list[str]) -> set[str]:
    wanted = set(among)
    return {row["status"] for row in side.call(service, "GET", path).json()[noun] if row["id"] in wanted}


def wait(done: Callable[[], bool], timeout_s: float = 3600, pause_s: float = 0.01) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(pause_s)


@contextmanager
def bootable(side: Side) -> Iterator[tuple[str, str]]:
    """(an image of 1 KiB, a small flavor)."""
    body = {"name": "bench", "disk_format": "raw", "container_format": "bare"}
    image = side.call("image", "POST", "/images", body).json()["id"]
    kind = {"Content-Type": "application/octet-stream"}
    side.call("image", "PUT", f"/images/{image}/file", b"\0" * 1024, headers=kind)
    wanted = {"flavor": {"name": f"bench-{uuid.uuid4().hex[:6]}", "ram": 64, "vcpus": 1, "disk": 1}}
    flavor = side.call("compute", "POST", "/flavors", wanted).json()["flavor"]["id"]
    try:
        yield image, flavor
    finally:
        side.call("compute", "DELETE", f"/flavors/{flavor}")
        side.call("image", "DELETE", f"/images/{image}")


V2_37 = {"X-OpenStack-Nova-API-Version": "2.37", "OpenStack-API-Version": "compute 2.37"}


def create_servers(side: Side, image: str, flavor: str, networks: Any, count: int = 1) -> None:
    body = {"name": "bench", "imageRef": image, "flavorRef": flavor, "networks": networks, "min_count": count}
    side.call("compute", "POST", "/servers", {"server": body}, headers=V2_37)


def present(side: Side) -> list[dict[str, Any]]:
    found = side.call("compute", "GET", "/servers/detail?name=bench&limit=1000", headers=V2_37).json()["servers"]
    return list(found)


def until_active(side: Side, count: int, pause_s: float = 0.002) -> None:
    def done() -> bool:
        rows = present(side)
        failed = [row for row in rows if row["status"] == "ERROR"]
        if failed:
            raise RuntimeError(f"{side.name}: {failed[0].get('fault')}")
        return len(rows) == count and all(row["status"] == "ACTIVE" for row in rows)

    wait(done, pause_s=pause_s)


def clear(side: Side) -> None:
    for row in present(side):
        side.call("compute", "DELETE", f"/servers/{row['id']}", refused_too=True)
    wait(lambda: not present(side), pause_s=0.05)


def servers(side: Side, most: int) -> Taken:
    """Create to ACTIVE, alone and in a burst; the listing of one and of many."""
    raise_quotas(side)
    rows: Taken = []
    with network(side) as net, bootable(side) as (image, flavor):
        for what, networks in (("no network", "none"), ("one port", [{"uuid": net}])):
            alone, burst = [], []
            for _n in range(5):
                began = time.perf_counter()
                create_servers(side, image, flavor, networks)
                until_active(side, 1)
                alone.append((time.perf_counter() - began) * 1000)
                clear(side)
            began = time.perf_counter()
            create_servers(side, image, flavor, networks, 50)
            until_active(side, 50, pause_s=0.05)
            burst.append(time.perf_counter() - began)
            clear(side)
            rows.append((f"server create → ACTIVE, {what}", "ms", alone, False))
            rows.append((f"50 servers at once → all ACTIVE, {what}", "s", burst, False))
        create_servers(side, image, flavor, "none", most)
        until_active(side, most, pause_s=0.2)
        for count in sorted({1, 100, most}):
            path = f"/servers/detail?limit={count}"
            listing = repeat(lambda i, path=path: side.call("compute", "GET", path, headers=V2_37))  # type: ignore[misc]
            rows.append((f"GET servers/detail, {count:,}", "ms", listing, False))
        clear(side)
    return rows


MEASURES: dict[str, Callable[[Side, int], Taken]] = {
    **identity_measures.MEASURES,
    "lists": lists,
    "ports": ports,
    "volumes": volumes,
    "servers": servers,
}
