# SPDX-License-Identifier: Apache-2.0
"""F15: threads, eventfd, epoll, sockets and memory that the kernel does not give: at start an error, later less service."""
import errno
import http.client
import time

from faults import Sender, Shim, spread
from harness import JSON, Died, Raw, Weir, check, eq, expect, test, until

CALLS = {"thread": errno.EAGAIN, "eventfd": errno.EMFILE, "epoll": errno.EMFILE, "watch": errno.ENOSPC, "socket": errno.EMFILE,
         "listen": errno.EADDRINUSE, "map": errno.ENOMEM, "memory": errno.ENOMEM}
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def start_with_failure(w, shim, op, n):
    """True where it served all the same."""
    r = shim.rule(op, error=CALLS[op], when=n, times=1)
    began = time.monotonic()
    try:
        w.start(timeout=20)
        served = True
    except Died:
        served = False
        eq(w.proc.returncode, 1, "exit status with %s %d failing: %s" % (op, n, w.log()[-600:]))
        check("level=error" in w.log() or "weir:" in w.log(), "%s %d: the reason is not said: %s" % (op, n, w.log()[-400:]))
        check("AddressSanitizer" not in w.log() and "Check failed" not in w.log(), w.log()[-600:])
    check(time.monotonic() - began < 15, "%s %d: it took long" % (op, n))
    shim.clear()
    return served


@test("at start the n-th thread, eventfd, epoll, socket, map or allocation cannot be had: an error and exit 1, or it serves; "
      "nothing stays locked, and the next start has everything", own=True, timeout=600)
def _():
    with Shim() as shim, Weir(env=shim.env) as w:
        sender = Sender(w, w.topic(), 200)
        sender.send(5)
        w.stop()
        for op in CALLS:
            r = shim.rule(op, when=1 << 40)
            w.start()
            count = r.count
            w.stop()
            check(count > 0 or op == "map", "%s is not counted" % op)
            for n in spread(count, 12 if op == "memory" else 6):
                if start_with_failure(w, shim, op, n):
                    expect(w.get("/healthz"), 200)
                    sender.send()
                    w.stop()
                w.start()
                sender.send()
                w.stop()
        w.start()
        sender.audit()


@test("a first start that fails anywhere leaves nothing that a second one trips over", own=True, timeout=300)
def _():
    for op, n in [("thread", n) for n in (1, 3, 6)] + [("memory", n) for n in spread(400, 12)] + [("epoll", 1), ("listen", 1)]:
        with Shim() as shim, Weir(env=shim.env, start=False) as w:
            if start_with_failure(w, shim, op, n):
                w.stop()
            w.start()
            sender = Sender(w, w.topic(), 100)
            sender.send(2)
            sender.audit()


@test("while it runs no descriptor can be watched and no connection accepted: those that are there are served, others wait or are "
      "closed, and it recovers by itself", own=True, timeout=60)
def _():
    for op, error in (("watch", errno.ENOSPC), ("watch", errno.ENOMEM), ("accept", errno.EMFILE), ("accept", errno.ENOBUFS),
                      ("accept", errno.ENOMEM)):
        with Shim() as shim, Weir(env=shim.env) as w:
            sender = Sender(w, w.topic(), 100)
            sender.send(2)
            s = w.session()
            expect(s.request("POST", "/v1/topics/%s/records" % sender.topic, b'"open"', JSON), 200)
            shim.rule(op, error=error)
            began, at = time.monotonic(), w.ticks()
            for i in range(10):
                try:
                    Raw(w).close()
                except OSError:
                    pass
                expect(s.request("GET", "/v1/topics/%s/records" % sender.topic), 200)
            time.sleep(max(0, 1 - (time.monotonic() - began)))
            check(w.ticks() - at < 50, "%s: it spins" % op)
            check(w.running(), "%s: it died: %s" % (op, w.log()[-400:]))
            # One that waits for room to write has to be watched anew: it may be cut, weir goes on.
            big = Raw(w)
            try:
                big.send(GET * 20000)
                time.sleep(0.3)
                big.close()
            except OSError:
                pass
            expect(s.request("GET", "/healthz"), 200)
            check(w.running(), "%s: it died: %s" % (op, w.log()[-400:]))
            shim.clear()
            until(lambda: quietly(lambda: w.get("/healthz", timeout=2).status == 200), 10, "new connections")
            s.close()
            w.restart()
            eq(w.count_records(sender.topic), 3)


def quietly(fn):
    try:
        return fn()
    except (OSError, http.client.HTTPException):
        return False


@test("a limit on address space or on the processes of the user is an error at start, not a crash", own=True, timeout=120)
def _():
    with Weir() as w:
        sender = Sender(w, w.topic(), 100)
        sender.send(3)
        w.stop()
        served = 0
        for mib in spread(40, 8):
            w.wrap = ["prlimit", "--as=%d" % ((mib * 12) << 20)]
            w._daemon_pid = lambda: w.proc.pid  # prlimit becomes the daemon
            try:
                w.start(timeout=20)
                served += 1
                w.stop()
            except Died:
                check(w.proc.returncode in (1, 127), "with %d MiB: %r %s" % (mib * 12, w.proc.returncode, w.log()[-600:]))
        check(served > 0, "it never served")
        w.wrap = []
        w.start()
        sender.audit()
