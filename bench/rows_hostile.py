# SPDX-License-Identifier: Apache-2.0
"""Figures of conduct: what bad neighbours cost the good one."""
import os
import subprocess
import sys

from harness import CLIENT_CORE, POST, ROOT, Weir, options, pair_ratio, remove, rounds, scratch, table, verdict, write_script, wrk
from rows_ingest import RECORDS

DRIBBLERS = 10000  # connections


def dribblers(weir, seconds):
    p = subprocess.Popen(["taskset", "-c", str(CLIENT_CORE), sys.executable, os.path.join(ROOT, "bench", "dribble.py"), "127.0.0.1", str(weir.port),
                          str(DRIBBLERS), str(seconds)], stdout=subprocess.PIPE, universal_newlines=True)
    if p.stdout.readline().strip() != "open":
        raise OSError("the connections could not be opened")
    return p


def slow_senders():
    """latency of one well-behaved client while 10 000 connections send a byte a second, against without them"""
    folder = scratch("dribble")
    script = write_script(folder, "post", POST)
    with Weir(folder) as weir:
        quiet = lambda: wrk(weir.url + RECORDS, script, 1, seconds=options.seconds)

        def crowd():
            p = dribblers(weir, options.seconds + 2)
            try:
                return quiet()
            finally:
                p.wait()

        results = rounds({"crowd": crowd, "alone": quiet})
    table(results, [("rate", "requests/s", "%.0f"), ("p50_us", "p50 us", "%.0f"), ("p99_us", "p99 us", "%.0f")])
    remove(folder)
    return verdict("median latency", pair_ratio(results, "crowd", "alone", "p50_us"), 1.1, at_most=True)


ROWS = {"slow-senders": slow_senders}
