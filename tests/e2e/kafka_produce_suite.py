# SPDX-License-Identifier: Apache-2.0
"""Produce, byte by byte and by real clients; what HTTP then shows of it."""
import json
import os
import random
import re
import socket
import struct
import subprocess
import time

import kafka_wire
from harness import SLOW, Skip, Weir, check, eq, expect, test
from kafka_wire import APIS, Kafka, Reader, address, batch, compress, record, request, zstd_of_one_byte

(CORRUPT, UNKNOWN, TOO_LARGE, INVALID_TOPIC, ACKS, TIMESTAMP, ORDER, EPOCH, TXN_STATE, TXN_ID, COMPRESSION, INVALID) = (
    2, 3, 10, 17, 21, 32, 45, 47, 48, 53, 76, 87)


def ends(w, topic):
    return [p["end"] for p in expect(w.get("/v1/topics/" + topic), 200).json()["offsets"]]


def refused(r, code, *words):
    eq((r["error_code"], r["base_offset"]), (code, -1), r["error_message"])
    for word in words:
        check(word in r["error_message"], "%r is not in %r" % (word, r["error_message"]))


def stored(r, offset=None):
    eq(r["error_code"], 0, r["error_message"])
    if offset is not None:
        eq(r["base_offset"], offset)
    return r["base_offset"]


def several(k, *parts, version=9, acks=-1, transactional_id=None):
    """parts: (topic, partition, records). Their answers, in order."""
    topics = [{"name": t, "partition_data": [{"index": p, "records": r}]} for t, p, r in parts]
    got = k.call("Produce", version, acks=acks, timeout_ms=30000, transactional_id=transactional_id, topic_data=topics)
    eq([t["name"] for t in got["responses"]], [t for t, _, _ in parts])
    return [t["partition_responses"][0] for t in got["responses"]]


# ---- the tests' own tools ----

@test("Kafka's messages as the tests write and read them are those of Apache Kafka", own=True)
def _():
    names = {a["key"]: name for name, a in APIS.items()}
    count = 0
    with open(os.path.join(kafka_wire.FOLDER, "kafka_vectors.def")) as f:
        rows = re.findall(r'VECTOR\((\d+), (\d+), (\w+), \w+, "([0-9a-f]*)"', f.read())
    for key, version, what, text in rows:
        name, version, data = names[int(key)], int(version), bytes.fromhex(text)
        a, r = APIS[name], Reader(data)
        flexible = version >= a["flexible"]
        if what == "REQUEST":
            r.take(8)
            r.take(max(r.number(">h"), 0))
        else:
            r.take(4)
        if flexible and (what == "REQUEST" or name != "ApiVersions"):
            r.take(1)
        layout, at = "kafka_%s_%s" % (a["noun"], what.lower()), r.at
        message = kafka_wire.read(layout, r, version, flexible)
        eq((r.left(), kafka_wire.write(layout, message, version, flexible)), (0, data[at:]), "%s %d" % (name, version))
        count += 1
    check(count > 600, "%d vectors" % count)


# ---- storing ----

@test("a batch is taken in every version of Produce, with acks 1 and all")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i, (version, acks) in enumerate((v, a) for v in range(3, 13) for a in (1, -1)):
            r = k.produce(t, batch([b"%d" % i]), version=version, acks=acks)
            stored(r, i)
            eq((r["log_append_time_ms"], r["log_start_offset"]), (-1, 0 if version >= 5 else -1))
    eq(w.values(t), list(range(20)))


@test("Produce 0 to 2 are told and not served")
def _(w):
    with Kafka(w) as k:
        ranges = {a["api_key"]: (a["min_version"], a["max_version"]) for a in k.call("ApiVersions", 0)["api_keys"]}
        eq(ranges[0], (0, 12))
        k.send("Produce", 2, body=struct.pack(">hii", 1, 1000, 0))
        check(k.closed(), "the connection stays open")


@test("HTTP shows key, headers and timestamp of what a Kafka client produced")
def _(w):
    t = w.topic(partitions=1)
    headers = [("a", b"1"), ("none", None), ("a", b"2"), ("empty", b""), ("raw", b"\xff\x00"), ("a", None)]
    with Kafka(w) as k:
        stored(k.produce(t, batch([(b"k", b'{"n":1}', headers, 0), (b"", b"text", [], 7), (None, b"\xff", [], 3),
                                   (b"\xfe", None, [], 5)])), 0)
    a, b, c, d = w.all(t)
    eq(a["headers"], {"a": ["1", "2", None], "none": None, "empty": "", "raw": {"base64": "/wA="}})
    eq((a["key"], a["value"], a["timestamp"]), ("k", {"n": 1}, 1700000000000))
    eq((b["key"], b["value_text"], b["timestamp"], b["headers"]), ("", "text", 1700000000007, {}))
    eq((c["key"], c["value_base64"], c["timestamp"]), (None, "/w==", 1700000000003))
    eq((d["key_base64"], d["value"], d["tombstone"]), ("/g==", None, True))


@test("names and values of headers that are no text come to HTTP without breaking its JSON")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        stored(k.produce(t, batch([(b"k", b"1", [(b"\xff\xfe", b"v"), (b"", b"w"), ("q\"\n", b"x")])])))
    json.loads(w.poll_text(t, cursor="earliest"))
    eq(len(w.all(t)), 1)


@test("every codec is stored as it came and read over HTTP")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i, codec in enumerate(("none", "gzip", "snappy")):
            stored(k.produce(t, batch([b"%d" % n for n in range(10)], codec=codec)), 10 * i)
        plain = record(0, None, b"0" * 100000)
        frame = b"\x28\xb5\x2f\xfd\x00\x58" + struct.pack("<I", len(plain) << 3 | 1)[:3] + plain
        stored(k.produce(t, batch([b""], codec="zstd", block=frame)), 30)
    values = w.all(t)
    eq([r["value"] for r in values[:30]], list(range(10)) * 3)
    eq(len(values[30]["value_text"]), 100000)


@test("the log gives the time where the topic says so, and the answer tells it")
def _(w):
    t = w.topic(partitions=1, timestamps="append")
    with Kafka(w) as k:
        r = k.produce(t, batch([b"1", b"2"]))
    check(r["log_append_time_ms"] > 1750000000000, "%r" % r)
    eq([x["timestamp"] for x in w.all(t)], [r["log_append_time_ms"]] * 2)


@test("a wrong highest timestamp does not spoil the search by time")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        stored(k.produce(t, batch([(None, b"1", [], 0), (None, b"2", [], 500)], max_time=5)))
    check(2 in [r["value"] for r in w.all(t, cursor="@1700000000400")], "the record is not found by its time")


@test("what was acknowledged is there after a kill", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=2)
        with Kafka(w) as k:
            for i in range(50):
                stored(k.produce(t, batch([b"%d" % i], codec=("none", "gzip")[i % 2]), partition=i % 2), i // 2)
        w.restart(hard=True)
        eq(sorted(w.values(t)), list(range(50)))


@test("pipelined requests are answered in order, and enter the log together")
def _(w):
    t = w.topic(partitions=3)
    before = w.metrics()
    with Kafka(w) as k:
        k.raw(b"".join(kafka_wire.request("Produce", 9, i, acks=-1, timeout_ms=1000, topic_data=[
            {"name": t, "partition_data": [{"index": i % 3, "records": batch([b"%d" % i])}]}]) for i in range(300)))
        for i in range(300):
            k.waiting.append(("Produce", 9, i))
        for i in range(300):
            stored(k.answer()["responses"][0]["partition_responses"][0], i // 3)
    after = w.metrics()
    commits, groups = (after[n] - before[n] for n in ("weir_log_commits_total", "weir_log_groups_total"))
    eq(commits, 300)
    check(groups < 100, "%d groups for %d commits" % (groups, commits))


@test("two requests of different kinds keep their order")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i in range(20):
            k.send("Produce", 9, acks=-1, timeout_ms=1000, topic_data=[
                {"name": t, "partition_data": [{"index": 0, "records": batch([b"1"])}]}])
            k.send("Metadata", 9, topics=[{"name": t}])
        for i in range(20):
            stored(k.answer()["responses"][0]["partition_responses"][0], i)
            eq(k.answer()["topics"][0]["error_code"], 0)


# ---- acks ----

@test("acks=0 has no answer; where something was refused the connection closes")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i in range(5):
            k.send("Produce", 9, silent=True, acks=0, timeout_ms=1000, topic_data=[
                {"name": t, "partition_data": [{"index": 0, "records": batch([b"%d" % i])}]}])
        eq(k.call("Metadata", 9, topics=[])["cluster_id"] is not None, True, "and the connection goes on")
        eq(w.values(t), list(range(5)))
        k.send("Produce", 9, silent=True, acks=0, timeout_ms=1000, topic_data=[
            {"name": "nowhere." + t, "partition_data": [{"index": 0, "records": batch([b"1"])}]}])
        check(k.closed(), "the connection stays open")


@test("acks that Kafka does not know are refused for every partition")
def _(w):
    t = w.topic(partitions=2)
    with Kafka(w) as k:
        for acks in (2, -2, 32767):
            for r in several(k, (t, 0, batch([b"1"])), (t, 1, batch([b"1"])), acks=acks):
                refused(r, ACKS)
    eq(ends(w, t), [0, 0])


# ---- topics ----

@test("a topic that does not exist is not created by Produce")
def _(w):
    t = w.topic()
    with Kafka(w) as k:
        refused(k.produce(t, batch([b"1"])), UNKNOWN)
        refused(k.produce("", batch([b"1"])), UNKNOWN)
        refused(k.produce("a b/\xe4", batch([b"1"])), UNKNOWN)
        refused(k.produce(w.topic(partitions=1), batch([b"1"]), partition=1), UNKNOWN)
        refused(k.produce(w.topic(partitions=1), batch([b"1"]), partition=-1), UNKNOWN)
    eq(w.get("/v1/topics/" + t).status, 404)


@test("where one partition is refused the others are stored")
def _(w):
    t = w.topic(partitions=3)
    with Kafka(w) as k:
        a, b, c, d = several(k, (t, 0, batch([b"1"])), (t, 1, batch([b"1"], crc=7)), ("nowhere." + t, 0, batch([b"1"])),
                             (t, 2, batch([b"1", b"2"])))
        stored(a, 0)
        refused(b, CORRUPT, "checksum")
        refused(c, UNKNOWN)
        stored(d, 0)
    eq(ends(w, t), [1, 0, 2])


@test("records of a compacted topic without a key are refused by name, and their batch with them")
def _(w):
    t = w.topic(partitions=1, cleanup="compact")
    with Kafka(w) as k:
        bad = batch([(b"k", b"1"), (None, b"2"), (b"", b"3"), (None, b"4")])
        for version in (3, 7, 8, 12):
            r = k.produce(t, bad, version=version)
            eq((r["error_code"], [e["batch_index"] for e in r["record_errors"]]),
               (INVALID, [1, 3] if version >= 8 else []))
        check("key" in r["record_errors"][0]["batch_index_error_message"], "%r" % r)
        stored(k.produce(t, batch([(b"k", b"1"), (b"", b"3")])), 0)


@test("the largest batch is the topic's to say")
def _(w):
    t, small = w.topic(partitions=1), w.topic(partitions=1, max_message_bytes=5000)
    with Kafka(w) as k:
        most = 1048588 - len(batch([b"x" * 1000000])) + 1000000
        stored(k.produce(t, batch([b"x" * most])), 0)
        refused(k.produce(t, batch([b"x" * (most + 1)])), TOO_LARGE, "1048589", "1048588")
        stored(k.produce(small, batch([b"x" * 4900])), 0)
        refused(k.produce(small, batch([b"x" * 5000])), TOO_LARGE)
        refused(k.produce(small, batch([b"x" * 5001], codec="gzip")), TOO_LARGE, "record 0")
    eq(ends(w, t) + ends(w, small), [1, 1])


# ---- batches that are wrong ----

BAD = [
    ("a checksum that is wrong", batch([b"1"], crc=1), CORRUPT),
    ("one bit of a value", batch([b"1"])[:-2] + b"\x32\x00", CORRUPT),
    ("a count over the records", batch([b"1"], count=2, last_delta=1), INVALID),
    ("a count far over them", batch([b"1"], count=2**31 - 1, last_delta=2**31 - 2), INVALID),
    ("a count under them", batch([b"1", b"2"], count=1, last_delta=0), INVALID),
    ("a negative count", batch([b"1"], count=2**32 - 1), INVALID),
    ("a last offset that is not its", batch([b"1"], last_delta=5), INVALID),
    ("no records", batch([], count=0, last_delta=0), INVALID),
    ("offsets that stand still", batch([{"delta": 0, "value": b"1"}, {"delta": 0, "value": b"2"}]), INVALID),
    ("offsets of a compressed block with a gap", batch([{"delta": 0}, {"delta": 2}], codec="gzip", last_delta=1), INVALID),
    ("a base offset", batch([b"1"], base=3), INVALID),
    ("a control batch", batch([b"1"], control=True), INVALID),
    ("the log's own time", batch([b"1"], attributes=8), TIMESTAMP),
    ("attributes that nobody knows", batch([b"1"], attributes=0x8000), INVALID),
    ("a codec that nobody knows", batch([b"1"], codec=5, block=b"\0" * 20), COMPRESSION),
    ("a producer without a sequence", batch([b"1"], pid=5, epoch=0), INVALID),
    ("a producer without an epoch", batch([b"1"], pid=5, sequence=0), INVALID),
    ("a transaction without a producer", batch([b"1"], transactional=True), TXN_ID),
    ("a block that is no gzip", batch([b"1"], codec="gzip", block=b"not gzip at all"), CORRUPT),
    ("a block that is cut", batch([b"1" * 1000], codec="gzip", block=compress("gzip", record(0, None, b"1" * 1000))[:-9]),
     None),
    ("bytes behind the block", batch([b"1"], codec="snappy", block=compress("snappy", record(0, None, b"1")) + b"x"), CORRUPT),
    ("bytes behind the records", batch([b"1"], plain=record(0, None, b"1") + b"\0"), INVALID),
    ("a record that is cut", batch([b"1"], plain=record(0, None, b"12345")[:-3]), INVALID),
    ("a header without a name", batch([b"1"], plain=b"\x10\0\0\0\1\0\2\1\1"), INVALID),
    ("another format", batch([b"1"], magic=1), INVALID),
    ("a format that never was", batch([b"1"], magic=9), INVALID),
    ("a length over the bytes", batch([b"1"], length=1000), CORRUPT),
    ("a length under a head", batch([b"1"], length=20), CORRUPT),
    ("a negative length", batch([b"1"], length=-5), CORRUPT),
    ("two batches", batch([b"1"]) + batch([b"2"]), INVALID),
    ("a batch and a byte", batch([b"1"]) + b"\0", INVALID),
    ("half a head", batch([b"1"])[:40], CORRUPT),
    ("nothing", b"", INVALID),
    ("null", None, INVALID),
    ("two gigabytes of zstd", batch([b"1"], codec="zstd", block=zstd_of_one_byte(1 << 31)), TOO_LARGE),
    ("a gigabyte of gzip", batch([b"1"], codec="gzip", block=compress("gzip", b"\0" * (1 << 28)) * 4), TOO_LARGE),
    ("a snappy block that says four gigabytes", batch([b"1"], codec="snappy", block=b"\xff\xff\xff\xff\x0f" + b"\0" * 9),
     None),
]


@test("batches that are wrong are refused with Kafka's codes and store nothing; the connection goes on", timeout=60)
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i, (name, records, code) in enumerate(BAD):
            r = k.produce(t, records, version=(9, 12, 8)[i % 3])
            check(r["error_code"] == code if code else r["error_code"] in (CORRUPT, TOO_LARGE), "%s: %r" % (name, r))
            eq((r["base_offset"], r["log_append_time_ms"], r["log_start_offset"]), (-1, -1, -1), name)
            check(r["error_message"], name + " has no message")
        eq(ends(w, t), [0])
        stored(k.produce(t, batch([b"1"])), 0)
    eq(w.values(t), [1])


@test("batches that inflate to gigabytes cost neither memory nor much time", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        bomb = batch([b"1"], codec="zstd", block=zstd_of_one_byte(1 << 31))
        with Kafka(w) as k:
            k.produce(t, batch([b"1"]))
            before = w.rss()
            for _ in range(50):
                refused(k.produce(t, bomb), TOO_LARGE)
        grown = w.rss() - before
        # A sanitizer holds freed memory back, 256 MiB of it.
        check(grown < (64 if SLOW == 1 else 512) << 20, "%d bytes more" % grown)


@test("zstd needs Produce 7")
def _(w):
    t = w.topic(partitions=1)
    plain = record(0, None, b"1")
    zstd = batch([b"1"], codec="zstd", block=b"\x28\xb5\x2f\xfd\x00\x58" + struct.pack("<I", len(plain) << 3 | 1)[:3] + plain)
    with Kafka(w) as k:
        eq(k.produce(t, zstd, version=6)["error_code"], COMPRESSION)
        stored(k.produce(t, zstd, version=7), 0)


@test("long requests that are cut anywhere are stored as they were sent, and one that ends in the middle is not")
def _(w):
    chance = random.Random(7)
    t = w.topic(partitions=1)
    batches = [batch([chance.randbytes(n)]) for n in (900000, 100, 40000, 33000, 65536, 600000, 10, 32768, 131072)]

    def asked(records, correlation):
        return request("Produce", 9, correlation, acks=-1, timeout_ms=30000, transactional_id=None,
                       topic_data=[{"name": t, "partition_data": [{"index": 0, "records": records}]}])
    with Kafka(w) as k:
        for step in (5000, 70000, 400000):
            rest = b"".join(asked(b, i) for i, b in enumerate(batches))
            while rest:
                n = chance.randrange(1, step)
                k.raw(rest[:n])
                rest = rest[n:]
                if chance.random() < 0.1:
                    time.sleep(0.002)  # a read of its own
            eq([struct.unpack(">i", k.frame()[:4])[0] for _ in batches], list(range(len(batches))))
    with Kafka(w) as k:
        for i in range(3 * len(batches)):
            sent, got = batches[i % len(batches)], k.fetch(t, offset=i, max_bytes=1)["records"]
            check(got[16:len(sent)] == sent[16:], "batch %d is another" % i)
        k.raw(asked(batches[0], 1)[:500000])
        k.sock.shutdown(socket.SHUT_WR)
        check(k.closed(), "the connection stays open")
    eq(ends(w, t), [3 * len(batches)])


@test("the same partition twice in one request is two batches, in order")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        a, b = several(k, (t, 0, batch([b"1", b"2"])), (t, 0, batch([b"3"])))
        stored(a, 0)
        stored(b, 2)
        got = k.call("Produce", 9, acks=-1, timeout_ms=1000, topic_data=[{"name": t, "partition_data": [
            {"index": 0, "records": batch([b"4"], pid=9, epoch=0, sequence=0)},
            {"index": 0, "records": batch([b"5"], pid=9, epoch=0, sequence=1)}]}])
        c, d = got["responses"][0]["partition_responses"]
        stored(c, 3)
        stored(d, 4)
    eq(w.values(t), [1, 2, 3, 4, 5])


@test("a request without topics or partitions is answered without any")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        eq(k.call("Produce", 9, acks=-1, topic_data=[])["responses"], [])
        eq(k.call("Produce", 9, acks=-1, topic_data=[{"name": t}])["responses"], [{"name": t, "partition_responses": []}])
        k.send("Produce", 9, silent=True, acks=0, topic_data=[])
        stored(k.produce(t, batch([b"1"])), 0)


# ---- producers ----

@test("a repeated batch is answered with its first offset and not stored again, also after a restart", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)

        def send(k, sequence, epoch=0, count=2):
            return k.produce(t, batch([b"%d" % sequence] * count, pid=77, epoch=epoch, sequence=sequence))
        with Kafka(w) as k:
            for i in range(8):
                stored(send(k, 2 * i), 2 * i)
            for i in range(3, 8):
                stored(send(k, 2 * i), 2 * i)
            refused(send(k, 4), ORDER)      # no longer remembered
            refused(send(k, 17), ORDER)     # one is missing
            refused(send(k, 14, count=1), ORDER)
        for hard in (False, True):
            w.restart(hard=hard)
            with Kafka(w) as k:
                stored(send(k, 14), 14)
                refused(send(k, 18), ORDER)
        with Kafka(w) as k:
            stored(send(k, 16), 16)
            stored(send(k, 0, epoch=1), 18)
            refused(send(k, 18), EPOCH)
        eq(len(w.all(t)), 20)


@test("a repeat of a batch in flight waits for it, and both are told the same offset")
def _(w):
    t = w.topic(partitions=1)
    one = batch([b"1"], pid=78, epoch=0, sequence=0)
    with Kafka(w) as a, Kafka(w) as b:
        for _ in range(20):
            for k in (a, b):
                k.send("Produce", 9, acks=-1, timeout_ms=1000, topic_data=[
                    {"name": t, "partition_data": [{"index": 0, "records": one}]}])
        for _ in range(20):
            for k in (a, b):
                stored(k.answer()["responses"][0]["partition_responses"][0], 0)
    eq(w.values(t), [1])


@test("sequences go on with 0 behind the highest")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        stored(k.produce(t, batch([b"1"] * 4, pid=79, epoch=0, sequence=2**31 - 3)), 0)
        stored(k.produce(t, batch([b"1"], pid=79, epoch=0, sequence=1)), 4)
        stored(k.produce(t, batch([b"1"] * 4, pid=79, epoch=0, sequence=2**31 - 3)), 0)
    eq(ends(w, t), [5])


@test("transactional records need a transactional id, and a transaction")
def _(w):
    t = w.topic(partitions=2)
    one = batch([b"1"], pid=80, epoch=0, sequence=0, transactional=True)
    with Kafka(w) as k:
        for r in several(k, (t, 0, one), (t, 1, batch([b"1"]))):
            refused(r, TXN_ID)
        a, b = several(k, (t, 0, one), (t, 1, batch([b"1"])), transactional_id="me")
        check(a["error_code"] in (TXN_STATE, 49), "%r" % a)
        stored(b, 0)
    eq(ends(w, t), [0, 1])


@test("a transaction may be written to the partitions that were added to it, and to no others")
def _(w):
    t = w.topic(partitions=2)
    me = "me." + t
    with Kafka(w) as k:
        r = k.call("InitProducerId", 4, transactional_id=me, transaction_timeout_ms=60000)
        eq(r["error_code"], 0)
        who = {"transactional_id": me, "producer_id": r["producer_id"], "producer_epoch": r["producer_epoch"]}

        def one(sequence, **more):
            return batch([b"%d" % sequence], pid=who["producer_id"], epoch=who["producer_epoch"], sequence=sequence,
                         **more)
        refused(k.produce(t, one(0, transactional=True), transactional_id=me), TXN_STATE)
        r = k.call("AddPartitionsToTxn", 3, v3_and_below_transactional_id=me,
                   v3_and_below_producer_id=who["producer_id"], v3_and_below_producer_epoch=who["producer_epoch"],
                   v3_and_below_topics=[{"name": t, "partitions": [0]}])
        eq(r["results_by_topic_v3_and_below"][0]["results_by_partition"][0]["partition_error_code"], 0)
        stored(k.produce(t, one(0, transactional=True), transactional_id=me), 0)
        stored(k.produce(t, one(1, transactional=True), transactional_id=me), 1)
        refused(k.produce(t, one(2), transactional_id=me), TXN_STATE)
        refused(k.produce(t, one(0, transactional=True), partition=1, transactional_id=me), TXN_STATE)
        eq(w.values(t), [], "before the commit")
        eq(k.call("EndTxn", 3, committed=True, **who)["error_code"], 0)
        eq(w.values(t), [0, 1])
        refused(k.produce(t, one(2, transactional=True), transactional_id=me), TXN_STATE)


# ---- beside HTTP ----

@test("a header idempotency-key of a Kafka record is a header and nothing else", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        with Kafka(w) as k:
            for _ in range(2):
                stored(k.produce(t, batch([(b"k", b"1", [("idempotency-key", b"same")])])))
        w.restart(hard=True)
        eq(w.push(t, "2", headers={"Idempotency-Key": "same"})["accepted"], 1)
        eq(w.push(t, "2", headers={"Idempotency-Key": "same"})["duplicates"], 1)
        with Kafka(w) as k:
            stored(k.produce(t, batch([(b"k", b"3", [("idempotency-key", b"same")])])), 3)
        eq([(r["value"], r["headers"]) for r in w.all(t)], [(n, {"idempotency-key": "same"}) for n in (1, 1, 2, 3)])


@test("HTTP and Kafka share partitions and offsets")
def _(w):
    t = w.topic(partitions=1)
    with Kafka(w) as k:
        for i in range(10):
            if i % 2:
                stored(k.produce(t, batch([b"%d" % i])), i)
            else:
                eq(w.push(t, str(i))["offsets"], [{"partition": 0, "first": i, "last": i}])
    eq(w.values(t), list(range(10)))


@test("what comes by way of Kafka is counted as such")
def _(w):
    t = w.topic(partitions=1)
    before = w.metrics()
    with Kafka(w) as k:
        one = batch([(b"key", b"value")] * 3, pid=81, epoch=0, sequence=0)
        stored(k.produce(t, one))
        stored(k.produce(t, one))
        refused(k.produce(t, batch([b"1"], crc=1)), CORRUPT)
    after = w.metrics()

    def grown(name):
        return after[name] - before[name]
    eq([grown('weir_ingest_%s{entry="kafka"}' % n) for n in (
        "requests_total", "records_total", "bytes_total", "duplicates_total", "in_flight")], [2, 3, 24, 3, 0])
    eq(grown('weir_ingest_seconds_count{entry="kafka"}'), 2)
    eq(grown('weir_refusals_total{code="corrupt_batch"}'), 1)


# ---- clients ----

def needs(w, *apis):
    with Kafka(w) as k:
        there = {a["api_key"] for a in k.call("ApiVersions", 0)["api_keys"]}
    for api in apis:
        if APIS[api]["key"] not in there:
            raise Skip("%s is not served" % api)


@test("kcat produces with every codec, and the batches lie compressed", own=True, timeout=60)
def _():
    with Weir() as w:
        needs(w, "Fetch", "ListOffsets", "FindCoordinator")  # without it librdkafka knows no lz4
        for codec, number in (("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)):
            t = w.topic(partitions=1)
            lines = "".join("key%d:%d the same words again and again\n" % (i % 7, i) for i in range(3000))
            p = subprocess.run(["kcat", "-P", "-b", "%s:%d" % address(w), "-t", t, "-K", ":", "-z", codec,
                                "-X", "linger.ms=200"], input=lines, text=True, capture_output=True, timeout=30 * SLOW)
            eq((p.returncode, p.stderr), (0, ""))
            got = w.all(t)
            eq(["%s:%s\n" % (r["key"], r["value_text"]) for r in got], lines.splitlines(True))
            with Kafka(w) as k:
                # librdkafka leaves plain what gets no shorter, such as a last record that came too late for its batch.
                eq({b.codec for b in kafka_wire.batches(k.fetch(t)["records"]) if b.count > 10}, {number}, codec)


@test("confluent-kafka produces plainly and idempotently; too large a message is told", own=True, timeout=60)
def _():
    with Weir() as w:
        needs(w, "Fetch", "InitProducerId")
        try:
            from confluent_kafka import KafkaError, Producer
        except ImportError:
            raise Skip("python3-confluent-kafka is not installed")
        for idempotent in (False, True):
            t = w.topic(partitions=3)
            p = Producer({"bootstrap.servers": "%s:%d" % address(w), "enable.idempotence": idempotent,
                          "linger.ms": 20, "message.max.bytes": 3000000})
            told = []
            for i in range(5000):
                p.produce(t, b"%d" % i, key=b"k%d" % (i % 50), headers=[("n", b"%d" % i), ("none", None)],
                          on_delivery=lambda e, m: told.append((e, m.offset())))
            eq(p.flush(20), 0)
            eq([e for e, _ in told if e], [])
            eq(len(told), 5000)
            got = w.all(t)
            eq(sorted(r["value"] for r in got), list(range(5000)))
            eq({r["headers"]["n"] == str(r["value"]) and r["headers"]["none"] is None for r in got}, {True})
            errors = []
            p.produce(t, b"x" * 2000000, on_delivery=lambda e, m: errors.append(e.code()))
            p.flush(20)
            eq(errors, [KafkaError.MSG_SIZE_TOO_LARGE])
