# SPDX-License-Identifier: LGPL-2.1-or-later
"""Negotiation and transports between two ends on this machine."""
import hashlib
import json
import os
import pty
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from command import PROGRAM, ROOT, build_empty_plugin, run
from streamv3 import hello
from streamv3.hello import BANNER, RECEIVER, SENDER, Offer
from transport import Authority, Hosts, Listener, frame

CONTENT = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return build_empty_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def hosts(tmp_path, plugin):
    return Hosts(tmp_path, plugin, CONTENT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def eventually(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# ---- the four pairs ------------------------------------------------------


@pytest.mark.parametrize("sender,receiver,version", [
    ("new", "new", 3), ("new", "old", 2), ("old", "new", None),
    ("old", "old", None)])
def test_pairs_by_ssh(hosts, sender, receiver, version):
    hosts.remote_is(receiver)
    if sender == "new":
        result = hosts.migrate(f"--ssh={hosts.ssh}", "dom", "there")
        assert f"stream v{version} over ssh" in result.stderr
    else:
        result = hosts.stock_migrate(str(hosts.ssh))
    assert result.returncode == 0, result.stderr
    hosts.assert_migrated(version)


@contextmanager
def stock_receiver(hosts, path, count=2):
    """xl migrate-receive for each connection to a socket."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    server.settimeout(20)
    children = []

    def serve():
        with suppress(OSError):
            for _ in range(count):
                sock, _ = server.accept()
                with sock:
                    children.append(subprocess.Popen(
                        [hosts.folder / "old/xl", "migrate-receive"],
                        stdin=sock, stdout=sock, env=hosts.env))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for child in children:
            child.wait(20)


def test_new_to_stock_over_a_socket(hosts, path):
    """It is sent a HELLO, found out, and connected to again."""
    with stock_receiver(hosts, path):
        result = hosts.migrate("dom", f"unix:{path}")
    assert result.returncode == 0, result.stderr
    assert "stream v2 over unix, peer stock xl" in result.stderr
    hosts.assert_migrated(2)
    assert len(hosts.noted("bad_head")) == 1


def test_new_to_stock_that_is_announced(hosts, path):
    with stock_receiver(hosts, path, count=1):
        result = hosts.migrate("--stock", "dom", f"unix:{path}")
    assert result.returncode == 0, result.stderr
    hosts.assert_migrated(2)
    assert hosts.noted("bad_head") == []


CONNECT = r'''
import os, socket, sys, threading
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
def send():
    while data := os.read(0, 65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while data := sock.recv(65536):
    os.write(1, data)
'''


def test_stock_to_new_over_a_socket(hosts, path):
    """Silent for a while, and then taken for what it is."""
    script = hosts.folder / "connect.py"
    script.write_text(CONNECT)
    with Listener(hosts, f"unix:{path}") as listener:
        result = hosts.stock_migrate(f"/usr/bin/python3 {script}",
                                     str(path))
        assert result.returncode == 0, result.stderr
        listener.wait_for("receiving: stream v2 from stock xl")
        listener.wait_for("xl ended with status 0")
    hosts.assert_migrated(None)


def test_stock_is_not_taken_from_plain_tcp(hosts):
    port = free_port()
    with Listener(hosts, "--handshake-timeout=4",
                  f"tcp:127.0.0.1:{port}") as listener:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(10)
            assert sock.recv(100) == b""
        listener.wait_for("refused: no HELLO within 4 s")
    assert hosts.notes() == []


# ---- what is asked for ------------------------------------------------------


@pytest.mark.parametrize("format_,version", [("v2", 2), ("v3", 3),
                                             ("auto", 3)])
def test_format(hosts, path, format_, version):
    with Listener(hosts, f"unix:{path}") as listener:
        result = hosts.migrate(f"--format={format_}", "dom", f"unix:{path}")
        assert result.returncode == 0, result.stderr
        listener.wait_for(f"receiving: stream v{version} from xl-aligned")
    hosts.assert_migrated(version)


def test_v3_or_nothing(hosts, path):
    hosts.remote_is("old")
    result = hosts.migrate("--format=v3", f"--ssh={hosts.ssh}", "dom", "h")
    assert result.returncode == 1
    assert "the receiver is a stock xl" in result.stderr
    hosts.remote_is("new")
    assert hosts.noted("bad_head") or not hosts.noted("running")


def test_without_plugin_v2_is_agreed_on(hosts):
    result = hosts.migrate(f"--ssh={hosts.ssh}", "dom", "there",
                           XL_ALIGNED_PLUGIN="/nowhere/plugin.so")
    assert result.returncode == 0, result.stderr
    # The environment says nothing: the fake xl has no plugin to read it.
    assert "stream v2 over ssh" in result.stderr
    assert hosts.noted("negotiated") == [None]
    result = hosts.migrate("--format=v3", f"--ssh={hosts.ssh}", "dom", "h",
                           XL_ALIGNED_PLUGIN="/nowhere/plugin.so")
    assert result.returncode == 1 and "needs the plugin" in result.stderr


def test_xls_options_arrive(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        result = hosts.migrate("-p", "--debug", "dom", f"unix:{path}")
        assert result.returncode == 0, result.stderr
    assert hosts.noted("options") == [["-d", "-p"]]
    result = hosts.migrate("-e", f"--ssh={hosts.ssh}", "dom", "there")
    assert result.returncode == 0, result.stderr
    assert hosts.noted("options")[1:] == [["-e"]]


def test_receiver_has_the_plugin(hosts, path, plugin):
    with Listener(hosts, f"unix:{path}"):
        assert hosts.migrate("dom", f"unix:{path}").returncode == 0
    assert hosts.migrate(f"--ssh={hosts.ssh}", "d", "h").returncode == 0
    # The real one takes itself out of the environment of what xl starts.
    assert [text.split(":")[0] for text in hosts.noted("preload")] == [
        str(plugin)] * 2


def test_json(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        result = hosts.migrate("--json", "dom", f"unix:{path}")
    report = json.loads(result.stdout)
    assert report["status"] == 0 and report["stream_version"] == 3
    assert report["transport"] == "unix" and report["spliced"] is True
    assert report["peer"].startswith("xl-aligned ")
    # Of the fake xl: its stream and GO; banner, ready, report.
    assert report["bytes_sent"] == len(frame(CONTENT)) + 44
    assert report["bytes_received"] == 54 + 34 + 39 + 1


@pytest.mark.parametrize("passes,text", [
    ([], None), ([4096], "1 pass of 4096 pages"),
    ([32768, 512], "2 passes of 32768 and 512 pages"),
    ([32768, 512, 7], "3 passes of 32768, 512 and 7 pages")])
def test_pages_per_pass(hosts, path, passes, text):
    with Listener(hosts, f"unix:{path}"):
        result = hosts.migrate("--json", "dom", f"unix:{path}",
                               FAKE_PASSES=json.dumps(passes))
    assert json.loads(result.stdout)["pages_per_pass"] == (passes or None)
    if text:
        assert f" s, {text}" in result.stderr
    else:
        assert " pages" not in result.stderr


@pytest.mark.parametrize("option,value", [
    ([], None), (["--no-live"], "no"), (["--live"], "must")])
def test_whether_the_domain_may_stand_still(hosts, path, option, value):
    with Listener(hosts, f"unix:{path}"):
        result = hosts.migrate(*option, "dom", f"unix:{path}")
    assert result.returncode == 0, result.stderr
    assert hosts.noted("live") == [value]


def test_no_live_needs_the_plugin(hosts, path):
    result = hosts.migrate("--no-live", "dom", f"unix:{path}",
                           XL_ALIGNED_PLUGIN="/nowhere/plugin.so")
    assert result.returncode == 1
    assert "--no-live needs the plugin" in result.stderr
    assert hosts.notes() == []


def test_progress_on_a_terminal(hosts, path):
    gate = hosts.folder / "gate"
    gate.touch()
    ours, theirs = pty.openpty()
    with Listener(hosts, f"unix:{path}"):
        process = subprocess.Popen(
            [PROGRAM, "migrate", "dom", f"unix:{path}"], stderr=theirs,
            stdin=subprocess.DEVNULL,
            env={**hosts.env, "FAKE_PAUSE": str(gate)})
        os.close(theirs)
        text = b""
        while b"MiB/s" not in text:
            text += os.read(ours, 1000)
        gate.unlink()
        assert process.wait(20) == 0
    os.close(ours)
    assert re.search(rb"\rdom: 1\.5 MiB sent, [0-9.]+ MiB/s", text), text


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "a;touch x",
                                  "$(touch x)", "a b"])
def test_host_is_not_the_shells(hosts, host, tmp_path):
    result = subprocess.run(
        [PROGRAM, "migrate", f"--ssh={hosts.ssh}", "--", "dom", host],
        env=hosts.env, cwd=tmp_path, capture_output=True, text=True,
        timeout=60)
    assert not (tmp_path / "x").exists()
    assert result.returncode == (1 if host[0] == "-" else 0), result.stderr


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
    (dict(version_min=4), "takes 4 to 4"),
    (dict(request=1 << 9), "bits 0x200"),
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
    (b"bash: xl: command not found\n", "garbage came instead of HELLO"),
    (BANNER[:20] + b"!" * 34, "garbage came instead of HELLO"),
    (os.urandom(4096).replace(b"x", b"y").replace(b"X", b"Y"), "garbage"),
    (Offer(SENDER).pack(), "is a sender as well"),
    (Offer(RECEIVER).pack()[:-1] + b"?", "wrong checksum"),
    (hello.message(1, bytes(4072)), "text begins at octet 0 of 4072"),
    (Offer(7).pack(), "unknown role: 7"),
    (hello.HEADER.pack(hello.MAGIC, 1, 1 << 30, 0), "1073741824 octets"),
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


def test_every_damaged_octet_of_hello(hosts, path):
    """None starts an xl."""
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
                with suppress(ConnectionResetError):
                    assert sock.recv(4096) == b""
        listener.wait_for("refused: ", len(good))
    assert hosts.notes() == []


# ---- ends that come early --------------------------------------------------


def test_sender_gives_up(hosts, path):
    with Listener(hosts, f"unix:{path}") as listener:
        result = hosts.migrate("dom", f"unix:{path}", FAKE_FAIL="send")
        assert result.returncode == 1
        listener.wait_for("xl ended with status 1")
    assert hosts.noted("cut") and not hosts.noted("running")


def test_receiver_gives_up(hosts, path):
    with Listener(hosts, f"unix:{path}", FAKE_FAIL="receive") as listener:
        result = hosts.migrate("dom", f"unix:{path}")
        assert result.returncode == 1
        listener.wait_for("xl ended with status 3")
    assert hosts.noted("resumed") == [True]


@pytest.mark.parametrize("transport", ["unix", "ssh"])
def test_sender_is_killed(hosts, path, transport):
    gate = hosts.folder / "gate"
    gate.touch()
    host = f"unix:{path}" if transport == "unix" else "there"
    with Listener(hosts, f"unix:{path}"):
        process = hosts.start(f"--ssh={hosts.ssh}", "dom", host,
                              FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        os.kill(hosts.noted("started")[0], signal.SIGKILL)
        process.communicate(timeout=20)
        eventually(lambda: hosts.noted("cut"), "the receiver waits")
    assert process.returncode == 128 + signal.SIGKILL
    assert not hosts.noted("running")


def test_session_is_killed(hosts, path):
    gate = hosts.folder / "gate"
    gate.touch()
    with Listener(hosts, f"unix:{path}") as listener:
        process = hosts.start("dom", f"unix:{path}", FAKE_PAUSE=str(gate))
        eventually(lambda: hosts.noted("paused"), "not paused")
        sessions = [pid for pid in children_of(listener.process.pid)
                    if b"listen" in cmdline(pid)]
        assert len(sessions) == 1
        os.kill(sessions[0], signal.SIGKILL)
        gate.unlink()
        assert process.wait(20) == 1
        process.communicate()
        listener.wait_for("the session was killed by signal 9")
        listener.wait_for("xl ended with status 1")
    assert hosts.noted("resumed") == [True]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def cmdline(pid):
    with suppress(FileNotFoundError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    return b""


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file
                    if ":\t" in line)


# ---- a link that is cut or damaged -----------------------------------------


@contextmanager
def relay(path, target, *plan):
    """tests/integration/relay.py in between; its output, at the end."""
    said = []
    process = subprocess.Popen(
        ["/usr/bin/python3", ROOT / "tests/integration/relay.py", path,
         target, *map(str, plan)], stdout=subprocess.PIPE, text=True,
        start_new_session=True)
    try:
        assert process.stdout.readline() == "listening\n"
        yield said
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        said += process.stdout.read().splitlines()
        process.wait()


def test_relay_changes_nothing_by_itself(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        with relay(f"{path}.relay", path) as said:
            result = hosts.migrate("dom", f"unix:{path}.relay")
    assert result.returncode == 0, result.stderr
    assert said[-1].endswith("phase go"), said
    hosts.assert_migrated(3)


CUTS = [("hello", "s2r", 0), ("hello", "s2r", 10), ("hello", "s2r", 60),
        ("hello", "r2s", 30), ("hello", "r2s", 150), ("stream", "s2r", 5),
        ("stream", "s2r", 1 << 20), ("stream", "r2s", 10),
        ("ready", "s2r", 0), ("ready", "s2r", 20)]


@pytest.mark.parametrize("phase,direction,octets", CUTS)
def test_cut_before_go(hosts, path, phase, direction, octets):
    """The domain runs on at the sender, and nowhere else."""
    with Listener(hosts, f"unix:{path}") as listener:
        with relay(f"{path}.relay", path, "cut", phase, direction,
                   octets) as said:
            result = hosts.migrate("dom", f"unix:{path}.relay")
        assert said and said[0].startswith(f"cut in {phase}"), said
        eventually(lambda: not children_of(listener.process.pid),
                   "the receiver waits")
    assert result.returncode == 1
    assert hosts.noted("running") == []
    # As stock: once GO has been tried, it is too late to resume.
    after = phase == "ready"
    assert hosts.noted("resumed") == ([] if after else [True])
    assert hosts.noted("undefined") == ([True] if after else [])


@pytest.mark.parametrize("octets", [0, 10, 39])
def test_cut_after_go(hosts, path, octets):
    """What stock does: it runs there, and the sender cannot tell."""
    with Listener(hosts, f"unix:{path}") as listener:
        with relay(f"{path}.relay", path, "cut", "go", "r2s", octets):
            result = hosts.migrate("dom", f"unix:{path}.relay")
        eventually(lambda: not children_of(listener.process.pid),
                   "the receiver waits")
    assert result.returncode == 1
    assert len(hosts.noted("running")) == 1
    assert hosts.noted("undefined") == [True]
    assert not hosts.noted("resumed") and not hosts.noted("destroyed")


def test_flipped_bits_of_hello(hosts, path):
    for direction in ("s2r", "r2s"):
        for octet in range(0, 100, 9):
            where = f"{path}.{direction}{octet}"
            with Listener(hosts, f"unix:{path}"):
                with relay(where, path, "flip", "hello", direction, octet):
                    result = hosts.migrate("dom", f"unix:{where}")
            assert result.returncode == 1, (direction, octet)
    # The receiver's xl may have been started where its own RESULT was hit;
    # it was sent nothing.
    assert hosts.noted("running") == hosts.noted("negotiated") == []
    assert {note for note in hosts.noted("bad_head")} <= {repr(b"")}


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
        assert "1 domains are arriving already" in second.stderr
        listener.wait_for("refused: 1 domains are arriving already")
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
        listener.wait_for("waiting for 1 domains")
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
    assert "who may connect?" in result.stderr


# ---- TLS -------------------------------------------------------------------


class Certificates:
    def __init__(self, folder) -> None:
        own = Authority(folder, "own")
        other = Authority(folder, "other")
        self.authority = own.cert
        self.files = {
            "receiver": own.issue("receiver", "/CN=receiver.example",
                                  "DNS:receiver.example,DNS:localhost,"
                                  "IP:127.0.0.1"),
            "sender": own.issue("sender", "/O=lab/CN=sender.example",
                                "DNS:sender.example"),
            "stranger": own.issue("stranger", "/CN=stranger.example",
                                  "DNS:stranger.example"),
            "expired": own.issue("expired", "/CN=sender.example",
                                 "DNS:sender.example", days=-1),
            "expired-receiver": own.issue(
                "expired-receiver", "/CN=receiver.example",
                "DNS:localhost", days=-1),
            "wrong-ca": other.issue("wrong-ca", "/CN=sender.example",
                                    "DNS:sender.example"),
            "wrong-ca-receiver": other.issue(
                "wrong-ca-receiver", "/CN=receiver.example",
                "DNS:localhost"),
        }

    def options(self, name) -> list:
        cert, key = self.files[name]
        return [f"--cert={cert}", f"--key={key}", f"--ca={self.authority}"]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def tls_listener(hosts, certificates, *options, who="receiver"):
    port = free_port()
    options = options or ("--allow=sender.example",)
    with Listener(hosts, *certificates.options(who), *options,
                  f"tls:localhost:{port}") as listener:
        yield listener, port


@pytest.mark.parametrize("allow", [
    "sender.example", "CN=sender.example,O=lab", "*"])
def test_tls(hosts, certificates, allow):
    with tls_listener(hosts, certificates, f"--allow={allow}") as (log, at):
        result = hosts.migrate(*certificates.options("sender"), "--json",
                               "dom", f"tls:localhost:{at}")
        assert result.returncode == 0, result.stderr
        log.wait_for(r"receiving: stream v3 from xl-aligned")
        assert "(CN=sender.example,O=lab)" in log.log()
    assert json.loads(result.stdout)["transport"] == "tls"
    hosts.assert_migrated(3)


def test_tls_allow_file(hosts, certificates):
    file = hosts.folder / "allow"
    file.write_text("# who may\n\nother.example\n  \nsender.example\n")
    with tls_listener(hosts, certificates, f"--allow-file={file}") as (_, at):
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:127.0.0.1:{at}")
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("who,word", [
    ("stranger", r"stranger.example\) is not on the list|"
                 r"CN=stranger.example is not on the list"),
    ("expired", "certificate has expired"),
    ("wrong-ca", "unable to get local issuer certificate"),
])
def test_tls_refuses_certificates(hosts, certificates, who, word):
    with tls_listener(hosts, certificates) as (log, port):
        result = hosts.migrate(*certificates.options(who), "dom",
                               f"tls:localhost:{port}")
        assert result.returncode == 1
        assert hosts.noted("resumed") == [True]
        log.wait_for(f"refused: .*({word})")
    hosts.assert_untouched()


@pytest.mark.parametrize("entry", [
    "sender", "*.example", "CN=sender.example", "O=lab,CN=sender.example",
    "sender.example.org", "CN=sender.example,O=lab,C=XX"])
def test_tls_subject_must_match_exactly(hosts, certificates, entry):
    with tls_listener(hosts, certificates, f"--allow={entry}") as (log, at):
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:localhost:{at}")
        assert result.returncode == 1
        log.wait_for("is not on the list")
    hosts.assert_untouched()


@pytest.mark.parametrize("who,options,word", [
    ("wrong-ca-receiver", [], "unable to get local issuer"),
    ("expired-receiver", [], "certificate has expired"),
    ("receiver", ["--peer-name=other.example"], "ostname mismatch"),
])
def test_tls_sender_refuses_receivers(hosts, certificates, who, options,
                                      word):
    with tls_listener(hosts, certificates, who=who) as (log, port):
        result = hosts.migrate(*certificates.options("sender"), *options,
                               "dom", f"tls:localhost:{port}")
        assert result.returncode == 1
        assert word in result.stderr
        log.wait_for("refused: ")
    hosts.assert_untouched()


def test_tls_client_without_certificate(hosts, certificates):
    with tls_listener(hosts, certificates) as (log, port):
        context = ssl.create_default_context(
            cafile=str(certificates.authority))
        with suppress(ssl.SSLError, ConnectionResetError):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                with context.wrap_socket(
                        raw, server_hostname="localhost") as sock:
                    sock.recv(1)
        log.wait_for("refused: .*shows no certificate")
    hosts.assert_untouched()


def test_tls_1_2_client(hosts, certificates):
    with tls_listener(hosts, certificates) as (log, port):
        context = ssl.create_default_context(
            cafile=str(certificates.authority))
        context.load_cert_chain(*certificates.files["sender"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                context.wrap_socket(raw, server_hostname="localhost")
        log.wait_for("refused: .*does not speak TLS 1.3")
    hosts.assert_untouched()


@pytest.mark.parametrize("octets", [
    Offer(SENDER).pack(), b"GET / HTTP/1.0\r\n\r\n", b"\0" * 300])
def test_plaintext_client_of_tls(hosts, certificates, octets):
    with tls_listener(hosts, certificates) as (log, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(octets)
            with suppress(ConnectionResetError):
                while sock.recv(1000):
                    pass
        log.wait_for("refused: .*(not TLS|TLS 1.3)")
    hosts.assert_untouched()


def test_tls_client_of_plaintext(hosts, certificates, path):
    port = free_port()
    with Listener(hosts, f"tcp:127.0.0.1:{port}") as log:
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:localhost:{port}")
        assert result.returncode == 1
        log.wait_for("refused: garbage .*TLS client")
    hosts.assert_untouched()


def test_tls_needs_an_allow_list(hosts, certificates):
    result = run("listen", *certificates.options("receiver"),
                 f"tls:localhost:{free_port()}", env=hosts.env)
    assert result.returncode == 2 and "--allow" in result.stderr


@pytest.mark.parametrize("missing", ["cert", "key", "ca"])
def test_tls_files_that_are_not_there(hosts, certificates, missing):
    options = [*certificates.options("receiver"), f"--{missing}=/nowhere"]
    result = run("listen", *options, "--allow=*",
                 f"tls:localhost:{free_port()}", env=hosts.env)
    assert result.returncode == 1 and "/nowhere" in result.stderr
    result = hosts.migrate(*options, "dom", "tls:localhost:1")
    assert result.returncode == 1 and "/nowhere" in result.stderr


# ---- a crowd ---------------------------------------------------------------


class Crowd:
    """Connections that say nonsense, nothing, or a HELLO octet by octet."""

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
                for octet in Offer(SENDER, text=b"x" * 4000).pack():
                    sock.sendall(bytes([octet]))
                    time.sleep(0.05)
                    assert time.monotonic() < begin + 6
        log.wait_for("refused: no whole HELLO within 2 s: [0-9]+ octets")
    assert 1.5 < time.monotonic() - begin < 6
    assert hosts.notes() == []
