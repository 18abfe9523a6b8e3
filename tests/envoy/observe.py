"""Sends a case's requests through a proxy and keeps what was seen of it, as plain data."""

import dataclasses
import socket
import time

from case import Case, Request
from http1 import ProtocolError, Reader
from process import LOG_LIMIT, TestError
from upstream import Received, Upstream

# How long a client waits for a response, in seconds: longer than any time-out that a case provokes.
_RESPONSE_LIMIT = 8.0


@dataclasses.dataclass
class Observed:
    """What one proxy did with one case."""

    responses: list[dict]
    origin: list[dict]
    calls: list[dict]
    logs: dict[str, list[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    metrics: dict[str, str | None] = dataclasses.field(default_factory=dict)
    # Why it did not go to its end.
    error: str = ""


def observe(proxy, case: Case, upstreams: dict[str, Upstream]) -> Observed:
    """Runs a case; its logs are added by `collect` when the proxy has ended."""
    for path, answer in case.answers.items():
        for upstream in upstreams.values():
            upstream.expect(f"/{case.name}{path}", answer)
    last = case.plugin_name(len(case.plugins) - 1)
    seen = Observed([], [], [])
    try:
        for request in case.requests:
            seen.responses.append(_send(proxy, case, request, last))
        if case.until:
            proxy.wait_for_log(last, case.until, len(case.requests) if case.until == "deleted" else 1)
        seen.metrics = {name: _settled(proxy, name) for name in case.metrics}
    except TestError as error:
        seen.error = str(error)
    received = {
        name: [_received(one) for one in upstream.of(case.name)] for name, upstream in upstreams.items()
    }
    seen.origin, seen.calls = received["origin"], received["calls"]
    return seen


def collect(proxy, cases: list[Case], seen: dict[str, Observed]) -> None:
    """Adds what the guests logged. The proxy must have ended: then its log is whole."""
    for case in cases:
        seen[case.name].logs = {plugin: proxy.log(plugin) for plugin in case.plugin_names()}


def _send(proxy, case: Case, request: Request, plugin: str) -> dict:
    if request.after:
        proxy.wait_for_log(plugin, request.after)
    with socket.create_connection(("127.0.0.1", proxy.port(case)), _RESPONSE_LIMIT) as connection:
        connection.settimeout(_RESPONSE_LIMIT)
        try:
            for number, piece in enumerate(request.encode(case.name)):
                if number and request.pace:
                    proxy.wait_for_log(plugin, request.pace, number)
                connection.sendall(piece)
            response = Reader(connection).response(request.method == "HEAD")
        except (OSError, ProtocolError, ValueError) as error:
            return {"broken": type(error).__name__}
    return {
        "status": response.status,
        "headers": response.headers,
        "body": response.body.decode("latin-1"),
        "trailers": response.trailers,
        "whole": response.whole,
    }


def _received(received: Received) -> dict:
    return {
        "start": received.head.start,
        "headers": received.head.headers,
        "body": received.body.decode("latin-1"),
        "trailers": received.trailers,
    }


def _settled(proxy, name: str) -> str | None:
    """A metric once the proxy shows it: Envoy's workers hand theirs over with a delay."""
    deadline = time.monotonic() + LOG_LIMIT
    while True:
        value = proxy.metric(name)
        if value is not None or time.monotonic() > deadline:
            return value
        time.sleep(0.05)
