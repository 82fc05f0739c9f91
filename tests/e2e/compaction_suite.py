# SPDX-License-Identifier: Apache-2.0
"""Compacted topics: the last record of each key stays, where it was; every way of reading steps over the others."""
import glob
import http.client
import json
import os
import random
import subprocess
import threading
import time

from harness import BIN, CE, JSON, NDJSON, Failed, Later, Sse, Weir, Ws, check, eq, expect, query, test, until

# Small segments, and a pass as soon as there is something to do.
CONFIG = "log: { segment_bytes: 1MiB, journal_bytes: 16MiB, tail_bytes: 1MiB }\n"
EAGER = {"cleanup": "compact", "compaction": {"dirty_percent": 1, "max_lag": "1s"}}


def make(w, name=None, **more):
    config = dict(EAGER, **more)
    t = name or w.topic()
    r = w.put("/v1/topics/" + t, json.dumps(config), JSON)
    check(r.status in (200, 201), r.text)
    return t


def fill(w, t, first, count, keys, pad=2000):
    """Records `first` on in batches; gives {key: number}."""
    last = {}
    for begin in range(first, first + count, 200):
        batch = []
        for i in range(begin, min(begin + 200, first + count)):
            key = "k%d" % (i * 7919 % keys)
            last[key] = i
            batch.append({"key": key, "value": {"n": i, "pad": "x" * pad}})
        w.batch(t, batch)
    return last


def compacted_to(w, t, p=0):
    return w.get("/v1/topics/" + t).json()["offsets"][p]["compacted_to"]


def settle(w, t, end=None, partitions=1):
    """Waits until all that is there was compacted."""
    for p in range(partitions):
        to = end if end is not None else w.get("/v1/topics/" + t).json()["offsets"][p]["end"]
        until(lambda p=p, to=to: compacted_to(w, t, p) >= to, 20, "partition %d of %s to be compacted to %d" % (p, t, to))


def latest(records):
    out = {}
    for r in records:
        out[r["key"]] = None if r.get("tombstone") else r["value"]["n"]
    return out


def rising(records):
    offsets = [r["offset"] for r in records]
    check(all(a < b for a, b in zip(offsets, offsets[1:])), "offsets do not rise: %r" % offsets)
    return offsets


@test("of each key the last record stays, with its offset, over stops and kills too; verify finds nothing wrong", own=True, timeout=90)
def _():
    with Weir(CONFIG) as w:
        t = make(w, cleanup="delete")
        last = fill(w, t, 0, 3000, 50)
        before = {r["offset"]: r for r in w.all(t)}
        eq(len(before), 3000)
        make(w, t)
        settle(w, t)
        for how in (None, False, True):
            if how is not None:
                w.restart(hard=how)
            records = w.all(t)
            eq(latest(records), last)
            eq(len(records), 50, "records that stayed")
            for r in records:
                eq(r, before[r["offset"]], "a record that stayed")
            rising(records)
        check(len(glob.glob(w.data + "/topics/*/0/*.log")) < 4, "small segments are still apart")
        check(glob.glob(w.data + "/topics/*/0/*.[0-9]*.log"), "no segment was written again")
        end = w.get("/v1/topics/" + t).json()["offsets"][0]["end"]
        eq(end, 3000)
        last.update(fill(w, t, 3000, 700, 70))
        settle(w, t)
        eq(latest(w.all(t)), last)
        w.stop()
        r = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
        eq(r.returncode, 0, r.stdout + r.stderr)


@test("polls of one record, long polls, partition reads, SSE and WebSocket step over offsets without a record; caught_up and the end are right",
      own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = make(w)
        fill(w, t, 0, 1500, 3)
        settle(w, t)
        want = w.all(t)
        eq([r["value"]["n"] for r in want], [1497, 1498, 1499])
        got, cursor, polls = [], "earliest", 0
        while True:
            page = w.poll(t, cursor=cursor, limit=1)
            got += page["records"]
            polls += 1
            check(page["cursor"] != cursor or page["caught_up"], "the cursor does not move")
            cursor = page["cursor"]
            if page["caught_up"]:
                break
        eq(got, want)
        check(polls <= 4, "%d polls for 3 records" % polls)
        # In the middle of nothing, and from there to a record that comes.
        page = w.partition(t, 0, offset=700, limit=1)
        eq((page["records"], page["high_watermark"]), (want[:1], 1500))
        eq(w.partition(t, 0, offset=1498, limit=2)["records"], want[1:])
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s, Ws(w, "/v1/topics/%s/ws?mode=subscribe&cursor=earliest" % t) as ws:
            eq([s.next().json() for _ in want], want)
            for r in want:
                m = ws.json()
                m.pop("cursor")
                eq(m, r)
            late = Later(w.get, "/v1/topics/%s/records%s" % (t, query(cursor=cursor, wait="10s")))
            w.batch(t, [{"key": "k9", "value": {"n": 1500}}])
            eq([r["offset"] for r in late.get().json()["records"]], [1500])
            eq(s.next().json()["offset"], 1500)
            eq(ws.json()["offset"], 1500)
        # Only the key that is asked for, over all that is gone.
        eq([r["offset"] for r in w.poll(t, key="k2")["records"]], [r["offset"] for r in want if r["key"] == "k2"])


@test("a stretch to the end without any record: polls give an empty page that is caught up, once, and long polls wait behind it",
      own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = make(w, compaction={"dirty_percent": 1, "max_lag": "1s", "tombstone_retention": "0s"})
        for i in range(40):
            w.batch(t, [{"key": "k%d" % i, "tombstone": True}])
        settle(w, t)
        until(lambda: w.poll(t)["records"] == [], 15, "tombstones to go")
        page = w.poll(t, limit=1)
        eq((page["records"], page["caught_up"]), ([], True))
        eq(w.poll(t, cursor=page["cursor"])["caught_up"], True)
        eq(w.partition(t, 0, offset=0)["next_offset"], 40)
        late = Later(w.get, "/v1/topics/%s/records%s" % (t, query(cursor="earliest", wait="10s")))
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
            s.quiet(0.5)
            w.batch(t, [{"key": "a", "value": 1}])
            eq(s.next().json()["offset"], 40)
        eq([r["offset"] for r in late.get().json()["records"]], [40])


@test("a tombstone stays for its time, then it goes; what it deleted never comes back", own=True, timeout=90)
def _():
    with Weir(CONFIG) as w:
        lasts, want = {}, {}
        sent = time.monotonic()
        for t, time_of in (("stay", "1h"), ("go", "4s")):
            make(w, t, compaction={"dirty_percent": 1, "max_lag": "1s", "tombstone_retention": time_of})
            last = fill(w, t, 0, 300, 30)
            w.batch(t, [{"key": "k%d" % i, "tombstone": True} for i in range(10)])
            lasts[t] = dict(last, **{"k%d" % i: None for i in range(10)})
            want[t] = {k: n for k, n in lasts[t].items() if n is not None}
        settle(w, "stay")
        settle(w, "go")
        until(lambda: len(w.all("go")) == 20, 30, "the tombstones to go")
        check(time.monotonic() - sent >= 4, "they went before their time")
        for hard in (True, False):
            w.restart(hard=hard)
            # Until a checkpoint names what was written again, a start after a kill has the tombstones back; no value.
            eq({k: n for k, n in latest(w.all("go")).items() if n is not None}, want["go"])
            until(lambda: len(w.all("go")) == 20, 30, "the tombstones to go again")
            eq(latest(w.all("go")), want["go"])
            eq(latest(w.all("stay")), lasts["stay"])
            eq(len(w.all("stay")), 30)


@test("cleanup is said as weir or as Kafka says it, over the API, in the file and on the command line, and shown with its settings", own=True)
def _():
    config = CONFIG + "topics:\n  - name: both\n    cleanup: compact,delete\n    compaction: { dirty_percent: 20 }\n"
    with Weir(config) as w:
        doc = w.get("/v1/topics/both").json()
        eq((doc["cleanup"], doc["compaction"]["dirty_percent"]), ("compact_delete", 20))
        for text in ("compact,delete", "delete,compact", "compact_delete"):
            t = make(w, cleanup=text)
            doc = w.get("/v1/topics/" + t).json()
            eq((doc["cleanup"], doc["recompress_after"], doc["compaction"]),
               ("compact_delete", "never", {"dirty_percent": 1, "max_lag": "1s", "min_lag": "0", "tombstone_retention": "1d"}))
            expect(w.put("/v1/topics/" + t, json.dumps(doc), JSON), 200)
        for bad in ({"cleanup": "compact delete"}, {"compaction": {"dirty_percent": 0}}, {"compaction": {"dirty_percent": 101}},
                    {"compaction": {"max_lag": "0s"}}, {"compaction": 7}, {"recompress_after": "soon"}):
            expect(w.put("/v1/topics/bad", json.dumps(bad), JSON), 400, "invalid_topic_config")
        w.says("topic", "create", "cli", "--cleanup", "compact,delete", "--dirty-percent", "30", "--max-lag", "2h",
               "--tombstone-retention", "3h", "--recompress-after", "10d")
        doc = w.get("/v1/topics/cli").json()
        eq((doc["cleanup"], doc["compaction"], doc["recompress_after"]),
           ("compact_delete", {"dirty_percent": 30, "max_lag": "2h", "min_lag": "0", "tombstone_retention": "3h"}, "10d"))
        out = w.says("topic", "show", "cli")
        check("compacted_to 0" in out and "max_lag" in out, out)
        w.restart()
        eq(w.get("/v1/topics/cli").json()["compaction"], doc["compaction"])


@test("a record without a key is refused for a compacted topic, however it comes, and nothing of it is stored")
def _(w):
    t = make(w)
    base = "/v1/topics/%s/records" % t
    expect(w.post(base, b'{"a":1}', JSON), 422, "key_required")
    expect(w.post(base, b"1\n2\n", {"Content-Type": NDJSON}), 422, "key_required")
    expect(w.post(base + "?ack=none", b"1", JSON), 422, "key_required")
    expect(w.put(base + "/id1", b"1", JSON), 422, "key_required")
    doc = expect(w.post(base, json.dumps({"records": [{"key": "a", "value": 1}, {"value": 2}]}),
                        {"Content-Type": "application/vnd.weir.batch+json"}), 422, "invalid_batch").json()
    eq([(e["index"], e["code"]) for e in doc["errors"]], [(1, "key_required")])
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1}
    expect(w.post(base, json.dumps(event), {"Content-Type": CE}), 422, "key_required")
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as s:
        s.send(1, b"1")
        eq(s.json()["error"]["code"], "key_required")
    eq(w.count_records(t), 0)
    expect(w.put(base + "/id1?key=k", b"1", JSON), 200)
    expect(w.post(base, json.dumps(dict(event, partitionkey="p")), {"Content-Type": CE}), 200)
    eq([r["key"] for r in w.all(t)], ["k", "p"])


class Hopper:
    """Goes through a topic by one way after the other; knows the last value of each key that it was shown."""

    def __init__(self, w, t, seed):
        self.w, self.t, self.rnd = w, t, random.Random(seed)
        self.cursor, self.at, self.known, self.trail = "earliest", {}, {}, []

    def take(self, r):
        p = r["partition"]
        if r["offset"] < self.at.get(p, 0):
            raise Failed("offset %d of partition %d after %d, hops %r" % (r["offset"], p, self.at[p] - 1, self.trail[-8:]))
        self.at[p] = r["offset"] + 1
        self.known[r["key"]] = r["value"]["n"]

    def poll(self, **args):
        doc = expect(self.w.get("/v1/topics/%s/records%s" % (self.t, query(cursor=self.cursor, limit=self.rnd.choice((1, 7, 500)), **args))),
                     200).json()
        eq(doc.get("gaps", []), [], "gaps")
        for r in doc["records"]:
            self.take(r)
        self.cursor = doc["cursor"]

    def long(self):
        self.poll(wait="200ms")

    def sse(self):
        with Sse(self.w, "/v1/topics/%s/sse%s" % (self.t, query(cursor=self.cursor))) as s:
            for _ in range(self.rnd.choice((1, 20, 400))):
                e = s.next(0.3)
                if e is None:
                    return
                eq(e.event, None, "a gap: %r" % e)
                self.take(e.json())
                self.cursor = e.id

    def ws(self):
        with Ws(self.w, "/v1/topics/%s/ws%s" % (self.t, query(cursor=self.cursor))) as s:
            for _ in range(self.rnd.choice((1, 20, 400))):
                m = s.message(0.3)
                if m is None or m[0] == "close":
                    return
                doc = json.loads(m[1])
                check("gap" not in doc, "a gap: %r" % doc)
                self.take(doc)
                self.cursor = doc["cursor"]

    def hop(self):
        way = self.rnd.choice((self.poll, self.poll, self.long, self.sse, self.ws))
        self.trail.append(way.__name__)
        try:
            way()
        except (TimeoutError, http.client.HTTPException):
            pass


@test("readers of all ways, from the beginning again and again, while records come and are compacted: no gap, no step back, each ends with the last value of each key",
      own=True, timeout=120)
def _():
    seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
    with Weir(CONFIG) as w:
        t = make(w, partitions=2)
        last, stop, errors = {}, threading.Event(), []

        def read(n):
            try:
                while not stop.is_set():
                    h = Hopper(w, t, seed + n)
                    for _ in range(200):
                        h.hop()
                        if stop.is_set():
                            break
            except Exception as e:  # pylint: disable=broad-except
                errors.append(e)

        threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
        for th in threads:
            th.start()
        begun, n = time.monotonic(), 0
        while time.monotonic() - begun < 12 and not errors:
            last.update(fill(w, t, n, 400, 60))
            n += 400
        stop.set()
        for th in threads:
            th.join()
        if errors:
            raise Failed("seed %d: %s" % (seed, errors[0])) from errors[0]
        check(w.metrics()["weir_log_compactions_total"] > 2, "nothing was compacted meanwhile")
        h = Hopper(w, t, seed)
        while not w.poll(t, cursor=h.cursor, limit=1)["caught_up"] or h.at == {}:
            h.hop()
        h.poll()
        eq(h.known, last, "seed %d" % seed)


@test("compact_delete removes what is past its retention besides", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = make(w, cleanup="compact_delete", retention="6s")
        fill(w, t, 0, 700, 20)
        settle(w, t)
        eq(len(w.all(t)), 20)
        until(lambda: w.get("/v1/topics/" + t).json()["offsets"][0]["start"] == 700, 30, "retention to take it")
        fill(w, t, 700, 5, 5)
        eq(len(w.all(t)), 5)


@test("a topic that becomes compacted keeps its records without a key; one that is no more compacted keeps what is left", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic()
        for i in range(20):
            w.batch(t, [{"value": {"n": i}}, {"key": "k", "value": {"n": i}}])
        make(w, t)
        settle(w, t)
        eq(len(w.all(t)), 21)
        expect(w.put("/v1/topics/" + t, b'{"cleanup":"delete"}', JSON), 200)
        w.push(t, b"1")
        eq(len(w.all(t)), 22)


@test("segments past recompress_after become small; all ways read them as before, over a kill too", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic(recompress_after="1s")
        fill(w, t, 0, 2000, 30)
        size = w.get("/v1/topics/" + t).json()["offsets"][0]["bytes"]
        want = w.all(t)
        until(lambda: w.get("/v1/topics/" + t).json()["offsets"][0]["bytes"] < size // 2, 30, "segments to shrink")
        for hard in (None, True):
            if hard:
                w.restart(hard=True)
            eq(w.all(t), want)
            with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
                eq([s.next().json() for _ in range(700)], want[:700])
            eq([r["offset"] for r in w.partition(t, 0, offset=333, limit=5)["records"]], [333, 334, 335, 336, 337])
            eq([r["offset"] for r in w.poll(t, key="k7", limit=10000)["records"]], [r["offset"] for r in want if r["key"] == "k7"])
        w.stop()
        r = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
        eq(r.returncode, 0, r.stdout + r.stderr)
