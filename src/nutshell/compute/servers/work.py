"""One operation in hand: its rows, and how its progress is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nutshell.compute.devices import Device, Kind
from nutshell.compute.servers.noun import Server, record
from nutshell.core.errors import StaleRow
from nutshell.core.operations import Operation
from nutshell.core.store import Tx
from nutshell.network.port import Networking, PortInfo

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


class Later(Exception):
    """Nothing is wrong, but something else has to happen first; look again in `seconds`."""

    def __init__(self, why: str, seconds: float = 0.1) -> None:
        super().__init__(why)
        self.seconds = seconds


class Hopeless(Exception):
    """The operation cannot succeed. `soft`: the server is what it was before, only the operation failed; `details`:
    the same for administrators, with names; `considered`: the hosts that were looked at."""

    def __init__(
        self,
        why: str,
        *,
        soft: bool = False,
        code: int = 500,
        details: str = "",
        considered: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(why)
        self.soft, self.code, self.details, self.considered = soft, code, details or why, considered


@dataclass
class Work:
    """A server, its open operation and what belongs to it, as last read."""

    cloud: "Cloud"
    server: Server
    op: Operation
    devices: tuple[Device, ...] = ()
    ports: tuple[PortInfo, ...] = ()

    def volumes(self) -> list[Device]:
        return [d for d in self.devices if d.kind is Kind.VOLUME]

    def read(self) -> None:
        """Fetch devices and ports."""

        def work(tx: Tx) -> None:
            self.read_in(tx)

        self.cloud.read(work)

    def read_in(self, tx: Tx) -> None:
        self.devices = tuple(tx.find(Device, server_id=self.server.id, order="position"))
        net = self.cloud.ports.get(Networking)
        found = net.ports_of(tx, [self.server.id]).get(self.server.id, ()) if net is not None else ()
        place = {d.target_id: d.position for d in self.devices if d.kind is Kind.NIC}
        self.ports = tuple(sorted(found, key=lambda p: place.get(p.port_id, 999)))

    def fresh(self, tx: Tx) -> Server:
        """The row as it is now. StaleRow when another operation took over."""
        found = tx.get(Server, self.server.id)
        if found is None or found.operation_id != self.op.id or not found.task:
            raise StaleRow(kind="server", id=self.server.id)
        return found

    def note(self, step: str, **changes: Any) -> None:
        """Record a finished step and what it changed."""
        self.server = self.cloud.write(lambda tx: record(tx, self.fresh(tx), step=step, **changes))
