"""The comparison must see what differs, and nothing else."""

import pathlib
import socket
import tempfile
import unittest

import tables
from case import Case, Plugin, Request
from compare import Differences
from http1 import ProtocolError, Reader
from normal import Rules
from observe import Observed
from upstream import Answer

CASE = Case("a-case", (Plugin("script"),))
FILE = """
[added.envoy]
"x-envoy-*" = "its own"
[added.edge]
"traceparent" = "its own"
[[difference]]
case = "a-case|other-*"
part = "response 1 status"
edge = 400
reason = "refused"
[[difference]]
case = "a-case"
part = "log *"
lines = ["-info: one*", "+info: two"]
reason = "another word"
"""


def differences() -> Differences:
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(FILE)
        file.flush()
        return Differences(pathlib.Path(file.name))


def response(**changes) -> dict:
    return {"status": 200, "headers": [], "body": "", "trailers": [], "whole": True} | changes


class Comparing(unittest.TestCase):
    def setUp(self):
        self.file = differences()
        self.rules = Rules(self.file.added)

    def facts(self, proxy: str, **changes):
        logs = {"a-case": changes.pop("log", [])}
        return self.rules.facts(proxy, CASE, Observed([response(**changes)], [], [], logs))

    def found(self, envoy: dict, edge: dict, case: str = "a-case"):
        return self.file.compare(case, self.facts("envoy", **envoy), self.facts("edge", **edge))

    def test_the_same_is_no_difference(self):
        self.assertEqual(self.found({"body": "a"}, {"body": "a"}), [])

    def test_each_part_can_differ(self):
        for one, other in (
            ({"status": 201}, {}),
            ({"body": "a"}, {"body": "b"}),
            ({"headers": [("x-a", "1")]}, {}),
            ({"headers": [("x-a", "1"), ("x-a", "2")]}, {"headers": [("x-a", "2"), ("x-a", "1")]}),
            ({"trailers": [("x-t", "1")]}, {}),
            ({"whole": False}, {}),
            ({"log": [("info", "a")]}, {}),
            ({"log": [("info", "a")]}, {"log": [("warn", "a")]}),
        ):
            with self.subTest(one=one, other=other):
                found = self.found(one, other, "unlisted")
                self.assertEqual([each.reason for each in found], [""])

    def test_added_names_count_on_their_own_side_only(self):
        theirs = {"headers": [("x-envoy-a", "1")]}
        ours = {"headers": [("traceparent", "1")]}
        self.assertEqual(self.found(theirs, ours), [])
        self.assertEqual(len(self.found(ours, theirs)), 1)

    def test_the_order_of_other_names_means_nothing(self):
        one, other = [("x-a", "1"), ("x-b", "2")], [("x-b", "2"), ("x-a", "1")]
        self.assertEqual(self.found({"headers": one}, {"headers": other}), [])

    def test_a_meant_difference_is_just_that(self):
        self.assertEqual(self.file.unmet(), ["a-case|other-* / response 1 status", "a-case / log *"])
        self.assertEqual(self.found({}, {"status": 400})[0].reason, "refused")
        self.assertEqual(self.found({}, {"status": 401})[0].reason, "")
        self.assertEqual(self.found({}, {"status": 400}, "third")[0].reason, "")
        self.assertEqual(self.file.unmet(), ["a-case / log *"])

    def test_a_meant_difference_of_lines_covers_no_other_line(self):
        theirs = {"log": [("info", "same"), ("info", "one 1")]}
        for other, reason in (("two", "another word"), ("three", "")):
            ours = {"log": [("info", "same"), ("info", other)]}
            self.assertEqual([each.reason for each in self.found(theirs, ours)], [reason])

    def test_a_line_shows_its_listed_headers_without_added_ones(self):
        theirs = [
            ("info", "pairs request x- -> 0 x-a=1, x-envoy-b=2"),
            ("info", "-> x-envoy-b: 2"),
            ("info", "one\ntwo"),
        ]
        ours = [("info", "pairs request x- -> 0 x-a=1"), ("info", "one")]
        self.assertEqual(self.found({"log": theirs}, {"log": ours}), [])


class Tables(unittest.TestCase):
    CELLS = {("get a", "root+"): "0/1", ("get a", "log"): "2", ("prop b", "log"): "0/int"}

    def test_a_table_is_read_as_it_was_written(self):
        self.assertEqual(tables.parse(tables.render(self.CELLS)), self.CELLS)

    def test_the_last_answer_of_a_cell_counts(self):
        lines = [("info", f"cell|rq_h|prop a|{answer}") for answer in ("1 ", "0 0102030405060708")]
        cells = Rules({"edge": {}}).cells("edge", Observed([], [], [], {"a": lines}))
        self.assertEqual(cells, {("prop a", "rq_h"): "0/int"})


class Http(unittest.TestCase):
    def reader(self, data: bytes) -> Reader:
        """A reader of these bytes, after which the peer ends the connection."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with theirs:
            theirs.sendall(data)
        return Reader(ours)

    def test_a_response_with_chunks_and_trailers(self):
        data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        seen = self.reader(data).response()
        self.assertEqual(
            (seen.status, seen.body, seen.trailers, seen.whole), (200, b"abc", [("x-t", "1")], True)
        )

    def test_a_response_that_is_cut_off(self):
        self.assertFalse(self.reader(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc").response().whole)
        with self.assertRaises(ProtocolError):
            self.reader(b"").response()

    def test_requests_and_answers_are_encoded(self):
        request = Request("/x", "POST", chunks=(b"ab", b"c"), trailers=(("x-t", "1"),))
        seen = self.reader(b"".join(request.encode("a-case")))
        head = seen.head()
        self.assertEqual((head.start, head.get("host")), ("POST /a-case/x HTTP/1.1", "a-case.test"))
        self.assertEqual(seen.body(head, of_response=False), (b"abc", [("x-t", "1")]))
        self.assertEqual(self.reader(b"".join(Answer(body=b"abc").encode())).response().body, b"abc")
        self.assertEqual(len(Answer(chunks=(b"a", b"b"), pace="x").encode()), 3)


if __name__ == "__main__":
    unittest.main()
