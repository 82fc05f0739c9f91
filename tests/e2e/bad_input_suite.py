# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: the exact status and code, a count by reason, nothing stored, nobody else disturbed."""
import gzip
import json
import struct
import time
import zlib

from harness import (BATCH, BINARY, CE, CE_BATCH, NDJSON, TEXT, Later, Raw, Weir, Ws, check, eq, expect, query, test, until)

MIB = 1 << 20
NO_CREATE = "topic_defaults: { auto_create: false }\n"


class Watch:
    """A refusal seen whole: what it stored, what it counted, and how a well-behaved client fared meanwhile."""

    def __init__(self, w, code, count=1):
        self.w, self.code, self.count = w, code, count

    def __enter__(self):
        self.before, self.began = self.w.refused(self.code), time.monotonic()
        self.other = self.w.session()
        self.topic = self.w.topic()
        self.other.request("POST", "/v1/topics/%s/records" % self.topic, b"1", {"Content-Type": "application/json"})
        return self

    def __exit__(self, kind, value, tb):
        if kind:
            return
        if time.monotonic() - self.began > 5:  # its connection may have idled too long by itself
            self.other.close()
            self.other = self.w.session()
        expect(self.other.request("POST", "/v1/topics/%s/records" % self.topic, b"2", {"Content-Type": "application/json"}), 200)
        self.other.close()
        eq(self.w.count_records(self.topic), 2, "another client's records")
        until(lambda: self.w.refused(self.code) >= self.before + self.count, 3,
              "%s counted in /metrics (%g before, %g now)" % (self.code, self.before, self.w.refused(self.code)))


def refused_post(w, body, type, status, code, headers=None, **args):
    t = w.topic()
    h = dict({"Content-Type": type}, **(headers or {}))
    with Watch(w, code):
        r = expect(w.post("/v1/topics/%s/records%s" % (t, query(**args)), body, h), status, code)
    eq(w.count_records(t), 0, "records stored by a refused request")
    return r


def cloud_event_refused(w, body, type, headers=None):
    """One event may be answered as itself or as a batch of one: the code stands somewhere."""
    t = w.topic()
    r = w.post("/v1/topics/%s/records" % t, body, dict({"Content-Type": type}, **(headers or {})))
    eq(r.status, 422, repr(r))
    doc = r.json()
    check("invalid_cloudevent" in [doc["code"]] + [e["code"] for e in doc.get("errors", [])], repr(r))
    eq(w.count_records(t), 0)


def raw_refused(w, head, status, code, body=b"", closes=True):
    """Says exactly these bytes; the answer must be a problem document, and the connection must end."""
    with Watch(w, code), Raw(w) as c:
        c.send(head.replace("HOST", w.authority)).send(body)
        r = expect(c.response(), status, code)
        if closes:
            check("close" in (r.headers.get("Connection") or "").lower(), "no Connection: close after a framing error")
            check(c.closed(6), "the connection stays open after a framing error")
    return r


# ---- bodies ----

@test("malformed JSON is 400 invalid_json")
def _(w):
    for body in (b"{", b'{"a":1}}', b"{'a':1}", b'{"a":01}', b"NaN", b"[1,]", b'"\x01"', b'"\\x"', b"", b"  ", b"nul", b'{"a" 1}'):
        r = refused_post(w, body, "application/json", 400, "invalid_json")
        check(len(r.json()["detail"]) > 10, "a detail that says nothing: %r" % r)


@test("invalid UTF-8 in JSON is 400 invalid_json")
def _(w):
    for body in (b'"\xff"', b'{"a":"\xc3"}', b'"\xed\xa0\x80"', b'"\xc0\xaf"', b'"\xf4\x90\x80\x80"'):
        refused_post(w, body, "application/json", 400, "invalid_json")


@test("JSON nested without end is refused, not a crash")
def _(w):
    r = w.post("/v1/topics/%s/records" % w.topic(), b"[" * 500000, {"Content-Type": "application/json"})
    expect(r, 400, "invalid_json")
    r = w.post("/v1/topics/%s/records" % w.topic(), b"[" * 200000 + b"]" * 200000, {"Content-Type": "application/json"})
    check(r.status in (200, 400), repr(r))


@test("NDJSON with a bad line is 422 invalid_batch with the line")
def _(w):
    r = refused_post(w, b'{"ok":1}\n{"bad\n', NDJSON, 422, "invalid_batch")
    eq([(e["index"], e["line"], e["code"]) for e in r.json()["errors"]], [(1, 2, "invalid_json")])


@test("NDJSON with invalid UTF-8 in one line names that line")
def _(w):
    r = refused_post(w, b'1\n"\xff"\n3\n', NDJSON, 422, "invalid_batch")
    eq([e["line"] for e in r.json()["errors"]], [2])


@test("a batch that is not one is refused")
def _(w):
    refused_post(w, b"{", BATCH, 400, "invalid_json")
    for body in (b"[]", b"{}", b'{"records":{}}', b'{"records":1}', b"1"):
        r = refused_post(w, body, BATCH, 400, "malformed_request")
        check('{"records":[' in r.json()["detail"], "what is right is not said: %r" % r)
    r = refused_post(w, b'{"specversion":"1.0","id":"1","source":"/","type":"t"}', CE_BATCH, 422, "invalid_cloudevent")
    check(CE in r.json()["detail"], "what is right is not said: %r" % r)
    r = refused_post(w, b'{"records":[{"value":1,"partition":7}]}', BATCH, 422, "invalid_batch")
    check("has 1" in r.json()["errors"][0]["detail"], "the number of partitions is not said: %r" % r)


@test("a broken CloudEvent is refused")
def _(w):
    refused_post(w, b"{", CE, 400, "invalid_json")
    for body in (b'{"specversion":"1.0","id":"","source":"/","type":"t"}', b'{"specversion":"0.3","id":"1","source":"/","type":"t"}', b"[]"):
        cloud_event_refused(w, body, CE)
    cloud_event_refused(w, b"x", "text/plain", {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"})


@test("broken gzip is 400 invalid_content_encoding: not gzip, cut, a wrong checksum, garbage behind")
def _(w):
    good = gzip.compress(b'{"a":1}')
    for body in (b'{"a":1}', good[:-9], good[:5], good[:-5] + b"\0\0\0\0\0", good + b"garbage", b""):
        refused_post(w, body, "application/json", 400, "invalid_content_encoding", {"Content-Encoding": "gzip"})


@test("broken zstd is 400 invalid_content_encoding")
def _(w):
    for body in (b"{}", b"\x28\xb5\x2f\xfd\x00\x50\x21", b"\x28\xb5\x2f\xfd", b""):
        refused_post(w, body, "application/json", 400, "invalid_content_encoding", {"Content-Encoding": "zstd"})


@test("a gzip bomb is 413 body_too_large and costs little memory", timeout=60)
def _(w):
    # A MiB that refers to nothing before it, a thousand times.
    d = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = d.compress(bytes(MIB)) + d.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(1024):
        crc = zlib.crc32(bytes(MIB), crc)
    bomb = b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * 1024 + d.flush() + struct.pack("<II", crc, 1024 * MIB)
    before = w.rss()
    refused_post(w, bomb, "application/octet-stream", 413, "body_too_large", {"Content-Encoding": "gzip"})
    check(w.rss() - before < 128 * MIB, "grew by %d MiB" % ((w.rss() - before) // MIB))


@test("a zstd bomb is 413 body_too_large")
def _(w):
    # A frame of RLE blocks: four bytes each stand for 128 KiB.
    block = struct.pack("<I", 131072 << 3 | 1 << 1)[:3] + b"\0"
    bomb = struct.pack("<IBB", 0xFD2FB528, 0, 0x50) + block * 4096 + struct.pack("<I", 1 << 3 | 1 << 1 | 1)[:3] + b"\0"
    refused_post(w, bomb, "application/octet-stream", 413, "body_too_large", {"Content-Encoding": "zstd"})


@test("a zstd frame that asks for a huge window is refused")
def _(w):
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 0xf8) + struct.pack("<I", 1 << 3 | 1)[:3] + b"x"
    r = w.post("/v1/topics/%s/records" % w.topic(), frame, {"Content-Type": "text/plain", "Content-Encoding": "zstd"})
    check(r.status in (400, 413), repr(r))


@test("a body over the limit by one byte is 413 before it is read, and the answer can be read", timeout=60)
def _(w):
    t = w.topic()
    with Watch(w, "body_too_large"), Raw(w, 20) as c:
        c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
               % (t, w.authority, 16 * MIB + 1))
        r = expect(c.response(), 413, "body_too_large")
        check("16777216" in r.text or "16 MiB" in r.text or "16MiB" in r.text, "the limit is not named: %r" % r)
    with Raw(w, 20) as c:  # a client that sends all of it before it reads
        c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
               % (t, w.authority, 16 * MIB + 1))
        for _ in range(16):
            c.send(b"x" * MIB)
        c.send(b"x")
        expect(c.response(), 413, "body_too_large")
    eq(w.count_records(t), 0)


@test("a chunked body over the limit is 413 body_too_large", timeout=60)
def _(w):
    t = w.topic()
    with Watch(w, "body_too_large"), Raw(w, 20) as c:
        c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
               % (t, w.authority))
        for _ in range(16):
            c.send(b"%x\r\n" % MIB + b"x" * MIB + b"\r\n")
        c.send(b"1\r\nx\r\n")
        expect(c.response(), 413, "body_too_large")
    eq(w.count_records(t), 0)


# ---- parameters ----

@test("a topic that does not exist is 404 unknown_topic where creation is off", own=True)
def _():
    with Weir(NO_CREATE) as w:
        for r in (w.post("/v1/topics/nope/records", b"1", {"Content-Type": "application/json"}),
                  w.get("/v1/topics/nope/records"), w.get("/v1/topics/nope"), w.get("/v1/topics/nope/sse"),
                  w.get("/v1/topics/nope/partitions/0/records"), w.delete("/v1/topics/nope")):
            expect(r, 404, "unknown_topic")
        with Ws(w, "/v1/topics/nope/ws", upgrade=False) as c:
            eq((c.status, json.loads(c.body)["code"]), (404, "unknown_topic"))
        eq(w.get("/v1/topics").json()["topics"], [])
        check(w.refused("unknown_topic") >= 6, "not counted")


@test("a partition out of range is 400 partition_out_of_range")
def _(w):
    t = w.topic(partitions=3)
    for p in (3, 99999):
        with Watch(w, "partition_out_of_range"):
            expect(w.post("/v1/topics/%s/records?partition=%d" % (t, p), b"1", {"Content-Type": "application/json"}),
                   400, "partition_out_of_range")
    for p in ("4294967296", "-1", "x", "1.5", "", " 1"):
        r = w.post("/v1/topics/%s/records%s" % (t, query(partition=p)), b"1", {"Content-Type": "application/json"})
        check(r.status == 400, "partition=%r: %r" % (p, r))
    expect(w.get("/v1/topics/%s/partitions/3/records" % t), 404, "unknown_partition")
    eq(w.all(t), [])


@test("a topic name with other letters or too long is 400 invalid_topic, one of weir's own 403 forbidden")
def _(w):
    for name in ("a%20b", "a%2Fb", "%C3%A4", "x" * 250, "a*"):
        with Watch(w, "invalid_topic"):
            expect(w.post("/v1/topics/%s/records" % name, b"1", {"Content-Type": "application/json"}), 400, "invalid_topic")
    check(w.post("/v1/topics/a%00/records", b"1").status == 400, "a NUL in a name")
    expect(w.post("/v1/topics/__weir/records", b"1", {"Content-Type": "application/json"}), 403, "forbidden")
    expect(w.put("/v1/topics/__weir", b"{}", {"Content-Type": "application/json"}), 403, "forbidden")
    expect(w.post("/v1/topics/%s/records" % ("x" * 249), b"1", {"Content-Type": "application/json"}), 200)


@test("unknown parameters and bad values of known ones are 400 and named")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    for method, path in (("POST", "colour=red"), ("GET", "curser=earliest")):
        r = w.request(method, "/v1/topics/%s/records?%s" % (t, path), b"1" if method == "POST" else None, {"Content-Type": "application/json"})
        expect(r, 400, "unknown_parameter")
        check(path.split("=")[0] in r.text, "the parameter is not named: %r" % r)
    r = expect(w.post("/v1/topics/%s/records?timestamp=5" % t, b"1"), 400, "unknown_parameter")
    check("key, partition, ack, on_error and results" in r.json()["detail"], "those that are known are not named: %r" % r)
    for q in ("ack=maybe", "on_error=panic", "results=all"):
        expect(w.post("/v1/topics/%s/records?%s" % (t, q), b"1", {"Content-Type": "application/json"}), 400, "invalid_parameter")
    for q in ("limit=0", "limit=10001", "limit=x", "limit=-1", "wait=6m", "wait=x", "wait=-1s", "partitions=x", "partitions=3-1", "partitions=0-"):
        expect(w.get("/v1/topics/%s/records?%s" % (t, q)), 400, "invalid_parameter")
    eq(w.values(t), [1])


@test("a cursor that is none is 400 invalid_cursor, one of another topic 400 cursor_mismatch")
def _(w):
    a, b = w.topic(), w.topic()
    w.push(a, b"1")
    w.push(b, b"1")
    cursor = w.poll(a)["cursor"]
    for c in ("nonsense", "AAAA", "@", "@yesterday", "@-5", cursor[:-3], cursor + "x" * 9, "x" * 5000):
        with Watch(w, "invalid_cursor"):
            expect(w.get("/v1/topics/%s/records?cursor=%s" % (a, c)), 400, "invalid_cursor")
    with Watch(w, "cursor_mismatch", 3):
        expect(w.get("/v1/topics/%s/records?cursor=%s" % (b, cursor)), 400, "cursor_mismatch")
        expect(w.get("/v1/topics/%s/sse?cursor=%s" % (b, cursor)), 400, "cursor_mismatch")
        with Ws(w, "/v1/topics/%s/ws?cursor=%s" % (b, cursor), upgrade=False) as c:
            eq((c.status, json.loads(c.body)["code"]), (400, "cursor_mismatch"))


@test("a cursor with any bit turned is refused or harmless, never a crash", timeout=60)
def _(w):
    t = w.topic(partitions=3)
    w.ndjson(t, list(range(30)))
    cursor = w.poll(t, limit=7)["cursor"]
    with w.session() as s:
        for i in range(len(cursor)):
            for other in "A_z0":
                r = s.request("GET", "/v1/topics/%s/records?cursor=%s" % (t, cursor[:i] + other + cursor[i + 1:]))
                check(r.status in (200, 400, 409, 410), "%d %s: %r" % (i, other, r))


# ---- framing: RFC 9112 ----

def post_head(*lines, topic="framing", version="1.1"):
    return "POST /v1/topics/%s/records HTTP/%s\r\n" % (topic, version) + "".join(x + "\r\n" for x in lines) + "\r\n"


FRAMING = {
    "two Content-Lengths that differ": (["Host: HOST", "Content-Length: 1", "Content-Length: 2"], b"12"),
    "two Content-Lengths that agree": (["Host: HOST", "Content-Length: 1", "Content-Length: 1"], b"1"),
    "a list as Content-Length": (["Host: HOST", "Content-Length: 1, 1"], b"1"),
    "a signed Content-Length": (["Host: HOST", "Content-Length: +1"], b"1"),
    "a hexadecimal Content-Length": (["Host: HOST", "Content-Length: 0x1"], b"1"),
    "an empty Content-Length": (["Host: HOST", "Content-Length:"], b"1"),
    "a Content-Length past 64 bits": (["Host: HOST", "Content-Length: 18446744073709551617"], b"1"),
    "Transfer-Encoding with Content-Length": (["Host: HOST", "Transfer-Encoding: chunked", "Content-Length: 6"], b"1\r\n1\r\n0\r\n\r\n"),
    "Transfer-Encoding other than chunked": (["Host: HOST", "Transfer-Encoding: chunked, identity"], b"1\r\n1\r\n0\r\n\r\n"),
    "Transfer-Encoding spelt badly": (["Host: HOST", "Transfer-Encoding: xchunked"], b"1\r\n1\r\n0\r\n\r\n"),
    "two Transfer-Encodings": (["Host: HOST", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"1\r\n1\r\n0\r\n\r\n"),
    "a space before the colon": (["Host: HOST", "Content-Length : 1"], b"1"),
    "a folded header": (["Host: HOST", "X-A: 1", " folded", "Content-Length: 1"], b"1"),
    "no Host": (["Content-Length: 1"], b"1"),
    "two Hosts": (["Host: HOST", "Host: HOST", "Content-Length: 1"], b"1"),
    "a NUL in a header": (["Host: HOST", "X-A: a\0b", "Content-Length: 1"], b"1"),
    "a bare CR in a header": (["Host: HOST", "X-A: a\rb", "Content-Length: 1"], b"1"),
    "a header without a name": (["Host: HOST", ": v", "Content-Length: 1"], b"1"),
    "a header without a colon": (["Host: HOST", "nonsense", "Content-Length: 1"], b"1"),
    "a chunk size with 0x": (["Host: HOST", "Transfer-Encoding: chunked"], b"0x1\r\n1\r\n0\r\n\r\n"),
    "a chunk size that overflows": (["Host: HOST", "Transfer-Encoding: chunked"], b"11111111111111111\r\n1\r\n0\r\n\r\n"),
    "a negative chunk size": (["Host: HOST", "Transfer-Encoding: chunked"], b"-1\r\n1\r\n0\r\n\r\n"),
    "a chunk that does not end": (["Host: HOST", "Transfer-Encoding: chunked"], b"1\r\n12\r\n0\r\n\r\n"),
    "a chunk line with a bare LF": (["Host: HOST", "Transfer-Encoding: chunked"], b"1\n1\r\n0\r\n\r\n"),
}


def framing_case(name, lines, body):
    @test("%s: 400 malformed_request and the connection ends" % name)
    def _(w):
        raw_refused(w, post_head("Content-Type: application/json", *lines), 400, "malformed_request", body)
        eq(w.count_records("framing"), 0)


for _name, (_lines, _body) in FRAMING.items():
    framing_case(_name, _lines, _body)


@test("Transfer-Encoding in HTTP/1.0 is refused")
def _(w):
    with Raw(w) as c:
        c.send(post_head("Host: " + w.authority, "Transfer-Encoding: chunked", version="1.0")).send(b"1\r\n1\r\n0\r\n\r\n")
        eq(c.response().status, 400)


@test("a request line that is none is 400, another major version 505")
def _(w):
    for line in ("GET\r\n", "GET /\r\n", "GET / HTTP/1.1 x\r\n", "G\x01T / HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n",
                 "GET /\x00 HTTP/1.1\r\n", "GET nonsense HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\r\n"):
        with Raw(w) as c:
            c.send(line + "Host: %s\r\n\r\n" % w.authority)
            eq(c.response().status, 400, "for %r" % line)
            check(c.closed(6), "stays open after %r" % line)
    with Raw(w) as c:
        c.send("GET / HTTP/2.0\r\nHost: %s\r\n\r\n" % w.authority)
        check(c.response().status in (400, 505), "for HTTP/2.0")


@test("lines that end in a bare LF are 400")
def _(w):
    with Raw(w) as c:
        c.send("GET /healthz HTTP/1.1\nHost: %s\n\n" % w.authority)
        c.sock.shutdown(1)
        eq(c.response().status, 400)


@test("a header of 1 MiB is 431 header_too_large and the answer can be read")
def _(w):
    with Watch(w, "header_too_large"), Raw(w) as c:
        try:
            c.send("GET /healthz HTTP/1.1\r\nHost: %s\r\nX-Big: " % w.authority + "x" * MIB + "\r\n\r\n")
        except ConnectionError:
            pass
        expect(c.response(), 431, "header_too_large")


@test("headers of almost 32 KiB are taken, of more are 431")
def _(w):
    for size, want in ((31 << 10, 200), ((32 << 10) + 200, 431)):
        with Raw(w) as c:
            c.send("GET /healthz HTTP/1.1\r\nHost: %s\r\nX-Big: " % w.authority + "x" * size + "\r\n\r\n")
            eq(c.response().status, want, "%d bytes" % size)


@test("thousands of small headers are 431")
def _(w):
    with Raw(w) as c:
        c.send("GET /healthz HTTP/1.1\r\nHost: %s\r\n" % w.authority + "".join("a%d: b\r\n" % i for i in range(6000)) + "\r\n")
        expect(c.response(), 431, "header_too_large")


@test("a target longer than the limit is refused")
def _(w):
    with Raw(w) as c:
        c.send("GET /healthz?%s HTTP/1.1\r\nHost: %s\r\n\r\n" % ("x" * (40 << 10), w.authority))
        check(c.response().status in (414, 431), "status")


@test("a request smuggled behind a bad one is never run")
def _(w):
    t = w.topic()
    inner = "POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 1\r\n\r\n7" % (t, w.authority)
    with Raw(w) as c:
        c.send(post_head("Host: " + w.authority, "Content-Length: 6", "Transfer-Encoding: chunked") + "0\r\n\r\n" + inner)
        eq(c.response().status, 400)
        check(c.closed(6), "answers what stands behind")
    eq(w.count_records(t), 0)


@test("half a request and then silence is 408 request_timeout, half a body too", timeout=120)
def _(w):
    t = w.topic()
    halves = [("GET /healthz HTTP/1.1\r\nHost: ", "in the header"),
              (post_head("Host: " + w.authority, "Content-Length: 10", topic=t) + "12345", "in the body"),
              (post_head("Host: " + w.authority, "Transfer-Encoding: chunked", topic=t) + "5\r\n123", "in a chunk")]

    def silent(text, where):
        with Raw(w, 100) as c:
            c.send(text)
            expect(c.response(), 408, "request_timeout")
            check(c.closed(10), "stays open after silence " + where)
    with Watch(w, "request_timeout", 3):
        for later in [Later(silent, *h) for h in halves]:
            later.get(110)
    eq(w.count_records(t), 0)


@test("half a request and then the end of the stream stores nothing")
def _(w):
    t = w.topic()
    for cut in (post_head("Host: " + w.authority, "Content-Length: 10", topic=t) + "12345",
                post_head("Host: " + w.authority, "Transfer-Encoding: chunked", topic=t) + "5\r\n12345\r\n"):
        for end in ("shutdown", "reset"):
            c = Raw(w).send(cut)
            if end == "shutdown":
                c.sock.shutdown(1)
                c.timeout(5).rest()
                c.close()
            else:
                time.sleep(0.05)
                c.reset()
    time.sleep(0.2)
    eq(w.count_records(t), 0)


# ---- WebSocket ----

def ws_broken(w, code, *frames, path=None, then=b""):
    t = w.topic()
    with Ws(w, path or "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        for op, payload, kw in frames:
            c.send(op, payload, **kw)
        eq(c.close_code(), code)
    eq(w.count_records(t), 0, "records stored")


@test("a WebSocket frame without a mask: close 1002")
def _(w):
    ws_broken(w, 1002, (TEXT, b"1", {"mask": False}))


@test("invalid UTF-8 in a WebSocket text message: close 1007")
def _(w):
    ws_broken(w, 1007, (TEXT, b"\xff\xfe", {}))
    ws_broken(w, 1007, (TEXT, b"ok \xc3", {"fin": False}), (0, b"\x28", {}))


@test("a WebSocket message over 1 MiB: close 1009")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        c.send(BINARY, b"x" * MIB)
        eq(c.json()["ack"]["offset"], 0)
        try:
            c.send(BINARY, b"x" * (MIB + 1))
        except ConnectionError:
            pass
        eq(c.close_code(), 1009)
    eq(len(w.all(t)), 1)


@test("weir still stands after thousands of random bytes on hundreds of connections", timeout=60)
def _(w):
    import random
    rnd = random.Random(20)
    starts = [b"", b"GET / HTTP/1.1\r\n", b"POST /v1/topics/x/records HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
              b"POST /v1/topics/x/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/vnd.weir.batch+json\r\nContent-Length: 200\r\n\r\n"]
    pid = w.pid
    for i in range(300):
        with Raw(w) as c:
            try:
                c.send(rnd.choice(starts) + bytes(rnd.randrange(256) for _ in range(rnd.randrange(1, 3000))))
            except ConnectionError:
                pass
    eq(w.get("/healthz").status, 200)
    check(w.running() and w.pid == pid, "it ended")
