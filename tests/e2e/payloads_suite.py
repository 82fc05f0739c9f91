# SPDX-License-Identifier: Apache-2.0
"""Real payloads: GitHub's own webhook examples, pushed and read back over every way, bytes compared."""
import json
import os
import subprocess

from harness import (ROOT, Skip, Sse, Ws, check, elements, eq, expect, members, partition_of, test, value_bytes)

_loaded = []


def deliveries():
    """[(event name, the bytes of its payload)]: the JSON text of each example as the package's file has it."""
    if _loaded:
        return _loaded
    home = os.environ.get("WEIR_PAYLOADS")
    if not home:
        p = subprocess.run([os.path.join(ROOT, "tools", "payloads")], capture_output=True, text=True)
        if p.returncode:
            raise Skip("the payloads could not be fetched: " + p.stderr.strip()[-300:])
        home = p.stdout.strip()
    path = next(os.path.join(d, f) for d, _, files in os.walk(home) for f in files if f == "index.json")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    for entry in elements(text):
        m = members(entry)
        for example in elements(m["examples"]):
            _loaded.append((json.loads(m["name"]), example.encode()))
    check(len(_loaded) > 200, "only %d payloads in %s" % (len(_loaded), path))
    return _loaded


def push_all(w, t):
    with w.session() as s:
        for i, (event, body) in enumerate(deliveries()):
            r = s.request("POST", "/v1/topics/%s/records?key=%s" % (t, event), body, {
                "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/044aadd", "X-GitHub-Event": event,
                "Idempotency-Key": "delivery-%d" % i})
            expect(r, 200)


@test("hundreds of real GitHub deliveries come back byte for byte over poll, long poll, SSE and WebSocket", timeout=120)
def _(w):
    want = deliveries()
    t = w.topic(partitions=1)
    sse = Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t, timeout=30)
    ws, raw = Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t), Ws(w, "/v1/topics/%s/ws?cursor=earliest&format=raw" % t)
    push_all(w, t)
    bodies = [b for _, b in want]

    def polled(**args):
        out, cursor = [], "earliest"
        while len(out) < len(bodies):
            text = w.poll_text(t, cursor=cursor, limit=50, **args)
            m = members(text)
            out += elements(m["records"])
            cursor = json.loads(m["cursor"])
        return out
    ways = {"poll": polled(), "long poll": polled(wait="5s"),
            "SSE": [e.data for e in sse.take(len(bodies))],
            "WebSocket": [ws.message()[1].decode() for _ in bodies]}
    for name, texts in ways.items():
        eq(len(texts), len(bodies), name)
        for i, (text, body) in enumerate(zip(texts, bodies)):
            got = value_bytes(text)
            # A line break of SSE is LF whatever it was: the only byte a value may lose, and then only a CR.
            if name == "SSE":
                body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            eq(got, body, "%s, delivery %d (%s)" % (name, i, want[i][0]))
            eq(json.loads(members(text)["key"]), want[i][0])
    eq([raw.message()[1] for _ in bodies], bodies, "format=raw")
    for c in (sse.raw, ws.raw, raw.raw):
        c.close()


@test("they keep their order by event over four partitions, and a repeat of all stores none", timeout=120)
def _(w):
    want = deliveries()
    t = w.topic(partitions=4)
    push_all(w, t)
    push_all(w, t)
    r = w.all(t)
    eq(len(r), len(want))
    for event in {e for e, _ in want}:
        mine = [x for x in r if x["key"] == event]
        eq({x["partition"] for x in mine}, {partition_of(event, 4)}, event)
        eq([x["value"] for x in mine], [json.loads(b) for e, b in want if e == event], event)


@test("all of them in one NDJSON request come back the same", timeout=60)
def _(w):
    t = w.topic()
    lines = [json.dumps(json.loads(b), ensure_ascii=False).encode() for _, b in deliveries()]
    eq(w.push(t, b"\n".join(lines), "application/x-ndjson")["accepted"], len(lines))
    got = [value_bytes(x) for x in elements(members(w.poll_text(t, limit=10000))["records"])]
    eq(got, lines)
