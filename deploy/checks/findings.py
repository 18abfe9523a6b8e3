"""Everything deploy/check looks for. Each function returns its findings as lines; none means good."""

import dataclasses
import pathlib
import shutil
import subprocess
import tomllib

import agreement
import schema
import yaml


@dataclasses.dataclass(frozen=True)
class Parts:
    """The texts of deploy/, so that a broken copy can be checked as the real ones are."""

    manifest: str
    dockerfile: str
    edge_toml: str
    cargo_toml: str

    @staticmethod
    def read(root: pathlib.Path) -> "Parts":
        """The real ones."""
        deploy = root / "deploy"
        return Parts(
            (deploy / "kubernetes.yaml").read_text(),
            (deploy / "Dockerfile").read_text(),
            (deploy / "edge.toml").read_text(),
            (root / "Cargo.toml").read_text(),
        )


def all_findings(parts: Parts) -> list[str]:
    """Schemas and agreement."""
    try:
        objects = schema.documents(parts.manifest)
        config = tomllib.loads(parts.edge_toml)
        workspace = tomllib.loads(parts.cargo_toml)["workspace"]["package"]
    except (yaml.YAMLError, tomllib.TOMLDecodeError) as error:
        return [f"cannot be read: {error}"]
    found = schema.findings(objects)
    try:
        return found + agreement.findings(objects, parts.dockerfile, parts.edge_toml, config, workspace)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        return [*found, f"the parts cannot be compared, something is missing: {error!r}"]


def tool_findings(root: pathlib.Path) -> list[str]:
    """hadolint on the Dockerfile; what it copies must exist in the build context."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        return ["hadolint is missing from target/venv/deploy: remove that directory and run again"]
    result = subprocess.run(
        [hadolint, "--no-color", "deploy/Dockerfile"],
        cwd=root,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    found = _output("", result)
    for source in agreement.copied_sources((root / "deploy/Dockerfile").read_text()):
        if not (root / source).exists():
            found.append(f"Dockerfile: COPY {source}: does not exist")
    return found


def edge_findings(root: pathlib.Path, edge: str) -> list[str]:
    """What `coditect-edge check` says against edge.toml."""
    command = [edge, "--config", str(root / "deploy/edge.toml"), "check"]
    result = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False
    )
    return _output("edge.toml: ", result)


def _output(prefix: str, result: subprocess.CompletedProcess) -> list[str]:
    """What a failed program said, which is never nothing."""
    if result.returncode == 0:
        return []
    return [f"{prefix}{line}" for line in result.stdout.splitlines()] + [
        f"{result.args[0]} ended with {result.returncode}"
    ]
