"""Short forms that all cases use."""

import textwrap

from case import Case, Plugin, Request
from upstream import Answer

CHUNKED = Answer(chunks=(b"first,", b"second"), pace="> response_body")
TRAILERS = Answer(chunks=(b"hello world",), trailers=(("x-t", "1"), ("x-u", "2")))
POST = Request(method="POST", body=b"abcdef")
CHUNKED_POST = Request(method="POST", chunks=(b"abc", b"def"), pace="> request_body")
TRAILERS_POST = Request(
    method="POST", chunks=(b"abcdef",), trailers=(("x-t", "1"), ("x-u", "2")), headers=(("te", "trailers"),)
)


def script(
    name: str, lines: str, *requests: Request, answer: Answer | None = None, vm: str = "", **more
) -> Case:
    """A case of the guest `script`."""
    answers = more.pop("answers", {})
    if answer:
        answers = {"/": answer} | answers
    plugin = Plugin("script", textwrap.dedent(lines), vm_config=textwrap.dedent(vm), **more.pop("plugin", {}))
    return Case(name, (plugin,), requests or (Request(),), answers, **more)
