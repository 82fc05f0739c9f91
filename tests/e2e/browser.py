# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over the DevTools protocol with the websockets library alone."""
import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading

import websockets

from harness import Failed, Skip, _die_with_parent, patience

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio", "--no-default-browser-check",
         "--remote-debugging-port=0"]


class Browser:
    async def __aenter__(self):
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if not binary:
            raise Skip("chromium is not installed")
        self.dir = tempfile.mkdtemp(prefix="weir-chromium-")
        self.proc = subprocess.Popen([binary, *FLAGS, "--user-data-dir=" + self.dir, "about:blank"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=_die_with_parent)
        try:
            address = await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, self._address), patience())
            self.ws = await websockets.connect(address, max_size=None, open_timeout=patience(), ping_interval=None)
        except BaseException:
            self._end()
            raise
        self.next, self.waiting, self.events, self.errors, self.requests = 0, {}, [], [], []
        self.reader = asyncio.ensure_future(self._read())
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        self.session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(domain + ".enable")
        return self

    def _address(self):
        for line in self.proc.stderr:
            m = re.search(rb"DevTools listening on (ws://\S+)", line)
            if m:  # what it says later is read too: else it would wait for who reads it
                threading.Thread(target=self.proc.stderr.read, daemon=True).start()
                return m.group(1).decode()
        raise Failed("chromium ended, status %s" % self.proc.wait())

    async def __aexit__(self, *a):
        self.reader.cancel()
        try:
            await self.ws.close()
        finally:
            self._end()

    def _end(self):
        self.proc.kill()
        self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    async def _read(self):
        async for text in self.ws:
            doc = json.loads(text)
            if "id" in doc:
                self.waiting.pop(doc["id"]).set_result(doc)
            elif doc["method"] == "Runtime.exceptionThrown":
                d = doc["params"]["exceptionDetails"]
                self.errors.append(d.get("exception", {}).get("description") or d["text"])
            elif doc["method"] == "Log.entryAdded" and doc["params"]["entry"]["level"] == "error":
                e = doc["params"]["entry"]
                self.errors.append("%s %s" % (e["text"], e.get("url", "")))
            elif doc["method"] == "Network.requestWillBeSent":
                self.requests.append(doc["params"]["request"]["url"])

    async def call(self, method, **params):
        self.next += 1
        done = self.waiting[self.next] = asyncio.get_running_loop().create_future()
        msg = {"id": self.next, "method": method, "params": params}
        if hasattr(self, "session"):
            msg["sessionId"] = self.session
        await self.ws.send(json.dumps(msg))
        doc = await asyncio.wait_for(done, patience())
        if "error" in doc:
            raise Failed("%s: %r" % (method, doc["error"]))
        return doc["result"]

    async def open(self, url, width=1280, height=900, dark=False, mobile=False):
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'", "the page")

    async def js(self, code):
        r = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise Failed("%s: %r" % (code, r["exceptionDetails"].get("exception", {}).get("description")))
        return r["result"].get("value")

    async def until(self, code, what=None):
        end = asyncio.get_running_loop().time() + patience()
        while True:
            got = await self.js(code)
            if got:
                return got
            if asyncio.get_running_loop().time() > end:
                raise Failed("waited %g s in the page for: %s; errors %r" % (patience(), what or code, self.errors))
            await asyncio.sleep(0.05)

    async def shot(self, path, full=True):
        if full:
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            data = await self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        else:
            data = await self.call("Page.captureScreenshot", format="png")
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(data["data"]))

    async def fill(self, selector, text):
        await self.js("{const e = document.querySelector(%s); e.value = %s; e.dispatchEvent(new Event('input', {bubbles: true}));}"
                      % (json.dumps(selector), json.dumps(text)))

    async def click(self, selector):
        await self.js("document.querySelector(%s).click()" % json.dumps(selector))
