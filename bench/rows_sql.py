# SPDX-License-Identifier: Apache-2.0
"""Tables of databases: how fast they are read, and what it costs to find nothing new."""
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time

from harness import (ROOT, TICKS, Failed, Weir, children, cpu_seconds, options, pair_ratio, remove, rounds, say, scratch, table, verdict)

sys.path.append(os.path.join(ROOT, "tests", "e2e"))
from databases import MariaDb, Postgres  # noqa: E402

COLUMNS = [("rate", "rows/s", "%.0f"), ("cpu", "client's CPU us a row", "%.2f"), ("db", "database's", "%.2f"),
           ("memory", "RSS growth MiB", "%.0f")]
PEERS = ("sqlalchemy", "pyarrow", "connectorx", "tap-postgres")  # the first three by dlt
PEERS_DIR = os.path.join(ROOT, "build", "peers")


def rows_of_table():
    return int(options.sql_rows)


# ---- databases with the table ----

class Accounts:
    """pgbench_accounts in a server of its own."""

    def __enter__(self):
        self.db = self.make()
        return self

    def __exit__(self, *_):
        self.db.close()

    def cpu(self):
        """Of the server and all its processes, those that have ended too."""
        pid, total = self.db.process.pid, 0
        with open("/proc/%d/stat" % pid) as f:
            total = sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:15]) / TICKS
        for child in children(pid):
            try:
                total += cpu_seconds(child)
            except OSError:
                pass  # it has ended, and is in its parent's from the next time on
        return total


class PostgresAccounts(Accounts):
    def make(self):
        db = Postgres()
        db.run(Postgres.find("pgbench"), "-h", "127.0.0.1", "-p", str(db.port), "-U", "postgres", "-i", "-q", "-s",
               str(rows_of_table() // 100000), "t")
        return db

    def plain(self):
        return [shutil.which("psql"), "-qX", self.db.url, "-c", "COPY pgbench_accounts TO STDOUT"]


class MariaDbAccounts(Accounts):
    def make(self):
        db = MariaDb()
        db.sql("CREATE TABLE pgbench_accounts (aid INT NOT NULL PRIMARY KEY, bid INT, abalance INT, filler CHAR(84)); "
               "INSERT INTO pgbench_accounts SELECT seq, 1 + (seq - 1) DIV 100000, 0, '' FROM seq_1_to_%d; "
               "ANALYZE TABLE pgbench_accounts" % rows_of_table())
        return db

    def plain(self):
        return ["mariadb", "--no-defaults", "--quick", "-B", "-h", "127.0.0.1", "-P", str(self.db.port), "-uw", "-ppw", "t", "-e",
                "SELECT * FROM pgbench_accounts"]


# ---- whole tables ----

def durable_records(weir):
    """Of the topic, as its readers see it: what is not on the disk is not there."""
    topic = json.loads(weir.request("GET", "/v1/topics/t")[1])
    return sum(p["end"] - p["start"] for p in topic["offsets"])


def read_table(accounts, count):
    """weir, from ready to all of it durable."""
    folder = scratch("sql")
    source = '{ name: s, type: sql, topic: t, at_start: true, url: "%s", mode: full, table: pgbench_accounts }' % accounts.db.url
    with Weir(folder, core=None, topics="[{ name: t }]", sources="[%s]" % source) as weir:
        began, idle, cpu, db, most, stored = time.monotonic(), weir.rss_kib(), weir.cpu(), accounts.cpu(), 0, 0
        while stored < count:
            state = json.loads(weir.request("GET", "/v1/sources/s")[1])
            most = max(most, weir.rss_kib())
            stored = durable_records(weir)
            if state.get("last_error") or time.monotonic() - began > 600:
                raise Failed("%d records: %s" % (stored, state.get("last_error")))
            time.sleep(0.02)
        took, cpu, db = time.monotonic() - began, weir.cpu() - cpu, accounts.cpu() - db
    remove(folder)
    return {"rate": count / took, "cpu": cpu / count * 1e6, "db": db / count * 1e6, "memory": (most - idle) / 1024}


def timed(accounts, command, count, **more):
    """A program that reads all of it, with its own CPU and the database's."""
    before, db, began = resource.getrusage(resource.RUSAGE_CHILDREN), accounts.cpu(), time.monotonic()
    subprocess.run(command, check=True, **more)
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"rate": count / took, "cpu": cpu / count * 1e6, "db": (accounts.cpu() - db) / count * 1e6}


def to_null(accounts):
    return timed(accounts, accounts.plain(), rows_of_table(), stdout=subprocess.DEVNULL)


def whole_table(accounts, name):
    with accounts:
        to_null(accounts)  # so that the table is in memory, and looked through once, for who comes first as well
        results = rounds({"weir, full": lambda: read_table(accounts, rows_of_table()), name: lambda: to_null(accounts)}, options.rounds)
    table(results, COLUMNS)
    good = verdict("rate", pair_ratio(results, "weir, full", name, "rate"), 0.6)
    return verdict("RSS growth MiB", max(r["memory"] for r in results["weir, full"]), 64, at_most=True, form="%.0f") and good


def sql_postgresql():
    """pgbench_accounts (--sql-rows) as durable JSON records, against `COPY … TO STDOUT` of psql into /dev/null"""
    return whole_table(PostgresAccounts(), "psql, COPY")


def sql_mariadb():
    """the same of MariaDB, against `SELECT *` of its command line without buffering into /dev/null"""
    return whole_table(MariaDbAccounts(), "mariadb, SELECT")


# ---- what people would pick ----

def peer(name, *packages):
    """An environment of Python with these packages, made once; its folder of programs."""
    folder = os.path.join(PEERS_DIR, name)
    programs = os.path.join(folder, "bin")
    if not os.path.exists(os.path.join(folder, "made")):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([os.path.join(programs, "pip"), "install", "-q", *packages], check=True)
        with open(os.path.join(folder, "made"), "w") as f:
            f.write("\n".join(packages))
    return programs


def with_dlt(accounts, programs, backend, form):
    folder = scratch("dlt")
    url = accounts.db.url.replace("postgresql:", "postgresql+psycopg2:")
    command = [os.path.join(programs, "python"), os.path.join(ROOT, "bench", "sql_dlt.py"), url, backend, form, folder]
    result = timed(accounts, command, rows_of_table(), stdout=subprocess.DEVNULL)
    remove(folder)
    return result


def singer_catalog(programs, config, folder):
    """What the tap found, with the table chosen."""
    found = json.loads(subprocess.run([os.path.join(programs, "tap-postgres"), "-c", config, "--discover"], stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, check=True).stdout)
    found["streams"] = [s for s in found["streams"] if s["table_name"] == "pgbench_accounts"]
    for m in found["streams"][0]["metadata"]:
        if not m["breadcrumb"]:
            m["metadata"].update({"selected": True, "replication-method": "FULL_TABLE"})
    path = os.path.join(folder, "catalog.json")
    with open(path, "w") as f:
        json.dump(found, f)
    return path


def with_singer(accounts, programs):
    """Into a file as the tap writes it: a target behind it would only add to that."""
    folder = scratch("singer")
    config = os.path.join(folder, "config.json")
    with open(config, "w") as f:
        json.dump({"host": "127.0.0.1", "port": accounts.db.port, "user": "postgres", "password": "", "dbname": "t"}, f)
    catalog = singer_catalog(programs, config, folder)
    with open(os.path.join(folder, "out.jsonl"), "w") as out:
        result = timed(accounts, [os.path.join(programs, "tap-postgres"), "-c", config, "--catalog", catalog], rows_of_table(), stdout=out,
                       stderr=subprocess.DEVNULL)
    remove(folder)
    return result


def peers_of(accounts):
    """name → its load; what a peer needs is installed when it is asked for."""
    def dlt(backend):
        programs = peer("dlt", "dlt==1.31.0", "sqlalchemy", "psycopg2-binary", "pyarrow", "pandas", "connectorx")
        return lambda: with_dlt(accounts, programs, backend, "jsonl")

    def singer():
        programs = peer("singer", "pipelinewise-tap-postgres")
        return lambda: with_singer(accounts, programs)
    return {name: singer() if name == "tap-postgres" else dlt(name) for name in options.sql_peers or PEERS}


def sql_peers():
    """the same job, JSON in local files, with dlt and with Singer's tap-postgres (--sql-peers), start included: weir's rate against the fastest"""
    accounts = PostgresAccounts()
    peers = peers_of(accounts)
    with accounts:
        to_null(accounts)  # the first who looks through a new table would write that down for the others
        results = rounds({"weir, full": lambda: read_table(accounts, rows_of_table()), **peers}, min(options.rounds, 3))
    table(results, COLUMNS)
    ratios = {name: pair_ratio(results, "weir, full", name, "rate") for name in peers}
    for name, ratio in ratios.items():
        say("  of %s: %.1f" % (name, ratio))
    return verdict("of the fastest, " + min(ratios, key=ratios.get), min(ratios.values()), 10, form="%.1f")


# ---- polls that find nothing ----

POLLS_A_SECOND = 50


class Statements:
    """What weir's user has asked of the database since."""

    def __init__(self, db):
        self.db = db
        if isinstance(db, Postgres):
            db.sql("ALTER SYSTEM SET log_statement = 'all'")
            db.sql("SELECT pg_reload_conf()")
        else:
            db.sql("SET GLOBAL log_output = 'FILE'; SET GLOBAL general_log_file = '%s/queries'; SET GLOBAL general_log = ON" % db.dir)
        time.sleep(0.5)

    def lines(self):
        name, form = "queries", r"\t *\d+ (?:Query|Execute)\t"
        if isinstance(self.db, Postgres):
            name, form = "server.log", r"LOG:  (?:statement|execute [^:]*):"
        with open(os.path.join(self.db.dir, name), encoding="utf-8", errors="replace") as f:
            return [line for line in f if re.search(form, line)]


def poll_nothing(accounts, name):
    folder = scratch("poll")
    source = ('{ name: s, type: sql, topic: t, at_start: true, every: %dms, url: "%s", mode: incremental, table: pgbench_accounts, cursor: [aid] }'
              % (1000 // POLLS_A_SECOND, accounts.db.url))
    with Weir(folder, core=None, topics="[{ name: t }]", sources="[%s]" % source) as weir:
        while durable_records(weir) < rows_of_table():
            time.sleep(0.1)
        if isinstance(accounts.db, Postgres):
            accounts.db.sql("CHECKPOINT")  # which it makes by itself every five minutes: weir's lower bound rises with it
        statements = Statements(accounts.db)
        time.sleep(2)
        before, cpu, lines = json.loads(weir.request("GET", "/v1/sources/s")[1]), weir.cpu(), len(statements.lines())
        time.sleep(max(options.seconds, 10))
        after, cpu, lines = json.loads(weir.request("GET", "/v1/sources/s")[1]), weir.cpu() - cpu, statements.lines()[lines:]
    remove(folder)
    polls = after["pulls"] - before["pulls"]
    if not polls:
        raise Failed("no poll in that time: %s" % after)
    say("  %s: %d polls, %d statements, %d records" % (name, polls, len(lines), after["records"] - before["records"]))
    # A poll may be under way when the counting ends.
    good = verdict(name + ", statements a poll", (len(lines) - 1) / polls, 1, at_most=True)
    return verdict(name + ", weir's CPU ms a poll", cpu / polls * 1000, 1, at_most=True, form="%.3f") and good


def sql_nothing():
    """polls of mode incremental that find nothing, PostgreSQL and MariaDB: statements (log_statement, general_log) and weir's CPU a poll"""
    good = True
    for accounts, name in ((PostgresAccounts(), "PostgreSQL"), (MariaDbAccounts(), "MariaDB")):
        with accounts:
            good &= poll_nothing(accounts, name)
    return good


ROWS = {"sql-postgresql": sql_postgresql, "sql-mariadb": sql_mariadb, "sql-peers": sql_peers, "sql-nothing": sql_nothing}
