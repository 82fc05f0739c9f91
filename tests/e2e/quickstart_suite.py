# SPDX-License-Identifier: Apache-2.0
"""What a newcomer types: make run, make demo, and the commands they print."""
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from harness import BIN, ROOT, Weir, check, eq, test, until, _die_with_parent
from ports import free_port

RUN, DEMO = os.path.join(ROOT, "examples", "quickstart", "run"), os.path.join(ROOT, "examples", "demo", "run")
FEEDER = os.path.join(ROOT, "examples", "quickstart", "feeder")


class Run:
    """make run, with its output gathered."""

    def __init__(self, *args):
        self.dir = tempfile.TemporaryDirectory(prefix="weir-e2e-")
        self.proc = subprocess.Popen([RUN, "--data", os.path.join(self.dir.name, "data"), *args], stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, env=dict(os.environ, WEIR_BIN=BIN), preexec_fn=_die_with_parent)
        self.text = ""
        threading.Thread(target=self.gather, daemon=True).start()

    def gather(self):
        for line in self.proc.stdout:
            self.text += line

    def __enter__(self):
        until(lambda: "Ctrl-C" in self.text or self.proc.poll() is not None, 20, "the words of make run")
        check("Ctrl-C" in self.text, self.text)
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.text).group(0)
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def __exit__(self, *a):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGINT)
            self.proc.wait(20)
        self.dir.cleanup()


@test("make run feeds the machine's counters, the commands it prints work, and Ctrl-C ends it cleanly", own=True, timeout=60)
def _():
    with Run("--port", str(free_port())) as r:
        publish = shlex.split(re.search(r"publish\s+(curl .*)", r.text).group(1))
        out = json.loads(subprocess.run(publish + ["-s"], capture_output=True, check=True).stdout)
        eq((out["topic"], out["accepted"]), ("hello", 1))
        read = shlex.split(re.search(r"read\s+(curl .*)", r.text).group(1))
        devices = set()
        def one():
            doc = json.loads(subprocess.run(read + ["-s"], capture_output=True, check=True).stdout)
            devices.update(x["key"] for x in doc.get("records", []))
            return "memory" in devices and any(d.startswith("cpu/") for d in devices)
        until(one, 15, "counters")
        r.proc.send_signal(signal.SIGINT)
        eq(r.proc.wait(20), 0, r.text)
        with socket.socket() as s:
            check(s.connect_ex(("127.0.0.1", r.port)) != 0, "weir still listens")


@test("make run on a taken port picks another and says so", own=True, timeout=60)
def _():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        taken = s.getsockname()[1]
        with Run("--port", str(taken)) as r:
            check("Port %d is taken" % taken in r.text, r.text)
            check(r.port != taken, r.text)


@test("the feeder goes on where it stood when weir is killed and comes back", own=True, timeout=60)
def _():
    with Weir() as w:
        p = subprocess.Popen([sys.executable, FEEDER, "--server", w.url, "--every", "0.1", "--ticks", "30"], stderr=subprocess.PIPE,
                             text=True, preexec_fn=_die_with_parent)
        until(lambda: w.get("/v1/topics/machine").status == 200 and len(w.all("machine")) > 10, 10, "first ticks")
        w.restart(hard=True)
        eq(p.wait(30), 0)
        r = w.all("machine", key="memory")
        eq(len(r), 30, "ticks found")
        keys = [x["headers"]["idempotency-key"] for x in r]
        eq(len(set(keys)), 30)


@test("make demo ends with lost 0 and twice 0, and says how often it killed", own=True, timeout=120)
def _():
    p = subprocess.run([DEMO, "--rounds", "6", "--seconds", "0.4"], capture_output=True, text=True, env=dict(os.environ, WEIR_BIN=BIN))
    eq(p.returncode, 0, p.stdout + p.stderr)
    got = dict(re.findall(r"^(acknowledged|found|lost|twice)\s+(\d+)", p.stdout, re.M))
    eq((got["lost"], got["twice"], got["found"]), ("0", "0", got["acknowledged"]))
    check(int(got["found"]) > 0, p.stdout)
