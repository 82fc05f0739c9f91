# SPDX-License-Identifier: Apache-2.0
"""The promise: what was acknowledged is there, once, in order, whatever happens to the process."""
import collections
import glob
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time

from harness import (BIN, CLOSE, Later, NDJSON, Raw, Session, Skip, Sse, Weir, Ws, check, eq, expect, patience, test, until)

JSON = {"Content-Type": "application/json"}
ROUNDS = int(os.environ.get("WEIR_CRASH_ROUNDS", "50"))


class Producer(threading.Thread):
    """Sends numbered records under idempotency keys of its own, and repeats what got no answer: each way in its turn."""

    def __init__(self, w, topic, name, partitions):
        super().__init__(daemon=True)
        self.w, self.topic, self.name, self.partitions = w, topic, name, partitions
        self.next, self.acked, self.stopping, self.errors = 0, [], False, []
        self.session, self.pending = None, None

    def plan(self):
        rnd = random.Random("%s %d" % (self.name, self.next))
        n = rnd.choice((1, 1, 1, 5, 40))
        ids = list(range(self.next, self.next + n))
        self.next += n
        pad = "x" * rnd.choice((0, 10, 200, 3000))
        values = [json.dumps({"producer": self.name, "n": i, "pad": pad}) for i in ids]
        way = rnd.choice(("post", "put", "batch", "unit"))
        key = "%s-%d" % (self.name, ids[0])
        base = "/v1/topics/%s/records" % self.topic
        if n == 1 and way == "put":
            return ids, "PUT", "%s/%s?key=%s" % (base, key, self.name), values[0], JSON
        if n == 1:
            return ids, "POST", base + "?key=" + self.name, values[0], dict(JSON, **{"Idempotency-Key": key})
        if way == "batch":
            body = json.dumps({"records": [{"key": self.name, "value": json.loads(v), "idempotency_key": "%s-%d" % (self.name, i)}
                                           for i, v in zip(ids, values)]})
            return ids, "POST", base, body, {"Content-Type": "application/vnd.weir.batch+json"}
        return ids, "POST", base + "?key=" + self.name, "\n".join(values), {"Content-Type": NDJSON, "Idempotency-Key": key}

    def run(self):
        while not self.stopping or self.pending:
            if self.pending is None:
                self.pending = self.plan()
            ids, method, path, body, headers = self.pending
            try:
                if self.session is None:
                    self.session = Session(self.w, 10)
                r = self.session.request(method, path, body, headers)
            except (OSError, http.client.HTTPException):
                self.drop()
                if self.stopping == "now":
                    return
                time.sleep(0.01)
                continue
            if r.status == 200:
                doc = r.json()
                if doc["accepted"] + doc["duplicates"] != len(ids) or (
                        "records" not in path and doc["accepted"] and doc["duplicates"]):
                    self.errors.append("%r answered %r" % (ids, doc))
                self.acked += ids
                self.pending = None
            elif r.status in (429, 503, 507):
                self.drop()
                time.sleep(0.01)
            else:
                self.errors.append("%r answered %r" % (ids, r))
                self.pending = None

    def drop(self):
        if self.session:
            self.session.close()
        self.session = None


def audit(w, topic, producers):
    """Compares what was acknowledged with what is there."""
    records = w.all(topic)
    by_partition = collections.defaultdict(list)
    for r in records:
        by_partition[r["partition"]].append(r["offset"])
    for p, offsets in by_partition.items():
        eq(offsets, list(range(len(offsets))), "offsets of partition %d have gaps" % p)
    seen = collections.defaultdict(list)
    for r in records:
        seen[r["value"]["producer"]].append(r["value"]["n"])
    for p in producers:
        check(not p.errors, "wrong answers: %r" % p.errors[:3])
        got = seen[p.name]
        twice = [n for n, c in collections.Counter(got).items() if c > 1]
        check(not twice, "%s: stored twice: %r" % (p.name, twice[:10]))
        lost = sorted(set(p.acked) - set(got))
        check(not lost, "%s: acknowledged and lost: %r of %d" % (p.name, lost[:10], len(p.acked)))
        eq(got, sorted(got), "order of %s" % p.name)
        eq(got, list(range(len(got))), "%s: something in the middle is missing" % p.name)
    return len(records)


@test("kill -9 at random moments under load: nothing lost, nothing twice, order kept, no gaps (%d rounds)" % ROUNDS,
      own=True, timeout=60 + 6 * ROUNDS)
def _():
    seed = int(os.environ.get("WEIR_SEED", time.time()))
    rnd = random.Random(seed)
    with Weir() as w:
        topic = w.topic(partitions=3)
        producers = [Producer(w, topic, "p%d" % i, 3) for i in range(6)]
        for p in producers:
            p.start()
        try:
            for i in range(ROUNDS):
                time.sleep(rnd.choice((0.005, 0.03, 0.1, 0.3)) * (0.5 + rnd.random()))
                w.kill()
                if rnd.random() < 0.2:  # killed again while it recovers
                    proc = subprocess.Popen(w.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(rnd.random() * 0.05)
                    proc.kill()
                    proc.wait()
                w.start()
                if i % 10 == 9:
                    for p in producers:  # the audit reads a log that others still write
                        check(not p.errors, "seed %d: %r" % (seed, p.errors[:3]))
            for p in producers:
                p.stopping = True
            for p in producers:
                p.join(patience())
                check(not p.is_alive(), "%s never got its answer" % p.name)
            total = audit(w, topic, producers)
            check(total == sum(len(p.acked) for p in producers), "seed %d: %d records for %d acknowledged" % (
                seed, total, sum(len(p.acked) for p in producers)))
            w.restart()
            eq(audit(w, topic, producers), total, "after a clean restart")
        finally:
            for p in producers:
                p.stopping = "now"


@test("a reader over kill -9 sees every record once and never takes back what it saw", own=True, timeout=120)
def _():
    rnd = random.Random(5)
    with Weir() as w:
        t = w.topic(partitions=1)
        p = Producer(w, t, "r", 1)
        p.start()
        seen, cursor = [], "earliest"
        try:
            for i in range(12):
                end = time.monotonic() + 0.3
                while time.monotonic() < end:
                    try:
                        doc = json.loads(w.get("/v1/topics/%s/records?cursor=%s&wait=100ms&limit=1000" % (t, cursor), timeout=5).body)
                    except (OSError, http.client.HTTPException):
                        break
                    seen += [(r["offset"], r["value"]["n"]) for r in doc["records"]]
                    cursor = doc["cursor"]
                w.kill()
                w.start()
            p.stopping = True
            p.join(patience())
            check(not p.is_alive(), "the producer never got its answer")
            while True:
                doc = w.poll(t, cursor=cursor, limit=10000)
                seen += [(r["offset"], r["value"]["n"]) for r in doc["records"]]
                cursor = doc["cursor"]
                if doc["caught_up"]:
                    break
            eq(seen, [(r["offset"], r["value"]["n"]) for r in w.all(t)])
        finally:
            p.stopping = "now"


@test("with fdatasync delayed by 200 ms an answer means a sync: no reader is earlier, the rest stays fast", own=True, timeout=120)
def _():
    try:
        subprocess.run(["strace", "-V"], capture_output=True, check=True)
        probe = subprocess.run(["strace", "-f", "-e", "trace=fdatasync", "true"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skip("strace is not installed")
    if probe.returncode:
        raise Skip("strace may not trace here: " + probe.stderr.strip())
    # --seccomp-bpf stops the daemon at this one call alone, so that everything else keeps its speed.
    wrap = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
            "-e", "inject=fdatasync:delay_exit=200000"]
    with Weir(wrap=wrap) as w:
        t, old = w.topic(), w.topic()
        with w.session() as s:
            for i in range(3):
                expect(s.request("POST", "/v1/topics/%s/records" % old, b"%d" % i, JSON), 200)
            expect(s.request("POST", "/v1/topics/%s/records" % t, b"-1", JSON), 200)
            time.sleep(0.5)
            for i in range(4):
                readers = open_readers(w, t)
                began = time.monotonic()
                r = s.request("POST", "/v1/topics/%s/records" % t, b"%d" % i, JSON)
                took = time.monotonic() - began
                expect(r, 200)
                check(took >= 0.2, "a durable POST was answered after %.3f s" % took)
                for name, later in readers.items():
                    value, at = later.get()
                    eq(value, i, name)
                    check(at - began >= 0.2, "%s saw it after %.3f s, before the sync" % (name, at - began))
            # A repeat while the first is in flight waits for the sync of the first, whenever it came.
            def keyed():
                r = expect(w.post("/v1/topics/%s/records" % t, b"50", dict(JSON, **{"Idempotency-Key": "in flight"})), 200)
                return r.json(), time.monotonic()
            began = time.monotonic()
            first = Later(keyed)
            time.sleep(0.05)
            second = Later(keyed)
            answers = sorted((first.get(), second.get()), key=lambda x: -x[0]["accepted"])
            a, b = (x[0] for x in answers)
            eq((a["accepted"], b["accepted"], b["duplicates"], b["offsets"]), (1, 0, 1, a["offsets"]))
            for _, at in answers:
                check(at - began >= 0.2, "answered after %.3f s" % (at - began))
            quick = []
            for i in range(20):
                began = time.monotonic()
                expect(s.request("POST", "/v1/topics/%s/records?ack=none" % t, b"100", JSON), 202)
                quick.append(time.monotonic() - began)
            check(sorted(quick)[10] < 0.1, "ack=none took %r" % sorted(quick)[10])
            quick = []
            stop = []
            writer = Later(lambda: [w.push(t, b"1") for _ in range(5)])
            while writer.is_alive():
                began = time.monotonic()
                eq(len(w.poll(old)["records"]), 3)
                quick.append(time.monotonic() - began)
            writer.get()
            check(sorted(quick)[len(quick) // 2] < 0.1, "reads of older records took %r" % sorted(quick)[len(quick) // 2])
            # Many at once share a sync: one group each time, not one sync each.
            before = w.metrics()["weir_log_groups_total"]
            laters = [Later(w.push, t, b"7") for _ in range(32)]
            for x in laters:
                x.get()
            groups = w.metrics()["weir_log_groups_total"] - before
            check(0 < groups < 32 / 3, "32 writers took %d groups: they do not share syncs" % groups)


def open_readers(w, t):
    """The next record by every way, each with the moment it was seen."""
    cursor = w.poll(t)["cursor"]
    end = w.partition(t, 0)["high_watermark"]
    sse, ws = Sse(w, "/v1/topics/%s/sse?cursor=%s" % (t, cursor)), Ws(w, "/v1/topics/%s/ws?cursor=%s" % (t, cursor))
    raw = Ws(w, "/v1/topics/%s/ws?format=raw&cursor=%s" % (t, cursor))

    def spin():
        while True:
            got = w.poll(t, cursor=cursor)["records"]
            if got:
                return got[0]["value"], time.monotonic()
            time.sleep(0.005)

    def stamp(fn):
        return fn(), time.monotonic()
    ways = {"poll": spin, "long poll": lambda: stamp(lambda: w.poll(t, cursor=cursor, wait="20s")["records"][0]["value"]),
            "partition": lambda: stamp(lambda: w.partition(t, 0, offset=end, wait="20s")["records"][0]["value"]),
            "SSE": lambda: stamp(lambda: sse.next().json()["value"]), "WebSocket": lambda: stamp(lambda: ws.json()["value"]),
            "raw WebSocket": lambda: stamp(lambda: int(raw.message()[1]))}
    out = {name: Later(fn) for name, fn in ways.items()}
    time.sleep(0.1)
    return out


@test("ack=none and durable requests are read in the order they were entered", own=True)
def _():
    with Weir() as w:
        t = w.topic()
        with w.session() as s:
            for i in range(200):
                s.request("POST", "/v1/topics/%s/records%s" % (t, "?ack=none" if i % 3 else ""), b"%d" % i, JSON)
            expect(s.request("POST", "/v1/topics/%s/records" % t, b"200", JSON), 200)
        eq(w.values(t), list(range(201)), "a durable answer covers what was entered before it")


@test("a second instance on the same data directory is refused with the holder's pid", own=True)
def _():
    with Weir() as w:
        p = subprocess.run([BIN, "serve", "--data", w.data, "--http", "127.0.0.1:0", "--kafka", "off"], capture_output=True,
                           text=True, timeout=patience())
        eq(p.returncode, 1, "exit status: " + p.stderr)
        check(str(w.pid) in p.stderr, "the pid %d is not in %r" % (w.pid, p.stderr))
        eq(p.stdout, "")
        eq(w.get("/healthz").status, 200)


@test("an address already listened on, by weir too, is an error that names it", own=True)
def _():
    with Weir() as w:
        p = subprocess.run([BIN, "serve", "--data", w.data + "2", "--http", w.authority, "--kafka", "off"], capture_output=True,
                           text=True, timeout=patience())
        eq(p.returncode, 1, "exit status: " + p.stderr)
        check(w.authority in p.stderr or str(w.port) in p.stderr, repr(p.stderr))


@test("SIGTERM drains: what is in flight is answered, streams are closed in form, exit 0", own=True, timeout=60)
def _():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Weir() as w:
            t = w.topic()
            w.push(t, b"0")
            sse = Sse(w, "/v1/topics/%s/sse?cursor=latest" % t)
            ws = Ws(w, "/v1/topics/%s/ws?cursor=latest" % t)
            parked = Raw(w, 20).send("GET /v1/topics/%s/records?cursor=latest&wait=60s HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.authority))
            idle = Raw(w).send("GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % w.authority)
            eq(idle.response().status, 200)
            until(lambda: w.metrics()['weir_readers{way="longpoll"}'] == 1, what="the poll to be parked")
            w.signal(number)
            m = ws.message()
            eq((m[0], m[1]), ("close", 1001), "the close frame")
            ws.send(CLOSE, b"\x03\xe9")
            check(sse.next() is None and sse.ended, "the stream has no final chunk")
            r = parked.response()
            check(r.status in (200, 503), "the parked poll: %r" % r)
            check(idle.closed(), "an idle connection stays")
            eq(w.wait(), 0, "exit status")
            check("event=peers_cut" not in w.log(), "a peer was cut though all answered: " + w.log()[-500:])
            w.start()
            eq(w.values(t), [0])


@test("peers that do not answer the close are cut after 2 s", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        mute = [Ws(w, "/v1/topics/%s/ws" % t) for _ in range(3)]
        half = Raw(w).send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 10\r\n\r\n12" % (t, w.authority))
        until(lambda: w.metrics()['weir_connections{listener="http"}'] >= 4, what="the connections")
        w.signal(signal.SIGTERM)
        eq(w.wait(), 0)
        cut = [line for line in w.log().splitlines() if "event=peers_cut" in line]
        check(len(cut) == 1 and " connections=4" in cut[0], "which were cut: %r" % cut)
        for c in mute + [half]:
            (c.raw if isinstance(c, Ws) else c).close()


@test("a second SIGTERM ends it at once", own=True)
def _():
    with Weir() as w:
        mute = Ws(w, "/v1/topics/%s/ws" % w.topic())
        w.signal(signal.SIGTERM)
        until(lambda: "event=stopping" in w.log(), what="the first to be taken")
        w.signal(signal.SIGTERM)
        eq(w.wait(), 1, "exit status")
        check("event=stopped_at_once" in w.log() and "event=peers_cut" not in w.log(), "still drained: " + w.log()[-500:])
        mute.raw.close()


@test("SIGTERM under load: every acknowledged record is there after", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        producers = [Producer(w, t, "d%d" % i, 1) for i in range(4)]
        for p in producers:
            p.start()
        for _ in range(5):
            time.sleep(0.3)
            w.restart()
        for p in producers:
            p.stopping = True
        for p in producers:
            p.join(patience())
            check(not p.is_alive(), "%s never got its answer" % p.name)
        audit(w, t, producers)


@test("SIGHUP takes a good file and says what changed; a bad one changes nothing", own=True, timeout=60)
def _():
    good = "topics:\n  - { name: first, partitions: 2 }\n"
    with Weir(good) as w:
        eq(w.get("/v1/topics/first").json()["partitions"], 2)
        w.write_config(good + "  - { name: second, partitions: 3 }\n")
        w.signal(signal.SIGHUP)
        until(lambda: w.get("/v1/topics/second").status == 200, what="the second topic")
        eq(w.get("/v1/topics/second").json()["partitions"], 3)
        until(lambda: "event=reloaded" in w.log(), what="the end of the reload in the log")  # the topic is there before
        check("second" in w.log(), "the log does not say what changed")
        mark = len(w.log())
        w.write_config("topics:\n  - { name: third, partitons: 3 }\n  - { name: first, partitions: 9 }\n")
        w.signal(signal.SIGHUP)
        until(lambda: "event=reload_refused" in w.log()[mark:], what="a word on the bad file")
        said = w.log()[mark:]
        check("partitons" in said and "partitions" in said, "the fault is not named: %r" % said)
        eq(w.get("/v1/topics/third").status, 404)
        eq(w.get("/v1/topics/first").json()["partitions"], 2)
        check(w.running(), "it ended")


@test("a bad configuration file at start is exit 2 with file, line and column", own=True)
def _():
    with Weir("http: { lisen: 127.0.0.1:0 }\n", start=False) as w:
        p = subprocess.run([BIN, "serve", "-c", w.config_path, "--data", w.data], capture_output=True, text=True, timeout=patience())
        eq(p.returncode, 2, p.stderr)
        check("weir.yaml:1:" in p.stderr and "listen" in p.stderr, repr(p.stderr))


@test("a restart keeps records, headers, keys, times, cursors and topics", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=3)
        w.batch(t, [{"key": "k%d" % i, "value": {"n": i}, "headers": {"h": [str(i), {"base64": "/w=="}]}, "timestamp": 1700000000000 + i}
                    for i in range(100)])
        w.push(t, b"\xff\x00", "application/octet-stream")
        # Between partitions no order is promised, and what comes from disk comes in larger pieces.
        order = lambda records: sorted(records, key=lambda r: (r["partition"], r["offset"]))
        before, cursor = order(w.all(t)), w.poll(t, limit=37)["cursor"]
        rest = order(w.all(t, cursor=cursor))
        for hard in (False, True, False):
            w.restart(hard)
            eq(order(w.all(t)), before)
            eq(order(w.all(t, cursor=cursor)), rest)


@test("starting and stopping many times leaves the same data", own=True, timeout=90)
def _():
    with Weir() as w:
        t = w.topic()
        for i in range(15):
            w.push(t, b"%d" % i)
            w.restart(hard=i % 2 == 0)
        eq(w.values(t), list(range(15)))


@test("a torn tail of the journal is cut, and said", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        for i in range(30):
            w.push(t, json.dumps({"n": i, "pad": "x" * 500}))
        w.kill()
        files = sorted(glob.glob(os.path.join(w.data, "journal", "*")), key=os.path.getmtime)
        check(files, "no journal file in %s" % w.data)
        # The last group lies behind the last byte that is not zero: break it as a torn write would.
        path = max(files, key=lambda f: open(f, "rb").read().rstrip(b"\0") and os.path.getmtime(f))
        with open(path, "r+b") as f:
            data = f.read()
            end = len(data.rstrip(b"\0"))
            f.seek(end - 40)
            f.write(b"\0" * 40)
        w.start()
        got = [v["n"] for v in w.values(t)]
        eq(got, list(range(len(got))), "what is left has a hole")
        check(len(got) >= 28, "more than the last group was cut: %d left" % len(got))
        if len(got) < 30:
            check("torn" in w.log() or "cut" in w.log() or "truncated" in w.log(), "nothing said: %r" % w.log()[-500:])
        n = w.push(t, b"99")["offsets"][0]["first"]
        eq(n, len(got))
        w.restart(hard=True)
        eq(w.values(t)[-1], 99)


@test("broken bytes that a later group proves durable are corruption: start refuses, naming file and place", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        for i in range(30):
            w.push(t, json.dumps({"mark": "needle-%02d" % i, "pad": "x" * 500}))
        w.kill()
        hit = False
        for path in glob.glob(os.path.join(w.data, "journal", "*")):
            with open(path, "r+b") as f:
                at = f.read().find(b"needle-05")
                if at >= 0:
                    f.seek(at)
                    f.write(b"NEEDLE")
                    hit = True
        check(hit, "the record is in no journal file")
        p = subprocess.run(w.command(), capture_output=True, text=True, timeout=patience())
        eq(p.returncode, 1, "exit status: " + p.stderr)
        check("journal" in p.stderr, "the file is not named: %r" % p.stderr)


@test("weir verify finds nothing wrong after a crash under load", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=2)
        p = Producer(w, t, "v", 2)
        p.start()
        time.sleep(0.7)
        w.kill()
        p.stopping = "now"
        r = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=patience())
        eq(r.returncode, 0, r.stdout + r.stderr)
