# SPDX-License-Identifier: Apache-2.0
"""F3, F4, F5: bytes on disk that changed, were cut off or are gone. Weir starts and tells what is missing, or refuses and
names the file; it never serves other bytes than those that were acknowledged, and never loses one without a word."""
import glob
import os
import shutil

from faults import WHOLE
from damage import OTHER, TOPIC, Golden, blank, compare, cut, flip, named, overwrite, positions, push, used_bytes
from harness import JSON, Died, Failed, check, eq, expect, test


def start_anywhere(w):
    """On ports of its own: over thousands of starts somebody else comes to have the old ones."""
    w.port, w.kafka = 0, "127.0.0.1:0"
    w.start(timeout=20)


def try_damage(golden, path, what, damage, may_lack=None):
    """One damage: a start; refused with the file's name, or served truly. Gives which."""
    w = golden.w
    golden.fresh()
    damage(os.path.join(w.data, path))
    try:
        try:
            start_anywhere(w)
        except Died:
            eq(w.proc.returncode, 1, "exit status")
            check(named(w.log(), path), "refused without naming %s: %s" % (path, w.log()[-600:]))
            return "refused"
        compare(golden, w, may_lack or {})
        # It goes on: what is written now is there after a stop.
        at = golden.ends[OTHER]
        r = w.post("/v1/topics/%s/records" % OTHER, b'"more"', JSON)
        expect(r, 200)
        w.signal(15)
        code = w.wait(20)
        check(code in (0, 1), "exit status %r" % code)
        start_anywhere(w)
        got = w.partition(OTHER, 0, offset=max(0, r.json()["offsets"][0]["first"]))
        eq(got["records"][0]["value"], "more", "what was written after the start")
        check(at <= got["records"][0]["offset"] + 1, "an offset was used again")
        return "served"
    except Failed as e:
        raise Failed("%s, %s: %s" % (path, what, e))
    finally:
        if w.running():
            w.kill()


def sweep(files, count, kinds=("flip", "cut", "blank", "gone"), may_lack=None):
    """`may_lack`: what a torn tail may cost, where one is told."""
    golden = Golden()
    try:
        results = {}
        for path in files(golden):
            full = os.path.join(golden.kept, path)
            size, used = os.path.getsize(full), used_bytes(full)
            todo = [("bit %d of byte %d flipped" % (at % 8, at), flip(at, at % 8)) for at in positions(size, used, count, path)]
            if "cut" in kinds:
                some = positions(size, used, 3, path)
                todo += [("cut at byte %d" % at, cut(at)) for at in (some if WHOLE else some[::2])]
            if "blank" in kinds:
                todo += [("a block of zeros at %d" % at, blank(at)) for at in {0, used // 2 & ~4095}]
            if "gone" in kinds:
                todo += [("removed", os.unlink)]
            for what, damage in todo:
                got = try_damage(golden, path, what, damage, may_lack(golden) if may_lack else None)
                results[got] = results.get(got, 0) + 1
        check(sum(results.values()) > 3, "too few: %r" % results)
        return results
    finally:
        golden.w.discard()


LONG = 3600 if WHOLE else 120


@test("a damaged sealed segment: its whole records are served, the rest is told as a gap", own=True, timeout=LONG)
def _():
    got = sweep(lambda g: g.segments()[:1], 6)
    check(got.get("served"), "a rotten segment keeps weir from starting: %r" % got)


@test("a damaged index of a segment changes nothing that is read", own=True, timeout=LONG)
def _():
    got = sweep(lambda g: g.files("topics/*/*/*index")[:2], 4)
    eq(list(got), ["served"], "an index is only a hint")


@test("damage in the segment that is appended to: told, or refused with the file's name", own=True, timeout=LONG)
def _():
    sweep(lambda g: g.segments()[-1:], 6)


@test("a damaged journal: what lies before is served, and it refuses where a later group proves damage", own=True, timeout=LONG)
def _():
    # The last group alone can be torn: TOPIC ends before OTHER's last record.
    got = sweep(lambda g: [f for f in g.files("journal/*.wal") if used_bytes(os.path.join(g.kept, f)) > 1], 8,
                may_lack=lambda g: {OTHER: {1}})
    check(got.get("refused"), "no damage was refused: %r" % got)


@test("a damaged copy of the checkpoint is said, and the other one serves; both damaged are refused", own=True, timeout=LONG)
def _():
    golden = Golden()
    try:
        for name in ("CHECKPOINT.a", "CHECKPOINT.b"):
            used = os.path.getsize(os.path.join(golden.kept, name))
            for at in positions(used, used, 3, name):
                eq(try_damage(golden, name, "byte %d" % at, flip(at, 3)), "served")
                check("checkpoint_broken" in golden.w.log() and name in golden.w.log(), "nothing is said")
            for at in (0, 39, used - 1):
                eq(try_damage(golden, name, "cut at %d" % at, cut(at)), "served")
            eq(try_damage(golden, name, "removed", os.unlink), "served")

        def both(path):
            for name in ("CHECKPOINT.a", "CHECKPOINT.b"):
                flip(50, 1)(os.path.join(os.path.dirname(path), name))
        eq(try_damage(golden, "CHECKPOINT.a", "both", both), "refused")
        kept = len(golden.segments())
        found = glob.glob(os.path.join(golden.w.data, "topics/*/*/*.log"))
        check(len(found) >= kept, "segments were removed")

        def all_gone(path):
            for f in glob.glob(os.path.join(os.path.dirname(path), "CHECKPOINT.*")):
                os.unlink(f)
            for f in glob.glob(os.path.join(os.path.dirname(path), "journal", "*")):
                os.unlink(f)
        eq(try_damage(golden, "CHECKPOINT.a", "checkpoints and journal removed", all_gone), "refused")
        check(len(glob.glob(os.path.join(golden.w.data, "topics/*/*/*.log"))) >= kept, "segments were removed")
    finally:
        golden.w.discard()


@test("a checkpoint that rots after a clean stop does not take weir back in time", own=True, timeout=LONG)
def _():
    golden = Golden()
    try:
        w = golden.w
        os.rename(golden.kept, w.data)
        w.start()
        for n in range(100, 140):
            push(w, TOPIC, n)
        w.stop()
        w.start()
        w.stop()
        golden.ends[TOPIC] = 140
        os.rename(w.data, golden.kept)
        for name in ("CHECKPOINT.a", "CHECKPOINT.b"):
            eq(try_damage(golden, name, "rot", flip(100, 5)), "served")
    finally:
        golden.w.discard()


@test("damaged runs of idempotency keys: told, and nothing that is read changes", own=True, timeout=LONG)
def _():
    sweep(lambda g: g.files("seen/**")[:3], 4)


@test("damaged state (the internal partition): told, never another topic's records", own=True, timeout=LONG)
def _():
    def internal(g):
        own = {os.path.dirname(os.path.dirname(f)) for f in g.files("topics/*/*/*.log")}
        with_topic = os.path.dirname(os.path.dirname(g.segments()[0]))
        small = [d for d in own if d != with_topic]
        return [f for d in small for f in g.files(d + "/*/*.log")]
    sweep(internal, 5)


@test("a FORMAT that this weir does not read is refused and named, and nothing is changed", own=True)
def _():
    golden = Golden()
    try:
        for text in (b"weir 3\n", b"weir 1", b"weir 2\n", b"\0" * 7, b"something else"):
            def damage(path, text=text):
                with open(path, "wb") as f:
                    f.write(text)
            eq(try_damage(golden, "FORMAT", repr(text), damage), "refused")
            with open(os.path.join(golden.w.data, "FORMAT"), "rb") as f:
                eq(f.read(), text)
    finally:
        golden.w.discard()


@test("a journal file of another life (an older generation's bytes under a newer name) is not taken for new", own=True,
      timeout=60)
def _():
    golden = Golden()
    try:
        w = golden.w
        files = [f for f in golden.files("journal/*.wal")]
        newest = files[-1]
        number = int(os.path.basename(newest)[:16], 16)

        def copy_as(step):
            def damage(path):
                shutil.copy(path, os.path.join(os.path.dirname(path), "%016x.wal" % (number + step)))
            return damage
        eq(try_damage(golden, newest, "a copy under the next name", copy_as(1)), "served")
        eq(try_damage(golden, newest, "a copy under a later name", copy_as(7)), "served")

        def moved(path):
            os.rename(path, os.path.join(os.path.dirname(path), "%016x.wal" % (number + 1)))
        golden.fresh()
        moved(os.path.join(w.data, newest))
        try:
            w.start()
            compare(golden, w, {})
        except Died:
            check("journal" in w.log(), w.log()[-500:])
        w.kill()
    finally:
        golden.w.discard()


@test("a strange file in each folder is left alone or said, and changes nothing", own=True, timeout=60)
def _():
    golden = Golden()
    try:
        def strange(path):
            base = os.path.dirname(path)
            for folder in ("", "journal", "topics", "seen", os.path.dirname(golden.segments()[0])):
                for name in ("README", "0000.wal", "x.tmp", "99999999999999999999.log"):
                    with open(os.path.join(base, folder, name), "w") as f:
                        f.write("strange")
        eq(try_damage(golden, "FORMAT", "strange files", strange), "served")
    finally:
        golden.w.discard()


@test("the tail of the journal cut, zeroed or overwritten at every byte: the whole groups before it are there", own=True,
      timeout=LONG)
def _():
    golden = Golden()
    try:
        path = [f for f in golden.files("journal/*.wal") if used_bytes(os.path.join(golden.kept, f)) > 1][-1]
        used = used_bytes(os.path.join(golden.kept, path))
        start = (used - 1) & ~4095  # the last group, OTHER's second record, is one block
        every = range(start, used) if WHOLE else sorted({start, start + 1, start + 63, start + 64, (start + used) // 2, used - 1})
        for at in every:
            for name, damage in (("cut", cut(at)), ("zeros", blank(at, used - at)),
                                 ("garbage", lambda p, at=at: overwrite(p, at, used - at))):
                eq(try_damage(golden, path, "%s at %d" % (name, at), damage, {OTHER: {1}}), "served")
    finally:
        golden.w.discard()
