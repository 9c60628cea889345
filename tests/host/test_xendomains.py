# SPDX-License-Identifier: LGPL-2.1-or-later
"""Domains that are saved because dom0 shuts down, and restored when it is up
again, by the scripts that Debian and Xen ship."""
import json
import re
import subprocess

import pytest

import lab
from lab import debian, pv, pvh
from lab.versions import version
from model import audit
from support import ROOT

pytestmark = pytest.mark.slow

SAVED = "/var/lib/xen/save"
SETTINGS = "/etc/default/xl-aligned"
DEFAULTS = "/etc/default/xendomains"
DEBIANS = "/etc/init.d/xendomains"
XENS = f"/usr/lib/xen-{version()}/bin/xendomains"
# What the installed libraries need beside Xen's tools.
LIBRARIES = ("liburing2", "libxxhash0", "libyajl2", "libssl3", "libzstd1",
             "liblz4-1", "libxenstore4")
GUESTS = (pv("one", memory=128, noise=16), pvh("two", memory=160, noise=16))


@pytest.fixture(scope="module")
def place(build_overlay, tmp_path_factory):
    """A Debian in dom0 with what `make install` installs."""
    disk = debian.copy(str(tmp_path_factory.mktemp("debian")),
                       names=debian.PACKAGES + LIBRARIES)
    with lab.XenHost(disks=(disk,), parts=()) as host:
        subprocess.run(["tar", "-C", build_overlay, "-cf",
                        f"{host.share}/tree.tar", "."], check=True)
        host.run(f"tar -C {debian.PLACE} -xf /host/tree.tar")
        yield debian.Debian(host)


@pytest.fixture(autouse=True)
def clean(place):
    for name in (SETTINGS, DEFAULTS):
        place.run(f"cp -n {name} {name}.installed; "
                  f"cp {name}.installed {name}")
    yield
    for guest in GUESTS:
        place.host.destroy(guest.name)
    place.run(f"rm -rf {SAVED}")


def run_guests(host):
    for guest in GUESTS:
        host.create(guest)
    for guest in GUESTS:
        host.wait_verdict(guest.name)


def service(place, script: str, verb: str) -> lab.Result:
    """As systemd runs it: with the environment that our drop-in names."""
    unit = place.run("cat /usr/lib/systemd/system/"
                     "xendomains.service.d/xl-aligned.conf").stdout
    path, = re.findall(r"^EnvironmentFile=-(.*)$", unit, re.M)
    assert path == SETTINGS
    return place.run(f"env $(sed -n '/^[A-Z]/p' {path}) {script} {verb}", 300)


def switch_on(place):
    """What the guide and the comment in the file say to do."""
    place.run(f"sed -i 's/^#LD_PRELOAD=/LD_PRELOAD=/' {SETTINGS}")


def doctor(place) -> list:
    found = json.loads(place.run("xl-aligned doctor --json /data",
                                 check=False).stdout)
    return [(entry["level"], entry["text"]) for entry in found["findings"]
            if entry["what"] == "services"]


def formats(place) -> dict:
    result = place.run(f"cd {SAVED} && xl-aligned info --json *")
    return {entry["file"]: entry["format"]
            for entry in json.loads(result.stdout)}


def stop_and_start(place, format_: str, run) -> lab.Result:
    host = place.host
    run_guests(host)
    stopped = run("stop")
    assert [host.domid(guest.name) for guest in GUESTS] == [None, None], \
        stopped
    assert formats(place) == {guest.name: format_ for guest in GUESTS}
    for guest in GUESTS:
        host.mark(guest.name)
    started = run("start")
    for guest in GUESTS:
        host.wait_verdict(guest.name)
    # Restored, and hence removed.
    assert place.run(f"ls {SAVED}").stdout == "", started
    return stopped


def test_nothing_changes_by_itself(place):
    (level, text), = doctor(place)
    assert level == "note" and SETTINGS in text
    stop_and_start(place, "v2",
                   lambda verb: service(place, DEBIANS, verb))


@pytest.mark.parametrize("script", (DEBIANS, XENS), ids=("debian", "xen"))
def test_as_a_service(place, script, tmp_path):
    switch_on(place)
    assert [level for level, _ in doctor(place)] == ["ok"]
    copies = tmp_path / "copies"
    copies.mkdir()

    def run(verb):
        result = service(place, script, verb)
        if verb == "stop":
            verified = place.run(f"cd {SAVED} && xl-aligned verify *").stdout
            assert verified.count("every byte is intact") == len(GUESTS)
            for guest in GUESTS:
                place.host.get(f"{debian.PLACE}{SAVED}/{guest.name}",
                               str(copies / guest.name))
        return result
    stop_and_start(place, "v3", run)
    for guest in GUESTS:
        report, decoder, _ = audit.audit(str(copies / guest.name))
        assert not report.faults and not report.misaligned
        assert decoder.format == "v3" and decoder.header.state == 2


def test_as_an_init_script(place):
    """Without systemd: the line that the guide has for it."""
    guide = (ROOT / "docs/guide.md").read_text()
    line, = re.findall(r"^(\[ -x /usr/bin/xl-aligned \].*)$", guide, re.M)
    switch_on(place)
    place.host.write_text(f"{debian.PLACE}/tmp/line", line + "\n")
    place.run(f"cat /tmp/line >>{DEFAULTS}")
    stop_and_start(place, "v3",
                   lambda verb: place.run(f"{DEBIANS} {verb}", 300))


def test_format_that_stock_restores(place):
    """Saved with the plugin, restored without: as after a removal."""
    switch_on(place)
    place.run(f"sed -i 's/^#XL_ALIGNED_FORMAT=/XL_ALIGNED_FORMAT=/' "
              f"{SETTINGS}")

    def run(verb):
        if verb == "stop":
            return service(place, DEBIANS, verb)
        return place.run(f"{DEBIANS} {verb}", 300)
    stop_and_start(place, "compat", run)


def test_a_library_that_is_gone_is_noticed(place):
    place.run(f"echo LD_PRELOAD=/none/libxl-aligned.so.0 >>{SETTINGS}")
    (level, text), = doctor(place)
    assert level == "bad" and "/none/" in text
