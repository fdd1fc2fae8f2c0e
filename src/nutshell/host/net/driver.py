"""The `linux` network driver: real networks on this machine, for `nutshell host`, which runs as root.

Source: `NetworkDriver` in network/capability.py. The kernel is the state; small files say what was asked for, so that a
restarted process can repair it. Guests, their taps, their DHCP and their connections live on while no process of ours
does; only metadata and DNS beyond the cloud wait for the next start.
"""

import logging
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

from nutshell.core.drivers import DriverFault
from nutshell.host.net import dnsmasq, doctor, namespaces, rules, taps
from nutshell.host.net.fabric import Fabric, State
from nutshell.host.net.groups import Groups
from nutshell.host.net.links import Link
from nutshell.host.net.listeners import Listeners
from nutshell.host.net.names import Names
from nutshell.host.net.namespaces import Namespace
from nutshell.host.net.networks import Networks
from nutshell.host.net.nft import Nft, NftError
from nutshell.host.net.outside import Outside
from nutshell.host.net.ports import Ports
from nutshell.host.net.routers import Routers
from nutshell.host.net.specs import Specs
from nutshell.network.capability import Existing, Group, Network, Port, Router

_LOG = logging.getLogger("nutshell.host.net")
_PATIENCE_S = 2.0


class LinuxNetwork:
    """Thread-safe: one call at a time. `metadata_upstream` is the API's metadata address and the shared secret."""

    name = "linux"

    def __init__(self, state: Path, cloud: str, metadata_upstream: tuple[str, str]) -> None:
        self._lock = RLock()
        self._names = Names(cloud)
        self._directory = state / "net"
        self._networks_specs = Specs(self._directory / "networks", Network)
        self._zone_specs = Specs(self._directory / "zones", rules.Zone)
        self._group_specs = Specs(self._directory / "groups", Group)
        self._port_specs = Specs(self._directory / "ports", rules.NumberedPort)
        self._router_specs = Specs(self._directory / "routers", Router)
        self._drop_lost_specs()
        self._fabric = Fabric(
            self._names,
            State(dict(self._zone_specs.held), dict(self._group_specs.held), dict(self._port_specs.held)),
            self._directory / "rules.json",
        )
        self._listeners = Listeners(metadata_upstream)
        try:
            host_rules = Nft()
        except OSError as error:
            raise DriverFault(
                f"libnftables is not installed (apt install libnftables1): {error}", final=True
            ) from error
        self._outside = Outside(self._names, namespaces.root_links(), host_rules)
        self._networks = Networks(
            self._fabric, self._networks_specs, self._zone_specs, self._router_specs, self._outside, self._listeners
        )
        self._groups = Groups(self._fabric, self._group_specs, self._port_specs)
        self._ports = Ports(self._fabric, self._port_specs, self._networks_specs)
        self._routers = Routers(self._fabric, self._router_specs, self._networks_specs, self._listeners)
        with self._call():
            self._networks.adopt()
            self._routers.adopt()

    def ensure_network(self, network: Network) -> None:
        with self._call():
            self._networks.ensure(network)
            self._routers.network_changed(network)

    def ensure_groups(self, groups: Sequence[Group]) -> None:
        with self._call():
            self._groups.ensure(groups)

    def ensure_ports(self, ports: Sequence[Port]) -> None:
        with self._call():
            self._ports.ensure(ports)

    def ensure_router(self, router: Router) -> None:
        with self._call():
            self._routers.ensure(router)

    def remove_network(self, network_id: str) -> None:
        with self._call():
            self._networks.remove(network_id)

    def remove_groups(self, group_ids: Sequence[str]) -> None:
        with self._call():
            self._groups.remove(group_ids)

    def remove_ports(self, port_ids: Sequence[str]) -> None:
        with self._call():
            self._ports.remove(port_ids)

    def remove_router(self, router_id: str) -> None:
        with self._call():
            self._routers.remove(router_id)

    def existing(self) -> Existing:
        """What the kernel holds under this cloud's names; groups, which have no link, from the rules last applied.

        Mends what it finds broken on the way (a dead DHCP server, a lost link, rules changed by another hand).
        """
        with self._call():
            networks, ports = set(), set()
            for link in self._mended():
                if link.alias and link.name == self._names.bridge(link.alias):
                    networks.add(link.alias)
                elif link.alias and link.name == self._names.tap(link.alias):
                    ports.add(link.alias)
            for id in self._spaces("n-"):
                networks.add(id)
            return Existing(
                tuple(sorted(networks)), tuple(sorted(ports)), tuple(self._spaces("r-")),
                tuple(sorted(self._fabric.state.groups)),
            )  # fmt: skip

    def open_tap(self, port_id: str) -> int:
        """A file descriptor of the port's tap for the hypervisor (with virtio headers), to be closed by the caller."""
        with self._call():
            name = self._ports.tap(port_id)
        try:  # without the lock: a dying guest may take a while to let go
            return self._fabric.space.run(lambda: taps.attach(name, _PATIENCE_S))
        except OSError as error:
            raise DriverFault(f"the tap of port {port_id} does not open: {error.strerror}") from error

    def remove_everything(self) -> None:
        """No namespace, link, table, process or file of this cloud is left; nothing of another's is touched."""
        with self._call():
            self._listeners.close()
            for process in dnsmasq.strays(self._names.run):
                dnsmasq.end(process)
            self._outside.remove_everything()
            if self._fabric.space.exists():
                links = self._fabric.space.links()
                links.delete_all([link.name for link in links.all() if link.name != "lo"])
            self._fabric.space.delete()
            for name in namespaces.names(self._names.prefix):
                Namespace(name).delete()
            shutil.rmtree(self._names.run.parent, ignore_errors=True)
            shutil.rmtree(self._directory, ignore_errors=True)
            with suppress(OSError):  # other clouds are there
                self._names.run.parent.parent.rmdir()
            for specs in (self._networks_specs, self._zone_specs, self._group_specs, self._port_specs,
                          self._router_specs):  # fmt: skip
                specs.held.clear()
            self._fabric.forget()

    def doctor(self) -> list[tuple[str, bool, str]]:
        """(need, met, how to mend) for each thing this driver needs of the machine."""
        return doctor.doctor()

    def close(self) -> None:
        """Stop serving from this process; the networks stay."""
        self._listeners.close()

    def _mended(self) -> list[Link]:
        """The fabric's links, after what was broken is whole again as far as that succeeds."""
        if not self._fabric.space.exists():
            return []
        links = self._fabric.space.links()
        found = links.all()
        try:
            if self._fabric.state != State():
                self._fabric.ensure()
            if self._networks.mend({link.name for link in found}):
                found = links.all()
            self._ports.mend(found)
            if self._routers.mend({link.name for link in found}):
                found = links.all()
        except DriverFault as fault:
            _LOG.warning("not mended: %s", fault.why)
        return found

    def _spaces(self, kind: str) -> list[str]:
        prefix = self._names.prefix + kind
        return [name.removeprefix(prefix) for name in namespaces.names(prefix)]

    def _drop_lost_specs(self) -> None:
        """Forget what the kernel no longer has (a reboot, a helping hand): it must be asked for again."""
        space = Namespace(self._names.fabric)
        present = {link.name for link in space.links().all()} if space.exists() else set()
        space.close()
        for id in list(self._zone_specs.held):
            if self._names.bridge(id) not in present:
                self._zone_specs.drop(id)
        for id in list(self._networks_specs.held):
            if id not in self._zone_specs.held:
                self._networks_specs.drop(id)
        if not present:
            for id in list(self._group_specs.held):
                self._group_specs.drop(id)
        for id, numbered in list(self._port_specs.held.items()):
            known = numbered.port.network_id in self._zone_specs.held and self._names.tap(id) in present
            if not known or not set(numbered.port.group_ids) <= set(self._group_specs.held):
                self._port_specs.drop(id)  # a tap without rules of its own passes nothing
        for id in list(self._router_specs.held):
            if not Namespace(self._names.router(id)).exists():
                self._router_specs.drop(id)

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
                self._fabric.record()
            except OSError as error:
                self._fabric.doubt()
                where = f" ({error.filename})" if error.filename else ""
                raise DriverFault(f"{error.strerror or error}{where}") from error
            except (NftError, ValueError, subprocess.SubprocessError) as error:
                self._fabric.doubt()
                raise DriverFault(str(error)) from error
