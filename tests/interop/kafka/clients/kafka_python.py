# SPDX-License-Identifier: Apache-2.0
"""kafka-python, 2.0.2 (which guesses a broker version from what is told, and never asks again) and the newest."""
import os
import threading
import time

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import (CommitFailedError, KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError, UnknownTopicOrPartitionError)
from kafka.structs import OffsetAndMetadata

from checks import BOOTSTRAP, CODECS, SHORT, Skip, ask, check, eq, name, run, until

OLD = kafka.__version__.startswith("2.")
# An hour ago: what is older than its retention goes any moment.
THEN = int(time.time() * 1000) - 3600000
COUNT = 100 if SHORT else 300
print("kafka-python " + kafka.__version__)


def producer(**more):
    return KafkaProducer(**{"bootstrap_servers": BOOTSTRAP, "request_timeout_ms": 20000, "retries": 20, "retry_backoff_ms": 200, **more})


def consumer(*topics, **more):
    config = {"bootstrap_servers": BOOTSTRAP, "auto_offset_reset": "earliest", "enable_auto_commit": False, "metadata_max_age_ms": 1000,
              "session_timeout_ms": 6000, "heartbeat_interval_ms": 500, "request_timeout_ms": 20000, "retry_backoff_ms": 100}
    config.update(more)
    if config["session_timeout_ms"] >= config["request_timeout_ms"]:
        config["request_timeout_ms"] = config["session_timeout_ms"] + 1000
    return KafkaConsumer(*topics, **config)


ADMIN = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)


def create(topic, partitions=1, **config):
    topic = name(topic)
    ADMIN.create_topics([NewTopic(topic, partitions, 1, topic_configs={k.replace("_", "."): v for k, v in config.items()})])
    return topic


def offset(n):
    return OffsetAndMetadata(n, "note") if OLD else OffsetAndMetadata(n, "note", -1)


def send(topic, values, p=None, **more):
    mine = p or producer()
    got = [f.get(30) for f in [mine.send(topic, v, **more) for v in values]]
    if not p:
        mine.close()
    return got


def read(c, count, seconds=30):
    out, end = [], time.monotonic() + seconds
    while len(out) < count:
        for records in c.poll(200).values():
            out += records
        if time.monotonic() > end:
            raise AssertionError("%d of %d records in %d s" % (len(out), count, seconds))
    return out


def all_of(topic, count, partitions=1, **more):
    c = consumer(**more)
    tps = [TopicPartition(topic, p) for p in range(partitions)]
    c.assign(tps)
    c.seek_to_beginning(*tps)
    got = read(c, count)
    eq(c.poll(300), {}, "records too many")
    c.close()
    return got


for codec in CODECS:
    def compressed(codec=codec):
        topic = create(codec)
        p = producer(compression_type=None if codec == "none" else codec, linger_ms=50, acks="all")
        sent = [p.send(topic, b"value %06d " % i + b"x" * 200, b"key %d" % i, headers=[("a", b"1")], timestamp_ms=THEN + i)
                for i in range(COUNT)]
        eq([f.get(20).offset for f in sent], list(range(COUNT)), "offsets")
        p.close()
        for i, m in enumerate(all_of(topic, COUNT)):
            eq((m.offset, m.key, m.value, list(m.headers), m.timestamp, m.timestamp_type),
               (i, b"key %d" % i, b"value %06d " % i + b"x" * 200, [("a", b"1")], THEN + i, 0), "record")
        ask("stored", topic, codec, COUNT)
    check("codec " + codec)(compressed)


@check("acks 0 and 1")
def _():
    topic = create("acks")
    for acks in (0, 1):
        extra = {} if OLD else {"enable_idempotence": False}
        p = producer(acks=acks, **extra)
        for i in range(20):
            p.send(topic, b"%d" % i)
        p.flush(20)
        p.close()
    eq(len(all_of(topic, 40)), 40)


@check("consume from the end")
def _():
    topic = create("end")
    send(topic, [b"old"] * 10)
    c = consumer(auto_offset_reset="latest")
    tp = TopicPartition(topic, 0)
    c.assign([tp])
    eq(c.poll(500), {})
    send(topic, [b"new"])
    eq([(m.offset, m.value) for m in read(c, 1)], [(10, b"new")])
    eq((c.beginning_offsets([tp])[tp], c.end_offsets([tp])[tp]), (0, 11))
    c.close()


@check("consume from a timestamp")
def _():
    topic = create("time")
    p = producer()
    for i in range(20):
        p.send(topic, b"%d" % i, timestamp_ms=THEN + i * 1000)
    p.flush(20)
    p.close()
    c, tp = consumer(), TopicPartition(topic, 0)
    c.assign([tp])
    found = [c.offsets_for_times({tp: THEN + t})[tp] for t in (0, 6500, 19000, 19001)]
    eq([f and f.offset for f in found], [0, 7, 19, None])
    c.seek(tp, 7)
    eq(read(c, 1)[0].value, b"7")
    c.close()


class Member(threading.Thread):
    """A consumer that polls in its own thread, as this client wants it."""

    def __init__(self, topic, group):
        super().__init__(daemon=True)
        self.consumer = consumer(topic, group_id=group)
        self.got, self.ending, self.share = [], False, set()
        self.start()

    def run(self):
        while not self.ending:
            for records in self.consumer.poll(100).values():
                self.got += records
            self.share = {t.partition for t in self.consumer.assignment()}
        self.consumer.close()

    def end(self):
        self.ending = True
        self.join(20)


@check("group with two members and a rebalance")
def _():
    topic = create("group", 4)
    p = producer()
    for i in range(40):
        p.send(topic, b"%d" % i, partition=i % 4)
    p.flush(20)
    a = Member(topic, name("group"))
    until(lambda: len(a.got) == 40, "all records for the first")
    b = Member(topic, name("group"))
    until(lambda: len(a.share) == 2 and len(b.share) == 2, "two partitions each")
    eq(a.share | b.share, {0, 1, 2, 3})
    a.end()
    until(lambda: len(b.share) == 4, "all partitions for the one that is left")
    b.got.clear()
    for i in range(8):
        p.send(topic, b"more", partition=i % 4)
    until(lambda: sum(m.value == b"more" for m in b.got) == 8, "what came later")
    b.end()
    p.close()


@check("commit, and go on from there")
def _():
    topic = create("commit")
    tp = TopicPartition(topic, 0)
    send(topic, [b"%d" % i for i in range(20)])
    c = consumer(topic, group_id=name("commit"))
    read(c, 20)
    c.commit({tp: offset(12)})
    eq(c.committed(tp), 12)
    eq(c.committed(tp, metadata=True).metadata, "note")
    c.close()
    c = consumer(topic, group_id=name("commit"))
    eq([m.value for m in read(c, 8)], [b"%d" % i for i in range(12, 20)])
    c.close()


@check("restart of the server in the middle")
def _():
    topic = create("restart", 2)
    p, c = producer(acks="all"), consumer(topic, group_id=name("restart"), session_timeout_ms=30000)
    futures, stop = [], threading.Event()

    def feed():
        i = 0
        while not stop.is_set():
            futures.append(p.send(topic, b"%d" % i))
            i += 1
            time.sleep(0.005)
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    got = read(c, 50)
    ask("restart")
    try:
        ADMIN.list_topics()  # 2.0.2 has no retry: it finds the connection closed, once
    except KafkaError:
        pass
    time.sleep(1)
    stop.set()
    feeder.join()
    for f in futures:
        f.get(30)
    got += read(c, len(futures) - len({m.value for m in got}), 40)
    end = time.monotonic() + 20
    while len({m.value for m in got}) < len(futures) and time.monotonic() < end:
        got += [m for records in c.poll(200).values() for m in records]
    eq(sorted({int(m.value) for m in got}), list(range(len(futures))), "values")
    if not OLD:  # it is idempotent
        eq(len({(m.partition, m.offset) for m in got}), len(futures), "records")
    c.commit()
    c.close()
    p.close()


@check("large messages")
def _():
    topic = create("large")
    values = [os.urandom(900000) for _ in range(4)]
    p = producer(max_request_size=2000000)
    send(topic, values, p)
    p.close()
    eq([m.value for m in all_of(topic, 4)], values)
    eq([m.value for m in all_of(topic, 4, max_partition_fetch_bytes=1000)], values, "in small fetches")


@check("error, message too large")
def _():
    p = producer(max_request_size=8000000)
    try:
        p.send(create("toolarge"), b"x" * 3000000).get(20)
        raise AssertionError("it was taken")
    except MessageSizeTooLargeError:
        pass
    p.close()


@check("error, unknown topic")
def _():
    try:
        ADMIN.delete_topics([name("no-such")])
        raise AssertionError("it was deleted")
    except UnknownTopicOrPartitionError:
        pass


@check("error, commit of a member that was put out")
def _():
    topic = create("stale")
    tp = TopicPartition(topic, 0)
    send(topic, [b"x"] * 4)
    c = consumer(topic, group_id=name("stale"), max_poll_interval_ms=3000, max_poll_records=1)
    read(c, 1)
    time.sleep(4.5)  # the heartbeat's thread leaves the group
    try:
        c.commit({tp: offset(1)})
        raise AssertionError("it was committed")
    except (CommitFailedError, KafkaError):
        pass
    c.close()


@check("topics are made on first use")
def _():
    send(name("by-itself"), [b"x"])
    eq(len(all_of(name("by-itself"), 1)), 1)


@check("admin")
def _():
    topic = create("admin", 1, retention_ms="3600000")
    try:
        create("admin")
        raise AssertionError("twice")
    except TopicAlreadyExistsError:
        pass
    ADMIN.create_partitions({topic: NewPartitions(3)})
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    if OLD:
        def setting():
            return {e[0]: e[1] for r in ADMIN.describe_configs([resource]) for res in r.resources for e in res[4]}["retention.ms"]
        eq(setting(), "3600000")
        ADMIN.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "7200000"})])
        until(lambda: setting() == "7200000", "the change", 10)
    c = consumer()
    until(lambda: c.partitions_for_topic(topic) == {0, 1, 2}, "three partitions", 10)
    c.close()
    ADMIN.delete_topics([topic])
    until(lambda: topic not in ADMIN.list_topics(), "no such topic", 10)


@check("groups are listed and described")
def _():
    topic = create("listed")
    send(topic, [b"x"])
    c = consumer(topic, group_id=name("listed"), client_id="me")
    read(c, 1)
    c.commit()
    if OLD:
        eq([g for g in ADMIN.list_consumer_groups() if g[0] == name("listed")], [(name("listed"), "consumer")])
        g = ADMIN.describe_consumer_groups([name("listed")])[0]
        eq((g.state, g.protocol, [m.client_id for m in g.members]), ("Stable", "range", ["me"]))
    else:
        assert name("listed") in str(ADMIN.list_groups()), "not listed"
        assert "Stable" in str(ADMIN.describe_groups([name("listed")])), "not stable"
    c.close()


@check("transactions")
def _():
    if OLD:
        raise Skip("kafka-python 2.0.2 has none")
    topic = create("txn")
    p = producer(transactional_id=name("txn"))
    p.init_transactions()
    for i in range(4):
        p.begin_transaction()
        for _ in range(5):
            p.send(topic, b"%d" % i)
        p.commit_transaction() if i % 2 == 0 else p.abort_transaction()
    p.close()
    eq([m.value for m in all_of(topic, 10, isolation_level="read_committed")], [b"0"] * 5 + [b"2"] * 5)


@check("error, fenced by a newer producer")
def _():
    if OLD:
        raise Skip("kafka-python 2.0.2 has no transactions")
    topic = create("fence")
    a, b = producer(transactional_id=name("fence")), producer(transactional_id=name("fence"))
    a.init_transactions()
    b.init_transactions()
    try:
        a.begin_transaction()
        a.send(topic, b"a").get(20)
        a.commit_transaction()
        raise AssertionError("it was committed")
    except KafkaError as e:
        assert "Fenced" in type(e).__name__ or "InvalidProducerEpoch" in repr(e), repr(e)
    b.close()


run()
