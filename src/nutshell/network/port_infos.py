"""Ports as other services are told of them, many at once: in three or four queries, with the columns that are shown.

A page of a thousand servers asks for a thousand ports: whole rows would take most of its time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from nutshell.core.store import Tx
from nutshell.network.floatingips import FloatingIp
from nutshell.network.port import Address, PortInfo
from nutshell.network.ports import Port

read_fixed_ips = msgspec.json.Decoder(list[dict[str, str]] | None).decode
read_names = msgspec.json.Decoder(list[str] | None).decode


class Line(NamedTuple):
    """What is told of a port, by the names of its row's attributes."""

    id: str
    network_id: str
    project_id: str
    mac_address: str
    fixed_ips: list[dict[str, str]] | None
    device_id: str
    status: str
    security_groups: list[str] | None
    binding_vnic_type: str
    preserve: bool


PLUGGED = (
    f"SELECT {', '.join(Line._fields)} FROM {Port.table.name}"
    " WHERE device_id IN ({}) AND plugged_into = device_id ORDER BY plugged_at, created_at, id"
)


def plugged_into(tx: Tx, device_ids: Sequence[str]) -> list[Line]:
    """The ports that compute gave to these servers, in the order they were plugged."""
    if not device_ids:
        return []
    rows = tx.sql(PLUGGED.format(",".join("?" * len(device_ids))), *device_ids).fetchall()
    return [
        Line(
            i,
            network_id,
            project_id,
            mac,
            None if fixed is None else read_fixed_ips(fixed),
            device_id,
            status,
            None if groups is None else read_names(groups),
            vnic_type,
            bool(preserve),
        )
        for i, network_id, project_id, mac, fixed, device_id, status, groups, vnic_type, preserve in rows
    ]


def infos(tx: Tx, rows: Sequence[Port] | Sequence[Line]) -> list[PortInfo]:
    """Each with its network's, groups' and floating addresses' names."""
    if not rows:
        return []
    network_ids = sorted({p.network_id for p in rows})
    nets = {
        i: (name, mtu)
        for i, name, mtu in tx.sql(
            f"SELECT id, name, mtu FROM network_networks WHERE id IN ({_marks(network_ids)})", *network_ids
        ).fetchall()
    }
    group_ids = sorted({g for p in rows for g in p.security_groups or ()})
    names: dict[str, str] = {}
    if group_ids:
        names = dict(
            tx.sql(
                f"SELECT id, name FROM network_security_groups WHERE id IN ({_marks(group_ids)})", *group_ids
            ).fetchall()
        )
    floating = _floating(tx, [p.id for p in rows])
    return [_info(p, *nets.get(p.network_id, ("", 1500)), names, floating.get(p.id, {})) for p in rows]


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _floating(tx: Tx, port_ids: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for port_id, fixed, outer in tx.sql(
        f"SELECT port_id, fixed_ip_address, floating_ip_address FROM {FloatingIp.table.name}"
        f" WHERE port_id IN ({_marks(port_ids)})",
        *port_ids,
    ).fetchall():
        found.setdefault(port_id, {})[fixed] = outer
    return found


def _info(
    row: Port | Line, network_name: str, mtu: int, group_names: Mapping[str, str], floating: Mapping[str, str]
) -> PortInfo:
    groups = row.security_groups or ()
    return PortInfo(
        row.id,
        row.network_id,
        network_name,
        row.project_id,
        row.mac_address,
        mtu,
        tuple(
            [
                Address(
                    ip := f["ip_address"],
                    f["subnet_id"],
                    6 if ":" in ip else 4,
                    floating.get(ip) if floating else None,
                )
                for f in row.fixed_ips or ()
            ]
        ),
        row.device_id,
        row.status,
        tuple(groups),
        tuple([group_names.get(g, g) for g in groups]),
        row.binding_vnic_type,
        row.preserve,
    )
