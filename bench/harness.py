# SPDX-License-Identifier: Apache-2.0
"""What the benches share: servers on one core, load on the other, rounds that
take turns, figures as medians."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVER_CORE, CLIENT_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
FILESYSTEMS = {"ext2/ext3": "ext4", "xfs": "xfs"}
BODY_BYTES = 256


class Options:
    rounds = 5
    seconds = 4.0
    weir = None  # the binary
    other = None  # a second one, to compare builds
    dir = None
    keep = False
    alone = False  # before everything else on the machine: pinned, pinned_busy
    sql_rows = 5000000
    sql_peers = None  # all


options = Options()


class Failed(Exception):
    pass


# ---- places and programs ----

def check_place(path):
    """A durable write to memory is no durable write."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", path], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout.strip()
    if kind not in FILESYSTEMS:
        raise Failed("%s is on %s; give --dir a folder on ext4 or xfs" % (path, kind))
    return FILESYSTEMS[kind]


def scratch(name):
    """A fresh folder for one run, on a disk."""
    base = options.dir or os.path.join(ROOT, "build")
    os.makedirs(base, exist_ok=True)
    check_place(base)
    return tempfile.mkdtemp(prefix="bench-%s-" % name, dir=base)


def tool(name):
    """A load program of this folder, built."""
    path = os.path.join(ROOT, "build", "bench", name)
    if not os.path.exists(path):
        raise Failed("%s is not built; bench/run builds it" % path)
    return path


def on_core(core):
    return [] if core is None else ["taskset", "-c", str(core)]


def pinned(core):
    """For what sleeps most of the time. In real time with --alone."""
    return (["chrt", "-r", "1"] if options.alone else []) + on_core(core)


def pinned_busy(core):
    """
    For what may keep its core busy while something waits for the disk: never in real time, or the kernel's own
    thread of that core that gives commands to the disk (kblockd, niceness -20) waits until the program sleeps.
    """
    return (["nice", "-n", "-15"] if options.alone else []) + on_core(core)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Failed("%s ended at start" % process.args)
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed("nothing listens on port %d" % port)


def cpu_seconds(pid):
    """Of all threads, user and system."""
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_kib(pid, what="VmRSS"):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^%s:\s+(\d+)" % what, f.read(), re.M).group(1))


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


# ---- servers ----

class Server:
    process = None
    pid = None

    def cpu(self):
        return cpu_seconds(self.pid)

    def rss_kib(self):
        return memory_kib(self.pid)

    def stop(self, hard=False):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            self.process.wait(60)
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Weir(Server):
    """`settings` are lines of weir.yaml in flow style, by section."""

    def __init__(self, folder, core=SERVER_CORE, binary=None, **settings):
        self.folder, self.core = folder, core
        self.binary = binary or options.weir
        self.config = os.path.join(folder, "weir.yaml")
        self.data = os.path.join(folder, "data")
        with open(self.config, "w") as f:
            for name, value in settings.items():
                f.write("%s: %s\n" % (name, value))
            f.write("kafka: { listen: off }\n")
        self.start()

    def start(self):
        command = pinned(self.core) + [self.binary, "serve", "-c", self.config, "--data", self.data,
                                       "--http", "127.0.0.1:0"]
        begun = time.monotonic()
        self.log = open(os.path.join(self.folder, "weir.log"), "a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, universal_newlines=True)
        line = self.process.stdout.readline()
        self.ready_seconds = time.monotonic() - begun
        found = re.search(r"http=127\.0\.0\.1:(\d+)", line)
        if not found:
            raise Failed("weir did not start; see %s" % self.log.name)
        self.port = int(found.group(1))
        self.pid = self.process.pid
        self.url = "http://127.0.0.1:%d" % self.port

    def request(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request(method, path, body, headers or {})
        answer = c.getresponse()
        text = answer.read()
        c.close()
        return answer.status, text

    def metrics(self):
        return Metrics(self.request("GET", "/metrics")[1].decode())


class Nginx(Server):
    """Answers the same to everything (204), one worker, no log."""

    def __init__(self, folder, core=SERVER_CORE, answer="return 204;"):
        self.port = free_port()
        config = os.path.join(folder, "nginx.conf")
        os.chmod(folder, 0o755)
        with open(config, "w") as f:
            f.write("""daemon off; worker_processes 1; pid %(d)s/nginx.pid; error_log %(d)s/nginx.log;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f;
  uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
  server { listen 127.0.0.1:%(p)d; location / { %(a)s } } }
""" % {"d": folder, "p": self.port, "a": answer})
        self.process = subprocess.Popen(pinned(core) + ["nginx", "-p", folder, "-c", config],
                                        stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)
        self.pid = children(self.process.pid)[0]
        self.url = "http://127.0.0.1:%d" % self.port


class Redis(Server):
    def __init__(self, folder, core=SERVER_CORE, *arguments):
        self.port = free_port()
        command = pinned(core) + ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder,
                                  "--save", "", "--daemonize", "no", "--loglevel", "warning"] + list(arguments)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)
        self.pid = self.process.pid

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port)] + list(words), stdout=subprocess.PIPE,
                              check=True, universal_newlines=True).stdout


# ---- metrics ----

class Metrics:
    def __init__(self, text):
        self.values = {}
        for line in text.splitlines():
            if line and line[0] != "#":
                name, value = line.rsplit(" ", 1)
                self.values[name] = float(value)

    def get(self, name):
        return sum(v for k, v in self.values.items() if k == name or k.startswith(name + "{"))

    def buckets(self, name):
        found = []
        for key, value in self.values.items():
            if key.startswith(name + "_bucket{"):
                bound = re.search(r'le="([^"]+)"', key).group(1)
                found.append((float("inf") if bound == "+Inf" else float(bound), value))
        return sorted(found)

    def percentile(self, name, share, before=None):
        """Upper bound of the bucket that holds it."""
        now = self.buckets(name)
        earlier = dict(before.buckets(name)) if before else {}
        counts = [(bound, value - earlier.get(bound, 0)) for bound, value in now]
        if not counts or not counts[-1][1]:
            return float("nan")
        wanted = counts[-1][1] * share
        for bound, value in counts:
            if value >= wanted:
                return bound
        return counts[-1][0]


def describe_log(before, after):
    """One line on what the log did meanwhile."""
    groups = after.get("weir_log_groups_total") - before.get("weir_log_groups_total")
    commits = after.get("weir_log_commits_total") - before.get("weir_log_commits_total")
    checkpoints = after.get("weir_log_checkpoints_total") - before.get("weir_log_checkpoints_total")
    # Write and sync: a direct write waits for the disk before the sync does.
    p = [after.percentile("weir_log_group_seconds", s, before) * 1e6 for s in (0.5, 0.9, 0.99, 0.999)]
    say("  log: %d groups, %.1f commits a group; group on disk p50 <= %.0f, p90 <= %.0f, p99 <= %.0f, p99.9 <= %.0f us; "
        "%d storage checkpoints" % (groups, commits / groups if groups else 0, p[0], p[1], p[2], p[3], checkpoints))
    if checkpoints < 3:
        say("  (fewer than three storage checkpoints: run it longer, --seconds)")


# ---- load ----

POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"v":"' .. string.rep("x", %d) .. '"}'
""" % (BODY_BYTES - 8)


def write_script(folder, name, text):
    path = os.path.join(folder, name + ".lua")
    with open(path, "w") as f:
        f.write(text)
    return path


def seconds_of(text):
    found = re.match(r"([\d.]+)(us|ms|s|m)", text)
    if not found:
        return float("nan")  # wrk had no sample yet
    return float(found.group(1)) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[found.group(2)]


def wrk(url, script, connections, seconds=None, core=CLIENT_CORE, server=None):
    """Requests a second, latency, and the server's CPU time a request."""
    seconds = seconds or options.seconds
    before = server.cpu() if server else 0
    command = pinned(core) + ["wrk", "-t1", "-c%d" % connections, "-d%ds" % max(1, round(seconds)), "--latency", "-s", script, url]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        say("  " + " ".join(re.findall(r".*(?:Non-2xx|Socket errors).*", text)).strip())
    count = int(re.search(r"(\d+) requests in", text).group(1))
    result = {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)),
              "p50_us": seconds_of(re.search(r"50%\s+(\S+)", text).group(1)) * 1e6,
              "p99_us": seconds_of(re.search(r"99%\s+(\S+)", text).group(1)) * 1e6,
              "max_us": seconds_of(re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text).group(1)) * 1e6}
    if server:
        result["cpu_us"] = (server.cpu() - before) / count * 1e6
    return result


def run_json(command, core=CLIENT_CORE, place=pinned):
    """A load program of this folder prints one JSON object."""
    text = subprocess.run(place(core) + command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    return json.loads(text)


# ---- rounds and tables ----

def say(text):
    print(text, flush=True)


def rounds(arms, count=None):
    """Each arm once a round, the order turned round every time. Lists of figures by arm."""
    results = {name: [] for name in arms}
    for i in range(count or options.rounds):
        order = list(arms) if i % 2 == 0 else list(reversed(list(arms)))
        for name in order:
            results[name].append(arms[name]())
    return results


def median(results, name, key):
    return statistics.median(r[key] for r in results[name])


def pair_ratio(results, a, b, key):
    """Median of the rounds' own ratios: what both had in common cancels out."""
    return statistics.median(x[key] / y[key] for x, y in zip(results[a], results[b]))


def table(results, columns):
    """columns: (key, heading, format)"""
    say("  %-22s" % "" + "".join("%26s" % heading for _, heading, _ in columns))
    for name, rows in results.items():
        line = "  %-22s" % name
        for key, _, form in columns:
            values = [r[key] for r in rows if key in r]
            if values:
                cell = "%s (%s-%s)" % tuple(form % v for v in (statistics.median(values), min(values), max(values)))
            else:
                cell = ""
            line += "%26s" % cell
        say(line)


def verdict(what, value, bound, at_most=False, form="%.2f"):
    good = value <= bound if at_most else value >= bound
    say("  %s: %s, wanted %s %s: %s" % (what, form % value, "<=" if at_most else ">=", form % bound,
                                        "reached" if good else "NOT REACHED"))
    return good


def remove(folder):
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)


def warn(text):
    print("bench: " + text, file=sys.stderr, flush=True)
