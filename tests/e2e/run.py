#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the end-to-end suites: `tests/e2e/run.py [-k WORDS] [-j N] [--json FILE] [suite…]`.

Each suite file is a process of its own, so a suite that hangs or crashes costs
itself alone; at most -j of them at once. Tests of a file share one daemon unless
they ask for their own. Standard library only, so that it runs wherever Debian's
python3 does. Ends with `N passed, N failed`; exit 1 when anything failed.
"""
import argparse
import concurrent.futures
import glob
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

# By the seconds that they take, the longest first, so that the last worker does not start one of them alone; the rest is short.
HEAVY = [name + "_suite" for name in (
    "sql", "source_websocket", "source_bad", "metrics", "parked", "durability", "source_kafka", "kafka_fetch", "sources", "compaction",
    "kafka_txn", "source_http", "sql_columns", "guide", "hop", "sse", "http", "bad_input", "ingest", "consume", "kafka_group", "browser", "cli",
    "quickstart",
    # tests/fault; those of a name that both have are both of some length
    "kafka", "torture", "rot", "limits", "clock", "disk_full", "error", "repair", "kill", "peers", "parts")]

try:
    import websockets  # noqa: F401
except ImportError:
    # Another python3 may come first in PATH; Debian's has the package that tools/setup installs.
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)
    raise


class TimedOut(BaseException):
    """Not an Exception: a test that catches everything must still end."""


def on_alarm(signum, frame):
    raise TimedOut()


# ---- one suite, in a process of its own ----

def matches(name, suite, words):
    text = (suite + ": " + name).lower()
    return all(word.lower() in text for word in words)


def describe(error):
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith(("harness.py", "run.py"))]
    where = "".join("    %s:%d  %s\n" % (os.path.basename(f.filename), f.lineno, f.line) for f in frames[-3:])
    return "%s: %s\n%s" % (type(error).__name__, error, where)


def run_suite(suite, words, repeat, out):
    import harness
    importlib.import_module(suite)
    signal.signal(signal.SIGALRM, on_alarm)
    shared = {}
    name = suite.replace("_suite", "")

    def say(**what):
        out.write(json.dumps(what) + "\n")
        out.flush()

    todo = [t for t in harness.TESTS if matches(t["name"], name, words)] * repeat
    for t in todo:
        say(event="start", name=t["name"], timeout=t["timeout"])
        began, result, text, w = time.monotonic(), "passed", "", None
        signal.setitimer(signal.ITIMER_REAL, t["timeout"])
        try:
            if not t["own"]:
                w = shared.get(t["config"])
                if w is None or not w.running():
                    w = shared[t["config"]] = harness.Weir(t["config"])
            harness.run_test(t, w)
            if w is not None and not w.running():
                raise harness.Died("weir ended during the test, status %s" % w.proc.poll())
        except harness.Skip as e:
            result, text = "skipped", str(e)
        except TimedOut as e:
            result, text = "failed", "no end after %g s\n%s" % (t["timeout"], describe(e))
        except BaseException as e:
            result, text = "failed", describe(e)
            if getattr(e, "weir_log", None):
                text += "    -- its log --\n    " + e.weir_log.strip().replace("\n", "\n    ")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if result == "failed" and w is not None:
            text += "    -- weir's log, last lines --\n    " + w.log().strip()[-1500:].replace("\n", "\n    ")
        if w is not None and not w.running():
            w.discard()
        say(event="end", name=t["name"], result=result, text=text, seconds=round(time.monotonic() - began, 3))
    for w in shared.values():
        w.discard()
    out.flush()
    os._exit(0) if threading.active_count() > 1 else None


# ---- all of them ----

class Printer:
    def __init__(self):
        self.lock, self.results = threading.Lock(), []

    def add(self, suite, name, result, text, seconds):
        with self.lock:
            self.results.append({"suite": suite, "name": name, "result": result, "text": text, "seconds": seconds})
            mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result]
            print("%s %s: %s (%.1f s)%s" % (mark, suite, name, seconds, " — " + text if result == "skipped" else ""))
            if result == "failed":
                print("      " + text.rstrip().replace("\n", "\n      "))
            sys.stdout.flush()

    def count(self, result):
        return sum(r["result"] == result for r in self.results)


def watch_suite(suite, args, printer, folder):
    """Runs a suite's process and reads its results; ends it where a test outlives its own alarm."""
    name = suite.replace("_suite", "")
    cmd = [sys.executable, os.path.abspath(__file__), "--suite", suite, "--folder", folder, "--repeat",
           str(args.repeat)]
    for word in args.k:
        cmd += ["-k", word]
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    current, deadline, began, buf, eof = None, time.monotonic() + 60, 0, b"", False
    while not eof:
        if not select.select([p.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        got = os.read(p.stdout.fileno(), 65536)
        eof = not got
        buf += got
        *lines, buf = buf.split(b"\n")
        for line in lines:
            e = json.loads(line)
            if e["event"] == "start":
                current, began = e["name"], time.monotonic()
                deadline = began + e["timeout"] + 20
            else:
                current, deadline = None, time.monotonic() + 60
                printer.add(name, e["name"], e["result"], e["text"], e["seconds"])
    if not eof:
        os.killpg(p.pid, signal.SIGKILL)
    code = p.wait()
    if current is not None or not eof or code != 0:
        printer.add(name, current or "the suite itself", "failed",
                    "its process %s" % ("hung" if not eof else "ended with status %d" % code),
                    time.monotonic() - began if began else 0)


def tell_slowest(results):
    """The tests and suites that took longest: where to look when a run takes too long, and the order of HEAVY."""
    suites = {}
    for r in results:
        suites[r["suite"]] = suites.get(r["suite"], 0) + r["seconds"]
    print("\nthe longest tests:")
    for r in sorted(results, key=lambda r: -r["seconds"])[:10]:
        print("  %6.1f s  %s: %s" % (r["seconds"], r["suite"], r["name"]))
    longest = sorted(suites, key=suites.get, reverse=True)[:10]
    print("the longest suites: " + ", ".join("%s %.0f s" % (name, suites[name]) for name in longest))


def jobs():
    """Half of the time of a test it waits, at least: for a server, a timer, a process that it killed. Each may start databases, so there is an end."""
    return min(2 * len(os.sched_getaffinity(0)), 16)


def main(folder=HERE, description="end-to-end tests of weir", prepare=None):
    """`folder` has the suites; `prepare` is called with the parser, and with what was parsed before anything runs."""
    ap = argparse.ArgumentParser(description=description)
    ap.add_argument("suites", nargs="*", help="names of suites; all where none is given")
    ap.add_argument("-k", action="append", default=[], metavar="WORDS", help="only tests whose name has these words")
    ap.add_argument("-j", type=int, default=jobs(), metavar="N", help="suites at once (%d: more than processors, as tests wait)" % jobs())
    ap.add_argument("--json", metavar="FILE", help="write the results there too")
    ap.add_argument("--repeat", type=int, default=1, metavar="N", help="run each test N times")
    ap.add_argument("--list", action="store_true", help="print the names alone")
    ap.add_argument("--suite", help=argparse.SUPPRESS)
    ap.add_argument("--folder", default=folder, help=argparse.SUPPRESS)
    if prepare:
        prepare(ap, None)
    args = ap.parse_args()
    folder = args.folder
    sys.path.insert(0, folder)
    if prepare:
        prepare(ap, args)
    if args.suite:
        return run_suite(args.suite, args.k, args.repeat, sys.stdout)

    suites = sorted(os.path.basename(p)[:-3] for p in glob.glob(os.path.join(folder, "*_suite.py")))
    if args.suites:
        wanted = [os.path.basename(s).replace(".py", "").replace("_suite", "") + "_suite" for s in args.suites]
        unknown = [s for s in wanted if s not in suites]
        if unknown:
            sys.exit("no suite named %s; there are %s" % (unknown[0], ", ".join(suites)))
        suites = wanted
    if args.list:
        import harness
        for suite in suites:
            harness.TESTS.clear()
            importlib.import_module(suite)
            for t in harness.TESTS:
                print("%s: %s" % (suite.replace("_suite", ""), t["name"]))
        return 0
    import harness
    if not os.access(harness.BIN, os.X_OK):
        sys.exit("%s is not there: `make build` first" % harness.BIN)

    printer, began = Printer(), time.monotonic()
    suites.sort(key=lambda s: HEAVY.index(s) if s in HEAVY else len(HEAVY))
    with concurrent.futures.ThreadPoolExecutor(args.j) as pool:
        list(pool.map(lambda s: watch_suite(s, args, printer, folder), suites))
    failed = [r for r in printer.results if r["result"] == "failed"]
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"passed": printer.count("passed"), "failed": printer.count("failed"),
                       "skipped": printer.count("skipped"), "tests": printer.results,
                       "failures": ["%s: %s" % (r["suite"], r["name"]) for r in failed]}, f, indent=1)
    if failed:
        print("\nfailed:")
        for r in failed:
            print("  %s: %s" % (r["suite"], r["name"]))
    tell_slowest(printer.results)
    print("%d skipped, %.0f s" % (printer.count("skipped"), time.monotonic() - began))
    print("%d passed, %d failed" % (printer.count("passed"), len(failed)))
    return 1 if failed or not printer.results else 0


if __name__ == "__main__":
    sys.exit(main())
