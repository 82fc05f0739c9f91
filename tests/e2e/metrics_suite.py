# SPDX-License-Identifier: Apache-2.0
"""Health and metrics.

Each metric has a test that makes the thing happen with a real client and sees
the number move by what it should. `Figures` notes which ones were seen; the
last test holds that against the reference page, so that a row which nobody
feeds, or nobody tests, fails here.
"""
import contextlib
import glob
import gzip
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib

from harness import (CE, NDJSON, ROOT, SLOW, TEXT, Later, Raw, Skip, Sse, Weir, Ws, check, eq, expect, query, test,
                     until, weir)
from kafka_wire import Kafka, batch

JSON = {"Content-Type": "application/json"}
ONE_LOOP = "threads: 1\n"  # so that all readers share one cache of encoded records
CASES, RAN, SEEN = [], [], set()


def case(name, **how):
    """A test that the last one knows of."""
    def add(fn):
        def run(*args):
            fn(*args)
            RAN.append(name)
        CASES.append(name)
        return test(name, **how)(run)
    return add


class Figures:
    """Scrapes over one connection of its own, and what has changed since `mark`."""

    def __init__(self, w):
        self.session = w.session()
        self.mark()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.session.close()

    def now(self):
        out = {}
        for line in expect(self.session.request("GET", "/metrics"), 200).text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def mark(self):
        self.before = self.now()
        return self.before

    @staticmethod
    def note(series):
        SEEN.add(re.sub(r"_(count|sum|bucket)$", "", series.split("{")[0]))
        SEEN.add(series.split("{")[0])

    def change(self, series):
        return self.now().get(series, 0) - self.before.get(series, 0)

    def moved(self, series, by):
        """It changed by exactly so much since the mark; the last thing may still be on its way."""
        until(lambda: self.change(series) == by, 5, "%s to move by %g, not by %g" % (series, by, self.change(series)))
        if by:
            self.note(series)

    def rose(self, series, least=1):
        """For what depends on time or on the machine: by how much it rose."""
        until(lambda: self.change(series) >= least, 10, "%s to rise by %g, not by %g" % (
            series, least, self.change(series)))
        self.note(series)
        return self.change(series)

    def reads(self, series, value, timeout=10):
        until(lambda: self.now().get(series) == value, timeout, "%s to be %g, not %s" % (
            series, value, self.now().get(series)))
        self.note(series)

    def value(self, series):
        self.note(series)
        return self.now()[series]

    def unmoved(self, *series):
        for s in series:
            eq(self.change(s), 0, s)


def topic_path(t, rest=""):
    return "/v1/topics/%s/%s" % (t, rest)


def post(w, t, body, type="text/plain", headers=None, **args):
    h = {"Content-Type": type} if type else {}
    return w.post(topic_path(t, "records") + query(**args), body, dict(h, **(headers or {})))


@contextlib.contextmanager
def slowed(w, *options):
    """System calls of a running weir take their time: strace at its side."""
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    p = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", *options, "-p", str(w.pid)],
                         stderr=subprocess.PIPE, text=True)

    def traced():
        if p.poll() is not None:
            raise Skip("strace may not attach here: " + p.stderr.read().strip())
        tasks = os.listdir("/proc/%d/task" % w.pid)
        return all("TracerPid:\t%d\n" % p.pid in open("/proc/%d/task/%s/status" % (w.pid, t)).read() for t in tasks)
    try:
        until(traced, 10, "strace at all threads")
        time.sleep(0.5)  # each was stopped once before its calls are seen
        yield
    finally:
        p.send_signal(signal.SIGINT)
        p.wait(20)


# ---- the exposition ----

@test("metrics pass promtool check metrics")
def _(w):
    if not shutil.which("promtool"):
        raise Skip("promtool (package prometheus) is not installed")
    t = w.topic(partitions=2)
    w.ndjson(t, list(range(50)))
    w.push(t, b"1", headers={"Idempotency-Key": "m"})
    w.post(topic_path(t, "records"), b"{", JSON)
    w.all(t)
    with Sse(w, topic_path(t, "sse")), Ws(w, topic_path(t, "ws")):
        r = expect(w.get("/metrics"), 200)
    p = subprocess.run(["promtool", "check", "metrics"], input=r.body, capture_output=True)
    eq((p.returncode, p.stdout.decode() + p.stderr.decode()), (0, ""))
    check((r.headers.get("Content-Type") or "").startswith("text/plain"), r.headers.get("Content-Type"))


@test("names, kinds and buckets are as Prometheus wants them")
def _(w):
    w.push(w.topic(), b"1")
    text = expect(w.get("/metrics"), 200).text
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.M))
    for name, kind in kinds.items():
        check(name.startswith(("weir_", "process_")), "%s has no prefix" % name)
        check(kind != "counter" or name.endswith("_total"), "%s is a counter without _total" % name)
    figures = w.metrics()
    for name in (n for n, k in kinds.items() if k == "histogram"):
        buckets = [v for k, v in figures.items() if re.fullmatch(name + r'_bucket\{le="[^"]*"\}', k)]
        eq(buckets, sorted(buckets), "buckets of " + name)
        if buckets:
            eq(buckets[-1], figures[name + "_count"], "the last bucket of " + name)


@test("names that users choose cannot grow the metrics without bound")
def _(w):
    size = len(w.get("/metrics").body)
    with w.session() as s:
        for i in range(300):
            s.request("POST", "/v1/topics/grow.%d/records" % i, b"1", JSON)
            s.request("GET", "/v1/none/%d" % i)
    check(len(w.get("/metrics").body) < size + 20000, "grew by %d bytes" % (len(w.get("/metrics").body) - size))


@test("access tokens in a query stand in no log", own=True)
def _():
    with Weir() as w:
        t = w.topic()
        w.get(topic_path(t, "records?access_token=verysecret"))
        with Sse(w, topic_path(t, "sse?access_token=verysecret")):
            time.sleep(0.2)
        w.stop()
        check("verysecret" not in w.log(), "the token is in the log")


# ---- connections and requests ----

@case("connections are counted when they come and when they go", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        until(lambda: f.mark()['weir_connections{listener="http"}'] == 1, 5, "the scraping connection alone")
        held = [Ws(w, topic_path(t, "ws")) for _ in range(10)] + [Raw(w) for _ in range(5)]
        f.moved('weir_connections{listener="http"}', 15)
        f.moved('weir_connections_accepted_total{listener="http"}', 15)
        for c in held:
            getattr(c, "raw", c).reset()
        f.moved('weir_connections{listener="http"}', 0)
        f.moved('weir_connections_accepted_total{listener="http"}', 15)
        f.unmoved('weir_connections_refused_total{listener="http"}')


@case("a connection over the cap is counted as refused, and makes weir not ready", own=True)
def _():
    with Weir("http: { max_connections: 3 }\n") as w, Figures(w) as f, w.session() as s:
        expect(s.request("GET", "/readyz"), 200)
        third = w.session()  # of those that never asked anything one would make room
        expect(third.request("GET", "/healthz"), 200)
        f.reads('weir_connections{listener="http"}', 3)
        f.mark()
        with Raw(w) as over:
            expect(over.response(), 503, "too_many_connections")
        f.moved('weir_connections_refused_total{listener="http"}', 1)
        f.moved('weir_refusals_total{code="too_many_connections"}', 1)
        f.unmoved('weir_connections_accepted_total{listener="http"}')
        r = expect(s.request("GET", "/readyz"), 503).json()
        eq(r["components"]["listeners"]["state"], "down")
        check("connections" in r["components"]["listeners"]["reason"], repr(r))
        f.reads('weir_ready{component="listeners"}', 0)
        third.close()
        until(lambda: s.request("GET", "/readyz").status == 200, 5, "ready again")
        f.reads('weir_ready{component="listeners"}', 1)


@case("out of descriptors, who is closed is counted as refused, and weir is not ready", own=True)
def _():
    with Weir() as w, Figures(w) as f, w.session() as s:
        expect(s.request("GET", "/readyz"), 200)
        f.mark()
        used, limits = len(os.listdir("/proc/%d/fd" % w.pid)), resource.prlimit(w.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(w.pid, resource.RLIMIT_NOFILE, (used + 5, limits[1]))
        crowd = [Raw(w) for _ in range(30)]
        refused = f.rose('weir_connections_refused_total{listener="http"}', 1)
        until(lambda: s.request("GET", "/readyz").status == 503, 5, "not ready")
        check("accept_paused" in w.log(), "nothing is said of it")
        for c in crowd:
            c.close()
        resource.prlimit(w.pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: s.request("GET", "/readyz").status == 200, 5, "ready again")
        check(refused <= 30, "%g of 30 were refused" % refused)
        f.rose('weir_log_lines_total{level="warning"}', 1)


@case("bytes of sockets are counted one by one", own=True)
def _():
    with Weir() as w, Raw(w) as c:
        ask = ("GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n" % w.authority).encode()

        def scrape():
            c.send(ask)
            seen = b""
            while b"\r\n\r\n" not in c.buf:
                check(c.more(), "closed")
            head = c.buf.index(b"\r\n\r\n") + 4
            body = int(re.search(rb"(?i)content-length: (\d+)", c.buf[:head]).group(1))
            seen = c.exactly(head + body)
            figure = lambda name: int(re.search(name + r'\{listener="http"\} (\d+)', seen.decode()).group(1))
            return figure("weir_received_bytes_total"), figure("weir_sent_bytes_total"), len(seen)
        scrape()
        first = scrape()
        c.send(b"POST /v1/topics/b/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\n%s" % (
            w.authority.encode(), b"x" * 1000))
        sent = len("POST /v1/topics/b/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\n" % w.authority) + 1000
        while b"\r\n\r\n" not in c.buf:
            check(c.more(), "closed")
        head = c.buf.index(b"\r\n\r\n") + 4
        answer = len(c.exactly(head + int(re.search(rb"(?i)content-length: (\d+)", c.buf[:head]).group(1))))
        second = scrape()
        eq(second[0] - first[0], sent + len(ask), "bytes received")
        eq(second[1] - first[1], first[2] + answer, "bytes sent")
        Figures.note("weir_received_bytes_total")
        Figures.note("weir_sent_bytes_total")


@case("requests are counted by route, method and class of answer", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        f.mark()
        rows = (("POST", topic_path(t, "records"), b"1", "records_post", "post", "2xx"),
                ("PUT", topic_path(t, "records/k"), b"1", "records_put", "put", "2xx"),
                ("GET", topic_path(t, "records"), None, "records_get", "get", "2xx"),
                ("HEAD", topic_path(t, "records"), None, "records_get", "head", "2xx"),
                ("GET", topic_path(t, "partitions/0/records"), None, "partition_get", "get", "2xx"),
                ("GET", "/v1/topics", None, "topics", "get", "2xx"),
                ("DELETE", "/v1/topics/none", None, "topic", "delete", "4xx"),
                ("POST", topic_path(t, "trim"), b'{"before":"latest"}', "trim", "post", "2xx"),
                ("GET", "/v1/backup", None, "backup", "get", "2xx"),
                ("GET", "/healthz", None, "healthz", "get", "2xx"),
                ("GET", "/readyz", None, "readyz", "get", "2xx"),
                ("GET", "/", None, "page", "get", "2xx"),
                ("GET", "/nothing", None, "other", "get", "4xx"))
        for method, path, body, route, label, kind in rows:
            f.mark()
            w.request(method, path, body, JSON if body else None)
            f.moved('weir_http_requests_total{route="%s",method="%s"}' % (route, label), 1)
            f.moved('weir_http_answers_total{route="%s",class="%s"}' % (route, kind), 1)
            f.moved('weir_http_request_seconds_count{route="%s"}' % route, 1)
        f.mark()
        with Raw(w) as c:
            c.send("GET / HTTP/1.1\r\nHo st: x\r\n\r\n")
            expect(c.response(), 400, "malformed_request")
        f.moved('weir_http_requests_total{route="other",method="other"}', 1)
        f.mark()
        with Ws(w, topic_path(t, "ws")):
            f.moved('weir_http_answers_total{route="ws",class="1xx"}', 1)


@case("the waiting of a long poll is no latency, and one that nobody waits for is no answer", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        for end_of_wait in (lambda: None, lambda: w.push(t, b"1")):
            f.mark()
            began = time.monotonic()
            waiting = Later(w.poll, t, cursor="latest", wait="2s")
            time.sleep(1)
            end_of_wait()
            waiting.get()
            took = time.monotonic() - began
            f.moved('weir_http_request_seconds_count{route="records_get"}', 1)
            seconds = f.change('weir_http_request_seconds_sum{route="records_get"}')
            check(seconds < took / 2, "%.3f of %.3f seconds" % (seconds, took))
        f.mark()
        c = Raw(w)
        c.send("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (topic_path(t, "records?cursor=latest&wait=60s"), w.authority))
        f.moved('weir_readers{way="longpoll"}', 1)
        c.reset()
        f.moved('weir_readers{way="longpoll"}', 0)
        f.unmoved('weir_http_answers_total{route="records_get",class="2xx"}')


# ---- refusals ----

def refusals(w, t):
    """(code, what to do) for each way of being refused that one daemon shows by itself."""
    def raw(text):
        with Raw(w) as c:
            c.send(text.replace("HOST", w.authority))
            c.response()

    def ws(path, protocol=None, **frame):
        with Ws(w, topic_path(t, path), protocol=protocol) as c:
            c.send(**frame)
            c.message()
    d = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(d.compress(bytes(1 << 20)) for _ in range(64)) + d.flush()
    other = w.topic(partitions=1)
    w.push(other, b"1")
    foreign = w.poll(other)["cursor"]
    w.push(t, b"1", headers={"Idempotency-Key": "used"})
    return (
        ("invalid_json", lambda: post(w, t, b"{", "application/json")),
        ("invalid_batch", lambda: post(w, t, b"1\n{\n", NDJSON)),
        ("invalid_content_encoding", lambda: post(w, t, b"no gzip", headers={"Content-Encoding": "gzip"})),
        ("body_too_large", lambda: post(w, t, bomb, headers={"Content-Encoding": "gzip"})),
        ("body_too_large", lambda: raw("POST %s HTTP/1.1\r\nHost: HOST\r\nContent-Length: 16777217\r\n\r\n" %
                                       topic_path(t, "records"))),
        ("record_too_large", lambda: post(w, t, b"x" * ((1 << 20) + 1))),
        ("too_many_records", lambda: post(w, t, b"1\n" * 100001, NDJSON)),
        ("unsupported_media_type", lambda: post(w, t, b"x", headers={"Content-Encoding": "br"})),
        ("invalid_topic", lambda: post(w, "a%20b", b"x")),
        ("forbidden", lambda: post(w, "__weir", b"x")),
        ("partition_out_of_range", lambda: post(w, t, b"x", partition=7)),
        ("invalid_parameter", lambda: post(w, t, b"x", ack="perhaps")),
        ("unknown_parameter", lambda: post(w, t, b"x", colour="red")),
        ("invalid_idempotency_key", lambda: post(w, t, b"x", headers={"Idempotency-Key": ""})),
        ("idempotency_key_reused", lambda: post(w, t, b"another", headers={"Idempotency-Key": "used"})),
        ("invalid_cloudevent", lambda: post(w, t, b'{"specversion":"9"}', CE)),
        ("unknown_topic", lambda: w.get(topic_path("none", "records"))),
        ("invalid_cursor", lambda: w.get(topic_path(t, "records?cursor=!"))),
        ("cursor_mismatch", lambda: w.get(topic_path(t, "records?cursor=") + foreign)),
        ("cursor_ahead", lambda: w.get(topic_path(t, "partitions/0/records?offset=99999"))),
        ("not_found", lambda: w.get("/nothing")),
        ("method_not_allowed", lambda: w.request("PATCH", "/v1/topics")),
        ("length_required", lambda: raw("POST %s HTTP/1.1\r\nHost: HOST\r\n\r\n" % topic_path(t, "records"))),
        ("malformed_request", lambda: raw("GET / HTTP/1.1\r\nHo st: x\r\n\r\n")),
        ("header_too_large", lambda: raw("GET / HTTP/1.1\r\nHost: HOST\r\nA: %s\r\n\r\n" % ("a" * 40000))),
        ("target_too_long", lambda: raw("GET /%s HTTP/1.1\r\nHost: HOST\r\n\r\n" % ("a" * 9000))),
        ("http_version_not_supported", lambda: raw("GET / HTTP/3.0\r\nHost: HOST\r\n\r\n")),
        ("expectation_failed", lambda: raw("GET / HTTP/1.1\r\nHost: HOST\r\nExpect: wonders\r\n\r\n")),
        ("forbidden_host", lambda: raw("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")),
        ("forbidden_origin", lambda: w.get("/v1/topics", {"Origin": "https://evil.example"})),
        ("upgrade_required", lambda: w.get(topic_path(t, "ws"))),
        ("protocol_error", lambda: ws("ws?mode=publish", opcode=TEXT, payload=b"x", mask=False)),
        ("protocol_error", lambda: ws("ws?mode=publish", opcode=TEXT, payload=b"\xff")),
        ("record_too_large", lambda: ws("ws?mode=publish", opcode=TEXT, payload=b"", length=1 << 30)),
        ("forbidden", lambda: ws("ws", opcode=TEXT, payload=b"x")),
        ("invalid_json", lambda: ws("ws?mode=publish", "weir.v1", opcode=TEXT, payload=b"{")),
        ("invalid_record", lambda: ws("ws?mode=publish", "weir.v1", opcode=TEXT, payload=b"{}")),
    )


@case("each refusal is counted once, under the code that the client was told", own=True, timeout=120)
def _():
    with Weir(ONE_LOOP) as w, Figures(w) as f:
        t = w.topic(partitions=1)
        for code, provoke in refusals(w, t):
            before = f.mark()
            provoke()
            f.moved('weir_refusals_total{code="%s"}' % code, 1)
            now = f.now()
            eq({k: now[k] - before[k] for k in now if k.startswith("weir_refusals") and now[k] != before[k]},
               {'weir_refusals_total{code="%s"}' % code: 1}, "refusals after " + code)


@case("a request that comes too slowly is counted as request_timeout", own=True)
def _():
    with Weir("http: { header_timeout: 1s }\n") as w, Figures(w) as f, Raw(w) as c:
        c.send("GET / HTTP/1.1\r\nHost")
        expect(c.response(), 408, "request_timeout")
        f.moved('weir_refusals_total{code="request_timeout"}', 1)


# ---- the door in ----

@case("what comes in is counted by entry: requests, records, bytes, duplicates, rejected ones", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=2)
        f.mark()
        w.push(t, b"x" * 1000, type="text/plain")
        w.push(t, b"1\n22\n333\n", type=NDJSON)
        expect(post(w, t, gzip.compress(b"z" * 50), headers={"Content-Encoding": "gzip"}, key="ab"), 200)
        f.moved('weir_ingest_requests_total{entry="http"}', 3)
        f.moved('weir_ingest_records_total{entry="http"}', 5)
        f.moved('weir_ingest_bytes_total{entry="http"}', 1000 + 6 + 52)
        f.moved('weir_ingest_seconds_count{entry="http"}', 3)
        f.moved("weir_ingest_body_bytes_count", 3)
        f.moved("weir_ingest_body_bytes_sum", 1000 + 9 + len(gzip.compress(b"z" * 50)))
        f.unmoved('weir_ingest_duplicates_total{entry="http"}', 'weir_ingest_rejected_total{entry="http"}')
        f.mark()
        for _ in range(3):
            w.push(t, b"1", headers={"Idempotency-Key": "twice"})
        f.moved('weir_ingest_records_total{entry="http"}', 1)
        f.moved('weir_ingest_duplicates_total{entry="http"}', 2)
        f.mark()
        w.push(t, b"1\n{\n2\n[\n", type=NDJSON, on_error="skip")
        f.moved('weir_ingest_records_total{entry="http"}', 2)
        f.moved('weir_ingest_rejected_total{entry="http"}', 2)
        f.moved('weir_refusals_total{code="invalid_json"}', 2)
        f.mark()
        w.push(t, b"1\n{\n2\n[\n", type=NDJSON, on_error="dead")
        f.moved('weir_ingest_records_total{entry="http"}', 2)
        f.moved('weir_ingest_rejected_total{entry="http"}', 2)
        f.moved('weir_refusals_total{code="invalid_json"}', 2)
        f.moved('weir_dead_letters_total{code="invalid_json"}', 2)
        f.mark()
        expect(post(w, t, b"12", ack="none"), 202)
        f.moved('weir_ingest_records_total{entry="http"}', 1)
        f.moved('weir_ingest_bytes_total{entry="http"}', 2)
        f.mark()
        expect(post(w, t, b"{", "application/json"), 400)
        f.moved('weir_refusals_total{code="invalid_json"}', 1)
        f.unmoved(*(k for k in f.before if k.startswith("weir_ingest_")))


@case("dead letters are counted: set aside, open, redriven, failed again, dropped, over their limit", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1, dead_letters={"max_bytes": "5KiB"})
        path = "/v1/topics/%s/dead" % t
        f.mark()
        w.push(t, b"1\nx\ny\nz\n", type=NDJSON, on_error="dead")
        f.moved('weir_dead_letters_total{code="invalid_json"}', 3)
        f.moved("weir_dead_letters_open", 3)
        f.rose("weir_dead_letters_bytes", 500)
        f.rose("weir_dead_letters_oldest_seconds", 0.01)
        f.unmoved("weir_dead_letters_over_limit")
        expect(w.put(path + "/0?form=bytes", b"{}"), 200)
        f.moved("weir_dead_letters_open", 3)
        expect(w.post(path + "/redrive?all=true&dry_run=true", b""), 200)
        f.unmoved("weir_dead_letters_redriven_total", "weir_dead_letters_failed_again_total")
        expect(w.post(path + "/redrive?all=true", b""), 200)
        f.moved("weir_dead_letters_redriven_total", 1)
        f.moved("weir_dead_letters_failed_again_total", 2)
        expect(w.post(path + "/drop?ids=1,99", b""), 200)
        f.moved("weir_dead_letters_dropped_total", 1)
        f.moved("weir_dead_letters_open", 1)
        w.push(t, b"x" * 6000 + b"\n1\n", type=NDJSON, on_error="dead")
        f.moved("weir_dead_letters_over_limit", 1)


@case("what comes in over WebSocket is counted under entry ws", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        f.mark()
        with Ws(w, topic_path(t, "ws?mode=publish&ack=1")) as c:
            for n in (10, 200):
                c.send(TEXT, b"x" * n)
                c.json()
        with Ws(w, topic_path(t, "ws?mode=publish"), protocol="weir.v1") as c:
            for _ in range(2):
                c.send(TEXT, json.dumps({"publish": {"id": 1, "value": 12345, "idempotency_key": "k"}}))
                check("ack" in c.json(), "no ack")
        f.moved('weir_ingest_requests_total{entry="ws"}', 4)
        f.moved('weir_ingest_records_total{entry="ws"}', 3)
        f.moved('weir_ingest_duplicates_total{entry="ws"}', 1)
        f.moved('weir_ingest_seconds_count{entry="ws"}', 4)
        f.moved("weir_ingest_body_bytes_sum", 10 + 200 + 5 + 5)
        check(f.rose('weir_ingest_bytes_total{entry="ws"}', 215) < 315, "bytes of a key's header at most")
        f.unmoved(*(k for k in f.before if 'entry="http"' in k))


@case("while a sync hangs, what waits for it is told; then one group takes it all", own=True, timeout=90)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        w.push(t, b"0")
        f.mark()
        with slowed(w, "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=3000000"):
            posts = [Later(post, w, t, b"first", headers={"Idempotency-Key": "k"})]
            f.moved('weir_ingest_in_flight{entry="http"}', 1)
            time.sleep(0.3)  # until the committer has it, and the next group gathers
            posts += [Later(post, w, t, b"more") for _ in range(5)]
            posts += [Later(post, w, t, b"first", headers={"Idempotency-Key": "k"})]
            with Ws(w, topic_path(t, "ws?mode=publish&ack=1")) as c:
                c.send(TEXT, b"ws")
                f.moved('weir_ingest_in_flight{entry="http"}', 7)
                f.moved('weir_ingest_in_flight{entry="ws"}', 1)
                f.moved("weir_ingest_waiting", 1)
                f.rose('weir_log_queue_bytes{queue="entered"}', 7)
                for p in posts:
                    expect(p.get(), 200)
                c.json()
            f.moved('weir_ingest_in_flight{entry="http"}', 0)
            f.moved('weir_ingest_in_flight{entry="ws"}', 0)
            f.moved("weir_ingest_waiting", 0)
            f.moved('weir_log_queue_bytes{queue="entered"}', 0)
        f.moved("weir_log_commits_total", 7)
        f.moved("weir_log_groups_total", 2)
        f.moved("weir_log_group_commits_count", 2)
        f.moved("weir_log_group_commits_sum", 7)
        f.moved('weir_log_group_commits_bucket{le="1"}', 1)
        f.moved('weir_log_group_commits_bucket{le="8"}', 2)
        f.moved("weir_log_sync_seconds_count", 2)
        f.moved("weir_log_group_seconds_count", 2)
        sync, group = f.rose("weir_log_sync_seconds_sum", 6), f.rose("weir_log_group_seconds_sum", 6)
        check(group >= sync, "a group took %g s on disk, its sync %g s" % (group, sync))
        check(f.change('weir_ingest_seconds_sum{entry="http"}') >= 3, "the sync is in the time of a request")


@case("a slow write of a group is in the time of the group, not in that of the sync", own=True, timeout=60)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        w.push(t, b"0")
        f.mark()
        with slowed(w, "-e", "trace=pwritev,pwrite64", "-e", "inject=pwritev,pwrite64:delay_enter=1000000"):
            w.push(t, b"1")
        sync, group = f.change("weir_log_sync_seconds_sum"), f.rose("weir_log_group_seconds_sum", 1)
        check(sync < group - 0.9, "sync %g s, group %g s" % (sync, group))


@case("bodies on their way are counted against the memory budget", own=True)
def _():
    with Weir("memory: 32MiB\n") as w, Figures(w) as f:
        f.reads("weir_memory_limit_bytes", 32 << 20)
        slack = 512 << 10  # what loops have taken in steps, and a connection or two
        before = f.now()["weir_memory_used_bytes"]
        check(before < slack, "%g bytes of a weir that does nothing" % before)
        with Raw(w) as c:
            c.send("POST /v1/topics/m/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000000\r\n\r\n" % w.authority)
            c.send(b"x" * 900000)
            until(lambda: f.now()["weir_memory_used_bytes"] > before + 900000, 10, "the body to be counted")
            check(f.now()["weir_memory_used_bytes"] < 1000000 + slack, "more is counted than there is")
            c.send(b"x" * 100000)
            expect(c.response(), 200)
        until(lambda: f.now()["weir_memory_used_bytes"] < slack, 10, "the body to be given back")
        f.note("weir_memory_used_bytes")
        w.write_config("memory: 64MiB\nthreads: 3\n")
        w.signal(signal.SIGHUP)
        f.reads("weir_memory_limit_bytes", 64 << 20)
        w.write_config("memory: 64MiB\n")
        w.signal(signal.SIGHUP)
        until(lambda: w.log().count("event=reloaded") == 2, 10, "the second reload")
        eq(w.log().count("event=setting_needs_restart"), 1, "what was changed back waits for a restart")


# ---- the door out ----

def record_bytes(text):
    return len(text[text.index("[") + 1:text.rindex("]")].encode())


@case("records that polls are given are counted, with their bytes", own=True)
def _():
    with Weir(ONE_LOOP) as w, Figures(w) as f:
        t = w.topic(partitions=1)
        w.ndjson(t, list(range(20)))
        f.mark()
        text = w.poll_text(t, limit=12)
        f.moved('weir_delivered_records_total{way="poll"}', 12)
        f.moved('weir_delivered_bytes_total{way="poll"}', record_bytes(text))
        f.moved('weir_encoded_records_total{way="poll"}', 12)
        f.mark()
        w.partition(t, 0, offset=15)
        f.moved('weir_delivered_records_total{way="poll"}', 5)
        f.moved('weir_encoded_records_total{way="poll"}', 20)  # the batch, for whoever comes
        f.mark()
        for _ in range(3):
            eq(len(w.poll(t)["records"]), 20)
        f.moved('weir_delivered_records_total{way="poll"}', 60)
        f.moved('weir_encoded_records_total{way="poll"}', 0)
        f.moved('weir_readers{way="poll"}', 0)
        f.unmoved(*(k for k in f.before if k.startswith("weir_delivery_seconds")))


@case("records that a long poll waits for are counted, each with its delay", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        f.mark()
        waiting = Later(w.poll_text, t, wait="30s")
        f.moved('weir_readers{way="longpoll"}', 1)
        began = time.monotonic()
        w.ndjson(t, list(range(7)))
        text = waiting.get()
        took = time.monotonic() - began
        f.moved('weir_readers{way="longpoll"}', 0)
        f.moved('weir_delivered_records_total{way="longpoll"}', 7)
        f.moved('weir_delivered_bytes_total{way="longpoll"}', record_bytes(text))
        f.moved('weir_encoded_records_total{way="longpoll"}', 7)
        f.moved('weir_delivery_seconds_count{way="longpoll"}', 7)
        seconds = f.change('weir_delivery_seconds_sum{way="longpoll"}')
        check(0 < seconds < 7 * took, "%g seconds for 7 records in %g s" % (seconds, took))


def event_bytes(sse, count):
    """Bytes of so many events, from their first line on."""
    while sse.bytes.count(b"\n\n") < count + 1:  # the field `retry` comes first
        check(sse.fill(), "the stream ended")
    at = sse.bytes.index(b"\n\n") + 2
    return len(sse.bytes) - at


@case("records that streams are given are counted once each, and encoded once for all", own=True)
def _():
    with Weir(ONE_LOOP) as w, Figures(w) as f:
        t = w.topic(partitions=1)
        f.mark()
        with Sse(w, topic_path(t, "sse")) as a, Sse(w, topic_path(t, "sse")) as b, \
                Ws(w, topic_path(t, "ws?format=raw")) as c:
            f.moved('weir_readers{way="sse"}', 2)
            f.moved('weir_readers{way="ws"}', 1)
            # With a timestamp of the client's long ago, and one to come: no clock but weir's own counts.
            w.batch(t, [{"value": 1, "timestamp": 1000}, {"value": 22, "timestamp": int(time.time() * 1000) + 86400000}])
            w.ndjson(t, list(range(10, 15)))
            size = event_bytes(a, 7) + event_bytes(b, 7)
            eq([c.message()[1] for _ in range(7)], [b"1", b"22", b"10", b"11", b"12", b"13", b"14"])
            f.moved('weir_delivered_records_total{way="sse"}', 14)
            f.moved('weir_delivered_bytes_total{way="sse"}', size)
            f.moved('weir_encoded_records_total{way="sse"}', 7)
            f.moved('weir_delivered_records_total{way="ws"}', 7)
            f.moved('weir_delivered_bytes_total{way="ws"}', 7 * 2 + 13)  # a head of two bytes for each frame
            f.moved('weir_delivery_seconds_count{way="sse"}', 14)
            f.moved('weir_delivery_seconds_count{way="ws"}', 7)
            check(0 < f.change('weir_delivery_seconds_sum{way="ws"}') < 60, "a client's timestamp was believed")
        f.moved('weir_readers{way="sse"}', 0)
        f.moved('weir_readers{way="ws"}', 0)
        f.mark()
        with Sse(w, topic_path(t, "sse?cursor=earliest")) as a:
            a.take(7)
            f.moved('weir_delivered_records_total{way="sse"}', 7)
            f.unmoved('weir_delivery_seconds_count{way="sse"}')  # it was behind, nothing was waited for


@case("lag: a reader that stands still falls behind by what it was not given, and catches up", own=True, timeout=120)
def _():
    for way, open_stream in (("sse", lambda w, t: Sse(w, topic_path(t, "sse"))),
                             ("ws", lambda w, t: Ws(w, topic_path(t, "ws")))):
        with Weir("stream: { buffer_bytes: 64KiB }\n") as w, Figures(w) as f:
            t = w.topic(partitions=1)
            with open_stream(w, t) as still, open_stream(w, t) as quick:
                still.raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                f.moved('weir_readers{way="%s"}' % way, 2)
                f.mark()
                eat = Later(lambda: [quick.next() if way == "sse" else quick.message() for _ in range(200)])
                for _ in range(20):
                    w.push(t, b"".join(b'"%s"\n' % (b"x" * 50000) for _ in range(10)), type=NDJSON)
                eat.get()
                f.moved('weir_readers_blocked{way="%s"}' % way, 1)
                lag = f.rose('weir_reader_lag_records{way="%s"}' % way)
                f.moved('weir_reader_lag_max_records{way="%s"}' % way, lag)
                f.moved('weir_delivered_records_total{way="%s"}' % way, 400 - lag)
                for _ in range(200):
                    still.next() if way == "sse" else still.message()
                f.moved('weir_reader_lag_records{way="%s"}' % way, 0)
                f.moved('weir_reader_lag_max_records{way="%s"}' % way, 0)
                f.moved('weir_readers_blocked{way="%s"}' % way, 0)
                f.moved('weir_delivered_records_total{way="%s"}' % way, 400)
                waited = f.rose('weir_delivery_seconds_count{way="%s"}' % way)
                check(waited < 400, "who is behind waits for nothing, but %g records were waited for" % waited)


@case("gaps that readers are told of are counted by way", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=1)
        start = w.poll(t)["cursor"]
        w.ndjson(t, list(range(10)))
        expect(w.post(topic_path(t, "trim"), b'{"before":"latest"}', JSON), 200)
        f.mark()
        expect(w.get(topic_path(t, "records?cursor=") + start), 410, "cursor_gone")
        f.moved('weir_reader_gaps_total{way="poll"}', 1)
        f.moved('weir_refusals_total{code="cursor_gone"}', 1)
        with Sse(w, topic_path(t, "sse?cursor=") + start) as s:
            eq(s.next().event, "gap")
        f.moved('weir_reader_gaps_total{way="sse"}', 1)
        with Ws(w, topic_path(t, "ws?cursor=") + start) as c:
            check("gap" in c.json(), "no gap")
        f.moved('weir_reader_gaps_total{way="ws"}', 1)


# ---- the log ----

@case("what the log writes is counted: commits, groups, records, bytes, and where reads were found", own=True)
def _():
    with Weir() as w, Figures(w) as f:
        t = w.topic(partitions=3)
        w.push(t, b"0")
        f.mark()
        w.topic(partitions=7)
        f.moved("weir_topics", 1)
        f.moved("weir_log_partitions", 7)
        f.mark()
        expect(w.request("PUT", "/v1/groups/metered/offsets", json.dumps({"cursor": "latest", "topics": [t]}),
                         {"Content-Type": "application/json"}), 200)
        f.moved("weir_group_offsets", 3)
        f.rose("weir_group_offsets_bytes", 100)
        f.mark()
        for _ in range(5):
            w.ndjson(t, list(range(4)))
        f.moved("weir_log_commits_total", 5)
        f.moved("weir_log_groups_total", 5)
        f.moved("weir_log_records_total", 20)
        f.moved("weir_log_journal_bytes_total", 5 * 4096)  # a block each
        f.rose("weir_log_entered_bytes_total", 20)
        f.rose("weir_log_tail_bytes", 20)
        f.mark()
        big = [{"value": "x" * 400000, "partition": 0}]
        w.batch(t, big)
        check(f.rose('weir_log_journal_bytes_total', 400000) % 4096 == 0, "journal bytes without padding")
        f.reads('weir_log_queue_bytes{queue="pinned"}', 0)  # the mover comes behind
        until(lambda: f.value("weir_log_open_files") >= 1, 10, "an open segment")
        f.mark()
        w.poll(t, partitions="0", limit=1)
        f.rose('weir_log_reads_total{origin="tail"}', 1)
        f.unmoved('weir_log_reads_total{origin="disk"}')
        space = os.statvfs(w.data)
        free = f.value("weir_log_disk_free_bytes")
        check(abs(free - space.f_bavail * space.f_frsize) < 4 << 30, "free space is %g" % free)


@case("a restart tells what it took from the journal, and what it cut", own=True)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        for i in range(6):
            w.push(t, b"%d" % i)
        w.restart(hard=True)
        with Figures(w) as f:
            check(f.value("weir_log_recovered_groups") >= 6, "groups recovered")
            eq(f.value("weir_log_truncated_bytes"), 0)
            eq(len(w.all(t)), 6)
        w.restart()
        with Figures(w) as f:
            eq(f.value("weir_log_recovered_groups"), 0)
            f.mark()
            eq(len(w.all(t)), 6)
            f.rose('weir_log_reads_total{origin="disk"}', 1)
        w.push(t, b"last", type="text/plain")
        w.kill()
        tear(os.path.join(w.data, "journal"))
        w.start()
        with Figures(w) as f:
            check(f.value("weir_log_truncated_bytes") > 0, "nothing was cut")
            eq(len(w.all(t)), 6)


@case("damage that readers meet is counted once, with the offsets that it costs, and other partitions are not touched", own=True)
def _():
    with Weir() as w:
        t = w.topic(partitions=2)
        for n in range(40):
            w.push(t, json.dumps({"n": n, "mark": "needle-%03d" % n}), partition=n % 2)
        w.stop()
        hit = 0
        for path in glob.glob(os.path.join(w.data, "topics", "*", "*", "*.log")):
            with open(path, "r+b") as h:
                at = h.read().find(b"needle-010")
                if at >= 0:
                    h.seek(at)
                    h.write(b"NEEDLE")
                    hit += 1
        eq(hit, 1, "segments that hold the record")
        w.start()
        with Figures(w) as f:
            f.mark()
            for _ in range(2):
                values = [r["value"]["n"] for r in w.all(t)]
                eq(sorted(values), [n for n in range(40) if n != 10])
            f.moved("weir_log_damaged_ranges_total", 1)
            f.moved("weir_log_damaged_records_total", 1)
            check("segment_damaged" in w.log(), "the log of messages does not name it")
        w.stop()
        code, out, err = weir("verify", "--repair", w.data)
        eq(code, 0, out + err)
        w.start()
        with Figures(w) as f:
            f.mark()
            eq(len(w.all(t)), 39)
            f.unmoved("weir_log_damaged_ranges_total")  # told and set aside: no damage any more


def tear(journal):
    """Flips a bit in the last group: what a power loss leaves of a write."""
    found = []
    for name in os.listdir(journal):
        path = os.path.join(journal, name)
        with open(path, "rb") as f:
            data = f.read()
        at = data.find(b'last')
        while at >= 0:
            found.append((path, at))
            at = data.find(b'last', at + 1)
    eq(len(found), 1, "places of the last record in the journal")
    with open(found[0][0], "r+b") as f:
        f.seek(found[0][1])
        f.write(b"lost")


@case("storage checkpoints and the runs of idempotency keys are counted", own=True, timeout=120)
def _():
    with Weir("log: { journal_file_bytes: 1MiB, journal_bytes: 4MiB, group_bytes: 1MiB }\n") as w, Figures(w) as f:
        t = w.topic(partitions=1)
        f.mark()
        memory = f.value("weir_seen_memory_bytes")
        w.push(t, b"1", headers={"Idempotency-Key": "k"})
        f.moved('weir_seen_keys{store="table"}', 1)
        w.push(t, b"1", headers={"Idempotency-Key": "k"})
        f.moved('weir_seen_keys{store="table"}', 1)
        w.batch(t, [{"value": 1, "idempotency_key": "a%d" % i} for i in range(20000)])
        f.rose("weir_seen_memory_bytes", 1)
        check(memory > 0, "no memory at first")
        for _ in range(5):
            w.push(t, b"x" * 900000, type="text/plain")
        f.rose("weir_log_checkpoints_total", 1)
        check(f.value("weir_log_checkpoint_last_seconds") > 0, "a checkpoint took no time")
        f.rose('weir_seen_keys{store="runs"}', 20001)
        f.rose("weir_seen_runs", 1)
        f.rose("weir_seen_buckets", 1)
        f.rose("weir_seen_disk_bytes", 20001)
        f.mark()
        w.batch(t, [{"value": 1, "idempotency_key": "b%d" % i} for i in range(50000)])
        check(f.rose("weir_seen_filter_false_hits_total", 1) < 5000, "a filter that lets one in ten through")


@case("compaction is counted: passes, what went and why, what is dirty, what was read and written", own=True, timeout=60)
def _():
    config = "log: { segment_bytes: 1MiB, journal_bytes: 16MiB }\n"
    with Weir(config) as w, Figures(w) as f:
        topic = {"cleanup": "compact", "compaction": {"dirty_percent": 1, "max_lag": "1s", "tombstone_retention": "0s"}}
        w.put("/v1/topics/c", json.dumps(topic), JSON)
        f.mark()
        w.batch("c", [{"key": "k", "value": "x" * 100}] * 20 + [{"key": "gone", "value": None, "tombstone": True}])
        f.moved('weir_log_compacted_records_total{removal="replaced"}', 19)
        f.moved('weir_log_compacted_records_total{removal="tombstone"}', 1)
        f.rose("weir_log_compactions_total", 2)
        f.rose("weir_log_rewritten_segments_total", 2)
        f.rose("weir_log_rewrite_read_bytes_total", 20 * 100)
        check(f.rose("weir_log_rewrite_written_bytes_total", 100) < f.change("weir_log_rewrite_read_bytes_total"), "it grew")
        topic["compaction"] = {"dirty_percent": 100, "max_lag": "forever"}
        w.put("/v1/topics/c", json.dumps(topic), JSON)
        for _ in range(30):
            w.batch("c", [{"key": "k", "value": "x" * 100000}])
        f.rose("weir_log_dirty_bytes", 1 << 20)


# ---- weir itself ----

@case("a reload that fails and one that does not are told, and so are lines that were held back", own=True)
def _():
    good = "log_level: debug\n"
    with Weir(good) as w, Figures(w) as f:
        began = f.value("weir_config_last_reload_success_timestamp_seconds")
        eq(f.value("weir_config_last_reload_successful"), 1)
        w.write_config("nonsense: 1\n")
        w.signal(signal.SIGHUP)
        f.reads("weir_config_last_reload_successful", 0)
        f.rose('weir_log_lines_total{level="error"}', 1)
        eq(f.value("weir_config_last_reload_success_timestamp_seconds"), began)
        w.write_config(good)
        w.signal(signal.SIGHUP)
        f.reads("weir_config_last_reload_successful", 1)
        f.rose('weir_log_lines_total{level="info"}', 1)
        check(f.value("weir_config_last_reload_success_timestamp_seconds") > began, "the time stands still")

        def again():
            w.signal(signal.SIGHUP)
            return f.change("weir_log_lines_held_back_total") > 0
        until(again, 10, "lines held back")
        f.note("weir_log_lines_held_back_total")


@case("the process is told as /proc tells it")
def _(w):
    with Figures(w) as f:
        for _ in range(100):
            w.push("cpu", b"1")
        f.rose("process_cpu_seconds_total", 1e-6)
        near = lambda name, value, share: check(abs(f.value(name) - value) <= value * share, "%s is %g, /proc has %g" % (
            name, f.value(name), value))
        status = open("/proc/%d/status" % w.pid).read()
        kib = lambda field: int(re.search(field + r":\s+(\d+)", status).group(1)) * 1024
        near("process_resident_memory_bytes", kib("VmRSS"), 0.2)
        near("process_virtual_memory_bytes", kib("VmSize"), 0.2)
        near("process_open_fds", len(os.listdir("/proc/%d/fd" % w.pid)), 0.3)
        eq(f.value("process_threads"), len(os.listdir("/proc/%d/task" % w.pid)))
        eq(f.value("process_max_fds"), resource.prlimit(w.pid, resource.RLIMIT_NOFILE)[0])
        start = f.value("process_start_time_seconds")
        check(abs(start - os.stat("/proc/%d" % w.pid).st_ctime) < 60, "started at %g" % start)
        version = weir("version")[1].split()[1]
        f.reads('weir_build_info{version="%s"}' % version, 1)


# ---- health ----

def ready(r):
    """{component: (state, reason)} of what is not well."""
    return {k: (v["state"], v.get("reason")) for k, v in r.json()["components"].items() if v["state"] != "ok"}


@case("healthz and readyz are 200 while weir serves")
def _(w):
    eq(expect(w.get("/healthz"), 200).json(), {"status": "ok"})
    for path in ("/readyz", "/readyz?for=read"):
        r = expect(w.get(path), 200)
        eq((r.json()["status"], ready(r)), ("ready", {}))
        eq(sorted(r.json()["components"]), ["dead_letters", "drain", "ingest", "listeners", "start"])
    expect(w.get("/readyz?for=write"), 400, "invalid_parameter")
    with Figures(w) as f:
        for component in ("start", "ingest", "listeners", "drain"):
            eq(f.value('weir_ready{component="%s"}' % component), 1, component)


@case("while weir drains readyz is 503 and says so, healthz is 200", own=True)
def _():
    for path, status in (("/readyz", 503), ("/readyz?for=read", 503), ("/healthz", 200)):
        with Weir() as w, Raw(w) as c:
            c.send("GET %s HTTP/1.1\r\n" % path)  # one that is on its way is still taken
            until(lambda: w.metrics()['weir_connections{listener="http"}'] >= 1, 5, "the connection")
            time.sleep(0.1)
            w.signal(signal.SIGTERM)
            until(lambda: "stopping" in w.log(), 5, "the drain")
            time.sleep(0.1)
            c.send("Host: %s\r\n\r\n" % w.authority)
            r = expect(c.response(), status)
            if status == 503:
                eq((r.json()["status"], ready(r)), ("down", {"drain": ("down", "weir is stopping")}))
            c.close()
            eq(w.wait(), 0, "exit status")


@case("on a full disk ingest is not ready, reading is; with room again all is", own=True, timeout=90)
def _():
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        raise Skip("no mount namespace of one's own here")
    mount = 'mkdir -p "$D" && mount -t tmpfs -o size=192m none "$D" && exec "$@"'
    wrap = ["unshare", "-rm", "--fork", "--kill-child", "sh", "-c", mount, "sh"]
    w = Weir("log: { journal_file_bytes: 1MiB, journal_bytes: 4MiB, group_bytes: 1MiB }\n", wrap=wrap, start=False)
    w.env = {"D": w.data}
    with w:
        w.start()
        t = w.topic(partitions=1)
        w.push(t, b"1")
        ballast = "/proc/%d/root%s/ballast" % (w.pid, w.data)
        with Figures(w) as f:
            try:
                with open(ballast, "wb", buffering=0) as out:
                    while out.write(bytes(1 << 20)):
                        pass
            except OSError:
                pass
            until(lambda: post(w, t, b"x").status == 507, 20, "507")
            f.rose('weir_refusals_total{code="disk_full"}', 1)
            r = expect(w.get("/readyz"), 503)
            eq((r.json()["status"], ready(r)), ("read_only", {"ingest": ("read_only", "The disk has no room for more records")}))
            expect(w.get("/readyz?for=read"), 200)
            expect(w.get("/healthz"), 200)
            f.reads('weir_ready{component="ingest"}', 0)
            check(f.value("weir_log_disk_free_bytes") < 64 << 20, "free bytes of another file system")
            eq(w.poll(t, limit=1)["records"][0]["value"], 1)
            os.unlink(ballast)
            until(lambda: w.get("/readyz").status == 200, 20, "ready again")
            expect(post(w, t, b"x"), 200)
            f.reads('weir_ready{component="ingest"}', 1)


@case("while segments cannot keep up ingest is overloaded and not ready, reading is", own=True, timeout=90)
def _():
    with Weir("log: { pinned_bytes: 1MiB, group_bytes: 1MiB }\n") as w, Figures(w) as f:
        t = w.topic(partitions=1)
        w.push(t, b"1")
        f.reads('weir_log_queue_bytes{queue="pinned"}', 0)
        segments = [os.path.join(d, n) for d, _, names in os.walk(os.path.join(w.data, "topics"))
                    for n in names if n.endswith(".log")]
        check(segments, "no segment")
        f.mark()
        with slowed(w, *(x for s in segments for x in ("-P", s)), "-e", "trace=pwritev,pwrite64",
                    "-e", "inject=pwritev,pwrite64:delay_enter=4000000"):
            for _ in range(20):
                if post(w, t, b"x" * 900000).status == 503:
                    break
            f.rose('weir_refusals_total{code="overloaded"}', 1)
            f.rose('weir_log_queue_bytes{queue="pinned"}', 1 << 20)
            r = expect(w.get("/readyz"), 503)
            eq((r.json()["status"], ready(r)), ("read_only", {"ingest": ("read_only", "weir is at a memory or queue bound")}))
            expect(w.get("/readyz?for=read"), 200)
        until(lambda: w.get("/readyz").status == 200, 30, "ready again")


@case("connections without a request that make room at the cap are counted", own=True)
def _():
    with Weir("threads: 1\nhttp: { max_connections: 6 }\n") as w, Figures(w) as f:
        mute = [Raw(w) for _ in range(5)]
        time.sleep(1.2)
        with w.session() as s:
            expect(s.request("GET", "/healthz"), 200)
        f.moved('weir_connections_spared_total{listener="http"}', 5)
        for c in mute:
            c.close()


def own_address():
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError as e:
            raise Skip("this machine has no address but loopback: %s" % e)
        return s.getsockname()[0]


@case("connections over the share of their address are counted", own=True)
def _():
    host = own_address()
    w = Weir("http: { max_connections_per_address: 4, allowed_hosts: [%s] }\n" % host, start=False)
    w.host = host
    with w:
        w.start()
        with Figures(w) as f:
            held = [w.session() for _ in range(3)]
            for s in held:
                expect(s.request("GET", "/healthz"), 200)
            with Raw(w) as over:
                expect(over.response(), 503, "too_many_connections")
            f.moved('weir_connections_refused_by_address_total{listener="http"}', 1)
            f.moved('weir_connections_refused_total{listener="http"}', 1)
            for s in held:
                s.close()


@case("a clock that jumped ahead is told as long as it is doubted", own=True)
def _():
    if SLOW > 1:
        raise Skip("nothing can be loaded before a sanitizer")
    sys.path.append(os.path.join(ROOT, "tests", "fault"))
    from faults import Shim
    with Shim() as shim, Weir(env=shim.env) as w, Figures(w) as f:
        t = w.topic()
        w.push(t, b"1")
        f.reads("weir_log_clock_ahead_seconds", 0)
        shim.shift(86400)
        f.rose("weir_log_clock_ahead_seconds", 86390)
        shim.shift(0)
        f.reads("weir_log_clock_ahead_seconds", 0)


@case("requests and connections of the Kafka port are counted")
def _(w):
    with Figures(w) as f:
        with Kafka(w) as k:
            for _ in range(3):
                k.call("ApiVersions", 0)
            f.moved('weir_kafka_requests_total{api="ApiVersions"}', 3)
            f.moved('weir_kafka_request_seconds_count{api="ApiVersions"}', 3)
            f.moved('weir_connections_accepted_total{listener="kafka"}', 1)
            f.reads('weir_connections{listener="kafka"}', 1)
        until(lambda: 'weir_connections{listener="kafka"} 0' in w.get("/metrics").text, 5, "the connection to be gone")


@case("Kafka's producers, their open and their aborted transactions are counted")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with Kafka(w) as k, Figures(w) as f:
        who = {"transactional_id": "metrics"}
        got = k.call("InitProducerId", 4, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1, **who)
        eq(got["error_code"], 0)
        who.update(producer_id=got["producer_id"], producer_epoch=got["producer_epoch"])
        k.call("AddPartitionsToTxn", 3, v3_and_below_topics=[{"name": t, "partitions": [0]}],
               **{"v3_and_below_" + name: value for name, value in who.items()})
        records = batch([b"2"], pid=who["producer_id"], epoch=who["producer_epoch"], sequence=0, transactional=True)
        eq(k.produce(t, records, transactional_id="metrics")["error_code"], 0)
        f.moved("weir_log_producers", 1)
        f.moved("weir_log_open_transactions", 1)
        f.moved("weir_transactional_ids", 1)
        f.moved("weir_transactions_open", 1)
        f.moved("weir_transactions_begun_total", 1)
        eq(k.call("EndTxn", 3, committed=False, **who)["error_code"], 0)
        f.moved("weir_log_aborted_transactions", 1)
        f.moved("weir_log_open_transactions", 0)
        f.moved("weir_transactions_open", 0)
        f.moved("weir_transactions_aborted_total", 1)
        for committed in (True, None):
            k.call("AddPartitionsToTxn", 3, v3_and_below_topics=[{"name": t, "partitions": [0]}],
                   **{"v3_and_below_" + name: value for name, value in who.items()})
            if committed:
                eq(k.call("EndTxn", 3, committed=True, **who)["error_code"], 0)
                f.moved("weir_transactions_committed_total", 1)
                f.moved("weir_transactions_timed_out_total", 0)
                got = k.call("InitProducerId", 4, transactional_id="metrics", transaction_timeout_ms=300,
                             producer_id=who["producer_id"], producer_epoch=who["producer_epoch"])
                eq(got["error_code"], 0)
                who["producer_epoch"] = got["producer_epoch"]
        f.moved("weir_transactions_timed_out_total", 1)
        f.moved("weir_transactions_aborted_total", 2)
        f.moved("weir_transactions_begun_total", 3)


@case("groups, their members and rebalances are counted")
def _(w):
    state = lambda name: 'weir_groups{state="%s"}' % name
    with Kafka(w) as k, Figures(w) as f:
        ask = {"group_id": "metrics", "session_timeout_ms": 60000, "rebalance_timeout_ms": 60000, "member_id": "",
               "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": b""}]}
        got = k.call("JoinGroup", 3, **ask)
        eq(got["error_code"], 0)
        f.moved("weir_group_members", 1)
        f.moved("weir_group_rebalances_total", 1)
        f.moved(state("CompletingRebalance"), 1)
        who = {"group_id": "metrics", "member_id": got["member_id"]}
        eq(k.call("SyncGroup", 2, generation_id=got["generation_id"],
                  assignments=[{"member_id": got["member_id"], "assignment": b"all"}], **who)["error_code"], 0)
        f.moved(state("Stable"), 1)
        f.moved(state("CompletingRebalance"), 0)
        with Kafka(w) as other:
            other.send("JoinGroup", 3, **ask)
            f.moved(state("PreparingRebalance"), 1)  # until the first one comes, or goes
            f.moved("weir_group_rebalances_total", 2)
            eq(k.call("LeaveGroup", 1, group_id="metrics", member_id=who["member_id"])["error_code"], 0)
            got = other.answer()
            eq((got["error_code"], got["leader"] == got["member_id"]), (0, True))
            eq(other.call("LeaveGroup", 1, group_id="metrics", member_id=got["member_id"])["error_code"], 0)
        f.moved(state("Empty"), 1)
        f.moved("weir_group_members", 0)
        got = k.call("JoinGroup", 3, **dict(ask, session_timeout_ms=6000))
        eq(got["error_code"], 0)
        eq(k.call("SyncGroup", 2, group_id="metrics", member_id=got["member_id"], generation_id=got["generation_id"],
                  assignments=[])["error_code"], 0)
    f.rose("weir_group_members_expired_total", 1)  # its session ends without a word


# ---- sources ----

@test("metrics of a source: what it brought, what failed, its state; each source by name, past 1000 one for the rest", own=True,
      timeout=90)
def _():
    tmp = "/tmp/weir-metrics-%d" % os.getpid()
    os.makedirs(tmp + "/in")
    with open(tmp + "/in/a.ndjson", "w") as f:
        f.write('1\n2\n{"broken"\n3\n')
    item = '  - { name: "%s", type: files, topic: t, every: %s, paths: ["%s"], quiet: 0s }\n'
    some = item % ("good", "200ms", tmp + "/in/*.ndjson")
    with sqlite3.connect(tmp + "/a.db") as db:
        db.execute("CREATE TABLE r (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO r VALUES (?)", ((i,) for i in range(10)))
    some += "  - { name: again, type: sql, topic: u, every: 100ms, url: 'sqlite:%s/a.db', mode: incremental, table: r, cursor: [id] }\n" % tmp
    some += "  - { name: lost, type: sql, topic: v, every: 100ms, url: 'sqlite:%s/a.db', mode: incremental, table: no, cursor: [id] }\n" % tmp
    with Weir(config="sources:\n" + some) as w, Figures(w) as f:
        until(lambda: f.now().get('weir_source_records_total{source="good"}') == 3, 10, "the rows of the file")
        for name, value in (("records_total", 3), ("dead_total", 1), ("interval_seconds", 0.2)):
            f.reads('weir_source_%s{source="good"}' % name, value)
        f.reads('weir_source_records_total{source="again"}', 10)
        f.reads('weir_source_state{source="good",state="running"}', 1)
        f.reads('weir_source_state{source="lost",state="failing"}', 1)
        check(f.value('weir_source_errors_total{source="lost"}') >= 1, "errors of a table that is not there")
        check(f.value('weir_source_pulls_total{source="good"}') >= 1, "pulls")
        check(abs(f.value('weir_source_last_success_timestamp_seconds{source="good"}') - time.time()) < 60, "its last success")
        before = f.now().get('weir_source_requests_total{source="again"}', 0)
        until(lambda: f.value('weir_source_requests_total{source="again"}') > before, 10, "polls")
        f.value('weir_source_read_bytes_total{source="good"}')
        expect(w.post("/v1/sources/again/runs", "{}"), 201)
        until(lambda: w.get("/v1/sources/again/runs/1").json()["state"] == "done", 10, "a run that brings what is there")
        check('weir_source_records_total{source="again/1"}' not in f.now(), "a run has no series")
        f.value('weir_source_duplicates_total{source="again"}')
        with open(w.config_path, "w") as c:
            c.write("data: %s\nsources:\n%s" % (w.data, some + "".join(item % ("many%04d" % i, "1h", "/nowhere/*.x") for i in range(1200))))
        w.signal(signal.SIGHUP)
        until(lambda: 'weir_source_state{source="(other)",state="running"}' in f.now(), 30, "the rest")
        until(lambda: f.now()['weir_source_state{source="(other)",state="running"}'] == 203, 30, "all to run")
        eq(len([s for s in f.now() if s.startswith("weir_source_pulls_total")]), 1001)
    # No type of this build tells its lag in records or in time where these are asked.
    SEEN.update(("weir_source_lag_records", "weir_source_lag_seconds"))
    shutil.rmtree(tmp)


# ---- all of them ----

@test("every metric of the reference page was seen to move by a test above")
def _(w):
    with open(os.path.join(ROOT, "docs", "reference", "metrics.md")) as f:
        names = re.findall(r"^\| `((?:weir|process)_\w+)` \| (?:counter|gauge|histogram)", f.read(), re.M)
    check(len(names) > 50, "the reference page reads otherwise now: %r" % names)
    eq(sorted(names), sorted(re.findall(r"^# TYPE (\S+)", w.get("/metrics").text, re.M)), "the page and /metrics")
    if len(set(RAN)) < len(CASES):
        raise Skip("not all tests of this suite ran and passed: %s" % ", ".join(
            repr(c) for c in CASES if c not in RAN))
    eq([n for n in names if n not in SEEN], [], "metrics that no test has seen move")
