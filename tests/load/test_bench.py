"""The bench must not print figures that mean nothing: what makes them so has to end it."""

import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from measure import Case, Sample, Target
from processes import BenchError, Server, free_port, tree_cpu_seconds
from report import as_json, as_table

RESULT = {
    "requests": 1000,
    "micros": 500_000,
    "p50": 800,
    "p99": 2000,
    "connect": 0,
    "read": 0,
    "write": 0,
    "status": 0,
    "timeout": 0,
}


class FakeServer:
    """Stands where a Server would: a name and a log."""

    def __init__(self, name: str):
        self.name = name

    def tail(self) -> str:
        return "the log"


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with 200 and `hello`, whoever asks."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


def target(name: str = "edge", **changes) -> Target:
    return Target(
        **{"label": name, "server": FakeServer(name), "port": 1, "path": "/", "body": b"hello"} | changes
    )


class Measuring(unittest.TestCase):
    def test_a_clean_run_is_a_sample(self):
        sample = target()._sample("noise\nRESULT " + json.dumps(RESULT), 0.02)
        self.assertEqual((sample.requests, sample.seconds, sample.cpu_seconds), (1000, 0.5, 0.02))

    def test_any_failed_request_fails_the_bench(self):
        for kind in ("connect", "read", "write", "status", "timeout"):
            with self.subTest(kind), self.assertRaisesRegex(BenchError, kind):
                target()._sample("RESULT " + json.dumps(RESULT | {kind: 1}), 0.02)

    def test_a_refusing_target_must_refuse_every_time(self):
        refusing = target(status=403)
        all_refused = RESULT | {"status": RESULT["requests"]}
        self.assertEqual(refusing._sample("RESULT " + json.dumps(all_refused), 0.02).requests, 1000)
        for result in (RESULT, RESULT | {"status": 999}):
            with self.assertRaisesRegex(BenchError, "other answers"):
                refusing._sample("RESULT " + json.dumps(result), 0.02)

    def test_a_run_without_requests_or_result_fails(self):
        for output in ("RESULT " + json.dumps(RESULT | {"requests": 0}), "unable to connect"):
            with self.assertRaises(BenchError):
                target()._sample(output, 0.02)


class Verifying(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.port = self.server.server_address[1]
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        self.addCleanup(lambda: (self.server.shutdown(), thread.join(), self.server.server_close()))

    def test_the_expected_bytes_pass(self):
        target(port=self.port).verify()

    def test_other_bytes_fail(self):
        with self.assertRaisesRegex(BenchError, "expected 200, 4 bytes"):
            target(port=self.port, body=b"bye!").verify()

    def test_a_guarded_target_that_refuses_nobody_fails(self):
        with self.assertRaisesRegex(BenchError, "no token answered 200"):
            target(port=self.port, headers={"Authorization": "Bearer a.b.c"}, guarded=True).verify()


class Accounting(unittest.TestCase):
    def test_a_childs_cpu_time_counts(self):
        burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
        with subprocess.Popen(
            [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            self.assertGreaterEqual(tree_cpu_seconds(process.pid), 0.25)
            process.stdin.close()

    def test_a_server_that_ends_at_start_fails_with_its_last_words(self):
        with tempfile.TemporaryDirectory() as directory:
            core = min(os.sched_getaffinity(0))
            command = [sys.executable, "-c", "import sys; sys.exit('no such key')"]
            server = Server("edge", command, core, pathlib.Path(directory) / "log")
            self.addCleanup(server.close)
            with self.assertRaisesRegex(BenchError, "no such key"):
                server.wait_for_port(free_port())

    def test_close_ends_the_process(self):
        with tempfile.TemporaryDirectory() as directory:
            server = Server(
                "sleeper", ["sleep", "600"], min(os.sched_getaffinity(0)), pathlib.Path(directory) / "log"
            )
            started = time.monotonic()
            server.close()
            self.assertLess(time.monotonic() - started, 5)
            with self.assertRaises(BenchError):
                server.cpu_seconds()


class Reporting(unittest.TestCase):
    def test_ratios_are_of_the_edge_to_the_peer(self):
        edge = target("edge", samples=[Sample(1000, 1.0, 0.03, 1, 2), Sample(1000, 1.0, 0.01, 1, 2)])
        peer = target("nginx", samples=[Sample(2000, 1.0, 0.02, 1, 2)])
        report = as_json([Case("proxy", [edge, peer])], {"connections": "64"})
        figures = report["cases"]["proxy"]
        self.assertEqual(figures["edge"]["cpu_micros_per_request"], 20.0)
        self.assertEqual(figures["nginx"]["edge_to_it_cpu"], 2.0)
        self.assertEqual(figures["nginx"]["edge_to_it_requests"], 0.5)
        self.assertIn("2.00", as_table(report))


if __name__ == "__main__":
    unittest.main()
