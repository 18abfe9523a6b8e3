"""Figures are medians, and what a filter adds is beside the chain without one."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parents[1] / "envoy"), str(HERE.parent)]

from measure import Sample, Target  # noqa: E402  (the line above must come first)
from results import add_ratios, as_table, figures  # noqa: E402


def measured(*micros: float) -> dict[str, float]:
    """The figures of rounds of a thousand requests with so much CPU time each."""
    samples = [Sample(1000, 1.0, each / 1000, 1, 2) for each in micros]
    return figures(Target("edge", None, 1, "/", b"", samples=samples))


class Results(unittest.TestCase):
    def test_the_median_of_rounds_counts(self):
        self.assertEqual(measured(10, 99, 12)["cpu_micros_per_request"], 12)

    def test_ratios_and_what_a_filter_adds(self):
        cases = {
            "no-filter": {"edge": measured(40), "envoy": measured(80)},
            "request-header": {"edge": measured(43), "envoy": measured(90)},
            "five-filters": {"edge": measured(50), "envoy": measured(130)},
            "refused": {"edge": measured(20), "envoy": measured(60)},
        }
        report = add_ratios({"cases": cases, "setting": {"connections": "64"}})
        one, five = report["cases"]["request-header"], report["cases"]["five-filters"]
        self.assertEqual(report["cases"]["no-filter"]["edge"]["edge_to_envoy"], 0.5)
        self.assertEqual(
            (one["edge"]["added_micros_per_filter"], one["envoy"]["added_micros_per_filter"]), (3, 10)
        )
        self.assertEqual(
            (five["edge"]["added_micros_per_filter"], five["envoy"]["added_micros_per_filter"]), (2, 10)
        )
        self.assertNotIn("added_micros_per_filter", report["cases"]["refused"]["edge"])
        self.assertIn("0.50", as_table(report))

    def test_one_proxy_alone_has_no_ratio(self):
        report = add_ratios({"cases": {"no-filter": {"edge": measured(40)}}, "setting": {}})
        self.assertNotIn("edge_to_envoy", report["cases"]["no-filter"]["edge"])


if __name__ == "__main__":
    unittest.main()
