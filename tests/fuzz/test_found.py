"""What the tests of isolation and the fuzzing found, each as a test of its own."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.fuzz.isolation import missing
from tests.fuzz.people import Side, furnish, person
from tests.fuzz.world import World

from nutshell.core.errors import RequestTimedOut
from nutshell.core.http import read_body


@dataclass(frozen=True)
class Two:
    """A cloud with two projects."""

    world: World
    victim: Side
    own: Side


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    world = World(tmp_path_factory.mktemp("found"))
    try:
        yield Two(world, furnish(world, "victim"), furnish(world, "own"))
    finally:
        world.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/image/v2/images", "image"),
        ("/network/v2.0/networks", "network"),
        ("/network/v2.0/ports", "port"),
        ("/volume/v3/volumes", "volume"),
        ("/compute/v2.1/servers", "server"),
        ("/identity/v3/credentials", "credential"),
    ],
)
def test_a_page_does_not_continue_after_another_projects_thing(two: Two, path: str, kind: str) -> None:
    """The marker was looked up among everybody's: 200 told that the id exists, and where it sorts."""
    values = (two.victim.ids[kind], missing(kind, two.victim.ids[kind]))
    found = {two.world.call("GET", f"{path}?marker={value}", token=two.own.token).status for value in values}
    assert found in ({400}, {404})
    assert two.world.call("GET", f"{path}?marker={two.own.ids[kind]}", token=two.own.token).status == 200


def test_a_domains_listing_does_not_continue_after_another_domain(two: Two) -> None:
    ids = two.own.ids
    token, _ = person(two.world, "reads the domain", ["reader"], ids["domain"], {"domain": ids["domain"]})
    answer = two.world.call("GET", f"/identity/v3/domains?marker={two.victim.ids['domain']}", token=token)
    assert answer.status == 400


@pytest.mark.parametrize("path", ["/volume/v3/types", "/compute/v2.1/flavors"])
def test_what_nobody_but_an_administrator_deletes_is_refused_alike_there_or_not(two: Two, path: str) -> None:
    kind = "volume_type" if "types" in path else "flavor"
    for value in (two.victim.ids[kind], missing(kind, two.victim.ids[kind])):
        assert two.world.call("DELETE", f"{path}/{value}", token=two.own.token).status == 403


def test_default_quotas_name_no_private_volume_type_of_others(two: Two) -> None:
    path = f"/volume/v3/os-quota-sets/{two.own.ids['project']}/defaults"
    found = two.world.done("GET", path, token=two.own.token)["quota_set"]
    assert "volumes_own-type" in found
    assert "volumes_victim-type" not in found


def test_default_compute_quotas_do_not_tell_which_projects_exist(two: Two) -> None:
    found = set()
    for project in (two.victim.ids["project"], "f" * 32):
        found.add(two.world.call("GET", f"/compute/v2.1/os-quota-sets/{project}/defaults", token=two.own.token).status)
    assert len(found) == 1


def test_a_server_is_not_placed_beside_another_projects(two: Two) -> None:
    """The hint same_host found any server: whether it could be met told that the id exists."""
    given = {"name": "s", "flavorRef": "42", "networks": "none", "imageRef": two.own.ids["image"]}
    path = "/compute/v2.1/servers"
    statuses = []
    for near in (two.victim.ids["server"], two.own.ids["server"]):
        body = {"server": given, "os:scheduler_hints": {"same_host": [near]}}
        reply = two.world.call("POST", path, body, token=two.own.token)
        assert reply.status == 202, reply.raw
        here = f"{path}/{reply.body['server']['id']}"

        def status(here: str = here) -> str:
            return str(two.world.done("GET", here, token=two.own.token)["server"]["status"])

        two.world.until(lambda status=status: status() in ("ACTIVE", "ERROR"))
        statuses.append(status())
    assert statuses == ["ERROR", "ACTIVE"]


def test_a_trust_on_a_project_without_roles_does_not_tell_that_it_exists(two: Two) -> None:
    told = []
    for project in (two.victim.ids["project"], "f" * 32):
        given = {"trustor_user_id": two.own.ids["user"], "trustee_user_id": two.own.ids["user"],
                 "impersonation": False, "project_id": project, "roles": [{"name": "member"}]}  # fmt: skip
        reply = two.world.call("POST", "/identity/v3/OS-TRUST/trusts", {"trust": given}, token=two.own.token)
        told.append((reply.status, reply.raw.decode().replace(project, "ID")))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "body", [b"[" * 3000, b'{"a":' * 900 + b"1" + b"}" * 900, b'{"server": ' + b"[" * 65 + b"]" * 65 + b"}"]
)
def test_a_body_nested_too_deeply_is_malformed(two: Two, body: bytes) -> None:
    """It was a RecursionError: 500."""
    reply = two.world.call("POST", "/compute/v2.1/servers", body, token=two.own.token)
    assert reply.status == 400
    assert "Malformed" in reply.body["badRequest"]["message"]


@pytest.mark.parametrize("inside", ["x", "[" * 3000, '{"a": 1}', "[1]", "null"])
def test_an_image_with_a_mapping_of_nonsense_does_not_boot(two: Two, inside: str) -> None:
    """Anybody may give an image this property: reading it was a 500."""
    given = {"name": "odd", "disk_format": "raw", "container_format": "bare", "block_device_mapping": inside}
    image = two.world.done("POST", "/image/v2/images", given, token=two.own.token)["id"]
    kind = {"Content-Type": "application/octet-stream"}
    assert (
        two.world.call("PUT", f"/image/v2/images/{image}/file", b"x" * 512, token=two.own.token, headers=kind).status
        == 204
    )
    server = {"name": "s", "flavorRef": "42", "networks": "none", "imageRef": image}
    assert two.world.call("POST", "/compute/v2.1/servers", {"server": server}, token=two.own.token).status == 400


def test_a_credential_nested_too_deeply_is_refused(two: Two) -> None:
    given = {"type": "ec2", "blob": "[" * 3000, "project_id": two.own.ids["project"]}
    path = "/identity/v3/credentials"
    assert two.world.call("POST", path, {"credential": given}, token=two.own.token).status == 400


def test_a_path_without_a_slash_is_no_fault(two: Two) -> None:
    """`OPTIONS *`: the server's own 500, with nothing in the log."""
    assert two.world.call("OPTIONS", "*").status == 405


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def receive() -> dict[str, object]:
        await asyncio.sleep(30)
        return {}

    begun = time.monotonic()
    with pytest.raises(RequestTimedOut):
        asyncio.run(read_body(receive, 10, wait_s=0.05))
    assert time.monotonic() - begun < 5


def test_detaching_tells_nothing_of_another_projects_attachment(two: Two) -> None:
    path, told = f"/volume/v3/volumes/{two.own.ids['volume']}/action", set()
    for value in (two.victim.ids["attachment"], missing("attachment", two.victim.ids["attachment"])):
        told.add(two.world.call("POST", path, {"os-detach": {"attachment_id": value}}, token=two.own.token).status)
    assert told == {404}
