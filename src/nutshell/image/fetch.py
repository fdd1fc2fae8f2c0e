"""Downloads from addresses that users name, without being led into networks they cannot reach themselves.

Every answer of the name service is judged and the connection goes to a judged address, so a name that changes between
look and leap gains nothing; each redirect is judged anew (RFC 3986; RFC 6890 for addresses that are not global; RFC
6052 and 8215 for IPv4 inside IPv6).
"""

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

CHUNK = 1 << 20
REDIRECTS = (301, 302, 303, 307, 308)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_EMBEDDING = ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")  # the last 32 bits are an IPv4 address
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)(\.(0[xX][0-9a-fA-F]*|[0-9]+)){0,3}\.?")


class FetchRefused(Exception):
    """The address must not be fetched, or could not be; the text says why, for the user."""


@dataclass(frozen=True)
class FetchRules:
    """What may be fetched. An allow-list that is not empty wins over the list of what is denied."""

    schemes: Sequence[str] = ("http", "https")
    denied_schemes: Sequence[str] = ()
    hosts: Sequence[str] = ()
    denied_hosts: Sequence[str] = ()
    ports: Sequence[int] = (80, 443)
    denied_ports: Sequence[int] = ()
    networks: Sequence[Network] = ()  # open although they are not global, or are this machine's own
    max_bytes: int = 0  # 0: no limit
    max_s: float = 3600.0
    idle_s: float = 30.0
    redirects: int = 5
    lookup: Callable[..., list[Any]] = field(default=socket.getaddrinfo, compare=False)
    dial: Callable[..., socket.socket] = field(default=socket.create_connection, compare=False)


@dataclass(frozen=True)
class Target:
    """An address that was judged, and where its connection may go."""

    url: SplitResult
    host: str
    port: int
    addresses: Sequence[Address]


def judge(url: str, rules: FetchRules) -> Target:
    """The address taken apart, with the judged answers of the name service. FetchRefused."""
    if not isinstance(url, str) or re.search(r"[\x00-\x20\x7f\\]", url) or not url.isascii():
        raise FetchRefused("the address holds characters that a URL cannot")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchRefused("the address is not a URL") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".").lower()
    if scheme not in ("http", "https") or not _listed(scheme, rules.schemes, rules.denied_schemes):
        raise FetchRefused(f"the scheme {scheme or '(none)'} is not allowed")
    if parts.username is not None or parts.password is not None:
        raise FetchRefused("the address holds a user name")
    if not host:
        raise FetchRefused("the address names no host")
    if port is None:
        port = 443 if scheme == "https" else 80
    if not _listed(port, rules.ports, rules.denied_ports):
        raise FetchRefused(f"the port {port} is not allowed")
    if not _listed(host, [h.lower() for h in rules.hosts], [h.lower() for h in rules.denied_hosts]):
        raise FetchRefused(f"the host {host} is not allowed")
    return Target(parts, host, port, _resolve(host, port, rules))


def _listed(value: object, allowed: Sequence[object], denied: Sequence[object]) -> bool:
    return value in allowed if allowed else value not in denied


def _resolve(host: str, port: int, rules: FetchRules) -> list[Address]:
    try:
        literal: list[Address] = [ipaddress.ip_address(host)]
    except ValueError:
        literal = []
    if not literal and _NUMBER.fullmatch(host):
        raise FetchRefused(f"{host} is not written as an address is")
    if literal:
        found = literal
    else:
        try:
            answers = rules.lookup(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchRefused(f"the host {host} is not known") from None
        found = [ipaddress.ip_address(a[4][0].partition("%")[0]) for a in answers]
    if not found:
        raise FetchRefused(f"the host {host} is not known")
    for one in found:
        why = refusal(one, rules.networks)
        if why:
            raise FetchRefused(f"the host {host} is not allowed: {why}")
    return list(dict.fromkeys(found))


def refusal(address: Address, networks: Sequence[Network]) -> str:
    """Why nobody may be led to this address; "" for one that is open to all."""
    if any(address.version == n.version and address in n for n in networks):
        return ""
    for inner in _embedded(address):
        why = refusal(inner, networks)
        if why:
            return why
    unicast = address.version == 4 or address in ipaddress.ip_network("2000::/3")
    if not address.is_global or address.is_multicast or not unicast:
        return "its address is not global"
    if _is_own(address):
        return "its address is this cloud's own"
    return ""


def _embedded(address: Address) -> Iterator[ipaddress.IPv4Address]:
    """IPv4 addresses that a network on the way would make of an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in ipaddress.ip_network(n) for n in _EMBEDDING):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _is_own(address: Address) -> bool:
    """Whether this machine answers to the address: one can only bind to those."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


class Download:
    """The data at an address, as it comes; a context that closes the connection.

    `size`: what the server announced. FetchRefused for what is not allowed, fails, is too large or takes too long.
    """

    def __init__(self, url: str, rules: FetchRules) -> None:
        self._rules, self._until = rules, time.monotonic() + rules.max_s
        self._connection, self._answer = self._open(url)
        length = self._answer.getheader("Content-Length", "")
        self.size = int(length) if length.isdecimal() else None
        if rules.max_bytes and self.size is not None and self.size > rules.max_bytes:
            self.close()
            raise FetchRefused(f"{self.size} bytes are more than the limit of {rules.max_bytes}")

    def _open(self, url: str) -> "tuple[HTTPConnection, HTTPResponse]":
        from http.client import HTTPException

        for _ in range(self._rules.redirects + 1):
            target = judge(url, self._rules)
            connection = _connect(target, self._rules)
            try:
                path = (target.url.path or "/") + (f"?{target.url.query}" if target.url.query else "")
                connection.request("GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "nutshell"})
                answer = connection.getresponse()
            except (OSError, HTTPException) as why:
                connection.close()
                raise FetchRefused(f"{target.host} does not answer: {why}") from None
            if answer.status == 200 and answer.getheader("Content-Encoding", "identity") == "identity":
                return connection, answer
            place = answer.getheader("Location")
            connection.close()
            if answer.status not in REDIRECTS or not place:
                raise FetchRefused(f"{target.host} answers {answer.status} {answer.reason}")
            url = urljoin(url, place)
        raise FetchRefused(f"more than {self._rules.redirects} redirects")

    def __enter__(self) -> "Download":
        return self

    def __exit__(self, *why: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        from http.client import HTTPException

        total = 0
        try:
            while True:
                try:
                    data = self._answer.read1(CHUNK)
                except (OSError, HTTPException) as why:
                    raise FetchRefused(f"the download broke off: {why}") from None
                if not data:
                    break
                total += len(data)
                if self._rules.max_bytes and total > self._rules.max_bytes:
                    raise FetchRefused(f"the data is more than the limit of {self._rules.max_bytes} bytes")
                if time.monotonic() > self._until:
                    raise FetchRefused(f"the download took more than {self._rules.max_s:.0f} s")
                yield data
            if self.size is not None and total != self.size:
                raise FetchRefused(f"the download broke off after {total} of {self.size} bytes")
        finally:
            self.close()

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def _connect(target: Target, rules: FetchRules) -> "HTTPConnection":
    """A connection to one of the judged addresses; over TLS the certificate must be the host's."""
    import ssl
    from http.client import HTTPConnection

    connection = HTTPConnection(target.host, target.port, timeout=rules.idle_s)
    failure = "no address"
    for address in target.addresses:
        try:
            raw = rules.dial((str(address), target.port), timeout=rules.idle_s)
            if target.url.scheme.lower() == "https":
                raw = ssl.create_default_context().wrap_socket(raw, server_hostname=target.host)
            connection.sock = raw
            return connection
        except OSError as why:
            failure = str(why)
    raise FetchRefused(f"{target.host} does not answer: {failure}")
