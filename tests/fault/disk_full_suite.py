# SPDX-License-Identifier: Apache-2.0
"""F6: a disk that is full, by weir's own records or by another program's, and what goes on meanwhile."""
import json
import os
import signal
import subprocess
import time

from faults import Disk, Sender, body_of, stays
from harness import BIN, JSON, Sse, Weir, check, eq, expect, test, until

SMALL = "log: { journal_bytes: 16MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"


def push_until_refused(w, topic, size=60000, most=20000):
    """Fills by records until one is refused; gives the response and how many were taken."""
    body = body_of(1, size)
    with w.session() as s:
        for n in range(most):
            r = s.request("POST", "/v1/topics/%s/records" % topic, body, JSON)
            if r.status == 503:
                time.sleep(0.02)
                continue
            if r.status != 200:
                return r, n
    raise AssertionError("%d records of %d bytes and never refused" % (most, size))


def works(w, topic, body=b"1"):
    return w.post("/v1/topics/%s/records" % topic, body, {}).status == 200


def reads_work(w, topic, count):
    eq(w.count_records(topic), count)
    check(w.poll(topic, limit=10)["records"], "a poll gives nothing")
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % topic) as sse:
        e = sse.next()
        check(e is not None and e.data, "SSE gives nothing")


@test("a disk that records fill: 507 with Retry-After before it is full, all else works, ingest resumes by itself", own=True,
      timeout=120)
def _():
    with Disk(128) as disk, Weir(SMALL, data=disk.data) as w:
        keep, big = w.topic(), w.topic()
        w.push(keep, b"0")
        r, count = push_until_refused(w, big)
        expect(r, 507, "disk_full")
        # What is reserved for records on their way is given back first; then it is full for good.
        until(lambda: stays(lambda: not works(w, big, b"x" * 60000)) and w.get("/readyz").status == 503 and
              "event=disk_full" in w.log(), 60, "a disk that stays full, and a word on it")
        check(r.headers.get("Retry-After"), "no Retry-After")
        check(disk.free() > (4 << 20), "only %d bytes are free" % disk.free())
        check(count > 200, "refused after %d records though the disk is larger" % count)
        eq(w.get("/readyz").status, 503)
        eq(w.get("/readyz?for=read").status, 200)
        reads_work(w, big, w.count_records(big))
        # Trimming and deleting work, and give back the room that lets ingest go on.
        page = w.poll(big, limit=50)
        cursor, last = page["cursor"], page["records"][-1]["offset"]
        expect(w.post("/v1/topics/%s/trim" % big, json.dumps({"before": cursor}), JSON), 200)
        check(w.poll(big, cursor="earliest", limit=1)["records"][0]["offset"] > last, "not trimmed")
        check(w.delete("/v1/topics/" + big).status in (200, 204), "deleting")
        until(lambda: works(w, keep), 20, "ingest to resume by itself")
        eq(w.get("/readyz").status, 200)
        w.stop()
        w.start()
        check(w.count_records(keep) >= 2, "records are lost")


@test("a disk that another program fills to the last byte under load: 507, reads, deletes, a clean stop; a start on it too; "
      "ingest resumes by itself", own=True, timeout=120)
def _():
    with Disk(128) as disk, Weir(SMALL, data=disk.data) as w:
        t, victim = w.topic(), w.topic()
        for i in range(20):
            w.push(victim, body_of(i, 20000))
        sender = Sender(w, t, 3000)
        sender.send(50)
        disk.fill()
        until(lambda: (lambda r: r is not None and r.status == 507)(sender.send()), 20, "a 507")
        check(w.running(), "it died")
        reads_work(w, t, w.count_records(t))
        check(w.delete("/v1/topics/" + victim).status in (200, 204), "deleting on a full disk")
        eq(w.get("/v1/topics/" + victim).status, 404)
        w.signal(signal.SIGTERM)
        eq(w.wait(15), 0, "a clean stop on a full disk:\n" + w.log()[-1500:])
        w.start()
        sender.audit()
        eq(w.get("/v1/topics/" + victim).status, 404)
        r = sender.send()
        check(r is not None and r.status in (200, 507), "after a start on a full disk: %r" % r)
        disk.unfill()
        until(lambda: (lambda r: r is not None and r.status == 200)(sender.send()), 20, "ingest to resume by itself")
        sender.send(20)
        w.restart(hard=True)
        sender.audit()


@test("a disk that fills, then a kill: the start on the full disk serves what was acknowledged", own=True, timeout=120)
def _():
    with Disk(128) as disk, Weir(SMALL, data=disk.data) as w:
        sender = Sender(w, w.topic(), 3000)
        sender.send(100)
        disk.fill()
        sender.send(2)
        w.kill()
        w.start()
        sender.audit()
        for hard in (False, True, True, False):
            w.restart(hard)
            sender.audit()
        disk.unfill()
        until(lambda: (lambda r: r is not None and r.status == 200)(sender.send()), 20, "ingest to resume by itself")
        w.stop()
        w.start()
        sender.audit()


@test("a first start on a full disk says so, or serves and refuses records", own=True)
def _():
    with Disk(128) as disk, Weir(SMALL, data=disk.data, start=False) as w:
        disk.fill()
        p = subprocess.run(w.command(), capture_output=True, text=True, timeout=20)
        eq(p.returncode, 1, p.stderr)
        check("No space left" in p.stderr and disk.path in p.stderr, "what is wrong is not said: %r" % p.stderr)
        disk.unfill()
        w.start()
        w.push(w.topic(), b"1")


@test("a disk that fills during a storage checkpoint: the checkpoint fails and is said, nothing is lost, the next one works",
      own=True, timeout=120)
def _():
    config = "log: { journal_bytes: 8MiB, journal_file_bytes: 4MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"
    with Disk(128) as disk, Weir(config, data=disk.data) as w:
        sender = Sender(w, w.topic(), 40000)
        # Checkpoints come every 4 MiB of journal; the disk fills at a different distance from one each time.
        for leave in (3 << 20, 1 << 20, 200 << 10, 0):
            sender.send(60)
            disk.fill(leave)
            for _ in range(5):
                sender.send(20)
            check(w.running(), "it died with %d bytes left" % leave)
            disk.unfill()
            until(lambda: (lambda r: r is not None and r.status == 200)(sender.send()), 20, "ingest to resume by itself")
        w.restart(hard=True)
        sender.audit()


@test("a disk that fills while segments are compacted: nothing is lost, what was begun leaves no file, and it is compacted when there is room",
      own=True, timeout=120)
def _():
    eager = {"cleanup": "compact", "compaction": {"dirty_percent": 1, "max_lag": "1s"}}
    config = "log: { journal_bytes: 16MiB, segment_bytes: 4MiB, tail_bytes: 1MiB, rewrite_rate: 4MiB }\n"
    with Disk(160) as disk, Weir(config, data=disk.data) as w:
        keep = w.topic()
        w.push(keep, b"0")
        w.put("/v1/topics/c", json.dumps(eager), JSON)
        # Half of each segment stays, so that a new one is as long in the making as the slow rate makes it.
        for n in range(36):
            w.batch("c", [{"key": "k%d" % (n * 8 + i if i % 2 else 0), "value": {"n": n, "pad": "x" * 40000}} for i in range(16)])
        count = w.count_records("c")
        until(lambda: segments(disk, written_again=True), 30, "a segment in the making")
        disk.fill()
        until(lambda: stays(lambda: not works(w, keep, b"x" * 60000)), 60, "a disk that stays full")
        time.sleep(1)
        check(w.running(), "it died")
        reads_work(w, "c", w.count_records("c"))
        check(len(w.all("c")) <= count, "records from nowhere")
        w.restart(hard=True)
        before = last_of_each(w)
        disk.unfill()
        until(lambda: works(w, keep), 20, "ingest to resume by itself")
        end = w.get("/v1/topics/c").json()["offsets"][0]["end"]
        until(lambda: w.get("/v1/topics/c").json()["offsets"][0]["compacted_to"] == end, 60, "compaction to go on by itself")
        eq((len(w.all("c")), last_of_each(w)), (before, before), "records and keys")
        w.stop()
        named = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
        eq(named.returncode, 0, named.stdout + named.stderr)
        w.start()
        w.stop()
        eq(last_files(disk), [], "files of no segment")


def last_of_each(w):
    return len({r["key"] for r in w.all("c")})


def segments(disk, written_again=False):
    return [os.path.join(d, n) for d, _, names in os.walk(disk.data + "/topics") for n in names
            if n.endswith(".log") and (not written_again or n.count(".") == 2)]


def last_files(disk):
    """Segments of which another revision is there too: all but one of them should be gone."""
    seen, twice = set(), []
    for path in segments(disk):
        base = path[:path.rindex("/") + 21]
        if base in seen:
            twice.append(path)
        seen.add(base)
    return twice
