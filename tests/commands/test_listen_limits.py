# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned listen: no peer blocks it, and each refused peer gets a reason."""
import os
import re
import signal
import socket
import ssl
import subprocess
import time

import pytest

from commands.transport import (CONTENT, Listener, children_of, frame,
                                free_port, tls_listener)
from model import hello
from model.hello import BANNER, BUSY, SENDER, Offer
from support import eventually


def connect(path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path))
    return sock


def agreed(path) -> socket.socket:
    """As far as the banner."""
    sock = connect(path)
    _, ours, theirs = hello.negotiate(sock, Offer(SENDER), first=True)
    assert ours == theirs
    assert hello.receive(sock, len(BANNER)) == BANNER
    return sock


def alone(listener) -> None:
    eventually(lambda: not children_of(listener.process.pid),
               "a session or an xl is left")


@pytest.mark.parametrize("sent", [b"", frame(CONTENT)[:30], frame(CONTENT)],
                         ids=["nothing", "a beginning", "all but go"])
def test_sender_that_falls_silent(hosts, path, sent):
    with Listener(hosts, "--stall-timeout=1", f"unix:{path}") as listener:
        with agreed(path) as sock:
            sock.sendall(sent)
            listener.wait_for("aborted: .*no byte for 1 s")
            alone(listener)
    assert hosts.noted("running") == []


def test_sender_that_waits_for_xl_is_not_silent(hosts, path):
    """Nor one whose bytes xl does not take."""
    with Listener(hosts, "--stall-timeout=2", f"unix:{path}") as listener:
        with agreed(path) as sock:
            pid, = hosts.noted("receiving")
            os.kill(pid, signal.SIGSTOP)
            sock.settimeout(1)
            try:
                with pytest.raises(TimeoutError):
                    sock.sendall(frame(bytes(30 << 20)))
                time.sleep(3)
                assert "aborted" not in listener.log()
            finally:
                os.kill(pid, signal.SIGCONT)
        alone(listener)


def test_sender_that_stays_when_xl_has_gone(hosts, path):
    with Listener(hosts, "--domains=1", f"unix:{path}") as listener:
        with agreed(path) as sock:
            sock.sendall(b"no domain, and no end of it")
            listener.wait_for("xl ended with status 1")
            assert sock.recv(1) == b""
            alone(listener)
        assert hosts.migrate("dom", f"unix:{path}").returncode == 0


def test_tls_sender_that_stays_when_xl_has_gone(hosts, certificates):
    context = ssl.create_default_context(cafile=str(certificates.authority))
    context.load_cert_chain(*certificates.files["sender"])
    with tls_listener(hosts, certificates) as (listener, port):
        with context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), 20),
                server_hostname="localhost") as sock:
            hello.negotiate(sock, Offer(SENDER), first=True)
            assert hello.receive(sock, len(BANNER)) == BANNER
            sock.sendall(b"no domain, and no end of it")
            listener.wait_for("xl ended with status 1")
            alone(listener)


def test_end_waits_for_domains_alone(hosts, path):
    gate = hosts.folder / "gate"
    gate.touch()
    with Listener(hosts, f"unix:{path}") as listener:
        process = hosts.start("dom", f"unix:{path}", FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        with connect(path) as silent, connect(path) as slow:
            slow.sendall(Offer(SENDER).pack())
            hello.receive_message(slow)
            eventually(lambda: len(children_of(listener.process.pid)) == 4,
                       "no sessions")
            listener.process.send_signal(signal.SIGTERM)
            for sock in silent, slow:
                result = hello.refusal(sock)
                assert result.status == BUSY
                assert b"is shutting down" in result.text
        eventually(lambda: len(children_of(listener.process.pid)) == 2,
                   "more than the domain is left")
        gate.unlink()
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert listener.process.wait(20) == 0
    hosts.assert_migrated(3)


def test_connection_that_makes_room_is_told(hosts, path):
    with Listener(hosts, "--connections=2", f"unix:{path}") as listener:
        with connect(path) as first, connect(path), connect(path):
            result = hello.refusal(first)
            assert result.status == BUSY
            assert b"too many connections" in result.text
            assert hosts.migrate("dom", f"unix:{path}").returncode == 0
        alone(listener)


def test_crowd_of_one_address_makes_room_itself(hosts):
    port = free_port()

    def call(source):
        sock = socket.create_connection(("127.0.0.1", port), 20,
                                        source_address=(source, 0))
        return sock

    with Listener(hosts, "--connections=3", f"tcp:127.0.0.1:{port}") as log:
        with call("127.0.0.2") as lonely:
            eventually(lambda: children_of(log.process.pid), "none")
            crowd = [call("127.0.0.3") for _ in range(6)]
            log.wait_for("refused: too many connections", 4)
            # It came first of all, and is still heard.
            _, ours, theirs = hello.negotiate(lonely, Offer(SENDER),
                                              first=True)
            assert ours == theirs
            assert hello.receive(lonely, len(BANNER)) == BANNER
            for sock in crowd:
                sock.close()


def test_domains_of_one_subject(hosts, certificates):
    gate = hosts.folder / "gate"
    gate.touch()
    with tls_listener(hosts, certificates, "--allow=*", "--domains=3",
                      "--domains-each=1") as (listener, port):
        address = f"tls:localhost:{port}"
        options = certificates.options("sender")
        first = hosts.start(*options, "dom", address, FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        second = hosts.migrate(*options, "dom", address)
        assert second.returncode == 1
        assert ("1 domains from CN=sender.example,O=lab are already "
                "arriving") in second.stderr
        other = hosts.migrate(*certificates.options("stranger"), "dom",
                              address)
        assert other.returncode == 0, other.stderr
        gate.unlink()
        first.communicate(timeout=20)
        assert first.returncode == 0
        listener.wait_for("xl ended with status 0", 2)


def test_sender_is_told_that_it_is_not_allowed(hosts, certificates):
    with tls_listener(hosts, certificates) as (_, port):
        result = hosts.migrate(*certificates.options("stranger"), "dom",
                               f"tls:localhost:{port}")
    assert "CN=stranger.example is not allowed to connect" in result.stderr


FEW = ["prlimit", "--nofile=16:4096"]


def test_no_descriptor_left(hosts, path):
    with Listener(hosts, f"unix:{path}", prefix=FEW) as listener:
        before = len(os.listdir(f"/proc/{listener.process.pid}/fd"))
        socks = [connect(path) for _ in range(40)]
        listener.wait_for("refused: this host is out of file descriptors|"
                          "refused: this host cannot start a session", 20)
        result = hello.refusal(socks[-1])
        assert result.status == BUSY
        late = hosts.migrate("dom", f"unix:{path}")
        assert late.returncode == 1
        assert re.search("refused by the peer .status 5.: this host",
                         late.stderr), late.stderr
        for sock in socks:
            sock.close()
        alone(listener)
        assert len(os.listdir(f"/proc/{listener.process.pid}/fd")) == before
        assert hosts.migrate("dom", f"unix:{path}").returncode == 0


def test_no_descriptor_left_for_tls(hosts, certificates):
    port = free_port()
    with Listener(hosts, *certificates.options("receiver"), "--allow=*",
                  f"tls:localhost:{port}", prefix=FEW) as listener:
        socks = [socket.create_connection(("127.0.0.1", port))
                 for _ in range(40)]
        listener.wait_for("refused: ", 20)
        late = hosts.migrate(*certificates.options("sender"), "dom",
                             f"tls:localhost:{port}")
        assert "the peer is busy" in late.stderr
        for sock in socks:
            sock.close()


def test_unit_of_systemd():
    """What the listener needs of systemd is in its unit."""
    unit = subprocess.run(
        ["cat", "xl-cmds/systemd/xl-aligned-listen.service"],
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(
            os.path.abspath(__file__)))), capture_output=True, text=True,
        check=True).stdout
    limit = int(re.search("^LimitNOFILE=([0-9]+)", unit, re.M)[1])
    # One for each connection of --connections=4096, twice that while they end.
    assert limit > 2 * 4096
    assert re.search("^ExecReload=.* -HUP ", unit, re.M)
