# SPDX-License-Identifier: Apache-2.0
"""F1, F3, F32: the process ends at the n-th call of its write path, before it, after it or within it; then it starts again."""
import signal

from faults import (KILL_AFTER, KILL_BEFORE, TEAR, WHOLE, WRITING, COUNT, Sender, Shim, spread)
from harness import JSON, Failed, Weir, check, test

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
