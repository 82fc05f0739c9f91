# SPDX-License-Identifier: Apache-2.0
"""Ports for servers that come back on the port that they had."""
import random
import socket

random_port = random.SystemRandom()


def ephemeral_first():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32768


def free_port():
    """One that the kernel gives to no connection of its own accord: while the server is down nobody else can have got it by chance."""
    first = 10000
    last = max(ephemeral_first(), first + 10000)
    while True:
        port = random_port.randrange(first, last)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
