# SPDX-License-Identifier: Apache-2.0
"""What the log's work in the background costs the door in."""
import statistics

from harness import (BODY_BYTES, Weir, median, options, pair_ratio, remove, rounds, say, scratch, table, verdict, write_script,
                     wrk)
from rows_ingest import COLUMNS, LOG, RECORDS

SEGMENTS = LOG[:-1] + ", segment_bytes: 8MiB }"
# A small state that changes all the time: almost every record is replaced soon.
KEYED = """
local count = 0
local headers = { ["Content-Type"] = "application/json" }
local body = '{"v":"' .. string.rep("x", %d) .. '"}'
request = function()
  count = count + 7919
  return wrk.format("POST", "%s?key=k" .. count %% 20000, headers, body)
end
""" % (BODY_BYTES - 8, RECORDS)
TOPIC = "[{ name: bench, retention: forever, cleanup: %s, compaction: { dirty_percent: 1 } }]"


def compaction():
    """durable POST with a key, 64 connections, into a topic that is compacted all the time, against one that is not"""
    folders = {name: scratch(name) for name in ("delete", "compact")}
    script = write_script(folders["delete"], "keyed", KEYED)
    rewritten = []

    def load(weir):
        before = weir.metrics()
        result = wrk(weir.url + RECORDS, script, 64, server=weir)
        after = weir.metrics()
        moved = sum(after.get(n) - before.get(n) for n in ("weir_log_rewrite_read_bytes_total", "weir_log_rewrite_written_bytes_total"))
        result["passes"] = after.get("weir_log_compactions_total") - before.get("weir_log_compactions_total")
        if weir is compacted:
            rewritten.append(moved / options.seconds / 1048576)
        return result
    with Weir(folders["delete"], log=SEGMENTS, topics=TOPIC % "delete") as plain, Weir(
            folders["compact"], log=SEGMENTS, topics=TOPIC % "compact") as compacted:
        for weir in (plain, compacted):
            wrk(weir.url + RECORDS, script, 64, seconds=1)
        results = rounds({"without": lambda: load(plain), "with": lambda: load(compacted)})
        table(results, COLUMNS + [("passes", "passes", "%.0f")])
        say("  compaction read and wrote %.0f MiB a second" % statistics.median(rewritten))
    for folder in folders.values():
        remove(folder)
    if min(r["passes"] for r in results["with"]) < 1:
        say("  (a round without a pass: run it longer, --seconds)")
    return (verdict("rate", pair_ratio(results, "with", "without", "rate"), 0.9) &
            verdict("p99", pair_ratio(results, "with", "without", "p99_us"), 2, at_most=True))


def checkpoint():
    """longest wait of a durable POST while storage checkpoints run, above the p99 without any, 64 connections"""
    logs = {"none": "{ journal_bytes: 16GiB, journal_file_bytes: 64MiB }", "checkpoints": "{ journal_bytes: 64MiB, journal_file_bytes: 16MiB }"}
    folders = {name: scratch("checkpoint-" + name) for name in logs}
    script = write_script(folders["none"], "keyed", KEYED)
    weirs = {name: Weir(folders[name], log=log) for name, log in logs.items()}

    def load(weir):
        before = weir.metrics()
        result = wrk(weir.url + RECORDS, script, 64, server=weir)
        result["checkpoints"] = weir.metrics().get("weir_log_checkpoints_total") - before.get("weir_log_checkpoints_total")
        return result
    try:
        for weir in weirs.values():
            wrk(weir.url + RECORDS, script, 64, seconds=1)
        results = rounds({name: (lambda w=w: load(w)) for name, w in weirs.items()})
        table(results, COLUMNS + [("max_us", "longest us", "%.0f"), ("checkpoints", "checkpoints", "%.0f")])
    finally:
        for weir in weirs.values():
            weir.stop()
    for folder in folders.values():
        remove(folder)
    if min(r["checkpoints"] for r in results["checkpoints"]) < 1:
        say("  (a round without a checkpoint: run it longer, --seconds)")
    say("  without a checkpoint the longest is %.1f ms above its p99" % (
        (median(results, "none", "max_us") - median(results, "none", "p99_us")) / 1000))
    above = statistics.median(a["max_us"] - b["p99_us"] for a, b in zip(results["checkpoints"], results["none"]))
    return verdict("ms above p99", above / 1000, 10, at_most=True, form="%.1f")


ROWS = {"compaction": compaction, "checkpoint": checkpoint}
