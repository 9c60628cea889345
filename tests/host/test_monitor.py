# SPDX-License-Identifier: LGPL-2.1-or-later
"""After a checkpoint, the domain's monitor handles its next reboot."""
import re

import pytest

from host.migrate import eventually
from lab import pv, pvh

pytestmark = pytest.mark.slow

FILE = "/data/file"


def told(host, guest, words: str) -> str:
    """What the monitor has written, when it says that."""
    found = []

    def look() -> bool:
        text = host.run(f"cat /var/log/xen/xl-{guest.name}.log").stdout
        found[:] = [text]
        return re.search(words, text)

    eventually(look, f"the monitor does not say {words}")
    return found[0]


def create(host, guest, command: str) -> None:
    path = f"/run/lab/{guest.name}.cfg"
    host.prepare(guest)
    host.write_text(path, guest.config())
    host.mark(guest.name)
    host.run(f"{command} {path}")
    host.wait_verdict(guest.name)


def checkpoint(host, guest) -> None:
    host.mark(guest.name)
    host.run(f"xl-aligned save -c {guest.name} {FILE}", 180)
    host.wait_verdict(guest.name)


@pytest.mark.parametrize("make", (pv, pvh))
def test_monitor_handles_the_reboot(host, make):
    guest = make("web01", memory=160, noise=16)
    create(host, guest, "xl-aligned run -- xl create")
    checkpoint(host, guest)
    checkpoint(host, guest)
    domid = host.domid(guest.name)
    host.mark(guest.name)
    host.run(f"xl reboot -F {guest.name}")
    assert len(re.findall("is suspended; its monitor keeps running",
                          told(host, guest, "Rebooting now"))) >= 2
    host.wait_verdict(guest.name)
    assert host.domid(guest.name) > domid


def test_monitor_of_stock_exits(host):
    """What doctor and the guide say of domains created without it."""
    assert re.search("^monitor .*save -c",
                     host.run("xl-aligned doctor /data", check=False).stdout,
                     re.M)
    guest = pv("web01", memory=160, noise=16)
    create(host, guest, "xl create")
    checkpoint(host, guest)
    told(host, guest, "Domain has suspended(.|\\n)*Done. Exiting now")
