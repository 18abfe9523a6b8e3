"""What is compared of what was seen: names that a proxy adds are taken out, and what differs from run to run."""

import fnmatch
import itertools
import re

from case import Case
from observe import Observed

# Hops say these for themselves.
_FRAMING = {"connection", "keep-alive"}

# A property's encoding by its length in bytes: what a table can show of it.
_ENCODINGS = {0: "empty", 1: "bool", 8: "int"}


class Rules:
    """Which names each proxy adds."""

    def __init__(self, added: dict[str, dict[str, str]]):
        """`added`: the proxy, then pattern of a name and why it is added."""
        self._added = added

    def is_added(self, proxy: str, name: str) -> bool:
        """Whether a proxy adds headers of this name by itself."""
        return name in _FRAMING or any(fnmatch.fnmatchcase(name, pattern) for pattern in self._added[proxy])

    def facts(self, proxy: str, case: Case, seen: Observed) -> dict[str, object]:
        """The parts of a case by name, comparable between proxies."""
        facts: dict[str, object] = {"error": seen.error} if seen.error else {}
        for number, response in enumerate(seen.responses, 1):
            facts |= self._message(proxy, f"response {number}", response)
        # Calls that were made at once arrive in any order.
        calls = sorted(seen.calls, key=lambda request: request["start"])
        for name, received in (("origin", seen.origin), ("calls", calls)):
            facts[f"{name} requests"] = [request["start"] for request in received]
            for number, request in enumerate(received, 1):
                facts |= self._message(proxy, f"{name} {number}", request)
        facts |= {f"metric {name}": value for name, value in seen.metrics.items()}
        if not case.table:
            facts |= {f"log {plugin}": self._lines(proxy, case, lines) for plugin, lines in seen.logs.items()}
        return facts

    def _message(self, proxy: str, part: str, message: dict) -> dict[str, object]:
        facts = {f"{part} {key}": value for key, value in message.items() if key != "start"}
        for key in ("headers", "trailers"):
            if pairs := message.get(key):
                kept = [f"{name}: {value}" for name, value in pairs if not self.is_added(proxy, name)]
                # The order of different names means nothing; sorting is stable where names repeat.
                facts[f"{part} {key}"] = sorted(kept, key=lambda line: line.split(":")[0])
        return facts

    def _lines(self, proxy: str, case: Case, lines: list[tuple[str, str]]) -> list[str]:
        kept = []
        for level, message in lines:
            if case.ignore and re.search(case.ignore, message):
                continue
            # A line that shows a header which the proxy added is not the guest's doing.
            header = re.match(r"(?:->|<-) ([^ :]+):", message)
            if header and self.is_added(proxy, header[1]):
                continue
            kept.append(f"{level}: {self._without_added(proxy, message)}")
        return sorted(kept) if case.unordered else _headers_sorted(kept)

    def _without_added(self, proxy: str, message: str) -> str:
        """A line without the headers that a proxy added, and of several lines the first, as Envoy's log shows it."""
        message = message.split("\n")[0]
        listed = re.match(r"(pairs \S+ .*-> \d+ )(.*)", message)
        if not listed:
            return message
        pairs = [pair for pair in listed[2].split(", ") if not self.is_added(proxy, pair.split("=")[0])]
        return listed[1] + ", ".join(sorted(pairs, key=lambda pair: pair.split("=")[0]))

    def cells(self, proxy: str, seen: Observed) -> dict[tuple[str, str], str]:
        """A table's cells by (host call, callback); of several requests the last one's."""
        cells: dict[tuple[str, str], str] = {}
        for lines in seen.logs.values():
            for _, message in lines:
                if message.startswith("cell|"):
                    _, callback, call, answer = message.split("|", 3)
                    cells[(call, callback)] = self._answer(proxy, call, answer)
        return cells

    def _answer(self, proxy: str, call: str, answer: str) -> str:
        if call.startswith("pairs "):
            status, names = answer.split("/", 1)
            if names == "null":
                return f"{status}/null"
            kept = [name for name in names.split(",") if name and not self.is_added(proxy, name)]
            return f"{status}/{len(kept)}"
        if call.startswith("prop "):
            status, _, value = answer.partition(" ")
            return f"{status}/{_ENCODINGS.get(len(value) // 2, 'bytes')}" if status == "0" else status
        return answer


def _headers_sorted(lines: list[str]) -> list[str]:
    """Lines that list headers, sorted by name where they stand together: the order of different names means nothing."""
    result: list[str] = []
    for listing, run in itertools.groupby(lines, lambda line: re.match(r"\w+: (?:->|<-) ", line) is not None):
        result += sorted(run, key=lambda line: line.split(": ")[1]) if listing else run
    return result
