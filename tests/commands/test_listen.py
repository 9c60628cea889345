# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned listen: who may connect, and what it does with many."""
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress

import pytest

from commands.program import PROGRAM, run
from commands.transport import (CONTENT, Listener, children_of, free_port,
                                status_of)
from model.hello import SENDER, Offer
from support import eventually


# ---- listen ----------------------------------------------------------------


@pytest.mark.skipif(os.getuid() != 0, reason="only root has privileges")
def test_session_has_no_privileges(hosts, path):
    with Listener(hosts, f"unix:{path}") as listener:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            eventually(lambda: children_of(listener.process.pid), "none")
            pid, = children_of(listener.process.pid)
            eventually(lambda: status_of(pid)["NoNewPrivs"] == "1", "privs")
            eventually(lambda: status_of(pid)["Uid"].split() != ["0"] * 4,
                       "root")
            status = status_of(pid)
        assert "0" not in status["Uid"].split() + status["Gid"].split()
        assert status["Groups"].strip() == ""
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        # xl, in contrast, needs them.
        result = hosts.migrate("dom", f"unix:{path}")
        assert result.returncode == 0, result.stderr
    assert hosts.noted("uid") == [0]


def test_only_the_owner_may_connect(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
    # A second listener takes the place of one that is gone.
    with Listener(hosts, f"unix:{path}"):
        assert hosts.migrate("dom", f"unix:{path}").returncode == 0


def test_limit_of_domains(hosts, path):
    gate = hosts.folder / "gate"
    gate.touch()
    with Listener(hosts, "--domains=1", f"unix:{path}") as listener:
        first = hosts.start("dom", f"unix:{path}", FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        second = hosts.migrate("dom", f"unix:{path}")
        assert second.returncode == 1
        assert "1 domains are already arriving" in second.stderr
        listener.wait_for("refused: 1 domains are already arriving")
        gate.unlink()
        first.communicate(timeout=20)
        assert first.returncode == 0
        listener.wait_for("xl ended with status 0")
        assert hosts.migrate("dom", f"unix:{path}").returncode == 0


def test_end_of_listen_waits_for_domains(hosts, path):
    gate = hosts.folder / "gate"
    gate.touch()
    with Listener(hosts, f"unix:{path}") as listener:
        process = hosts.start("dom", f"unix:{path}", FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        listener.process.send_signal(signal.SIGTERM)
        listener.wait_for("waiting for 1 arriving domains")
        gate.unlink()
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert listener.process.wait(20) == 0
    hosts.assert_migrated(3)


@pytest.mark.parametrize("family", ["unix", "tls", "tcp"])
def test_systemd_sockets(hosts, path, family, certificates):
    sock = socket.socket(socket.AF_UNIX if family == "unix"
                         else socket.AF_INET)
    sock.bind(str(path) if family == "unix" else ("127.0.0.1", 0))
    sock.listen()
    # As systemd does it: the first socket is descriptor 3.
    prefix = ["bash", "-c", f'exec 3<&{sock.fileno()}; '
              'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh"]
    options = {"unix": [], "tcp": ["--insecure"],
               "tls": [*certificates.options("receiver"),
                       "--allow=sender.example"]}
    with sock, Listener(hosts, "--systemd", *options[family],
                        prefix=prefix, fds=[sock.fileno()]):
        target = (f"unix:{path}" if family == "unix" else
                  f"{family}:127.0.0.1:{sock.getsockname()[1]}")
        more = certificates.options("sender") if family == "tls" else []
        result = hosts.migrate(*more, "dom", target)
        assert result.returncode == 0, result.stderr
    hosts.assert_migrated(3)


def test_systemd_without_sockets(hosts):
    result = run("listen", "--systemd", env=hosts.env)
    assert result.returncode == 1 and "LISTEN_PID" in result.stderr


# ---- plain TCP -------------------------------------------------------------


def test_tcp_on_loopback(hosts):
    port = free_port()
    with Listener(hosts, f"tcp:127.0.0.1:{port}"):
        result = hosts.migrate("--json", "dom", f"tcp:localhost:{port}")
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["spliced"] is True
    hosts.assert_migrated(3)


@pytest.mark.parametrize("port", ("65536", "99999", "4294975298"))
def test_ports_that_there_are_not(hosts, port):
    """getaddrinfo takes them for others."""
    result = run("listen", f"tcp:127.0.0.1:{port}", env=hosts.env)
    assert result.returncode == 1
    assert "with a port of at most 65535" in result.stderr


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "[::]", "*",
                                     "[2001:db8::1]", "10.0.0.1:99"])
def test_tcp_beyond_loopback_is_refused(hosts, address):
    result = run("listen", f"tcp:{address}", env=hosts.env)
    assert result.returncode == 1
    assert "is not a loopback address" in result.stderr
    if "*" not in address:
        result = hosts.migrate("dom", f"tcp:{address}")
        assert result.returncode == 1
        assert "is not a loopback address" in result.stderr
        hosts.assert_untouched()


def test_systemd_tcp_sockets_are_for_tls(hosts):
    """Unless that is waived: systemd opened it for whomever."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        sock.listen()
        prefix = ["bash", "-c", f'exec 3<&{sock.fileno()}; '
                  'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh"]
        result = subprocess.run(
            [*prefix, PROGRAM, "listen", "--systemd"], env=hosts.env,
            pass_fds=[sock.fileno()], capture_output=True, text=True,
            timeout=20)
    assert result.returncode == 2
    assert "no peer may connect" in result.stderr


# ---- a crowd ---------------------------------------------------------------


class Crowd:
    """Connections that say nonsense, nothing, or a HELLO byte by byte."""

    def __init__(self, address, count: int) -> None:
        self.address, self.count = address, count
        self.sockets = []
        self.stop = threading.Event()
        self.threads = []
        self.made = 0

    def _connect(self):
        sock = socket.socket(self.address[0])
        sock.settimeout(5)
        sock.connect(self.address[1])
        self.made += 1
        return sock

    def _one(self, number: int) -> None:
        loris = Offer(SENDER, text=b"x" * 3000).pack()
        while not self.stop.is_set():
            with suppress(OSError):
                with self._connect() as sock:
                    if number % 4 == 0:
                        sock.sendall(os.urandom(2000))
                    elif number % 4 == 1:
                        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
                    elif number % 4 == 2:
                        self.stop.wait(30)
                    at = 0
                    while number % 4 == 3 and not self.stop.wait(0.5):
                        sock.sendall(loris[at:at + 1])
                        at += 1
            self.stop.wait(1)

    def __enter__(self) -> "Crowd":
        self.threads = [threading.Thread(target=self._one, args=(n,))
                        for n in range(self.count)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_migration_among_garbage_and_slow_loris(hosts, certificates,
                                                transport):
    port = free_port()
    options = {"tcp": [], "tls": [*certificates.options("receiver"),
                                  "--allow=sender.example"]}[transport]
    with Listener(hosts, *options,
                  f"{transport}:127.0.0.1:{port}") as listener:
        with Crowd((socket.AF_INET, ("127.0.0.1", port)), 200) as crowd:
            eventually(lambda: crowd.made >= 200, "the crowd is not there")
            for _ in range(3):
                more = (certificates.options("sender")
                        if transport == "tls" else [])
                result = hosts.migrate(
                    *more, "dom", f"{transport}:127.0.0.1:{port}")
                assert result.returncode == 0, result.stderr
            # The limit held.
            assert len(children_of(listener.process.pid)) <= 64 + 8
        log = listener.log()
    assert len(re.findall("receiving: stream v3", log)) == 3
    assert len(re.findall("refused: ", log)) >= 100
    assert len(hosts.noted("receiving")) == 3
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert hosts.noted("running") == [digest] * 3


def test_slow_loris_meets_the_deadline(hosts, path):
    with Listener(hosts, "--handshake-timeout=2", f"unix:{path}") as log:
        begin = time.monotonic()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for byte in Offer(SENDER, text=b"x" * 4000).pack():
                    sock.sendall(bytes([byte]))
                    time.sleep(0.05)
                    assert time.monotonic() < begin + 6
        log.wait_for("refused: no complete HELLO within 2 s, "
                     "only [0-9]+ bytes")
    assert 1.5 < time.monotonic() - begin < 6
    assert hosts.notes() == []
