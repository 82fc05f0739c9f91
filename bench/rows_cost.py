# SPDX-License-Identifier: Apache-2.0
"""What one durable request of post-nginx costs in calls and instructions: no
peer and no bound, the base for later work."""
import os
import re
import signal
import subprocess
import time

from harness import POST, Weir, options, remove, say, scratch, write_script, wrk
from rows_ingest import LOG, RECORDS


def count_records(weir):
    return weir.metrics().get("weir_log_commits_total")


def syscalls():
    """system calls per durable request at 64 connections (strace -c)"""
    folder = scratch("syscalls")
    script = write_script(folder, "post", POST)
    out = os.path.join(folder, "strace")
    with Weir(folder, log=LOG) as weir:
        wrk(weir.url + RECORDS, script, 64, seconds=1)
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(weir.pid)], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        before = count_records(weir)
        wrk(weir.url + RECORDS, script, 64)
        requests = count_records(weir) - before
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    say("  %d requests" % requests)
    with open(out) as f:
        for line in f:
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if found and int(found.group(1)) / requests >= 0.0005:
                say("  %-20s %8.3f" % (found.group(2), int(found.group(1)) / requests))
    remove(folder)
    return True


class Callgrind(Weir):
    def start(self):
        options_before, pinned_core = self.binary, self.core
        self.core = None
        wrapper = os.path.join(self.folder, "callgrind.sh")
        with open(wrapper, "w") as f:
            f.write("#!/bin/sh\nexec valgrind -q --tool=callgrind --callgrind-out-file=%s/callgrind.out %s \"$@\"\n" %
                    (self.folder, options_before))
        os.chmod(wrapper, 0o755)
        self.binary = wrapper
        super().start()
        self.binary, self.core = options_before, pinned_core


def instructions_of(seconds):
    """Of a whole run, and the requests in it."""
    folder = scratch("callgrind")
    script = write_script(folder, "post", POST)
    with Callgrind(folder, log=LOG) as weir:
        wrk(weir.url + RECORDS, script, 64, seconds=seconds)
        requests = count_records(weir)
        weir.stop()
        with open(os.path.join(folder, "callgrind.out")) as f:
            total = int(re.search(r"^(?:summary|totals): (\d+)", f.read(), re.M).group(1))
        top = subprocess.run(["callgrind_annotate", os.path.join(folder, "callgrind.out")], stdout=subprocess.PIPE,
                             universal_newlines=True).stdout
    remove(folder)
    return requests, total, top


def instructions():
    """user instructions per durable request at 64 connections (callgrind; a short run is taken off a long one)"""
    few, base, _ = instructions_of(2)
    many, total, top = instructions_of(2 + 3 * options.seconds)
    each = (total - base) / (many - few)
    say("  %d requests: %.0f instructions a request" % (many - few, each))
    for found in re.findall(r"^\s*([\d,]+) \(\s*[\d.]+%\)\s+\S*?:(\S+)", top, re.M)[:15]:
        say("  %8.0f  %s" % (int(found[0].replace(",", "")) / many, found[1]))
    return True


TOOLS = {"syscalls": syscalls, "instructions": instructions}
