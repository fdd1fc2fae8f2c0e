"""Identity's pure parts: tokens as text, access rules, addresses in the catalog."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nutshell.core.errors import Unauthorized
from nutshell.core.policy import Who
from nutshell.core.service import Service
from nutshell.identity.access import admit
from nutshell.identity.catalog import substitute
from nutshell.identity.codec import METHODS, SCOPES, Claims, Codec, load_key, new_audit_id

KEY = b"k" * 32
ids = st.one_of(st.uuids().map(lambda u: u.hex), st.text(max_size=40), st.just("default"), st.just("A" * 32))
claims = st.builds(
    Claims,
    user_id=ids,
    methods=st.sets(st.sampled_from(METHODS), min_size=1).map(lambda s: tuple(m for m in METHODS if m in s)),
    scope=st.sampled_from(SCOPES),
    scope_id=ids,
    issued_at=st.floats(0, 4e9),
    expires_at=st.integers(0, 2**40),
    audit_id=st.builds(new_audit_id),
    chain=st.one_of(st.just(""), st.builds(new_audit_id)),
    app_credential_id=ids,
    trust_id=ids,
)


@given(claims)
def test_a_token_says_what_was_written(said: Claims) -> None:
    token = Codec(KEY).write(said)
    if len(token) <= 1024:
        assert Codec(KEY).read(token) == said
    assert token.isascii()


@given(claims, st.integers(0, 200), st.sampled_from("ABCxyz09-_"))
def test_a_changed_token_is_refused(said: Claims, place: int, letter: str) -> None:
    token = Codec(KEY).write(said)
    place = 2 + place % (len(token) - 3)  # the last character may hold bits that stand for nothing
    if token[place] != letter:
        with pytest.raises(Unauthorized):
            Codec(KEY).read(token[:place] + letter + token[place + 1 :])


@given(st.text())
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(Unauthorized):
        Codec(KEY).read(text)
    with pytest.raises(Unauthorized):
        Codec(KEY).read("nt" + text)


@given(claims)
def test_another_cloud_reads_nothing(said: Claims) -> None:
    with pytest.raises(Unauthorized):
        Codec(b"o" * 32).read(Codec(KEY).write(said))


def test_a_project_token_is_short() -> None:
    said = Claims("a" * 32, ("password",), "project", "b" * 32, 1.7e9, 1_700_003_600, new_audit_id())
    assert len(Codec(KEY).write(said)) < 160


def test_the_key_is_made_once_and_private(tmp_path: Any) -> None:
    first = load_key(tmp_path, "tokens")
    assert load_key(tmp_path, "tokens") == first
    assert len(first) == 32
    assert (tmp_path / "keys" / "tokens").stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path, "others") != first


@pytest.mark.parametrize(
    ("rule", "request_", "passes"),
    [
        ("compute GET /v2.1/servers", "compute GET /compute/v2.1/servers", True),
        ("compute GET /compute/v2.1/servers", "compute GET /compute/v2.1/servers", True),
        ("compute GET /v2.1/servers", "compute POST /compute/v2.1/servers", False),
        ("compute GET /v2.1/servers", "compute GET /compute/v2.1/servers/1", False),
        ("compute GET /v2.1/servers/*", "compute GET /compute/v2.1/servers/1", True),
        ("compute GET /v2.1/servers/*", "compute GET /compute/v2.1/servers/1/ips", False),
        ("compute GET /v2.1/servers/{id}/ips", "compute GET /compute/v2.1/servers/1/ips", True),
        ("compute GET /v2.1/**", "compute GET /compute/v2.1/servers/1/ips", True),
        ("compute GET /v2.1/a.c", "compute GET /compute/v2.1/abc", False),
        ("image GET /v2/images", "compute GET /compute/v2/images", False),
        ("block-storage GET /v3/volumes", "volume GET /volume/v3/volumes", True),
        ("volumev3 GET /v3/volumes", "volume GET /volume/v3/volumes", True),
    ],
)
def test_access_rules(rule: str, request_: str, passes: bool) -> None:
    kind, method, path = rule.split()
    who = Who(facts={"access_rules": [{"service": kind, "method": method, "path": path}]})
    name, asked, at = request_.split()
    service = Service(name=name, mount=f"/{name}")
    if passes:
        admit(who, service, asked, at)
    else:
        with pytest.raises(Unauthorized):
            admit(who, service, asked, at)


def test_no_access_rules_bind_nothing_and_an_empty_list_everything() -> None:
    service = Service(name="compute", mount="/compute")
    admit(Who(), service, "GET", "/compute/v2.1/servers")
    with pytest.raises(Unauthorized):
        admit(Who(facts={"access_rules": []}), service, "GET", "/compute/v2.1/servers")


def test_addresses_are_filled_in() -> None:
    known = {"base": "http://x", "project_id": "p"}
    assert substitute("$(base)s/volume/v3/$(project_id)s", known) == "http://x/volume/v3/p"
    assert substitute("$(base)s/volume/v3/%(tenant_id)s", {**known, "tenant_id": "t"}) == "http://x/volume/v3/t"
    assert substitute("$(base)s/v/$(project_id)s", {"base": "http://x", "project_id": ""}) is None
