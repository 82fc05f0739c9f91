# SPDX-License-Identifier: Apache-2.0
"""What sources cost those that they ask."""
import json
import os
import subprocess
import time

from harness import CLIENT_CORE, ROOT, Nginx, Weir, options, remove, say, scratch, verdict

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


def http_idle():
    """10 000 sources of type http at one poll a minute each, answered 200 with 1 KiB that is the same each time: share of a core"""
    body = json.dumps({"items": [{"id": n, "text": "x" * 80} for n in range(10)]})
    folder = scratch("http")
    sources = "".join("\n  - { name: s%d, type: http, topic: polled, every: 60s, url: '%%s/%d', records: /items, id: '{/id}' }"
                      % (n, n) for n in range(HTTP_SOURCES))
    with Nginx(folder, CLIENT_CORE, "default_type application/json; return 200 '%s';" % body) as server:
        with Weir(folder, topics="[{ name: polled }]", sources=sources.replace("%s", server.url)) as weir:
            time.sleep(125)  # every source has polled once, and connections are open
            memory = weir.rss_kib()
            before, begun = weir.cpu(), time.monotonic()
            time.sleep(max(options.seconds, 60))
            share = (weir.cpu() - before) / (time.monotonic() - begun)
    remove(folder)
    say("  memory %.1f MiB" % (memory / 1024))
    return verdict("share of a core", share, 0.10, at_most=True, form="%.3f")


ROWS = {"adaptive": adaptive, "http-idle": http_idle}
TOOLS = {}
