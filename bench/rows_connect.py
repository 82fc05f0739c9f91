# SPDX-License-Identifier: Apache-2.0
"""What sources cost those that they ask."""
import json
import os
import subprocess
import time

from harness import (CLIENT_CORE, ROOT, SERVER_CORE, Failed, Nginx, Weir, options, remove, rounds, say, scratch, table,
                     verdict)

COLUMNS = "%-16s %9s %14s %10s %10s %8s %8s"


def adaptive():
    """requests of adaptive polling (1 s to 10 min) against the fixed interval of the same mean staleness, simulated"""
    out = subprocess.run([os.path.join(ROOT, "build", "bench", "adaptive_bench"), os.path.join(ROOT, "bench", "arrivals")],
                         stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    say("  " + COLUMNS % ("arrivals", "number", "staleness s", "requests", "fixed", "ratio", "bound"))
    good = True
    rows = [line.split("\t") for line in out.splitlines()]
    for row in rows:
        say("  " + COLUMNS % tuple(row))
    for name, _, _, _, _, ratio, _ in rows:
        most = 0.6 if name.startswith(("bursts", "rhythm")) else 1.05
        good &= verdict(name, float(ratio), most, at_most=True)
    return good


HTTP_SOURCES = 10000


def polled(name, more):
    body = json.dumps({"items": [{"id": n, "text": "x" * 80} for n in range(10)]})
    folder = scratch(name)
    sources = "".join("\n  - { name: s%d, type: http, topic: polled, every: 60s%s, url: '%%s/%d', records: /items, id: '{/id}' }"
                      % (n, more, n) for n in range(HTTP_SOURCES))
    with Nginx(folder, CLIENT_CORE, "default_type application/json; return 200 '%s';" % body) as server:
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", server.url)) as weir:
            time.sleep(125)  # every source has polled once, and connections are open
            before, begun = weir.cpu(), time.monotonic()
            time.sleep(max(options.seconds, 60))
            share = (weir.cpu() - before) / (time.monotonic() - begun)
            memory = weir.rss_kib() / 1024
    remove(folder)
    good = verdict("share of a core", share, 0.10, at_most=True, form="%.3f")
    return verdict("memory MiB", memory, 110, at_most=True, form="%.0f") and good


def http_idle():
    """10 000 sources of type http at one poll a minute each, answered 200 with 1 KiB that is the same each time: share of a core, memory"""
    return polled("http", "")


def http_jitter():
    """the same, each poll up to a minute later by chance"""
    return polled("jitter", ", jitter: 60s")


def settled(weir):
    """Seconds of processor time, once there is as good as no more of it."""
    before = -1.0
    while weir.cpu() - before > 0.02:
        before = weir.cpu()
        time.sleep(1)
    return weir.cpu()


def sources_start():
    """a start with 10 000 sources of type http that have been polled before, none of them due: seconds of processor time until idle"""
    body = json.dumps({"items": [{"id": 1}]})
    folder = scratch("start")
    source = "\n  - { name: s%d, type: http, topic: polled, every: 7d, at_start: %s, url: '%s/%d', records: /items, id: '{/id}' }"
    with Nginx(folder, CLIENT_CORE, "default_type application/json; return 200 '%s';" % body) as server:
        sources = "".join(source % (n, "%s", server.url, n) for n in range(HTTP_SOURCES))
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", "true")) as weir:
            while weir.metrics().get("weir_ingest_requests_total") < HTTP_SOURCES:
                time.sleep(1)
            settled(weir)
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", "false")) as weir:
            spent = settled(weir)
            ready, memory = weir.ready_seconds, weir.rss_kib()
    remove(folder)
    say("  ready after %.2f s, memory %.1f MiB" % (ready, memory / 1024))
    return verdict("processor seconds", spent, 2, at_most=True, form="%.2f")


# ---- files ----

READ_COLUMNS = [("rate", "records/s", "%.0f"), ("cpu", "weir's us a record", "%.2f"), ("memory", "RSS growth MiB", "%.0f")]


def read_all(name, source, count, core=None):
    """From ready to all of it stored, by the source's own count, which is of what is durable."""
    folder = scratch(name)
    with Weir(folder, core=core, topics="[{ name: t }]", sources="[{ name: s, topic: t, at_start: true, %s }]" % source) as weir:
        began, idle, cpu, most = time.monotonic(), weir.rss_kib(), weir.cpu(), 0
        while True:
            state = json.loads(weir.request("GET", "/v1/sources/s")[1])
            most = max(most, weir.rss_kib())
            if state["records"] >= count:
                break
            if state.get("last_error") or time.monotonic() - began > 300:
                raise Failed("%d records: %s" % (state["records"], state.get("last_error")))
            time.sleep(0.02)
        took = time.monotonic() - began
        cpu = weir.cpu() - cpu
    remove(folder)
    return {"rate": count / took, "cpu": cpu / count * 1e6, "memory": (most - idle) / 1024}


FILE_LINES = 4000000


def files_ndjson():
    """4 million NDJSON lines of 256 bytes from a file, durable, weir on one core: records a second"""
    folder = scratch("files")
    line = b'{"id":%012d,"text":"' + b"x" * 220 + b'"}\n'
    with open(os.path.join(folder, "in.ndjson"), "wb") as f:
        for n in range(FILE_LINES):
            f.write(line % n)
    source = 'type: files, paths: ["%s/in.ndjson"], quiet: 0s, every: 100ms' % folder
    results = rounds({"weir": lambda: read_all("ndjson", source, FILE_LINES, SERVER_CORE)}, min(options.rounds, 3))
    remove(folder)
    table(results, READ_COLUMNS)
    return verdict("records/s", min(r["rate"] for r in results["weir"]), 700000, form="%.0f")


ROWS = {"adaptive": adaptive, "http-idle": http_idle, "http-jitter": http_jitter, "sources-start": sources_start,
        "files-ndjson": files_ndjson}
TOOLS = {}
