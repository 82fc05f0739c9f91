#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the fault suites: `tests/fault/run.py [--whole] [-k WORDS] [suite…]`.

The runner is that of tests/e2e. The short form, a part of `make test`, tries a
spread of the places where a call can fail; the whole form (`make fault`) all.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

import run  # noqa: E402


def prepare(parser, args):
    if args is None:
        parser.add_argument("--whole", action="store_true", help="every place in place of a spread")
    elif args.whole:
        os.environ["WEIR_FAULT_WHOLE"] = "1"


if __name__ == "__main__":
    sys.exit(run.main(HERE, "fault tests of weir", prepare))
