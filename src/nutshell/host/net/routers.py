"""Routers: a namespace each, with a leg on every network, routes, address translation and metadata."""

import logging
import socket
import struct
import time
from collections.abc import Set
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from threading import Thread

from nutshell.core.drivers import DriverFault
from nutshell.host.net import conntrack
from nutshell.host.net.advertisements import advertised
from nutshell.host.net.fabric import Fabric
from nutshell.host.net.listeners import Listeners
from nutshell.host.net.names import checked
from nutshell.host.net.namespaces import Namespace, in_namespace
from nutshell.host.net.nft import NETFILTER, NftError
from nutshell.host.net.router_rules import nat_text
from nutshell.host.net.specs import Specs
from nutshell.network.capability import Network, Router, RouterLeg

_LOG = logging.getLogger("nutshell.host.net")
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/accept_dad": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",  # a guest that calls its neighbour's floating IP must come by again
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/arp_ignore": "1",  # a leg answers for its own addresses only
    "ipv4/conf/all/arp_announce": "2",
}


class Routers:
    def __init__(self, fabric: Fabric, specs: Specs[Router], networks: Specs[Network], listeners: Listeners) -> None:
        self._fabric = fabric
        self._names = fabric.names
        self._specs = specs
        self._networks = networks
        self._listeners = listeners
        self._spaces: dict[str, Namespace] = {}
        self._settled: set[str] = set()  # routers whose last call in this process went through: no stray legs

    def ensure(self, router: Router) -> None:
        id = checked(router.router_id)
        for leg in _legs(router):
            checked(leg.port_id)
            if leg.network_id not in self._fabric.state.zones:
                raise DriverFault(f"router {id} has a leg on unknown network {leg.network_id}")
        if router.floating and router.gateway is None:
            raise DriverFault(f"router {id} has floating addresses but no gateway", final=True)
        before = self._specs.held.get(id)
        settled = id in self._settled
        self._settled.discard(id)
        self._specs.put(id, router)
        space = self.space(id)
        space.ensure(_SYSCTLS)
        if before is None or not settled or {*_legs(before)} - {*_legs(router)}:
            self._remove_old_legs(router, space)
        announce: list[tuple[str, str]] = []
        gateway = router.gateway
        for leg in router.legs:
            announce += self._ensure_leg(router, leg, space, leg.addresses)
        name = self._names.leg(gateway.port_id, True) if gateway is not None else ""
        try:
            space.nft().run(nat_text(router, name))
        except NftError as error:
            raise DriverFault(f"the kernel refuses the router's rules: {error}") from error
        if gateway is not None:
            own = {str(ip_interface(text).ip) for text in gateway.addresses}
            extra = [f"{f.floating_ip}/32" for f in router.floating if f.floating_ip not in own]
            announce += self._ensure_leg(router, gateway, space, (*gateway.addresses, *extra))
        refused = _set_routes(router, space, name) if router.up else []
        self._listen(router)
        if announce and router.up:
            Thread(target=_announce, args=(space.path, announce), name="announce", daemon=True).start()
        self._end_connections(before, router, space)
        self._settled.add(id)
        for why in refused:
            _LOG.warning("router %s: %s", id, why)  # a next hop on a leg that is gone: the rest of the router works

    def remove(self, router_id: str) -> None:
        id = checked(router_id)
        space = self.space(id)
        self._listeners.remove(space)
        if self._fabric.space.exists():
            links = self._fabric.space.links()
            links.delete_all([link.name for link in links.all() if link.name.startswith("rl") and link.alias == id])
        space.delete()
        self._spaces.pop(id, None)
        self._settled.discard(id)
        self._specs.drop(id)

    def adopt(self) -> None:
        """After a restart of our process: listen again where guests expect an answer."""
        for id in self._specs.held:
            if self.space(id).exists():
                self._listen(self._specs.held[id])

    def mend(self, present: Set[str]) -> bool:
        """Make routers whole again whose legs are not all among the fabric's links; whether there was one."""
        mended = False
        for id, router in list(self._specs.held.items()):
            ends = {self._names.leg_end(leg.port_id) for leg in _legs(router)}
            if not ends <= present or not self.space(id).exists():
                _LOG.warning("router %s has lost a part: made again", id)
                self.ensure(router)
                mended = True
        return mended

    def network_changed(self, network: Network) -> None:
        """Routers with a leg on the network advertise its subnets as they are now."""
        for router in self._specs.held.values():
            here = any(leg.network_id == network.network_id for leg in router.legs)
            if here and self.space(router.router_id).exists():
                self._listen(router)

    def _listen(self, router: Router) -> None:
        space = self.space(router.router_id)
        self._listeners.ensure_router(router.router_id, space)
        names = {leg.port_id: self._names.leg(leg.port_id, False) for leg in router.legs}
        links = space.links()
        said = []
        for leg in advertised(router, self._networks.held, names):
            link = links.find(leg.link)
            if link is not None:
                said.append(replace(leg, index=link.index))
        self._listeners.ensure_advertisements(space, tuple(said))

    def space(self, router_id: str) -> Namespace:
        if router_id not in self._spaces:
            self._spaces[router_id] = Namespace(self._names.router(router_id))
        return self._spaces[router_id]

    def _ensure_leg(
        self, router: Router, leg: RouterLeg, space: Namespace, addresses: tuple[str, ...]
    ) -> list[tuple[str, str]]:
        """The leg with these addresses; returns (link, address) of IPv4 addresses that are new on it."""
        links, inner = self._fabric.space.links(), space.links()
        end = self._names.leg_end(leg.port_id)
        name = self._names.leg(leg.port_id, router.gateway is not None and leg.port_id == router.gateway.port_id)
        outer_link = links.find(end)
        if outer_link is None or inner.find(name) is None:
            links.delete(end)
            inner.delete(name)
            with open(space.path, "rb") as file:
                links.add_veth(end, name, file.fileno())
            outer_link = links.need(end)
        mtu = self._networks.held[leg.network_id].mtu
        bridge = links.need(self._names.bridge(leg.network_id))
        links.shape(outer_link, up=True, mtu=mtu, master=bridge.index, alias=router.router_id)
        link = inner.need(name)
        if link.mac != leg.mac.lower():
            inner.shape(link, up=link.up, mac=leg.mac)
        inner.shape(link, up=router.up, mtu=mtu, mac=leg.mac)
        new = inner.set_addresses(link, addresses)
        return [(name, str(ip_interface(text).ip)) for text in new if ip_interface(text).version == 4]

    def _remove_old_legs(self, router: Router, space: Namespace) -> None:
        """Legs that the router lost; also one whose role changed between leg and gateway."""
        links, inner = self._fabric.space.links(), space.links()
        ends = {self._names.leg_end(leg.port_id) for leg in _legs(router)}
        for link in links.all():
            if link.name.startswith("rl") and link.alias == router.router_id and link.name not in ends:
                links.delete(link.name)
        names = {self._names.leg(leg.port_id, False) for leg in router.legs}
        if router.gateway is not None:
            names.add(self._names.leg(router.gateway.port_id, True))
        for link in inner.all():
            if link.name != "lo" and link.name not in names:
                inner.delete(link.name)

    def _end_connections(self, before: Router | None, router: Router, space: Namespace) -> None:
        """What went through a floating IP that is no longer there ends."""
        if before is None:
            return
        gone = set(before.floating) - set(router.floating)
        if gone:
            with space.socket(NETFILTER) as netlink:
                conntrack.forget(netlink, {item.floating_ip for item in gone})


def _set_routes(router: Router, space: Namespace, gateway_link: str) -> list[str]:
    """The router's own routes and its default route; the gateway's next hop may lie outside of its subnet."""
    routes, beyond = list(router.routes), {}
    links = space.links()
    if router.gateway is not None and router.next_hop:
        hop = ip_address(router.next_hop)
        routes.append(("0.0.0.0/0" if hop.version == 4 else "::/0", router.next_hop))
        if not any(hop in ip_interface(text).network for text in router.gateway.addresses):
            beyond[str(hop)] = links.need(gateway_link)
    return links.set_routes(routes, beyond)


def _legs(router: Router) -> tuple[RouterLeg, ...]:
    return (*router.legs, *((router.gateway,) if router.gateway is not None else ()))


def _announce(path: str, addresses: list[tuple[str, str]]) -> None:
    """Tell the neighbours, by gratuitous ARP (RFC 5227, 2.3), which (link, address) are there now.

    Runs beside the call: to close such a socket takes the kernel 20 ms. Twice, as one broadcast may be lost.
    """
    for _ in range(2):
        with suppress(OSError):  # the router may be gone again
            in_namespace(path, lambda: [_announce_one(link, ip) for link, ip in addresses])
        time.sleep(1)


def _announce_one(link: str, ip: str) -> bool:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((link, 0))  # sends only, so no packet of the link is copied to it
        mac: bytes = sender.getsockname()[4]
        address = socket.inet_aton(ip)
        for operation, target in ((1, b"\0" * 6), (2, mac)):
            message = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address + target + address
            sender.send(b"\xff" * 6 + mac + b"\x08\x06" + message)
    return True
