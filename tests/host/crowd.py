#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""crowd.py HOST PORT COUNT: so many connections at once that say nonsense,
what begins like TLS, nothing at all, or a HELLO byte by byte.

Who is turned away comes again.  One line when all have been there once; on
SIGTERM it ends, and says how many connections there were.
"""
import contextlib
import os
import selectors
import signal
import socket
import struct
import sys
import time

AGAIN_SECONDS = 3
HELLO = b"XENHELLO" + struct.pack("<IIQ", 1, 4000, 0) + b"x" * 4000
KINDS = {
    "nonsense": lambda: os.urandom(2000),
    "tls": lambda: b"\x16\x03\x01\x02\x00\x01",
    "silence": lambda: b"",
    "loris": lambda: HELLO[:1],
}


class Crowd:
    def __init__(self, address, count: int) -> None:
        self.address, self.count = address, count
        self.selector = selectors.DefaultSelector()
        self.kinds = [list(KINDS)[n % len(KINDS)] for n in range(count)]
        self.socks = [None] * count
        self.due = [0.0] * count        # when to connect, or to say more
        self.sent = [0] * count
        self.made = 0

    def connect(self, number: int) -> None:
        sock = socket.create_connection(self.address, 30)
        sock.setblocking(False)
        self.socks[number], self.sent[number] = sock, 1
        self.selector.register(sock, selectors.EVENT_READ, number)
        self.made += 1
        with contextlib.suppress(BlockingIOError):
            sock.send(KINDS[self.kinds[number]]())

    def leave(self, number: int) -> None:
        self.selector.unregister(self.socks[number])
        self.socks[number].close()
        self.socks[number] = None
        self.due[number] = time.monotonic() + AGAIN_SECONDS

    def say_more(self, number: int) -> None:
        at = self.sent[number]
        self.socks[number].send(HELLO[at:at + 1])
        self.sent[number] += 1

    def one(self, number: int, now: float) -> None:
        if now < self.due[number]:
            return
        self.due[number] = now + 0.5
        try:
            if not self.socks[number]:
                self.connect(number)
            elif self.kinds[number] == "loris":
                self.say_more(number)
        except OSError:
            if self.socks[number]:
                self.leave(number)

    def run(self) -> None:
        told = False
        while True:
            now = time.monotonic()
            for number in range(self.count):
                self.one(number, now)
            if not told and self.made >= self.count:
                print("all are there", flush=True)
                told = True
            for key, _ in self.selector.select(0.1):
                try:
                    if self.socks[key.data].recv(65536):
                        continue
                except OSError:
                    pass
                self.leave(key.data)


def main() -> None:
    crowd = Crowd((sys.argv[1], int(sys.argv[2])), int(sys.argv[3]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        crowd.run()
    finally:
        print(f"connections: {crowd.made}", flush=True)


if __name__ == "__main__":
    main()
