# SPDX-License-Identifier: Apache-2.0
"""A source that is another weir: two of them, the records of one in the other."""
import json

from harness import JSON, Weir, check, eq, expect, test, until
from transfer import KINDS, contents, give_kinds, keys_in_order

CONFIG = """
sources:
  - name: edge
    type: weir
    topic: all
    url: http://%s
    from: orders
    retry: { min: 10ms, max: 200ms }
"""


PUSH = """
sources:
  - name: edge
    type: weir_push
    from: orders
    topic: all
    url: http://%s
    every: 100ms
    retry: { min: 10ms, max: 200ms }
"""


def arrived(w, count, topic="all", timeout=20):
    return w.arrived(topic, count, timeout)


def source(w):
    return w.source("edge")


@test("what is in a topic of one weir comes to the other as it is, and what comes later too", own=True)
def _():
    with Weir() as edge:
        give_kinds(edge, "orders")
        with Weir(CONFIG % edge.authority) as w:
            got = arrived(w, KINDS)
            eq(contents(got), contents(edge.all("orders")))
            keys_in_order(got)
            edge.push("orders", b"1")
            eq(arrived(w, KINDS + 1)[-1]["value"], 1)
            w.restart()
            edge.push("orders", b"2")
            eq([r["value"] for r in arrived(w, KINDS + 2)[-2:]], [1, 2])


@test("a topic that is not there yet is waited for; a weir that is away is, too", own=True)
def _():
    with Weir() as edge:
        with Weir(CONFIG % edge.authority) as w:
            until(lambda: source(w)["state"] == "running", what="the source to run")
            edge.push("orders", b"1")
            arrived(w, 1)
            edge.kill()
            until(lambda: source(w)["state"] == "failing", what="the source to fail")
            edge.start()
            edge.push("orders", b"2")
            eq([r["value"] for r in arrived(w, 2)], [1, 2])


@test("records that were deleted there before they were read are told of, and the rest is read", own=True)
def _():
    with Weir() as edge, Weir() as w:
        edge.push("orders", b"1")
        w.stop()
        w.write_config(CONFIG % edge.authority)
        w.start()
        arrived(w, 1)
        w.stop()
        edge.push("orders", b"2")
        expect(edge.post("/v1/topics/orders/trim", b'{"before":"latest"}', JSON), 200)
        edge.push("orders", b"3")
        w.start()
        eq([r["value"] for r in arrived(w, 2)], [1, 3])
        check(any("deleted there" in x for x in source(w)["warnings"]), "no warning: %r" % source(w))


@test("a weir that pushes sends what it has and what comes later, as it is, once", own=True)
def _():
    with Weir() as central:
        with Weir(PUSH % central.authority) as edge:
            give_kinds(edge, "orders")
            edge.push("orders", b" {\"blanks\": 1} ", "application/octet-stream")
            got, sent = arrived(central, KINDS + 1), edge.all("orders")
            for r in got + sent:
                r["headers"].pop("idempotency-key", None)
            eq(contents(got), contents(sent))
            check(b'" {\\"blanks\\": 1} "' in json.dumps([r.get("value_text") for r in got]).encode() or any(
                r.get("value") == {"blanks": 1} for r in got), "blanks are lost")
            keys_in_order(got)
            edge.restart()
            edge.push("orders", b"1")
            eq(arrived(central, KINDS + 2)[-1]["value"], 1)


@test("while the central weir is away the edge goes on collecting, and sends all of it when it is back", own=True)
def _():
    with Weir() as central:
        with Weir(PUSH % central.authority) as edge:
            edge.push("orders", b"0")
            arrived(central, 1)
            central.kill()
            for i in range(1, 20):
                edge.push("orders", b"%d" % i)
            until(lambda: source(edge)["state"] == "failing", what="the source to fail")
            until(lambda: source(edge)["lag_records"] == 19, what="what waits to be told: %r" % source(edge)["lag_records"])
            edge.restart(hard=True)
            edge.push("orders", b"20")
            central.start()
            eq([r["value"] for r in arrived(central, 21)], list(range(21)))


@test("what the central weir cannot take is a dead letter there, and the rest goes on", own=True)
def _():
    with Weir("http: { record_bytes_max: 1KiB }\n") as central, Weir(PUSH % central.authority) as edge:
        edge.batch("orders", [{"value": 1}, {"value": "x" * 2000}, {"value": 2}])
        eq([r["value"] for r in arrived(central, 2)], [1, 2])
        [d] = until(lambda: central.get("/v1/topics/all/dead").json()["dead"], what="the letter")
        eq((d["code"], d["record"]["value"]["value"]), ("record_too_large", "x" * 2000))
