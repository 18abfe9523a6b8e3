"""The edge: its configuration for a set of cases, and what it logged."""

import json
import pathlib
import re
import urllib.request

from case import Case
from process import Child, free_ports, quiet_environment

# Far above what a guest of the test needs, in a build without optimisation too: budgets are tested elsewhere.
_LIMITS = """
callback_cpu_us = 1000000
start_cpu_ms = 10000
log_lines_per_second = 1000000
calls_per_request = 64
instances_per_tenant = 1
log_level = "trace"
"""
# The instance that only tries a configuration logs under this tenant.
_CANARY = "(canary)"
_LEVELS = {"TRACE": "trace", "DEBUG": "debug", "INFO": "info", "WARN": "warn", "ERROR": "error"}


def _toml(value: str) -> str:
    """A TOML string: JSON's escapes are a subset of TOML's, but for the delete character, which no case has."""
    return json.dumps(value)


def upstream(name: str, port: int) -> str:
    """An upstream on loopback."""
    protocol = '\nprotocol = "h2c"' if name.startswith("grpc") else ""
    return f'[upstreams.{name}]\naddress = "http://127.0.0.1:{port}"{protocol}\n'


def plugin(
    name: str,
    file: pathlib.Path,
    config: str = "",
    vm_config: str = "",
    root_id: str = "",
    vm_id: str = "",
    fail_open: bool = False,
    stop_iteration: bool = False,
    upstreams: list[str] | None = None,
    limits: str = "",
) -> str:
    """One plugin."""
    lines = [
        f"[plugins.{name}]",
        f"file = {_toml(str(file))}",
        f"config = {_toml(config)}",
        f"vm_config = {_toml(vm_config)}",
        f"root_id = {_toml(root_id)}",
        f"vm_id = {_toml(vm_id or name)}",
        f'failure = "{"open" if fail_open else "closed"}"',
        f"stop_iteration = {str(stop_iteration).lower()}",
        f"upstreams = {json.dumps(upstreams or [])}",
        limits.strip(),
    ]
    return "\n".join(lines) + "\n"


def route(prefix: str, target: str, plugins: list[str]) -> str:
    """A public route through plugins to an upstream."""
    uses = ", ".join(f'{{ plugin = "{name}" }}' for name in plugins)
    return f'[[routes]]\nprefix = "{prefix}"\nupstream = "{target}"\nauth = "public"\nplugins = [{uses}]\n'


def server(port: int, admin: int, directory: pathlib.Path, access_log: bool = False) -> str:
    """What stands before upstreams, plugins and routes."""
    return (
        f'[server]\nhttp = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{admin}"\nthreads = 1\ndrain_seconds = 5\n'
        f"access_log = {str(access_log).lower()}\n[store]\npath = {_toml(str(directory / 'store.redb'))}\n"
    )


def environment(directory: pathlib.Path) -> dict[str, str]:
    """What the process gets: guests' lines of all levels are wanted in the log."""
    return quiet_environment() | {
        "HOME": str(directory),
        "JWT_SECRET": "only for a test, forty characters or more",
        "RUST_LOG": "info,plugin=trace",
    }


class Edge:
    """The edge running with a route for each case."""

    name = "edge"

    def __init__(
        self, binary: pathlib.Path, cases: list[Case], guests: pathlib.Path, upstreams, output: pathlib.Path
    ):
        self._port, self.admin = free_ports(2)
        parts = [server(self._port, self.admin, output)]
        parts += [upstream(name, port) for name, port in upstreams.items()]
        for case in cases:
            for index, each in enumerate(case.plugins):
                parts.append(
                    plugin(
                        case.plugin_name(index),
                        guests / f"{each.guest}.wasm",
                        each.config,
                        each.vm_config,
                        each.root_id,
                        each.vm_id,
                        each.fail_open,
                        each.stop_iteration,
                        list(upstreams),
                        _LIMITS,
                    )
                )
            parts.append(route(f"/{case.name}", "origin", case.plugin_names()))
        for path in ("store.redb", "store.redb.key"):
            (output / path).unlink(missing_ok=True)
        config = output / "edge.toml"
        config.write_text("\n".join(parts))
        command = [str(binary), "--config", str(config)]
        self._child = Child("edge", command, output / "edge.log", environment(output), output)
        try:
            self._child.wait_for_port(self._port)
        except BaseException:
            self.stop()
            raise

    def port(self, _case: Case) -> int:
        """Where a case's requests go: all to the same."""
        return self._port

    def wait_for_log(self, plugin_name: str, text: str, count: int = 1) -> None:
        """Returns once a plugin has logged a text so often."""
        self._child.wait_for(
            rf'(?=.*"plugin":"{re.escape(plugin_name)}")(?!.*{re.escape(_CANARY)})(?=.*{text})', count
        )

    def log(self, plugin_name: str) -> list[tuple[str, str]]:
        """A plugin's lines, (level, message)."""
        lines = []
        for line in self._child.lines():
            if f'"{plugin_name}"' not in line:
                continue
            record = _record(line)
            if record and _is_of(record, plugin_name):
                lines.append((_LEVELS.get(record.get("level", ""), "?"), record.get("message", "")))
        return lines

    def metric(self, name: str) -> str | None:
        """A guest's counter or gauge; None where it has none."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            if not line.startswith("#") and f'"{name}"' in line:
                return str(int(float(line.rsplit(" ", 1)[1])))
        return None

    def stop(self) -> int:
        """Ends it; its exit status."""
        return self._child.stop()


def _record(line: str) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record | record.get("fields", {}) if isinstance(record, dict) else None


def _is_of(record: dict, plugin_name: str) -> bool:
    """Whether it is a guest's line, of the instance that serves."""
    of_it = record.get("target") == "plugin" and record.get("plugin") == plugin_name
    return of_it and record.get("tenant") != _CANARY
