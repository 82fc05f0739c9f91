# SPDX-License-Identifier: Apache-2.0
"""F1, F3, F32: the process ends at the n-th call of its write path, before it, after it or within it; then it starts again."""
import json
import signal
import subprocess

from faults import (KILL_AFTER, KILL_BEFORE, TEAR, WHOLE, WRITING, COUNT, Sender, Shim, spread)
from harness import BIN, JSON, Failed, Weir, check, test, until

CONFIG = "log: { journal_bytes: 4MiB, group_bytes: 1MiB, journal_file_bytes: 1MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"


def workload(w, sender):
    """Start, records, a topic made and deleted, a trim, a storage checkpoint, a stop: each kind of call comes up."""
    try:
        w.start()
        other = sender.topic + ".other"
        w.put("/v1/topics/" + other, b'{"partitions": 2}', JSON)
        for i in range(3):
            w.post("/v1/topics/%s/records" % other, b"%d" % i, JSON)
        for _ in range(12):
            if sender.send(3) is None:
                return
        w.delete("/v1/topics/" + other)
        if sender.send(2) is None:
            return
        w.signal(signal.SIGTERM)
        w.wait(20)
        # A second run: it recycles, cuts and removes what the first one left.
        w.start()
        sender.send(2)
        w.signal(signal.SIGTERM)
        w.wait(20)
    except (OSError, Failed):
        return


def one_run(rule):
    """Runs the workload under a rule; then a start without it, and the comparison. Gives the rule's count."""
    with Shim() as shim, Weir(CONFIG, env=shim.env, start=False) as w:
        r = shim.rule(**rule)
        sender = Sender(w, "t.kill", 60000)
        workload(w, sender)
        count, hits = r.count, r.hits
        if hits:
            w.wait(10)
        w.kill()
        shim.clear()
        w.start()
        sender.audit()
        check(w.get("/v1/topics/t.kill.other").status in (200, 404), "a topic that is half there")
        sender.send(2)
        sender.audit()
        w.restart(hard=True)
        sender.audit()
        w.stop()
        w.start()
        sender.audit()
        return count, hits


def sweep(ops, action, most, amount=0, path=""):
    count, _ = one_run({"ops": ops, "action": COUNT, "path": path})
    check(count > 0, "the workload never does %r" % ops)
    tried = 0
    for n in spread(count, most):
        try:
            _, hits = one_run({"ops": ops, "action": action, "when": n, "times": 1, "amount": amount, "path": path})
        except Failed as e:
            raise Failed("at call %d of %d: %s" % (n, count, e)) from e
        tried += hits
    check(tried, "no run was hit")


@test("killed before the n-th call of the write path, for every n: what was acknowledged is there, whole and once", own=True,
      timeout=3600 if WHOLE else 90)
def _():
    sweep(WRITING, KILL_BEFORE, 10)


@test("killed after the n-th call of the write path, for every n: what was acknowledged is there, whole and once", own=True,
      timeout=3600 if WHOLE else 90)
def _():
    sweep(WRITING, KILL_AFTER, 6)


def one_kind(op, most):
    @test("killed at the n-th %s, for every n: what was acknowledged is there, whole and once" % op, own=True,
          timeout=1800 if WHOLE else 60)
    def _():
        sweep([op], KILL_BEFORE, most)


if WHOLE:  # in the short form they are among the calls of the first test
    for op in ("pwrite", "fdatasync", "fsync", "rename", "truncate", "unlink", "allocate", "mkdir"):
        one_kind(op, 3)


def torn(where, path, amounts, most):
    @test("killed within the n-th write to %s, after so many bytes: what was acknowledged is there, whole and once" % where,
          own=True, timeout=3600 if WHOLE else 60)
    def _():
        for amount in amounts if WHOLE else amounts[1:2]:
            sweep(["pwrite"], TEAR, most, amount, path)


torn("the journal", "/journal/", (1, 4096, 40000), 4)
torn("a segment", ".log", (1, 100, 30000), 3)
torn("a checkpoint", "/CHECKPOINT", (1, 39, 100), 3)
torn("the keys", "/seen/", (1, 60, 4096), 3)


# ---- compaction ----

KEYS = 40
EAGER = {"cleanup": "compact", "recompress_after": "1s",
         "compaction": {"dirty_percent": 1, "max_lag": "1s", "tombstone_retention": "1s"}}


class Keyed:
    """Records over a few keys: what was answered is the least that a key may say, what was sent last the most."""

    def __init__(self, w):
        self.w, self.n, self.acked, self.sent = w, 0, {}, {}

    def send(self, count):
        """False where the connection was lost."""
        for _ in range(count):
            batch = {}
            for _ in range(20):
                key = "k%d" % (self.n * 7 % KEYS)
                batch[key] = self.n
                self.n += 1
            records = [{"key": k, "value": {"n": n, "pad": "x" * 9000}} if n % 5 else {"key": k, "tombstone": True,
                       "headers": {"n": str(n)}} for k, n in batch.items()]
            self.sent.update(batch)
            try:
                r = self.w.post("/v1/topics/t.keys/records", json.dumps({"records": records}),
                                {"Content-Type": "application/vnd.weir.batch+json"})
            except Exception as e:  # pylint: disable=broad-except
                if isinstance(e, Failed):
                    raise
                return False
            if r.status == 200:
                self.acked.update(batch)
        return True

    def audit(self):
        """Offsets rise; of each key the last is at least what was answered; a key that is not there was deleted last."""
        if not self.acked and self.w.get("/v1/topics/t.keys").status == 404:
            return
        last, at = {}, -1
        for r in self.w.all("t.keys"):
            check(r["offset"] > at, "offset %d after %d" % (r["offset"], at))
            at = r["offset"]
            n = int(r["headers"]["n"]) if r.get("tombstone") else r["value"]["n"]
            check(n > last.get(r["key"], -1), "%s: %d after %d" % (r["key"], n, last.get(r["key"], -1)))
            last[r["key"]] = n
        for key, n in self.acked.items():
            if key in last:
                check(n <= last[key] <= self.sent[key], "%s says %d, and %d was acknowledged" % (key, last[key], n))
            else:
                check(any(m % 5 == 0 for m in range(n, self.sent[key] + 1) if m * 7 % KEYS == int(key[1:])),
                      "%s is gone, and %d was acknowledged" % (key, n))


def compacting(w, keyed):
    """Several segments, passes over them, tombstones that go, segments that are recompressed, and again after a stop."""
    try:
        w.start()
        w.put("/v1/topics/t.keys", json.dumps(EAGER), JSON)
        for _ in range(2):
            if not keyed.send(14):
                return
            passes = w.metrics()["weir_log_compactions_total"]
            until(lambda: w.metrics()["weir_log_compactions_total"] > passes and
                  w.metrics()["weir_log_dirty_bytes"] == 0, 6, "a pass")
        w.signal(signal.SIGTERM)
        w.wait(20)
        w.start()
        keyed.send(1)
        until(lambda: w.metrics()["weir_log_compactions_total"] > 0, 6, "a pass")
        w.signal(signal.SIGTERM)
        w.wait(20)
    except (OSError, Failed):
        return


def one_compaction(rule):
    with Shim() as shim, Weir(CONFIG, env=shim.env, start=False) as w:
        r = shim.rule(thread="weir-maintain", **rule)
        keyed = Keyed(w)
        compacting(w, keyed)
        count, hits = r.count, r.hits
        if hits:
            w.wait(10)
        w.kill()
        shim.clear()
        for hard in (True, False):
            w.start()
            keyed.audit()
            keyed.send(2)
            keyed.audit()
            if hard:
                w.kill()
            else:
                w.stop()
        verify = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
        check(verify.returncode == 0, verify.stdout + verify.stderr)
        w.start()
        keyed.audit()
        return count, hits


def sweep_compaction(action, most, **more):
    count, _ = one_compaction({"ops": WRITING, "action": COUNT, "path": more.get("path", "")})
    check(count > 10, "the workload compacts nothing: %d calls" % count)
    tried = 0
    for n in spread(count, most):
        try:
            _, hits = one_compaction(dict({"ops": WRITING, "action": action, "when": n, "times": 1}, **more))
        except Failed as e:
            raise Failed("at call %d of %d: %s" % (n, count, e)) from e
        tried += hits
    check(tried, "no run was hit")


@test("killed before the n-th call of compaction and of the checkpoint behind it, for every n: each key has its last record, verify finds nothing",
      own=True, timeout=3600 if WHOLE else 120)
def _():
    sweep_compaction(KILL_BEFORE, 6)


@test("killed after the n-th call of compaction and of the checkpoint behind it, for every n: each key has its last record, verify finds nothing",
      own=True, timeout=3600 if WHOLE else 120)
def _():
    sweep_compaction(KILL_AFTER, 3)


@test("killed within the n-th write of a rewritten segment: each key has its last record, verify finds nothing", own=True,
      timeout=3600 if WHOLE else 120)
def _():
    sweep_compaction(TEAR, 2, path=".log", amount=500)
