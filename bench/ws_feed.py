# SPDX-License-Identifier: Apache-2.0
"""
Prints its port, then sends 100-byte JSON events, a text message each, to whoever connects, for as long as it is read. The library
python3-websockets does the handshake; from then on frames that were built before go straight to the socket, since the
library's own sending ends at some ten thousand messages a second.
"""
import asyncio
import os
import socket

import websockets

EVENTS = 10000


def frame(n):
    event = b'{"event":"price","symbol":"BTC/USD","n":%06d0,"price":65000.25,"text":"' % (100000 + n)
    event += b"x" * (98 - len(event)) + b'"}'
    assert len(event) == 100
    return b"\x81\x64" + event


FRAMES = b"".join(frame(n) for n in range(EVENTS))


def flood(fd):
    with socket.socket(fileno=fd) as s:
        s.setblocking(True)
        try:
            while True:
                s.sendall(FRAMES)
        except OSError:
            return


async def serve(ws, path=None):
    fd = os.dup(ws.transport.get_extra_info("socket").fileno())
    await asyncio.get_event_loop().run_in_executor(None, flood, fd)


async def main():
    server = await websockets.serve(serve, "127.0.0.1", 0, compression=None, ping_interval=None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Future()


asyncio.run(main())
