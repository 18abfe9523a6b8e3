"""Bodies: how they arrive, and what reading and writing them does."""

from cases.common import CHUNKED, CHUNKED_POST, POST, TRAILERS, TRAILERS_POST, script
from case import Request
from upstream import Answer

_ALL = 4294967295
_LARGE = b"0123456789abcdef" * 4096
_HOLD_REQUEST = (
    "@request_headers\n remove request content-length\n@request_body more\n pause\n@request_body end\n"
)
_HOLD_RESPONSE = (
    "@response_headers\n remove response content-length\n@response_body more\n pause\n@response_body end\n"
)
_NO_LENGTHS = (
    "@request_headers\n remove request content-length\n@response_headers\n remove response content-length\n"
)

CASES = [
    script("body-none", ""),
    script("body-length", "", POST),
    script(
        "body-length-0",
        "",
        Request(method="POST", headers=(("content-length", "0"),)),
        answer=Answer(body=b""),
    ),
    script("body-chunks", "", CHUNKED_POST, answer=CHUNKED),
    script("body-trailers", "", TRAILERS_POST, answer=TRAILERS),
    script(
        "body-read",
        f"""
        @request_body
        status_of request
        body request 0 {_ALL}
        body request 2 2
        body request 2 100
        body request 6 1
        body request 7 1
        body request {_ALL} {_ALL}
        body response 0 10
        @response_body
        status_of response
        body response 0 {_ALL}
        body response 6 100
        """,
        CHUNKED_POST,
        answer=CHUNKED,
    ),
    script(
        "body-replace-chunk",
        _NO_LENGTHS
        + f"@request_body 1\n put request 0 {_ALL} NEW\n@response_body 1\n put response 0 {_ALL} NEW",
        CHUNKED_POST,
        answer=CHUNKED,
    ),
    script(
        "body-prepend",
        _NO_LENGTHS + "@request_body 1\n put request 0 0 >>\n@response_body 1\n put response 0 0 >>",
        POST,
    ),
    script(
        "body-append",
        _NO_LENGTHS + f"@request_body 1\n put request {_ALL} 0 <<\n body request 0 100\n"
        f"@response_body 1\n put response {_ALL} 0 <<",
        POST,
    ),
    script(
        "body-append-at-end",
        _NO_LENGTHS + "@request_body end\n put request 100 0 <<\n@response_body end\n put response 100 0 <<",
        POST,
    ),
    script(
        "body-partial",
        _NO_LENGTHS
        + "@request_body 1\n put request 0 3 XY\n body request 0 100\n@response_body 1\n put response 0 6 XY",
        POST,
    ),
    script(
        "body-middle",
        _NO_LENGTHS
        + "@request_body 1\n put request 2 2 XY\n body request 0 100\n@response_body 1\n put response 2 2 XY",
        POST,
    ),
    script(
        "body-tail",
        _NO_LENGTHS + "@request_body 1\n put request 2 100 XY\n body request 0 100\n"
        "@response_body 1\n put response 2 100 XY",
        POST,
    ),
    script(
        "body-empty-it",
        _NO_LENGTHS + f"@request_body 1\n put request 0 {_ALL} -\n@response_body 1\n put response 0 {_ALL} -",
        POST,
    ),
    script(
        "body-hold-request",
        _HOLD_REQUEST + f" body request 0 {_ALL}\n put request 0 {_ALL} all\\sof\\sit",
        CHUNKED_POST,
    ),
    script(
        "body-hold-response",
        _HOLD_RESPONSE + f" body response 0 {_ALL}\n put response 0 {_ALL} all\\sof\\sit",
        answer=CHUNKED,
    ),
    script(
        "body-hold-length",
        _HOLD_REQUEST + " status_of request\n" + _HOLD_RESPONSE + " status_of response",
        POST,
    ),
    script("body-hold-append", _HOLD_RESPONSE + f" put response {_ALL} 0 <<", answer=CHUNKED),
    script("body-hold-prepend", _HOLD_RESPONSE + " put response 0 0 >>", answer=CHUNKED),
    script(
        "body-hold-partial", _HOLD_RESPONSE + " put response 6 3 XYZ\n body response 0 100", answer=CHUNKED
    ),
    script(
        "body-hold-to-trailers",
        "@request_body\n pause\n"
        "@request_trailers\n body request 0 100\n"
        "@response_body\n pause\n"
        "@response_trailers\n body response 0 100",
        TRAILERS_POST,
        answer=TRAILERS,
    ),
    script(
        "body-hold-large",
        _HOLD_RESPONSE + " body response 65530 100",
        answer=Answer(body=_LARGE),
        ignore=r"> response_body \d+ end=0",
    ),
    script(
        "body-longer-than-said",
        f"@response_body 1\n put response 0 {_ALL} much\\slonger\\sthan\\sbefore",
        until="> log",
    ),
    script("body-shorter-than-said", f"@response_body 1\n put response 0 {_ALL} short", until="> log"),
]
