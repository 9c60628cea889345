# SPDX-License-Identifier: LGPL-2.1-or-later
"""From a host to one with a newer Xen, with and without the plugin there."""
import pytest

from host.migrate import (GUEST, PVH, SLOW, assert_arrived, clean, migrate,
                          names)
from lab import host_pair, pv

pytestmark = pytest.mark.slow
__all__ = ["clean"]

PV = pv("pv", memory=96, noise=16)
PAIRS = (("4.17", "4.20"),)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def hosts(request, build_overlay):
    with host_pair(versions=request.param, overlays=(build_overlay,),
                   data=None, memory=1536, dom0_mem=768) as hosts:
        hosts[1].prepare(GUEST)
        yield hosts


def create(hosts, guest):
    """On the host with the older Xen: a guest never goes back."""
    for host in hosts:
        for name in names(host):
            host.destroy(name)
    hosts[0].create(guest)
    hosts[0].wait_verdict(guest.name, timeout=SLOW)
    return hosts


@pytest.mark.parametrize("old_receiver", [False, True])
@pytest.mark.parametrize("old_sender", [False, True])
@pytest.mark.parametrize("guest", [PV, PVH, GUEST], ids=["pv", "pvh", "hvm"])
def test_to_a_newer_xen(hosts, guest, old_sender, old_receiver):
    sender, receiver = hosts
    if (guest is PV and old_sender and "shadow"
            not in sender.run("xl info virt_caps").stdout.split()):
        pytest.skip("stock xl cannot migrate a PV guest from this Xen")
    create(hosts, guest)
    migrate(hosts, guest, (old_sender, old_receiver))
    assert_arrived(sender, receiver, guest)
