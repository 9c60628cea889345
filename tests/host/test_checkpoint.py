# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checkpoints of guests that run on, beside those of stock xl."""
import json
import signal
import time
from contextlib import contextmanager

import pytest

import lab
from lab import pv, pvh
from support import ROOT, cc, install

pytestmark = pytest.mark.slow

FILE, STOCK = "/data/file", "/data/stock"
CACHE_KIB = 1024
PAUSE_SHARE = 0.2


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    tree = tmp_path_factory.mktemp("install")
    install(tree)
    (tree / "usr/libexec").mkdir(exist_ok=True)
    cc(tree / "usr/libexec/pausewatch", ROOT / "tests/host/pausewatch.c",
       "-lxenctrl")
    with lab.XenHost(overlays=(str(tree),), parts=()) as host:
        yield host


@pytest.fixture(autouse=True)
def clean(host):
    yield
    for line in host.run("xl list").stdout.splitlines()[2:]:
        if line.strip():
            host.destroy(line.split()[0])
    host.run("rm -f /data/file* /data/stock*")


@contextmanager
def pauses(host, guest):
    """How long the guest stood still each time, in ms."""
    found = []
    job = host.popen("exec /usr/libexec/pausewatch "
                     f"{host.domid(guest.name)}")
    while "watching" not in job.output().stdout:
        assert job.poll() is None, job.output()
        time.sleep(0.05)
    yield found
    job.kill(signal.SIGTERM)
    lines = job.wait(20, check=False).stdout.splitlines()
    found += [float(line) for line in lines[1:]]


def start(host, make):
    """One that changes its memory all the time."""
    guest = make("busy", memory=256, noise=64, dirty=512)
    host.create(guest)
    host.wait_verdict(guest.name)
    return guest


def needs_log_dirty(host, make):
    """Debian's Xen is built without what it takes to log a PV guest."""
    capabilities = host.run("xl info virt_caps").stdout.split()
    if make is pv and "shadow" not in capabilities:
        pytest.skip("this Xen has no shadow paging: PV guests cannot be "
                    "saved live")


def test_what_cannot_be_live_is_saved_nevertheless(host):
    if "shadow" in host.run("xl info virt_caps").stdout.split():
        pytest.skip("this Xen can save every guest live")
    guest = start(host, pv)
    result = host.run(f"xl-aligned save -c --live {guest.name} {FILE}", 180)
    assert "is paused during the save: it is a PV domain" in \
        result.stderr
    host.mark(guest.name)
    host.wait_verdict(guest.name)
    host.destroy(guest.name)
    host.mark(guest.name)
    host.run(f"xl-aligned restore {FILE}", 120)
    host.wait_verdict(guest.name)


def test_stock_cannot_log_a_pv_guest_either(host):
    """The only live copy that stock xl makes is a migration's."""
    if "shadow" in host.run("xl info virt_caps").stdout.split():
        pytest.skip("this Xen can save every guest live")
    guest = start(host, pv)
    host.write_text("/run/lab/here", '#!/bin/sh\nshift\nexec "$@"\n')
    host.run("chmod +x /run/lab/here")
    result = host.run(f"xl migrate -s /run/lab/here {guest.name} localhost",
                      180, check=False)
    assert result.status != 0
    assert "Failed to enable logdirty" in result.stderr, result
    host.mark(guest.name)
    host.wait_verdict(guest.name)


@pytest.mark.parametrize("make", (pv, pvh))
def test_live_checkpoint(host, make):
    needs_log_dirty(host, make)
    guest = start(host, make)
    lab.drop_caches(host)
    with pauses(host, guest) as stock:
        host.run(f"xl save -c {guest.name} {STOCK}", 180)
    host.run(f"rm {STOCK}")
    host.mark(guest.name)
    host.wait_verdict(guest.name)

    lab.drop_caches(host)
    with pauses(host, guest) as live, lab.MemoryWatch(host) as watch:
        begun = time.monotonic()
        host.run(f"xl-aligned save -c --live {guest.name} {FILE}", 180)
        seconds = time.monotonic() - begun
    print(f"{guest.kind}: still for {stock} ms with stock, {live} ms live "
          f"({seconds:.1f} s); page cache {watch.cache_growth()} KiB")
    assert len(stock) == 1 and len(live) == 1
    assert live[0] <= PAUSE_SHARE * stock[0]
    assert watch.cache_growth() <= CACHE_KIB

    # It runs on.
    host.mark(guest.name)
    host.wait_verdict(guest.name)
    assert host.run("ls /data").stdout.split() == ["file", "lost+found"]

    # What was saved several times was saved right.
    info = json.loads(host.run(f"xl-aligned info --json {FILE}").stdout)[0]
    assert info["format"] == "v3"
    verified = host.run(f"xl-aligned verify {FILE}").stdout
    assert "every byte is intact" in verified
    host.destroy(guest.name)
    host.mark(guest.name)
    host.run(f"xl-aligned restore {FILE}", 120)
    host.wait_verdict(guest.name, count=3)


def test_two_checkpoints_differ_where_the_guest_wrote(host):
    guest = start(host, pvh)
    for number in (1, 2):
        host.run(f"xl-aligned save -c --live {guest.name} {FILE}{number}",
                 180)
        host.mark(guest.name)
        host.wait_verdict(guest.name)
    result = host.run(f"xl-aligned diff --json {FILE}1 {FILE}2", check=False)
    assert result.status == 1
    found = json.loads(result.stdout)
    assert found["pages_a"] == found["pages_b"]
    # Most of its memory is idle; what it rewrites between two checks is not.
    assert 512 <= found["pages_changed"] < found["pages_same"]
    changed = next(r for r in found["ranges"] if r["change"] == "changed")
    pfn = changed["first_pfn"]
    pages = [host.run(f"xl-aligned page {FILE}{n} {pfn}").stdout
             for n in (1, 2)]
    assert pages[0].splitlines()[1:] != pages[1].splitlines()[1:]


@pytest.mark.parametrize("make", (pv, pvh))
def test_interrupted(host, make):
    """The guest, which may never have been stopped, runs on."""
    needs_log_dirty(host, make)
    guest = start(host, make)
    job = host.popen(f"exec xl-aligned save -c --live {guest.name} {FILE}")
    deadline = time.monotonic() + 60
    while "Frames" not in job.output().stderr:
        assert time.monotonic() < deadline, job.output()
        time.sleep(0.05)
    host.run("kill -TERM $(pidof xl-aligned)")
    assert job.wait(60, check=False).status == 128 + signal.SIGTERM
    host.mark(guest.name)
    host.wait_verdict(guest.name)
    assert host.run("ls /data").stdout.split() == ["lost+found"]


def test_stock_reads_a_live_file_in_its_own_format(host):
    guest = start(host, pvh)
    host.run(f"xl-aligned save -c --live --format=compat {guest.name} "
             f"{FILE}", 180)
    host.destroy(guest.name)
    host.mark(guest.name)
    host.run(f"xl restore {FILE}", 120)
    host.wait_verdict(guest.name)
