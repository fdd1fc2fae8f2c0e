"""What may be fetched for a user: names and addresses in all their disguises."""

import socket
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from nutshell.image.fetch import Download, FetchRefused, FetchRules, judge, refusal


def names(*answers: str) -> Callable[..., list[Any]]:
    def lookup(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, 1, 6, "", (a, port)) for a in answers]

    return lookup


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1",
        "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::", "::127.0.0.1", "2001:db8::1", "fec0::1",
        "240.1.1.1", "::ffff:93.184.215.14",
    ],
)  # fmt: skip
def test_addresses_nobody_is_led_to(address: str) -> None:
    assert refusal(ip_address(address), ())
    with pytest.raises(FetchRefused, match="not allowed"):
        judge("http://innocent.example/", FetchRules(lookup=names("93.184.215.14", address)))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_addresses_open_to_all(address: str) -> None:
    assert refusal(ip_address(address), ()) == ""
    found = judge("https://example.com/x?y", FetchRules(lookup=names(address)))
    assert (found.port, [str(a) for a in found.addresses]) == (443, [str(ip_address(address))])


def test_a_network_the_operator_opened() -> None:
    rules = FetchRules(networks=[ip_network("10.1.0.0/16")], lookup=names("10.1.2.3"))
    assert judge("http://mirror.lan/", rules).host == "mirror.lan"
    with pytest.raises(FetchRefused):
        judge("http://10.2.0.1/", rules)


@pytest.mark.parametrize(
    "url",
    [
        "", "file:///etc/passwd", "ftp://example.com/", "http:///x", "http://", "//example.com", "example.com",
        "http://user@example.com/", "http://u:p@example.com/", "http://example.com:22/", "http://example.com:0/",
        "http://example.com:99999/", "http://example.com:x/", "http://2130706433/", "http://0x7f000001/",
        "http://0177.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://127.0.0.1./", "http://[::1]/", "http://[::1",
        "http://exa mple.com/", "http://example.com\\@10.0.0.1/", "http://example.com/\r\nX: y", "http://ex\u00e4mple.com/",
        "http://\u2460\u2461\u2466.0.0.1/", "http://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_what_is_no_address_to_fetch(url: str) -> None:
    with pytest.raises(FetchRefused):
        judge(url, FetchRules(lookup=names("93.184.215.14")))


def test_lists_of_the_operator() -> None:
    def may(url: str, **rules: Any) -> bool:
        try:
            judge(url, FetchRules(lookup=names("93.184.215.14"), **rules))
        except FetchRefused:
            return False
        return True

    assert may("http://a.example/", hosts=["A.example"])
    assert not may("http://b.example/", hosts=["a.example"])
    assert not may("http://a.example./", denied_hosts=["a.example"])
    assert may("http://a.example:8080/", ports=[])
    assert not may("http://a.example:8080/", ports=[], denied_ports=[8080])
    assert not may("http://a.example/", schemes=["https"])


def test_the_connection_goes_to_the_judged_address() -> None:
    """The name is asked once for each hop: a later answer cannot lead elsewhere."""
    asked: list[str] = []
    reached: list[tuple[str, int]] = []

    def lookup(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return names("93.184.215.14" if len(asked) == 1 else "127.0.0.1")(host, port)

    def connect(place: tuple[str, int], timeout: float) -> Any:
        reached.append(place)
        raise OSError("no network in a test")

    with pytest.raises(FetchRefused, match="no network"):
        Download("http://rebinding.example/", FetchRules(lookup=lookup, dial=connect))
    assert reached == [("93.184.215.14", 80)]
    assert asked == ["rebinding.example"]
