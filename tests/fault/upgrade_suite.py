# SPDX-License-Identifier: Apache-2.0
"""F37: data directories that earlier versions wrote, kept in the tree, open with what they held.

`upgrade_suite.py NAME` writes golden/NAME from the built weir: once for each
version of a format, and never again.
"""
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from faults import Shim  # noqa: E402
from harness import BIN, JSON, Weir, check, eq, expect, test, until  # noqa: E402
from kafka_wire import Kafka, Producer, batch, seen  # noqa: E402

GOLDEN = os.path.join(HERE, "golden")
CONFIG = ("log: { journal_bytes: 16MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB, segment_bytes: 1MiB }\n"
          "http: { record_bytes_max: 256KiB }\n")


def noise(n, size):
    """Bytes that are no text, the same on every machine; long ones repeat themselves, for a small archive."""
    out = hashlib.sha256(b"%d" % n).digest()
    return (out * (size // len(out) + 1))[:size]


def fill(w, first, count):
    """Records of each kind: JSON, text, bytes, tombstones, keys, headers, times, idempotency keys, several partitions."""
    base = "/v1/topics/orders/records"
    for i in range(first, first + count):
        w.batch("orders", [{"key": "k%d" % i, "value": {"n": i, "half": 1.50}, "headers": {"h": [str(i), {"base64": "/w=="}]},
                            "timestamp": 1700000000000 + i, "idempotency_key": "i%d" % i},
                           {"key": "k%d" % i, "value_text": "plain \u00e4 %d" % i}, {"key": "gone", "value": None, "tombstone": True}])
        expect(w.post(base, noise(i, 90000 if i % 10 == 0 else 50), {"Content-Type": "application/octet-stream"}), 200)
        expect(w.put("/v1/topics/single/records/p%d" % i, b'{"n":%d}' % i, JSON), 200)
    return w


# ---- what Kafka's clients leave behind ----

PLACE = {"name": "events", "partition_indexes": [0, 1]}


def sent(k, made, sequence):
    """Two records of an idempotent producer; gives where they are."""
    got = k.produce("events", batch([(b"k", b"s%d" % sequence), b"s%d" % (sequence + 1)], pid=made["pid"],
                                    epoch=made["epoch"], sequence=sequence))
    eq(got["error_code"], 0, "sequence %d" % sequence)
    return got["base_offset"]


def member_of(k):
    """Joins a group as its static member, commits, and never leaves."""
    who = {"group_id": "members", "group_instance_id": "one"}
    got = k.call("JoinGroup", 9, session_timeout_ms=1800000, rebalance_timeout_ms=1000, member_id="",
                 protocol_type="consumer", protocols=[{"name": "range", "metadata": b"what I want"}], **who)
    eq(got["error_code"], 0, "JoinGroup")
    made = {"member": got["member_id"], "generation": got["generation_id"]}
    who["member_id"] = made["member"]
    got = k.call("SyncGroup", 5, generation_id=made["generation"], protocol_type="consumer", protocol_name="range",
                 assignments=[{"member_id": made["member"], "assignment": b"what you get"}], **who)
    eq(got["error_code"], 0, "SyncGroup")
    got = k.call("OffsetCommit", 8, generation_id_or_member_epoch=made["generation"], topics=[{
        "name": "events", "partitions": [{"partition_index": 1, "committed_offset": 1, "committed_metadata": "m"}]}], **who)
    eq(got["topics"][0]["partitions"][0]["error_code"], 0, "OffsetCommit")
    return made


def kafka_fill(w):
    """Sequences, transactions that are committed, aborted and open, offsets, a group with a member."""
    expect(w.put("/v1/topics/events", json.dumps({"partitions": 2, "retention": "forever"}), JSON), 201)
    with Kafka(w) as k:
        got = k.call("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=0)
        made = {"pid": got["producer_id"], "epoch": got["producer_epoch"]}
        for n in range(7):
            made["sequence"], made["offset"] = 2 * n, sent(k, made, 2 * n)
        ended = Producer(k, "ended")
        for commit in (True, False):
            ended.add(events=[0, 1])
            for partition in (0, 1):
                eq(ended.write("events", b"committed" if commit else b"aborted", partition=partition), 0)
            ended.add_group("copied")
            eq(ended.commit_offset("copied", "events", 4 if commit else 5), 0)
            eq(ended.end(commit), 0)
        made["ended"] = [ended.pid, ended.epoch]
        left = Producer(k, "left", timeout_ms=900000)
        left.add(events=[1])
        eq(left.write("events", b"left open", partition=1), 0)
        left.add_group("copied")
        eq(left.commit_offset("copied", "events", 9, partition=1), 0)
        made["left"] = [left.pid, left.epoch]
        made.update(member_of(k))
    return made


def kafka_held(w, made):
    """What can be asked again and again: committed records, offsets, transactions, the group."""
    with Kafka(w) as k:
        groups = k.call("OffsetFetch", 8, groups=[{"group_id": g, "topics": [PLACE]} for g in ("copied", "members")])
        states = k.call("DescribeTransactions", 0, transactional_ids=["ended", "left"])["transaction_states"]
        group = k.call("DescribeGroups", 5, groups=["members"])["groups"][0]
        eq(k.call("Heartbeat", 4, group_id="members", member_id=made["member"], group_instance_id="one",
                  generation_id=made["generation"])["error_code"], 0, "Heartbeat")
        return {"seen": [[v.decode() for v in seen(k, "events", p)] for p in (0, 1)],
                "offsets": [[(p["committed_offset"], p["metadata"]) for p in g["topics"][0]["partitions"]]
                            for g in groups["groups"]],
                "transactions": [(s["transaction_state"], s["producer_id"], s["producer_epoch"],
                                  [(t["topic"], t["partitions"]) for t in s["topics"] if not t["topic"].startswith("__")]) for s in states],
                "group": [group["group_state"], group["protocol_data"]] +
                         [(m["member_id"], m["group_instance_id"], m["member_metadata"].decode(),
                           m["member_assignment"].decode()) for m in group["members"]]}


def kafka_goes_on(w, made, held):
    """A repeat is where it was, the next sequence comes, the transaction that was left open is committed."""
    with Kafka(w) as k:
        eq(sent(k, made, made["sequence"]), made["offset"], "a batch that was sent again")
        check(sent(k, made, made["sequence"] + 2) > made["offset"], "the next one")
        producer = Producer.__new__(Producer)
        producer.k, producer.tid, producer.version = k, "left", None
        producer.pid, producer.epoch = made["left"]
        eq(producer.end(True), 0, "the transaction that was open")
        want = held["seen"][1] + ["left open"]
        until(lambda: [v.decode() for v in seen(k, "events", 1)] == want, 5, "its record")
        got = k.call("OffsetFetch", 8, groups=[{"group_id": "copied", "topics": [PLACE]}], require_stable=True)
        eq(got["groups"][0]["topics"][0]["partitions"][1]["committed_offset"], 9, "its offset")


def plain(value):
    return json.loads(json.dumps(value))


# ---- the archives ----

def by_place(records):
    return sorted(records, key=lambda r: (r["topic"], r["partition"], r["offset"]))


def write(name):
    folder = os.path.join(GOLDEN, name)
    os.makedirs(folder)
    for kind in ("stopped", "killed"):
        with Weir(CONFIG) as w:
            w.put("/v1/topics/orders", json.dumps({"partitions": 3, "retention": "forever", "idempotency": {"ttl": "366d"}}), JSON)
            w.put("/v1/topics/single", json.dumps({"retention": "forever"}), JSON)
            w.put("/v1/topics/state", json.dumps({"cleanup": "compact", "compaction": {"dirty_percent": 1, "max_lag": "1s"}}), JSON)
            w.push("deleted", b"1")
            fill(w, 0, 60)
            w.batch("state", [{"key": "k%d" % (i % 7), "value": i} for i in range(100)])
            until(lambda: len(w.all("state")) == 7, 10, "compaction")
            w.delete("/v1/topics/deleted")
            made = kafka_fill(w)
            cursor = w.poll("orders", limit=20)["cursor"]
            w.restart()
            fill(w, 60, 10)
            until(lambda: w.metrics()['weir_log_queue_bytes{queue="pinned"}'] == 0, 5, "the mover")
            held = {t: by_place(w.all(t)) for t in ("orders", "single", "state")}
            rest = by_place(w.all("orders", cursor=cursor))
            kafka = kafka_held(w, made)
            if kind == "stopped":
                w.stop()
            else:
                w.kill()
            check(any(f.startswith("PRODUCERS") for f in os.listdir(w.data)), "no file of producers")
            with tarfile.open(os.path.join(folder, kind + ".tar.xz"), "w:xz", preset=9) as tar:
                tar.add(w.data, "data")
            with open(os.path.join(folder, kind + ".json"), "w") as f:
                json.dump({"cursor": cursor, "rest": digest(rest), "count": {t: len(r) for t, r in held.items()},
                           "digest": {t: digest(r) for t, r in held.items()}, "made": made, "kafka": kafka}, f, indent=1)
                f.write("\n")


def digest(records):
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def opened(name, kind, later=0):
    @test("the data directory that %s wrote (%s) opens%s with every record, key, header, time and cursor, and can be written to" % (
        name, kind, " years later" if later else ""), own=True, timeout=60)
    def _():
        with open(os.path.join(GOLDEN, name, kind + ".json")) as f:
            want = json.load(f)
        with Shim() as shim, Weir(CONFIG, start=False, env=shim.env) as w:
            with tarfile.open(os.path.join(GOLDEN, name, kind + ".tar.xz")) as tar:
                tar.extractall(w.dir)
                written = max(m.mtime for m in tar.getmembers())
            # An open transaction ends when its time is over, unless the clock is doubted: else it is opened in the minute it was left.
            shim.shift(later or ("made" in want and int(written - time.time())))
            r = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
            eq(r.returncode, 0, r.stdout + r.stderr)
            for _ in range(2):
                w.start()
                for t in want["count"]:
                    records = by_place(w.all(t))
                    eq(len(records), want["count"][t], t)
                    eq(digest(records), want["digest"][t], "the records of " + t)
                eq(digest(by_place(w.all("orders", cursor=want["cursor"]))), want["rest"], "from the cursor on")
                if "made" in want:
                    eq(plain(kafka_held(w, want["made"])), want["kafka"], "what Kafka's clients left behind")
                eq(w.get("/v1/topics/deleted").status, 404)
                eq(w.get("/v1/topics/orders").json()["partitions"], 3)
                w.kill()
            w.start()
            at = w.count_records("single")
            w.push("single", b"9")
            w.batch("orders", [{"value": 1}])
            if "made" in want:
                kafka_goes_on(w, want["made"], want["kafka"])
            w.restart()
            eq(w.count_records("single"), at + 1)


for name in sorted(os.listdir(GOLDEN)) if os.path.isdir(GOLDEN) else ():
    for kind in ("stopped", "killed"):
        opened(name, kind)
        if name.endswith("kafka"):
            opened(name, kind, 3 * 365 * 86400)  # nothing is taken for expired


if __name__ == "__main__":
    write(sys.argv[1])
