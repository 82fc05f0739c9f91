# SPDX-License-Identifier: Apache-2.0
"""Figures of the door out."""
import subprocess
import time

from rows_ingest import SMALL_LOG
from harness import (CLIENT_CORE, Redis, Weir, describe_log, median, options, pair_ratio, pinned, remove, rounds,
                     run_json, scratch, table, tool, verdict)


def ws_latency():
    """publish to WebSocket subscriber at 1000 records/s, against a bare write, sync and round trip at that rate"""
    folder = scratch("pace")
    with Weir(folder, core=0, log=SMALL_LOG) as weir:
        before = weir.metrics()
        turns = max(3, int(options.seconds))
        results = rounds({"turns of 1 s": lambda: run_json([tool("pace"), str(weir.port), folder, "1000", "1",
                                                            str(turns)])})
        for r in results["turns of 1 s"]:
            r["ratio"] = r["weir_p99_us"] / r["bare_p99_us"]
        table(results, [("weir_p50_us", "weir p50 us", "%.0f"), ("bare_p50_us", "bare p50 us", "%.0f"),
                        ("weir_p99_us", "weir p99 us", "%.0f"), ("bare_p99_us", "bare p99 us", "%.0f"),
                        ("ratio", "ratio of p99", "%.2f")])
        describe_log(before, weir.metrics())
    remove(folder)
    return verdict("p99", median(results, "turns of 1 s", "ratio"), 2, at_most=True)


def fanout():
    """one publisher, 1000 WebSocket subscribers, 128 bytes, against Redis pub/sub"""
    folder = scratch("fanout")

    def load(kind, server):
        before = server.cpu()
        result = run_json([tool("fanout"), kind, str(server.port), "1000", str(max(2, int(options.seconds)))])
        result["cpu_us"] = (server.cpu() - before) / result["deliveries"] * 1e6
        return result
    with Redis(folder, 0) as redis, Weir(folder, log=SMALL_LOG) as weir:
        before = weir.metrics()
        results = rounds({"redis": lambda: load("redis", redis), "weir": lambda: load("weir", weir)})
        table(results, [("rate", "deliveries/s", "%.0f"), ("cpu_us", "CPU us a delivery", "%.2f")])
        describe_log(before, weir.metrics())
    remove(folder)
    return verdict("deliveries/s", pair_ratio(results, "weir", "redis", "rate"), 1.2)


IDLE = 10000  # subscribers


def idle_once(weir):
    before = weir.rss_kib()
    holder = subprocess.Popen(pinned(CLIENT_CORE) + [tool("idle"), str(weir.port),
                                                     "/v1/topics/idle/ws?mode=subscribe", str(IDLE)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    time.sleep(2)
    rss, cpu = weir.rss_kib(), weir.cpu()
    time.sleep(10)
    result = {"each_kib": (rss - before) / IDLE, "ticks": round((weir.cpu() - cpu) * 100)}
    holder.stdin.close()
    holder.wait()
    return result


def idle_ws():
    """10 000 idle WebSocket subscribers: memory each, CPU ticks in ten seconds"""
    folder = scratch("idle")
    results = {"weir": []}
    # A ping each 30 s is work of its own: ten seconds without one are looked at.
    for _ in range(options.rounds):
        with Weir(folder, stream="{ ws_ping_interval: 1h }", http="{ max_connections: 20000 }") as weir:
            weir.request("POST", "/v1/topics/idle/records", b"1", {"Content-Type": "application/json"})
            results["weir"].append(idle_once(weir))
    table(results, [("each_kib", "KiB of RSS each", "%.2f"), ("ticks", "CPU ticks in 10 s", "%d")])
    remove(folder)
    return (verdict("KiB each", median(results, "weir", "each_kib"), 6, at_most=True) &
            verdict("CPU ticks", median(results, "weir", "ticks"), 0, at_most=True, form="%d"))


ROWS = {"ws-latency": ws_latency, "fanout": fanout, "idle-ws": idle_ws}
