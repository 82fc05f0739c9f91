# SPDX-License-Identifier: Apache-2.0
"""What the Python clients share: checks, and what they ask of the runner (../run.py says how)."""
import os
import sys
import time
import traceback

BOOTSTRAP = os.environ["BOOTSTRAP"]
PREFIX = os.environ["PREFIX"]
SCRATCH = os.environ.get("SCRATCH", "/tmp")
WORD = os.environ.get("CHECKS", "")
SHORT = bool(os.environ.get("SHORT"))
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
CHECKS = []


class Skip(Exception):
    pass


def check(name):
    def add(fn):
        CHECKS.append((name, fn))
        return fn
    return add


def name(what):
    return PREFIX + "-" + what


def ask(*words):
    print("@" + " ".join(str(w) for w in words), flush=True)
    answer = sys.stdin.readline().strip()
    if answer != "yes":
        raise AssertionError("%s: %s" % (words[0], answer))


def eq(got, want, what="got"):
    if got != want:
        raise AssertionError("%s %.300r, want %.300r" % (what, got, want))


def until(fn, what, seconds=30):
    end = time.monotonic() + seconds
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("waited %d s for: %s" % (seconds, what))
        time.sleep(0.05)


def run():
    for title, fn in CHECKS:
        if WORD not in title:
            continue
        try:
            fn()
        except Skip as e:
            print("skip %s: %s" % (title, e), flush=True)
        except BaseException as e:
            for frame in traceback.extract_tb(e.__traceback__)[-4:]:
                print("%s:%d %s" % (os.path.basename(frame.filename), frame.lineno, frame.line))
            print("FAIL %s: %s: %s" % (title, type(e).__name__, " ".join(str(e).split())[:400]), flush=True)
        else:
            print("ok %s" % title, flush=True)
    sys.stdout.flush()
    os._exit(0)
