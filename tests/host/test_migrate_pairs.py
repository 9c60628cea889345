# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who migrates to whom, and in which version of the stream."""
import re

import pytest

from host.migrate import (GUEST, PVH, SLOW, assert_arrived, assert_stayed,
                          by_ssh, clean, hosts, make_old, note, overlay,
                          report_of, start, xl_aligned)
from lab import pv

pytestmark = pytest.mark.slow
__all__ = ["clean", "hosts", "overlay"]

PV = pv("pv", memory=96, noise=16)
PAUSED = ("is paused during the migration: it is a PV domain, and "
          "this Xen was built without shadow paging")


@pytest.mark.parametrize("guest", [PVH, GUEST], ids=["pvh", "hvm"])
@pytest.mark.parametrize("old_sender", [False, True])
@pytest.mark.parametrize("old_receiver", [False, True])
def test_pairs(hosts, guest, old_sender, old_receiver):
    sender, receiver = start(hosts, guest)
    for host, old in ((sender, old_sender), (receiver, old_receiver)):
        if old:
            make_old(host)
    receiver.mark(guest.name)
    report = None
    if old_sender:
        sender.run(f"xl migrate -s lab-rsh {guest.name} {receiver.name}",
                   SLOW)
    else:
        report = report_of(xl_aligned(sender, by_ssh(receiver, guest)))
        assert report["stream_version"] == (2 if old_receiver else 3)
        assert report["spliced"]
        assert report["bytes_sent"] > 0 and report["downtime_seconds"] > 0
        # All of it, and what it wrote to meanwhile.
        passes = report["pages_per_pass"]
        if old_receiver:
            assert passes is None
        else:
            assert len(passes) >= 2
            assert passes[0] * 4096 >= guest.memory * 0.9 * 2**20
    assert_arrived(sender, receiver, guest)
    note("pair", {"kind": guest.kind, "old_sender": old_sender,
                  "old_receiver": old_receiver, "report": report})


# ---- PV --------------------------------------------------------------


@pytest.fixture
def no_shadow_paging(hosts):
    if "shadow" in hosts[0].run("xl info virt_caps").stdout.split():
        pytest.skip("this Xen can migrate PV guests live")


@pytest.mark.parametrize("program", ["xl migrate -s lab-rsh",
                                     "xl-aligned migrate --live "
                                     "--ssh=lab-rsh"])
def test_pv_cannot_be_migrated_live(hosts, no_shadow_paging, program):
    """Not by stock, and not by us where nothing else will do."""
    sender, receiver = start(hosts, PV)
    result = sender.run(f"{program} pv {receiver.name}", SLOW, check=False)
    assert result.status != 0
    assert "logdirty" in result.stderr
    assert_stayed(sender, receiver, PV)


@pytest.mark.parametrize("old_receiver", [False, True])
def test_pv_migrates_standing_still(hosts, no_shadow_paging, old_receiver):
    sender, receiver = start(hosts, PV)
    if old_receiver:
        make_old(receiver)
    receiver.mark(PV.name)
    result = xl_aligned(sender, by_ssh(receiver, PV))
    assert len(re.findall(PAUSED, result.stderr)) == 1
    report = report_of(result)
    assert report["stream_version"] == (2 if old_receiver else 3)
    if not old_receiver:
        assert len(report["pages_per_pass"]) == 1
    assert_arrived(sender, receiver, PV)
    note("pair", {"kind": "pv", "old_sender": False,
                  "old_receiver": old_receiver, "report": report})


def test_any_guest_can_be_asked_to_stand_still(hosts):
    sender, receiver = start(hosts, PVH)
    receiver.mark(PVH.name)
    result = xl_aligned(sender, "--no-live", by_ssh(receiver, PVH))
    assert "is paused during" not in result.stderr
    report = report_of(result)
    assert len(report["pages_per_pass"]) == 1
    assert_arrived(sender, receiver, PVH)
    note("no-live", report)


# ---- newer peers -----------------------------------------------------


def test_newer_peers(hosts):
    sender, receiver = start(hosts)
    receiver.run("mv /usr/bin/xl-aligned /run/lab/hidden; "
                 "cp /opt/newest/xl-aligned /usr/bin/xl-aligned")
    refused = xl_aligned(sender, by_ssh(receiver), check=False)
    assert refused.status != 0
    assert "DEDUP (bit 17)" in report_of(refused)["error"]
    note("newest", report_of(refused))
    assert_stayed(sender, receiver)

    receiver.run("cp /opt/newer/xl-aligned /usr/bin/xl-aligned")
    receiver.mark(GUEST.name)
    report = report_of(xl_aligned(sender, by_ssh(receiver)))
    assert report["stream_version"] == 3
    assert report["peer"] == "newer 9.0"
    assert_arrived(sender, receiver)
    note("newer", report)
