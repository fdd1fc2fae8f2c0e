"""Which port holds which address: no two ports of a network one address, by a unique index.

A free address is the one after the highest given out; then one of some tried at random; then the first gap.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import sqlalchemy as sa

from nutshell.core.resource import METADATA
from nutshell.core.store import Tx
from nutshell.network import errors

ALLOCATIONS = sa.Table(
    "network_allocation",
    METADATA,
    sa.Column("network_id", sa.Text, primary_key=True),
    sa.Column("ip", sa.Text, primary_key=True),  # canonical text
    sa.Column("subnet_id", sa.Text, nullable=False),
    sa.Column("position", sa.Text, nullable=False),  # the address as 32 hexadecimal digits: sorts as numbers do
    sa.Column("port_id", sa.Text, nullable=False),
)
sa.Index("network_allocation_position_idx", ALLOCATIONS.c.subnet_id, ALLOCATIONS.c.position, unique=True)
sa.Index("network_allocation_port_idx", ALLOCATIONS.c.port_id)
TRIES = 16


@dataclass(frozen=True)
class Span:
    """Addresses from first to last, both included."""

    first: int
    last: int


@lru_cache(maxsize=4096)
def number(ip: str) -> int:
    return int(ip_address(ip))


def position(of: int) -> str:
    return f"{of:032x}"


def text(of: int, version: int) -> str:
    return str(IPv4Address(of) if version == 4 else IPv6Address(of))


def spans(pools: Sequence[dict[str, str]]) -> list[Span]:
    return [Span(number(p["start"]), number(p["end"])) for p in pools]


@lru_cache(maxsize=4096)
def bounds(cidr: str) -> Span:
    found = ip_network(cidr)
    return Span(int(found.network_address), int(found.broadcast_address))


def inside(cidr: str, ip: str) -> bool:
    b = bounds(cidr)
    return (":" in cidr) == (":" in ip) and b.first <= number(ip) <= b.last


def eui64(cidr: str, mac: str) -> str:
    """The address a host with this MAC gives itself in the prefix (RFC 4291, appendix A)."""
    parts = [int(p, 16) for p in mac.split(":")]
    host = bytes([parts[0] ^ 2, parts[1], parts[2], 0xFF, 0xFE, *parts[3:]])
    return str(IPv6Address(bounds(cidr).first | int.from_bytes(host, "big")))


def take_address(tx: Tx, network_id: str, subnet_id: str, ip: str, port_id: str) -> None:
    """Record who holds it; 409 when it is held."""
    made = tx.sql(
        "INSERT INTO network_allocation (network_id, ip, subnet_id, position, port_id) VALUES (?,?,?,?,?)"
        " ON CONFLICT DO NOTHING",
        network_id,
        ip,
        subnet_id,
        position(number(ip)),
        port_id,
    )
    if made.rowcount != 1:
        raise errors.IpAddressAlreadyAllocated(ip=ip, subnet_id=subnet_id)


def free_address(tx: Tx, subnet_id: str, version: int, pools: Sequence[dict[str, str]]) -> str | None:
    """An address of the pools that nobody holds."""
    for span in spans(pools):
        highest = tx.sql(
            "SELECT max(position) FROM network_allocation WHERE subnet_id = ? AND position BETWEEN ? AND ?",
            subnet_id,
            position(span.first),
            position(span.last),
        ).fetchone()[0]
        following = span.first if highest is None else int(highest, 16) + 1
        if following <= span.last:
            return text(following, version)
        found = _by_chance(tx, subnet_id, span)
        if found is None:
            found = _first_gap(tx, subnet_id, span)
        if found is not None:
            return text(found, version)
    return None


def _by_chance(tx: Tx, subnet_id: str, span: Span) -> int | None:
    size = span.last - span.first + 1
    if size < 4 * TRIES:
        return None
    tried = [span.first + random.randrange(size) for _ in range(TRIES)]  # noqa: S311 - no secret
    marks = ",".join("?" * len(tried))
    held = {
        int(p, 16)
        for (p,) in tx.sql(
            f"SELECT position FROM network_allocation WHERE subnet_id = ? AND position IN ({marks})",
            subnet_id,
            *map(position, tried),
        ).fetchall()
    }
    return next((n for n in tried if n not in held), None)


def _first_gap(tx: Tx, subnet_id: str, span: Span) -> int | None:
    wanted = span.first
    rows = tx.sql(
        "SELECT position FROM network_allocation WHERE subnet_id = ? AND position BETWEEN ? AND ? ORDER BY position",
        subnet_id,
        position(span.first),
        position(span.last),
    ).fetchall()
    for (held,) in rows:
        if int(held, 16) > wanted:
            break
        wanted += 1
    return wanted if wanted <= span.last else None


def release(tx: Tx, port_id: str, ips: Sequence[str] | None = None) -> None:
    """The port lets go of these addresses, or of all."""
    if ips is None:
        tx.sql("DELETE FROM network_allocation WHERE port_id = ?", port_id)
    elif ips:
        marks = ",".join("?" * len(ips))
        tx.sql(f"DELETE FROM network_allocation WHERE port_id = ? AND ip IN ({marks})", port_id, *ips)
