# SPDX-License-Identifier: Apache-2.0
"""What waiting costs: nothing."""
import os
import resource
import time

from harness import SLOW, Raw, Skip, Weir, check, eq, test, until

# Under sanitizers (WEIR_SLOW) the memory is the sanitizer's, and only the rest is looked at.
COUNT = int(os.environ.get("WEIR_PARKED", "5000"))
WS_HEAD = ("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
           "Sec-WebSocket-Version: 13\r\n")


def park(w, target, lines=""):
    """Opens COUNT connections that wait; gives them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < COUNT + 500:
        raise Skip("only %d open files are allowed here" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (COUNT + 500 if hard == resource.RLIM_INFINITY else hard, hard))
    out = []
    for i in range(COUNT):
        out.append(Raw(w, 30).send("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (target, w.authority, lines)))
        if i % 500 == 499:
            time.sleep(0.05)
    return out


def settle(w):
    """All that was sent has been taken: two seconds in which no thread woke up. A loaded machine may need a while."""
    for _ in range(15):
        before = w.wakes()
        time.sleep(2)
        if w.wakes() == before:
            return
    check(False, "it never came to rest")


def sleeps(w, seconds):
    """Nothing is due, so no thread wakes up, not once: how often each slept, and the processor's ticks, stand still."""
    wakes, ticks = w.wakes(), w.ticks()
    time.sleep(seconds)
    eq(w.wakes(), wakes, "a thread woke up for nothing within %d s: how often each has slept" % seconds)
    eq(w.ticks(), ticks, "ticks of the processor within %d s" % seconds)


def waiting_costs_nothing(target, lines="", heads=False):
    # The comment that keeps an idle stream alive every 15 s is wanted, and not what is measured.
    # Under 262 s, a round of the timer wheel: a timer that is further away is looked at once a round.
    with Weir("stream: { sse_comment_interval: 4m, ws_ping_interval: 4m }\n") as w:
        t = w.topic(partitions=1)
        w.push(t, b"0")
        until(lambda: w.get("/healthz").status == 200, 5)
        time.sleep(1)
        before = w.rss()
        held = park(w, target % t, lines)
        try:
            if heads:
                for c in held:
                    check(c.head()[0] in (101, 200), "refused")
            w.get("/healthz")
            settle(w)
            each = (w.rss() - before) / COUNT
            sleeps(w, 10)
            check(SLOW > 1 or each <= 6 * 1024, "waiting took memory: %.1f KiB each" % (each / 1024))
            began = time.monotonic()
            w.push(t, b'"wake"')
            for c in held:
                while b'"wake"' not in c.buf:
                    check(c.more(), "closed instead of woken")
            check(time.monotonic() - began < 20, "waking all took %.1f s" % (time.monotonic() - began))
        finally:
            for c in held:
                c.close()


@test("%d parked long polls wake no thread in ten seconds and take at most 6 KiB each" % COUNT, own=True, timeout=120)
def _():
    waiting_costs_nothing("/v1/topics/%s/records?cursor=latest&wait=4m")


@test("%d idle SSE streams wake no thread in ten seconds and take at most 6 KiB each" % COUNT, own=True, timeout=120)
def _():
    waiting_costs_nothing("/v1/topics/%s/sse", heads=True)


@test("%d idle WebSockets wake no thread in ten seconds and take at most 6 KiB each" % COUNT, own=True, timeout=120)
def _():
    waiting_costs_nothing("/v1/topics/%s/ws?format=raw", WS_HEAD, heads=True)


@test("a login's soft limit of 1024 open files is no limit of connections", own=True, timeout=60)
def _():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        raise Skip("only %d open files are allowed here" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        with Weir() as w:
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
            held = [Raw(w) for _ in range(1500)]
            try:
                eq(w.get("/healthz").status, 200)
            finally:
                for c in held:
                    c.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@test("a weir that nobody uses wakes no thread in ten seconds and takes at most 40 MiB", own=True, timeout=60)
def _():
    with Weir() as w:
        settle(w)
        sleeps(w, 10)
        check(SLOW > 1 or w.rss() <= 40 << 20, "RSS is %.1f MiB" % (w.rss() / (1 << 20)))


@test("connections that come and go leave no memory behind", own=True, timeout=120)
def _():
    with Weir() as w:
        t = w.topic(partitions=1)
        w.push(t, b"0")

        def wave():
            cursor = w.poll(t, cursor="latest")["cursor"]
            held = [Raw(w).send("GET /v1/topics/%s/records?cursor=%s&wait=5m HTTP/1.1\r\nHost: %s\r\n\r\n" % (t, cursor, w.authority))
                    for _ in range(500)]
            w.push(t, b"1")
            for c in held:
                c.response()
                c.close()
        for _ in range(3):
            wave()
        before = w.rss()
        for _ in range(10):
            wave()
        check(SLOW > 1 or w.rss() - before < 4 << 20, "grew by %d KiB over 5000 connections" % ((w.rss() - before) >> 10))
