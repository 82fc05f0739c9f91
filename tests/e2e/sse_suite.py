# SPDX-License-Identifier: Apache-2.0
"""Server-sent events: the format, resuming, gaps, several topics."""
import itertools
import json
import shutil
import subprocess
import time

from harness import Later, Raw, Skip, Sse, Weir, check, eq, expect, patience, quote, test, until, value_bytes


@test("an event has the cursor as id, the record as data, and no event name")
def _(w):
    t = w.topic()
    w.push(t, b'{"a": 1}')
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
        eq(s.status, 200)
        eq(s.headers.get("Content-Type").split(";")[0].strip(), "text/event-stream")
        check("no-" in (s.headers.get("Cache-Control") or ""), "may be cached: %r" % s.headers.get("Cache-Control"))
        e = s.next()
        eq(e.event, None)
        doc = e.json()
        eq((doc["topic"], doc["offset"], doc["value"]), (t, 0, {"a": 1}))
        eq(w.poll(t, cursor=e.id)["records"], [], "the id is the place behind the record")


@test("without a cursor a stream begins with what comes next")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with Sse(w, "/v1/topics/%s/sse" % t) as s:
        s.quiet(0.3)
        w.push(t, b"2")
        eq(s.next().json()["value"], 2)


@test("records arrive in order, none twice")
def _(w):
    t = w.topic()
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
        for i in range(20):
            w.ndjson(t, list(range(i * 50, i * 50 + 50)))
        eq([e.json()["value"] for e in s.take(1000)], list(range(1000)))
        s.quiet(0.2)


@test("the bytes of a value come through, line breaks inside JSON too")
def _(w):
    t = w.topic()
    bodies = [b'{ "a" :\n  [1,\n\n 2.50]\n}', b'"x"', b"plain text\nof two lines", b"\xff\x00", b'{"data": "id: 5\\n\\n"}']
    for b in bodies:
        w.push(t, b, "application/octet-stream")
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
        eq([value_bytes(e.data) for e in s.take(len(bodies))], bodies)


@test("Last-Event-ID resumes and wins over the cursor parameter")
def _(w):
    t = w.topic(partitions=2)
    w.ndjson(t, list(range(10)))
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
        first = s.take(4)
    with Sse(w, "/v1/topics/%s/sse?cursor=latest" % t, {"Last-Event-ID": first[-1].id}) as s:
        rest = s.take(6)
    eq(sorted(e.json()["value"] for e in first + rest), list(range(10)))


@test("a stream waits for a topic that does not exist yet and creates nothing")
def _(w):
    t = w.topic()
    with Sse(w, "/v1/topics/%s/sse" % t) as s:
        eq(s.status, 200)
        s.quiet(0.2)
        eq(w.get("/v1/topics/" + t).status, 404, "subscribing created the topic")
        w.ndjson(t, [1, 2])
        eq([e.json()["value"] for e in s.take(2)], [1, 2])


@test("several topics come on one connection, each record says its own")
def _(w):
    a, b, c = w.topic(), w.topic(partitions=2), w.topic()
    w.push(a, b"0")
    with Sse(w, "/v1/sse?topics=%s" % quote(",".join((a, b, c)))) as s:
        time.sleep(0.1)
        w.push(a, b"1")
        w.push(b, b"2")
        w.push(c, b"3")  # made while the stream is open
        got = {(e.json()["topic"], e.json()["value"]) for e in s.take(3)}
        eq(got, {(a, 1), (b, 2), (c, 3)})


@test("key= and partitions= select on a stream")
def _(w):
    t = w.topic(partitions=3)
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest&key=b" % t) as k, \
            Sse(w, "/v1/topics/%s/sse?cursor=earliest&partitions=1" % t) as p:
        w.batch(t, [{"key": x, "value": x} for x in "abcb"])
        w.ndjson(t, [1, 2], partition=1)
        w.ndjson(t, [0], partition=2)
        eq([e.json()["value"] for e in k.take(2)], ["b", "b"])
        k.quiet(0.2)
        want = [r["value"] for r in w.partition(t, 1)["records"]]
        eq([e.json()["value"] for e in p.take(len(want))], want)
        p.quiet(0.2)


@test("an idle stream gets a comment about every 15 s", timeout=60)
def _(w):
    t = w.topic(partitions=1)
    with Sse(w, "/v1/topics/%s/sse" % t) as s:
        began = time.monotonic()
        while True:
            e = s.next(comments=True)
            check(e is not None, "the stream ended")
            if e.comment is not None and time.monotonic() - began > 1:
                break
        took = time.monotonic() - began
        check(8 < took < 25, "the first comment after %.1f s" % took)
        w.push(t, b"1")
        eq(s.next().json()["value"], 1)


@test("a cursor behind the log gets a gap event and the stream goes on")
def _(w):
    t = w.topic()
    w.ndjson(t, list(range(10)))
    old, keep = w.poll(t, limit=2)["cursor"], w.poll(t, limit=6)["cursor"]
    expect(w.post("/v1/topics/%s/trim" % t, json.dumps({"before": keep}), {"Content-Type": "application/json"}), 200)
    with Sse(w, "/v1/topics/%s/sse?cursor=%s" % (t, old)) as s:
        e = s.next()
        eq(e.event, "gap")
        gap = e.json()["gap"]
        eq((gap["partition"], gap["from"], gap["to"]), (0, 2, 6))
        eq([e.json()["value"] for e in s.take(4)], [6, 7, 8, 9])


@test("a stream over more than 256 partitions needs a selection")
def _(w):
    t = w.topic(partitions=257)
    expect(w.get("/v1/topics/%s/sse" % t), 400, "too_many_partitions")
    with Sse(w, "/v1/topics/%s/sse?partitions=0-255" % t) as s:
        eq(s.status, 200)
    u = w.topic(partitions=256)
    with Sse(w, "/v1/topics/%s/sse" % u) as s:
        eq(s.status, 200)
        w.push(u, b"1", partition=255)
        eq(s.next().json()["value"], 1)


@test("a stream needs topics")
def _(w):
    r = w.get("/v1/sse")
    check(r.status == 400, repr(r))


@test("HEAD of a stream does not hang")
def _(w):
    t = w.topic(partitions=1)
    r = w.request("HEAD", "/v1/topics/%s/sse" % t)
    check(r.status in (200, 405), repr(r))


@test("a reader that stands still misses nothing and does not hold up others", timeout=90)
def _(w):
    t = w.topic()
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as slow, Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as fast:
        pad, n = "x" * 2000, 8000
        for i in range(0, n, 500):
            w.ndjson(t, [{"n": j, "pad": pad} for j in range(i, i + 500)])
            eq([e.json()["value"]["n"] for e in fast.take(500)], list(range(i, i + 500)), "the fast one")
        eq([e.json()["value"]["n"] for e in slow.take(n)], list(range(n)), "the slow one")


@test("curl -N shows events as they come")
def _(w):
    t = w.topic()
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    w.ndjson(t, [1, 2, 3])
    with subprocess.Popen(["curl", "-sSN", "--noproxy", "*", "%s/v1/topics/%s/sse?cursor=earliest" % (w.url, t)],
                          stdout=subprocess.PIPE) as p:
        def values(count):
            return [json.loads(line[6:])["value"] for line in itertools.islice((x for x in p.stdout if x.startswith(b"data: ")), count)]
        try:
            eq(Later(values, 3).get(), [1, 2, 3])
            w.push(t, b"4")
            eq(Later(values, 1).get(), [4], "while the stream goes on")
        finally:
            p.kill()


@test("a stream over HTTP/1.0 works without chunks")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with Raw(w) as c:
        c.send("GET /v1/topics/%s/sse?cursor=earliest HTTP/1.0\r\nHost: %s\r\n\r\n" % (t, w.authority))
        status, headers = c.head()
        eq((status, "transfer-encoding" in headers), (200, False))
        while b"data: " not in c.buf:
            check(c.more(), "ended: %r" % c.buf)


@test("a reader resumes over kill -9 where it stood", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        w.ndjson(t, list(range(20)))
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
            got = s.take(8)
            w.kill()
        w.start()
        with Sse(w, "/v1/topics/%s/sse" % t, {"Last-Event-ID": got[-1].id}) as s:
            eq([e.json()["value"] for e in s.take(12)], list(range(8, 20)))
            w.push(t, b"20")
            eq(s.next().json()["value"], 20)


@test("when weir stops, a client that leaves its connection open gets all and is not waited for", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        w.push(t, json.dumps("x" * 30000))
        events = [Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) for _ in range(3)]
        polls = [Raw(w) for _ in range(3)]
        for p in polls:
            p.send("GET /v1/topics/%s/records?cursor=latest&wait=60s HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.authority))
        until(lambda: (w.metrics()['weir_readers{way="sse"}'], w.metrics()['weir_readers{way="longpoll"}']) == (3, 3), what="the readers")
        w.stop()
        ends = [p.rest() for p in [e.raw for e in events] + polls]
        check("event=peers_cut" not in w.log(), "they were waited for: " + w.log()[-500:])
        for end in ends[:3]:
            check(b"x" * 30000 in end and end.endswith(b"\r\n0\r\n\r\n"), "not the whole stream: %r" % end[-80:])
        for end in ends[3:]:
            check(b'{"records":[],' in end and b"Connection: close" in end, "no answer: %r" % end[-200:])


@test("an EventSource in Python's standard library alone follows a topic")
def _(w):
    import urllib.request
    t = w.topic()
    w.ndjson(t, ["a", "b"])
    got = []
    with urllib.request.urlopen("%s/v1/topics/%s/sse?cursor=earliest" % (w.url, t), timeout=patience()) as f:
        for line in f:
            if line.startswith(b"data: "):
                got.append(json.loads(line[6:])["value"])
                if len(got) == 2:
                    break
    eq(got, ["a", "b"])
