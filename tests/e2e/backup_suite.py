# SPDX-License-Identifier: Apache-2.0
"""`weir backup` of a running weir and of a directory at rest, `weir restore`, and what they refuse."""
import glob
import json
import os
import shutil
import threading

from harness import JSON, Failed, Weir, check, eq, expect, test, until, weir

CONFIG = "log: { journal_bytes: 4MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"


def backup(w, name, *more):
    """Of a running weir, beside its data directory."""
    to = w.data + "." + name
    code, out, err = weir("backup", to, "--server", w.url, *more)
    return to, code, out, err


def good_backup(w, name="backup"):
    to, code, out, err = backup(w, name)
    eq(code, 0, out + err)
    code, out, err = weir("verify", to)
    eq(code, 0, out + err)
    check("note:" not in out and "fault:" not in out, out)
    return to


def restore(w, backed_up):
    """In place of the data directory of a weir that was stopped."""
    shutil.rmtree(w.data)
    code, out, err = weir("restore", backed_up, w.data)
    eq(code, 0, out + err)


def links(path):
    return [f for f in glob.glob(path + "/topics/*/*/*.log") if os.stat(f).st_nlink > 1]


class Load(threading.Thread):
    """Producers on two topics: a batch that goes to both is one commit, so both have it or neither."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.stop, self.n, self.failed = w, False, 0, None

    def run(self):
        try:
            with self.w.session() as s:
                while not self.stop:
                    n = self.n
                    r = s.request("POST", "/v1/topics/load/records",
                                  json.dumps({"records": [{"value": {"n": n, "pad": "x" * 2000}, "partition": p}
                                                          for p in range(4)]}),
                                  {"Content-Type": "application/vnd.weir.batch+json", "Idempotency-Key": "k%d" % n})
                    expect(r, 200)
                    self.n = n + 1
        except Exception as e:  # told by the test
            self.failed = e

    def end(self):
        self.stop = True
        self.join(20)
        if self.failed:
            raise Failed("the load: %r" % self.failed)


def numbers(w, partition):
    got, offset = [], 0
    while True:
        page = w.partition("load", partition, offset=offset, limit=10000)
        got += [r["value"]["n"] for r in page["records"]]
        offset = page["next_offset"]
        if offset == page["high_watermark"]:
            return got


@test("a backup under load is consistent: verified, restored, every commit whole, what was acknowledged before it there",
      own=True, timeout=120)
def _():
    with Weir(CONFIG) as w:
        w.put("/v1/topics/load", b'{"partitions": 4}', JSON)
        load = Load(w)
        load.start()
        until(lambda: load.n > 300, 30, "some load")
        taken = []
        for i in range(3):
            before = load.n
            taken.append((good_backup(w, "b%d" % i), before, load.n))
            until(lambda: load.n > before + 100, 30, "more load")
        check(links(taken[-1][0]), "nothing was linked")
        load.end()
        w.stop()
        for to, before, after in taken:
            restore(w, to)
            w.start()
            values = [numbers(w, p) for p in range(4)]
            eq(values[0], list(range(len(values[0]))), "records of partition 0")
            for p in range(1, 4):
                eq(values[p], values[0], "partition %d against 0: a commit that is not whole" % p)
            check(before <= len(values[0]) <= after + 1, "%d commits in a backup taken between %d and %d" % (
                len(values[0]), before, after))
            # A key of the backup is remembered, one of later is free.
            body = json.dumps({"records": [{"value": {"n": 7, "pad": "x" * 2000}, "partition": p} for p in range(4)]})
            kind = {"Content-Type": "application/vnd.weir.batch+json"}
            r = w.post("/v1/topics/load/records", body, dict(kind, **{"Idempotency-Key": "k7"}))
            eq(expect(r, 200).json()["duplicates"], 4)
            r = w.post("/v1/topics/load/records", body.replace('"n": 7', '"n": 999999'),
                       dict(kind, **{"Idempotency-Key": "k%d" % (after + 5)}))
            eq(expect(r, 200).json()["accepted"], 4)
            w.stop()


@test("cursors handed out before a backup go on working after it was restored, and stand where they stood", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic(partitions=3)
        w.ndjson(t, list(range(200)))
        first = w.poll(t, limit=77)
        to = good_backup(w)
        w.ndjson(t, ["later"])
        ahead = w.poll(t, cursor="latest")["cursor"]
        w.stop()
        restore(w, to)
        w.start()
        rest, cursor = [], first["cursor"]
        while True:
            doc = w.poll(t, cursor=cursor, limit=50)
            rest += doc["records"]
            cursor = doc["cursor"]
            if doc["caught_up"]:
                break
        eq(sorted(r["value"] for r in first["records"] + rest), list(range(200)))
        expect(w.get("/v1/topics/%s/records?cursor=%s" % (t, ahead)), 409, "cursor_ahead")


@test("a directory at rest is backed up with --data; after a kill what the journal has is in it", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic()
        for i in range(50):
            w.push(t, b"%d" % i)
        code, out, err = weir("backup", "--data", w.data, w.data + ".x")
        eq(code, 1)
        check("in use by process" in err and "leave out --data" in err, err)
        w.kill()
        to = w.data + ".rest"
        code, out, err = weir("backup", "--data", w.data, to)
        eq(code, 0, out + err)
        code, out, err = weir("verify", to)
        eq(code, 0, out + err)
        restore(w, to)
        w.start()
        eq(w.values(t), list(range(50)))


@test("retention and deletion during a backup take nothing out of it", own=True, timeout=90)
def _():
    with Weir(CONFIG) as w:
        expect(w.put("/v1/topics/old", b'{"partitions": 1}', JSON), 201)
        for n in range(40):
            w.push("old", json.dumps({"n": n, "pad": "x" * 100000}))
        to = w.data + ".b"
        expect(w.post("/v1/backup", json.dumps({"dir": to}), JSON), 202)
        w.post("/v1/topics/old/trim", b'{"before":"latest"}', JSON)
        w.delete("/v1/topics/old")
        until(lambda: w.get("/v1/backup").json()["state"] != "running", 30, "the backup")
        eq(w.get("/v1/backup").json()["state"], "done", w.get("/v1/backup").text)
        code, out, err = weir("verify", to)
        eq(code, 0, out + err)
        # What was held meanwhile goes afterwards.
        until(lambda: not [f for f in glob.glob(w.data + "/topics/*/*/*.log") if os.path.getsize(f) > 200000], 20,
              "the files of the deleted topic to go")
        code, out, err = weir("verify", to)
        eq(code, 0, out + err)


@test("what a backup refuses is said exactly: a directory that is not empty, a relative one, one within the data", own=True)
def _():
    with Weir() as w:
        w.push(w.topic(), b"1")
        full = w.data + ".full"
        os.mkdir(full)
        open(full + "/something", "w").close()
        to, code, out, err = backup(w, "full")
        eq(code, 1)
        check("not_empty" in err and "something" in err, err)
        eq(os.listdir(full), ["something"], "what was there before")
        expect(w.post("/v1/backup", b'{"dir":"relative"}', JSON), 400, "invalid_parameter")
        expect(w.post("/v1/backup", json.dumps({"dir": w.data + "/inner"}), JSON), 400, "invalid_parameter")
        expect(w.post("/v1/backup", b'{"folder":"/x"}', JSON), 400, "invalid_parameter")
        expect(w.post("/v1/backup", b'{}', JSON), 400, "invalid_parameter")
        expect(w.post("/v1/backup", b'nonsense', JSON), 400, "invalid_json")
        code, out, err = weir("backup", w.data + "/no/such/above", "--server", w.url)
        eq(code, 1)


@test("a restore refuses what is not empty, what is no backup, and a file that is not what the manifest says", own=True,
      timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic()
        for n in range(30):
            w.push(t, json.dumps({"n": n, "pad": "x" * 100000}))
        to = good_backup(w)
        code, out, err = weir("restore", to, w.data)
        eq(code, 1)
        check("is not empty" in err and "new or empty" in err, err)
        w.stop()
        code, out, err = weir("restore", w.data, w.data + ".r0")
        eq(code, 1)
        check("BACKUP is missing" in err, err)
        check(not os.path.exists(w.data + ".r0"), "a directory was made for nothing")
        for i, (name, damage) in enumerate((
                ("BACKUP", lambda f: f.replace(b"file ", b"fill ", 1)), ("BACKUP", lambda f: f[:-5]),
                ("CHECKPOINT.a", lambda f: f[:50] + b"?" + f[51:]), ("FORMAT", lambda f: f + b"x"))):
            bad = to + ".bad%d" % i
            shutil.copytree(to, bad)
            with open(os.path.join(bad, name), "r+b") as f:
                kept = f.read()
                f.seek(0)
                f.truncate()
                f.write(damage(kept))
            code, out, err = weir("restore", bad, w.data + ".r%d" % (i + 1))
            eq(code, 1, name)
            check(name in err and ("checksum" in err or "bytes" in err), err)
        segment = max(glob.glob(to + "/topics/*/*/*.log"), key=os.path.getsize)
        bad = to + ".bad"
        shutil.copytree(to, bad)
        with open(bad + segment[len(to):], "r+b") as f:
            f.seek(500)
            f.write(b"???")
        code, out, err = weir("restore", bad, w.data + ".r9")
        eq(code, 1)
        check(os.path.basename(segment) in err and "checksum" in err, err)
        # Broken off it leaves nothing that a start would take for data.
        w.data = w.data + ".r9"
        try:
            w.start(timeout=10)
            raise Failed("half a restore was started")
        except Failed as e:
            check("half a restore" not in str(e), str(e))


@test("a backup that weir is stopped in ends as failed and is no backup; another can be taken", own=True, timeout=60)
def _():
    with Weir(CONFIG) as w:
        t = w.topic()
        for n in range(60):
            w.push(t, json.dumps({"n": n, "pad": "x" * 100000}))
        expect(w.post("/v1/backup", json.dumps({"dir": w.data + ".one"}), JSON), 202)
        w.stop()
        w.start()
        eq(w.get("/v1/backup").json(), {"state": "none"})
        good_backup(w, "two")
        eq(len(w.values(t)), 60)
