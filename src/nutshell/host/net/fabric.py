"""The fabric: one namespace with every bridge and tap of the cloud, and its rules as one state that only moves whole.

A change is first tried as the few commands that make it; if the kernel does not hold what we think it holds, the whole
rule set is replaced in one transaction. Either way guests keep their connections: tracking is not part of the rules.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from nutshell.core.drivers import DriverFault
from nutshell.host.net import conntrack, rules
from nutshell.host.net.names import Names
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.nft import NftError
from nutshell.network.capability import Group

_SYSCTLS = {
    "bridge/bridge-nf-call-iptables": "0",  # each bridge has its own flag
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
    "ipv6/conf/all/disable_ipv6": "1",  # bridges and taps need no addresses of their own
    "ipv6/conf/default/disable_ipv6": "1",
}


@dataclass(frozen=True)
class State:
    """What the rules are made from."""

    zones: Mapping[str, rules.Zone] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    ports: Mapping[str, rules.NumberedPort] = field(default_factory=dict)

    def with_zone(self, network_id: str, zone: rules.Zone) -> "State":
        return replace(self, zones={**self.zones, network_id: zone})

    def with_groups(self, groups: Iterable[Group]) -> "State":
        return replace(self, groups={**self.groups, **{group.group_id: group for group in groups}})

    def with_ports(self, ports: Iterable[rules.NumberedPort]) -> "State":
        return replace(self, ports={**self.ports, **{numbered.port.port_id: numbered for numbered in ports}})

    def without(self, *, network_id: str = "", group_ids: Iterable[str] = (), port_ids: Iterable[str] = ()) -> "State":
        groups, ports = set(group_ids), set(port_ids)
        return State(
            {id: zone for id, zone in self.zones.items() if id != network_id},
            {id: group for id, group in self.groups.items() if id not in groups},
            {id: numbered for id, numbered in self.ports.items() if id not in ports},
        )

    def remote_group_ids(self) -> set[str]:
        """Groups that some rule names, whether they are there or not."""
        found = {rule.remote_group_id for group in self.groups.values() for rule in group.rules}
        return {id for id in found if id is not None}


def free_number(used: Iterable[int]) -> int:
    """The lowest number from 1 that is not used; DriverFault beyond 16 bits."""
    taken = set(used)
    number = next(number for number in range(1, len(taken) + 2) if number not in taken)
    if number > 0xFFFF:
        raise DriverFault("this host has no numbers left (65,535 are in use)")
    return number


class Fabric:
    """The namespace and the rules in it. The driver's lock guards it."""

    def __init__(self, names: Names, state: State) -> None:
        self.names = names
        self.space = Namespace(names.fabric)
        self.state = state
        self._inode = 0  # of the namespace whose rules we know; 0: none, so the next change replaces them all

    def ensure(self) -> None:
        """The namespace exists with its settings, and the rules in it are ours."""
        if not self.space.exists() or self._inode != self.space.inode():
            self.space.ensure(_SYSCTLS)
            self._replace(self.state)

    def move(self, state: State, commands: Iterable[str]) -> None:
        """From the present state to this one by these commands; all or nothing."""
        self.ensure()
        text = "\n".join(commands)
        if text:
            try:
                self.space.nft().run(text)
            except NftError:
                self._replace(state)
        self.state = state

    def forget_connections(self, ips: set[str], zones: set[int]) -> None:
        """End what tracked connections these addresses have in these zones."""
        if ips and zones:
            with self.space.socket(conntrack.PROTOCOL) as netlink:
                conntrack.forget(netlink, ips, zones)

    def _replace(self, state: State) -> None:
        try:
            self.space.nft().run(rules.SKELETON + "\n".join(self.everything(state)))
        except NftError as error:
            raise DriverFault(f"the kernel refuses the rules: {error}") from error
        self._inode = self.space.inode()

    def everything(self, state: State) -> Iterator[str]:
        """All rules after the skeleton."""
        for zone in state.zones.values():
            yield from rules.zone_rules(zone)
        for id in sorted(state.remote_group_ids() | set(state.groups)):
            yield from rules.remote_sets(id, id in state.groups and rules.needs_intervals(state.groups[id]))
        for group in state.groups.values():
            yield from rules.group_members(group, None)
            yield from rules.group_rules(group)
        for id, numbered in state.ports.items():
            yield from rules.port_rules(numbered, self.names.tap(id))
