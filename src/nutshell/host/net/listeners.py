"""Which namespaces our process listens in: metadata and DNS relays, opened again after a restart."""

import socket
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

from nutshell.host.net.advertisements import Advertised, Advertiser, open_socket
from nutshell.host.net.dns_relay import DnsRelay
from nutshell.host.net.loop import Loop
from nutshell.host.net.metadata import MetadataProxy
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.router_rules import METADATA_PORT

METADATA6 = "fe80::a9fe:a9fe"


class _Service(Protocol):
    async def stop(self) -> None: ...


class Listeners:
    """Services by the namespace they listen in. Opening one that is open already is nothing."""

    def __init__(self, upstream: tuple[str, str]) -> None:
        self._upstream = upstream
        self._loop = Loop("namespaces")
        self._lock = Lock()
        self._open: dict[str, tuple[int, list[_Service]]] = {}
        self._told: dict[str, tuple[tuple[int, tuple[Advertised, ...]], list[_Service]]] = {}

    def ensure_network(self, network_id: str, space: Namespace, ipv6: bool) -> None:
        """Metadata on the two well-known addresses and the relay that the network's dnsmasq asks."""

        def start() -> list[_Service]:
            sockets = [space.run(lambda: _tcp("169.254.169.254", 80))]
            if ipv6:
                sockets.append(space.run(lambda: _tcp6(METADATA6, 80, "ns0")))
            streams = space.run(lambda: _tcp("127.0.0.1", 53))
            datagrams = space.run(lambda: _udp("127.0.0.1", 53))
            relay = DnsRelay()
            self._loop.run(relay.start(datagrams, streams))
            return [relay, *self._metadata(sockets, {"X-Neutron-Network-ID": network_id})]

        self._ensure(space, start)

    def ensure_router(self, router_id: str, space: Namespace) -> None:
        """Metadata for guests whose subnet has no DHCP: redirected here by the router's rules."""

        def start() -> list[_Service]:
            listener = space.run(lambda: _tcp("0.0.0.0", METADATA_PORT))
            return [*self._metadata([listener], {"X-Neutron-Router-ID": router_id})]

        self._ensure(space, start)

    def ensure_advertisements(self, space: Namespace, said: tuple[Advertised, ...]) -> None:
        """The router's legs say this and no more."""

        def start() -> list[_Service]:
            made: list[_Service] = []
            for leg in said:
                opened = space.run(lambda link=leg.link: open_socket(link))  # type: ignore[misc]
                advertiser = Advertiser(leg)
                self._loop.run(advertiser.start(opened))
                made.append(advertiser)
            return made

        with self._lock:
            key = f"{space.name} advertisements"
            told, services = self._told.get(key, ((0, ()), []))
            wanted = (space.inode(), said)
            if told != wanted:
                for service in services:
                    self._loop.run(service.stop())
                self._told[key] = (wanted, start() if said else [])

    def remove(self, space: Namespace) -> None:
        with self._lock:
            _, services = self._open.pop(space.name, (0, []))
            _, others = self._told.pop(f"{space.name} advertisements", ((0, ()), []))
            for service in [*services, *others]:
                self._loop.run(service.stop())

    def close(self) -> None:
        with self._lock:
            for services in [*(s for _, s in self._open.values()), *(s for _, s in self._told.values())]:
                for service in services:
                    self._loop.run(service.stop())
            self._open.clear()
            self._told.clear()
            self._loop.close()

    def _ensure(self, space: Namespace, start: Callable[[], list[_Service]]) -> None:
        with self._lock:
            inode, services = self._open.get(space.name, (0, []))
            if inode and inode == space.inode():
                return
            for service in services:  # into a namespace that somebody deleted and that was made again
                self._loop.run(service.stop())
            self._open[space.name] = (space.inode(), start())

    def _metadata(self, sockets: list[socket.socket], facts: dict[str, str]) -> list[MetadataProxy]:
        proxies = []
        for listener in sockets:
            proxy = MetadataProxy(self._upstream, facts)
            self._loop.run(proxy.start(listener))
            proxies.append(proxy)
        return proxies


def _bound(family: int, kind: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND: the address may come a moment later
        made.bind(address)
        made.setblocking(False)
        if kind == socket.SOCK_STREAM:
            made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _tcp(address: str, port: int) -> socket.socket:
    return _bound(socket.AF_INET, socket.SOCK_STREAM, (address, port))


def _udp(address: str, port: int) -> socket.socket:
    return _bound(socket.AF_INET, socket.SOCK_DGRAM, (address, port))


def _tcp6(address: str, port: int, link: str) -> socket.socket:
    return _bound(socket.AF_INET6, socket.SOCK_STREAM, (address, port, 0, socket.if_nametoindex(link)))
