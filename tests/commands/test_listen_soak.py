# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned listen among connections of every bad kind, and honest ones.

200 connections, and 10,000 in make check-all."""
import hashlib
import itertools
import os
import queue
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from commands.transport import (CONTENT, Authority, Certificates, Listener,
                                children_of, frame, free_port)
from model import hello
from model.hello import BANNER, SENDER, Offer
from support import eventually

COUNTS = pytest.mark.parametrize("count", [
    200, pytest.param(10000, marks=pytest.mark.slow)])
WORKERS = 40
HELLO = Offer(SENDER, text=b"x" * 1000).pack()
LIMITS = ["--handshake-timeout=2", "--stall-timeout=2", "--connections=24"]


class Known(Certificates):
    def __init__(self, folder) -> None:
        own, other = Authority(folder, "own"), Authority(folder, "other")
        self.authority = own.cert
        self.files = {"receiver": own.issue("receiver", "/CN=receiver",
                                            "DNS:localhost")}
        for name in ("sender", "bad", "stranger", "revoked"):
            self.files[name] = own.issue(name, f"/CN={name}", f"DNS:{name}")
        self.files["expired"] = own.issue("expired", "/CN=bad", "DNS:bad",
                                          days=-1)
        self.files["wrong-ca"] = other.issue("wrong-ca", "/CN=bad",
                                             "DNS:bad")
        self.crl = folder / "crl"
        self.crl.write_text(own.revoke(self.files["revoked"][0]))
        self.contexts = {}
        for name in self.files:
            context = ssl.create_default_context(cafile=str(own.cert))
            context.load_cert_chain(*self.files[name])
            self.contexts[name] = context


class Peers:
    """Each kind is a method: it connects, and returns what became of it."""

    def __init__(self, known, tcp, tls) -> None:
        self.known, self.ports = known, {"tcp": tcp, "tls": tls}
        self.numbers = itertools.count()

    def _connect(self, transport):
        sock = socket.create_connection(
            ("127.0.0.1", self.ports[transport]), 30,
            source_address=(f"127.0.0.{2 + next(self.numbers) % 4}", 0))
        return sock

    def _tls(self, name="bad"):
        return self.known.contexts[name].wrap_socket(
            self._connect("tls"), server_hostname="localhost")

    @staticmethod
    def _told(sock):
        result = hello.refusal(sock)
        return f"told {result.status}"

    @staticmethod
    def _ended(sock):
        while sock.recv(65536):
            pass
        return "ended"

    def silent(self):
        with self._connect("tcp") as sock:
            return self._told(sock)

    def silent_tls(self):
        with self._connect("tls") as sock:
            return "alert" if sock.recv(7) == b"\x15\3\3\0\2\2\x50" else "?"

    def silent_in_tls(self):
        with self._tls() as sock:
            return self._told(sock)

    def slow(self):
        with self._connect("tcp") as sock:
            with suppress(OSError):
                for byte in HELLO:
                    sock.sendall(bytes([byte]))
                    time.sleep(0.1)
            return self._told(sock)

    def garbage(self):
        with self._connect("tcp") as sock:
            with suppress(OSError):
                sock.sendall(b"?" + os.urandom(100000))
            return self._told(sock)

    def garbage_for_tls(self):
        with self._connect("tls") as sock:
            with suppress(OSError):
                sock.sendall(b"?" + os.urandom(100000))
            return self._ended(sock)

    def cut_in_hello(self):
        with self._connect("tcp") as sock:
            sock.sendall(HELLO[:next(self.numbers) % len(HELLO)])
        return "cut"

    def cut_in_tls(self):
        with self._connect("tls") as sock:
            # ClientHello begins, and no more.
            sock.sendall(b"\x16\3\1\2\0\1\0\1\xfc\3\3")
        return "cut"

    def cut_after_hello(self):
        with self._tls() as sock:
            sock.sendall(HELLO)
            hello.receive_message(sock)
        return "cut"

    def _certificate(self, name):
        with self._tls(name) as sock:
            sock.sendall(HELLO)
            return self._ended(sock)

    def wrong_certificate(self):
        return self._certificate("wrong-ca")

    def expired(self):
        return self._certificate("expired")

    def revoked(self):
        return self._certificate("revoked")

    def stranger(self):
        with self._tls("stranger") as sock:
            return self._told(sock)

    def _arriving(self, sent, wait):
        """Up to three of these at once get an xl; the others are refused."""
        with self._tls() as sock:
            sock.sendall(HELLO)
            kind, body = hello.receive_message(sock)
            if kind == hello.KIND_RESULT:
                return f"told {hello.Outcome.unpack(body).status}"
            _, body = hello.receive_message(sock)
            sock.sendall(hello.Outcome.unpack(body).pack())
            first = hello.receive(sock, 1)
            if first == BANNER[:1]:
                sock.sendall(sent)
                return self._ended(sock) if wait else "cut"
            head = first + hello.receive(sock, hello.HEADER.size - 1)
            body = hello.receive(sock, hello.HEADER.unpack(head)[2])
            return f"told {hello.Outcome.unpack(body).status}"

    def cut_after_banner(self):
        return self._arriving(b"", False)

    def cut_in_head(self):
        return self._arriving(frame(CONTENT)[:20], False)

    def cut_in_domain(self):
        return self._arriving(frame(CONTENT)[:100000], False)

    def silent_after_banner(self):
        return self._arriving(b"", True)

    def silent_in_domain(self):
        return self._arriving(frame(CONTENT)[:100000], True)

    def stays_when_xl_has_gone(self):
        return self._arriving(b"this is no domain at all", True)


KINDS = [name for name in vars(Peers) if not name.startswith("_")]
# They may still be sending when they are ended.
RESETS = {"garbage", "garbage_for_tls"}


def work(peers, tasks, outcomes):
    with suppress(queue.Empty):
        while True:
            kind = tasks.get_nowait()
            try:
                outcome = getattr(peers, kind)()
            except (ssl.SSLError, hello.Closed, OSError) as error:
                outcome = f"{type(error).__name__}: {str(error)[:40]}"
            outcomes[kind, outcome] += 1


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


@pytest.fixture
def known(tmp_path):
    folder = tmp_path / "known"
    folder.mkdir()
    return Known(folder)


def soak(hosts, known, count, prefix=()):
    """Outcomes of the bad, and how many honest migrations there were."""
    tcp, tls = free_port(), free_port()
    outcomes, tasks = Counter(), queue.Queue()
    honest_every = 200 if count > 1000 else 25
    for number in range(count):
        tasks.put(KINDS[number % len(KINDS)])
    with Listener(hosts, *LIMITS, *known.options("receiver"),
                  f"--crl={known.crl}", "--allow=sender", "--allow=bad",
                  "--allow=revoked", f"tcp:127.0.0.1:{tcp}",
                  f"tls:127.0.0.1:{tls}", prefix=prefix) as listener:
        pid = listener.process.pid
        before = descriptors(pid)
        peers, honest = Peers(known, tcp, tls), 0
        threads = [threading.Thread(target=work,
                                    args=(peers, tasks, outcomes))
                   for _ in range(min(WORKERS, count))]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            yield_at = outcomes.total() + honest_every
            if not prefix:
                result = hosts.migrate(*known.options("sender"), "dom",
                                       f"tls:localhost:{tls}")
                assert result.returncode == 0, (result.stderr, outcomes)
                honest += 1
            while (outcomes.total() < yield_at and
                   any(thread.is_alive() for thread in threads)):
                time.sleep(0.05)
        for thread in threads:
            thread.join()
        eventually(lambda: not children_of(pid), "sessions are left")
        assert descriptors(pid) == before
        result = hosts.migrate(*known.options("sender"), "dom",
                               f"tls:localhost:{tls}")
        assert result.returncode == 0, result.stderr
        eventually(lambda: not children_of(pid), "sessions are left")
    assert outcomes.total() == count
    assert not [pid for pid in hosts.noted("receiving") if alive(pid)]
    return outcomes, honest + 1


def show(outcomes, honest, seconds):
    print(f"\n{outcomes.total()} bad, {honest} honest, {seconds:.0f} s")
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"  {kind:24} {outcome:44} {number:6}")


@COUNTS
def test_every_bad_kind(hosts, known, count):
    began = time.monotonic()
    outcomes, honest = soak(hosts, known, count)
    show(outcomes, honest, time.monotonic() - began)
    assert hosts.noted("running") == \
        [hashlib.sha256(CONTENT).hexdigest()] * honest
    assert {kind for kind, _ in outcomes} == set(KINDS)
    # An answer, and not a broken connection.
    wrong = {key: number for key, number in outcomes.items()
             if "Reset" in key[1] and key[0] not in RESETS}
    assert not wrong


@COUNTS
def test_every_bad_kind_and_few_descriptors(hosts, known, count):
    began = time.monotonic()
    outcomes, honest = soak(hosts, known, count // 10,
                            ["prlimit", "--nofile=20:4096"])
    show(outcomes, honest, time.monotonic() - began)
    assert hosts.noted("running")[-1:] == \
        [hashlib.sha256(CONTENT).hexdigest()]
