# SPDX-License-Identifier: Apache-2.0
"""Reading over Kafka: Fetch, ListOffsets, OffsetForLeaderEpoch, by hand and with kcat."""
import json
import os
import shutil
import socket
import subprocess
import time

from harness import SLOW, Session, Skip, Weir, check, eq, expect, test
from kafka_wire import Kafka, address, batch, batches, records, request

OUT_OF_RANGE, UNKNOWN, FENCED, UNKNOWN_EPOCH, UNSUPPORTED = 1, 3, 74, 75, 35
NO_SESSION = 70
LATEST, EARLIEST, MAX_TIME = -1, -2, -3


def put_topic(w, name, **config):
    with Session(w) as s:
        expect(s.request("PUT", "/v1/topics/" + name, json.dumps(config), {"Content-Type": "application/json"}), 201)


def post(w, topic, values, query=""):
    """One commit of values: a batch in its partition."""
    with Session(w) as s:
        body = json.dumps({"records": [v if isinstance(v, dict) else {"value_text": v} for v in values]})
        expect(s.request("POST", "/v1/topics/%s/records%s" % (topic, query), body,
                         {"Content-Type": "application/vnd.weir.batch+json"}), 200)


def asked(topic, partitions):
    """partitions: [(number, offset[, bytes_max[, epoch]])]"""
    out = []
    for p in partitions:
        number, offset, most, epoch = tuple(p) + (None, None, 1 << 20, -1)[len(p):]
        out.append({"partition": number, "fetch_offset": offset, "partition_max_bytes": most,
                    "current_leader_epoch": epoch})
    return {"topic": topic, "partitions": out}


def fetch(k, topics, version=11, max_wait_ms=0, min_bytes=1, max_bytes=1 << 24, **more):
    return k.call("Fetch", version, topics=topics, max_wait_ms=max_wait_ms, min_bytes=min_bytes, max_bytes=max_bytes,
                  **more)


def parts(answer):
    return [p for t in answer["responses"] for p in t["partitions"]]


def values(part):
    return [r["value"].decode() for r in records(part["records"])]


# ---- Fetch ----

@test("what was posted over HTTP is fetched with key, value, headers and timestamp, in every version")
def _(w):
    put_topic(w, "same", partitions=1)
    post(w, "same", [{"key": "k", "value": {"a": 1}, "headers": {"h": "v", "two": ["x", "y"]}, "timestamp": 1700000001234},
                     {"value_base64": "AP8=", "timestamp": 1700000001235},
                     {"key": "gone", "value": None, "tombstone": True}])
    with Kafka(w) as k:
        for version in range(4, 13):
            part = k.fetch("same", version=version)
            eq((part["error_code"], part["high_watermark"], part["last_stable_offset"]), (0, 3, 3))
            if version >= 5:
                eq(part["log_start_offset"], 0)
            one, two, three = records(part["records"])
            eq((one["offset"], one["key"], json.loads(one["value"]), one["timestamp"]),
               (0, b"k", {"a": 1}, 1700000001234))
            eq(one["headers"], [("h", b"v"), ("two", b"x"), ("two", b"y")])
            eq((two["offset"], two["key"], two["value"], two["timestamp"]), (1, None, b"\0\xff", 1700000001235))
            eq((three["key"], three["value"]), (b"gone", None))


@test("an offset in the middle of a batch gets the whole batch; the end gets nothing")
def _(w):
    put_topic(w, "middle", partitions=1)
    post(w, "middle", ["a", "b", "c"])
    post(w, "middle", ["d"])
    with Kafka(w) as k:
        eq([b.base for b in batches(k.fetch("middle", offset=1)["records"])], [0, 3])
        eq(values(k.fetch("middle", offset=3)), ["d"])
        part = k.fetch("middle", offset=4)
        eq((part["error_code"], part["records"], part["high_watermark"]), (0, b"", 4))


@test("errors of a partition: unknown topic or partition, past the end, before the beginning, a leader epoch that never was")
def _(w):
    put_topic(w, "errors", partitions=2)
    post(w, "errors", ["a", "b"], "?partition=0")
    with Session(w) as s:
        expect(s.request("POST", "/v1/topics/errors/trim", json.dumps({"before": "latest"}),
                         {"Content-Type": "application/json"}), 200)
    post(w, "errors", ["c"], "?partition=0")
    with Kafka(w) as k:
        got = parts(fetch(k, [asked("errors", [(0, 0), (0, 9), (2, 0), (-1, 0), (0, 2, 1 << 20, 1), (0, 2, 1 << 20, 0), (0, 2, 1 << 20, -2)]),
                              asked("nobody", [(0, 0)])], max_wait_ms=20000, min_bytes=1 << 20))
        eq([p["error_code"] for p in got],
           [OUT_OF_RANGE, OUT_OF_RANGE, UNKNOWN, UNKNOWN, UNKNOWN_EPOCH, 0, FENCED, UNKNOWN])
        eq((got[0]["log_start_offset"], got[0]["high_watermark"]), (2, 3))
        eq((got[2]["log_start_offset"], got[2]["high_watermark"]), (-1, -1))
        eq(values(got[5]), ["c"])


@test("a session that never was is refused, and no session is ever given")
def _(w):
    put_topic(w, "sessions", partitions=1)
    with Kafka(w) as k:
        eq(fetch(k, [], session_id=7, session_epoch=3)["error_code"], NO_SESSION)
        eq(fetch(k, [], session_id=0, session_epoch=3)["error_code"], NO_SESSION)
        for epoch in (-1, 0):
            got = fetch(k, [asked("sessions", [(0, 0)])], session_id=0, session_epoch=epoch)
            eq((got["error_code"], got["session_id"], len(parts(got))), (0, 0, 1))


@test("a long poll waits for min_bytes over all partitions, and no longer than max_wait")
def _(w):
    put_topic(w, "poll", partitions=2)
    with Kafka(w) as k:
        before = time.monotonic()
        got = parts(fetch(k, [asked("poll", [(0, 0), (1, 0)])], max_wait_ms=300))
        check(time.monotonic() - before >= 0.3, "answered before its time")
        eq([p["records"] for p in got], [b"", b""])
        k.send("Fetch", 11, topics=[asked("poll", [(0, 0), (1, 0)])], max_wait_ms=25000, min_bytes=1, max_bytes=1 << 20)
        time.sleep(0.1)
        post(w, "poll", ["x"], "?partition=1")
        eq([values(p) for p in parts(k.answer())], [[], ["x"]])
        k.send("Fetch", 11, topics=[asked("poll", [(0, 0), (1, 1)])], max_wait_ms=25000, min_bytes=3000, max_bytes=1 << 20)
        post(w, "poll", ["a" * 1000], "?partition=0")
        post(w, "poll", ["b" * 1000], "?partition=1")
        k.sock.settimeout(0.5)
        try:
            k.sock.recv(1)
            check(False, "answered below min_bytes")
        except socket.timeout:
            k.sock.settimeout(20 * SLOW)
        post(w, "poll", ["c" * 1000], "?partition=0")
        eq([len(values(p)) for p in parts(k.answer())], [2, 1])


@test("limits of a partition and of the whole hold, but the first batch always comes whole, in the order asked for")
def _(w):
    put_topic(w, "limits", partitions=3)
    for p in range(3):
        for i in range(4):
            post(w, "limits", ["%d" % i + "x" * 5000], "?partition=%d" % p)
    with Kafka(w) as k:
        def counts(order, most, **more):
            got = parts(fetch(k, [asked("limits", [(p, 0, most) for p in order])], **more))
            eq([p["partition_index"] for p in got], list(order))
            return [len(values(p)) for p in got]
        eq(counts((0, 1, 2), 1 << 20), [4, 4, 4])
        eq(counts((0, 1, 2), 10500), [2, 2, 2])
        eq(counts((2, 1, 0), 1), [1, 0, 0])
        eq(counts((2, 1, 0), 1 << 20, max_bytes=1), [1, 0, 0])
        eq(counts((2, 1, 0), 1 << 20, max_bytes=31000), [4, 2, 0])
        eq(counts((1, 0, 2), 10500, max_bytes=16000), [2, 1, 0])
        eq(counts((1, 0, 2), 0, max_bytes=0, min_bytes=0), [1, 0, 0])


@test("a client that goes in the middle of its long poll, or asks and never reads, holds up nobody")
def _(w):
    put_topic(w, "gone", partitions=1)
    post(w, "gone", ["x" * 500000])
    ask = [asked("gone", [(0, 0)])]
    idle = [Kafka(w) for _ in range(20)]
    for k in idle:
        k.send("Fetch", 11, topics=[asked("gone", [(0, 1)])], max_wait_ms=60000, min_bytes=1)
        k.close()
    deaf = [Kafka(w) for _ in range(20)]
    for k in deaf:
        for _ in range(20):
            k.send("Fetch", 11, topics=ask, max_bytes=1 << 20)
    with Kafka(w) as k:
        for _ in range(5):
            eq(len(values(k.fetch("gone"))), 1)
    for k in deaf:
        k.close()
    post(w, "gone", ["y"])
    with Kafka(w) as k:
        eq(values(k.fetch("gone", offset=1)), ["y"])


@test("5000 connections that ask and never read leave memory and others alone", own=True, timeout=120)
def _():
    with Weir("memory: 256MiB\nhttp: { max_connections: 20000 }\n") as w:
        put_topic(w, "crowd", partitions=1)
        for i in range(8):
            post(w, "crowd", ["x" * 250000])
        where, crowd = address(w), []
        ask = request("Fetch", 11, topics=[asked("crowd", [(0, 0, 1 << 22)])], max_bytes=1 << 22)
        try:
            for _ in range(5000):
                s = socket.create_connection(where, timeout=20 * SLOW)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                crowd.append(s)
                s.sendall(ask)
        except OSError as e:
            if len(crowd) < 1000:
                raise Skip("no descriptors for a crowd: %s" % e)
        with Kafka(w, timeout=30) as k:
            for _ in range(3):
                check(len(values(k.fetch("crowd"))) >= 1, "nothing to read beside the crowd")
        with open("/proc/%d/status" % w.pid) as f:
            rss = int([l for l in f if l.startswith("VmRSS")][0].split()[1]) >> 10
        check(rss < 700, "resident memory %d MiB" % rss)
        for s in crowd:
            s.close()
        w.stop()


@test("2000 idle consumers cost no processor time to speak of", own=True, timeout=120)
def _():
    with Weir() as w:
        put_topic(w, "idle", partitions=4)
        where, crowd = address(w), []
        ask = request("Fetch", 11, topics=[asked("idle", [(p, 0) for p in range(4)])], max_wait_ms=30000, min_bytes=1)
        for _ in range(2000):
            s = socket.create_connection(where, timeout=20 * SLOW)
            s.sendall(ask)
            crowd.append(s)
        time.sleep(1)
        def ticks():
            with open("/proc/%d/stat" % w.pid) as f:
                return sum(int(x) for x in f.read().rsplit(")", 1)[1].split()[11:13])
        before = ticks()
        time.sleep(4)
        spent = ticks() - before
        check(spent <= 4, "%d ticks in 4 s" % spent)
        post(w, "idle", ["x"], "?partition=2")
        for s in crowd:
            s.settimeout(20 * SLOW)
            check(len(s.recv(65536)) > 60, "no answer")
            s.close()
        w.stop()


@test("weir stops at once while consumers wait", own=True)
def _():
    with Weir() as w:
        put_topic(w, "stop", partitions=1)
        waiting = [Kafka(w) for _ in range(5)]
        for k in waiting:
            k.send("Fetch", 11, topics=[asked("stop", [(0, 0)])], max_wait_ms=60000, min_bytes=1)
        time.sleep(0.2)
        before = time.monotonic()
        w.stop()
        check(time.monotonic() - before < 10 * SLOW, "stopping took too long")
        for k in waiting:
            eq(parts(k.answer())[0]["error_code"], 0)
            k.close()


@test("what is cold comes from disk, byte for byte, and a flipped bit costs its own records", own=True, timeout=60)
def _():
    with Weir() as w:
        put_topic(w, "cold", partitions=2)
        for i in range(60):
            post(w, "cold", ["%d " % i + "x" * 20000], "?partition=0")
            post(w, "cold", ["%d " % i + "y" * 300], "?partition=1")
        w.restart()
        with Kafka(w) as k:
            def all_of(partition):
                out, at = [], 0
                while True:
                    part = k.fetch("cold", partition, at, max_bytes=100000)
                    eq(part["error_code"], 0)
                    got = records(part["records"])
                    if not got:
                        eq(part["high_watermark"], 60)
                        return out
                    out += [r["value"].decode().split()[0] for r in got]
                    at = got[-1]["offset"] + 1
            eq(all_of(0), [str(i) for i in range(60)])
            eq(all_of(1), [str(i) for i in range(60)])
        w.stop()
        logs = [os.path.join(d, f) for d, _, fs in os.walk(os.path.join(w.data, "topics")) for f in fs
                if f.endswith(".log") and os.path.getsize(os.path.join(d, f)) > 500000]
        eq(len(logs), 1)
        with open(logs[0], "r+b") as f:
            f.seek(os.path.getsize(logs[0]) // 2)
            b = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([b[0] ^ 1]))
        w.start()
        with Kafka(w) as k:
            got, at = [], 0
            while at < 60:
                part = k.fetch("cold", 0, at, max_bytes=100000)
                eq(part["error_code"], 0)
                new = records(part["records"])
                check(new, "nothing at %d" % at)
                got += [r["offset"] for r in new]
                at = got[-1] + 1
            eq(len(got), 59)


@test("the second reader of history gets the same bytes, as ranges of files", own=True, timeout=60)
def _():
    with Weir("log: { tail_bytes: 1MiB }\n") as w:
        put_topic(w, "again", partitions=1)
        for i in range(80):
            post(w, "again", ["%d " % i + os.urandom(20000).hex()])
        for _ in range(2):
            with Kafka(w) as k:
                def everything(most):
                    out, at = b"", 0
                    while at < 80:
                        part = k.fetch("again", 0, at, max_bytes=most)
                        got = batches(part["records"])
                        check(got and got[0].base <= at, "nothing at %d" % at)
                        at = got[-1].base + got[-1].last_delta + 1
                        out += part["records"]
                    return out
                first = everything(1 << 20)
                check(first == everything(1 << 20), "other bytes the second time")
                check(first == everything(300000), "other bytes with another limit")
                eq([r["offset"] for r in records(first)], list(range(80)))
            w.restart()
        w.stop()


# ---- ListOffsets ----

def list_offsets(k, topic, at, version=7, partition=0, isolation_level=0, epoch=-1):
    got = k.call("ListOffsets", version, replica_id=-1, isolation_level=isolation_level,
                 topics=[{"name": topic, "partitions": [{"partition_index": partition, "timestamp": at,
                                                         "current_leader_epoch": epoch}]}])
    p = got["topics"][0]["partitions"][0]
    return p["error_code"], p["offset"], p["timestamp"]


@test("offsets by time: beginning, end, the first record at or after, the highest, none; in every version")
def _(w):
    put_topic(w, "times", partitions=2)
    post(w, "times", [{"value": 1, "timestamp": 1000}, {"value": 2, "timestamp": 3000}], "?partition=0")
    post(w, "times", [{"value": 3, "timestamp": 2000}], "?partition=0")
    with Kafka(w) as k:
        for version in range(1, 8):
            for time_ms, want in ((EARLIEST, (0, 0, -1)), (LATEST, (0, 3, -1)), (0, (0, 0, 1000)), (1000, (0, 0, 1000)),
                                  (1001, (0, 1, 3000)), (3000, (0, 1, 3000)), (3001, (0, -1, -1)),
                                  (MAX_TIME, (0, 1, 3000) if version >= 7 else (UNSUPPORTED, -1, -1)),
                                  (-4, (UNSUPPORTED, -1, -1))):
                eq(list_offsets(k, "times", time_ms, version), want, "time %d in version %d" % (time_ms, version))
        for time_ms, want in ((EARLIEST, (0, 0, -1)), (LATEST, (0, 0, -1)), (0, (0, -1, -1)), (MAX_TIME, (0, -1, -1))):
            eq(list_offsets(k, "times", time_ms, partition=1), want)
        eq(list_offsets(k, "times", LATEST, partition=2)[0], UNKNOWN)
        eq(list_offsets(k, "nobody", 5)[0], UNKNOWN)
        eq(list_offsets(k, "times", LATEST, epoch=1)[0], UNKNOWN_EPOCH)
        got = k.call("ListOffsets", 7, topics=[{"name": "times", "partitions": [
            {"partition_index": 0, "timestamp": t} for t in range(900, 1100)]}])
        eq([p["offset"] for p in got["topics"][0]["partitions"]], [0] * 101 + [1] * 99)


@test("the epoch that there is ends at the end, no other was ever there")
def _(w):
    put_topic(w, "epochs", partitions=1)
    post(w, "epochs", ["a", "b"])
    with Kafka(w) as k:
        for version in (2, 3, 4):
            got = k.call("OffsetForLeaderEpoch", version, topics=[{"topic": "epochs", "partitions": [
                {"partition": 0, "leader_epoch": 0}, {"partition": 0, "leader_epoch": 1},
                {"partition": 1, "leader_epoch": 0},
                {"partition": 0, "current_leader_epoch": 2, "leader_epoch": 0}]}])["topics"][0]["partitions"]
            eq([(p["error_code"], p["leader_epoch"], p["end_offset"]) for p in got],
               [(0, 0, 2), (0, -1, -1), (UNKNOWN, -1, -1), (UNKNOWN_EPOCH, -1, -1)])


# ---- both doors ----

@test("what Kafka produces HTTP reads, and the other way round, record for record")
def _(w):
    put_topic(w, "doors", partitions=1)
    with Kafka(w) as k:
        eq(k.produce("doors", batch([(b"k", b"from kafka", [("h", b"v"), ("n", None)], 5)], first_time=1700000000000))["error_code"], 0)
        post(w, "doors", [{"key": "k2", "value_text": "from http", "headers": {"h": "v"}, "timestamp": 1700000000009}])
        got = records(k.fetch("doors")["records"])
    eq([(r["offset"], r["key"], r["value"], r["timestamp"], r["headers"]) for r in got],
       [(0, b"k", b"from kafka", 1700000000005, [("h", b"v"), ("n", None)]),
        (1, b"k2", b"from http", 1700000000009, [("h", b"v")])])
    with Session(w) as s:
        one, two = expect(s.request("GET", "/v1/topics/doors/records?cursor=earliest"), 200).json()["records"]
    eq((one["offset"], one["key"], one["value_text"], one["timestamp"], one["headers"]["h"]),
       (0, "k", "from kafka", 1700000000005, "v"))
    eq((two["offset"], two["key"], two["value_text"], two["timestamp"]), (1, "k2", "from http", 1700000000009))


# ---- a client of the world ----

def kcat(w, *args):
    if not shutil.which("kcat"):
        raise Skip("no kcat")
    run = subprocess.run(["kcat", "-b", "%s:%d" % address(w)] + list(args), capture_output=True, timeout=25 * SLOW)
    eq(run.returncode, 0, run.stderr.decode()[-500:])
    return run.stdout.decode()


@test("kcat reads from the beginning, the end, an offset and a time, with key, headers and timestamp")
def _(w):
    put_topic(w, "kcat", partitions=1)
    for i in range(50):
        post(w, "kcat", [{"key": "k%d" % i, "value_text": "v%d" % i, "headers": {"n": str(i)},
                          "timestamp": 1700000000000 + 1000 * i}])
    def lines(offset, form="%o %k %s %h %T\n"):
        return kcat(w, "-C", "-t", "kcat", "-o", offset, "-e", "-q", "-f", form).splitlines()
    want = ["%d k%d v%d n=%d %d" % (i, i, i, i, 1700000000000 + 1000 * i) for i in range(50)]
    eq(lines("beginning"), want)
    eq(lines("end"), [])
    eq(lines("-5"), want[-5:])
    eq(lines("17"), want[17:])
    eq(lines("s@1700000030500"), want[31:])
