"""The edge by itself: one worker on one core, tenants to send requests as, and a configuration that can be changed."""

import base64
import dataclasses
import http.client
import json
import pathlib
import secrets
import signal
import time

import edge
import measure
from processes import BenchError, Server, free_port

# Seconds until a configuration is in use, and until any answer has come.
RELOAD_LIMIT = 10.0
_ANSWER_LIMIT = 10.0
_POLL_SECONDS = 0.001

_API = (
    '[[routes]]\nprefix = "/api/v5"\nlocal = "api"\nauth = "jwt"\npublic = ["POST /api/v5/auth/register"]\n'
)
# Memory that hashing passwords takes and gives back is not what is measured; one address registers all tenants; and a
# login outlasts the longest run.
_AUTH = (
    "[auth]\naccess_token_seconds = 86400\n[auth.password]\nmemory_kib = 64\niterations = 1\n"
    "[auth.throttle]\nper_address_per_minute = 0\n"
)


@dataclasses.dataclass
class Tenant:
    """Somebody who can send requests."""

    id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What its requests are known by."""
        return {"Authorization": f"Bearer {self.token}"}


class Client:
    """Requests one after the other on a connection that is kept: a run has more of them than there are ports."""

    def __init__(self, port: int):
        self._port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_LIMIT)

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of the answer."""
        try:
            self._connection.request(method, path, body, headers or {})
            answer = self._connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise BenchError(f"{method} {path} on port {self._port}: {error!r}") from error

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


class BenchEdge:
    """The process. Nothing runs before `start`."""

    def __init__(self, binary: pathlib.Path, directory: pathlib.Path, core: int, upstream: int):
        self.port, self._admin = free_port(), free_port()
        self._directory, self._core, self._upstream = directory, core, upstream
        self._config = directory / "edge.toml"
        self._command = [str(binary), "--config", str(self._config)]
        self._scrapes = Client(self._admin)

    def start(self, small_pages: bool = False) -> None:
        """Starts it on the configuration written last and on its store; with small pages to see its memory."""
        environment = edge.environment(self._directory) | {"RUST_LOG": "error"}
        log = self._directory / "edge.log"
        self.server = Server(
            "edge",
            self._command,
            self._core,
            log,
            env=environment,
            cwd=self._directory,
            small_pages=small_pages,
        )
        try:
            self.server.wait_for_port(self.port)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends it."""
        self._scrapes.close()
        self.server.close()

    def write(self, *parts: str) -> None:
        """Writes the configuration: these plugins and routes, and what every bench has."""
        common = [edge.server(self.port, self._admin, self._directory), _AUTH, _API]
        self._config.write_text("\n".join([*common, edge.upstream("origin", self._upstream), *parts]))

    def reload(self) -> None:
        """Has the configuration read again, and returns once it is in use."""
        before = self._reloads()
        self.server.signal(signal.SIGHUP)
        deadline = time.monotonic() + RELOAD_LIMIT
        while (now := self._reloads()) == before:
            if time.monotonic() > deadline:
                raise BenchError(f"the edge did not take its configuration:\n{self.server.tail()}")
            time.sleep(_POLL_SECONDS)
        if now["refused"] != before["refused"]:
            raise BenchError(f"the edge refused its configuration:\n{self.server.tail()}")

    def _reloads(self) -> dict[str, float]:
        metrics = self.metrics()
        return {
            result: metrics.get(f'coditect_config_reloads_total{{result="{result}"}}', 0.0)
            for result in ("taken", "refused")
        }

    def metrics(self) -> dict[str, float]:
        """What it tells of itself: each series with its value."""
        status, _, text = self._scrapes.ask("GET", "/metrics")
        if status != 200:
            raise BenchError(f"GET /metrics answered {status}: {text[:300]!r}")
        return series(text.decode())

    def register(self, name: str) -> Tenant:
        """A new tenant and its owner."""
        account = {
            "email": f"{name}@example.com",
            "password": secrets.token_urlsafe(16),
            "firstName": "Load",
            "lastName": "Bench",
        }
        kind = {"Content-Type": "application/json"}
        path = "/api/v5/auth/register"
        status, answer = measure.request(self.port, "POST", path, kind, json.dumps(account).encode())
        if status not in (200, 201):
            raise BenchError(f"POST {path} answered {status}: {answer[:300]!r}")
        token = json.loads(answer)["data"]["token"]
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return Tenant(claims["tenant_id"], token)


def series(text: str) -> dict[str, float]:
    """The series of a scrape, labels included, with their values."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}
