# SPDX-License-Identifier: LGPL-2.1-or-later
"""libxl of Xen 4.14 resumes a PV or PVH guest as if in a new domain, and the
guest crashes, with stock xl too.  With the plugin it keeps running."""
import pytest

import lab
from host.guests import cancelled_save, keeps_running
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
        keeps_running(host, guest.name)
    host.destroy(guest.name)
    host.mark(guest.name)
    host.run(f"xl-aligned restore {FILE}")
    host.wait_verdict(guest.name)


def test_cancelled(host, guest):
    cancelled_save(host, guest.name, FILE)
    keeps_running(host, guest.name)
