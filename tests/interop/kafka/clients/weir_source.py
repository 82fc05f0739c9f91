# SPDX-License-Identifier: Apache-2.0
"""A weir whose source of type kafka reads the broker: what is produced there is here, each record once."""
import collections
import json
import os
import sys
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from checks import BOOTSTRAP, CODECS, SHORT, ask, check, eq, name, run, until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../e2e"))
from harness import Weir  # noqa: E402

COUNT = 500 if SHORT else 5000
CONFIG = """
sources:
  - name: k
    type: kafka
    topic: all
    brokers: ["%s"]
    every: 500ms
    retry: { min: 10ms, max: 500ms }
    %s
"""


def config(text):
    return CONFIG % (BOOTSTRAP, text.replace("\n", "\n    "))


def source(w):
    return w.get("/v1/sources/k").json()


def arrived(w, count, seconds=40):
    try:
        until(lambda: w.count_records("all") >= count, "%d records" % count, seconds)
    except AssertionError as e:
        raise AssertionError("%s; there are %d: %s" % (e, w.count_records("all"), json.dumps(source(w))))
    return w.all("all")


def create(topic, partitions=1):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for f in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        f.result(20)


def delete(topic):
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    for f in admin.delete_topics([topic]).values():
        f.result(20)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic to be gone")


def produce(topic, values, partition=None, **settings):
    p = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 20, "enable.idempotence": True, **settings})
    more = {} if partition is None else {"partition": partition}
    for v in values:
        p.produce(topic, json.dumps(v), key="k%d" % (v % 7), headers=[("h", "1"), ("h", b"\xff"), ("n", None)], timestamp=1700000000000 + v, **more)
        p.poll(0)
    assert p.flush(60) == 0


@check("records of every codec, as they are")
def _():
    topic = name("codecs")
    create(topic, 3)
    for i, codec in enumerate(CODECS):
        produce(topic, range(i * COUNT, (i + 1) * COUNT), **{"compression.type": codec})
    with Weir(config("topics: [%s]" % topic)) as w:
        got = arrived(w, COUNT * len(CODECS))
        eq(sorted(r["value"] for r in got), list(range(COUNT * len(CODECS))), "values")
        for r in got[:50]:
            eq((r["key"], r["timestamp"], r["headers"]), ("k%d" % (r["value"] % 7), 1700000000000 + r["value"],
                                                          {"h": ["1", {"base64": "/w=="}], "n": None}))
        until(lambda: source(w)["lag_records"] == 0, "no lag")


@check("only what is committed, and no lag behind a marker")
def _():
    topic = name("txn")
    create(topic)
    p = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": name("t")})
    p.init_transactions(30)
    for n, commit in ((0, True), (10, False), (20, True), (30, False)):
        p.begin_transaction()
        for i in range(10):
            p.produce(topic, str(n + i))
        p.flush(20)
        p.commit_transaction(30) if commit else p.abort_transaction(30)
    with Weir(config("topics: [%s]" % topic)) as w:
        eq([r["value"] for r in arrived(w, 20)], list(range(10)) + list(range(20, 30)))
        until(lambda: source(w)["lag_records"] == 0, "no lag")
        w.restart(hard=True)
        produce(topic, [40])
        eq([r["value"] for r in arrived(w, 21)][20:], [40])


@check("a topic that is made anew is read from its beginning")
def _():
    topic = name("anew")
    create(topic)
    produce(topic, range(5))
    with Weir(config("topics: [%s]" % topic)) as w:
        arrived(w, 5)
        w.stop()
        delete(topic)
        create(topic)
        produce(topic, range(10, 19))
        w.start()
        eq([r["value"] for r in arrived(w, 14)], list(range(5)) + list(range(10, 19)))
        assert any("made anew" in x for x in source(w)["warnings"]), source(w)
        delete(topic)
        create(topic)
        produce(topic, range(20, 23))
        eq([r["value"] for r in arrived(w, 17, 60)][14:], [20, 21, 22])


@check("kills of the broker and of weir: each record once, in order")
def _():
    topic, total = name("kills"), COUNT * 4
    create(topic, 4)

    def write():
        p = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, "enable.idempotence": True})
        for v in range(total):
            p.produce(topic, str(v), key="k%d" % (v % 7))
            p.poll(0)
            if v % 50 == 0:
                time.sleep(0.005 if SHORT else 0.02)
        assert p.flush(120) == 0
    with Weir(config("topics: [%s]\nbatch: { records: 97 }" % topic)) as w:
        writer = threading.Thread(target=write)
        writer.start()
        for i in range(3 if SHORT else 6):
            time.sleep(0.4)
            if i % 3 == 1:
                ask("kill")
            else:
                w.restart(hard=True)
        writer.join()
        got = arrived(w, total, 90)
        counts = collections.Counter(r["value"] for r in got)
        eq(sorted(v for v in counts if counts[v] > 1)[:5], [], "records that are there twice")
        eq(sorted(counts), list(range(total)), "records")
        for k in range(7):
            of = [r["value"] for r in got if r["key"] == "k%d" % k]
            eq(of, sorted(of), "order")


run()
