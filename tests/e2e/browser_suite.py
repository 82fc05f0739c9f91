# SPDX-License-Identifier: Apache-2.0
"""The page, in Chromium: WEIR_SHOTS=DIR keeps pictures of it."""
import os

from browser import Browser
from harness import Later, Weir, check, eq, expect, test

SHOTS = os.environ.get("WEIR_SHOTS")


async def shot(b, name):
    if SHOTS:
        await b.shot(os.path.join(SHOTS, name + ".png"))


def own_errors(b):
    """What the page did wrong; a refused connection while weir is away is no fault of it."""
    return [e for e in b.errors if "ERR_CONNECTION" not in e and "ERR_INCOMPLETE_CHUNKED" not in e and "ERR_EMPTY_RESPONSE" not in e]


@test("the page works without a topic and says what to do; publishing through it makes the topic and shows the record four ways",
      own=True, timeout=90)
async def _():
    with Weir() as w:
        async with Browser() as b:
            await b.open(w.url + "/")
            await b.until("!document.querySelector('#empty').hidden", "the explanation")
            check("curl" in await b.js("document.querySelector('#empty').innerText"), "no command to copy")
            await shot(b, "empty")
            await b.fill("#to", "from.page")
            await b.fill("#key", "me")
            await b.fill("#value", '{"seen": "in the page"}')
            await b.click("#send")
            await b.until("document.querySelector('#rows').innerText.includes('in the page')", "the record in the tail")
            await b.until("[...document.querySelectorAll('.way .records')].every(e => e.textContent === '1')", "the record on all four ways")
            await b.fill("#value", "second <b>record</b>")
            await b.click("#send")
            await b.until("[...document.querySelectorAll('.way .records')].every(e => e.textContent === '2')", "the second on all four ways")
            await b.until("[...document.querySelectorAll('.way .own')].every(e => e.textContent.endsWith('s'))", "one's own latency, four ways")
            check(await b.js("document.querySelector('#rows b') === null"), "a value became markup")
            got = [(r["key"], r.get("value", r.get("value_text"))) for r in w.all("from.page")]
            eq(got, [("me", {"seen": "in the page"}), ("me", "second <b>record</b>")])
            await shot(b, "first")
            eq(own_errors(b), [])


@test("the page shows rates, latencies, requests and bytes under load, in light, dark and on a phone", own=True, timeout=120)
async def _():
    with Weir() as w:
        w.push("other", b"1")
        w.push("machine", b"0", key="cpu")
        stop = []

        def load():
            i = 0
            import time
            while not stop:
                i += 1
                w.batch("machine", [{"key": "cpu%d" % k, "value": {"n": i, "user": 12.5 * k, "idle": 80 - k}} for k in range(4)])
                time.sleep(0.2)
        loader = Later(load)
        try:
            async with Browser() as b:
                await b.open(w.url + "/", dark=False)
                await b.until("document.querySelector('#topic').value === 'machine'", "the topic with records")
                await b.until("[...document.querySelectorAll('.way .records')].every(e => parseInt(e.textContent) > 50)", "records four ways")
                # Of records that were there before has nobody a latency.
                await b.until("[...document.querySelectorAll('.way .median')].every(e => !e.textContent.includes('–'))", "a latency of all four ways")
                await b.until("parseFloat(document.querySelector('#rate').textContent) > 5", "the rate")
                await b.until("parseInt(document.querySelector('.way .requests').textContent) > 2", "a third poll")
                requests = await b.js("[...document.querySelectorAll('.way .requests')].map(e => parseInt(e.textContent))")
                check(requests[2] == 1 and requests[3] == 1 and requests[0] >= 2, "requests %r" % requests)
                await shot(b, "light")
                await b.open(w.url + "/#machine", dark=True)
                await b.until("[...document.querySelectorAll('.way .records')].every(e => parseInt(e.textContent) > 40)", "records")
                await shot(b, "dark")
                await b.open(w.url + "/#other", width=390, height=844, mobile=True)
                await b.until("document.querySelector('#topic').value === 'other'", "the topic of the address")
                check(await b.js("document.documentElement.scrollWidth <= innerWidth"), "wider than a phone")
                await shot(b, "phone")
                foreign = [u for u in b.requests if not u.startswith((w.url, w.ws_url, "about:"))]
                eq(foreign, [], "requests to elsewhere")
                eq(own_errors(b), [])
        finally:
            stop.append(1)
            loader.get()


@test("the page lives through kill -9 and shows each record once", own=True, timeout=90)
async def _():
    with Weir() as w:
        w.push("live", b'"before"')
        async with Browser() as b:
            await b.open(w.url + "/#live")
            await b.until("document.querySelector('#rows').innerText.includes('before')", "the record before")
            w.kill()
            await b.until("document.querySelector('#state').classList.contains('down')", "a word that weir is away")
            w.start()
            w.push("live", b'"after"')
            await b.until("document.querySelector('#rows').innerText.includes('after')", "the record after")
            await b.until("[...document.querySelectorAll('.way .records')].every(e => e.textContent === '2')", "both records, once, four ways")
            await b.until("document.querySelector('#state').classList.contains('live')", "live again")


@test("the page is one that a browser may trust: no foreign resource, a policy, types, no guessing")
def _(w):
    r = expect(w.get("/"), 200)
    eq(r.headers.get("Content-Type").replace(" ", "").lower(), "text/html;charset=utf-8")
    csp = r.headers.get("Content-Security-Policy") or ""
    check("default-src" in csp and "unsafe-inline" not in csp and "frame-ancestors" in csp, "policy: %r" % csp)
    eq(r.headers.get("X-Content-Type-Options"), "nosniff")
    for path, type in (("/app.js", "javascript"), ("/app.css", "text/css"), ("/favicon.svg", "image/svg+xml")):
        f = expect(w.get(path), 200)
        check(type in f.headers.get("Content-Type"), "%s: %r" % (path, f.headers.get("Content-Type")))
        check(b"://" not in f.body.replace(b"http://www.w3.org/2000/svg", b"").replace(b"${location.origin}", b""), "%s names another host" % path)
    tag = r.headers.get("ETag")
    if tag:
        eq(w.get("/", {"If-None-Match": tag}).status, 304)
