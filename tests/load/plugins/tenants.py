"""What tenants cost, and feel of each other: the edge alone.

Time until a plugin that was just configured answers its first request; memory of each further tenant with an
instance of its own; latency of one tenant while another tenant's plugin loops for ever, beside it undisturbed.
"""

import base64
import dataclasses
import json
import os
import pathlib
import secrets
import signal
import statistics
import subprocess
import time

import edge
import measure
from processes import BenchError, Server, free_port, pinned
from tools import Tools

# Connections and their rest: a load well below what one core can do, so that latency is not the queue's.
_CONNECTIONS, _REST_MS = 16, 10
_LOOPS = 2
_SETTLE_LIMIT = 30.0
_SETTLED_BYTES = 64 * 1024
_RELOAD_LIMIT = 10.0
_BOUND_SECONDS = 60

_API = (
    '[[routes]]\nprefix = "/api/v5"\nlocal = "api"\nauth = "jwt"\npublic = ["POST /api/v5/auth/register"]\n'
)
# Memory that hashing passwords takes and gives back is not what is measured here.
_PASSWORDS = "[auth.password]\nmemory_kib = 64\niterations = 1\n"


@dataclasses.dataclass
class Tenant:
    """Somebody who can send requests."""

    id: str
    token: str


class Tenants:
    """An edge with tenants, whose plugins are one guest with different configurations."""

    def __init__(
        self, binary: pathlib.Path, guest: pathlib.Path, directory: pathlib.Path, core: int, upstream: int
    ):
        self._port, self._admin = free_port(), free_port()
        self._directory, self._guest, self._upstream = directory, guest, upstream
        self._config = directory / "edge.toml"
        self._command = [str(binary), "--config", str(self._config)]
        self._core = core
        self._write({})
        self._start()
        try:
            self._victim, self._looper = self._register("victim"), self._register("looper")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the edge."""
        self.server.close()

    def _start(self) -> None:
        environment = edge.environment(self._directory) | {"RUST_LOG": "error"}
        log = self._directory / "edge.log"
        self.server = Server("edge", self._command, self._core, log, env=environment, cwd=self._directory)
        try:
            self.server.wait_for_port(self._port)
        except BaseException:
            self.close()
            raise

    def first_request(self) -> dict[str, float]:
        """From the signal that loads a plugin until a request has passed it, compiling and starting included."""
        changed = self._directory / "changed.wasm"
        # A custom section with random content: no cache of compiled code knows this module.
        content = b"\x04salt" + secrets.token_bytes(32)
        changed.write_bytes(self._guest.read_bytes() + bytes([0, len(content)]) + content)
        took = []
        for _ in range(2):
            self._write({})
            self._reload()
            self._write({"request": [self._victim]}, changed)
            started = time.monotonic()
            self._reload()
            self._ask(self._victim)
            took.append(round((time.monotonic() - started) * 1000, 1))
        return {"first_request_millis": took[0], "first_request_again_millis": took[1]}

    def memory(self, before_it: int = 32, count: int = 64) -> dict[str, float]:
        """Resident memory that each of so many further tenants adds once it has an instance.

        In a process that found the compiled module in its cache: what compiling takes, the allocator gives back much
        later. The first tenants are not counted, since what is allocated once is allocated for them.
        """
        others = [self._register(f"tenant-{number}") for number in range(before_it + count)]
        self._write({"request": [self._victim, *others]})
        self._reload()
        self.close()
        self._start()
        for tenant in others[:before_it]:
            self._ask(tenant)
        before = self._settled_memory()
        for tenant in others[before_it:]:
            self._ask(tenant)
        return {"kib_per_tenant": round((self._settled_memory() - before) / count / 1024, 1)}

    def beside_a_loop(self, tools: Tools, core: int, rounds: int, seconds: float) -> dict[str, float]:
        """Latency of the well-behaved tenant without and with the other, in turns."""
        self._write({"request": [self._victim], "loop": [self._looper]})
        self._reload()
        alone, beside = [], []
        for _ in range(rounds):
            alone.append(self._finish(self._load(tools, core, self._victim, _CONNECTIONS), seconds))
            looping = self._load(tools, core, self._looper, _LOOPS)
            beside.append(self._finish(self._load(tools, core, self._victim, _CONNECTIONS), seconds))
            self._finish(looping, 0, failing=True)
        figures = {}
        for part in ("p50", "p99"):
            for name, runs in (("undisturbed", alone), ("beside_a_loop", beside)):
                figures[f"{name}_{part}_millis"] = round(
                    statistics.median(run[part] for run in runs) / 1000, 3
                )
        return figures

    def _settled_memory(self) -> int:
        """Resident memory once requests no longer change it: an allocator gives back what compiling took with a delay."""
        deadline, readings = time.monotonic() + _SETTLE_LIMIT, [0]
        while time.monotonic() < deadline:
            for _ in range(20):
                self._ask(self._victim)
            time.sleep(0.2)
            readings = [*readings[-4:], self.server.resident_bytes()]
            if max(readings) - min(readings) <= _SETTLED_BYTES:
                return readings[-1]
        raise BenchError(f"the edge's memory does not settle: {readings}")

    def _ask(self, tenant: Tenant) -> None:
        headers = {"Authorization": f"Bearer {tenant.token}"}
        status, answer = measure.request(self._port, "GET", "/guarded/1k", headers)
        if status != 200:
            raise BenchError(f"GET /guarded/1k answered {status}: {answer[:300]!r}\n{self.server.tail()}")

    def _write(self, uses: dict[str, list[Tenant]], guest: pathlib.Path | None = None) -> None:
        """The configuration: what the plugin is configured to do, and for whom."""
        parts = [edge.server(self._port, self._admin, self._directory), _PASSWORDS, _API]
        parts.append(edge.upstream("origin", self._upstream))
        for work in uses:
            # It must loop for as long as the run takes: quarantine would end it after ten traps.
            parts.append(edge.plugin(f"p-{work}", guest or self._guest, work, limits="quarantine_traps = 0"))
        plugins = ", ".join(
            f'{{ plugin = "p-{work}", tenants = {json.dumps([tenant.id for tenant in tenants])} }}'
            for work, tenants in uses.items()
        )
        route = f'[[routes]]\nprefix = "/guarded"\nupstream = "origin"\nauth = "jwt"\nplugins = [{plugins}]\n'
        self._config.write_text("\n".join([*parts, route]))

    def _register(self, name: str) -> Tenant:
        account = {
            "email": f"{name}@example.com",
            "password": secrets.token_urlsafe(16),
            "firstName": "Load",
            "lastName": "Bench",
        }
        kind = {"Content-Type": "application/json"}
        path = "/api/v5/auth/register"
        status, answer = measure.request(self._port, "POST", path, kind, json.dumps(account).encode())
        if status not in (200, 201):
            raise BenchError(f"POST {path} answered {status}: {answer[:300]!r}")
        token = json.loads(answer)["data"]["token"]
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return Tenant(claims["tenant_id"], token)

    def _reload(self) -> None:
        """Has the configuration read again, and returns once it is in use."""
        before = self._reloads()
        self.server.signal(signal.SIGHUP)
        deadline = time.monotonic() + _RELOAD_LIMIT
        while self._reloads() == before:
            if time.monotonic() > deadline:
                raise BenchError(f"the edge did not take its configuration:\n{self.server.tail()}")
            time.sleep(0.002)

    def _reloads(self) -> list[str]:
        _, metrics = measure.request(self._admin, "GET", "/metrics", {})
        lines = metrics.decode().splitlines()
        return [line for line in lines if line.startswith("coditect_config_reloads_total")]

    def _load(self, tools: Tools, core: int, tenant: Tenant, connections: int) -> subprocess.Popen:
        command = [tools.wrk, "-t1", f"-c{connections}", f"-d{_BOUND_SECONDS}s", "-s"]
        command += [str(pathlib.Path(__file__).parent / "paced.lua")]
        command += [
            "-H",
            f"Authorization: Bearer {tenant.token}",
            f"http://127.0.0.1:{self._port}/guarded/1k",
        ]
        return subprocess.Popen(
            command,
            env=os.environ | tools.env | {"REST_MS": str(_REST_MS)},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=pinned(core),
        )

    def _finish(self, load: subprocess.Popen, seconds: float, failing: bool = False) -> dict[str, float]:
        """Ends a load after so long; every answer must be good, or every one a refusal."""
        try:
            time.sleep(seconds)
            load.send_signal(signal.SIGINT)
            output, _ = load.communicate(timeout=10)
        finally:
            if load.poll() is None:
                load.kill()
                load.wait()
        lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise BenchError(f"wrk gave no result:\n{output[-1000:]}")
        result = json.loads(lines[0].removeprefix("RESULT "))
        wanted = result["requests"] if failing else 0
        if not result["requests"] or result["socket"] or result["status"] != wanted:
            raise BenchError(f"not what was expected: {result}; the edge's log ends:\n{self.server.tail()}")
        return result
