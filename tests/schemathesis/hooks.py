"""What the document cannot say, for schemathesis."""

import json

import schemathesis


@schemathesis.hook
def before_call(context, case, kwargs):
    """To a schema a cursor is any string, but only one that its list gave out is good.

    Requests that are to be accepted go without; those that are to be refused keep theirs.
    """
    if case.query and "cursor" in case.query and case.meta and case.meta.generation.mode.is_positive:
        del case.query["cursor"]


@schemathesis.serializer("application/wasm", "application/x-tar")
def as_bytes(context, value):
    """Bytes as they are; anything else, which only a wrong request has, as JSON."""
    if hasattr(value, "data"):
        value = value.data
    return value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
