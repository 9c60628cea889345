# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migration over a link that is cut, damaged or gone dead: one running copy
at most, and never none where stock would have had one."""
import re
import signal
import time

import pytest

from host.migrate import (GUEST, SLOW, DomainWatch, assert_stayed, by_tcp,
                          clean, eventually, hosts, listen_log, names, note,
                          overlay, relay, report_of, start, xl_aligned)
from lab import pvh

pytestmark = pytest.mark.slow
__all__ = ["clean", "hosts", "overlay"]

THROUGH_RELAY = "guest tcp:127.0.0.1:9000"
# xl's words for a domain that was suspended, and for one that was not yet.
RUNS_ON = "resuming at sender|failed to suspend at sender"
MID = 6 << 20
CUTS = [("hello", "s2r", 10), ("hello", "r2s", 60), ("stream", "s2r", 0),
        ("stream", "s2r", 300), ("stream", "s2r", MID),
        ("stream", "s2r", MID + 123457), ("stream", "r2s", 0)]


@pytest.mark.parametrize("phase,direction,count", CUTS)
def test_cut_before_go(hosts, phase, direction, count):
    sender, receiver = start(hosts)
    with relay(sender, receiver, "cut", phase, direction, count) as job:
        result = xl_aligned(sender, THROUGH_RELAY, check=False)
        said = job.output().stdout
    assert result.status != 0
    assert f"cut in {phase} {direction}" in said
    assert_stayed(sender, receiver)
    note("cut", {"phase": phase, "direction": direction, "bytes": count,
                 "error": report_of(result).get("error")})


def test_cut_in_the_last_pass(hosts):
    """The guest is suspended, and not all of it has been sent."""
    busy = pvh("busy", memory=128, noise=24, dirty=5000)
    sender, receiver = start(hosts, busy)
    with relay(sender, receiver, "slow", "stream", "s2r", 6 << 20) as job:
        watch = DomainWatch(sender, "suspended")
        migration = sender.popen("exec xl-aligned migrate --json busy "
                                 "tcp:127.0.0.1:9000")
        eventually(watch.seen, "not suspended", SLOW)
        job.kill()
        result = migration.wait(SLOW, check=False)
    assert result.status != 0
    assert "resuming at sender" in result.stderr
    note("cut", {"phase": "last pass",
                 "passes": report_of(result)["pages_per_pass"],
                 "error": report_of(result).get("error")})
    assert_stayed(sender, receiver, busy)


@pytest.mark.parametrize("program", ["stock", "ours"])
@pytest.mark.parametrize("phase,direction,count,there", [
    ("ready", "s2r", 0, False),     # GO is lost
    ("go", "r2s", 0, True),         # the report is lost
    ("go", "r2s", 39, True),        # its last byte is lost
])
def test_cut_at_go(hosts, program, phase, direction, count, there):
    """What xl does here is xl's to say; both must come to the same."""
    sender, receiver = start(hosts)
    receiver.mark(GUEST.name)
    with relay(sender, receiver, "cut", phase, direction, count) as job:
        # Stock's stream, and nothing of ours in xl or the stream.
        words = "--format=v2 " if program == "stock" else ""
        env = "XL_ALIGNED_PLUGIN=/none " if program == "stock" else ""
        result = sender.run(f"{env}xl-aligned migrate {words}"
                            f"{THROUGH_RELAY}", SLOW, check=False)
        said = job.output().stdout
    assert f"cut in {phase} {direction}" in said, said
    assert result.status != 0
    assert "Migration failed during final handshake" in result.stderr
    assert names(sender) == ["guest--migratedaway"]
    if there:
        receiver.wait_verdict(GUEST.name)
    eventually(lambda: names(receiver) == (["guest"] if there else []),
               "not as with stock")
    note("cut", {"phase": phase, "direction": direction, "bytes": count,
                 "program": program, "there": there})
    # What a person would do now.
    sender.destroy("guest--migratedaway")


@pytest.mark.parametrize("count", [MID, MID + 4096 * 7 + 5])
def test_flipped_bit_on_the_wire(hosts, count):
    sender, receiver = start(hosts)
    with relay(sender, receiver, "flip", "stream", "s2r", count) as job:
        result = xl_aligned(sender, THROUGH_RELAY, check=False)
        assert "flip in stream" in job.output().stdout
    assert result.status != 0
    found = re.findall("libxl-aligned: .*(?:checksum|batch|record).*",
                       listen_log(receiver))
    assert found
    note("flip", found[-1])
    assert_stayed(sender, receiver)


def test_link_goes_dead(hosts):
    """No byte gets through any more, and neither end is notified."""
    # Takes long enough for something to happen meanwhile.
    busy = pvh("busy", memory=160, noise=48, dirty=3000)
    sender, receiver = start(hosts, busy)
    job = sender.popen(f"exec xl-aligned migrate {by_tcp(receiver, busy)}")
    eventually(lambda: "busy--incoming" in names(receiver), "not begun")
    begin = time.monotonic()
    for host in hosts:
        host.monitor("set_link n0 off")
    try:
        result = job.wait(SLOW, check=False)
        seconds = time.monotonic() - begin
        eventually(lambda: names(receiver) == [], "it is still there")
        there = time.monotonic() - begin
    finally:
        for host in hosts:
            host.monitor("set_link n0 on")
    assert result.status != 0
    assert "timed out" in result.stderr, result.stderr
    assert re.search(RUNS_ON, result.stderr), result.stderr
    assert_stayed(sender, receiver, busy)
    note("dead link", {"noticed": seconds, "receiver": there})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(hosts, signum):
    """By a terminal: everybody gets the signal."""
    sender, receiver = start(hosts)
    with relay(sender, receiver, "slow", "stream", "s2r", 4 << 20):
        job = sender.popen(f"exec xl-aligned migrate {THROUGH_RELAY}")
        eventually(lambda: "guest--incoming" in names(receiver),
                   "not begun")
        job.kill(signum)
        result = job.wait(SLOW, check=False)
    assert result.status != 0
    assert re.search(RUNS_ON, result.stderr), result.stderr
    assert_stayed(sender, receiver)
