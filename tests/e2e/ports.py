# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that come back on the port that they had."""
import fcntl
import os
import random
import socket
import tempfile

random_port = random.SystemRandom()


def ephemeral_first():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32768


class Reserved:
    """Ports of this process, which no other that asks here is given: each is a byte of one file, locked as long as the process lives."""

    def __init__(self):
        self.ours, self.fd = set(), -1

    def take(self, port):
        if self.fd < 0:
            self.fd = os.open(os.path.join(tempfile.gettempdir(), "weir-ports-%d" % os.getuid()), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if port in self.ours:
            return False
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        self.ours.add(port)
        return True


reserved = Reserved()


def free_port():
    """
    One that the kernel gives to no connection of its own accord, and this function to nobody else: while the server is not up yet, or
    down for a while, nobody can have got it.
    """
    first = 10000
    last = max(ephemeral_first(), first + 10000)
    while True:
        port = random_port.randrange(first, last)
        if not reserved.take(port):
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
