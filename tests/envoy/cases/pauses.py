"""Pausing, calls out, and going on."""

from cases.common import CHUNKED, CHUNKED_POST, POST, TRAILERS, TRAILERS_POST, script
from case import Case, Plugin, Request
from upstream import Answer

_ALL = 4294967295
_SAY = Answer(headers=(("x-said", "yes"),), body=b"the answer")
_READ = f"get call :status\n get call x-said\n body call 0 {_ALL}\n pairs call_trailers x\n"


def _call(name: str, path: str = "/service", milliseconds: int = 5000, body: str = "") -> str:
    return f"call calls /{name}{path} {milliseconds} {body}".rstrip() + "\n"


def _in(phase: str, name: str, more: str = "", direction: str = "request", finish: str = "") -> str:
    return (
        f"@{phase}\n {_call(name)} pause\n{more}@call\n {_READ} effective stream\n"
        f" {finish} resume {direction}"
    )


_ANSWERS = {"/service": _SAY}

CASES = [
    script(
        "call-at-request-headers",
        _in("request_headers", "call-at-request-headers", finish="add request x-found yes\n"),
        POST,
        answers=_ANSWERS,
    ),
    script(
        "call-at-request-body",
        _in("request_body end", "call-at-request-body", "@request_body more\n pause\n"),
        CHUNKED_POST,
        answers=_ANSWERS,
    ),
    script(
        "call-at-request-trailers",
        _in("request_trailers", "call-at-request-trailers"),
        TRAILERS_POST,
        answers=_ANSWERS,
    ),
    script(
        "call-at-response-headers",
        _in(
            "response_headers",
            "call-at-response-headers",
            direction="response",
            finish="add response x-found yes\n",
        ),
        answers=_ANSWERS,
    ),
    script(
        "call-at-response-body",
        _in("response_body end", "call-at-response-body", "@response_body more\n pause\n", "response"),
        answer=CHUNKED,
        answers=_ANSWERS,
    ),
    script(
        "call-at-response-trailers",
        _in("response_trailers", "call-at-response-trailers", direction="response"),
        answer=TRAILERS,
        answers=_ANSWERS,
    ),
    script(
        "call-post",
        f"@request_headers\n {_call('call-post', body='a body')} pause\n"
        "@call\n effective stream\n resume request",
        answers=_ANSWERS,
    ),
    script(
        "call-with-trailers",
        _in("request_headers", "call-with-trailers"),
        answers={"/service": Answer(chunks=(b"the answer",), trailers=(("x-t", "1"),))},
    ),
    script(
        "call-not-waited-for",
        f"@request_headers\n {_call('call-not-waited-for')}@call\n {_READ}",
        answers=_ANSWERS,
        until="> call",
        # The answer may come before the response or after it.
        unordered=True,
    ),
    script(
        "call-status-500",
        _in("request_headers", "call-status-500"),
        answers={"/service": Answer(500, body=b"failed")},
    ),
    script(
        "call-times-out",
        f"@request_headers\n {_call('call-times-out', milliseconds=200)} pause\n"
        f"@call\n {_READ} effective stream\n resume request",
        answers={"/service": Answer(silent=True)},
    ),
    script(
        "call-is-reset",
        f"@request_headers\n {_call('call-is-reset')} pause\n"
        "@call\n get call :status\n effective stream\n resume request",
        answers={"/service": Answer(reset=True)},
    ),
    script(
        "call-nobody-listens",
        "@request_headers\n call nobody /x 1000\n pause\n"
        "@call\n get call :status\n effective stream\n resume request",
    ),
    script("call-unknown-upstream", "@request_headers\n call no-such-upstream /x 1000"),
    script(
        "call-in-turn",
        f"@request_headers\n {_call('call-in-turn')} pause\n"
        f"@call 1\n effective stream\n {_call('call-in-turn', '/second')}@call 2\n"
        " body call 0 100\n effective stream\n resume request",
        answers=_ANSWERS,
    ),
    script(
        "call-without-effective",
        f"@request_headers\n {_call('call-without-effective')} pause\n"
        "@call\n get request :path\n resume request\n effective stream\n resume request",
        answers=_ANSWERS,
    ),
    script(
        "call-from-tick",
        f"@configure\n tick 20\n@tick 1\n tick 0\n {_call('call-from-tick')}@call\n {_READ}",
        Request(),
        Request(after="> call"),
        answers=_ANSWERS,
        unordered=True,
    ),
    script(
        "call-then-respond",
        f"@request_headers\n {_call('call-then-respond')} pause\n"
        "@call\n effective stream\n respond 403 - -1 x-by=guest refused",
        POST,
        answers=_ANSWERS,
    ),
    script(
        "call-then-replace-response",
        f"@response_headers\n {_call('call-then-replace-response')} pause\n"
        "@call\n effective stream\n respond 451 - -1 x-by=guest replaced",
        answers=_ANSWERS,
    ),
    script(
        "call-with-body-then-replace-response",
        "@response_headers\n pause\n"
        f"@response_body end\n {_call('call-with-body-then-replace-response')} pause\n"
        "@response_body more\n pause\n"
        "@call\n effective stream\n body response 0 100\n respond 451 - -1 x-by=guest replaced",
        answers=_ANSWERS,
        plugin={"stop_iteration": True},
    ),
    script(
        "pause-headers-till-body",
        "@request_headers\n pause\n@request_body end\n continue\n@request_body more\n pause",
        CHUNKED_POST,
        plugin={"stop_iteration": True},
    ),
    script(
        "pause-headers-then-body-adds",
        "@request_headers\n pause\n"
        "@request_body end\n add request x-late 1\n continue\n"
        "@request_body more\n pause",
        POST,
        plugin={"stop_iteration": True},
    ),
    script(
        "pause-response-till-body",
        "@response_headers\n pause\n@response_body end\n add response x-late 1\n@response_body more\n pause",
        answer=CHUNKED,
        plugin={"stop_iteration": True},
    ),
    script("resume-not-paused", "@request_headers\n resume request\n@response_headers\n resume response"),
    script("action-2", "@request_headers\n action 2"),
    Case(
        "two-pause",
        (
            Plugin("script", _in("request_headers", "two-pause", finish="add request x-first 1\n")),
            Plugin(
                "script",
                "@request_headers\n get request x-first\n "
                + _in("request_headers", "two-pause", finish="add request x-second 1\n"),
            ),
        ),
        (POST,),
        _ANSWERS,
    ),
]
