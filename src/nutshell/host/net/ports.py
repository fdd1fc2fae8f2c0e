"""Ports: a tap on the network's bridge each, with the rules that stand before it."""

from collections.abc import Sequence

from nutshell.core.drivers import DriverFault
from nutshell.host.net import rules, taps
from nutshell.host.net.fabric import Fabric, State, free_number
from nutshell.host.net.groups import stateful
from nutshell.host.net.links import Link
from nutshell.host.net.names import checked
from nutshell.host.net.specs import Specs
from nutshell.network.capability import Network, Port


class Ports:
    def __init__(self, fabric: Fabric, specs: Specs[rules.NumberedPort], networks: Specs[Network]) -> None:
        self._fabric = fabric
        self._specs = specs
        self._networks = networks

    def ensure(self, ports: Sequence[Port]) -> None:
        """Rules first, then the tap: a card is never plugged in before its rules stand. A tap in use stays as it is."""
        before = self._fabric.state
        for port in ports:
            self._check(before, port)
        numbered = self._number(before, ports)
        commands: list[str] = []
        self._fabric.ensure()
        changed = [item for item in numbered if before.ports.get(item.port.port_id) != item]
        for item in changed:
            tap = self._fabric.names.tap(item.port.port_id)
            old = before.ports.get(item.port.port_id)
            if old is not None and (old.port.security, old.stateful) != (item.port.security, item.stateful):
                commands += rules.remove_port(old, tap)
            commands += rules.port_rules(item, tap)
        if changed:
            self._fabric.move(before.with_ports(changed), commands)
            self._end_connections(before, changed)
        moved = [item.port.port_id for item in changed if item.port.port_id in before.ports
                 and before.ports[item.port.port_id].port.carrier != item.port.carrier]  # fmt: skip
        self._fabric.space.links().delete_all([self._fabric.names.tap(id) for id in moved])
        for item in changed:
            self._specs.put(item.port.port_id, item)
        self._plug(ports)

    def mend(self, present: Sequence[Link]) -> None:
        """Taps that lost their bridge go back to it; a tap that is gone altogether is for its owner to miss."""
        bridges = {link.name: link.index for link in present}
        masters = {link.name: link.master for link in present}
        for id, numbered in self._fabric.state.ports.items():
            tap, bridge = self._fabric.names.tap(id), self._fabric.names.bridge(numbered.port.network_id)
            if tap in masters and masters[tap] != bridges.get(bridge):
                self._plug([numbered.port])

    def remove(self, port_ids: Sequence[str]) -> None:
        if not self._fabric.space.exists():
            for id in port_ids:
                self._specs.drop(checked(id))
            return
        self._fabric.space.links().delete_all([self._fabric.names.tap(checked(id)) for id in port_ids])
        before = self._fabric.state
        present = [id for id in dict.fromkeys(port_ids) if id in before.ports]
        if present:
            commands = [
                text for id in present for text in rules.remove_port(before.ports[id], self._fabric.names.tap(id))
            ]
            self._fabric.move(before.without(port_ids=present), commands)
            ips = {ip for id in present for ip in before.ports[id].port.ips}
            zones = {before.zones[before.ports[id].port.network_id].number for id in present}
            self._fabric.forget_connections(ips, zones)
        for id in port_ids:
            self._specs.drop(id)

    def tap(self, port_id: str) -> str:
        """The name of the port's tap in the fabric; DriverFault when it is not there."""
        name = self._fabric.names.tap(checked(port_id))
        if port_id not in self._fabric.state.ports or self._fabric.space.links().find(name) is None:
            raise DriverFault(f"there is no port {port_id}")
        return name

    def _check(self, state: State, port: Port) -> None:
        checked(port.port_id)
        if port.network_id not in state.zones:
            raise DriverFault(f"port {port.port_id} is on unknown network {port.network_id}")
        for group_id in port.group_ids:
            if group_id not in state.groups:
                raise DriverFault(f"port {port.port_id} names unknown group {group_id}")

    def _number(self, state: State, ports: Sequence[Port]) -> list[rules.NumberedPort]:
        used = {item.number for item in state.ports.values()}
        found = []
        for port in ports:
            old = state.ports.get(port.port_id)
            number = old.number if old is not None else free_number(used)
            used.add(number)
            found.append(rules.NumberedPort(port, number, stateful(state, port)))
        return found

    def _plug(self, ports: Sequence[Port]) -> None:
        links, names = self._fabric.space.links(), self._fabric.names
        held = {port.port_id: links.find(names.tap(port.port_id)) for port in ports}
        missing = [names.tap(p.port_id) for p in ports if held[p.port_id] is None and p.carrier is None]
        if missing:
            self._fabric.space.run(lambda: taps.create_all(missing))
        for port in ports:
            if port.carrier is not None and held[port.port_id] is None:
                parent, vlan = port.carrier
                links.add_vlan(names.tap(port.port_id), links.need(names.tap(checked(parent))), vlan)
        bridges: dict[str, Link] = {}
        for port in ports:
            if port.network_id not in bridges:
                bridges[port.network_id] = links.need(names.bridge(port.network_id))
            link = held[port.port_id] or links.need(names.tap(port.port_id))
            mtu = self._networks.held[port.network_id].mtu
            bridge = bridges[port.network_id]
            links.shape(link, up=port.up, mtu=mtu, master=bridge.index, alias=port.port_id)
            learns = not port.security or bool(port.allowed_pairs)
            links.bridge_port(link, learning=learns)
            if not learns:
                links.bridge_entry(link, port.mac)

    def _end_connections(self, before: State, after: Sequence[rules.NumberedPort]) -> None:
        """A port that lost a group, or gained protection, keeps no connection from before."""
        for item in after:
            old = before.ports.get(item.port.port_id)
            if old is not None and (
                not set(old.port.group_ids) <= set(item.port.group_ids)
                or (item.port.security and not old.port.security)
            ):
                zone = before.zones[item.port.network_id].number
                self._fabric.forget_connections(set(item.port.ips), {zone})
