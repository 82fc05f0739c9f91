# SPDX-License-Identifier: Apache-2.0
"""What sources cost those that they ask."""
import os
import subprocess

from harness import ROOT, say, verdict

COLUMNS = "%-16s %9s %14s %10s %10s %8s %8s"


def adaptive():
    """requests of adaptive polling (1 s to 10 min) against the fixed interval of the same mean staleness, simulated"""
    out = subprocess.run([os.path.join(ROOT, "build", "bench", "adaptive_bench"), os.path.join(ROOT, "bench", "arrivals")],
                         stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    say("  " + COLUMNS % ("arrivals", "number", "staleness s", "requests", "fixed", "ratio", "bound"))
    good = True
    rows = [line.split("\t") for line in out.splitlines()]
    for row in rows:
        say("  " + COLUMNS % tuple(row))
    for name, _, _, _, _, ratio, _ in rows:
        most = 0.6 if name.startswith(("bursts", "rhythm")) else 1.05
        good &= verdict(name, float(ratio), most, at_most=True)
    return good


ROWS = {"adaptive": adaptive}
TOOLS = {}
