# SPDX-License-Identifier: Apache-2.0
"""The door in: content types, keys, idempotency, batches, limits, placement."""
import base64
import collections
import gzip
import json
import shutil
import struct
import subprocess
import time

from harness import (BATCH, CE, CE_BATCH, NDJSON, Raw, Weir, check, curl, eq, expect, murmur2, partition_of,
                     poll_values, query, quote, test, together, until)

MIB = 1 << 20


def zstd_stored(data):
    """A zstd frame of raw blocks (RFC 8878 3.1.1), so that no compressor is needed."""
    out = struct.pack("<IBB", 0xFD2FB528, 0, 0x50)  # no content size, window 1 MiB
    parts = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b""]
    for i, part in enumerate(parts):
        out += struct.pack("<I", len(part) << 3 | (i == len(parts) - 1))[:3] + part
    return out


def one_value(w, t):
    values = poll_values(w.poll_text(t))
    eq(len(values), 1, "records")
    return values[0]


# ---- content types ----

@test("a JSON body is one record, stored byte for byte")
def _(w):
    t = w.topic()
    body = b' { "b" : 1.0e+2,\n\t"a": [ 1,2 , 3 ],"a":"\\u00e4\xc3\xa4" } '
    doc = w.push(t, body)
    eq(doc, {"topic": t, "accepted": 1, "duplicates": 0, "rejected": 0,
             "offsets": [{"partition": 0, "first": 0, "last": 0}]})
    eq(one_value(w, t).strip(), body.strip(), "value")


@test("every kind of JSON is a value: numbers, strings, true, null, arrays")
def _(w):
    t = w.topic()
    bodies = [b"1", b"-0.5E-7", b'"x"', b"true", b"false", b"null", b"[]", b"{}", b"123456789012345678901234567890"]
    for b in bodies:
        w.push(t, b)
    eq(poll_values(w.poll_text(t)), bodies)
    check(not any("tombstone" in r for r in w.poll(t)["records"]), "a JSON null became a tombstone")


@test("application/json may carry parameters and any case")
def _(w):
    t = w.topic()
    w.push(t, b"{}", "application/json; charset=utf-8")
    w.push(t, b"{}", "Application/JSON")
    expect(w.post("/v1/topics/%s/records" % t, b"{", {"Content-Type": "Application/JSON ;charset=UTF-8"}), 400, "invalid_json")
    eq(len(w.all(t)), 2)


@test("NDJSON is one record per non-empty line")
def _(w):
    t = w.topic()
    doc = w.push(t, b'{"a":1}\n\n  \n{"a": 2}\r\n\n[3]', NDJSON)
    eq(doc["accepted"], 3)
    eq(doc["offsets"], [{"partition": 0, "first": 0, "last": 2}])
    eq(poll_values(w.poll_text(t)), [b'{"a":1}', b'{"a": 2}', b"[3]"])


@test("a batch carries key, value, headers, partition and timestamp")
def _(w):
    t = w.topic(partitions=3)
    w.batch(t, [{"key": "k", "value": {"x": [1, "ü"]}, "headers": {"h": "v", "w": "zwei"}, "partition": 2, "timestamp": 1700000000123}])
    r, = w.all(t)
    eq(r, {"topic": t, "partition": 2, "offset": 0, "timestamp": 1700000000123, "key": "k",
           "headers": {"h": "v", "w": "zwei"}, "value": {"x": [1, "ü"]}})


@test("a batch keeps the bytes of each JSON value")
def _(w):
    t = w.topic()
    w.push(t, b'{ "records" : [ {"value":{ "z":1,  "a" : 1.50 } } , {"value": "\\u0041"},{"value":1e5} ] }', BATCH)
    eq(poll_values(w.poll_text(t)), [b'{ "z":1,  "a" : 1.50 }', b'"\\u0041"', b"1e5"])


@test("a batch tells bytes, text, JSON null and a null value apart")
def _(w):
    t = w.topic()
    raw = bytes(range(256))
    w.batch(t, [{"value_base64": base64.b64encode(raw).decode()}, {"value_text": "hé {"}, {"value": None},
                {"key": "gone", "tombstone": True}, {"value_text": ""}])
    r = w.all(t)
    eq(base64.b64decode(r[0]["value_base64"]), raw)
    eq(r[1]["value_text"], "hé {")
    check("value" not in r[1], "value_text and value in one record")
    eq((r[2]["value"], r[2].get("tombstone")), (None, None))
    eq((r[3]["value"], r[3]["tombstone"], r[3]["key"]), (None, True, "gone"))
    eq(r[4]["value_text"], "")


@test("any other type is one record with the bytes as they are")
def _(w):
    t = w.topic()
    raw = bytes(range(256)) * 3
    w.push(t, raw, "application/octet-stream")
    w.push(t, b"plain", "text/plain")
    w.push(t, b"\xff\xd8", "image/jpeg")
    w.push(t, b"no type at all", None)
    eq(poll_values(w.poll_text(t)), [raw, b"plain", b"\xff\xd8", b"no type at all"])


@test("PUT is the same with the idempotency key in the path")
def _(w):
    t = w.topic()
    path = "/v1/topics/%s/records/%s" % (t, quote("order 17/ä"))
    a = expect(w.put(path, b'{"n":1}', {"Content-Type": "application/json"}), 200)
    eq(a.json()["accepted"], 1)
    b = expect(w.put(path, b'{"n":1}', {"Content-Type": "application/json"}), 200)
    eq((b.json()["accepted"], b.json()["duplicates"], b.json()["offsets"]), (0, 1, a.json()["offsets"]))
    eq(b.headers.get("Idempotent-Replayed"), "true")
    expect(w.put(path, b'{"n":2}', {"Content-Type": "application/json"}), 422, "idempotency_key_reused")
    eq(w.values(t), [{"n": 1}])


@test("curl --data-binary with -H does what the README says")
def _(w):
    t = w.topic()
    code, out = curl("-H", "Content-Type: application/json", "--data-binary", '{"hello":"weir"}',
                     "%s/v1/topics/%s/records" % (w.url, t))
    eq(code, 0)
    eq(json.loads(out)["accepted"], 1)
    code, out = curl("%s/v1/topics/%s/records" % (w.url, t))
    eq(json.loads(out)["records"][0]["value"], {"hello": "weir"})


# ---- CloudEvents ----

EVENT = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "order.made",
         "subject": "17", "time": "2026-01-02T03:04:05Z", "datacontenttype": "application/json", "extra": "x"}


@test("a structured CloudEvent: data is the value, attributes are headers")
def _(w):
    t = w.topic()
    w.push(t, json.dumps(dict(EVENT)).encode()[:-1] + b', "data": { "n" :  1 }}', CE)
    text = w.poll_text(t)
    eq(poll_values(text), [b'{ "n" :  1 }'])
    h = json.loads(text)["records"][0]["headers"]
    for name in ("id", "source", "type", "specversion", "subject", "time", "extra"):
        eq(h.get("ce_" + name), EVENT[name], "ce_" + name)


@test("data_base64 of a CloudEvent is stored as bytes")
def _(w):
    t = w.topic()
    w.push(t, json.dumps(dict(EVENT, datacontenttype="image/png", data_base64=base64.b64encode(b"\x89PNG\xff").decode())), CE)
    eq(one_value(w, t), b"\x89PNG\xff")


@test("a batch of CloudEvents is a record each")
def _(w):
    t = w.topic()
    doc = w.push(t, json.dumps([dict(EVENT, id="a", data=1), dict(EVENT, id="b", data="two"), dict(EVENT, id="a", data=1)]), CE_BATCH)
    eq((doc["accepted"], doc["duplicates"]), (2, 1))
    eq(poll_values(w.poll_text(t)), [b"1", b'"two"'])


@test("a binary CloudEvent: the body is the value, ce- headers are attributes")
def _(w):
    t = w.topic()
    w.push(t, b"\x00\x01 bytes", "application/x-thing", {
        "ce-specversion": "1.0", "ce-id": "b 1".replace(" ", "%20"), "ce-source": "/bin", "ce-type": "t", "ce-name": "J%C3%BCrgen"})
    text = w.poll_text(t)
    eq(poll_values(text), [b"\x00\x01 bytes"])
    h = json.loads(text)["records"][0]["headers"]
    eq((h["ce_id"], h["ce_source"], h["ce_type"], h["ce_name"]), ("b 1", "/bin", "t", "Jürgen"))


@test("a CloudEvent with source and id seen before is a duplicate whatever its payload")
def _(w):
    t = w.topic()
    a = w.push(t, json.dumps(dict(EVENT, data=1)), CE)
    b = w.push(t, json.dumps(dict(EVENT, data=2)), CE)
    eq((b["accepted"], b["duplicates"], b["offsets"]), (0, 1, a["offsets"]))
    c = w.push(t, b"3", "application/json", {"ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/shop", "ce-type": "x"})
    eq((c["accepted"], c["duplicates"]), (0, 1), "binary mode")
    d = w.push(t, json.dumps(dict(EVENT, source="/other", data=1)), CE)
    eq(d["accepted"], 1, "another source")
    eq(w.values(t), [1, 1])


@test("a CloudEvent without a required attribute is 422 and names it")
def _(w):
    t = w.topic()
    for name in ("id", "source", "type", "specversion"):
        doc = dict(EVENT, data=1)
        del doc[name]
        r = w.post("/v1/topics/%s/records" % t, json.dumps(doc), {"Content-Type": CE})
        eq(r.status, 422)
        check(name in r.text, "the answer does not name %s: %r" % (name, r))
    r = w.post("/v1/topics/%s/records" % t, b"1", {"ce-id": "1", "ce-source": "/", "ce-specversion": "1.0"})
    eq(r.status, 422)
    eq(w.count_records(t), 0)


# ---- idempotency ----

def send(w, t, unit, body=b'{"n":1}', type="application/json", **args):
    return w.post("/v1/topics/%s/records%s" % (t, query(**args)), body, {"Content-Type": type, "Idempotency-Key": unit})


@test("a repeat with the same Idempotency-Key answers the first offsets and stores nothing")
def _(w):
    t = w.topic()
    w.push(t, b"0")
    a = expect(send(w, t, "k1"), 200)
    eq(a.headers.get("Idempotent-Replayed"), None)
    w.push(t, b"2")
    for key in ("k1", '"k1"'):
        b = expect(send(w, t, key), 200)
        eq(b.json(), {"topic": t, "accepted": 0, "duplicates": 1, "rejected": 0, "offsets": a.json()["offsets"]})
        eq(b.headers.get("Idempotent-Replayed"), "true")
    eq(len(w.all(t)), 3)


@test("the key is kept with the record as the header idempotency-key")
def _(w):
    t = w.topic()
    expect(send(w, t, "k-kept"), 200)
    eq(w.all(t)[0]["headers"].get("idempotency-key"), "k-kept")


@test("the same key with another body, record key or partition is 422 idempotency_key_reused")
def _(w):
    t = w.topic(partitions=4)
    expect(send(w, t, "k", key="a"), 200)
    expect(send(w, t, "k", b'{"n":2}', key="a"), 422, "idempotency_key_reused")
    expect(send(w, t, "k", key="b"), 422, "idempotency_key_reused")
    expect(send(w, t, "k", key="a", partition=0), 422, "idempotency_key_reused")
    expect(send(w, t, "k", key="a"), 200)
    eq(len(w.all(t)), 1)


@test("the fingerprint is of the decoded body: gzip or not is the same payload")
def _(w):
    t = w.topic()
    a = expect(send(w, t, "z"), 200)
    b = expect(w.post("/v1/topics/%s/records" % t, gzip.compress(b'{"n":1}'), {
        "Content-Type": "application/json", "Content-Encoding": "gzip", "Idempotency-Key": "z"}), 200)
    eq((b.json()["duplicates"], b.json()["offsets"]), (1, a.json()["offsets"]))


@test("keys are scoped by topic")
def _(w):
    a, b = w.topic(), w.topic()
    expect(send(w, a, "same"), 200)
    eq(expect(send(w, b, "same", b'{"n":2}'), 200).json()["accepted"], 1)


@test("the header and the path key are one space")
def _(w):
    t = w.topic()
    expect(send(w, t, "shared"), 200)
    r = expect(w.put("/v1/topics/%s/records/shared" % t, b'{"n":1}', {"Content-Type": "application/json"}), 200)
    eq(r.json()["duplicates"], 1)


@test("a body under one Idempotency-Key is one unit: all of it a duplicate, or none")
def _(w):
    t = w.topic(partitions=4)
    body = b"\n".join(b'{"n":%d}' % i for i in range(40))
    a = expect(send(w, t, "unit", body, NDJSON), 200).json()
    eq(a["accepted"], 40)
    b = expect(send(w, t, "unit", body, NDJSON), 200)
    eq((b.json()["accepted"], b.json()["duplicates"]), (0, 40))
    eq(b.json()["offsets"], a["offsets"], "ranges of the unit")
    expect(send(w, t, "unit", body + b'\n{"n":40}', NDJSON), 422, "idempotency_key_reused")
    eq(len(w.all(t)), 40)


@test("a unit sent again as another type is a duplicate with all of the first answer, as its bytes are the payload")
def _(w):
    t = w.topic(partitions=4)
    lines = b"\n".join(b"%d" % i for i in range(10))
    first = expect(send(w, t, "cut", lines, NDJSON), 200).json()
    again = expect(send(w, t, "cut", lines, "text/plain"), 200)
    eq((again.json()["accepted"], again.json()["duplicates"]), (0, 10))
    eq(again.json()["offsets"], first["offsets"])
    eq(again.headers.get("Idempotent-Replayed"), "true")
    expect(send(w, t, "whole", lines, "text/plain"), 200)
    r = w.post("/v1/topics/%s/records?results=records" % t, lines, {"Content-Type": NDJSON, "Idempotency-Key": "whole"})
    eq([("offset" in one, one["status"]) for one in expect(r, 200).json()["results"]], [(False, "duplicate")] * 10)
    eq(len(w.all(t)), 11)


@test("keys inside a batch work record by record, within the batch too")
def _(w):
    t = w.topic()
    w.batch(t, [{"value": 0, "idempotency_key": "b0"}])
    doc = w.batch(t, [{"value": 0, "idempotency_key": "b0"}, {"value": 1, "idempotency_key": "b1"}, {"value": 2},
                      {"value": 1, "idempotency_key": "b1"}], results="records")
    eq((doc["accepted"], doc["duplicates"]), (2, 2))
    eq([(r["offset"], r["status"]) for r in doc["results"]],
       [(0, "duplicate"), (1, "accepted"), (2, "accepted"), (1, "duplicate")])
    eq(w.values(t), [0, 1, 2])


@test("a reused key inside a batch refuses the batch and names the record")
def _(w):
    t = w.topic()
    w.batch(t, [{"value": 0, "idempotency_key": "r"}])
    r = w.post("/v1/topics/%s/records" % t, json.dumps({"records": [
        {"value": 5}, {"value": "other", "idempotency_key": "r"}]}), {"Content-Type": BATCH})
    eq(r.status, 422)
    eq([(e["index"], e["code"]) for e in r.json()["errors"]], [(1, "idempotency_key_reused")])
    eq(w.values(t), [0])


@test("a key may be 256 bytes and not 257, and not empty")
def _(w):
    t = w.topic()
    expect(send(w, t, "k" * 256), 200)
    expect(send(w, t, '"%s"' % ("q" * 256)), 200)
    expect(send(w, t, "k" * 257), 400, "invalid_idempotency_key")
    expect(send(w, t, '""'), 400, "invalid_idempotency_key")
    expect(send(w, t, '"open'), 400, "invalid_idempotency_key")
    eq(len(w.all(t)), 2)


@test("the same key sent by many at once is stored once, and all get the same answer")
def _(w):
    t = w.topic()
    answers = together(*[lambda: expect(send(w, t, "race"), 200).json() for _ in range(24)])
    eq(sum(a["accepted"] for a in answers), 1)
    eq({json.dumps(a["offsets"]) for a in answers}, {json.dumps([{"partition": 0, "first": 0, "last": 0}])})
    eq(len(w.all(t)), 1)


@test("a refused request leaves its key free")
def _(w):
    t = w.topic()
    expect(send(w, t, "free", b'{"n":'), 400, "invalid_json")
    eq(expect(send(w, t, "free"), 200).json()["accepted"], 1)


@test("keys are remembered over a clean restart and over kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        body = b"\n".join(b"%d" % i for i in range(10))
        first = expect(send(w, t, "a"), 200).json()
        unit = expect(send(w, t, "u", body, NDJSON), 200).json()
        w.push(t, json.dumps(dict(EVENT, data=1)), CE)
        for hard in (True, False, True):
            w.restart(hard)
            b = expect(send(w, t, "a"), 200)
            eq((b.json()["accepted"], b.json()["offsets"]), (0, first["offsets"]))
            eq(b.headers.get("Idempotent-Replayed"), "true")
            u = expect(send(w, t, "u", body, NDJSON), 200).json()
            eq((u["accepted"], u["duplicates"], u["offsets"]), (0, 10, unit["offsets"]))
            eq(w.push(t, json.dumps(dict(EVENT, data=9)), CE)["duplicates"], 1)
            expect(send(w, t, "a", b"2"), 422, "idempotency_key_reused")
        eq(len(w.all(t)), 12)


# ---- batches: whole or skip ----

@test("a bad line refuses the whole NDJSON with index and line, and stores nothing")
def _(w):
    t = w.topic()
    r = w.post("/v1/topics/%s/records" % t, b'{"a":1}\n\n{"a":\n{"a":3}\nnope\n', {"Content-Type": NDJSON})
    eq(r.status, 422)
    doc = r.json()
    eq([(e["index"], e["line"], e["code"]) for e in doc["errors"]], [(1, 3, "invalid_json"), (3, 5, "invalid_json")])
    check(all(e["detail"] for e in doc["errors"]), "an error without detail")
    check(doc["code"] and doc["title"] and doc["status"] == 422, "not a problem document: %r" % doc)
    eq(w.count_records(t), 0)


@test("on_error=skip stores the good lines and tells of the bad")
def _(w):
    t = w.topic()
    doc = w.push(t, b'1\nbad\n2\n{"x"\n3\n', NDJSON, on_error="skip", results="records")
    eq((doc["accepted"], doc["rejected"]), (3, 2))
    eq([(e["index"], e["line"], e["code"]) for e in doc["errors"]], [(1, 2, "invalid_json"), (3, 4, "invalid_json")])
    by = {r["index"]: r for r in doc["results"]}
    eq([by[i]["status"] for i in (0, 2, 4)], ["accepted"] * 3)
    eq([by[i]["offset"] for i in (0, 2, 4)], [0, 1, 2])
    eq(w.values(t), [1, 2, 3])


@test("on_error=dead stores the good lines and sets the bad aside, bytes and all")
def _(w):
    t = w.topic()
    doc = w.push(t, b'1\nbad \xff\n2\n', NDJSON, on_error="dead", key="k")
    eq((doc["accepted"], doc["rejected"]), (2, 1))
    eq(doc["dead"], {"topic": t + ".dead", "records": 1, "first": 0, "last": 0})
    [r] = w.all(t + ".dead")
    eq((r["key"], base64.b64decode(r["value_base64"])), ("k", b"bad \xff"))
    eq([r["headers"]["dead-" + h] for h in ("letter", "from", "name", "topic", "place", "code", "form")],
       ["1", "door", "http", t, "line 2 of the request", "invalid_json", "application/json"])
    r = w.post("/v1/topics/%s/records?on_error=dead" % t, b"{", {"Content-Type": "application/json"})
    eq((r.status, r.json()["accepted"], r.json()["rejected"]), (200, 0, 1))
    eq(w.all(t + ".dead")[1]["value_text"], "{")


@test("on_error=skip with no good record is 422")
def _(w):
    t = w.topic()
    r = w.post("/v1/topics/%s/records?on_error=skip" % t, b"x\ny\n", {"Content-Type": NDJSON})
    eq(r.status, 422)
    eq(len(r.json()["errors"]), 2)
    eq(w.count_records(t), 0)


@test("a bad record in a batch refuses all of it; skip takes the rest")
def _(w):
    t = w.topic(partitions=2)
    body = json.dumps({"records": [
        {"value": 0}, {"value": 1, "partition": 7}, {"value": 2, "value_text": "x"}, {"value_base64": "!!"},
        {"colour": "red", "value": 4}, {"key": 5, "value": 5}, {"value": 6}, {}]})
    r = w.post("/v1/topics/%s/records" % t, body, {"Content-Type": BATCH})
    eq(r.status, 422)
    eq([e["index"] for e in r.json()["errors"]], [1, 2, 3, 4, 5, 7])
    eq(len(w.all(t)), 0)
    doc = w.push(t, body, BATCH, on_error="skip")
    eq((doc["accepted"], doc["rejected"]), (2, 6))
    eq(sorted(w.values(t)), [0, 6])


@test("an empty body of a list type is no record: refused, or accepted 0")
def _(w):
    t = w.topic()
    for type, body in ((NDJSON, b"\n \n"), (BATCH, b'{"records":[]}'), (CE_BATCH, b"[]")):
        r = w.post("/v1/topics/%s/records" % t, body, {"Content-Type": type})
        check(r.status in (400, 422) or r.status == 200 and r.json()["accepted"] == 0, "%s: %r" % (type, r))
    eq(w.count_records(t), 0)


@test("results=records says where each record went")
def _(w):
    t = w.topic(partitions=4)
    keys = ["k%d" % i for i in range(20)]
    doc = w.batch(t, [{"key": k, "value": i} for i, k in enumerate(keys)], results="records")
    eq([r["index"] for r in doc["results"]], list(range(20)))
    found = {(r["partition"], r["offset"]): r["value"] for r in w.all(t)}
    for r in doc["results"]:
        eq(found[r["partition"], r["offset"]], r["index"])
        eq(r["status"], "accepted")
    eq(sum(o["last"] - o["first"] + 1 for o in doc["offsets"]), 20, "ranges cover the records")


@test("ack=none answers 202 with what was entered, and it arrives")
def _(w):
    t = w.topic()
    r = expect(w.post("/v1/topics/%s/records?ack=none" % t, b"1\n2\n3\n", {"Content-Type": NDJSON}), 202)
    eq(r.json(), {"topic": t, "entered": 3})
    end = time.monotonic() + 10
    while w.count_records(t) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    eq(w.values(t), [1, 2, 3])


@test("a topic with durability os takes records like any other")
def _(w):
    t = w.topic(durability="os")
    eq(w.push(t, b"1")["accepted"], 1)
    until(lambda: w.values(t) == [1], 10, "the record, which nobody sees before it is durable")


# ---- encodings and framing ----

@test("gzip bodies are inflated, in one member or more")
def _(w):
    t = w.topic()
    body = b"".join(b'{"n":%d,"pad":"%s"}\n' % (i, b"x" * 100) for i in range(500))
    doc = w.push(t, gzip.compress(body), NDJSON, {"Content-Encoding": "gzip"})
    eq(doc["accepted"], 500)
    w.push(t, gzip.compress(b'{"two":') + gzip.compress(b"2}"), "application/json", {"Content-Encoding": "gzip"})
    eq(w.values(t)[500:], [{"two": 2}])


@test("zstd bodies are inflated")
def _(w):
    t = w.topic()
    body = b"".join(b'{"n":%d}\n' % i for i in range(20000))
    eq(w.push(t, zstd_stored(body), NDJSON, {"Content-Encoding": "zstd"})["accepted"], 20000)
    if shutil.which("zstd"):
        out = subprocess.run(["zstd", "-q", "-19", "-c"], input=body, capture_output=True).stdout
        eq(w.push(t, out, NDJSON, {"Content-Encoding": "zstd"})["accepted"], 20000)


@test("an unknown Content-Encoding is 415")
def _(w):
    t = w.topic()
    expect(w.post("/v1/topics/%s/records" % t, b"1", {"Content-Type": "application/json", "Content-Encoding": "br"}),
           415, "unsupported_media_type")


@test("a chunked body is the same as one with a length")
def _(w):
    t = w.topic()
    with Raw(w) as c:
        c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
               "Transfer-Encoding: chunked\r\n\r\n" % (t, w.authority))
        for piece in (b'{"a"', b":", b" 1 ", b"}"):
            c.send(b"%x;ext=1\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.01)
        c.send(b"0\r\nTrailer: x\r\n\r\n")
        eq(c.response().status, 200)
    eq(one_value(w, t), b'{"a": 1 }')


# ---- limits, at the byte ----

@test("a record of 1 MiB is taken, of one byte more is 413", timeout=60)
def _(w):
    t = w.topic()
    w.push(t, b"x" * MIB, "application/octet-stream")
    expect(w.post("/v1/topics/%s/records" % t, b"x" * (MIB + 1), {"Content-Type": "application/octet-stream"}), 413, "record_too_large")
    text = b'"' + b"y" * (MIB - 2) + b'"'
    w.push(t, text)
    expect(w.post("/v1/topics/%s/records" % t, text + b" ", {"Content-Type": "application/json"}), 413, "record_too_large")
    eq([len(v) for v in poll_values(w.poll_text(t))], [MIB, MIB])


@test("a record over the limit inside NDJSON is named, the rest is taken with skip", timeout=60)
def _(w):
    t = w.topic()
    body = b'1\n"' + b"y" * (MIB - 1) + b'"\n2\n'
    r = w.post("/v1/topics/%s/records" % t, body, {"Content-Type": NDJSON})
    check(r.status in (413, 422), repr(r))
    eq([(e["index"], e["code"]) for e in r.json()["errors"]], [(1, "record_too_large")])
    check("1048577" in r.text and "1048576" in r.text, "size and limit are not named: %r" % r)
    eq(w.push(t, body, NDJSON, on_error="skip")["accepted"], 2)


@test("a request of 16 MiB is taken, of one byte more is 413 that names the limit", timeout=60)
def _(w):
    t = w.topic()
    line = b'"' + b"z" * 1021 + b'"\n'
    body = line * (16 * MIB // len(line))
    eq(len(body), 16 * MIB)
    eq(w.push(t, body, NDJSON)["accepted"], 16384)
    r = expect(w.post("/v1/topics/%s/records" % t, body + b"\n", {"Content-Type": NDJSON}), 413, "body_too_large")
    check("16777216" in r.text or "16 MiB" in r.text or "16MiB" in r.text, "the limit is not named: %r" % r)
    r = expect(w.post("/v1/topics/%s/records" % t, gzip.compress(body + b"\n", 1), {
        "Content-Type": NDJSON, "Content-Encoding": "gzip"}), 413, "body_too_large")
    eq(w.push(t, gzip.compress(body, 1), NDJSON, {"Content-Encoding": "gzip"})["accepted"], 16384, "inflated at the limit")


@test("100 000 records in a request are taken, one more is 413", timeout=60)
def _(w):
    t = w.topic()
    eq(w.push(t, b"1\n" * 100000, NDJSON)["accepted"], 100000)
    expect(w.post("/v1/topics/%s/records" % t, b"1\n" * 100001, {"Content-Type": NDJSON}), 413, "too_many_records")


@test("100 000 records with all that a record may have are taken, in every form, durable or not", timeout=180)
def _(w):
    records = [{"value": i, "key": "k%d" % i, "idempotency_key": "i%d" % i, "headers": {"a": "b"}} for i in range(100000)]
    batch = json.dumps({"records": records}, separators=(",", ":")).encode()
    events = [{"specversion": "1.0", "id": str(i), "source": "/s", "type": "t", "exta": "x", "extb": "", "data": i} for i in range(100000)]
    event_batch = json.dumps(events, separators=(",", ":")).encode()
    for type, body in ((BATCH, batch), (CE_BATCH, event_batch)):
        check(len(body) <= 16 * MIB, "the body is over its limit")
        t = w.topic(partitions=4)
        eq(w.push(t, body, type)["accepted"], 100000)
        eq(w.push(t, body, type)["duplicates"], 100000)
        t = w.topic()
        r = w.post("/v1/topics/%s/records?ack=none" % t, body, {"Content-Type": type})
        eq((r.status, r.json().get("entered")), (202, 100000), repr(r)[:300])
        until(lambda: w.count_records(t) == 100000, 20, "100 000 records")


@test("a request that takes more than a commit may have is 413 that names the limit", timeout=120, own=True)
def _():
    with Weir("http: { body_bytes_max: 64MiB }\n") as w:
        body = (b'"' + b"x" * (MIB - 100) + b'"\n')
        for ack in ("durable", "none"):
            t = w.topic()
            eq(w.post("/v1/topics/%s/records?ack=%s" % (t, ack), body * 38, {"Content-Type": NDJSON}).status, 202 if ack == "none" else 200)
            r = expect(w.post("/v1/topics/%s/records?ack=%s" % (t, ack), body * 41, {"Content-Type": NDJSON}), 413, "body_too_large")
            check("41943040" in r.json()["detail"], "the limit is not named: %r" % r)
            until(lambda: w.count_records(t) == 38, 10, "the records of the first request")


# ---- placement ----

@test("murmur2 here is Kafka's: the known values")
def _(w):
    for text, want in ((b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
                       (b"a-little-bit-longer-string", -1486304829), (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971)):
        got = murmur2(text)
        eq(got - (1 << 32) if got >> 31 else got, want)


@test("a key goes to the partition that Kafka's default partitioner gives")
def _(w):
    for count in (1, 3, 12):
        t = w.topic(partitions=count)
        keys = ["", "a", "ab", "abc", "abcd", "ключ", "x" * 300] + ["user-%d" % i for i in range(60)]
        doc = w.batch(t, [{"key": k, "value": 1} for k in keys], results="records")
        eq([r["partition"] for r in doc["results"]], [partition_of(k, count) for k in keys])


@test("?key= is the key of every record of the request, ?partition= places them")
def _(w):
    t = w.topic(partitions=5)
    w.ndjson(t, [1, 2, 3], key="alice")
    eq({(r["key"], r["partition"]) for r in w.all(t)}, {("alice", partition_of("alice", 5))})
    doc = w.push(t, b"4", partition=4)
    eq(doc["offsets"][0]["partition"], 4)
    got = [r for r in w.all(t) if r["value"] == 4]
    eq((got[0]["partition"], got[0]["key"]), (4, None))


@test("a key in a batch wins over ?key=")
def _(w):
    t = w.topic()
    w.batch(t, [{"key": "own", "value": 1}, {"value": 2}], key="theirs")
    eq([r["key"] for r in w.all(t)], ["own", "theirs"])


@test("records without a key are spread evenly")
def _(w):
    t = w.topic(partitions=4)
    with w.session() as s:
        for i in range(200):
            expect(s.request("POST", "/v1/topics/%s/records" % t, b"%d" % i, {"Content-Type": "application/json"}), 200)
    w.ndjson(t, list(range(200)))
    w.batch(t, [{"value": i} for i in range(200)])
    count = collections.Counter(r["partition"] for r in w.all(t))
    eq(sorted(count), [0, 1, 2, 3])
    check(max(count.values()) <= 1.35 * min(count.values()), "uneven: %r" % count)


@test("records of one request and key keep their order")
def _(w):
    t = w.topic(partitions=4)
    w.batch(t, [{"key": "k%d" % (i % 7), "value": i} for i in range(700)])
    seen = collections.defaultdict(list)
    for r in w.all(t):
        seen[r["key"]].append(r["value"])
    for values in seen.values():
        eq(values, sorted(values))
    eq(sum(map(len, seen.values())), 700)


@test("offsets are dense and timestamps never go back")
def _(w):
    t = w.topic()
    for i in range(50):
        w.push(t, b"%d" % i)
    r = w.all(t)
    eq([x["offset"] for x in r], list(range(50)))
    times = [x["timestamp"] for x in r]
    eq(times, sorted(times))
    check(abs(times[0] / 1000 - time.time()) < 60, "timestamp is not in milliseconds of now: %r" % times[0])


@test("a record is readable as soon as its answer is there")
def _(w):
    t = w.topic()
    with w.session() as s:
        for i in range(100):
            expect(s.request("POST", "/v1/topics/%s/records" % t, b"%d" % i, {"Content-Type": "application/json"}), 200)
            got = s.request("GET", "/v1/topics/%s/partitions/0/records?offset=%d" % (t, i)).json()
            eq([r["value"] for r in got["records"]], [i])


@test("a topic is created on first use, once, however many come at the same time")
def _(w):
    t = w.topic()
    together(*[lambda i=i: w.push(t, b"%d" % i) for i in range(16)])
    eq(sorted(w.values(t)), list(range(16)))
