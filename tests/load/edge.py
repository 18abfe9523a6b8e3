"""The release edge: its configuration for the bench, and an account to send requests with."""

import dataclasses
import json
import os
import pathlib
import secrets
import time

import measure
from processes import BenchError, Server, free_port

_CONFIG = """
[server]
http = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
threads = 1
access_log = {access_log}

[store]
path = "{directory}/store.redb"

[upstreams.bench]
address = "http://127.0.0.1:{upstream}"

[[routes]]
prefix = "/api/v5"
local = "api"
auth = "jwt"
public = ["GET /api/v5/health", "POST /api/v5/auth/register"]

[[routes]]
prefix = "/open"
upstream = "bench"
auth = "public"

[[routes]]
prefix = "/guarded"
upstream = "bench"
auth = "jwt"
"""


_DROPPED = "coditect_access_log_dropped_total "


@dataclasses.dataclass
class Edge:
    """The running edge and what its API gave out."""

    server: Server
    port: int
    admin: int
    token: str
    session_path: str
    session: bytes
    health: bytes

    def dropped_log_lines(self) -> int:
        """Access-log lines it had no room for: work it did not do and the other proxy did."""
        _, metrics = measure.request(self.admin, "GET", "/metrics", {})
        values = [line.split()[1] for line in metrics.decode().splitlines() if line.startswith(_DROPPED)]
        if len(values) != 1:
            raise BenchError(f"the edge's /metrics has no {_DROPPED.strip()}")
        return int(float(values[0]))


def start(
    binary: pathlib.Path, directory: pathlib.Path, core: int, upstream: int, secret: str, access_log: bool
) -> Edge:
    """Starts the edge, registers a user and creates a workspace session."""
    port, admin = free_port(), free_port()
    config = directory / "edge.toml"
    config.write_text(
        _CONFIG.format(
            port=port, admin=admin, directory=directory, upstream=upstream, access_log=str(access_log).lower()
        )
    )
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(directory), "JWT_SECRET": secret}
    server = Server(
        "edge",
        [str(binary), "--config", str(config)],
        core,
        directory / "edge.log",
        env=environment,
        cwd=directory,
    )
    try:
        server.wait_for_port(port)
        account = {
            "email": "bench@example.com",
            "password": secrets.token_urlsafe(16),
            "firstName": "Load",
            "lastName": "Bench",
        }
        token = _data(port, "/api/v5/auth/register", account, {})["token"]
        session = _data(
            port,
            "/api/v5/sessions",
            {"name": "bench", "workspacePath": "/workspace/bench"},
            {"Authorization": f"Bearer {token}"},
        )
        path = f"/api/v5/sessions/{session['id']}"
        bearer = {"Authorization": f"Bearer {token}"}
        # The first read is noted as an access, which changes the answer once.
        measure.request(port, "GET", path, bearer)
        time.sleep(0.5)
        _, body = measure.request(port, "GET", path, bearer)
        if json.loads(body).get("data", {}).get("id") != session["id"]:
            raise BenchError(f"GET {path} did not answer with the session created before: {body[:300]!r}")
        _, health = measure.request(port, "GET", "/api/v5/health", {})
        return Edge(server, port, admin, token, path, body, health)
    except BaseException:
        server.close()
        raise


def _data(port: int, path: str, body: dict, headers: dict[str, str]) -> dict:
    headers = headers | {"Content-Type": "application/json"}
    status, answer = measure.request(port, "POST", path, headers, json.dumps(body).encode())
    if status not in (200, 201):
        raise BenchError(f"POST {path} answered {status}: {answer[:300]!r}")
    return json.loads(answer)["data"]
