"""The fabric: one namespace with every bridge and tap of the cloud, and its rules as one state that only moves whole.

A change is first tried as the few commands that make it; if the kernel does not hold what we think it holds, the whole
rule set is replaced in one transaction. Either way guests keep their connections: tracking is not part of the rules.
"""

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from nutshell.core.drivers import DriverFault
from nutshell.host.net import conntrack, rules
from nutshell.host.net.names import Names
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.nft import NETFILTER, NftError
from nutshell.network.capability import Group

_SYSCTLS = {
    "bridge/bridge-nf-call-iptables": "0",  # each bridge has its own flag
    "bridge/bridge-nf-call-ip6tables": "0",
    "bridge/bridge-nf-call-arptables": "0",
    "ipv6/conf/all/disable_ipv6": "1",  # bridges and taps need no addresses of their own
    "ipv6/conf/default/disable_ipv6": "1",
}


@dataclass(frozen=True)
class Generation:
    """One moment of one namespace's rules: they are unchanged as long as both numbers are."""

    inode: int
    number: int


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

    def __init__(self, names: Names, state: State, record: Path) -> None:
        self.names = names
        self.space = Namespace(names.fabric)
        self.state = state
        self._known: Generation | None = None  # when the rules were last ours; None: replace them all
        self._record = record

    def ensure(self) -> None:
        """The namespace exists with its settings, and the rules in it are ours."""
        if not self.space.exists():
            _load_module("br_netfilter", Path("/proc/sys/net/bridge"))
            _load_module("tun", Path("/dev/net/tun"))
        self.space.ensure(_SYSCTLS)
        if self._known is None:
            self._known = self._recorded()
        if self._known != self._generation():  # we know them not, or somebody lent a helping hand
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
        self._known = self._generation()

    def forget(self) -> None:
        """There is no namespace and there are no rules any more."""
        self.state, self._known = State(), None
        self._record.unlink(missing_ok=True)

    def doubt(self) -> None:
        """A call broke off in the middle: the next one replaces all rules by what the specs say."""
        self._known = None
        self._record.unlink(missing_ok=True)

    def record(self) -> None:
        """Write down that rules and specs agree, so that the next start need not replace the rules."""
        if self._known is not None:
            text = msgspec.json.encode(self._known)
            if not self._record.exists() or self._record.read_bytes() != text:
                self._record.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._record.with_suffix(".new")
                fresh.write_bytes(text)
                fresh.replace(self._record)

    def _recorded(self) -> "Generation | None":
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=Generation)
        except (OSError, msgspec.DecodeError):
            return None

    def _generation(self) -> "Generation":
        return Generation(self.space.inode(), self.space.nft().generation())

    def forget_connections(self, ips: set[str], zones: set[int]) -> None:
        """End what tracked connections these addresses have in these zones."""
        if ips and zones:
            with self.space.socket(NETFILTER) as netlink:
                conntrack.forget(netlink, ips, zones)

    def _replace(self, state: State) -> None:
        try:
            self.space.nft().run(rules.SKELETON + "\n".join(self.everything(state)))
        except NftError as error:
            raise DriverFault(f"the kernel refuses the rules: {error}") from error
        self._known = self._generation()

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


def _load_module(name: str, sign: Path) -> None:
    """Load a kernel module unless its sign is there (loaded, or built in)."""
    if not sign.exists():
        subprocess.run(["modprobe", name], check=False, capture_output=True)
