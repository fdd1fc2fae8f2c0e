"""What all private clouds of a process share: one thread with the event loop, one loopback port, one template.

A cloud is told by the first segment of the path (`http://127.0.0.1:41234/cloud-7f3a/identity/v3`), so that another one
costs no port, no thread and no server. Requests from this process need no socket: see `adapter.py`.
"""

import asyncio
import atexit
import os
import secrets
import socket
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nutshell.core.http import Receive, Scope, Send
    from nutshell.testing.front import Front
    from nutshell.testing.template import Template

T = TypeVar("T")
START_S = 30.0


class Shared:
    """Made at the first cloud; ends with the process. A forked child makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._template: Template | None = None
        self._fronts: dict[str, Front] = {}
        self._idle: list[asyncio.AbstractEventLoop] = []
        self.origin = ""  # "http://127.0.0.1:41234"

    def template(self) -> "Template":
        """The prepared cloud that all others are copies of; blocks while it is made."""
        from nutshell.testing.template import Template

        with self._lock:
            self._begin()
            if self._template is None:
                self._template = Template()
            return self._template

    def join(self, front: "Front") -> None:
        """Requests below this cloud's address reach it from now on."""
        self._fronts[front.name] = front

    def leave(self, front: "Front") -> None:
        self._fronts.pop(front.name, None)

    def call(self, work: "Coroutine[Any, Any, T]", limit_s: float | None) -> T:
        """Run work to its end on this thread, whose reads so cost no change of threads. TimeoutError."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:  # a blocking client inside somebody's event loop
            assert self._loop is not None, "a cloud was made first"
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)
        try:
            loop = self._idle.pop()
        except IndexError:
            loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(work if limit_s is None else asyncio.wait_for(work, limit_s))
        finally:
            self._idle.append(loop)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """The ASGI application behind the port."""
        name, slash, rest = scope["path"].removeprefix("/").partition("/")
        front = self._fronts.get(name)
        if front is None:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": f"no cloud {name!r} here: it has ended\n".encode()})
            return
        inner = {**scope, "path": slash + rest}
        if scope.get("raw_path"):
            inner["raw_path"] = scope["raw_path"][len(name) + 1 :]
            inner["root_path"] = f"/{name}"  # what a client signed begins with it
        await front(inner, receive, send)

    def _begin(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid, self._template, self._fronts, self._idle = os.getpid(), None, {}, []
        self._loop = asyncio.new_event_loop()
        listening: Future[None] = Future()
        thread = threading.Thread(target=self._serve, args=(listening,), name="nutshell-testing", daemon=True)
        thread.start()
        listening.result(START_S)

    def _serve(self, listening: "Future[None]") -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen(listening))
        except BaseException as why:
            if listening.done():
                raise
            listening.set_exception(why)

    async def _listen(self, listening: "Future[None]") -> None:
        from granian.constants import Interfaces
        from granian.server.embed import Server

        reserved, port = _reserve()
        options: dict[str, Any] = {"interface": Interfaces.ASGINL, "log_enabled": False, "http": _http1()}
        server = Server(self, address="127.0.0.1", port=port, **options)
        serving = asyncio.create_task(server.serve())
        loop = asyncio.get_running_loop()
        ended = threading.Event()

        def end() -> None:
            if self._pid == os.getpid() and not loop.is_closed():
                loop.call_soon_threadsafe(server.stop)
                ended.wait(5)
                for idle in self._idle:
                    idle.close()

        while not _answers(port):
            if serving.done():
                serving.result()
            await asyncio.sleep(0.002)
        self.origin = f"http://127.0.0.1:{port}"
        atexit.register(end)
        listening.set_result(None)
        await serving
        reserved.close()
        ended.set()


def _http1() -> Any:
    from granian.constants import HTTPModes

    return HTTPModes.http1


def _reserve() -> tuple[socket.socket, int]:
    """A free port that nobody else is given while the socket is open, though the server may bind it too."""
    s = socket.socket()
    if sys.platform == "linux":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
    if sys.platform != "linux":
        s.close()
    return s, port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def new_name() -> str:
    """A cloud's segment of the path; nobody guesses it."""
    return f"cloud-{secrets.token_hex(4)}"


SHARED = Shared()
