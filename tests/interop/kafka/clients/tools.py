# SPDX-License-Identifier: Apache-2.0
"""Kafka's own command line: the classes behind kafka-topics, kafka-console-producer and the others."""
import json
import os
import re
import signal
import subprocess
import time

from checks import BOOTSTRAP, CODECS, SCRATCH, SHORT, ask, check, eq, name, run, until

JAVA = ["java", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-XX:+UseSerialGC", "-Dlog4j.configuration=file:" + os.environ["KAFKA_LOG4J"], "-cp",
        os.environ["KAFKA_LIB"] + "/*"]
TOOLS = {"topics": "org.apache.kafka.tools.TopicCommand", "producer": "kafka.tools.ConsoleProducer",
         "consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer", "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
         "configs": "kafka.admin.ConfigCommand", "producer-perf": "org.apache.kafka.tools.ProducerPerformance",
         "consumer-perf": "org.apache.kafka.tools.ConsumerPerformance", "offsets": "org.apache.kafka.tools.GetOffsetShell",
         "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer", "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
         "versions": "kafka.admin.BrokerApiVersionsCommand", "transactions": "org.apache.kafka.tools.TransactionsCommand",
         "end-to-end": "org.apache.kafka.tools.EndToEndLatency"}


def tool(which, *words, input=None, fails=False, seconds=40, server=True):
    at = ["--bootstrap-server", BOOTSTRAP] if server else []
    p = subprocess.run(JAVA + [TOOLS[which]] + at + list(words), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds)
    said = p.stdout.decode()
    if fails is not None and bool(p.returncode) != fails:
        raise AssertionError("%s %s: %d: %s" % (which, " ".join(words), p.returncode, said[-500:]))
    return said


def consume(topic, count, *words, fails=False):
    said = tool("consumer", "--topic", topic, "--max-messages", str(count), "--timeout-ms", "20000" if fails is False else "5000", *words, fails=fails)
    return [line for line in said.splitlines() if not re.search("Processed a total|TimeoutException", line)]


def produce(topic, lines, *words):
    tool("producer", "--topic", topic, *words, input="".join(x + "\n" for x in lines).encode())


for codec in (["zstd"] if SHORT else CODECS):
    def compressed(codec=codec):
        topic = name(codec)
        lines = ["line %d" % i for i in range(50)]
        produce(topic, lines, "--compression-codec", codec)
        eq(consume(topic, 50, "--from-beginning"), lines, "lines")
        ask("stored", topic, codec, 50)
    check("console producer and consumer, " + codec)(compressed)


@check("console consumer shows key, header and partition")
def _():
    topic = name("shown")
    produce(topic, ["a:1\tk\tv"], "--property", "parse.key=true", "--property", "parse.headers=true")
    said = consume(topic, 1, "--from-beginning", *sum((["--property", "print.%s=true" % x] for x in ("key", "headers", "offset", "partition")), []))
    eq(said, ["Partition:0\tOffset:0\ta:1\tk\tv"])
    eq(consume(topic, 1, "--partition", "0", "--offset", "0"), ["v"])


@check("kafka-topics")
def _():
    topic = name("topics")
    assert "Created topic" in tool("topics", "--create", "--topic", topic, "--partitions", "3", "--config", "retention.ms=3600000")
    assert "already exists" in tool("topics", "--create", "--topic", topic, fails=True)
    said = tool("topics", "--describe", "--topic", topic)
    assert re.search(r"PartitionCount: 3\s+ReplicationFactor: 1\s+Configs:.*retention.ms=3600000", said), said
    eq(len(re.findall(r"Partition: \d+\s+Leader: (\d+)\s+Replicas: \1\s+Isr: \1", said)), 3, "partitions")
    tool("topics", "--alter", "--topic", topic, "--partitions", "5")
    assert topic in tool("topics", "--list").split()
    assert "PartitionCount: 5" in tool("topics", "--describe", "--topic", topic)
    tool("topics", "--delete", "--topic", topic)
    assert topic not in tool("topics", "--list").split()
    assert "does not exist" in tool("topics", "--describe", "--topic", topic, fails=True)


@check("kafka-configs")
def _():
    topic = name("configs")
    tool("topics", "--create", "--topic", topic)
    entity = ["--entity-type", "topics", "--entity-name", topic]
    tool("configs", *entity, "--alter", "--add-config", "retention.ms=60000,cleanup.policy=[compact,delete]")
    said = tool("configs", *entity, "--describe")
    assert "retention.ms=60000" in said and "cleanup.policy=compact,delete" in said, said
    tool("configs", *entity, "--alter", "--delete-config", "retention.ms")
    assert "retention.ms" not in tool("configs", *entity, "--describe")
    assert "max.message.bytes" in tool("configs", *entity, "--describe", "--all")
    said = tool("configs", *entity, "--alter", "--add-config", "no.such=1", fails=True)
    assert "no.such" in said, said


@check("kafka-consumer-groups")
def _():
    topic, group = name("groups"), name("groups")
    produce(topic, ["x"] * 10)
    consume(topic, 10, "--from-beginning", "--group", group)
    assert group in tool("groups", "--list").split()
    said = tool("groups", "--describe", "--group", group)
    assert re.search(r"%s\s+%s\s+0\s+10\s+10\s+0\s" % (group, topic), said), said
    tool("groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-offset", "4", "--execute")
    assert re.search(r"%s\s+%s\s+0\s+4\s+10\s+6\s" % (group, topic), tool("groups", "--describe", "--group", group))
    eq(consume(topic, 6, "--group", group), ["x"] * 6, "after the reset")
    tool("groups", "--group", group, "--topic", topic, "--delete-offsets")
    tool("groups", "--group", group, "--delete")
    assert group not in tool("groups", "--list").split()


@check("group of two consumers and a rebalance, described")
def _():
    topic, group = name("two"), name("two")
    tool("topics", "--create", "--topic", topic, "--partitions", "2")
    members = [subprocess.Popen(JAVA + [TOOLS["consumer"], "--bootstrap-server", BOOTSTRAP, "--topic", topic, "--group", group,
                                        "--consumer-property", "heartbeat.interval.ms=500"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        said = [""]

        def shared():
            try:
                said[0] = tool("groups", "--describe", "--group", group, "--members", "--verbose")
            except AssertionError:
                return False
            return len(re.findall(r" 1 +\S*\([01]\)", said[0])) == 2
        until(shared, "two members with a partition each", 40)
        members[0].send_signal(signal.SIGTERM)
        members[0].wait(20)
        until(lambda: re.search(r" 2 +\S*\(0,1\)", tool("groups", "--describe", "--group", group, "--members", "--verbose")),
              "both partitions for the one that is left", 40)
        assert "Stable" in tool("groups", "--describe", "--group", group, "--state")
    finally:
        for m in members:
            m.kill()
            m.wait()


@check("restart of the server in the middle")
def _():
    topic = name("restart")
    p = subprocess.Popen(JAVA + [TOOLS["verifiable-producer"], "--bootstrap-server", BOOTSTRAP, "--topic", topic, "--max-messages", "2000",
                                 "--throughput", "400", "--acks", "-1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in p.stdout:
        if b"producer_send_success" in line:
            break
    ask("restart")
    acked = {json.loads(line)["value"] for line in p.stdout if b"producer_send_success" in line}
    p.wait(60)
    # This producer does not try again: what was on its way may be lost, but nothing that was acknowledged.
    assert len(acked) > 100, len(acked)
    got = consume(topic, len(acked) + 1, "--from-beginning", fails=None)
    eq(acked - set(got), set(), "acknowledged and lost")
    eq(len(set(got)), len(got), "values")


@check("perf tests")
def _():
    topic = name("perf")
    said = tool("producer-perf", "--topic", topic, "--num-records", "20000", "--record-size", "100", "--throughput", "-1", "--producer-props",
                "bootstrap.servers=" + BOOTSTRAP, "acks=all", server=False)
    assert "20000 records sent" in said, said
    said = tool("consumer-perf", "--topic", topic, "--messages", "20000")
    assert re.search(r", 20000, ", said), said
    # Transactions of a second each.
    said = tool("producer-perf", "--topic", topic, "--num-records", "2000", "--record-size", "100", "--throughput", "1000", "--transactional-id",
                name("perf"), "--transaction-duration-ms", "500", "--producer-props", "bootstrap.servers=" + BOOTSTRAP, server=False)
    assert "2000 records sent" in said, said


@check("end to end latency")
def _():
    said = tool("end-to-end", BOOTSTRAP, name("e2e"), "100", "all", "100", server=False)
    assert "Percentiles" in said, said


@check("offsets, records deleted, versions, transactions")
def _():
    topic = name("cut")
    produce(topic, ["x"] * 10)
    path = os.path.join(SCRATCH, "cut.json")
    with open(path, "w") as f:
        f.write('{"partitions": [{"topic": "%s", "partition": 0, "offset": 4}], "version": 1}' % topic)
    assert "low_watermark: 4" in tool("delete-records", "--offset-json-file", path)
    for when, want in (("earliest", 4), ("latest", 10)):
        assert "%s:0:%d" % (topic, want) in tool("offsets", "--topic", topic, "--time", when)
    assert "Produce(0)" in tool("versions")
    assert "TransactionalId" in tool("transactions", "list")


@check("large messages")
def _():
    topic = name("large")
    said = tool("producer-perf", "--topic", topic, "--num-records", "10", "--record-size", "900000", "--throughput", "-1", "--producer-props",
                "bootstrap.servers=" + BOOTSTRAP, server=False)
    assert "10 records sent" in said, said
    eq([len(x) for x in consume(topic, 10, "--from-beginning")], [900000] * 10, "sizes")


@check("errors")
def _():
    path = os.path.join(SCRATCH, "big")
    topic = name("toolarge")
    said = tool("producer", "--topic", topic, "--producer-property", "max.request.size=8000000", "--max-memory-bytes", "20000000",
                "--max-partition-memory-bytes", "100", input=b"x" * 3000000 + b"\n")
    assert "RecordTooLargeException" in said, said[-300:]
    said = tool("topics", "--delete", "--topic", name("no-such"), fails=True)
    assert "does not exist" in said, said


run()
