"""Header maps: what each call does in each phase."""

from cases.common import POST, TRAILERS, TRAILERS_POST, script
from case import Request
from upstream import Answer

_THREE = (("x-a", "1"), ("x-b", "2"), ("x-a", "3"))
_REQUEST = Request(headers=_THREE)
_ANSWER = Answer(
    headers=(("content-type", "text/plain"), *_THREE, ("set-cookie", "a=1"), ("set-cookie", "b=2"))
)

CASES = [
    script(
        "request-add",
        "@request_headers\n add request x-n one\n add request x-a two\n pairs request x-",
        _REQUEST,
    ),
    script(
        "request-set",
        "@request_headers\n set request x-a new\n set request x-n new\n pairs request x-",
        _REQUEST,
    ),
    script(
        "request-remove",
        "@request_headers\n remove request x-a\n remove request x-none\n pairs request x-",
        _REQUEST,
    ),
    script(
        "request-get",
        """
        @request_headers
        get request x-a
        get request X-B
        get request x-none
        get request :path
        get request :method
        get request :authority
        get request :scheme
        get request host
        pairs request :
        """,
        _REQUEST,
    ),
    script("request-keep", "@request_headers\n keep request x-n=1 x-n=2\n pairs request x-", _REQUEST),
    script(
        "request-setall",
        """
        @request_headers
        setall request :authority=other.test :path=/request-setall/changed :method=GET :scheme=http x-forwarded-proto=http x-only=1
        pairs request x-
        """,
        _REQUEST,
    ),
    script("request-setall-nothing", "@request_headers\n setall request x-only=1", _REQUEST, until="> log"),
    script("request-path", "@request_headers\n set request :path /request-path/new?q=1", Request("/old?q=0")),
    script("request-method", "@request_headers\n set request :method PUT", POST),
    script("request-authority", "@request_headers\n set request :authority other.test"),
    script("request-remove-path", "@request_headers\n remove request :path", until="> log"),
    script("request-empty-value", "@request_headers\n add request x-empty -\n get request x-empty"),
    script(
        "request-upper-case",
        "@request_headers\n add request X-Upper One\n get request x-upper\n pairs request x-u",
    ),
    script(
        "request-later",
        "@request_body\n add request x-late 1\n@response_headers\n add request x-late 1",
        POST,
    ),
    script(
        "request-content-length",
        "@request_headers\n get request content-length\n set request content-length 3",
        Request(method="POST", body=b"abc"),
    ),
    script(
        "response-add",
        "@response_headers\n add response x-n one\n add response x-a two\n pairs response x-a",
        answer=_ANSWER,
    ),
    script(
        "response-set",
        "@response_headers\n set response x-a new\n set response x-n new\n pairs response x-a",
        answer=_ANSWER,
    ),
    script(
        "response-remove", "@response_headers\n remove response x-a\n remove response x-none", answer=_ANSWER
    ),
    script(
        "response-get",
        """
        @response_headers
        get response x-a
        get response set-cookie
        get response :status
        get response content-length
        pairs response :
        """,
        answer=_ANSWER,
    ),
    script("response-keep", "@response_headers\n keep response x-n=1 x-n=2", answer=_ANSWER),
    script("response-status", "@response_headers\n set response :status 418", answer=_ANSWER),
    script(
        "response-setall",
        "@response_headers\n setall response :status=201 x-only=1 content-length=11",
        answer=_ANSWER,
    ),
    script("response-cookies", "@response_headers\n add response set-cookie c=3", answer=_ANSWER),
    script(
        "trailers-get",
        """
        @request_trailers
        get request_trailers x-t
        pairs request_trailers x
        @response_trailers
        get response_trailers x-t
        pairs response_trailers x
        """,
        TRAILERS_POST,
        answer=TRAILERS,
    ),
    script(
        "trailers-change",
        """
        @request_trailers
        add request_trailers x-n 1
        set request_trailers x-t changed
        remove request_trailers x-u
        @response_trailers
        add response_trailers x-n 1
        set response_trailers x-t changed
        remove response_trailers x-u
        """,
        TRAILERS_POST,
        answer=TRAILERS,
    ),
    script(
        "trailers-setall",
        "@request_trailers\n setall request_trailers x-only=1\n"
        "@response_trailers\n setall response_trailers x-only=1",
        TRAILERS_POST,
        answer=TRAILERS,
    ),
    script("status-204", "", answer=Answer(204)),
    script("status-304", "", answer=Answer(304, headers=(("etag", '"1"'),))),
    script("method-head", "", Request(method="HEAD")),
]
