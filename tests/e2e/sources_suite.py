# SPDX-License-Identifier: Apache-2.0
"""Sources at work, whatever their type: killed, paused, reset, tested, reloaded. With files, as they need no server."""
import json
import os
import random
import signal
import subprocess
import time

from harness import BIN, Weir, check, eq, expect, test, until

KILLS = int(os.environ.get("WEIR_SOURCE_KILLS", "10"))

CONFIG = """
sources:
  - { name: s, type: files, topic: t, every: 50ms, paths: ["%s/*.ndjson"], quiet: 0s, batch: { records: %d } }
"""


def write(path, values):
    with open(path + ".part", "w") as f:
        f.writelines("%d\n" % v for v in values)
    os.rename(path + ".part", path)


def source(w, name="s"):
    return expect(w.get("/v1/sources/" + name), 200).json()


def values(w, topic="t"):
    got, cursor = [], ""
    while True:
        r = w.get("/v1/topics/%s/records?limit=10000%s" % (topic, cursor and "&cursor=" + cursor))
        if r.status == 404:
            return got
        page = expect(r, 200).json()
        got += [x["value"] for x in page["records"]]
        cursor = page["cursor"]
        if page["caught_up"]:
            return got


def weir(w, *args, code=0):
    p = subprocess.run([BIN, "source", *args, "--server", w.url], capture_output=True, timeout=60)
    eq(p.returncode, code, "weir source %s: %r" % (args, p.stderr[-500:]))
    return p.stdout


def started(tmp, batch=500):
    os.makedirs(tmp, exist_ok=True)
    return Weir(config=CONFIG % (tmp, batch))


@test("kill -9 at random moments while a source reads: each row once, in order (%d kills)" % KILLS, own=True,
      timeout=60 + 6 * KILLS)
def _():
    rand = random.Random(7)
    tmp = "/tmp/weir-sources-%d" % os.getpid()
    with started(tmp, batch=41) as w:
        count = 0
        for i in range(KILLS):
            write("%s/%03d.ndjson" % (tmp, i), range(count, count + 4000))
            count += 4000
            time.sleep(rand.uniform(0, 0.3))
            w.kill()
            w.start()
        until(lambda: len(values(w)) >= count, timeout=60, what="every row")
        got = values(w)
        eq(len(got), count)
        eq(sorted(got), list(range(count)))
        for i in range(KILLS):
            mine = [v for v in got if i * 4000 <= v < (i + 1) * 4000]
            eq(mine, sorted(mine), "the order of one file")
        w.stop()
        eq(subprocess.run([BIN, "verify", w.data], capture_output=True).returncode, 0)
    subprocess.run(["rm", "-r", tmp])


@test("a pause outlives a restart, a reset begins at the beginning, a test stores nothing", own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-p%d" % os.getpid()
    with started(tmp) as w:
        write(tmp + "/a.ndjson", range(100))
        until(lambda: len(values(w)) == 100, what="the first file")
        weir(w, "pause", "s")
        eq(source(w)["state"], "paused")
        write(tmp + "/b.ndjson", range(100, 200))
        w.restart(hard=True)
        until(lambda: source(w)["state"] == "paused", what="what was stored to be read")
        eq(len(values(w)), 100)
        lines = [json.loads(x) for x in weir(w, "test", "s", "--records", "3").splitlines()]
        eq([x["value"] for x in lines], [0, 1, 2])
        eq(len(values(w)), 100)
        weir(w, "resume", "s")
        until(lambda: len(values(w)) == 200, what="what came while it was paused")
        weir(w, "reset", "s", "--yes")
        until(lambda: len(values(w)) == 400, what="everything again")
        eq(sorted(values(w)), sorted(2 * list(range(200))))
    subprocess.run(["rm", "-r", tmp])


@test("a reload starts, changes and stops sources; what is wrong with one is said with its line", own=True, timeout=60)
def _():
    tmp = "/tmp/weir-sources-r%d" % os.getpid()
    with started(tmp) as w:
        write(tmp + "/a.ndjson", range(10))
        until(lambda: len(values(w)) == 10, what="the first file")
        text = open(w.config_path).read()
        with open(w.config_path, "a") as f:
            f.write('  - { name: more, type: files, topic: u, every: 50ms, paths: ["%s/*.ndjson"], quiet: 0s }\n' % tmp)
        w.signal(signal.SIGHUP)
        until(lambda: len(values(w, "u")) == 10, what="the source that was added")
        eq(len(values(w)), 10, "the other one goes on where it was")
        with open(w.config_path, "w") as f:
            f.write(text.replace("every: 50ms", "evry: 50ms"))
        p = subprocess.run([BIN, "check", w.config_path], capture_output=True, text=True)
        check('unknown key "evry"' in p.stderr and "every" in p.stderr, p.stderr)
        with open(w.config_path, "w") as f:
            f.write(text)
        w.signal(signal.SIGHUP)
        until(lambda: w.get("/v1/sources/more").status == 404, what="the source that was taken out")
        eq([s["name"] for s in w.get("/v1/sources").json()["sources"]], ["s"])
        eq(w.post("/v1/sources/nobody/pause").status, 404)
    subprocess.run(["rm", "-r", tmp])
