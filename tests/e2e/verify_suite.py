# SPDX-License-Identifier: Apache-2.0
"""`weir verify` as a command: what it says and in which form; what it finds and mends is in tests/fault."""
import glob
import json
import os
import struct

from harness import JSON, Weir, check, eq, test, weir


def damage(w, needle):
    """The bytes of a record on disk; gives the file."""
    for path in glob.glob(os.path.join(w.data, "topics", "*", "*", "*.log")):
        with open(path, "r+b") as f:
            at = f.read().find(needle)
            if at >= 0:
                f.seek(at)
                f.write(needle.upper())
                return path
    raise AssertionError("%r is in no segment" % needle)


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


@test("with --json each fault, note, repair and the result is an object a line", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        for n in range(100):
            w.push(t, json.dumps({"mark": "needle-%03d" % n}))
        w.stop()
        code, out, err = weir("verify", "--json", w.data)
        eq(code, 0, out + err)
        eq([(d["type"], d["ok"]) for d in lines(out)], [("result", True)])
        eq(lines(out)[0]["records"], 101, "100 and the topic's row of state")
        hit = damage(w, b"needle-042")
        code, out, err = weir("verify", "--json", w.data)
        eq(code, 1, err)
        fault, result = lines(out)
        eq((fault["type"], fault["file"], fault["from"], fault["to"]), ("fault", hit, 42, 43))
        check(fault["position"] > 0 and fault["repair"], fault)
        eq((result["type"], result["ok"], result["faults"]), ("result", False, 1))
        code, out, err = weir("verify", "--repair", "--json", w.data)
        eq(code, 0, out + err)
        kinds = [d["type"] for d in lines(out)]
        eq(kinds, ["fault", "repair", "note", "result"])
        eq(lines(out)[-1]["lost"], 1)
        check(os.path.isfile(os.path.join(lines(out)[1]["quarantine"], "MANIFEST")), "no manifest")


@test("the plain form names file, byte and offsets; --dry-run says what a repair would do and changes nothing", own=True,
      timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        for n in range(50):
            w.push(t, json.dumps({"mark": "needle-%03d" % n}))
        w.stop()
        hit = damage(w, b"needle-007")
        code, out, err = weir("verify", w.data)
        eq(code, 1)
        check(hit in out and "byte " in out and "offset 7 is lost" in out, out)
        code, out, err = weir("verify", "--repair", "--dry-run", w.data)
        eq(code, 1)
        check("a repair would do this" in out, out)
        check(not os.path.exists(os.path.join(w.data, "quarantine")), "a dry run wrote something")
        code, out, err = weir("verify", "--dry-run", w.data)
        eq(code, 2)
        check("goes with --repair" in err, err)
        code, out, err = weir("verify", "--repair", w.data)
        eq(code, 0, out + err)
        check("mended" in out and "quarantine" in out and "set aside by earlier repairs" in out, out)
        code, out, err = weir("verify", "--repair", w.data)
        eq(code, 0, out + err)
        check("nothing to mend" in out, out)


@test("what is no data directory, and one in use, is said with the path and the holder", own=True)
def _():
    with Weir() as w:
        code, out, err = weir("verify", w.data)
        eq(code, 1)
        check("is in use by process" in err and w.data in err, err)
        code, out, err = weir("verify", w.data + ".none")
        eq(code, 1)
        check("is no data directory" in err, err)


@test("state against the log: a topic whose partition the log lacks, and a trim beyond the end, are faults", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=2)
        w.ndjson(t, list(range(20)))
        w.post("/v1/topics/%s/trim" % t, b'{"before":"latest"}', JSON)
        w.stop()
        code, out, err = weir("verify", w.data)
        eq(code, 0, out + err)
        # A checkpoint of before the topic was made, and no journal: as if both had been put back.
        for f in glob.glob(w.data + "/journal/*"):
            os.unlink(f)
        for name in ("a", "b"):
            path = w.data + "/CHECKPOINT." + name
            with open(path, "rb") as f:
                whole = f.read()
            with open(path, "wb") as f:
                f.write(without_topics(whole))
        code, out, err = weir("verify", w.data)
        eq(code, 1, out + err)
        check("topic %s has 2 partitions, the log has 0 of them" % t in out, out)


def crc32c(data):
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
        table.append(c)
    crc = 0xFFFFFFFF
    for b in data:
        crc = table[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def without_topics(checkpoint):
    """The partitions but weir's own taken out of a checkpoint (docs/internals/storage.md)."""
    first = checkpoint[:8] == b"WEIRCKP1"
    head, at, kept, count = bytearray(checkpoint[:40]), 40, b"", 0
    while at < len(checkpoint):
        begin = at
        segments_at = at + 16 + 4 + 8 + 8 + (0 if first else 16)
        segments = struct.unpack(">I", checkpoint[segments_at:segments_at + 4])[0]
        at = segments_at + 4 + segments * (40 if first else 48)
        if checkpoint[begin:begin + 16] == b"\0" * 16:
            kept += checkpoint[begin:at]
            count += 1
    head[12:16] = struct.pack(">I", 40 + len(kept))
    head[32:36] = struct.pack(">I", count)
    out = bytes(head) + kept
    return out[:8] + struct.pack(">I", crc32c(out[12:])) + out[12:]
