"""A run of hot swaps is judged by its bounds, and each of them can be missed."""

import pathlib
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parents[1] / "envoy"), str(HERE.parent)]

from bench_edge import series  # noqa: E402  (the line above must come first)
from hot_swaps import Held, Run, _module, _variant  # noqa: E402
from swap_results import as_table, figures, missed, tenths  # noqa: E402

MIB = 1024 * 1024
LOAD = {
    "requests": 5000,
    "micros": 1_000_000,
    "p50": 800,
    "p99": 2000,
    "max": 9000,
    "status": 0,
    "socket": 0,
    "wrong": 0,
    "first_wrong": "",
    "versions": 90,
}


def run(**changes) -> Run:
    """A run of a hundred swaps that keeps every bound, but for these changes."""
    good = {
        "took": {"file": [5.0] * 49 + [50.0], "api": [8.0] * 50},
        "accepted": [6.0] * 50,
        # What the first swaps take beyond the rest does not count.
        "resident": [90 * MIB] * 10 + [64 * MIB] * 90,
        "seconds": 1.0,
        "load": LOAD,
        "held": Held(2, 2),
        "configured": Held(2, 2),
        "left": Held(0, 0),
    }
    return Run(**good | changes)


class Bounds(unittest.TestCase):
    def test_a_good_run_misses_none(self):
        report = figures(run())
        self.assertEqual(missed(report), [])
        self.assertEqual((report["swaps"], report["failed"], report["growth"]), (100, 0, 0))
        self.assertEqual((report["resident_mib"][0], report["resident_mib"][9]), (90, 64))

    def test_each_bound_can_be_missed(self):
        steadily = [(64 + swap // 10) * MIB for swap in range(100)]
        for changes, word in (
            ({"load": LOAD | {"requests": 0}}, "no load"),
            ({"load": LOAD | {"status": 1}}, "1 requests failed"),
            ({"load": LOAD | {"socket": 2}}, "2 requests failed"),
            ({"load": LOAD | {"wrong": 1, "first_wrong": "status 503"}}, "status 503"),
            ({"resident": steadily}, "memory changed by +12.3%"),
            ({"resident": steadily[::-1]}, "memory changed by -11.1%"),
            ({"held": Held(3, 2)}, "3 instances, 2 modules, not 2 instances, 2 modules"),
            ({"held": Held(2, 1)}, "2 instances, 1 modules, not"),
            ({"left": Held(0, 1)}, "0 instances, 1 modules"),
        ):
            with self.subTest(word):
                misses = missed(figures(run(**changes)))
                self.assertEqual(len(misses), 1)
                self.assertIn(word, misses[0])

    def test_the_table_has_every_way_and_what_was_missed(self):
        report = figures(run(left=Held(1, 1))) | {"setting": {"load": "some"}}
        table = as_table(report)
        for text in ("by the configuration file", "over the API", "load: some", "MISSED: alive without"):
            self.assertIn(text, table)

    def test_a_swap_in_one_way_has_no_figures_of_the_other(self):
        report = figures(run(took={"file": [5.0] * 100}, accepted=[]))
        self.assertEqual(list(report["ways"]), ["file"])
        self.assertEqual(report["ways"]["file"]["swaps"], 100)


class Parts(unittest.TestCase):
    def test_tenths_cover_all_samples_once(self):
        parts = tenths([*range(105)])
        self.assertEqual(len(parts), 10)
        self.assertEqual((parts[0], parts[9]), (4.5, 99.0))

    def test_every_other_swap_changes_the_module(self):
        self.assertEqual([_module(number) for number in range(1, 9)], [0, 1, 1, 0, 0, 1, 1, 0])

    def test_variants_are_the_same_program_with_sections_of_their_own(self):
        with tempfile.TemporaryDirectory() as directory:
            guest = pathlib.Path(directory) / "guest.wasm"
            guest.write_bytes(b"\0asm\x01\0\0\0")
            self.assertEqual(_variant(guest, "api-1"), b"\0asm\x01\0\0\0\0\x0a\x04swapapi-1")
            self.assertNotEqual(_variant(guest, "api-0"), _variant(guest, "file-0"))

    def test_a_scrape_is_its_series(self):
        text = '# HELP a Some.\n# TYPE a counter\na{result="taken"} 3\na_sum 0.5\n'
        self.assertEqual(series(text), {'a{result="taken"}': 3.0, "a_sum": 0.5})


if __name__ == "__main__":
    unittest.main()
