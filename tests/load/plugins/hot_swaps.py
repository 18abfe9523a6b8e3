"""Hot swaps of plugins of a running edge under load, one by the configuration file and one over the API."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Callable

import edge
from bench_edge import BenchEdge, Client, Tenant
from load import Load
from nginx import UPSTREAM_BODY
from processes import BenchError
from tools import Tools

WAYS = ("file", "api")
# Each way has its own plugin, which says in this header which swap it came with.
HEADERS = {way: f"x-swap-{way}" for way in WAYS}
_PATH = "/guarded/1k"
_PLUGIN = "swapped"
_ROUTE = '[[routes]]\nprefix = "/guarded"\nupstream = "origin"\nauth = "jwt"\n'
# Seconds until an activation is at work, until what was replaced is freed, and the longest run.
_SWAP_LIMIT = 10.0
_FREED_LIMIT = 10.0
_RUN_LIMIT = 24 * 3600
_POLL_SECONDS = 0.001


@dataclasses.dataclass
class Held:
    """What the edge says that it holds."""

    instances: int
    modules: int


@dataclasses.dataclass
class Run:
    """What was seen of a run."""

    # Milliseconds of each swap, by way: from the signal or the request until the next answer showed it.
    took: dict[str, list[float]]
    # Of those over the API, until its answer, which has the version on trial before.
    accepted: list[float] = dataclasses.field(default_factory=list)
    # Resident bytes after each swap.
    resident: list[int] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    load: dict = dataclasses.field(default_factory=dict)
    # At the end, what is configured at that time, and what is held once nothing is.
    held: Held | None = None
    configured: Held | None = None
    left: Held | None = None


class HotSwaps:
    """An edge with a tenant, the plugin's versions, and the ways in which it is swapped."""

    def __init__(
        self,
        binary: pathlib.Path,
        guest: pathlib.Path,
        directory: pathlib.Path,
        core: int,
        upstream: int,
        ways: tuple[str, ...] = WAYS,
    ):
        self._ways = ways
        # The modules of one way differ from each other and from the other way's.
        self._modules = {way: [_variant(guest, f"{way}-{index}") for index in range(2)] for way in ways}
        self._files = [directory / f"{_PLUGIN}-{index}.wasm" for index in range(2)]
        for file, module in zip(self._files, self._modules.get("file", ()), strict=False):
            file.write_bytes(module)
        self._edge = BenchEdge(binary, directory, core, upstream)
        self._swap = {"file": self._by_file, "api": self._by_api}
        self._done = dict.fromkeys(ways, 0)
        self._accepted: list[float] = []
        self._configure(None)
        self._edge.start(small_pages=True)
        self._client = Client(self._edge.port)
        try:
            self._tenant: Tenant = self._edge.register("swapper")
            self._versions = [self._upload(module) for module in self._modules.get("api", ())]
            for way in ways:
                self._swap_once(way)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the edge."""
        self._client.close()
        self._edge.close()

    def run(self, tools: Tools, core: int, warm_up: int, swaps: int, progress: Callable[[int], None]) -> Run:
        """So many swaps under load, the ways in turn; before them others, of which only failures count.

        Each activation leaves entries in the store, as any write does: the first thousands fill its page cache, which
        has a bound. What the swaps themselves leave behind shows after that, in small pages.
        """
        run = Run({way: [] for way in self._ways}, accepted=self._accepted)
        headers = " ".join(HEADERS[way] for way in self._ways)
        load = Load(
            tools,
            core,
            f"http://127.0.0.1:{self._edge.port}{_PATH}",
            self._tenant.headers,
            script="swaps.lua",
            environment={"HEADERS": headers, "BODY": UPSTREAM_BODY.decode()},
            bound=_RUN_LIMIT,
        )
        try:
            for swap in range(warm_up):
                self._swap_once(self._ways[swap % len(self._ways)])
                progress(swap + 1)
            run.accepted.clear()
            started = time.monotonic()
            for swap in range(swaps):
                way = self._ways[swap % len(self._ways)]
                run.took[way].append(self._swap_once(way))
                run.resident.append(self._edge.server.resident_bytes())
                progress(warm_up + swap + 1)
            run.seconds = time.monotonic() - started
            run.load = load.finish()
        finally:
            load.close()
        # One plugin of one module with one instance for each way: the load has one tenant.
        run.configured = Held(len(self._ways), len(self._ways))
        run.held = self._held_when(run.configured)
        self._take_out()
        run.left = self._held_when(Held(0, 0))
        return run

    def _swap_once(self, way: str) -> float:
        """The next swap; milliseconds until an answer shows it."""
        self._done[way] += 1
        number = self._done[way]
        started = time.monotonic()
        self._swap[way](number)
        return (time.monotonic() - started) * 1000

    def _by_file(self, number: int) -> None:
        self._configure(number)
        self._edge.reload()
        # It is in use once it was counted: no request after that meets another.
        if (shown := self._shown("file")) != str(number):
            raise BenchError(f"swap {number} by the file was counted, but an answer shows {shown}")

    def _by_api(self, number: int) -> None:
        started = time.monotonic()
        version = self._versions[_module(number)]
        self._post("activate", {"version": version, "configuration": _configuration("api", number)})
        self._accepted.append((time.monotonic() - started) * 1000)
        deadline = time.monotonic() + _SWAP_LIMIT
        # The first is closed until it is loaded; those after it replace one that works.
        while (shown := self._shown("api", refused=number == 1)) != str(number):
            if time.monotonic() > deadline:
                raise BenchError(
                    f"activation {number} is not at work after {_SWAP_LIMIT:.0f} s: an answer shows {shown}; "
                    f"the edge's log ends:\n{self._edge.server.tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def _shown(self, way: str, refused: bool = False) -> str | None:
        """Which swap an answer shows; it must be a good answer, or a refusal where that may be."""
        status, headers, body = self._client.ask("GET", _PATH, self._tenant.headers)
        if refused and status == 503:
            return None
        if status != 200 or body != UPSTREAM_BODY:
            raise BenchError(
                f"GET {_PATH} answered {status}: {body[:300]!r}; the edge's log ends:\n{self._edge.server.tail()}"
            )
        return headers.get(HEADERS[way])

    def _configure(self, number: int | None) -> None:
        """Writes the file: with the plugin of this swap by the file, or without one."""
        if number is None:
            self._edge.write(_ROUTE)
            return
        file, configuration = self._files[_module(number)], _configuration("file", number)
        # One instance for each tenant, so that it can be told how many there should be.
        plugin = edge.plugin(_PLUGIN, file, configuration, limits="instances_per_tenant = 1")
        self._edge.write(plugin, f'{_ROUTE}plugins = [{{ plugin = "{_PLUGIN}" }}]\n')

    def _upload(self, module: bytes) -> int:
        kind = self._tenant.headers | {"Content-Type": "application/wasm"}
        return self._data("POST", "versions", kind, module, 201)["version"]

    def _post(self, what: str, body: dict) -> dict:
        kind = self._tenant.headers | {"Content-Type": "application/json"}
        return self._data("POST", what, kind, json.dumps(body).encode(), 200)

    def _data(self, method: str, what: str, headers: dict[str, str], body: bytes, wanted: int) -> dict:
        path = f"/api/v5/plugins/{_PLUGIN}/{what}"
        status, _, answer = self._client.ask(method, path, headers, body)
        if status != wanted:
            raise BenchError(
                f"{method} {path} answered {status}: {answer[:300]!r}; its log ends:\n{self._edge.server.tail()}"
            )
        return json.loads(answer)["data"]

    def _take_out(self) -> None:
        """Ends what was put to work."""
        if "api" in self._ways:
            self._post("deactivate", {})
        self._configure(None)
        self._edge.reload()

    def _held_when(self, wanted: Held) -> Held:
        """What the edge holds once it is as wanted, or else after a while."""
        deadline = time.monotonic() + _FREED_LIMIT
        while True:
            metrics = self._edge.metrics()
            held = Held(int(metrics["coditect_plugin_instances"]), int(metrics["coditect_plugin_modules"]))
            if held == wanted or time.monotonic() > deadline:
                return held
            time.sleep(0.05)


def _module(number: int) -> int:
    """Which of the two modules a swap is to: every other one changes only the configuration."""
    return number // 2 % 2


def _configuration(way: str, number: int) -> str:
    """What security-headers reads: a header to set, and its value."""
    return f"{HEADERS[way]}: {number}"


def _variant(guest: pathlib.Path, name: str) -> bytes:
    """The same program as another module: with a custom section (WebAssembly core, 5.5.3) of its own."""
    content = b"\x04swap" + name.encode()
    return guest.read_bytes() + bytes([0, len(content)]) + content
