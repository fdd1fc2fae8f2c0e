"""Three API processes on one PostgreSQL database: one cloud, whichever is asked, also while one of them dies."""

import base64
import http.client
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests import database
from tests.wire.several_apis import NEWEST, SeveralApis, until

from nutshell.testing.client import Client

SERVERS, PORTS = "/compute/v2.1/servers", "/network/v2.0/ports"
TOML = "[compute]\nhost_vcpus = 2\nhosts = 2\n"


@pytest.fixture(scope="module")
def apis(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[SeveralApis]:
    name = "several"
    with database.connected(postgres_server) as c:
        c.execute(f"CREATE DATABASE {name}")
    made = SeveralApis(tmp_path_factory.mktemp("apis") / "state", f"{postgres_server}/{name}", 3, TOML)
    yield made
    made.end()
    with database.connected(postgres_server, name) as c:
        c.execute("CREATE TABLE others (id TEXT)")
        made.run("reset", "--yes")
        assert c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [("others",)]


def server_body(client: Client, **more: Any) -> dict[str, Any]:
    image = client.get("/image/v2/images")["images"][0]["id"]
    flavors = client.get("/compute/v2.1/flavors/detail")["flavors"]
    flavor = min(flavors, key=lambda f: (f["ram"], f["disk"]))["id"]
    network = client.get("/network/v2.0/networks?name=private")["networks"][0]["id"]
    return {"server": {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}], **more}}


def hammer(apis: SeveralApis, name: str, count: int, work: Callable[[Client, int], int]) -> Counter[int]:
    """Do it `count` times from two threads at each process; how often each status was answered."""
    lanes = len(apis.ports) * 2

    def lane(n: int) -> list[int]:
        client = apis.client(n % len(apis.ports), name)
        return [work(client, i) for i in range(n, count, lanes)]

    with ThreadPoolExecutor(lanes) as pool:
        return Counter(status for answers in pool.map(lane, range(lanes)) for status in answers)


def test_what_one_made_the_others_show_at_once(apis: SeveralApis) -> None:
    clients = [apis.client(n) for n in range(3)]
    for n, client in enumerate(clients):
        status, _, made = client.call("POST", "/network/v2.0/networks", {"network": {"name": f"n{n}"}})
        assert status == 201, made
        for other in clients:
            assert other.get(f"/network/v2.0/networks/{made['network']['id']}")["network"]["name"] == f"n{n}"


def test_a_revoked_token_is_refused_by_all(apis: SeveralApis) -> None:
    victim, admins = apis.client(0), [apis.client(n, "admin") for n in range(3)]
    for admin in admins:  # each has it in memory now
        status, _, _ = admin.call("GET", "/identity/v3/auth/tokens", None, {"X-Subject-Token": victim.token})
        assert status == 200
    status, _, _ = admins[1].call("DELETE", "/identity/v3/auth/tokens", None, {"X-Subject-Token": victim.token})
    assert status == 204
    revoked = time.monotonic()
    for admin in admins:
        until(
            lambda admin=admin: (  # type: ignore[misc]
                admin.call("GET", "/identity/v3/auth/tokens", None, {"X-Subject-Token": victim.token})[0] == 404
            ),
            "the token is refused",
            5.0,
        )
    assert time.monotonic() - revoked < 5.0


def test_a_changed_catalog_is_shown_by_all(apis: SeveralApis) -> None:
    admins = [apis.client(n, "admin") for n in range(3)]

    def types(client: Client) -> set[str]:
        return {entry["type"] for entry in client.get("/identity/v3/auth/catalog")["catalog"]}

    assert all("special" not in types(a) for a in admins)
    service = {"service": {"type": "special", "name": "special"}}
    made = admins[0].call("POST", "/identity/v3/services", service)[2]["service"]["id"]
    endpoint = {"service_id": made, "interface": "public", "url": "http://x", "region_id": "RegionOne"}
    assert admins[1].call("POST", "/identity/v3/endpoints", {"endpoint": endpoint})[0] == 201
    for admin in admins:
        until(lambda admin=admin: "special" in types(admin), "the new service is in the catalog", 5.0)  # type: ignore[misc]


def test_an_upload_goes_on_while_another_process_sweeps(apis: SeveralApis) -> None:
    """Whichever process leads the loop that tidies image files: what another is receiving stays."""
    size = 1 << 20
    for n in range(3):
        client, other = apis.client(n), apis.client((n + 1) % 3)
        body = {"name": "slow", "disk_format": "raw", "container_format": "bare"}
        image = client.call("POST", "/image/v2/images", body)[2]["id"]

        def pieces(other: Client = other, body: dict[str, Any] = body, image: str = image) -> Iterator[bytes]:
            yield b"x" * size
            passes = [other.call("POST", "/image/v2/images", body)[2]["id"] for _ in range(3)]  # each wakes the loop
            until(lambda: (apis.state / "images" / f"{image}.part").exists(), "the data is coming")
            for one in passes:
                assert other.call("DELETE", f"/image/v2/images/{one}")[0] == 204
                time.sleep(0.2)
            yield b"y" * size

        headers = {"X-Auth-Token": client.token, "Content-Type": "application/octet-stream"}
        connection = http.client.HTTPConnection("127.0.0.1", apis.ports[n], timeout=60)
        connection.request("PUT", f"/image/v2/images/{image}/file", pieces(), headers, encode_chunked=True)
        assert connection.getresponse().status == 204
        assert other.get(f"/image/v2/images/{image}")["size"] == 2 * size
        got = other.call("GET", f"/image/v2/images/{image}/file", decode=False)[2]
        assert got == b"x" * size + b"y" * size


def test_a_quota_is_never_exceeded(apis: SeveralApis) -> None:
    admin = apis.client(0, "admin")
    project = apis.client(0).project_id
    used = admin.get(f"/network/v2.0/quotas/{project}/details.json")["quota"]["network"]["used"]
    body = {"quota": {"network": used + 7}}
    assert admin.call("PUT", f"/network/v2.0/quotas/{project}", body)[0] == 200

    def make(client: Client, i: int) -> int:
        return client.call("POST", "/network/v2.0/networks", {"network": {"name": f"q{i}"}})[0]

    assert hammer(apis, "demo", 36, make) == {201: 7, 409: 29}
    assert admin.get(f"/network/v2.0/quotas/{project}/details.json")["quota"]["network"]["used"] == used + 7
    assert admin.call("DELETE", f"/network/v2.0/quotas/{project}")[0] == 204


def test_no_address_is_given_twice(apis: SeveralApis) -> None:
    client = apis.client(0)
    network = client.call("POST", "/network/v2.0/networks", {"network": {"name": "small"}})[2]["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/27", "enable_dhcp": False}
    assert client.call("POST", "/network/v2.0/subnets", {"subnet": subnet})[0] == 201

    def make(client: Client, i: int) -> int:
        return client.call("POST", PORTS, {"port": {"network_id": network, "name": f"p{i}"}})[0]

    assert hammer(apis, "demo", 40, make) == {201: 29, 409: 11}  # 30 addresses, one the gateway's
    ports = client.get(f"{PORTS}?network_id={network}")["ports"]
    assert len({p["fixed_ips"][0]["ip_address"] for p in ports}) == len(ports) == 29


def test_hosts_are_not_overcommitted(apis: SeveralApis) -> None:
    admin = apis.client(0, "admin")
    providers = admin.get("/placement/resource_providers")["resource_providers"]
    for p in providers:
        path = f"/placement/resource_providers/{p['uuid']}"
        inventory = admin.get(f"{path}/inventories")
        inventory["inventories"]["VCPU"]["allocation_ratio"] = 2.0
        inventory["inventories"]["VCPU"]["total"] = 2
        assert admin.call("PUT", f"{path}/inventories", inventory)[0] == 200
    body = server_body(admin)
    made: list[str] = []

    def make(client: Client, i: int) -> int:
        status, _, answer = client.call("POST", SERVERS, body, NEWEST)
        made.append(answer["server"]["id"] if status == 202 else str(answer))
        return status

    hammer(apis, "admin", 12, make)
    shown = until(
        lambda: _settled([s for s in admin.get(f"{SERVERS}/detail", headers=NEWEST)["servers"] if s["id"] in made]),
        "every server has a host or none",
    )
    states = Counter(s["status"] for s in shown)
    for p in providers:
        assert admin.get(f"/placement/resource_providers/{p['uuid']}/usages")["usages"]["VCPU"] <= 4
    assert states["ACTIVE"] == 8, states
    for s in shown:
        admin.call("DELETE", f"{SERVERS}/{s['id']}")
    until(lambda: not admin.get(SERVERS)["servers"], "they are gone")


def _settled(servers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return servers if all(s["status"] in ("ACTIVE", "ERROR") for s in servers) else []


def test_keys_are_renewed_under_work(apis: SeveralApis) -> None:
    """Twice: no token is refused by anybody before, during or after, and every process opens what any other sealed."""
    admins = [apis.client(n, "admin") for n in range(3)]
    old = [apis.client(n).token for n in range(3)]
    user = admins[0].get("/identity/v3/auth/tokens", headers={"X-Subject-Token": admins[0].token})["token"]["user"]
    secrets: dict[str, str] = {}
    tokens: list[tuple[int, str]] = []
    ended = threading.Event()

    def work(n: int) -> None:
        client, i = apis.client(n, "admin"), 0
        others = [apis.client(m, "admin") for m in range(3)]  # a connection is one thread's
        while not ended.is_set():
            client.login()
            tokens.append((key_of(client.token), client.token))
            blob, i = f"secret {n} {i}", i + 1
            body = {"credential": {"type": "cert", "blob": blob, "user_id": user["id"]}}
            status, _, made = client.call("POST", "/identity/v3/credentials", body)
            assert status == 201, made
            secrets[made["credential"]["id"]] = blob
            for other in others:
                path, asked = "/identity/v3/auth/tokens", {"X-Subject-Token": client.token}
                assert other.call("GET", path, None, asked)[0] == 200, f"a token of process {n} is refused"

    def key_in_use() -> int:
        return min(key_of(apis.client(n, "admin").token) for n in range(3))

    pair = {"tenant_id": admins[0].project_id}
    ec2 = admins[1].call("POST", f"/identity/v3/users/{user['id']}/credentials/OS-EC2", pair)[2]["credential"]
    begun = key_in_use()
    with ThreadPoolExecutor(3) as pool:
        works = [pool.submit(work, n) for n in range(3)]
        for turn in (1, 2):
            status, _, made = admins[turn].call("POST", "/identity/keys")
            assert (status, made["keys"]["tokens"]) == (202, begun + turn)
            until(lambda turn=turn: key_in_use() == begun + turn, "every process signs with the new key", 20.0)  # type: ignore[misc]
        ended.set()
        for each in works:
            each.result()
    assert {number for number, _ in tokens} == {begun, begun + 1, begun + 2}
    until(lambda: admins[0].get("/identity/keys")["waiting"] == 0, "all is sealed with the newest key")
    assert len(secrets) > 10
    for admin in admins:
        for _, token in tokens:
            assert admin.call("GET", "/identity/v3/auth/tokens", None, {"X-Subject-Token": token})[0] == 200
        for token in old:
            assert admin.call("GET", "/identity/v3/auth/tokens", None, {"X-Subject-Token": token})[0] == 200
        found = {c["id"]: c["blob"] for c in admin.get("/identity/v3/credentials?type=cert")["credentials"]}
        assert secrets.items() <= found.items()
        path = f"/identity/v3/users/{user['id']}/credentials/OS-EC2/{ec2['access']}"
        assert admin.get(path)["credential"]["secret"] == ec2["secret"]
    for admin in admins[1:]:
        assert admin.get("/identity/keys") == admins[0].get("/identity/keys")


def key_of(token: str) -> int:
    """The number of the key that signed it."""
    return int.from_bytes(base64.urlsafe_b64decode(token[2:6])[:2], "big")


def test_one_that_leads_is_killed_and_nothing_is_lost(apis: SeveralApis) -> None:
    """The last of the tests here: a process is missing afterwards."""
    before = until(apis.leaders, "somebody leads the loops")
    victim = max(before, key=lambda pid: before[pid])
    lane = apis.pids.index(victim)
    kept: list[str] = []
    ended = threading.Event()

    def work(n: int) -> None:
        client = apis.client(n)
        while not ended.is_set():
            try:
                status, _, answer = client.call("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": "v"}})
            except Exception:
                assert n == lane
                return
            if status == 202 and len(kept) < 5:
                kept.append(answer["volume"]["id"])
            elif status == 202:
                client.call("DELETE", f"/volume/v3/volumes/{answer['volume']['id']}")
            time.sleep(0.02)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    os.kill(victim, 9)
    time.sleep(1.0)
    ended.set()
    for thread in threads:
        thread.join()
    alive = [n for n in range(3) if n != lane]
    client = apis.client(alive[0])
    until(lambda: sum(apis.leaders().values()) == sum(before.values()), "the others lead its loops")
    assert victim not in apis.leaders()
    until(
        lambda: all(v["status"] == "available" for v in client.get("/volume/v3/volumes/detail")["volumes"]),
        "every volume is whole, every deleted one is gone",
    )
    assert set(kept) <= {v["id"] for v in apis.client(alive[1]).get("/volume/v3/volumes")["volumes"]}
