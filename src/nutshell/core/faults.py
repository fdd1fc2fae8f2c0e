"""Where failures may be brought about on purpose: the seams that `Cloud.faults` sees. None by default.

The rules themselves are kept and matched in `nutshell/operator/` (docs/FAULTS.md).
"""

import os
import socket
import typing as t
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from nutshell.core.errors import Fault
from nutshell.core.resource import Resource
from nutshell.core.service import Answer, Ask

Change = Callable[[Answer], Answer]


class Faults(t.Protocol):
    """Asked at each seam while `on` is true, that is, while there is a rule."""

    on: bool

    async def request(self, ask: Ask[t.Any]) -> Change | None:
        """Before a request is carried out: may wait, raise a Fault or Cut, or return what becomes of its answer."""
        ...

    def work(self, kind: str, row: Resource, key: str) -> None:
        """Before a loop carries on with a row's operation of this kind (`key`: the same for each look at one
        operation): may wait, or raise a final DriverFault."""
        ...

    def driver(self, service: str, method: str, given: Sequence[t.Any]) -> None:
        """Before a driver is called: may wait, or raise a DriverFault."""
        ...


class Cut(ConnectionResetError):
    """The connection ends here, without an answer."""


def refusal(status: int, why: str, headers: dict[str, str]) -> Fault:
    """A fault with any HTTP status; each service renders it in its own format."""
    kind: type[Fault] = type("InjectedFault", (Fault,), {"http": status, "__doc__": "{why}"})
    return kind(why, headers=headers)


def halved(answer: Answer) -> Answer:
    """The same answer, whose connection is cut in the middle of its body."""
    if answer.chunks is not None:
        return Answer(answer.http, None, answer.headers, _cut_after_one(answer.chunks))
    body = answer.body
    data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
    headers = {"Content-Type": "application/json", **answer.headers, "Content-Length": str(len(data) or 1)}
    return Answer(answer.http, None, headers, _cut_after_one([data[: len(data) // 2]]))


async def _cut_after_one(chunks: t.Any) -> AsyncIterator[bytes]:
    if hasattr(chunks, "__aiter__"):
        async for chunk in chunks:
            yield chunk
            break
    else:
        for chunk in chunks:
            yield chunk
            break
    raise Cut("cut in the middle of the body by a fault rule")


def hang_up(client: t.Any) -> None:
    """Shut down this process's connection to a client, (address, port): the server would still say 500 on it."""
    if not client:
        return
    peer = (client[0], int(client[1]))
    for fd in os.listdir("/proc/self/fd"):
        try:
            wire = socket.socket(fileno=os.dup(int(fd)))
        except OSError:
            continue
        try:
            if wire.family in (socket.AF_INET, socket.AF_INET6) and wire.getpeername()[:2] == peer:
                wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            wire.close()
