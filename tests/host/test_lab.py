# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab itself: stock Xen, before anything of this project acts."""

import mmap
import os
import struct
import threading
import time

import pytest

import lab

pytestmark = pytest.mark.slow

MASK = (1 << 64) - 1


def noise_page(seed: int, page: int) -> bytes:
    """A page of a guest's noise; see lab/payload/noise.h."""
    def step(state):
        state = (state + 0x9e3779b97f4a7c15) & MASK
        z = state
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9 & MASK
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb & MASK
        return state, z ^ (z >> 31)

    _, start = step(seed * 0xd1342543de82ef95 & MASK)
    _, state = step((start + page) & MASK)
    words = []
    for _ in range(512):
        state, word = step(state)
        words.append(word)
    return struct.pack("<512Q", *words)


def test_host_is_xen(host):
    assert "Domain-0" in host.run("xl list").stdout
    assert (f"xen_version            : {host.version}"
            in host.run("xl info").stdout)


@pytest.mark.parametrize("make", [lab.pv, lab.pvh, lab.hvm])
def test_stock_save_and_restore(host, make):
    """The guest's own verdict after a restore, and why this project is."""
    guest = make("guest", memory=160, noise=64, seed=7)
    host.create(guest)
    before = host.wait_verdict("guest")
    lab.drop_caches(host)
    with lab.MemoryWatch(host) as watch:
        host.run("xl save guest /data/guest")
    grown = watch.cache_growth() / 1024
    assert 0.85 * guest.memory < grown < 1.3 * guest.memory
    assert host.domid("guest") is None

    host.mark("guest")
    host.run("xl restore /data/guest")
    after = host.wait_verdict("guest")
    assert after.hash == before.hash
    assert after.number > before.number


def test_wrong_memory_is_found(host, tmp_path):
    """One bit of a saved page changed: the guest has to notice."""
    host.create(lab.pv("guest", memory=128, noise=16, seed=3))
    host.wait_verdict("guest", count=1)
    host.run("xl save guest /data/guest")
    file = str(tmp_path / "guest")
    host.get("/data/guest", file)
    page = noise_page(3, 1234)
    with open(file, "rb") as saved, \
            mmap.mmap(saved.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = data.find(page)
    assert offset > 0, "the page is not in the file"
    host.run("dd of=/data/guest bs=1 conv=notrunc "
             f"seek={offset + 2000}", stdin=bytes([page[2000] ^ 4]))
    host.mark("guest")
    host.run("xl restore /data/guest")
    with pytest.raises(lab.MemoryWrong, match="1 pages, first 1234"):
        host.wait_verdict("guest")


def test_live_migration_within_a_host(host):
    """A guest that changes its memory while it is copied."""
    host.write_text("/run/lab/local", '#!/bin/sh\nshift\nexec "$@"\n')
    host.run("chmod 755 /run/lab/local")
    host.create(lab.pvh("guest", memory=128, noise=16, dirty=40))
    host.wait_verdict("guest")
    host.run("xl migrate -s /run/lab/local guest localhost", 120)
    host.mark("guest")
    host.wait_verdict("guest", count=3)


def test_commands(host):
    done = host.run("echo out; echo err >&2; exit 3", check=False)
    assert done == lab.Result(3, "out\n", "err\n")
    with pytest.raises(lab.CommandFailed, match="status 3"):
        host.run("exit 3")
    assert host.run("cat", stdin=b"a\0b").stdout == "a\0b"
    assert host.run("tty", check=False).status == 1
    assert host.run("tty", tty=True).stdout.startswith("/dev/pts/")

    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(
        host.run(f"sleep 1; echo {n}").stdout)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [f"{n}\n" for n in range(8)]


def test_command_timeout_and_jobs(host):
    with pytest.raises(lab.CommandTimeout):
        host.run("echo begun; sleep 4321", timeout=2)
    job = host.popen("echo begun; sleep 4322; echo done")
    deadline = time.monotonic() + 20
    while "begun" not in job.output().stdout:
        assert time.monotonic() < deadline
    assert job.poll() is None
    job.kill()
    assert job.wait(20, check=False).status != 0
    assert "432" not in host.run("ps -o args | grep '[s]leep'",
                                 check=False).stdout


def test_files(host, tmp_path):
    here, back = str(tmp_path / "here"), str(tmp_path / "back")
    data = os.urandom((64 << 20) + 12345)
    with open(here, "wb") as file:
        file.write(data)
    os.chmod(here, 0o750)
    lab.drop_caches(host)
    with lab.MemoryWatch(host) as watch:
        host.put(here, "/data/file")
        host.get("/data/file", back)
    with open(back, "rb") as file:
        assert file.read() == data
    assert watch.cache_growth() < 20 * 1024
    assert host.run("stat -c %a /data/file").stdout == "750\n"


def test_power_cut(new_host):
    """What was flushed is there after a cut; what was not need not be."""
    first = new_host(dom0_mem=512)
    first.run("echo kept >/data/kept; sync; echo lost >/data/lost")
    first.kill()
    second = first.again()
    new_host.adopt(second)
    second.start()
    assert second.read_text("/data/kept") == "kept\n"
    assert second.run("ls /data/lost", check=False).status != 0


def test_small_dom0_and_other_disks(new_host, tmp_path):
    """A guest twice the size of dom0; file systems of all kinds."""
    host = new_host(
        dom0_mem=256, parts=("fs",), disks=(
            lab.Disk(str(tmp_path / "xfs"), 1 << 29, "xfs", "/xfs"),
            lab.Disk(str(tmp_path / "btrfs"), 1 << 29, "btrfs", "/btrfs"),
            lab.Disk(str(tmp_path / "minix"), 1 << 29, "minix", "/minix"),
            lab.Disk(str(tmp_path / "raw"), 1 << 20, None)))
    direct = "dd if=/dev/zero bs=4096 count=4 oflag=direct of="
    for place in ("/data/f", "/xfs/f", "/btrfs/f", "/dev/vde"):
        host.run(direct + place)
    for place, refused in (("/minix/f", "error writing"),
                           ("/tmp/f", "failed to open")):
        done = host.run(direct + place, check=False)
        assert f"{refused} '{place}': Invalid argument" in done.stderr

    host.create(lab.pv("guest", memory=512, noise=256))
    host.wait_verdict("guest")
    host.run("xl save guest /data/guest", 120)
    host.mark("guest")
    host.run("xl restore /data/guest", 120)
    host.wait_verdict("guest")


@pytest.mark.parametrize("make", [lab.pvh, lab.hvm])
def test_migration_between_hosts(host_pair, make):
    first, second = host_pair
    guest = make("guest", memory=96, noise=16, dirty=20)
    second.prepare(guest)
    second.mark("guest")
    first.create(guest)
    first.wait_verdict("guest")
    first.run("xl migrate -s lab-rsh guest xen2", 180)
    assert first.domid("guest") is None
    second.wait_verdict("guest")


def test_ssh_between_hosts(host_pair):
    first, _ = host_pair
    assert first.run("ssh xen2 hostname").stdout == "xen2\n"


def test_boot_failure_tells_why(new_host):
    with pytest.raises(lab.LabError, match="not up after"):
        new_host(parts=(), boot_timeout=0.1)
