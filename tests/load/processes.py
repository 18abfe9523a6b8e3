"""Processes the bench starts: pinned to a core, watched for CPU time, always stopped."""

import contextlib
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time

# How long a server may take to answer its first request, and to end after SIGTERM (seconds).
START_LIMIT = 20.0
STOP_LIMIT = 10.0

_PR_SET_PDEATHSIG = 1
_PR_SET_THP_DISABLE = 41
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Something that makes the figures worthless; the bench ends with it."""


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cores() -> tuple[int, int]:
    """(core of the proxy under test, core of the load generator and the upstream)."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise BenchError("two cores are needed: one for the proxy, one for load and upstream")
    return available[-1], available[0]


def _stat(pid: int) -> tuple[int, int]:
    """(parent pid, CPU ticks in user and system mode, threads that ended included)."""
    # The command name in parentheses may hold spaces: fields are counted after its end.
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12])


def tree_cpu_seconds(root: int) -> float:
    """CPU time spent so far by `root` and all its living descendants."""
    parents, ticks = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry)], ticks[int(entry)] = _stat(int(entry))
    if root not in ticks:
        raise BenchError(f"process {root} is gone")

    def belongs(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return sum(spent for pid, spent in ticks.items() if belongs(pid)) / _TICKS_PER_SECOND


def _kib(table: str, name: str) -> int:
    """An amount in a table of /proc: `Name:  123 kB`."""
    for line in table.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchError(f"/proc tells no {name}")


_libc = ctypes.CDLL(None)


def pinned(core: int, small_pages: bool = False):
    """For `preexec_fn`: keeps the new process on `core`, and ends it with the bench even if that is killed.

    With small pages it gets no transparent huge ones: of these 2 MiB are resident as soon as a byte is used, and until
    the last one is given back, which hides smaller changes.
    """

    def prepare():
        os.sched_setaffinity(0, {core})
        if small_pages:
            _libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare


class Server:
    """A server process of the bench: started on one core, stopped by `close`."""

    def __init__(
        self,
        name: str,
        command: list[str],
        core: int,
        log: pathlib.Path,
        env=None,
        cwd=None,
        small_pages: bool = False,
    ):
        self.name = name
        self.log = log
        # Appending, so that `trim` can empty the file under a running server.
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                cwd=cwd,
                preexec_fn=pinned(core, small_pages),
            )

    def cpu_seconds(self) -> float:
        """CPU time of the whole process tree so far."""
        return tree_cpu_seconds(self._process.pid)

    def resident_bytes(self) -> int:
        """Resident memory of the process, without its children."""
        fields = pathlib.Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def own_bytes(self) -> int:
        """Memory that is nobody else's and no file's: anonymous pages, and the page tables of the process."""
        process = pathlib.Path(f"/proc/{self._process.pid}")
        tables = _kib((process / "status").read_text(), "VmPTE")
        return 1024 * (_kib((process / "smaps_rollup").read_text(), "Anonymous") + tables)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self._process.send_signal(number)

    def wait_for_port(self, port: int) -> None:
        """Returns once the port accepts connections; raises if the process ends before."""
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BenchError(
                    f"{self.name} ended at start with {self._process.returncode}:\n{self.tail()}"
                )
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise BenchError(f"{self.name} did not listen on port {port} in {START_LIMIT:.0f} s:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        with open(self.log, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            return log.read().decode(errors="replace")

    def trim(self) -> None:
        """Empties its log, access log included: a run writes tens of megabytes."""
        os.truncate(self.log, 0)

    def close(self) -> None:
        """SIGTERM, and SIGKILL if that is not obeyed in time."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
