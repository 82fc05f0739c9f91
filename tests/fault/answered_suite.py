# SPDX-License-Identifier: Apache-2.0
"""An answer is a promise, of the API's own changes too: the journal is slow, weir is killed right behind each answer, and what was told is so."""
import json
import os
import shutil
import sqlite3
import tempfile

from faults import DELAY, Shim
from harness import Weir, check, eq, expect, test, until

SLOW_MS = 150
CONFIG = """
sources:
  - name: s
    type: files
    topic: lines
    every: 50ms
    paths: ["%s/*.ndjson"]
    quiet: 0s
  - name: rows
    type: sql
    topic: rows
    every: 1h
    url: "sqlite:%s/rows.db"
    table: rows
    mode: incremental
    cursor: [id]
"""
JSON = {"Content-Type": "application/json"}


class World:
    def __init__(self, w, shim):
        self.w, self.shim = w, shim

    def ask(self, method, path, body=None, status=200):
        """Answered, and killed before anything more can be written."""
        self.shim.rule("pwrite", DELAY, amount=SLOW_MS, path="/journal/")
        r = self.w.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        self.w.kill()
        self.shim.clear()
        self.w.start()
        return expect(r, status)

    def get(self, path):
        return self.w.get(path).json()

    def state(self):
        until(lambda: self.get("/v1/sources/s")["state"] != "starting", what="the source")
        return self.get("/v1/sources/s")["state"]


@test("what the API has answered is so after a kill: topics, offsets of groups, dead letters", own=True, timeout=120)
def _():
    with Shim() as shim, Weir(env=shim.env) as w:
        x = World(w, shim)
        x.ask("PUT", "/v1/topics/made", b'{"partitions": 3}', 201)
        eq(x.get("/v1/topics/made")["partitions"], 3)
        x.ask("PUT", "/v1/topics/made", b'{"partitions": 4}')
        eq(x.get("/v1/topics/made")["partitions"], 4)
        w.push("made", b"1")
        x.ask("POST", "/v1/topics/made/trim", b'{"before": "latest"}')
        eq([p["end"] - p["start"] for p in x.get("/v1/topics/made")["offsets"]], [0] * 4)
        x.ask("PUT", "/v1/groups/g/offsets", b'{"topics": [{"topic": "made", "partitions": [{"partition": 2, "offset": 0}]}]}')
        eq(x.get("/v1/groups/g/offsets")["topics"][0]["partitions"][0]["partition"], 2)
        x.ask("DELETE", "/v1/groups/g", status=204)
        eq(w.get("/v1/groups/g").status, 404)
        w.push("made", b"{bad", "application/json", on_error="dead")
        x.ask("POST", "/v1/topics/made/dead/drop?all=true")
        eq(x.get("/v1/topics/made/dead?state=open")["dead"], [])
        x.ask("DELETE", "/v1/topics/made", status=204)
        eq(w.get("/v1/topics/made").status, 404)


@test("what the API has answered is so after a kill: sources paused, resumed, reset, made and deleted; runs begun, cancelled and forgotten",
      own=True, timeout=120)
def _():
    folder = tempfile.mkdtemp(prefix="weir-answered-")
    with open(folder + "/a.ndjson", "w") as f:
        f.write("1\n2\n")
    with sqlite3.connect(folder + "/rows.db") as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY)")
        db.executemany("INSERT INTO rows VALUES (?)", [(i,) for i in range(50)])
    with Shim() as shim, Weir(config=CONFIG % (folder, folder), env=shim.env) as w:
        x = World(w, shim)
        until(lambda: w.values_so_far("lines") == [1, 2], what="the file")
        x.ask("POST", "/v1/sources/s/pause", status=204)
        eq(x.state(), "paused")
        x.ask("POST", "/v1/sources/s/resume", status=204)
        eq(x.state(), "running")
        x.ask("POST", "/v1/sources/s/pause", status=204)
        x.ask("POST", "/v1/sources/s/reset", status=204)
        eq(x.state(), "running")
        until(lambda: w.values("lines") == [1, 2, 1, 2], what="the file again")
        made = json.dumps({"type": "http", "topic": "t", "url": "http://127.0.0.1:1/", "every": "1h"}).encode()
        x.ask("PUT", "/v1/sources/api", made, 201)
        eq(x.get("/v1/sources/api")["managed_by"], "api")
        x.ask("DELETE", "/v1/sources/api", status=204)
        eq(w.get("/v1/sources/api").status, 404)
        x.ask("POST", "/v1/sources/rows/runs", b'{"rate": 1}', 201)
        eq(x.get("/v1/sources/rows/runs/1")["state"], "running")
        x.ask("DELETE", "/v1/sources/rows/runs/1", status=204)
        eq(x.get("/v1/sources/rows/runs/1")["state"], "cancelled")
        x.ask("DELETE", "/v1/sources/rows/runs/1", status=204)
        eq(w.get("/v1/sources/rows/runs/1").status, 404)
    shutil.rmtree(folder)
