"""What a run of hot swaps comes to: its figures, the bounds it missed, and a table."""

import dataclasses
import statistics

from hot_swaps import Run

# How far the mean resident memory of the last tenth may be from the second's.
MAX_GROWTH = 0.05
_TENTHS = 10
_MIB = 1024 * 1024
_WAYS = {"file": "by the configuration file", "api": "over the API"}


def tenths(samples: list[int]) -> list[float]:
    """The mean of each tenth."""
    bounds = [len(samples) * part // _TENTHS for part in range(_TENTHS + 1)]
    return [statistics.fmean(samples[first:end]) for first, end in zip(bounds, bounds[1:], strict=False)]


def figures(run: Run) -> dict:
    """What is reported."""
    parts = tenths(run.resident)
    load = run.load
    report = {
        "swaps": sum(len(each) for each in run.took.values()),
        "seconds": round(run.seconds, 1),
        "ways": {way: _spread(each) for way, each in run.took.items() if each},
        "requests": load["requests"],
        "failed": load["status"] + load["socket"],
        "wrong": load["wrong"],
        "first_wrong": load["first_wrong"],
        "versions_met": load["versions"],
        "p50_millis": round(load["p50"] / 1000, 2),
        "p99_millis": round(load["p99"] / 1000, 2),
        "max_millis": round(load["max"] / 1000, 2),
        "resident_mib": [round(part / _MIB, 1) for part in parts],
        "growth": round(parts[-1] / parts[1] - 1, 4),
        "configured": dataclasses.asdict(run.configured),
        "held": dataclasses.asdict(run.held),
        "left": dataclasses.asdict(run.left),
    }
    if run.accepted:
        report["ways"]["api"]["accepted_p50_millis"] = round(statistics.median(run.accepted), 2)
    return report


def _spread(millis: list[float]) -> dict:
    ordered = sorted(millis)
    return {
        "swaps": len(ordered),
        "p50_millis": round(statistics.median(ordered), 2),
        "p99_millis": round(ordered[len(ordered) * 99 // 100], 2),
        "max_millis": round(ordered[-1], 2),
    }


def missed(report: dict) -> list[str]:
    """Each bound that the run did not keep."""
    misses = []
    if not report["requests"]:
        misses.append("there was no load")
    if report["failed"]:
        misses.append(f"{report['failed']} requests failed")
    if report["wrong"]:
        misses.append(f"{report['wrong']} answers were wrong, the first: {report['first_wrong']}")
    if abs(report["growth"]) > MAX_GROWTH:
        misses.append(
            f"resident memory changed by {report['growth']:+.1%} between the second tenth and the last, "
            f"at most {MAX_GROWTH:.0%} are allowed"
        )
    if report["held"] != report["configured"]:
        misses.append(f"alive at the end are {_told(report['held'])}, not {_told(report['configured'])}")
    if any(report["left"].values()):
        misses.append(f"alive without a plugin at work are {_told(report['left'])}")
    return misses


def as_table(report: dict) -> str:
    """The same for people."""
    lines = [f"{key}: {value}" for key, value in report["setting"].items()]
    lines += ["", f"{report['swaps']} swaps in {report['seconds']:.0f} s"]
    for way, spread in report["ways"].items():
        accepted = spread.get("accepted_p50_millis")
        lines.append(
            f"  {spread['swaps']:>6} {_WAYS[way]:<26} p50 {spread['p50_millis']:.1f} ms, p99 "
            f"{spread['p99_millis']:.1f} ms, longest {spread['max_millis']:.1f} ms"
            + (f" (p50 of the API's answer {accepted:.1f} ms)" if accepted is not None else "")
        )
    lines.append(
        f"{report['requests']} requests, {report['failed']} failed, {report['wrong']} with a wrong answer; p50 "
        f"{report['p50_millis']:.2f} ms, p99 {report['p99_millis']:.2f} ms, longest {report['max_millis']:.1f} ms; "
        f"{report['versions_met']} versions met"
    )
    lines.append(
        "resident memory by tenth, in MiB: " + " ".join(f"{part:.1f}" for part in report["resident_mib"])
    )
    lines.append(f"last tenth against the second: {report['growth']:+.1%}")
    lines.append(
        f"alive at the end: {_told(report['held'])}; with no plugin at work: {_told(report['left'])}"
    )
    lines += [f"MISSED: {miss}" for miss in missed(report)] or ["every bound was kept"]
    return "\n".join(lines) + "\n"


def _told(held: dict[str, int]) -> str:
    return f"{held['instances']} instances, {held['modules']} modules"
