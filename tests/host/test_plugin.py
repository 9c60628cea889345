# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin under stock xl on a real Xen host, with real guests."""
import re
import subprocess
import time
from pathlib import Path

import pytest

from lab import Disk, XenHost, hvm, pv, pvh
from model import layout as L
from model import audit, savefile
from support import ROOT

PLUGIN = "/usr/lib/libxl-aligned.so.0"
FILE = "/data/file"
DEVICE = "/dev/vdb"
MIB = 1 << 20


@pytest.fixture(scope="module")
def host(build_overlay, tmp_path_factory):
    disks = tmp_path_factory.mktemp("disks")
    with XenHost(overlays=(build_overlay,), disks=(
            Disk(str(disks / "device"), 1 << 30, None),
            Disk(str(disks / "minix"), 1 << 30, "minix"),
            Disk(str(disks / "small"), 96 << 20, "ext4", "/small"))) as host:
        host.run("modprobe minix && mkdir /minix &&"
                 " mount -t minix /dev/vdc /minix")
        yield host


RESIDENT = pv("resident", memory=96, noise=16)


@pytest.fixture
def resident(host):
    """A guest that goes from test to test, as long as it lives."""
    if guests(host) != [RESIDENT.name]:
        start(host, RESIDENT)
    return RESIDENT


@pytest.fixture(autouse=True)
def clean(host):
    """Every test begins without other guests, and without files."""
    yield
    for name in guests(host):
        if name != RESIDENT.name:
            host.destroy(name)
    host.run("rm -f /data/file* /small/file* /minix/file* /run/lab/*.conf")


def guests(host) -> list:
    lines = host.run("xl list").stdout.splitlines()[2:]
    return [line.split()[0] for line in lines if line.strip()]


# As a command of ours signs what it tells the plugin.
SIGNED = "XL_ALIGNED_BY=$$-$(cut -d' ' -f22 /proc/$$/stat)"


def xl(host, command: str, plugin: bool = True, check: bool = True, **env):
    """Runs xl; `plugin` False: as if this software did not exist."""
    words = [SIGNED, *(f"{key}={value}" for key, value in env.items())]
    if plugin:
        words.append(f"LD_PRELOAD={PLUGIN}")
    return host.run(f"env {' '.join(words)} xl {command}", 180, check=check)


def plugin_lines(result) -> list:
    return [line for line in result.stderr.splitlines()
            if line.startswith("libxl-aligned: ")]


def start(host, guest):
    host.create(guest)
    host.wait_verdict(guest.name)
    return guest


def check_running(host, guest) -> None:
    """The guest itself finds its memory right, from now on."""
    host.mark(guest.name)
    host.wait_verdict(guest.name)


def restore(host, guest, file: str = FILE, **options):
    host.mark(guest.name)
    result = xl(host, f"restore {file}", **options)
    host.wait_verdict(guest.name)
    return result


class CacheWatch:
    """The most that dom0's page cache grew, in octets."""

    def __init__(self, host) -> None:
        self.host = host

    def __enter__(self) -> "CacheWatch":
        self.host.run("sync; echo 3 >/proc/sys/vm/drop_caches")
        self.host.run("rm -f /run/lab/watch; (while :; do awk '/^(Cached|"
                      "Buffers|SwapCached):/{s+=$2} END{print s}' "
                      "/proc/meminfo; usleep 100000; done) "
                      ">/run/lab/watch 2>/dev/null </dev/null & "
                      "echo $! >/run/lab/watch.pid; usleep 300000")
        return self

    def __exit__(self, *_) -> None:
        text = self.host.run("usleep 200000; kill $(cat /run/lab/watch.pid);"
                             " cat /run/lab/watch").stdout
        samples = [int(line) for line in text.split()]
        assert len(samples) > 4
        self.growth = (max(samples) - samples[0]) << 10


def fetch(host, tmp_path, file: str = FILE) -> Path:
    local = tmp_path / "fetched"
    host.get(file, str(local))
    return local


def check_file(path: Path, format_: str) -> None:
    """With a decoder that shares no code with the plugin."""
    report, decoder, _ = audit.audit(str(path))
    assert not report.faults
    assert decoder.format == format_
    if format_ != "v2":
        assert report.with_contents and not report.misaligned
    if format_ == "v3":
        assert decoder.header.state == 2


def check_identity(stock: Path, format_: str) -> None:
    there, back = stock.with_suffix(".there"), stock.with_suffix(".back")
    for to, source, out in ((format_, stock, there), ("v2", there, back)):
        subprocess.run([ROOT / "build" / "xl-aligned", "convert",
                        f"--to={to}", source, out], check=True)
    check_file(there, format_)
    wanted = stock.read_bytes()
    assert back.read_bytes() == wanted
    assert savefile.to_v2(there.read_bytes()) == wanted


# -- guests of every kind ----------------------------------------------------


@pytest.mark.parametrize("make", (pv, pvh))
def test_page_cache_is_left_alone(host, tmp_path, make):
    guest = start(host, make("g512", memory=512))
    with CacheWatch(host) as save:
        result = xl(host, f"save {guest.name} {FILE}")
    assert not plugin_lines(result) and guest.name not in guests(host)
    with CacheWatch(host) as load:
        result = restore(host, guest)
    assert not plugin_lines(result)
    print(f"{make.__name__}: page cache save +{save.growth >> 10} KiB, "
          f"restore +{load.growth >> 10} KiB")
    assert save.growth <= MIB and load.growth <= MIB
    check_file(fetch(host, tmp_path), "v3")


@pytest.mark.parametrize("make", (pv, pvh, hvm))
def test_formats_and_readers(host, tmp_path, make):
    """One guest through v3, compat and v2, read by whoever can read it."""
    guest = start(host, make("g", memory=128, noise=32))
    stock_size = None
    for format_, plugin in (("v3", True), ("compat", False),
                            ("compat", True), ("v2", False), ("v2", True)):
        result = xl(host, f"save {guest.name} {FILE}",
                    XL_ALIGNED_FORMAT=format_)
        assert not plugin_lines(result)
        file = fetch(host, tmp_path)
        check_file(file, format_)
        size = len(savefile.to_v2(file.read_bytes()))
        assert size == (stock_size or size)
        stock_size = size
        restore(host, guest, plugin=plugin)

    # And a file of stock xl, which any conversion gives back.
    xl(host, f"save {guest.name} {FILE}", plugin=False)
    stock = fetch(host, tmp_path)
    assert stock.stat().st_size == stock_size
    for format_ in ("v3", "compat"):
        check_identity(stock, format_)
    restore(host, guest)


def test_stock_refuses_v3(host, resident):
    guest = resident
    xl(host, f"save {guest.name} {FILE}")
    result = xl(host, f"restore {FILE}", plugin=False, check=False)
    assert result.status != 0
    assert "Mandatory record 0x414c0001 (Reserved) not handled" \
        in result.stderr
    assert guest.name not in guests(host)
    restore(host, guest)


def test_every_head_length(host, tmp_path):
    """xl's head ends anywhere modulo 8: the name is stored in it."""
    guest = start(host, pv("g", memory=96, noise=8))
    starts = {"v3": set(), "compat": set()}
    name = guest.name
    for length in range(8):
        longer = "g" + "x" * length
        if longer != name:
            host.run(f"xl rename {name} {longer}")
            name = longer
        for format_, plugin in (("v3", True), ("compat", False)):
            result = xl(host, f"save {name} {FILE}",
                        XL_ALIGNED_FORMAT=format_)
            assert not plugin_lines(result)
            file = fetch(host, tmp_path)
            check_file(file, format_)
            head = savefile.parse_head(file.read_bytes())
            starts[format_].add((head.stream_start - head.spare) % 8)
            assert format_ == "v3" or head.stream_start % 8 == 0
            xl(host, f"restore {FILE}", plugin=plugin)
            assert name in guests(host)
    assert starts["v3"] == starts["compat"] == set(range(8))
    # Its console goes to a log of the name that it was restored with.
    host.mark(name)
    host.wait_verdict(name)


def test_checkpoint_and_pause(host, tmp_path):
    for make in (pv, pvh):
        guest = start(host, make("g", memory=96, noise=16))
        xl(host, f"save -c {guest.name} {FILE}")
        check_running(host, guest)
        check_file(fetch(host, tmp_path), "v3")

        xl(host, f"save -p {guest.name} {FILE}")
        state = host.run(f"xl list {guest.name}").stdout.splitlines()[-1]
        assert state.split()[4][2] == "p"
        host.run(f"xl unpause {guest.name}")
        check_running(host, guest)
        host.destroy(guest.name)
        restore(host, guest)
        host.destroy(guest.name)


# -- where to ----------------------------------------------------------------


def test_block_device(host, tmp_path):
    guest = start(host, pvh("g", memory=256, noise=64))
    with CacheWatch(host) as save:
        result = xl(host, f"save {guest.name} {DEVICE}")
    assert not plugin_lines(result)
    with CacheWatch(host) as load:
        restore(host, guest, DEVICE)
    print(f"device: save +{save.growth >> 10} KiB, "
          f"restore +{load.growth >> 10} KiB")
    assert save.growth <= MIB and load.growth <= MIB
    with open(host.disks[1].path, "rb") as device:
        report, decoder, _ = audit.audit_file(device, device=True)
    assert decoder.format == "v3" and not report.faults

    # The device as it is afterwards restores with stock, if compat.
    xl(host, f"save {guest.name} {DEVICE}", XL_ALIGNED_FORMAT="compat")
    restore(host, guest, DEVICE, plugin=False)


def test_device_too_small(host, resident):
    guest = resident
    host.run("modprobe loop; truncate -s 64M /data/file.img;"
             " losetup /dev/loop0 /data/file.img")
    try:
        result = xl(host, f"save {guest.name} /dev/loop0", check=False)
        assert result.status != 0
        assert len(plugin_lines(result)) == 1
        assert "MiB free" in plugin_lines(result)[0]
        check_running(host, guest)
    finally:
        host.run("losetup -d /dev/loop0")


def test_filesystem_without_direct_io(host, tmp_path):
    guest = start(host, pv("g", memory=256, noise=160))
    with CacheWatch(host) as save:
        result = xl(host, f"save {guest.name} /minix/file")
    assert not plugin_lines(result)
    with CacheWatch(host) as load:
        restore(host, guest, "/minix/file")
    print(f"minix: save +{save.growth >> 10} KiB, "
          f"restore +{load.growth >> 10} KiB")
    assert save.growth <= 64 * MIB and load.growth <= 64 * MIB
    check_file(fetch(host, tmp_path, "/minix/file"), "v3")


def test_pipe_stays_v2(host, resident, tmp_path):
    guest = resident
    host.run(f"mkfifo /data/file.pipe; cat /data/file.pipe >{FILE} "
             "2>/dev/null </dev/null & true")
    result = xl(host, f"save {guest.name} /data/file.pipe")
    assert not plugin_lines(result)
    time.sleep(1)
    check_file(fetch(host, tmp_path), "v2")
    restore(host, guest, plugin=False)


def test_pipe_v3_on_request(host, resident, tmp_path):
    guest = resident
    host.run(f"mkfifo /data/file.pipe; cat /data/file.pipe >{FILE} "
             "2>/dev/null </dev/null & true")
    xl(host, f"save {guest.name} /data/file.pipe", XL_ALIGNED_FORMAT="v3",
       XL_ALIGNED_PIPE="yes")
    time.sleep(1)
    data = fetch(host, tmp_path).read_bytes()
    assert L.MAGIC in data[:8192] and len(data) < 90 * MIB
    savefile.to_v2(data)
    host.run(f"cat {FILE} >/data/file.pipe 2>/dev/null </dev/null & true")
    restore(host, guest, "/data/file.pipe")


@pytest.mark.parametrize("setting", ("XL_ALIGNED_ENGINE=thread",
                                     "XL_ALIGNED_ENGINE=uring",
                                     "XL_ALIGNED_IO=window",
                                     "XL_ALIGNED_IO=buffered"))
def test_ways_of_writing(host, resident, tmp_path, setting):
    guest = resident
    name, value = setting.split("=")
    result = xl(host, f"save {guest.name} {FILE}", **{name: value})
    assert not plugin_lines(result)
    check_file(fetch(host, tmp_path), "v3")
    if "ENGINE" not in setting:
        name, value = "XL_ALIGNED_RESTORE_IO", "buffered"
    result = restore(host, guest, **{name: value})
    assert not plugin_lines(result)


# -- when it cannot work -----------------------------------------------------


@pytest.mark.parametrize("case", ("config", "value", "missing", "broken"))
def test_cannot_start(host, resident, tmp_path, case):
    """One warning line, and what stock does."""
    guest = resident
    library = "/usr/lib/xl-aligned/libxl-aligned-stream.so"
    env = {}
    if case == "config":
        host.write_text("/run/lab/broken.conf", "format = \n")
        env = {"XL_ALIGNED_CONFIG": "/run/lab/broken.conf"}
    elif case == "value":
        env = {"XL_ALIGNED_IO": "sideways"}
    else:
        host.run(f"mv {library} {library}.away")
        if case == "broken":
            host.write_text(library, "no library")
    try:
        result = xl(host, f"save {guest.name} {FILE}", **env)
    finally:
        if case in ("missing", "broken"):
            host.run(f"mv {library}.away {library}")
    assert len(plugin_lines(result)) == 1, result.stderr
    assert "warning: " in plugin_lines(result)[0]
    check_file(fetch(host, tmp_path), "v2")
    restore(host, guest, plugin=False)


def test_plugin_itself_missing(host, resident):
    """The dynamic linker says so, once for each program."""
    guest = resident
    result = host.run("env LD_PRELOAD=/usr/lib/nowhere.so "
                      f"xl save {guest.name} {FILE}")
    assert "cannot be preloaded" in result.stderr
    restore(host, guest)


# -- refusals and failures ---------------------------------------------------


def damage(host, offset: int) -> None:
    host.run(f"o=$(dd if={FILE} bs=1 skip={offset} count=1 2>/dev/null |"
             f" od -An -tu1); printf \"\\\\$(printf %o $((o ^ 16)))\" |"
             f" dd of={FILE} bs=1 seek={offset} conv=notrunc 2>/dev/null")


def refused(host, guest):
    result = xl(host, f"restore {FILE}", check=False)
    assert result.status != 0 and guest.name not in guests(host)
    assert len(plugin_lines(result)) == 1, result.stderr
    assert FILE in plugin_lines(result)[0]
    return result


def test_damaged_files(host):
    guest = start(host, pvh("g", memory=96, noise=16))
    xl(host, f"save {guest.name} {FILE}")
    size = int(host.run(f"stat -c %s {FILE}").stdout)

    # In a page: found before libxenguest sees it; the domain is taken down.
    offset = size // 2 & ~4095
    damage(host, offset)
    line = plugin_lines(refused(host, guest))[0]
    assert re.search(r"offset \d+, record \d+", line)
    damage(host, offset)

    # In the tail, or cut: found before there is a domain.
    damage(host, size - 3)
    assert "not restored" in refused(host, guest).stderr
    damage(host, size - 3)
    host.run(f"cp {FILE} {FILE}.whole; "
             f"truncate -s {size - 8} {FILE}")
    assert "not restored" in refused(host, guest).stderr
    host.run(f"mv {FILE}.whole {FILE}")
    restore(host, guest)


def test_too_little_space(host):
    """Found while the guest still runs; nothing is left behind."""
    guest = start(host, pv("g", memory=160, noise=16))
    host.run("echo old >/small/file")
    result = xl(host, f"save {guest.name} /small/file.partial", check=False,
                XL_ALIGNED_COMMIT_NAME="/small/file")
    assert result.status != 0
    assert len(plugin_lines(result)) == 1
    assert "MiB free; the domain keeps running" in plugin_lines(result)[0]
    assert "xc: progress" not in result.stderr
    check_running(host, guest)
    assert host.run("cat /small/file; ls /small").stdout.split() == \
        ["old", "file", "lost+found"]

    # Without zero pages there is room for it after all.
    result = xl(host, f"save {guest.name} /small/file.partial",
                XL_ALIGNED_COMMIT_NAME="/small/file",
                XL_ALIGNED_RESERVE="no")
    assert host.run("ls /small").stdout.split() == ["file", "lost+found"]
    restore(host, guest, "/small/file")


def test_disk_full_on_the_way(host):
    guest = start(host, pv("g", memory=256, noise=128))
    result = xl(host, f"save {guest.name} /small/file.partial", check=False,
                XL_ALIGNED_COMMIT_NAME="/small/file",
                XL_ALIGNED_RESERVE="no")
    assert result.status != 0
    assert "No space left on device" in plugin_lines(result)[0]
    check_running(host, guest)
    assert host.run("ls /small").stdout.split() == ["lost+found"]


def running_save(host, guest):
    """A save that has come some way."""
    job = host.popen(f"env {SIGNED} LD_PRELOAD={PLUGIN} "
                     f"XL_ALIGNED_COMMIT_NAME={FILE} xl save {guest.name} {FILE}.partial")
    for _ in range(300):
        if "Frames: " in job.output().stderr:
            return job
        time.sleep(0.1)
    raise AssertionError(job.output().stderr)


@pytest.mark.parametrize("make", (pv, pvh))
@pytest.mark.parametrize("how", ("INT xl", "TERM xl", "KILL helper",
                                 "TERM helper"))
def test_interrupted(host, make, how):
    """The guest runs on; there is no file."""
    guest = start(host, make("g", memory=512, noise=192))
    job = running_save(host, guest)
    signal, target = how.split()
    program = {"xl": "xl", "helper": "libxl-save-helper"}[target]
    host.run(f"kill -{signal} $(pidof {program})")
    result = job.wait(60, check=False)
    assert result.status != 0
    check_running(host, guest)
    assert host.run("ls /data").stdout.split() == ["lost+found"]
