# SPDX-License-Identifier: Apache-2.0
"""Kafka Connect, distributed, one worker: file to topic to file, offsets, configuration and status in topics of the broker."""
import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request

from checks import BOOTSTRAP, SCRATCH, ask, check, eq, name, run, until

with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    PORT = s.getsockname()[1]
SOURCE, SINK, TOPIC = os.path.join(SCRATCH, "in.txt"), os.path.join(SCRATCH, "out.txt"), name("lines")
PROPERTIES = """bootstrap.servers=%s
group.id=%s
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=true
value.converter.schemas.enable=true
offset.storage.topic=%s
offset.storage.replication.factor=1
offset.storage.partitions=5
config.storage.topic=%s
config.storage.replication.factor=1
status.storage.topic=%s
status.storage.replication.factor=1
offset.flush.interval.ms=500
listeners=http://127.0.0.1:%d
plugin.path=
plugin.discovery=only_scan
exactly.once.source.support=enabled
scheduled.rebalance.max.delay.ms=0
session.timeout.ms=10000
""" % (BOOTSTRAP, name("connect"), name("offsets"), name("configs"), name("status"), PORT)


class Worker:
    def start(self):
        path = os.path.join(SCRATCH, "connect.properties")
        with open(path, "w") as f:
            f.write(PROPERTIES)
        self.process = subprocess.Popen(["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-Dlog4j.configuration=file:" + os.environ["KAFKA_LOG4J"], "-cp",
                                         os.environ["KAFKA_LIB"] + "/*", "org.apache.kafka.connect.cli.ConnectDistributed", path])
        until(lambda: self.process.poll() is not None or self.ask("GET", "/connectors") is not None, "the worker", 60)
        eq(self.process.poll(), None, "exit")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(40)

    def ask(self, method, path, body=None):
        q = urllib.request.Request("http://127.0.0.1:%d%s" % (PORT, path), method=method, data=body and json.dumps(body).encode(),
                                   headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(q, timeout=30) as r:
                return json.loads(r.read() or b"{}")
        except urllib.error.HTTPError as e:
            if e.code in (404, 409):  # not yet; a rebalance is going on
                return None
            raise AssertionError(e.read().decode())
        except OSError:
            return None

    def running(self, connector):
        s = self.ask("GET", "/connectors/%s/status" % connector)
        if s and any(t["state"] == "FAILED" for t in s["tasks"]):
            raise AssertionError(s["tasks"][0]["trace"])
        return s and s["connector"]["state"] == "RUNNING" and [t["state"] for t in s["tasks"]] == ["RUNNING"]


worker = Worker()


def write(first, last):
    with open(SOURCE, "a") as f:
        f.writelines("line %d\n" % i for i in range(first, last))


def lines():
    """Of the sink's file. Connect may hand records to a sink again after a rebalance: each line where it came first."""
    try:
        with open(SINK) as f:
            return list(dict.fromkeys(f.read().splitlines()))
    except FileNotFoundError:
        return []


def arrived(count):
    until(lambda: len(lines()) >= count, "%d lines" % count, 60)
    eq(lines(), ["line %d" % i for i in range(count)], "lines")


@check("file source and sink")
def _():
    write(0, 100)
    worker.start()
    until(lambda: worker.ask("POST", "/connectors", {"name": "source", "config": {
        "connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector", "tasks.max": 1, "file": SOURCE, "topic": TOPIC}}), "source")
    until(lambda: worker.ask("POST", "/connectors", {"name": "sink", "config": {
        "connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector", "tasks.max": 1, "file": SINK, "topics": TOPIC,
        "consumer.override.auto.offset.reset": "earliest"}}), "sink")
    until(lambda: worker.running("source") and worker.running("sink"), "both running", 60)
    arrived(100)


@check("restart of the server in the middle")
def _():
    ask("restart")
    write(100, 200)
    arrived(200)
    until(lambda: worker.running("source") and worker.running("sink"), "both running", 60)


@check("a new worker goes on where the old one was")
def _():
    worker.stop()
    write(200, 300)
    worker.start()
    eq(sorted(worker.ask("GET", "/connectors")), ["sink", "source"], "connectors")
    arrived(300)
    offsets = worker.ask("GET", "/connectors/source/offsets")
    eq(offsets["offsets"][0]["partition"], {"filename": SOURCE}, "the source's offset")


@check("pause, resume, delete")
def _():
    for word, state in (("pause", "PAUSED"), ("resume", "RUNNING")):
        worker.ask("PUT", "/connectors/source/" + word)
        until(lambda: (worker.ask("GET", "/connectors/source/status") or {}).get("connector", {}).get("state") == state, state)
    for c in ("source", "sink"):
        until(lambda: worker.ask("DELETE", "/connectors/" + c) is not None, "delete")
    until(lambda: worker.ask("GET", "/connectors") == [], "no connectors")
    worker.stop()


run()
