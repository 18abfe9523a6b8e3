"""Local responses from each phase, and closed streams."""

from cases.common import CHUNKED, CHUNKED_POST, POST, TRAILERS, TRAILERS_POST, script
from case import Case, Plugin, Request

_RESPOND = "respond 418 the_details -1 x-by=guest,x-by=again a\\sbody\n"

CASES = [
    script("respond-at-request-headers", f"@request_headers\n {_RESPOND} pause", POST),
    script("respond-and-continue", f"@request_headers\n {_RESPOND}"),
    script("respond-at-request-body", f"@request_body\n {_RESPOND} pause", POST),
    script(
        "respond-at-request-body-end",
        f"@request_body more\n pause\n@request_body end\n {_RESPOND} pause",
        CHUNKED_POST,
    ),
    script(
        "respond-at-request-trailers", f"@request_trailers\n {_RESPOND} pause", TRAILERS_POST, answer=TRAILERS
    ),
    script("respond-at-response-headers", f"@response_headers\n {_RESPOND} pause"),
    script("respond-at-response-headers-continue", f"@response_headers\n {_RESPOND}"),
    script("respond-at-response-body", f"@response_body 1\n {_RESPOND} pause", until="> log"),
    script(
        "respond-at-response-body-held",
        f"@response_headers\n pause\n@response_body more\n pause\n@response_body end\n {_RESPOND} pause",
        answer=CHUNKED,
        plugin={"stop_iteration": True},
    ),
    script(
        "respond-at-response-trailers",
        f"@response_trailers\n {_RESPOND} pause",
        answer=TRAILERS,
        until="> log",
    ),
    script("respond-without-body", "@request_headers\n respond 204 - -1 - -\n pause"),
    script("respond-empty", "@request_headers\n respond 200 - -1 - -\n pause"),
    script("respond-head", f"@request_headers\n {_RESPOND} pause", Request(method="HEAD")),
    script(
        "respond-own-type", "@request_headers\n respond 200 - -1 content-type=application/json {}\n pause"
    ),
    script("respond-own-length", "@request_headers\n respond 200 - -1 content-length=2 four\n pause"),
    script(
        "respond-twice", "@request_headers\n respond 401 - -1 - first\n respond 402 - -1 - second\n pause"
    ),
    script(
        "respond-changed-on-the-way",
        f"@request_headers\n {_RESPOND} pause\n"
        "@response_headers\n set response x-by changed\n set response :status 419\n"
        " get response x-by\n prop response.code_details",
    ),
    script(
        "respond-grpc-status",
        "@request_headers\n respond 200 - 7 x-by=guest denied\n pause",
        Request(method="POST", headers=(("content-type", "application/grpc"),)),
    ),
    script("respond-grpc-not-asked", "@request_headers\n respond 403 - 7 x-by=guest denied\n pause"),
    script("respond-status-1000", "@request_headers\n respond 1000 - -1 - -\n pause", until=""),
    script("respond-status-0", "@request_headers\n respond 0 - -1 - -\n pause", until=""),
    script("respond-status-101", "@request_headers\n respond 101 - -1 - -\n pause", until=""),
    script("close-request", "@request_headers\n close request\n pause", until="> log"),
    script("close-response", "@response_headers\n close response\n pause", until="> log"),
    script("close-at-response-body", "@response_body\n close response\n pause", until="> log"),
    script("trap-at-request-headers", "@request_headers\n trap", Request(), until=""),
    script("trap-at-response-headers", "@response_headers\n trap", Request(), until=""),
    script("trap-at-request-body", "@request_body\n trap", POST, until=""),
    script("trap-at-response-body", "@response_body\n trap", until=""),
    script("trap-in-log", "@log\n trap", until=""),
    script(
        "trap-open", "@request_headers\n trap", Request(), Request(), until="", plugin={"fail_open": True}
    ),
    Case(
        "chain-order",
        tuple(
            Plugin(
                "script",
                f"@request_headers\n pairs request x-\n add request x-{n} 1\n"
                f"@response_headers\n pairs response x-\n add response x-{n} 1",
            )
            for n in ("a", "b", "c")
        ),
        (Request(),),
    ),
    Case(
        "chain-second-responds",
        (
            Plugin(
                "script", "@response_headers\n add response x-first saw\n@response_body\n body response 0 100"
            ),
            Plugin("script", f"@request_headers\n {_RESPOND} pause"),
            Plugin("script", "@response_headers\n add response x-third saw"),
        ),
        (Request(),),
        until="",
    ),
    Case(
        "chain-bodies",
        (
            Plugin(
                "script",
                "@request_headers\n remove request content-length\n"
                "@request_body 1\n put request 0 0 1\n"
                "@response_headers\n remove response content-length\n"
                "@response_body 1\n put response 0 0 1",
            ),
            Plugin(
                "script",
                "@request_body 1\n body request 0 100\n put request 0 0 2\n"
                "@response_body 1\n body response 0 100\n put response 0 0 2",
            ),
        ),
        (POST,),
    ),
]
