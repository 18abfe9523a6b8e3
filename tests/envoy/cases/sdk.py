"""The example filters of the Rust SDK, rewritten."""

from case import Case, Plugin, Request
from upstream import Answer

_GRPC = ("content-type", "application/grpc")


def _sdk(guest: str, *requests: Request, config: str = "", until: str = "", **more) -> Case:
    return Case(f"sdk-{guest}", (Plugin(f"sdk-{guest}", config),), requests, until=until, **more)


CASES = [
    _sdk("hello", Request(), Request(after="the clocks agree"), unordered=True),
    _sdk(
        "auth",
        Request("/even"),
        Request("/odd"),
        Request("/even", "POST", body=b"abc"),
        answers={"/even": Answer(body=b"\x02"), "/odd": Answer(body=b"\x03")},
    ),
    _sdk(
        "body",
        Request("/secret"),
        Request("/open"),
        Request("/chunks"),
        answers={
            "/secret": Answer(body=b"this is a secret"),
            "/open": Answer(body=b"this is not"),
            "/chunks": Answer(chunks=(b"a sec", b"ret in two")),
        },
    ),
    _sdk("config", Request(), config="the value"),
    _sdk("headers", Request("/hello"), Request("/other", headers=(("x-a", "1"),)), until="completed"),
    _sdk(
        "grpc-auth",
        Request(method="POST"),
        Request("/grpc.reflection/x", "POST", headers=(_GRPC,)),
        Request("/x", "POST", headers=(_GRPC, ("x-method", "Status0"))),
        Request("/x", "POST", headers=(_GRPC, ("x-method", "Status2"))),
        Request("/x", "POST", headers=(_GRPC, ("x-method", "Status7"))),
    ),
    _sdk("metadata", Request()),
    _sdk(
        "parallel",
        Request(),
        answers={f"/service/{n}": Answer(body=f"answer {n}".encode()) for n in range(3)},
    ),
]
