"""Cases, targets, and how one is verified and measured."""

import dataclasses
import http.client
import json
import pathlib
import signal
import statistics
import subprocess
import time

from processes import BenchError, Server, pinned
from tools import Tools

CONNECTIONS = 64
_REQUEST_TIMEOUT = 10.0
# wrk's own duration is only a bound: it is interrupted when the wanted time is over, which may be a fraction.
_WRK_BOUND_SECONDS = 60


@dataclasses.dataclass
class Sample:
    """One run of the load generator."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50_micros: float
    p99_micros: float


@dataclasses.dataclass
class Target:
    """One server's way to answer a case."""

    label: str
    server: Server
    port: int
    path: str
    body: bytes
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    # It must refuse the same request without its Authorization header.
    guarded: bool = False
    # What it must answer: with 400 and above every answer must be so.
    status: int = 200
    samples: list[Sample] = dataclasses.field(default_factory=list)

    def verify(self) -> None:
        """It answers exactly what the case expects, and refuses whom it must."""
        status, body = request(self.port, "GET", self.path, self.headers)
        if status != self.status or body != self.body:
            raise BenchError(
                f"{self.label}: GET {self.path} answered {status}, {len(body)} bytes {body[:200]!r}; "
                f"expected {self.status}, {len(self.body)} bytes {self.body[:200]!r}"
            )
        if not self.guarded:
            return
        token = self.headers["Authorization"]
        # The first character of the signature: its last one may hold padding bits that mean nothing.
        head, _, signature = token.rpartition(".")
        forged = f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
        for name, headers in {"no token": {}, "a forged token": {"Authorization": forged}}.items():
            status, _ = request(self.port, "GET", self.path, headers)
            if status != 401:
                raise BenchError(f"{self.label}: GET {self.path} with {name} answered {status}, expected 401")

    def run(self, tools: Tools, core: int, seconds: float) -> Sample:
        """Loads it for `seconds`. Any failed request ends the bench."""
        command = [
            tools.wrk,
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{_WRK_BOUND_SECONDS}s",
            "-s",
            str(pathlib.Path(__file__).parent / "wrk.lua"),
        ]
        for name, value in self.headers.items():
            command += ["-H", f"{name}: {value}"]
        command.append(f"http://127.0.0.1:{self.port}{self.path}")
        before = self.server.cpu_seconds()
        load = subprocess.Popen(
            command,
            env=tools.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=pinned(core),
        )
        try:
            time.sleep(seconds)
            load.send_signal(signal.SIGINT)
            output, _ = load.communicate(timeout=_REQUEST_TIMEOUT)
        finally:
            if load.poll() is None:
                load.kill()
                load.wait()
        cpu = self.server.cpu_seconds() - before
        sample = self._sample(output, cpu)
        self.server.trim()
        return sample

    def _sample(self, output: str, cpu: float) -> Sample:
        lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise BenchError(f"{self.label}: wrk gave no result:\n{output[-1000:]}")
        result = json.loads(lines[0].removeprefix("RESULT "))
        errors = {
            kind: result[kind] for kind in ("connect", "read", "write", "status", "timeout") if result[kind]
        }
        # wrk counts such answers as errors.
        if self.status >= 400 and errors.get("status") == result["requests"]:
            del errors["status"]
        elif self.status >= 400:
            errors["other answers"] = result["requests"] - errors.get("status", 0)
        if errors or not result["requests"]:
            raise BenchError(
                f"{self.label}: {result['requests']} requests, errors {errors}; "
                f"its log ends:\n{self.server.tail()}"
            )
        return Sample(result["requests"], result["micros"] / 1e6, cpu, result["p50"], result["p99"])

    def cpu_micros(self) -> float:
        """CPU per request over all samples, in microseconds."""
        return 1e6 * sum(s.cpu_seconds for s in self.samples) / sum(s.requests for s in self.samples)

    def per_second(self) -> float:
        """Requests per second over all samples."""
        return sum(s.requests for s in self.samples) / sum(s.seconds for s in self.samples)

    def figures(self) -> dict[str, float]:
        """What the report shows of it."""
        each = [1e6 * s.cpu_seconds / s.requests for s in self.samples]
        return {
            "cpu_micros_per_request": round(self.cpu_micros(), 2),
            "requests_per_second": round(self.per_second()),
            "p50_millis": round(statistics.median(s.p50_micros for s in self.samples) / 1000, 3),
            "p99_millis": round(statistics.median(s.p99_micros for s in self.samples) / 1000, 3),
            # Below about 0.95 the load generator or the upstream set the pace, not this server.
            "core_busy": round(
                sum(s.cpu_seconds for s in self.samples) / sum(s.seconds for s in self.samples), 2
            ),
            "cpu_spread": round((max(each) - min(each)) / self.cpu_micros(), 3),
        }


@dataclasses.dataclass
class Case:
    """The same work done by several servers; the first target is the edge, where it takes part."""

    name: str
    targets: list[Target]

    def measure(self, tools: Tools, core: int, rounds: int, seconds: float, warm_up: float) -> None:
        """Takes the targets in turn, round after round, so that a drift of the machine meets all of them."""
        for target in self.targets:
            target.verify()
            target.run(tools, core, warm_up)
        for _ in range(rounds):
            for target in self.targets:
                target.samples.append(target.run(tools, core, seconds))
        for target in self.targets:
            target.verify()


def request(
    port: int, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, bytes]:
    """One request on a connection of its own: (status, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_REQUEST_TIMEOUT)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{method} {path} on port {port}: {error}") from error
    finally:
        connection.close()
