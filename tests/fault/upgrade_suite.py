# SPDX-License-Identifier: Apache-2.0
"""F37: data directories that earlier versions wrote, kept in the tree, open with what they held.

`upgrade_suite.py NAME` writes golden/NAME from the built weir: once for each
version of a format, and never again.
"""
import hashlib
import json
import os
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from harness import BIN, JSON, Weir, eq, expect, test, until  # noqa: E402

GOLDEN = os.path.join(HERE, "golden")
CONFIG = ("log: { journal_bytes: 16MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB, segment_bytes: 1MiB }\n"
          "http: { record_bytes_max: 256KiB }\n")


def noise(n, size):
    """Bytes that are no text, the same on every machine; long ones repeat themselves, for a small archive."""
    out = hashlib.sha256(b"%d" % n).digest()
    return (out * (size // len(out) + 1))[:size]


def fill(w, first, count):
    """Records of each kind: JSON, text, bytes, tombstones, keys, headers, times, idempotency keys, several partitions."""
    base = "/v1/topics/orders/records"
    for i in range(first, first + count):
        w.batch("orders", [{"key": "k%d" % i, "value": {"n": i, "half": 1.50}, "headers": {"h": [str(i), {"base64": "/w=="}]},
                            "timestamp": 1700000000000 + i, "idempotency_key": "i%d" % i},
                           {"key": "k%d" % i, "value_text": "plain \u00e4 %d" % i}, {"key": "gone", "value": None, "tombstone": True}])
        expect(w.post(base, noise(i, 90000 if i % 10 == 0 else 50), {"Content-Type": "application/octet-stream"}), 200)
        expect(w.put("/v1/topics/single/records/p%d" % i, b'{"n":%d}' % i, JSON), 200)
    return w


def by_place(records):
    return sorted(records, key=lambda r: (r["topic"], r["partition"], r["offset"]))


def write(name):
    folder = os.path.join(GOLDEN, name)
    os.makedirs(folder)
    for kind in ("stopped", "killed"):
        with Weir(CONFIG) as w:
            w.put("/v1/topics/orders", json.dumps({"partitions": 3, "retention": "forever", "idempotency": {"ttl": "366d"}}), JSON)
            w.put("/v1/topics/single", json.dumps({"retention": "forever"}), JSON)
            w.put("/v1/topics/state", json.dumps({"cleanup": "compact", "compaction": {"dirty_percent": 1, "max_lag": "1s"}}), JSON)
            w.push("deleted", b"1")
            fill(w, 0, 60)
            w.batch("state", [{"key": "k%d" % (i % 7), "value": i} for i in range(100)])
            until(lambda: len(w.all("state")) == 7, 10, "compaction")
            w.delete("/v1/topics/deleted")
            cursor = w.poll("orders", limit=20)["cursor"]
            w.restart()
            fill(w, 60, 10)
            until(lambda: w.metrics()['weir_log_queue_bytes{queue="pinned"}'] == 0, 5, "the mover")
            held = {t: by_place(w.all(t)) for t in ("orders", "single", "state")}
            rest = by_place(w.all("orders", cursor=cursor))
            if kind == "stopped":
                w.stop()
            else:
                w.kill()
            with tarfile.open(os.path.join(folder, kind + ".tar.xz"), "w:xz", preset=9) as tar:
                tar.add(w.data, "data")
            with open(os.path.join(folder, kind + ".json"), "w") as f:
                json.dump({"cursor": cursor, "rest": digest(rest), "count": {t: len(r) for t, r in held.items()},
                           "digest": {t: digest(r) for t, r in held.items()}}, f, indent=1)
                f.write("\n")


def digest(records):
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def opened(name, kind):
    @test("the data directory that %s wrote (%s) opens with every record, key, header, time and cursor, and can be written to" % (
        name, kind), own=True, timeout=60)
    def _():
        with open(os.path.join(GOLDEN, name, kind + ".json")) as f:
            want = json.load(f)
        with Weir(CONFIG, start=False) as w:
            with tarfile.open(os.path.join(GOLDEN, name, kind + ".tar.xz")) as tar:
                tar.extractall(w.dir)
            r = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True, timeout=60)
            eq(r.returncode, 0, r.stdout + r.stderr)
            for _ in range(2):
                w.start()
                for t in want["count"]:
                    records = by_place(w.all(t))
                    eq(len(records), want["count"][t], t)
                    eq(digest(records), want["digest"][t], "the records of " + t)
                eq(digest(by_place(w.all("orders", cursor=want["cursor"]))), want["rest"], "from the cursor on")
                eq(w.get("/v1/topics/deleted").status, 404)
                eq(w.get("/v1/topics/orders").json()["partitions"], 3)
                w.kill()
            w.start()
            at = w.count_records("single")
            w.push("single", b"9")
            w.batch("orders", [{"value": 1}])
            w.restart()
            eq(w.count_records("single"), at + 1)


for name in sorted(os.listdir(GOLDEN)) if os.path.isdir(GOLDEN) else ():
    for kind in ("stopped", "killed"):
        opened(name, kind)


if __name__ == "__main__":
    write(sys.argv[1])
