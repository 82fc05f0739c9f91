# SPDX-License-Identifier: Apache-2.0
"""weir is killed while it redrives dead letters: each of them is stored once, and each that is stored is marked."""
import json
import random
import threading
import time

from faults import WHOLE
from harness import BATCH, Failed, Weir, check, eq, test

LETTERS = 3000
KILLS = 30 if WHOLE else 8


def selected(w, t, state):
    """Every letter in this state, a page at a time: value by id."""
    out, after = {}, -1
    while after is not None:
        page = w.get("/v1/topics/%s/dead?state=%s&limit=1000&after=%d" % (t, state, after)).json()
        out.update((d["id"], d["record"]["value"]["value"]) for d in page["dead"])
        after = page["next"]
    return out


def redrive(w, t, size):
    """Pages until all is done or weir is gone."""
    try:
        while True:
            r = w.post("/v1/topics/%s/dead/redrive?all=true&limit=%d" % (t, size), b"")
            if r.status != 200 or not r.json()["results"]:
                return
    except (OSError, ValueError, Failed, json.JSONDecodeError, EOFError):
        return
    except Exception as e:  # what http.client makes of a connection that ends in the middle
        if type(e).__module__ != "http.client":
            raise


def audit(w, t):
    values = w.values(t)
    redriven = selected(w, t, "redriven")
    eq(sorted(values), sorted(redriven.values()), "what is stored, and what is marked")
    eq(len(set(values)), len(values), "some are stored twice")
    return len(values)


@test("killed again and again while thousands are redriven: each is stored once, and what is stored is marked", own=True,
      timeout=600 if WHOLE else 120)
def _():
    rand = random.Random(5)
    with Weir() as w:
        t = w.topic()
        for first in range(0, LETTERS, 500):
            w.push(t, json.dumps({"records": [{"value": i, "partition": 3} for i in range(first, first + 500)]}), BATCH,
                   on_error="dead")
        w.put("/v1/topics/" + t, b'{"partitions": 4}', {"Content-Type": "application/json"})
        cut = 0
        for _ in range(KILLS):
            before = w.count_records(t)
            drivers = [threading.Thread(target=redrive, args=(w, t, rand.choice((2, 5)))) for _ in range(2)]
            for d in drivers:
                d.start()
            time.sleep(rand.random() * 0.15)
            w.kill()
            for d in drivers:
                d.join()
            w.start()
            done = audit(w, t)
            cut += before < done < LETTERS
        check(cut, "weir was never killed in the middle")
        redrive(w, t, 1000)
        eq((audit(w, t), len(selected(w, t, "open"))), (LETTERS, 0))
