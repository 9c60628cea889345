# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers that are newer, broken, or no peers at all."""
import hashlib
import os
import re
import socket
import struct
import threading
from contextlib import suppress

import pytest

from commands.transport import CONTENT, Listener, frame
from model import hello
from model.hello import BANNER, RECEIVER, SENDER, Offer


# ---- peers of another kind -------------------------------------------------


class Peer:
    """A receiver of the test's own on a UNIX socket."""

    def __init__(self, path, script) -> None:
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.server.settimeout(20)
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(script,))

    def _run(self, script) -> None:
        try:
            sock, _ = self.server.accept()
            with sock:
                sock.settimeout(20)
                script(sock)
        except Exception as error:
            self.error = error

    def __enter__(self) -> "Peer":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.thread.join(30)
        self.server.close()
        if self.error:
            raise self.error


def receive_domain(sock) -> None:
    """The receiver's part of xl's protocol."""
    sock.sendall(BANNER)
    head = hello.receive(sock, 24)
    length, = struct.unpack("<Q", head[16:])
    digest = hashlib.sha256(hello.receive(sock, length))
    assert digest.digest() == hashlib.sha256(CONTENT).digest()
    sock.sendall(b"domain received, ready to unpause\0")
    hello.receive(sock, 44)
    sock.sendall(b"my copy unpause results are as follows\0\0")


NEWER = dict(version_max=4, features=1 << 17 | 1 << 40, optional=7,
             text=b"xl-aligned 9.0\nfeature 17 DEDUP\n")


def test_newer_receiver(hosts, path):
    """It offers version 4 and features that are not known here."""
    def script(sock):
        peer, ours, theirs = hello.negotiate(
            sock, Offer(RECEIVER, **NEWER), first=False)
        assert (peer.role, peer.version_min, peer.version_max) == (1, 2, 3)
        assert ours == theirs and ours.version == 3
        receive_domain(sock)

    with Peer(path, script):
        result = hosts.migrate("dom", f"unix:{path}")
    assert result.returncode == 0, result.stderr
    assert "stream v3 over unix, peer xl-aligned 9.0" in result.stderr
    assert hosts.noted("negotiated") == ["format=v3\n"]


def test_receiver_that_requires_what_is_unknown(hosts, path):
    def script(sock):
        _, _, theirs = hello.negotiate(
            sock, Offer(RECEIVER, required=1 << 17, **NEWER), first=False)
        assert theirs.status == 2 and b"DEDUP" in theirs.text

    with Peer(path, script):
        result = hosts.migrate("dom", f"unix:{path}")
    assert result.returncode == 1
    assert "DEDUP (bit 17)" in result.stderr
    assert hosts.noted("negotiated") == [] and hosts.noted("resumed")


def newer_sender(path, **offer):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path))
    return sock, hello.negotiate(sock, Offer(SENDER, **{**NEWER, **offer}),
                                 first=True)


def test_newer_sender(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        sock, (peer, ours, theirs) = newer_sender(path)
        with sock:
            assert ours == theirs and ours.version == 3
            assert peer.role == RECEIVER
            assert hello.receive(sock, len(BANNER)) == BANNER
            sock.sendall(frame(CONTENT))
            assert hello.receive(sock, 34).startswith(b"domain received")


@pytest.mark.parametrize("offer,word", [
    (dict(required=1 << 17), "DEDUP (bit 17)"),
    (dict(required=1 << 40), "bit 40"),
    (dict(version_min=4), "peer 4 to 4"),
    (dict(request=1 << 9), "bits: 0x200"),
])
def test_senders_that_are_refused(hosts, path, offer, word):
    with Listener(hosts, f"unix:{path}") as listener:
        sock, (_, _, theirs) = newer_sender(path, **offer)
        sock.close()
        assert theirs.status != 0 and word.encode() in theirs.text
        listener.wait_for("refused: .*" + re.escape(word))
    hosts.assert_untouched()


@pytest.mark.parametrize("answer,word", [
    (b"", "closed the link before HELLO"),
    (b"X", "closed the link inside HELLO"),
    (b"bash: xl: command not found\n", "received garbage instead of HELLO"),
    (BANNER[:20] + b"!" * 34, "received garbage instead of HELLO"),
    (os.urandom(4096).replace(b"x", b"y").replace(b"X", b"Y"), "garbage"),
    (Offer(SENDER).pack(), "is a sender too"),
    (Offer(RECEIVER).pack()[:-1] + b"?", "wrong checksum"),
    (hello.message(1, bytes(4072)), "text begins at byte 0 of 4072"),
    (Offer(7).pack(), "unknown role: 7"),
    (hello.HEADER.pack(hello.MAGIC, 1, 1 << 30, 0), "1073741824 bytes"),
], ids=range(10))
def test_receivers_that_talk_nonsense(hosts, path, answer, word):
    def script(sock):
        sock.recv(4096)
        sock.sendall(answer)

    with Peer(path, script):
        result = hosts.migrate("dom", f"unix:{path}")
    assert result.returncode == 1
    assert word in result.stderr
    assert hosts.noted("negotiated") == [] and hosts.noted("resumed")


def test_every_damaged_byte_of_hello(hosts, path):
    """None starts an xl; each peer gets the reason."""
    good = Offer(SENDER).pack()
    with Listener(hosts, f"unix:{path}") as listener:
        for at in range(len(good)):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(20)
                sock.connect(str(path))
                bad = bytearray(good)
                bad[at] ^= 1 << at % 8
                with suppress(BrokenPipeError):
                    sock.sendall(bad)
                sock.shutdown(socket.SHUT_WR)
                assert hello.refusal(sock).status == hello.BROKEN
        listener.wait_for("refused: ", len(good))
    assert hosts.notes() == []
