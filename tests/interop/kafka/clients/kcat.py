# SPDX-License-Identifier: Apache-2.0
"""kcat (librdkafka 2.0.2) as a person types it."""
import json
import os
import subprocess
import threading
import time

from checks import BOOTSTRAP, CODECS, SCRATCH, SHORT, ask, check, eq, name, run, until

COUNT = 100 if SHORT else 1000


def kcat(*words, input=None, timeout=40, fails=False):
    p = subprocess.run(["kcat", "-b", BOOTSTRAP] + list(words), input=input, capture_output=True, timeout=timeout)
    if (p.returncode != 0) != fails:
        raise AssertionError("kcat %s: %d: %s" % (" ".join(words), p.returncode, p.stderr.decode()[-400:]))
    return p.stderr.decode() if fails else p.stdout


def produce(topic, lines, *words):
    kcat("-P", "-t", topic, *words, input=b"".join(line + b"\n" for line in lines))


def consume(topic, *words):
    return kcat("-C", "-q", "-e", "-t", topic, *words).splitlines()


for codec in CODECS:
    def compressed(codec=codec):
        topic = name(codec)
        lines = [b"line %05d " % i + b"y" * 100 for i in range(COUNT)]
        produce(topic, lines, "-z", codec, "-X", "linger.ms=100")
        eq(consume(topic, "-o", "beginning"), lines, "lines")
        ask("stored", topic, codec, COUNT)
    check("codec " + codec)(compressed)


@check("key, header, timestamp, offset")
def _():
    topic = name("format")
    produce(topic, [b"k:v"], "-K", ":", "-H", "h=1", "-H", "h=2")
    got = json.loads(consume(topic, "-J")[0])
    eq((got["key"], got["payload"], got["headers"], got["offset"], got["partition"], got["tstype"]),
       ("k", "v", ["h", "1", "h", "2"], 0, 0, "create"))
    assert abs(got["ts"] / 1000 - time.time()) < 60, got["ts"]


@check("consume from the end, from an offset, the last ones, until a time")
def _():
    topic = name("from")
    produce(topic, [b"%d" % i for i in range(10)])
    eq(consume(topic, "-o", "7"), [b"7", b"8", b"9"])
    eq(consume(topic, "-o", "-2"), [b"8", b"9"])
    eq(consume(topic, "-o", "end"), [])
    eq(kcat("-C", "-q", "-t", topic, "-o", "3", "-c", "2").splitlines(), [b"3", b"4"])
    time.sleep(0.01)
    now = int(time.time() * 1000)
    produce(topic, [b"late"])
    eq(consume(topic, "-o", "s@%d" % now), [b"late"])
    eq(kcat("-Q", "-t", "%s:0:%d" % (topic, now)).split(), ("%s [0] offset 10" % topic).encode().split())


@check("metadata")
def _():
    topic = name("format2")
    produce(topic, [b"x"])
    m = json.loads(kcat("-L", "-J", "-t", topic))
    eq([(t["topic"], [(p["partition"], len(p["replicas"]), len(p["isrs"])) for p in t["partitions"]]) for t in m["topics"]], [(topic, [(0, 1, 1)])])
    eq([b["name"] for b in m["brokers"]], [BOOTSTRAP])


@check("group with two members and a rebalance, commit")
def _():
    topic, group = name("group"), name("group")
    produce(topic, [b"%d" % i for i in range(100)])
    out = kcat("-G", group, "-q", "-e", "-X", "auto.offset.reset=earliest", topic).splitlines()
    eq(sorted(map(int, out)), list(range(100)), "by the first")
    a = subprocess.Popen(["kcat", "-b", BOOTSTRAP, "-G", group, "-u", "-X", "heartbeat.interval.ms=500", topic], stdout=subprocess.PIPE,
                         stderr=open(os.path.join(SCRATCH, "a"), "wb"))
    said = lambda n: open(os.path.join(SCRATCH, n)).read().count("rebalanced")
    until(lambda: said("a") == 1, "the first assignment")
    b = subprocess.Popen(["kcat", "-b", BOOTSTRAP, "-G", group, "-u", "-X", "heartbeat.interval.ms=500", topic], stdout=subprocess.PIPE,
                         stderr=open(os.path.join(SCRATCH, "b"), "wb"))
    until(lambda: said("b") >= 1 and said("a") >= 2, "a rebalance")
    b.terminate()
    b.wait(20)
    produce(topic, [b"last"])
    threading.Timer(30, a.kill).start()
    eq(a.stdout.readline(), b"last\n", "what was committed is not read again")
    a.terminate()
    a.wait(20)


@check("restart of the server in the middle")
def _():
    """kcat itself gives up when all brokers are down: what it wrote and committed is there after it."""
    topic, group = name("restart"), name("restart")
    for how in ("restart", "kill"):
        produce(topic, [b"%d" % i for i in range(100)], "-X", "enable.idempotence=true")
        first = kcat("-G", group, "-q", "-c", "60", "-X", "auto.offset.reset=earliest", topic).splitlines()
        ask(how)
        rest = kcat("-G", group, "-q", "-e", "-X", "auto.offset.reset=earliest", topic).splitlines()
        eq(first + rest, [b"%d" % i for i in range(100)], "lines")
    eq(len(consume(topic, "-o", "beginning")), 200, "lines")


@check("large messages")
def _():
    topic, value = name("large"), os.urandom(450000).hex().encode()
    produce(topic, [value] * 3)
    eq(consume(topic), [value] * 3)


@check("error, message too large")
def _():
    path = os.path.join(SCRATCH, "big")
    with open(path, "wb") as f:
        f.write(b"x" * 3000000)
    said = kcat("-P", "-t", name("toolarge"), "-X", "message.max.bytes=8000000", path, fails=True)
    assert "Message size too large" in said, said


@check("error, unknown topic")
def _():
    said = kcat("-C", "-e", "-t", name("no-such"), "-X", "allow.auto.create.topics=false", fails=True)
    assert "Unknown topic" in said, said


@check("transaction")
def _():
    topic = name("txn")
    kcat("-P", "-t", topic, "-X", "transactional.id=" + name("t"), input=b"a\nb\n")
    eq(consume(topic, "-X", "isolation.level=read_committed"), [b"a", b"b"])


@check("error, fenced by a newer producer")
def _():
    topic, who = name("fenced"), "transactional.id=" + name("fenced")
    produce(topic, [b"first"])
    old = subprocess.Popen(["kcat", "-b", BOOTSTRAP, "-P", "-t", topic, "-X", who], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE)
    try:
        old.stdin.write(b"".join(b"old %060d\n" % i for i in range(2000)))  # more than it gathers before it sends
        old.stdin.flush()
        until(lambda: len(consume(topic, "-X", "isolation.level=read_uncommitted")) > 1, "records of a transaction that is open")
        produce(topic, [b"new"], "-X", who)
        said = old.communicate(b"late\n", timeout=40)[1]
    finally:
        old.kill()
        old.wait()
    assert old.returncode == 1 and b"fenced by a newer instance" in said, (old.returncode, said[-400:])
    eq(consume(topic, "-X", "isolation.level=read_committed"), [b"first", b"new"])


run()
