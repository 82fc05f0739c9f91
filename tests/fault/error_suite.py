# SPDX-License-Identifier: Apache-2.0
"""F7, F8, F9, F10, F14, F15: calls that fail, do less, or take long, while weir runs."""
import errno
import http.client
import os
import signal
import subprocess
import time

from faults import DELAY, FAIL, SHORT, WHOLE, Sender, Shim, body_of, spread
from harness import JSON, Failed, Later, Sse, Weir, check, eq, expect, test, until

SMALL = "log: { journal_bytes: 8MiB, journal_file_bytes: 4MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"


def ends_loudly(w, what):
    """It ended by itself, not with 0, and says why."""
    code = w.wait(15)
    check(code not in (0, None), "exit status %r" % code)
    check("level=error" in w.log() and what in w.log(), "nothing loud about %r in the log: %s" % (what, w.log()[-600:]))


@test("EIO from the journal's fdatasync: no answer, a loud line, an exit status that is not 0; the restart has all that was "
      "acknowledged", own=True, timeout=60)
def _():
    for when in (1, 2, 7):
        with Shim() as shim, Weir(SMALL, env=shim.env) as w:
            sender = Sender(w, w.topic())
            sender.send(10)
            r = shim.rule("fdatasync", error=errno.EIO, when=when, times=1, path="/journal/")
            sender.send(when)
            eq(r.hits, 1)
            eq(len(sender.unknown), 1, "an answer came though the sync had failed")
            ends_loudly(w, "sync the journal")
            eq(r.hits, 1, "the sync was tried again")
            shim.clear()
            w.start()
            sender.audit()
            sender.send(3)
            w.restart()
            sender.audit()


@test("EIO or no space from the journal's write: no answer, a loud line, an exit status that is not 0; nothing acknowledged "
      "is lost", own=True, timeout=60)
def _():
    for error in (errno.EIO, errno.ENOSPC):
        with Shim() as shim, Weir(SMALL, env=shim.env) as w:
            sender = Sender(w, w.topic())
            sender.send(10)
            shim.rule("pwrite", error=error, times=1, path="/journal/", thread="weir-commit")
            sender.send()
            eq(len(sender.unknown), 1, "an answer came though the write had failed")
            ends_loudly(w, "journal")
            shim.clear()
            w.start()
            sender.audit()


@test("EIO from the sync of a segment at a storage checkpoint: a loud line and the end; nothing acknowledged is lost", own=True,
      timeout=60)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        sender = Sender(w, w.topic(), 60000)
        sender.send(3)
        r = shim.rule("fdatasync", error=errno.EIO, path=".log", times=1)
        sender.send(200)
        until(lambda: r.hits, 10, "a storage checkpoint")
        ends_loudly(w, "sync segments")
        shim.clear()
        w.start()
        sender.audit()


@test("segments that cannot be written: 507, reads go on, a stop ends and loses nothing, and it works again by itself", own=True,
      timeout=90)
def _():
    for error in (errno.EIO, errno.ENOSPC):
        with Shim() as shim, Weir(SMALL, env=shim.env) as w:
            sender = Sender(w, w.topic(), 3000)
            sender.send(20)
            r = shim.rule("pwrite", error=error, path="/topics/")
            until(lambda: (lambda x: x is not None and x.status == 507)(sender.send()), 10, "a 507")
            check("segment_write_failed" in w.log(), "nothing is said")
            eq(w.count_records(sender.topic), len(sender.acked))
            check(w.poll(sender.topic, limit=5)["records"], "reads do not work")
            at = w.ticks()
            time.sleep(1)
            check(w.ticks() - at < 50, "it spins while the writes fail: %d ticks" % (w.ticks() - at))
            began = time.monotonic()
            w.signal(signal.SIGTERM)
            code = w.wait(20)
            check(time.monotonic() - began < 15, "the stop took %.1f s" % (time.monotonic() - began))
            eq(code, 0 if error == errno.ENOSPC else 1, "exit status")
            check("without_checkpoint" in w.log(), "the log does not say that the checkpoint is missing")
            w.start()  # the writes still fail
            sender.audit()
            w.stop() if error == errno.ENOSPC else (w.signal(signal.SIGTERM), w.wait(20))
            w.start()
            sender.send()
            shim.clear()
            until(lambda: (lambda x: x is not None and x.status == 200)(sender.send()), 10, "ingest to resume")
            check(r.hits > 0, "the rule was not hit")
            w.restart()
            sender.audit()


@test("segments that cannot be written under load: SIGTERM ends it all the same", own=True, timeout=90)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        topics = [w.topic(partitions=4) for _ in range(3)]
        senders = [Sender(w, t, 20000) for t in topics]
        stop = []

        def go(s):
            while not stop:
                if s.send() is None:
                    return
        threads = [Later(go, s) for s in senders]
        time.sleep(0.4)
        shim.rule("pwrite", error=errno.EIO, thread="weir-move")
        time.sleep(0.4)
        w.signal(signal.SIGTERM)
        w.wait(20)
        stop.append(1)
        [t.get() for t in threads]
        shim.clear()
        w.start()
        for s in senders:
            got = sorted(r["value"]["n"] for r in w.all(s.topic))
            check(not set(s.acked) - set(got), "acknowledged and lost")
            w.delete("/v1/topics/" + s.topic)


def failing_elsewhere(name, path, ops):
    @test("EIO in %s: said, nothing acknowledged is lost, nothing is there twice" % name, own=True, timeout=90)
    def _():
        hits = {}
        for op in ops:
            with Shim() as shim, Weir(SMALL, env=shim.env) as w:
                sender = Sender(w, w.topic(), 60000)
                sender.send(3)
                r = shim.rule(op, error=errno.EIO, path=path, times=3)
                sender.send(150)
                if w.running():
                    w.signal(signal.SIGTERM)
                w.wait(20)
                hits[op] = r.hits
                check(r.hits == 0 or op == "unlink" or "level=error" in w.log(), "%s: nothing is said" % op)
                shim.clear()
                w.start()
                sender.audit()
                again = w.post("/v1/topics/%s/records" % sender.topic, body_of(sender.acked[-1], sender.size),
                               dict(JSON, **{"Idempotency-Key": "n%d" % sender.acked[-1]}))
                eq(expect(again, 200).json()["duplicates"], 1, "the keys are lost")
                w.restart()
                sender.audit()
        check(sum(hits.values()) > len(ops) // 2, "too little was hit: %r" % hits)


failing_elsewhere("the idempotency keys", "/seen/", ["pwrite", "fsync", "fdatasync", "open", "rename"])
failing_elsewhere("the storage checkpoint's file", "/CHECKPOINT", ["pwrite", "fsync", "open", "truncate"])
failing_elsewhere("making a journal file", "/new.tmp", ["pwrite", "fsync", "open", "allocate"])
failing_elsewhere("naming a journal file", ".wal", ["rename"])


@test("a storage checkpoint that fails again and again: said now and then, no spinning, ingest goes on, SIGTERM ends it", own=True,
      timeout=90)
def _():
    for path in ("/CHECKPOINT", "/seen/"):
        with Shim() as shim, Weir(SMALL, env=shim.env) as w:
            sender = Sender(w, w.topic(), 60000)
            sender.send(3)
            shim.rule(["pwrite", "open"], error=errno.EIO, path=path, amount=100)
            sender.send(100)
            until(lambda: "checkpoint_failed" in w.log(), 10, "a checkpoint that fails")
            ticks = w.ticks()
            time.sleep(3)
            lines = w.log().count("checkpoint_failed")
            check(lines < 150, "it floods the log: %d lines" % lines)
            check(w.ticks() - ticks < 100, "it spins: %d ticks in 3 s" % (w.ticks() - ticks))
            eq(sender.send().status, 200, "ingest, which needs no checkpoint yet")
            w.signal(signal.SIGTERM)
            eq(w.wait(15), 1, "exit status")
            shim.clear()
            w.start()
            sender.audit()


@test("files that cannot be removed: deleting works, and the next start removes them", own=True, timeout=60)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        t, kept = w.topic(), w.topic()
        for i in range(5):
            w.push(t, body_of(i, 60000))
        w.push(kept, b"1")
        w.restart()
        folders = set(os.listdir(os.path.join(w.data, "topics")))
        r = shim.rule(["unlink", "rmdir"], error=errno.EIO)
        check(w.delete("/v1/topics/" + t).status in (200, 204), "deleting")
        until(lambda: r.hits, 10, "a file to be removed")
        w.stop()
        eq(set(os.listdir(os.path.join(w.data, "topics"))), folders)
        shim.clear()
        w.start()
        eq(w.get("/v1/topics/" + t).status, 404)
        eq(w.values(kept), [1])
        w.stop()
        left = [f for d in os.listdir(os.path.join(w.data, "topics"))
                for _, _, files in os.walk(os.path.join(w.data, "topics", d)) for f in files if f.endswith(".log")]
        check(len(left) <= 2, "what is left: %r" % left)


@test("each n-th call of a start fails with EIO: it starts, or ends with a reason; nothing is lost either way", own=True,
      timeout=3600 if WHOLE else 120)
def _():
    ops = ["pwrite", "fdatasync", "fsync", "rename", "truncate", "allocate", "open", "pread", "mkdir"]
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        sender = Sender(w, w.topic(), 3000)
        sender.send(30)
        w.stop()
        w.start()
        sender.send(10)
        w.kill()
        r = shim.rule(ops, when=1 << 40, path=w.data)
        w.start()
        count = r.count
        w.kill()
        for n in spread(count, 12):
            shim.rule(ops, when=n, times=1, path=w.data)
            p = subprocess.Popen(w.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, **shim.env), cwd=w.dir)
            line = p.stdout.readline()
            if not line:
                err = p.stderr.read().decode()
                code = p.wait(10)
                check(code == 1, "call %d: exit status %r" % (n, code))
                check("Input/output error" in err or "level=error" in err, "call %d: no reason: %r" % (n, err))
            p.kill()
            p.communicate()
            shim.clear()
            w.start()
            try:
                sender.audit()
            except Failed as e:
                raise Failed("call %d of %d: %s" % (n, count, e))
            w.kill()


@test("EIO on reading a segment: the reader hears of it, nobody spins, others are served, and it reads again later", own=True,
      timeout=60)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        cold, hot = w.topic(), w.topic()
        for i in range(60):
            w.push(cold, body_of(i, 60000))
        w.restart()
        w.push(hot, b"1")
        shim.rule("pread", error=errno.EIO, path=".log")
        r = w.get("/v1/topics/%s/records?limit=5" % cold)
        check(r.status != 200 or not r.json()["records"] or r.json().get("gaps"), "records came out of a disk that fails: %r" % r)
        check(r.status >= 500 or r.json().get("gaps"), "nothing is said: %r" % r)
        eq(w.values(hot), [1], "another topic")
        at = w.ticks()
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % cold):
            time.sleep(1)
        check(w.ticks() - at < 50, "it spins: %d ticks" % (w.ticks() - at))
        shim.clear()
        eq([v["n"] for v in w.values(cold)], list(range(60)), "after the disk works again")


@test("short reads and writes of files and sockets, and calls that are interrupted, change nothing but the speed", own=True,
      timeout=120)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        sender = Sender(w, w.topic(), 3000)
        shim.rule(["recv", "send"], SHORT, amount=7, slot=0)
        shim.rule(["pwrite"], SHORT, amount=1000, slot=1, every=2, thread="weir-")
        shim.rule(["pread"], SHORT, amount=100, slot=2, every=2)
        shim.rule(["fdatasync", "fsync", "recv", "pwrite"], FAIL, error=errno.EINTR, every=5, slot=3)
        sender.send(30)
        eq(len(sender.acked), 30)
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % sender.topic) as sse:
            eq([e.json()["value"]["n"] for e in sse.take(30)], list(range(30)))
        sender.audit()
        shim.page.rules[1].every = shim.page.rules[2].every = 3
        w.stop()
        w.start()
        sender.audit()
        for slot in range(4):
            check(shim.page.rules[slot].hits > 0, "rule %d was never hit" % slot)


@test("a slow disk: a sync that takes long holds up those who wait for it, not readers, and memory stays bounded", own=True,
      timeout=60)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        sender = Sender(w, w.topic(), 100)
        sender.send(5)
        shim.rule("fdatasync", DELAY, amount=1000, path="/journal/", thread="weir-commit")
        late = Later(sender.send)
        time.sleep(0.1)
        for _ in range(20):
            began = time.monotonic()
            eq(len(w.poll(sender.topic)["records"]), 5)
            check(time.monotonic() - began < 0.7, "a read waited for the disk")
        check(late.is_alive(), "answered before the sync")
        eq(late.get().status, 200)
        shim.clear()


@test("a limit on the size of files (RLIMIT_FSIZE) is an error that is said, not a signal", own=True, timeout=60)
def _():
    config = "log: { journal_bytes: 64MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB }\nhttp: { record_bytes_max: 256KiB }\n"
    with Weir(config) as w:
        sender = Sender(w, w.topic(), 60000)
        sender.send(5)
        fresh = Weir(SMALL, start=False)
        p = subprocess.run(["prlimit", "--fsize=300000"] + fresh.command(), capture_output=True, text=True, timeout=20)
        fresh.discard()
        eq(p.returncode, 1, "with files of 300 kB at most: %r" % p.stderr)
        check("File too large" in p.stderr, "the reason is not said: %r" % p.stderr)
        # While it runs: the journal's files are made already, segments grow.
        subprocess.run(["prlimit", "--pid", str(w.pid), "--fsize=1500000:"], check=True)
        for _ in range(60):
            r = sender.send()
            if r is None or r.status != 200:
                break
            time.sleep(0.03)
        check(r is not None and r.status in (503, 507), "after %d records: %r" % (sender.next, r))
        check(w.running(), "it died")
        subprocess.run(["prlimit", "--pid", str(w.pid), "--fsize=unlimited:"], check=True)
        until(lambda: (lambda x: x is not None and x.status == 200)(sender.send()), 10, "ingest to resume")
        w.restart(hard=True)
        sender.audit()


@test("the n-th allocation fails: that request is refused or served, weir lives or ends with a reason, and nothing acknowledged "
      "is lost", own=True, timeout=900)
def _():
    with Shim() as shim, Weir(SMALL, env=shim.env) as w:
        sender = Sender(w, w.topic(), 2000)
        sender.send(3)

        def round_of_requests():
            sender.send(2)
            for path in ("/v1/topics/%s/records?limit=2" % sender.topic, "/v1/topics", "/metrics"):
                try:
                    r = w.get(path, timeout=10)
                    check(r.status in (200, 500, 503), "%s: %r" % (path, r))
                except (OSError, http.client.HTTPException):
                    pass
            try:
                r = w.put("/v1/topics/t.fresh%d" % sender.next, b"{}", JSON)
            except (OSError, http.client.HTTPException):
                pass

        r = shim.rule("memory", when=1 << 40, thread="weir-")
        round_of_requests()
        count = r.count
        check(count > 10, "only %d allocations" % count)
        ended = 0
        for n in spread(count + 5, 25):
            r = shim.rule("memory", when=n, times=1)
            round_of_requests()
            shim.clear()
            if r.hits == 0 and not w.running():
                raise Failed("it ended at allocation %d though none failed" % n)
            try:
                w.proc.wait(0.05)
                check("level=error" in w.log() and w.proc.returncode == 1, "allocation %d: ended with %r\n%s" % (
                    n, w.proc.returncode, w.log()[-500:]))
                ended += 1
                w.start()
            except subprocess.TimeoutExpired:
                pass
            eq(w.get("/healthz").status, 200)
        sender.audit()
        w.restart()
        sender.audit()
        check(ended <= count // 4, "it ended at %d of %d" % (ended, count))
