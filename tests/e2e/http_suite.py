# SPDX-License-Identifier: Apache-2.0
"""How weir conducts itself over HTTP: order, connections, framing, methods, hosts, origins, deadlines."""
import json
import socket
import time

from harness import Later, Raw, Weir, check, curl, eq, expect, test, together, until

JSON = {"Content-Type": "application/json"}


def post(w, t, body, *lines):
    return ("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
            % (t, w.authority, len(body), "".join(x + "\r\n" for x in lines))).encode() + body


def get(w, path, *lines, version="1.1", method="GET"):
    return "%s %s HTTP/%s\r\nHost: %s\r\n%s\r\n" % (method, path, version, w.authority, "".join(x + "\r\n" for x in lines))


@test("pipelined requests are answered in order, reads behind writes see them")
def _(w):
    t = w.topic()
    with Raw(w, 20) as c:
        out = b""
        for i in range(100):
            out += post(w, t, b"%d" % i)
            out += get(w, "/v1/topics/%s/partitions/0/records?offset=%d&limit=1" % (t, i)).encode()
            if i % 10 == 0:
                out += get(w, "/nowhere").encode() + get(w, "/healthz").encode()
        c.send(out)
        for i in range(100):
            eq(expect(c.response(), 200).json()["offsets"][0]["first"], i)
            eq(expect(c.response(), 200).json()["records"][0]["value"], i)
            if i % 10 == 0:
                eq(c.response().status, 404)
                eq(c.response().status, 200)


@test("a thousand pipelined writes go through one connection")
def _(w):
    t = w.topic()
    with Raw(w, 20) as c:
        sender = Later(lambda: c.sock.sendall(b"".join(post(w, t, b"%d" % i) for i in range(1000))))
        eq([c.response().json()["offsets"][0]["first"] for _ in range(1000)], list(range(1000)))
        sender.get()


@test("a long poll in a pipeline holds its place: the answer behind it waits, none is lost")
def _(w):
    t = w.topic()
    w.push(t, b"0")
    cursor = w.poll(t)["cursor"]
    with Raw(w, 20) as c:
        c.send(get(w, "/v1/topics/%s/records?cursor=%s&wait=20s" % (t, cursor)) + get(w, "/healthz"))
        time.sleep(0.3)
        w.push(t, b"1")
        eq([r["value"] for r in c.response().json()["records"]], [1])
        eq(c.response().status, 200)


@test("a connection is kept, over errors of the application too")
def _(w):
    t = w.topic()
    with Raw(w) as c:
        for _ in range(20):
            c.send(post(w, t, b"1"))
            eq(c.response().status, 200)
            c.send(post(w, t, b"{"))
            eq(c.response().status, 400)
            c.send(get(w, "/v1/topics/%s/records?limit=x" % t))
            eq(c.response().status, 400)
            c.send(get(w, "/none"))
            eq(c.response().status, 404)
    eq(len(w.all(t)), 20)


@test("Connection: close and HTTP/1.0 end the connection after the answer")
def _(w):
    for text in (get(w, "/healthz", "Connection: close"), get(w, "/healthz", version="1.0")):
        with Raw(w) as c:
            c.send(text)
            eq(c.response().status, 200)
            check(c.closed(5), "stays open after %r" % text)


@test("requests cut anywhere, byte by byte, are the same requests")
def _(w):
    t = w.topic()
    data = post(w, t, b'{"a":1}') + get(w, "/healthz").encode()
    with Raw(w) as c:
        for i in range(len(data)):
            c.send(data[i:i + 1])
        eq(c.response().status, 200)
        eq(c.response().status, 200)


@test("Expect: 100-continue is answered before the body, a refusal instead of it")
def _(w):
    t = w.topic()
    with Raw(w) as c:
        body = b'{"a":1}'
        head = post(w, t, body, "Expect: 100-continue")[:-len(body)]
        c.send(head)
        status, _ = c.head()
        eq(status, 100)
        c.send(body)
        eq(c.response().status, 200)
    with Raw(w) as c:
        c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n" % (t, w.authority))
        eq(c.response().status, 413, "instead of 100")
    with Raw(w) as c:
        c.send(post(w, t, b"1", "Expect: a-miracle"))
        expect(c.response(), 417, "expectation_failed")
    eq(len(w.all(t)), 1)
    code, out = curl("-H", "Expect: 100-continue", "-H", "Content-Type: application/octet-stream", "--data-binary", "@-",
                     "%s/v1/topics/%s/records" % (w.url, t), input=b"c" * 500000)
    eq((code, json.loads(out)["accepted"]), (0, 1))


@test("HEAD has the headers of GET and no body, everywhere")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    with Raw(w) as c:
        for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/topics", "/v1/topics/" + t, "/v1/topics/%s/records" % t,
                     "/v1/topics/%s/partitions/0/records" % t):
            c.send(get(w, path, method="HEAD"))
            r = c.response("HEAD")
            eq(r.status, 200, path)
            c.send(get(w, path))
            g = c.response()
            eq((g.status, g.headers.get("Content-Type")), (200, r.headers.get("Content-Type")), path)
        c.send(get(w, "/none", method="HEAD"))
        eq(c.response("HEAD").status, 404)


@test("a method that is not there is 405 with Allow")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    for method, path, has in (("DELETE", "/v1/topics/%s/records" % t, "POST"), ("POST", "/v1/topics", "GET"), ("PUT", "/healthz", "GET"),
                              ("PATCH", "/v1/topics/" + t, "DELETE"), ("GET", "/v1/topics/%s/trim" % t, "POST"), ("POST", "/", "GET"),
                              ("POST", "/v1/topics/%s/sse" % t, "GET"), ("GET", "/v1/topics/%s/records/k" % t, "PUT")):
        r = expect(w.request(method, path, b""), 405, "method_not_allowed")
        allow = [m.strip() for m in (r.headers.get("Allow") or "").split(",")]
        check(has in allow and method not in allow, "%s %s: Allow %r" % (method, path, allow))
    r = w.request("BREW", "/healthz")
    check(r.status in (405, 501), repr(r))


@test("OPTIONS tells what is allowed, and nothing to a foreign page")
def _(w):
    r = w.request("OPTIONS", "/v1/topics/x/records")
    check(r.status in (200, 204, 405), repr(r))  # CORS is off unless configured
    check("POST" in (r.headers.get("Allow") or ""), "Allow: %r" % r.headers.get("Allow"))
    r = w.request("OPTIONS", "/v1/topics/x/records", None, {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"})
    eq(r.status, 403)
    eq(r.headers.get("Access-Control-Allow-Origin"), None)


@test("a resource that is not there is 404 not_found")
def _(w):
    for path in ("/none", "/v1", "/v1/", "/v1/topics/a/b/c", "/v2/topics", "/v1/topics/a/records/", "//", "/..", "/%2e%2e/etc/passwd",
                 "/v1/topics/x/partitions/0"):
        r = w.get(path)
        check(r.status in (400, 404, 405), "%s: %r" % (path, r))
        check(r.json()["code"], "%s: %r" % (path, r))


@test("a foreign Host is 403 while there are no credentials")
def _(w):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example:1"):
        with Raw(w) as c:
            c.send("GET /v1/topics HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            expect(c.response(), 403, "forbidden_host")
    for host in ("localhost", "localhost:%d" % w.port, "127.0.0.1", w.authority, "[::1]:%d" % w.port, "LOCALHOST"):
        with Raw(w) as c:
            c.send("GET /v1/topics HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            eq(c.response().status, 200, host)
    with Raw(w) as c:
        c.send("GET http://evil.example/v1/topics HTTP/1.1\r\nHost: %s\r\n\r\n" % w.authority)
        check(c.response().status in (400, 403), "an absolute target with a foreign authority")


@test("a foreign Origin is 403 on every route, writing and reading")
def _(w):
    t = w.topic()
    w.push(t, b"1")
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://%s.evil.example" % w.host):
        for method, path in (("GET", "/"), ("GET", "/v1/topics"), ("POST", "/v1/topics/%s/records" % t), ("GET", "/v1/topics/%s/records" % t),
                             ("GET", "/v1/topics/%s/sse" % t), ("DELETE", "/v1/topics/" + t), ("GET", "/metrics")):
            r = w.request(method, path, b"2" if method == "POST" else None, {"Origin": origin})
            expect(r, 403, "forbidden_origin")
    eq(w.values(t), [1])
    expect(w.post("/v1/topics/%s/records" % t, b"2", dict(JSON, Origin=w.url)), 200)


@test("an origin that is listed is let in, with CORS headers where they are asked for",
      config='http: { allowed_origins: ["https://app.example"], cors: true }\n')
def _(w):
    t = w.topic()
    mine = {"Origin": "https://app.example"}
    r = w.request("OPTIONS", "/v1/topics/%s/records" % t, None, dict(mine, **{
        "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, idempotency-key"}))
    check(r.status in (200, 204), repr(r))
    eq(r.headers.get("Access-Control-Allow-Origin"), "https://app.example")
    check("POST" in (r.headers.get("Access-Control-Allow-Methods") or ""), "methods")
    check("idempotency-key" in (r.headers.get("Access-Control-Allow-Headers") or "").lower(), "headers")
    r = expect(w.post("/v1/topics/%s/records" % t, b"1", dict(JSON, **mine)), 200)
    eq(r.headers.get("Access-Control-Allow-Origin"), "https://app.example")
    check("origin" in (r.headers.get("Vary") or "").lower(), "no Vary: Origin")
    expect(w.get("/v1/topics", {"Origin": "https://other.example"}), 403, "forbidden_origin")
    expect(w.get("/v1/topics", {"Origin": "https://app.example.evil"}), 403, "forbidden_origin")


@test("a host that is listed is let in, for every port or for the one",
      config='http: { allowed_hosts: ["weir.example", "one.example:8443", "[2001:db8::1]", "[2001:db8::2]:99"] }\n')
def _(w):
    for host, want in (("weir.example", 200), ("weir.example:80", 200), ("WEIR.example", 200), ("other.example", 403), ("localhost", 200),
                       ("one.example:8443", 200), ("ONE.example:8443", 200), ("one.example", 403), ("one.example:443", 403),
                       ("[2001:db8::1]", 200), ("[2001:db8::1]:7", 200), ("[2001:db8::2]:99", 200), ("[2001:db8::2]:9", 403)):
        with Raw(w) as c:
            c.send("GET /v1/topics HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            eq(c.response().status, want, host)


@test("past the memory budget senders get 503 with Retry-After; what was acknowledged is there", own=True, timeout=90)
def _():
    with Weir("memory: 16MiB\n") as w:
        t = w.topic(partitions=1)
        body = b"".join(b'"%s"\n' % (b"m" * 1000) for _ in range(4000))

        def send(_i):
            r = w.post("/v1/topics/%s/records" % t, body, {"Content-Type": "application/x-ndjson"}, timeout=60)
            if r.status == 200:
                return 1
            eq(r.status, 503)
            check(r.headers.get("Retry-After") and r.json()["code"], repr(r))
            return 0
        good = sum(together(*[lambda i=i: send(i) for i in range(24)], timeout=80))
        check(good > 0, "nothing was taken at all")
        eq(w.partition(t, 0)["high_watermark"], 4000 * good)
        eq(w.push(t, b"1")["accepted"], 1, "afterwards")


@test("a slow body is cut, and waited for where body_min_rate is 0", own=True, timeout=60)
def _():
    for rate, want in (("1KiB", 408), ("0", 200)):
        with Weir("http: { header_timeout: 200ms, body_min_rate: %s }\n" % rate) as w, Raw(w) as c:
            t = w.topic()
            c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 2\r\n\r\n1" % (t, w.authority))
            time.sleep(1)
            if want == 200:
                c.send("2")
            eq(c.response().status, want, "body_min_rate: " + rate)


@test("a client that dribbles is cut: one byte a second in the header gets 408", timeout=150)
def _(w):
    def drip(first):
        with Raw(w, 120) as c:
            c.send(first)
            c.sock.settimeout(1)
            end = time.monotonic() + 110
            while time.monotonic() < end:
                try:
                    c.send(b"a")
                    if not c.more() or b"\r\n" in c.buf:
                        break
                except socket.timeout:
                    continue
                except ConnectionError:
                    break
            check(b" 408 " in c.buf, "not cut in 110 s, or without 408: %r" % c.buf[:100])
    together(lambda: drip("GET /healthz HTTP/1.1\r\nX-Slow: "),
             lambda: drip("POST /v1/topics/drip/records HTTP/1.1\r\nHost: %s\r\nContent-Length: 100000\r\n\r\n" % w.authority), timeout=130)
    eq(w.count_records("drip"), 0)


@test("hundreds of connections that dribble leave a well-behaved client alone", timeout=60)
def _(w):
    t = w.topic()
    slow = [Raw(w).send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: " % t) for _ in range(500)]
    try:
        for _ in range(3):
            for c in slow:
                try:
                    c.send(b"x")
                except ConnectionError:
                    pass
            with w.session() as s:
                for i in range(50):
                    expect(s.request("POST", "/v1/topics/%s/records" % t, b"1", JSON), 200)
    finally:
        for c in slow:
            c.close()
    eq(len(w.all(t)), 150)


@test("an answer to an early refusal can be read by a client that is still sending")
def _(w):
    t = w.topic()
    for _ in range(5):
        with Raw(w, 15) as c:
            c.send("POST /v1/topics/%s/records HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4000000\r\n\r\n" % t)
            try:
                for _ in range(40):
                    c.send(b"x" * 100000)
                    time.sleep(0.002)
            except ConnectionError:
                pass
            expect(c.response(), 403, "forbidden_host")
    eq(w.count_records(t), 0)


@test("a client that goes away in the middle of an answer costs nothing")
def _(w):
    t = w.topic()
    w.ndjson(t, ["x" * 1000] * 5000)
    for _ in range(30):
        c = Raw(w).send(get(w, "/v1/topics/%s/records?limit=5000" % t))
        c.exactly(100)
        c.reset()
    for _ in range(30):
        c = Raw(w).send(get(w, "/v1/topics/%s/records?cursor=latest&wait=60s" % t))
        c.reset()
    eq(w.push(t, b"1")["accepted"], 1)


@test("a client that closes its writing half still gets its answers")
def _(w):
    t = w.topic()
    with Raw(w) as c:
        c.send(post(w, t, b"1") + post(w, t, b"2"))
        c.sock.shutdown(socket.SHUT_WR)
        eq([c.response().status for _ in range(2)], [200, 200])
    eq(w.values(t), [1, 2])


@test("a large answer reaches a slow reader whole while others are served", timeout=60)
def _(w):
    t = w.topic()
    for _ in range(10):
        w.ndjson(t, ["x" * 1500] * 1000)
    with Raw(w, 30) as c:
        c.send(get(w, "/v1/topics/%s/records?limit=10000" % t))
        time.sleep(1)
        eq(w.get("/healthz").status, 200)
        eq(len(c.response().json()["records"]), 10000)


@test("an absolute target of the own authority is served")
def _(w):
    with Raw(w) as c:
        c.send("GET %s/healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % (w.url, w.authority))
        eq(c.response().status, 200)


@test("empty lines before a request are let pass")
def _(w):
    with Raw(w) as c:
        c.send("\r\n" + get(w, "/healthz"))
        eq(c.response().status, 200)


@test("answers carry Date, and none carries a stray header of a neighbour")
def _(w):
    with w.session() as s:
        r = s.request("GET", "/healthz")
        check(r.headers.get("Date"), "no Date")
        s.request("POST", "/v1/topics/%s/records" % w.topic(), b"1", dict(JSON, **{"Idempotency-Key": "d"}))
        r = s.request("GET", "/healthz")
        check("Idempotent-Replayed" not in r.headers, "a header of another answer")


@test("curl speaks to every plain way")
def _(w):
    t = w.topic()
    eq(curl("-fX", "PUT", "-H", "Content-Type: application/json", "-d", '{"partitions":2}', w.url + "/v1/topics/" + t)[0], 0)
    eq(curl("-f", "-H", "Content-Type: application/x-ndjson", "--data-binary", "1\n2\n3\n", "%s/v1/topics/%s/records" % (w.url, t))[0], 0)
    eq(curl("-fT-", "-H", "Content-Type: application/json", "%s/v1/topics/%s/records/k1" % (w.url, t), input=b"4")[0], 0, "chunked PUT")
    code, out = curl("-f", "--compressed", "%s/v1/topics/%s/records?wait=1s" % (w.url, t))
    eq(sorted(r["value"] for r in json.loads(out)["records"]), [1, 2, 3, 4])
    eq(curl("-fI", w.url + "/")[0], 0)
    eq(curl("-fX", "DELETE", w.url + "/v1/topics/" + t)[0], 0)


@test("a connection past the cap is turned away with 503 and Retry-After, and room comes back", own=True, timeout=60)
def _():
    with Weir("http: { max_connections: 20 }\n") as w:
        held = [Raw(w).send(get(w, "/healthz")) for _ in range(20)]
        for c in held:
            eq(c.response().status, 200)
        with Raw(w) as c:
            try:
                c.send(get(w, "/healthz"))
                r = c.response()
                eq(r.status, 503)
                check(r.headers.get("Retry-After"), "no Retry-After")
            except (EOFError, ConnectionError):
                pass
        for c in held:
            c.close()
        until(lambda: w.get("/healthz").status == 200, 5, "room again")
