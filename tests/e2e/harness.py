# SPDX-License-Identifier: Apache-2.0
"""What every end-to-end suite stands on: the real daemon, clients, and checks.

A suite is a file `*_suite.py` that imports this and declares its tests with
`@test("a sentence that says what holds")`. A test gets `w`, the daemon that its
file shares; one that needs its own says `own=True` and starts it with
`with Weir(...) as w:`. Nothing here asserts on absolute time except where the
contract gives a bound, and then with room.
"""
import atexit
import asyncio
import base64
import ctypes
import functools
import http.client
import inspect
import json
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

from ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEIR_BIN") or os.path.join(ROOT, "build", "weir")
# Slow builds (sanitizers, valgrind) stretch every deadline of the tests.
SLOW = float(os.environ.get("WEIR_SLOW", "1"))
# The one bound of waits for what must come: far more than a busy machine needs, as it costs only where the wait is in vain.
PATIENCE = 60

TESTS = []


class Skip(Exception):
    """The machine lacks something that the test needs; said, never hidden."""


def patience(seconds=0):
    """How long to wait for what must come: PATIENCE, or `seconds` where those are more."""
    return max(seconds, PATIENCE) * SLOW


def test(name, own=False, timeout=30, config=None):
    """`timeout`: what it takes at most on a quiet machine; its alarm leaves room for two waits that are in vain."""
    def add(fn):
        TESTS.append({"name": name, "fn": fn, "own": own, "timeout": (timeout + 2 * PATIENCE) * SLOW, "config": config})
        return fn
    return add


# ---- checks ----

def kills(short):
    """
    How often the test of a type of source kills: so often in `make test`, WEIR_SOURCE_KILLS times in `make kills` (50). To stand in
    its name as "(%d kills)", by which `make kills` finds it.
    """
    return int(os.environ.get("WEIR_SOURCE_KILLS") or short)


class Failed(AssertionError):
    pass


def short(x, n=600):
    s = x if isinstance(x, str) else repr(x)
    return s if len(s) <= n else s[:n] + "… (%d in all)" % len(s)


def check(ok, what):
    if not ok:
        raise Failed(short(what))


def eq(got, want, what=""):
    if got != want:
        raise Failed("%s\n      got  %s\n      want %s" % (what or "differs", short(got), short(want)))


def until(fn, timeout=0, what="condition", every=0.02):
    """Calls fn until it gives something true, and gives that; `timeout` where it may need more than PATIENCE."""
    seconds = patience(timeout)
    end = time.monotonic() + seconds
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed("waited %g s for: %s" % (seconds, what))
        time.sleep(every)


# ---- what Kafka's default partitioner does ----

def murmur2(data):
    m, mask = 0x5bd1e995, 0xffffffff
    h = (0x9747b28c ^ len(data)) & mask
    n = len(data) & ~3
    for (k,) in struct.iter_unpack("<I", data[:n]):
        k = k * m & mask
        k ^= k >> 24
        k = k * m & mask
        h = h * m & mask ^ k
    rest = data[n:]
    if len(rest) > 2:
        h ^= rest[2] << 16
    if len(rest) > 1:
        h ^= rest[1] << 8
    if rest:
        h = (h ^ rest[0]) * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


def partition_of(key, count):
    return (murmur2(key.encode() if isinstance(key, str) else key) & 0x7fffffff) % count


# ---- exact bytes inside JSON ----

_decoder = json.JSONDecoder()
_space = re.compile(r"[ \t\r\n]*")


def members(text, at=0):
    """{name: raw text of the value} of the JSON object that starts at `at`: parsed equality hides changed bytes."""
    out = {}
    at = _space.match(text, at).end()
    if text[at] != "{":
        raise Failed("not an object: " + short(text[at:at + 80]))
    at = _space.match(text, at + 1).end()
    while text[at] != "}":
        name, at = _decoder.raw_decode(text, at)
        at = _space.match(text, at).end()
        if text[at] != ":":
            raise Failed("no colon: " + short(text[at:at + 80]))
        start = _space.match(text, at + 1).end()
        _, at = _decoder.raw_decode(text, start)
        if name in out:
            raise Failed("member %r comes twice" % name)
        out[name] = text[start:at]
        at = _space.match(text, at).end()
        if text[at] == ",":
            at = _space.match(text, at + 1).end()
    return out


def elements(text):
    """The raw texts of the elements of a JSON array."""
    out = []
    at = _space.match(text, 0).end()
    if text[at] != "[":
        raise Failed("not an array: " + short(text))
    at = _space.match(text, at + 1).end()
    while text[at] != "]":
        start = at
        _, at = _decoder.raw_decode(text, start)
        out.append(text[start:at])
        at = _space.match(text, at).end()
        if text[at] == ",":
            at = _space.match(text, at + 1).end()
    return out


def value_bytes(record_text):
    """The stored bytes of a value, from the text of one record."""
    m = members(record_text)
    if "value_base64" in m:
        return base64.b64decode(json.loads(m["value_base64"]), validate=True)
    if "value_text" in m:
        return json.loads(m["value_text"]).encode()
    if m.get("tombstone") == "true":
        return None
    return m["value"].encode()


def poll_values(text):
    return [value_bytes(r) for r in elements(members(text)["records"])]


# ---- HTTP ----

class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def json(self):
        try:
            return json.loads(self.body)
        except ValueError as e:
            raise Failed("status %s with a body that is not JSON (%s): %s" % (self.status, e, short(self.body)))

    def __repr__(self):
        return "<%s %s>" % (self.status, short(self.body, 300))


def expect(r, status, code=None):
    """Status, and for errors the whole problem document."""
    if r.status != status:
        raise Failed("status %s, want %s%s: %s" % (r.status, status, " " + code if code else "", short(r.body)))
    if status >= 400 and code is not None:
        eq((r.headers.get("Content-Type") or "").split(";")[0], "application/problem+json", "type of an error")
        doc = r.json()
        eq(doc.get("status"), status, "status in the problem document")
        eq(doc.get("code"), code, "code in the problem document")
        check(doc.get("title"), "no title in %r" % doc)
        check(doc.get("detail"), "no detail in %r" % doc)
    return r


class Raw:
    """A socket that says exactly the bytes it is given, and reads answers strictly."""

    def __init__(self, w, timeout=PATIENCE):
        self.sock = socket.create_connection((w.host, w.port), timeout=timeout * SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = b""

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def send(self, data):
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def timeout(self, seconds):
        self.sock.settimeout(seconds * SLOW)
        return self

    def more(self):
        """Reads some bytes; False at the end."""
        try:
            got = self.sock.recv(65536)
        except ConnectionResetError:
            return False
        self.buf += got
        return bool(got)

    def exactly(self, n):
        while len(self.buf) < n:
            if not self.more():
                raise EOFError("closed after %d of %d bytes: %s" % (len(self.buf), n, short(self.buf)))
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def line(self):
        while b"\r\n" not in self.buf:
            if b"\n" in self.buf:
                raise Failed("a line that ends in a bare LF: " + short(self.buf))
            if not self.more():
                raise EOFError("closed within a line: " + short(self.buf))
        out, self.buf = self.buf.split(b"\r\n", 1)
        return out

    def head(self):
        status = self.line()
        m = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]*", status)
        if not m:
            raise Failed("status line: " + short(status))
        headers = {}
        while True:
            line = self.line()
            if not line:
                break
            name, _, value = line.partition(b":")
            name = name.decode().lower()
            value = value.strip().decode("latin-1")
            headers[name] = headers[name] + ", " + value if name in headers else value
        return int(m.group(1)), Headers(headers)

    def response(self, method="GET"):
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304) or status < 200:
            return Response(status, headers, b"")
        if "chunked" in headers.get("transfer-encoding", ""):
            return Response(status, headers, b"".join(iter(self.chunk, b"")))
        if "content-length" in headers:
            return Response(status, headers, self.exactly(int(headers["content-length"])))
        return Response(status, headers, self.rest())

    def chunk(self):
        n = int(self.line().split(b";")[0], 16)
        data = self.exactly(n)
        eq(self.line(), b"", "what ends a chunk")
        return data

    def rest(self):
        while self.more():
            pass
        out, self.buf = self.buf, b""
        return out

    def closed(self, timeout=PATIENCE):
        """True when the other side ends the stream and says nothing more before."""
        self.timeout(timeout)
        try:
            return self.rest() == b""
        except socket.timeout:
            return False

    def reset(self):
        """Closes with a RST: what a killed client looks like."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Headers(dict):
    def get(self, name, default=None):
        return dict.get(self, name.lower(), default)

    def __contains__(self, name):
        return dict.__contains__(self, name.lower())


def quote(s):
    return urllib.parse.quote(s if isinstance(s, (str, bytes)) else str(s), safe="")


def query(**args):
    args = {k.rstrip("_"): v for k, v in args.items() if v is not None}
    return "?" + "&".join("%s=%s" % (k, quote(v)) for k, v in args.items()) if args else ""


class Session:
    """One keep-alive connection of http.client."""

    def __init__(self, w, timeout=PATIENCE):
        self.c = http.client.HTTPConnection(w.host, w.port, timeout=timeout * SLOW)

    def request(self, method, path, body=None, headers=None):
        if isinstance(body, str):
            body = body.encode()
        self.c.request(method, path, body=body, headers=headers or {})
        r = self.c.getresponse()
        return Response(r.status, r.headers, r.read())

    def close(self):
        self.c.close()

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()


# ---- SSE ----

class Event:
    def __init__(self):
        self.id = self.event = self.comment = self.retry = None
        self.data = None

    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return "<event %r id=%r %s>" % (self.event, self.id, short(self.data or self.comment, 200))


class Sse:
    """An EventSource per the WHATWG text, over one connection; comments are given too."""

    def __init__(self, w, path, headers=None, timeout=PATIENCE):
        self.raw = Raw(w, timeout)
        self.raw.send("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n%s\r\n" % (
            path, w.authority, "".join("%s: %s\r\n" % h for h in (headers or {}).items())))
        self.status, self.headers = self.raw.head()
        self.chunked = "chunked" in self.headers.get("transfer-encoding", "")
        self.text = b""
        self.bytes = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.raw.close()

    def fill(self):
        if self.chunked:
            data = self.raw.chunk()
            if not data:
                self.ended = True
                return False
        else:
            if not self.raw.buf and not self.raw.more():
                self.ended = True
                return False
            data, self.raw.buf = self.raw.buf, b""
        self.text += data
        self.bytes += data
        return True

    def next(self, timeout=PATIENCE, comments=False):
        """The next event; None at the end of the stream. socket.timeout where nothing comes."""
        self.raw.timeout(timeout)
        while True:
            m = re.search(rb"\r\n\r\n|\n\n|\r\r", self.text)
            if not m:
                if not self.fill():
                    return None
                continue
            block, self.text = self.text[:m.start()], self.text[m.end():]
            e = Event()
            for line in re.split(rb"\r\n|\n|\r", block):
                if line.startswith(b":"):
                    e.comment = line[1:].strip().decode()
                    continue
                name, _, value = line.partition(b":")
                value = (value[1:] if value.startswith(b" ") else value).decode()
                if name == b"data":
                    e.data = value if e.data is None else e.data + "\n" + value
                elif name in (b"id", b"event", b"retry"):
                    setattr(e, name.decode(), value)
                elif name:
                    raise Failed("an SSE field nobody knows: " + short(line))
            if e.data is None and not comments:
                continue
            return e

    def take(self, n, timeout=PATIENCE):
        return [self.next(timeout) for _ in range(n)]

    def quiet(self, seconds):
        """True when no event comes within so long."""
        try:
            e = self.next(seconds)
        except socket.timeout:
            return True
        raise Failed("an event came where none should: %r" % e)


# ---- WebSocket, by hand: for what a library would not let one say ----

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Ws:
    def __init__(self, w, path, headers=None, protocol=None, timeout=PATIENCE, upgrade=True):
        self.raw = Raw(w, timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {"Host": w.authority, "Upgrade": "websocket", "Connection": "Upgrade",
                 "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13"}
        if protocol:
            lines["Sec-WebSocket-Protocol"] = protocol
        lines.update(headers or {})
        self.raw.send("GET %s HTTP/1.1\r\n%s\r\n" % (path, "".join(
            "%s: %s\r\n" % h for h in lines.items() if h[1] is not None)))
        self.status, self.headers = self.raw.head()
        self.body = b""
        if self.status != 101:
            if "content-length" in self.headers:
                self.body = self.raw.exactly(int(self.headers["content-length"]))
            if upgrade:
                raise Failed("upgrade answered %s: %s" % (self.status, short(self.body)))

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.raw.close()

    def send(self, opcode, payload=b"", fin=True, mask=True, rsv=0, length=None, bits=None):
        """One frame; `length` lies about the size, `bits` (7, 16, 64) forces how it is written."""
        if isinstance(payload, str):
            payload = payload.encode()
        n = len(payload) if length is None else length
        head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
        m = 0x80 if mask else 0
        bits = bits or (7 if n < 126 else 16 if n < 65536 else 64)
        head += bytes([m | n]) if bits == 7 else bytes([m | 126]) + struct.pack(">H", n) if bits == 16 \
            else bytes([m | 127]) + struct.pack(">Q", n)
        if mask:
            k = os.urandom(4)
            head += k
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(
                (k * (len(payload) // 4 + 1))[:len(payload)], "big")).to_bytes(len(payload), "big")
        self.raw.send(head + payload)
        return self

    def frame(self, timeout=PATIENCE):
        self.raw.timeout(timeout)
        a, b = self.raw.exactly(2)
        check(not b & 0x80, "a frame from the server is masked")
        n = b & 0x7f
        if n == 126:
            n, = struct.unpack(">H", self.raw.exactly(2))
            check(n > 125, "a length that is not written in the shortest form")
        elif n == 127:
            n, = struct.unpack(">Q", self.raw.exactly(8))
            check(n > 65535, "a length that is not written in the shortest form")
        eq(a & 0x70, 0, "reserved bits")
        return bool(a & 0x80), a & 0xf, self.raw.exactly(n)

    def message(self, timeout=PATIENCE):
        """(opcode, bytes) of the next whole message; answers pings; ("close", code, reason) at a close."""
        kind, data = None, b""
        while True:
            fin, op, payload = self.frame(timeout)
            if op == PING:
                self.send(PONG, payload)
            elif op == CLOSE:
                return ("close",) + ((struct.unpack(">H", payload[:2])[0], payload[2:].decode())
                                     if payload else (1005, ""))
            elif op != PONG:
                kind = kind if op == CONT else op
                data += payload
                if fin:
                    return kind, data

    def json(self, timeout=PATIENCE):
        m = self.message(timeout)
        eq(m[0], TEXT, "kind of %s" % short(m))
        return json.loads(m[1])

    def close_code(self, timeout=PATIENCE):
        """Reads on to the close frame and gives its code; then the stream must end."""
        while True:
            m = self.message(timeout)
            if m[0] == "close":
                try:
                    self.send(CLOSE, struct.pack(">H", m[1]) if m[1] != 1005 else b"")
                except ConnectionError:
                    return m[1]
                check(self.raw.closed(), "the stream goes on after the close")
                return m[1]

    def quiet(self, seconds):
        try:
            m = self.message(seconds)
        except socket.timeout:
            return True
        raise Failed("a message came where none should: %s" % short(m))


# ---- the daemon ----

_libc = ctypes.CDLL(None)
_alive = set()


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGQUIT):  # a shell has those of what it runs in the background ignored
        signal.signal(number, signal.SIG_DFL)


@atexit.register
def _reap():
    for w in list(_alive):
        w.discard()


class Died(Failed):
    pass


class Weir:
    """A weir of one's own: `with Weir() as w`. `config` is YAML; the port stays the same over restarts."""

    def __init__(self, config=None, args=(), wrap=(), data=None, port=0, start=True, env=None, kafka="127.0.0.1:0"):
        self.dir = tempfile.mkdtemp(prefix="weir-e2e-", dir=os.environ.get("WEIR_TMP"))
        self.data = data or os.path.join(self.dir, "data")
        self.config, self.args, self.wrap, self.env = config, list(args), list(wrap), env
        self.host, self.port = "127.0.0.1", port or free_port()
        self.kafka = re.sub(":0$", lambda m: ":%d" % free_port(), kafka)  # the address of that port, the same one after a restart; or off
        self.proc = None
        self.out = []
        self.count = 0
        if config is not None:
            self.write_config(config)
        if start:
            try:
                self.start()
            except BaseException:
                self.discard()
                raise

    @property
    def config_path(self):
        return os.path.join(self.dir, "weir.yaml")

    def write_config(self, text):
        self.config = text
        with open(self.config_path, "w") as f:
            f.write(text)

    @property
    def authority(self):
        return "%s:%d" % (self.host, self.port)

    @property
    def url(self):
        return "http://" + self.authority

    @property
    def ws_url(self):
        return "ws://" + self.authority

    @property
    def log_path(self):
        return os.path.join(self.dir, "stderr")

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def command(self):
        cmd = [BIN, "serve"]
        if self.config is not None:
            cmd += ["-c", self.config_path]
        return self.wrap + cmd + ["--data", self.data, "--http", "%s:%d" % (self.host, self.port),
                                  "--kafka", self.kafka] + self.args

    def start(self, timeout=PATIENCE):
        log = open(self.log_path, "ab")
        env = dict(os.environ, **(self.env or {}))
        env.pop("WEIR_SERVER", None)
        self.proc = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                     preexec_fn=_die_with_parent, env=env, cwd=self.dir)
        log.close()
        _alive.add(self)
        line = self._line(timeout)
        m = re.match(r"weir ready http=(\S+):(\d+)(?: kafka=(\S+))? data=(.+)$", line)
        if not m:
            code = self.proc.poll()
            raise Died("no ready line but %r (exit %s)\n%s" % (line, code, self.log()[-2000:]))
        self.host, self.port, self.ready = m.group(1), int(m.group(2)), line
        self.kafka = m.group(3) or "off"
        self.pid = self._daemon_pid()
        self._drain = threading.Thread(target=self._swallow, args=(self.proc,), daemon=True)
        self._drain.start()
        return self

    def _line(self, timeout):
        fd, buf, end = self.proc.stdout.fileno(), b"", time.monotonic() + timeout * SLOW
        while not buf.endswith(b"\n"):
            if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
                raise Died("no ready line in %g s\n%s" % (timeout * SLOW, self.log()[-2000:]))
            got = os.read(fd, 1)
            if not got:
                self.proc.wait(5)
                break
            buf += got
        return buf.decode().rstrip("\n")

    def _swallow(self, proc):
        for line in proc.stdout:
            self.out.append(line.decode())

    def _daemon_pid(self):
        """Under a wrapper (strace) the daemon is its child."""
        if not self.wrap:
            return self.proc.pid
        def child():
            with open("/proc/%d/task/%d/children" % (self.proc.pid, self.proc.pid)) as f:
                return f.read().split()
        return int(until(child, what="the wrapped daemon")[0])

    def running(self):
        return self.proc is not None and self.proc.poll() is None

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=0):
        """Its exit status, once it has ended."""
        try:
            return self.proc.wait(patience(timeout))
        except subprocess.TimeoutExpired:
            raise Failed("still running after %g s" % patience(timeout))

    def kill(self):
        if self.running():
            self.signal(signal.SIGKILL)
            self.proc.wait()

    def stop(self):
        self.signal(signal.SIGTERM)
        code = self.wait()
        eq(code, 0, "exit status after SIGTERM\n" + self.log()[-1000:])

    def restart(self, hard=False):
        self.kill() if hard else self.stop()
        return self.start()

    def discard(self):
        if self.proc:
            if self.running():
                try:
                    self.signal(signal.SIGKILL)
                except OSError:
                    pass
                self.proc.kill()
            self.proc.wait()
        _alive.discard(self)
        if not os.environ.get("WEIR_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if value is not None:
            value.weir_log = self.log()[-3000:]
        self.discard()

    # -- requests --

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        with Session(self, timeout) as s:
            return s.request(method, path, body, headers)

    def get(self, path, headers=None, timeout=PATIENCE):
        return self.request("GET", path, None, headers, timeout)

    def post(self, path, body=b"", headers=None, timeout=PATIENCE):
        return self.request("POST", path, body, headers, timeout)

    def put(self, path, body=b"", headers=None, timeout=PATIENCE):
        return self.request("PUT", path, body, headers, timeout)

    def delete(self, path, headers=None, timeout=PATIENCE):
        return self.request("DELETE", path, None, headers, timeout)

    def session(self, timeout=PATIENCE):
        return Session(self, timeout)

    def topic(self, **config):
        """A topic name nobody used yet; with settings it is created with them."""
        self.count += 1
        name = "t%d.%d" % (os.getpid(), self.count)
        if config:
            r = self.put("/v1/topics/" + name, json.dumps(config), {"Content-Type": "application/json"})
            check(r.status in (200, 201), "creating a topic: %r" % r)
        return name

    def push(self, topic, body, type="application/json", headers=None, **args):
        """A POST of records; gives the parsed answer of a 200."""
        h = {"Content-Type": type} if type else {}
        h.update(headers or {})
        r = expect(self.post("/v1/topics/%s/records%s" % (topic, query(**args)), body, h), 200)
        return r.json()

    def ndjson(self, topic, values, **args):
        return self.push(topic, "\n".join(json.dumps(v) for v in values) + "\n", "application/x-ndjson", **args)

    def batch(self, topic, records, headers=None, **args):
        return self.push(topic, json.dumps({"records": records}), BATCH, headers, **args)

    def poll(self, topic, **args):
        return expect(self.get("/v1/topics/%s/records%s" % (topic, query(**args))), 200).json()

    def poll_text(self, topic, **args):
        return expect(self.get("/v1/topics/%s/records%s" % (topic, query(**args))), 200).text

    def all(self, topic, limit=10000, cursor="earliest", **args):
        """Every record from the cursor on, by polling."""
        out = []
        while True:
            got = self.poll(topic, cursor=cursor, limit=limit, **args)
            out += got["records"]
            cursor = got["cursor"]
            if got["caught_up"]:
                return out

    def values(self, topic, **args):
        return [r["value"] for r in self.all(topic, **args)]

    def values_so_far(self, topic):
        """The same of a topic that a source may yet make."""
        return [] if self.get("/v1/topics/" + topic).status == 404 else self.values(topic)

    def forget_pages(self, under=""):
        """Takes what is stored out of the kernel's cache, so that reading it has to wait for the disk."""
        for folder, _, names in os.walk(os.path.join(self.data, under)):
            for name in names:
                try:
                    fd = os.open(os.path.join(folder, name), os.O_RDONLY)
                except FileNotFoundError:  # weir has taken it away meanwhile
                    continue
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)

    def partition(self, topic, p, **args):
        return expect(self.get("/v1/topics/%s/partitions/%d/records%s" % (topic, p, query(**args))), 200).json()

    def count_records(self, topic):
        """How many are durable, by the ends of the partitions: no record is read for it."""
        r = self.get("/v1/topics/%s" % topic)
        return 0 if r.status == 404 else sum(p["end"] - p["start"] for p in expect(r, 200).json()["offsets"])

    def arrived(self, topic, count, timeout=0):
        """Every record, once so many are there: what sources bring."""
        try:
            until(lambda: self.count_records(topic) >= count, timeout, "%d records in %s" % (count, topic))
        except Failed as e:
            raise Failed("%s\n      there are %d; %s" % (e, self.count_records(topic), short(self.get("/v1/sources").text, 1500)))
        return self.all(topic)

    def source(self, name):
        return expect(self.get("/v1/sources/" + name), 200).json()

    def says(self, *words, code=0):
        """What a command prints that is told of this weir."""
        got, out, err = weir(*words, "--server", self.url, timeout=60)
        eq(got, code, "weir %s: %s" % (" ".join(words), short(out + err, 1500)))
        return out

    def metrics(self):
        """{name{labels}: value}"""
        out = {}
        for line in expect(self.get("/metrics"), 200).text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def refused(self, reason):
        """How often something was refused for this reason, over all series that carry it."""
        return sum(v for k, v in self.metrics().items() if '"%s"' % reason in k)

    # -- what the process costs --

    def wakes(self):
        """{thread: how often it went to sleep}: what stands still has not been woken."""
        out = {}
        for tid in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/status" % (self.pid, tid)) as f:
                text = f.read()
            name = re.search(r"^Name:\s*(.*)$", text, re.M).group(1)
            out[name + " " + tid] = int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", text, re.M).group(1))
        return out

    def ticks(self):
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def rss(self):
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024


JSON = {"Content-Type": "application/json"}
BATCH = "application/vnd.weir.batch+json"
NDJSON = "application/x-ndjson"
CE = "application/cloudevents+json"
CE_BATCH = "application/cloudevents-batch+json"


def weir(*args, input=None, timeout=0, env=None):
    """A command of weir: (exit code, stdout, stderr)."""
    e = dict(os.environ, **(env or {}))
    p = subprocess.run([BIN, *args], input=input, capture_output=True, timeout=patience(timeout), env=e)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def curl(*args, input=None):
    """curl as a person types it: (exit code, stdout)."""
    if not shutil.which("curl"):
        raise Skip("curl is not installed")
    p = subprocess.run(["curl", "-sS", "--noproxy", "*", "-m", "30", *args], input=input, capture_output=True)
    return p.returncode, p.stdout


class Later(threading.Thread):
    """A call that runs beside the test: `.get()` gives its result or raises what it raised."""

    def __init__(self, fn, *args, **kw):
        super().__init__(daemon=True)
        self.fn, self.error, self.value = functools.partial(fn, *args, **kw), None, None
        self.start()

    def run(self):
        try:
            self.value = self.fn()
        except BaseException as e:
            self.error = e
        self.ended = time.monotonic()

    def get(self, timeout=0):
        self.join(patience(timeout))
        check(not self.is_alive(), "still waiting after %g s" % patience(timeout))
        if self.error:
            raise self.error
        return self.value


def together(*fns, timeout=60):
    threads = [Later(fn) for fn in fns]
    return [t.get(timeout) for t in threads]


def run_test(t, w):
    fn = t["fn"]
    args = [] if t["own"] else [w]
    if inspect.iscoroutinefunction(fn):
        asyncio.run(fn(*args))
    else:
        fn(*args)
