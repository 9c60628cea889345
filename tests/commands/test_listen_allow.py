# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned listen: the list of those who may connect."""
import os
import signal

import pytest

from commands.program import run
from commands.transport import free_port, tls_listener


@pytest.fixture
def allow(tmp_path):
    file = tmp_path / "allow"
    file.write_text("other.example\n")
    file.chmod(0o644)
    return file


def migrate(hosts, certificates, port):
    return hosts.migrate(*certificates.options("sender"), "dom",
                         f"tls:localhost:{port}")


@pytest.mark.parametrize("content", [
    b"# who may\n\nother.example\n  \nsender.example\n",
    b"  \t sender.example \t \n",
    b"sender.example # rack 3 = left\n",
    b"  # rack 3\nsender.example#\nsender.example\n",
    b"\xef\xbb\xbfsender.example\r\n",
    b"other.example\r\nsender.example\r\n",
    b"sender.example",
    b"CN=sender.example,O=lab",
    b"x" * 100000 + b"\nsender.example\n",
], ids=range(9))
def test_lines_that_let_in(hosts, certificates, allow, content):
    allow.write_bytes(content)
    with tls_listener(hosts, certificates, f"--allow-file={allow}") as (_, at):
        result = migrate(hosts, certificates, at)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("content", [
    b"x" * 511 + b"*\n",
    b"x" * 511 + b"sender.example\n",
    b"# " + b"x" * 509 + b"*\n",
    b"other.example #\n# sender.example\n",
    b"sender.example# x\n",
    b"sender.example.\xc3\xa4\n",
], ids=range(6))
def test_lines_that_do_not(hosts, certificates, allow, content):
    allow.write_bytes(b"other.example\n" + content)
    with tls_listener(hosts, certificates, f"--allow-file={allow}") as (log,
                                                                       at):
        result = migrate(hosts, certificates, at)
        assert result.returncode == 1
        log.wait_for("sender.example,O=lab is not allowed to connect")
    hosts.assert_untouched()


@pytest.mark.parametrize("entry,why", [
    ("x" * 256, "longer than any name"),
    ("two words", "neither a name, nor"),
    ("sender.exämple", "neither a name, nor"),
    ("CN=sender\x07", "a control character"),
    ("sender.example\rother", "a control character"),
])
def test_what_can_never_match_is_said(hosts, certificates, allow, entry,
                                      why):
    with open(allow, "a", newline="") as file:
        file.write(entry + "\n")
    with tls_listener(hosts, certificates,
                      f"--allow-file={allow}") as (log, _):
        log.wait_for(f"{allow}:2: .* can never match: .*{why}")
    with tls_listener(hosts, certificates, "--allow=a.b",
                      f"--allow={entry}") as (log, _):
        log.wait_for(f"warning: --allow: .* can never match: .*{why}")


def listens(hosts, certificates, file):
    return run("listen", *certificates.options("receiver"),
               f"--allow-file={file}", f"tls:localhost:{free_port()}",
               env=hosts.env)


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o664])
def test_list_that_others_can_write(hosts, certificates, allow, mode):
    allow.chmod(mode)
    result = listens(hosts, certificates, allow)
    assert result.returncode == 1
    assert f"{allow}: is writable by others" in result.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_list_of_another_user(hosts, certificates, allow):
    os.chown(allow, 65534, 0)
    result = listens(hosts, certificates, allow)
    assert result.returncode == 1
    assert f"{allow}: belongs to another user" in result.stderr


def test_lists_that_are_no_text(hosts, certificates, tmp_path):
    (tmp_path / "wide").write_text("sender.example", encoding="utf-16")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("", "not a regular file"), ("none", "No such file"),
                      ("pipe", "not a regular file"), ("wide", "zero byte")):
        result = listens(hosts, certificates, tmp_path / name)
        assert result.returncode == 1 and why in result.stderr


def test_list_is_read_again(hosts, certificates, allow):
    with tls_listener(hosts, certificates,
                      f"--allow-file={allow}") as (log, at):
        assert migrate(hosts, certificates, at).returncode == 1
        allow.write_text("sender.example\n")
        log.process.send_signal(signal.SIGHUP)
        log.wait_for("lists reloaded")
        assert migrate(hosts, certificates, at).returncode == 0
        # One that cannot be trusted changes nothing.
        allow.chmod(0o666)
        log.process.send_signal(signal.SIGHUP)
        log.wait_for("keeping the old")
        assert migrate(hosts, certificates, at).returncode == 0
        # Trusted again, and without the sender in it.
        allow.chmod(0o644)
        allow.write_text("other.example\n")
        log.process.send_signal(signal.SIGHUP)
        log.wait_for("lists reloaded", 2)
        assert migrate(hosts, certificates, at).returncode == 1


def test_hangup_never_ends_it(hosts, path, certificates):
    """Nor a session, nor one that is setting up."""
    with tls_listener(hosts, certificates) as (log, at):
        for _ in range(50):
            log.process.send_signal(signal.SIGHUP)
        log.wait_for("lists reloaded")
        assert migrate(hosts, certificates, at).returncode == 0
