# SPDX-License-Identifier: Apache-2.0
"""The door out, pulled: polls, long polls, partitions, cursors, forms of a value."""
import base64
import datetime
import json
import os
import random
import socket
import time

from harness import Later, Raw, Sse, Weir, Ws, check, eq, expect, partition_of, poll_values, test


def walk(w, t, limit, cursor="earliest", **args):
    """Polls in steps of `limit` until caught up: the records and the last cursor."""
    out = []
    while True:
        got = w.poll(t, cursor=cursor, limit=limit, **args)
        check(len(got["records"]) <= limit, "more than the limit")
        out += got["records"]
        cursor = got["cursor"]
        if got["caught_up"]:
            return out, cursor
        check(got["records"] or args, "an empty poll that is not caught up")


# ---- polls ----

@test("a poll gives records, a cursor, and whether it is caught up")
def _(w):
    t = w.topic()
    w.ndjson(t, [1, 2, 3])
    got = w.poll(t)
    eq(sorted(got), ["caught_up", "cursor", "records"])
    eq([r["value"] for r in got["records"]], [1, 2, 3])
    eq(got["caught_up"], True)
    r = got["records"][0]
    eq(sorted(r), ["headers", "key", "offset", "partition", "timestamp", "topic", "value"])
    eq((r["topic"], r["partition"], r["offset"], r["key"], r["headers"]), (t, 0, 0, None, {}))
    check(isinstance(r["timestamp"], int), "timestamp is not a number")


@test("the cursor leads on: none twice, none left out, at any limit")
def _(w):
    t = w.topic(partitions=3)
    w.batch(t, [{"key": "k%d" % (i % 11), "value": i} for i in range(100)])
    for limit in (1, 2, 7, 33, 100, 10000):
        got, cursor = walk(w, t, limit)
        eq(sorted(r["value"] for r in got), list(range(100)), "limit %d" % limit)
        for p in range(3):
            offsets = [r["offset"] for r in got if r["partition"] == p]
            eq(offsets, list(range(len(offsets))), "order within a partition")
        eq(w.poll(t, cursor=cursor)["records"], [])


@test("the default limit is 100")
def _(w):
    t = w.topic()
    w.ndjson(t, list(range(150)))
    got = w.poll(t)
    eq((len(got["records"]), got["caught_up"]), (100, False))
    eq((len(w.poll(t, cursor=got["cursor"])["records"])), 50)


@test("a cursor is safe in a URL as it is")
def _(w):
    t = w.topic(partitions=20)
    w.ndjson(t, list(range(100)))
    c = w.poll(t, limit=37)["cursor"]
    check(all(x.isalnum() or x in "-_.~" for x in c), "not URL-safe: " + c)
    eq(len(expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, c)), 200).json()["records"]), 63)


@test("a cursor taken before new records shows them and nothing else")
def _(w):
    t = w.topic()
    w.ndjson(t, [1, 2])
    c = w.poll(t)["cursor"]
    w.ndjson(t, [3, 4])
    eq([r["value"] for r in w.poll(t, cursor=c)["records"]], [3, 4])
    eq([r["value"] for r in w.poll(t, cursor=c)["records"]], [3, 4], "a cursor is a place, not a lease")


@test("a poll of an empty topic gives an empty list and a cursor that works")
def _(w):
    t = w.topic(partitions=2)
    got = w.poll(t)
    eq((got["records"], got["caught_up"]), ([], True))
    w.ndjson(t, [1, 2])
    eq(len(w.poll(t, cursor=got["cursor"])["records"]), 2)


@test("latest is behind all that is there")
def _(w):
    t = w.topic()
    w.ndjson(t, [1, 2])
    got = w.poll(t, cursor="latest")
    eq((got["records"], got["caught_up"]), ([], True))
    w.push(t, b"3")
    eq([r["value"] for r in w.poll(t, cursor=got["cursor"])["records"]], [3])


@test("@TIME is the first record at or after it, as milliseconds or RFC 3339")
def _(w):
    t = w.topic()
    base = 1760000000000
    w.batch(t, [{"value": i, "timestamp": base + i * 1000} for i in range(10)])

    def from_time(c):
        return [r["value"] for r in w.poll(t, cursor=c)["records"]]
    eq(from_time("@%d" % (base + 4000)), list(range(4, 10)))
    eq(from_time("@%d" % (base + 4001)), list(range(5, 10)))
    eq(from_time("@0"), list(range(10)))
    eq(from_time("@%d" % (base + 99999999)), [])
    when = datetime.datetime.fromtimestamp((base + 7000) / 1000, datetime.timezone.utc)
    eq(from_time("@" + when.strftime("%Y-%m-%dT%H:%M:%SZ")), [7, 8, 9])
    eq(from_time("@" + when.astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30))).isoformat()), [7, 8, 9])
    eq(from_time("@" + when.strftime("%Y-%m-%dT%H:%M:%S.001Z")), [8, 9])


@test("@TIME finds its place among records that weir stamped")
def _(w):
    t = w.topic()
    for i in range(30):
        w.push(t, b"%d" % i)
        time.sleep(0.002)
    r = w.all(t)
    for x in r[::5]:
        first = w.poll(t, cursor="@%d" % x["timestamp"])["records"][0]
        eq(first["timestamp"], x["timestamp"])
        check(first["offset"] <= x["offset"], "went past it")


@test("key= gives the records of that key alone, and the cursor still moves past the others")
def _(w):
    t = w.topic(partitions=3)
    w.batch(t, [{"key": "k%d" % (i % 5), "value": i} for i in range(200)])
    got, cursor = walk(w, t, 7, key="k3")
    eq([r["value"] for r in got], list(range(3, 200, 5)))
    w.batch(t, [{"key": "k3", "value": "new"}, {"key": "k1", "value": "no"}])
    eq([r["value"] for r in w.poll(t, cursor=cursor, key="k3")["records"]], ["new"])
    eq(w.poll(t, key="nobody")["records"], [])


@test("partitions= selects, as numbers and ranges")
def _(w):
    t = w.topic(partitions=6)
    for p in range(6):
        w.ndjson(t, [p] * 3, partition=p)
    for sel, want in (("2", [2]), ("0-2", [0, 1, 2]), ("0,5", [0, 5]), ("1,3-4", [1, 3, 4]), ("0-5", list(range(6)))):
        got, _ = walk(w, t, 4, partitions=sel)
        eq(sorted(r["partition"] for r in got), sorted(want * 3), sel)
    r = w.get("/v1/topics/%s/records?partitions=6" % t)
    check(r.status == 400, "a partition that is not there: %r" % r)


@test("one cursor serves selections: what one did not read is still to come")
def _(w):
    t = w.topic(partitions=2)
    w.ndjson(t, [0, 0], partition=0)
    w.ndjson(t, [1, 1], partition=1)
    got, c = walk(w, t, 10, partitions="0")
    eq([r["value"] for r in got], [0, 0])
    got, _ = walk(w, t, 10, cursor=c)
    eq([r["value"] for r in got], [1, 1])


@test("the cursor of a selection keeps the places of partitions that were not selected")
def _(w):
    t = w.topic(partitions=4)
    for p in range(4):
        w.ndjson(t, [10 * p + i for i in range(6)], partition=p)
    _, c = walk(w, t, 10)
    for p in range(4):
        w.ndjson(t, [10 * p + i for i in (6, 7, 8)], partition=p)
    got, c = walk(w, t, 2, cursor=c, partitions="1")
    eq([r["value"] for r in got], [16, 17, 18])
    with Sse(w, "/v1/topics/%s/sse?partitions=3&cursor=%s" % (t, c)) as s:
        events = s.take(2)
    eq([e.json()["value"] for e in events], [36, 37])
    with Ws(w, "/v1/topics/%s/ws?partitions=0-1&cursor=%s" % (t, events[-1].id)) as s:
        got = [s.json() for _ in range(2)]
    eq([r["value"] for r in got], [6, 7])
    key = next("k%d" % i for i in range(100) if partition_of("k%d" % i, 4) == 2)
    w.push(t, b"99", key=key)
    got, c = walk(w, t, 10, cursor=got[-1]["cursor"], key=key)
    eq([r["value"] for r in got], [99])
    # The key's cursor names few partitions, and brings all of them along (docs/internals/reader.md).
    got, c = walk(w, t, 10, cursor=c)
    eq(got, [])


@test("the places that a selection keeps are in its ETag and in the cursor of a 410")
def _(w):
    t = w.topic(partitions=3)
    for p in range(3):
        w.ndjson(t, [10 * p + i for i in range(5)], partition=p)
    only = w.poll(t, limit=5, partitions="1")["cursor"]
    _, everywhere = walk(w, t, 10)
    tags = {w.get("/v1/topics/%s/records?partitions=1&cursor=%s" % (t, c)).headers.get("ETag")
            for c in (only, everywhere)}
    eq(len(tags), 2, "tags of two places that differ in what is not selected")
    first = w.poll(t, limit=7)
    seen = {p: len([r for r in first["records"] if r["partition"] == p]) for p in range(3)}
    lost = next(p for p in range(3) if seen[p] < 5)
    trim(w, t, w.poll(t, limit=5, partitions=str(lost))["cursor"])
    r = expect(w.get("/v1/topics/%s/records?partitions=%d&cursor=%s" % (t, lost, first["cursor"])), 410, "cursor_gone")
    rest, _ = walk(w, t, 10, cursor=r.json()["cursor"])
    eq(sorted(r["value"] for r in rest), [10 * p + i for p in range(3) if p != lost for i in range(seen[p], 5)])


@test("ETag and If-None-Match: 304 while nothing changed")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    path = "/v1/topics/%s/records?cursor=earliest" % t
    a = w.get(path)
    tag = a.headers.get("ETag")
    check(tag, "no ETag")
    b = w.get(path, {"If-None-Match": tag})
    eq((b.status, b.body, b.headers.get("ETag")), (304, b"", tag))
    eq(w.get(path, {"If-None-Match": '"other", %s' % tag}).status, 304)
    eq(w.get(path, {"If-None-Match": '"other"'}).status, 200)
    w.push(t, b"2")
    c = w.get(path, {"If-None-Match": tag})
    eq(c.status, 200)
    check(c.headers.get("ETag") != tag, "the tag did not change")


@test("HEAD of a poll has the headers and no body")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with w.session() as s:
        for _ in range(3):
            r = s.request("HEAD", "/v1/topics/%s/records" % t)
            eq((r.status, r.body), (200, b""))
        eq(s.request("GET", "/v1/topics/%s/records" % t).json()["records"][0]["value"], 1)


# ---- long polls ----

@test("a long poll wakes as soon as a record is there")
def _(w):
    t = w.topic()
    w.push(t, b"0")
    cursor = w.poll(t)["cursor"]
    took = []
    for i in range(5):
        later = Later(w.poll, t, cursor=cursor, wait="30s")
        time.sleep(0.15)
        began = time.monotonic()
        w.push(t, b"%d" % (i + 1))
        got = later.get()
        took.append(later.ended - began)
        eq([r["value"] for r in got["records"]], [i + 1])
        cursor = got["cursor"]
    check(sorted(took)[2] < 1.0, "woke after %r s" % took)


@test("a long poll with records there answers at once")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    began = time.monotonic()
    eq(len(w.poll(t, wait="30s")["records"]), 1)
    check(time.monotonic() - began < 5, "waited")


@test("a long poll that times out is 200 with an empty list and the same place")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    c = w.poll(t)["cursor"]
    began = time.monotonic()
    got = w.poll(t, cursor=c, wait="1s")
    check(time.monotonic() - began >= 0.95, "did not wait")
    eq((got["records"], got["caught_up"]), ([], True))
    w.push(t, b"2")
    eq([r["value"] for r in w.poll(t, cursor=got["cursor"])["records"]], [2])


@test("a long poll with a key waits for that key")
def _(w):
    t = w.topic()
    w.push(t, b"0", key="other")
    c = w.poll(t)["cursor"]
    later = Later(w.poll, t, cursor=c, wait="20s", key="mine")
    time.sleep(0.1)
    for i in range(20):
        w.push(t, b"%d" % i, key="other")
    time.sleep(0.1)
    check(later.is_alive(), "woke for another key")
    w.push(t, b"99", key="mine")
    eq([r["value"] for r in later.get()["records"]], [99])


@test("a long poll on a topic that does not exist yet waits and creates nothing")
def _(w):
    t = w.topic()
    r = w.get("/v1/topics/%s/records?cursor=earliest&wait=300ms" % t)
    check(r.status in (200, 404), repr(r))
    eq(w.get("/v1/topics/%s" % t).status, 404)


@test("many long polls on one topic all wake")
def _(w):
    t = w.topic(partitions=2)
    cursor = w.poll(t)["cursor"]
    laters = [Later(w.poll, t, cursor=cursor, wait="30s") for _ in range(50)]
    time.sleep(0.5)
    w.push(t, b"7")
    for x in laters:
        eq([r["value"] for r in x.get()["records"]], [7])


# ---- from disk ----

@test("a poll over partitions that are on disk alone is as full as one from memory", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=6)
        for p in range(6):
            w.batch(t, [{"value": "%d %s" % (i, "x" * 500), "partition": p} for i in range(40)])
        w.restart()
        for args in ({}, {"wait": "1ms"}, {"wait": "20s"}):
            w.forget_pages()
            got = w.poll(t, limit=1000, **args)
            eq((len(got["records"]), got["caught_up"]), (240, True), "%r" % args)
            eq(w.poll(t, limit=1000, cursor=got["cursor"])["records"], [])
        w.forget_pages()
        got = w.poll(t, limit=100)
        eq((len(got["records"]), got["caught_up"]), (100, False))
        rest = w.poll(t, limit=1000, cursor=got["cursor"])
        eq((len(rest["records"]), rest["caught_up"]), (140, True))


@test("who closes his half after asking is given what is on disk", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=3)
        for p in range(3):
            w.batch(t, [{"value": "x" * 500, "partition": p} for i in range(20)])
        w.restart()
        for wait in ("", "?wait=20s"):
            w.forget_pages()
            with Raw(w) as r:
                r.send("GET /v1/topics/%s/records%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, wait, w.authority))
                r.sock.shutdown(socket.SHUT_WR)
                got = r.response().json()
                eq((len(got["records"]), got["caught_up"]), (60, True))


@test("a poll of one record reads little of a long history", own=True, timeout=60)
def _():
    def read_so_far(w):
        with open("/proc/%d/io" % w.pid) as f:
            return int(f.readline().split()[1])
    with Weir("log: {tail_bytes: 1MiB}\n") as w:
        t = w.topic(partitions=1)
        for i in range(20):
            w.ndjson(t, ["x" * 1000] * 100)
            for _ in range(5):
                w.push(t, json.dumps("y" * 100000))
        time.sleep(0.5)
        w.restart()
        w.all(t)
        for _ in range(2):  # the first round finds the indexes made, which reads everything once
            before, polls = read_so_far(w), 20
            for _ in range(polls):
                eq(len(w.poll(t, limit=1)["records"]), 1)
            each = (read_so_far(w) - before) / polls
        check(each < 500000, "%d bytes read for one record" % each)


@test("looking for a rare key in much does not hold up others", own=True, timeout=120)
def _():
    with Weir("threads: 1\n") as w:
        t, other = w.topic(partitions=1), w.topic(partitions=1)
        line = json.dumps({"x": "y" * 200})
        for i in range(40):
            w.push(t, (line + "\n") * 5000, "application/x-ndjson", key="common")
        w.push(t, b"7", key="rare")
        w.push(other, b"1")
        with w.session() as s:
            def ask():
                began = time.monotonic()
                expect(s.request("GET", "/v1/topics/%s/records" % other), 200)
                return time.monotonic() - began
            calm = sorted(ask() for _ in range(50))[-5]
            ways = (lambda: w.poll(t, key="rare")["records"][0]["value"],
                    lambda: Sse(w, "/v1/topics/%s/sse?cursor=earliest&key=rare" % t).next(60).json()["value"])
            for way in ways:
                later, waits = Later(way), []
                while later.is_alive():
                    waits.append(ask())
                eq(later.get(), 7)
                check(len(waits) > 5, "only %d others were answered, the slowest in %.3f s (%.3f s before)" % (
                    len(waits), max(waits), calm))


# ---- one partition ----

@test("one partition is read by offset")
def _(w):
    t = w.topic(partitions=2)
    w.ndjson(t, list(range(10)), partition=1)
    got = w.partition(t, 1, offset=4, limit=3)
    eq([r["offset"] for r in got["records"]], [4, 5, 6])
    eq((got["next_offset"], got["high_watermark"]), (7, 10))
    got = w.partition(t, 1)
    eq((len(got["records"]), got["next_offset"]), (10, 10), "without an offset: from the start")
    got = w.partition(t, 1, offset=10)
    eq((got["records"], got["next_offset"]), ([], 10))
    eq(w.partition(t, 0)["high_watermark"], 0)
    expect(w.get("/v1/topics/%s/partitions/1/records?offset=11" % t), 409, "cursor_ahead")
    expect(w.get("/v1/topics/%s/partitions/1/records?offset=-1" % t), 400, "invalid_parameter")
    expect(w.get("/v1/topics/%s/partitions/2/records" % t), 404, "unknown_partition")


@test("one partition is waited for")
def _(w):
    t = w.topic(partitions=2)
    later = Later(w.partition, t, 1, offset=0, wait="20s")
    time.sleep(0.1)
    w.push(t, b"0", partition=0)
    time.sleep(0.2)
    check(later.is_alive(), "woke for another partition")
    w.push(t, b"1", partition=1)
    eq([r["value"] for r in later.get()["records"]], [1])


# ---- large ----

@test("a large record of which every byte takes six is given on every way, and nobody stands before it", own=True, timeout=120)
def _():
    with Weir("memory: 2GiB\nlog: {group_bytes: 64MiB, entered_bytes: 128MiB}\n"
              "http: {record_bytes_max: 16MiB}\n") as w:
        t, n = w.topic(), 12 << 20
        w.push(t, b"\x01" * n, "text/plain")
        w.push(t, b"2")
        got = w.get("/v1/topics/%s/records" % t, timeout=90)
        eq([len(v) for v in poll_values(expect(got, 200).text)], [n], "a page of one record")
        eq(w.poll(t, cursor=got.json()["cursor"])["records"][0]["value"], 2)
        for stream in (Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t), Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t)):
            with stream as s:
                if isinstance(s, Ws):
                    s.send(9, b"are you there")
                given, end = len(s.raw.buf), s.raw.buf
                while b'"headers":{},"value":2' not in end:
                    got = s.raw.sock.recv(1 << 20)
                    check(got, "cut after %d bytes" % given)
                    given, end = given + len(got), end[-200:] + got
                check(given > 6 * n, "%d bytes of %d" % (given, 6 * n))


# ---- one cursor on every way ----

def next_by(w, way, t, cursor):
    """The next record and the cursor after it, read in one of four ways."""
    if way == "poll":
        got = w.poll(t, cursor=cursor, limit=1)
        return got["records"][0]["value"], got["cursor"]
    if way == "long":
        got = w.poll(t, cursor=cursor, limit=1, wait="10s")
        return got["records"][0]["value"], got["cursor"]
    if way == "sse":
        with Sse(w, "/v1/topics/%s/sse?cursor=%s" % (t, cursor)) as s:
            e = s.next()
            return e.json()["value"], e.id
    if way == "sse-id":
        with Sse(w, "/v1/topics/%s/sse" % t, {"Last-Event-ID": cursor}) as s:
            e = s.next()
            return e.json()["value"], e.id
    with Ws(w, "/v1/topics/%s/ws?cursor=%s" % (t, cursor)) as c:
        doc = c.json()
        return doc["value"], doc["cursor"]


@test("one cursor is handed from way to way, over restarts, without a record lost or seen twice", own=True, timeout=90)
def _():
    with Weir() as w:
        t = w.topic(partitions=3)
        n = 60
        w.batch(t, [{"key": "k%d" % (i % 9), "value": i} for i in range(n)])
        rnd, cursor, got = random.Random(7), "earliest", []
        for i in range(n):
            value, cursor = next_by(w, rnd.choice(("poll", "long", "sse", "sse-id", "ws")), t, cursor)
            got.append(value)
            if i in (20, 40):
                w.restart(hard=i == 20)
        eq(sorted(got), list(range(n)))
        for k in range(9):
            mine = [v for v in got if v % 9 == k]
            eq(mine, sorted(mine), "order of one key")
        c = w.poll(t, cursor=cursor)
        eq((c["records"], c["caught_up"]), ([], True))


@test("a cursor of a stream over several topics works again on that stream")
def _(w):
    a, b = w.topic(partitions=1), w.topic(partitions=2)
    with Sse(w, "/v1/sse?topics=%s,%s&cursor=earliest" % (a, b)) as s:
        w.ndjson(a, [1, 2])
        w.ndjson(b, [3, 4])
        got = s.take(4)
    for i in range(3):
        rest = sorted(e.json()["value"] for e in got[i + 1:])
        with Ws(w, "/v1/ws?topics=%s,%s&cursor=%s" % (a, b, got[i].id)) as c:
            eq(sorted(c.json()["value"] for _ in rest), rest)


@test("adding partitions keeps cursors: the new ones are read from their start")
def _(w):
    t = w.topic(partitions=1)
    w.ndjson(t, [1, 2])
    c = w.poll(t)["cursor"]
    expect(w.put("/v1/topics/" + t, json.dumps({"partitions": 3}), {"Content-Type": "application/json"}), 200)
    for p in range(3):
        w.push(t, b"%d" % (10 + p), partition=p)
    eq(sorted(r["value"] for r in w.poll(t, cursor=c)["records"]), [10, 11, 12])


# ---- cursors that do not fit any more ----

@test("a long poll whose topic is deleted is told so, with what every error has")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    later = Later(w.get, "/v1/topics/%s/records?cursor=latest&wait=30s" % t)
    time.sleep(0.2)
    expect(w.delete("/v1/topics/" + t), 204)
    expect(later.get(), 404, "unknown_topic")



def trim(w, t, cursor):
    return expect(w.post("/v1/topics/%s/trim" % t, json.dumps({"before": cursor}), {"Content-Type": "application/json"}), 200)


@test("a cursor behind the trimmed log is 410 with one that is moved forward")
def _(w):
    t = w.topic()
    w.ndjson(t, list(range(10)))
    old = w.poll(t, limit=2)["cursor"]
    keep = w.poll(t, limit=6)["cursor"]
    trim(w, t, keep)
    r = expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, old)), 410, "cursor_gone")
    eq([x["value"] for x in w.poll(t, cursor=r.json()["cursor"])["records"]], [6, 7, 8, 9])
    eq([x["value"] for x in w.poll(t, cursor="earliest")["records"]], [6, 7, 8, 9], "earliest never is 410")
    eq([x["value"] for x in w.poll(t, cursor=keep)["records"]], [6, 7, 8, 9])
    expect(w.get("/v1/topics/%s/partitions/0/records?offset=3" % t), 410, "cursor_gone")
    eq([x["offset"] for x in w.partition(t, 0)["records"]], [6, 7, 8, 9])


@test("a 410 moves only the partitions concerned")
def _(w):
    t = w.topic(partitions=2)
    w.ndjson(t, list(range(10)), partition=0)
    w.ndjson(t, list(range(100, 110)), partition=1)
    first = w.poll(t, limit=2)
    old, seen = first["cursor"], [x["value"] for x in first["records"]]
    trim(w, t, w.poll(t, limit=5, partitions="0")["cursor"])
    r = expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, old)), 410, "cursor_gone")
    eq(sorted(x["value"] for x in w.poll(t, cursor=r.json()["cursor"])["records"]),
       [5, 6, 7, 8, 9] + [x for x in range(100, 110) if x not in seen])


@test("trimming survives kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        w.ndjson(t, list(range(10)))
        old = w.poll(t, limit=2)["cursor"]
        trim(w, t, w.poll(t, limit=6)["cursor"])
        w.restart(hard=True)
        eq(w.values(t), [6, 7, 8, 9])
        expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, old)), 410, "cursor_gone")
        eq(w.push(t, b"10")["offsets"][0]["first"], 10)


@test("a cursor past the end is 409 cursor_ahead", own=True, timeout=60)
def _():
    import shutil
    with Weir() as w:  # a data directory put back from an older copy
        t = w.topic()
        w.ndjson(t, [1, 2])
        w.stop()
        shutil.copytree(w.data, w.data + ".old")
        w.start()
        w.ndjson(t, [3, 4])
        c = w.poll(t)["cursor"]
        w.stop()
        shutil.rmtree(w.data)
        shutil.move(w.data + ".old", w.data)
        w.start()
        expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, c)), 409, "cursor_ahead")
        eq(w.values(t), [1, 2])


@test("a cursor of a topic that was deleted and made anew is 410")
def _(w):
    t = w.topic()
    w.ndjson(t, [1, 2, 3])
    c = w.poll(t, limit=1)["cursor"]
    eq(w.delete("/v1/topics/" + t).status, 204)
    w.ndjson(t, [9])
    expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, c)), 410, "cursor_gone")
    eq(w.values(t), [9], "nothing of the topic before")


# ---- forms ----

@test("a value that is UTF-8 but no JSON is value_text, other bytes are value_base64")
def _(w):
    t = w.topic()
    bodies = [b"hello", "grüße".encode(), b"{", b"", b"\xff", b"\x00\x01", b"ok \xed\xa0\x80", b'"q"', b"\n", b"NaN"]
    for b in bodies:
        w.push(t, b, "application/octet-stream")
    r = w.all(t)
    forms = ["value_text", "value_text", "value_text", "value_text", "value_base64", "value_text", "value_base64",
             "value", "value_text", "value_text"]
    eq([[k for k in x if k.startswith("value")] for x in r], [[f] for f in forms])
    eq(poll_values(w.poll_text(t)), bodies)


@test("control characters and quotes in text are escaped so that JSON stays JSON")
def _(w):
    t = w.topic()
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028\U0001f600'
    w.push(t, text.encode(), "text/plain")
    w.batch(t, [{"key": text, "value": 1, "headers": {text[1:]: text}}])
    r = w.all(t)
    eq(r[0]["value_text"], text)
    eq((r[1]["key"], r[1]["headers"]), (text, {text[1:]: text}))


@test("a key that is not UTF-8 is key_base64")
def _(w):
    t = w.topic()
    r = w.post("/v1/topics/%s/records?key=%%ff%%fe" % t, b"1", {"Content-Type": "application/json"})
    if r.status == 200:
        x, = w.all(t)
        eq((base64.b64decode(x["key_base64"]), "key" in x), (b"\xff\xfe", False))
    else:
        eq(r.status, 400)


@test("an empty key is not no key")
def _(w):
    t = w.topic()
    w.batch(t, [{"key": "", "value": 1}, {"value": 2}])
    eq([r["key"] for r in w.all(t)], ["", None])


@test("a repeated header is an array, a binary one is base64, in and out")
def _(w):
    t = w.topic()
    h = {"one": "1", "many": ["a", "b", "a"], "bin": {"base64": base64.b64encode(b"\xff\x00").decode()},
         "mixed": ["x", {"base64": base64.b64encode(b"\xfe").decode()}], "empty": ""}
    w.batch(t, [{"value": 1, "headers": h}])
    eq(w.all(t)[0]["headers"], h)


@test("a tombstone keeps its key and is told from a JSON null")
def _(w):
    t = w.topic()
    w.batch(t, [{"key": "k", "tombstone": True}, {"key": "k", "value": None}])
    text = w.poll_text(t)
    eq(poll_values(text), [None, b"null"])


@test("large records come out whole", timeout=60)
def _(w):
    t = w.topic()
    sizes = [1, 1000, 65535, 65536, 300000, (1 << 20) - 2]
    for n in sizes:
        w.push(t, json.dumps("x" * n))
    eq([len(v) for v in w.values(t)], sizes)


@test("answers are JSON with a length or chunks, and never cached by mistake")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    r = w.get("/v1/topics/%s/records" % t)
    eq(r.headers.get("Content-Type").split(";")[0], "application/json")
    check("Content-Length" in r.headers or r.headers.get("Transfer-Encoding") == "chunked", "neither length nor chunks")
    check("no-store" in (r.headers.get("Cache-Control") or "") or "no-cache" in (r.headers.get("Cache-Control") or ""),
          "Cache-Control: %r" % r.headers.get("Cache-Control"))


@test("old records are read from disk as well as new ones from memory", own=True, timeout=90)
def _():
    with Weir() as w:
        t = w.topic(partitions=2)
        for i in range(40):
            w.ndjson(t, [{"n": i * 500 + j, "pad": "x" * 200} for j in range(500)])
        order = lambda records: sorted(records, key=lambda r: (r["partition"], r["offset"]))
        before = order(w.all(t))
        w.restart()
        eq(order(w.all(t)), before)
        eq(sorted(r["value"]["n"] for r in before), list(range(20000)))
        for p in range(2):
            at = [r for r in before if r["partition"] == p]
            for i in (0, 1, 4999, 9000):
                got = w.partition(t, p, offset=i, limit=2)["records"]
                eq(got, at[i:i + 2])
