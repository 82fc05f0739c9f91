# SPDX-License-Identifier: Apache-2.0
"""Producer ids and transactions over Kafka: by hand in every version, with a client, over crashes."""
import os
import random
import threading
import time

from harness import Failed, Session, Skip, Sse, Weir, check, eq, expect, patience, test, until
from kafka_wire import Kafka, Producer, address, batch, batches, seen

UNKNOWN_TOPIC, INVALID_GROUP, INVALID_REQUEST, EPOCH, STATE, MAPPING, TIMEOUT, NOT_ATTEMPTED = 3, 24, 42, 47, 48, 49, 50, 55
FENCED, NOT_FOUND = 90, 105


def make_topic(w, name, partitions=1):
    with Session(w) as s:
        expect(s.request("PUT", "/v1/topics/" + name, b'{"partitions": %d}' % partitions), 201)


# ---- each request by hand ----

@test("a producer gets an id of its own in every version, and none is given twice over a restart", own=True)
def _():
    with Weir() as w:
        ids = []
        for life in range(3):
            with Kafka(w) as k:
                for version in range(6):
                    got = k.call("InitProducerId", version, transactional_id=None, transaction_timeout_ms=0)
                    eq((got["error_code"], got["producer_epoch"]), (0, 0))
                    ids.append(got["producer_id"])
            w.restart(hard=life == 0)
        eq(len(set(ids)), 18)
        eq(ids, sorted(ids))


@test("a transaction goes through in every version of its requests")
def _(w):
    make_topic(w, "each", 4)
    with Kafka(w) as k:
        for version in range(6):
            p = Producer(k, "tx-%d" % version, version)
            eq(p.add(each=[0, 3]), {("each", 0): 0, ("each", 3): 0})
            eq(p.add(each=[0]), {("each", 0): 0})
            eq(p.add_group("g"), 0)
            eq(p.commit_offset("g", "each", 5), 0)
            eq(p.commit_offset("g", "nowhere", 5), UNKNOWN_TOPIC)
            eq(p.end(True), 0)
            eq(p.end(True), 0, "again")
            eq(p.end(False), STATE)


@test("what a producer may not is refused with Kafka's codes, older names of them in older versions")
def _(w):
    make_topic(w, "may", 2)
    with Kafka(w) as k:
        eq(k.call("InitProducerId", 4, transactional_id="", transaction_timeout_ms=1)["error_code"], INVALID_REQUEST)
        for timeout_ms in (0, -1, 15 * 60000 + 1):
            got = k.call("InitProducerId", 4, transactional_id="t", transaction_timeout_ms=timeout_ms)
            eq((got["error_code"], got["producer_id"], got["producer_epoch"]), (TIMEOUT, -1, -1))
        for version in range(6):
            fenced = lambda since: FENCED if version >= since else EPOCH
            old = Producer(k, "may-%d" % version, version)
            new = Producer(k, "may-%d" % version, version)
            eq((new.pid, new.epoch), (old.pid, old.epoch + 1))
            eq(old.add(may=[0]), {("may", 0): fenced(2)})
            eq(old.add_group("g"), fenced(2))
            eq(old.end(True), fenced(2))
            eq(old.commit_offset("g", "may", 1), EPOCH)
            if version >= 3:
                eq(new.init(pid=new.pid, epoch=new.epoch - 1)["error_code"], fenced(4))
                eq(new.init(pid=new.pid, epoch=-1)["error_code"], INVALID_REQUEST)
            eq(new.end(True), STATE)
            eq(new.commit_offset("g", "may", 1), STATE)
            eq(new.commit_offset("", "may", 1), INVALID_GROUP)
            eq(new.add(may=[0, 2], nowhere=[0]), {("may", 0): NOT_ATTEMPTED, ("may", 2): UNKNOWN_TOPIC,
                                                  ("nowhere", 0): UNKNOWN_TOPIC})
            new.pid += 1000000
            eq(new.add(may=[0]), {("may", 0): MAPPING})
            eq(new.end(True), MAPPING)


@test("an answer that was lost is given again to the producer that asks as who it was (KIP-360)", own=True)
def _():
    with Weir() as w:
        with Kafka(w) as k:
            p = Producer(k, "tx", 4)
            first = p.init(pid=p.pid, epoch=p.epoch)
        w.restart(hard=True)
        with Kafka(w) as k:
            p.k = k
            second = p.init(pid=p.pid, epoch=p.epoch)
            eq((first["producer_epoch"], second["error_code"], second["producer_epoch"]), (1, 0, 1))
            eq(p.init()["producer_epoch"], 2)
            eq(p.init(pid=p.pid, epoch=1)["error_code"], FENCED)


@test("transactions are listed and described, and are there after a kill", own=True)
def _():
    with Weir() as w:
        make_topic(w, "b", 3)
        make_topic(w, "a", 1)
        with Kafka(w) as k:
            p, idle = Producer(k, "works"), Producer(k, "idle", timeout_ms=1234)
            p.add(b=[2, 0], a=[0])
            eq([p.add_group("g"), p.add_group("mygroup"), p.add_group("g")], [0, 0, 0])
        w.restart(hard=True)
        with Kafka(w) as k:
            got = k.call("DescribeTransactions", 0, transactional_ids=["works", "idle", "nobody", ""])["transaction_states"]
            works = got[0]
            eq((works["transaction_state"], works["producer_id"], works["producer_epoch"]), ("Ongoing", p.pid, 0))
            # Kafka keeps offsets in a topic: abs("g".hashCode()) % 50 is 3, that of "mygroup" 39.
            eq({t["topic"]: t["partitions"] for t in works["topics"]},
               {"b": [0, 2], "a": [0], "__consumer_offsets": [3, 39]})
            check(abs(works["transaction_start_time_ms"] / 1000 - time.time()) < 60, "the start: %r" % works)
            eq((got[1]["transaction_state"], got[1]["transaction_timeout_ms"], got[1]["topics"]), ("Empty", 1234, []))
            eq([g["error_code"] for g in got], [0, 0, NOT_FOUND, INVALID_REQUEST])
            for version in (0, 1):
                def listed(**filters):
                    out = k.call("ListTransactions", version, **filters)
                    eq(out["error_code"], 0)
                    return sorted(t["transactional_id"] for t in out["transaction_states"]), out["unknown_state_filters"]
                eq(listed(), (["idle", "works"], []))
                eq(listed(state_filters=["Ongoing", "Nonsense"]), (["works"], ["Nonsense"]))
                eq(listed(state_filters=["Nonsense"]), ([], ["Nonsense"]))
                eq(listed(producer_id_filters=[idle.pid]), (["idle"], []))
            eq(k.call("ListTransactions", 1, duration_filter=3600000)["transaction_states"], [])
            eq([t["transactional_id"] for t in
                k.call("ListTransactions", 1, duration_filter=0)["transaction_states"]], ["works"])


@test("a transaction that takes longer than its timeout is aborted, also where weir was down meanwhile", own=True)
def _():
    with Weir() as w:
        make_topic(w, "t")
        with Kafka(w) as k:
            for down in (False, True):
                p = Producer(k, "slow-%d" % down, timeout_ms=2500)
                describe = ("DescribeTransactions", 0)
                state = lambda got: got["transaction_states"][0]["transaction_state"]
                # Asked in one breath, so that no time passes between the two.
                k.send("AddPartitionsToTxn", p.at("AddPartitionsToTxn"), v3_and_below_topics=[{"name": "t", "partitions": [0]}],
                       **{"v3_and_below_" + f: v for f, v in p.who().items()})
                k.send(*describe, transactional_ids=[p.tid])
                eq(k.answer()["results_by_topic_v3_and_below"][0]["results_by_partition"][0]["partition_error_code"], 0)
                eq(state(k.answer()), "Ongoing")
                if down:
                    w.kill()
                    time.sleep(1)
                    w.start()
                    k.close()
                    p.k = k = Kafka(w)
                until(lambda: state(k.call(*describe, transactional_ids=[p.tid])) == "CompleteAbort", what="the end of what took too long")
                eq(p.end(True), FENCED)
                eq(p.end(False), FENCED)
                eq(p.add(t=[0]), {("t", 0): FENCED})
                eq(Producer(k, p.tid).epoch, 2)


# ---- what is written and read ----

@test("records are seen when their transaction is committed, and never when it is aborted", own=True)
def _():
    with Weir() as w:
        make_topic(w, "t", 2)
        with Kafka(w) as k, Kafka(w) as other:
            p, q = Producer(k, "p"), Producer(other, "q")
            eq(p.write("t", b"0"), STATE, "the partition was not added")
            p.add(t=[0, 1])
            q.add(t=[0])
            eq((p.write("t", b"1", b"2"), q.write("t", b"3"), p.write("t", b"4", partition=1)), (0, 0, 0))
            eq(seen(k, "t"), [])
            eq(seen(k, "t", committed=False), [b"1", b"2", b"3"])
            eq(w.values("t"), [], "over HTTP")
            open_ = k.call("DescribeProducers", 0, topics=[{"name": "t", "partition_indexes": [0, 7]}])
            at, nowhere = open_["topics"][0]["partitions"]
            eq({(x["producer_id"], x["current_txn_start_offset"], x["last_sequence"]) for x in at["active_producers"]},
               {(p.pid, 0, 1), (q.pid, 2, 0)})
            eq(nowhere["error_code"], UNKNOWN_TOPIC)
            eq(p.end(True), 0)
            eq(seen(k, "t"), [b"1", b"2"], "that of the other is open still")
            eq(seen(k, "t", 1), [b"4"])
            with Sse(w, "/v1/topics/t/sse?cursor=earliest&partitions=0") as sse:
                eq([e.json()["value"] for e in sse.take(2)], [1, 2])
                eq(q.end(False), 0)
                p.add(t=[0])
                eq(p.write("t", b"5"), 0)
                eq(p.end(True), 0)
                eq(sse.next().json()["value"], 5)
            eq(seen(k, "t"), [b"1", b"2", b"5"])
            eq(seen(k, "t", committed=False), [b"1", b"2", b"3", b"5"])
            eq(sorted(w.values("t")), [1, 2, 4, 5])
            eq([b.attributes & 32 for b in batches(k.fetch("t")["records"])], [0, 0, 32, 32, 0, 32])


@test("a producer that was fenced writes nothing, whatever it tries, also after a kill", own=True)
def _():
    with Weir() as w:
        make_topic(w, "t")
        with Kafka(w) as k:
            old = Producer(k, "p")
            old.add(t=[0])
            eq(old.write("t", b"1"), 0)
            new = Producer(k, "p")
            eq(old.write("t", b"2"), EPOCH)
            new.add(t=[0])
            eq(old.write("t", b"2"), EPOCH)
            eq(new.write("t", b"3"), 0)
        w.restart(hard=True)
        with Kafka(w) as k:
            old.k = new.k = k
            eq(old.write("t", b"2"), EPOCH)
            got = k.produce("t", batch([b"2"], pid=old.pid, epoch=old.epoch, sequence=1))
            eq(got["error_code"], EPOCH, "outside of a transaction")
            eq(new.write("t", b"4"), 0)
            eq(new.end(True), 0)
            eq(seen(k, "t"), [b"3", b"4"])
            eq(seen(k, "t", committed=False), [b"1", b"3", b"4"])


@test("offsets of a group and records are committed together", own=True)
def _():
    with Weir() as w:
        make_topic(w, "t")
        with Kafka(w) as k:
            def offset(stable=False):
                got = k.call("OffsetFetch", 7, group_id="g", require_stable=stable,
                             topics=[{"name": "t", "partition_indexes": [0]}])["topics"][0]["partitions"][0]
                return got["committed_offset"], got["error_code"]
            p = Producer(k, "p")
            for commit in (True, False, True):
                before = offset()
                p.add(t=[0])
                eq(p.add_group("g"), 0)
                eq(p.write("t", b"1"), 0)
                eq(p.commit_offset("g", "t", before[0] + 10), 0)
                eq(offset(), before)
                eq(offset(stable=True)[1], 88, "UNSTABLE_OFFSET_COMMIT")
                w.restart(hard=True)
                k.close()
                p.k = k = Kafka(w)
                eq(offset(stable=True)[1], 88, "after a kill")
                eq(p.end(commit), 0)
                eq(offset(stable=True), (before[0] + 10, 0) if commit else before)
            eq(p.add_group("g"), 0)
            eq(p.commit_offset("g", "t", 1, generation_id=3, member_id="nobody"), 22, "ILLEGAL_GENERATION")
            eq(seen(k, "t"), [b"1", b"1"])


# ---- with librdkafka ----

def client():
    try:
        import confluent_kafka
    except ImportError:
        raise Skip("python3-confluent-kafka is not installed")
    return confluent_kafka


def transactional(w, tid, **more):
    p = client().Producer({"bootstrap.servers": "%s:%d" % address(w), "transactional.id": tid, "linger.ms": 5,
                           "transaction.timeout.ms": 60000, **more})
    p.init_transactions(patience())
    return p


def consume(w, topic, isolation, count, group="r"):
    """Values from the beginning, until there are `count`."""
    c = client().Consumer({"bootstrap.servers": "%s:%d" % address(w), "group.id": group, "isolation.level": isolation,
                           "auto.offset.reset": "earliest", "enable.auto.commit": False})
    c.subscribe([topic])
    out, end = [], time.monotonic() + patience()
    while time.monotonic() < end and len(out) < count:
        m = c.poll(0.2)
        if m is not None and not m.error():
            out.append(m.value())
    c.close()
    return out


@test("confluent-kafka commits and aborts, and readers see what they should", own=True, timeout=90)
def _():
    client()
    with Weir() as w:
        make_topic(w, "t", 3)
        p = transactional(w, "tx")
        wanted = []
        for turn in range(10):
            p.begin_transaction()
            for i in range(20):
                p.produce("t", b"%d" % (turn * 100 + i), key=b"k%d" % i)
            if turn % 3 == 2:
                p.flush(patience())
                p.abort_transaction(patience())
            else:
                p.commit_transaction(patience())
                wanted += [b"%d" % (turn * 100 + i) for i in range(20)]
        eq(sorted(consume(w, "t", "read_committed", len(wanted))), sorted(wanted))
        eq(len(consume(w, "t", "read_uncommitted", 200, group="u")), 200)
        eq(sorted(w.values("t")), sorted(int(v) for v in wanted))


@test("confluent-kafka: a second producer fences the first; a timeout does too", own=True, timeout=90)
def _():
    kafka = client()
    with Weir() as w:
        make_topic(w, "t")
        first = transactional(w, "tx")
        first.begin_transaction()
        first.produce("t", b"1")
        first.flush(patience())
        second = transactional(w, "tx")
        try:
            first.commit_transaction(patience())
            raise Failed("a fenced producer has committed")
        except kafka.KafkaException as e:
            check(e.args[0].fatal(), "a fenced producer goes on: %s" % e)
        second.begin_transaction()
        second.produce("t", b"2")
        second.commit_transaction(patience())
        slow = transactional(w, "slow", **{"transaction.timeout.ms": 4000})  # in which the record is to get there
        slow.begin_transaction()
        slow.produce("t", b"3")
        slow.flush(patience())
        with Kafka(w) as k:
            until(lambda: k.call("DescribeTransactions", 0, transactional_ids=["slow"])["transaction_states"][0]
                  ["transaction_state"] == "CompleteAbort", what="the end of a transaction that took too long")
        try:
            slow.commit_transaction(patience())
            raise Failed("a transaction was committed after its timeout")
        except kafka.KafkaException:
            pass
        eq(consume(w, "t", "read_committed", 1), [b"2"])


class Transformer(threading.Thread):
    """Reads `from`, writes to `into`, commits both in one transaction; begins anew when it is told that it must."""

    def __init__(self, w, number, into="into"):
        super().__init__(daemon=True)
        self.w, self.number, self.into = w, number, into
        self.stop, self.failed, self.commits, self.lives = False, None, 0, 0

    def run(self):
        try:
            while not self.stop:
                self.live()
        except Exception as e:  # told by who joins
            self.failed = e

    def live(self):
        kafka = client()
        self.lives += 1
        servers = "%s:%d" % address(self.w)
        consumer = kafka.Consumer({"bootstrap.servers": servers, "group.id": "transform", "enable.auto.commit": False,
                                   "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                                   "session.timeout.ms": 6000, "reconnect.backoff.max.ms": 200, "log_level": 2})
        producer = kafka.Producer({"bootstrap.servers": servers, "transactional.id": "transform-%d" % self.number,
                                   "transaction.timeout.ms": 20000, "reconnect.backoff.max.ms": 200, "linger.ms": 2, "log_level": 2})
        try:
            producer.init_transactions(patience())
            consumer.subscribe(["from"])
            while not self.stop:
                self.turn(kafka, consumer, producer)
        except kafka.KafkaException:
            pass  # fatal for this producer: the next one fences it
        finally:
            consumer.close()

    def turn(self, kafka, consumer, producer):
        messages = [m for m in consumer.consume(50, 0.3) if not m.error()]
        if not messages:
            return
        producer.begin_transaction()
        try:
            for m in messages:
                producer.produce(self.into, b"out-" + m.value(), key=m.key())
            producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                                 consumer.consumer_group_metadata(), patience())
            producer.commit_transaction(patience())
            self.commits += 1
        except kafka.KafkaException as e:
            if e.args[0].fatal():
                raise
            producer.abort_transaction(patience())
            # What was read is to be read again: begin where the group is.
            raise


KILLS = int(os.environ.get("WEIR_KILLS", "25"))


@test("every input comes out once, over many kills of weir within transactions", own=True, timeout=600)
def _():
    client()
    with Weir() as w:
        make_topic(w, "from", 4)
        make_topic(w, "into", 2)
        rand = random.Random(4)
        workers = [Transformer(w, i) for i in range(2)]
        for t in workers:
            t.start()
        sent = 0
        commits = lambda: sum(t.commits for t in workers)
        for kill in range(KILLS):
            before, end = commits(), time.monotonic() + patience()
            with w.session() as s:  # killed while they work, and not before one of them got through
                while commits() == before:
                    check(time.monotonic() < end and not any(t.failed for t in workers), "nothing comes through after %d kills" % kill)
                    lines = b"\n".join(b"%d" % (sent + i) for i in range(20))
                    expect(s.request("POST", "/v1/topics/from/records", lines,
                                     {"Content-Type": "application/x-ndjson"}), 200)
                    sent += 20
                    time.sleep(0.1)
            time.sleep(rand.random() * 0.2)
            w.restart(hard=True)
        until(lambda: len(w.all("into")) >= sent or any(t.failed for t in workers), 120, "all that was sent", 0.5)
        for t in workers:
            t.stop = True
        for t in workers:
            t.join(patience())
            check(not t.is_alive(), "transformer %d does not end" % t.number)
            eq(t.failed, None, "transformer %d" % t.number)
        got = sorted(int(r["value_text"][4:]) for r in w.all("into"))
        eq(got, list(range(sent)))
        check(commits() >= KILLS, "few commits: %r" % [(t.commits, t.lives) for t in workers])
