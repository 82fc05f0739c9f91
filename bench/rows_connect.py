# SPDX-License-Identifier: Apache-2.0
"""What sources cost those that they ask."""
import json
import os
import shutil
import subprocess
import sys
import time

from harness import (CLIENT_CORE, ROOT, SERVER_CORE, Failed, Nginx, Weir, options, pair_ratio, remove, rounds, say, scratch, table,
                     verdict)

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
from databases import MariaDb, Postgres  # noqa: E402

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


# ---- whole tables ----

SQL_ROWS = 5000000
SQL_COLUMNS = [("rate", "rows/s", "%.0f"), ("cpu", "weir's us a row", "%.2f"), ("memory", "RSS growth MiB", "%.0f")]


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


def to_null(command):
    began = time.monotonic()
    with open(os.devnull, "w") as null:
        subprocess.run(command, stdout=null, check=True)
    return {"rate": SQL_ROWS / (time.monotonic() - began)}


def whole_table(db, plain):
    results = rounds({"weir, full": lambda: read_all("sql", 'type: sql, url: "%s", mode: full, table: pgbench_accounts' % db.url,
                                                     SQL_ROWS),
                      plain[0]: lambda: to_null(plain[1:])}, min(options.rounds, 3))
    table(results, SQL_COLUMNS)
    good = verdict("rate", pair_ratio(results, "weir, full", plain[0], "rate"), 0.6)
    return verdict("RSS growth MiB", max(r["memory"] for r in results["weir, full"]), 64, at_most=True, form="%.0f") and good


def sql_postgresql():
    """5 million rows of pgbench_accounts as durable JSON records, against `COPY … TO STDOUT` into /dev/null"""
    with Postgres() as db:
        db.run(Postgres.find("pgbench"), "-h", "127.0.0.1", "-p", str(db.port), "-U", "postgres", "-i", "-q", "-s",
               str(SQL_ROWS // 100000), "t")
        return whole_table(db, ["psql, COPY", shutil.which("psql"), "-qX", db.url, "-c", "COPY pgbench_accounts TO STDOUT"])


def sql_mariadb():
    """the same of MariaDB, against `SELECT *` of its command line without buffering into /dev/null"""
    with MariaDb() as db:
        db.sql("CREATE TABLE pgbench_accounts (aid INT NOT NULL PRIMARY KEY, bid INT, abalance INT, filler CHAR(84)); "
               "INSERT INTO pgbench_accounts SELECT seq, 1 + (seq - 1) DIV 100000, 0, '' FROM seq_1_to_%d; "
               "ANALYZE TABLE pgbench_accounts" % SQL_ROWS)
        return whole_table(db, ["mariadb, SELECT", "mariadb", "--no-defaults", "--quick", "-B", "-h", "127.0.0.1", "-P", str(db.port), "-uw",
                                "-ppw", "t", "-e", "SELECT * FROM pgbench_accounts"])


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
    table(results, SQL_COLUMNS)
    return verdict("records/s", min(r["rate"] for r in results["weir"]), 700000, form="%.0f")


ROWS = {"adaptive": adaptive, "http-idle": http_idle, "sources-start": sources_start, "sql-postgresql": sql_postgresql, "sql-mariadb": sql_mariadb,
        "files-ndjson": files_ndjson}
TOOLS = {}
