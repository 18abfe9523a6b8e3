"""Properties, shared data, queues, metrics, logs, time: what outlives a callback."""

from cases.common import POST, script
from case import Case, Plugin, Request

_QUERY = Request(
    "/a/b?c=d&e=f",
    headers=(
        ("user-agent", "test"),
        ("referer", "there"),
        ("x-request-id", "11111111-2222-4333-8444-555555555555"),
    ),
)


def _all(operation: str, *paths: str) -> str:
    return "".join(f" {operation} {path}\n" for path in paths)


_REQUEST = (
    "request.path",
    "request.url_path",
    "request.query",
    "request.host",
    "request.scheme",
    "request.method",
    "request.useragent",
    "request.referer",
    "request.protocol",
    "request.headers.user-agent",
)

CASES = [
    script("property-request", "@request_headers\n" + _all("prop", *_REQUEST), _QUERY),
    script(
        "property-request-sizes",
        "@request_headers\n hex request.size\n@request_body\n hex request.size\n@log\n hex request.size",
        POST,
    ),
    script(
        "property-response",
        "@response_headers\n hex response.code\n prop response.code_details\n"
        " prop response.headers.x-upstream\n"
        "@log\n hex response.code\n hex response.size\n hex response.flags\n"
        " prop response.code_details\n hex response.grpc_status",
    ),
    script(
        "property-plugin",
        "@request_headers\n prop plugin_name\n prop plugin_root_id\n prop plugin_vm_id",
        plugin={"root_id": "my_root"},
    ),
    script(
        "property-connection",
        "@request_headers\n hex connection.mtls\n prop connection.requested_server_name\n"
        " has connection.tls_version\n has source.address\n has source.port\n"
        " has destination.address\n has connection.id",
    ),
    script(
        "property-upstream",
        "@request_headers\n has upstream.address\n"
        "@response_headers\n has upstream.address\n has upstream.port",
    ),
    script(
        "property-set",
        """
        @request_headers
        prop my.own
        setprop my.own one
        prop my.own
        prop my
        setprop plain two
        prop plain
        setprop request.path /nowhere
        prop request.path
        @response_headers
        prop my.own
        prop plain
        @log
        prop my.own
        """,
    ),
    Case(
        "property-set-for-the-next",
        (
            Plugin("script", "@request_headers\n setprop plain one"),
            Plugin(
                "script",
                "@request_headers\n prop plain\n setprop plain two\n prop plain\n"
                "@response_headers\n prop plain",
            ),
        ),
    ),
    script(
        "shared-data",
        """
        @request_headers
        shared key
        share key 0 one
        shared key
        share key last two
        share key last three
        shared key
        shared key
        share key 0 four
        shared key
        share other 4294967295 x
        shared other
        share key 0 -
        shared key
        """,
    ),
    script("shared-data-later", "@request_headers\n shared key\n share key 0 seen", Request(), Request()),
    script(
        "queue",
        """
        @configure
        register the-queue
        @request_headers
        dequeue the-queue
        enqueue the-queue one
        enqueue the-queue two
        dequeue the-queue
        dequeue the-queue
        dequeue the-queue
        resolve queue the-queue
        resolve queue no-such-queue
        resolve no-such-vm the-queue
        enqueue no-such-queue x
        """,
        ignore="> queue",
    ),
    Case(
        "queue-between",
        (
            Plugin(
                "script",
                "@configure\n register the-queue\n@queue\n dequeue the-queue",
                root_id="one",
                vm_id="queue-vm",
            ),
            Plugin(
                "script",
                "@request_headers\n resolve queue-vm the-queue\n enqueue the-queue hello",
                "@vm_start\n level",
                "two",
                "queue-vm",
            ),
        ),
        until="",
        ignore="> queue|dequeue",
    ),
    Case(
        "shared-data-between",
        (
            Plugin("script", "@request_headers\n share key 0 one", root_id="one", vm_id="data-vm"),
            Plugin("script", "@request_headers\n shared key", "@vm_start\n level", "two", "data-vm"),
            Plugin("script", "@request_headers\n shared key", root_id="three", vm_id="other-vm"),
        ),
    ),
    script(
        "queue-ready",
        "@configure\n register the-queue\n"
        "@request_headers\n enqueue the-queue one\n"
        "@queue\n dequeue the-queue",
        until="> queue",
    ),
    script(
        "metrics",
        """
        @configure
        define 0 test_counter
        define 1 test_gauge
        define 2 test_histogram
        define 0 test_counter
        @request_headers
        increment test_counter 2
        increment test_counter 3
        metric test_counter
        increment test_gauge 5
        increment test_gauge -2
        metric test_gauge
        record test_gauge 9
        metric test_gauge
        record test_counter 1
        metric test_counter
        increment test_counter -1
        record test_histogram 7
        metric test_histogram
        increment test_histogram 1
        """,
        metrics=("test_counter", "test_gauge"),
    ),
    script(
        "log-levels",
        "@request_headers\n log 0 at\\strace\n log 1 at\\sdebug\n log 2 at\\sinfo\n"
        " log 3 at\\swarn\n log 4 at\\serror\n log 5 at\\scritical\n log 6 at\\ssix\n"
        " level",
    ),
    script("log-empty", "@request_headers\n log 2 -"),
    script("foreign-unknown", "@request_headers\n foreign no_such_function x\n foreign - -"),
    script("foreign-clear-route-cache", "@request_headers\n foreign clear_route_cache -"),
    script(
        "tick",
        "@configure\n tick 20\n@tick 1\n tick 10\n@tick 2\n tick 0",
        Request(),
        Request(after="> tick 2"),
        unordered=True,
    ),
    script(
        "configuration",
        "@vm_start\n body vm 0 100\n"
        "@configure\n body plugin 0 9\n body plugin 5 4\n body plugin 100000 1\n"
        "@request_headers\n body plugin 0 9\n body vm 0 4",
        vm="@vm_start\n body vm 0 100\n body plugin 0 9\n",
    ),
    script("status", "@request_headers\n grpc_status", POST),
    script("done-later", "@done\n pause\n@request_headers\n done", until="deleted"),
]
