# SPDX-License-Identifier: Apache-2.0
"""Columns that come, go and change their type while sources of type sql read: seen without a restart, and no row is lost or stored twice."""
import functools
import json
import time

from databases import MariaDb, Postgres, Sqlite
from harness import Weir, check, eq, test, until

CONFIG = """
sources:
  - { name: new, type: sql, topic: new, url: "%(url)s", mode: incremental, table: a, cursor: [id], every: 50ms, %(more)s }
  - { name: named, type: sql, topic: named, url: "%(url)s", mode: incremental, table: a, cursor: [id], columns: [id, f], every: 50ms, %(more)s }
  - { name: log, type: sql, topic: log, url: "%(url)s", mode: change_log, table: b, every: 50ms, %(more)s }
  - { name: query, type: sql, topic: query, url: "%(url)s", mode: query, query: "SELECT * FROM a WHERE id > coalesce(:cursor, 0)",
      cursor: [id], key: [id], every: 50ms, %(more)s }
  - { name: full, type: sql, topic: full, url: "%(url)s", mode: full, repeat: true, table: a, every: 1h, %(more)s }
"""
MORE = "retry: { min: 50ms, max: 300ms }"
ONCE = ("new", "named", "log", "query")


def values(w, topic):
    return w.values_so_far(topic)


def ids(w, topic):
    return [v["id"] for v in values(w, topic)]


def each_once(w, last):
    """The rows 1 to last are in each topic, once."""
    for topic in ONCE:
        until(lambda: last in ids(w, topic), 20, "row %d of %s; %r" % (last, topic, w.source(topic)["last_error"]))
        eq(sorted(ids(w, topic)), list(range(1, last + 1)), topic)


def last_run(w, last):
    """What a new run of `full` brings: the table as it is."""
    before = len(values(w, "full"))
    w.says("source", "run", "full")
    return until(lambda: len(values(w, "full")) >= before + last and values(w, "full")[before:], 20, "a run of full")


def columns_change(database):
    with database() as db:
        def both(text):
            db.sql("; ".join(text % table for table in ("a", "b")))

        both("CREATE TABLE %s (id INTEGER PRIMARY KEY, f " + ("REAL" if database is Postgres else "FLOAT") + ", name VARCHAR(20))")
        both("INSERT INTO %s VALUES (1, 123456.79, 'one'), (2, 0.5, 'two')")
        with Weir(CONFIG % {"url": db.url, "more": MORE}) as w:
            each_once(w, 2)
            eq(values(w, "new")[0], {"id": 1, "f": 123456.79, "name": "one"})

            # Columns are added; one of them in all rows that are there has a value.
            both("ALTER TABLE %s ADD COLUMN n INTEGER")
            both("ALTER TABLE %s ADD COLUMN word VARCHAR(20) DEFAULT 'x'")
            both("INSERT INTO %s VALUES (3, 654321.25, 'three', 30, 'y'), (4, NULL, NULL, NULL, NULL)")
            each_once(w, 4)
            three = {"id": 3, "f": 654321.25, "name": "three", "n": 30, "word": "y"}
            for topic in ("new", "log", "query"):
                eq([v for v in values(w, topic) if v["id"] == 3], [three], topic)
            eq([v for v in values(w, "named") if v["id"] == 3], [{"id": 3, "f": 654321.25}])
            run = last_run(w, 4)
            eq([v for v in run if v["id"] in (1, 3)], [{"id": 1, "f": 123456.79, "name": "one", "n": None, "word": "x"}, three])

            # A column comes while weir is away.
            w.kill()
            both("ALTER TABLE %s ADD COLUMN late INTEGER DEFAULT 7")
            both("INSERT INTO %s VALUES (5, 5, 'five', 50, 'z', 55)")
            w.start()
            each_once(w, 5)
            eq(values(w, "new")[-1]["late"], 55)

            # A column goes: told, and nothing else.
            both("ALTER TABLE %s DROP COLUMN name")
            both("INSERT INTO %s VALUES (6, 6, 60, 'z', 66)")
            for topic in ONCE:
                until(lambda: 6 in ids(w, topic), 20, "row 6 of %s; %r" % (topic, w.source(topic)["last_error"]))
                eq(set(ids(w, topic)), set(range(1, 7)))
            for topic in ("new", "log", "query"):
                eq(values(w, topic)[-1], {"id": 6, "f": 6, "n": 60, "word": "z", "late": 66}, topic)
                check(any("the column name of" in x for x in w.source(topic)["warnings"]), w.source(topic))

            # A type changes: what was a number is a text.
            if database is Postgres:
                both("ALTER TABLE %s ALTER COLUMN n TYPE text USING 'n' || n")
            if database is MariaDb:
                both("ALTER TABLE %s MODIFY n VARCHAR(20)")
            both("INSERT INTO %s VALUES (7, 7, 'seven', 'z', 77)")
            for topic in ONCE:
                until(lambda: 7 in ids(w, topic), 20, "row 7 of %s; %r" % (topic, w.source(topic)["last_error"]))
            for topic in ("new", "log", "query"):
                eq([v for v in values(w, topic) if v["id"] == 7], [{"id": 7, "f": 7, "n": "seven", "word": "z", "late": 77}], topic)
            for topic in ONCE:
                eq(w.source(topic)["state"] in ("failing", "broken"), False, json.dumps(w.source(topic)))
            until(lambda: db.sql("SELECT count(*) FROM b") == [["0"]], 20, "the change log to be empty")
            w.stop()


for kind in (Postgres, MariaDb, Sqlite):
    test("%s: a column that is added, dropped or changed while weir runs is seen in every mode, each row once" % kind.name, own=True,
         timeout=120)(functools.partial(columns_change, kind))


@test("columns that a view and a query get and lose are seen; what is renamed keeps its rows", own=True, timeout=60)
def _():
    with Sqlite() as db:
        db.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER); INSERT INTO t VALUES (1, 1, 1); "
               "CREATE VIEW v AS SELECT id, a FROM t")
        with Weir("sources:\n" + "".join("  - { name: %s, type: sql, topic: %s, url: \"%s\", every: 50ms, %s, %s }\n" % (n, n, db.url, MORE, how) for n, how in (
                ("view", "mode: incremental, table: v, cursor: [id], key: [id]"),
                ("query", "mode: query, query: 'SELECT v.*, id AS more FROM v WHERE id > coalesce(:cursor, 0)', cursor: [id], key: [id]")))) as w:
            for topic in ("view", "query"):
                until(lambda: ids(w, topic) == [1], 20, topic)
            db.sql("DROP VIEW v; CREATE VIEW v AS SELECT id, b AS a, a AS c FROM t; INSERT INTO t VALUES (2, 3, 4)")
            for topic in ("view", "query"):
                until(lambda: ids(w, topic) == [1, 2], 20, "%s: %r" % (topic, w.source(topic)["last_error"]))
            eq(values(w, "view")[1], {"id": 2, "a": 4, "c": 3})
            eq(values(w, "query")[1], {"id": 2, "a": 4, "c": 3, "more": 2})
            db.sql("DROP VIEW v; CREATE VIEW v AS SELECT id, b AS renamed, a AS c FROM t; INSERT INTO t VALUES (3, 5, 6)")
            until(lambda: 3 in ids(w, "view"), 20, "view")
            eq(ids(w, "view"), [1, 2, 3])
            eq(values(w, "view")[2], {"id": 3, "renamed": 6, "c": 5})


@test("a column that is added while ranges of a table are read comes with the ranges that are still to be read, each row once", own=True, timeout=120)
def _():
    with Postgres() as db:
        db.sql("CREATE TABLE r (id INTEGER PRIMARY KEY, name text); INSERT INTO r SELECT x, 'row' FROM %s; ANALYZE r" % db.series(1, 60000))
        with Weir(CONFIG.split("  - ")[0] + "  - { name: r, type: sql, topic: r, url: \"%s\", mode: full, table: r, chunk_rows: 2000, parallel: 2, every: 1s, "
                  "rate_limit: 15000, batch: { records: 500 }, %s }\n" % (db.url, MORE)) as w:
            until(lambda: w.count_records("r") > 5000, 20, "some rows")
            # A default that is computed for each row has them all written anew, and the table empty for who had a snapshot of before.
            db.sql("ALTER TABLE r ADD COLUMN n double precision DEFAULT random()")
            until(lambda: w.count_records("r") >= 60000, 60, "every row: %d, %r" % (w.count_records("r"), w.source("r")["last_error"]))
            time.sleep(0.5)
            got = values(w, "r")
            eq(len(got), 60000)
            check(sorted(v["id"] for v in got) == list(range(1, 60001)), "rows that are missing, and others twice")
            check(any(v.get("n") is not None for v in got), "no row with the new column")
            check(all(isinstance(v["n"], float) for v in got if "n" in v), "a value that is no number")
            w.stop()
