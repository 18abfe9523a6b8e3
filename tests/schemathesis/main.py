"""Starts the edge on a folder of its own, validates the document it serves, and runs schemathesis against it.

Twice: signed in, with all checks and phases, and without credentials. What schemathesis finds is printed with a curl
command for each; the edge's log is shown if it panicked or was not there at the end.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import openapi_spec_validator

from edge import Edge
from logins import Logins

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# The same requests in every run; another seed finds other things: tests/schemathesis/run --seed 7
SEED = "20261121"
# How many requests an operation gets in each phase. Signed in, this is most of the time a run takes.
SIGNED_IN_EXAMPLES = "40"
STRANGER_EXAMPLES = "8"
# A run that takes longer than this (seconds) has hung.
RUN_LIMIT = 600


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="coditect-schemathesis-") as name:
        place = pathlib.Path(name)
        with Edge(ROOT, place) as edge:
            document = fetch(f"{edge.url}/api/v5/openapi.json")
            openapi_spec_validator.validate(document)
            print(f"the document is valid OpenAPI {document['openapi']}: {count(document)} operations")
            with Logins(edge.url) as logins:
                failed = run(place, edge.url, "signed in", SIGNED_IN_EXAMPLES, logins)
            failed |= run(place, edge.url, "without credentials", STRANGER_EXAMPLES, None)
            panics = edge.panics()
            for line in panics:
                print(f"the edge panicked: {line}", file=sys.stderr)
        if edge.exit_code != 0 or panics:
            print(edge.log()[-8000:], file=sys.stderr)
            print(f"the edge ended with {edge.exit_code}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


def run(place, url, who, examples, logins) -> bool:
    """One run of schemathesis; whether it found anything."""
    print(f"\n-- {who}", flush=True)
    config = (HERE / "schemathesis.toml").read_text()
    if logins:
        (place / "auth.json").write_text(json.dumps(logins.description()))
        config += f'\n[auth.wfc]\npath = "{place}/auth.json"\nuser = "ann"\npeers = ["ann", "eve"]\n'
    else:
        config += (HERE / "stranger.toml").read_text()
    file = place / "schemathesis.toml"
    file.write_text(config)
    command = [
        sys.executable, "-B", "-m", "schemathesis.cli",
        "--config-file", file,
        "run", f"{url}/api/v5/openapi.json",
        "--url", f"{url}/api/v5",
        "--seed", SEED,
        "--max-examples", examples,
        *sys.argv[1:],
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    ended = subprocess.run(command, cwd=place, env=environment, timeout=RUN_LIMIT, check=False)
    return ended.returncode != 0


def fetch(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def count(document: dict) -> int:
    return sum(len(item) for item in document["paths"].values())


if __name__ == "__main__":
    sys.exit(main())
