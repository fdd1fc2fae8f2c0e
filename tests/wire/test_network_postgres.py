"""Network on PostgreSQL: addresses stay unique when several transactions run at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.wire.network_rig import OTHER, Caller, start


def test_many_at_once_get_different_addresses(postgres_url: str, tmp_path: Path) -> None:
    running = start(tmp_path, database=postgres_url)
    c = Caller(running)
    network, _ = c.net(cidr="10.9.0.0/24")
    with ThreadPoolExecutor(8) as pool:
        ports = list(pool.map(lambda i: c.port(network["id"], name=f"p{i}"), range(40)))
    assert len({p["fixed_ips"][0]["ip_address"] for p in ports}) == 40
    assert len(c.x("GET /ports?name=p1&name=p2")["ports"]) == 2
    c.x(f"PUT /networks/{network['id']}/tags", {"tags": ["red"]})
    assert [n["id"] for n in c.x("GET /networks?tags=red")["networks"]] == [network["id"]]
    assert {n["name"] for n in c.x("GET /networks", token=OTHER)["networks"]} == {"public"}
    for _ in range(3):
        running.runner.run_once("network")
    running.close()
