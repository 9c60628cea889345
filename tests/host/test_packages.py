# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian packages, by apt, in a Debian in dom0 that has had nothing else
of this: installed, used, removed, purged."""
import json
import re
import shutil

import pytest

import lab
from lab import debian

pytestmark = pytest.mark.slow

OURS = ("libxl-aligned0", "xl-aligned")
CONFFILES = {"etc/xen/xl-aligned.conf", "etc/default/xl-aligned"}
FILE = "/data/file"
# What dpkg and apt keep of what they have done, and libxl of who runs.
NOTES = re.compile(r"var/(lib/(dpkg|apt|xen)|cache/(apt|debconf|ldconfig)|"
                   r"log)/|etc/ld\.so\.cache$")


@pytest.fixture(scope="module")
def debs(packages):
    if not shutil.which("dpkg-scanpackages"):
        pytest.skip("not installed: dpkg-scanpackages")
    return [packages[name] for name in OURS]


@pytest.fixture(scope="module")
def place(debs, tmp_path_factory):
    """That Debian, with the packages in /tmp and what they need in reach."""
    needed = set().union(*map(debian.depends, debs)) - set(OURS)
    disk = debian.copy(str(tmp_path_factory.mktemp("debian")),
                       more=tuple(sorted(needed)))
    with lab.XenHost(disks=(disk,), parts=()) as host:
        place = debian.Debian(host)
        for package in debs:
            host.put(str(package), f"/tmp/{package.name}")
        place.fresh = place.files()
        place.known = place.run("dpkg-query -W").stdout
        yield place


def apt(place, verb: str, *names: str) -> lab.Result:
    return place.run(f"cd /tmp && apt-get -q -y {verb} {' '.join(names)}",
                     300)


def left(place) -> set:
    """Files that were not there in the beginning."""
    return {name for name in place.files() - place.fresh
            if not NOTES.match(name)}


@pytest.fixture(scope="module")
def installed(place, debs):
    assert place.run("xl-aligned --version", check=False).status == 127
    apt(place, "install", *(f"./{package.name}" for package in debs))
    return place


def findings(place, directory: str) -> tuple[dict, dict]:
    result = place.run(f"xl-aligned doctor --json {directory}", check=False)
    found = json.loads(result.stdout)
    bad = [entry for entry in found["findings"] if entry["level"] == "bad"]
    assert (result.status, bad) == (0, [])
    return found, {entry["what"]: entry["text"]
                   for entry in found["findings"]}


# In their order: each begins where the one before has ended.


def test_doctor_finds_nothing_bad(installed):
    found, texts = findings(installed, "/data")
    assert texts["libxl"] == f"of Xen {place.host.version}"
    assert texts["xen"] == f"{place.host.version} is running"
    assert "libxl_domain_suspend" in texts["plugin"]
    assert "writev_exact" in texts["helper"]
    assert texts["writing"].startswith("direct, through ")
    assert "bypass the plugin; see" in texts["services"]
    assert found["outlook"] == ("A save to /data writes v3, bypassing the "
                                "page cache, and is on stable storage when "
                                "it returns.")


def test_doctor_on_a_filesystem_without_direct_io(installed):
    found, texts = findings(installed, "/tmp")
    assert "direct I/O is not supported there" in texts["writing"]
    assert "at most 64 MiB of the page cache" in found["outlook"]


def test_save_and_restore(installed):
    host = installed.host
    guest = lab.pvh("guest", memory=160, noise=64)
    host.create(guest)
    host.wait_verdict(guest.name)
    installed.run("xl-aligned --version")      # read from the disk, once
    lab.drop_caches(host)
    installed.run("xl list; xl-aligned doctor /data")
    with lab.MemoryWatch(host) as watch:
        saved = installed.run(f"xl-aligned save --progress=json {guest.name} "
                              f"{FILE}", 180)
    growth = watch.cache_growth()
    print(f"page cache {growth} KiB")
    assert growth <= 1024
    assert host.domid(guest.name) is None
    lines = [json.loads(line) for line in saved.stdout.splitlines()]
    assert lines[-1]["result"] == "complete"
    memory = guest.memory << 20
    assert 0.98 * memory < lines[-1]["bytes_done"] < 1.1 * memory
    assert 64 << 20 <= lines[-1]["bytes_written"] < lines[-1]["bytes_done"]
    assert 0.98 * memory < lines[-1]["bytes_total"] < 1.1 * memory
    host.mark(guest.name)
    installed.run(f"xl-aligned restore {FILE}", 120)
    host.wait_verdict(guest.name)
    host.run(f"rm {FILE}")


def test_bar(installed):
    """As somebody at a terminal of dom0 sees it."""
    host = installed.host
    guest = lab.pvh("seen", memory=160, noise=64)
    host.create(guest)
    host.wait_verdict(guest.name)
    text = installed.run(f"xl-aligned save {guest.name} {FILE}", 180,
                         tty=True).stdout
    assert "memory [" in text and " left" in text
    assert "xc: progress" not in text
    host.run(f"rm {FILE}")


def test_remove(installed):
    """The settings stay, and so do the domains; xl is as it was."""
    host = installed.host
    installed.run("echo 'format = \"compat\"' >>/etc/xen/xl-aligned.conf")
    apt(installed, "remove", *OURS)
    here = {name for name in left(installed)}
    needed = {name for name in here
              if re.match(r"usr/lib/x86_64-linux-gnu/lib|var/lib/systemd/|"
                          r"usr/share/doc/[^x]", name)}
    assert here - needed == CONFFILES
    host.mark("guest")
    host.wait_verdict("guest")
    result = installed.run(f"xl save guest {FILE}", 180)
    assert "xl-aligned" not in result.stderr
    host.mark("guest")
    installed.run(f"xl restore {FILE}", 180)
    host.wait_verdict("guest")
    host.run(f"rm {FILE}")


def test_purge(installed):
    """Nothing stays, once what came along goes too."""
    installed.host.destroy("guest")
    apt(installed, "purge", *OURS)
    apt(installed, "autoremove")
    assert left(installed) == set()
    assert installed.run("dpkg-query -W").stdout == installed.known
