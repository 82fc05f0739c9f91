# SPDX-License-Identifier: Apache-2.0
"""A weir or an Apache Kafka to test or measure: one broker, a fixed port over restarts, a folder of its own."""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import packages
import stored

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../e2e"))
from ports import free_port  # noqa: E402

ROOT = packages.ROOT
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
_libc = ctypes.CDLL(None)


def die_with_parent():
    _libc.prctl(1, signal.SIGKILL)


class Failed(Exception):
    pass


class Server:
    """start, stop, restart; `bootstrap` stays the same. Subclasses say command(), wait_ready() and batches(topic)."""
    process = None
    wrap = []  # a prefix of the command: taskset and the like

    def __init__(self, folder=None, **options):
        self.own = folder is None
        self.dir = folder or tempfile.mkdtemp(prefix="kafka-interop-")
        self.port = free_port()
        self.bootstrap = "127.0.0.1:%d" % self.port
        self.options = options
        self.log_path = os.path.join(self.dir, "server.log")
        self.wrap = options.pop("wrap", [])
        self.prepare()

    def prepare(self):
        pass

    def start(self):
        log = open(self.log_path, "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(self.wrap + self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                        preexec_fn=die_with_parent, cwd=self.dir, env=self.environment())
        log.close()
        self.pid = self.process.pid
        self.wait_ready(time.monotonic() + 60 * SLOW)
        self.ready_seconds = time.monotonic() - begun
        return self

    def environment(self):
        return None

    def log(self, tail=3000):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()[-tail:]
        except FileNotFoundError:
            return ""

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, hard=False):
        """Its exit status."""
        if not self.running():
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        try:
            return self.process.wait(40 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed("%s did not stop" % self.name)

    def restart(self, hard=False):
        code = self.stop(hard)
        if not hard and code not in (0, 143):
            raise Failed("%s ended with %s" % (self.name, code))
        return self.start()

    def discard(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        if self.own and not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.discard()

    def wait_port(self, end):
        while True:
            with socket.socket() as s:
                s.settimeout(1)
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if not self.running() or time.monotonic() > end:
                raise Failed("%s did not start\n%s" % (self.name, self.log()))
            time.sleep(0.02)

    # -- what the process costs --

    def cpu(self):
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))


class Weir(Server):
    name = "weir"

    def prepare(self):
        self.http = free_port()
        self.data = os.path.join(self.dir, "data")
        self.binary = self.options.pop("binary", None) or os.environ.get("WEIR_BIN") or os.path.join(
            os.environ.get("WEIR_BUILD", os.path.join(ROOT, "build")), "weir")
        self.config = os.path.join(self.dir, "weir.yaml")
        with open(self.config, "w") as f:
            for name, value in self.options.items():
                f.write("%s: %s\n" % (name, value))

    def command(self):
        return [self.binary, "serve", "-c", self.config, "--data", self.data, "--http", "127.0.0.1:%d" % self.http,
                "--kafka", self.bootstrap]

    def wait_ready(self, end):
        line = self.process.stdout.readline().decode()
        if not re.match(r"weir ready http=\S+ kafka=\S+ ", line):
            raise Failed("weir said %r\n%s" % (line, self.log()))

    def topic_id(self, topic):
        with urllib.request.urlopen("http://127.0.0.1:%d/v1/topics/%s" % (self.http, topic), timeout=10) as r:
            return json.load(r)["id"]

    def batches(self, topic):
        return stored.weir(self.data, self.topic_id(topic))


BROKER = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%(controller)d
listeners=PLAINTEXT://127.0.0.1:%(port)d,CONTROLLER://127.0.0.1:%(controller)d
advertised.listeners=PLAINTEXT://127.0.0.1:%(port)d
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%(dir)s/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
"""
# The tests' broker: quick to rebalance, few partitions of its own topics.
BROKER_TESTS = """group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
"""
LOG4J = """log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d %p %m (%c)%n
"""


# A second listener. Clients show certificates too; authorities and certificates are made by make_certificates.
BROKER_TLS = """listeners=PLAINTEXT://127.0.0.1:%(port)d,CONTROLLER://127.0.0.1:%(controller)d,SSL://127.0.0.1:%(tls)d
advertised.listeners=PLAINTEXT://127.0.0.1:%(port)d,SSL://127.0.0.1:%(tls)d
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL
ssl.keystore.type=PEM
ssl.keystore.location=%(dir)s/tls/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=%(dir)s/tls/ca.pem
ssl.client.auth=required
"""


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(folder):
    """ca.pem; broker.pem for 127.0.0.1, its key first, as Kafka takes it; client.pem and client.key; other.pem, of an authority that signed none."""
    def at(name):
        return os.path.join(folder, name)
    os.makedirs(folder)
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=" + name, "-keyout", at(name + ".key"),
                "-out", at(name + ".pem"))
    with open(at("names"), "w") as f:
        f.write("subjectAltName=IP:127.0.0.1\n")
    for name in ("broker", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", at(name + ".key"), "-out", at(name + ".csr"))
        openssl("x509", "-req", "-days", "30", "-in", at(name + ".csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial",
                "-extfile", at("names"), "-out", at(name + ".pem"))
    with open(at("broker.key")) as key, open(at("broker.pem")) as cert:
        both = key.read() + cert.read()
    with open(at("broker.pem"), "w") as f:
        f.write(both)


class Kafka(Server):
    """
    `settings`: lines of server.properties besides; `heap`: options of the JVM, Kafka's own default (kafka-server-start) unless told;
    `tls`: another listener, at self.tls_bootstrap, with the certificates in self.tls_dir.
    """
    tls_dir = None
    name = "kafka"

    def prepare(self):
        self.lib = packages.broker_jars()
        self.properties = os.path.join(self.dir, "server.properties")
        settings = self.options.pop("settings", BROKER_TESTS)
        self.heap = self.options.pop("heap", ["-Xmx1G", "-Xms1G"])
        with open(self.properties, "w") as f:
            places = {"dir": self.dir, "port": self.port, "controller": free_port()}
            text = BROKER % places
            if self.options.pop("tls", False):
                self.tls_dir = os.path.join(self.dir, "tls")
                make_certificates(self.tls_dir)
                places["tls"] = free_port()
                self.tls_bootstrap = "127.0.0.1:%d" % places["tls"]
                kept = [x for x in text.splitlines(True) if not x.startswith(("listeners=", "advertised.", "listener.security"))]
                text = "".join(kept) + BROKER_TLS % places
            f.write(text + settings)
        with open(os.path.join(self.dir, "log4j.properties"), "w") as f:
            f.write(LOG4J)
        cluster = self.java("kafka.tools.StorageTool", "random-uuid").strip().splitlines()[-1]
        self.java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.properties)

    def jvm(self, *options):
        return ["java", *options, "-Dlog4j.configuration=file:%s/log4j.properties" % self.dir, "-cp", self.lib + "/*"]

    def java(self, *words):
        p = subprocess.run(self.jvm("-XX:TieredStopAtLevel=1") + list(words), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if p.returncode:
            raise Failed(p.stderr.decode()[-2000:])
        return p.stdout.decode()

    def command(self):
        # As kafka-run-class has it.
        return self.jvm(*self.heap, "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
                        "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true") + ["kafka.Kafka", self.properties]

    def wait_ready(self, end):
        self.wait_port(end)

    def batches(self, topic):
        return stored.kafka(os.path.join(self.dir, "data"), topic)


SERVERS = {"weir": Weir, "kafka": Kafka}
