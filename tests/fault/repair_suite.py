# SPDX-License-Identifier: Apache-2.0
"""F4, F5: `weir verify` names what is damaged, and `weir verify --repair` makes a directory that starts and tells what it lacks,
keeps what it replaces, and may be killed at any call."""
import glob
import hashlib
import json
import os
import struct
import subprocess

from damage import OTHER, TOPIC, Golden, blank, cut, flip, positions, push, read_all, size_of, used_bytes
from faults import KILL_AFTER, KILL_BEFORE, TEAR, WHOLE, WRITING, COUNT, Shim, body_of, spread
from harness import BIN, JSON, Failed, check, eq, expect, test

LONG = 3600 if WHOLE else 150


def verify(data, *more, env=None):
    p = subprocess.run([BIN, "verify", data, *more], capture_output=True, text=True, timeout=120,
                       env=dict(os.environ, **(env or {})))
    return p.returncode, p.stdout + p.stderr


def snapshot(data):
    """Every file with its bytes."""
    out = {}
    for d, _, files in os.walk(data):
        for f in files:
            if f == "LOCK":
                continue  # the pid of who held it last
            path = os.path.join(d, f)
            with open(path, "rb") as h:
                out[os.path.relpath(path, data)] = hashlib.sha256(h.read()).hexdigest()
    return out


def kept(data, before):
    """No byte is gone: each file that was there is there as it was, or in the quarantine."""
    now = set()
    for d, _, files in os.walk(data):
        for f in files:
            with open(os.path.join(d, f), "rb") as h:
                now.add(hashlib.sha256(h.read()).hexdigest())
    lost = [name for name, sum_ in before.items() if sum_ not in now]
    check(not lost, "a repair lost what was in %r" % lost)


def audit(golden, may_be_gone=False):
    """It starts; what is served is right, what is missing is told as a gap; keys of what is there are remembered."""
    w = golden.w
    w.start(timeout=20)
    for topic, end in golden.ends.items():
        records, gaps = read_all(w, topic)
        if records is None:
            check(may_be_gone, "%s is gone" % topic)
            continue
        missing = set(range(end)) - {r["offset"] for r in records}
        for r in records:
            eq(r["value"], json.loads(body_of(r["offset"], size_of(topic, r["offset"]))), "offset %d" % r["offset"])
        told = set()
        for g in gaps:
            told |= set(range(g["from"], g["to"]))
        eq(sorted(missing), sorted(told & set(range(end))), "what is missing, and what is told as a gap, of " + topic)
        for r in records[::7]:
            n = r["offset"]
            got = expect(w.post("/v1/topics/%s/records" % topic, body_of(n, size_of(topic, n)),
                                dict(JSON, **{"Idempotency-Key": "k%d" % n})), 200).json()
            eq((got["duplicates"], got["offsets"][0]["first"]), (1, n), "the key of offset %d of %s" % (n, topic))
    push(w, OTHER, golden.ends[OTHER] + 1000)
    w.stop()
    code, said = verify(w.data)
    eq(code, 0, "verified after having run: " + said)


def try_repair(golden, path, what, damage, **how):
    """One damage: found, a dry run changes nothing, a repair mends it and keeps every byte."""
    w = golden.w
    golden.fresh()
    try:
        damage(os.path.join(w.data, path))
        before = snapshot(w.data)
        code, said = verify(w.data)
        told = code == 1 or "note:" in said
        if code == 1:
            check("; offset" in said or os.path.basename(path) in said or "journal" in said or "seen" in said, said)
        dry, would = verify(w.data, "--repair", "--dry-run")
        eq(dry, code, "the dry run: " + would)
        eq(snapshot(w.data), before, "what a check or a dry run changed")
        code, said = verify(w.data, "--repair")
        eq(code, 0, said)
        kept(w.data, before)
        mended = glob.glob(w.data + "/quarantine/*/MANIFEST")
        if mended:
            with open(mended[0]) as f:
                check(len(f.read().splitlines()) > 1, "the manifest names nothing")
        code, said = verify(w.data, "--repair")
        check(code == 0 and "nothing to mend" in said, "a second repair: " + said)
        audit(golden, **how)
        return told
    except Failed as e:
        raise Failed("%s, %s: %s" % (path, what, e))
    finally:
        if w.running():
            w.kill()


def sweep(files, count, kinds=("flip", "cut", "blank", "gone"), **how):
    golden = Golden()
    told = 0
    try:
        for path in files(golden):
            full = os.path.join(golden.kept, path)
            size, used = os.path.getsize(full), used_bytes(full)
            some = positions(size, used, count, path)
            todo = [("bit %d of byte %d" % (at % 8, at), flip(at, at % 8)) for at in (some if WHOLE else some[:count])]
            if "cut" in kinds:
                todo += [("cut at %d" % at, cut(at)) for at in ((0, used // 2, used - 1) if WHOLE else (used // 2,))]
            if "blank" in kinds:
                todo += [("a block of zeros", blank(used // 2 & ~4095))]
            if "gone" in kinds:
                todo += [("removed", os.unlink)]
            for what, damage in todo:
                told += bool(try_repair(golden, path, what, damage, **how))
        check(told, "nothing of it was told")
    finally:
        golden.w.discard()


@test("sealed segments: repaired, the rest served, the damage told as a gap", own=True, timeout=LONG)
def _():
    sweep(lambda g: g.segments()[:1], 4)


@test("the segment that is appended to: a start that refused serves after the repair", own=True, timeout=LONG)
def _():
    sweep(lambda g: g.segments()[-1:], 4)


@test("indexes are made anew", own=True, timeout=LONG)
def _():
    sweep(lambda g: g.files("topics/*/*/*index")[:2], 3)


def used_journal(g):
    """The files with groups of their own generation: what others hold is of a former life."""
    live = []
    for f in g.files("journal/*.wal"):
        with open(os.path.join(g.kept, f), "rb") as h:
            head = h.read(64)
        if head[:8] == b"WEIRGRP1" and struct.unpack(">Q", head[16:24])[0] == int(os.path.basename(f)[:16], 16):
            live.append(f)
    return live[-1:]


@test("groups of the journal: what segments have of them comes back, the rest is a told gap, and it starts", own=True, timeout=LONG)
def _():
    sweep(used_journal, 4)


@test("groups of the journal that nothing else has: told by offset, and it starts", own=True, timeout=LONG)
def _():
    golden = Golden()
    w = golden.w
    try:
        # The mover's work behind the checkpoint goes first: only the journal has the last records then.
        path = used_journal(golden)[-1]
        active = golden.segments()[-1]

        def hurt(full):
            flip(40960 + 200, 3)(full)
            os.truncate(os.path.join(w.data, active), bytes_of_checkpoint(w.data, golden))
        told = try_repair(golden, path, "and the segments behind the checkpoint cut", hurt)
        check(told, "not told")
    finally:
        golden.w.discard()


def bytes_of_checkpoint(data, golden):
    """Where the segment that is appended to ends for the checkpoint: what a start cuts it to, at the least a batch."""
    with open(os.path.join(data, "CHECKPOINT.a"), "rb") as f:
        checkpoint = f.read()
    base = int(os.path.basename(golden.segments()[-1])[:20])
    at = checkpoint.rindex(struct.pack(">q", base))
    return struct.unpack(">Q", checkpoint[at + 8:at + 16])[0]


@test("a copy of the checkpoint is written again", own=True, timeout=LONG)
def _():
    sweep(lambda g: ["CHECKPOINT.a", "CHECKPOINT.b"], 3)


@test("both copies of the checkpoint broken, in different places: one is made of both", own=True, timeout=LONG)
def _():
    golden = Golden()
    try:
        size = os.path.getsize(os.path.join(golden.kept, "CHECKPOINT.a"))

        def other(damage):
            return lambda full: (flip(60, 3)(full), damage(full[:-1] + "b"))
        for what, damage in (("a bit each", flip(size - 30, 5)), ("a bit and an end cut off", cut(size - 40)),
                             ("the checksum and a bit", flip(9, 2))):
            check(try_repair(golden, "CHECKPOINT.a", what, other(damage)), what + ": not told")
    finally:
        golden.w.discard()


@test("runs of keys and their secret are made anew from whole pages and from records: what is there is still a duplicate",
      own=True, timeout=LONG)
def _():
    # That a run was removed nobody can tell: nothing names them.
    sweep(lambda g: [f for f in g.files("seen/**") if f.endswith(".run")], 4, ("flip", "cut", "blank"))


@test("without the secret all keys behind the checkpoint are made anew", own=True, timeout=LONG)
def _():
    golden = Golden()
    w = golden.w
    try:
        for damage in (flip(20, 1), os.unlink):
            golden.fresh()
            damage(os.path.join(w.data, "seen/secret"))
            code, said = verify(w.data, "--repair")
            eq(code, 0, said)
            w.start()
            for n in range(0, 90, 5):
                got = expect(w.post("/v1/topics/%s/records" % TOPIC, body_of(n, size_of(TOPIC, n)),
                                    dict(JSON, **{"Idempotency-Key": "k%d" % n})), 200).json()
                eq(got["duplicates"], 1, "k%d" % n)
            w.stop()
    finally:
        golden.w.discard()


@test("state: what is lost is named, the segments of topics it lost are kept, and it starts", own=True, timeout=LONG)
def _():
    golden = Golden()
    w = golden.w
    try:
        own = [f for f in golden.files("topics/00000000-*/0/*.log")]
        check(own, "no internal partition")
        used = used_bytes(os.path.join(golden.kept, own[0]))
        for at in positions(used, used, 3, "state"):
            golden.fresh()
            flip(at, 2)(os.path.join(w.data, own[0]))
            before = snapshot(w.data)
            code, said = verify(w.data)
            eq(code, 1, said)
            check("00000000-0000" in said and "lost" in said, said)
            code, said = verify(w.data, "--repair")
            eq(code, 0, said)
            kept(w.data, before)
            w.start()
            w.stop()
            kept(w.data, {f: s for f, s in before.items() if f.endswith(".log") and "00000000-0000" not in f})
    finally:
        if w.running():
            w.kill()
        golden.w.discard()


def kill_sweep(action, most, amount=0):
    golden = Golden()
    w = golden.w
    journal, sealed = used_journal(golden)[-1], golden.segments()[0]

    def hurt():
        golden.fresh()
        flip(5000, 3)(os.path.join(w.data, sealed))
        flip(9000, 3)(os.path.join(w.data, journal))
        flip(60, 3)(os.path.join(w.data, "CHECKPOINT.b"))
        for run in golden.files("seen/*/*.run")[:1]:
            flip(4200, 3)(os.path.join(w.data, run))

    def one(n, action):
        with Shim() as shim:
            hurt()
            before = snapshot(w.data)
            r = shim.rule(WRITING if action != TEAR else ["pwrite"], action, when=n, times=1, amount=amount)
            p = subprocess.run([BIN, "verify", "--repair", w.data], capture_output=True, timeout=60,
                               env=dict(os.environ, **shim.env))
            hits, count = r.hits, r.count
            shim.clear()
            if hits and action != COUNT:
                check(p.returncode < 0, "it was not killed: %r" % p.returncode)
            code, said = verify(w.data, "--repair")
            eq(code, 0, "the repair after a kill at call %d: %s" % (n, said))
            kept(w.data, before)
            audit(golden)
            return count
    try:
        count = one(1, COUNT)
        check(count > 20, "%d calls" % count)
        for n in spread(count, most):
            try:
                one(n, action)
            except Failed as e:
                raise Failed("at call %d of %d: %s" % (n, count, e)) from e
            finally:
                if w.running():
                    w.kill()
    finally:
        golden.w.discard()


@test("a repair killed before its n-th call, for every n, is run again and comes to its end", own=True, timeout=LONG)
def _():
    kill_sweep(KILL_BEFORE, 8)


@test("a repair killed after its n-th call, for every n, is run again and comes to its end", own=True, timeout=LONG)
def _():
    kill_sweep(KILL_AFTER, 5)


@test("a repair killed within its n-th write is run again and comes to its end", own=True, timeout=LONG)
def _():
    kill_sweep(TEAR, 4, amount=100)
