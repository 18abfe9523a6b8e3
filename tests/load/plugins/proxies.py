"""The two proxies of the bench: one worker each, on one core, with the same chains of the same guest."""

import dataclasses
import json
import pathlib

import edge
import envoy
from processes import Server, free_port


@dataclasses.dataclass(frozen=True)
class Chain:
    """A case: what each plugin of the chain is configured to do."""

    name: str
    works: tuple[str, ...]
    status: int = 200


CHAINS = (
    Chain("no-filter", ()),
    Chain("request-header", ("request",)),
    Chain("response-header", ("response",)),
    Chain("five-filters", ("request",) * 3 + ("response",) * 2),
    Chain("body", ("body",)),
    Chain("refused", ("refuse",), 403),
)


def start_envoy(binary: pathlib.Path, guest: pathlib.Path, directory: pathlib.Path, core: int, upstream: int):
    """Envoy with a listener for each chain: the process, and the port of each."""
    ports = {chain.name: free_port() for chain in CHAINS}
    listeners = []
    for chain in CHAINS:
        names = _names(chain)
        filters = [
            envoy.wasm_filter(name, guest, work) for name, work in zip(names, chain.works, strict=True)
        ]
        listeners.append(envoy.listener(chain.name, ports[chain.name], filters, "origin"))
    config = directory / "envoy.json"
    config.write_text(
        json.dumps(envoy.configuration(free_port(), listeners, [envoy.cluster("origin", upstream)]))
    )
    command = [str(binary), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
    server = Server("envoy", [*command, "--log-level", "warning"], core, directory / "envoy.log")
    return _ready(server, ports), ports


def start_edge(binary: pathlib.Path, guest: pathlib.Path, directory: pathlib.Path, core: int, upstream: int):
    """The edge with a route for each chain: the process, and its port for each."""
    port = free_port()
    parts = [edge.server(port, free_port(), directory), edge.upstream("origin", upstream)]
    for chain in CHAINS:
        names = _names(chain)
        for name, work in zip(names, chain.works, strict=True):
            parts.append(edge.plugin(name, guest, work))
        parts.append(edge.route(f"/{chain.name}", "origin", names))
    config = directory / "edge.toml"
    config.write_text("\n".join(parts))
    environment = edge.environment(directory) | {"RUST_LOG": "warn"}
    command = [str(binary), "--config", str(config)]
    server = Server("edge", command, core, directory / "edge.log", env=environment, cwd=directory)
    ports = {chain.name: port for chain in CHAINS}
    return _ready(server, ports), ports


def _names(chain: Chain) -> list[str]:
    return [f"{chain.name}-{number}" for number in range(1, len(chain.works) + 1)]


def _ready(server: Server, ports: dict[str, int]) -> Server:
    try:
        for port in set(ports.values()):
            server.wait_for_port(port)
    except BaseException:
        server.close()
        raise
    return server
