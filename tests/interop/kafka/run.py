#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the clients of others against a broker: tests/interop/kafka/run.py [--server weir|kafka] [--only CLIENT...] [-k WORD] [--short] [-v]

A client is a small program in its own language. It gets in its environment

    BOOTSTRAP   host:port of the broker
    PREFIX      what its topics, groups and transactions are to begin with
    CHECKS      a word: only checks whose name has it (empty: all)
    SHORT       1: fewer records and codecs
    TLS_BOOTSTRAP, TLS_DIR      of a real Kafka: where it speaks TLS and wants a certificate, and a folder with ca.pem, client.pem, client.key

and prints `ok NAME`, `FAIL NAME: why` or `skip NAME: why`, a line a check. What a client cannot do from inside it asks
for with a line, and reads a line in return, `yes` or `no: why`:

    @restart | @kill            the server is stopped (SIGTERM, SIGKILL) and started again
    @stored TOPIC CODEC COUNT   COUNT records lie on disk in batches of that codec, none in others

Everything else that it prints is for a person and is shown when it fails. `--server kafka` starts a real Apache
Kafka: what fails there is a fault of the tests. Ends with `N passed, N failed`.
"""
import argparse
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

import packages
import server

HERE = os.path.dirname(os.path.abspath(__file__))
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
DEBIAN_PYTHON = "/usr/bin/python3"


def here(*parts):
    return os.path.join(HERE, *parts)


# ---- the clients ----

def python_client(script, name, wanted):
    return lambda: [packages.python(name, wanted), here("clients", script)]


def java_client(version):
    return lambda: ["java", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                    "-Dlog4j.configuration=file:" + here("java", "log4j.properties"), "-cp", packages.java_classes(version)]


def java_program(version, name):
    return lambda: java_client(version)() + [name]


def tools_client(script):
    def command():
        os.environ["KAFKA_LIB"] = packages.broker_jars()
        os.environ["KAFKA_LOG4J"] = here("java", "log4j.properties")
        return [DEBIAN_PYTHON, here("clients", script)]
    return command


def node_client():
    os.environ["NODE_PATH"] = packages.node_modules()
    return ["node", here("clients", "kafkajs.js")]


# name: (command, seconds at most); the longest first, so that none of them is left to the end,
# and beside the first, which has much to fetch, those that need nothing fetched
CLIENTS = {
    "sarama": (lambda: [packages.go_program("sarama")], 120),
    "confluent-debian": (lambda: [DEBIAN_PYTHON, here("clients", "confluent.py")], 120),
    "kcat": (lambda: [DEBIAN_PYTHON, here("clients", "kcat.py")], 90),
    "weir-source": (lambda: [DEBIAN_PYTHON, here("clients", "weir_source.py")], 600),
    "tools": (tools_client("tools.py"), 360),
    "franz-go": (lambda: [packages.go_program("franz")], 120),
    "java": (java_program(packages.JAVA_NEWEST, "Clients"), 150),
    "confluent": (python_client("confluent.py", "confluent", ["confluent-kafka==" + packages.CONFLUENT_NEWEST]), 120),
    "connect": (tools_client("connect.py"), 200),
    "java-3.9": (java_program(packages.BROKER, "Clients"), 150),
    "kafka-python-old": (python_client("kafka_python.py", "kafka-python-old",
                                       ["kafka-python==" + packages.KAFKA_PYTHON[0]] + packages.CODECS), 120),
    "kafkajs": (node_client, 120),
    "kafka-python": (python_client("kafka_python.py", "kafka-python",
                                   ["kafka-python==" + packages.KAFKA_PYTHON[1]] + packages.CODECS), 120),
    "kafka-go": (lambda: [packages.go_program("segmentio")], 120),
    "streams": (java_program(packages.JAVA_NEWEST, "WordCount"), 120),
}


# ---- one client ----

def say(text):
    """A line at once, whoever else speaks."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Run:
    """A client's process, its lines, and the server that it may have restarted."""

    def __init__(self, name, broker, args):
        self.name, self.broker, self.args = name, broker, args
        self.passed, self.failed, self.skipped = [], [], []
        self.chatter = []

    def go(self):
        command, seconds = CLIENTS[self.name]
        try:
            command = command()
        except packages.Missing as e:
            self.fail("packages", str(e))
            return self
        prefix = "%s-%x" % (self.name.replace(".", ""), int(time.time()))
        env = dict(os.environ, BOOTSTRAP=self.broker.bootstrap, PREFIX=prefix, CHECKS=self.args.k, SHORT="1" if self.args.short else "")
        if getattr(self.broker, "tls_dir", None):
            env.update(TLS_BOOTSTRAP=self.broker.tls_bootstrap, TLS_DIR=self.broker.tls_dir)
        scratch = tempfile.TemporaryDirectory(prefix="kafka-client-")
        env["SCRATCH"] = scratch.name
        with scratch:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                                            start_new_session=True, preexec_fn=server.die_with_parent)
            self.timed_out = False
            timer = threading.Timer(seconds * SLOW, self.time_out)
            timer.start()
            try:
                for line in self.process.stdout:
                    self.line(line.decode(errors="replace").rstrip("\n"))
                code = self.process.wait()
            finally:
                timer.cancel()
                self.end()
        if self.timed_out:
            self.fail("in time", "still running after %g s" % (seconds * SLOW))
        elif code:
            self.fail("end", "exit status %d" % code)
        if not self.broker.running():
            self.fail("server", "ended with %s\n%s" % (self.broker.process.returncode, self.broker.log()))
        return self

    def time_out(self):
        self.timed_out = True
        self.end()

    def end(self):
        """What it started goes with it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def fail(self, name, why):
        self.failed.append(name)
        say("\n".join(["FAIL %s: %s: %s" % (self.name, name, why)] + ["     | " + line for line in self.chatter[-25:]]))
        self.chatter = []

    def line(self, line):
        found = re.match(r"(ok|FAIL|skip) ([^:]+)(?:: (.*))?$", line)
        if line.startswith("@"):
            self.answer(line[1:].split(" "))
        elif not found:
            if not self.chatter or line[:40] != self.chatter[-1][:40]:
                self.chatter.append(line[:400])
        elif found.group(1) == "FAIL":
            self.fail(found.group(2), found.group(3) or "")
        else:
            (self.passed if found.group(1) == "ok" else self.skipped).append(found.group(2))
            if self.args.v or found.group(1) == "skip":
                say("%-4s %s: %s%s" % (found.group(1), self.name, found.group(2), ": " + found.group(3) if found.group(3) else ""))

    def answer(self, words):
        try:
            why = getattr(self, "do_" + words[0])(*words[1:])
        except Exception as e:
            why = "%s: %s" % (type(e).__name__, e)
        answer = "no: " + " ".join(why.split()) if why else "yes"
        if self.args.v:
            say("     @%s %s" % (" ".join(words), answer))
        try:
            self.process.stdin.write((answer + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def do_restart(self):
        self.broker.restart()

    def do_kill(self):
        self.broker.restart(hard=True)

    def do_stored(self, topic, codec, count):
        """Segments are written behind the answer, so it may take a moment."""
        end = time.monotonic() + 10 * SLOW
        while True:
            found = [b for b in self.broker.batches(topic) if not b.control]
            if sum(b.records for b in found) >= int(count) or time.monotonic() > end:
                break
            time.sleep(0.05)
        by = {}
        for b in found:
            by[b.codec] = by.get(b.codec, 0) + b.records
        return None if by == {codec: int(count)} else "stored are %r" % by


def work(todo, args, counts, lock):
    """Takes clients until there are none; each weir serves one, a Kafka, which starts slowly, all of this worker's."""
    broker = None
    try:
        while True:
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            try:
                if broker is None or not broker.running() or args.server == "weir":
                    if broker is not None:
                        broker.discard()
                    broker = server.Kafka(tls=True) if args.server == "kafka" else server.Weir()
                    broker.start()
                begun = time.monotonic()
                r = Run(name, broker, args).go()
                done, bad, names = len(r.passed), len(r.failed), ["%s: %s" % (name, what) for what in r.failed]
                say("%-18s %3d ok %3d failed %3d skipped %5.1f s" % (name, done, bad, len(r.skipped), time.monotonic() - begun))
            except Exception as e:
                done, bad, names = 0, 1, ["%s: server" % name]
                say("FAIL %s: server: %s" % (name, e))
            with lock:
                counts["passed"] += done
                counts["failed"] += bad
                counts["failures"] += names
    finally:
        if broker is not None:
            broker.discard()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--server", choices=sorted(server.SERVERS), default="weir")
    ap.add_argument("--only", nargs="+", metavar="CLIENT", choices=sorted(CLIENTS), default=list(CLIENTS))
    ap.add_argument("-k", default="", help="checks whose name has this word")
    ap.add_argument("-v", action="store_true", help="each check")
    ap.add_argument("--short", action="store_true", help="fewer records")
    ap.add_argument("--fetch", action="store_true", help="only fetch what is needed")
    ap.add_argument("--jobs", type=int, default=1, help="clients that run at once, each with a server of its own")
    ap.add_argument("--json", metavar="FILE")
    args = ap.parse_args()
    os.makedirs(packages.CACHE, exist_ok=True)
    if args.fetch:
        for name in args.only:
            CLIENTS[name][0]()
        packages.broker_jars()
        return 0
    todo = queue.Queue()
    for name in args.only:
        todo.put(name)
    counts = {"passed": 0, "failed": 0, "failures": []}
    lock = threading.Lock()
    workers = [threading.Thread(target=work, args=(todo, args, counts, lock)) for _ in range(args.jobs)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    passed, failed = counts["passed"], counts["failed"]
    print("%d passed, %d failed" % (passed, failed))
    if args.json:
        with open(args.json, "w") as f:
            json.dump(counts, f)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
