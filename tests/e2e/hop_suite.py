# SPDX-License-Identifier: Apache-2.0
"""One cursor on every way out, at random: readers that change their way and their selection while records
are written, trimmed, and weir is stopped and killed. Per partition each reader must see every record that was
acknowledged, once, in order, or be told of the gap in its place."""
import http.client
import json
import os
import random
import socket
import sys
import threading
import time

from harness import Failed, Later, Sse, Weir, Ws, check, eq, expect, query, test

SEED = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
GONE = (OSError, EOFError, http.client.HTTPException)


class Reader:
    """Holds a cursor and, by partition, the next offset that it must be shown."""

    def __init__(self, w, topics, rnd, name):
        self.w, self.topics, self.rnd, self.name = w, topics, rnd, name
        self.cursor, self.at, self.values, self.gaps, self.trail = "earliest", {}, {}, [], []
        self.earlier = []

    def path(self, kind, **args):
        if len(self.topics) > 1:
            return "/v1/%s%s" % (kind, query(topics=",".join(self.topics), cursor=self.cursor, **args))
        return "/v1/topics/%s/%s%s" % (self.topics[0], kind, query(cursor=self.cursor, **args))

    def say(self, what):
        raise Failed("reader %s, seed %d: %s; its last hops: %s" % (self.name, SEED, what, self.trail[-12:]))

    def take(self, record, cursor=None):
        place = record["topic"], record["partition"]
        want = self.at.get(place, 0)
        if record["offset"] != want:
            self.say("%s: offset %d, want %d" % (place, record["offset"], want))
        self.at[place] = want + 1
        self.values[place + (want,)] = record["value"]
        if cursor:
            self.cursor = cursor

    def gap(self, gap, cursor=None):
        place = gap.get("topic", self.topics[0]), gap["partition"]
        if gap["from"] != self.at.get(place, 0) or gap["to"] <= gap["from"]:
            self.say("gap %r while at %r" % (gap, self.at.get(place, 0)))
        self.at[place] = gap["to"]
        self.gaps.append(place + (gap["from"], gap["to"]))
        if cursor:
            self.cursor = cursor

    # -- the ways --

    def poll(self, session=None, **args):
        r = self.w.get(self.path("records", limit=self.rnd.choice((1, 3, 50, 1000)), **args))
        if r.status == 503:
            return  # it is stopping
        doc = r.json()
        if r.status == 410:
            for g in doc["gaps"]:
                self.gap(g)
        else:
            expect(r, 200)
            # The gaps are a list of their own. What is trimmed in the middle of an answer is behind some of its records.
            gaps = doc.get("gaps", [])
            for record in doc["records"]:
                for g in [g for g in gaps if g["partition"] == record["partition"] and g["from"] < record["offset"]]:
                    self.gap(g)
                    gaps.remove(g)
                self.take(record)
            for g in gaps:
                self.gap(g)
        self.cursor = doc["cursor"]

    def poll_long(self):
        self.poll(wait="%dms" % self.rnd.choice((1, 50, 400)))

    def poll_some(self):
        first = self.rnd.randrange(self.partitions())
        last = self.rnd.randrange(first, self.partitions())
        self.poll(partitions="%d-%d" % (first, last))

    def partitions(self):
        return 4

    def sse(self, **args):
        header = {}
        path = self.path("sse", **args)
        if self.rnd.random() < 0.5:
            header = {"Last-Event-ID": self.cursor}
            path = path.replace("cursor=" + self.cursor, "cursor=latest")
        with Sse(self.w, path, header) as s:
            if s.status == 503:
                return
            eq(s.status, 200, "status")
            for _ in range(self.rnd.choice((1, 5, 200))):
                e = s.next(0.3)
                if e is None:
                    return
                if e.event == "gap":
                    self.gap(e.json()["gap"], e.id)
                else:
                    eq(e.event, None)
                    self.take(e.json(), e.id)

    def sse_some(self):
        self.sse(partitions="%d" % self.rnd.randrange(self.partitions()))

    def ws(self, protocol=None, **args):
        with Ws(self.w, self.path("ws", **args), protocol=protocol, upgrade=False) as s:
            if s.status == 503:
                return
            eq(s.status, 101, "status")
            for _ in range(self.rnd.choice((1, 5, 200))):
                m = s.message(0.3)
                if m[0] == "close":
                    return
                doc = json.loads(m[1])
                if "gap" in doc:  # has no cursor: the next record's is behind it
                    self.pending.append(doc["gap"])
                    continue
                record = doc["record"] if protocol else doc
                for g in self.pending:
                    self.gap(g)
                self.pending = []
                self.take(record, record["cursor"])

    def ws_v1(self):
        self.ws("weir.v1")

    def ws_raw(self):
        """Raw values tell no place: they are compared with what a poll from the same cursor gives."""
        doc = self.w.get(self.path("records", limit=20, partitions="1"))
        if doc.status != 200 or doc.json().get("gaps"):
            return
        want = [r["value"] for r in doc.json()["records"]]
        with Ws(self.w, self.path("ws", format="raw", partitions="1"), upgrade=False) as s:
            if s.status == 503:
                return
            for value in want:
                m = s.message(2)
                if m[0] == "close":
                    return
                if json.loads(m[1]) != value and "gap" not in json.loads(m[1]):
                    self.say("raw gave %r, a poll %r" % (m[1], value))
                if isinstance(json.loads(m[1]), dict) and "gap" in json.loads(m[1]):
                    return

    def go_back(self):
        """To a place where it was before: it may be trimmed by now."""
        self.cursor, at = self.rnd.choice(self.earlier)
        self.at = dict(at)
        self.trail.append("go_back")

    def hop(self):
        if self.cursor != "earliest" and self.rnd.random() < 0.03:
            self.earlier = self.earlier[-4:] + [(self.cursor, dict(self.at))]
        elif self.earlier and self.rnd.random() < 0.03:
            self.go_back()
        ways = [self.sse, self.ws, self.ws_v1]
        if len(self.topics) == 1:
            ways += [self.poll, self.poll_long, self.poll_some, self.sse_some, self.ws_raw]
        way = self.rnd.choice(ways)
        self.trail.append(way.__name__)
        self.pending = []
        try:
            way()
        except socket.timeout:
            pass
        except GONE as e:
            self.trail.append(type(e).__name__)
            time.sleep(0.05)


def produce(w, topic, number, rnd, done, log):
    """Keyed records with idempotency keys, until told to stop; log: what was acknowledged."""
    n = 0
    while not done.is_set():
        records = [{"key": "k%d" % rnd.randrange(40), "value": {"by": number, "n": n + i, "x": "y" * rnd.choice((0, 5, 3000))},
                    "idempotency_key": "%d-%d" % (number, n + i)} for i in range(rnd.choice((1, 1, 7, 60)))]
        while True:
            try:
                r = w.post("/v1/topics/%s/records?results=records" % topic, json.dumps({"records": records}),
                           {"Content-Type": "application/vnd.weir.batch+json"}, timeout=10)
                if r.status == 200:
                    break
            except (OSError, EOFError, ValueError, Failed, http.client.HTTPException):
                pass
            if done.is_set():
                return
            time.sleep(0.05)
        for record, result in zip(records, r.json()["results"]):
            log[topic, result["partition"], result["offset"]] = record["value"]
        n += len(records)
        time.sleep(rnd.random() * 0.02)


@test("readers hop between all ways out under load, trims, a stop and kill -9: in order, nothing skipped, nothing twice",
      own=True, timeout=180)
def _():
    print("hop: seed %d" % SEED, file=sys.stderr)
    rnd = random.Random(SEED)
    with Weir("threads: 2\n") as w:
        topics = [w.topic(partitions=4), w.topic(partitions=4)]
        done, log = threading.Event(), {}
        makers = [Later(produce, w, topics[i % 2], i, random.Random(SEED + i), done, log) for i in range(4)]
        readers = [Reader(w, [topics[0]], random.Random(SEED + 10 + i), "one %d" % i) for i in range(4)]
        readers += [Reader(w, topics, random.Random(SEED + 20 + i), "both %d" % i) for i in range(2)]
        stop = threading.Event()

        def go(r):
            while not stop.is_set():
                r.hop()
        hops = [Later(go, r) for r in readers]
        for step in ("run", "trim", "kill", "run", "stop", "trim", "kill", "run"):
            time.sleep(0.8 + rnd.random())
            if step == "kill":
                w.restart(hard=True)
            elif step == "stop":
                w.restart()
            elif step == "trim":
                for t in topics:
                    before = w.poll(t, limit=1000)["cursor"] if rnd.random() < 0.5 else "latest"
                    expect(w.post("/v1/topics/%s/trim" % t, json.dumps({"before": before}),
                                  {"Content-Type": "application/json"}), 200)
            for h in hops:
                check(h.is_alive() or h.get() is None, "a reader ended")
        done.set()
        for m in makers:
            m.get()
        time.sleep(0.2)
        stop.set()
        for h in hops:
            h.get(60)
        ends = {(t, p["partition"]): p["end"] for t in topics for p in expect(w.get("/v1/topics/" + t), 200).json()["offsets"]}
        for r in readers:
            r.rnd.random = lambda draw=r.rnd.random: max(draw(), 0.1)  # onward alone
            while any(r.at.get(place, 0) < end for place, end in ends.items() if place[0] in r.topics):
                before = dict(r.at)
                for _ in range(10):
                    r.hop()
                check(r.at != before, "reader %s gets no further: at %r of %r; %s" % (r.name, r.at, ends, r.trail[-10:]))
            eq({k: v for k, v in r.at.items() if v}, {k: v for k, v in ends.items() if v and k[0] in r.topics}, r.name)
            hidden = {(t, p, o) for t, p, a, b in r.gaps for o in range(a, b)}
            for place, value in log.items():
                if place[0] not in r.topics:
                    continue
                if place not in hidden and r.values.get(place) != value:
                    r.say("%r was acknowledged as %r and read as %r" % (place, value, r.values.get(place)))
        print("hop: %d records acknowledged, %d hops, %d gaps" % (
            len(log), sum(len(r.trail) for r in readers), sum(len(r.gaps) for r in readers)), file=sys.stderr)
