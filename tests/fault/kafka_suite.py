# SPDX-License-Identifier: Apache-2.0
"""What a full disk, a failing one, kills, stops, crowds and claims do to the Kafka port."""
import collections
import errno
import random
import resource
import select
import signal
import socket
import time

import kafka_wire
from faults import WHOLE, Disk, Shim, check_memory, stays
from harness import SLOW, Failed, Later, Skip, Weir, check, eq, test, until
from kafka_wire import APIS, STRUCTS, Kafka, Producer, address, batch, batches, request, seen

SMALL = "log: { journal_bytes: 16MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"
STORAGE, METADATA_TOO_LARGE, BAD_GROUP, POLICY = 56, 12, 24, 44
LARGEST = 512 << 10  # metadata of a member


def value(n, size=60000):
    """Tells its number and cannot be squeezed."""
    return b"%08d" % n + random.Random(n).randbytes(size)


def offset_commit(k, group, topic, offset, metadata=""):
    got = k.call("OffsetCommit", 8, group_id=group, topics=[{"name": topic, "partitions": [
        {"partition_index": 0, "committed_offset": offset, "committed_metadata": metadata}]}])
    return got["topics"][0]["partitions"][0]["error_code"]


def offset_of(k, group, topic):
    got = k.call("OffsetFetch", 8, require_stable=True,
                 groups=[{"group_id": group, "topics": [{"name": topic, "partition_indexes": [0]}]}])["groups"][0]
    p = got["topics"][0]["partitions"][0]
    eq((got["error_code"], p["error_code"]), (0, 0), "OffsetFetch of " + group)
    return p["committed_offset"]


def numbers(k, topic, partition=0, offset=0):
    """[(offset, number)] of all that is there."""
    out = []
    while True:
        got = k.fetch(topic, partition, offset)
        eq(got["error_code"], 0, "fetch")
        if not got["records"]:
            return out
        for b in batches(got["records"]):
            if not b.control:
                out += [(r["offset"], int(r["value"][:8])) for r in b.records()]
            offset = b.base + b.last_delta + 1


class Numbered:
    """Produces numbered records one by one and notes what became of each."""

    def __init__(self, k, topic, size=60000):
        self.k, self.topic, self.size, self.next = k, topic, size, 0
        self.acked, self.refused = [], []

    def send(self):
        n, self.next = self.next, self.next + 1
        got = self.k.produce(self.topic, batch([value(n, self.size)]))
        if got["error_code"] == 0:
            self.acked.append((got["base_offset"], n))
        else:
            self.refused.append(n)
        return got["error_code"]

    def audit(self, k=None):
        eq(numbers(k or self.k, self.topic, offset=0), self.acked, "what is there of " + self.topic)


# ---- a full disk ----

@test("a disk that records fill: Produce gets KAFKA_STORAGE_ERROR and stores nothing, reading, committing, ending transactions, "
      "trimming and deleting go on, producing resumes by itself", own=True, timeout=180)
def _():
    full_disk(by_records=True)


@test("a disk that another program fills to the last byte: the same", own=True, timeout=180)
def _():
    full_disk(by_records=False)


def full_disk(by_records):
    with Disk(80) as disk, Weir(SMALL, data=disk.data) as w:
        keep, big, victim, tx = w.topic(partitions=1), w.topic(partitions=1), w.topic(partitions=1), w.topic(partitions=1)
        with Kafka(w, timeout=30) as k:
            for t in (keep, big, victim, tx):
                eq(k.produce(t, batch([value(0)]))["error_code"], 0)
            producers = [Producer(k, "full-%d" % i) for i in range(5)]
            commits, aborts, offsets, late, fenced = producers
            for p in (commits, aborts, late, fenced):
                p.add(**{tx: [0]})
                eq(p.write(tx, b"of " + p.tid.encode()), 0)
            for p in (commits, aborts, offsets):
                eq(p.add_group("g-" + p.tid), 0)
                eq(p.commit_offset("g-" + p.tid, keep, 7), 0)
            n = Numbered(k, keep)
            n.acked.append((0, 0))
            n.next = 1
            while_full(w, k, n, disk, by_records)
            n.audit()
            check(k.fetch(victim)["records"], "nothing is read")
            taken = []
            until(lambda: late.write(tx, value(len(taken))) == STORAGE or taken.append(value(len(taken))), 20, "a refused transactional batch")
            # What readers wait for, and what they say they have done.
            eq(offset_commit(k, "g", keep, 5), 0, "OffsetCommit on a full disk")
            eq(offset_of(k, "g", keep), 5)
            eq((commits.end(True), aborts.end(False), offsets.end(True)), (0, 0, 0), "EndTxn on a full disk")
            eq([offset_of(k, "g-" + p.tid, keep) for p in (commits, aborts, offsets)], [7, -1, 7])
            eq(seen(k, tx)[1:], [b"of full-0"], "what readers of committed records see")
            next_one = fenced.init()
            check(next_one["error_code"] in (0, 15, 51), "InitProducerId: %r" % next_one)
            n.audit()
            # Room comes from a trim and a deletion.
            if not by_records:
                disk.unfill()
            got = k.call("DeleteRecords", 2, timeout_ms=20000, topics=[{"name": keep, "partitions": [
                {"partition_index": 0, "offset": len(n.acked) - 1}]}])["topics"][0]["partitions"][0]
            eq((got["error_code"], got["low_watermark"]), (0, len(n.acked) - 1), "DeleteRecords on a full disk")
            eq(k.call("DeleteTopics", 5, timeout_ms=20000, topic_names=[victim])["responses"][0]["error_code"], 0)
            until(lambda: k.produce(big, batch([value(1)]))["error_code"] == 0, 30, "producing to resume by itself")
            # The same batch again, with its sequence: stored once.
            eq(late.write(tx, value(len(taken))), 0)
            eq(late.end(True), 0)
        w.restart(hard=True)
        with Kafka(w) as k:
            eq([offset_of(k, g, keep) for g in ("g", "g-full-0", "g-full-1", "g-full-2")], [5, 7, -1, 7])
            until(lambda: k.call("EndTxn", 3, transactional_id="full-4", producer_id=fenced.pid, producer_epoch=fenced.epoch,
                                 committed=False)["error_code"] in (0, 47, 48, 90), 10, "the last transaction to end")
            eq([v[:9] for v in seen(k, tx)[1:]], [v[:9] for v in [b"of full-0", b"of full-3"] + taken + [value(len(taken))]])
            eq(numbers(k, keep, offset=len(n.acked) - 1)[:1], n.acked[-1:])
        w.stop()


def while_full(w, k, n, disk, by_records):
    if not by_records:
        for _ in range(20):
            eq(n.send(), 0)
        disk.fill()
    for _ in range(20000):
        if n.send():
            break
    until(lambda: stays(lambda: n.send() == STORAGE) and w.get("/readyz").status == 503 and "event=disk_full" in w.log(), 100, "a disk that stays full")
    check(len(n.acked) > 20, "only %d were taken" % len(n.acked))


# ---- a disk that fails ----

@test("EIO from the sync under Produce: no answer, exit 1 with a word, what was answered is there", own=True, timeout=60)
def _():
    for when in (1, 4):
        with Shim() as shim, Weir(SMALL, env=shim.env) as w:
            t = w.topic(partitions=1)
            with Kafka(w) as k:
                n = Numbered(k, t, 100)
                for _ in range(5):
                    eq(n.send(), 0)
                shim.rule("fdatasync", error=errno.EIO, when=when, times=1, path="/journal/")
                try:
                    for _ in range(when):
                        eq(n.send(), 0)
                    raise Failed("an answer came though the sync had failed")
                except (EOFError, ConnectionError):
                    pass
                eq(len(n.acked), 5 + when - 1)
            eq(w.wait(15), 1, "exit status")
            check("level=error" in w.log() and "sync the journal" in w.log(), "it ended without a word")
            shim.clear()
            w.start()
            with Kafka(w) as k:
                eq(numbers(k, t)[:len(n.acked)], n.acked)
                check(len(numbers(k, t)) <= len(n.acked) + 1, "records from nowhere")
                check(k.produce(t, batch([value(99, 9)]))["error_code"] == 0, "it takes nothing more")


# ---- kills and stops ----

@test("kill -9 again and again under an idempotent librdkafka: each acknowledged record once, each partition in order", own=True,
      timeout=1200 if WHOLE else 180)
def _():
    try:
        import confluent_kafka
    except ImportError:
        raise Skip("python3-confluent-kafka is not installed")
    acked, failed, sent, stop = [], [], [0], []
    with Weir(SMALL) as w:
        t = w.topic(partitions=3)
        p = confluent_kafka.Producer({
            "bootstrap.servers": "%s:%d" % address(w), "enable.idempotence": True, "linger.ms": 1, "log_level": 2,
            "message.timeout.ms": 120000, "retry.backoff.ms": 20, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50,
            "batch.num.messages": 20})

        def told(error, message):
            (failed if error else acked).append((message.partition(), int(message.value()), message.offset()))

        def load():
            while not stop:
                if len(p) < 2000:
                    p.produce(t, b"%d" % sent[0], partition=sent[0] % 3, on_delivery=told)
                    sent[0] += 1
                p.poll(0 if sent[0] % 50 else 0.005)
            eq(p.flush(60 * SLOW), 0, "messages without an end")
        loading, rng = Later(load), random.Random(20)
        for _ in range(200 if WHOLE else 20):
            had = len(acked)
            until(lambda: len(acked) > had or loading.error, 30, "an acknowledged record after a kill")
            time.sleep(rng.random() * 0.15)
            w.restart(hard=True)
        stop.append(1)
        loading.get(90)
        check(not failed, "%d failed: %r" % (len(failed), failed[:5]))
        eq(len(acked), sent[0])
        with Kafka(w) as k:
            for part in range(3):
                got, offset = [], 0
                while True:
                    data = k.fetch(t, part, offset)["records"]
                    if not data:
                        break
                    for b in batches(data):
                        got += [(int(r["value"]), r["offset"]) for r in b.records()]
                        offset = b.base + b.last_delta + 1
                eq([v for v, _ in got], list(range(part, sent[0], 3)), "partition %d" % part)
                places = dict(got)
                wrong = [a for a in acked if a[0] == part and a[2] >= 0 and places[a[1]] != a[2]]
                check(not wrong, "not where it was acknowledged: %r" % wrong[:5])
        w.stop()


@test("SIGTERM under Produce and a long poll: exit 0, what was answered is there, the poll is answered, connections end", own=True,
      timeout=180)
def _():
    with Weir(SMALL) as w:
        topics, acked = [w.topic(partitions=1) for _ in range(4)], collections.defaultdict(list)
        rng = random.Random(5)
        for _ in range(30 if WHOLE else 6):
            def load(topic, said):
                """Eight requests on their way all the time; reads on to the end of the stream."""
                with Kafka(w) as k:
                    k.sock.settimeout(20 * SLOW)
                    waiting, n = [], 0
                    try:
                        while True:
                            while len(waiting) < 8:
                                n += 1
                                waiting.append(n)
                                k.send("Produce", 9, acks=-1, timeout_ms=1000, topic_data=[{"name": topic, "partition_data": [
                                    {"index": 0, "records": batch([value(n, 500)])}]}])
                            got = k.answer()["responses"][0]["partition_responses"][0]
                            n_of = waiting.pop(0)
                            if got["error_code"] == 0:
                                said.append((got["base_offset"], n_of))
                    except (EOFError, ConnectionError):
                        return True
            loads = [Later(load, t, acked[t]) for t in topics]
            quiet = w.topic(partitions=1)
            with Kafka(w, timeout=20) as k:
                eq(k.produce(quiet, batch([b"1"]))["error_code"], 0)
                k.send("Fetch", 11, max_wait_ms=60000, min_bytes=1, max_bytes=1 << 20, topics=[
                    {"topic": quiet, "partitions": [{"partition": 0, "fetch_offset": 1, "partition_max_bytes": 1 << 20}]}])
                time.sleep(0.05 + rng.random() * 0.2)
                w.signal(signal.SIGTERM)
                eq(k.answer()["responses"][0]["partitions"][0]["error_code"], 0, "the long poll")
                check(k.closed(), "the poll's connection stays open")
            eq(w.wait(15), 0, "exit status")
            check(all(x.get(25) for x in loads), "a connection stays open")
            w.start()
            for t in topics:
                with Kafka(w) as k:
                    there = set(numbers(k, t)) if acked[t] else set()
                lost = [x for x in acked[t] if x not in there]
                check(not lost, "answered and not there: %r" % lost[:5])
                check(len(acked[t]) > 0, "nothing was answered on " + t)


# ---- descriptors, crowds ----

@test("64 descriptors and crowds on both ports: those that are served go on, nothing spins, and it recovers", own=True, timeout=60)
def _():
    with Weir(wrap=["prlimit", "--nofile=64"], start=False) as w:
        w._daemon_pid = lambda: w.proc.pid  # prlimit becomes the daemon
        w.start()
        t = w.topic(partitions=1)
        with Kafka(w) as k, w.session() as s:
            n = Numbered(k, t, 100)
            eq(n.send(), 0)
            eq(s.request("GET", "/healthz").status, 200)
            crowd = []
            for i in range(200):
                c = socket.socket()
                c.setblocking(False)
                c.connect_ex(address(w) if i % 2 else (w.host, w.port))
                crowd.append(c)
            time.sleep(0.3)
            at, began = w.ticks(), time.monotonic()
            for _ in range(20):
                eq(n.send(), 0, "Produce beside the crowd")
                eq(s.request("GET", "/v1/topics/%s/records" % t).status, 200)
            n.audit()
            time.sleep(max(0, 2 - (time.monotonic() - began)))
            check(w.ticks() - at < 60, "it spins: %d ticks in 2 s" % (w.ticks() - at))
            check(len(w.log().splitlines()) < 60, "it floods the log\n" + w.log()[-600:])
            for c in crowd:
                c.close()

        def fresh():
            try:
                with Kafka(w, timeout=2) as k:
                    return k.call("ApiVersions", 0)["error_code"] == 0 and w.get("/healthz", timeout=2).status == 200
            except (OSError, EOFError):
                return False
        until(fresh, 15, "new connections on both ports")
        w.stop()


CROWD = 5000 if WHOLE else 1200


@test("%d connections that say nothing, half a frame, or never read the MiB they asked for: a producer and a consumer beside "
      "them go on, memory stays in its budget" % CROWD, own=True, timeout=240)
def _():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CROWD + 200:
        raise Skip("only %d descriptors are allowed" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    memory = 128
    with Weir("memory: %dMiB\nkafka: { max_connections: 10000 }\nlog: { tail_bytes: 16MiB, pinned_bytes: 16MiB }\n" % memory) as w:
        big, small = w.topic(partitions=1), w.topic(partitions=1)
        with Kafka(w, timeout=30) as k:
            eq(k.produce(big, batch([random.Random(1).randbytes(500000)]))["error_code"], 0)
            eq(k.produce(big, batch([random.Random(2).randbytes(500000)]))["error_code"], 0)
            n = Numbered(k, small, 100)

            def turn():
                """Median time of a record from here to there and back."""
                times = []
                for _ in range(60):
                    at = time.monotonic()
                    eq(n.send(), 0)
                    eq(len(batches(k.fetch(small, offset=n.acked[-1][0])["records"])), 1)
                    times.append(time.monotonic() - at)
                return sorted(times)[30]
            alone = turn()
            idle = w.rss()
            ask = request("Fetch", 11, max_wait_ms=500, min_bytes=1, max_bytes=1 << 20, topics=[
                {"topic": big, "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20}]}])
            half = request("Produce", 9, acks=-1, timeout_ms=1000, topic_data=[
                {"name": small, "partition_data": [{"index": 0, "records": batch([value(0, 9000)])}]}])[:4500]
            crowd = []
            for i in range(CROWD):
                c = socket.socket()
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.settimeout(20 * SLOW)
                c.connect(address(w))
                crowd.append(c)
                if i % 3:
                    c.sendall(ask if i % 3 == 1 else half)
            beside = min(turn() for _ in range(3))
            check(beside < alone * 8 + 0.005, "beside the crowd a record takes %.2f ms, alone %.2f" % (beside * 1e3, alone * 1e3))
            check_memory(w, idle, CROWD * 3, memory << 20)
            n.audit()
            for c in crowd:
                c.close()
            until(lambda: turn() < alone * 8 + 0.005, 20, "its former pace")
        w.stop()


# ---- claims ----

def claims(name, version, flexible):
    """Messages that end in an array which claims 2^31 - 1 items: for each array of it, however deep."""
    head = b""
    for f in STRUCTS[name]:
        if not f.has(version) or f.tag is not None:
            continue
        if f.row in ("ARRAY", "LIST"):
            yield head + kafka_wire._length(2**31 - 2, flexible, ">i") + bytes(64)
            if f.row == "ARRAY":
                for inner in claims(f.of, version, flexible):
                    yield head + kafka_wire._length(1, flexible, ">i") + inner
        head += kafka_wire._write_field(f, f.default, version, flexible)


@test("arrays that claim 2^31 items, each array of each request in its versions: the connection ends, no memory is taken", own=True,
      timeout=120)
def _():
    with Weir() as w:
        with Kafka(w) as k:
            k.call("ApiVersions", 0)
        idle, tried = w.rss(), 0
        for api, a in sorted(APIS.items()):
            for version in range(a["served"], a["to"] + 1) if WHOLE else sorted({a["served"], a["to"]}):
                for body in claims("kafka_%s_request" % a["noun"], version, version >= a["flexible"]):
                    with Kafka(w) as k:
                        k.raw(request(api, version, body=body))
                        check(k.closed(), "%s %d is not refused" % (api, version))
                    tried += 1
        check(tried > 40, "only %d arrays" % tried)
        check(w.rss() - idle < 24 << 20, "%d MiB more" % (w.rss() - idle >> 20))
        with Kafka(w) as k:
            eq(k.call("ApiVersions", 0)["error_code"], 0)
        w.stop()


@test("topics and partitions without end are refused: in one request as Kafka does, and in all by number; what is there is served",
      own=True, timeout=120)
def _():
    with Weir() as w, Kafka(w, timeout=60) as k:
        def create(prefix, count, partitions):
            got = k.call("CreateTopics", 5, timeout_ms=30000, topics=[
                {"name": "%s%d" % (prefix, i), "num_partitions": partitions, "replication_factor": 1} for i in range(count)])
            return collections.Counter(t["error_code"] for t in got["topics"])
        idle = w.rss()
        eq(create("many", 10000, 10000), {POLICY: 10000})
        check(w.rss() - idle < 48 << 20, "%d MiB for what was refused" % (w.rss() - idle >> 20))
        eq(create("one", 1, 10000), {0: 1})
        codes = [create("more%d-" % i, 1, 10000) for i in range(25)]
        eq(codes, [{0: 1}] * 19 + [{POLICY: 1}] * 6)
        got = k.call("Metadata", 9, allow_auto_topic_creation=True, topics=[{"name": "made%d" % i} for i in range(1000)])
        eq(collections.Counter(t["error_code"] for t in got["topics"]), {3: 1000}, "topics on use, when there are as many as may be")
        got = w.put("/v1/topics/over-http", b"{}", {"Content-Type": "application/json"})
        eq((got.status, got.json()["code"]), (409, "partitions_full"))
        check(w.rss() - idle < 192 << 20, "%d MiB for 200 000 partitions" % (w.rss() - idle >> 20))
        eq(k.produce("one0", batch([b"1"]), partition=9999)["error_code"], 0)
        eq(k.call("DeleteTopics", 5, timeout_ms=20000, topic_names=["more0-0"])["responses"][0]["error_code"], 0)
        eq(create("again", 1, 10000), {0: 1}, "after one was deleted")
        w.restart(hard=True)
        with Kafka(w) as k:
            eq(k.produce("one0", batch([b"2"]), partition=9999)["base_offset"], 1)
            eq(k.call("CreateTopics", 5, timeout_ms=30000, topics=[
                {"name": "x", "num_partitions": 1, "replication_factor": 1}])["topics"][0]["error_code"], POLICY)


@test("100 000 names in one Metadata: 10 000 topics are made of them, the next ones when it is asked again", own=True, timeout=120)
def _():
    with Weir() as w, Kafka(w, timeout=60) as k, Kafka(w) as other:
        t = w.topic(partitions=1)
        eq(other.produce(t, batch([b"1"]))["error_code"], 0)
        idle = w.rss()
        for turn in (1, 2):
            k.send("Metadata", 9, allow_auto_topic_creation=True, topics=[{"name": "made-%d" % i} for i in range(100000)])
            eq(other.produce(t, batch([b"1"]))["error_code"], 0)
            codes = [x["error_code"] for x in k.answer()["topics"]]
            eq((len(codes), set(codes[:turn * 10000]), set(codes[turn * 10000:])), (100000, {0}, {3}))
        check(w.rss() - idle < 128 << 20, "%d MiB more" % (w.rss() - idle >> 20))
        w.stop()


@test("JoinGroup with a MiB of metadata from many members, OffsetCommit with a MiB of it, group ids of 32 KiB: Kafka's codes, "
      "memory bounded", own=True, timeout=120)
def _():
    with Weir("memory: 128MiB\nkafka: { group_initial_delay: 0s }\n") as w:
        with Kafka(w) as k:
            t = w.topic(partitions=1)
            eq(k.produce(t, batch([b"1"]))["error_code"], 0)
            idle = w.rss()
            eq([offset_commit(k, "g", t, 1, "x" * n) for n in (4096, 4097, 32767)], [0, METADATA_TOO_LARGE, METADATA_TOO_LARGE])
            eq(offset_of(k, "g", t), 1)
            with Kafka(w) as other:
                other.send("OffsetCommit", 8, group_id="g", topics=[{"name": t, "partitions": [
                    {"partition_index": 0, "committed_offset": 2, "committed_metadata": "x" * (1 << 20)}]}])
                check(other.closed(), "a text of more than 32 767 bytes, which Kafka does not read either")
            eq(offset_of(k, "g", t), 1)
            long = "x" * 32767
            join = dict(session_timeout_ms=10000, rebalance_timeout_ms=1000, member_id="", protocol_type="consumer")
            eq(k.call("JoinGroup", 5, group_id=long, protocols=[{"name": "range", "metadata": b""}], **join)["error_code"], BAD_GROUP)
            eq(offset_commit(k, long, t, 1), BAD_GROUP)
            eq(k.call("Heartbeat", 4, group_id=long, generation_id=1, member_id="m")["error_code"], BAD_GROUP)
            check(w.rss() - idle < 16 << 20, "%d MiB more" % (w.rss() - idle >> 20))
            for size, known in ((1 << 20, {42}), (LARGEST, {0, 15})):
                members = []
                for i in range(1000 if WHOLE else 200):
                    members.append(Kafka(w, timeout=30))
                    members[-1].send("JoinGroup", 3, group_id="g%d" % (i % 7),
                                     protocols=[{"name": "range", "metadata": bytes(size)}], **join)
                codes = collections.Counter(m.answer()["error_code"] for m in members)
                check(set(codes) <= known and set(codes) & {15, 42}, "%r for metadata of %d bytes" % (codes, size))
                # What members say has 32 MiB, and as much again as rows on their way; besides, the log's caches.
                check(w.rss() - idle < 160 << 20, "%d MiB more" % (w.rss() - idle >> 20))
                for m in members:
                    m.close()
            eq(k.produce(t, batch([b"1"]))["error_code"], 0)
        w.stop()


@test("with the memory full of requests that have begun, others wait for it: none of their connections is reset", own=True, timeout=120)
def _():
    with Weir("memory: 16MiB\n") as w:
        t = w.topic(partitions=1)
        frame = request("Produce", 9, acks=-1, timeout_ms=30000, topic_data=[
            {"name": t, "partition_data": [{"index": 0, "records": batch([bytes(900 << 10)])}]}])
        with Kafka(w) as k:
            k.raw(frame)
            k.frame()
        begun, waiting = [[Kafka(w, timeout=60) for _ in range(20)] for _ in range(2)]
        for k in begun:
            k.raw(frame[:-1])
        until(lambda: w.metrics()["weir_memory_used_bytes"] > 16 << 20, what="the memory is full")
        for k in waiting:
            k.raw(frame)
        eq(select.select([k.sock for k in waiting], [], [], 0.3)[0], [], "who did not wait")
        for k in begun:
            k.raw(frame[-1:])
        for k in begun + waiting:
            k.sock.settimeout(60 * SLOW)
            k.frame()
            k.close()
        eq(w.count_records(t), 41)
        w.stop()


@test("200 requests of a MiB that come all at once with a quarter of the memory for them: all are answered, and it is kept", own=True,
      timeout=120)
def _():
    with Weir("memory: 48MiB\nkafka: { group_initial_delay: 0s }\n") as w:
        members = [Kafka(w, timeout=60) for _ in range(200)]
        with Kafka(w) as k:
            eq(k.call("ApiVersions", 0)["error_code"], 0)
        idle = w.rss()
        w.signal(signal.SIGSTOP)  # what is sent now waits in the kernel
        sending = [Later(m.send, "JoinGroup", 3, group_id="g", session_timeout_ms=10000, rebalance_timeout_ms=1000, member_id="",
                         protocol_type="consumer", protocols=[{"name": "range", "metadata": bytes(1 << 20)}]) for m in members]
        time.sleep(0.5)
        w.signal(signal.SIGCONT)
        peak = 0
        for m, sent in zip(members, sending):
            sent.get(60)
            eq(m.answer()["error_code"], 42)
            peak = max(peak, w.rss())
        check(peak - idle < 128 << 20, "%d MiB more" % (peak - idle >> 20))
        w.stop()
