# SPDX-License-Identifier: Apache-2.0
"""librdkafka through confluent-kafka: Debian's (librdkafka 2.0.2) and the newest run the same checks."""
import os
import subprocess
import sys
import threading
import time

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from checks import BOOTSTRAP, CODECS, SHORT, ask, check, eq, name, run, until

print("confluent-kafka %s, librdkafka %s" % (confluent_kafka.version()[0], confluent_kafka.libversion()[0]))
# An hour ago: what is older than its retention goes any moment.
THEN = int(time.time() * 1000) - 3600000
COUNT = 100 if SHORT else 300


def errors(err):
    print("client: %s" % err)


def producer(**more):
    return Producer({"bootstrap.servers": BOOTSTRAP, "error_cb": errors, "message.timeout.ms": 40000,
                     **{k.replace("_", "."): v for k, v in more.items()}})


def consumer(group="none", **more):
    config = {"bootstrap.servers": BOOTSTRAP, "group.id": name(group), "auto.offset.reset": "earliest", "error_cb": errors,
              "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "enable.auto.commit": False,
              "topic.metadata.refresh.interval.ms": 1000}
    config.update({k.replace("_", "."): v for k, v in more.items()})
    return Consumer(config)


ADMIN = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create(topic, partitions=1, **config):
    topic = name(topic)
    made = ADMIN.create_topics([NewTopic(topic, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})])
    made[topic].result(20)
    return topic


class Sent:
    """Delivery reports."""

    def __init__(self):
        self.good, self.bad = [], []

    def __call__(self, err, msg):
        if err:
            self.bad.append(err)
        else:
            self.good.append((msg.partition(), msg.offset()))


def send(p, topic, values, **more):
    sent = Sent()
    for i, value in enumerate(values):
        p.produce(topic, value, on_delivery=sent, **more)
        if i % 100 == 0:
            p.poll(0)
    eq(p.flush(40), 0, "left in the queue")
    return sent


def read(c, count, seconds=30):
    out, end = [], time.monotonic() + seconds
    while len(out) < count:
        m = c.poll(0.2)
        if m is not None:
            if m.error():
                raise KafkaException(m.error())
            out.append(m)
        elif time.monotonic() > end:
            raise AssertionError("%d of %d records in %d s" % (len(out), count, seconds))
    return out


def all_of(topic, count, partitions=1, **more):
    c = consumer(**more)
    c.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    got = read(c, count)
    eq(c.poll(0.3), None, "a record too many")
    c.close()
    return got


def code_of(fn, *args):
    try:
        fn(*args)
    except KafkaException as e:
        return e.args[0].code()
    return KafkaError.NO_ERROR


for codec in CODECS:
    def compressed(codec=codec):
        topic = create(codec)
        p = producer(compression_codec=codec, linger_ms=50)
        sent = Sent()
        for i in range(COUNT):
            p.produce(topic, b"value %06d " % i + b"x" * 200, key=b"key %d" % i, headers=[("a", b"1"), ("b", None)],
                      timestamp=THEN + i, on_delivery=sent)
        eq(p.flush(30), 0, "left")
        eq(sent.good, [(0, i) for i in range(COUNT)], "reports")
        for i, m in enumerate(all_of(topic, COUNT)):
            eq((m.offset(), m.key(), m.value(), m.headers(), m.timestamp()),
               (i, b"key %d" % i, b"value %06d " % i + b"x" * 200, [("a", b"1"), ("b", None)],
                (confluent_kafka.TIMESTAMP_CREATE_TIME, THEN + i)), "record")
        ask("stored", topic, codec, COUNT)
    check("codec " + codec)(compressed)


@check("acks 0 and 1")
def _():
    topic = create("acks")
    for acks in (0, 1):
        send(producer(acks=acks), topic, [b"%d" % i for i in range(20)])
    eq(len(all_of(topic, 40)), 40)


@check("null key, null value, empty value")
def _():
    topic = create("nulls")
    p = producer()
    p.produce(topic, None, key=b"k")
    p.produce(topic, b"", key=b"")
    p.produce(topic, b"v")
    p.flush(20)
    eq([(m.key(), m.value()) for m in all_of(topic, 3)], [(b"k", None), (b"", b""), (None, b"v")])


@check("keys go where the partitioner says")
def _():
    topic = create("keys", 4)
    p = producer(partitioner="murmur2_random")
    for i in range(40):
        p.produce(topic, b"v", key=b"key%d" % (i % 8))
    p.flush(20)
    where = {}
    for m in all_of(topic, 40, partitions=4):
        where.setdefault(m.key(), set()).add(m.partition())
    eq({len(v) for v in where.values()}, {1})


@check("consume from the end")
def _():
    topic = create("end")
    send(producer(), topic, [b"old"] * 10)
    c = consumer("end", auto_offset_reset="latest")
    c.subscribe([topic])
    until(lambda: c.poll(0.1) is None and c.assignment(), "assignment")
    c.poll(1)
    send(producer(), topic, [b"new"])
    eq([(m.offset(), m.value()) for m in read(c, 1)], [(10, b"new")])
    eq(c.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (0, 11))
    c.close()


@check("consume from a timestamp")
def _():
    topic = create("time")
    p = producer()
    for i in range(20):
        p.produce(topic, b"%d" % i, timestamp=THEN + i * 1000)
    p.flush(20)
    c = consumer()
    got = [c.offsets_for_times([TopicPartition(topic, 0, THEN + t)], timeout=10)[0].offset for t in (0, 6500, 19000, 19001)]
    eq(got, [0, 7, 19, -1], "offsets")
    c.assign([TopicPartition(topic, 0, 7)])
    eq(read(c, 1)[0].value(), b"7")
    c.close()


@check("timestamps of arrival")
def _():
    topic = create("append", 1, message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000) - 1000
    p = producer(linger_ms=20)
    for i in range(5):
        p.produce(topic, b"x", timestamp=1)
    p.flush(20)
    for m in all_of(topic, 5):
        kind, at = m.timestamp()
        eq(kind, confluent_kafka.TIMESTAMP_LOG_APPEND_TIME)
        assert before <= at <= before + 60000, at


def members(strategy, group):
    topic = create("group-" + strategy, 4)
    p = producer()
    for i in range(40):
        p.produce(topic, b"%d" % i, partition=i % 4)
    p.flush(20)
    a, b = [consumer(group, partition_assignment_strategy=strategy, client_id=x) for x in ("a", "b")]
    a.subscribe([topic])
    got = read(a, 40)
    eq(len({(m.partition(), m.offset()) for m in got}), 40)
    a.commit(asynchronous=False)
    eq(len(a.assignment()), 4)
    b.subscribe([topic])

    def both():
        for c in (a, b):
            m = c.poll(0.1)
            if m is not None and m.error() is None:
                raise AssertionError("record %d/%d came again" % (m.partition(), m.offset()))
        return len(a.assignment()) == 2 and len(b.assignment()) == 2
    until(both, "two partitions each")
    eq(sorted(t.partition for t in a.assignment() + b.assignment()), [0, 1, 2, 3])
    a.close()
    until(lambda: b.poll(0.1) is None and len(b.assignment()) == 4, "all partitions for the one that is left")
    send(producer(), topic, [b"more"] * 8)
    eq(len(read(b, 8)), 8)
    b.close()


@check("group with two members and a rebalance, range")
def _():
    members("range", "eager")


@check("group with two members and a rebalance, cooperative-sticky")
def _():
    members("cooperative-sticky", "coop")


@check("static member comes back without a rebalance")
def _():
    topic = create("static", 2)
    send(producer(), topic, [b"x"] * 10)
    moves = []
    a = consumer("static", group_instance_id="one", session_timeout_ms=20000)
    a.subscribe([topic], on_assign=lambda c, p: moves.append("assign"))
    read(a, 10)
    b = consumer("static", group_instance_id="two", session_timeout_ms=20000)
    b.subscribe([topic])
    until(lambda: (a.poll(0.1), b.poll(0.1)) and len(a.assignment()) == 1 and len(b.assignment()) == 1, "one each")
    before = len(moves)
    mine = b.assignment()
    b.close()
    b = consumer("static", group_instance_id="two", session_timeout_ms=20000)
    b.subscribe([topic])
    until(lambda: (a.poll(0.1), b.poll(0.1)) and len(b.assignment()) == 1, "the place back")
    eq([t.partition for t in b.assignment()], [t.partition for t in mine], "partition")
    eq(len(moves), before, "rebalances of the other")
    a.close()
    b.close()


@check("a member that dies is put out")
def _():
    topic = create("dead", 2)
    send(producer(), topic, [b"x"] * 4)
    code = """
import sys, time
from confluent_kafka import Consumer
c = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
c.subscribe([sys.argv[3]])
while True:
    c.poll(0.1)
    if c.assignment():
        print("in", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code, BOOTSTRAP, name("dead"), topic], stdout=subprocess.PIPE)
    child.stdout.readline()
    c = consumer("dead")
    c.subscribe([topic])
    until(lambda: c.poll(0.1) is None and len(c.assignment()) == 1, "half of it")
    child.kill()
    child.wait()
    until(lambda: (c.poll(0.1) or True) and len(c.assignment()) == 2, "all of it", 40)
    c.close()


@check("commit, and go on from there")
def _():
    topic = create("commit")
    send(producer(), topic, [b"%d" % i for i in range(20)])
    c = consumer("commit")
    c.subscribe([topic])
    got = read(c, 12)
    c.commit(offsets=[TopicPartition(topic, 0, got[11].offset() + 1)], asynchronous=False)
    eq(c.committed([TopicPartition(topic, 0)], timeout=10)[0].offset, 12)
    eq(c.committed([TopicPartition(name("never"), 0)], timeout=10)[0].offset, confluent_kafka.OFFSET_INVALID)
    c.close()
    c = consumer("commit")
    c.subscribe([topic])
    eq([m.value() for m in read(c, 8)], [b"%d" % i for i in range(12, 20)])
    c.close()


@check("commits by themselves")
def _():
    topic = create("auto")
    send(producer(), topic, [b"x"] * 10)
    for want in (10, 0):
        c = consumer("auto", enable_auto_commit=True, auto_commit_interval_ms=200)
        c.subscribe([topic])
        eq(len(read(c, want)), want)
        until(lambda: c.poll(0.1) is None and c.assignment(), "assignment")
        eq(c.poll(0.5), None)
        c.close()


def over_a_stop(how, **more):
    topic = create(how, 2)
    p = producer(linger_ms=5, **more)
    c = consumer(how, session_timeout_ms=30000)
    c.subscribe([topic])
    sent, want, got, stop = Sent(), [], [], threading.Event()

    def feed():
        i = 0
        while not stop.is_set():
            value = b"%d" % i
            p.produce(topic, value, key=value, on_delivery=sent)
            want.append(value)
            p.poll(0)
            i += 1
            time.sleep(0.002)
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    got += read(c, 100)
    c.commit(asynchronous=False)
    ask(how)
    until(lambda: not sent.bad and len(sent.good) and p.poll(0) is not None and len(p) < 50, "the queue to empty", 40)
    time.sleep(0.3)
    stop.set()
    feeder.join()
    eq(p.flush(40), 0, "left")
    eq(sent.bad, [], "failed")
    got += read(c, len(want) - len(got), 40)
    eq(c.poll(0.3), None, "a record too many")
    eq(sorted(int(m.value()) for m in got), list(range(len(want))), "values")
    c.commit(asynchronous=False)
    c.close()


@check("restart of the server in the middle, idempotent")
def _():
    over_a_stop("restart", enable_idempotence=True)


@check("kill of the server in the middle, idempotent")
def _():
    over_a_stop("kill", enable_idempotence=True)


@check("large messages")
def _():
    topic = create("large")
    values = [os.urandom(900000) for _ in range(4)]
    sent = send(producer(message_max_bytes=2000000), topic, values)
    eq(sent.bad, [])
    eq([m.value() for m in all_of(topic, 4)], values)
    eq([m.value() for m in all_of(topic, 4, fetch_message_max_bytes=1000)], values, "in small fetches")


@check("error, message too large")
def _():
    sent = send(producer(message_max_bytes=8000000), create("toolarge"), [b"x" * 3000000])
    eq([e.code() for e in sent.bad], [KafkaError.MSG_SIZE_TOO_LARGE])


@check("error, unknown topic")
def _():
    made = ADMIN.delete_topics([name("no-such")])
    eq(code_of(made[name("no-such")].result, 20), KafkaError.UNKNOWN_TOPIC_OR_PART)
    c = consumer("unknown", allow_auto_create_topics=False)
    c.subscribe([name("no-such")])
    m = until(lambda: c.poll(0.5), "an error")
    eq(m.error().code(), KafkaError.UNKNOWN_TOPIC_OR_PART)
    c.close()


@check("error, offset out of range")
def _():
    topic = create("range")
    send(producer(), topic, [b"x"] * 3)
    c = consumer("range", auto_offset_reset="error")
    c.assign([TopicPartition(topic, 0, 1000)])
    m = until(lambda: c.poll(0.5), "an error")
    eq(m.error().code(), KafkaError._AUTO_OFFSET_RESET)
    c.close()


@check("error, commit of a generation that is over")
def _():
    topic = create("stale", 2)
    send(producer(), topic, [b"x"] * 4)
    c = consumer("stale", max_poll_interval_ms=6000)
    c.subscribe([topic])
    read(c, 4)
    time.sleep(7)  # put out of the group by itself
    eq(code_of(lambda: c.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)) in
       (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._STATE), True, "refused")
    c.close()


@check("topics are made on first use")
def _():
    topic = name("by-itself")
    eq(send(producer(), topic, [b"x"]).bad, [])
    eq(len(all_of(topic, 1)), 1)


@check("idempotent producer, several batches in flight")
def _():
    topic = create("idem")
    p = producer(enable_idempotence=True, max_in_flight_requests_per_connection=5, batch_num_messages=10, linger_ms=1)
    sent = send(p, topic, [b"%d" % i for i in range(COUNT)])
    eq(sent.bad, [])
    eq([m.value() for m in all_of(topic, COUNT)], [b"%d" % i for i in range(COUNT)])


@check("transactions, committed and aborted")
def _():
    topic = create("txn", 2)
    p = producer(transactional_id=name("txn"), transaction_timeout_ms=50000)
    p.init_transactions(20)
    for i in range(4):
        p.begin_transaction()
        for j in range(10):
            p.produce(topic, b"%d" % i, partition=j % 2)
        p.flush(20)
        p.commit_transaction(20) if i % 2 == 0 else p.abort_transaction(20)
    got = all_of(topic, 20, partitions=2, isolation_level="read_committed")
    eq(sorted(m.value() for m in got), [b"0"] * 10 + [b"2"] * 10)
    got = all_of(topic, 40, partitions=2, isolation_level="read_uncommitted")
    eq(len(got), 40)


@check("an open transaction holds read_committed back")
def _():
    topic = create("open")
    p = producer(transactional_id=name("open"))
    p.init_transactions(20)
    p.begin_transaction()
    p.produce(topic, b"in")
    p.flush(20)
    send(producer(), topic, [b"behind"])
    c = consumer(isolation_level="read_committed")
    c.assign([TopicPartition(topic, 0, 0)])
    eq(c.poll(1.5), None, "before the end")
    p.commit_transaction(20)
    eq([m.value() for m in read(c, 2)], [b"in", b"behind"])
    c.close()


@check("transaction that reads, works and writes")
def _():
    source, target = create("etl-in"), create("etl-out")
    send(producer(), source, [b"%d" % i for i in range(20)])
    c = consumer("etl", isolation_level="read_committed")
    c.subscribe([source])
    p = producer(transactional_id=name("etl"))
    p.init_transactions(20)
    for abort in (True, False):
        if abort:
            got = read(c, 20)
        p.begin_transaction()
        for m in got:
            p.produce(target, m.value() + b"!")
        p.send_offsets_to_transaction([TopicPartition(source, 0, 20)], c.consumer_group_metadata(), 20)
        p.abort_transaction(20) if abort else p.commit_transaction(20)
        want = confluent_kafka.OFFSET_INVALID if abort else 20
        eq(c.committed([TopicPartition(source, 0)], timeout=10)[0].offset, want, "offset")
    c.close()
    eq(len(all_of(target, 20, isolation_level="read_committed")), 20)


@check("error, fenced by a newer producer")
def _():
    topic = create("fence")
    a, b = [producer(transactional_id=name("fence")) for _ in range(2)]
    a.init_transactions(20)
    a.begin_transaction()
    a.produce(topic, b"a")
    a.flush(10)
    b.init_transactions(20)
    code = code_of(lambda: a.commit_transaction(20))
    eq(code in (KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, 90), True, "fenced rather than %s" % code)
    b.begin_transaction()
    b.produce(topic, b"b")
    b.commit_transaction(20)
    eq([m.value() for m in all_of(topic, 1, isolation_level="read_committed")], [b"b"])


@check("admin, topics and their settings")
def _():
    a = ADMIN
    topic = create("admin", 1, retention_ms="3600000")
    eq(code_of(a.create_topics([NewTopic(topic, 1, 1)])[topic].result, 20), KafkaError.TOPIC_ALREADY_EXISTS)
    a.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    until(lambda: len(a.list_topics(topic, timeout=10).topics[topic].partitions) == 3, "three partitions", 10)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    eq(a.describe_configs([resource])[resource].result(20)["retention.ms"].value, "3600000")
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, set_config={"retention.ms": "7200000"})
    a.alter_configs([change])[change].result(20)
    until(lambda: a.describe_configs([resource])[resource].result(20)["retention.ms"].value == "7200000", "the change", 10)
    a.delete_topics([topic])[topic].result(20)
    until(lambda: topic not in a.list_topics(timeout=10).topics, "no such topic", 10)


@check("admin, groups")
def _():
    topic = create("listed")
    send(producer(), topic, [b"x"])
    c = consumer("listed", client_id="me")
    c.subscribe([topic])
    read(c, 1)
    g = [g for g in ADMIN.list_groups(timeout=10) if g.id == name("listed")]
    eq([(g[0].state, g[0].protocol_type, g[0].protocol, [m.client_id for m in g[0].members])],
       [("Stable", "consumer", "range", ["me"])])
    c.close()


@check("the program of the documentation")
def _():
    topic = create("doc")
    send(producer(), topic, [b"one", b"two"])
    program = """
from confluent_kafka import Consumer
consumer = Consumer({'bootstrap.servers': 'localhost:9092', 'group.id': 'mygroup', 'auto.offset.reset': 'earliest'})
consumer.subscribe(['topic1'])
while True:
    message = consumer.poll(1.0)
    if message is not None and not message.error():
        print(message.value())
""".replace("localhost:9092", BOOTSTRAP).replace("topic1", topic).replace("mygroup", name("doc"))
    child = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE)
    timer = threading.Timer(20, child.kill)
    timer.start()
    try:
        eq([child.stdout.readline(), child.stdout.readline()], [b"b'one'\n", b"b'two'\n"])
    finally:
        timer.cancel()
        child.kill()
        child.wait()


@check("pattern of topics")
def _():
    c = consumer("pattern", topic_metadata_refresh_interval_ms=500)
    c.subscribe(["^%s-.*" % name("pat")])
    for n in ("pat-1", "pat-2"):
        send(producer(), create(n), [b"x"])
    got = set()
    until(lambda: got.update(m.topic() for m in [c.poll(0.2)] if m is not None and not m.error()) or len(got) == 2, "both topics")
    eq(got, {name("pat-1"), name("pat-2")})
    c.close()


run()
