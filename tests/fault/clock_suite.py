# SPDX-License-Identifier: Apache-2.0
"""F12: what is forgotten by age is not forgotten because a clock jumped. The order of things under jumps is in `limits`."""
import os
import time

from faults import Sender, Shim, body_of
from harness import JSON, Weir, check, eq, expect, test, until

HOUR, YEAR = 3600, 365 * 86400
CONFIG = ("log: { journal_bytes: 16MiB, journal_file_bytes: 1MiB, group_bytes: 1MiB, segment_bytes: 1MiB%s }\n"
          "http: { record_bytes_max: 256KiB }\n"
          "topics: [ { name: short, retention: 30m, idempotency: { ttl: 30m } } ]\n")


def ahead(w):
    return w.metrics()["weir_log_clock_ahead_seconds"]


def settle(w, sender):
    """Maintenance has looked since: it does a second after something was written. What expires is gone by then."""
    for _ in range(2):
        sender.send()
        time.sleep(1.3)


def filled(w):
    sender = Sender(w, "short", 30000)
    sender.send(60)
    until(lambda: w.metrics()['weir_log_queue_bytes{queue="pinned"}'] == 0, 5, "the mover")
    return sender


def known(w, n=0):
    r = w.post("/v1/topics/short/records", body_of(n, 30000), dict(JSON, **{"Idempotency-Key": "n%d" % n}))
    return expect(r, 200).json()["duplicates"] == 1


@test("the clock jumps ahead by an hour and a year: no record and no key is forgotten, it is said, over restarts too; when the "
      "clock comes back all is as before", own=True, timeout=90)
def _():
    for jump in (HOUR, YEAR):
        with Shim() as shim, Weir(CONFIG % "", env=shim.env) as w:
            sender = filled(w)
            shim.shift(jump)
            check(known(w), "a key is forgotten at once")
            settle(w, sender)
            eq(sender.audit(), sender.next, "records")
            check(known(w), "a key is forgotten")
            check(jump - 5 < ahead(w) <= jump + 1, "the metric says %r" % ahead(w))
            eq(w.log().count("clock_jumped"), 1, "lines about it")
            check(os.path.exists(os.path.join(w.data, "CLOCK")), "what is believed is not kept")
            for hard in (True,) if jump == HOUR else (False, True):
                w.restart(hard=hard)
                settle(w, sender)
                eq(sender.audit(), sender.next, "records after a restart")
                check(known(w), "a key is forgotten after a restart")
                check(ahead(w) > jump - 60, "after a restart the metric says %r" % ahead(w))
            shim.shift(0)
            settle(w, sender)
            eq(ahead(w), 0)
            check("clock_believed" in w.log() and not os.path.exists(os.path.join(w.data, "CLOCK")), w.log()[-500:])
            eq(sender.audit(), sender.next, "records in the end")
            check(known(w), "a key is forgotten in the end")


@test("a jump that an operator confirms, with log.clock_hold: 0 and a reload, or that has lasted, is believed: what is old goes",
      own=True, timeout=60)
def _():
    for how in ("reload", "time"):
        with Shim() as shim, Weir(CONFIG % ("" if how == "reload" else ", clock_hold: 4s"), env=shim.env) as w:
            sender = filled(w)
            shim.shift(YEAR)
            sender.send()
            until(lambda: ahead(w) > 0, 5, "the jump to be seen")
            eq(sender.audit(), sender.next, "records while it is doubted")
            if how == "reload":
                w.write_config(CONFIG % ", clock_hold: 0s")
                w.signal(1)
            sender.send()
            until(lambda: w.poll("short", cursor="latest") and w.get(
                "/v1/topics/short/records?cursor=earliest&limit=1").json()["records"][0]["offset"] > 30, 15, "the old to go")
            until(lambda: ahead(w) == 0, 5, "it to be believed")
            check(not known(w), "a key past its life is still known")


@test("a start after a year is doubted for a while, one after some hours is not", own=True, timeout=60)
def _():
    with Shim() as shim, Weir(CONFIG % "", env=shim.env) as w:
        sender = filled(w)
        w.stop()
        shim.shift(YEAR)
        w.start()
        settle(w, sender)
        eq(sender.audit(), sender.next, "records after a year")
        check(ahead(w) > YEAR - 60, "%r" % ahead(w))
    with Shim() as shim, Weir(CONFIG % "", env=shim.env) as w:
        sender = filled(w)
        w.stop()
        shim.shift(5 * HOUR)
        w.start()
        eq(ahead(w), 0)
        sender.send()
        until(lambda: w.get("/v1/topics/short/records?cursor=earliest&limit=1").json()["records"][0]["offset"] > 30, 10,
              "what is older than its retention to go")


@test("a clock without a battery: weir starts in 1970, time is corrected later, and nothing is forgotten", own=True, timeout=60)
def _():
    with Shim() as shim, Weir(CONFIG % "", env=shim.env) as w:
        sender = filled(w)
        w.stop()
        shim.shift(-time.time())
        w.start()
        settle(w, sender)
        check(known(w), "a key is forgotten in 1970")
        shim.shift(0)
        settle(w, sender)
        eq(ahead(w), 0)
        eq(sender.audit(), sender.next, "records")
        check(known(w), "a key is forgotten when the clock is right again")
