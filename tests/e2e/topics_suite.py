# SPDX-License-Identifier: Apache-2.0
"""The topics API."""
import gzip
import json
import signal

from harness import Raw, Ws, Sse, Weir, check, eq, expect, test, until, weir

JSON = {"Content-Type": "application/json"}
FILE = """topic_defaults: { partitions: 2 }
topics:
  - { name: orders, partitions: 4, retention: 30d, idempotency: { ttl: 7d } }
"""


def put(w, t, **config):
    return w.put("/v1/topics/" + t, json.dumps(config), JSON)


@test("PUT creates a topic with its settings, GET shows them")
def _(w):
    t = w.topic()
    r = put(w, t, partitions=3, retention="2h", retention_bytes="64MiB", durability="os", cleanup="delete", idempotency={"ttl": "1d"})
    check(r.status in (200, 201), repr(r))
    doc = expect(w.get("/v1/topics/" + t), 200).json()
    eq((doc["name"], doc["partitions"], doc["retention"], doc["durability"], doc["cleanup"]), (t, 3, "2h", "os", "delete"))
    eq((doc["retention_bytes"], doc["idempotency"]), ("64MiB", {"ttl": "1d"}))


@test("PUT without any body makes a topic with the defaults, as curl -X PUT sends it")
def _(w):
    t = w.topic()
    for want in (201, 200):
        with Raw(w) as c:
            c.send("PUT /v1/topics/%s HTTP/1.1\r\nHost: %s\r\n\r\nGET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.authority, w.authority))
            eq((c.response().status, c.response().status), (want, 200))
    eq(w.get("/v1/topics/" + t).json()["partitions"], 1)


@test("PUT of the same again is harmless")
def _(w):
    t = w.topic()
    put(w, t, partitions=2)
    w.push(t, b"1")
    expect(put(w, t, partitions=2), 200)
    eq(w.values(t), [1])


@test("the list is in order of name and complete over pages")
def _(w):
    names = sorted(w.topic() for _ in range(5))
    for t in names:
        put(w, t)
    doc = expect(w.get("/v1/topics"), 200).json()
    got = [x["name"] for x in doc["topics"]]
    eq(got, sorted(got))
    check(set(names) <= set(got), "some are missing")
    eq(doc["next"], None)
    check(not any(n.startswith("_") for n in got), "weir's own topics are listed")


@test("a topic made by use has the defaults, and is shown")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    doc = w.get("/v1/topics/" + t).json()
    eq((doc["partitions"], doc["retention"], doc["durability"]), (1, "7d", "fsync"))


@test("a topic that is not there is 404 unknown_topic")
def _(w):
    for method in ("GET", "DELETE"):
        expect(w.request(method, "/v1/topics/" + w.topic()), 404, "unknown_topic")


@test("DELETE takes the topic and its records; its name may be used again")
def _(w):
    t = w.topic()
    w.ndjson(t, [1, 2])
    eq(w.delete("/v1/topics/" + t).status, 204)
    expect(w.get("/v1/topics/" + t), 404, "unknown_topic")
    expect(w.get("/v1/topics/%s/records" % t), 404, "unknown_topic")
    eq(w.push(t, b"3")["offsets"], [{"partition": 0, "first": 0, "last": 0}])
    eq(w.values(t), [3])


@test("a deleted topic's idempotency keys are gone with it")
def _(w):
    t = w.topic()
    h = {"Idempotency-Key": "once"}
    w.push(t, b"1", headers=h)
    w.delete("/v1/topics/" + t)
    eq(w.push(t, b"2", headers=h)["accepted"], 1)


@test("streams on a topic hear of its end and do not see its successor by mistake")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with Sse(w, "/v1/topics/%s/sse?cursor=earliest" % t) as s:
        eq(s.next().json()["value"], 1)
        w.delete("/v1/topics/" + t)
        e = s.next(5)
        check(e is None or e.event in ("error", "gap"), "after the end: %r" % e)


@test("deleting survives kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        a, b = w.topic(), w.topic()
        w.push(a, b"1")
        w.push(b, b"2")
        w.delete("/v1/topics/" + a)
        w.restart(hard=True)
        expect(w.get("/v1/topics/" + a), 404, "unknown_topic")
        eq(w.values(b), [2])
        eq(w.push(a, b"3")["offsets"][0]["first"], 0)


@test("partitions may be added and not taken away")
def _(w):
    t = w.topic()
    put(w, t, partitions=2)
    w.ndjson(t, [1, 2, 3, 4])
    eq(expect(put(w, t, partitions=5), 200).json()["partitions"], 5)
    eq(sorted(w.values(t)), [1, 2, 3, 4])
    w.push(t, b"5", partition=4)
    r = put(w, t, partitions=3)
    check(r.status in (400, 409, 422) and r.json().get("code"), repr(r))
    eq(w.get("/v1/topics/" + t).json()["partitions"], 5)


@test("a stream sees partitions that are added while it is open")
def _(w):
    t = w.topic()
    put(w, t, partitions=1)
    with Ws(w, "/v1/topics/%s/ws" % t) as c:
        put(w, t, partitions=3)
        w.push(t, b"1", partition=2)
        eq(c.json()["value"], 1)


@test("bad settings are 400 and name what is wrong")
def _(w):
    t = w.topic()
    for body in ({"partitions": 0}, {"partitions": "x"}, {"partitions": 1000000}, {"retention": "soon"}, {"durability": "maybe"},
                 {"cleanup": "wash"}, {"idempotency": {"ttl": "x"}}, {"idempotency": 7}, {"colour": "red"}, {"retention_bytes": -5}):
        r = expect(w.put("/v1/topics/" + t, json.dumps(body), JSON), 400, "invalid_topic_config")
        check(list(body)[0] in r.text, "%r is not named: %r" % (body, r))
    for body in (b'{"partitions":2,"partitions":3}', b'{"partitions\\u0000x":2}', b'{"name":"another"}', b'{"idempotency":{"ttl":"1d","ttl":"2d"}}'):
        expect(w.put("/v1/topics/" + t, body, JSON), 400, "invalid_topic_config")
    expect(w.put("/v1/topics/" + t, gzip.compress(b'{"partitions":2}'), dict(JSON, **{"Content-Encoding": "gzip"})), 415, "unsupported_media_type")
    expect(w.put("/v1/topics/" + t, b"{", JSON), 400, "invalid_json")
    expect(w.get("/v1/topics/" + t), 404, "unknown_topic")


@test("a misspelt setting names the nearest valid one")
def _(w):
    r = expect(put(w, w.topic(), partitons=3), 400, "invalid_topic_config")
    check("partitions" in r.json()["detail"], repr(r))


@test("trim takes a cursor, earliest, latest or a time")
def _(w):
    t = w.topic()
    w.batch(t, [{"value": i, "timestamp": 1760000000000 + i * 1000} for i in range(10)])
    path = "/v1/topics/%s/trim" % t
    expect(w.post(path, json.dumps({"before": "@1760000003000"}), JSON), 200)
    eq(w.values(t), list(range(3, 10)))
    expect(w.post(path, json.dumps({"before": "earliest"}), JSON), 200)
    eq(w.values(t), list(range(3, 10)))
    expect(w.post(path, json.dumps({"before": "latest"}), JSON), 200)
    eq(w.values(t), [])
    eq(w.push(t, b"10")["offsets"][0]["first"], 10, "offsets go on")
    for bad in (b"{}", b'{"before":7}', b'{"before":"x"}', b"["):
        eq(w.post(path, bad, JSON).status, 400, repr(bad))
    expect(w.post("/v1/topics/%s/trim" % w.topic(), b'{"before":"latest"}', JSON), 404, "unknown_topic")


@test("what the file names is read-only over the API: 409 managed_by_file", config=FILE)
def _(w):
    doc = w.get("/v1/topics/orders").json()
    eq((doc["partitions"], doc["retention"]), (4, "30d"))
    expect(put(w, "orders", partitions=8), 409, "managed_by_file")
    expect(w.delete("/v1/topics/orders"), 409, "managed_by_file")
    eq(w.push("orders", b"1")["accepted"], 1)
    t = w.topic()
    w.push(t, b"1")
    eq(w.get("/v1/topics/" + t).json()["partitions"], 2, "topic_defaults of the file")
    expect(put(w, t, partitions=3), 200)


@test("a reload that would take partitions away names the topic and changes nothing", own=True)
def _():
    file = "topics:\n  - { name: first, partitions: 1 }\n  - { name: second, partitions: 3 }\n  - { name: left }\n"
    with Weir(file) as w:
        w.write_config("log_level: debug\ntopics:\n  - { name: first, partitions: 2 }\n  - { name: new }\n  - { name: second, partitions: 2 }\n")
        w.signal(signal.SIGHUP)
        until(lambda: "reload_failed" in w.log(), 10, "a line about the reload")
        check("topics[second].partitions" in w.log(), "the topic is not named: " + w.log()[-500:])
        eq([t["partitions"] for t in w.get("/v1/topics").json()["topics"]], [1, 1, 3])
        eq({t["managed_by"] for t in w.get("/v1/topics").json()["topics"]}, {"file"})
        w.stop()
        code, _out, err = weir("serve", "-c", w.config_path, "--data", w.data, "--http", "127.0.0.1:0", "--kafka", "off")
        eq(code, 1)
        check("topics[second].partitions" in err, "the topic is not named at start: " + err[-500:])


@test("a reload changes what needs no restart, and says what does", own=True)
def _():
    with Weir("http: { record_bytes_max: 2KiB }\n") as w:
        t, body = w.topic(), {"Content-Type": "text/plain"}
        expect(w.post("/v1/topics/%s/records" % t, b"x" * 2049, body), 413, "record_too_large")
        w.write_config("http: { record_bytes_max: 4KiB, body_bytes_max: 8KiB }\n")
        w.signal(signal.SIGHUP)
        until(lambda: "event=reloaded" in w.log(), 10, "a line about the reload")
        check("setting=http.body_bytes_max" in w.log(), "what needs a restart is not named")
        expect(w.post("/v1/topics/%s/records" % t, b"x" * 2049, body), 200)
        eq(w.push(t, b"1\n" * 5000, "application/x-ndjson")["accepted"], 5000, "the limit of the body before the restart")
        w.restart()
        expect(w.post("/v1/topics/%s/records" % t, b"1\n" * 5000, {"Content-Type": "application/x-ndjson"}), 413, "body_too_large")


@test("leaving a topic out of the file deletes nothing and gives it to the API", own=True, timeout=60)
def _():
    with Weir(FILE) as w:
        w.push("orders", b"1")
        w.write_config("topic_defaults: { partitions: 2 }\n")
        w.restart()
        eq(w.values("orders"), [1])
        expect(put(w, "orders", partitions=5), 200)


@test("settings survive a restart and kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic(partitions=7, retention="3h", durability="os", idempotency={"ttl": "1h"})
        before = w.get("/v1/topics/" + t).json()
        for hard in (False, True):
            w.restart(hard)
            after = w.get("/v1/topics/" + t).json()
            for k in ("name", "partitions", "retention", "durability", "idempotency"):
                eq(after[k], before[k], k)


@test("retention by bytes takes whole old segments and leaves the new records", own=True, timeout=120)
def _():
    with Weir() as w:
        t = w.topic(retention_bytes="1MiB")
        w.push(t, b"1")
        eq(w.values(t), [1], "nothing is taken while it is small")


@test("thousands of topics may be made and listed", timeout=60)
def _(w):
    with w.session() as s:
        for i in range(2000):
            expect(s.request("POST", "/v1/topics/many.%04d/records" % i, b"1", JSON), 200)
    names, after = [], None
    while True:
        doc = w.get("/v1/topics" + ("?after=" + after if after else "")).json()
        names += [x["name"] for x in doc["topics"] if x["name"].startswith("many.")]
        after = doc["next"]
        if not after:
            break
    eq(names, ["many.%04d" % i for i in range(2000)])


@test("names with leading underscores are anybody's, as programs of Kafka's world use them, but for a few")
def _(w):
    for t in ("_schemas", "_", "__", "__debezium-heartbeat.x"):
        expect(put(w, t), 201)
        w.push(t, b"1")
        check(t in [x["name"] for x in w.get("/v1/topics").json()["topics"]], t + " is not listed")
    for t in ("__consumer_offsets", "__transaction_state", "__weir", "__weir_x"):
        expect(put(w, t), 403, "forbidden")


@test("timestamps, sizes of messages and segments, and how long compaction waits are settings of a topic, kept over a restart", own=True)
def _():
    with Weir() as w:
        expect(put(w, "t", timestamps="append", max_message_bytes="2MiB", segment_bytes=65536, compaction={"min_lag": "1h"}), 201)
        w.restart()
        doc = w.get("/v1/topics/t").json()
        eq((doc["timestamps"], doc["max_message_bytes"], doc["segment_bytes"], doc["compaction"]["min_lag"]),
           ("append", "2MiB", "64KiB", "1h"))
        expect(put(w, "t", timestamps="LogAppendTime", segment_bytes="auto"), 200)
        for bad in ({"timestamps": "never"}, {"max_message_bytes": "1GiB"}, {"segment_bytes": 1}):
            expect(put(w, "t", **bad), 400, "invalid_topic_config")


@test("timestamps: append gives every record weir's time, from the change on; create keeps the producer's")
def _(w):
    t = w.topic()
    old = 1000000000000
    put(w, t, timestamps="append")
    for now, ask in ((True, None), (False, "create"), (True, "append")):
        if ask:
            expect(put(w, t, timestamps=ask), 200)
        w.batch(t, [{"value": 1, "timestamp": old}])
        eq(w.poll(t)["records"][-1]["timestamp"] > old, now, ask)
