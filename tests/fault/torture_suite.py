# SPDX-License-Identifier: Apache-2.0
"""F14 in the unit tests: each program is run again with its n-th allocation failing, as curl does it.

A test may fail then; the program must not crash in weir's own code, hang, fail a CHECK, write where it may not, or leak where it
passes. The last two need a build with sanitizers: the whole form takes build-asan where it is there (`tools/preset asan`).
WEIR_UNIT_DIR names another one, WEIR_TORTURE_ONLY a part of the programs, WEIR_TORTURE_SECONDS the time for each, WEIR_TORTURE_LOG
a file that gets, as it goes, a line a program (runs of so many allocations) and what was found.
"""
import bisect
import glob
import os
import random
import re
import signal
import subprocess
import tempfile
import time

from faults import WHOLE
from harness import ROOT, Skip, check, test

ASAN = "abort_on_error=0:exitcode=98:detect_leaks=1:allocator_may_return_null=1:handle_segv=0:handle_abort=0:handle_sigfpe=0"
ONLY = os.environ.get("WEIR_TORTURE_ONLY", "")
SHORT = not WHOLE and not ONLY
UBSAN = "halt_on_error=1:exitcode=97:print_stacktrace=1"


def folder():
    sanitized = os.path.join(ROOT, "build-asan") if WHOLE else None  # it may be an old one
    for name in (os.environ.get("WEIR_UNIT_DIR"), sanitized, os.path.join(ROOT, "build")):
        if name and glob.glob(os.path.join(name, "*_test")):
            return name
    raise Skip("no unit tests are built")


def is_waiting(pid):
    """Whether no thread of it runs or would: on a busy machine one that would may get nothing for a long time."""
    for _ in range(20):
        for path in glob.glob("/proc/%d/task/*/stat" % pid):
            try:
                with open(path) as f:
                    if f.read().rpartition(")")[2].split()[0] in "RD":
                        return False
            except OSError:
                return False  # that thread has just ended
        time.sleep(0.05)
    return True


def wait_for(p, timeout, times):
    """What it said, or None where it hangs: it waits when the time is up, or is not through after so many times as long."""
    for _ in range(times):
        try:
            return p.communicate(timeout=timeout)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            if is_waiting(p.pid):
                return None
    return None


class Program:
    """A unit test, and whose code a place in it is."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)
        self.places, self.files, self.names = [], [], []
        at = "?"
        rows = []
        for line in subprocess.run(["readelf", "-sW", path], capture_output=True, text=True).stdout.splitlines():
            m = re.match(r"\s*\d+: ([0-9a-f]+)\s+\d+ (\w+)\s+(\w+)\s+\w+\s+\S+ (\S+)", line)
            if not m:
                continue
            value, kind, bind, name = m.groups()
            if kind == "FILE":
                at = name
            elif kind == "FUNC" and int(value, 16):
                test_code = (bind == "LOCAL" and at.endswith("_test.c")) or name in ("main", "signal")
                rows.append((int(value, 16), "test" if test_code or at == "torture.c" else "weir", name))
        for value, whose, name in sorted(rows):
            self.places.append(value)
            self.files.append(whose)
            self.names.append(name)
        self.size = os.path.getsize(path)

    def blame(self, offsets):
        """("weir" or "test", names of the frames). A function that a test gave a null pointer is not to blame: weir is where two
        frames in a row are its own."""
        names, whose = [], []
        for text in offsets.split():
            at = int(text, 16)
            i = bisect.bisect_right(self.places, at) - 1
            if at > self.size * 4 or i < 0:
                continue
            if self.names[i] in ("on_crash", "check_failed", "_start", "__asan_report"):
                continue
            names.append(self.names[i])
            whose.append(self.files[i])
        return "weir" if whose[:2] == ["weir", "weir"] else "test", names

    def run(self, fail, timeout, times=5):
        """(exit status or None where it hung, output, allocations)."""
        with tempfile.TemporaryDirectory(prefix="weir-torture-") as cwd:
            os.chmod(cwd, 0o755)  # a test reads its files as nobody
            count = os.path.join(cwd, "count")
            env = dict(os.environ, WEIR_TORTURE=str(fail), WEIR_TORTURE_COUNT=count, TMPDIR=cwd, GROUP_SEEDS="1",
                       ASAN_OPTIONS=ASAN, UBSAN_OPTIONS=UBSAN)
            p = subprocess.Popen([self.path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                                 cwd=cwd)
            out = wait_for(p, timeout, times)
            if out is None:
                p.send_signal(signal.SIGABRT)  # it says where the main thread is
                try:
                    out = p.communicate(timeout=60)[0].decode("utf-8", "replace")
                except subprocess.TimeoutExpired:
                    p.kill()
                    out = p.communicate()[0].decode("utf-8", "replace")
                return None, out, 0
            try:
                with open(count) as f:
                    return p.returncode, out, int(f.read())
            except FileNotFoundError:
                return p.returncode, out, 0


GIVES_UP = "torture: the test gives up"


def report_of_sanitizer(out):
    m = re.search(r"ERROR: \w+Sanitizer|runtime error: ", out)
    return out[m.start():] if m else ""


def first_stack(out):
    """Functions and files of the report's first stack."""
    frames = re.findall(r"#\d+ 0x\w+ (?:in )?(\S+) \(?(\S*/(?:src|tests)/\S+?)[:)]", report_of_sanitizer(out).split("\n\n")[0])
    return [f for f in frames if "/libsanitizer/" not in f[1]]


def is_left_behind(out):
    """Whether it comes from a test that gave up: its threads go on with what was on its stack, while it tidies up and beside
    the tests behind it. The one allocation has failed: those show nothing new."""
    _, given_up, after = out.partition(GIVES_UP)
    if not given_up:
        return False
    stack = first_stack(after)
    in_thread = "torture: not the main thread" in after or (stack and stack[-1][0] != "main")
    return "[ RUN " in after or in_thread


def judge(p, fail, status, out):
    """What is wrong, or None."""
    m = re.search(r"torture: signal (\d+) at(.*)", out)
    whose, names = p.blame(m.group(2)) if m else ("weir", [])
    if (status is None or status < 0 or status in (97, 98, 99)) and is_left_behind(out):
        return None
    if status is None:  # who gave up may hold the log's lock, for which it waits when it tidies up
        return None if whose == "test" or GIVES_UP in out else "it hangs in %s\n%s" % (" < ".join(names[:8]), out[-500:])
    if status == 99:
        if whose == "test":
            return None
        return "signal %s in %s\n%s" % (m and m.group(1), " < ".join(names[:8]), out[:m.start()][-300:] if m else out[-500:])
    if status in (97, 98):
        frames = first_stack(out)
        # A test that gives up, or could not begin, leaves all behind.
        if "ERROR: LeakSanitizer" in out and re.search(r"FAILED|ERROR  ", out[:out.find("ERROR: LeakSanitizer")]):
            return None
        whose = ["test" if re.search("_test[.][ch]$", file) else "weir" for _, file in frames]
        if whose[:1] == ["test"] or (whose[:2] == ["weir", "test"] and "null pointer" in report_of_sanitizer(out)):
            return None  # or the test gave it, as above
        return "a sanitizer says:\n" + report_of_sanitizer(out)[:1500]
    if status not in (0, 1) and not 1 <= status < 90:
        return "exit status %d\n%s" % (status, out[-500:])
    return None


def torture(p, budget_s):
    began = time.monotonic()
    status, out, count = p.run(0, 3, 1) if SHORT else p.run(0, 300)
    if status is None and SHORT:
        return 0, count, []  # one that takes its time: the whole form has it
    took = time.monotonic() - began
    if status != 0 or not count:
        return 0, count, ["%s fails without a fault: %r\n%s" % (p.name, status, out[-500:])] if status else []
    order = list(range(1, count + 1))
    random.Random(p.name).shuffle(order)  # the same each time: what is found is found again
    wrong, seen, runs = [], set(), 0
    for fail in order:
        if runs >= (1 if SHORT else 3) and time.monotonic() - began > budget_s:
            break
        runs += 1
        status, out, _ = p.run(fail, (3 if SHORT else 30) + 10 * took)
        what = judge(p, fail, status, out)
        if what and what.split("\n")[0] not in seen:
            seen.add(what.split("\n")[0])
            wrong.append("%s, allocation %d: %s" % (p.name, fail, what))
    return runs, count, wrong


@test("the n-th allocation of each unit test fails: nothing crashes, hangs or leaks", own=True, timeout=7200)
def _():
    where, wrong, runs = folder(), [], 0
    paths = sorted(p for p in glob.glob(os.path.join(where, "*_test")) if ONLY in os.path.basename(p))
    random.shuffle(paths)  # the short form sees other ones each time
    until = time.monotonic() + (15 if SHORT else 7000)
    for path in paths:
        if time.monotonic() > until:
            break
        p = Program(path)
        n, count, found = torture(p, float(os.environ.get("WEIR_TORTURE_SECONDS", 60 if WHOLE else 0.6)))
        runs += n
        wrong += found
        if os.environ.get("WEIR_TORTURE_LOG"):
            with open(os.environ["WEIR_TORTURE_LOG"], "a") as f:
                f.write("\n".join(["%s %d/%d" % (p.name, n, count)] + found) + "\n")
    check(runs > 0, "nothing was run")
    check(not wrong, "%d runs of %s; wrong:\n%s" % (runs, where, "\n".join(wrong)))
