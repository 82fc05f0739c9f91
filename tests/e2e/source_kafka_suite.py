# SPDX-License-Identifier: Apache-2.0
"""
Sources of type kafka. The cluster is a weir's own Kafka port, which clients of Kafka take for a broker, and, where it can be
had, Apache Kafka (tests/interop/kafka fetches it).
"""
import collections
import json
import os
import random
import re
import threading
import time

from harness import BATCH, JSON, Weir, check, eq, expect, kills, patience, test, until
from kafka_wire import Kafka, Producer
from transfer import KINDS, contents, give_kinds, keys_in_order

KILLS = kills(8)

CONFIG = """
sources:
  - name: k
    type: kafka
    topic: all
    brokers: ["%s"]
    every: 300ms
    retry: { min: 10ms, max: 300ms }
    %s
"""


def config(far, text="topics: [orders]"):
    return CONFIG % (far.kafka, text.replace("\n", "\n    "))


def source(w):
    return w.source("k")


def arrived(w, count, topic="all", timeout=0):
    return w.arrived(topic, count, timeout)


def run_over(w, number):
    until(lambda: w.get("/v1/sources/k/runs/%d" % number).json()["state"] != "running", 20, "the end of the run")
    r = w.get("/v1/sources/k/runs/%d" % number).json()
    eq(r["state"], "done", r)
    return r


def topic(w, name, **settings):
    r = w.put("/v1/topics/" + name, json.dumps(settings), JSON)
    check(r.status in (200, 201), r)


@test("what is in a topic comes as it is, in order of its keys, and what comes later too; once, over a restart", own=True)
def _():
    with Weir() as far:
        give_kinds(far, "orders")
        with Weir(config(far)) as w:
            got = arrived(w, KINDS)
            eq(contents(got), contents(far.all("orders")))
            keys_in_order(got)
            far.push("orders", b"1")
            eq(arrived(w, KINDS + 1)[-1]["value"], 1)
            w.restart()
            far.push("orders", b"2")
            eq([r["value"] for r in arrived(w, KINDS + 2)[-2:]], [1, 2])
            until(lambda: source(w)["lag_records"] == 0, what="no lag: %r" % source(w))


@test("a run by time reads what lies between, beside the schedule, over kill -9: each record of it once", own=True, timeout=90)
def _():
    at = 1700000000000
    with Weir() as far:
        topic(far, "orders", partitions=3)
        for n in range(0, 3000, 500):
            far.batch("orders", [{"key": "k%d" % i, "value": i, "timestamp": at + i} for i in range(n, n + 500)])
        with Weir(config(far, "topics: [orders]\nstart: latest")) as w:
            until(lambda: source(w)["parts"] == 3, what="a plan")
            r = expect(w.post("/v1/sources/k/runs", json.dumps({"from": "@%d" % (at + 500), "to": "@%d" % (at + 1500), "rate": 150})), 201)
            eq(r.json()["state"], "running")
            for _ in range(3):
                time.sleep(0.4)
                w.restart(hard=True)
            far.push("orders", b"-1")
            until(lambda: -1 in [r["value"] for r in w.all("all")], what="the schedule, beside the run")
            check(w.get("/v1/sources/k/runs/1").json()["state"] == "running", "150 a second were to take longer")
            run_over(w, 1)
            eq(sorted(r["value"] for r in w.all("all")), [-1] + list(range(500, 1500)))
            # Open to both sides; and a window in which nothing lies.
            expect(w.post("/v1/sources/k/runs", json.dumps({"to": "@%d" % (at + 10)})), 201)
            run_over(w, 2)
            eq(w.count_records("all"), 1011)
            expect(w.post("/v1/sources/k/runs", json.dumps({"from": "2100-01-01T00:00:00Z"})), 201)
            run_over(w, 3)
            expect(w.post("/v1/sources/k/runs", "{}"), 201)
            eq(run_over(w, 4)["records"], 3001)
            eq(w.count_records("all"), 4012)
            expect(w.post("/v1/sources/k/runs", json.dumps({"from": "17"})), 201)
            until(lambda: w.get("/v1/sources/k/runs/5").json()["state"] == "failed", what="a run that no time bounds")
            check("are times" in w.get("/v1/sources/k/runs/5").json()["last_error"], w.get("/v1/sources/k/runs/5").json())


@test("partitions and topics can be kept, and a pattern takes topics that come later", own=True)
def _():
    with Weir() as far:
        topic(far, "a.x", partitions=3)
        topic(far, "b.x", partitions=1)
        for p in range(3):
            far.batch("a.x", [{"value": p, "partition": p}])
        far.push("b.x", b"9")
        with Weir(config(far, "pattern: 'a\\..*'\nkeep_topics: true\nkeep_partitions: true")) as w:
            topic(w, "a.x", partitions=3)
            until(lambda: w.count_records("a.x") == 3, what="three records")
            eq(sorted((r["partition"], r["value"]) for r in w.all("a.x")), [(0, 0), (1, 1), (2, 2)])
            far.push("a.y", b"7")
            until(lambda: w.count_records("a.y") == 1, what="the new topic")
            topic(far, "a.x", partitions=5)
            topic(w, "a.x", partitions=5)
            far.batch("a.x", [{"value": 4, "partition": 4}])
            until(lambda: w.count_records("a.x") == 4, what="the new partition")
            eq(w.get("/v1/topics/b.x").status, 404)
            eq(len(source(w)["parts"]) if isinstance(source(w)["parts"], list) else source(w)["parts"], 6)


@test("latest, a time and a group's offsets are where it begins", own=True)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        far.batch("orders", [{"value": i, "timestamp": 1700000000000 + i * 1000} for i in range(10)])
        with Kafka(far) as k:
            k.call("OffsetCommit", 2, group_id="g", generation_id_or_member_epoch=-1, member_id="", retention_time_ms=-1, topics=[
                {"name": "orders", "partitions": [{"partition_index": 0, "committed_offset": 7}]}])
        with Weir(config(far, "topics: [orders]\nstart: latest")) as w:
            until(lambda: source(w)["state"] == "running" and source(w)["parts"], what="the source to run")
            far.push("orders", b"10")
            eq([r["value"] for r in arrived(w, 1)], [10])
        with Weir(config(far, "topics: [orders]\nstart: '@1700000005000'")) as w:
            eq([r["value"] for r in arrived(w, 6)], [5, 6, 7, 8, 9, 10])
        with Weir(config(far, "topics: [orders]\nstart: latest\ngroup: g\ngroup_commit: true")) as w:
            eq([r["value"] for r in arrived(w, 4)], [7, 8, 9, 10])
            until(lambda: far.get("/v1/groups/g/offsets?topics=orders").json()["topics"][0]["partitions"][0]["offset"] == 11,
                  what="the group to be told")
            far.push("orders", b"11")
            arrived(w, 5)
            until(lambda: far.get("/v1/groups/g/offsets?topics=orders").json()["topics"][0]["partitions"][0]["offset"] == 12,
                  what="the group to be told again")
            eq(source(w)["warnings"], [])


@test("of transactions only what is committed is read", own=True)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        with Kafka(far) as k:
            p = Producer(k, "tx")
            for commit, values in ((True, [b"1", b"2"]), (False, [b"3"]), (True, [b"4"])):
                p.add(orders=[0])
                p.write("orders", *values)
                p.end(commit)
        with Weir(config(far)) as w:
            eq([r["value"] for r in arrived(w, 3)], [1, 2, 4])
            until(lambda: source(w)["lag_records"] == 0, what="no lag: %r" % source(w))
            w.restart()
            far.push("orders", b"5")
            eq([r["value"] for r in arrived(w, 4)], [1, 2, 4, 5])


@test("a topic that is not there yet is named and waited for; a broker that is away is, too", own=True)
def _():
    with Weir() as far:
        with Weir(config(far)) as w:
            until(lambda: "no topic orders" in (source(w).get("last_error") or ""), what="the failure")
            far.push("orders", b"1")
            arrived(w, 1)
            far.kill()
            until(lambda: source(w)["state"] == "failing", what="the source to fail")
            check("refused" in source(w)["last_error"] or "closed" in source(w)["last_error"].lower() or "disconnect" in source(w)["last_error"].lower(),
                  source(w)["last_error"])
            far.start()
            far.push("orders", b"2")
            eq([r["value"] for r in arrived(w, 2)], [1, 2])
            until(lambda: source(w)["state"] == "running", what="the source to recover")


@test("records that were deleted there before they were read are told of, and the rest is read", own=True)
def _():
    with Weir() as far, Weir() as w:
        topic(far, "orders", partitions=1)
        far.push("orders", b"1")
        w.stop()
        w.write_config(config(far))
        w.start()
        arrived(w, 1)
        w.stop()
        expect(far.post("/v1/topics/orders/trim", b'{"before":"latest"}', JSON), 200)
        w.start()
        far.push("orders", b"2")
        eq([r["value"] for r in arrived(w, 2)], [1, 2])
        eq(source(w)["warnings"], [], "only what was read is gone")
        w.stop()
        far.push("orders", b"3")
        expect(far.post("/v1/topics/orders/trim", b'{"before":"latest"}', JSON), 200)
        far.push("orders", b"4")
        w.start()
        eq([r["value"] for r in arrived(w, 3)], [1, 2, 4])
        check(any("deleted there" in x for x in source(w)["warnings"]), "no warning: %r" % source(w))


def anew(far, values, partitions=1):
    expect(far.delete("/v1/topics/orders"), 204)
    topic(far, "orders", partitions=partitions)
    for v in values:
        far.push("orders", b"%d" % v)


@test("a topic that was deleted and made anew is read from its beginning, shorter or longer, and told of", own=True, timeout=60)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        for i in range(5):
            far.push("orders", b"%d" % i)
        with Weir(config(far)) as w:
            arrived(w, 5)
            w.stop()
            anew(far, range(10, 12))
            w.start()
            eq([r["value"] for r in arrived(w, 7)], [0, 1, 2, 3, 4, 10, 11])
            check(any("made anew" in x for x in source(w)["warnings"]), "no warning: %r" % source(w))
            w.stop()
            anew(far, range(20, 29))
            w.start()
            eq([r["value"] for r in arrived(w, 16)][7:], list(range(20, 29)))
            check(any("made anew" in x for x in source(w)["warnings"]), "no warning: %r" % source(w))


@test("a topic that goes while it is read keeps its place until it is there again", own=True, timeout=60)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        topic(far, "other", partitions=1)
        for i in range(5):
            far.push("orders", b"%d" % i)
        with Weir(config(far, "topics: [orders, other]")) as w:
            arrived(w, 5)
            expect(far.delete("/v1/topics/orders"), 204)
            until(lambda: any("orders" in x for x in source(w)["warnings"]), 20, "a warning: %r" % source(w))
            far.push("other", b"100")
            eq(arrived(w, 6)[-1]["value"], 100)
            topic(far, "orders", partitions=1)
            far.push("orders", b"10")
            eq([r["value"] for r in arrived(w, 7, timeout=30)][6:], [10])
            far.push("orders", b"11")
            eq([r["value"] for r in arrived(w, 8)][7:], [11])


@test("a wrong password is a final failure that says so, and no secret is shown; the right one reads", own=True)
def _():
    with Weir('kafka: { users: ["ann:s3cretpass"] }\n') as far:
        far.push("orders", b"1")
        login = "topics: [orders]\nsasl: { mechanism: %s, user: ann, password: %s }"
        with Weir(config(far, login % ("SCRAM-SHA-256", "wr0ngpass"))) as w:
            got = until(lambda: source(w).get("last_error") and source(w), what="the failure")
            check("authentication" in got["last_error"].lower() and "wr0ngpass" not in json.dumps(got), got)
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            with Weir(config(far, login % (mechanism, "s3cretpass"))) as w:
                eq([r["value"] for r in arrived(w, 1)], [1])


@test("a value past the size limit is a dead letter with its place, and the rest goes on", own=True)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        far.batch("orders", [{"value": 1}, {"value": "x" * 5000}, {"value": 2}])
        with Weir("http: { record_bytes_max: 2KiB }\n" + config(far)) as w:
            eq([r["value"] for r in arrived(w, 2)], [1, 2])
            [d] = until(lambda: w.get("/v1/topics/all/dead").json()["dead"], what="the letter")
            eq(d["code"], "record_too_large")


@test("test shows some records with their places and stores nothing", own=True)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=1)
        far.batch("orders", [{"value": i} for i in range(50)])
        with Weir(config(far, "topics: [orders]\nstart: latest")) as w:
            until(lambda: source(w)["parts"], what="the source to run")
            eq(w.count_records("all"), 0)
        with Weir(config(far)) as w:
            got = expect(w.post("/v1/sources/k/test"), 200).text
            check("orders/0 offset 0" in got, got)


@test("pause closes the connections, resume goes on", own=True)
def _():
    with Weir() as far:
        far.push("orders", b"1")
        with Weir(config(far)) as w:
            arrived(w, 1)
            peers = lambda: far.metrics()['weir_connections{listener="kafka"}']
            check(peers() > 0, "no connection before the pause")
            expect(w.post("/v1/sources/k/pause"), 204)
            until(lambda: peers() == 0, what="the connections to be closed")
            check(re.search(r"event=peers_cut .*source=k\b.* connections=[1-9]", w.log()), "not told: " + w.log()[-500:])
            far.push("orders", b"2")
            time.sleep(0.3)
            eq(w.count_records("all"), 1)
            expect(w.post("/v1/sources/k/resume"), 204)
            eq([r["value"] for r in arrived(w, 2)], [1, 2])


@test("two hundred partitions need no thread more than one, and an idle source hardly a moment", own=True)
def _():
    with Weir() as far:
        topic(far, "orders", partitions=200)
        topic(far, "few", partitions=1)
        counts = []
        for name in ("few", "orders"):
            with Weir(config(far, "topics: [%s]" % name)) as w:
                far.batch(name, [{"value": p, "partition": p} for p in range(200 if name == "orders" else 1)])
                arrived(w, 200 if name == "orders" else 1)
                counts.append(len(os.listdir("/proc/%d/task" % w.pid)))
        check(counts[1] <= counts[0] + 8, "threads %r" % counts)


# ---- kills ----

def write(far, values, stop):
    """Records from 0 on, each a request of its own until it is stored, so that the order and the number are known."""
    n, asked = 0, False  # asked: it may be stored, though no answer came
    while asked or not stop.is_set():
        try:
            key, asked = "batch-%d" % n, True
            r = far.post("/v1/topics/orders/records", json.dumps({"records": [
                {"key": "k%d" % (i % 7), "value": n * 50 + i} for i in range(50)]}), {**BATCH_TYPE, "Idempotency-Key": key})
            if r.status == 200:
                values.extend(range(n * 50, n * 50 + 50))
                n, asked = n + 1, False
        except OSError:
            time.sleep(0.02)
        except Exception:  # an answer that breaks off as the daemon is killed
            time.sleep(0.02)


BATCH_TYPE = {"Content-Type": BATCH}


def killed(kill_far, kill_near):
    with Weir() as far:
        topic(far, "orders", partitions=4)
        rand, values, stop = random.Random(17), [], threading.Event()
        with Weir(config(far, "topics: [orders]\nbatch: { records: 97 }")) as w:
            writer = threading.Thread(target=write, args=(far, values, stop), daemon=True)
            writer.start()
            for i in range(KILLS):
                time.sleep(rand.uniform(0.05, 0.6))
                victim = far if kill_far and (i % 2 == 0 or not kill_near) else w
                victim.kill()
                victim.start()
            stop.set()
            writer.join(patience())
            check(not writer.is_alive(), "the writer never got its answer")
            arrived(w, len(values), timeout=60)
            time.sleep(0.5)
            got = w.all("all")
            counts = collections.Counter(r["value"] for r in got)
            eq([v for v in values if counts[v] == 0][:5], [], "records that are missing")
            eq([v for v in counts if counts[v] > 1][:5], [], "records that are there twice")
            eq(sorted(counts), sorted(values), "records that nobody wrote")
            for k in range(7):
                of = [r["value"] for r in got if r["key"] == "k%d" % k]
                eq(of, sorted(of), "order of k%d" % k)
            check(len(values) > 100, "only %d records" % len(values))


@test("kill -9 of weir at random moments: each record once, in order (%d kills)" % KILLS, own=True, timeout=90 + 5 * KILLS)
def _():
    killed(False, True)


@test("kill -9 of the broker and of weir in turn: each record once, in order (%d kills)" % KILLS, own=True, timeout=90 + 5 * KILLS)
def _():
    killed(True, True)
