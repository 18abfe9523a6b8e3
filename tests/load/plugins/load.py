"""A load well below what one core can do, so that latency is not the queue's: wrk, each of whose connections rests."""

import json
import os
import pathlib
import signal
import subprocess
import time

from processes import BenchError, pinned
from tools import Tools

CONNECTIONS, REST_MS = 16, 10
_END_LIMIT = 10.0
_HERE = pathlib.Path(__file__).resolve().parent


class Load:
    """wrk, running from now until `finish`; `bound` seconds are only its own limit."""

    def __init__(
        self,
        tools: Tools,
        core: int,
        url: str,
        headers: dict[str, str],
        connections: int = CONNECTIONS,
        script: str = "paced.lua",
        environment: dict[str, str] | None = None,
        bound: int = 60,
    ):
        command = [tools.wrk, "-t1", f"-c{connections}", f"-d{bound}s", "-s", str(_HERE / script)]
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        self._process = subprocess.Popen(
            [*command, url],
            env=os.environ | tools.env | {"REST_MS": str(REST_MS)} | (environment or {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=pinned(core),
        )

    def finish(self, seconds: float = 0) -> dict:
        """Ends it after so long: what its script tells of the run."""
        try:
            time.sleep(seconds)
            self._process.send_signal(signal.SIGINT)
            output, _ = self._process.communicate(timeout=_END_LIMIT)
        finally:
            self.close()
        lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
        if not lines:
            raise BenchError(f"wrk gave no result:\n{output[-1000:]}")
        return json.loads(lines[0].removeprefix("RESULT "))

    def close(self) -> None:
        """Ends it at once, if it runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
