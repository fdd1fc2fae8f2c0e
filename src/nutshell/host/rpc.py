"""Driver Protocols over a unix socket: the API process calls, `nutshell host` answers.

Source: the msgpack specification; unix(7) for SO_PEERCRED. A message is a four-byte big-endian length and a msgpack
value. One call at a time on a connection; the caller keeps a pool of them, so a long call holds up no other. Arguments
and results are converted by the type hints of the Protocol. Calls are safe to repeat (a rule of every driver), so a
call cut off by the host's death is made again, with the same operation id, when the host is back.
"""

import inspect
import logging
import os
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

import msgspec

from nutshell.core.drivers import DriverFault

OPERATION: ContextVar[str] = ContextVar("operation_id", default="")
REQUEST: ContextVar[str] = ContextVar("request_id", default="")

LONGEST = 64 << 20  # bytes of one message: a config drive's files are the largest thing that crosses
IDLE_KEPT = 8  # connections kept open for the next call

log = logging.getLogger("nutshell.host.rpc")


@dataclass(frozen=True)
class _Method:
    """How one method of a Protocol crosses."""

    signature: inspect.Signature
    arguments: msgspec.msgpack.Decoder[tuple[Any, ...]]
    result: msgspec.msgpack.Decoder[Any]


class _Call(msgspec.Struct, array_like=True):
    driver: str
    method: str
    operation_id: str
    request_id: str
    arguments: msgspec.Raw


class _Answer(msgspec.Struct, array_like=True):
    """`why` is None for success."""

    why: str | None
    final: bool
    value: msgspec.Raw


class _Offer(msgspec.Struct):
    """What the far side serves under one name: Protocols, and the values of their plain attributes."""

    capabilities: list[str]
    attributes: dict[str, Any]


_encode = msgspec.msgpack.Encoder().encode
_NOTHING = msgspec.Raw(_encode(None))


@cache
def _methods(capability: type) -> dict[str, _Method]:
    """The methods of a Protocol by name, with their codecs."""
    found: dict[str, _Method] = {}
    for name, function in inspect.getmembers(capability, inspect.isfunction):
        if name.startswith("_"):
            continue
        hints = get_type_hints(function)
        signature = inspect.signature(function)
        names = list(signature.parameters)[1:]  # without self
        kinds: Any = tuple[tuple(hints[one] for one in names)] if names else tuple[()]  # type: ignore[misc]
        found[name] = _Method(
            signature, msgspec.msgpack.Decoder(kinds), msgspec.msgpack.Decoder(hints.get("return", type(None)))
        )
    return found


@cache
def _attributes(capability: type) -> tuple[str, ...]:
    """The plain attributes a Protocol declares (`name: str`)."""
    return tuple(name for name in get_type_hints(capability) if not name.startswith("_"))


# --- the wire


def _send(wire: socket.socket, body: bytes) -> None:
    wire.sendall(struct.pack(">I", len(body)) + body)


def _receive(wire: socket.socket) -> bytes | None:
    """One message; None when the other side closed."""
    head = _receive_exactly(wire, 4)
    if head is None:
        return None
    (size,) = struct.unpack(">I", head)
    if size > LONGEST:
        raise ConnectionError(f"a message of {size} bytes is over the limit of {LONGEST}")
    return _receive_exactly(wire, size)


def _receive_exactly(wire: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        some = wire.recv(min(size - len(parts), 1 << 20))
        if not some:
            return None
        parts += some
    return bytes(parts)


# --- the host's side


Drivers = Mapping[str, tuple[Sequence[type], object]]


class Server:
    """Serves drivers on a unix socket until `close`. `drivers` maps a name to the Protocols that may be called on an
    object; it serves those the object has."""

    def __init__(self, path: Path, drivers: Drivers, owner: tuple[int, int] | None = None) -> None:
        """Listens at once. `owner` (uid, gid) is given the socket: only that user and root can connect."""
        self._offers: dict[str, _Offer] = {}
        self._methods: dict[tuple[str, str], tuple[_Method, Callable[..., Any]]] = {}
        for name, (capabilities, driver) in drivers.items():
            had = [one for one in capabilities if isinstance(driver, one)]
            plain = {key: getattr(driver, key) for one in had for key in _attributes(one)}
            self._offers[name] = _Offer([one.__name__ for one in had], plain)
            for one in had:
                for method, how in _methods(one).items():
                    self._methods[name, method] = (how, getattr(driver, method))
        self._running: dict[tuple[str, str, str, bytes], Future[Any]] = {}
        self._lock = threading.Lock()
        self._allowed = {0, os.geteuid(), *((owner[0],) if owner else ())}
        self._wires: set[socket.socket] = set()
        self._listener = _listen(path, owner)
        self._thread = threading.Thread(target=self._accept, name="rpc-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop every connection; calls that run go on to their end unheard."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return  # closed
            _, uid, _ = struct.unpack("3i", wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in self._allowed:
                log.warning("refused a connection of user %d", uid)
                wire.close()
                continue
            with self._lock:
                self._wires.add(wire)
            threading.Thread(target=self._converse, args=(wire,), name="rpc-call", daemon=True).start()

    def _converse(self, wire: socket.socket) -> None:
        try:
            _send(wire, _encode(self._offers))
            while (body := _receive(wire)) is not None:
                _send(wire, self._answer(body))
        except OSError:
            pass  # the caller went away; what it asked for was done or will be asked for again
        finally:
            with self._lock:
                self._wires.discard(wire)
            wire.close()

    def _answer(self, body: bytes) -> bytes:
        try:
            call = msgspec.msgpack.decode(body, type=_Call)
            entry = self._methods.get((call.driver, call.method))
            if entry is None:
                raise DriverFault(f"the host does not serve {call.driver}.{call.method}", final=True)
            how, function = entry
            try:
                arguments = how.arguments.decode(call.arguments)
            except msgspec.ValidationError as error:
                raise DriverFault(f"{call.driver}.{call.method}: {error}", final=True) from error
            OPERATION.set(call.operation_id)
            REQUEST.set(call.request_id)
            key = (call.operation_id, call.driver, call.method, bytes(call.arguments))
            value = self._once(key, lambda: function(*arguments))
            return _encode(_Answer(None, False, msgspec.Raw(_encode(value))))
        except DriverFault as fault:
            return _encode(_Answer(fault.why, fault.final, _NOTHING))
        except Exception as error:
            log.exception("a driver failed in a way it should not")
            return _encode(_Answer(f"{type(error).__name__}: {error}", False, _NOTHING))

    def _once(self, key: tuple[str, str, str, bytes], work: Callable[[], Any]) -> Any:
        """The work's result. A repeat that arrives while the first still runs waits for that one: a restarted API
        repeats its operations, and the host may still be at them."""
        with self._lock:
            other = self._running.get(key)
            if other is None:
                mine: Future[Any] = Future()
                self._running[key] = mine
        if other is not None:
            return other.result()
        try:
            value = work()
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(value)
            return value
        finally:
            with self._lock:
                del self._running[key]


def _listen(path: Path, owner: tuple[int, int] | None) -> socket.socket:
    """A listening socket at `path`, mode 0600 from its first moment there. Replaces what a dead host left."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        if owner is not None and os.geteuid() == 0:
            os.chown(fresh, *owner)
        listener.listen(128)
        fresh.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


# --- the caller's side


class Client:
    """A pool of connections to one host. Threads share it freely."""

    def __init__(self, path: Path, patience_s: float = 10.0, request_id: Callable[[], str] = REQUEST.get) -> None:
        """`request_id` says on behalf of which request the present thread calls."""
        self._path = path
        self._request_id = request_id
        self._patience_s = patience_s
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()
        self._offers: dict[str, _Offer] = {}

    def proxy(self, driver: str, capabilities: Sequence[type]) -> Any:
        """An object with the methods of exactly those capabilities that the far side has, so that isinstance tells.

        Blocks until the host answers, at most `patience_s`; then DriverFault.
        """
        self._give_back(self._take(time.monotonic() + self._patience_s))
        offer = self._offers.get(driver)
        if offer is None:
            known = ", ".join(sorted(self._offers)) or "nothing"
            raise DriverFault(f"the host does not serve {driver!r}; it serves {known}", final=True)
        members: dict[str, Any] = {}
        for one in capabilities:
            if one.__name__ in offer.capabilities:
                for name, how in _methods(one).items():
                    members[name] = _remote(self, driver, name, how)
                members |= {name: offer.attributes[name] for name in _attributes(one)}
        return type(f"Remote_{driver}", (), members)()

    def call(self, driver: str, method: str, arguments: tuple[Any, ...]) -> msgspec.Raw:
        """The result, undecoded. Repeats over the host's restart, for `patience_s` after it was first missed."""
        operation_id = OPERATION.get() or f"call-{uuid.uuid4()}"
        body = _encode(_Call(driver, method, operation_id, self._request_id(), msgspec.Raw(_encode(arguments))))
        if len(body) > LONGEST:
            raise DriverFault(f"{driver}.{method}: {len(body)} bytes of arguments are too many", final=True)
        deadline: float | None = None
        while True:
            wire = self._take(deadline or time.monotonic() + self._patience_s)
            try:
                _send(wire, body)
                got = _receive(wire)
                if got is None:
                    raise ConnectionError("the host closed the connection")
            except OSError as error:
                wire.close()
                self._forget_idle()
                deadline = deadline or time.monotonic() + self._patience_s
                if time.monotonic() > deadline:
                    _gone(self._path, error)
                continue
            except BaseException:
                wire.close()  # interrupted between question and answer: of no further use
                raise
            self._give_back(wire)
            answer = msgspec.msgpack.decode(got, type=_Answer)
            if answer.why is not None:
                raise DriverFault(answer.why, final=answer.final)
            return answer.value

    def close(self) -> None:
        """Drop the idle connections. Calls that run end by themselves."""
        self._forget_idle()

    def _take(self, deadline: float) -> socket.socket:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        while True:
            wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                wire.connect(str(self._path))
                hello = _receive(wire)
                if hello is None:
                    raise ConnectionError("the host refused this user or is stopping")
                self._offers = msgspec.msgpack.decode(hello, type=dict[str, _Offer])
                return wire
            except OSError as error:
                wire.close()
                if time.monotonic() > deadline:
                    _gone(self._path, error)
                time.sleep(0.05)

    def _give_back(self, wire: socket.socket) -> None:
        with self._lock:
            if len(self._idle) < IDLE_KEPT:
                self._idle.append(wire)
                return
        wire.close()

    def _forget_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for wire in dropped:
            wire.close()


def _gone(path: Path, error: OSError) -> NoReturn:
    raise DriverFault(f"no host process answers at {path}: {error.strerror or error}")


def _remote(client: Client, driver: str, name: str, how: _Method) -> Callable[..., Any]:
    def method(self: object, *args: Any, **named: Any) -> Any:
        bound = how.signature.bind(self, *args, **named)
        bound.apply_defaults()
        return how.result.decode(client.call(driver, name, tuple(bound.arguments.values())[1:]))

    method.__name__ = name
    return method


def proxy(path: Path, driver: str, capabilities: Sequence[type], patience_s: float = 10.0) -> Any:
    """`Client(path).proxy(…)` for callers that need one driver only."""
    return Client(path, patience_s).proxy(driver, capabilities)
