"""What a case is: plugins, requests, and how the upstreams answer."""

import dataclasses

from upstream import Answer


@dataclasses.dataclass(frozen=True)
class Plugin:
    """A guest with its configuration. Its name is the case's, with a number where a case has several."""

    guest: str
    config: str = ""
    vm_config: str = ""
    root_id: str = ""
    # Plugins with the same one share data and queues; empty: the case's name.
    vm_id: str = ""
    fail_open: bool = False
    stop_iteration: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """One request, on a connection of its own."""

    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()
    trailers: tuple[tuple[str, str], ...] = ()
    # As in Answer.
    pace: str = ""
    # Before it is sent, the guest must have logged this.
    after: str = ""

    def encode(self, case: str) -> list[bytes]:
        """The pieces to send."""
        path = f"/{case}{self.path}"
        lines = [f"{self.method} {path} HTTP/1.1", f"host: {case}.test"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"content-length: {len(self.body)}")
        if self.chunks:
            lines.append("transfer-encoding: chunked")
        if self.trailers:
            lines.append("trailer: " + ", ".join(name for name, _ in self.trailers))
        head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
        if not self.chunks:
            return [head + self.body]
        chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in self.chunks]
        end = "".join(f"{name}: {value}\r\n" for name, value in self.trailers).encode("latin-1")
        pieces = [head + chunks[0], *chunks[1:], b"0\r\n" + end + b"\r\n"]
        return pieces if self.pace else [b"".join(pieces)]


@dataclasses.dataclass(frozen=True)
class Case:
    """One or more requests through one or more plugins (first to last in request order)."""

    name: str
    plugins: tuple[Plugin, ...]
    requests: tuple[Request, ...] = (Request(),)
    # By path after the case's own segment; the upstream `origin` and the upstream `calls` alike.
    answers: dict[str, Answer] = dataclasses.field(default_factory=dict)
    # After the last request, the guest must log this; empty: nothing is waited for.
    until: str = "deleted"
    # Names of metrics that are compared afterwards.
    metrics: tuple[str, ...] = ()
    # The name of the table that its log lines are the cells of.
    table: str = ""
    # Log lines that match this are left out: what depends on how the kernel cut a body, or on time.
    ignore: str = ""
    # Whether log lines are compared without their order: Envoy starts an instance with the configuration, the edge with
    # a tenant's first request, so ticks come before that request in one and after it in the other.
    unordered: bool = False

    def has_trailers(self) -> bool:
        """Whether it is about trailers of the request or the response."""
        origin = self.answers.get("/")
        return any(request.trailers for request in self.requests) or bool(origin and origin.trailers)

    def plugin_name(self, index: int) -> str:
        """The name of one of its plugins, as both proxies' logs have it."""
        return self.name if len(self.plugins) == 1 else f"{self.name}-{index + 1}"

    def plugin_names(self) -> list[str]:
        """All of them, in order."""
        return [self.plugin_name(index) for index in range(len(self.plugins))]
