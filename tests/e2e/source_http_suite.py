# SPDX-License-Identifier: Apache-2.0
"""Sources of type http, against a server that pages, throttles, fails and changes."""
import http.server
import json
import random
import threading
import time
import urllib.parse

from harness import Weir, check, eq, kills, test, until

KILLS = kills(50)


class Api:
    """`with Api() as api`: a list of items that grows, behind several ways of paging. `trouble`: 0 to 1, how often it refuses."""

    def __init__(self, count=0, trouble=0.0, seed=1):
        self.lock = threading.Lock()
        self.items, self.trouble, self.random = [], trouble, random.Random(seed)
        self.requests, self.unchanged, self.asked = 0, 0, []
        self.grow(count)
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                api.answer(self)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_):
                pass  # whoever is killed cuts his connections

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def grow(self, count):
        with self.lock:
            for _ in range(count):
                n = len(self.items)
                self.items.append({"id": n, "text": "item %d " % n + "x" * (n % 50)})

    def stumble(self, h):
        """True where this request goes wrong: refused, throttled, cut off in its body, or not answered at all."""
        with self.lock:
            self.requests += 1
            self.asked.append(h.path)
            bad = self.random.random() < self.trouble and self.random.choice((503, 429, 0, 1))
        if bad is False:
            return False
        h.close_connection = True
        if bad == 1:
            return True
        if bad == 0:
            h.send_response(200)
            h.send_header("Content-Length", "1000")
            h.end_headers()
            h.wfile.write(b'{"items":[{"id":')
            return True
        h.send_response(bad)
        h.send_header("Retry-After", "0")
        h.send_header("Content-Length", "0")
        h.end_headers()
        return True

    def answer(self, h):
        url = urllib.parse.urlsplit(h.path)
        args = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        if self.stumble(h):
            return
        with self.lock:
            items = list(self.items)
        size, headers, body = int(args.get("size", 20)), {}, {}
        if url.path == "/page":
            first = (int(args["page"]) - 1) * size
            body = {"items": items[first:first + size]}
        elif url.path == "/feed":
            first = int(args.get("after", 0))
            body = {"items": items[first:first + size], "cursor": str(min(first + size, len(items)))}
        elif url.path == "/link":
            first = int(args.get("from", 0))
            body = {"items": items[first:first + size]}
            if first + size < len(items):
                headers["Link"] = '</link?from=%d>; rel="next"' % (first + size)
        elif url.path == "/since":
            body = {"items": [i for i in items if i["id"] > int(args.get("since", -1))][:size]}
        elif url.path == "/state":
            headers["ETag"] = '"%d"' % len(items)
            if h.headers.get("If-None-Match") == headers["ETag"]:
                self.unchanged += 1
                h.send_response(304)
                h.send_header("ETag", headers["ETag"])
                h.end_headers()
                return
            body = {"count": len(items)}
        elif url.path == "/inside":
            h.send_response(302)
            h.send_header("Location", "http://169.254.169.254/latest/meta-data")
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        elif url.path == "/mixed":
            body = {"items": [{"id": 1}, {"name": "without id"}, {"id": 3}]}
        data = json.dumps(body).encode()
        h.send_response(200)
        for name, value in headers.items():
            h.send_header(name, value)
        h.send_header("Content-Length", str(len(data)))
        h.end_headers()
        h.wfile.write(data)


def config(*sources):
    return "topics:\n" + "".join("  - { name: %s }\n" % name for name, _ in sources) + "sources:\n" + "".join(
        "  - { name: %s, topic: %s, type: http, at_start: true, retry: { min: 20ms, max: 100ms }, %s }\n"
        % (name, name, rest) for name, rest in sources)


def ids(w, topic):
    return [v["id"] for v in w.values(topic)]


def said(w, *words):
    """What a command prints with --json, parsed; several lines are a list."""
    out = w.says(*words, "--json")
    return json.loads(out) if out.count("\n") < 2 else [json.loads(line) for line in out.splitlines()]


def shown(w, name):
    return said(w, "source", "show", name)


@test("each way of paging brings every record once, in order", own=True, timeout=60)
def pages():
    rest = "every: 50ms, records: /items, "
    with Api(95) as api, Weir(config(
            ("page", rest + "url: '%s/page?page={page}&size={limit}', id: '{/id}', "
             "paging: { style: page, size: 20 }" % api.url),
            ("feed", rest + "url: '%s/feed?after={cursor}', key: '{/id}', "
             "paging: { style: cursor, pointer: /cursor, resume: true }" % api.url),
            ("link", rest + "url: '%s/link', id: '{/id}', paging: { style: link }" % api.url),
            ("since", rest + "url: '%s/since?since={last}&size=1000', last: /id" % api.url))) as w:
        for count in (95, 130):
            api.grow(count - len(api.items))
            for topic in ("page", "feed", "link", "since"):
                until(lambda: len(ids(w, topic)) >= count, what="records of " + topic)
                eq(sorted(ids(w, topic)), list(range(count)), topic)
        eq(ids(w, "feed"), list(range(130)))
        eq([r["key"] for r in w.poll("feed", limit=3)["records"]], ["0", "1", "2"])


@test("weir is killed while an API pages, throttles, fails and grows: every item is in the log once (%d kills)" % KILLS, own=True,
      timeout=60 + 6 * KILLS)
def killed():
    rest = "every: 20ms, records: /items, "
    # The feed and since have no idempotency key: their checkpoints alone keep them exact.
    with Api(0, trouble=0.3, seed=7) as api, Weir(config(
            ("feed", rest + "url: '%s/feed?after={cursor}&size=7', paging: { style: cursor, pointer: /cursor, resume: true }"
             % api.url),
            ("since", rest + "url: '%s/since?since={last}&size=9', last: /id" % api.url),
            ("page", rest + "url: '%s/page?page={page}&size={limit}', id: '{/id}', paging: { style: page, size: 5 }"
             % api.url))) as w:
        chance = random.Random(3)
        for _ in range(KILLS):
            api.grow(chance.randrange(20))
            time.sleep(chance.random() * 0.15)
            w.restart(hard=True)
        api.trouble = 0
        for topic in ("feed", "since", "page"):
            until(lambda: len(ids(w, topic)) >= len(api.items), 60, what="records of " + topic)
            eq(sorted(ids(w, topic)), list(range(len(api.items))), topic)
        eq(ids(w, "feed"), list(range(len(api.items))))
        eq(ids(w, "since"), list(range(len(api.items))))


@test("what is unchanged costs a conditional request, and stores nothing", own=True, timeout=60)
def unchanged():
    with Api(3) as api, Weir(config(("state", "every: 20ms, url: %s/state, format: whole" % api.url))) as w:
        until(lambda: api.unchanged >= 3, what="304")
        eq(w.values("state"), [{"count": 3}])
        api.grow(1)
        until(lambda: len(w.values("state")) == 2, what="the change")
        w.restart(hard=True)
        before = api.unchanged
        until(lambda: api.unchanged > before, what="304 after a restart")
        eq(w.values("state"), [{"count": 3}, {"count": 4}])


@test("a record without what its key needs is set aside, and the others are stored", own=True, timeout=60)
def dead():
    with Api() as api, Weir(config(("mixed", "every: 1h, url: %s/mixed, records: /items, key: '{/id}'" % api.url))) as w:
        until(lambda: len(ids(w, "mixed")) == 2, what="the good ones")
        until(lambda: "without id" in json.dumps(said(w, "dead", "list", "mixed")), what="the dead letter")


@test("a source that fails says which, where, why, and goes on when it can", own=True, timeout=60)
def failing():
    with Api(3) as api, Weir(config(
            ("wrong", "every: 20ms, url: '%s/page?page=1&token=secret', records: /data/items, id: '{/id}'" % api.url),
            ("inside", "every: 20ms, url: %s/inside, id: '{/id}', redirects: any" % api.url),
            ("gone", "every: 20ms, url: 'http://127.0.0.1:1/', id: '{/id}'"))) as w:
        for name, text in (("wrong", "'/data/items' finds nothing: the document is an object with items"),
                           ("inside", "169.254.169.254"), ("gone", "127.0.0.1:1")):
            until(lambda: text in json.dumps(shown(w, name)), what="%s in %r" % (text, shown(w, name)))
        check("secret" not in json.dumps(shown(w, "wrong")), "the query is shown")


@test("weir source test asks once, shows records, and stores nothing", own=True, timeout=60)
def tried():
    with Api(30) as api, Weir(config(
            ("page", "cron: '0 0 1 1 *', url: '%s/page?page={page}&size={limit}', records: /items, id: '{/id}', "
             "paging: { style: page, size: 5 }" % api.url)).replace("at_start: true, ", "")) as w:
        r = json.dumps(said(w, "source", "test", "page", "-n", "3"))
        check("item 0" in r, r)
        eq(w.values("page"), [])
