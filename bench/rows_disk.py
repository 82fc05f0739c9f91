# SPDX-License-Identifier: Apache-2.0
"""Figures of what reads a whole data directory, or a whole journal."""
import os
import re
import resource
import subprocess

from harness import Failed, Weir, median, options, pinned, remove, say, scratch, table, verdict, write_script, wrk
from rows_ingest import NDJSON, RECORDS

CORE = 1
GIB = 1 << 30


def size_of(folder):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(folder) for f in files)


def children_seconds():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def verify():
    """weir verify from the page cache on one core, GB of files a second"""
    folder = scratch("verify")
    script = write_script(folder, "ndjson", NDJSON)
    results = {"weir verify": []}
    with Weir(folder, core=None) as weir:
        while size_of(os.path.join(weir.data, "topics")) < GIB:
            wrk(weir.url + RECORDS, script, 4, seconds=2)
        weir.stop()
        for i in range(options.rounds + 1):
            before = children_seconds()
            p = subprocess.run(pinned(CORE) + [weir.binary, "verify", weir.data], stdout=subprocess.PIPE,
                               universal_newlines=True)
            seconds = children_seconds() - before
            if p.returncode:
                raise Failed(p.stdout)
            if i:  # the first one fills the page cache
                results["weir verify"].append({"rate": size_of(weir.data) / seconds / 1e9, "cpu": seconds})
    table(results, [("rate", "GB/s", "%.2f"), ("cpu", "seconds of the core", "%.2f")])
    remove(folder)
    return verdict("GB/s", median(results, "weir verify", "rate"), 1)


def recovered(weir):
    """Bytes of the journal that the last start replayed, and the time of that: it runs in one thread."""
    with open(os.path.join(weir.folder, "weir.log")) as f:
        lines = [l for l in f if "event=recovered" in l]
    found = re.search(r"\((\d+) bytes\).* in (\d+) ms", lines[-1]) if lines else None
    if not found:
        raise Failed("the log tells of no recovery")
    return int(found.group(1)), int(found.group(2)) / 1000


def fill_journal(weir, script, wanted):
    before = weir.metrics().get("weir_log_journal_bytes_total")
    while weir.metrics().get("weir_log_journal_bytes_total") - before < wanted:
        wrk(weir.url + RECORDS, script, 4, seconds=1)


def recovery():
    """journal replayed a second after kill -9, and whether its time depends on the data kept"""
    results = {"little kept": [], "6 times as much kept": []}
    for name, kept in (("little kept", 0), ("6 times as much kept", 6)):
        folder = scratch("recovery")
        script = write_script(folder, "ndjson", NDJSON)
        with Weir(folder, core=None, log="{ journal_bytes: 1GiB }") as weir:
            for _ in range(kept):  # each stop ends with a checkpoint: the journal is let go
                fill_journal(weir, script, 256 << 20)
                weir.stop()
                weir.start()
            fill_journal(weir, script, 256 << 20)
            weir.stop(hard=True)
            for _ in range(options.rounds):
                weir.start()
                cpu = weir.cpu()
                replayed, seconds = recovered(weir)
                results[name].append({"rate": replayed / cpu / 1e6, "wall": replayed / seconds / 1e6,
                                      "ready": weir.ready_seconds, "mib": replayed / (1 << 20)})
                weir.stop(hard=True)
        remove(folder)
    table(results, [("rate", "MB/s of a core", "%.0f"), ("wall", "MB/s", "%.0f"), ("mib", "MiB replayed", "%.0f"), ("ready", "seconds to ready", "%.2f")])
    ratio = median(results, "6 times as much kept", "rate") / median(results, "little kept", "rate")
    say("  rate with 6 times as much kept, against little: %.2f" % ratio)
    return verdict("MB/s", median(results, "little kept", "rate"), 500)


ROWS = {"verify": verify, "recovery": recovery}
