"""A body that comes in chunks (RFC 9112, section 7.1)."""

import re

from nutshell.server.heads import BadHead

SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
LONGEST_LINE, MOST_TRAILERS = 4096, 16 << 10


class Chunks:
    """Fed with what comes from the socket; gives the bytes that are the body's."""

    def __init__(self) -> None:
        self.done = False
        self._held = b""  # of a line that is not whole
        self._left = 0  # of the chunk
        self._ending = False  # a chunk's CRLF is due
        self._last = False  # trailers are due
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """(pieces of the body, what follows it). BadHead when these are no chunks."""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._ending = not self._left
                continue
            end = data.find(b"\r\n", at)
            if end < 0 or (end - at > LONGEST_LINE):
                if len(data) - at > LONGEST_LINE or (self._ending and len(data) - at > 1):
                    raise BadHead(400, "this is no chunk of a body")
                self._held = data[at:]
                break
            line, at = data[at:end], end + 2
            if self._line(line):
                self.done = True
                return pieces, data[at:]
        return pieces, b""

    def _line(self, line: bytes) -> bool:
        """Whether the body ended with it."""
        if self._last:
            self._trailers += len(line)
            if self._trailers > MOST_TRAILERS:
                raise BadHead(431, "the trailers are too long")
            return not line
        if self._ending:
            if line:
                raise BadHead(400, "a chunk is longer than it said")
            self._ending = False
            return False
        m = SIZE.fullmatch(line)
        if m is None:
            raise BadHead(400, "this is no chunk's size")
        self._left = int(m[1], 16)
        self._last = not self._left
        return False
