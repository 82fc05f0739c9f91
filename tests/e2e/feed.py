# SPDX-License-Identifier: Apache-2.0
"""feed_server.py as tests start it."""
import os
import subprocess
import tempfile
import threading

from harness import Skip

PYTHON = "/usr/bin/python3"


class Feed:
    """`with Feed() as feed`: the server, in a process of its own, which may be killed and come back at the same ports."""

    def __init__(self):
        self.lines = []

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen([PYTHON, os.path.join(os.path.dirname(os.path.abspath(__file__)), "feed_server.py"), self.dir.name],
                                        stdout=subprocess.PIPE, text=True)
        ports = self.process.stdout.readline().split()
        if len(ports) != 3:
            raise Skip("there is no python3-websockets")
        self.plain, self.tls, self.raw = ("ws://127.0.0.1:" + ports[0], "wss://localhost:" + ports[1], "ws://127.0.0.1:" + ports[2])
        threading.Thread(target=self.listen, daemon=True).start()
        return self

    def listen(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, text):
        return sum(text in line for line in list(self.lines))

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.dir.cleanup()
