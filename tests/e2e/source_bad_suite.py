# SPDX-License-Identifier: Apache-2.0
"""
What is wrong with a source, as a user meets it: each case is named with source, place and what would be right, in `show`, in
`test`, in the log or in a dead letter, and the good rows are stored. The table of cases is in docs/internals/connect.md.
"""
import gzip
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

from databases import MariaDb, Postgres
from feed import Feed
from harness import BIN, SLOW, Weir, check, eq, expect, test, until

MIB = 1 << 20  # a sanitizer holds freed memory back, 256 of it


def item(name, type, rest):
    return "  - { name: %s, topic: %s, type: %s, every: 100ms, at_start: true, retry: { min: 20ms, max: 300ms }, %s }\n" % (
        name, name, type, rest)


def show(w, name):
    return expect(w.get("/v1/sources/" + name), 200).json()


def tried(w, name, records=20):
    """(exit code, stdout, stderr) of `weir source test`."""
    p = subprocess.run([BIN, "source", "test", name, "-n", str(records), "--server", w.url], capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout, p.stderr


def values(w, topic):
    return [r.get("value") for r in w.all(topic)] if w.get("/v1/topics/" + topic).status == 200 else []


def ids(w, topic):
    return sorted(v["id"] for v in values(w, topic))


def dead(w, topic):
    r = w.get("/v1/topics/%s/dead" % topic)
    return [] if r.status == 404 else expect(r, 200).json()["dead"]


def log_of(w, name):
    return [line for line in w.log().splitlines() if " source=%s" % name in line]


def names_failure(w, name, *words):
    """The source fails, and says so with these words everywhere."""
    until(lambda: all(x in (show(w, name).get("last_error") or "") for x in words), 20,
          "%s: %s in %r" % (name, words, show(w, name).get("last_error")))
    eq(show(w, name)["state"], "failing", name)
    p = subprocess.run([BIN, "source", "show", name, "--server", w.url], capture_output=True, text=True)
    code, _, err = tried(w, name)
    eq(code, 1, "test of " + name)
    for x in words:
        check(x in p.stdout, "show %s: %s" % (name, p.stdout))
        check(x in err, "test %s: %s" % (name, err))
        # The log holds back what it has just said.
        until(lambda: any(x.replace('"', '\\"') in line and "source_failed" in line for line in log_of(w, name)), 20,
              "%r in the log: %r" % (x, log_of(w, name)))


def names_warning(w, name, *words):
    until(lambda: any(all(x in t for x in words) for t in show(w, name)["warnings"]), 20,
          "%s: %s in %r" % (name, words, show(w, name)["warnings"]))
    check(any("source_warning" in line for line in log_of(w, name)), log_of(w, name))


# ---- sql ----

class Sqlite:
    """As the servers of databases.py."""
    name = "SQLite"

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-bad-")
        self.path = os.path.join(self.dir, "x.db")
        self.url = "sqlite://" + self.path
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir)

    def sql(self, text):
        with sqlite3.connect(self.path) as db:
            db.executescript(text)


def sql(name, url, rest):
    return item(name, "sql", 'url: "%s", %s' % (url, rest))


def bad_sql(database):
    with database() as db:
        db.sql("CREATE TABLE x (id INTEGER PRIMARY KEY, t VARCHAR(60), changed VARCHAR(60)); "
               "INSERT INTO x VALUES (1, 'a', '1'); INSERT INTO x VALUES (2, 'b', '2'); "
               "CREATE TABLE v (id INTEGER PRIMARY KEY, a VARCHAR(60), b VARCHAR(60)); INSERT INTO v VALUES (1, 'a', 'b')")
        url = db.url
        text = ("sources:\n" + sql("column", url, "mode: incremental, table: x, cursor: [gone]") +
                sql("table", url, "mode: full, table: nix") +
                sql("keyed", url, "mode: query, query: 'SELECT id, t FROM x', key: [nokey]") +
                sql("asked", url, "mode: query, query: 'SELECT nix FROM x', key: [id]") +
                sql("noindex", url, "mode: incremental, table: x, cursor: [changed]") +
                sql("good", url, "mode: full, table: x"))
        with Weir(text) as w:
            until(lambda: ids(w, "good") == [1, 2], what="the good source")
            names_failure(w, "column", "gone", "there are id, t, changed")
            names_failure(w, "table", "table nix", "`table` is NAME or SCHEMA.NAME")
            names_failure(w, "keyed", "`key` names the column nokey", "there are id, t")
            names_failure(w, "asked", "running the query", "nix")
            names_warning(w, "noindex", "the cursor changed of x", "CREATE INDEX",
                          {"PostgreSQL": "Seq Scan on x", "MariaDB": "type ALL", "SQLite": "SCAN"}[database.name])
            check("CREATE INDEX" in tried(w, "noindex")[2], "test says it too")
            eq(ids(w, "noindex"), [1, 2])
        text = ("sources:\n" + sql("inc", url, "mode: incremental, table: v, cursor: [id]") +
                sql("whole", url, "mode: full, table: v, repeat: true") +
                sql("star", url, "mode: query, query: 'SELECT * FROM v', cursor: [id], key: [id]") +
                sql("named", url, "mode: incremental, table: v, cursor: [id], columns: [id, b]"))
        with Weir(text) as w:
            for name in ("inc", "star", "named"):
                until(lambda: ids(w, name) == [1], what=name)
            until(lambda: values(w, "whole"), what="whole")
            db.sql("ALTER TABLE v RENAME COLUMN b TO c; INSERT INTO v VALUES (2, 'a', 'c')")
            for name in ("inc", "star", "whole"):
                until(lambda: 2 in ids(w, name), 20, "what came after the column went: %s %r" % (name, show(w, name)))
                names_warning(w, name, "the column b of", "is gone")
                until(lambda: show(w, name)["state"] == "running", what=name)
            eq(values(w, "inc"), [{"id": 1, "a": "a", "b": "b"}, {"id": 2, "a": "a", "c": "c"}])
            names_failure(w, "named", "b", "there are id, a, c")
            eq(ids(w, "named"), [1])
            db.sql("ALTER TABLE v RENAME COLUMN c TO b")
            until(lambda: ids(w, "named") == [1, 2], 20, "the column that came back")


@test("sql, PostgreSQL: columns and tables that are not there, a column that vanishes, a cursor without index", own=True, timeout=120)
def _():
    bad_sql(Postgres)


@test("sql, MariaDB: columns and tables that are not there, a column that vanishes, a cursor without index", own=True, timeout=120)
def _():
    bad_sql(MariaDb)


@test("sql, SQLite: columns and tables that are not there, a column that vanishes, a cursor without index", own=True, timeout=120)
def _():
    bad_sql(Sqlite)


@test("sql: a wrong password, a user, a database and a file that are not there, what the user may not read", own=True, timeout=120)
def _():
    with Postgres() as pg, MariaDb() as my:
        my.sql("CREATE TABLE x (id INT PRIMARY KEY); CREATE USER r@'%' IDENTIFIED BY 'pw'; GRANT USAGE ON t.* TO r@'%'; "
               "CREATE TABLE y (id INT PRIMARY KEY, s INT); GRANT SELECT (id) ON t.y TO r@'%'")
        pg.sql("CREATE TABLE x (id int PRIMARY KEY); CREATE ROLE r LOGIN")
        full = "mode: full, table: %s"
        with Weir("sources:\n" + sql("password", my.url.replace(":pw@", ":hushhush@"), full % "x") +
                  sql("database", my.url[:-1] + "nodb", full % "x") + sql("right", my.url.replace("w:pw@", "r:pw@"), full % "y") +
                  sql("role", pg.url.replace("postgres@", "nobody@"), full % "x") + sql("pgdatabase", pg.url[:-1] + "nodb", full % "x") +
                  sql("pgright", pg.url.replace("postgres@", "r@"), full % "x") + sql("file", "sqlite:///nowhere/x.db", full % "x") +
                  sql("notone", "sqlite:///etc/hostname", full % "x")) as w:
            names_failure(w, "password", "Access denied for user 'w'", "check the user in `url`, and `password`")
            names_failure(w, "database", "nodb", "the path of `url` names the database")
            names_failure(w, "right", "denied", "grant the user")
            names_failure(w, "role", 'role "nobody" does not exist')
            names_failure(w, "pgdatabase", 'database "nodb" does not exist')
            names_failure(w, "pgright", "permission denied", "grant the user")
            names_failure(w, "file", "unable to open", "must be a file that weir may read")
            names_failure(w, "notone", "not a database")
            check("hushhush" not in w.log() + w.get("/v1/sources").text, "a secret is told")


@test("sql: what is not one SELECT is told by weir check with its line; one that writes behind a WITH is refused by the database", own=True,
      timeout=60)
def _():
    def checked(query):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write("sources:\n" + sql("q", "sqlite:///tmp/x.db", "mode: query, key: [id],\n    query: '%s'" % query.replace("'", "''")))
            f.flush()
            p = subprocess.run([BIN, "check", f.name], capture_output=True, text=True)
            return p.returncode, p.stderr

    for query, words in (("DELETE FROM x", "it is not a SELECT"), ("UPDATE x SET a = 1", "it is not a SELECT"),
                         ("SELECT 1 AS id; DROP TABLE x", "more stands behind the semicolon"), ("/* SELECT */ DROP TABLE x", "not a SELECT")):
        code, err = checked(query)
        eq(code, 2, query)
        check(words in err and ":3:" in err and "sources[q].query" in err, err)
    for query in ("SELECT ';' AS id;", "SELECT 1 AS id; -- done; really", "WITH a AS (SELECT 1 AS id) SELECT * FROM a"):
        eq(checked(query)[0], 0, query)
    with Postgres() as pg:
        pg.sql("CREATE TABLE x (id int PRIMARY KEY); INSERT INTO x VALUES (1)")
        with Weir("sources:\n" + sql("w", pg.url, "mode: query, key: [id], query: 'WITH d AS (DELETE FROM x RETURNING id) SELECT id FROM d'") +
                  sql("f", pg.url, "mode: query, key: [id], query: 'SELECT setval(''s'', 7) AS id'")) as w:
            names_failure(w, "w", "data-modifying")
            until(lambda: show(w, "f")["last_error"], what="the other")
        eq(pg.sql("SELECT count(*) FROM x"), [["1"]])


@test("sql: a text that is no UTF-8 costs its row, which is a dead letter with all its columns, its key and its place", own=True, timeout=90)
def _():
    with Sqlite() as lite, Postgres() as pg:
        lite.sql("CREATE TABLE x (id INTEGER PRIMARY KEY, t TEXT, more TEXT); INSERT INTO x VALUES (1, 'good', 'x'); "
                 "INSERT INTO x VALUES (2, CAST(x'61ff62' AS TEXT), 'y'); INSERT INTO x VALUES (3, 'good', 'z'); "
                 "INSERT INTO x VALUES (4, '%s', 'large')" % ("x" * (3 * MIB)))
        pg.run(pg.find("psql"), "-qX", "-h", "127.0.0.1", "-p", str(pg.port), "-U", "postgres", "-d", "postgres", "-c",
               "CREATE DATABASE a TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
        pg.sql("CREATE TABLE x (id int PRIMARY KEY, t text, more text); INSERT INTO x VALUES (1, 'good', 'x'), (2, E'a\\xffb', 'y'), (3, 'good', 'z')",
               database="a")
        with Weir("sources:\n" + sql("lite", lite.url, "mode: full, table: x") +
                  sql("pg", pg.url[:-1] + "a", "mode: incremental, table: x, cursor: [id]")) as w:
            for name in ("lite", "pg"):
                until(lambda: ids(w, name) == [1, 3], what="%s: %r" % (name, show(w, name)))
                letter = until(lambda: dead(w, name), what="the letter")[0]
                eq(letter["place"], "x id=2 column t", name)
                check("not UTF-8" in letter["text"] and "columns" in letter["text"], letter)
                eq((letter["record"]["key"], letter["record"]["value"]), ("2", {"id": 2, "t": "Yf9i", "more": "y"}), name)
                check("x id=2 column t" in tried(w, name)[1], tried(w, name))
            large = until(lambda: len(dead(w, "lite")) == 2 and dead(w, "lite")[1], what="the row that is too large")
            eq((large["code"], large["place"], large["record"]["value"]["more"]), ("record_too_large", "x id=4", "large"))


# ---- http ----

class Bad:
    """An HTTP server that does what its path says."""

    def __enter__(self):
        bad = self
        self.packed = gzip.compress(b" " * (40 * MIB), 1)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("?")
                try:
                    getattr(bad, "do_" + path[1:])(self, query)
                except OSError:
                    self.close_connection = True

            do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def say(h, body, status=200, **headers):
        h.send_response(status)
        for name, value in headers.items():
            h.send_header(name.replace("_", "-"), value)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        h.wfile.write(body)

    def do_ok(self, h, q):
        self.say(h, b'{"items":[{"id":1}],"cursor":null}')

    def do_denied(self, h, q):
        self.say(h, b'{"error":"bad token"}', 401)

    def do_token(self, h, q):
        self.say(h, b'{"error":"invalid_client"}', 401)

    def do_latin(self, h, q):
        self.say(h, b'{"items":[{"id":1},{"id":2,"t":"a\xffb"},{"id":3}]}')

    def do_lines(self, h, q):
        self.say(h, b'{"id":1}\n{"id":2,"t":"a\xffb"}\n{"id":3\n{"id":4}\n')

    def do_html(self, h, q):
        self.say(h, b"<html>please log in</html>")

    def do_same(self, h, q):
        self.say(h, b'{"items":[{"id":1},{"id":2}]}')

    def do_round(self, h, q):
        n = int(q.partition("c=")[2] or 0)
        self.say(h, b'{"items":[{"id":%d}],"cursor":"%d"}' % (n, (n + 1) % 3))

    def do_feed(self, h, q):
        self.say(h, b'{"items":[{"id":1},{"id":2}],"cursor":"end"}')

    def big(self, h, headers, before=b"", behind=b""):
        h.send_response(200)
        for name, value in headers.items():
            h.send_header(name, value)
        h.end_headers()
        block = before + b" " * 65536 + behind
        for _ in range((10 << 30) // 65536):
            h.wfile.write(block)

    def do_big(self, h, q):
        self.big(h, {"Content-Length": str(10 << 30)})

    def do_chunks(self, h, q):
        self.big(h, {"Transfer-Encoding": "chunked"}, b"10000\r\n", b"\r\n")

    def do_stream(self, h, q):
        h.close_connection = True
        self.big(h, {"Connection": "close"})

    def do_bomb(self, h, q):
        self.say(h, self.packed, Content_Encoding="gzip")

    def do_slow(self, h, q):
        h.send_response(200)
        h.send_header("Content-Length", "10000")
        h.end_headers()
        for _ in range(10000):
            h.wfile.write(b"{")
            time.sleep(1)

    def do_slowhead(self, h, q):
        for byte in b"HTTP/1.1 200 OK\r\nX-Pad: " + b"x" * 10000:
            h.wfile.write(bytes([byte]))
            h.wfile.flush()
            time.sleep(1)

    def do_inside(self, h, q):
        self.say(h, b"", 302, Location="http://169.254.169.254/latest/meta-data")

    def do_file(self, h, q):
        self.say(h, b"", 302, Location="file:///etc/passwd")

    def do_circle(self, h, q):
        self.say(h, b"", 302, Location="/circle")


def asked(name, bad, path, rest):
    return item(name, "http", "url: '%s', timeout: 2s, %s" % (bad.url + path, rest))


ITEMS = "records: /items, id: '{/id}'"


@test("http: refused credentials, answers that are none, pointers that find nothing: named with source, request and setting", own=True,
      timeout=90)
def _():
    with Bad() as bad, Weir("sources:\n" + asked("none", bad, "/denied", ITEMS) +
                            asked("bearer", bad, "/denied", ITEMS + ", auth: { type: bearer, token: hushhush }") +
                            asked("oauth", bad, "/ok", ITEMS + ", auth: { type: oauth2, token_url: '%s/token', client_id: weir, "
                                                               "client_secret: hushhush }" % bad.url) +
                            asked("latin", bad, "/latin", ITEMS) + asked("html", bad, "/html", ITEMS) +
                            asked("pointer", bad, "/ok", "records: /data/items, id: '{/id}'") +
                            asked("noid", bad, "/ok", "records: /items, id: '{/uuid}'") +
                            asked("lines", bad, "/lines", "format: ndjson, id: '{/id}'") + asked("good", bad, "/ok", ITEMS)) as w:
        names_failure(w, "none", "source none: GET %s/denied was answered with status 401" % bad.url, "it may want `auth`")
        names_failure(w, "bearer", "status 401", "bad token", "check `auth`")
        names_failure(w, "oauth", "auth.token_url: POST %s/token" % bad.url, "invalid_client")
        until(lambda: ids(w, "latin") == [1, 3], what="the rows of latin that are text")
        letter = until(lambda: dead(w, "latin"))[0]
        eq((letter["code"], letter["text"], letter["place"].split(", ")[1]), ("invalid_json", "the bytes are not UTF-8", "/items/1"))
        names_failure(w, "html", "the answer is no JSON", "please log in")
        names_failure(w, "pointer", "records: '/data/items' finds nothing: the document is an object with items, cursor")
        until(lambda: ids(w, "good") == [1], what="the good source")
        until(lambda: ids(w, "lines") == [1, 4], what="the good lines")
        eq([(d["code"], d["place"].split(", ")[1].split()[1]) for d in until(lambda: len(dead(w, "lines")) == 2 and dead(w, "lines"))],
           [("invalid_json", "2"), ("invalid_json", "3")])
        letter = until(lambda: dead(w, "noid"))[0]
        eq((letter["text"], letter["record"]["value"]), ("id: '/uuid' finds nothing in the record", {"id": 1}))
        check(letter["place"].endswith("/ok, /items/0"), letter["place"])
        check("hushhush" not in w.log() + w.get("/v1/sources").text, "a secret is told")


@test("http: where many sources fail at once, the log names each of them, a window of the limit later at most", own=True, timeout=60)
def _():
    names = list("abcdefghijklmn")
    with Bad() as bad, Weir("sources:\n" + "".join(asked(name, bad, "/denied", ITEMS) for name in names)) as w:
        until(lambda: all(any("source_failed" in line for line in log_of(w, name)) for name in names), 25,
              "a line of each: %r" % [name for name in names if not log_of(w, name)])


@test("http: pages that repeat for ever are told once and for all: nothing is stored twice, and it never looks like a recovery", own=True,
      timeout=60)
def _():
    with Bad() as bad, Weir("sources:\n" + asked("same", bad, "/same?page={page}", "records: /items, key: '{/id}', paging: { style: page }") +
                            asked("offset", bad, "/same?skip={offset}&n={limit}",
                                  "records: /items, key: '{/id}', paging: { style: offset, size: 2 }") +
                            asked("round", bad, "/round?c={cursor}", "records: /items, key: '{/id}', paging: { style: cursor, pointer: /cursor }") +
                            asked("feed", bad, "/feed?c={cursor}", "records: /items, key: '{/id}', paging: { style: cursor, pointer: /cursor, "
                                                                   "resume: true }")) as w:
        for name, count, words in (("same", 2, "page 2 of this run is the same as the one before it"), ("offset", 2, "the same as the one before"),
                                   ("round", 4, "the pages go round")):
            until(lambda: words in (show(w, name)["last_error"] or ""), what="%s: %r" % (name, show(w, name)))
            check("`paging`" in show(w, name)["last_error"], show(w, name))
            until(lambda: show(w, name)["errors"] >= 4 if "errors" in show(w, name) else len(log_of(w, name)) >= 3, what="more tries")
            eq(len(values(w, name)), count, name)
            check(not any("source_recovered" in line for line in log_of(w, name)), log_of(w, name))
        w.restart(hard=True)
        until(lambda: "go round" in (show(w, "round")["last_error"] or ""), what="the failure, after a kill")
        time.sleep(0.5)
        eq([len(values(w, name)) for name in ("same", "offset", "round", "feed")], [2, 2, 4, 2])
        eq(show(w, "feed")["state"], "running", "a feed that repeats its last page has no more")


@test("http: an answer of 10 GB, whatever it says of its length, and a bomb: given up at max_body, in bounded memory", own=True, timeout=90)
def _():
    with Bad() as bad, Weir("sources:\n" + "".join(asked(name, bad, "/" + name, ITEMS + ", max_body: 8MiB") for name in ("big", "chunks", "stream", "bomb")) +
                            asked("good", bad, "/ok", ITEMS)) as w:
        before, most = w.rss(), 0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            most = max(most, w.rss())
            time.sleep(0.02)
        for name in ("big", "chunks", "stream"):
            names_failure(w, name, "/" + name, "8388608", "max_body is the limit")
        names_failure(w, "bomb", "/bomb", "200 times")
        check(most - before < (48 if SLOW == 1 else 512) * MIB, "it took %d MiB" % ((most - before) // MIB))
        until(lambda: ids(w, "good") == [1], what="the good source")


@test("http: a server of one byte a second is given up in time, a redirect inwards is not followed", own=True, timeout=90)
def _():
    with Bad() as bad, Weir("sources:\n" + "".join(asked(name, bad, "/" + name, ITEMS) for name in ("slow", "slowhead", "inside", "file", "circle")) +
                            asked("anywhere", bad, "/inside", ITEMS + ", redirects: any") + asked("good", bad, "/ok", ITEMS)) as w:
        for name in ("slow", "slowhead"):
            names_failure(w, name, "/" + name, "it was not done within 2000 ms", "`timeout`")
        names_failure(w, "inside", "it redirects to another origin, http://169.254.169.254", "`redirects: any`")
        names_failure(w, "anywhere", "169.254.169.254")
        names_failure(w, "file", "what is not http or https")
        names_failure(w, "circle", "more often than is followed")
        until(lambda: ids(w, "good") == [1], what="the good source")
        expect(w.put("/v1/sources/guarded", json.dumps({"type": "http", "topic": "guarded", "url": bad.url + "/ok", "id": "{/id}",
                                                        "records": "/items", "every": "100ms", "at_start": True}),
                     {"Content-Type": "application/json"}), 201)
        until(lambda: "127.0.0.1" in (show(w, "guarded")["last_error"] or ""), what="the guard")
        eq(values(w, "guarded"), [])


# ---- files ----

@test("files: stray quotes, bytes that are no UTF-8, rows that do not fit, keys that are not there: a letter each, with file and line",
      own=True, timeout=60)
def _():
    with tempfile.TemporaryDirectory() as tmp:
        def put(name, data):
            os.makedirs(os.path.dirname(os.path.join(tmp, name)), exist_ok=True)
            with open(os.path.join(tmp, name), "wb") as f:
                f.write(data)

        put("stray/a.csv", b'id,name\n1,a\n2,"b\n3,c\n4,d"x\n5,e\n6,f"g\n7,"h"i\n8,j\n')
        put("open/a.csv", b'id,name\n1,a\n2,"b\n' + b"".join(b"%d,x\n" % i for i in range(3, 3000)))
        put("short/a.csv", b"id,name\n1,a\n2\n3,b,c\n4,d\n")
        put("latin/a.csv", b"id,name\n1,a\n2,b\xff\n3,c\n")
        put("latin/b.ndjson", b'{"id":4}\n{"id":"\xff"}\n{"id":5}\n')
        put("latin/c.json", b'[{"id":6},{"id":"\xff"},{"id":7,},{"id":8}')
        put("key/a.ndjson", b'{"id":1}\n{"uuid":2}\n{"id":3}\n')
        put("column/a.csv", b"id,title\n1,b\n")
        names = ("stray", "open", "short", "latin", "key", "column")
        with Weir("sources:\n" + "".join(item(n, "files", "quiet: 0s, paths: ['%s/%s/*']%s" % (
                tmp, n, {"key": ", key: /id", "column": ", csv: { columns: ['name:text'] }"}.get(n, ""))) for n in names) +
                  item("nothing", "files", "paths: ['%s/nothing/*']" % tmp)) as w:
            for name, good, letters in (
                    ("stray", [1, 3, 4, 5, 6, 8], [("a.csv:3", "behind a closing quote"), ("a.csv:8", "behind a closing quote; a quote within")]),
                    ("open", [1] + list(range(3, 3000)), [("a.csv:3", "a quote is not closed")]),
                    ("short", [1, 4], [("a.csv:3", "1 fields, the header 2"), ("a.csv:4", "3 fields, the header 2")]),
                    ("latin", [1, 3, 4, 5, 6, 8], [("a.csv:3", "not UTF-8"), ("b.ndjson:2", "not UTF-8"), ("c.json:1", "not UTF-8"),
                                                   ("c.json:1", "expected a member name")]),
                    ("key", [1, 3], [("a.ndjson:2", "no 'id'")]), ("column", [1], [])):
                until(lambda: (w.count_records(name), len(dead(w, name))) == (len(good), len(letters)), what="%s: %r" % (name, show(w, name)))
                eq(ids(w, name), good, name)
                found = dead(w, name)
                for place, words in letters:
                    check(any(d["place"].endswith("/" + place) and words in d["text"] for d in found), "%s %s in %r" % (place, words, found))
                code, out, _ = tried(w, name)
                eq(code, 0)
                check(not letters or letters[0][0] in out, out)
            eq(dead(w, "stray")[0]["record"]["value_text"], '2,"b', "the original bytes")
            names_warning(w, "column", "column/a.csv has no column name", "csv.columns")
            check("no file fits the paths" in tried(w, "nothing")[2], tried(w, "nothing"))


@test("files: 1 GB in one line is a letter with its beginning, the lines around it are stored, in bounded memory", own=True, timeout=120)
def _():
    with tempfile.TemporaryDirectory(dir=os.environ.get("WEIR_TMP")) as tmp, Weir(
            "sources:\n" + item("big", "files", "quiet: 0s, paths: ['%s/*']" % tmp)) as w:
        with open(tmp + "/a.log.part", "wb") as f:
            f.write(b"first\n")
            for _ in range(1024):
                f.write(b"x" * MIB)
            f.write(b"\nlast\n")
        before, most = w.rss(), 0
        os.rename(tmp + "/a.log.part", tmp + "/a.log")
        end = time.monotonic() + 90
        while show(w, "big")["records"] < 2 and time.monotonic() < end:
            most = max(most, w.rss())
            time.sleep(0.01)
        until(lambda: [r.get("value_text") for r in w.all("big")] == ["first", "last"], what="the lines around it, durable")
        letter = dead(w, "big")[0]
        eq((letter["code"], letter["place"]), ("record_too_large", tmp + "/a.log:2"))
        check("http.record_bytes_max" in letter["text"] and len(letter["record"]["value_text"]) == 65536, letter["text"])
        check(most - before < (32 if SLOW == 1 else 512) * MIB, "it took %d MiB" % ((most - before) // MIB))


# ---- websocket, kafka ----

@test("websocket: refused, redirected, a text that is no UTF-8, a pointer that finds nothing, messages without end: named, and the good stored",
      own=True, timeout=60)
def _():
    rare = ", reconnect: { min: 10s, max: 10s }"
    with Feed() as feed, Weir("sources:\n" + item("denied", "websocket", "url: '%s/token', headers: { Authorization: 'Bearer {token}' }, "
                                                                         "token: hushhush%s" % (feed.plain, rare)) +
                              item("away", "websocket", "url: '%s/302'%s" % (feed.plain, rare)) +
                              item("latin", "websocket", "url: '%s/latin'%s" % (feed.raw, rare)) +
                              item("drip", "websocket", "url: '%s/drip', message_timeout: 300ms%s" % (feed.raw, rare)) +
                              item("huge", "websocket", "url: '%s/big?bytes=100000000', max_message: 1MiB%s" % (feed.plain, rare)) +
                              item("pointer", "websocket", "url: '%s/mixed', records: /data" % feed.plain)) as w:
        for name, words in (("denied", "status 401"), ("away", "status 302"), ("latin", "1007"), ("drip", "a message had not come whole"),
                            ("huge", "larger than max_message, 1048576 bytes")):
            until(lambda: words in json.dumps(show(w, name)), what="%s: %r" % (name, show(w, name)))
            check(any(words in line for line in log_of(w, name)), log_of(w, name))
        for name in ("drip", "huge"):
            until(lambda: 1 in [v.get("seq") for v in values(w, name) if v], what="what came before, of " + name)
        letter = until(lambda: dead(w, "pointer"), what="the letters")[0]
        check("/data" in letter["text"], letter)
        eq(letter["record"]["value"], {"seq": 1})
        check("hushhush" not in w.log() + w.get("/v1/sources").text, "a secret is told")


@test("kafka: a broker that is not there, one that speaks something else, a topic that is not there: named, and the good one is read", own=True,
      timeout=60)
def _():
    def kafka(name, broker, topic="orders"):
        return item(name, "kafka", "brokers: ['%s'], topics: [%s]" % (broker, topic))

    with Weir() as far:
        far.push("orders", b'{"id":1}')
        with Weir("sources:\n" + kafka("away", "127.0.0.1:1") + kafka("other", far.authority) + kafka("topic", far.kafka, "nix") +
                  kafka("good", far.kafka)) as w:
            until(lambda: ids(w, "good") == [1], 20, "the good source")
            for name, words in (("away", "127.0.0.1:1"), ("other", far.authority), ("topic", "nix")):
                until(lambda: words in json.dumps([show(w, name)["last_error"], show(w, name)["warnings"]]), 30,
                      "%s: %r" % (name, show(w, name)))
                check(any("source_failed" in line or "source_warning" in line for line in log_of(w, name)), log_of(w, name))
