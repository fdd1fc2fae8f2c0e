"""A complete simulated network backend: it holds what it was given and enforces the order of calls.

Source: `NetworkDriver` in network/capability.py. With a directory it keeps a journal, one JSON line a call, so that
a restart (or a kill) finds its world again; without one it lives and dies with the process.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import Any

import msgspec

from nutshell.core.drivers import DriverFault
from nutshell.network.capability import Existing, Group, Network, Port, Router

_KINDS: dict[str, type[Any]] = {"network": Network, "group": Group, "port": Port, "router": Router}


class MemoryNetwork:
    """Networks, groups, ports and routers in dicts. Thread-safe; a call takes microseconds."""

    name = "memory"

    def __init__(self, directory: Path | None = None) -> None:
        self._lock = RLock()
        self._rows: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        self._failures: dict[str, list[tuple[int, bool]]] = {}
        self.calls: dict[str, int] = {}
        self._journal: int | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._open_journal(directory / "network.journal")

    # What tests and the curious may look at.

    @property
    def networks(self) -> Mapping[str, Network]:
        return MappingProxyType(self._rows["network"])

    @property
    def groups(self) -> Mapping[str, Group]:
        return MappingProxyType(self._rows["group"])

    @property
    def ports(self) -> Mapping[str, Port]:
        return MappingProxyType(self._rows["port"])

    @property
    def routers(self) -> Mapping[str, Router]:
        return MappingProxyType(self._rows["router"])

    def begin_as(self, other: "MemoryNetwork") -> None:
        """Begin with another's rows: of a cloud that is a copy of another."""
        with other._lock:
            self._rows = {kind: dict(held) for kind, held in other._rows.items()}

    def fail(self, call: str, nth: int = 1, *, final: bool = False) -> None:
        """The nth call of that name from now on (1: the next) fails once with DriverFault and changes nothing."""
        with self._lock:
            self._failures.setdefault(call, []).append((self.calls.get(call, 0) + nth, final))

    # NetworkDriver

    def ensure_network(self, network: Network) -> None:
        with self._lock:
            self._begin("ensure_network")
            for other in self._rows["network"].values():
                if other.segment == network.segment and other.network_id != network.network_id:
                    raise DriverFault(f"segment {network.segment} is used by network {other.network_id}", final=True)
            self._put("network", [(network.network_id, network)])

    def ensure_groups(self, groups: Sequence[Group]) -> None:
        with self._lock:
            self._begin("ensure_groups")
            self._put("group", [(group.group_id, group) for group in groups])

    def ensure_ports(self, ports: Sequence[Port]) -> None:
        with self._lock:
            self._begin("ensure_ports")
            for port in ports:
                if port.network_id not in self._rows["network"]:
                    raise DriverFault(f"port {port.port_id} is on unknown network {port.network_id}")
                for group_id in port.group_ids:
                    if group_id not in self._rows["group"]:
                        raise DriverFault(f"port {port.port_id} names unknown group {group_id}")
            self._put("port", [(port.port_id, port) for port in ports])

    def ensure_router(self, router: Router) -> None:
        with self._lock:
            self._begin("ensure_router")
            for leg in (*router.legs, *((router.gateway,) if router.gateway else ())):
                if leg.network_id not in self._rows["network"]:
                    raise DriverFault(f"router {router.router_id} has a leg on unknown network {leg.network_id}")
            if router.floating and router.gateway is None:
                raise DriverFault(f"router {router.router_id} has floating addresses but no gateway", final=True)
            self._put("router", [(router.router_id, router)])

    def remove_network(self, network_id: str) -> None:
        with self._lock:
            self._begin("remove_network")
            for port in self._rows["port"].values():
                if port.network_id == network_id:
                    raise DriverFault(f"network {network_id} still has port {port.port_id}")
            for router in self._rows["router"].values():
                for leg in (*router.legs, *((router.gateway,) if router.gateway else ())):
                    if leg.network_id == network_id:
                        raise DriverFault(f"network {network_id} still has a leg of router {router.router_id}")
            self._drop("network", [network_id])

    def remove_groups(self, group_ids: Sequence[str]) -> None:
        with self._lock:
            self._begin("remove_groups")
            leaving = set(group_ids)
            for port in self._rows["port"].values():
                if not leaving.isdisjoint(port.group_ids):
                    raise DriverFault(f"port {port.port_id} still uses a group to be removed")
            self._drop("group", group_ids)

    def remove_ports(self, port_ids: Sequence[str]) -> None:
        with self._lock:
            self._begin("remove_ports")
            self._drop("port", port_ids)

    def remove_router(self, router_id: str) -> None:
        with self._lock:
            self._begin("remove_router")
            self._drop("router", [router_id])

    def existing(self) -> Existing:
        with self._lock:
            self._begin("existing")
            rows = self._rows
            return Existing(tuple(rows["network"]), tuple(rows["port"]), tuple(rows["router"]), tuple(rows["group"]))

    def remove_everything(self) -> None:
        """Forget all of it, as a real backend does when its cloud is taken down."""
        with self._lock:
            self._begin("remove_everything")
            for kind in ("router", "port", "group", "network"):
                self._drop(kind, list(self._rows[kind]))

    def _begin(self, call: str) -> None:
        count = self.calls[call] = self.calls.get(call, 0) + 1
        for failure in self._failures.get(call, ()):
            if failure[0] == count:
                self._failures[call].remove(failure)
                raise DriverFault(f"told to fail at call {count} of {call}", final=failure[1])

    def _put(self, kind: str, rows: Sequence[tuple[str, Any]]) -> None:
        held = self._rows[kind]
        news = [(key, row) for key, row in rows if held.get(key) != row]
        self._write([{"put": kind, "row": row} for _, row in news])
        held.update(news)

    def _drop(self, kind: str, keys: Sequence[str]) -> None:
        held = self._rows[kind]
        gone = [key for key in keys if key in held]
        self._write([{"drop": kind, "id": key} for key in gone])
        for key in gone:
            del held[key]

    # The journal

    def _write(self, records: Sequence[dict[str, Any]]) -> None:
        if self._journal is not None and records:
            os.write(self._journal, b"".join(msgspec.json.encode(record) + b"\n" for record in records))

    def _open_journal(self, path: Path) -> None:
        """Replay what is there, then start afresh with one line a row: the file never grows with history for long."""
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    self._replay(msgspec.json.decode(line))
                except msgspec.DecodeError:
                    break  # a line cut off by a kill: its call was never answered
        fresh = path.with_suffix(".new")
        rows = [{"put": kind, "row": row} for kind, held in self._rows.items() for row in held.values()]
        fresh.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in rows))
        fresh.replace(path)
        self._journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _replay(self, record: dict[str, Any]) -> None:
        if "put" in record:
            kind = record["put"]
            row = msgspec.convert(record["row"], _KINDS[kind])
            self._rows[kind][getattr(row, f"{kind}_id")] = row
        else:
            self._rows[record["drop"]].pop(record["id"], None)

    def close(self) -> None:
        with self._lock:
            if self._journal is not None:
                os.close(self._journal)
                self._journal = None
