"""Private clouds for other people's tests: ready clients, many at once, virtual timers, loud errors."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import nutshell.testing
from nutshell.image.files import ImageFiles
from nutshell.testing.private import PrivateCloud

openstack = pytest.importorskip("openstack")
Make = Callable[..., PrivateCloud]


def boot(cloud: PrivateCloud, name: str = "web", user: str = "demo") -> str:
    conn = cloud.connection(user)
    image, flavor = conn.image.find_image("cirros"), conn.compute.find_flavor("m1.tiny")
    made = conn.compute.create_server(name=name, image_id=image.id, flavor_id=flavor.id, networks="none")
    return str(made.id)


def test_the_sdk_finds_a_ready_cloud(cloud: PrivateCloud) -> None:
    boot(cloud)
    cloud.assert_servers(ACTIVE=1)
    assert [s.name for s in cloud.connection("admin").compute.servers(all_projects=True)] == ["web"]
    assert cloud.requests("POST", "/servers")[0]["status"] == 202


def test_images_go_up_and_down(cloud: PrivateCloud) -> None:
    conn = cloud.connection()
    data = os.urandom(300_000)
    image = conn.image.create_image("blob", disk_format="raw", container_format="bare", data=data, wait=True)
    assert conn.image.download_image(image).content == data


def test_clouds_do_not_see_each_other(make_cloud: Make) -> None:
    clouds = [make_cloud() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(boot, clouds, "abcd"))
    for cloud, name in zip(clouds, "abcd", strict=True):
        cloud.assert_servers(ACTIVE=1)
        assert [s.name for s in cloud.connection().compute.servers()] == [name]
    assert len(set(ids)) == 4
    token = clouds[0].connection().auth_token
    answer = clouds[1].session().get(clouds[1].url + "/compute/v2.1/servers", headers={"X-Auth-Token": token},
                                     authenticated=False, raise_exc=False)  # fmt: skip
    assert answer.status_code == 401


def test_other_users_are_made_without_hashing(cloud: PrivateCloud) -> None:
    cloud.user("ann", project="web", roles=["member"])
    cloud.user("bob", project="web", roles=["reader"])
    boot(cloud, user="ann")
    assert [s.name for s in cloud.connection("bob").compute.servers()] == ["web"]
    assert not list(cloud.connection("demo").compute.servers())
    with pytest.raises(openstack.exceptions.ForbiddenException):
        boot(cloud, user="bob")
    cloud.assert_servers(project="web", ACTIVE=1)


def test_a_client_in_another_process_reaches_it(cloud: PrivateCloud) -> None:
    cloud.user("ann")
    code = "import openstack; print([n.name for n in openstack.connect(cloud='ann').network.networks()])"
    env = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(cloud.clouds_yaml())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert "public" in done.stdout, done.stderr
    assert cloud.environment()["OS_AUTH_URL"] == cloud.auth_url
    assert cloud.requests("GET", "/network/v2.0/networks")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/dns/v2/zones", r"(?s)GET /dns/v2/zones.*no service is here; there are /compute"),
        ("POST", "/compute/v2.1/nothing?a=b", r"(?s)POST /compute/v2.1/nothing\?a=b.*no route has this path.*\"x\": 1"),
        ("PUT", "/compute/v2.1/servers", "no route has this method here; there are .*GET, POST"),
    ],
)
def test_a_request_that_nothing_answers_is_loud(method: str, path: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said), nutshell.testing.cloud() as cloud:
        cloud.session().request(cloud.url + path, method, json={"x": 1}, raise_exc=False)


def test_a_service_that_the_catalog_lacks_is_loud(cloud: PrivateCloud) -> None:
    from keystoneauth1.exceptions import EndpointNotFound

    with pytest.raises(EndpointNotFound):
        cloud.session().get("/zones", endpoint_filter={"service_type": "dns"})
    with pytest.raises(AssertionError, match="no service of type dns"):
        cloud.assert_all_answered()
    cloud._front.unanswered.clear()


def test_what_was_allowed_and_what_is_only_missing_is_quiet() -> None:
    with nutshell.testing.cloud() as cloud:
        cloud.allow_unanswered("GET", "/dns/*")
        cloud.session().get(cloud.url + "/dns/v2/zones", raise_exc=False)
        assert cloud.connection().compute.find_server("no such") is None
    with nutshell.testing.cloud(allow_unanswered=True) as cloud:
        cloud.session().get(cloud.url + "/what", raise_exc=False)


def test_a_failing_test_is_not_masked() -> None:
    with pytest.raises(ZeroDivisionError), nutshell.testing.cloud() as cloud:  # noqa: PT012
        cloud.session().get(cloud.url + "/dns", raise_exc=False)
        raise ZeroDivisionError


def test_what_is_left_is_named(cloud: PrivateCloud) -> None:
    conn = cloud.connection()
    server = boot(cloud)
    volume = conn.block_storage.create_volume(size=1, name="data")
    cloud.settle()
    with pytest.raises(AssertionError, match=r"servers should be SHUTOFF=1, but are ACTIVE=1: web \("):
        cloud.assert_servers(SHUTOFF=1, timeout_s=0)
    with pytest.raises(AssertionError, match=f"(?s)1 compute.server .{server}.*1 volume.volume"):
        cloud.assert_nothing_left(timeout_s=0)
    with pytest.raises(AssertionError, match=r"compute.instances \+1"):
        cloud.assert_no_quota_used("demo", timeout_s=0)
    conn.compute.delete_server(server)
    conn.block_storage.delete_volume(volume)
    cloud.assert_nothing_left()
    cloud.assert_no_quota_used()


def test_a_lost_host_is_back_after_virtual_minutes(cloud: PrivateCloud) -> None:
    server, conn, host = boot(cloud), cloud.connection("admin"), cloud.hypervisor.hosts()[0].name
    cloud.assert_servers(ACTIVE=1)
    cloud.hypervisor.lose_host(host)
    cloud.clock.step(300)
    service = next(s for s in conn.compute.services() if s.binary == "nova-compute")
    assert service.state == "down"
    cloud.hypervisor.find_host(host)
    cloud.clock.step(60)
    assert next(s for s in conn.compute.services() if s.binary == "nova-compute").state == "up"
    assert conn.compute.get_server(server).status == "ACTIVE"


def test_a_build_that_fails_for_ever_ends_at_its_deadline(cloud: PrivateCloud) -> None:
    cloud.hypervisor.faults.fail("start", times=10_000, why="no more memory")
    server, began = boot(cloud), time.monotonic()
    cloud.settle()
    assert cloud.connection().compute.get_server(server).status == "BUILD"
    for _ in range(30):
        cloud.clock.step(30)
    cloud.assert_servers(ERROR=1)
    assert "no more memory" in cloud.connection().compute.get_server(server).fault["message"]
    assert time.monotonic() - began < 30


def test_the_sdks_own_waiting_takes_no_real_time(cloud: PrivateCloud) -> None:
    import openstack.utils

    conn = cloud.connection()
    server = conn.compute.get_server(boot(cloud))
    cloud.settle()
    began = time.monotonic()
    with cloud.clock.drives(openstack.utils), pytest.raises(openstack.exceptions.ResourceTimeout):
        conn.compute.wait_for_server(server, status="SHUTOFF", wait=120)
    assert time.monotonic() - began < 20
    assert openstack.utils.time is time


def test_tokens_are_valid_by_real_time(cloud: PrivateCloud) -> None:
    conn = cloud.connection()
    token = conn.auth_token
    cloud.clock.step(10 * 3600)
    assert conn.auth_token == token
    assert list(conn.network.networks())


def test_settings_and_seeds(make_cloud: Make) -> None:
    one, two = (make_cloud({"compute": {"hosts": 3}}, seed=7) for _ in range(2))
    one.settle()
    deadline = time.monotonic() + 10
    while len(list(one.connection("admin").compute.hypervisors())) != 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert one.state.clock.new_id() != ""
    assert two.user("x") == two.accounts["x"]
    with pytest.raises(ValueError, match=r"there are .*compute"):
        make_cloud({"nonsense": {}})


def test_fault_rules_strike_in_process_and_over_http(cloud: PrivateCloud) -> None:
    import requests
    from keystoneauth1.exceptions import ConnectFailure

    conn = cloud.connection()
    rule = cloud.faults.add(service="network", operation="GET /networks", effect="status", status=500, count=2)
    with pytest.raises(openstack.exceptions.HttpException, match="A fault rule struck"):
        list(conn.network.networks())
    headers = {"X-Auth-Token": conn.auth_token}
    assert requests.get(cloud.url + "/network/v2.0/networks", headers=headers, timeout=10).status_code == 500
    assert list(conn.network.networks())
    assert cloud.faults.counted(rule) == (3, 2)
    cloud.faults.clear()
    cloud.faults.add(service="network", effect="cut", count=2)
    with pytest.raises(ConnectFailure):
        list(conn.network.networks())
    with pytest.raises(requests.ConnectionError):
        requests.get(cloud.url + "/network/v2.0/networks", headers=headers, timeout=10)
    assert list(conn.network.networks())


def test_a_slow_build_takes_virtual_minutes(cloud: PrivateCloud) -> None:
    cloud.slow_builds(300)
    began = time.monotonic()
    boot(cloud)
    cloud.settle()
    cloud.assert_servers(BUILD=1)
    cloud.clock.step(200)
    cloud.assert_servers(BUILD=1)
    cloud.clock.step(101)
    cloud.assert_servers(ACTIVE=1)
    assert time.monotonic() - began < 20


def test_a_cloud_closes_while_its_servers_are_built_or_hang(make_cloud: Make) -> None:
    slow, hanging = make_cloud(), make_cloud()
    slow.slow_builds(3000)
    hanging.faults.add(at="driver", service="compute", operation="start", effect="hang")
    for one in (slow, hanging):
        boot(one)
        one.assert_servers(BUILD=1)
    began = time.monotonic()
    slow.close()
    hanging.close()
    assert time.monotonic() - began < 5


def test_objects(cloud: PrivateCloud) -> None:
    conn = cloud.connection()
    conn.object_store.create_container(name="c")
    conn.object_store.upload_object(container="c", name="o", data=b"hello" * 1000)
    assert conn.object_store.download_object("o", container="c") == b"hello" * 1000
    assert cloud.session().get(cloud.url + "/object-store/v1/AUTH_x/none", raise_exc=False).status_code in (403, 404)


def test_a_fork_begins_as_the_cloud_is_and_goes_its_own_way(make_cloud: Make) -> None:
    """Set up once, fork for each test."""
    cloud = make_cloud()
    cloud.user("ann", project="web")
    conn = cloud.connection("ann")
    server = boot(cloud, user="ann")
    volume = conn.block_storage.create_volume(size=1, name="data")
    conn.image.create_image("blob", disk_format="raw", container_format="bare", data=b"x" * 1000, wait=True)
    conn.object_store.create_container(name="c")
    conn.object_store.upload_object(container="c", name="o", data=b"first")
    cloud.clock.step(3600)
    token = conn.auth_token
    forks = [cloud.fork(), cloud.fork()]
    try:
        for n, fork in enumerate(forks):
            mine = fork.connection("ann")
            assert mine.compute.get_server(server).status == "ACTIVE"
            assert mine.image.download_image(mine.image.find_image("blob")).content == b"x" * 1000
            assert mine.object_store.download_object("o", container="c") == b"first"
            mine.object_store.upload_object(container="c", name="o", data=b"second")
            assert abs(fork.clock.now() - cloud.clock.now()) < 60
            url = fork.url + "/compute/v2.1/servers"
            answer = fork.session().get(url, headers={"X-Auth-Token": token}, authenticated=False)
            assert [s["id"] for s in answer.json()["servers"]] == [server]
            mine.compute.stop_server(server)
            mine.block_storage.delete_volume(volume)
            boot(fork, f"only-{n}", "ann")
            fork.assert_servers(ACTIVE=1, SHUTOFF=1)
            mine.compute.delete_server(server)
            fork.assert_servers(ACTIVE=1)
    finally:
        for fork in forks:
            fork.close()
    cloud.assert_servers(ACTIVE=1)
    assert conn.block_storage.get_volume(volume).status == "available"
    assert conn.object_store.download_object("o", container="c") == b"first"


def test_two_hundred_clouds_leave_nothing_behind() -> None:
    scratch: set[Path] = set()

    def count() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    def one(number: int) -> None:
        with nutshell.testing.cloud() as cloud:
            scratch.add(cloud.state.port(ImageFiles).directory)
            if number % 10 == 0:
                cloud.connection().compute.find_flavor("m1.tiny")
                cloud.clouds_yaml()
                scratch.add(cloud.directory)

    one(0)
    before = count()
    for number in range(200):
        one(number)
    after = count()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 3  # one more idle event loop at most
    assert len(scratch) >= 200
    assert not [directory for directory in scratch if directory.exists()]


def test_a_cloud_that_does_not_settle_says_which_loop_is_at_work_and_where(
    cloud: PrivateCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.settle()
    held = threading.Event()

    def found() -> Iterator[object]:
        held.wait(20)
        return iter(())

    monkeypatch.setattr(cloud.state.port(ImageFiles), "found", found)
    cloud._running.runner.wake("image-files")
    with pytest.raises(AssertionError, match=r"after 0\.2 s: loop image-files is at work in sweeping\.py:\d+"):
        cloud.settle(0.2)
    held.set()
    cloud.settle()
