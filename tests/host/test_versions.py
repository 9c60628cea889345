# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same short round on every Xen that the lab has, oldest first, and the
files of each restored on all that are newer.  One build runs on all."""
import os

import pytest

from host.guests import cancelled_save, keeps_running
from lab import Disk, XenHost, hvm, pv, pvh
from lab.versions import VERSIONS
from model import audit
from model.core_reader import read_xen

PLUGIN = "LD_PRELOAD=/usr/lib/libxl-aligned.so.0"
# How each form is saved; stock xl restores compat.
FORMS = {
    "v2": "xl save",
    "compat": "xl-aligned save --format=compat",
    "v3": "xl-aligned save",
    "compressed": "xl-aligned save --compress=lz4:all",
}
GUESTS = {each.kind: each for each in (
    pv("pv", memory=96, noise=16), pvh("pvh", memory=96, noise=16),
    hvm("hvm", memory=64, noise=16))}

XENS = [os.environ["XEN"]] if os.environ.get("XEN") else [*VERSIONS]


def each(name: str, values, short, **options):
    """A test for each value; all but the short ones in check-all alone."""
    return pytest.mark.parametrize(
        name, [pytest.param(value, marks=() if value in short
                            else pytest.mark.slow) for value in values],
        **options)


each_version = each("host", XENS, XENS, indirect=True, scope="module")
newest = each("host", XENS, XENS[-1:], indirect=True, scope="module")
each_kind = each("kind", GUESTS, GUESTS)
each_form = each("form", FORMS, ("v3", "compat"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A disk that goes from host to host."""
    return str(tmp_path_factory.mktemp("files") / "disk")


@pytest.fixture(scope="module")
def host(request, build_overlay, files):
    with XenHost(overlays=(build_overlay,), version=request.param,
                 disks=(Disk(files, mount="/files"),)) as host:
        yield host
        host.run("sync; umount /files")


def running(host, kind: str):
    """The guest of the kind; created unless a test has left it running."""
    guest = GUESTS[kind]
    others = [line.split()[0] for line in
              host.run("xl list").stdout.splitlines()[2:] if line.strip()]
    for name in others:
        if name != guest.name:
            host.destroy(name)
    if guest.name not in others:
        host.create(guest)
        host.wait_verdict(guest.name, count=1)
    return guest


def restore(host, guest, form: str, file: str) -> None:
    host.mark(guest.name)
    xl = "xl" if form == "compat" else "xl-aligned"
    host.run(f"{xl} restore {file}")
    host.wait_verdict(guest.name, count=1)


def place(version, kind: str, form: str) -> str:
    return f"/files/{version}-{kind}-{form}"


def refused_by_stock(host, guest, file: str) -> None:
    result = host.run(f"xl restore {file}", check=False)
    assert result.status != 0
    assert "Mandatory record 0x414c0001 (Reserved) not handled" \
        in result.stderr
    assert host.domid(guest.name) is None


@each_version
@each_form
@each_kind
def test_saved_and_restored(host, kind, form, tmp_path):
    assert host.run("xl info xen_version").stdout.startswith(
        host.version.xen)
    guest = running(host, kind)
    file = place(host.version, kind, form)
    host.run(f"{FORMS[form]} {guest.name} {file}")
    assert host.domid(guest.name) is None
    if form == "v3":
        refused_by_stock(host, guest, file)
        host.get(file, str(tmp_path / form))
        report, decoder, _ = audit.audit(str(tmp_path / form))
        assert not report.faults and decoder.format == form
    restore(host, guest, form, file)


@newest
@each_kind
def test_dumped(host, kind, tmp_path):
    """And what is dumped has the guest's pages."""
    guest = running(host, kind)
    host.run(f"env {PLUGIN} xl dump-core {guest.name} /data/core", 300)
    host.get("/data/core", str(tmp_path / "core"))
    host.run("rm /data/core")
    core = read_xen(tmp_path / "core")
    assert (guest.memory - 4) << 8 < len(core.pages) <= guest.memory << 8
    keeps_running(host, guest.name)


@newest
@each_kind
def test_checkpoint(host, kind):
    guest = running(host, kind)
    host.run(f"env {PLUGIN} xl save -c {guest.name} /data/checkpoint")
    host.run("rm /data/checkpoint")
    keeps_running(host, guest.name)


@newest
@each_kind
def test_cancelled(host, kind):
    guest = running(host, kind)
    cancelled_save(host, guest.name, "/data/file")
    assert host.run("ls /data").stdout.split() == ["lost+found"]
    keeps_running(host, guest.name)


@newest
@each_form
@each_kind
def test_files_of_older_versions(host, kind, form):
    guest = GUESTS[kind]
    present = host.run("ls /files/*").stdout.split()
    older = [place(version, kind, form) for version in
             [*VERSIONS][:[*VERSIONS].index(host.version.xen)]]
    if not set(older) & set(present):
        pytest.skip("no file of an older version")
    for file in older:
        host.destroy(guest.name)
        host.prepare(guest)
        restore(host, guest, form, file)
    host.destroy(guest.name)
