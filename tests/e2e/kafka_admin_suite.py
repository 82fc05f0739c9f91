# SPDX-License-Identifier: Apache-2.0
"""Topics and their settings by way of Kafka's requests, byte by byte, and the same topics over HTTP."""
import json
import os
import random
import re
import subprocess
import uuid

from harness import SLOW, Skip, Weir, check, eq, expect, test
from kafka_wire import APIS, STRUCTS, Kafka, address

JSON = {"Content-Type": "application/json"}
OUT_OF_RANGE, UNKNOWN_TOPIC, INVALID_TOPIC, EXISTS, PARTITIONS, REPLICATION, ASSIGNMENT, CONFIG, REQUEST, POLICY, UNKNOWN_ID = \
    1, 3, 17, 36, 37, 38, 39, 40, 42, 44, 100
TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = range(4)
OF_TOPIC, OF_FILE, OF_DEFAULT = 1, 4, 5
ZERO = bytes(16)


def versions(api):
    return range(APIS[api]["served"], APIS[api]["to"] + 1)


def asked(name, partitions=-1, factor=-1, assignments=(), **configs):
    return {"name": name, "num_partitions": partitions, "replication_factor": factor,
            "assignments": [{"partition_index": i, "broker_ids": list(b)} for i, b in assignments],
            "configs": [{"name": k.replace("_", "."), "value": v} for k, v in configs.items()]}


def create(k, *topics, version=7, validate_only=False):
    return k.call("CreateTopics", version, topics=list(topics), timeout_ms=10000, validate_only=validate_only)["topics"]


def made(k, *topics, **more):
    for r in create(k, *topics, **more):
        eq((r["name"], r["error_code"], r["error_message"]), (r["name"], 0, None))


def describe(k, topic, version=4, kind=TOPIC, keys=None, synonyms=False, docs=False):
    r = k.call("DescribeConfigs", version, include_synonyms=synonyms, include_documentation=docs,
               resources=[{"resource_type": kind, "resource_name": topic, "configuration_keys": keys}])["results"][0]
    eq((r["resource_type"], r["resource_name"]), (kind, topic))
    return r


def configs(k, topic, **more):
    r = describe(k, topic, **more)
    eq(r["error_code"], 0, r["error_message"])
    return {c["name"]: c for c in r["configs"]}


def values(k, topic, **more):
    return {name: c["value"] for name, c in configs(k, topic, **more).items()}


def alter(k, topic, version=1, kind=TOPIC, validate_only=False, ops=(), **sets):
    ops = list(ops) + [(SET, name.replace("_", "."), value) for name, value in sets.items()]
    r = k.call("IncrementalAlterConfigs", version, validate_only=validate_only,
               resources=[{"resource_type": kind, "resource_name": topic,
                           "configs": [{"name": n, "config_operation": o, "value": v} for o, n, v in ops]}])["responses"][0]
    eq((r["resource_type"], r["resource_name"]), (kind, topic))
    return r


def show(w, topic):
    return expect(w.get("/v1/topics/" + topic), 200).json()


def refused(r, code, *words):
    eq(r["error_code"], code, r.get("error_message"))
    for word in words:
        check(word in (r["error_message"] or ""), "%r is not in %r" % (word, r["error_message"]))


# ---- CreateTopics ----

@test("CreateTopics makes topics in every version, with what was asked for told back, and HTTP shows the same")
def _(w):
    with Kafka(w) as k:
        for version in versions("CreateTopics"):
            t = w.topic()
            r, = create(k, asked(t, 3, 1, cleanup_policy="compact", retention_ms="3600000"), version=version)
            eq((r["name"], r["error_code"], r["error_message"]), (t, 0, None))
            doc = show(w, t)
            eq((doc["partitions"], doc["cleanup"], doc["retention"]), (3, "compact", "1h"))
            if version >= 5:
                eq((r["num_partitions"], r["replication_factor"], r["topic_config_error_code"]), (3, 1, 0))
                told = {c["name"]: (c["value"], c["config_source"]) for c in r["configs"]}
                eq(told["cleanup.policy"], ("compact", OF_TOPIC))
                eq(told["segment.bytes"], ("268435456", OF_DEFAULT))
            if version >= 7:
                eq(str(uuid.UUID(bytes=r["topic_id"])), doc["id"])


@test("-1 asks for the defaults; assignments to broker 0 count as partitions")
def _(w):
    with Kafka(w) as k:
        a, b = w.topic(), w.topic()
        made(k, asked(a), asked(b, assignments=[(1, [0]), (0, [0])]))
        eq((show(w, a)["partitions"], show(w, b)["partitions"]), (1, 2))


@test("every topic of a request has its own result, and one sync is enough for all")
def _(w):
    with Kafka(w) as k:
        t = [w.topic() for _ in range(50)]
        before = w.metrics()["weir_log_sync_seconds_count"]
        got = create(k, *([asked(name) for name in t] + [asked("bad name"), asked(t[0] + "x", factor=3), asked("__consumer_offsets")]))
        eq([r["error_code"] for r in got], [0] * 50 + [INVALID_TOPIC, REPLICATION, INVALID_TOPIC])
        eq([r["name"] for r in got][:50], t)
        check(w.metrics()["weir_log_sync_seconds_count"] - before < 10, "a sync a topic")
        for name in t:
            show(w, name)


@test("what CreateTopics cannot do is refused as Kafka refuses it, and makes nothing")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        for want, ask in (
                (INVALID_TOPIC, asked("")), (INVALID_TOPIC, asked("a/b")), (INVALID_TOPIC, asked("x" * 250)), (INVALID_TOPIC, asked("..")),
                (PARTITIONS, asked(t, 0)), (PARTITIONS, asked(t, -2)), (PARTITIONS, asked(t, 10001)), (PARTITIONS, asked(t, 2**31 - 1)),
                (REPLICATION, asked(t, 1, 0)), (REPLICATION, asked(t, 1, -2)), (REPLICATION, asked(t, 1, 3)),
                (ASSIGNMENT, asked(t, assignments=[(0, [1])])), (ASSIGNMENT, asked(t, assignments=[(0, [])])),
                (ASSIGNMENT, asked(t, assignments=[(0, [0, 0])])), (ASSIGNMENT, asked(t, assignments=[(1, [0])])),
                (ASSIGNMENT, asked(t, assignments=[(0, [0]), (0, [0])])), (ASSIGNMENT, asked(t, assignments=[(-1, [0])])),
                (REQUEST, asked(t, 2, assignments=[(0, [0])])), (REQUEST, asked(t, -1, 1, assignments=[(0, [0])])),
                (CONFIG, asked(t, retention_ms="7d")), (CONFIG, asked(t, retention_ms=None)), (CONFIG, asked(t, no_such="1")),
                (CONFIG, asked(t, min_insync_replicas="2"))):
            for only in (False, True):
                r, = create(k, ask, validate_only=only)
                eq((r["error_code"], r["name"], r["topic_id"], r["configs"]), (want, ask["name"], ZERO, []))
                check(r["error_message"] and "\0" not in r["error_message"], "no sentence")
            expect(w.get("/v1/topics/" + t), 404)
        refused(create(k, asked(t, retnetion_ms="1"))[0], CONFIG, "retention.ms")
        made(k, asked(t))
        refused(create(k, asked(t))[0], EXISTS, t)


@test("a name that is asked for twice is refused once, and the others go on")
def _(w):
    with Kafka(w) as k:
        a, b, c = w.topic(), w.topic(), w.topic()
        got = create(k, asked(a), asked(b, 2), asked(a), asked(a), asked(c))
        eq([(r["name"], r["error_code"]) for r in got], [(a, REQUEST), (b, 0), (c, 0)])
        expect(w.get("/v1/topics/" + a), 404)


@test("validate_only checks and makes nothing")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        r, = create(k, asked(t, 3), validate_only=True)
        eq((r["error_code"], r["num_partitions"], r["topic_id"]), (0, 3, ZERO))
        expect(w.get("/v1/topics/" + t), 404)


@test("the internal topics of Kafka Streams and Connect can be made with what they send")
def _(w):
    with Kafka(w) as k:
        t = [w.topic() for _ in range(7)]
        made(k,
             # RepartitionTopicConfig, the changelogs: unwindowed, windowed, versioned (its lag may overflow)
             asked(t[0], 4, -1, cleanup_policy="delete", segment_bytes="52428800", retention_ms="-1", message_timestamp_type="CreateTime"),
             asked(t[1], 4, -1, cleanup_policy="compact", message_timestamp_type="CreateTime"),
             asked(t[2], 4, 1, cleanup_policy="compact,delete", retention_ms="87000000", message_timestamp_type="CreateTime"),
             asked(t[3], 1, 1, cleanup_policy="compact", min_compaction_lag_ms="9223372036854775807"),
             # TopicAdmin.NewTopicBuilder
             asked("_connect-configs-" + t[4], 1, 1, cleanup_policy="compact"),
             asked("_connect-offsets-" + t[5], 25, 1, cleanup_policy="compact", min_insync_replicas="1"),
             asked("_connect-status-" + t[6], 5, -1, cleanup_policy="compact", unclean_leader_election_enable="false"))
        eq(values(k, t[0])["segment.bytes"], "52428800")
        eq(values(k, "_connect-offsets-" + t[5])["cleanup.policy"], "compact")
        eq(values(k, t[2])["cleanup.policy"], "compact,delete")


@test("a topic that was made is there after a kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        with Kafka(w) as k:
            made(k, asked("t", 3, max_message_bytes="2000000", message_timestamp_type="LogAppendTime"))
            r = alter(k, "t", segment_bytes="1048576")
            eq(r["error_code"], 0)
        w.restart(hard=True)
        with Kafka(w) as k:
            got = values(k, "t")
            eq((got["max.message.bytes"], got["message.timestamp.type"], got["segment.bytes"]), ("2000000", "LogAppendTime", "1048576"))
            eq(show(w, "t")["partitions"], 3)


# ---- DeleteTopics ----

@test("DeleteTopics takes names in every version, and UUIDs from version 6 on")
def _(w):
    with Kafka(w) as k:
        for version in versions("DeleteTopics"):
            t = w.topic()
            made(k, asked(t))
            fields = {"topics": [{"name": t}]} if version >= 6 else {"topic_names": [t]}
            r, = k.call("DeleteTopics", version, timeout_ms=0, **fields)["responses"]
            eq((r["name"], r["error_code"]), (t, 0))
            expect(w.get("/v1/topics/" + t), 404)
            r, = k.call("DeleteTopics", version, timeout_ms=1000, **fields)["responses"]
            eq((r["name"], r["error_code"]), (t, UNKNOWN_TOPIC))
        t = w.topic()
        made(k, asked(t))
        id = uuid.UUID(show(w, t)["id"]).bytes
        r, = k.call("DeleteTopics", 6, timeout_ms=1000, topics=[{"name": None, "topic_id": id}])["responses"]
        eq((r["name"], r["topic_id"], r["error_code"]), (t, id, 0))
        got = k.call("DeleteTopics", 6, timeout_ms=1000, topics=[
            {"name": None, "topic_id": id}, {"name": None}, {"name": t, "topic_id": id}, {"name": "a b"}])["responses"]
        eq([r["error_code"] for r in got], [UNKNOWN_ID, REQUEST, REQUEST, UNKNOWN_TOPIC])
        got = k.call("DeleteTopics", 5, timeout_ms=1000, topic_names=["x", "y", "x"])["responses"]
        eq([(r["name"], r["error_code"]) for r in got], [("x", REQUEST), ("y", UNKNOWN_TOPIC)])


# ---- CreatePartitions ----

def grow(k, version=3, validate_only=False, *topics):
    return k.call("CreatePartitions", version, timeout_ms=1000, validate_only=validate_only, topics=[
        {"name": n, "count": c, "assignments": None if a is None else [{"broker_ids": x} for x in a]} for n, c, a in topics])["results"]


@test("CreatePartitions adds partitions, and refuses what is none the more")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        made(k, asked(t, 2))
        for i, version in enumerate(versions("CreatePartitions")):
            eq([r["error_code"] for r in grow(k, version, False, (t, 3 + i, None))], [0])
            eq(show(w, t)["partitions"], 3 + i)
        eq(grow(k, 3, True, (t, 20, None))[0]["error_code"], 0)
        eq(show(w, t)["partitions"], 6)
        for want, count, assignments in ((PARTITIONS, 6, None), (PARTITIONS, 5, None), (PARTITIONS, -1, None), (PARTITIONS, 10001, None),
                                         (ASSIGNMENT, 8, [[0]]), (ASSIGNMENT, 7, [[1]]), (ASSIGNMENT, 7, [[]]), (0, 7, [[0]])):
            r, = grow(k, 3, False, (t, count, assignments))
            eq((r["name"], r["error_code"]), (t, want), r["error_message"])
        eq([r["error_code"] for r in grow(k, 3, False, ("nobody", 2, None), ("a b", 2, None), (t, 9, None), (t, 9, None))],
           [UNKNOWN_TOPIC, UNKNOWN_TOPIC, REQUEST])
        eq(show(w, t)["partitions"], 7)


# ---- DeleteRecords ----

def trim(k, version, topic, *places):
    r, = k.call("DeleteRecords", version, timeout_ms=1000, topics=[
        {"name": topic, "partitions": [{"partition_index": p, "offset": o} for p, o in places]}])["topics"]
    eq(r["name"], topic)
    return [(p["partition_index"], p["low_watermark"], p["error_code"]) for p in r["partitions"]]


@test("DeleteRecords moves the start of a partition, never back; -1 is its end")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        made(k, asked(t, 2))
        for i in range(10):
            w.push(t, str(i).encode(), partition=0)
        for version in versions("DeleteRecords"):
            eq(trim(k, version, t, (0, 2 + version)), [(0, 2 + version, 0)])
        eq(w.get("/v1/topics/%s/partitions/0/records?offset=0" % t).status, 410)
        eq(trim(k, 2, t, (0, 1)), [(0, 4, 0)])
        eq(trim(k, 2, t, (0, 11), (1, -1), (2, 0), (-1, 0), (0, -2)),
           [(0, -1, OUT_OF_RANGE), (1, 0, 0), (2, -1, UNKNOWN_TOPIC), (-1, -1, UNKNOWN_TOPIC), (0, -1, OUT_OF_RANGE)])
        eq(trim(k, 2, t, (0, -1)), [(0, 10, 0)])
        for name in ("nobody", "a b"):
            eq(trim(k, 2, name, (0, -1), (1, 0)), [(0, -1, UNKNOWN_TOPIC), (1, -1, UNKNOWN_TOPIC)])
        c = w.topic()
        made(k, asked(c, cleanup_policy="compact"))
        eq(trim(k, 2, c, (0, -1)), [(0, -1, POLICY)])


# ---- DescribeConfigs ----

@test("DescribeConfigs tells every setting in every version: value, source, type and sentence")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        made(k, asked(t, retention_ms="60000"))
        for version in versions("DescribeConfigs"):
            got = configs(k, t, version=version, synonyms=True, docs=True)
            eq(sorted(got), list(got), "not in order")
            r = got["retention.ms"]
            eq((r["value"], r["config_source"], r["read_only"], r["is_sensitive"]), ("60000", OF_TOPIC, False, False))
            eq([(s["name"], s["value"], s["source"]) for s in r["synonyms"]],
               [("retention.ms", "60000", OF_TOPIC), ("log.retention.ms", "604800000", OF_DEFAULT)])
            r = got["min.cleanable.dirty.ratio"]
            eq((r["value"], r["config_source"], len(r["synonyms"])), ("0.5", OF_DEFAULT, 1))
            if version >= 3:
                eq((got["retention.ms"]["config_type"], r["config_type"], got["cleanup.policy"]["config_type"], got["preallocate"]["config_type"]),
                   (5, 6, 7, 1))
                check(all(c["documentation"] for c in got.values()), "one has no sentence")
        plain = configs(k, t)
        check(not any(c["synonyms"] or c["documentation"] for c in plain.values()), "more than was asked for")
        eq(sorted(values(k, t, keys=["retention.ms", "cleanup.policy", "nothing"])), ["cleanup.policy", "retention.ms"])
        eq(len(values(k, t, keys=[])), len(plain))
        refused(describe(k, "nobody"), UNKNOWN_TOPIC)
        refused(describe(k, "no body"), INVALID_TOPIC)
        refused(describe(k, t, kind=8), REQUEST)


@test("DescribeConfigs of many topics at once, some of which are alike")
def _(w):
    with Kafka(w) as k:
        t = [w.topic() for _ in range(6)]
        made(k, *[asked(name, retention_ms="1000" if i % 3 == 1 else "2000") for i, name in enumerate(t)])
        got = k.call("DescribeConfigs", 4, include_synonyms=False, include_documentation=False, resources=[
            {"resource_type": TOPIC, "resource_name": n, "configuration_keys": ["retention.ms"] if n == t[4] else None} for n in t])["results"]
        eq([[c["value"] for c in r["configs"] if c["name"] == "retention.ms"] for r in got],
           [["2000"], ["1000"], ["2000"], ["2000"], ["1000"], ["2000"]])
        eq(len(got[4]["configs"]), 1)


@test("the broker tells what a topic gets where nobody says otherwise, and what clients look for", own=True)
def _():
    with Weir(config="topic_defaults: { partitions: 3, retention: 2h, auto_create: false }\n") as w:
        with Kafka(w) as k:
            got = configs(k, "0", kind=BROKER, synonyms=True, docs=True)
            eq([(got[n]["value"], got[n]["config_source"]) for n in ("num.partitions", "log.retention.ms", "auto.create.topics.enable", "message.max.bytes")],
               [("3", OF_FILE), ("7200000", OF_FILE), ("false", OF_FILE), ("1048588", OF_DEFAULT)])
            check(all(c["read_only"] for c in got.values()), "one can be set")
            made(k, asked("t"))
            c = configs(k, "t", synonyms=True)["retention.ms"]
            eq((c["value"], c["config_source"]), ("7200000", OF_FILE))
            eq([(s["name"], s["value"], s["source"]) for s in c["synonyms"]],
               [("log.retention.ms", "7200000", OF_FILE), ("log.retention.ms", "604800000", OF_DEFAULT)])
            eq(configs(k, "", kind=BROKER), {})
            for name in ("1", "x", "-0"):
                refused(describe(k, name, kind=BROKER), REQUEST, name)
            refused(alter(k, "0", kind=BROKER, log_retention_ms="1"), POLICY, "configuration file")


# ---- changing settings ----

@test("IncrementalAlterConfigs sets, puts back, and makes lists longer and shorter; HTTP sees it and the other way round")
def _(w):
    with Kafka(w) as k:
        t = w.topic()
        made(k, asked(t, 2))
        for version in versions("IncrementalAlterConfigs"):
            eq(alter(k, t, version, retention_ms="5000", cleanup_policy="compact")["error_code"], 0)
            eq((show(w, t)["retention"], show(w, t)["cleanup"], show(w, t)["partitions"]), ("5s", "compact", 2))
            eq(alter(k, t, version, ops=[(APPEND, "cleanup.policy", "delete"), (DELETE, "retention.ms", None)])["error_code"], 0)
            eq((show(w, t)["retention"], show(w, t)["cleanup"]), ("7d", "compact_delete"))
            eq(alter(k, t, version, ops=[(SUBTRACT, "cleanup.policy", "compact"), (DELETE, "no.such.name", None)])["error_code"], 0)
            eq(show(w, t)["cleanup"], "delete")
        expect(w.put("/v1/topics/" + t, json.dumps({"retention": "3h", "timestamps": "append", "segment_bytes": "2MiB", "compaction": {"dirty_percent": 7}}), JSON), 200)
        got = values(k, t)
        eq((got["retention.ms"], got["message.timestamp.type"], got["segment.bytes"], got["min.cleanable.dirty.ratio"]),
           ("10800000", "LogAppendTime", "2097152", "0.07"))
        doc = show(w, t)
        expect(w.put("/v1/topics/" + t, json.dumps(doc), JSON), 200)
        eq(values(k, t), got)


@test("what is wrong with one setting leaves all of them, and the other topics of the request go on")
def _(w):
    with Kafka(w) as k:
        t, u = w.topic(), w.topic()
        made(k, asked(t), asked(u))
        before = show(w, t)
        for want, words, ops in (
                (CONFIG, ["retention.ms", "-3"], [(SET, "cleanup.policy", "compact"), (SET, "retention.ms", "-3")]),
                (CONFIG, ["retention.ms"], [(SET, "retnetion.ms", "1")]),
                (REQUEST, ["Null", "retention.ms"], [(SET, "retention.ms", None)]),
                (REQUEST, ["Null", "cleanup.policy"], [(APPEND, "cleanup.policy", None)]),
                (CONFIG, ["LIST"], [(APPEND, "retention.ms", "1")]),
                (CONFIG, ["cleanup.policy"], [(SUBTRACT, "cleanup.policy", "delete")]),
                (REQUEST, ["9"], [(9, "retention.ms", "1")]),
                (REQUEST, ["duplicate", "retention.ms"], [(SET, "retention.ms", "1"), (DELETE, "retention.ms", None)])):
            refused(alter(k, t, ops=ops), want, *words)
            eq(show(w, t), before)
        eq(alter(k, t, validate_only=True, retention_ms="5000")["error_code"], 0)
        eq(show(w, t), before)
        got = k.call("IncrementalAlterConfigs", 1, validate_only=False, resources=[
            {"resource_type": TOPIC, "resource_name": n, "configs": [{"name": "retention.ms", "config_operation": SET, "value": v}]}
            for n, v in (("nobody", "1"), (t, "x"), (u, "1000"))])["responses"]
        eq([r["error_code"] for r in got], [UNKNOWN_TOPIC, CONFIG, 0])
        eq(show(w, u)["retention"], "1s")
        refused(alter(k, "x", kind=8, a="b"), REQUEST)
        refused(alter(k, "a b", retention_ms="1"), INVALID_TOPIC)
        refused(describe(k, "a b"), INVALID_TOPIC)
        # A topic and a broker may have the same name: two resources, and each is answered.
        made(k, asked("0"))
        for api, config in (("IncrementalAlterConfigs", {"name": "retention.ms", "config_operation": SET, "value": "1000"}),
                            ("AlterConfigs", {"name": "retention.ms", "value": "1000"})):
            got = k.call(api, 1, validate_only=False, resources=[
                {"resource_type": kind, "resource_name": "0", "configs": [config]} for kind in (TOPIC, BROKER)])["responses"]
            eq([(r["resource_type"], r["resource_name"], r["error_code"]) for r in got], [(TOPIC, "0", 0), (BROKER, "0", POLICY)])


@test("AlterConfigs puts back what it does not name, but for weir's own settings")
def _(w):
    with Kafka(w) as k:
        for version in versions("AlterConfigs"):
            t = w.topic()
            made(k, asked(t, retention_ms="5000", cleanup_policy="compact"))
            expect(w.put("/v1/topics/" + t, json.dumps({"durability": "os", "idempotency": {"ttl": "1h"}}), JSON), 200)
            ask = {"resource_type": TOPIC, "resource_name": t, "configs": [{"name": "max.message.bytes", "value": "5000"}]}
            r, = k.call("AlterConfigs", version, resources=[ask], validate_only=True)["responses"]
            eq((r["error_code"], show(w, t)["cleanup"]), (0, "compact"))
            r, = k.call("AlterConfigs", version, resources=[ask], validate_only=False)["responses"]
            eq((r["resource_name"], r["error_code"]), (t, 0))
            doc = show(w, t)
            eq((doc["retention"], doc["cleanup"], doc["max_message_bytes"], doc["durability"], doc["idempotency"]["ttl"]),
               ("7d", "delete", "5000", "os", "1h"))
            twice = [{"name": "retention.ms", "value": "1000"}, {"name": "retention.ms", "value": "2000"}]
            for want, resources in ((CONFIG, [dict(ask, configs=[{"name": "x", "value": "1"}])]), (REQUEST, [ask, ask]),
                                    (REQUEST, [dict(ask, configs=twice)]),
                                    (REQUEST, [dict(ask, configs=[{"name": "retention.ms", "value": None}])]),
                                    (POLICY, [{"resource_type": BROKER, "resource_name": "0", "configs": []}])):
                r, = k.call("AlterConfigs", version, resources=resources, validate_only=False)["responses"]
                eq(r["error_code"], want, r["error_message"])
            eq(show(w, t), doc)


@test("flush.messages tells and sets durability", own=True)
def _():
    with Weir(config="topic_defaults: { durability: os }\n") as w:
        with Kafka(w) as k:
            made(k, asked("t"))
            eq(values(k, "t")["flush.messages"], "9223372036854775807")
            eq(alter(k, "t", flush_messages="1")["error_code"], 0)
            eq((show(w, "t")["durability"], values(k, "t")["flush.messages"]), ("fsync", "1"))


# ---- whose topics they are ----

FILE = "topics:\n  - { name: mine, partitions: 2, retention: 1h }\n"


@test("a topic of the configuration file is described, its records may be deleted, and nothing else", own=True)
def _():
    with Weir(config=FILE) as w:
        with Kafka(w) as k:
            got = configs(k, "mine")
            eq((got["retention.ms"]["value"], got["retention.ms"]["read_only"]), ("3600000", True))
            refused(alter(k, "mine", retention_ms="1"), POLICY, "mine", "configuration file")
            refused(alter(k, "mine", retention_ms="1", validate_only=True), POLICY)
            refused(grow(k, 3, False, ("mine", 3, None))[0], POLICY, "configuration file")
            r, = k.call("DeleteTopics", 6, timeout_ms=0, topics=[{"name": "mine"}])["responses"]
            refused(r, POLICY, "configuration file")
            refused(create(k, asked("mine"))[0], EXISTS)
            w.push("mine", b"1", partition=0)
            eq(trim(k, 2, "mine", (0, -1)), [(0, 1, 0)])


@test("a name that is kept is not made on use either, others are; Metadata says so")
def _(w):
    with Kafka(w) as k:
        got = k.call("Metadata", 9, allow_auto_topic_creation=True,
                     topics=[{"name": n} for n in ("__consumer_offsets", "__weir_x", "__debezium-heartbeat.a", "_schemas")])["topics"]
        eq([(t["name"], t["error_code"]) for t in got],
           [("__consumer_offsets", INVALID_TOPIC), ("__weir_x", INVALID_TOPIC), ("__debezium-heartbeat.a", 0), ("_schemas", 0)])
        expect(w.get("/v1/topics/__consumer_offsets"), 404)


@test("hostile requests: 20 000 names, each twice; long names; many partitions to trim")
def _(w):
    with Kafka(w, timeout=60) as k:
        got = k.call("DeleteTopics", 5, timeout_ms=0, topic_names=["n%d" % (i // 2) for i in range(40000)])["responses"]
        eq((len(got), {r["error_code"] for r in got}), (20000, {REQUEST}))
        long = "x" * 30000
        refused(create(k, asked(long))[0], INVALID_TOPIC)
        refused(alter(k, long, a="b"), INVALID_TOPIC)
        t = w.topic()
        made(k, asked(t, 1))
        refused(alter(k, t, ops=[(SET, long, long)]), CONFIG)
        refused(alter(k, t, ops=[(SET, "retention.ms", long)]), CONFIG)
        r, = k.call("DescribeConfigs", 4, resources=[{"resource_type": BROKER, "resource_name": long}])["results"]
        refused(r, REQUEST)
        eq(len(trim(k, 2, t, *[(0, 0)] * 50000)), 50000)


# ---- anything at all ----

GOOD = {"cleanup.policy": ["compact", "delete", "compact,delete"], "retention.ms": ["-1", "0", "60000"], "max.message.bytes": ["100", "1048588"],
        "message.timestamp.type": ["CreateTime", "LogAppendTime"], "min.cleanable.dirty.ratio": ["0", "0.07", "1"],
        "segment.bytes": ["14", "1000000"], "flush.messages": ["1", "5"], "min.compaction.lag.ms": ["9223372036854775807"]}
TEXTS = ["", "\0", "x" * 300, "1", "-1", "true", "a b", "delete", "retnetion.ms"]


def anything(rng, name, version, topics):
    """A message of random fields, of a form that is read: mostly of what may be, some of it not."""
    out = {}
    few = (0, 1, 1, 1, 2, 5) if rng.random() < 0.6 else (0, 0, 1)
    for f in STRUCTS[name]:
        if not f.has(version):
            continue
        if f.row == "ARRAY":
            assigned = f.name == "assignments" and rng.random() < 0.8
            if assigned and f.nullable is not None:
                out[f.name] = None
                continue
            out[f.name] = [anything(rng, f.of, version, topics) for _ in range(0 if assigned else rng.choice(few))]
        elif f.row == "LIST":
            out[f.name] = [value(rng, name, f, topics) for _ in range(rng.choice(few))]
        else:
            out[f.name] = value(rng, name, f, topics)
    if name.endswith("_config") and out["name"] in GOOD and rng.random() < 0.8:
        out["value"] = rng.choice(GOOD[out["name"]])
    return out


def value(rng, name, f, topics):
    if f.kind == "BOOL":
        return rng.random() < 0.2
    if f.kind == "UUID":
        return ZERO if rng.random() < 0.8 else rng.randbytes(16)
    if f.kind == "TEXT":
        if rng.random() < 0.05:
            return rng.choice(TEXTS)
        return rng.choice(list(GOOD) if name.endswith("_config") or f.name == "configuration_keys" else topics)
    if rng.random() < 0.03:
        return rng.choice((-2**(int(f.kind[3:]) - 1), 2**(int(f.kind[3:]) - 1) - 1, -2, 100))
    return rng.choice({"resource_type": (2, 2, 2, 2, 4), "replication_factor": (-1, 1), "config_operation": (0, 0, 1, 2, 3),
                       "num_partitions": (-1, 1, 3), "count": (2, 3, 4, 5, 6, 7)}.get(f.name, (-1, 0, 0, 1, 2)))


ADMIN = ["CreateTopics", "DeleteTopics", "CreatePartitions", "DeleteRecords", "DescribeConfigs", "AlterConfigs", "IncrementalAlterConfigs"]


@test("whatever the fields hold, every request is answered, and what Kafka tells of a topic is what HTTP tells", own=True, timeout=120)
def _():
    seed = int(os.environ.get("WEIR_SEED", "1"))
    rng = random.Random(seed)
    with Weir(config=FILE) as w:
        with Kafka(w, timeout=30) as k:
            topics = ["t%d" % i for i in range(8)] + ["mine", "0", "__weir"]
            for i in range(int(os.environ.get("WEIR_ROUNDS", "600"))):
                api = rng.choice(ADMIN)
                version = rng.choice(list(versions(api)))
                fields = anything(rng, "kafka_%s_request" % APIS[api]["noun"], version, topics)
                k.call(api, version, **fields)
                if i % 50 == 0:
                    agree(w, k)
            agree(w, k)
            check("level=error" not in w.log(), "weir has logged an error")


def agree(w, k):
    for doc in w.get("/v1/topics").json()["topics"]:
        got = values(k, doc["name"])
        size = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
        number, unit = re.match(r"(\d+)(\w*)$", doc["max_message_bytes"]).groups()
        eq((got["cleanup.policy"], int(got["max.message.bytes"]), got["message.timestamp.type"]),
           (doc["cleanup"].replace("_", ","), int(number) * size[unit or "B"], {"create": "CreateTime", "append": "LogAppendTime"}[doc["timestamps"]]))
        eq(got["retention.ms"] == "-1", doc["retention"] == "forever", doc["name"])
        eq(round(float(got["min.cleanable.dirty.ratio"]) * 100), doc["compaction"]["dirty_percent"])


# ---- librdkafka's client ----

RDKAFKA = """
import sys
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
a = AdminClient({"bootstrap.servers": sys.argv[1]})
def code(future):
    try:
        future.result(20)
    except KafkaException as e:
        return e.args[0].name()
    return "ok"
def told(*topics):
    return [{n: c.value for n, c in f.result(20).items()} for f in a.describe_configs([ConfigResource("topic", t) for t in topics]).values()]
new = [NewTopic("rd1", 2, 1, config={"cleanup.policy": "compact"}), NewTopic("rd2", 1, 1, config={"x.y": "1"}), NewTopic("rd3", 1, 3)]
print([(t, code(f)) for t, f in a.create_topics(new, operation_timeout=5).items()])
print([(t, code(f)) for t, f in a.create_topics([NewTopic("rd1", 1, 1)]).items()])
print([len(p.partitions) for n, p in a.list_topics(timeout=20).topics.items() if n == "rd1"])
print([code(f) for f in a.create_partitions([NewPartitions("rd1", 5)], operation_timeout=5).values()])
print([code(f) for f in a.alter_configs([ConfigResource("topic", "rd1", set_config={"retention.ms": "5000"})]).values()])
print([(c["cleanup.policy"], c["retention.ms"]) for c in told("rd1")])
print([code(f) for f in a.alter_configs([ConfigResource("broker", "0", set_config={"log.retention.ms": "5000"})]).values()])
print([c["num.partitions"].value for c in (f.result(20) for f in a.describe_configs([ConfigResource("broker", "0")]).values())])
print([code(f) for f in a.delete_topics(["rd1", "rd2"], operation_timeout=5).values()])
"""


@test("librdkafka's admin client makes, grows, sets, describes and deletes topics", own=True, timeout=90)
def _():
    if subprocess.run(["/usr/bin/python3", "-c", "import confluent_kafka"], stderr=subprocess.DEVNULL).returncode:
        raise Skip("no python3-confluent-kafka")
    with Weir() as w:
        p = subprocess.run(["/usr/bin/python3", "-c", RDKAFKA, "%s:%d" % address(w)], capture_output=True, timeout=60 * SLOW)
        check(p.returncode == 0, p.stderr.decode())
        eq(p.stdout.decode().splitlines(), [
            "[('rd1', 'ok'), ('rd2', 'INVALID_CONFIG'), ('rd3', 'INVALID_REPLICATION_FACTOR')]", "[('rd1', 'TOPIC_ALREADY_EXISTS')]", "[2]",
            "['ok']", "['ok']", "[('delete', '5000')]", "['POLICY_VIOLATION']", "['1']", "['ok', 'UNKNOWN_TOPIC_OR_PART']"])
