#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A link that a test can damage: carries one migration after the other
between a sender and a receiver, and knows how far each has come.

    relay.py LISTEN TARGET [ACTION PHASE DIRECTION BYTES]

LISTEN and TARGET are HOST:PORT or the path of a UNIX socket.  PHASE is

    hello    until the receiver has sent its banner
    stream   from then on
    ready    the receiver has all and asks for permission to go on
    go       the sender has given it

and ACTION is taken when BYTES bytes have been carried in DIRECTION (s2r,
r2s) since PHASE began:

    cut      nothing more, in either direction, and both ends are closed
    stall    nothing more, and both ends stay open
    flip     one bit of the next byte changes
    slow     BYTES bytes a second from the beginning of PHASE on

One line on stdout says when the relay listens, one what it has done.
"""
import os
import selectors
import socket
import sys
import time

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = b"domain received, ready to unpause\0"
GO_LENGTH = 44
CHUNK = 65536


def connect(address: str) -> socket.socket:
    if "/" in address:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        return sock
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


def listen(address: str) -> socket.socket:
    if "/" in address:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address)
    else:
        host, port = address.rsplit(":", 1)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
    sock.listen()
    return sock


class Cut(Exception):
    pass


class Relay:
    def __init__(self, sender, receiver, plan) -> None:
        self.ends = {"s2r": (sender, receiver), "r2s": (receiver, sender)}
        self.plan = plan
        self.phase = "hello"
        self.count = {"s2r": 0, "r2s": 0}
        self.total = {"s2r": 0, "r2s": 0}
        self.tail = b""     # of what the receiver has said in this phase
        self.began = time.monotonic()
        self.done = False

    def enter(self, phase: str) -> None:
        self.phase, self.tail = phase, b""
        self.count = {"s2r": 0, "r2s": 0}
        self.began = time.monotonic()

    def next_phase(self, direction: str, data: bytes) -> int:
        """How much of the data still belongs to this phase."""
        if self.phase == "go" or direction == "s2r":
            if self.phase == "ready":
                return min(len(data), GO_LENGTH - self.count["s2r"])
            return len(data)
        mark = {"hello": BANNER, "stream": READY}.get(self.phase)
        if not mark:
            return len(data)
        before = len(self.tail)
        self.tail += data
        at = self.tail.find(mark)
        return len(data) if at < 0 else at + len(mark) - before

    def marked(self, direction: str) -> None:
        if self.phase == "hello" and BANNER in self.tail:
            self.enter("stream")
        elif self.phase == "stream" and READY in self.tail:
            self.enter("ready")
        elif self.phase == "ready" and self.count["s2r"] >= GO_LENGTH:
            self.enter("go")

    def act(self, action: str, direction: str, data: bytes) -> bytes:
        self.done = True
        print(f"{action} in {self.phase} {direction}"
              f" after {self.count[direction]}", flush=True)
        if action == "flip":
            return bytes([data[0] ^ 4]) + data[1:]
        raise Cut(action)

    def carry(self, direction: str, data: bytes) -> None:
        """One piece that lies in one phase."""
        action, phase, way, limit = self.plan or (None,) * 4
        here = not self.done and (self.phase, direction) == (phase, way)
        if here and action == "slow":
            ahead = (self.count[direction] / limit
                     - (time.monotonic() - self.began))
            if ahead > 0:
                time.sleep(min(ahead, 1))
        elif here and self.count[direction] + len(data) > limit:
            keep = limit - self.count[direction]
            self.send(direction, data[:keep])
            data = self.act(action, direction, data[keep:])
        self.send(direction, data)

    def send(self, direction: str, data: bytes) -> None:
        self.ends[direction][1].sendall(data)
        self.count[direction] += len(data)
        self.total[direction] += len(data)

    def on_data(self, direction: str, data: bytes) -> None:
        while data:
            length = self.next_phase(direction, data)
            self.carry(direction, data[:length])
            self.marked(direction)
            data = data[length:]
            # What the receiver says goes on at the same place.

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        for direction, (source, _) in self.ends.items():
            selector.register(source, selectors.EVENT_READ, direction)
        try:
            while selector.get_map():
                for key, _ in selector.select():
                    data = key.fileobj.recv(CHUNK)
                    if data:
                        self.on_data(key.data, data)
                        continue
                    selector.unregister(key.fileobj)
                    if not selector.get_map():
                        # Both ends go on from here, and a test with them.
                        self.summary()
                    try:
                        self.ends[key.data][1].shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
        except Cut as cut:
            if str(cut) == "stall":
                time.sleep(600)
            self.summary()
        except OSError as error:
            print(f"broken: {error}", flush=True)
            self.summary()

    def summary(self) -> None:
        print(f"sent {self.total['s2r']} received {self.total['r2s']}"
              f" phase {self.phase}", flush=True)


def main() -> None:
    server = listen(sys.argv[1])
    plan = None
    if len(sys.argv) > 3:
        plan = (*sys.argv[3:6], int(sys.argv[6]))
    print("listening", flush=True)
    while True:
        sender, _ = server.accept()
        try:
            receiver = connect(sys.argv[2])
        except OSError as error:
            print(f"no receiver: {error}", flush=True)
            sender.close()
            continue
        if os.fork() == 0:
            server.close()
            with sender, receiver:
                Relay(sender, receiver, plan).run()
            os._exit(0)
        sender.close()
        receiver.close()


if __name__ == "__main__":
    main()
