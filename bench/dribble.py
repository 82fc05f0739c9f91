#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dribble.py HOST PORT COUNT SECONDS: COUNT connections that send a head and then one byte a second each.

Who is cut comes again. Prints `open` once all stand, and at the end how many
bytes were sent and how often a connection was cut.
"""
import resource
import socket
import sys
import time

HEAD = b"POST /v1/topics/dribble/records HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n"


def dial(address):
    s = socket.create_connection(address)
    s.sendall(HEAD % ("%s:%d" % address).encode())
    s.setblocking(False)
    return s


def main(host, port, count, seconds):
    address = (host, int(port))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = [dial(address) for _ in range(int(count))]
    print("open", flush=True)
    sent = cuts = 0
    until = time.monotonic() + float(seconds)
    step = max(1, len(held) // 50)
    at = 0
    while time.monotonic() < until:  # a fiftieth of them every fiftieth of a second
        tick = time.monotonic()
        for i in range(at, min(at + step, len(held))):
            try:
                held[i].send(b"x")
                sent += 1
            except OSError:
                held[i].close()
                held[i] = dial(address)
                cuts += 1
        at = at + step if at + step < len(held) else 0
        time.sleep(max(0, 0.02 - (time.monotonic() - tick)))
    print("%d bytes, %d cut" % (sent, cuts), flush=True)


main(*sys.argv[1:])
