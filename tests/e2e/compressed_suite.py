# SPDX-License-Identifier: Apache-2.0
"""Compressed batches: every way out over HTTP reads them as any other.

Kafka's clients write them, and so does recompression. Here those of
src/proto/batch/codec_vectors.h, which other clients made, are put into a
sealed segment of a daemon that is not running: twelve records a batch, as the
requests had that the segment was filled with.
"""
import glob
import os
import re
import struct

from harness import Sse, Weir, Ws, check, eq, query, test

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = "log: { segment_bytes: 1MiB, tail_bytes: 1MiB }\ntopics:\n  - { name: t, partitions: 1, retention: forever }\n"
A_BATCH = 12
BASE_MS = 1700000000000


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def vectors():
    """(name, bytes) of each."""
    with open(os.path.join(HERE, "../../src/proto/batch/codec_vectors.h")) as f:
        text = f.read()
    out = []
    for name, hexes in re.findall(r'\{"([\w -]+)",\s*\d,((?:\s*"[0-9a-f]+")+)', text):
        out.append((name, bytes.fromhex("".join(re.findall(r"[0-9a-f]{2,}", hexes)))))
    eq(len(out), 12, "vectors")
    return out


def based(batch, offset):
    return struct.pack(">q", offset) + batch[8:]


def broken(batch):
    """Its checksum is right; its records cannot be inflated."""
    rest = batch[21:61] + bytes(b ^ 0xff for b in batch[61:69]) + batch[69:]
    return batch[:17] + struct.pack(">I", crc32c(rest)) + rest


def lost(batch):
    """What repair leaves in its place: no records, and a mark that damage has cost them."""
    rest = struct.pack(">Hi", 0x8000, A_BATCH - 1) + batch[27:57] + struct.pack(">i", 0)
    return batch[:8] + struct.pack(">i", 49) + batch[12:17] + struct.pack(">I", crc32c(rest)) + rest


def expected(i):
    record = {"value": {"number": i, "text": "the same words over and over"}} if i != 5 else {"value": None, "tombstone": True}
    record["key"] = "key-%d" % (i % 3) if i % 4 else None
    record["headers"] = {"trace": "%04x" % i, "none": None} if i % 2 else {}
    record["timestamp"] = BASE_MS + i * 10
    return record


def check_record(got, offset):
    eq(got["offset"], offset)
    want = expected(offset % A_BATCH)
    eq({k: got[k] for k in want}, want, "record %d" % offset)


def segments(w):
    """The log files of the one topic whose records are large, oldest first."""
    logs = glob.glob(os.path.join(w.data, "topics", "*", "0", "*.log"))
    folder = max({os.path.dirname(p) for p in logs}, key=lambda d: sum(os.path.getsize(p) for p in logs if p.startswith(d)))
    return sorted(p for p in logs if p.startswith(folder))


def fill(w):
    """Batches of twelve records until two segments are sealed."""
    body = "\n".join('"%s"' % ("x" * 8000) for _ in range(A_BATCH))
    while len(segments(w)) < 3 if os.path.isdir(os.path.join(w.data, "topics")) and glob.glob(
            os.path.join(w.data, "topics", "*", "0", "*.log")) else True:
        w.push("t", body, "application/x-ndjson")


def put_vectors(w, damage=None, how=broken):
    """Rewrites the first two segments; gives the offset behind the compressed records."""
    known, at = vectors(), 0
    for path, after in zip(segments(w)[:2], segments(w)[1:3]):
        end, out = int(os.path.basename(after)[:20]), b""
        check(end % A_BATCH == 0, "segments hold whole requests")
        while at < end:
            batch = known[at // A_BATCH % len(known)][1]
            out += based(how(batch) if at == damage else batch, at)
            at += A_BATCH
        with open(path, "wb") as f:
            f.write(out)
        for ending in ("index", "timeindex"):
            if os.path.exists(path[:-3] + ending):
                os.remove(path[:-3] + ending)
    return at


def prepared(damage=None, how=broken):
    w = Weir(CONFIG)
    try:
        fill(w)
        w.stop()
        end = put_vectors(w, damage, how)
        check(end > 12 * A_BATCH, "every vector is in it")
        w.start()
    except BaseException:
        w.discard()
        raise
    return w, end


@test("records that were compressed by Java, librdkafka and kafka-python are read by polls of every size", own=True, timeout=60)
def polls():
    w, end = prepared()
    with w:
        for limit in (1000, 100, 7):
            cursor, offset = "earliest", 0
            while offset < end:
                page = w.poll("t", cursor=cursor, limit=limit)
                eq(page.get("gaps", []), [])
                check(page["records"], "a page has records")
                for r in page["records"]:
                    if r["offset"] < end:
                        check_record(r, offset)
                    offset += 1
                cursor = page["cursor"]
        page = w.get("/v1/topics/t/partitions/0/records" + query(offset=17, limit=3)).json()
        for i, r in enumerate(page["records"]):
            check_record(r, 17 + i)
        eq(page["next_offset"], 20)


@test("streams give compressed records, from within a batch too", own=True, timeout=60)
def streams():
    w, end = prepared()
    with w:
        cursor = w.poll("t", cursor="earliest", limit=31)["cursor"]
        with Sse(w, "/v1/topics/t/sse" + query(cursor=cursor)) as s:
            for offset in range(31, end):
                check_record(s.next().json(), offset)
        with Ws(w, "/v1/topics/t/ws" + query(mode="subscribe", cursor=cursor)) as s:
            for offset in range(31, end):
                check_record(s.json(), offset)
        with Ws(w, "/v1/topics/t/ws" + query(mode="subscribe", cursor="earliest", format="raw")) as s:
            check(b"the same words" in s.message()[1], "the value alone")


@test("a key selects compressed records", own=True, timeout=60)
def keys():
    w, end = prepared()
    with w:
        want = [o for o in range(end) if expected(o % A_BATCH)["key"] == "key-2"]
        got, cursor = [], "earliest"
        while len(got) < len(want):
            page = w.poll("t", cursor=cursor, key="key-2", limit=10)
            got += page["records"]
            cursor = page["cursor"]
        for r, offset in zip(got, want):
            check_record(r, offset)
        with Sse(w, "/v1/topics/t/sse" + query(cursor="earliest", key="key-2")) as s:
            for offset in want:
                check_record(s.next().json(), offset)


@test("a time is found within a compressed batch", own=True, timeout=60)
def times():
    w, _end = prepared()
    with w:
        page = w.poll("t", cursor="@%d" % (BASE_MS + 41), limit=2)
        check_record(page["records"][0], 5)


@test("a batch that cannot be inflated, or stands for what was lost, is a gap, and what is around it is read", own=True, timeout=90)
def damage():
    for batch, how in ((12, broken), (24, broken), (36, broken), (48, lost)):  # of the Java client: snappy, lz4, zstd
        w, end = prepared(batch, how)
        gap = {"partition": 0, "from": batch, "to": batch + A_BATCH}
        with w:
            for limit in (end, 5):
                got, gaps, cursor = [], [], "earliest"
                while len(got) < end - A_BATCH:
                    page = w.poll("t", cursor=cursor, limit=limit)
                    got += [r["offset"] for r in page["records"]]
                    gaps += page.get("gaps", [])
                    cursor = page["cursor"]
                eq(gaps, [gap], "told once")
                eq([o for o in got if o < end], [o for o in range(end) if not batch <= o < batch + A_BATCH])
            with Sse(w, "/v1/topics/t/sse" + query(cursor="earliest")) as s:
                for offset in range(batch):
                    check_record(s.next().json(), offset)
                event = s.next()
                eq((event.event, event.json()["gap"]), ("gap", gap))
                check_record(s.next().json(), batch + A_BATCH)
