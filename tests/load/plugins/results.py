"""The figures: of one proxy in a case, of both beside each other, and as a table."""

import statistics

from measure import Target
from proxies import CHAINS


def figures(target: Target) -> dict[str, float]:
    """What is reported of a proxy in a case."""
    each = [1e6 * sample.cpu_seconds / sample.requests for sample in target.samples]
    return {
        "cpu_micros_per_request": round(statistics.median(each), 2),
        "spread": round((max(each) - min(each)) / statistics.median(each), 3),
        "requests_per_second": round(target.per_second()),
    }


def add_ratios(report: dict) -> dict:
    """What each case adds to the one without a filter, per filter, and the edge beside Envoy."""
    bare = report["cases"].get("no-filter", {})
    for chain in CHAINS:
        entry = report["cases"].get(chain.name)
        if not entry:
            continue
        for name, values in entry.items():
            if chain.works and name in bare and chain.status == 200:
                added = values["cpu_micros_per_request"] - bare[name]["cpu_micros_per_request"]
                values["added_micros_per_filter"] = round(added / len(chain.works), 2)
        if len(entry) == 2:
            key = "cpu_micros_per_request"
            entry["edge"]["edge_to_envoy"] = round(entry["edge"][key] / entry["envoy"][key], 3)
    return report


def as_table(report: dict) -> str:
    """The tables for people."""
    lines = [f"{key}: {value}" for key, value in report["setting"].items()]
    head = f"{'case':<18}{'proxy':<8}{'CPU µs/req':>11}{'±':>6}{'µs per filter':>15}"
    lines += ["", head + f"{'req/s':>8}{'edge/envoy':>12}"]
    for case, entry in report["cases"].items():
        for name, values in entry.items():
            added = values.get("added_micros_per_filter")
            ratio = values.get("edge_to_envoy")
            lines.append(
                f"{case:<18}{name:<8}{values['cpu_micros_per_request']:>11.2f}{values['spread']:>6.0%}"
                f"{'' if added is None else f'{added:.2f}':>15}{values['requests_per_second']:>8}"
                f"{'' if ratio is None else f'{ratio:.2f}':>12}".rstrip()
            )
            case = ""
    if tenants := report.get("tenants"):
        first, again = tenants["first_request_millis"], tenants["first_request_again_millis"]
        lines += ["", "the edge alone:"]
        lines.append(f"from loading to the first answer {first} ms, {again} ms where the module is known")
        lines.append(
            f"memory of each further tenant with an instance {tenants['kib_per_tenant']} KiB "
            f"(±{tenants['kib_per_tenant_spread']:.0%})"
        )
        for part in ("p50", "p99"):
            alone, beside = tenants[f"undisturbed_{part}_millis"], tenants[f"beside_a_loop_{part}_millis"]
            lines.append(
                f"{part} of a tenant undisturbed {alone:.2f} ms, while another's plugin loops {beside:.2f} ms: "
                f"{beside / alone:.2f} times"
            )
    return "\n".join(lines) + "\n"
