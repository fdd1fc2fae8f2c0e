"""Networks: a bridge in the fabric, a namespace with DHCP, DNS and metadata, external ones with a link to the host."""

import logging
from collections.abc import Set
from ipaddress import ip_network

from nutshell.core.drivers import DriverFault
from nutshell.host.net import rules
from nutshell.host.net.dnsmasq import METADATA, Dnsmasq
from nutshell.host.net.fabric import Fabric, free_number
from nutshell.host.net.links import Link
from nutshell.host.net.listeners import METADATA6, Listeners
from nutshell.host.net.names import checked
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.outside import Outside
from nutshell.host.net.specs import Specs
from nutshell.network.capability import Network, Router

_LOG = logging.getLogger("nutshell.host.net")
_SYSCTLS = {"ipv6/conf/all/accept_ra": "0", "ipv6/conf/default/accept_ra": "0", "ipv6/conf/default/accept_dad": "0"}


class Networks:
    def __init__(
        self, fabric: Fabric, specs: Specs[Network], zones: Specs[rules.Zone], routers: Specs[Router],
        outside: Outside, listeners: Listeners,
    ) -> None:  # fmt: skip
        self._fabric = fabric
        self._names = fabric.names
        self._specs = specs
        self._zones = zones
        self._routers = routers
        self._outside = outside
        self._listeners = listeners
        self._spaces: dict[str, Namespace] = {}
        self._servers: dict[str, Dnsmasq] = {}

    def ensure(self, network: Network) -> None:
        id = checked(network.network_id)
        for other in self._specs.held.values():
            if other.segment == network.segment and other.network_id != id:
                raise DriverFault(f"segment {network.segment} is used by network {other.network_id}", final=True)
        before = self._specs.held.get(id)
        self._ensure_zone(id)
        self._specs.put(id, network)
        bridge = self._ensure_bridge(network)
        if any(subnet.dhcp and subnet.dhcp_ip for subnet in network.subnets):
            self._ensure_service(network, bridge)
        elif self.space(id).exists() or (before is not None and before.dhcp_port_id):
            self._remove_service(id)
        externals = [other for other in self._specs.held.values() if other.external]
        if network.external:
            self._outside.ensure(network, self._fabric.space, bridge, externals)
        elif before is not None and before.external:
            self._outside.remove(id, externals)
            self._fabric.space.links().delete(self._names.outside_end(id))

    def remove(self, network_id: str) -> None:
        id = checked(network_id)
        for port_id, numbered in self._fabric.state.ports.items():
            if numbered.port.network_id == id:
                raise DriverFault(f"network {id} still has port {port_id}")
        for router in self._routers.held.values():
            for leg in (*router.legs, *((router.gateway,) if router.gateway else ())):
                if leg.network_id == id:
                    raise DriverFault(f"network {id} still has a leg of router {router.router_id}")
        self._remove_service(id, keep_link=True)
        self._outside.remove(id, [n for n in self._specs.held.values() if n.external and n.network_id != id])
        if self._fabric.space.exists():
            links = self._fabric.space.links()
            links.delete_all([self._names.dhcp_end(id), self._names.outside_end(id), self._names.bridge(id)])
        zone = self._fabric.state.zones.get(id)
        if zone is not None:
            self._fabric.move(self._fabric.state.without(network_id=id), rules.remove_zone(zone))
        self._zones.drop(id)
        self._specs.drop(id)

    def adopt(self) -> None:
        """After a restart of our process: listen again where guests expect an answer."""
        for id, network in self._specs.held.items():
            space = self.space(id)
            if space.exists():
                links = space.links()
                if links.find("ns0") is not None and any(subnet.dhcp for subnet in network.subnets):
                    self._listeners.ensure_network(id, space, _has_ipv6(network))

    def mend(self, present: Set[str]) -> bool:
        """Make networks whole again that lost a link in the fabric or their DHCP server; whether there was one."""
        mended = False
        for id, network in list(self._specs.held.items()):
            served = any(subnet.dhcp and subnet.dhcp_ip for subnet in network.subnets)
            parts = {self._names.bridge(id)}
            parts |= {self._names.dhcp_end(id)} if served else set()
            parts |= {self._names.outside_end(id)} if network.external else set()
            if not parts <= present or (served and not self._server(id).process()):
                _LOG.warning("network %s has lost a part: made again", id)
                self.ensure(network)
                mended = True
        return mended

    def space(self, network_id: str) -> Namespace:
        if network_id not in self._spaces:
            self._spaces[network_id] = Namespace(self._names.network(network_id))
        return self._spaces[network_id]

    def _ensure_zone(self, id: str) -> None:
        zones = self._fabric.state.zones
        if id in zones:
            self._fabric.ensure()
            return
        zone = rules.Zone(self._names.bridge(id), free_number(zone.number for zone in zones.values()))
        self._fabric.move(self._fabric.state.with_zone(id, zone), rules.zone_rules(zone))
        self._zones.put(id, zone)

    def _ensure_bridge(self, network: Network) -> Link:
        links = self._fabric.space.links()
        name = self._names.bridge(network.network_id)
        bridge = links.find(name)
        if bridge is None:
            links.add_bridge(name)
            bridge = links.need(name)
        shrinks = bridge.mtu != network.mtu
        links.shape(bridge, up=True, mtu=network.mtu, alias=network.network_id)
        if shrinks:
            for link in links.all():
                if link.master == bridge.index:
                    links.shape(link, up=link.up, mtu=network.mtu)
        return bridge

    def _ensure_service(self, network: Network, bridge: Link) -> None:
        space, links = self.space(network.network_id), self._fabric.space.links()
        space.ensure(_SYSCTLS)
        end = self._names.dhcp_end(network.network_id)
        inner = space.links()
        outer_link = links.find(end)
        if outer_link is None or inner.find("ns0") is None:
            links.delete(end)
            inner.delete("ns0")
            with open(space.path, "rb") as file:
                links.add_veth(end, "ns0", file.fileno())
            outer_link = links.need(end)
        links.shape(outer_link, up=True, mtu=network.mtu, master=bridge.index, alias=network.network_id)
        link = inner.need("ns0")
        inner.shape(link, up=True, mtu=network.mtu, mac=network.dhcp_mac)
        served = [subnet for subnet in network.subnets if subnet.dhcp and subnet.dhcp_ip]
        addresses = [f"{s.dhcp_ip}/{ip_network(s.cidr).prefixlen}" for s in served] + [f"{METADATA}/32"]
        if _has_ipv6(network):
            addresses.append(f"{METADATA6}/64")
        inner.set_addresses(link, addresses)
        inner.set_routes([("0.0.0.0/0", s.gateway_ip) for s in served if s.gateway_ip and s.ip_version == 4][:1])
        self._listeners.ensure_network(network.network_id, space, _has_ipv6(network))
        self._server(network.network_id).ensure(network)

    def _server(self, id: str) -> Dnsmasq:
        if id not in self._servers:
            self._servers[id] = Dnsmasq(self._names.run / id, self.space(id))
        return self._servers[id]

    def _remove_service(self, id: str, *, keep_link: bool = False) -> None:
        self._server(id).remove()
        self._listeners.remove(self.space(id))
        if self._fabric.space.exists() and not keep_link:
            self._fabric.space.links().delete(self._names.dhcp_end(id))
        self.space(id).delete()
        self._servers.pop(id, None)
        self._spaces.pop(id, None)


def _has_ipv6(network: Network) -> bool:
    return any(subnet.ip_version == 6 for subnet in network.subnets)
