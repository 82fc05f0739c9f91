# SPDX-License-Identifier: Apache-2.0
"""Dead letters: set aside, listed, shown, edited, redriven, dropped; over HTTP and by the command line."""
import base64
import json
import signal
import subprocess
import tempfile
import threading

from harness import BIN, NDJSON, Weir, check, eq, expect, query, test, until

EVENTS = "application/cloudevents-batch+json"


def dead(w, t, **args):
    return expect(w.get("/v1/topics/%s/dead%s" % (t, query(**args))), 200).json()


def post(w, t, verb, **args):
    return expect(w.post("/v1/topics/%s/dead/%s%s" % (t, verb, query(**args)), b""), 200).json()


def put(w, t, id, body, **args):
    return expect(w.put("/v1/topics/%s/dead/%d%s" % (t, id, query(**args)), json.dumps(body)), 200).json()


def set_aside(w, lines, **args):
    t = w.topic()
    w.push(t, b"\n".join(lines) + b"\n", NDJSON, on_error="dead", **args)
    return t


def statuses(answer):
    return {r["id"]: r["status"] for r in answer["results"]}


def weir(w, *args, code=0, input=None):
    p = subprocess.run([BIN, "dead", *args, "--server", w.url], capture_output=True, input=input, timeout=60)
    if p.returncode != code:
        raise AssertionError("weir dead %s: %d %r %r" % (args, p.returncode, p.stdout[-500:], p.stderr[-500:]))
    return p.stdout


@test("a topic without dead letters has an empty list, one that is not there none")
def _(w):
    t = w.topic(partitions=1)
    got = dead(w, t)
    eq((got["topic"], got["open"], got["dead"], got["next"], got["oldest"]), (t, 0, [], None, None))
    eq(post(w, t, "redrive", all="true")["results"], [])
    eq(w.get("/v1/topics/nothing-here/dead").status, 404)
    eq(w.get("/v1/topics/%s/dead/0" % t).status, 404)
    check(not any(d["topic"] == t for d in w.get("/v1/dead").json()["topics"]), "the overview names it")


@test("a letter says what it is, where it came from, why, and what would undo it")
def _(w):
    t = set_aside(w, [b"1", b"\xff bad"], key="k", partition="0")
    [d] = dead(w, t)["dead"]
    eq((d["id"], d["state"], d["code"], d["from"], d["name"], d["topic"]), (0, "open", "invalid_json", "door", "http", t))
    eq((d["place"], d["tries"], d["form"], d["partition"]), ("line 2 of the request", 1, "application/json", 0))
    check(d["text"] and d["undo"] and d["at"] > 1e12, "it does not say why: %r" % d)
    r = d["record"]
    eq((r["topic"], r["offset"], r["key"], r["headers"], base64.b64decode(r["value_base64"])),
       (t + ".dead", 0, "k", {}, b"\xff bad"))
    eq(expect(w.get("/v1/topics/%s/dead/0" % t), 200).json(), d)
    eq(expect(w.get("/v1/topics/%s.dead/dead/0" % t), 200).json(), d)
    [o] = [o for o in w.get("/v1/dead").json()["topics"] if o["topic"] == t]
    eq((o["open"], o["letters"], o["over_limit"]), (1, 1, False))


@test("what is selected is told by code, time, pointer and value, a page at a time")
def _(w):
    t = w.topic()
    w.batch(t, [{"value": {"a": {"b": i % 3}, "s": "x\u00e9"}, "partition": 9} for i in range(7)] + [{"valu": 1}], on_error="dead")
    eq(len(dead(w, t)["dead"]), 8)
    eq([d["id"] for d in dead(w, t, code="invalid_record")["dead"]], [7])
    eq([d["id"] for d in dead(w, t, pointer="/value/a/b", value="1")["dead"]], [1, 4])
    eq(len(dead(w, t, pointer="/value/s", value="x\u00e9")["dead"]), 7)
    eq([d["id"] for d in dead(w, t, pointer="/valu")["dead"]], [7])
    eq([d["id"] for d in dead(w, t, value='{"valu": 1}')["dead"]], [7])
    eq([d["id"] for d in dead(w, t, ids="6,2,2,99")["dead"]], [2, 6])
    at = dead(w, t)["dead"][0]["at"]
    eq(len(dead(w, t, **{"from": str(at), "to": "2999-01-01T00:00:00Z"})["dead"]), 8)
    eq(len(dead(w, t, to=str(at))["dead"]), 0)
    seen, after = [], None
    while True:
        page = dead(w, t, limit=3, **({} if after is None else {"after": after}))
        seen += [d["id"] for d in page["dead"]]
        after = page["next"]
        if after is None:
            break
    eq(seen, list(range(8)))
    for bad in ({"pointer": "a"}, {"pointer": "/a~"}, {"from": "yesterday"}, {"limit": 0}, {"ids": "1,x"}, {"state": "gone"}):
        eq(w.get("/v1/topics/%s/dead%s" % (t, query(**bad))).status, 400, repr(bad))


@test("a redrive stores what is taken now, once, and tells why of the rest")
def _(w):
    t = w.topic()
    w.batch(t, [{"value": 1, "key": "a", "partition": 1, "headers": {"h": "v"}, "idempotency_key": "i1"}, {"valu": 2}], on_error="dead")
    dry = post(w, t, "redrive", all="true", dry_run="true")
    eq((dry["dry_run"], dry["redriven"], dry["failed"]), (True, 0, 2))
    w.put("/v1/topics/" + t, json.dumps({"partitions": 2}), {"Content-Type": "application/json"})
    dry = post(w, t, "redrive", all="true", dry_run="true")
    eq((dry["redriven"], dry["failed"], w.count_records(t)), (1, 1, 0))
    got = post(w, t, "redrive", all="true")
    eq((got["redriven"], got["duplicates"], got["failed"], got["next"]), (1, 0, 1, None))
    eq(got["results"][0], {"id": 0, "status": "redriven", "partition": 1, "offset": 0})
    eq((got["results"][1]["status"], got["results"][1]["code"]), ("failed", "invalid_record"))
    [r] = w.all(t)
    eq((r["key"], r["value"], r["partition"], r["headers"]), ("a", 1, 1, {"h": "v", "idempotency-key": "i1"}))
    eq(statuses(post(w, t, "redrive", ids="0,1,5")), {0: "not_open", 1: "failed", 5: "unknown"})
    eq(w.count_records(t), 1)
    [d] = dead(w, t)["dead"]
    eq((d["id"], d["tries"]), (1, 3))
    eq([d["state"] for d in dead(w, t, state="all")["dead"]], ["redriven", "open"])


@test("a redrive of what was stored meanwhile is a duplicate, and marked all the same")
def _(w):
    t = w.topic()
    item = {"value": {"n": 1}, "partition": 1, "idempotency_key": "once"}
    w.batch(t, [item, {"value": 0}], on_error="dead")
    w.put("/v1/topics/" + t, json.dumps({"partitions": 2}), {"Content-Type": "application/json"})
    eq(w.batch(t, [item])["accepted"], 1)
    got = post(w, t, "redrive", ids="0")
    eq((got["redriven"], got["duplicates"], got["results"][0]["status"]), (0, 1, "duplicate"))
    eq((w.count_records(t), dead(w, t)["open"]), (2, 0))


@test("letters of every form are read again as they were the first time")
def _(w):
    t = w.topic(partitions=1, cleanup="compact")
    event = {"specversion": "1.0", "id": "e1", "source": "/s", "type": "y", "data": {"a": 1}}
    w.push(t, json.dumps([event]), EVENTS, on_error="dead")  # no key, and the topic is compacted
    eq(dead(w, t)["dead"][0]["code"], "key_required")
    expect(w.post("/v1/topics/%s/records?on_error=dead" % t, b"{", {"Content-Type": "application/json", "Idempotency-Key": "doc"}), 200)
    eq(statuses(post(w, t, "redrive", all="true")), {0: "failed", 1: "failed"})
    eq(put(w, t, 0, {"key": "k"}), {"id": 2, "edit_of": 0})
    eq(put(w, t, 1, {"key": "l", "value": {"whole": True}, "headers": {"by": "hand"}}), {"id": 3, "edit_of": 1})
    eq(statuses(post(w, t, "redrive", all="true")), {2: "redriven", 3: "redriven"})
    a, b = w.all(t)
    eq((a["key"], a["value"], a["headers"]["ce_id"]), ("k", {"a": 1}, "e1"))
    eq((b["key"], b["value"], b["headers"]), ("l", {"whole": True}, {"by": "hand", "idempotency-key": "doc"}))


@test("an edit takes the place of the letter; what is not open cannot be edited")
def _(w):
    t = set_aside(w, [b"1", b"x"])
    eq(put(w, t, 0, {"value_text": "y"}, form="bytes"), {"id": 1, "edit_of": 0})
    [d] = dead(w, t)["dead"]
    eq((d["id"], d["edit_of"], d["record"]["value_text"], d.get("form")), (1, 0, "y", None))
    eq(dead(w, t, state="edited")["dead"][0]["id"], 0)
    r = w.put("/v1/topics/%s/dead/0" % t, b'{"value":1}')
    eq((r.status, r.json()["code"]), (409, "conflict"))
    eq(statuses(post(w, t, "redrive", all="true")), {1: "redriven"})
    eq([r.get("value", r.get("value_text")) for r in w.all(t)], [1, "y"])
    for body in (b"[]", b"{", b'{"valu":1}'):
        eq(w.put("/v1/topics/%s/dead/1" % t, body).status // 100, 4, repr(body))


@test("what is dropped stays where it is and is not redriven")
def _(w):
    t = set_aside(w, [b"x", b"y", b"z"])
    eq(statuses(post(w, t, "drop", ids="0,1,7", dry_run="true")), {0: "dropped", 1: "dropped", 7: "unknown"})
    eq(dead(w, t)["open"], 3)
    got = post(w, t, "drop", ids="0,1")
    eq((got["dropped"], statuses(got)), (2, {0: "dropped", 1: "dropped"}))
    eq(statuses(post(w, t, "drop", ids="0")), {0: "not_open"})
    eq(([d["id"] for d in dead(w, t)["dead"]], w.count_records(t + ".dead")), ([2], 3))
    for verb in ("drop", "redrive"):
        r = w.post("/v1/topics/%s/dead/%s" % (t, verb), b"")
        eq((r.status, "all=true" in r.json()["detail"]), (400, True))


@test("marks survive a restart, by the sword too", own=True)
def _():
    with Weir() as w:
        t = set_aside(w, [b"x%d" % i for i in range(600)])
        post(w, t, "drop", ids="0,255,256,599")
        put(w, t, 3, {"value": 3})
        post(w, t, "redrive", ids="600,4")
        # No answer waits for the count of tries: it is durable when something behind it is.
        until(lambda: dead(w, t, ids="4")["dead"][0]["tries"] == 2, what="the try to be counted")
        w.push(w.topic(), b"1")
        w.kill()
        w.start()
        eq({d["id"]: d["state"] for d in dead(w, t, state="dropped")["dead"]}, dict.fromkeys((0, 255, 256, 599), "dropped"))
        eq([d["id"] for d in dead(w, t, state="redriven")["dead"]], [600])
        eq([d["id"] for d in dead(w, t, state="edited")["dead"]], [3])
        eq(dead(w, t, ids="4")["dead"][0]["tries"], 2)
        eq((dead(w, t)["open"], w.values(t)), (600 - 5, [3]))


@test("two redrives at once store each letter once")
def _(w):
    t = w.topic()
    n = 400
    w.batch(t, [{"value": i, "partition": 1} for i in range(n)], on_error="dead")
    w.put("/v1/topics/" + t, json.dumps({"partitions": 2}), {"Content-Type": "application/json"})
    answers = []

    def run():
        answers.append(post(w, t, "redrive", all="true", limit=1000))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    eq(sum(a["redriven"] for a in answers), n)
    eq(sorted(w.values(t)), list(range(n)))
    eq(dead(w, t)["open"], 0)


@test("letters have the retention of their topic's settings, and weir warns past max_bytes", own=True)
def _():
    with Weir() as w:
        t = w.topic(dead_letters={"retention": "3h", "max_bytes": "10KiB"})
        ready = lambda: w.get("/readyz").json()
        w.push(t, b"x\n1\n", NDJSON, on_error="dead")
        eq(w.get("/v1/topics/%s.dead" % t).json()["retention"], "3h")
        eq((ready()["status"], ready()["components"]["dead_letters"]["state"]), ("ready", "ok"))
        w.push(t, b"x" * 20000 + b"\n1\n", NDJSON, on_error="dead")
        w.push(t, b"x\n1\n", NDJSON, on_error="dead")
        r = w.get("/readyz")
        eq((r.status, r.json()["status"], r.json()["components"]["dead_letters"]["state"]), (200, "warning", "warning"))
        check(t in r.json()["components"]["dead_letters"]["reason"], r.text)
        eq(until(lambda: w.log().count("event=dead_letters_over_limit")), 1)
        check([o["over_limit"] for o in w.get("/v1/dead").json()["topics"]] == [True], "the overview does not say so")


def retention(w, t):
    return expect(w.get("/v1/topics/" + t), 200).json()["retention"]


@test("a change of dead_letters.retention reaches the letters that are there: over the API, by the file, over a restart", own=True)
def _():
    text = "topics:\n  - { name: f, dead_letters: { retention: %s } }\n%s"
    with Weir(config=text % ("10d", "")) as w:
        t = w.topic(dead_letters={"retention": "2d"})
        for name in (t, "f"):
            w.push(name, b"x\n1\n", NDJSON, on_error="dead")
        eq((retention(w, t + ".dead"), retention(w, "f.dead")), ("2d", "10d"))
        expect(w.put("/v1/topics/" + t, json.dumps({"dead_letters": {"retention": "3h"}})), 200)
        eq(retention(w, t + ".dead"), "3h")
        expect(w.put("/v1/topics/%s.dead" % t, json.dumps({"retention": "5h"})), 200)
        expect(w.put("/v1/topics/" + t, json.dumps({"dead_letters": {"retention": "3h"}, "retention": "9d"})), 200)
        eq(retention(w, t + ".dead"), "5h", "what was set by hand stays while the setting is what it was")
        w.write_config(text % ("11d", ""))
        w.signal(signal.SIGHUP)
        until(lambda: retention(w, "f.dead") == "11d", what="the file's change")
        w.kill()
        w.write_config(text % ("12d", ""))
        w.start()
        eq((retention(w, t + ".dead"), retention(w, "f.dead")), ("5h", "12d"))
        w.write_config(text % ("13d", "  - { name: f.dead, retention: 1d }\n"))
        w.signal(signal.SIGHUP)
        until(lambda: retention(w, "f.dead") == "1d", what="the file's own word")
        w.write_config(text % ("14d", "  - { name: f.dead, retention: 1d }\n"))
        w.signal(signal.SIGHUP)
        until(lambda: expect(w.get("/v1/topics/f"), 200).json()["dead_letters"]["retention"] == "14d", what="the next change")
        eq(retention(w, "f.dead"), "1d", "what the file names belongs to the file")


@test("letters of a source count like all others: they alert when they are too many, and are redriven only when they are records", own=True)
def _():
    with tempfile.TemporaryDirectory() as tmp:
        with open(tmp + "/a.csv", "w") as f:
            f.write("id,name\n1,a\n2\n3,b,c\n4,d\n")
        with Weir("topics:\n  - { name: rows, dead_letters: { max_bytes: 300 } }\n"
                  "sources:\n  - { name: in, type: files, topic: rows, every: 50ms, quiet: 0s, paths: ['%s/*.csv'] }\n" % tmp) as w:
            until(lambda: len(w.values("rows")) == 2, what="the good rows")
            eq(until(lambda: w.log().count("event=dead_letters_over_limit")), 1, "nobody had to ask for a metric")
            check("over its limit" in weir(w, "list").decode(), "the overview of the command line")
            eq([d["form"] for d in dead(w, "rows")["dead"]], ["application/json"] * 2)
            eq(statuses(post(w, "rows", "redrive", ids="1")), {1: "failed"})
            put(w, "rows", 1, {"value": {"id": 3, "name": "b,c"}})
            eq(statuses(post(w, "rows", "redrive", all="true")), {0: "redriven", 2: "redriven"})
            eq(w.values("rows")[-2:], [2, {"id": 3, "name": "b,c"}])


@test("a topic of dead letters is a topic: others may write to it, and what they wrote can be redriven")
def _(w):
    t = w.topic(partitions=1)
    w.push(t + ".dead", b"by hand", "text/plain")
    [d] = dead(w, t)["dead"]
    eq((d["code"], d["from"], d["record"]["value_text"]), ("unknown", "unknown", "by hand"))
    eq(statuses(post(w, t, "redrive", all="true")), {0: "redriven"})
    eq(w.all(t)[0]["value_text"], "by hand")


@test("the command line lists, shows, edits, redrives and drops")
def _(w):
    t = set_aside(w, [b"1", b"\x00\xffbytes", b"{", b"[", b"("], key="k")
    check(t in weir(w, "list").decode(), "the overview lacks the topic")
    out = weir(w, "list", t).decode().splitlines()
    eq((len(out), out[0].split()[:2]), (4, ["0", "open"]))
    eq(len(json.loads(weir(w, "list", t, "--json"))["dead"]), 4)
    check(b"undo: " in weir(w, "show", t, "1"), "show does not say what would undo it")
    eq(weir(w, "show", t, "0", "--value"), b"\x00\xffbytes")
    eq(weir(w, "show", t, "1", "--value"), b"{")
    weir(w, "edit", t, "0", "--form", "bytes", "--redrive")
    weir(w, "edit", t, "1", "--file", "-", "--header", "a=b", input=b'{"m":1}')
    lines = [json.loads(x) for x in weir(w, "redrive", t, "--all", "--json", code=1).splitlines()]
    eq((lines[-1]["redriven"], lines[-1]["failed"]), (1, 2))
    weir(w, "redrive", t, code=2)
    weir(w, "redrive", t, "77", code=1)
    eq(weir(w, "drop", t, "--code", "invalid_json").decode().strip(), "2 dropped")
    eq(weir(w, "list", t), b"")
    rs = w.all(t)
    eq([base64.b64decode(rs[1]["value_base64"]), rs[2]["value"], rs[2]["headers"], rs[2]["key"]],
       [b"\x00\xffbytes", {"m": 1}, {"a": "b"}, "k"])
