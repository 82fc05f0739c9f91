#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The client commands against a server that fails on demand: run.py WEIR"""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_server import FakeServer  # noqa: E402

WEIR = sys.argv.pop(1) if len(sys.argv) > 1 else "build/weir"
TIMEOUT = 60


def weir(*words, stdin=b"", server=None, env=None):
    e = dict(os.environ, **(env or {}))
    e.pop("WEIR_SERVER", None)
    if server:
        e["WEIR_SERVER"] = server.url
    return subprocess.run([WEIR, *words], input=stdin, capture_output=True, timeout=TIMEOUT, env=e)


def start(*words, server):
    return subprocess.Popen([WEIR, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=dict(os.environ, WEIR_SERVER=server.url))


def wait_for(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("never: " + what)
        time.sleep(0.01)


class Produce(unittest.TestCase):
    def setUp(self):
        self.server = FakeServer().start()

    def tearDown(self):
        self.server.stop()

    def values(self):
        return [r.get("value", r.get("value_base64")) for r in self.server.log]

    def lines(self, n):
        return b"".join(b"%d\n" % i for i in range(n))

    def test_lines_become_records_over_one_connection(self):
        r = weir("produce", "t", "--json", stdin=self.lines(1000), server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.values(), list(range(1000)))
        self.assertEqual(self.server.connections, 1)
        self.assertEqual(json.loads(r.stdout), {"accepted": 1000, "duplicates": 0, "refused": 0, "unanswered": 0,
                                                "retries": 0, "reconnects": 0})
        self.assertEqual(len(self.server.keys), 1000)

    def test_a_last_line_without_an_end_is_a_record_and_bytes_stay(self):
        r = weir("produce", "t", stdin=b"\xff\x00\r\n\nlast", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.values(), ["/wAN", "", "bGFzdA=="])

    def test_lost_connections_lose_and_repeat_nothing(self):
        stopped = threading.Event()

        def harass():
            while not stopped.is_set():
                self.server.cut_after(37)
                time.sleep(0.02)
        t = threading.Thread(target=harass)
        t.start()
        r = weir("produce", "t", "--json", stdin=self.lines(500), server=self.server)
        stopped.set()
        t.join()
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.values(), list(range(500)))
        summary = json.loads(r.stdout)
        self.assertGreater(summary["reconnects"], 0)
        self.assertEqual(summary["accepted"] + summary["duplicates"], 500)

    def test_a_restart_in_the_middle_loses_and_repeats_nothing(self):
        p = start("produce", "t", server=self.server)
        p.stdin.write(self.lines(100))
        p.stdin.flush()
        wait_for(lambda: len(self.server.log) == 100, "the first hundred")
        self.server.stop()
        p.stdin.write(b"".join(b"%d\n" % i for i in range(100, 200)))
        p.stdin.close()
        time.sleep(0.3)
        self.server.start()
        self.assertEqual(p.wait(TIMEOUT), 0)
        p.stdout.close()
        p.stderr.close()
        self.assertEqual(self.values(), list(range(200)))

    def test_later_is_waited_out_in_order(self):
        for status in (429, 503, 507):
            self.server.log.clear()
            self.server.later(3, status)
            r = weir("produce", "t", "--in-flight", "1", stdin=self.lines(20), server=self.server)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(self.values(), list(range(20)))

    def test_later_with_many_in_flight_loses_and_repeats_nothing(self):
        self.server.later(10)
        r = weir("produce", "t", stdin=self.lines(300), server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(sorted(self.values()), list(range(300)))

    def test_a_refused_record_is_named_and_the_rest_goes_on(self):
        self.server.refuse[b"2"] = (413, {"code": "record_too_large", "detail": "at most 1 MiB", "status": 413})
        self.server.refuse[b"3"] = (422, {"code": "invalid_batch", "errors": [{"index": 0, "code": "invalid_record", "detail": "no"}]})
        r = weir("produce", "t", stdin=self.lines(5), server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(self.values(), [0, 1, 4])
        self.assertIn(b"line 3: 413 record_too_large: at most 1 MiB", r.stderr)
        self.assertIn(b"line 4: 422 invalid_record: no", r.stderr)

    def test_what_would_refuse_all_stops(self):
        for i in range(2000):
            self.server.refuse[b"%d" % i] = (404, {"code": "unknown_topic", "detail": "there is no topic t"})
        r = weir("produce", "t", stdin=self.lines(2000), server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertEqual(r.stderr.count(b"unknown_topic"), 1)

    def test_keys_headers_and_partition_are_sent(self):
        r = weir("produce", "a b", "--key", "k&1", "--partition", "3", "--header", "h=v=w", "--header", "i=\u00e9",
                 "--idempotency-key", "run-{line}", stdin=b"x\n\xff\n", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        method, target, headers, body = self.server.requests[0]
        self.assertEqual(target, "/v1/topics/a%20b/records?key=k%261&partition=3")
        self.assertEqual(headers["idempotency-key"], "run-1")
        self.assertEqual(json.loads(body), {"records": [{"headers": {"h": "v=w", "i": "\u00e9"}, "value_text": "x"}]})
        self.assertEqual(json.loads(self.server.requests[1][3])["records"][0]["value_base64"], "/w==")

    def test_the_same_keys_again_store_nothing(self):
        for expected in ((5, 0), (0, 5)):
            r = weir("produce", "t", "--json", "--idempotency-key", "x-{line}", stdin=self.lines(5), server=self.server)
            s = json.loads(r.stdout)
            self.assertEqual((s["accepted"], s["duplicates"]), expected)

    def test_one_key_serves_one_record(self):
        r = weir("produce", "t", "--idempotency-key", "x", stdin=b"1\n", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        r = weir("produce", "t", "--idempotency-key", "x", stdin=b"1\n2\n", server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"line 2", r.stderr)

    def test_a_file_and_a_missing_file(self):
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"1\n2\n")
            f.flush()
            self.assertEqual(weir("produce", "t", f.name, server=self.server).returncode, 0)
        self.assertEqual(self.values(), [1, 2])
        r = weir("produce", "t", "/nonexistent", server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"cannot open /nonexistent: No such file or directory", r.stderr)

    def test_no_server_fails_after_the_timeout(self):
        self.server.stop()
        r = weir("produce", "t", "--timeout", "300ms", stdin=b"1\n", server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"Connection refused; gave up: lines from 1 on have no answer", r.stderr)

    def test_nothing_to_send_is_done(self):
        self.assertEqual(weir("produce", "t", server=self.server).returncode, 0)
        self.assertEqual(self.server.connections, 0)


class Tail(unittest.TestCase):
    def setUp(self):
        self.server = FakeServer().start()

    def tearDown(self):
        self.server.stop()

    def fill(self, first, last):
        for i in range(first, last):
            self.server.append(b'{"n": %d}' % i)

    @staticmethod
    def numbers(out):
        return [json.loads(line)["value"]["n"] for line in out.splitlines()]

    def test_what_is_there_is_printed_a_line_each(self):
        self.fill(0, 50)
        r = weir("tail", "t", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.numbers(r.stdout), list(range(50)))
        r = weir("tail", "t", "-n", "10", "--from", "c20", server=self.server)
        self.assertEqual(self.numbers(r.stdout), list(range(20, 30)))
        r = weir("tail", "t", "--from", "latest", server=self.server)
        self.assertEqual((r.returncode, r.stdout), (0, b""))

    def test_polls_wait_out_later(self):
        self.fill(0, 3)
        self.server.later(2)
        r = weir("tail", "t", server=self.server)
        self.assertEqual(self.numbers(r.stdout), [0, 1, 2])

    def test_following_survives_cuts_and_restarts(self):
        self.fill(0, 20)
        p = start("tail", "t", "--follow", "--from", "earliest", "-n", "100", server=self.server)
        got = []
        while len(got) < 20:
            got.append(p.stdout.readline())
        self.server.cut_after(5)
        self.fill(20, 50)
        while len(got) < 50:
            got.append(p.stdout.readline())
        self.server.stop()
        self.fill(50, 60)
        time.sleep(0.3)
        self.server.start()
        self.fill(60, 100)
        out, _ = p.communicate(timeout=TIMEOUT)
        self.assertEqual(p.returncode, 0)
        self.assertEqual(self.numbers(b"".join(got) + out), list(range(100)))

    def test_latest_misses_nothing_that_comes_while_the_server_is_away(self):
        self.fill(0, 5)
        p = start("tail", "t", "-f", "-n", "3", server=self.server)
        wait_for(lambda: any("/sse" in r[1] for r in self.server.requests), "a stream")
        self.server.stop()
        self.fill(5, 8)
        self.server.start()
        out, _ = p.communicate(timeout=TIMEOUT)
        self.assertEqual(self.numbers(out), [5, 6, 7])

    def test_several_topics_share_a_stream(self):
        self.fill(0, 1)
        r = weir("tail", "a", "b", "-f", "-n", "1", "--from", "earliest", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.server.requests[-1][1], "/v1/sse?topics=a%2Cb&cursor=earliest")


class Bench(unittest.TestCase):
    """The real daemon is in tests/e2e; here are the answers that it gives too seldom."""

    def setUp(self):
        self.server = FakeServer().start()

    def tearDown(self):
        self.server.stop()

    def produce(self, *words):
        r = weir("bench", "produce", "--seconds", "1", "--json", *words, server=self.server)
        return r, json.loads(r.stdout)

    def test_what_is_counted_is_stored_and_each_has_its_key(self):
        r, doc = self.produce("--rate", "200", "--keys", "--connections", "3", "--bytes", "33")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        self.assertEqual((doc["records"], doc["errors"]), (200, 0))
        self.assertEqual((len(self.server.log), len(self.server.keys)), (200, 200))
        self.assertEqual({len(request[3]) for request in self.server.requests}, {33})
        self.assertEqual(self.server.connections, 3)

    def test_later_is_an_error_and_pauses(self):
        self.server.later(20)
        r, doc = self.produce("--connections", "2", "--in-flight", "10")
        self.assertEqual(r.returncode, 0)
        self.assertEqual(doc["errors"], 20)
        self.assertEqual(doc["records"], len(self.server.log))
        self.assertIn(b"the first error: 503 overloaded: not now", r.stderr)

    def test_a_lost_connection_is_opened_again(self):
        self.server.cut_after(20)
        r, doc = self.produce("--connections", "1", "--in-flight", "4", "--rate", "100")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertGreater(doc["errors"], 0)
        self.assertGreater(doc["records"], 50)
        self.assertEqual(doc["records"] + doc["errors"], 100)
        self.assertEqual(self.server.connections, 2)

    def test_a_stall_counts_for_all_that_it_kept_waiting(self):
        self.server.later(1)
        _, doc = self.produce("--connections", "1", "--rate", "100")
        # The pause is 100 ms: the ten requests that were due in it waited for its end.
        self.assertGreater(doc["latency_ms"]["p99"], 40)

    def test_no_server_fails(self):
        self.server.stop()
        r = weir("bench", "produce", server=self.server)
        self.assertEqual((r.returncode, r.stdout), (1, b""))
        self.assertIn(b"Connection refused", r.stderr)


class Topic(unittest.TestCase):
    def setUp(self):
        self.server = FakeServer().start()

    def tearDown(self):
        self.server.stop()

    def test_a_topic_lives(self):
        r = weir("topic", "create", "orders", "--partitions", "4", "--retention", "30d", "--idempotency-ttl", "1d", server=self.server)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(self.server.topics["orders"], {"partitions": 4, "retention": "30d", "idempotency": {"ttl": "1d"}})
        r = weir("topic", "list", server=self.server)
        self.assertEqual(r.stdout.split(), [b"orders", b"4", b"30d"])
        r = weir("topic", "show", "orders", server=self.server)
        self.assertIn(b"idempotency.ttl: 1d\n", r.stdout)
        r = weir("topic", "trim", "orders", "--before", "latest", "--json", server=self.server)
        self.assertEqual(json.loads(r.stdout), {"before": "latest"})
        self.assertEqual(weir("topic", "delete", "orders", server=self.server).returncode, 0)
        r = weir("topic", "show", "orders", server=self.server)
        self.assertEqual(r.returncode, 1)
        self.assertIn(b"404 unknown_topic: there is no topic orders", r.stderr)

    def test_a_list_of_many_pages_is_one(self):
        self.server.page = 2
        self.server.topics = {"t%d" % i: {"partitions": i, "retention": "7d"} for i in range(5)}
        r = weir("topic", "list", server=self.server)
        self.assertEqual([line.split()[0] for line in r.stdout.splitlines()], [b"t0", b"t1", b"t2", b"t3", b"t4"])
        doc = json.loads(weir("topic", "list", "--json", server=self.server).stdout)
        self.assertEqual(([t["name"] for t in doc["topics"]], doc["next"]), (["t0", "t1", "t2", "t3", "t4"], None))
        self.server.topics = {}
        self.assertEqual(json.loads(weir("topic", "list", "--json", server=self.server).stdout), {"topics": [], "next": None})

    def test_settings_are_checked_before_anything_is_sent(self):
        r = weir("topic", "create", "t", "--retention", "30", server=self.server)
        self.assertEqual(r.returncode, 2)
        self.assertIn(b'retention: "30": expected a duration', r.stderr)
        self.assertEqual(self.server.requests, [])


class Words(unittest.TestCase):
    def test_help_is_on_stdout(self):
        for words in (["help"], ["--help"], ["help", "topic", "list"], ["topic", "list", "--help"], ["tail", "--help"]):
            r = weir(*words)
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            self.assertIn(b"Usage: weir", r.stdout)

    def test_mistakes_name_the_nearest(self):
        for words, text in ((["prodcue"], b'did you mean "produce"?'), (["tail", "--form", "x", "t"], b"did you mean --from?"),
                            (["topic", "creat"], b'did you mean "create"?'), (["tail"], b"expected weir tail TOPIC..."),
                            (["tail", "t", "-n"], b"--count needs a value"), (["check"], b"expected weir check FILE..."),
                            (["tail", "t", "-n", "x"], b"expected a whole number"), (["help", "tial"], b'did you mean "tail"?'),
                            (["tail", "t", "--server", "https://x"], b"https is not supported")):
            r = weir(*words)
            self.assertEqual((r.returncode, r.stdout), (2, b""), words)
            self.assertIn(text, r.stderr)

    def test_no_colour_when_it_is_no_terminal(self):
        self.assertNotIn(b"\033", weir("prodcue").stderr)

    def test_check_tells_all(self):
        with tempfile.TemporaryDirectory() as d:
            good, bad = os.path.join(d, "good.yaml"), os.path.join(d, "bad.yaml")
            with open(good, "w") as f:
                f.write("data: x\n")
            with open(bad, "w") as f:
                f.write("htp: {}\nhttp: { listen: x }\n")
            r = weir("check", good, bad)
            self.assertEqual(r.returncode, 2)
            self.assertEqual(r.stdout, ("%s: ok\n" % good).encode())
            self.assertIn(("%s:1:1: unknown key \"htp\": did you mean \"http\"?" % bad).encode(), r.stderr)
            self.assertIn(("%s:2:17: http.listen: \"x\": expected HOST:PORT" % bad).encode(), r.stderr)
            self.assertEqual(weir("check", good).returncode, 0)
            r = weir("check", "--json", good, bad, good)
            self.assertEqual([p["line"] for p in json.loads(r.stdout)], [1, 2])

    def test_version_and_pages(self):
        self.assertEqual(json.loads(weir("version", "--json").stdout)["version"], weir("--version").stdout.split()[1].decode())
        self.assertEqual(json.loads(weir("doc", "schema").stdout)["title"], "weir.yaml")
        for page in ("settings", "commands", "errors"):
            self.assertTrue(weir("doc", page).stdout.startswith(b"# "))
        for page in ("man", "man-yaml"):
            self.assertTrue(weir("doc", page).stdout.startswith(b".TH "))

    def test_completion_is_a_script_that_completes(self):
        script = weir("completion", "bash").stdout.decode()
        for line, expected in (("weir to", "topic"), ("weir topic cr", "create"), ("weir tail --fo", "--follow"),
                               ("weir tail --from e", "earliest"), ("weir topic create --durability f", "fsync")):
            words = line.split(" ")
            shell = script + "\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_weir\nprintf '%%s\\n' \"${COMPREPLY[@]}\"\n" % (
                " ".join(words), len(words) - 1)
            out = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=TIMEOUT)
            self.assertEqual(out.stdout.decode().split(), [expected], out.stderr)

    def test_the_zsh_script_has_no_blank_action(self):
        script = weir("completion", "zsh").stdout.decode()
        self.assertTrue(script.startswith("#compdef weir\n"))
        self.assertNotIn(": '", script)  # after ':' a blank alone keeps zsh from completing options


unittest.main()
