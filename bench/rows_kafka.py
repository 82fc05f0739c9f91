# SPDX-License-Identifier: Apache-2.0
"""Kafka's protocol, against a real Apache Kafka: one node, KRaft, its default heap and settings."""
import os
import re
import subprocess
import sys
import time

from harness import (CLIENT_CORE, SERVER_CORE, ROOT, Failed, Server, free_port, median, options, pair_ratio, pinned_busy, remove, rounds,
                     run_json, say, scratch, table, tool, verdict, wait_for_port)

sys.path.insert(0, os.path.join(ROOT, "tests", "interop", "kafka"))
import packages
import server

PARTITIONS = (1, 12)
SIZES = (100, 1024)
RATE = [("rate", "records/s", "%.0f"), ("mb", "MB/s", "%.0f"), ("cpu_us", "server CPU us", "%.2f"), ("client_us", "client CPU us", "%.2f"),
        ("p99_us", "p99 us", "%.0f"), ("rss_mib", "RSS MiB", "%.0f")]
READ = [("fetch_kib", "KiB an answer", "%.0f"), ("batch_kib", "KiB a batch", "%.0f")]
# All of these rows have one placement: broker, discarding server and bare loop on the server's core, the load on the client's, none of them in
# real time (pinned_busy), so that a client's limit and what it gets out of a broker are the same thing.
# What kafka-server-start and server.properties have: no sync, a gigabyte of heap. Its own topics with their defaults.
USUAL = "num.partitions=1\nnum.network.threads=3\nnum.io.threads=8\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n"
JAVA_CLIENT = ["java", "-Xmx512m", "-Dlog4j.configuration=file:" + os.path.join(ROOT, "tests/interop/kafka/java/log4j.properties"), "-cp"]


def load_json(*command):
    return run_json(list(command), place=pinned_busy)


def java(*words):
    p = subprocess.run(pinned_busy(CLIENT_CORE) + JAVA_CLIENT + [packages.broker_jars() + "/*"] + list(words), stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, universal_newlines=True)
    if p.returncode:
        raise Failed("%s: %s" % (words[0], p.stdout[-500:]))
    return p.stdout


class Brokers:
    """weir and Kafka, both running, on the server's core."""

    def __init__(self, row):
        self.folders, self.running = {}, {}
        try:
            for name in ("weir", "kafka"):
                folder = self.folders[name] = scratch("%s-%s" % (row, name))
                self.running[name] = self.make(name, folder).start()
        except (server.Failed, packages.Missing) as e:
            self.end()
            raise Failed(str(e))

    @staticmethod
    def make(name, folder):
        if name == "weir":
            return server.Weir(folder, binary=options.weir, wrap=pinned_busy(SERVER_CORE))
        return server.Kafka(folder, settings=USUAL, wrap=pinned_busy(SERVER_CORE))

    def __enter__(self):
        return self.running

    def end(self):
        for broker in self.running.values():
            broker.stop()
        for folder in self.folders.values():
            remove(folder)

    def __exit__(self, *_):
        self.end()


def create(broker, topic, partitions):
    java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", broker.bootstrap, "--create", "--topic", topic, "--partitions",
         str(partitions))


def measured(broker, load):
    """The load's figures and what they cost the server."""
    before = broker.cpu()
    got = load()
    got["cpu_us"] = (broker.cpu() - before) / got["records"] * 1e6
    got["rss_mib"] = broker.rss_kib() / 1024
    return got


def produce(broker, topic, size):
    return measured(broker, lambda: load_json(tool("kafka_load"), "produce", broker.bootstrap, topic, str(size), str(options.seconds)))


def produce_java(broker, topic, size):
    def load():
        count = int(options.seconds * (400000 if size < 500 else 100000))
        said = java("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(count), "--record-size", str(size),
                    "--throughput", "-1", "--producer-props", "bootstrap.servers=" + broker.bootstrap, "acks=all")
        m = re.search(r"(\d+) records sent, ([\d.]+) records/sec \(([\d.]+) MB/sec\).* ([\d.]+) ms 99th", said)
        return {"records": int(m.group(1)), "rate": float(m.group(2)), "mb": float(m.group(3)) * 1.048576, "p99_us": float(m.group(4)) * 1000}
    return measured(broker, load)


class Discarding(Server):
    """Takes what a producer sends and stores nothing: the client's own limit."""

    def __init__(self, partitions):
        self.port = free_port()
        self.bootstrap = "127.0.0.1:%d" % self.port
        self.process = subprocess.Popen(pinned_busy(SERVER_CORE) + [tool("kafka_discard"), str(self.port), str(partitions)])
        self.pid = self.process.pid
        wait_for_port(self.port, self.process)


def disk_rate():
    """Synced sequential writes of a megabyte, MB/s: what the disk takes."""
    folder = scratch("disk")
    path, block, total = os.path.join(folder, "file"), os.urandom(1 << 20), 0
    with open(path, "wb", buffering=0) as f:
        start = time.monotonic()
        while time.monotonic() - start < 2:
            f.write(block)
            os.fdatasync(f.fileno())
            total += len(block)
        rate = total / (time.monotonic() - start) / 1e6
    remove(folder)
    return rate


def produce_row(row, load, partitions, size):
    name = "p%d-%d" % (partitions, size)
    disk = disk_rate() if size >= 1000 else None
    with Brokers(row) as brokers, Discarding(partitions) as nothing:
        for b in brokers.values():
            create(b, name, partitions)
        for b in brokers.values():
            load(b, name, size)  # Java's compiler and both page caches are warm then
        turns = dict(brokers, discarding=nothing)
        results = rounds({n: (lambda b=b: load(b, name, size)) for n, b in turns.items()})
    say("  %d bytes, %d partition%s" % (size, partitions, "s" if partitions > 1 else ""))
    table(results, RATE)
    ratio, own = pair_ratio(results, "weir", "kafka", "rate"), pair_ratio(results, "weir", "discarding", "rate")
    say("  weir reaches %.2f of what the client sends into a server that discards" % own)
    if disk:
        share = median(results, "weir", "mb") / disk
        say("  the disk takes %.0f MB/s of synced writes; weir stores %.2f of that" % (disk, share))
    good = ratio >= 1.5 or own >= 0.9 or (disk is not None and share >= 0.4)
    say("  rate: %.2f of Kafka's, wanted 1.5 (or 0.9 of the client's limit%s): %s" % (
        ratio, ", or 0.4 of the disk's" if disk else "", "reached" if good else "NOT REACHED"))
    good &= verdict("CPU a record, of Kafka's", pair_ratio(results, "weir", "kafka", "cpu_us"), 0.5, at_most=True)
    return verdict("RSS, of Kafka's", pair_ratio(results, "weir", "kafka", "rss_mib"), 0.1, at_most=True) and good


def every(row, load):
    # A list first: each combination is measured, whatever the one before said.
    return all([produce_row(row, load, partitions, size) for partitions in PARTITIONS for size in SIZES])


def kafka_produce():
    """librdkafka's producer, acks=all, 100 bytes and 1 KiB, 1 and 12 partitions, against Apache Kafka"""
    return every("kafka-produce", produce)


def kafka_produce_java():
    """the same by Java's ProducerPerformance"""
    return every("kafka-produce-java", produce_java)


def consume(broker, topic, partitions, count):
    return measured(broker, lambda: load_json(tool("kafka_load"), "consume", broker.bootstrap, topic, str(partitions), str(count)))


def drain(broker, topic, partitions, count):
    return measured(broker, lambda: load_json(tool("kafka_wire"), "drain", str(broker.port), topic, str(partitions), str(count)))


class Bare(Server):
    """A broker that only sends a file, as the kernel thinks best. No limit: Kafka was quicker than it, with a small send buffer."""

    def __init__(self, partitions, size, count):
        self.port = free_port()
        self.bootstrap = "127.0.0.1:%d" % self.port
        self.folder = scratch("kafka-bare")
        self.process = subprocess.Popen(pinned_busy(SERVER_CORE) + [tool("kafka_discard"), str(self.port), str(partitions), str(size),
                                                               os.path.join(self.folder, "batches"), str(count)])
        self.pid = self.process.pid
        wait_for_port(self.port, self.process)

    def __exit__(self, *_):
        self.stop(hard=True)
        remove(self.folder)


def consume_row(brokers, partitions, size):
    name = "c%d-%d" % (partitions, size)
    for b in brokers.values():
        create(b, name, partitions)
    # As many in both, so that each is read to its end: what a client fetches ahead is work for nothing.
    count = produce(brokers["kafka"], name, size)["records"]
    load_json(tool("kafka_load"), "fill", brokers["weir"].bootstrap, name, str(size), str(count))
    say("  %d bytes, %d partition%s, %d records" % (size, partitions, "s" if partitions > 1 else "", count))
    ratios, costs, owns, bares = {}, {}, {}, {}
    with Bare(partitions, size, count) as bare:
        for what, load in (("librdkafka", consume), ("a reader that discards", drain)):
            for b in brokers.values():  # into the page cache; Java's compiler is warm then
                load(b, name, partitions, count)
            turns = dict(brokers, bare=bare)
            results = rounds({n: (lambda b=b: load(b, name, partitions, count)) for n, b in turns.items()})
            say("  " + what)
            table(results, RATE + READ)
            ratios[what] = pair_ratio(results, "weir", "kafka", "rate")
            owns[what] = pair_ratio(results, "weir", "bare", "rate")
            costs[what] = pair_ratio(results, "weir", "kafka", "cpu_us")
            bares[what] = pair_ratio(results, "weir", "bare", "cpu_us")
    good = max(ratios.values()) >= 1.5
    for what in ratios:
        say("  %s: %.2f of Kafka's rate, %.2f of what it takes from a bare sendfile, CPU a record %.2f of Kafka's, %.2f of the bare one's" % (
            what, ratios[what], owns[what], costs[what], bares[what]))
    say("  rate: wanted 1.5 of Kafka's, with either (what the client cannot take is not the server's): %s" % ("reached" if good else "NOT REACHED"))
    return good


def kafka_consume():
    """librdkafka's consumer and a reader that discards, from the beginning, from the page cache, 100 bytes and 1 KiB, 1 and 12 partitions"""
    with Brokers("kafka-consume") as brokers:
        return all([consume_row(brokers, partitions, size) for partitions in PARTITIONS for size in SIZES])


def kafka_latency():
    """produce to consume at 10 000 records/s of 100 bytes, from when the record was due"""
    with Brokers("kafka-latency") as brokers:
        for b in brokers.values():
            create(b, "pace", 1)
        turn = [0]

        def load(b):
            turn[0] += 1
            topic = "pace%d" % turn[0]
            create(b, topic, 1)
            return measured(b, lambda: load_json(tool("kafka_load"), "pace", b.bootstrap, topic, "10000", str(options.seconds)))
        load(brokers["kafka"])  # what Java compiles
        results = rounds({n: (lambda b=b: load(b)) for n, b in brokers.items()})
    table(results, [("p50_us", "p50 us", "%.0f"), ("p90_us", "p90 us", "%.0f"), ("p99_us", "p99 us", "%.0f"), ("max_us", "longest us", "%.0f"),
                    ("cpu_us", "server CPU us", "%.2f")])
    return verdict("p99, of Kafka's", pair_ratio(results, "weir", "kafka", "p99_us"), 0.5, at_most=True)


def kafka_small():
    """200 connections that send one record of 100 bytes at a time, acks=all (kafka_wire.c)"""
    with Brokers("kafka-small") as brokers:
        for b in brokers.values():
            create(b, "small", 12)

        def load(b):
            return measured(b, lambda: load_json(tool("kafka_wire"), "small", str(b.port), "small", "12", "200", "100", str(options.seconds)))
        load(brokers["kafka"])
        results = rounds({n: (lambda b=b: load(b)) for n, b in brokers.items()})
    table(results, [("rate", "records/s", "%.0f"), ("p50_us", "p50 us", "%.0f"), ("p99_us", "p99 us", "%.0f"), ("cpu_us", "server CPU us", "%.2f"),
                    ("rss_mib", "RSS MiB", "%.0f")])
    good = verdict("rate, of Kafka's", pair_ratio(results, "weir", "kafka", "rate"), 3)
    return verdict("p99, of Kafka's", pair_ratio(results, "weir", "kafka", "p99_us"), 1, at_most=True) and good


def weir_alone(row):
    folder = scratch(row)
    return folder, server.Weir(folder, binary=options.weir, wrap=pinned_busy(SERVER_CORE))


def kafka_partitions():
    """weir with 10 000 partitions, all written: rate against one topic of 12, RSS, start"""
    folder, broker = weir_alone("kafka-partitions")
    try:
        broker.start()
        for topic, count in (("many", 10000), ("few", 12)):
            create(broker, topic, count)
        results = rounds({topic: (lambda t=topic, c=count: load_json(tool("kafka_wire"), "spread", str(broker.port), t, str(c), str(options.seconds)))
                          for topic, count in (("many", 10000), ("few", 12))})
        rss = broker.rss_kib() / 1024
        broker.stop()
        broker.start()
        started = broker.ready_seconds
    except server.Failed as e:
        raise Failed(str(e))
    finally:
        broker.stop(hard=True)
        remove(folder)
    table(results, [("rate", "records/s", "%.0f")])
    good = verdict("rate with 10 000, of that with 12", pair_ratio(results, "many", "few", "rate"), 0.8)
    good &= verdict("RSS MiB", rss, 300, at_most=True, form="%.0f")
    return verdict("start, s", started, 2, at_most=True) and good


def kafka_idle():
    """2 000 consumers that wait in a fetch of a minute: processor time in ten seconds"""
    folder, broker = weir_alone("kafka-idle")
    try:
        broker.start()
        create(broker, "idle", 1)
        before = broker.rss_kib()
        load = subprocess.Popen(pinned_busy(CLIENT_CORE) + [tool("kafka_wire"), "idle", str(broker.port), "idle", "2000", "60000"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if load.stdout.readline() != b"waiting\n":
            raise Failed("kafka_wire ended")
        time.sleep(2)
        ticks = broker.cpu()
        time.sleep(10)
        used, each = broker.cpu() - ticks, (broker.rss_kib() - before) / 2000
        load.stdin.close()
        load.wait(20)
    except server.Failed as e:
        raise Failed(str(e))
    finally:
        broker.stop(hard=True)
        remove(folder)
    say("  RSS %.1f KiB each" % each)
    return verdict("processor seconds in ten", used, 0.01, at_most=True)


def kafka_first():
    """from weir's start until kcat has produced its first record"""
    times = []
    for _ in range(options.rounds):
        folder, broker = weir_alone("kafka-first")
        try:
            begun = time.monotonic()
            broker.start()
            subprocess.run(pinned_busy(CLIENT_CORE) + ["kcat", "-b", broker.bootstrap, "-P", "-t", "first"], input=b"one\n", check=True,
                           stderr=subprocess.DEVNULL)
            times.append(time.monotonic() - begun)
        except server.Failed as e:
            raise Failed(str(e))
        finally:
            broker.stop(hard=True)
            remove(folder)
    times.sort()
    say("  %.3f-%.3f s" % (times[0], times[-1]))
    return verdict("seconds, median", times[len(times) // 2], 0.3, at_most=True)


ROWS = {"kafka-produce": kafka_produce, "kafka-produce-java": kafka_produce_java, "kafka-consume": kafka_consume, "kafka-latency": kafka_latency,
        "kafka-small": kafka_small, "kafka-partitions": kafka_partitions, "kafka-idle": kafka_idle, "kafka-first": kafka_first}
