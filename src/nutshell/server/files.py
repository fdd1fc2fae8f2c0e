"""A file into a socket without its bytes passing through this process (sendfile(2))."""

import asyncio
import os
import select

AT_ONCE = 4 << 20
PATIENCE_MS = 20  # a thread waits so long for a client that reads; a slower one is waited for by the event loop
File = str | tuple[int, float]  # a path; or an open file, and for how many seconds the client may take nothing
OFFERED = "nutshell.descriptor"  # in a scope's extensions: an open file may stand for a path
TAKEN_S = 60.0  # how long a client may take nothing


async def send_file(fd: int, file: File, size: int) -> None:
    """To a socket that does not block; an open file from where it stands. ConnectionResetError when the client takes
    nothing, or leaves, or the file is shorter."""
    loop = asyncio.get_running_loop()
    opened, patience_s = (-1, TAKEN_S) if isinstance(file, str) else file
    out = os.dup(fd)
    try:
        source = os.open(file, os.O_RDONLY) if isinstance(file, str) else os.dup(opened)
        try:
            at = os.lseek(source, 0, os.SEEK_CUR)
            end = at + size
            while at < end:
                at = await loop.run_in_executor(None, _push, out, source, at, end)
                if at < end:
                    await _writable(loop, out, patience_s)
        finally:
            os.close(source)
    finally:
        os.close(out)


def _push(out: int, source: int, at: int, end: int) -> int:
    """Where it had to stop."""
    poll = select.poll()
    poll.register(out, select.POLLOUT)
    while at < end:
        try:
            sent = os.sendfile(out, source, at, min(AT_ONCE, end - at))
        except BlockingIOError:
            if not poll.poll(PATIENCE_MS):
                return at
            continue
        if not sent:
            raise ConnectionResetError("the file is shorter than was said")
        at += sent
    return at


async def _writable(loop: asyncio.AbstractEventLoop, fd: int, patience_s: float) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _wake, ready)
    try:
        await asyncio.wait_for(ready, patience_s)
    except TimeoutError:
        raise ConnectionResetError("the client takes nothing") from None
    finally:
        loop.remove_writer(fd)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
