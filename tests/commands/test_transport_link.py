# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ends that come early, and links that are cut or damaged."""
import os
import signal
import subprocess
from contextlib import contextmanager

import pytest


from commands.transport import Listener, children_of, cmdline
from support import ROOT, eventually


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


# ---- a link that is cut or damaged -----------------------------------------


@contextmanager
def relay(path, target, *plan):
    """tests/fakes/relay.py in between; its output, at the end."""
    said = []
    process = subprocess.Popen(
        ["/usr/bin/python3", ROOT / "tests/fakes/relay.py", path,
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


@pytest.mark.parametrize("phase,direction,count", CUTS)
def test_cut_before_go(hosts, path, phase, direction, count):
    """The domain runs on at the sender, and nowhere else."""
    with Listener(hosts, f"unix:{path}") as listener:
        with relay(f"{path}.relay", path, "cut", phase, direction,
                   count) as said:
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


@pytest.mark.parametrize("count", [0, 10, 39])
def test_cut_after_go(hosts, path, count):
    """What stock does: it runs there, and the sender cannot tell."""
    with Listener(hosts, f"unix:{path}") as listener:
        with relay(f"{path}.relay", path, "cut", "go", "r2s", count):
            result = hosts.migrate("dom", f"unix:{path}.relay")
        eventually(lambda: not children_of(listener.process.pid),
                   "the receiver waits")
    assert result.returncode == 1
    assert len(hosts.noted("running")) == 1
    assert hosts.noted("undefined") == [True]
    assert not hosts.noted("resumed") and not hosts.noted("destroyed")


def test_flipped_bits_of_hello(hosts, path):
    for direction in ("s2r", "r2s"):
        for at in range(0, 100, 9):
            where = f"{path}.{direction}{at}"
            with Listener(hosts, f"unix:{path}"):
                with relay(where, path, "flip", "hello", direction, at):
                    result = hosts.migrate("dom", f"unix:{where}")
            assert result.returncode == 1, (direction, at)
    # The receiver's xl may have been started where its own RESULT was hit;
    # it was sent nothing.
    assert hosts.noted("running") == hosts.noted("negotiated") == []
    assert {note for note in hosts.noted("bad_head")} <= {repr(b"")}
