# SPDX-License-Identifier: Apache-2.0
"""The command line: help, exit codes, and the commands that talk to a running weir."""
import json
import os
import signal
import subprocess
import tempfile
import threading
import time

from harness import BIN, Later, Weir, _die_with_parent, check, eq, test, until, weir

COMMANDS = ["serve", "check", "topic", "produce", "tail", "verify", "bench", "version"]


def at(w, *args, **kw):
    return weir(*args, env={"WEIR_SERVER": w.url}, **kw)


@test("help is on stdout with exit 0 and names every command")
def _(w):
    code, out, err = weir("help")
    eq((code, err), (0, ""))
    for c in COMMANDS:
        check(c in out, "help does not name " + c)
        code, text, err = weir(c, "--help")
        eq((code, err), (0, ""), c + " --help")
        check(len(text) > 60, "%s --help says nothing: %r" % (c, text))


@test("an unknown command or option is exit 2 and names the nearest valid one")
def _(w):
    code, out, err = weir("prodcue", "x")
    eq((code, out), (2, ""))
    check("produce" in err, repr(err))
    code, out, err = weir("serve", "--htpp", "127.0.0.1:0")
    eq((code, out), (2, ""))
    check("--http" in err, repr(err))
    code, out, err = weir()
    check(code in (0, 2), "weir alone: exit %d" % code)


@test("version names the libraries it is linked with")
def _(w):
    code, out, err = weir("version")
    eq(code, 0)
    for lib in ("libuv", "zstd", "simdjson"):
        check(lib in out.lower(), "%s is not named: %r" % (lib, out))


@test("check finds every problem at once, with file, line, column and the nearest name")
def _(w):
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "weir.yaml")
        with open(path, "w") as f:
            f.write("http: { lisen: 127.0.0.1:8080 }\ntopics:\n  - { name: a b, partitions: 0 }\ncolour: red\n")
        code, out, err = weir("check", path)
        eq(code, 2)
        text = out + err
        for want in ("%s:1:9" % path, "listen", "%s:3:" % path, "partitions", "%s:4:1" % path, "colour"):
            check(want in text, "%r is not in %r" % (want, text))
        with open(path, "w") as f:
            f.write("http: { listen: 127.0.0.1:8080 }\n")
        eq(weir("check", path)[0], 0)
        eq(weir("check", path + ".none")[0], 2)


SECRETS = [
    # what stands in the file, and what of its line is shown
    ("sources:\n  - { name: a, type: sql, topic: t, url: 'postgresql://me:hunter2@db/shop', mode: fulll, table: x }\n", "mode: fulll"),
    ("sources:\n  - { name: a, type: sql, topic: t, url: 'oracle://me:hunter2@db/shop', mode: full, table: x }\n", "url: '***'"),
    ("sources:\n  - { name: a, type: http, topic: t, every: 1x, url: 'https://me:hunter2@h/?key=hunter2&page=2', id: x }\n", "every: 1x"),
    ("sources:\n  - name: a\n    type: http\n    topic: t\n    id: x\n    url: https://h/\n    headers: { Authorization: Bearer hunter2, Accept: [] }\n",
     "headers: { Authorization: ***, Accept: [] }"),
    ("sources:\n  - { name: a, type: http, topic: t, id: x, url: 'https://h/', auth: { type: bearer, token: hunter2, tokn: hunter2 } }\n", "tokn: ***"),
    ("sources:\n  - { name: a, type: kafka, topic: t, brokers: [b], topics: [x], sasl: { mechanism: plian, user: u, password: hunter2 } }\n",
     "mechanism: plian, user: u, password: ***"),
    ("sources:\n  - { name: a, type: websocket, topic: t, url: 'wss://h/', token: hunter2, subscribe: ['{\"token\":\"hunter2\"}'], silence: 1x }\n",
     "silence: 1x"),
    ("sources:\n  - name: a\n    type: weir\n    topic: t\n    from: x\n    url: http://h\n    token: \"hunter2\n    limit: 5\n", "token: \"***"),
    ("kafka:\n  users:\n    - hunter2:\n      - a\n", ""),
    ("http: { listen: nowhere, token: hunter2 }\n", "listen: nowhere, token: ***"),
]


@test("no line that check, serve or the API show has a secret of the configuration in it", own=True)
def _():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "weir.yaml")
        for text, shown in SECRETS:
            with open(path, "w") as f:
                f.write(text)
            for words in (["check", path], ["check", "--json", path], ["serve", "-c", path, "--data", d + "/data"]):
                code, out, err = weir(*words)
                check(code == 2 or words[0] == "serve" and code, "%s takes %s" % (words[0], text))
                check("hunter" not in out + err, "%s\n%s" % (text, out + err))
                check("--json" in words or shown in out + err, "%r is not in\n%s" % (shown, out + err))
    with Weir() as w:
        body = {"type": "http", "topic": "t", "url": "https://me:hunter2@h/", "id": "x", "every": "1x", "auth": {"type": "bearer", "token": ["hunter2"]}}
        r = w.put("/v1/sources/a", json.dumps(body), {"Content-Type": "application/json"})
        eq(r.status, 400)
        check("every" in r.text and "hunter" not in r.text, r.text)
    with Weir(config="http: { cors: false }\n") as w:
        w.write_config("http: { pass: hunter2, cors: maybe }\n")
        w.signal(signal.SIGHUP)
        until(lambda: "cors" in w.log(), what="the refusal of the reload")
        check("hunter" not in w.log(), w.log())


@test("check takes the example of the quickstart")
def _(w):
    from harness import ROOT
    code, out, err = weir("check", os.path.join(ROOT, "examples", "quickstart", "weir.yaml"))
    eq(code, 0, out + err)


@test("topic create, list, show, trim and delete")
def _(w):
    t = w.topic()
    eq(at(w, "topic", "create", t, "--partitions", "3")[0], 0)
    w.ndjson(t, list(range(9)))
    code, out, _err = at(w, "topic", "list")
    check(code == 0 and t in out, out)
    code, out, _err = at(w, "topic", "show", t, "--json")
    eq(code, 0)
    check(t in json.dumps(json.loads(out)), out)
    eq(at(w, "topic", "trim", t, "--before", "latest")[0], 0)
    eq(w.all(t), [])
    eq(at(w, "topic", "delete", t)[0], 0)
    eq(w.get("/v1/topics/" + t).status, 404)
    code, out, err = at(w, "topic", "show", t)
    eq((code, out), (1, ""))
    check(t in err, repr(err))


@test("produce sends a record a line from stdin or a file, tail -n prints them")
def _(w):
    t = w.topic()
    eq(at(w, "produce", t, "--key", "k", "--header", "h=v", input=b'{"a": 1}\nplain text\n')[0], 0)
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("1\n2\n")
        f.flush()
        eq(at(w, "produce", t, f.name)[0], 0)
    r = w.all(t)
    eq([x.get("value", x.get("value_text")) for x in r], [{"a": 1}, "plain text", 1, 2])
    eq((r[0]["key"], r[0]["headers"].get("h")), ("k", "v"))
    code, out, _err = at(w, "tail", t, "--from", "earliest", "-n", "4")
    eq(code, 0)
    got = [json.loads(line) for line in out.splitlines()]
    eq([x["offset"] for x in got], [0, 1, 2, 3])


@test("produce sends an idempotency key as it was given, quotes and blanks too")
def _(w):
    for key in ('"q"', '"half', " blank ", 'in"side', "back\\slash", '"both\\"'):
        t = w.topic()
        for want in ("1 accepted, 0 already", "0 accepted, 1 already"):
            code, _out, err = weir("produce", t, "--server", w.url, "--idempotency-key", key, input=b"1\n")
            eq(code, 0, err)
            check(want in err, err)
        eq([r["headers"]["idempotency-key"] for r in w.all(t)], [key])


@test("a command without a server is exit 1 and says whom it asked")
def _(w):
    code, out, err = weir("topic", "list", "--server", "http://127.0.0.1:1")
    eq((code, out), (1, ""))
    check("127.0.0.1:1" in err, repr(err))


@test("produce over restarts and kill -9 loses and repeats nothing", own=True, timeout=90)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        p = subprocess.Popen([BIN, "produce", t, "--server", w.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, preexec_fn=_die_with_parent)
        n = 20000

        def feed():
            for i in range(n):
                p.stdin.write(b"%d\n" % i)
                if i % 2000 == 0:
                    p.stdin.flush()
                    time.sleep(0.15)
            p.stdin.close()
        feeder = Later(feed)
        for hard in (True, False, True):
            time.sleep(0.3)
            w.restart(hard)
        feeder.get(60)
        eq(p.wait(60), 0, p.stderr.read().decode()[-500:])
        got = w.values(t)
        eq(got, list(range(n)), "of %d: %r" % (n, [(i, v) for i, v in enumerate(got) if i != v][:5]))


@test("what one connection pushes keeps its order though keys must be looked up on the disk", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        lines = "".join("%d\n" % i for i in range(8000)).encode()
        at(w, "produce", t, "--idempotency-key", "old-{line}", input=lines)
        w.restart()  # the keys are in a run now; about one in a hundred others seems to be there too
        stopped = threading.Event()

        def forget():
            while not stopped.is_set():
                w.forget_pages("seen")
        forgetting = Later(forget)
        try:
            code, _, err = at(w, "produce", t, "--idempotency-key", "new-{line}", input=lines)
        finally:
            stopped.set()
            forgetting.get()
        eq(code, 0, err)
        eq(w.values(t), 2 * list(range(8000)))


@test("tail --follow over a restart and kill -9 prints each record once", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        p = subprocess.Popen([BIN, "tail", t, "--from", "earliest", "--follow", "--server", w.url], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        got = []

        def read():
            for line in p.stdout:
                got.append(json.loads(line)["value"])
        Later(read)
        for i in range(6):
            w.ndjson(t, list(range(i * 10, i * 10 + 10)))
            until(lambda: len(got) == i * 10 + 10, 15, "ten more lines")
            if i % 2:
                w.restart(hard=i == 1)
        p.terminate()
        p.wait(10)
        eq(got, list(range(60)))


@test("verify is exit 0 on a good data directory and names the fault in a bad one", own=True, timeout=60)
def _():
    import glob
    with Weir() as w:
        t = w.topic()
        for i in range(200):
            w.push(t, json.dumps({"mark": "needle-%03d" % i}))
        w.stop()
        code, out, err = weir("verify", w.data)
        eq(code, 0, out + err)
        hit = None
        for path in glob.glob(os.path.join(w.data, "topics", "*", "*", "*.log")):
            with open(path, "r+b") as f:
                at_ = f.read().find(b"needle-100")
                if at_ >= 0:
                    f.seek(at_)
                    f.write(b"NEEDLE")
                    hit = path
        check(hit, "the record is in no segment")
        code, out, err = weir("verify", w.data)
        eq(code, 1)
        check(os.path.basename(hit) in out + err, out + err)


@test("damage in a segment costs the records that it hits: readers are told of the gap and go on", own=True, timeout=60)
def _():
    import glob
    from harness import Sse
    with Weir() as w:
        t = w.topic()
        for i in range(200):
            w.push(t, json.dumps({"n": i, "mark": "needle-%03d" % i}))
        w.stop()
        for path in glob.glob(os.path.join(w.data, "topics", "*", "*", "*.log")):
            with open(path, "r+b") as f:
                at_ = f.read().find(b"needle-100")
                if at_ >= 0:
                    f.seek(at_)
                    f.write(b"NEEDLE")
        w.start()
        doc, seen, gaps, cursor = None, [], [], "earliest"
        for _ in range(50):
            doc = w.poll(t, cursor=cursor, limit=1000)
            seen += [r["value"]["n"] for r in doc["records"]]
            gaps += doc.get("gaps", [])
            cursor = doc["cursor"]
            if doc["caught_up"]:
                break
        eq(seen, [n for n in range(200) if n != 100])
        eq([(g["partition"], g["from"], g["to"]) for g in gaps], [(0, 100, 101)])
        with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
            events = s.take(200)
            eq([e.event for e in events].count("gap"), 1)
        eq(w.push(t, b"1")["offsets"][0]["first"], 200)


@test("bench produce prints a rate and percentiles, and what it counts is stored", timeout=60)
def _(w):
    t = w.topic()
    code, out, err = at(w, "bench", "produce", "--topic", t, "--seconds", "1", timeout=50)
    eq((code, err), (0, ""))
    check("p99" in out and "records/s" in out, out)
    code, out, err = at(w, "bench", "produce", "--topic", t, "--seconds", "1", "--batch", "10", "--rate", "500", "--keys", "--json", timeout=50)
    eq((code, err), (0, ""))
    doc = json.loads(out)
    eq((doc["bench"], doc["errors"]), ("produce", 0))
    check(0 < doc["records"] <= 500, out)  # no more than the rate; fewer where nobody let it run in time
    check(0 < doc["latency_ms"]["p50"] <= doc["latency_ms"]["p999"] <= doc["latency_ms"]["max"], out)
    eq(len([r for r in w.all(t) if "idempotency-key" in r["headers"]]), doc["records"])


@test("bench consume reads all that was there, in each way", timeout=60)
def _(w):
    t = w.topic()
    w.ndjson(t, list(range(2500)))
    for way in (["poll"], ["poll", "--limit", "7"], ["sse"], ["ws"], ["ws", "--raw"]):
        code, out, err = at(w, "bench", "consume", "--topic", t, "--connections", "3", "--json", "--way", *way, timeout=50)
        eq((code, err), (0, ""), way)
        doc = json.loads(out)
        eq((doc["records"], doc["errors"]), (7500, 0), way)
    code, out, err = at(w, "bench", "consume", "--topic", t + "-none")
    eq((code, out), (1, ""))
    check("unknown_topic" in err, err)


@test("bench fanout delivers each record to each subscriber", timeout=60)
def _(w):
    for more in ([], ["--raw"]):
        t = w.topic()
        code, out, err = at(w, "bench", "fanout", "--topic", t, "--seconds", "1", "--subscribers", "20", "--rate", "50", "--json", *more,
                            timeout=50)
        eq((code, err), (0, ""))
        doc, published = json.loads(out), w.count_records(t)
        check(0 < published <= 50, "%d records: no more than the rate; fewer where nobody let it run in time" % published)
        eq((doc["records"], doc["errors"]), (20 * published, 0), out)
        check(doc["latency_ms"]["p50"] > 0, out)
