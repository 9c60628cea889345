# SPDX-License-Identifier: LGPL-2.1-or-later
"""libxl of Xen 4.14 resumes a PV or PVH guest as if in a new domain, and the
guest crashes, with stock xl too.  With the plugin it keeps running."""
import time

import pytest

import lab
from lab import GuestFailed, pv, pvh

pytestmark = pytest.mark.slow
FILE = "/data/file"


@pytest.fixture(scope="module")
def host(build_overlay):
    with lab.XenHost(overlays=(build_overlay,), version="4.14",
                     parts=()) as host:
        yield host


@pytest.fixture(params=(pv, pvh))
def guest(host, request):
    guest = request.param("guest", memory=96, noise=16)
    host.create(guest)
    host.wait_verdict(guest.name, count=1)
    yield guest
    host.destroy(guest.name)
    host.run(f"rm -f {FILE}*")


def runs_on(host, guest) -> None:
    host.mark(guest.name)
    host.wait_verdict(guest.name)


def test_stock_checkpoint_kills_the_guest(host, guest):
    host.run(f"xl save -c {guest.name} {FILE}")
    host.mark(guest.name)
    with pytest.raises(GuestFailed, match="0 of 1 verdicts") as failed:
        host.wait_verdict(guest.name, count=1, timeout=15)
    print(failed.value)


@pytest.mark.parametrize("save", (
    "LD_PRELOAD=/usr/lib/libxl-aligned.so.0 xl save -c",
    "xl-aligned save -c", "xl-aligned save -c --live"))
def test_checkpoint(host, guest, save):
    """More than one, so that what was resumed can be suspended again."""
    for _ in range(2):
        host.run(f"env {save} {guest.name} {FILE}")
        runs_on(host, guest)
    host.destroy(guest.name)
    host.mark(guest.name)
    host.run(f"xl-aligned restore {FILE}")
    host.wait_verdict(guest.name)


def test_cancelled(host, guest):
    """On a disk that takes longer than the test does to cancel."""
    host.monitor("block_set_io_throttle d0 0 0 4000000 0 0 0")
    try:
        job = host.popen(f"exec xl-aligned save {guest.name} {FILE}")
        deadline = time.monotonic() + 60
        while "Frames: " not in job.output().stderr:
            assert time.monotonic() < deadline, job.output()
            time.sleep(0.05)
        host.run(f"xl-aligned cancel {guest.name}")
    finally:
        host.monitor("block_set_io_throttle d0 0 0 0 0 0 0")
    assert job.wait(60, check=False).status != 0
    runs_on(host, guest)
