"""NGINX in its two parts: the upstream everything is proxied to, and the peer the edge is measured against."""

import pathlib

from processes import Server, free_port
from tools import Tools

# What the upstream answers: 1 KiB of bytes that a truncated or doubled body would show.
UPSTREAM_BODY = "".join(
    f"{line:04d} {'coditect edge bench '.ljust(58, '.')}\n" for line in range(16)
).encode()
assert len(UPSTREAM_BODY) == 1024

# So many requests per connection that no keep-alive connection is ever renewed.
_ENDLESS = 1_000_000_000

_MAIN = """
{load_module}
daemon off;
worker_processes 1;
pid {directory}/{name}.pid;
error_log stderr warn;
env JWT_SECRET;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {directory}/tmp;
    proxy_temp_path {directory}/tmp;
    fastcgi_temp_path {directory}/tmp;
    uwsgi_temp_path {directory}/tmp;
    scgi_temp_path {directory}/tmp;
    keepalive_requests {endless};
    keepalive_timeout 3600s;
    default_type application/octet-stream;
{http}
}}
"""

_UPSTREAM = """
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 '{body}'; }}
    }}
"""

# Logs a line per request as the edge does, and sends upstream the headers the edge sends.
_PEER = """
    log_format line escape=json '{{"time":"$time_iso8601","request_id":"$request_id","method":"$request_method",'
        '"path":"$uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time,'
        '"client":"$remote_addr","upstream":"$upstream_addr"}}';
    access_log {access_log};
    upstream bench {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests {endless};
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header traceparent "00-$request_id-0000000000000001-01";
{njs_import}
    server {{
        listen 127.0.0.1:{port};
        location = /api/v5/health {{ default_type application/json; return 200 '{health}'; }}
        location = /session {{ default_type application/json; return 200 '{session}'; }}
        location /open/ {{ proxy_pass http://bench; }}
{njs_location}
    }}
"""

_NJS_IMPORT = """
    js_path {scripts};
    js_import jwt from jwt.js;
    js_set $jwt_subject jwt.subject;
"""

_NJS_LOCATION = """
        location /guarded/ {
            if ($jwt_subject = '') { return 401; }
            proxy_set_header X-Coditect-User $jwt_subject;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header traceparent "00-$request_id-0000000000000001-01";
            proxy_pass http://bench;
        }
"""


def start_upstream(tools: Tools, directory: pathlib.Path, core: int) -> tuple[Server, int]:
    """The upstream and its port."""
    port = free_port()
    http = _UPSTREAM.format(port=port, body=UPSTREAM_BODY.decode())
    return _start(tools, directory, "upstream", http, core, port, load_module=""), port


def start_peer(
    tools: Tools,
    directory: pathlib.Path,
    core: int,
    upstream: int,
    health: bytes,
    session_bytes: int,
    secret: str,
    access_log: bool,
) -> tuple[Server, int]:
    """The NGINX to compare with, and its port; `/guarded/` exists where njs does."""
    port = free_port()
    scripts = pathlib.Path(__file__).parent
    http = _PEER.format(
        port=port,
        upstream=upstream,
        health=health.decode(),
        session="s" * session_bytes,
        endless=_ENDLESS,
        access_log=f"{directory}/nginx.log line buffer=64k flush=1s" if access_log else "off",
        njs_import=_NJS_IMPORT.format(scripts=scripts) if tools.njs else "",
        njs_location=_NJS_LOCATION if tools.njs else "",
    )
    load_module = f"load_module {tools.njs};" if tools.njs else ""
    return _start(tools, directory, "nginx", http, core, port, load_module, secret), port


def _start(
    tools: Tools,
    directory: pathlib.Path,
    name: str,
    http: str,
    core: int,
    port: int,
    load_module: str,
    secret: str = "",
) -> Server:
    config = directory / f"{name}.conf"
    config.write_text(
        _MAIN.format(load_module=load_module, directory=directory, name=name, endless=_ENDLESS, http=http)
    )
    command = [tools.nginx, "-p", str(directory), "-e", "stderr", "-c", str(config)]
    server = Server(name, command, core, directory / f"{name}.log", env=tools.env | {"JWT_SECRET": secret})
    try:
        server.wait_for_port(port)
    except BaseException:
        server.close()
        raise
    return server
