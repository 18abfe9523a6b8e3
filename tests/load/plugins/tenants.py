"""What tenants cost, and feel of each other: the edge alone.

Time until a plugin that was just configured answers its first request; memory of each further tenant with an
instance of its own; latency of one tenant while another tenant's plugin loops for ever, beside it undisturbed.
"""

import json
import pathlib
import secrets
import statistics
import time

import edge
from bench_edge import BenchEdge, Client, Tenant
from load import CONNECTIONS, Load
from processes import BenchError
from tools import Tools

_LOOPS = 2
_PATH = "/guarded/1k"
# Tenants of the two processes whose memory is compared, the requests that each gets, and how often that is done.
_FEW, _MANY = 64, 320
_REQUESTS = 4 * _MANY
_MEMORY_ROUNDS = 3


class Tenants:
    """An edge with tenants, whose plugins are one guest with different configurations."""

    def __init__(
        self, binary: pathlib.Path, guest: pathlib.Path, directory: pathlib.Path, core: int, upstream: int
    ):
        self._directory, self._guest = directory, guest
        self._edge = BenchEdge(binary, directory, core, upstream)
        self._write({})
        self._edge.start()
        try:
            self._victim, self._looper = self._edge.register("victim"), self._edge.register("looper")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the edge."""
        self._edge.close()

    def first_request(self) -> dict[str, float]:
        """From the signal that loads a plugin until a request has passed it, compiling and starting included."""
        changed = self._directory / "changed.wasm"
        # A custom section with random content: no cache of compiled code knows this module.
        content = b"\x04salt" + secrets.token_bytes(32)
        changed.write_bytes(self._guest.read_bytes() + bytes([0, len(content)]) + content)
        took = []
        for _ in range(2):
            self._write({})
            self._edge.reload()
            self._write({"request": [self._victim]}, changed)
            started = time.monotonic()
            self._edge.reload()
            self._ask([self._victim], 1)
            took.append(round((time.monotonic() - started) * 1000, 1))
        return {"first_request_millis": took[0], "first_request_again_millis": took[1]}

    def memory(self) -> dict[str, float]:
        """Memory that each further tenant adds once it has an instance.

        Two processes get the same requests on the same configuration and store, one from few tenants and one from many;
        the difference is divided by the tenants that the one has more. Each process is fresh, since an allocator gives
        memory back at its own pace, and has small pages; both find the compiled module in the cache on disk. The plugin
        is for all tenants: those that are named get their instance when it is loaded, asked or not. What counts is
        anonymous memory (what was allocated, and pages of linear memory that were written; those that were only read
        are the module's) and the page tables for it. The median of three such pairs.
        """
        others = [self._edge.register(f"tenant-{number}") for number in range(_MANY)]
        self._write({"request": None})
        self._edge.reload()
        each = []
        for _ in range(_MEMORY_ROUNDS):
            few, many = self._memory_with(others[:_FEW]), self._memory_with(others)
            each.append((many - few) / (_MANY - _FEW) / 1024)
        # What is measured next runs as usual.
        self._edge.close()
        self._edge.start()
        return {
            "kib_per_tenant": round(statistics.median(each), 1),
            "kib_per_tenant_spread": round((max(each) - min(each)) / statistics.median(each), 3),
        }

    def _memory_with(self, tenants: list[Tenant]) -> int:
        """Bytes of a fresh process that these tenants sent all requests to."""
        self._edge.close()
        self._edge.start(small_pages=True)
        self._ask(tenants, _REQUESTS)
        instances = self._edge.metrics()["coditect_plugin_instances"]
        if instances != len(tenants):
            raise BenchError(
                f"{len(tenants)} tenants have {instances:.0f} instances; memory of each is unknown"
            )
        return self._edge.server.own_bytes()

    def beside_a_loop(self, tools: Tools, core: int, rounds: int, seconds: float) -> dict[str, float]:
        """Latency of the well-behaved tenant without and with the other, in turns."""
        self._write({"request": [self._victim], "loop": [self._looper]})
        self._edge.reload()
        alone, beside = [], []
        for _ in range(rounds):
            alone.append(self._finish(self._load(tools, core, self._victim, CONNECTIONS), seconds))
            looping = self._load(tools, core, self._looper, _LOOPS)
            beside.append(self._finish(self._load(tools, core, self._victim, CONNECTIONS), seconds))
            self._finish(looping, 0, failing=True)
        figures = {}
        for part in ("p50", "p99"):
            for name, runs in (("undisturbed", alone), ("beside_a_loop", beside)):
                figures[f"{name}_{part}_millis"] = round(
                    statistics.median(run[part] for run in runs) / 1000, 3
                )
        return figures

    def _ask(self, tenants: list[Tenant], requests: int) -> None:
        """So many requests, of one tenant after the other."""
        client = Client(self._edge.port)
        try:
            for number in range(requests):
                headers = tenants[number % len(tenants)].headers
                status, _, answer = client.ask("GET", _PATH, headers)
                if status != 200:
                    log = self._edge.server.tail()
                    raise BenchError(f"GET {_PATH} answered {status}: {answer[:300]!r}\n{log}")
        finally:
            client.close()

    def _write(self, uses: dict[str, list[Tenant] | None], guest: pathlib.Path | None = None) -> None:
        """The configuration: what the plugin is configured to do, and for whom; None: for all."""
        # It must loop for as long as the run takes: quarantine would end it after ten traps.
        limits = "quarantine_traps = 0"
        plugins = [edge.plugin(f"p-{work}", guest or self._guest, work, limits=limits) for work in uses]
        used = []
        for work, tenants in uses.items():
            ids = "" if tenants is None else f", tenants = {json.dumps([tenant.id for tenant in tenants])}"
            used.append(f'{{ plugin = "p-{work}"{ids} }}')
        route = '[[routes]]\nprefix = "/guarded"\nupstream = "origin"\nauth = "jwt"\n'
        self._edge.write(*plugins, f"{route}plugins = [{', '.join(used)}]\n")

    def _load(self, tools: Tools, core: int, tenant: Tenant, connections: int) -> Load:
        url = f"http://127.0.0.1:{self._edge.port}{_PATH}"
        return Load(tools, core, url, tenant.headers, connections)

    def _finish(self, load: Load, seconds: float, failing: bool = False) -> dict[str, float]:
        """Ends a load after so long; every answer must be good, or every one a refusal."""
        result = load.finish(seconds)
        wanted = result["requests"] if failing else 0
        if not result["requests"] or result["socket"] or result["status"] != wanted:
            log = self._edge.server.tail()
            raise BenchError(f"not what was expected: {result}; the edge's log ends:\n{log}")
        return result
