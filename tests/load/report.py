"""The figures as a table and as JSON."""

from measure import Case

_COLUMNS = [
    # heading, width, figure, format
    ("CPU µs/req", 10, "cpu_micros_per_request", "{:.2f}"),
    ("±", 5, "cpu_spread", "{:.0%}"),
    ("req/s", 8, "requests_per_second", "{:.0f}"),
    ("p50 ms", 7, "p50_millis", "{:.2f}"),
    ("p99 ms", 7, "p99_millis", "{:.2f}"),
    ("busy", 5, "core_busy", "{:.0%}"),
]

_LEGEND = """\
±     spread of CPU per request between rounds (largest minus smallest, of the mean)
busy  share of its core the server used; well below 100 %, load generator or upstream set its req/s: compare CPU then
edge/it  the edge's figure divided by this line's: below 1.00, CPU is in the edge's favour; above 1.00, req/s is"""


def as_json(cases: list[Case], setting: dict) -> dict:
    """Everything, with ratios of the edge to each peer."""
    report = {"setting": setting, "cases": {}}
    for case in cases:
        first = case.targets[0]
        entry = report["cases"][case.name] = {}
        for target in case.targets:
            entry[target.label] = target.figures()
            if target is not first and first.server.name == "edge":
                entry[target.label] |= {
                    "edge_to_it_cpu": round(first.cpu_micros() / target.cpu_micros(), 3),
                    "edge_to_it_requests": round(first.per_second() / target.per_second(), 3),
                }
    return report


def as_table(report: dict) -> str:
    """The table for people."""
    lines = [f"{key}: {value}" for key, value in report["setting"].items()]
    lines.append("")
    lines.append(
        _row("case", "server", [heading for heading, *_ in _COLUMNS], "edge/it CPU", "edge/it req/s")
    )
    for case, servers in report["cases"].items():
        lines.append("")
        for server, figures in servers.items():
            cells = [form.format(figures[key]) for _, _, key, form in _COLUMNS]
            ratios = [
                f"{figures[key]:.2f}" if key in figures else ""
                for key in ("edge_to_it_cpu", "edge_to_it_requests")
            ]
            lines.append(_row(case, server, cells, *ratios))
            case = ""
    return "\n".join([*lines, "", _LEGEND]) + "\n"


def _row(case: str, server: str, cells: list[str], cpu: str, requests: str) -> str:
    middle = " ".join(cell.rjust(width) for cell, (_, width, *_) in zip(cells, _COLUMNS, strict=True))
    return f"{case:<22}{server:<28}{middle} {cpu:>12} {requests:>14}".rstrip()
