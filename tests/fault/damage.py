# SPDX-License-Identifier: Apache-2.0
"""A data directory with something of everything, ways to damage a copy of it, and what must then be there or told."""
import glob
import json
import os
import random
import re
import shutil

from faults import WHOLE, body_of
from harness import JSON, Failed, Weir, check, eq, expect, until

CONFIG = ("log: { journal_bytes: 16MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB, segment_bytes: 1MiB, tail_bytes: 1MiB }\n"
          "http: { record_bytes_max: 256KiB }\n")
TOPIC, OTHER = "t.rot", "t.other"
SIZES = (30000, 300)


def size_of(topic, n):
    return 100 if topic == OTHER else SIZES[n % 7 == 3]


def push(w, topic, n):
    r = w.post("/v1/topics/%s/records" % topic, body_of(n, size_of(topic, n)), dict(JSON, **{"Idempotency-Key": "k%d" % n}))
    expect(r, 200)


class Golden:
    """A data directory with sealed segments, one that is appended to, keys on disk, a checkpoint, and a journal behind it."""

    def __init__(self):
        self.w = Weir(CONFIG)
        w = self.w
        for n in range(90):
            push(w, TOPIC, n)
        push(w, OTHER, 0)
        w.restart()
        for n in range(90, 100):
            push(w, TOPIC, n)
        push(w, OTHER, 1)
        until(lambda: w.metrics()['weir_log_queue_bytes{queue="pinned"}'] == 0, 5, "the mover")
        w.kill()
        self.ends = {TOPIC: 100, OTHER: 2}
        self.kept = w.data + ".golden"
        os.rename(w.data, self.kept)

    def files(self, pattern):
        found = sorted(os.path.relpath(f, self.kept) for f in glob.glob(os.path.join(self.kept, pattern), recursive=True))
        return [f for f in found if os.path.isfile(os.path.join(self.kept, f))]

    def segments(self):
        """The .log files of TOPIC, oldest first."""
        by_folder = {}
        for f in self.files("topics/*/*/*.log"):
            by_folder.setdefault(os.path.dirname(f), []).append(f)
        return max(by_folder.values(), key=len)

    def fresh(self):
        shutil.rmtree(self.w.data, ignore_errors=True)
        shutil.copytree(self.kept, self.w.data)
        if os.path.exists(self.w.log_path):
            os.unlink(self.w.log_path)


def read_all(w, topic):
    """Records by number, and the gaps that were told, of a topic with one partition."""
    records, gaps, cursor = [], [], "earliest"
    while True:
        r = w.get("/v1/topics/%s/records?cursor=%s&limit=1000" % (topic, cursor))
        if r.status == 404:
            return None, None
        doc = expect(r, 200).json()
        records += doc["records"]
        gaps += doc.get("gaps", [])
        cursor = doc["cursor"]
        if doc["caught_up"]:
            return records, gaps


def compare(golden, w, may_lack):
    """Everything that is served is right, and what is missing was told. `may_lack`: offsets per topic that a torn tail may cost."""
    for topic, end in golden.ends.items():
        records, gaps = read_all(w, topic)
        if records is None:
            raise Failed("%s is gone; the log: %s" % (topic, w.log()[-600:]))
        missing = set(range(end))
        for r in records:
            n = r["offset"]
            check(n in missing, "offset %d of %s comes twice or is too high" % (n, topic))
            missing.discard(n)
            eq(r["value"], json.loads(body_of(n, size_of(topic, n))), "bytes of offset %d of %s" % (n, topic))
        for g in gaps:
            missing -= set(range(g["from"], g["to"]))
        if gaps:
            check("segment_damaged" in w.log(), "the log does not name the damage")
        if "torn_tail" in w.log():
            missing -= may_lack.get(topic, set())
        for first, last in re.findall(r"records_lost msg=\"offsets (\d+) to (\d+)", w.log()):
            missing -= set(range(int(first), int(last) + 1))
        check(not missing, "%s: offsets %r are missing and nobody says so\ngaps %r\n%s" % (
            topic, sorted(missing)[:10], gaps[:5], w.log()[-800:]))


def named(text, path):
    """The file is named, or the folder of its partition."""
    return os.path.basename(path) in text or os.path.dirname(path) in text


def flip(at, bit):
    def damage(path):
        with open(path, "r+b") as f:
            f.seek(at)
            b = f.read(1)
            f.seek(at)
            f.write(bytes([b[0] ^ 1 << bit]))
    return damage


def cut(at):
    return lambda path: os.truncate(path, at)


def blank(at, n=4096):
    def damage(path):
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(b"\0" * n)
    return damage


def positions(size, used, count, seed):
    """The head of the file densely, its used end, and a spread in between."""
    rnd = random.Random(seed)
    if WHOLE:
        dense = list(range(0, min(used, 160))) + list(range(max(0, used - 40), used))
        return sorted(set(dense + [rnd.randrange(used) for _ in range(count * 20)]))
    dense = [0, 8, 17, 40, 61, used - 1]
    return sorted({p for p in dense + [rnd.randrange(used) for _ in range(count)] if 0 <= p < used})


def used_bytes(path):
    with open(path, "rb") as f:
        return max(1, len(f.read().rstrip(b"\0")))


def overwrite(path, at, n):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(random.Random(at).randbytes(n))
