"""Identity's pure parts: tokens as text, access rules, addresses in the catalog."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nutshell.core.clock import Clock
from nutshell.core.config import ConfigError
from nutshell.core.errors import TooManyRequests, Unauthorized
from nutshell.core.policy import Who
from nutshell.core.service import Service
from nutshell.identity import totp
from nutshell.identity.access import admit
from nutshell.identity.catalog import substitute
from nutshell.identity.codec import METHODS, SCOPES, Claims, Codec, new_audit_id
from nutshell.identity.keys import load_master
from nutshell.identity.logins import Gate
from nutshell.identity.settings import IdentityConfig


class Ring:
    """Keys by number; the highest signs."""

    def __init__(self, *keys: bytes) -> None:
        self.keys = dict(enumerate(keys, 1))

    def newest(self, purpose: str) -> tuple[int, bytes]:
        return max(self.keys.items())

    def find(self, purpose: str, number: int) -> bytes | None:
        return self.keys.get(number)


KEY = Ring(b"k" * 32)
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
        Codec(Ring(b"o" * 32)).read(Codec(KEY).write(said))


def test_a_project_token_is_short() -> None:
    said = Claims("a" * 32, ("password",), "project", "b" * 32, 1.7e9, 1_700_003_600, new_audit_id())
    assert len(Codec(KEY).write(said)) < 160


def test_the_key_is_made_once_and_private(tmp_path: Any) -> None:
    first = load_master(tmp_path)
    assert load_master(tmp_path) == first
    assert len(first) == 32
    assert (tmp_path / "keys" / "master").stat().st_mode & 0o777 == 0o600
    (tmp_path / "keys" / "master").write_bytes(b"cut")
    with pytest.raises(ConfigError):
        load_master(tmp_path)


def test_tokens_outlive_the_key_that_is_replaced_but_not_the_one_that_is_gone() -> None:
    said = Claims("a" * 32, ("password",), "unscoped", "", 1.7e9, 1_700_003_600, new_audit_id())
    token = Codec(Ring(b"1" * 32)).write(said)
    both = Codec(Ring(b"1" * 32, b"2" * 32))
    assert both.read(token) == said
    renewed = both.write(said)
    assert renewed != token
    assert both.read(renewed) == said
    with pytest.raises(Unauthorized):
        Codec(Ring(b"1" * 32)).read(renewed)


# RFC 6238, appendix B (SHA-1); the last six of its eight digits
@pytest.mark.parametrize(
    ("at", "expected"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_one_time_passwords_are_those_of_the_rfc(at: int, expected: str) -> None:
    key = b"12345678901234567890"
    step = at // 30
    assert totp.code(key, step) == expected
    assert totp.find_step(key, expected, at, 1, 0) == step
    assert totp.find_step(key, expected, at + 30, 1, 0) == step
    assert totp.find_step(key, expected, at + 60, 1, 0) is None
    assert totp.find_step(key, expected, at, 1, step) is None  # used
    assert totp.find_step(key, "ü", at, 1, 0) is None


def test_the_secret_of_an_authenticator_is_base32() -> None:
    assert totp.read_secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ") == b"12345678901234567890"
    assert totp.read_secret("gezdgnbvgy") == b"123456"
    assert totp.read_secret("not base32 !") is None


def test_an_address_that_fails_waits_and_others_do_not() -> None:
    clock = Clock()
    clock.stop()
    gate = Gate(IdentityConfig(login_failures_free=3, login_wait_s=60), clock)
    for _ in range(3):
        gate.admit("10.0.0.1", "u")
        gate.failed("10.0.0.1", "u")
    with pytest.raises(TooManyRequests) as refused:
        gate.admit("10.0.0.1", "u")
    assert refused.value.headers["Retry-After"] == "2"
    gate.admit("10.0.0.2", "u")
    gate.admit("10.0.0.1", "other")
    clock.step(2)
    gate.admit("10.0.0.1", "u")
    for _ in range(10):
        gate.failed("10.0.0.1", "u")
    clock.step(59)
    with pytest.raises(TooManyRequests):
        gate.admit("10.0.0.1", "u")
    clock.step(2)
    gate.admit("10.0.0.1", "u")  # never longer than the longest wait
    for n in range(30):
        gate.failed("10.0.0.3", f"user{n}")
    with pytest.raises(TooManyRequests):
        gate.admit("10.0.0.3", "a new one")  # who tries many users waits, too


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
