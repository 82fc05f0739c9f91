# SPDX-License-Identifier: Apache-2.0
"""F11 to F13, F16 to F20, F22, F31, F34 to F36: what the machine, the clock, the operator and slow peers do to a running weir."""
import errno
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from faults import CACHES, FREED, WHOLE, Disk, Sender, Shim, body_of, charged, check_memory
from harness import (JSON, Failed, Later, Raw, Skip, Sse, Weir, check, eq, expect, test, until)

GET = "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n"


# ---- descriptors ----

@test("64 descriptors and many connections: those that are open are served, accepting does not spin, records and topics still "
      "work, and it recovers", own=True, timeout=60)
def _():
    with Weir(wrap=["prlimit", "--nofile=64"], start=False) as w:
        w._daemon_pid = lambda: w.proc.pid  # prlimit becomes the daemon
        w.start()
        t = w.topic()
        s = w.session()
        expect(s.request("POST", "/v1/topics/%s/records" % t, b"1", JSON), 200)
        socks = []
        for _ in range(150):
            c = socket.socket()
            c.setblocking(False)
            c.connect_ex((w.host, w.port))
            socks.append(c)
        time.sleep(0.5)
        at = w.ticks()
        began = time.monotonic()
        for i in range(20):
            expect(s.request("POST", "/v1/topics/%s/records" % t, b"%d" % i, JSON), 200)
            expect(s.request("GET", "/v1/topics/%s/records" % t), 200)
        time.sleep(max(0, 2 - (time.monotonic() - began)))
        check(w.ticks() - at < 60, "it spins: %d ticks in 2 s" % (w.ticks() - at))
        lines = len(w.log().splitlines())
        check(lines < 60, "it floods the log: %d lines\n%s" % (lines, w.log()[-600:]))
        for c in socks:
            c.close()
        until(lambda: quietly(lambda: w.get("/healthz", timeout=2).status == 200), 10, "new connections")
        s.close()
        w.stop()
        w.wrap = []
        w.start()
        eq(w.count_records(t), 21)


def quietly(fn):
    try:
        return fn()
    except (OSError, http.client.HTTPException):
        return False


# ---- the clock ----

@test("the wall clock jumps by an hour and a year, both ways: offsets and order hold, timestamps never go back, keys are still "
      "known, readers and timeouts go on", own=True, timeout=90)
def _():
    with Shim() as shim, Weir(env=shim.env) as w:
        sender = Sender(w, w.topic(), 100)
        sse = Sse(w, "/v1/topics/%s/sse?cursor=earliest" % sender.topic)
        waiting = None
        hour, year = 3600, 365 * 86400
        for shift in (0, hour, -hour, 0, -year, 0, 6 * 86400, 0):
            shim.shift(shift)
            sender.send(5)
            waiting = Later(lambda: w.poll(sender.topic, cursor="latest", wait="1s"))
            time.sleep(0.05)
            sender.send()
            waiting.get(5)
            got = sse.take(6)
            check(all(got), "the stream ended")
        sender.audit()
        stamps = [r["timestamp"] for r in w.all(sender.topic)]
        check(stamps == sorted(stamps), "timestamps go back")
        again = w.post("/v1/topics/%s/records" % sender.topic, body_of(0, 100), dict(JSON, **{"Idempotency-Key": "n0"}))
        eq(expect(again, 200).json()["duplicates"], 1, "a key is forgotten")
        began = time.monotonic()
        eq(w.poll(sender.topic, cursor="latest", wait="1s")["records"], [])
        check(time.monotonic() - began < 4, "a wait follows the wall clock")
        for shift in (-year, hour):
            shim.shift(shift)
            w.restart()
            sender.audit()
            sender.send()
            stamps = [r["timestamp"] for r in w.all(sender.topic)]
            check(stamps == sorted(stamps), "timestamps go back after a start")
        sse.raw.close()


# ---- who may have the directory ----

def refused(w, **kw):
    p = subprocess.run(w.command(), capture_output=True, text=True, timeout=20, **kw)
    check(p.returncode in (1, 2), "exit status %d: %s" % (p.returncode, p.stderr))
    eq(p.stdout, "")
    return p.stderr


@test("a second instance is refused and does no harm, however often and whatever the first one does", own=True, timeout=60)
def _():
    with Weir() as w:
        sender = Sender(w, w.topic(), 100)
        for i in range(5):
            sender.send(3)
            said = refused(w)
            check(str(w.pid) in said and w.data in said, "the holder is not named: %r" % said)
        sender.audit()
        w.restart(hard=True)
        check(str(w.pid) in refused(w), "after a kill")
        sender.audit()


@test("a directory that one may not write, or that is a file: an error with the path, nothing started", own=True)
def _():
    if os.getuid():
        raise Skip("needs root to become nobody")
    with Weir(start=False) as w:
        os.chmod(w.dir, 0o755)
        os.mkdir(w.data)
        os.chmod(w.data, 0o500)
        become = lambda: (os.setgid(65534), os.setuid(65534))
        said = refused(w, preexec_fn=become)
        check(w.data in said and "ermission" in said, "unclear: %r" % said)
        os.rmdir(w.data)
        w.start()
        sender = Sender(w, w.topic(), 100)
        sender.send(3)
        w.stop()
        for part in ("journal", "topics", "seen", "CHECKPOINT.a", "LOCK", "FORMAT"):
            path = os.path.join(w.data, part)
            os.chmod(w.data, 0o755)
            for folder, _, files in os.walk(w.data):
                os.chown(folder, 65534, 65534)
                for f in files:
                    os.chown(os.path.join(folder, f), 65534, 65534)
            os.chown(path, 0, 0)
            os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
            said = refused(w, preexec_fn=become)
            check(part.split(".")[0] in said and "ermission" in said, "%s: unclear: %r" % (part, said))
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
        w.start()
        sender.audit()
    with Weir(start=False) as w:
        with open(w.data, "w") as f:
            f.write("a file")
        check(w.data in refused(w), "a file in place of the directory")


@test("a data directory on a disk that is read-only: an error with the path at start; weir that runs says so and ends or refuses",
      own=True, timeout=60)
def _():
    with Disk(64, "ext4") as disk, Weir("log: { journal_bytes: 16MiB }\n", data=disk.data) as w:
        sender = Sender(w, w.topic(), 2000)
        sender.send(10)
        w.stop()
        subprocess.run(["mount", "-o", "remount,ro", disk.path], check=True)
        said = refused(w)
        check(disk.path in said and "ead-only" in said, "unclear: %r" % said)
        subprocess.run(["mount", "-o", "remount,rw", disk.path], check=True)
        w.start()
        sender.audit()


@test("a data directory that is removed below a running weir: no answer that is not true, SIGTERM ends it", own=True, timeout=60)
def _():
    with Weir() as w:
        sender = Sender(w, w.topic(), 2000)
        sender.send(10)
        shutil.rmtree(w.data)
        for _ in range(50):
            r = sender.send()
            if r is None:
                break
            time.sleep(0.02)
        if w.running():
            eq(w.get("/healthz").status, 200)
            w.signal(signal.SIGTERM)
            code = w.wait(20)
            check(code == 1 and "level=error" in w.log(), "exit status %r, and the log says %s" % (code, w.log()[-800:]))
        else:
            check("level=error" in w.log(), "it ended without a word")


# ---- signals ----

GOOD = "topics:\n  - { name: t.first, partitions: 2 }\nlog_level: %s\n"


@test("SIGHUP a thousand times under load, good files and bad ones in turn: nothing is lost or doubled, nothing grows", own=True,
      timeout=180)
def _():
    with Weir(GOOD % "info") as w:
        sender = Sender(w, "t.load", 100)
        stop = []

        def load():
            while not stop:
                if sender.send() is None:
                    raise Failed("a connection was lost")
        with Sse(w, "/v1/topics/t.load/sse?cursor=latest") as sse:
            loading = Later(load)
            fds, rss = None, None
            rounds = 1000 if WHOLE else 300
            for i in range(rounds):
                w.write_config(["nonsense: [", GOOD % "info", "topics: [{ name: t.first, partitons: 2 }]\n",
                                GOOD % "warning"][i % 4])
                w.signal(signal.SIGHUP)
                if i % 10 == 0:
                    time.sleep(0.02)
                if i == rounds // 3:
                    fds, rss = len(os.listdir("/proc/%d/fd" % w.pid)), w.rss()
            w.write_config("topics:\n  - { name: t.first, partitions: 2 }\n  - { name: t.last }\n")
            time.sleep(0.1)
            w.signal(signal.SIGHUP)
            until(lambda: w.get("/v1/topics/t.last").status == 200, 20, "the last reload")
            stop.append(1)
            loading.get()
            eq([e.json()["value"]["n"] for e in sse.take(min(50, len(sender.acked)))], sender.acked[:50], "the stream")
        check(not sender.refused and not sender.unknown, "%r refused, %r unknown" % (sender.refused[:3], sender.unknown[:3]))
        sender.audit()
        check(len(os.listdir("/proc/%d/fd" % w.pid)) <= fds + 4, "descriptors grow")
        check(w.rss() < rss + (24 << 20), "memory grows from %d to %d" % (rss, w.rss()))


@test("SIGTERM and SIGINT under load, again and again: exit 0, what was acknowledged is there, once", own=True, timeout=120)
def _():
    with Weir() as w:
        senders = [Sender(w, "t.s%d" % i, 500) for i in range(3)]
        for round in range(6):
            stop = []

            def load(s):
                while not stop:
                    r = s.send()
                    if r is None:
                        return
                    check(r.status in (200, 503), "%r" % r)
            threads = [Later(load, s) for s in senders]
            time.sleep(0.3)
            w.signal(signal.SIGTERM if round % 2 else signal.SIGINT)
            eq(w.wait(15), 0, "exit status")
            stop.append(1)
            [t.get() for t in threads]
            w.start()
        for s in senders:
            s.audit()


@test("SIGQUIT, SIGABRT and SIGSEGV from outside are a crash like any other: the start recovers", own=True, timeout=60)
def _():
    with Weir() as w:
        sender = Sender(w, w.topic(), 500)
        resource.prlimit(w.pid, resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGQUIT, signal.SIGABRT, signal.SIGSEGV):
            sender.send(10)
            w.signal(number)
            check(w.wait(10) != 0, "exit status 0")
            w.start()
            resource.prlimit(w.pid, resource.RLIMIT_CORE, (0, 0))
            sender.audit()


@test("a weir that was stopped (SIGSTOP) and goes on serves everybody", own=True, timeout=60)
def _():
    with Weir() as w:
        sender = Sender(w, w.topic(), 500)
        sender.send(5)
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % sender.topic) as sse:
            sse.take(5)
            w.signal(signal.SIGSTOP)
            late = Later(sender.send)
            time.sleep(2)
            w.signal(signal.SIGCONT)
            eq(late.get().status, 200)
            eq(sse.next().json()["value"]["n"], 5)
        sender.audit()


# ---- slow peers ----

def stop_reading(w, t, count):
    """That many subscribers, SSE and WebSocket in turns, whose sockets nobody reads."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        raise Skip("only %d descriptors are allowed" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stopped = []
    for i in range(count):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.settimeout(20)
        s.connect((w.host, w.port))
        way = "sse" if i % 2 else "ws"
        s.sendall(("GET /v1/topics/%s/%s?cursor=earliest HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (
            t, way, w.authority, "" if i % 2 else "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")).encode())
        stopped.append(s)
    ways = ('weir_readers{way="sse"}', 'weir_readers{way="ws"}')
    until(lambda: sum(w.metrics().get(way, 0) for way in ways) >= count, 60, "the readers")
    return stopped


@test("%d subscribers that stop reading: memory stays within its budget, one that reads gets everything, a stopped one goes on "
      "where it was" % (10000 if WHOLE else 1000), own=True, timeout=240)
def _():
    count = 10000 if WHOLE else 1000
    with Weir("memory: 128MiB\nlog: { tail_bytes: 16MiB, pinned_bytes: 16MiB }\n") as w:
        t = w.topic()
        w.push(t, b"0")
        idle = w.rss()
        stopped = stop_reading(w, t, count)
        check_memory(w, idle, count, 128 << 20)
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t, timeout=30) as reader:
            for i in range(1, 401):
                w.push(t, json.dumps({"n": i, "pad": "x" * 100000}))
            eq([e.json()["value"] if i == 0 else e.json()["value"]["n"] for i, e in enumerate(reader.take(401, 30))],
               list(range(401)))
        check_memory(w, idle, count, 128 << 20)
        # A stopped one reads on.
        s = stopped[1]
        data = b""
        s.settimeout(20)
        while b'"n":3,' not in data.replace(b" ", b"") and len(data) < 2000000:
            got = s.recv(65536)
            if not got:
                break
            data += got
        check(b'"n":3,' in data.replace(b" ", b""), "a stopped subscriber misses records: %r" % data[:200])
        for s in stopped:
            s.close()
        until(lambda: quietly(lambda: w.get("/healthz").status == 200), 20, "health")
        until(lambda: charged(w) < 24 << 20, 20, "what they held")
        w.stop()


@test("%d subscribers that stop reading small records, of which each needs a copy: all of them together have half of the budget, "
      "and others are served as before" % (4000 if WHOLE else 400), own=True, timeout=240)
def _():
    count = 4000 if WHOLE else 400
    with Weir("memory: 64MiB\nlog: { tail_bytes: 16MiB, pinned_bytes: 16MiB }\n") as w:
        t = w.topic()
        w.push(t, b"0")
        idle = w.rss()
        stopped = stop_reading(w, t, count)
        body = b"\n".join(b'{"n":%d,"pad":"%s"}' % (i, b"y" * 150) for i in range(100))
        for _ in range(60):
            expect(w.post("/v1/topics/%s/records" % t, body, {"Content-Type": "application/x-ndjson"}), 200)
            expect(w.post("/v1/topics/%s/records" % t, b"1", JSON), 200)
        check_memory(w, idle, count, 64 << 20)
        check(charged(w) < 48 << 20, "they have more than their half: %d MiB" % (charged(w) >> 20))
        eq(w.count_records(t), 1 + 60 * 101)
        for s in stopped:
            s.close()
        until(lambda: charged(w) < 16 << 20, 20, "what they held")
        w.stop()


@test("many large batches at once: what they become is charged before it is made; the others get 503, and all of them get through",
      own=True, timeout=120)
def _():
    batch = json.dumps({"records": [{"key": "k%d" % i, "value": {"n": i, "pad": "x" * 40}} for i in range(60000)]}).encode()
    lines = b"\n".join(b'{"n":%d,"pad":"%s"}' % (i, b"x" * 30) for i in range(90000))
    for kind, body, count in (("application/vnd.weir.batch+json", batch, 60000), ("application/x-ndjson", lines, 90000)):
        with Weir("memory: 16MiB\nlog: { tail_bytes: 16MiB, pinned_bytes: 16MiB }\n") as w:
            t = w.topic()
            w.push(t, b"0")
            idle, most, done = w.rss(), [0], []

            def send():
                for _ in range(200):
                    r = w.post("/v1/topics/%s/records" % t, body, {"Content-Type": kind}, timeout=30)
                    if r.status == 200:
                        return
                    eq((r.status, r.json()["code"], r.headers.get("Retry-After")), (503, "overloaded", "1"))
                    time.sleep(0.1)
                raise Failed("never taken")

            def watch():
                while not done:
                    most[0] = max(most[0], w.rss())
                    time.sleep(0.01)
            watching = Later(watch)
            sending = [Later(send) for _ in range(6)]
            [s.get(100) for s in sending]
            done.append(1)
            watching.get()
            grown = most[0] - idle
            # The budget, what one such body becomes beside it, and the caches.
            check(grown < (16 << 20) + CACHES + FREED, "memory grew by %d MiB" % (grown >> 20))
            eq(sum(r["next_offset"] for r in [w.get("/v1/topics/%s/partitions/0/records?offset=%d" % (
                t, 6 * count + 1)).json()]), 6 * count + 1)
            until(lambda: charged(w) < 4 << 20, 20, "what they held")
            w.stop()


@test("senders that trickle a byte a second (head and body) are cut with 408, and others notice nothing", own=True, timeout=90)
def _():
    with Weir("http: { header_timeout: 2s }\n") as w:
        t = w.topic()
        slow = [Raw(w, 30) for _ in range(50)]
        for c in slow:
            c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\n" % (t, w.authority))
        began, worst, open_ = time.monotonic(), 0, list(slow)
        while time.monotonic() - began < 6 and open_:
            for c in list(open_):
                try:
                    c.send("x")
                except OSError:
                    open_.remove(c)
            at = time.monotonic()
            w.push(t, b"1")
            worst = max(worst, time.monotonic() - at)
            time.sleep(0.5)
        answers = [quietly(lambda c=c: c.head()[0]) for c in slow]
        check(answers.count(408) > 0 and all(a in (408, False) for a in answers), "answers: %r" % answers[:5])
        check(worst < 1.5, "another sender waited %.1f s" % worst)
        for c in slow:
            c.close()


@test("a peer that resets within a request, at every byte of it: nothing half is stored, nothing leaks", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        body = b"".join(b'{"n":%d}\n' % i for i in range(10))
        whole = ("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
                 % (t, w.authority, len(body))).encode() + body
        w.push(t, b'{"n":-1}')
        fds = len(os.listdir("/proc/%d/fd" % w.pid))
        for at in range(0, len(whole), 1 if WHOLE else 5):
            c = Raw(w)
            c.send(whole[:at])
            c.reset()
        eq(w.count_records(t), 1, "half a request is stored")
        chunked = ("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n" % (t, w.authority)).encode()
        chunked += b"".join(b"8\r\n%s\r\n" % body[i:i + 8] for i in range(0, len(body) & ~7, 8))
        for at in range(0, len(chunked), 1 if WHOLE else 5):
            c = Raw(w)
            c.send(chunked[:at])
            c.reset()
        eq(w.count_records(t), 1, "half a request is stored")
        until(lambda: len(os.listdir("/proc/%d/fd" % w.pid)) <= fds + 1, 10, "the descriptors to be given back")


@test("a storm of the same request, over restarts and a kill: stored once, answered alike", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        headers = dict(JSON, **{"Idempotency-Key": "storm"})
        answers = []
        for round in range(4):
            answers += [x.get().json() for x in [Later(w.post, "/v1/topics/%s/records" % t, b'{"n":1}', headers) for _ in range(40)]]
            w.restart(hard=round % 2 == 0)
        eq(sum(a["accepted"] for a in answers), 1, "accepted")
        check(all(a["offsets"] == answers[0]["offsets"] for a in answers), "the offsets differ")
        eq(w.count_records(t), 1)


# ---- inotify ----

FOLLOW = """
sources:
  - { name: s, type: files, topic: t, every: 50ms, at_start: true, follow: true, paths: ["%s/*.log"], format: lines }
"""


@test("the kernel gives no inotify, or no more watches: followed files are read at the schedule's pace, a warning says what to raise",
      own=True, timeout=60)
def _():
    for path, error, words in (("init", errno.EMFILE, "fs.inotify.max_user_instances"), ("/proc/self/fd/", errno.ENOSPC, "fs.inotify.max_user_watches"),
                               ("/", errno.ENOSPC, "fs.inotify.max_user_watches"), ("init", errno.ENOSYS, "inotify")):
        with Shim() as shim, tempfile.TemporaryDirectory() as tmp:
            hit = shim.rule("inotify", error=error, path=path)
            with Weir(config=FOLLOW % tmp, env=shim.env) as w:
                for i in range(3):
                    for name in ("a", "b"):
                        with open("%s/%s.log" % (tmp, name), "a") as f:
                            f.write("line %d\n" % i)
                    until(lambda: w.count_records("t") == 2 * (i + 1), what="what was appended, round %d, %s" % (i, path))
                warnings = w.get("/v1/sources/s").json()["warnings"]
                eq(len(warnings), 1, repr(warnings))
                check(words in warnings[0] and "every" in warnings[0], warnings[0])
                eq(w.log().count("source_warning"), 1, w.log())
                check(hit.hits > 0, "the rule was never hit")
