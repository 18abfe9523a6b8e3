"""HTTP/1.1 read from a socket, exactly as it came."""

import dataclasses
import socket

_MAX_LINE = 64 * 1024
_RECEIVE = 64 * 1024


class ProtocolError(Exception):
    """The peer broke off or sent what is no HTTP/1.1."""


@dataclasses.dataclass
class Head:
    """A start line and headers, names in lower case, in their order."""

    start: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for have, value in self.headers if have == name), None)


@dataclasses.dataclass
class Response:
    """A response as a client saw it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    trailers: list[tuple[str, str]]
    # False where the connection ended before the response did.
    whole: bool


class Reader:
    """Reads messages from a socket; its timeout is the socket's."""

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._buffer = b""

    def head(self) -> Head | None:
        """The next message's head; None where the peer ended the connection between messages."""
        start = self._line(allow_end=True)
        if start is None:
            return None
        return Head(start, self._fields())

    def body(self, head: Head, of_response: bool) -> tuple[bytes, list[tuple[str, str]]]:
        """The body and trailers that belong to a head."""
        if "chunked" in (head.get("transfer-encoding") or "").lower():
            body = b""
            while size := int((self._line() or "").split(";")[0], 16):
                body += self._exactly(size)
                self._line()
            return body, self._fields()
        length = head.get("content-length")
        if length is not None:
            return self._exactly(int(length)), []
        return (self._rest() if of_response else b""), []

    def response(self, to_head: bool = False) -> Response:
        """A whole response, interim ones left out; one without end is given as far as it came."""
        while True:
            head = self.head()
            if head is None:
                raise ProtocolError("the connection was closed without a response")
            status = int(head.start.split(" ")[1])
            if status >= 200 or status == 101:
                break
        if to_head or status in (101, 204, 304):
            return Response(status, head.headers, b"", [], True)
        try:
            body, trailers = self.body(head, of_response=True)
        except (ProtocolError, OSError, ValueError):
            return Response(status, head.headers, b"", [], False)
        return Response(status, head.headers, body, trailers, True)

    def drain(self) -> None:
        """Reads until the peer ends the connection."""
        while self._connection.recv(_RECEIVE):
            pass

    def _fields(self) -> list[tuple[str, str]]:
        fields = []
        while line := self._line():
            name, separator, value = line.partition(":")
            if not separator:
                raise ProtocolError(f"a header line without a colon: {line!r}")
            fields.append((name.lower(), value.strip()))
        return fields

    def _more(self) -> bool:
        data = self._connection.recv(_RECEIVE)
        self._buffer += data
        return bool(data)

    def _line(self, allow_end: bool = False) -> str | None:
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_LINE or not self._more():
                if allow_end and not self._buffer:
                    return None
                raise ProtocolError(f"broken off in a line: {self._buffer[:80]!r}")
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                raise ProtocolError(f"broken off after {len(self._buffer)} of {size} bytes")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _rest(self) -> bytes:
        while self._more():
            pass
        data, self._buffer = self._buffer, b""
        return data
