# SPDX-License-Identifier: Apache-2.0
"""A WebSocket server that sends what weir's sources of type websocket are to read, as well or as badly as its path says.

Run by itself (`python3 feed_server.py DIR`) it prints its ports, plain, TLS and raw, then a line for each thing that a test may
want to know of: "open /path", "got …", "close CODE". DIR gets ca.pem. The library is python3-websockets; what that
would never do is done by the raw port, byte by byte.
"""
import asyncio
import base64
import hashlib
import http
import json
import ssl
import struct
import subprocess
import sys
import urllib.parse

import websockets


def say(*words):
    print(*words, flush=True)


def event(n, symbol="BTC/USD"):
    return {"event": "price", "symbol": symbol, "seq": n, "price": 100 + n / 4, "timestamp": 1700000000 + n}


async def expect(ws, **members):
    text = await ws.recv()
    say("got", text)
    got = json.loads(text)
    return all(got.get(k) == v for k, v in members.items()) and got


async def prices(ws, q):
    """Twelve Data's manners: subscribe, a status, prices; heartbeats are answered, and followed by a price."""
    if not await expect(ws, action="subscribe"):
        return
    await ws.send(json.dumps({"event": "subscribe-status", "status": q.get("status", "ok")}))
    n = int(q.get("n", 3))
    for i in range(1, n + 1):
        await ws.send(json.dumps(event(i)))
        if i % 2:
            await ws.send(json.dumps({"event": "heartbeat"}))
    if "drop" in q:
        return await ws.close(1012, "again, please")
    async for text in ws:
        say("got", text)
        n += 1
        await ws.send(json.dumps(event(n)))


async def login(ws, q):
    """Two messages, each after the answer to the one before."""
    if not await expect(ws, action="auth", key="s3cret"):
        return await ws.send(json.dumps([{"T": "error", "msg": "auth failed for s3cret"}]))
    await asyncio.sleep(0.05)
    await ws.send(json.dumps([{"T": "success"}]))
    if await expect(ws, action="subscribe"):
        await ws.send(json.dumps([{"T": "subscription"}, {"T": "t", "S": "A", "p": 1}, {"T": "q"}, {"T": "t", "S": "B", "p": 2}]))
    await ws.wait_closed()


async def since(ws, q):
    """A log that can be gone on with: everything behind the number, then on and on; ends after a few each time."""
    got = await expect(ws)
    first = int(got["since"]) + 1
    last = min(first + int(q.get("step", 4)), int(q.get("n", 20)))
    for i in range(max(1, first - int(q.get("overlap", 0))), last + 1):
        await ws.send(json.dumps(event(i)))
    if last < int(q.get("n", 20)):
        return await ws.close(1001)
    await ws.wait_closed()


async def mixed(ws, q):
    await ws.send('{"seq": 1}')
    await ws.send('{"seq": ')
    await ws.send(b'{"seq": 2}')
    await ws.send(b"\xff\xfe")
    await ws.send('{"nothing": true}')
    await ws.send('{"seq": 3, "timestamp": "yesterday"}')
    await ws.send('{"seq": 4}')
    await ws.wait_closed()


async def array(ws, q):
    """One message with many records, each of some bytes."""
    n, size = int(q.get("n", 25000)), int(q.get("size", 100))
    await ws.send(json.dumps({"data": [{"seq": i, "text": "x" * size} for i in range(n)]}))
    await ws.wait_closed()


async def uneven(ws, q):
    """A small record, one that is larger than a batch, a small one: in one message."""
    await ws.send(json.dumps({"data": [{"seq": 0}, {"seq": 1, "text": "x" * 17000000}, {"seq": 2}]}))
    await ws.wait_closed()


async def big(ws, q):
    await ws.send('{"seq": 1}')
    await ws.send('{"seq": 2, "text": "' + "x" * int(q.get("bytes", 1000000)) + '"}')
    await ws.wait_closed()


async def flood(ws, q):
    """As fast as it is taken: numbers from the one asked for, or from 1."""
    n = 0
    if "ask" in q:
        n = int((await expect(ws))["since"])
    end = int(q.get("n", 1 << 60))
    while n < end:
        n += 1
        await ws.send('{"seq":%d,"symbol":"S%d","price":%d.25,"pad":"%s"}' % (n, n % 7, n, "x" * 40))
    await ws.wait_closed()


async def drop(ws, q):
    await ws.close(int(q.get("code", 1013)), "not now")


async def quiet(ws, q):
    await ws.wait_closed()


PATHS = {"/" + f.__name__: f for f in (prices, login, since, mixed, array, uneven, big, flood, drop, quiet)}


async def serve(ws):
    url = urllib.parse.urlsplit(ws.path)
    say("open", ws.path, ws.subprotocol or "-")
    try:
        await PATHS[url.path](ws, dict(urllib.parse.parse_qsl(url.query)))
        await ws.wait_closed()
    except websockets.ConnectionClosed:
        pass
    finally:
        say("close", ws.close_code, url.path)


async def refuse(path, headers):
    status = urllib.parse.urlsplit(path).path[1:]
    if status.isdigit():
        return http.HTTPStatus(int(status)), [("Retry-After", "7")], b"no\n"
    if path.startswith("/token") and headers.get("Authorization") != "Bearer s3cret":
        return http.HTTPStatus.UNAUTHORIZED, [], b"who?\n"
    return None


# ---- byte by byte ----

def frame(first, payload, masked=False):
    head = bytes([first]) + (bytes([len(payload) | masked << 7]) if len(payload) < 126 else
                             bytes([126 | masked << 7]) + struct.pack(">H", len(payload)))
    return head + (b"\0\0\0\0" if masked else b"") + payload


RAW = {
    "/mute": lambda: [frame(0x81, b'{"seq":1}')],
    "/masked": lambda: [frame(0x81, b'{"seq":1}'), frame(0x81, b'{"seq":2}', masked=True)],
    "/reserved": lambda: [frame(0xF1, b'{"seq":1}')],
    "/latin": lambda: [frame(0x81, b'{"seq":"\xe9"}')],
    "/cut": lambda: [frame(0x81, b'{"seq":1}'), b"\x81\x7f"],
}


async def raw(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        key = [line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")][0]
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        say("open", path)
        if path == "/nothing":
            return await reader.read()
        if path == "/wrong":
            accept = "A" * 28
        writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\n\r\n" % accept).encode())
        if path == "/drip":
            writer.write(frame(0x81, b'{"seq":1}'))
            for byte in frame(0x81, b"x" * 100):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        for piece in RAW.get(path, list)():
            writer.write(piece)
        await writer.drain()
        if path == "/cut":
            return
        got = await reader.read(1000)
        while got:
            if got[0] == 0x88:
                mask, body = got[2:6], got[6:8]
                say("raw close", struct.unpack(">H", bytes(a ^ b for a, b in zip(body, mask)))[0])
            got = await reader.read(1000)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder + "/key.pem", "-out",
                    folder + "/ca.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder + "/ca.pem", folder + "/key.pem")
    return context


async def main(folder):
    options = {"process_request": refuse, "max_size": None, "compression": None, "ping_interval": None, "subprotocols": ["prices"],
               "close_timeout": 1}
    plain = await websockets.serve(serve, "127.0.0.1", 0, **options)
    tls = await websockets.serve(serve, "127.0.0.1", 0, ssl=certificate(folder), **options)
    bare = await asyncio.start_server(raw, "127.0.0.1", 0)
    say(*(s.sockets[0].getsockname()[1] for s in (plain, tls, bare)))
    await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
