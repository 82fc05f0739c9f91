# SPDX-License-Identifier: Apache-2.0
"""WebSocket: modes, formats, the subprotocol, and the protocol itself, by a library and by hand."""
import asyncio
import base64
import json
import random
import struct
import time

import websockets

from harness import (BINARY, CLOSE, CONT, PING, PONG, TEXT, Later, Raw, Weir, Ws, check, eq, expect, members, quote, test,
                     until, value_bytes)


def connect(w, path, **args):
    return websockets.connect(w.ws_url + path, max_size=None, open_timeout=10, close_timeout=5, **args)


async def soon(awaitable, timeout=10):
    return await asyncio.wait_for(awaitable, timeout)


# ---- subscribing ----

@test("each record is a text frame: the record and its cursor")
async def _(w):
    t = w.topic()
    w.push(t, b'{ "a": 1.0 }', headers={"Idempotency-Key": "k"})
    async with connect(w, "/v1/topics/%s/ws?mode=subscribe&cursor=earliest" % t) as c:
        text = await soon(c.recv())
        check(isinstance(text, str), "not a text frame")
        doc = json.loads(text)
        eq(sorted(doc), ["cursor", "headers", "key", "offset", "partition", "timestamp", "topic", "value"])
        eq(value_bytes(text), b'{ "a": 1.0 }')
        eq(w.poll(t, cursor=doc["cursor"])["records"], [])


@test("without mode and cursor it subscribes to what comes next")
async def _(w):
    t = w.topic()
    w.push(t, b"1")
    async with connect(w, "/v1/topics/%s/ws" % t) as c:
        w.push(t, b"2")
        eq(json.loads(await soon(c.recv()))["value"], 2)


@test("format=raw gives the bytes of the value alone: text where UTF-8, else binary")
async def _(w):
    t = w.topic()
    for b in (b'{ "a":1 }', b"plain", b"\xff\xfe\x00", b"\xc3\xa4"):
        w.push(t, b, "application/octet-stream")
    async with connect(w, "/v1/topics/%s/ws?cursor=earliest&format=raw" % t) as c:
        eq([await soon(c.recv()) for _ in range(4)], ['{ "a":1 }', "plain", b"\xff\xfe\x00", "ä"])


@test("several topics come on one socket, one that does not exist yet too")
async def _(w):
    a, b = w.topic(), w.topic()
    w.push(a, b"0")
    async with connect(w, "/v1/ws?topics=%s" % quote(a + "," + b)) as c:
        await asyncio.sleep(0.1)
        w.push(a, b"1")
        w.push(b, b"2")
        got = [json.loads(await soon(c.recv())) for _ in range(2)]
        eq({(r["topic"], r["value"]) for r in got}, {(a, 1), (b, 2)})


@test("key= and partitions= select")
async def _(w):
    t = w.topic(partitions=2)
    async with connect(w, "/v1/topics/%s/ws?cursor=earliest&key=b" % t) as k, \
            connect(w, "/v1/topics/%s/ws?cursor=earliest&partitions=1&format=raw" % t) as p:
        w.batch(t, [{"key": x, "value": x, "partition": 0} for x in "abab"])
        w.ndjson(t, [5], partition=1)
        eq([json.loads(await soon(k.recv()))["value"] for _ in range(2)], ["b", "b"])
        eq(await soon(p.recv()), "5")


@test("records arrive in order, none twice, while many come in")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?cursor=earliest" % t) as c:
        def load():
            for i in range(0, 3000, 60):
                w.ndjson(t, list(range(i, i + 60)))
        loader = Later(load)
        eq([json.loads(await soon(c.recv()))["value"] for _ in range(3000)], list(range(3000)))
        loader.get()


@test("a gap is told and the stream goes on")
async def _(w):
    t = w.topic()
    w.ndjson(t, list(range(10)))
    old, keep = w.poll(t, limit=1)["cursor"], w.poll(t, limit=7)["cursor"]
    expect(w.post("/v1/topics/%s/trim" % t, json.dumps({"before": keep}), {"Content-Type": "application/json"}), 200)
    async with connect(w, "/v1/topics/%s/ws?cursor=%s" % (t, old)) as c:
        gap = json.loads(await soon(c.recv()))["gap"]
        eq((gap["partition"], gap["from"], gap["to"]), (0, 1, 7))
        eq([json.loads(await soon(c.recv()))["value"] for _ in range(3)], [7, 8, 9])


@test("a subscriber that publishes gets close 1008 or an error, and nothing is stored")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws" % t) as c:
        c.send(TEXT, b"1")
        m = c.message()
        check(m[0] == "close" and m[1] in (1003, 1008) or b'"error"' in m[1], repr(m))
    eq(w.count_records(t), 0)


# ---- publishing ----

@test("mode=publish: each message is a record, text or binary")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=publish" % t) as c:
        await c.send('{"n": 1}')
        await c.send(b"\xff\x00")
        await c.send("plain")
    until(lambda: w.count_records(t) == 3, 5, "three records")
    eq([value_bytes(json.dumps(r)) for r in w.all(t)], [b'{"n": 1}', b"\xff\x00", b"plain"])


@test("ack=1 answers each message in order with partition and offset")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        for i in range(500):
            await c.send(str(i))
        acks = [json.loads(await soon(c.recv())) for _ in range(500)]
        eq(acks, [{"ack": {"partition": 0, "offset": i}} for i in range(500)])
    eq(w.values(t), list(range(500)))


@test("what was acknowledged over WebSocket is there after kill -9", own=True, timeout=60)
def _():
    with Weir() as w:
        t = w.topic()
        with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
            for i in range(200):
                c.send(TEXT, b"%d" % i)
            for _ in range(150):
                last = c.json()["ack"]["offset"]
            w.kill()
        w.start()
        got = w.values(t)
        eq(got, list(range(len(got))))
        check(len(got) > last, "acknowledged %d, found %d" % (last + 1, len(got)))


@test("mode=both takes and gives bare values")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=both" % t) as a, connect(w, "/v1/topics/%s/ws?mode=both" % t) as b:
        await a.send("hello")
        eq((await soon(a.recv()), await soon(b.recv())), ("hello", "hello"))
        await b.send(b"\xff")
        eq((await soon(a.recv()), await soon(b.recv())), (b"\xff", b"\xff"))


@test("an unknown mode or format is 400 before the upgrade")
def _(w):
    t = w.topic()
    for q in ("mode=listen", "format=xml", "mode=publish&ack=7"):
        with Ws(w, "/v1/topics/%s/ws?%s" % (t, q), upgrade=False) as c:
            eq((c.status, json.loads(c.body)["code"]), (400, "invalid_parameter"), q)


# ---- weir.v1 ----

@test("weir.v1: publish with id, key, headers and value, answered with an ack that carries the id")
async def _(w):
    t = w.topic(partitions=3)
    async with connect(w, "/v1/topics/%s/ws?mode=both" % t, subprotocols=["weir.v1"]) as c:
        eq(c.subprotocol, "weir.v1")
        await c.send('{"publish":{"id":"m1","key":"k","headers":{"h":"v"},"value":{ "x" :1}}}')
        got = {}
        for _ in range(2):
            text = await soon(c.recv())
            got.update({name: raw for name, raw in members(text).items()})
        ack, record = json.loads(got["ack"]), json.loads(got["record"])
        eq((ack["id"], ack["duplicate"]), ("m1", False))
        eq((record["partition"], record["offset"], record["key"], record["headers"]),
           (ack["partition"], ack["offset"], "k", {"h": "v"}))
        eq(value_bytes(got["record"]), b'{ "x" :1}')
        check(record["cursor"], "no cursor")


@test("weir.v1: ids may be numbers or strings, acks keep the order")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=publish" % t, subprotocols=["weir.v1"]) as c:
        ids = [i if i % 2 else "s%d" % i for i in range(200)]
        for i in ids:
            await c.send(json.dumps({"publish": {"id": i, "value": i}}))
        eq([json.loads(await soon(c.recv()))["ack"]["id"] for _ in ids], ids)
    eq(w.values(t), ids)


@test("weir.v1: value_base64 and an idempotency key; a repeat says duplicate with the first offset")
async def _(w):
    t = w.topic()
    raw = bytes(range(256))
    async with connect(w, "/v1/topics/%s/ws?mode=publish" % t, subprotocols=["weir.v1"]) as c:
        msg = {"publish": {"id": 1, "value_base64": base64.b64encode(raw).decode(), "idempotency_key": "u-1"}}
        await c.send(json.dumps(msg))
        a = json.loads(await soon(c.recv()))["ack"]
        msg["publish"]["id"] = 2
        await c.send(json.dumps(msg))
        b = json.loads(await soon(c.recv()))["ack"]
        eq((a["duplicate"], b["duplicate"], b["id"], b["offset"]), (False, True, 2, a["offset"]))
        msg["publish"].update(id=3, value_base64="AA==")
        await c.send(json.dumps(msg))
        e = json.loads(await soon(c.recv()))["error"]
        eq((e["id"], e["code"]), (3, "idempotency_key_reused"))
        check(e["detail"], "no detail")
    eq(len(w.all(t)), 1)


@test("weir.v1: a bad message gets an error and the socket goes on")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=publish" % t, subprotocols=["weir.v1"]) as c:
        for bad in ('{"publish":', '{"other":1}', "7", '{"publish":{"id":9}}', '{"publish":{"id":9,"value":1,"colour":2}}'):
            await c.send(bad)
            e = json.loads(await soon(c.recv()))["error"]
            check(e["code"] and e["detail"], "%r: %r" % (bad, e))
            if '"id":9' in bad:
                eq(e["id"], 9)
        await c.send('{"publish":{"id":10,"value":1}}')
        eq(json.loads(await soon(c.recv()))["ack"]["id"], 10)
    eq(w.values(t), [1])


@test("a subprotocol that weir does not know is not chosen")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws" % t, subprotocols=["chat", "soap"]) as c:
        eq(c.subprotocol, None)
    async with connect(w, "/v1/topics/%s/ws" % t, subprotocols=["chat", "weir.v1"]) as c:
        eq(c.subprotocol, "weir.v1")


# ---- handshake ----

@test("the handshake answers the key as RFC 6455 says")
def _(w):
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    with Ws(w, "/v1/topics/%s/ws" % w.topic(), {"Sec-WebSocket-Key": key}) as c:
        eq(c.headers.get("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        eq(c.headers.get("upgrade").lower(), "websocket")


@test("a handshake without its parts is refused")
def _(w):
    path = "/v1/topics/%s/ws" % w.topic()
    for headers, allowed in (({"Upgrade": None, "Connection": "keep-alive"}, (400, 426)), ({"Sec-WebSocket-Key": None}, (400,)),
                             ({"Sec-WebSocket-Key": "short"}, (400,)), ({"Sec-WebSocket-Version": "8"}, (426,)),
                             ({"Sec-WebSocket-Version": None}, (400, 426)), ({"Connection": "keep-alive"}, (400, 426))):
        with Ws(w, path, headers, upgrade=False) as c:
            check(c.status in allowed, "%r: %s %r" % (headers, c.status, c.body))
            if headers.get("Sec-WebSocket-Version") == "8":
                eq(c.headers.get("Sec-WebSocket-Version"), "13")
    r = w.get(path)
    eq(r.status, 426)
    check("websocket" in (r.headers.get("Upgrade") or "").lower(), "no Upgrade header")


@test("a foreign Origin is refused with 403, the own one is taken")
def _(w):
    path = "/v1/topics/%s/ws" % w.topic()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "http://%s.evil.example" % w.host, "file://"):
        with Ws(w, path, {"Origin": origin}, upgrade=False) as c:
            eq((c.status, json.loads(c.body)["code"]), (403, "forbidden_origin"), origin)
    with Ws(w, path, {"Origin": w.url}) as c:
        eq(c.status, 101)


@test("frames that come in one packet with the handshake are taken")
def _(w):
    t = w.topic()
    frame = bytes([0x81, 0x81, 0, 0, 0, 0]) + b"7"
    with Raw(w) as c:
        c.send(b"GET /v1/topics/%s/ws?mode=publish HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
               % (t.encode(), w.authority.encode()) + frame * 3)
        eq(c.head()[0], 101)
        until(lambda: w.count_records(t) == 3, 5, "three records")


# ---- frames ----

@test("fragments make one message, control frames between them are answered")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        c.send(TEXT, b'{"a":', fin=False).send(PING, b"mid").send(CONT, b"", fin=False).send(CONT, b"1}")
        eq(c.frame(), (True, PONG, b"mid"))
        eq(c.json()["ack"]["offset"], 0)
        c.send(BINARY, b"\xff", fin=False)
        for _ in range(300):
            c.send(CONT, b"x", fin=False)
        c.send(CONT, b"\xfe")
        eq(c.json()["ack"]["offset"], 1)
    r = w.all(t)
    eq(r[0]["value"], {"a": 1})
    eq(base64.b64decode(r[1]["value_base64"]), b"\xff" + b"x" * 300 + b"\xfe")


@test("a text message cut within a character is one")
def _(w):
    t = w.topic()
    data = "grüße €😀".encode()
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        c.send(TEXT, data[:1], fin=False)
        for i in range(1, len(data) - 1):
            c.send(CONT, data[i:i + 1], fin=False)
        c.send(CONT, data[-1:])
        eq(c.json()["ack"]["offset"], 0)
    eq(w.all(t)[0]["value_text"].encode(), data)


@test("a frame that comes byte by byte is the same frame")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        k = b"\1\2\3\4"
        frame = bytes([0x81, 0xfe, 0, 200]) + k + bytes(b"y"[0] ^ k[i % 4] for i in range(200))
        for i in range(len(frame)):
            c.raw.send(frame[i:i + 1])
        eq(c.json()["ack"]["offset"], 0)
    eq(w.all(t)[0]["value_text"], "y" * 200)


@test("every size at the borders of the length field goes through both ways")
async def _(w):
    t = w.topic()
    sizes = [0, 1, 125, 126, 127, 65535, 65536, 65537, 200000]
    async with connect(w, "/v1/topics/%s/ws?mode=both" % t, compression=None) as c:
        for n in sizes:
            await c.send("z" * n)
            eq(len(await soon(c.recv())), n)


@test("ping is answered with the same bytes")
def _(w):
    with Ws(w, "/v1/topics/%s/ws" % w.topic()) as c:
        for data in (b"", b"hello", bytes(range(125))):
            c.send(PING, data)
            eq(c.frame(), (True, PONG, data))
        c.send(PONG, b"unasked")
        c.send(PING, b"still here")
        eq(c.frame(), (True, PONG, b"still here"))


@test("a close is answered with its code and the stream ends")
def _(w):
    for payload, want in ((struct.pack(">H", 1000), 1000), (struct.pack(">H", 4711) + b"bye", 4711), (b"", 1005)):
        with Ws(w, "/v1/topics/%s/ws" % w.topic()) as c:
            c.send(CLOSE, payload)
            m = c.message()
            check(m[0] == "close" and m[1] in (want, 1000), repr(m))
            check(c.raw.closed(5), "the stream stays open")


BROKEN = {
    "a frame without a mask": (1002, [(TEXT, b"1", {"mask": False})]),
    "a reserved bit": (1002, [(TEXT, b"1", {"rsv": 2})]),
    "the compression bit without the extension": (1002, [(TEXT, b"1", {"rsv": 4})]),
    "an unknown opcode": (1002, [(3, b"1", {})]),
    "an unknown control opcode": (1002, [(11, b"1", {})]),
    "a ping of 126 bytes": (1002, [(PING, b"x" * 126, {})]),
    "a fragmented ping": (1002, [(PING, b"x", {"fin": False})]),
    "a continuation of nothing": (1002, [(CONT, b"x", {})]),
    "a new message within a message": (1002, [(TEXT, b"x", {"fin": False}), (TEXT, b"y", {})]),
    "a close of one byte": (1002, [(CLOSE, b"\x03", {})]),
    "the close code 1005": (1002, [(CLOSE, struct.pack(">H", 1005), {})]),
    "the close code 999": (1002, [(CLOSE, struct.pack(">H", 999), {})]),
    "the close code 5000": (1002, [(CLOSE, struct.pack(">H", 5000), {})]),
    "a close reason that is not UTF-8": (1007, [(CLOSE, struct.pack(">H", 1000) + b"\xff", {})]),
    "text that is not UTF-8": (1007, [(TEXT, b"a\xc0\xaf", {})]),
    "text with a surrogate": (1007, [(TEXT, b"\xed\xa0\x80", {})]),
    "text that ends within a character": (1007, [(TEXT, b"\xe2\x82", {})]),
    "a length with the top bit": (1002, [(BINARY, b"", {"bits": 64, "length": 1 << 63})]),
    "a frame that says it has 2 GiB": (1009, [(BINARY, b"", {"bits": 64, "length": 1 << 31})]),
    "fragments that grow past 1 MiB": (1009, [(BINARY, b"x" * 600000, {"fin": False}), (CONT, b"x" * 600000, {})]),
}


def broken_case(name, code, frames):
    @test("%s: close %d, nothing stored" % (name, code))
    def _(w):
        t = w.topic()
        with Ws(w, "/v1/topics/%s/ws?mode=publish" % t) as c:
            for op, payload, kw in frames:
                c.send(op, payload, **kw)
            eq(c.close_code(), code)
        eq(w.count_records(t), 0)


for _name, (_code, _frames) in BROKEN.items():
    broken_case(_name, _code, _frames)


@test("a length longer than it need be is refused or taken as its size, never misread")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws?mode=publish&ack=1" % t) as c:
        c.send(TEXT, b"17", bits=16)
        m = c.message()
        check(m[0] == "close" and m[1] == 1002 or b'"offset":0' in m[1].replace(b" ", b""), repr(m))


# ---- compression ----

@test("permessage-deflate is negotiated and carries messages both ways")
async def _(w):
    t = w.topic()
    async with connect(w, "/v1/topics/%s/ws?mode=both" % t, compression="deflate") as c:
        eq([e.name for e in c.extensions], ["permessage-deflate"])
        for text in ("x" * 100000, "", "a", json.dumps(list(range(5000)))):
            await c.send(text)
            eq(await soon(c.recv()), text)
        await c.send([b"one ", b"two ", b"three"])
        eq(await soon(c.recv()), "one two three")
    eq(len(w.all(t)), 5)


@test("permessage-deflate with every parameter a client may offer")
async def _(w):
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Deflate
    t = w.topic()
    for args in ({}, {"server_no_context_takeover": True}, {"client_no_context_takeover": True},
                 {"client_max_window_bits": True}, {"client_max_window_bits": 9}, {"server_max_window_bits": 10},
                 {"server_max_window_bits": 15, "client_max_window_bits": 15}):
        async with connect(w, "/v1/topics/%s/ws?mode=both" % t, compression=None, extensions=[Deflate(**args)]) as c:
            for i in range(3):
                text = ("%d %r " % (i, args)) * 500
                await c.send(text)
                eq(await soon(c.recv()), text, repr(args))


@test("an offer that cannot be met is declined, the socket works without")
def _(w):
    for offer in ("permessage-deflate; server_max_window_bits=7", "permessage-deflate; colour=red", "x-webkit-deflate-frame",
                  "permessage-deflate; client_no_context_takeover; client_no_context_takeover"):
        with Ws(w, "/v1/topics/%s/ws" % w.topic(), {"Sec-WebSocket-Extensions": offer}) as c:
            eq(c.headers.get("Sec-WebSocket-Extensions"), None, offer)
            c.send(PING, b"x")
            eq(c.frame(), (True, PONG, b"x"))


@test("a compressed message that inflates past 1 MiB: close 1009; broken deflate: close 1007 or 1002")
def _(w):
    import zlib
    t = w.topic()
    z = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (z.compress(bytes(64 << 20)) + z.flush(zlib.Z_SYNC_FLUSH))[:-4]
    path, head = "/v1/topics/%s/ws?mode=publish" % t, {"Sec-WebSocket-Extensions": "permessage-deflate"}
    with Ws(w, path, head) as c:
        c.send(BINARY, bomb, rsv=4)
        eq(c.close_code(), 1009)
    with Ws(w, path, head) as c:
        c.send(BINARY, b"\xff\xff\xff\xff\xff", rsv=4)
        check(c.close_code() in (1002, 1007), "code")
    eq(w.count_records(t), 0)


# ---- many, slow, gone ----

@test("a slow consumer misses nothing and does not hold up others", timeout=90)
def _(w):
    t = w.topic()
    n, pad = 8000, "x" * 2000
    with Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t) as slow, Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t) as fast:
        for i in range(0, n, 500):
            w.ndjson(t, [{"n": j, "pad": pad} for j in range(i, i + 500)])
            eq([fast.json(20)["value"]["n"] for _ in range(500)], list(range(i, i + 500)), "the fast one")
        eq([slow.json(30)["value"]["n"] for _ in range(n)], list(range(n)), "the slow one")


@test("a hundred subscribers get the same records")
async def _(w):
    t = w.topic(partitions=2)
    async def one():
        async with connect(w, "/v1/topics/%s/ws?cursor=earliest&format=raw" % t, compression=None) as c:
            return sorted([await soon(c.recv(), 25) for _ in range(100)])
    tasks = [asyncio.ensure_future(one()) for _ in range(100)]
    await asyncio.sleep(0.3)
    def load():
        for i in range(100):
            w.push(t, b"%03d" % i, "text/plain")
    await asyncio.get_running_loop().run_in_executor(None, load)
    want = ["%03d" % i for i in range(100)]
    for got in await asyncio.gather(*tasks):
        eq(got, want)


@test("subscribers that vanish without a word cost the others nothing")
def _(w):
    t = w.topic()
    with Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t) as stays:
        rnd = random.Random(3)
        for i in range(60):
            c = Ws(w, "/v1/topics/%s/ws?cursor=earliest" % t)
            w.push(t, b"%d" % i)
            c.raw.reset() if rnd.random() < 0.5 else c.raw.close()
        eq([stays.json()["value"] for _ in range(60)], list(range(60)))


@test("what one types into python3 -m websockets arrives")
def _(w):
    import subprocess
    import sys
    t = w.topic()
    p = subprocess.Popen([sys.executable, "-m", "websockets", "%s/v1/topics/%s/ws?mode=both" % (w.ws_url, t)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        time.sleep(1)
        p.stdin.write(b"typed by hand\n")
        p.stdin.flush()
        until(lambda: w.count_records(t) == 1, 10, "the typed line")
        time.sleep(0.5)
        p.stdin.close()
        out = p.stdout.read()
    finally:
        p.kill()
        p.wait()
    eq(w.all(t)[0]["value_text"], "typed by hand")
    check(b"< typed by hand" in out, repr(out))
