"""The gRPC upstream as a child process: HTTP/2 is Node's."""

import json
import pathlib
import shutil

from process import Child, TestError, quiet_environment

HERE = pathlib.Path(__file__).resolve().parent
# Where tests/setup puts Node when the machine has none.
_NODE = HERE.parents[1] / "target/node/bin/node"


class GrpcUpstream:
    """Listens on a port of its own; what it received is kept in the order calls ended."""

    def __init__(self, log: pathlib.Path):
        node = shutil.which("node") or str(_NODE)
        if not pathlib.Path(node).exists():
            raise TestError("the gRPC upstream needs Node: tests/setup installs it")
        self._child = Child(
            "grpc upstream", [node, str(HERE / "grpc_upstream.mjs")], log, quiet_environment()
        )
        self._child.wait_for('"port"')
        self.port = json.loads(self._child.lines()[0])["port"]

    def count(self) -> int:
        """How many calls have ended."""
        return len(self._ended())

    def since(self, before: int) -> list[dict]:
        """The calls that ended after so many others, as requests. Those that have begun are waited for."""
        begun = sum('"begun"' in line for line in self._child.lines())
        if begun > 0:
            self._child.wait_for('"call"', begun)
        return [_request(json.loads(line)) for line in self._ended()[before:]]

    def _ended(self) -> list[str]:
        return [line for line in self._child.lines() if '"call"' in line]

    def stop(self) -> int:
        """Ends it."""
        return self._child.stop()


def _request(seen: dict) -> dict:
    headers = [(name, value) for name, value in seen["call"].items() if not name.startswith(":")]
    return {
        "start": f"{seen['call'][':method']} {seen['call'][':path']}",
        "headers": headers,
        "body": "|".join(seen["messages"]),
        "trailers": [],
        "ended": seen["ended"],
    }
