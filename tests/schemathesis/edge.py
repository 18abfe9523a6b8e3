"""The real edge on a temporary folder and free ports."""

import os
import pathlib
import re
import signal
import subprocess
import time

# How long the edge may take to say that it serves, and to stop, in seconds.
START_LIMIT = 60
STOP_LIMIT = 60
# What is other than in config/edge.toml: free ports, no log line per request, password hashing that costs nothing and
# no throttle, since thousands of requests register and log in, and room for the workspaces they make.
CHANGES = {
    'http = "127.0.0.1:8080"': 'http = "127.0.0.1:0"',
    'admin = "127.0.0.1:9090"': 'admin = "127.0.0.1:0"',
    "access_log = true": "access_log = false",
    "memory_kib = 19456": "memory_kib = 64",
    "iterations = 2": "iterations = 1",
    "per_account_per_minute = 6": "per_account_per_minute = 0",
    "per_address_per_minute = 120": "per_address_per_minute = 0",
    "workspaces_per_user = 100": "workspaces_per_user = 1000",
}


class Edge:
    """Started on entry, stopped on exit."""

    def __init__(self, root: pathlib.Path, place: pathlib.Path):
        binary = pathlib.Path(os.environ.get("CODITECT_EDGE_BIN", root / "target/debug/coditect-edge"))
        config = (root / "config/edge.toml").read_text()
        for shipped, wanted in CHANGES.items():
            if config.count(shipped) != 1:
                raise SystemExit(f"config/edge.toml no longer holds {shipped} once; see {__file__}")
            config = config.replace(shipped, wanted)
        (place / "edge.toml").write_text(config)
        self.file = place / "edge.log"
        self.command = [root / binary, "--config", place / "edge.toml"]
        self.place = place
        self.exit_code = None

    def __enter__(self) -> "Edge":
        environment = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "JWT_SECRET")}
        with self.file.open("wb") as log:
            self.child = subprocess.Popen(
                self.command, cwd=self.place, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_LIMIT
        while not (found := re.search(r"^\s*http\s+(http://\S+)", self.log(), re.MULTILINE)):
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.child.kill()
                raise SystemExit(f"the edge did not start:\n{self.log()}")
            time.sleep(0.05)
        self.url = found.group(1)
        return self

    def __exit__(self, *_) -> None:
        self.child.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self.child.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.exit_code = f"no end within {STOP_LIMIT} s"

    def log(self) -> str:
        """What it printed so far."""
        return self.file.read_text(errors="replace")

    def panics(self) -> list[str]:
        """Lines of the log that tell of a panic, caught or not."""
        return [line for line in self.log().splitlines() if "panicked" in line]
