# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's xen driver, a toolstack with threads that links libxl itself."""
import json
import subprocess
import time

import pytest

import lab
from lab import debian
from lab.measure import patience

pytestmark = pytest.mark.slow

SETTINGS = "/etc/default/xl-aligned"
MANAGED = "/var/lib/libvirt/libxl/save"
LIBVIRT = ("libvirt-daemon-driver-xen", "libvirt-clients",
           "libvirt-daemon-system", "apparmor")
LIBRARIES = ("liburing2", "libxxhash0", "libyajl2", "libssl3", "libzstd1",
             "liblz4-1", "libxenstore4")
PROFILE = "/etc/apparmor.d/usr.sbin.libvirtd"
XML = """\
<domain type='xen'>
  <name>{name}</name>
  <memory unit='MiB'>{memory}</memory>
  <os>
    <type arch='x86_64' machine='{machine}'>{os}</type>
    <kernel>/boot/vmlinux</kernel>
    <initrd>/boot/guest.cpio.gz</initrd>
    <cmdline>console=hvc0 quiet sysrq_always_enabled lab.noise=16 lab.seed=1
 lab.dirty=0 lab.interval=1</cmdline>
  </os>
  <clock offset='utc'><timer name='tsc' mode='native'/></clock>
  <devices><console type='pty'/></devices>
</domain>
"""
KINDS = {"pv": ("xenpv", "linux", 128), "pvh": ("xenpvh", "xenpvh", 160)}


@pytest.fixture(scope="module")
def place(build_overlay, tmp_path_factory):
    disk = debian.copy(str(tmp_path_factory.mktemp("debian")),
                       names=debian.PACKAGES + LIBRARIES + LIBVIRT)
    with lab.XenHost(disks=(disk,), parts=()) as host:
        subprocess.run(["tar", "-C", build_overlay, "-cf",
                        f"{host.share}/tree.tar", "."], check=True)
        host.run(f"tar -C {debian.PLACE} -xf /host/tree.tar")
        place = debian.Debian(host)
        place.run("mkdir -p /run/libvirt && "
                  "echo 'auth_unix_rw = \"none\"' >/etc/libvirt/libvirtd.conf "
                  "&& rm -rf /etc/libvirt/qemu/networks/autostart")
        # Of all CPUs libvirt knows none without VME, as the emulated one is.
        place.run("sed -i /vme/d /usr/share/libvirt/cpu_map/x86_486.xml")
        place.run(f"sed -i 's/^#LD_PRELOAD=/LD_PRELOAD=/' {SETTINGS}")
        yield place


def start_daemon(place, more: str = "") -> None:
    """As systemd does with our drop-in."""
    place.run(f"env $(sed -n '/^[A-Z]/p' {SETTINGS}) {more} libvirtd --daemon "
              ">>/var/log/libvirtd.log 2>&1")
    deadline = time.monotonic() + 60 * patience()
    while place.run("virsh -c xen:///system version", check=False).status:
        assert time.monotonic() < deadline, \
            place.run("tail -40 /var/log/libvirtd.log").stdout
        time.sleep(0.5)


def stop_daemon(place) -> None:
    place.run("kill $(pidof libvirtd); while pidof libvirtd >/dev/null; do "
              "sleep 0.1; done")


@pytest.fixture
def daemon(place):
    start_daemon(place)
    yield place
    stop_daemon(place)


@pytest.fixture
def slow_daemon(place):
    """Its saves take long enough for something to happen meanwhile."""
    start_daemon(place, "XL_ALIGNED_COMPRESS=zstd:9:all")
    yield place
    stop_daemon(place)


def virsh(place, command: str, check: bool = True) -> lab.Result:
    return place.run(f"virsh -c xen:///system {command}", 240, check=check)


def begin(place, kind: str) -> str:
    machine, os_, memory = KINDS[kind]
    xml = XML.format(name=kind, memory=memory, machine=machine, os=os_)
    place.host.write_text(f"{debian.PLACE}/tmp/{kind}.xml",
                          xml.replace("\n lab.", " lab."))
    place.host.mark(kind)
    end(place, kind)
    virsh(place, f"define /tmp/{kind}.xml")
    virsh(place, f"start {kind}")
    place.host.wait_verdict(kind)
    return kind


def end(place, kind: str) -> None:
    virsh(place, f"destroy {kind}", check=False)
    virsh(place, f"undefine --managed-save {kind}", check=False)


def check_running(place, kind: str) -> None:
    place.host.wait_verdict(kind)


def info(place, file: str) -> dict:
    return json.loads(place.run(f"xl-aligned info --json {file}").stdout)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_managed_save(daemon, kind):
    name = begin(daemon, kind)
    lab.drop_caches(daemon.host)
    virsh(daemon, "list")
    with lab.MemoryWatch(daemon.host) as watch:
        virsh(daemon, f"managedsave {name}")
    print(f"{kind}: page cache {watch.cache_growth()} KiB")
    found = info(daemon, f"{MANAGED}/{name}.save")
    assert found["format"] == "v3"
    verified = daemon.run(f"xl-aligned verify {MANAGED}/{name}.save").stdout
    assert "every byte is intact" in verified
    daemon.host.mark(name)
    virsh(daemon, f"start {name}")
    check_running(daemon, name)
    end(daemon, name)


def test_save_to_a_file(daemon):
    name = begin(daemon, "pvh")
    virsh(daemon, f"save {name} /data/saved")
    assert info(daemon, "/data/saved")["format"] == "v3"
    daemon.host.mark(name)
    virsh(daemon, "restore /data/saved")
    check_running(daemon, name)
    end(daemon, name)


# -- what fails -------------------------------------------------------------

# For `sh`: what happens to an operation of {name} that is under way.
ENDS = {
    "failing": "kill -KILL $(pgrep -f -- '{mode}-domain ')",
    "cancelled": "until xl-aligned cancel {name}; do "
                 "kill -0 $! || break; sleep 0.1; done",
}


def meanwhile(place, command: str, until: str, then: str) -> lab.Result:
    """Status and output of virsh; `then` is done once `until` holds."""
    place.host.write_text(f"{debian.PLACE}/tmp/meanwhile", f"""\
virsh -c xen:///system {command} >/tmp/virsh-says 2>&1 &
until {until}; do kill -0 $! || break; sleep 0.1; done
{then}
wait $!
status=$?
cat /tmp/virsh-says
exit $status
""")
    return place.run("sh /tmp/meanwhile", 240, check=False)


def state(place, name: str) -> str:
    return virsh(place, f"domstate {name}").stdout.strip()


def xl_says(place, name: str) -> str:
    return place.run(f"xl list {name}").stdout.splitlines()[-1].split()[4]


def wait_for_state(place, name: str, wanted: str) -> None:
    deadline = time.monotonic() + 60 * patience()
    while state(place, name) != wanted:
        assert time.monotonic() < deadline, state(place, name)
        time.sleep(1)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_ends_early(slow_daemon, kind, how):
    """The guest runs, libvirt knows it, and hears of its end."""
    daemon = slow_daemon
    name = begin(daemon, kind)
    result = meanwhile(
        daemon, f"managedsave {name}",
        f"xl list {name} 2>/dev/null | grep -q 'ss[-d] '",
        ENDS[how].format(name=name, mode="save"))
    print(result.stdout, result.stderr)
    assert result.status != 0
    assert "s" not in xl_says(daemon, name)
    daemon.host.mark(name)
    check_running(daemon, name)
    assert state(daemon, name) == "running"
    daemon.run(f"xl sysrq {name} c")
    wait_for_state(daemon, name, "shut off")
    end(daemon, name)


def managed(place, kind: str) -> str:
    """Of a saved domain: what sha256sum says of its file."""
    virsh(place, f"managedsave {kind}")
    return checksum(place, kind)


def checksum(place, name: str) -> str:
    return place.run(f"sha256sum {MANAGED}/{name}.save").stdout


def check_starts(place, name: str) -> None:
    place.host.mark(name)
    virsh(place, f"start {name}")
    check_running(place, name)
    assert place.run(f"ls {MANAGED}").stdout == ""
    end(place, name)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_start_that_ends_early(daemon, kind, how):
    """The managed save is back, and the next start finds it."""
    name = begin(daemon, kind)
    before = managed(daemon, name)
    result = meanwhile(daemon, f"start {name}",
                       "pgrep -f -- '--restore-domain ' >/dev/null",
                       ENDS[how].format(name=name, mode="restore"))
    print(result.stdout)
    assert result.status != 0
    assert state(daemon, name) == "shut off"
    assert checksum(daemon, name) == before
    check_starts(daemon, name)


def test_a_start_without_the_library(daemon):
    """Nothing but the helper shows that it is missing."""
    name = begin(daemon, "pvh")
    before = managed(daemon, name)
    library = daemon.run("find /usr/lib -name libxl-aligned-stream.so"
                         ).stdout.strip()
    daemon.run(f"mv {library} {library}.away")
    try:
        assert virsh(daemon, f"start {name}", check=False).status != 0
    finally:
        daemon.run(f"mv {library}.away {library}")
    assert checksum(daemon, name) == before
    check_starts(daemon, name)


def test_doctor_sees_it(daemon):
    result = daemon.run("xl-aligned doctor --json /data", check=False)
    texts = [(entry["level"], entry["text"]) for entry in
             json.loads(result.stdout)["findings"]
             if entry["what"] == "services"]
    assert [level for level, _ in texts] == ["ok", "ok"]
    assert "libvirtd" in texts[1][1] and "with the plugin" in texts[1][1]
