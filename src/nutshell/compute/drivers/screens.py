"""Consoles of simulated guests: unix sockets that speak RFB 3.8 (RFC 6143) or echo like a shell on a serial line."""

import contextlib
import shutil
import socket
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

_WIDTH, _HEIGHT = 160, 100
_PATH_LIMIT = 100  # sun_path holds 108 bytes
_TRUE_COLOUR = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


class Screens:
    """Listens on one socket per guest and kind, from the first time it is asked for until the guest goes."""

    def __init__(self, directory: Path | None) -> None:
        self._wanted = directory
        self._made: Path | None = None
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[socket.socket, Path]] = {}

    def address(self, server_id: str, kind: str, name: str) -> str:
        """Path of the socket; made when absent."""
        speak: Callable[[socket.socket, str], None] = _speak_rfb if kind == "vnc" else _speak_shell
        with self._lock:
            found = self._open.get((server_id, kind))
            if found is None:
                path = self._directory() / f"{server_id}.{kind}"
                path.unlink(missing_ok=True)
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listener.bind(str(path))
                path.chmod(0o600)
                listener.listen(8)
                found = self._open[server_id, kind] = (listener, path)
                threading.Thread(target=_serve, args=(listener, speak, name), daemon=True).start()
            return str(found[1])

    def close(self, server_id: str | None = None) -> None:
        """Stop listening for one guest (None: for all)."""
        with self._lock:
            for key in [key for key in self._open if server_id in (None, key[0])]:
                listener, path = self._open.pop(key)
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
                listener.close()
                path.unlink(missing_ok=True)
            if server_id is None and self._made is not None:
                shutil.rmtree(self._made, ignore_errors=True)
                self._made = None

    def _directory(self) -> Path:
        if self._made is None:
            wanted = self._wanted
            if wanted is not None and len(str(wanted)) + 45 < _PATH_LIMIT:
                wanted.mkdir(parents=True, exist_ok=True)
                self._made = wanted
            else:
                self._made = Path(tempfile.mkdtemp(prefix="nutshell-"))
        return self._made


def _serve(listener: socket.socket, speak: Callable[[socket.socket, str], None], name: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(client, speak, name), daemon=True).start()


def _talk(client: socket.socket, speak: Callable[[socket.socket, str], None], name: str) -> None:
    with client, contextlib.suppress(OSError, EOFError, struct.error):
        speak(client, name)


def _read(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(min(size - len(data), 65_536))
        if not more:
            raise EOFError
        data += more
    return data


def _speak_rfb(client: socket.socket, name: str) -> None:
    client.sendall(b"RFB 003.008\n")
    _read(client, 12)
    client.sendall(b"\x01\x01")  # one security type: none
    if _read(client, 1) != b"\x01":
        client.sendall(struct.pack(">I", 1) + struct.pack(">I", 7) + b"refused")
        return
    client.sendall(struct.pack(">I", 0))
    _read(client, 1)
    title = name.encode()
    client.sendall(struct.pack(">HH", _WIDTH, _HEIGHT) + _TRUE_COLOUR + struct.pack(">I", len(title)) + title)
    pixels = _TRUE_COLOUR
    while True:
        kind = _read(client, 1)[0]
        if kind == 0:
            pixels = _read(client, 19)[3:]
        elif kind == 2:
            _read(client, 4 * struct.unpack(">xH", _read(client, 3))[0])
        elif kind == 3:
            if _read(client, 9)[0] == 0:  # nothing ever changes: incremental requests wait for ever
                client.sendall(_picture(pixels))
        elif kind in (4, 5):
            _read(client, 7 if kind == 4 else 5)
        elif kind == 6:
            _read(client, struct.unpack(">3xI", _read(client, 7))[0])
        else:
            return


def _picture(pixels: bytes) -> bytes:
    """The whole screen as one raw rectangle: a lighter window on a dark ground, in the client's pixel format."""
    bits, _, big, true, *shape = struct.unpack(">BBBBHHHBBB3x", pixels)

    def pixel(red: int, green: int, blue: int) -> bytes:
        if not true:
            return bytes(bits // 8)
        channels = zip((red, green, blue), shape[:3], shape[3:], strict=True)
        value: int = sum(colour * top // 255 << shift for colour, top, shift in channels)
        return value.to_bytes(bits // 8, "big" if big else "little")

    ground, window = pixel(24, 32, 48), pixel(200, 210, 220)
    edge = ground * _WIDTH
    middle = ground * 20 + window * (_WIDTH - 40) + ground * 20
    body = edge * 20 + middle * (_HEIGHT - 40) + edge * 20
    return struct.pack(">BxHHHHHi", 0, 1, 0, 0, _WIDTH, _HEIGHT, 0) + body


def _speak_shell(client: socket.socket, name: str) -> None:
    prompt = f"root@{name}:~# ".encode()
    client.sendall(b"\r\n" + prompt)
    line = b""
    while True:
        data = client.recv(4096)
        if not data:
            return
        for byte in data:
            if byte in b"\r\n":
                words = line.decode(errors="replace").split(maxsplit=1)
                said = (words[1] if len(words) > 1 else "") + "\r\n" if words[:1] == ["echo"] else ""
                client.sendall(b"\r\n" + said.encode() + prompt)
                line = b""
            elif len(line) < 1024:
                line += bytes((byte,))
                client.sendall(bytes((byte,)))
