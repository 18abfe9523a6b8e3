"""gRPC calls out: unary and streams."""

from cases.common import script
from case import Request

_RESUME = " effective stream\n resume request\n"


def _unary(method: str, milliseconds: int = 5000) -> str:
    return f"""
        @request_headers
        grpc grpc test.Service {method} {milliseconds} ask
        pause
        @grpc_initial
        get grpc_initial x-initial
        @grpc_message
        body grpc 0 100
        {_RESUME}
        @grpc_trailing
        get grpc_trailing x-trailing
        @grpc_close
        grpc_status
        {_RESUME}
        """


CASES = [
    script("grpc-echo", _unary("Echo")),
    script("grpc-granted", _unary("Status0")),
    script("grpc-status-7", _unary("Status7")),
    script("grpc-no-message", _unary("Empty")),
    script("grpc-http-500", _unary("Http500")),
    script("grpc-times-out", _unary("Silent", 200)),
    script("grpc-unknown-upstream", "@request_headers\n grpc no-such-upstream test.Service Echo 1000 ask"),
    script(
        "grpc-nobody-listens",
        "@request_headers\n grpc grpc-nobody test.Service Echo 1000 ask\n pause\n@grpc_close\n grpc_status\n"
        + _RESUME,
    ),
    script(
        "grpc-stream-echo",
        f"""
        @request_headers
        grpc_stream grpc test.Service Echo
        grpc_send 0 one
        pause
        @grpc_initial
        get grpc_initial x-initial
        @grpc_message 1
        body grpc 0 100
        grpc_send 1 two
        @grpc_message 2
        body grpc 0 100
        @grpc_trailing
        get grpc_trailing x-trailing
        @grpc_close
        grpc_status
        {_RESUME}
        """,
    ),
    script(
        "grpc-stream-many",
        "@request_headers\n grpc_stream grpc test.Service Many\n grpc_send 1 one\n"
        " pause\n"
        "@grpc_message\n body grpc 0 100\n"
        f"@grpc_close\n grpc_status\n{_RESUME}",
    ),
    script(
        "grpc-stream-close",
        "@request_headers\n grpc_stream grpc test.Service Many\n grpc_send 0 one\n"
        " grpc_close\n pause\n"
        f"@grpc_close\n grpc_status\n{_RESUME}",
    ),
    script(
        "grpc-cancel",
        "@request_headers\n grpc_stream grpc test.Service Silent\n grpc_send 0 one\n"
        " grpc_cancel\n grpc_send 0 two",
    ),
    script(
        "grpc-call-cancel",
        "@request_headers\n grpc grpc test.Service Silent 5000 ask\n grpc_cancel\n grpc_cancel",
    ),
]

__all__ = ["CASES", "Request"]
