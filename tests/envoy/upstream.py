"""The upstream of the test: answers as a case says, and keeps what it received."""

import dataclasses
import socket
import threading

from http1 import Head, ProtocolError, Reader
from process import TestError

# How long a request may take to arrive or an answer to be taken, in seconds.
_EXCHANGE_LIMIT = 10.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the upstream answers. With `chunks` the body is chunked and may have trailers, else it has a length."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/plain"), ("x-upstream", "yes"))
    body: bytes = b"hello world"
    chunks: tuple[bytes, ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()
    # Before chunk n + 1, waits until the guest has logged `pace` n times. Empty: all at once.
    pace: str = ""
    # Says nothing at all and leaves the connection open, until the other side gives up.
    silent: bool = False
    # Closes the connection instead of answering.
    reset: bool = False

    def encode(self) -> list[bytes]:
        """The pieces to send: the head with the first part of the body, then the rest."""
        head = [f"HTTP/1.1 {self.status} Answer", *(f"{name}: {value}" for name, value in self.headers)]
        if not self.chunks:
            if self.status not in (204, 304):
                head.append(f"content-length: {len(self.body)}")
            return [_lines(head) + self.body]
        if self.trailers:
            head.append("trailer: " + ", ".join(name for name, _ in self.trailers))
        head.append("transfer-encoding: chunked")
        chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in self.chunks]
        chunks[0] = _lines(head) + chunks[0]
        end = b"0\r\n" + _lines([f"{name}: {value}" for name, value in self.trailers])
        return [*chunks, end] if self.pace else [b"".join(chunks) + end]


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


@dataclasses.dataclass
class Received:
    """One request as it arrived."""

    head: Head
    body: bytes
    trailers: list[tuple[str, str]]


class Upstream:
    """Listens on a port of its own. Requests belong to the case that their path's first segment names."""

    def __init__(self, wait_for_log):
        """`wait_for_log(case, text, count)` returns once the guest of the case logged the text so often."""
        self.received: dict[str, list[Received]] = {}
        self.answers: dict[str, Answer] = {}
        self._wait_for_log = wait_for_log
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def expect(self, path: str, answer: Answer) -> None:
        """Answers requests for exactly this path so; others get the default."""
        self.answers[path] = answer

    def of(self, case: str) -> list[Received]:
        """What arrived for a case, in order."""
        return self.received.get(case, [])

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        reader = Reader(connection)
        with connection:
            try:
                while self._exchange(connection, reader):
                    pass
            except (OSError, ProtocolError, TestError):
                # The proxy ended the connection, broke off in the middle, or did not take the body as the case
                # expects: what came whole is kept, and the case shows the rest.
                return

    def _exchange(self, connection: socket.socket, reader: Reader) -> bool:
        head = reader.head()
        if head is None:
            return False
        connection.settimeout(_EXCHANGE_LIMIT)
        _, path, _ = head.start.split(" ", 2)
        case = path.split("?")[0].split("/")[1]
        body, trailers = reader.body(head, of_response=False)
        self.received.setdefault(case, []).append(Received(head, body, trailers))
        answer = self.answers.get(path.split("?")[0], Answer())
        if answer.silent:
            reader.drain()
            return False
        if answer.reset:
            return False
        for number, piece in enumerate(answer.encode()):
            if number:
                self._wait_for_log(case, answer.pace, number)
            connection.sendall(piece)
        connection.settimeout(None)
        return True
