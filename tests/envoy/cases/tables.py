"""The two tables: every host call in every callback."""

from case import Case, Plugin, Request
from upstream import Answer

# The first makes sure that there is an instance, whose tick the second waits for.
_FIRST = Request()
_REQUEST = Request(
    path="/",
    method="POST",
    headers=(("x-a", "1"), ("user-agent", "test"), ("te", "trailers")),
    chunks=(b"abc",),
    trailers=(("x-t", "1"),),
    after="ticked",
)
_ANSWER = Answer(chunks=(b"hello world",), trailers=(("x-t", "1"),))
_ANSWERS = {"/": _ANSWER, "/call": _ANSWER}

CASES = [
    Case(
        "matrix-getters",
        (Plugin("matrix", "conf", root_id="getters"),),
        (_FIRST, _REQUEST),
        _ANSWERS,
        table="getters",
    ),
    Case(
        "matrix-calls",
        (Plugin("matrix", "conf", root_id="calls"),),
        (_FIRST, _REQUEST),
        _ANSWERS,
        table="calls",
    ),
]
