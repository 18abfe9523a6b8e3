"""A proxy as a child process whose output is read line by line."""

import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

# Seconds until a port listens, a wanted line is logged, a process has ended.
START_LIMIT = 60.0
LOG_LIMIT = 6.0
STOP_LIMIT = 10.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class TestError(Exception):
    """The test itself could not go on."""


class Child:
    """Started at once; its stdout and stderr go to a file and to `lines`."""

    def __init__(self, name: str, command: list[str], log: pathlib.Path, env=None, cwd=None):
        self.name = name
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._log = log
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            # It ends with the test even if that is killed.
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self._log, "wb") as log:
            for line in self.process.stdout:
                log.write(line)
                with self._changed:
                    self._lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()

    def lines(self) -> list[str]:
        """All lines so far."""
        with self._changed:
            return list(self._lines)

    def wait_for(self, pattern: str, count: int = 1, limit: float = LOG_LIMIT) -> None:
        """Returns once so many lines match; raises after the limit, or when the process has ended."""
        wanted, deadline = re.compile(pattern), time.monotonic() + limit
        seen = found = 0
        with self._changed:
            while True:
                found += sum(1 for line in self._lines[seen:] if wanted.search(line))
                seen = len(self._lines)
                if found >= count:
                    return
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise TestError(
                        f"{self.name} logged {pattern!r} {found} times, not {count}, in {limit:.0f} s; {self._log}"
                    )
                self._changed.wait(min(left, 0.5))

    def wait_for_port(self, port: int) -> None:
        """Returns once the port takes connections."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self._reader.join(STOP_LIMIT)
                tail = "\n".join(self.lines()[-15:])
                raise TestError(f"{self.name} ended at start with {self.process.returncode}:\n{tail}")
            try:
                with socket.create_connection(("127.0.0.1", port), 1):
                    return
            except OSError:
                time.sleep(0.02)
        raise TestError(f"{self.name} did not listen on port {port} in {START_LIMIT:.0f} s; see {self._log}")

    def stop(self) -> int:
        """SIGTERM, SIGKILL if that is not obeyed; its exit status, once all its output is read."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(STOP_LIMIT)
        return self.process.returncode


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def quiet_environment() -> dict[str, str]:
    """What a proxy gets of this process's environment."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
