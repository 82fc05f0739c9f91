# SPDX-License-Identifier: Apache-2.0
"""Figures of the process: starting, and what it holds when idle."""
import time

from harness import Weir, median, options, remove, say, scratch, table, verdict, write_script, wrk
from rows_ingest import NDJSON, RECORDS

RECORDS_STORED = 20000000


def fill(weir, script, wanted):
    """Until so many records are there."""
    have = 0
    while have < wanted:
        wrk(weir.url + RECORDS, script, 4, seconds=5)
        have = weir.metrics().get("weir_log_records_total")
    return have


def start():
    """ready after a clean stop, and after kill -9, with 20 million records of 256 bytes"""
    folder = scratch("start")
    script = write_script(folder, "ndjson", NDJSON)
    results = {"clean stop": [], "kill -9": []}
    with Weir(folder, core=None) as weir:
        have = fill(weir, script, RECORDS_STORED)
        say("  %.1f million records of 256 bytes" % (have / 1e6))
        for _ in range(options.rounds):
            weir.stop()
            weir.start()
            results["clean stop"].append({"ready": weir.ready_seconds})
            wrk(weir.url + RECORDS, script, 4, seconds=2)  # so that the journal holds something
            weir.stop(hard=True)
            weir.start()
            results["kill -9"].append({"ready": weir.ready_seconds,
                                       "groups": weir.metrics().get("weir_log_recovered_groups")})
    table(results, [("ready", "seconds to ready", "%.3f"), ("groups", "groups recovered", "%.0f")])
    remove(folder)
    return (verdict("clean", median(results, "clean stop", "ready"), 0.5, at_most=True) &
            verdict("after kill -9", median(results, "kill -9", "ready"), 3, at_most=True))


def idle_rss():
    """memory when idle on an empty data directory"""
    results = {"weir": []}
    for _ in range(options.rounds):
        folder = scratch("rss")
        with Weir(folder, core=None) as weir:
            time.sleep(2)
            results["weir"].append({"mib": weir.rss_kib() / 1024})
        remove(folder)
    table(results, [("mib", "MiB of RSS", "%.1f")])
    return verdict("MiB", median(results, "weir", "mib"), 40, at_most=True, form="%.1f")


ROWS = {"start": start, "idle-rss": idle_rss}
