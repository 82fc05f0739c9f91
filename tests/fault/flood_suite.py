# SPDX-License-Identifier: Apache-2.0
"""F27: names and keys that meet under the usual hashes cost no more than any others: where a peer chooses, hashes are keyed.

The measure is processor time of the daemon against that of as many random words of the same length, so that neither the machine
nor what runs beside it matters.
"""
import itertools
import json
import random

from faults import WHOLE
from harness import CE, JSON, Weir, check, eq, expect, test

BATCH = {"Content-Type": "application/vnd.weir.batch+json"}
# Two letters that meet under the hashes that multiply by 31 (Java) and by 33 (djb2, PHP, zend): so does any row of them.
PAIRS = {"times 31": ("Aa", "BB"), "times 33": ("Ez", "FY")}


def words(pair, count):
    """`count` words of one length, all with one hash."""
    length = max(1, (count - 1).bit_length())
    return ["".join(w) for w in itertools.islice(itertools.product(pair, repeat=length), count)]


def hash_of(word, by):
    h = 5381
    for c in word.encode():
        h = (h * by + c) & 0xffffffff
    return h


def same_length(words):
    rnd = random.Random(7)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return ["".join(rnd.choices(letters, k=len(w))) for w in words]


def batch(w, t, records):
    return expect(w.post("/v1/topics/%s/records" % t, json.dumps({"records": records}), BATCH, timeout=120), 200).json()


def idempotency_keys(w, t, names):
    for _ in range(2):  # to be entered, then to be found
        for at in range(0, len(names), 50000):
            batch(w, t, [{"value": 1, "idempotency_key": n} for n in names[at:at + 50000]])


def record_keys(w, t, names):
    batch(w, t, [{"value": 1, "key": n} for n in names[:100000]])


def record_headers(w, t, names):
    batch(w, t, [{"value": 1, "headers": {n: "x" for n in names[at:at + 120]}} for at in range(0, len(names), 120)])


def json_members(w, t, names):
    for at in range(0, len(names), 20000):
        body = json.dumps({n: 1 for n in names[at:at + 20000]})
        expect(w.post("/v1/topics/%s/records" % t, body, JSON, timeout=60), 200)


def unknown_members(w, t, names):
    body = json.dumps({"records": [dict({n: 1 for n in names}, value=1)]})
    r = w.post("/v1/topics/%s/records" % t, body, BATCH, timeout=60)
    check(400 <= r.status < 500, "%r" % r)


def event_attributes(w, t, names):
    event = dict({n.lower(): "x" for n in names[:800]}, specversion="1.0", id="1", source="/s", type="t", data=1)
    for i in range(20):
        w.post("/v1/topics/%s/records" % t, json.dumps(dict(event, id=str(i))), {"Content-Type": CE}, timeout=60)


def topics(w, t, names):
    with w.session() as s:
        for n in names[:20000 if WHOLE else 300]:
            expect(s.request("PUT", "/v1/topics/" + n, b"{}", JSON), 201, 200)
            eq(s.request("GET", "/v1/topics/" + n).status, 200)


def query_parameters(w, t, names):
    with w.session() as s:
        for at in range(0, 20000, 100):
            s.request("GET", "/v1/topics/%s/records?%s" % (t, "&".join(n + "=1" for n in names[at:at + 100])))


def cost(work, names):
    with Weir("threads: 1\nlog: { entered_bytes: 256MiB, pinned_bytes: 512MiB }\n") as w:
        t = w.topic()
        at = w.ticks()
        work(w, t, names)
        return w.ticks() - at


def compare(work):
    for what, pair in PAIRS.items():
        meeting = words(pair, 100000 if WHOLE else 20000)
        by = int(what.split()[1])
        check(len(set(meeting)) == len(meeting) and len({hash_of(x, by) for x in meeting[:999]}) == 1, "the words do not meet")
        a, b = cost(work, meeting), cost(work, same_length(meeting))
        check(a <= 2.5 * b + 15, "%s: %d ticks for words that meet under a hash %s, %d for others" % (work.__name__, a, what, b))


for fn in (idempotency_keys, record_keys, record_headers, json_members, unknown_members, event_attributes, topics,
           query_parameters):
    def run(fn=fn):
        compare(fn)
    test("%s that meet under the usual hashes cost as much as random ones" % fn.__name__.replace("_", " "), own=True,
         timeout=600)(run)
