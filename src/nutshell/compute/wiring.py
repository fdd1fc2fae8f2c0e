"""What the compute service gives to the cloud: its routes, settings, quotas, drivers, loops and first flavors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nutshell.compute import (  # noqa: F401 - they declare their routes
    aggregates,
    attachments,
    console_tokens,
    consoles,
    extensions,
    external_events,
    flavors,
    host_services,
    hosts,
    hypervisors,
    image_proxy,
    instance_actions,
    interfaces,
    keypairs,
    limits,
    migrations,
    network_proxy,
    removed,
    security_group_proxy,
    server_groups,
    usage,
    usage_audits,
    volume_proxy,
    zones,
)
from nutshell.compute.capability import Consoles, Disks, HotPluggable, Hypervisor, Pausable, Watchable
from nutshell.compute.config import ComputeConfig
from nutshell.compute.devices import Device
from nutshell.compute.explanation import EXPLAINS
from nutshell.compute.metadata import MetadataSecret, metadata
from nutshell.compute.nodes import keep_nodes
from nutshell.compute.port import Hosts, Servers
from nutshell.compute.servers import (  # noqa: F401 - likewise
    change,
    create,
    facets,
    fixed_ips,
    images,
    labels,
    moves,
    power,
    reads,
    sizes,
)
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.settle import settle
from nutshell.compute.service import compute
from nutshell.compute.settle_devices import settle_device
from nutshell.compute.simulated_hosts import Mortal, SimulatedHosts
from nutshell.compute.watch import watching
from nutshell.core.config import CloudConfig, Settings
from nutshell.core.reconcile import Loop, settling
from nutshell.core.store import Tx

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

CAPABILITIES = (Hypervisor, Watchable, Pausable, HotPluggable, Consoles, Disks)
service = compute
more_services = (metadata,)
config = ComputeConfig
quotas: Mapping[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,
    "metadata_items": 128,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    **dict.fromkeys(limits.FOREIGN, -1),
}


def wire(cloud: "Cloud") -> None:
    """Register the hypervisor: simulated in this process, or the host process's over its socket."""
    cloud.ports[MetadataSecret] = MetadataSecret(cloud.settings[CloudConfig].state)
    cloud.explainers |= EXPLAINS
    cloud.ports[Servers] = external_events.ServerOffers(cloud)
    if any(kind in cloud.drivers for kind in CAPABILITIES):
        return  # a test brought its own
    found = simulated(cloud.settings) if cloud.settings[CloudConfig].own_world else _remote(cloud)
    for kind in CAPABILITIES:
        if isinstance(found, kind):
            cloud.drivers[kind] = found
    if isinstance(found, Mortal):
        cloud.ports[Hosts] = SimulatedHosts(found)


def simulated(all_settings: Settings) -> object:
    """The simulated hosts, in this process."""
    from nutshell.compute.drivers.memory import MemoryHypervisor, one_host

    settings, state = all_settings[ComputeConfig], all_settings[CloudConfig].state
    first = one_host()
    if settings.host_vcpus:
        first = replace(first, vcpus=settings.host_vcpus)
    them = [first, *(replace(first, name=f"{first.name}-{n}") for n in range(2, settings.hosts + 1))]
    return MemoryHypervisor(state / "world" if state is not None else None, them)


def _remote(cloud: "Cloud") -> object:
    from nutshell.host.remote import remote

    return remote(cloud, "hypervisor", (*CAPABILITIES, *((Mortal,) if cloud.settings[CloudConfig].simulate else ())))


def loops(cloud: "Cloud") -> list[Loop]:
    workers = cloud.settings[ComputeConfig].workers
    return [
        settling("servers", Server, settle, workers=workers),
        settling("devices", Device, settle_device, workers=4),
        Loop("nodes", keep_nodes, every_s=10.0),
        watching(),
    ]


def seed(cloud: "Cloud", tx: Tx) -> None:
    flavors.seed_flavors(tx)
