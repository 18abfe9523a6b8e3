"""All cases, in the order they run."""

from cases import bodies, grpc, headers, pauses, responses, sdk, state, tables

ALL = [case for part in (tables, sdk, headers, bodies, pauses, responses, state, grpc) for case in part.CASES]

_NAMES = [case.name for case in ALL]
assert len(set(_NAMES)) == len(_NAMES), "two cases have the same name"
