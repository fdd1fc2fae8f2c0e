"""QMP for threads: one private event loop talks to every QEMU; callers block (docs/interop/qmp-spec.txt)."""

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate

from nutshell.core.drivers import DriverFault

T = TypeVar("T")
Heard = Callable[[str, dict[str, Any]], None]


class Loop:
    """An asyncio loop in a thread of its own."""

    def __init__(self) -> None:
        self.asyncio = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.asyncio.run_forever, name="qmp", daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[T], timeout_s: float) -> T:
        """The result of a coroutine; DriverFault when it takes longer."""

        async def limited() -> T:
            return await asyncio.wait_for(work, timeout_s)

        future = asyncio.run_coroutine_threadsafe(limited(), self.asyncio)
        try:
            return future.result(timeout_s + 5)
        except (TimeoutError, concurrent.futures.TimeoutError) as error:
            raise DriverFault(f"QEMU did not answer within {timeout_s} s") from error

    def watch(self, file: int, ready: Callable[[], None]) -> None:
        """Call `ready` on the loop, once, when the file becomes readable."""

        def once() -> None:
            self.asyncio.remove_reader(file)
            ready()

        self.asyncio.call_soon_threadsafe(self.asyncio.add_reader, file, once)

    def unwatch(self, file: int) -> None:
        """Returns when the file may be closed."""
        done = threading.Event()

        def remove() -> None:
            self.asyncio.remove_reader(file)
            done.set()

        self.asyncio.call_soon_threadsafe(remove)
        done.wait(5)

    def close(self) -> None:
        self.asyncio.call_soon_threadsafe(self.asyncio.stop)
        self._thread.join(5)


class Waiter:
    """Waits for one event; made before the command that causes it, or the event is lost."""

    def __init__(self, names: tuple[str, ...], fits: Callable[[dict[str, Any]], bool]) -> None:
        self._names = names
        self._fits = fits
        self._came = threading.Event()
        self.name = ""
        self.data: dict[str, Any] = {}

    def offer(self, name: str, data: dict[str, Any]) -> None:
        if name in self._names and not self._came.is_set() and self._fits(data):
            self.name, self.data = name, data
            self._came.set()

    def wait(self, timeout_s: float) -> bool:
        return self._came.wait(timeout_s)


class Monitor:
    """One QEMU's monitor. `heard` gets each event on the loop's thread and must not block."""

    def __init__(self, loop: Loop, path: Path, heard: Heard) -> None:
        self._loop = loop
        self._path = path
        self._heard = heard
        self._client = QMPClient(path.name)
        self._waiters: list[Waiter] = []
        self._pump: asyncio.Task[None] | None = None

    def open(self, timeout_s: float) -> None:
        """Connect and greet; blocks until QEMU has set itself up."""
        try:
            self._loop.run(self._open(), timeout_s)
        except (QMPError, OSError, EOFError) as error:
            raise DriverFault(f"QEMU's monitor does not answer: {error}") from error

    @property
    def lost(self) -> bool:
        return self._client.runstate is not Runstate.RUNNING

    async def _open(self) -> None:
        listener = EventListener()
        self._client.register_listener(listener)
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wire.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(wire, str(self._path))
            await self._client.connect(wire)
        except BaseException:
            wire.close()
            raise
        self._pump = asyncio.create_task(self._listen(listener))

    async def _listen(self, listener: EventListener) -> None:
        async for message in listener:
            name = str(message["event"])
            data: dict[str, Any] = dict(message).get("data", {})  # type: ignore[assignment]  # JSON edge
            for waiter in list(self._waiters):
                waiter.offer(name, data)
            self._heard(name, data)

    @contextlib.contextmanager
    def waiting(self, *names: str, fits: Callable[[dict[str, Any]], bool] = lambda data: True) -> Iterator[Waiter]:
        waiter = Waiter(names, fits)
        self._waiters.append(waiter)
        try:
            yield waiter
        finally:
            self._waiters.remove(waiter)

    def execute(
        self, command: str, arguments: dict[str, Any] | None = None, timeout_s: float = 30, fd: int | None = None
    ) -> Any:
        """The command's answer. With `fd`, that file goes along (getfd)."""
        try:
            return self._loop.run(self._execute(command, arguments, fd), timeout_s)
        except ExecuteError as error:
            raise DriverFault(f"QEMU refused {command}: {error}") from error
        except (QMPError, OSError) as error:
            raise DriverFault(f"QEMU was gone before it answered {command}") from error

    async def _execute(self, command: str, arguments: dict[str, Any] | None, fd: int | None) -> Any:
        if fd is not None:
            self._client.send_fd_scm(fd)
        return await self._client.execute(command, arguments)

    def close(self) -> None:
        with contextlib.suppress(DriverFault, QMPError, OSError, EOFError):
            self._loop.run(self._close(), 5)

    async def _close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        await self._client.disconnect()
