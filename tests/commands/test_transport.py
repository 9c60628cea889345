# SPDX-License-Identifier: LGPL-2.1-or-later
"""Negotiation and transports between two ends on this machine."""
import json
import os
import pty
import re
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest

from commands.program import PROGRAM
from commands.transport import (CONTENT, Listener, frame, free_port, hosts,
                                path, plugin)
from model import hello

__all__ = ["hosts", "path", "plugin"]


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
            # A stock xl says what it got instead of the banner.
            assert hello.refusal(sock).status == hello.BROKEN
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
    assert report["exit_status"] == 0 and report["stream_version"] == 3
    assert report["carrier"] == "unix" and report["spliced"] is True
    assert report["peer"].startswith("xl-aligned ")
    # Of the fake xl: its stream and GO; banner, ready, report.
    assert report["bytes_sent"] == len(frame(CONTENT)) + 44
    assert report["bytes_received"] == 54 + 34 + 39 + 1


def test_figures_do_not_wait_for_the_end_of_the_transport(hosts, path):
    """xl ends when the domain runs there, and not when the link is closed."""
    with Listener(hosts, f"unix:{path}"):
        result = hosts.migrate("--json", "dom", f"unix:{path}",
                               FAKE_HASTE="yes")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["transfer_seconds"] >= 0.1 and report["spliced"] is True
    assert " MiB sent in 0.0 s" not in result.stderr


@pytest.mark.parametrize("asked, used", [
    (None, "none"), ("none", "none"), ("lz4", "lz4"), ("zstd:7", "zstd")])
def test_compression_is_agreed_on(hosts, path, asked, used):
    options = [f"--compress={asked}"] if asked else []
    with Listener(hosts, f"unix:{path}"):
        # One from outside is not for a migration.
        result = hosts.migrate("--json", *options, "dom", f"unix:{path}",
                               XL_ALIGNED_COMPRESS="lz4:3")
    assert result.returncode == 0, result.stderr
    assert hosts.noted("features") == ["features=0x3\n"]
    assert hosts.noted("compress") == [asked]
    assert json.loads(result.stdout)["compression"] == used
    said = "stream v3 over" if used == "none" else f"stream v3, {used} over"
    assert said in result.stderr


def test_compression_and_a_stock_receiver(hosts):
    """The plugin says that it goes uncompressed; here it is not called so."""
    hosts.remote_is("old")
    result = hosts.migrate("--json", "--compress=zstd", f"--ssh={hosts.ssh}",
                           "dom", "there")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["compression"] == "none"
    assert "stream v2 over" in result.stderr
    assert hosts.noted("features") == ["features=0x0\n"]


def test_compression_needs_the_plugin(hosts):
    result = hosts.migrate("--compress=zstd", f"--ssh={hosts.ssh}", "dom",
                           "there", XL_ALIGNED_PLUGIN="/nowhere/plugin.so")
    assert result.returncode == 0, result.stderr
    assert "sending uncompressed: --compress needs the plugin" in \
        result.stderr


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


def test_ssh_as_xl_names_it(hosts):
    result = hosts.migrate("-s", hosts.ssh, "dom", "there")
    assert result.returncode == 0, result.stderr
    hosts.assert_migrated(3)
    # With xl's -s "" the host would be the command.
    assert "-s needs a value" in hosts.migrate("-s", "", "dom", "x").stderr


@pytest.mark.parametrize("address", ["unix:/nowhere/socket", "tcp:localhost:1"])
def test_an_address_is_named_once(hosts, address):
    result = hosts.migrate("dom", address)
    assert result.returncode == 1
    line = next(line for line in result.stderr.splitlines()
                if "No such file" in line or "refused" in line)
    assert line.count(address.partition(":")[2]) == 1, line
