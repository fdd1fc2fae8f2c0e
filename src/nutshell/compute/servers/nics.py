"""The network interfaces a new server asks for (Compute API, "Create Server": networks)."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from nutshell.compute import wire
from nutshell.compute.servers.drives import is_uuid
from nutshell.core.errors import BadRequest, Conflict
from nutshell.core.policy import Who
from nutshell.core.store import Tx
from nutshell.network.port import Networking


@dataclass(frozen=True)
class Nic:
    """One interface asked for: on a network (maybe with an address), or with a port that exists."""

    network_id: str = ""
    port_id: str = ""
    fixed_ip: str | None = None
    tag: str | None = None


class SeveralNetworks(Conflict):
    """Multiple possible networks found, use a Network ID to be more specific."""


def read_nics(value: Any, keys: frozenset[str], words: bool) -> tuple[Nic, ...] | None:
    """What is asked for; None: "find me one" (auto); empty: none. 400 on what cannot be read."""
    if value is None:
        return None
    if isinstance(value, str):
        if not words or value not in ("auto", "none"):
            raise wire.invalid("networks", value, f"{value!r} is not valid under any of the given schemas")
        return None if value == "auto" else ()
    if not isinstance(value, list) or not all(isinstance(i, dict) for i in value):
        raise wire.invalid("networks", value, "It is not an array of objects.")
    if not value:
        return None
    found = tuple(_read(item, keys) for item in value)
    named = [n.port_id for n in found if n.port_id]
    if len(set(named)) != len(named):
        raise BadRequest("Duplicate port in the networks of the request.")
    tags = [n.tag for n in found if n.tag]
    if len(set(tags)) != len(tags):
        raise BadRequest("Network interface tags must be unique.")
    return found


def _read(item: dict[str, Any], keys: frozenset[str]) -> Nic:
    for key in item:
        if key not in keys:
            raise BadRequest(f"Additional properties are not allowed ('{key}' was unexpected)")
    port, network, ip = item.get("port"), item.get("uuid"), item.get("fixed_ip")
    if port is not None and not is_uuid(port):
        raise wire.invalid("port", port, f"{port!r} is not a 'uuid'")
    if network is not None and not is_uuid(network):
        raise BadRequest(f"Bad networks format: network uuid is not in proper format ({network})")
    if ip is not None:
        try:
            ip_address(ip)
        except ValueError:
            raise wire.invalid("fixed_ip", ip, f"{ip!r} is not a 'ipv4' or 'ipv6'") from None
    if port and ip:
        raise BadRequest(f"Specified Fixed IP '{ip}' cannot be used with port '{port}'.")
    if not port and not network:
        raise BadRequest("Bad network format: missing 'uuid'")
    tag = item.get("tag")
    return Nic("" if port else str(network), port or "", ip, wire.check_tag(tag) if tag else None)


def choose_nics(net: Networking, tx: Tx, who: Who, asked: Sequence[Nic] | None) -> tuple[Nic, ...]:
    """Every interface with its network: checked to be the caller's to use, or the one there is."""
    if asked is None:
        found = net.available_networks(tx, who)
        if len(found) > 1:
            raise SeveralNetworks()
        return tuple(Nic(network_id=n) for n in found)
    for n in asked:
        if n.network_id:
            net.need_network(tx, who, n.network_id)
        else:
            port = net.need_port(tx, who, n.port_id)
            if port.device_id:
                raise Conflict(f"Port {n.port_id} is still in use.")
    return tuple(asked)
