"""Comparing what two proxies did, with the differences that are meant taken out."""

import dataclasses
import difflib
import fnmatch
import pathlib
import tomllib


@dataclasses.dataclass
class Meant:
    """A difference with its reason. One that is never met is an error too: the list stays true."""

    cases: str
    parts: str
    reason: str
    # What the edge must show there, exactly; anything unless given.
    edge: object = None
    # Of a part of several lines: patterns of the lines only Envoy (-) or only the edge (+) may have.
    lines: list[str] | None = None
    met: bool = False

    def covers(self, case: str, part: str, envoy: object, edge: object) -> bool:
        """Whether it is this difference."""
        if not (_matches(case, self.cases) and _matches(part, self.parts)):
            return False
        if self.lines is not None:
            changed = _changed_lines(envoy or [], edge or [])
            return all(any(fnmatch.fnmatchcase(line, pattern) for pattern in self.lines) for line in changed)
        return self.edge is None or self.edge == edge


def _changed_lines(envoy: object, edge: object) -> list[str]:
    """The lines one of them has alone, after a sign; other values are one line."""
    both = [value if isinstance(value, list) else [str(value)] for value in (envoy, edge)]
    return [line[0] + line[2:] for line in difflib.ndiff(*both) if line[0] in "-+"]


def _matches(name: str, patterns: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern.strip()) for pattern in patterns.split("|"))


@dataclasses.dataclass
class Difference:
    """One part that differs."""

    case: str
    part: str
    envoy: object
    edge: object
    reason: str = ""


class Differences:
    """The file of what is meant."""

    def __init__(self, file: pathlib.Path):
        data = tomllib.loads(file.read_text())
        self.added = {proxy: data["added"].get(proxy, {}) for proxy in ("envoy", "edge")}
        # Kinds of cases that the edge cannot do, with the reason; each is one difference.
        self.left_out = data.get("left_out", {})
        self._meant = [
            Meant(entry["case"], entry["part"], entry["reason"], entry.get("edge"), entry.get("lines"))
            for entry in data.get("difference", [])
        ]

    def compare(self, case: str, envoy: dict[str, object], edge: dict[str, object]) -> list[Difference]:
        """Every part that is not the same."""
        found = []
        for part in dict.fromkeys([*envoy, *edge]):
            ours, theirs = edge.get(part), envoy.get(part)
            if ours == theirs:
                continue
            meant = next((entry for entry in self._meant if entry.covers(case, part, theirs, ours)), None)
            if meant:
                meant.met = True
            found.append(Difference(case, part, theirs, ours, meant.reason if meant else ""))
        return found

    def unmet(self) -> list[str]:
        """Entries that no case needed."""
        return [f"{entry.cases} / {entry.parts}" for entry in self._meant if not entry.met]
