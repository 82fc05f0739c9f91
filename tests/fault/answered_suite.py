# SPDX-License-Identifier: Apache-2.0
"""An answer is a promise, of the API's own changes too: the journal is slow, weir is killed right behind each answer, and what was told is so."""
import json
import os
import shutil
import sqlite3
import tempfile
import time

from faults import DELAY, Shim
from harness import Later, Skip, Weir, check, eq, expect, test, until

SLOW_MS = 150
CONFIG = """
sources:
  - name: s
    type: files
    topic: lines
    every: 50ms
    paths: ["%s/*.ndjson"]
    quiet: 0s
  - name: rows
    type: sql
    topic: rows
    every: 1h
    url: "sqlite:%s/rows.db"
    table: rows
    mode: incremental
    cursor: [id]
"""
JSON = {"Content-Type": "application/json"}


class World:
    def __init__(self, w, shim):
        self.w, self.shim = w, shim

    def done(self, what):
        """Answered, and killed before anything more can be written."""
        self.shim.rule("pwrite", DELAY, amount=SLOW_MS, path="/journal/")
        result = what()
        self.w.kill()
        self.shim.clear()
        self.w.start()
        return result

    def ask(self, method, path, body=None, status=200):
        headers = {"Content-Type": "application/json"} if body else {}
        return expect(self.done(lambda: self.w.request(method, path, body, headers)), status)

    def get(self, path):
        return self.w.get(path).json()

    def state(self):
        until(lambda: self.get("/v1/sources/s")["state"] != "starting", what="the source")
        return self.get("/v1/sources/s")["state"]


@test("what the API has answered is so after a kill: topics, offsets of groups, dead letters", own=True, timeout=120)
def _():
    with Shim() as shim, Weir(env=shim.env) as w:
        x = World(w, shim)
        x.ask("PUT", "/v1/topics/made", b'{"partitions": 3}', 201)
        eq(x.get("/v1/topics/made")["partitions"], 3)
        x.ask("PUT", "/v1/topics/made", b'{"partitions": 4}')
        eq(x.get("/v1/topics/made")["partitions"], 4)
        w.push("made", b"1")
        x.ask("POST", "/v1/topics/made/trim", b'{"before": "latest"}')
        eq([p["end"] - p["start"] for p in x.get("/v1/topics/made")["offsets"]], [0] * 4)
        x.ask("PUT", "/v1/groups/g/offsets", b'{"topics": [{"topic": "made", "partitions": [{"partition": 2, "offset": 0}]}]}')
        eq(x.get("/v1/groups/g/offsets")["topics"][0]["partitions"][0]["partition"], 2)
        x.ask("DELETE", "/v1/groups/g", status=204)
        eq(w.get("/v1/groups/g").status, 404)
        w.push("made", b"{bad", "application/json", on_error="dead")
        x.ask("POST", "/v1/topics/made/dead/drop?all=true")
        eq(x.get("/v1/topics/made/dead?state=open")["dead"], [])
        x.ask("DELETE", "/v1/topics/made", status=204)
        eq(w.get("/v1/topics/made").status, 404)


@test("what the API has answered is so after a kill: sources paused, resumed, reset, made and deleted; runs begun, cancelled and forgotten",
      own=True, timeout=120)
def _():
    folder = tempfile.mkdtemp(prefix="weir-answered-")
    with open(folder + "/a.ndjson", "w") as f:
        f.write("1\n2\n")
    with sqlite3.connect(folder + "/rows.db") as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO rows VALUES (?)", [(i,) for i in range(50)])
    with Shim() as shim, Weir(config=CONFIG % (folder, folder), env=shim.env) as w:
        x = World(w, shim)
        until(lambda: w.values_so_far("lines") == [1, 2], what="the file")
        x.ask("POST", "/v1/sources/s/pause", status=204)
        eq(x.state(), "paused")
        x.ask("POST", "/v1/sources/s/resume", status=204)
        eq(x.state(), "running")
        x.ask("POST", "/v1/sources/s/pause", status=204)
        x.ask("POST", "/v1/sources/s/reset", status=204)
        eq(x.state(), "running")
        until(lambda: w.values("lines") == [1, 2, 1, 2], what="the file again")
        made = json.dumps({"type": "http", "topic": "t", "url": "http://127.0.0.1:1/", "every": "1h"}).encode()
        x.ask("PUT", "/v1/sources/api", made, 201)
        eq(x.get("/v1/sources/api")["managed_by"], "api")
        x.ask("DELETE", "/v1/sources/api", status=204)
        eq(w.get("/v1/sources/api").status, 404)
        x.ask("POST", "/v1/sources/rows/runs", b'{"rate": 1}', 201)
        eq(x.get("/v1/sources/rows/runs/1")["state"], "running")
        x.ask("DELETE", "/v1/sources/rows/runs/1", status=204)
        eq(x.get("/v1/sources/rows/runs/1")["state"], "cancelled")
        x.ask("DELETE", "/v1/sources/rows/runs/1", status=204)
        eq(w.get("/v1/sources/rows/runs/1").status, 404)
    shutil.rmtree(folder)


# ---- while a commit is under way: its sync is held ----

@test("a key whose first request is in flight: a repeat and another payload wait, and are answered by what became of the first", own=True)
def _():
    with Shim() as shim, Weir(env=shim.env) as w:
        w.push("t", b"0")

        def keyed(body):
            return w.post("/v1/topics/t/records", body, {**JSON, "Idempotency-Key": "k"})

        def waiting():
            return w.metrics()["weir_ingest_waiting"]
        with shim.held("fdatasync", "/journal/") as reached:
            first = Later(keyed, b"1")
            reached()
            repeat, other = Later(keyed, b"1"), Later(keyed, b"2")
            until(lambda: waiting() == 2, what="both to wait for the first")
            check(all(x.is_alive() for x in (first, repeat, other)), "one was answered before the sync")
            eq(w.values("t"), [0], "what readers see before the sync")
        a, b = expect(first.get(), 200), expect(repeat.get(), 200)
        eq((a.json()["accepted"], b.json()["accepted"], b.json()["duplicates"]), (1, 0, 1))
        eq(b.json()["offsets"], a.json()["offsets"])
        eq((a.headers.get("Idempotent-Replayed"), b.headers.get("Idempotent-Replayed")), (None, "true"))
        expect(other.get(), 422, "idempotency_key_reused")
        eq((waiting(), w.values("t")), (0, [0, 1]))


@test("while a source is being changed another change of it, and a run, are 409, and nothing comes of them", own=True)
def _():
    def source(every):
        return json.dumps({"type": "kafka", "topic": "t", "brokers": ["127.0.0.1:1"], "topics": ["a"], "every": every}).encode()

    with Shim() as shim, Weir(env=shim.env) as w:
        expect(w.put("/v1/sources/api", source("1h"), JSON), 201)
        for change, status in ((lambda: w.put("/v1/sources/api", source("2h"), JSON), 200), (lambda: w.delete("/v1/sources/api"), 204)):
            with shim.held("fdatasync", "/journal/") as reached:
                first = Later(change)
                reached()
                for method, path, body in (("PUT", "", source("3h")), ("DELETE", "", b""), ("POST", "/runs", b"{}")):
                    refused = expect(w.request(method, "/v1/sources/api" + path, body, JSON), 409, "conflict")
                    check("being changed: try again" in refused.json()["detail"], refused.text)
                check(first.is_alive(), "the change was answered before the sync")
                eq(w.source("api")["settings"]["every"], "1h" if status == 200 else "2h")
            expect(first.get(), status)
            if status == 200:
                eq(w.source("api")["settings"]["every"], "2h")
                eq(w.source("api")["runs"], [])
        eq(w.get("/v1/sources/api").status, 404)
        w.restart(hard=True)
        eq(w.get("/v1/sources/api").status, 404)


@test("a source counts records and dead letters when they are durable, wherever it shows them, and none twice over a kill", own=True)
def _():
    folder = tempfile.mkdtemp(prefix="weir-answered-")
    with sqlite3.connect(folder + "/rows.db") as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
    config = ("sources:\n  - { name: s, type: sql, topic: t, every: 20ms, at_start: true, url: 'sqlite:%s/rows.db', table: rows, mode: incremental, "
              "cursor: [id] }\n" % folder)
    with Shim() as shim, Weir(config, env=shim.env) as w:
        def counts():
            s, m = w.source("s"), w.metrics()
            return ((s["records"], s["dead"]), (m['weir_source_records_total{source="s"}'], m['weir_source_dead_total{source="s"}']))

        until(lambda: w.source("s")["requests"] > 2, what="a source that finds nothing")
        with shim.held("fdatasync", "/journal/") as reached:
            with sqlite3.connect(folder + "/rows.db") as db:
                db.execute("INSERT INTO rows VALUES (1, 'good'), (2, CAST(x'61ff62' AS TEXT)), (3, 'good')")
            reached()  # it has entered
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                eq(counts(), ((0, 0), (0, 0)), "before the sync")
        until(lambda: counts() == ((2, 1), (2, 1)), what="the counts: %r" % (counts(),))
        w.restart(hard=True)
        until(lambda: w.source("s")["state"] == "running", what="the source")
        eq(counts()[0], (2, 1), "after a kill")
        eq([r["value"]["id"] for r in w.all("t")], [1, 3])
    shutil.rmtree(folder)


@test("what Kafka's port has answered is so after a kill: topics, partitions, settings, offsets, transactions, deletions", own=True, timeout=120)
def _():
    try:
        from confluent_kafka import Consumer, Producer, TopicPartition
        from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
    except ImportError:
        raise Skip("python3-confluent-kafka is not installed")
    with Shim() as shim, Weir(env=shim.env) as w:
        x = World(w, shim)
        conf = {"bootstrap.servers": w.kafka, "log_level": 0}
        admin = AdminClient(conf)

        def result(futures):
            return [f.result(20) for f in futures.values()]
        x.done(lambda: result(admin.create_topics([NewTopic("k", 2, 1)])))
        eq(x.get("/v1/topics/k")["partitions"], 2)
        x.done(lambda: result(admin.create_partitions([NewPartitions("k", 3)])))
        eq(x.get("/v1/topics/k")["partitions"], 3)
        x.done(lambda: result(admin.alter_configs([ConfigResource("topic", "k", {"retention.ms": "3600000"})])))
        eq(x.get("/v1/topics/k")["retention"], "1h")
        w.push("k", b"1", partition=0)
        place = [TopicPartition("k", 0, 1)]
        consumer = Consumer(dict(conf, **{"group.id": "g", "enable.auto.commit": False}))
        x.done(lambda: consumer.commit(offsets=place, asynchronous=False))
        consumer.close()
        eq(x.get("/v1/groups/g/offsets")["topics"][0]["partitions"][0]["offset"], 1)
        producer = Producer(dict(conf, **{"transactional.id": "t"}))
        producer.init_transactions(20)
        producer.begin_transaction()
        producer.produce("k", b"2", partition=1)
        x.done(lambda: producer.commit_transaction(20))
        eq(len(w.all("k")), 2)
        x.done(lambda: result(admin.delete_topics(["k"])))
        eq(w.get("/v1/topics/k").status, 404)
