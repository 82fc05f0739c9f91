# SPDX-License-Identifier: Apache-2.0
"""What sources cost those that they ask."""
import json
import os
import shutil
import subprocess
import time

from harness import (CLIENT_CORE, ROOT, SERVER_CORE, Failed, Nginx, Server, Weir, median, memory_kib, options, pair_ratio, pinned, remove,
                     rounds, run_json, say, scratch, table, tool, verdict)
from rows_kafka import USUAL, create, disk_rate
import packages  # of tests/interop/kafka, by way of rows_kafka
import server as brokers

COLUMNS = "%-16s %9s %14s %10s %10s %8s %8s"


def adaptive():
    """requests of adaptive polling (1 s to 10 min) against the fixed interval of the same mean staleness, simulated"""
    out = subprocess.run([os.path.join(ROOT, "build", "bench", "adaptive_bench"), os.path.join(ROOT, "bench", "arrivals")],
                         stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    say("  " + COLUMNS % ("arrivals", "number", "staleness s", "requests", "fixed", "ratio", "bound"))
    good = True
    rows = [line.split("\t") for line in out.splitlines()]
    for row in rows:
        say("  " + COLUMNS % tuple(row))
    for name, _, _, _, _, ratio, _ in rows:
        most = 0.6 if name.startswith(("bursts", "rhythm")) else 1.05
        good &= verdict(name, float(ratio), most, at_most=True)
    return good


HTTP_SOURCES = 10000


def polled(name, more):
    body = json.dumps({"items": [{"id": n, "text": "x" * 80} for n in range(10)]})
    folder = scratch(name)
    sources = "".join("\n  - { name: s%d, type: http, topic: polled, every: 60s%s, url: '%%s/%d', records: /items, id: '{/id}' }"
                      % (n, more, n) for n in range(HTTP_SOURCES))
    with Nginx(folder, CLIENT_CORE, "default_type application/json; return 200 '%s';" % body) as server:
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", server.url)) as weir:
            time.sleep(125)  # every source has polled once, and connections are open
            before, begun = weir.cpu(), time.monotonic()
            time.sleep(max(options.seconds, 60))
            share = (weir.cpu() - before) / (time.monotonic() - begun)
            memory = weir.rss_kib() / 1024
    remove(folder)
    good = verdict("share of a core", share, 0.10, at_most=True, form="%.3f")
    return verdict("memory MiB", memory, 110, at_most=True, form="%.0f") and good


def http_idle():
    """10 000 sources of type http at one poll a minute each, answered 200 with 1 KiB that is the same each time: share of a core, memory"""
    return polled("http", "")


def http_jitter():
    """the same, each poll up to a minute later by chance"""
    return polled("jitter", ", jitter: 60s")


def settled(weir):
    """Seconds of processor time, once there is as good as no more of it."""
    before = -1.0
    while weir.cpu() - before > 0.02:
        before = weir.cpu()
        time.sleep(1)
    return weir.cpu()


def sources_start():
    """a start with 10 000 sources of type http that have been polled before, none of them due: seconds of processor time until idle"""
    body = json.dumps({"items": [{"id": 1}]})
    folder = scratch("start")
    source = "\n  - { name: s%d, type: http, topic: polled, every: 7d, at_start: %s, url: '%s/%d', records: /items, id: '{/id}' }"
    with Nginx(folder, CLIENT_CORE, "default_type application/json; return 200 '%s';" % body) as server:
        sources = "".join(source % (n, "%s", server.url, n) for n in range(HTTP_SOURCES))
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", "true")) as weir:
            while weir.metrics().get("weir_ingest_requests_total") < HTTP_SOURCES:
                time.sleep(1)
            settled(weir)
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", "false")) as weir:
            spent = settled(weir)
            ready, memory = weir.ready_seconds, weir.rss_kib()
    remove(folder)
    say("  ready after %.2f s, memory %.1f MiB" % (ready, memory / 1024))
    return verdict("processor seconds", spent, 2, at_most=True, form="%.2f")


# ---- files ----

READ_COLUMNS = [("rate", "records/s", "%.0f"), ("cpu", "weir's us a record", "%.2f"), ("memory", "RSS growth MiB", "%.0f")]


def read_all(name, source, count, core=None, from_first=False):
    """From ready (or from when the first records were there) to all of it stored, by the source's own count, which is of what is durable."""
    folder = scratch(name)
    with Weir(folder, core=core, topics="[{ name: t }]", sources="[{ name: s, topic: t, %s }]" % source) as weir:
        began, idle, cpu, most, first = time.monotonic(), weir.rss_kib(), weir.cpu(), 0, 0
        start = began
        while True:
            state = json.loads(weir.request("GET", "/v1/sources/s")[1])
            most = max(most, weir.rss_kib())
            if state["records"] >= count:
                break
            if from_first and first == 0 and state["records"]:
                first, began, cpu = state["records"], time.monotonic(), weir.cpu()
            if state.get("last_error") or state["dead"] or time.monotonic() - start > 300:
                raise Failed("%d records, %d dead: %s" % (state["records"], state["dead"], state.get("last_error")))
            time.sleep(0.02)
        took, done = time.monotonic() - began, state["records"] - first
        cpu = weir.cpu() - cpu
    remove(folder)
    return {"rate": done / took, "cpu": cpu / done * 1e6, "memory": (most - idle) / 1024}


FILE_LINES = 4000000


def files_ndjson():
    """4 million NDJSON lines of 256 bytes from a file, durable, weir on one core: records a second"""
    folder = scratch("files")
    line = b'{"id":"%012d","text":"' + b"x" * 224 + b'"}\n'
    with open(os.path.join(folder, "in.ndjson"), "wb") as f:
        for n in range(FILE_LINES):
            f.write(line % n)
    source = 'at_start: true, type: files, paths: ["%s/in.ndjson"], quiet: 0s, every: 100ms' % folder
    results = rounds({"weir": lambda: read_all("ndjson", source, FILE_LINES, SERVER_CORE)}, min(options.rounds, 3))
    remove(folder)
    table(results, READ_COLUMNS)
    return verdict("records/s", median(results, "weir", "rate"), 700000, form="%.0f")


# ---- what streams ----

KAFKA_SECONDS = 4  # of filling the topic
KAFKA_COLUMNS = [("rate", "records/s", "%.0f"), ("cpu", "CPU us a record", "%.2f"), ("memory", "RSS growth MiB", "%.0f")]


class Broker:
    """An Apache Kafka with its usual settings, on any core, and topics that are full."""

    def __init__(self, row):
        self.folder, self.kafka = scratch(row), None
        try:
            self.kafka = brokers.Kafka(self.folder, settings=USUAL, wrap=pinned(None)).start()
        except (brokers.Failed, packages.Missing) as e:
            self.end()
            raise Failed(str(e))

    def fill(self, topic, partitions, size, into=None):
        """Into one of them, or as librdkafka spreads records without a key."""
        create(self.kafka, topic, partitions)
        load = [tool("kafka_load"), "produce", self.kafka.bootstrap, topic, str(size), str(KAFKA_SECONDS)]
        return run_json(load + ([] if into is None else [str(into)]), core=None)["records"]

    def end(self):
        if self.kafka:
            self.kafka.stop()
        remove(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def kafka_source(broker, topic, more=""):
    return 'type: kafka, brokers: ["%s"], topics: [%s]%s' % (broker.kafka.bootstrap, topic, more)


def discard(broker, topic, partitions, count, checked):
    """librdkafka's consumer, a batch at a time, every message thrown away."""
    got = run_json([tool("kafka_load"), "consume", broker.kafka.bootstrap, topic, str(partitions), str(count)] +
                   (["check.crcs=true"] if checked else []), core=None)
    return {"rate": got["rate"], "cpu": got["client_us"]}


def kcat(broker, topic, count):
    """librdkafka's consumer as a command, into /dev/null; its start is in the time."""
    program = shutil.which("kcat")
    if not program:
        raise Failed("kcat is not installed")
    began = time.monotonic()
    with open(os.devnull, "w") as null:
        subprocess.run(pinned(None) + [program, "-C", "-q", "-b", broker.kafka.bootstrap, "-t", topic, "-o", "beginning", "-c", str(count)],
                       stdout=null, stderr=null, check=True, timeout=120)
    return {"rate": count / (time.monotonic() - began)}


def kafka_row(broker, partitions, size, into):
    topic = "p%d-%d%s" % (partitions, size, "" if into is None else "-hot")
    count = broker.fill(topic, partitions, size, into)
    source = kafka_source(broker, topic)
    results = rounds({"weir": lambda: read_all("kafka", source, count, from_first=True),
                      "kcat >/dev/null": lambda: kcat(broker, topic, count),
                      "librdkafka, discarding": lambda: discard(broker, topic, partitions, count, False),
                      "the same, check.crcs": lambda: discard(broker, topic, partitions, count, True),
                      "disk, MiB written and synced": lambda: {"rate": disk_rate() * 1e6 / size}})
    say("  %d records of %d bytes, %d partition%s%s" % (count, size, partitions, "s" if partitions > 1 else "",
                                                       "" if into is None else ", all in one of them"))
    table(results, KAFKA_COLUMNS)
    say("  rate, of that with checksums looked at, as weir does: %.2f" % pair_ratio(results, "weir", "the same, check.crcs", "rate"))
    say("  rate, of kcat's: %.2f" % pair_ratio(results, "weir", "kcat >/dev/null", "rate"))
    say("  disk share, bytes of values a second of those that synced writes of a MiB bring there: %.2f" % pair_ratio(
        results, "weir", "disk, MiB written and synced", "rate"))
    return verdict("rate, of librdkafka's", pair_ratio(results, "weir", "librdkafka, discarding", "rate"), 0.8)


def kafka_into_log():
    """topics of an Apache Kafka, 100 bytes and 1 KiB, durable here, against kcat into /dev/null, librdkafka's API discarding, and the disk; both cores"""
    with Broker("source") as broker:
        return all([kafka_row(broker, *row) for row in ((1, 100, None), (4, 100, None), (12, 100, None), (12, 100, 0), (1, 1024, None))])


class Feed(Server):
    """A WebSocket server that sends 100-byte events without end: the handshake is python3-websockets', the frames are built before."""

    def __init__(self):
        self.process = subprocess.Popen(pinned(CLIENT_CORE) + ["/usr/bin/python3", os.path.join(ROOT, "bench", "ws_feed.py")],
                                        stdout=subprocess.PIPE, universal_newlines=True)
        self.pid = self.process.pid
        self.url = "ws://127.0.0.1:%d/" % int(self.process.stdout.readline())


WEBSOCKET_EVENTS = 3000000


def websocket_into_log():
    """JSON events of 100 bytes, a message each, durable, weir on one core: events a second"""
    with Feed() as feed:
        source = 'type: websocket, url: "%s"' % feed.url
        results = rounds({"weir": lambda: read_all("websocket", source, WEBSOCKET_EVENTS, SERVER_CORE, from_first=True)})
    table(results, READ_COLUMNS)
    return verdict("events/s", median(results, "weir", "rate"), 300000, form="%.0f")


def held_back(name, source, seconds=10):
    """How far RSS rises, MiB, while all that is there wants in and a thousand records a second may."""
    folder = scratch(name)
    with Weir(folder, topics="[{ name: t }]", sources="[{ name: s, topic: t, rate_limit: 1000, %s }]" % source) as weir:
        idle, most, end = weir.rss_kib(), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            most = max(most, weir.rss_kib())
            time.sleep(0.1)
        state = json.loads(weir.request("GET", "/v1/sources/s")[1])
        if not 0 < state["records"] < 1500 * seconds or state["last_error"]:
            raise Failed("it was not held back: %r" % state)
        most = max(most, memory_kib(weir.pid, "VmHWM"))
    remove(folder)
    return (most - idle) / 1024


def source_memory():
    """RSS while sources bring more than they may: kafka within its default `memory`, websocket within 8 MiB"""
    good = True
    with Broker("memory") as broker:
        for partitions, size in ((1, 100), (12, 100), (1, 1024), (12, 1024)):
            topic = "p%d-%d" % (partitions, size)
            broker.fill(topic, partitions, size)
            for memory in (16, 64):
                grown = held_back("memory", kafka_source(broker, topic, ", memory: %dMiB" % memory))
                what = "kafka, %d bytes, %d partitions, memory: %d MiB, RSS growth MiB" % (size, partitions, memory)
                if memory == 64:
                    good &= verdict(what, grown, memory, at_most=True, form="%.1f")
                else:  # a batch of each partition is the least that a client holds, and the log has buffers too
                    say("  %s: %.1f" % (what, grown))
    with Feed() as feed:
        grown = held_back("memory", 'type: websocket, url: "%s"' % feed.url)
    return verdict("websocket, RSS growth MiB", grown, 8, at_most=True, form="%.1f") and good


ROWS = {"adaptive": adaptive, "http-idle": http_idle, "http-jitter": http_jitter, "sources-start": sources_start,
        "files-ndjson": files_ndjson, "kafka-source": kafka_into_log, "websocket-source": websocket_into_log,
        "source-memory": source_memory}
TOOLS = {}
