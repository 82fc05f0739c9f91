# SPDX-License-Identifier: Apache-2.0
"""Health and metrics."""
import re
import shutil
import subprocess
import time

from harness import Sse, Skip, Weir, Ws, check, eq, expect, test, until


def busy(w):
    t = w.topic(partitions=2)
    w.ndjson(t, list(range(50)))
    w.push(t, b"1", headers={"Idempotency-Key": "m"})
    w.push(t, b"1", headers={"Idempotency-Key": "m"})
    w.post("/v1/topics/%s/records" % t, b"{", {"Content-Type": "application/json"})
    w.all(t)
    return t


@test("healthz and readyz are 200 while weir serves")
def _(w):
    eq(w.get("/healthz").status, 200)
    eq(w.get("/readyz").status, 200)
    eq(w.get("/readyz?for=read").status, 200)


@test("metrics pass promtool check metrics")
def _(w):
    if not shutil.which("promtool"):
        raise Skip("promtool (package prometheus) is not installed")
    t = busy(w)
    with Sse(w, "/v1/topics/%s/sse" % t), Ws(w, "/v1/topics/%s/ws" % t):
        r = expect(w.get("/metrics"), 200)
    p = subprocess.run(["promtool", "check", "metrics"], input=r.body, capture_output=True)
    eq((p.returncode, p.stdout.decode() + p.stderr.decode()), (0, ""))
    check((r.headers.get("Content-Type") or "").startswith("text/plain"), r.headers.get("Content-Type"))


@test("metrics tell rates, bytes, latencies, groups, syncs, queues, connections and refusals")
def _(w):
    busy(w)
    text = expect(w.get("/metrics"), 200).text
    names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    check(all(n.startswith(("weir_", "process_")) for n in names), "names without prefix: %r" % names)
    for word in ("record", "byte", "sync", "group", "connection", "refus", "request"):
        check(any(word in n for n in names), "nothing about %s in %r" % (word, sorted(names)))
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)", text, re.M))
    check("histogram" in kinds.values(), "no histogram")
    for name, kind in kinds.items():
        check(kind != "counter" or name.endswith("_total"), "%s is a counter without _total" % name)


@test("counters count: records in, duplicates of requests, refusals by reason")
def _(w):
    before = w.metrics()
    t = w.topic()
    w.ndjson(t, list(range(123)))
    w.post("/v1/topics/%s/records" % t, b"{", {"Content-Type": "application/json"})

    def grown():
        now = w.metrics()
        return {k: v - before.get(k, 0) for k, v in now.items() if v != before.get(k, 0)}
    until(lambda: any(v == 123 for v in grown().values()), 5, "a counter that grew by 123")
    got = grown()
    check(any(v == 123 for k, v in got.items() if "record" in k), "no counter grew by 123: %r" % got)
    check(any(v == 1 for k, v in got.items() if '"invalid_json"' in k), "invalid_json was not counted: %r" % got)


@test("names that users choose cannot grow the metrics without bound")
def _(w):
    size = len(w.get("/metrics").body)
    with w.session() as s:
        for i in range(300):
            s.request("POST", "/v1/topics/grow.%d/records" % i, b"1", {"Content-Type": "application/json"})
            s.request("GET", "/v1/none/%d" % i)
    check(len(w.get("/metrics").body) < size + 20000, "grew by %d bytes" % (len(w.get("/metrics").body) - size))


@test("connections are counted up and down", own=True)
def _():
    with Weir() as w: # its own: connections that other tests left would close in between
        def now():
            m = w.metrics()
            return sum(v for k, v in m.items() if k.startswith("weir_connections{"))
        t = w.topic(partitions=1)
        before = now()
        held = [Ws(w, "/v1/topics/%s/ws" % t) for _ in range(20)]
        until(lambda: now() >= before + 20, 5, "20 more connections")
        for c in held:
            c.raw.close()
        until(lambda: now() <= before + 5, 5, "connections gone")


@test("access tokens in a query stand in no log", own=True)
def _():
    with Weir() as w:
        t = w.topic()
        w.get("/v1/topics/%s/records?access_token=verysecret" % t)
        with Sse(w, "/v1/topics/%s/sse?access_token=verysecret" % t):
            time.sleep(0.2)
        w.stop()
        check("verysecret" not in w.log(), "the token is in the log")
