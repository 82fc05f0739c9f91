# SPDX-License-Identifier: Apache-2.0
"""
Sources of type sql against real servers, which the tests start. WEIR_LATE_SECONDS (default 8) is how long the tests of late commits
run, WEIR_LATE_LONGEST (default 4) the longest transaction in them; `make late` is their whole form, 600 and 60 with fifty writers.
"""
import collections
import functools
import os
import random
import signal
import subprocess
import threading
import time

from databases import MariaDb, Postgres, Sqlite
from harness import BIN, SLOW, Later, Skip, Weir, check, eq, expect, kills, test, until

LATE_SECONDS = float(os.environ.get("WEIR_LATE_SECONDS", "8"))
LATE_LONGEST = float(os.environ.get("WEIR_LATE_LONGEST", "4"))
WRITERS = int(os.environ.get("WEIR_LATE_WRITERS", "50" if LATE_SECONDS > 60 else "16"))
KILLS = kills(8)


def modes_against(database):
    """The unit test of the modes speaks of SQLite; the same sentences hold of the others."""
    program = os.path.join(os.path.dirname(BIN), "connect_sql_modes_test")
    if not os.path.exists(program):
        raise Skip("there is no %s beside weir: ninja -C build" % program)
    with database() as db:
        got = subprocess.run([program], env={**os.environ, "SQL_TEST_URL": db.url}, capture_output=True, text=True, timeout=100 * SLOW)
        check(got.returncode == 0, "\n".join(line for line in (got.stdout + got.stderr).splitlines() if " OK " not in line and "RUN" not in line))


@test("every mode reads PostgreSQL: each row once, late commits and crashes included", own=True, timeout=120)
def _():
    modes_against(Postgres)


@test("every mode reads MariaDB: each row once, late commits and crashes included", own=True, timeout=120)
def _():
    modes_against(MariaDb)


def config(db, text):
    return "sources:\n  - { name: s, type: sql, topic: t, url: \"%s\", retry: { min: 50ms, max: 500ms }, %s }\n" % (db.url, text)


def values(w, topic="t"):
    return w.values_so_far(topic)


# ---- kills ----

MODES = """
sources:
  - { name: full, type: sql, topic: full, url: "%(url)s", mode: full, table: r, chunk_rows: 5000, every: 50ms, batch: { records: 61 },
      rate_limit: %(rate)d, %(retry)s }
  - { name: new, type: sql, topic: new, url: "%(url)s", mode: incremental, table: l, cursor: [id], every: 20ms, batch: { records: 53 }, %(retry)s }
  - { name: log, type: sql, topic: log, url: "%(url)s", mode: change_log, table: c, every: 20ms, batch: { records: 53 }, %(retry)s }
  - { name: query, type: sql, topic: query, url: "%(url)s", mode: query, query: "SELECT * FROM l WHERE id > coalesce(:cursor, 0)",
      cursor: [id], key: [id], every: 20ms, batch: { records: 53 }, %(retry)s }
"""


def fill(db, table, first, last):
    db.sql("INSERT INTO %s SELECT x, 'row' FROM %s" % (table, db.series(first, last)))


def killed_while_it_reads(database):
    """A source of each mode: one table is there from the beginning, and read no faster than all kills take; rows come to the others meanwhile."""
    longest, rate = 0.25, 40000
    rows, rand, stop = int(KILLS * longest * rate), random.Random(11), threading.Event()

    def write():
        written = 0
        while not stop.is_set():
            more = rand.randrange(1, 400)
            for table in ("l", "c"):
                fill(db, table, written + 1, written + more)
            written += more
            time.sleep(rand.uniform(0, 0.05))
        return written

    with database() as db:
        for table in ("r", "l", "c"):
            db.sql("CREATE TABLE %s (id INTEGER PRIMARY KEY, name VARCHAR(60))" % table)
        fill(db, "r", 1, rows)
        with Weir(MODES % {"url": db.url, "rate": rate, "retry": "retry: { min: 50ms, max: 500ms }"}) as w:
            writer, within = Later(write), 0
            try:
                for _ in range(KILLS):
                    time.sleep(rand.uniform(0.02, longest))
                    within += w.count_records("full") < rows
                    w.kill()
                    w.start()
            finally:
                stop.set()
            written = writer.get(60)
            check(within > KILLS // 2, "the table was read after %d of %d kills" % (within, KILLS))
            for topic, count in (("full", rows), ("new", written), ("log", written), ("query", written)):
                until(lambda: w.count_records(topic) >= count, 120, "every row of %s: %d" % (topic, count))
                time.sleep(0.2)
                got = sorted(v["id"] for v in values(w, topic))
                eq(len(got), count, "rows of " + topic)
                check(got == list(range(1, count + 1)), "rows of %s that are missing, and others twice" % topic)
            until(lambda: db.sql("SELECT count(*) FROM c") == [["0"]], 60, "the change log to be empty")
            w.stop()


for kind in (Postgres, MariaDb, Sqlite):
    test("kill -9 at random moments while %s is read in every mode: each row once (%d kills)" % (kind.name, KILLS), own=True,
         timeout=180 + 8 * KILLS)(functools.partial(killed_while_it_reads, kind))


# ---- late commits ----

class Writer(threading.Thread):
    """
    One session: statements, then a pause, then COMMIT or ROLLBACK. What it saw committed and what it saw rolled
    back is certain; where the server was killed over a COMMIT either may be.
    """

    def __init__(self, db, number, end):
        super().__init__(daemon=True)
        self.db, self.number, self.end = db, number, end
        self.rand, self.committed, self.rolled_back, self.n = random.Random(number), [], [], 0

    def client(self):
        if isinstance(self.db, Postgres):
            command = [Postgres.find("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.db.port), "-U", "postgres",
                       "-d", "t"]
        else:
            command = ["mariadb", "--no-defaults", "-NBn", "-h", "127.0.0.1", "-P", str(self.db.port), "-uw", "-ppw", "t"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def say(self, p, text):
        """A statement and a row behind it, so that the end of the statement is known."""
        p.stdin.write(text + ";\nSELECT 'done';\n")
        p.stdin.flush()
        line = p.stdout.readline()
        if line.strip() != "done":
            raise OSError("the session ended")

    def transaction(self, p):
        """Statements with pauses, mostly short."""
        ids, good = [], self.rand.random() < 0.8
        self.say(p, "BEGIN" if isinstance(self.db, Postgres) else "START TRANSACTION")
        for _ in range(self.rand.randint(1, 4)):
            name = "%d-%d" % (self.number, self.n)
            self.n += 1
            if self.rand.random() < 0.2 and isinstance(self.db, Postgres):
                self.say(p, "SAVEPOINT a; INSERT INTO l (name) VALUES ('%s'); RELEASE a" % name)
            else:
                self.say(p, "INSERT INTO l (name) VALUES ('%s')" % name)
            ids.append(name)
            longest = LATE_LONGEST if self.rand.random() < 0.1 else 0.3
            time.sleep(self.rand.uniform(0, longest))
        self.say(p, "COMMIT" if good else "ROLLBACK")
        (self.committed if good else self.rolled_back).extend(ids)

    def run(self):
        while time.monotonic() < self.end:
            p = None
            try:
                p = self.client()
                while time.monotonic() < self.end:
                    self.transaction(p)
            except OSError:
                time.sleep(0.2)
            finally:
                if p:
                    p.kill()
                    p.communicate()


def late_commits(database, table, cursor):
    with database() as db:
        db.sql(table)
        end = time.monotonic() + LATE_SECONDS
        writers = [Writer(db, i, end) for i in range(WRITERS)]
        rand = random.Random(13)
        with Weir(config(db, "mode: incremental, table: l, cursor: [%s], every: %s, timeout: 5s" %
                         (cursor, "1s" if LATE_SECONDS > 60 else "100ms"))) as w:
            for x in writers:
                x.start()
            while time.monotonic() < end:
                time.sleep(rand.uniform(LATE_SECONDS / 20, LATE_SECONDS / 6))
                if rand.random() < 0.3:
                    db.kill()
                    db.start()
                else:
                    w.kill()
                    w.start()
            for x in writers:
                x.join(LATE_LONGEST * 8 + 30)
            want = sorted(r[0] for r in db.sql("SELECT name FROM l"))
            known = {n for x in writers for n in x.committed}
            check(known <= set(want), "the database lost %r" % sorted(known - set(want))[:5])
            until(lambda: len(values(w)) >= len(want), 60 + LATE_LONGEST, "every committed row: %d of %d" % (len(values(w)), len(want)))
            time.sleep(1)
            got = collections.Counter(v["name"] for v in values(w))
            eq([n for n in want if got[n] == 0], [], "rows that are missing")
            eq([n for n in got if got[n] > 1], [], "rows that are there twice")
            rolled = {n for x in writers for n in x.rolled_back}
            eq([n for n in got if n in rolled], [], "rows that were rolled back")
            check(len(want) > LATE_SECONDS, "only %d rows" % len(want))
            w.stop()


@test("PostgreSQL, late commits by a sequence: each committed row once, weir and the database killed at random", own=True,
      timeout=180 + 2 * LATE_SECONDS + 10 * LATE_LONGEST)
def _():
    late_commits(Postgres, "CREATE TABLE l (id bigserial PRIMARY KEY, name text)", "id")


@test("PostgreSQL, late commits by a time: each committed row once, weir and the database killed at random", own=True,
      timeout=180 + 2 * LATE_SECONDS + 10 * LATE_LONGEST)
def _():
    late_commits(Postgres, "CREATE TABLE l (id bigserial PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT clock_timestamp()); "
                           "CREATE INDEX ON l (at)", "at")


@test("MariaDB, late commits by a sequence: each committed row once, weir and the database killed at random", own=True,
      timeout=180 + 2 * LATE_SECONDS + 10 * LATE_LONGEST)
def _():
    late_commits(MariaDb, "CREATE TABLE l (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(60))", "id")


@test("MariaDB, late commits by a time: each committed row once, weir and the database killed at random", own=True,
      timeout=180 + 2 * LATE_SECONDS + 10 * LATE_LONGEST)
def _():
    late_commits(MariaDb, "CREATE TABLE l (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(60), at TIMESTAMP(6) DEFAULT SYSDATE(6), KEY (at))",
                 "at")


def session_of(db):
    """A psql that keeps its transaction, and how to say something to it and wait until it is done."""
    p = subprocess.Popen([Postgres.find("psql"), "-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(db.port), "-U", "postgres", "-d", "t"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def say(text):
        p.stdin.write(text + ";\nSELECT 'done';\n")
        p.stdin.flush()
        lines = []
        while not lines or lines[-1] not in ("done", ""):
            lines.append(p.stdout.readline().strip())
        return lines[0]
    return p, say


@test("PostgreSQL crashes in the middle of a scan and gives numbers of transactions once more: a row that commits late behind them is found",
      own=True, timeout=90)
def _():
    with Postgres() as db:
        db.sql("CREATE TABLE l (id bigserial PRIMARY KEY, name text); INSERT INTO l (name) SELECT repeat('x', 400000) || n "
               "FROM generate_series(1, 60) n; CHECKPOINT")  # 24 MB: sockets hold up to six or so, and the scan is to break
        # Numbers that leave nothing on the disk: whoever would write them there is stopped.
        writer = int(db.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")[0][0])
        os.kill(writer, signal.SIGSTOP)
        p, say = session_of(db)
        for _ in range(300):
            say("BEGIN; SELECT txid_current(); ROLLBACK")
        highest = int(say("SELECT txid_snapshot_xmax(txid_current_snapshot())"))
        p.kill()
        p.communicate()
        with Weir(config(db, "mode: incremental, table: l, cursor: [id], every: 50ms, rate_limit: 20, batch: { records: 1 }")) as w:
            def stored():
                """By what the source tells: to read the records takes as long as the scan has left."""
                return w.get("/v1/sources/s").json()["records"]
            until(lambda: 3 <= stored() < 20, 20, "the scan is in the middle")
            expect(w.post("/v1/sources/s/pause"), 204)
            until(lambda: w.get("/v1/sources/s").json()["state"] == "paused", 10, "it pauses")
            asked = w.get("/v1/sources/s").json()["requests"]
            db.kill()
            os.kill(writer, signal.SIGKILL)
            db.start()
            late, say_late = session_of(db)
            say_late("BEGIN")
            say_late("INSERT INTO l (name) VALUES ('late')")
            number = int(say_late("SELECT txid_current()"))
            check(number < highest, "number %d is not given once more: %d were" % (number, highest))
            db.sql("INSERT INTO l (name) VALUES ('early')")
            expect(w.post("/v1/sources/s/resume"), 204)
            # It commits when the scan goes on and does not see it, and before the next question is asked.
            until(lambda: w.get("/v1/sources/s").json()["requests"] > asked, 20, "the scan goes on in another session")
            time.sleep(0.2)
            say_late("COMMIT")
            check(stored() < 60, "the scan was over before the commit")
            late.kill()
            late.communicate()
            until(lambda: stored() >= 62, 10, "the row that committed late")
            got = collections.Counter(v["name"] for v in values(w))
            eq([n[-20:] for n in got if got[n] > 1], [], "rows that are there twice")
            check(got["late"] == 1 and got["early"] == 1, "late %d, early %d" % (got["late"], got["early"]))
            w.stop()


def overtaken(cursor, begin, late):
    """What `late` writes has a value from before the others', and its transaction a number from behind theirs."""
    with Postgres() as db:
        db.sql("CREATE TABLE l (id bigserial PRIMARY KEY, name text, at timestamptz NOT NULL DEFAULT now()); CREATE INDEX ON l (at); "
               "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN NEW; END'; "
               "CREATE TRIGGER rest BEFORE INSERT ON l FOR EACH ROW WHEN (NEW.name = 'rests') EXECUTE FUNCTION rest(); "
               "INSERT INTO l (name) VALUES ('first')")
        with Weir(config(db, "mode: incremental, table: l, cursor: [%s], every: 50ms" % cursor)) as w:
            until(lambda: len(values(w)) == 1, 20, "the first row")
            p, say = session_of(db)
            for text in begin:
                say(text)
            slow = Later(say, late)
            time.sleep(0.3)
            for n in range(5):  # each is seen before the next one, so the bound could rise past the late row's value
                db.sql("INSERT INTO l (name) VALUES ('%d')" % n)
                until(lambda: len(values(w)) >= n + 2, 20, "row %d" % n)
                time.sleep(0.15)
            slow.get(30)
            if begin:
                say("COMMIT")
            until(lambda: len(values(w)) >= 7, 10, "the row that was overtaken")
            p.kill()
            p.communicate()
            db.sql("INSERT INTO l (name) VALUES ('last')")
            until(lambda: len(values(w)) >= 8, 10, "the last row")
            got = collections.Counter(v["name"] for v in values(w))
            eq([n for n in got if got[n] > 1], [], "rows that are there twice")
            first = until(lambda: (w.get("/v1/sources/s").json()["part_list"][0]["checkpoint"] or {}).get("from"), 10, "the bound rises")
            check(first, "no lower bound")
            w.stop()


@test("PostgreSQL: a row that has its number from the sequence long before its transaction has one is not overtaken", own=True, timeout=90)
def _():
    overtaken("id", [], "INSERT INTO l (name) VALUES ('rests')")


@test("PostgreSQL: a row with the time at which its transaction began, long before it wrote anything, is not overtaken", own=True,
      timeout=90)
def _():
    overtaken("at", ["BEGIN", "SELECT now()"], "SELECT pg_sleep(2); INSERT INTO l (name) VALUES ('late')")


# ---- schedules ----

@test("mode full with repeat reads the table once each time that the schedule runs", own=True, timeout=60)
def _():
    with Sqlite() as db:
        db.sql("CREATE TABLE a (id INTEGER PRIMARY KEY); INSERT INTO a VALUES (1), (2)")
        with Weir(config(db, "mode: full, repeat: true, table: a, every: 1h")) as w:
            for run in range(1, 4):
                until(lambda: [v["id"] for v in values(w)] == [1, 2] * run, 20, "run %d" % run)
                time.sleep(0.3)
                eq([v["id"] for v in values(w)], [1, 2] * run)
                w.says("source", "run", "s")


# ---- mistakes ----

@test("a table is learned and read without a connection that only breaks something off", own=True, timeout=60)
def _():
    with Postgres() as db:
        db.sql("CREATE TABLE r (id INTEGER PRIMARY KEY, name VARCHAR(60))")
        fill(db, "r", 1, 1000)
        db.sql("ALTER SYSTEM SET log_connections = on")
        db.sql("SELECT pg_reload_conf()")
        until(lambda: db.sql("SHOW log_connections") == [["on"]], 20, "the setting")
        before = len(db.log_text())
        with Weir(config(db, "mode: full, table: r, at_start: true")) as w:
            until(lambda: w.count_records("t") == 1000, 20, "the rows")
            w.stop()
        said = db.log_text()[before:]
        check("connection authorized" in said, "no connection is in the log: " + said)
        eq(said.count("connection received"), said.count("connection authorized"), "connections, requests to break off among them")


@test("wrong credentials, a host that is not there, a table without the column: each named in `show`, and no other source is held up",
      own=True, timeout=60)
def _():
    with Postgres() as db:
        db.sql("CREATE TABLE x (id int PRIMARY KEY); INSERT INTO x VALUES (1)")
        wrong = {
            "user": ("postgresql://nobody@127.0.0.1:%d/t" % db.port, "mode: full, table: x", "nobody"),
            "host": ("postgresql://postgres@127.0.0.1:1/t", "mode: full, table: x", "refused"),
            "column": (db.url, "mode: incremental, table: x, cursor: [gone]", "gone"),
        }
        text = "sources:\n" + "".join("  - { name: %s, type: sql, topic: t, url: \"%s\", %s }\n" % (name, url, more)
                                      for name, (url, more, _) in wrong.items())
        text += "  - { name: good, type: sql, topic: t, url: \"%s\", mode: full, table: x }\n" % db.url
        with Weir(text) as w:
            until(lambda: len(values(w)) == 1, 20, "the good source")
            for name, (_, _, word) in wrong.items():
                said = until(lambda: (w.get("/v1/sources/" + name).json().get("last_error") or ""), 20, "an error of " + name)
                check(word in str(said), "%s: %s" % (name, said))
            w.stop()


