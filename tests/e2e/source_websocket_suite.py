# SPDX-License-Identifier: Apache-2.0
"""Sources of type websocket, against feed_server.py: a server of python3-websockets, and one that is wrong byte by byte."""
import json
import random
import time

from feed import Feed
from harness import Weir, check, eq, kills, test, until

KILLS, FLOOD_KILLS = kills(50), kills(5)


def config(*sources):
    """(name, keys) each; records of a source go to the topic of its name."""
    def item(name, keys):
        if "reconnect:" not in keys:
            keys += ", reconnect: { min: 5ms, max: 20ms }"
        return "  - { name: %s, type: websocket, topic: %s, retry: { min: 5ms, max: 100ms }, %s }\n" % (name, name, keys)
    return "sources:\n" + "".join(item(*s) for s in sources)


TWELVE = ("url: '%s/prices?n=%d%s', subscribe: ['{\"action\":\"subscribe\",\"params\":{\"symbols\":\"BTC/USD,ETH/USD\"}}'], "
          "answers: [/event=subscribe-status], refused: /status=error, filter: [/event=price], "
          "key: '{/symbol}', timestamp: /timestamp")


def numbers(w, topic):
    return [v["seq"] for v in w.values_so_far(topic) if "seq" in v]


def shown(w, name):
    return w.says("source", "show", name, "--json")


@test("a market data feed is subscribed to, its prices are stored, and heartbeats go both ways", own=True, timeout=60)
def prices():
    with Feed() as feed, Weir(config(
            ("prices", TWELVE % (feed.plain, 4, "") + ", id: '{/symbol}-{/seq}', "
             "heartbeat: { message: '{\"action\":\"heartbeat\"}', every: 100ms }"),
            ("safe", TWELVE % (feed.tls, 4, "") + ", id: '{/seq}', tls: { ca: %s/ca.pem }" % feed.dir.name))) as w:
        until(lambda: len(w.values_so_far("prices")) >= 7, what="prices, each heartbeat brings one")
        until(lambda: len(w.values_so_far("safe")) == 4, what="prices over TLS")
        r = w.all("prices")[0]
        eq((r["key"], r["timestamp"]), ("BTC/USD", 1700000001000))
        eq(r["value"], {"event": "price", "symbol": "BTC/USD", "seq": 1, "price": 100.25, "timestamp": 1700000001})
        check(feed.said('got {"action":"heartbeat"}') >= 3, "heartbeats")
        eq(feed.said("open /prices"), 2, "connections")
        w.stop()
        until(lambda: feed.said("close 1001") == 2, what="the good-bye")


@test("a run with --from is refused, as a feed cannot be asked for what it has sent", own=True)
def _():
    with Weir(config=config(("late", "url: 'ws://127.0.0.1:9/'"))) as w:
        r = w.post("/v1/sources/late/runs", json.dumps({"from": "2026-01-01T00:00:00Z"}))
        eq(r.status, 400)
        check("type websocket brings what its server sends from now on" in r.text, r)


@test("a feed that is lost again and again goes on where it was: each event once (%d kills)" % KILLS, own=True, timeout=90 + 4 * KILLS)
def killed():
    with Feed() as feed, Weir(config(
            ("log", "url: '%s/since?n=4000&step=37&overlap=5', last: /seq, last_initial: '0', id: '{/seq}', "
             "subscribe: ['{\"since\": {last}}']" % feed.plain))) as w:
        chance = random.Random(5)
        for _ in range(KILLS):
            time.sleep(chance.random() * 0.1)
            w.restart(hard=True)
        until(lambda: len(numbers(w, "log")) >= 4000, 120, what="all events")
        eq(numbers(w, "log"), list(range(1, 4001)))


@test("without a place to go on a gap is told: when, how long, why", own=True, timeout=60)
def gaps():
    with Feed() as feed, Weir(config(("prices", TWELVE % (feed.plain, 2, "&drop=1")),
                                     ("aside", TWELVE % (feed.plain, 2, "&drop=1") + ", gap_topic: gaps"))) as w:
        until(lambda: len(w.values_so_far("prices")) >= 8, what="prices and gaps")
        records = w.all("prices")[:5]
        eq([("gap" in r["value"]) for r in records], [False, False, True, False, False])
        gap = records[2]
        eq(gap["headers"], {"gap": "true"}) if not isinstance(gap["headers"].get("gap"), list) else eq(gap["headers"]["gap"], ["true"])
        check("1012" in gap["value"]["gap"]["reason"], gap)
        check(gap["value"]["gap"]["from"] <= gap["value"]["gap"]["to"], gap)
        w.restart(hard=True)
        until(lambda: any("weir was not connected" in v["gap"]["reason"] for v in w.values_so_far("prices") if "gap" in v), what="the kill's")
        until(lambda: len(w.values_so_far("gaps")) >= 2, what="gaps aside")
        check(all("seq" in v for v in w.values_so_far("aside")), "gaps among the prices")


@test("a feed that floods is held back by TCP, and comes whole and in order (%d kills)" % FLOOD_KILLS, own=True, timeout=220 + 6 * FLOOD_KILLS)
def flood():
    count = 12000 * FLOOD_KILLS
    with Feed() as feed, Weir(config(("flood", "url: '%s/flood?ask=1&n=%d', last: /seq, last_initial: '0', id: '{/seq}', key: '{/symbol}', "
                                      "subscribe: ['{\"since\": {last}}']" % (feed.plain, count)))) as w:
        for _ in range(FLOOD_KILLS):
            time.sleep(0.3)
            w.restart(hard=True)
        until(lambda: w.count_records("flood") >= count, 120, what="the flood")
        got, cursor = [], "earliest"
        while len(got) < count:
            page = w.poll("flood", limit=10000, cursor=cursor)
            got += [r["value"]["seq"] for r in page["records"]]
            cursor = page["cursor"]
        eq(len(got), count)
        check(got == list(range(1, count + 1)), "order")
        check(w.rss() < 400 << 20, "memory %d" % w.rss())


@test("while a source may take but little the socket is not read, and nothing is lost", own=True, timeout=60)
def held_back():
    with Feed() as feed, Weir(config(("slow", "url: '%s/flood', rate_limit: 2000, batch: { records: 100 }, ping: 200ms, silence: 1s"
                                      % feed.plain))) as w:
        until(lambda: w.count_records("slow") > 3000, what="some")
        got = numbers(w, "slow")
        eq(got, list(range(1, len(got) + 1)))
        eq(feed.said("open /flood"), 1, "connections")
        check(w.rss() < 300 << 20, "memory %d" % w.rss())


@test("broken messages become dead letters, and the good ones are stored", own=True, timeout=60)
def mixed():
    with Feed() as feed, Weir(config(("mixed", "url: '%s/mixed', filter: [/seq], timestamp: /timestamp" % feed.plain))) as w:
        until(lambda: len(w.values_so_far("mixed")) == 3, what="the good ones")
        eq(w.values_so_far("mixed"), [{"seq": 1}, {"seq": 2}, {"seq": 4}])
        until(lambda: w.count_records("mixed.dead") == 3, what="the bad ones")
        out = w.says("dead", "list", "mixed", "--json")
        check("invalid_json" in out and "invalid_timestamp" in out, out)


@test("what a server does wrong is named, tried again later, and disturbs no other source", own=True, timeout=60)
def wrong():
    short = ", reconnect: { min: 10s, max: 10s }, message_timeout: 300ms, connect_timeout: 2s, ping: 100ms, silence: 300ms"
    with Feed() as feed, Weir(config(
            ("huge", "url: '%s/big?bytes=100000000', reconnect: { min: 10s, max: 10s }" % feed.plain),
            ("drip", "url: '%s/drip'%s" % (feed.raw, short)),
            ("mute", "url: '%s/mute'%s" % (feed.raw, short)),
            ("masked", "url: '%s/masked', reconnect: { min: 10s, max: 10s }" % feed.raw),
            ("nothing", "url: '%s/nothing'%s" % (feed.raw, short)),
            ("drop", "url: '%s/drop'" % feed.plain),
            ("who", "url: '%s/token', token: not-this-one, headers: { Authorization: 'Bearer {token}' }" % feed.plain),
            ("inside", "url: 'ws://169.254.169.254/latest'"),
            ("gone", "url: 'ws://127.0.0.1:1/?key={token}', token: hidden-thing"),
            ("good", TWELVE % (feed.plain, 3, "")))) as w:
        for name, text in (("huge", "larger than max_message, 16777216 bytes"), ("drip", "a message had not come whole"),
                           ("mute", "nothing came for 300 ms"), ("masked", "closed with 1002"), ("nothing", "no answer came within 2000 ms"),
                           ("drop", "1013: not now"), ("who", "status 401"), ("inside", "169.254.169.254"), ("gone", "127.0.0.1:1/?...")):
            until(lambda: text in shown(w, name), what="%r in %r" % (text, name))
            check("not-this-one" not in shown(w, name) and "hidden-thing" not in shown(w, name), "a secret of " + name)
        eq(numbers(w, "good"), [1, 2, 3])
        check(w.rss() < 300 << 20, "memory %d" % w.rss())
        opened = feed.said("open /drop")
        time.sleep(1)
        check(feed.said("open /drop") - opened < 150, "it is not tried without a pause")


@test("weir source test connects, shows what came, and stores nothing", own=True, timeout=60)
def tried():
    with Feed() as feed, Weir(config(("prices", "at_start: false, " + TWELVE % (feed.plain, 3, "")))) as w:
        out = w.says("source", "test", "prices", "-n", "2", "--json")
        check("BTC/USD" in out, out)
