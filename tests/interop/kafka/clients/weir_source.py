# SPDX-License-Identifier: Apache-2.0
"""A weir whose source of type kafka reads the broker: what is produced there is here, each record once."""
import collections
import json
import os
import random
import sys
import threading
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from checks import BOOTSTRAP, CODECS, SHORT, Skip, ask, check, eq, name, run, until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../e2e"))
from harness import Weir, kills  # noqa: E402

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


def run_over(w, number=1, seconds=40):
    until(lambda: w.get("/v1/sources/k/runs/%d" % number).json()["state"] != "running", "the end of the run", seconds)
    r = w.get("/v1/sources/k/runs/%d" % number).json()
    eq(r["state"], "done", json.dumps(r))
    return r


@check("a run by time reads what lies between, beside the schedule, markers of transactions at its end or not")
def _():
    topic = name("window")
    create(topic, 3)
    produce(topic, range(COUNT))
    p = Producer({"bootstrap.servers": BOOTSTRAP, "transactional.id": name("w")})
    p.init_transactions(30)
    for n, commit in ((COUNT, True), (COUNT + 10, False)):
        p.begin_transaction()
        for i in range(10):
            p.produce(topic, str(n + i), partition=1, timestamp=1700000000000 + n + i)
        p.flush(20)
        p.commit_transaction(30) if commit else p.abort_transaction(30)
    with Weir(config("topics: [%s]\nstart: latest" % topic)) as w:
        until(lambda: source(w)["parts"] == 3, "a plan")
        eq(w.post("/v1/sources/k/runs", json.dumps({"from": "@%d" % (1700000000000 + 100), "to": "@%d" % (1700000000000 + 300)})).status, 201)
        run_over(w)
        eq(sorted(r["value"] for r in w.all("all")), list(range(100, 300)))
        eq(w.post("/v1/sources/k/runs", json.dumps({"from": "@%d" % (1700000000000 + COUNT), "rate": 20})).status, 201)
        w.restart(hard=True)
        run_over(w, 2)
        eq(sorted(r["value"] for r in w.all("all")), list(range(100, 300)) + list(range(COUNT, COUNT + 10)))
        produce(topic, [COUNT + 20])
        eq(arrived(w, 211)[-1]["value"], COUNT + 20)


@check("TLS: certificates of both sides, and each way that they are wrong")
def _():
    if not os.environ.get("TLS_BOOTSTRAP"):
        raise Skip("the broker has no TLS")
    folder, topic = os.environ["TLS_DIR"], name("tls")
    create(topic, 2)
    produce(topic, range(COUNT))

    def over_tls(ca, client=True, far=os.environ["TLS_BOOTSTRAP"]):
        mine = ", cert: %s/client.pem, key: %s/client.key" % (folder, folder) if client else ""
        text = config("topics: [%s]\ntls: { enabled: true, ca: %s/%s%s }" % (topic, folder, ca, mine))
        return Weir(text.replace(BOOTSTRAP, far))
    with over_tls("ca.pem") as w:
        eq(sorted(r["value"] for r in arrived(w, COUNT)), list(range(COUNT)))
        w.restart(hard=True)
        produce(topic, [COUNT])
        eq(arrived(w, COUNT + 1)[-1]["value"], COUNT)
    with over_tls("other.pem") as w:
        until(lambda: "certificate verify failed" in (source(w)["last_error"] or ""), "the authority to be refused: %s" % source(w))
        eq(w.count_records("all"), 0)
    with over_tls("ca.pem", far=os.environ["TLS_BOOTSTRAP"].replace("127.0.0.1", "localhost")) as w:
        until(lambda: "certificate verify failed" in (source(w)["last_error"] or ""), "the name to be refused: %s" % source(w))
    with over_tls("ca.pem", client=False) as w:
        until(lambda: source(w)["last_error"], "the broker to want a certificate")
        eq(w.count_records("all"), 0)
    with Weir(config("topics: [%s]" % topic).replace(BOOTSTRAP, os.environ["TLS_BOOTSTRAP"])) as w:
        until(lambda: source(w)["last_error"], "plain text to be refused")
        eq(w.count_records("all"), 0)


KILLS = kills(3 if SHORT else 50)


@check("kills of the broker and of weir: each record once, in order (%d kills)" % KILLS)
def _():
    topic, stop, sent, rand = name("kills"), threading.Event(), [], random.Random(17)
    create(topic, 4)

    def write():
        p = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, "enable.idempotence": True})
        while not stop.is_set():
            for v in range(len(sent), len(sent) + 50):
                p.produce(topic, str(v), key="k%d" % (v % 7))
                sent.append(v)
            p.poll(0.05)
            while len(p) > 2000:  # the broker is away
                p.poll(0.1)
        assert p.flush(120) == 0
    with Weir(config("topics: [%s]\nbatch: { records: 97 }" % topic)) as w:
        writer = threading.Thread(target=write)
        writer.start()
        for i in range(KILLS):
            time.sleep(rand.uniform(0.1, 0.7))
            if i % 3 == 1:
                ask("kill")
            else:
                w.restart(hard=True)
        stop.set()
        writer.join()
        got = arrived(w, len(sent), 90)
        counts = collections.Counter(r["value"] for r in got)
        eq(sorted(v for v in counts if counts[v] > 1)[:5], [], "records that are there twice")
        eq(sorted(counts), sent, "records")
        for k in range(7):
            of = [r["value"] for r in got if r["key"] == "k%d" % k]
            eq(of, sorted(of), "order")


run()
