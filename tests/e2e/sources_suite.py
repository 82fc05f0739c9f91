# SPDX-License-Identifier: Apache-2.0
"""Sources at work, whatever their type: killed, paused, reset, tested, reloaded. With files, as they need no server."""
import http.server
import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time

from harness import BIN, Weir, check, eq, expect, kills, test, until

KILLS = kills(10)

CONFIG = """
sources:
  - { name: s, type: files, topic: t, every: 50ms, paths: ["%s/*.ndjson"], quiet: 0s, batch: { records: %d } }
"""


def write(path, values):
    with open(path + ".part", "w") as f:
        f.writelines("%d\n" % v for v in values)
    os.rename(path + ".part", path)


def source(w, name="s"):
    return w.source(name)


def values(w, topic="t"):
    return w.values_so_far(topic)


def weir(w, *args, code=0):
    return w.says("source", *args, code=code)


def started(tmp, batch=500):
    os.makedirs(tmp, exist_ok=True)
    return Weir(config=CONFIG % (tmp, batch))


@test("kill -9 at random moments while a source reads files: each row once, in order (%d kills)" % KILLS, own=True,
      timeout=60 + 6 * KILLS)
def _():
    rand = random.Random(7)
    tmp = "/tmp/weir-sources-%d" % os.getpid()
    with started(tmp, batch=41) as w:
        count = 0
        for i in range(KILLS):
            write("%s/%03d.ndjson" % (tmp, i), range(count, count + 4000))
            count += 4000
            time.sleep(rand.uniform(0, 0.3))
            w.kill()
            w.start()
        until(lambda: len(values(w)) >= count, timeout=60, what="every row")
        got = values(w)
        eq(len(got), count)
        eq(sorted(got), list(range(count)))
        for i in range(KILLS):
            mine = [v for v in got if i * 4000 <= v < (i + 1) * 4000]
            eq(mine, sorted(mine), "the order of one file")
        w.stop()
        eq(subprocess.run([BIN, "verify", w.data], capture_output=True).returncode, 0)
    subprocess.run(["rm", "-r", tmp])


@test("a pause outlives a restart, a reset begins at the beginning, a test stores nothing", own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-p%d" % os.getpid()
    with started(tmp) as w:
        write(tmp + "/a.ndjson", range(100))
        until(lambda: len(values(w)) == 100, what="the first file")
        weir(w, "pause", "s")
        eq(source(w)["state"], "paused")
        write(tmp + "/b.ndjson", range(100, 200))
        w.restart(hard=True)
        until(lambda: source(w)["state"] == "paused", what="what was stored to be read")
        eq(len(values(w)), 100)
        lines = [json.loads(x) for x in weir(w, "test", "s", "--records", "3").splitlines()]
        eq([x["value"] for x in lines], [0, 1, 2])
        eq(len(values(w)), 100)
        weir(w, "resume", "s")
        until(lambda: len(values(w)) == 200, what="what came while it was paused")
        weir(w, "reset", "s", "--yes")
        until(lambda: len(values(w)) == 400, what="everything again")
        eq(sorted(values(w)), sorted(2 * list(range(200))))
    subprocess.run(["rm", "-r", tmp])


KEEPING = """
sources:
  - { name: kafka, type: kafka, topic: k, brokers: ["%(kafka)s"], topics: [t], every: 300ms, %(slow)s }
  - { name: websocket, type: websocket, topic: s, url: "%(ws)s/v1/topics/t/ws?mode=subscribe&cursor=earliest&format=raw", %(slow)s }
  - { name: weir, type: weir, topic: w, url: "%(url)s", from: t, %(slow)s }
"""


def opened(far):
    """What the three have open at the other weir, besides the question itself."""
    m = far.metrics()
    return {"kafka": m['weir_connections{listener="kafka"}'], "websocket": m['weir_readers{way="ws"}'],
            "weir": m['weir_connections{listener="http"}'] - m['weir_readers{way="ws"}'] - 1}


@test("a pause closes the connections of every type that keeps some, those that rest between two pulls too, and tells it; a resume opens them",
      own=True, timeout=60)
def _():
    for slow in ("batch: { records: 1 }, rate_limit: 1", "batch: { records: 100 }"):  # held back with a pull due; and waiting for more
        with Weir() as far:
            far.ndjson("t", list(range(100)))
            with Weir(KEEPING % {"kafka": far.kafka, "ws": far.ws_url, "url": far.url, "slow": slow}) as w:
                topics = {"kafka": "k", "websocket": "s", "weir": "w"}
                for name, topic in topics.items():
                    until(lambda: w.count_records(topic) >= (1 if "rate" in slow else 100), what="records of " + name)
                for name, topic in topics.items():
                    check(opened(far)[name] > 0, "%s has nothing open: %r" % (name, opened(far)))
                    expect(w.post("/v1/sources/%s/pause" % name), 204)
                    until(lambda: opened(far)[name] == 0, what="%s to close its connections: %r" % (name, opened(far)))
                    told = until(lambda: [x for x in w.log().splitlines() if "event=peers_cut" in x and "source=%s " % name in x], what="a line")
                    check(len(told) == 1 and not told[0].endswith("connections=0"), told)
                    stood = w.count_records(topic)
                    time.sleep(0.2)
                    eq((opened(far)[name], w.count_records(topic)), (0, stood), "while %s is paused" % name)
                    expect(w.post("/v1/sources/%s/resume" % name), 204)
                    until(lambda: opened(far)[name] > 0, what="%s to go on" % name)
                    far.push("t", b"-1")
                    if "rate" not in slow:
                        until(lambda: w.values(topic)[-1] == -1, what="what came behind the pause, of " + name)


@test("a reload starts, changes and stops sources; what is wrong with one is said with its line", own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-r%d" % os.getpid()
    with started(tmp) as w:
        write(tmp + "/a.ndjson", range(10))
        until(lambda: len(values(w)) == 10, what="the first file")
        text = open(w.config_path).read()
        with open(w.config_path, "a") as f:
            f.write('  - { name: more, type: files, topic: u, every: 50ms, paths: ["%s/*.ndjson"], quiet: 0s }\n' % tmp)
        w.signal(signal.SIGHUP)
        until(lambda: len(values(w, "u")) == 10, what="the source that was added")
        eq(len(values(w)), 10, "the other one goes on where it was")
        with open(w.config_path, "w") as f:
            f.write(text.replace("every: 50ms", "evry: 50ms"))
        p = subprocess.run([BIN, "check", w.config_path], capture_output=True, text=True)
        check('unknown key "evry"' in p.stderr and "every" in p.stderr, p.stderr)
        with open(w.config_path, "w") as f:
            f.write(text)
        w.signal(signal.SIGHUP)
        until(lambda: w.get("/v1/sources/more").status == 404, what="the source that was taken out")
        eq([s["name"] for s in w.get("/v1/sources").json()["sources"]], ["s"])
        eq(w.post("/v1/sources/nobody/pause").status, 404)
    subprocess.run(["rm", "-r", tmp])


# ---- following ----

FOLLOW = """
sources:
  - { name: s, type: files, topic: t, every: %s, at_start: true, follow: true, paths: ["%s/*.log"], format: lines%s }
"""


@test("a file that is followed is read when it grows, whatever the schedule says: appended, rotated, cut, new; and silence costs nothing",
      own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-f%d" % os.getpid()
    os.makedirs(tmp, exist_ok=True)
    lines = []

    def texts():
        return [r.get("value_text", r.get("value")) for r in w.all("t")] if w.get("/v1/topics/t").status == 200 else []

    def say(name, text, mode="a"):
        with open(os.path.join(tmp, name), mode) as f:
            f.write(text)

    with Weir(config=FOLLOW % ("1h", tmp, "")) as w:
        def arrives(what):
            until(lambda: sorted(map(str, texts())) == sorted(lines), what=what)

        say("a.log", "first line of a\n")
        lines.append("first line of a")
        arrives("a file that came")
        for i in range(20):
            say("a.log", "line %d of a\n" % i)
            lines.append("line %d of a" % i)
            arrives("what was appended")
        os.rename(tmp + "/a.log", tmp + "/a.1")
        say("a.1", "late line of a\n")
        say("a.log", "second a\n")
        lines += ["late line of a", "second a"]
        arrives("what was rotated, and its successor")
        say("a.log", "", "w")
        say("a.log", "cut\n")
        lines.append("cut")
        arrives("what was emptied and written anew")
        say("b.log", "half a ")
        say("b.log", "line\n")
        lines.append("half a line")
        arrives("a second file")
        time.sleep(0.3)
        before = w.ticks()
        time.sleep(1.5)
        check(w.ticks() - before <= 3, "idle, and %d ticks in 1.5 s" % (w.ticks() - before))
        w.restart(hard=True)
        say("b.log", "after a kill\n")
        lines.append("after a kill")
        arrives("what came after a kill")
        eq(source(w)["warnings"] if "warnings" in source(w) else [], [])
    subprocess.run(["rm", "-r", tmp])


@test("a writer that never stops is read in batches, not write by write", own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-w%d" % os.getpid()
    os.makedirs(tmp, exist_ok=True)
    with Weir(config=FOLLOW % ("1h", tmp, "")) as w:
        count = 100000  # in two seconds, or as long as it takes
        with open(tmp + "/a.log", "w", buffering=1) as f:
            begun = time.monotonic()
            for i in range(count):
                f.write("line %d\n" % i)
                if i % 500 == 0:
                    time.sleep(max(0, begun + i * 2 / count - time.monotonic()))
        until(lambda: source(w)["records"] == count, what="every line")
        pulls = w.metrics()['weir_source_pulls_total{source="s"}']
        check(pulls < 1000, "%d pulls for %d lines" % (pulls, count))
    subprocess.run(["rm", "-r", tmp])


# ---- runs beside the schedule ----

RUNS = """
sources:
  - name: rows
    type: sql
    topic: rows
    every: 100ms
    url: sqlite:%s
    mode: incremental
    table: rows
    cursor: [id]
    start: "%d"
    batch: { records: 200 }
  - { name: lines, type: files, topic: t, every: 1s, paths: ["/nowhere/*.ndjson"] }
"""


def table(path, count):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO rows VALUES (?, ?)", ((i, "row %d" % i) for i in range(count)))


def run_of(w, number, name="rows"):
    return expect(w.get("/v1/sources/%s/runs/%d" % (name, number)), 200).json()


def ids(w):
    return [v["id"] for v in values(w, "rows")]


@test("a run with --from and --to goes on after kill -9, beside the schedule: each row of it once", own=True, timeout=90)
def _():
    rand = random.Random(11)
    path = "/tmp/weir-runs-%d.db" % os.getpid()
    table(path, 20000)
    with Weir(config=RUNS % (path, 14000)) as w:
        until(lambda: source(w, "rows")["records"] == 6000, what="the schedule")
        number = int(weir(w, "run", "rows", "--from", "5000", "--to", "15000", "--rate", "2500", "--detach"))
        eq(number, 1)
        for _ in range(4):
            time.sleep(rand.uniform(0.2, 0.6))
            w.kill()
            w.start()
            eq(run_of(w, 1)["from"], "5000")
        with sqlite3.connect(path) as db:
            db.execute("INSERT INTO rows VALUES (20000, 'new')")
        until(lambda: 20000 in ids(w), what="the schedule, while the run is under way")
        check(run_of(w, 1)["state"] == "running", "the run is over too early: %r" % run_of(w, 1))
        out = [json.loads(x) for x in weir(w, "run", "rows", "--watch", "1").splitlines()]
        eq(out[-1]["state"], "done")
        eq((out[-1]["read"], out[-1]["records"]), (10000, 9000))
        check(any(x.get("type") == "progress" and x["per_second"] > 0 for x in out), out)
        eq(sorted(ids(w)), list(range(5000, 20001)), "what both read is stored once")
        eq([r["state"] for r in source(w, "rows")["runs"]], ["done"])
        w.restart(hard=True)
        eq(run_of(w, 1)["records"], 9000)
        eq(len(ids(w)), 15001, "a run that is over is not begun again")
        w.stop()
        eq(subprocess.run([BIN, "verify", w.data], capture_output=True).returncode, 0)
    os.unlink(path)


@test("a run can be cancelled, resumed and forgotten; what cannot be one says why", own=True, timeout=60)
def _():
    path = "/tmp/weir-runs-c%d.db" % os.getpid()
    table(path, 3000)
    with Weir(config=RUNS % (path, 2000)) as w:
        until(lambda: source(w, "rows")["records"] == 1000, what="the schedule")
        r = expect(w.post("/v1/sources/rows/runs", json.dumps({"from": 100, "to": "2100", "rate": 500})), 201).json()
        eq((r["run"], r["state"], r["from"], r["to"], r["rate"]), (1, "running", "100", "2100", 500))
        until(lambda: run_of(w, 1)["records"] > 0, what="the first rows of the run")
        weir(w, "cancel", "rows", "1")
        eq(run_of(w, 1)["state"], "cancelled")
        got = len(ids(w))
        check(1000 < got < 2900, got)
        w.restart(hard=True)
        eq(run_of(w, 1)["state"], "cancelled")
        eq(len(ids(w)), got)
        eq(json.loads(weir(w, "run", "rows", "--resume", "1").splitlines()[-1])["read"], 2000)
        eq(sorted(ids(w)), list(range(100, 3000)))
        weir(w, "cancel", "rows", "1")
        eq(w.get("/v1/sources/rows/runs/1").status, 404)
        eq(expect(w.get("/v1/sources/rows/runs"), 200).json()["runs"], [])
        p = subprocess.run([BIN, "source", "run", "lines", "--from", "1", "--server", w.url], capture_output=True, text=True)
        eq(p.returncode, 1)
        check("type files has no order" in p.stderr, p.stderr)
        for body in ('{"form": 1}', '{"rate": 0}', '{"from": {}}', '[]', '{"from": "1"'):
            eq(w.post("/v1/sources/rows/runs", body).status, 400, body)
        eq(w.post("/v1/sources/rows/runs/9/resume").status, 404)
        eq(w.get("/v1/sources/nobody/runs").status, 404)
        for _ in range(4):
            expect(w.post("/v1/sources/rows/runs", '{"rate": 1}'), 201)
        expect(w.post("/v1/sources/rows/runs", '{"rate": 1}'), 409)
        with open(w.config_path) as f:
            text = f.read()
        with open(w.config_path, "w") as f:
            f.write(text.replace("table: rows", "table: other"))
        w.signal(signal.SIGHUP)
        until(lambda: [r["state"] for r in source(w, "rows")["runs"]] == ["failed"] * 4, what="a table that is not there")
        check("other" in source(w, "rows")["runs"][0]["last_error"], source(w, "rows")["runs"])
    os.unlink(path)


# ---- sources made over the API ----

def put(w, name, body, type="application/json"):
    return w.put("/v1/sources/" + name, body if isinstance(body, str) else json.dumps(body), {"Content-Type": type})


@test("a source made over the API has the keys of the file, outlives a kill, sees nothing of this machine, and gives no secret back",
      own=True, timeout=60)
def _():
    with Weir(config=CONFIG % ("/nowhere", 10)) as w:
        keys = {"type": "http", "topic": "t", "url": "http://127.0.0.1:%d/healthz" % w.port, "every": "100ms", "id": "{/id}",
                "auth": {"type": "bearer", "token": "hush-hush-hush"}, "retry": {"min": "10ms", "max": "50ms"}}
        made = expect(put(w, "api", keys), 201).json()
        eq((made["managed_by"], made["settings"]["every"], made["settings"]["auth.token"]), ("api", "100ms", "***"))
        until(lambda: source(w, "api")["last_error"], what="a failure")
        check("127.0.0.1" in source(w, "api")["last_error"] or "address" in source(w, "api")["last_error"], source(w, "api"))
        w.kill()
        w.start()
        eq(source(w, "api")["managed_by"], "api")
        eq(source(w, "s")["managed_by"], "file")
        until(lambda: source(w, "api")["state"] == "failing", what="the guard, after a restart")
        changed = expect(put(w, "api", dict(keys, every="1h")), 200).json()
        eq(changed["settings"]["every"], "1h")
        eq(source(w, "api")["settings"]["every"], "1h")
        hidden = expect(put(w, "x2", dict(keys, url="https://me:word@example.invalid/a?token=hush-hush-hush&x=1")), 201).json()
        eq(hidden["settings"]["url"], "https://***@example.invalid/a?***")
        expect(w.delete("/v1/sources/x2"), 204)
        yaml = "type: http\ntopic: t\nname: yaml.one\nid: '{/id}'\nurl: http://localhost:1/\nevery: {min: 1s, max: 1m}\n"
        eq(expect(put(w, "yaml.one", yaml, "application/yaml"), 201).json()["settings"]["every.max"], "1m")
        for name, body, what in (("x", dict(keys, evry="1s"), "every"), ("x", dict(keys, url="${env:HOME}"), "variable"),
                                 ("x", dict(keys, url="${file:/etc/passwd}"), "/etc/passwd"), ("x", dict(keys, name="y"), "another source"),
                                 ("x", dict(keys, type="htp"), "http"), ("x", "[1]", "mapping"), ("x", "{", ""), ("x", "", "mapping"),
                                 ("x", {"type": "http"}, "topic"), ("a%2Fb", keys, "name of a source")):
            r = put(w, name, body)
            eq(r.status, 400, repr(body))
            check(what in r.json()["detail"], r.json()["detail"])
            check("hush" not in r.text, r.text)
        for name, body in (("local", {"type": "files", "topic": "t", "paths": ["/etc/passwd"]}),
                           ("lite", {"type": "sql", "topic": "t", "url": "sqlite:/tmp/x.db", "table": "t", "mode": "full"})):
            expect(put(w, name, body), 201)
            until(lambda: source(w, name)["state"] in ("broken", "failing"), what="the refusal of " + name)
            check(source(w, name)["last_error"], name)
            state = source(w, name)["state"]
            weir(w, "pause", name)
            weir(w, "resume", name)
            until(lambda: source(w, name)["state"] == state, what="it not to look well for having been paused")
            check(state != "broken" or "source_broken" in w.log(), "a line in the log")
            expect(w.delete("/v1/sources/" + name), 204)
        eq(put(w, "s", keys).json()["code"], "managed_by_file")
        eq(w.delete("/v1/sources/s").json()["code"], "managed_by_file")
        eq(w.delete("/v1/sources/nobody").status, 404)
        check("hush" not in w.get("/v1/sources").text + w.get("/v1/sources/api").text + w.log(), "a secret is told")


@test("what the file names belongs to the file: a source of the API waits behind it, and comes back; deleted it is gone", own=True,
      timeout=60)
def _():
    tmp = "/tmp/weir-sources-m%d" % os.getpid()
    with started(tmp) as w:
        write(tmp + "/a.ndjson", range(10))
        until(lambda: len(values(w)) == 10, what="the first file")
        expect(put(w, "both", {"type": "http", "topic": "t", "url": "http://localhost:1/", "id": "{/id}"}), 201)
        weir(w, "pause", "both")
        with open(w.config_path) as f:
            text = f.read()
        with open(w.config_path, "a") as f:
            f.write('  - { name: both, type: files, topic: u, every: 50ms, paths: ["%s/*.ndjson"], quiet: 0s }\n' % tmp)
        w.signal(signal.SIGHUP)
        until(lambda: source(w, "both")["managed_by"] == "file", what="the file to take it over")
        eq((source(w, "both")["type"], source(w, "both")["state"]), ("files", "paused"))
        w.restart(hard=True)
        eq(source(w, "both")["managed_by"], "file")
        with open(w.config_path, "w") as f:
            f.write(text)
        w.signal(signal.SIGHUP)
        until(lambda: source(w, "both")["managed_by"] == "api", what="the one of the API")
        until(lambda: source(w, "both")["state"] == "paused", what="its pause")
        expect(w.delete("/v1/sources/both"), 204)
        eq(w.get("/v1/sources/both").status, 404)
        w.restart(hard=True)
        eq(w.get("/v1/sources/both").status, 404)
        expect(put(w, "both", {"type": "http", "topic": "t", "url": "http://localhost:1/", "id": "{/id}"}), 201)
        check(source(w, "both")["state"] != "paused", "what was known of a deleted source")
        eq([x["name"] for x in w.get("/v1/sources").json()["sources"]], ["both", "s"])
    subprocess.run(["rm", "-r", tmp])


# ---- pushed and pulled ----

HYBRID = """
sources:
  - { name: slow, type: http, topic: rows, every: 100ms, url: "http://127.0.0.1:%d/", records: /items, id: "row-{/id}" }
"""


@test("what was pushed and is pulled too is stored once, whichever comes first, over a kill", own=True, timeout=60)
def _():
    rows = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"items": [{"id": i, "by": "pull"} for i in rows]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *a):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Weir(config=HYBRID % server.server_port) as w:
        def push(i):
            got = expect(w.post("/v1/topics/rows/records", json.dumps({"id": i, "by": "pull"}),
                                {"Content-Type": "application/json", "Idempotency-Key": "row-%d" % i}), 200).json()
            return got["accepted"], got["duplicates"]

        for i in range(0, 20):
            eq(push(i), (1, 0))
        rows += range(10, 30)
        until(lambda: len(ids(w)) >= 30, what="what the push missed")
        check(source(w, "slow")["duplicates"] >= 10, source(w, "slow"))
        w.kill()
        w.start()
        for i in range(15, 40):
            eq(push(i), (0, 1) if i < 30 else (1, 0), "row %d" % i)
        rows += range(30, 45)
        until(lambda: 44 in ids(w), what="the rows that were pushed before they were pulled")
        time.sleep(0.5)
        eq(sorted(ids(w)), list(range(45)))
    server.shutdown()


class Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everybody, and says what it was sent, as many do."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        said = ("you sent %s %s %s %s" % (self.command, self.path, " ".join("%s: %s" % h for h in self.headers.items() if h[0] not in (
            "Host", "Accept", "User-Agent", "Accept-Encoding")), body)).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_HEAD = answer

    def log_message(self, *args):
        pass


# Each has a word that begins with "hush" wherever it says who asks.
SECRETIVE = {
    "http-query": "type: http, url: 'http://%s/a?api_key=hush-query', records: /items",
    "http-urls": "type: http, urls: ['http://%s/a?token=hush-urls'], records: /items",
    "http-header": "type: http, url: 'http://%s/', headers: { X-Api-Key: hush-header, Cookie: 'sid=hush-cookie' }, records: /items",
    "http-body": "type: http, url: 'http://%s/', method: POST, body: 'token=hush-body&page=1', records: /items",
    "http-basic": "type: http, url: 'http://%s/', auth: { type: basic, user: me, password: hush-basic }, records: /items",
    "http-bearer": "type: http, url: 'http://%s/', auth: { type: bearer, token: hush-bearer }, records: /items",
    "http-oauth2": "type: http, url: 'http://%s/', auth: { type: oauth2, token_url: 'http://%s/t?key=hush-oauthurl', client_id: me, client_secret: "
                   "hush-oauth }, records: /items",
    "sql-postgresql": "type: sql, url: 'postgresql://me:hush-pg@%s/d', mode: full, table: t",
    "sql-password": "type: sql, url: 'postgresql://me@%s/d', password: hush-pgkey, mode: full, table: t",
    "sql-mariadb": "type: sql, url: 'mariadb://me:hush-maria@%s/d', mode: full, table: t",
    "kafka": "type: kafka, brokers: ['%s'], topics: [a], sasl: { mechanism: scram-sha-256, user: me, password: hush-kafka }",
    "websocket": "type: websocket, url: 'ws://%s/feed?apikey=hush-wsurl&t={token}', token: hush-wstoken",
    "weir": "type: weir, url: 'http://%s', from: a, token: hush-weir",
}


@test("no type shows a secret, whether nobody answers or who answers refuses and repeats it", own=True, timeout=120)
def _():
    echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    places = {"refused": "127.0.0.1:%d" % echo.server_port, "silent": "127.0.0.1:1"}
    lines, names = "", []
    for name, keys in SECRETIVE.items():
        for where, place in places.items():
            if where == "refused" and name.startswith(("sql", "kafka")):
                continue  # what answers speaks HTTP
            names.append(name + "-" + where)
            lines += "  - { name: %s-%s, topic: t, at_start: true, every: 1s, %s }\n" % (name, where, keys.replace("%s", place))
    with Weir(config="sources:\n" + lines) as w:
        for name in names:
            until(lambda name=name: source(w, name).get("last_error"), 60, what="an error of " + name)
        def lines_of():  # what is told of the configuration itself shows its lines as they are
            return "\n".join(line for line in w.log().split("\n") if line.startswith("ts="))
        shown = {"log": lines_of(), "metrics": w.get("/metrics").text, "list": w.get("/v1/sources").text,
                 "command list": weir(w, "list")}
        for name in names:
            shown["/v1/sources/" + name] = w.get("/v1/sources/" + name).text
            shown["show " + name] = weir(w, "show", name)
        tests = [subprocess.Popen([BIN, "source", "test", name, "--server", w.url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for name in names]
        for name, process in zip(names, tests):
            shown["test " + name] = process.communicate(timeout=60)[0].decode()
        shown["log, later"] = lines_of()
        shown["dead"] = w.get("/v1/dead").text
        for what, text in shown.items():
            at = text.find("hush")
            check(at < 0, "%s shows a secret: ...%s" % (what, text[max(0, at - 200):at + 40]))
            for word in ("bWU6aHVzaC1iYXNpYw",):
                check(word not in text, "%s shows what Basic sends: %s" % (what, text))
        check("***" in shown["log"] + shown["list"], "nothing was hidden: the test sees nothing")
    echo.shutdown()
