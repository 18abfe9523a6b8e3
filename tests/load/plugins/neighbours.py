"""What the other tenants feel while one tenant's plugin loops for ever: the edge alone, beside itself undisturbed."""

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
_LOOPS, _LOOP_REST_MS = 2, 10
_RELOAD_LIMIT = 10.0
_BOUND_SECONDS = 60


@dataclasses.dataclass
class Latency:
    """One run."""

    requests: int
    p50_micros: float
    p99_micros: float


class Neighbours:
    """An edge with two tenants, whose plugins are the same guest with another configuration."""

    def __init__(
        self, binary: pathlib.Path, guest: pathlib.Path, directory: pathlib.Path, core: int, upstream: int
    ):
        self._port, self._admin = free_port(), free_port()
        self._directory, self._guest, self._upstream = directory, guest, upstream
        self._config = directory / "neighbours.toml"
        self._write([])
        environment = edge.environment(directory) | {"RUST_LOG": "error"}
        command = [str(binary), "--config", str(self._config)]
        log = directory / "neighbours.log"
        self.server = Server("edge", command, core, log, env=environment, cwd=directory)
        try:
            self.server.wait_for_port(self._port)
            self._victim, self._looper = self._register("victim"), self._register("looper")
            self._write([(self._victim[0], "request"), (self._looper[0], "loop")])
            self._reload()
        except BaseException:
            self.server.close()
            raise

    def measure(self, tools: Tools, core: int, rounds: int, seconds: float) -> dict[str, float]:
        """Latency of the well-behaved tenant without and with the other, in turns."""
        alone, beside = [], []
        self._load(tools, core, self._victim[1], _CONNECTIONS, _REST_MS, 0.3)
        for _ in range(rounds):
            alone.append(
                self._finish(self._load_start(tools, core, self._victim[1], _CONNECTIONS, _REST_MS), seconds)
            )
            looping = self._load_start(tools, core, self._looper[1], _LOOPS, _LOOP_REST_MS)
            beside.append(
                self._finish(self._load_start(tools, core, self._victim[1], _CONNECTIONS, _REST_MS), seconds)
            )
            refused = self._finish(looping, 0, failing=True)
            if refused.requests == 0:
                raise BenchError("the looping plugin was never called")
        p99 = [statistics.median(run.p99_micros for run in runs) for runs in (alone, beside)]
        return {
            "undisturbed_p99_millis": round(p99[0] / 1000, 3),
            "beside_a_loop_p99_millis": round(p99[1] / 1000, 3),
            "ratio": round(p99[1] / p99[0], 3),
            "undisturbed_p50_millis": round(statistics.median(run.p50_micros for run in alone) / 1000, 3),
            "beside_a_loop_p50_millis": round(statistics.median(run.p50_micros for run in beside) / 1000, 3),
        }

    def _write(self, uses: list[tuple[str, str]]) -> None:
        parts = [
            edge.server(self._port, self._admin, self._directory),
            edge.upstream("origin", self._upstream),
        ]
        parts.append(
            '[[routes]]\nprefix = "/api/v5"\nlocal = "api"\nauth = "jwt"\npublic = ["POST /api/v5/auth/register"]\n'
        )
        # It must loop for as long as the run takes: quarantine would end it after ten traps.
        parts += [
            edge.plugin(f"p-{work}", self._guest, work, limits="quarantine_traps = 0") for _, work in uses
        ]
        plugins = ", ".join(f'{{ plugin = "p-{work}", tenants = ["{tenant}"] }}' for tenant, work in uses)
        parts.append(
            f'[[routes]]\nprefix = "/guarded"\nupstream = "origin"\nauth = "jwt"\nplugins = [{plugins}]\n'
        )
        self._config.write_text("\n".join(parts))

    def _register(self, name: str) -> tuple[str, str]:
        """A new tenant's id and a token of its owner."""
        account = {
            "email": f"{name}@example.com",
            "password": secrets.token_urlsafe(16),
            "firstName": "Load",
            "lastName": name.title(),
        }
        body = json.dumps(account).encode()
        kind = {"Content-Type": "application/json"}
        status, answer = measure.request(self._port, "POST", "/api/v5/auth/register", kind, body)
        if status not in (200, 201):
            raise BenchError(f"registering answered {status}: {answer[:300]!r}")
        token = json.loads(answer)["data"]["token"]
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims["tenant_id"], token

    def _reload(self) -> None:
        """SIGHUP, and waits until the new configuration is in use."""
        before = self._reloads()
        self.server.signal(signal.SIGHUP)
        deadline = time.monotonic() + _RELOAD_LIMIT
        while self._reloads() == before:
            if time.monotonic() > deadline:
                raise BenchError(f"the edge did not take its configuration:\n{self.server.tail()}")
            time.sleep(0.05)

    def _reloads(self) -> list[str]:
        _, metrics = measure.request(self._admin, "GET", "/metrics", {})
        lines = metrics.decode().splitlines()
        return [line for line in lines if line.startswith("coditect_config_reloads_total")]

    def _load(
        self, tools: Tools, core: int, token: str, connections: int, rest: int, seconds: float
    ) -> Latency:
        return self._finish(self._load_start(tools, core, token, connections, rest), seconds)

    def _load_start(
        self, tools: Tools, core: int, token: str, connections: int, rest: int
    ) -> subprocess.Popen:
        command = [tools.wrk, "-t1", f"-c{connections}", f"-d{_BOUND_SECONDS}s", "-s"]
        command += [str(pathlib.Path(__file__).parent / "paced.lua"), "-H", f"Authorization: Bearer {token}"]
        command.append(f"http://127.0.0.1:{self._port}/guarded/1k")
        environment = os.environ | tools.env | {"REST_MS": str(rest)}
        return subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=pinned(core),
        )

    def _finish(self, load: subprocess.Popen, seconds: float, failing: bool = False) -> Latency:
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
        bad = result["socket"] or (result["status"] and not failing)
        if bad or not result["requests"] or (failing and result["status"] != result["requests"]):
            raise BenchError(
                f"{result['requests']} requests, errors {result}; its log ends:\n{self.server.tail()}"
            )
        return Latency(result["requests"], result["p50"], result["p99"])
