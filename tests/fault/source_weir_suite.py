# SPDX-License-Identifier: Apache-2.0
"""A source that is another weir: both are killed, again and again, and each record is there once, in the order of its key."""
import http.client
import random
import threading
import time

from faults import WHOLE
from harness import SLOW, Failed, Weir, check, eq, kills, test, until

KILLS = kills(50 if WHOLE else 10)
KEYS = 7
CONFIG = """
sources:
  - name: edge
    type: weir
    topic: all
    url: http://%s
    from: orders
    limit: 40
    retry: { min: 10ms, max: 100ms }
"""


class Writer(threading.Thread):
    """Sends one record after the other until each is acknowledged, whatever becomes of the weir."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.sent, self.ends = w, 0, False

    def run(self):
        while not self.ends:
            n = self.sent
            try:
                r = self.w.post("/v1/topics/orders/records?key=k%d" % (n % KEYS), b"%d" % n,
                                {"Content-Type": "application/json", "Idempotency-Key": "n%d" % n}, timeout=5 * SLOW)
                if r.status == 200:
                    self.sent += 1
            except (OSError, ValueError, EOFError, Failed, http.client.HTTPException):
                time.sleep(0.01)


PUSH = """
sources:
  - name: edge
    type: weir_push
    from: orders
    topic: all
    url: http://%s
    limit: 40
    every: 10ms
    retry: { min: 10ms, max: 100ms }
"""


def kill_either(edge, central):
    """Records are written to the edge while one of both dies, KILLS times; then all of it has arrived, once, in order."""
    rand = random.Random(11)
    writer = Writer(edge)
    writer.start()
    for _ in range(KILLS):
        before = central.count_records("all")
        until(lambda: central.count_records("all") > before, 30, "records to move")
        time.sleep(rand.random() * 0.1)
        victim = rand.choice((edge, central))
        victim.kill()
        victim.start()
    writer.ends = True
    writer.join(30 * SLOW)
    check(not writer.is_alive(), "the writer does not end")
    until(lambda: central.count_records("all") >= edge.count_records("orders"), 60, "all to arrive")
    got = central.all("all")
    eq(sorted(r["value"] for r in got), list(range(edge.count_records("orders"))))
    for k in range(KEYS):
        of = [r["value"] for r in got if r["key"] == "k%d" % k]
        eq(of, sorted(of), "order of k%d" % k)


@test("central reads from edge, both killed at random moments: each record arrives once, in the order of its key (%d kills)" % KILLS, own=True,
      timeout=60 + 24 * KILLS)
def _():
    with Weir() as edge:
        edge.put("/v1/topics/orders", b'{"partitions": 2}', {"Content-Type": "application/json"})
        with Weir(CONFIG % edge.authority) as central:
            kill_either(edge, central)


@test("edge pushes to central, both killed at random moments: each record arrives once, in the order of its key (%d kills)" % KILLS, own=True,
      timeout=60 + 24 * KILLS)
def _():
    with Weir() as central:
        with Weir(PUSH % central.authority) as edge:
            edge.put("/v1/topics/orders", b'{"partitions": 2}', {"Content-Type": "application/json"})
            kill_either(edge, central)
