"""Security groups: one chain a direction and one set of members an IP version, shared by all ports of the group."""

from collections.abc import Sequence
from dataclasses import replace

from nutshell.core.drivers import DriverFault
from nutshell.host.net import rules
from nutshell.host.net.fabric import Fabric, State
from nutshell.host.net.names import checked
from nutshell.host.net.specs import Specs
from nutshell.network.capability import Group, Port


def stateful(state: State, port: Port) -> bool:
    """Whether connection state counts for the port: not once one of its groups is stateless."""
    return all(state.groups[id].stateful for id in port.group_ids)


class Groups:
    def __init__(self, fabric: Fabric, specs: Specs[Group], port_specs: Specs[rules.NumberedPort]) -> None:
        self._fabric = fabric
        self._specs = specs
        self._port_specs = port_specs

    def ensure(self, groups: Sequence[Group]) -> None:
        """These groups with these rules and members. Connections that only a lost rule or member allowed end."""
        before = self._fabric.state
        changed = [group for group in groups if before.groups.get(checked(group.group_id)) != group]
        state = before.with_groups(changed)
        flipped = [
            replace(numbered, stateful=stateful(state, numbered.port))
            for numbered in state.ports.values()
            if stateful(state, numbered.port) != numbered.stateful
        ]
        after = state.with_ports(flipped)
        commands: list[str] = []
        known = before.remote_group_ids() | set(before.groups)
        for id in sorted((after.remote_group_ids() | {group.group_id for group in changed}) - known):
            commands += rules.remote_sets(id, id in after.groups and rules.needs_intervals(after.groups[id]))
        for group in changed:
            old = before.groups.get(group.group_id)
            if old is None or old.rules != group.rules:
                commands += rules.group_rules(group)
            commands += rules.group_members(group, old)
        for numbered in flipped:
            old_port = before.ports[numbered.port.port_id]
            commands += rules.remove_port(old_port, self._fabric.names.tap(numbered.port.port_id))
            commands += rules.port_rules(numbered, self._fabric.names.tap(numbered.port.port_id))
        self._fabric.move(after, commands)
        self._end_connections(before, after, changed)
        for group in changed:
            self._specs.put(group.group_id, group)
        for numbered in flipped:
            self._port_specs.put(numbered.port.port_id, numbered)

    def remove(self, group_ids: Sequence[str]) -> None:
        before = self._fabric.state
        leaving = set(group_ids)
        for id, numbered in before.ports.items():
            if not leaving.isdisjoint(numbered.port.group_ids):
                raise DriverFault(f"port {id} still uses a group to be removed")
        present = sorted(leaving & set(before.groups))
        if present:
            commands = [command for id in present for command in rules.remove_group(id)]
            self._fabric.move(before.without(group_ids=present), commands)
        for id in group_ids:
            self._specs.drop(checked(id))

    def _end_connections(self, before: State, after: State, changed: Sequence[Group]) -> None:
        """Addresses of ports in groups that allow less than before, in their networks' zones."""
        narrowed = set()
        shrunk = set()
        for group in changed:
            old = before.groups.get(group.group_id)
            if old is not None and not set(old.rules) <= set(group.rules):
                narrowed.add(group.group_id)
            if old is not None and not set(old.members) <= set(group.members):
                shrunk.add(group.group_id)
        for group in after.groups.values():
            if shrunk and any(rule.remote_group_id in shrunk for rule in group.rules):
                narrowed.add(group.group_id)
        ips: set[str] = set()
        zones: set[int] = set()
        for numbered in after.ports.values() if narrowed else ():
            if not narrowed.isdisjoint(numbered.port.group_ids):
                ips.update(numbered.port.ips)
                zones.add(after.zones[numbered.port.network_id].number)
        self._fabric.forget_connections(ips, zones)
