# SPDX-License-Identifier: Apache-2.0
"""F18, F20: peers that are gone without a word, and crowds of them, over a link of the suite's own."""
import atexit
import ctypes
import http.client
import os
import select
import shutil
import socket
import subprocess
import threading
import time

from harness import Raw, Skip, Weir, check, eq, test, until

HERE_ADDRESS, THERE_ADDRESS = "10.213.7.1", "10.213.7.2"
NEW_NET = 0x40000000
GET = "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n"


class Link:
    """This process in a network name space of its own, and another one behind a pair of virtual cards."""
    one = None

    def __init__(self):
        for tool in ("ip", "unshare", "nsenter"):
            if not shutil.which(tool):
                raise Skip("there is no %s" % tool)
        self.libc = ctypes.CDLL(None, use_errno=True)
        if self.libc.unshare(NEW_NET):
            raise Skip("no network name space here: %s" % os.strerror(ctypes.get_errno()))
        null = subprocess.DEVNULL
        self.there = subprocess.Popen(["unshare", "-n", "sleep", "3600"], stdin=null, stdout=null, stderr=null)
        atexit.register(self.there.kill)
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink("/proc/%d/ns/net" % self.there.pid) != own, 5, "the other name space")
        self.ip("link set lo up")
        self.ip("link add weir0 type veth peer name weir1 netns %d" % self.there.pid)
        self.ip("addr add %s/24 dev weir0" % HERE_ADDRESS)
        self.ip("link set weir0 up")
        self.ip("addr add %s/16 dev weir1" % THERE_ADDRESS, there=True)
        self.up()
        self.ns = os.open("/proc/%d/ns/net" % self.there.pid, os.O_RDONLY)

    def ip(self, words, there=False):
        cmd = (["nsenter", "-t", str(self.there.pid), "-n"] if there else []) + ["ip"] + words.split()
        p = subprocess.run(cmd, capture_output=True, text=True)
        if p.returncode:
            raise Skip("%s: %s" % (" ".join(cmd), p.stderr.strip()))

    def up(self):
        self.ip("link set weir1 up", there=True)

    def down(self):
        """What is sent from here goes nowhere, and nobody is told."""
        self.ip("link set weir1 down", there=True)

    def connect(self, w, address=THERE_ADDRESS):
        """A socket of the other side: a thread goes there, makes it and ends."""
        got = []

        def run():
            if self.libc.setns(self.ns, NEW_NET):
                got.append(OSError(ctypes.get_errno(), "setns"))
                return
            try:
                s = socket.socket()
                s.settimeout(10)
                s.bind((address, 0))
                s.connect((w.host, w.port))
                got.append(s)
            except OSError as e:
                got.append(e)
        t = threading.Thread(target=run)
        t.start()
        t.join()
        if isinstance(got[0], OSError):
            raise got[0]
        return got[0]


def link():
    if not Link.one:
        Link.one = Link()
    Link.one.up()
    return Link.one


def weir(config=""):
    w = Weir("http: { allowed_hosts: [%s], %s }\n" % (HERE_ADDRESS, config), start=False)
    w.host = HERE_ADDRESS
    return w


def raw(link, w, address=THERE_ADDRESS):
    c = Raw.__new__(Raw)
    c.sock, c.buf = link.connect(w, address), b""
    return c


def connections(w):
    return w.metrics()['weir_connections{listener="http"}']


def gone_within(w, low, high, what):
    """All but the one that asks have gone, not before and not after."""
    began = time.monotonic()
    until(lambda: connections(w) <= 1, high, what)
    took = time.monotonic() - began
    check(took >= low, "%s: gone after %.1f s already" % (what, took))


def ask(w, t, how):
    if how == "sse":
        return ("GET /v1/topics/%s/sse HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.host)).encode()
    if how == "ws":
        return ("GET /v1/topics/%s/ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % (t, w.host)).encode()
    if how == "wait":
        return ("GET /v1/topics/%s/records?cursor=latest&wait=5m HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.host)).encode()
    if how == "half":
        return b"GET /healthz HTTP/1.1\r\nHost: "
    return (GET % w.host).encode()


@test("peers whose link goes down, idle, waiting, within a request, on SSE and on WebSocket: each is found and closed within "
      "http.peer_timeout, and the others are served", own=True, timeout=90)
def _():
    net = link()
    with weir("peer_timeout: 4s, idle_timeout: 1h, header_timeout: 1h") as w:
        w.start()
        t = w.topic()
        w.push(t, b"1")
        socks = []
        for how in ("idle", "wait", "half", "sse", "ws"):
            for _ in range(3):
                socks.append(net.connect(w))
                socks[-1].sendall(ask(w, t, how))
                if how not in ("half", "wait"):
                    socks[-1].recv(100)
        until(lambda: connections(w) == 16, 5, "all to be there")
        time.sleep(5.5)
        eq(connections(w), 16, "connections that are alive")
        net.down()
        gone_within(w, 1, 12, "those behind the link")
        w.push(t, b"2")
        for s in socks:
            s.close()


@test("a stream that is sent records over a link that went down: closed within http.peer_timeout, memory given back, and the "
      "client goes on where it was", own=True, timeout=60)
def _():
    net = link()
    with weir("peer_timeout: 3s") as w:
        w.start()
        t = w.topic()
        w.push(t, b'"before"')
        s = net.connect(w)
        s.sendall(("GET /v1/topics/%s/sse?cursor=earliest HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, w.host)).encode())
        got = b""
        while b"before" not in got:
            got += s.recv(4096)
        cursor = got.split(b"id: ")[1].split(b"\n")[0].strip().decode()
        net.down()
        for i in range(50):
            w.push(t, b'"%d %s"' % (i, b"x" * 20000))
        gone_within(w, 1, 12, "the reader")
        s.close()
        net.up()
        s = net.connect(w)
        s.sendall(("GET /v1/topics/%s/sse?cursor=%s HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, cursor, w.host)).encode())
        got = b""
        while b'"49 ' not in got:
            got += s.recv(1 << 20)
        check(b'"0 ' in got and b"before" not in got, "it does not go on where it was")
        s.close()


@test("a WebSocket peer whose kernel lives and whose program does not is found by pings, without the kernel's help", own=True,
      timeout=60)
def _():
    with Weir("http: { peer_timeout: 1h, idle_timeout: 1h }\nstream: { ws_ping_interval: 500ms, sse_comment_interval: 500ms }\n") as w:
        t = w.topic()
        w.push(t, b"1")
        s = socket.create_connection((w.host, w.port), 10)
        s.sendall(ask(w, t, "ws"))
        gone_within(w, 0, 10, "the mute one")
        got = b""
        while True:
            more = s.recv(4096)
            if not more:
                break
            got += more
        check(b"\x89\x00" in got, "no ping came")
        s.close()
        s = socket.create_connection((w.host, w.port), 10)
        s.sendall(ask(w, t, "sse"))
        got = b""
        while got.count(b"\n:") < 3:
            got += s.recv(4096)
        eq(connections(w), 2, "an SSE reader that takes its comments stays")
        s.close()


@test("an address that has its share of connections gets 503, others and loopback are served; when one goes the next may come",
      own=True, timeout=60)
def _():
    net = link()
    other = "10.213.7.3"
    try:
        net.ip("addr add %s/16 dev weir1" % other, there=True)
    except Skip:
        pass
    with weir("max_connections_per_address: 10, max_connections: 200") as w:
        w.start()
        held = [raw(net, w).send(GET % w.host) for _ in range(10)]
        for c in held:
            eq(c.response().status, 200)
        over = raw(net, w)
        r = over.response()
        eq((r.status, r.json()["code"]), (503, "too_many_connections"))
        check(r.headers.get("Retry-After"), "no Retry-After")
        eq(over.sock.recv(10), b"")
        theirs = [raw(net, w, other).send(GET % w.host) for _ in range(10)]
        for c in theirs:
            eq(c.response().status, 200)
        eq(w.metrics()['weir_connections_refused_by_address_total{listener="http"}'], 1)
        flood = []
        for _ in range(150):
            try:
                flood.append(net.connect(w))
            except OSError:
                pass
        for c in held:
            eq(c.send(GET % w.host).response().status, 200)
        until(lambda: connections(w) < 30, 5, "the flood to be gone")
        for s in flood:
            s.close()
        held.pop().close()
        until(lambda: refused_or(lambda: raw(net, w).send(GET % w.host).response().status == 200), 5, "room for the next one")
        for c in held + theirs:
            c.close()


def ended(sock):
    return bool(select.select([sock], [], [], 0)[0])


def refused_or(fn):
    try:
        return fn()
    except (OSError, EOFError, http.client.HTTPException):
        return False


@test("at the cap, connections that never asked anything make room for those that do, the longest waiting first; who is in the "
      "middle of something stays", own=True, timeout=60)
def _():
    with Weir("threads: 1\nhttp: { max_connections: 50, idle_timeout: 1h, header_timeout: 1h }\n") as w:
        t = w.topic()
        w.push(t, b"1")
        sse = socket.create_connection((w.host, w.port), 10)
        sse.sendall(ask(w, t, "sse"))
        sse.recv(100)
        half = socket.create_connection((w.host, w.port), 10)
        half.sendall(b"GET /healthz HT")
        kept = Raw(w).send(GET % w.host)
        eq(kept.response().status, 200)
        mute = [Raw(w) for _ in range(24)]
        time.sleep(0.3)
        mute += [Raw(w) for _ in range(23)]
        time.sleep(0.2)
        with Raw(w) as over:
            eq(over.response().status, 503, "a moment later: all may have something to say yet")
        time.sleep(1.2)
        served = 0
        for _ in range(120):
            with Raw(w) as c:
                try:
                    served += c.send(GET % w.host).response().status == 200
                except (OSError, EOFError):
                    pass
        check(served >= 110, "only %d of 120 were served" % served)
        check(w.metrics()['weir_connections_spared_total{listener="http"}'] >= 16, "nobody was spared")
        gone = [i for i, c in enumerate(mute) if ended(c.sock)]
        check(len(gone) >= 16 and max(gone[:16]) < 24, "who went first were not those who waited longest: %r" % gone)
        half.sendall(b"TP/1.1\r\nHost: localhost\r\n\r\n")
        check(half.recv(100).startswith(b"HTTP/1.1 200"), "who was in the middle of a request was cut")
        eq(kept.send(GET % w.host).response().status, 200)
        w.push(t, b'"last"')
        got = b""
        while b"last" not in got:
            more = sse.recv(4096)
            check(more, "the stream was cut")
            got += more
