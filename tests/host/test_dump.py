# SPDX-License-Identifier: LGPL-2.1-or-later
"""Core dumps of real guests on a real Xen host."""
import os
import re
import struct
import subprocess
import time
from pathlib import Path

import pytest

import lab
from lab.cpio import Archive
from lab.measure import MemoryWatch, drop_caches
from model.core_reader import INVALID, read_elf, read_xen
from support import ROOT, cc

pytestmark = pytest.mark.slow

PAGE = 4096
MIB = 1 << 20
CORE = "/data/core"
PLUGIN = "LD_PRELOAD=/usr/lib/libxl-aligned.so.0"
PATTERN = (b"A page of known contents at a known place. " * 100)[:PAGE]
KINDS = ("pv", "pvh", "hvm")


@pytest.fixture(scope="module")
def host(build_overlay, tmp_path_factory):
    place = tmp_path_factory.mktemp("dump")
    cc(place / "init", "-static", ROOT / "tests/host/dump_guest.c")
    with Archive(str(place / "guest.cpio.gz")) as archive:
        archive.copy("init", str(place / "init"))
        archive.directory("proc")
        archive.device("dev/console", 5, 1)
    with lab.XenHost(overlays=(build_overlay,), disks=(
            lab.Disk(str(place / "small"), 64 * MIB, "ext4", "/small"),
            lab.Disk(str(place / "minix"), 512 * MIB, "minix"))) as host:
        host.put(str(place / "guest.cpio.gz"), "/boot/dump.cpio.gz")
        host.run("modprobe minix && mkdir /minix &&"
                 " mount -t minix /dev/vdc /minix")
        yield host


@pytest.fixture(autouse=True)
def clean(host):
    yield
    for line in host.run("xl list").stdout.splitlines()[2:]:
        host.destroy(line.split()[1])
    host.run("rm -rf /data/core* /data/saved* /small/core* /minix/core*")


class Guest:
    """A guest of a kind, running; the pattern is at `frame`."""

    def __init__(self, host, kind: str, memory: int = 0) -> None:
        self.host, self.kind, self.name = host, kind, f"dump-{kind}"
        if kind == "hvm":
            guest = lab.hvm(self.name, memory=memory or 96, noise=32)
        else:
            make = {"pv": lab.pv, "pvh": lab.pvh}[kind]
            guest = make(self.name, memory=memory or 192,
                         extra={"ramdisk": "/boot/dump.cpio.gz"})
        self.mark = len(host.console(self.name))
        host.create(guest)
        if kind == "hvm":
            host.wait_verdict(self.name)
            # The first page of its noise, which is where it says it is.
            self.frame, self.contents = 0x1000, noise_page(1, 0)
            return
        self.wait("round 2")
        found = re.search(r"pattern at frame (\w+)", self.console())
        self.frame, self.contents = int(found[1], 16), PATTERN
        assert self.frame

    def console(self) -> str:
        return self.host.console(self.name)[self.mark:]

    def wait(self, text: str, timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.console():
            assert time.monotonic() < deadline, self.console()[-500:]
            time.sleep(0.1)

    def rounds(self) -> int:
        return len(re.findall(r"^round |^verdict ", self.console(), re.M))

    def pause(self) -> None:
        self.host.run(f"xl pause {self.name}")


def noise_page(seed: int, number: int) -> bytes:
    """lab/payload/noise.h, generation 0."""
    mask = (1 << 64) - 1
    state = seed * 0xd1342543de82ef95 & mask

    def step() -> int:
        nonlocal state
        state = (state + 0x9e3779b97f4a7c15) & mask
        z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9 & mask
        z = (z ^ z >> 27) * 0x94d049bb133111eb & mask
        return z ^ z >> 31

    state = (step() + number) & mask
    state = step()
    return struct.pack("<512Q", *(step() for _ in range(512)))


def dump(guest: Guest, out: str = CORE, sparse: bool = True,
         form: str = "xen", check: bool = True):
    options = f"--force --format={form} {'' if sparse else '--no-sparse'}"
    return guest.host.run(f"xl-aligned dump-core {options} {guest.name}"
                          f" {out}", 600, check=check)


def fetch(host, remote: str, directory: Path) -> Path:
    local = directory / os.path.basename(remote)
    host.get(remote, str(local))
    return local


# -- what people read ------------------------------------------------------

@pytest.mark.parametrize("kind", KINDS)
def test_readers(host, kind, tmp_path):
    kdumpfile = pytest.importorskip("kdumpfile")
    drgn = pytest.importorskip("drgn")
    guest = Guest(host, kind)
    guest.pause()
    for form in ("xen", "elf"):
        drop_caches(host)
        with MemoryWatch(host) as watch:
            done = dump(guest, f"{CORE}.{form}", form=form)
        assert done.stderr == ""
        assert watch.cache_growth() <= 1024
        assert not host.run("ls /data/*.partial", check=False).stdout
    xen = fetch(host, f"{CORE}.xen", tmp_path)
    elf = fetch(host, f"{CORE}.elf", tmp_path)

    raw, plain = read_xen(xen), read_elf(elf)
    assert raw.pages[guest.frame] == guest.contents
    assert plain.pages[guest.frame] == guest.contents
    assert raw.pages.keys() == plain.pages.keys()
    differing = sum(raw.pages[pfn] != plain.pages[pfn] for pfn in raw.pages)
    if kind == "pv":        # its page tables, and nothing else
        assert 0 < differing < len(raw.pages) / 20
    else:
        assert differing == 0

    address = guest.frame * PAGE
    mfn = raw.mfns.get(guest.frame, guest.frame)
    for path, type_, at in (
            (xen, kdumpfile.KDUMP_MACHPHYSADDR, mfn * PAGE),
            (elf, kdumpfile.KDUMP_MACHPHYSADDR, address)):
        assert bytes(kdumpfile.kdumpfile(str(path)).read(
            type_, at, PAGE)) == guest.contents

    if kind == "hvm":
        # Not Linux, which is all that drgn takes from a virtual machine.
        gdb_reads(elf, address, guest.contents)
        return
    program = drgn.Program()
    program.set_core_dump(str(elf))
    assert program.read(address, PAGE, physical=True) == guest.contents
    kernel_by_its_own_tables(program, (xen, elf), plain)
    assert "Linux version" in kernel_log(elf)


def gdb_reads(path, address: int, contents: bytes) -> None:
    out = subprocess.run(
        ["gdb", "-nx", "-batch", "-core", path, "-ex",
         f"x/8xb {address}"], capture_output=True, text=True,
        timeout=60).stdout
    found = re.findall(r"0x(\w\w)\b", out.split(":", 1)[-1])
    assert bytes.fromhex("".join(found[-8:])) == contents[:8], out


def kernel_by_its_own_tables(program, paths, core) -> None:
    """A kernel's virtual address, translated through the dumped tables."""
    import kdumpfile
    info = next(data for name, _, data in core.notes
                if name == "VMCOREINFO").decode()
    release = re.search(r"OSRELEASE=(\S+)", info)[1].encode()
    names = int(re.search(r"SYMBOL\(init_uts_ns\)=(\w+)", info)[1], 16)

    def check(contents) -> None:
        assert b"Linux\0" in bytes(contents) and release in bytes(contents)

    check(program.read(names, 512))
    for path in paths:
        dump = kdumpfile.kdumpfile(str(path))
        dump.attr["addrxlat.ostype"] = "linux"
        check(dump.read(kdumpfile.KDUMP_KVADDR, names, 512))


def kernel_log(path) -> str:
    """The guest's own log, out of its memory, by makedumpfile."""
    log = path.with_suffix(".dmesg")
    subprocess.run(["/usr/bin/makedumpfile", "--dump-dmesg", path, log],
                   check=True, capture_output=True, timeout=60)
    return log.read_text(errors="replace")


# -- against stock ---------------------------------------------------------

def timed(host, command: str) -> tuple:
    """Its result, and the seconds that it took in dom0."""
    done = host.run(f"cut -d' ' -f1 /proc/uptime; {command};"
                    " s=$?; cut -d' ' -f1 /proc/uptime; exit $s", 3000)
    lines = done.stdout.split()
    return done, float(lines[-1]) - float(lines[0])


def against_stock(host, kind: str, ratio: float) -> None:
    guest = Guest(host, kind, memory={"pv": 256}.get(kind, 0))
    guest.pause()
    whole = f"env {PLUGIN} XL_ALIGNED_DUMP_SPARSE=no"
    sparse = f"env {PLUGIN}"
    times, cache = {}, {}
    # Ours thrice: what else this machine does, stock's minutes average out.
    for name, command in (
            ("first", whole), ("sparse", sparse),
            ("elf", f"env {PLUGIN} XL_ALIGNED_DUMP_FORMAT=elf"),
            ("stock", "env"), ("sparse", sparse), ("sparse", sparse),
            ("last", whole)):
        drop_caches(host)
        with MemoryWatch(host) as watch:
            done, seconds = timed(
                host, f"{command} xl dump-core {guest.name} {CORE}.{name}")
        print(f"{kind}: {name}: {seconds:.2f} s,"
              f" page cache +{watch.cache_growth()} KiB")
        times[name] = min(seconds, times.get(name, seconds))
        cache[name] = max(watch.cache_growth(), cache.get(name, 0))
        assert name == "stock" or done.stderr == "", done.stderr
    # Xen may set the clock in the shared info page meanwhile: a byte that
    # differs from the dump before and from the dump after is ours.
    differing = []
    for name in ("first", "last"):
        done = host.run(f"cmp -l {CORE}.{name} {CORE}.stock | cut -c1-12",
                        600, check=False)
        differing.append({int(line.split()[0])
                          for line in done.stdout.splitlines()})
    assert not differing[0] & differing[1]
    host.run(f"cmp {CORE}.sparse {CORE}.first || "
             f"cmp {CORE}.sparse {CORE}.last", 600)
    # One vCPU: .xen_shared_info is behind seven sections' headers.
    start = 64 + 7 * 64 + 1384 + 5168
    print(f"\n{kind}: bytes of the shared info page that differ from the"
          " dump before and after:",
          *(sorted(at - 1 - start for at in one) for one in differing))
    for name in times:
        print(f"{kind}: {name}: {times[name]:.2f} s,"
              f" {times['stock'] / times[name]:.0f} times")
        assert name == "stock" or cache[name] <= 1024
    assert times["stock"] / times["sparse"] >= ratio


def test_like_stock_pv(host):
    against_stock(host, "pv", 10)


@pytest.mark.parametrize("kind", ("pvh", "hvm"))
def test_like_stock(host, kind):
    against_stock(host, kind, 50)


# -- saved guests ----------------------------------------------------------

@pytest.mark.parametrize("format_", ("v3", "v2", "compat", "live"))
@pytest.mark.parametrize("kind", KINDS)
def test_to_core(host, kind, format_, tmp_path):
    """A core of the save file is a core of the guest as it was saved."""
    if format_ == "live" and kind != "pvh":
        pytest.skip("PV: no shadow paging here; HVM: nothing changes in it"
                    " that is not saved in any case")
    guest = Guest(host, kind)
    # An HVM guest without drivers of Xen's takes no part in its suspension:
    # what is saved is what was there before.
    if kind == "hvm":
        guest.pause()
        dump(guest, f"{CORE}.live")
    # -p: saved, resumed, and paused before it runs.
    options = "--live" if format_ == "live" else f"--format={format_}"
    host.run(f"xl-aligned save {options} -p {guest.name} /data/saved", 300)
    info = host.run("xl-aligned info /data/saved").stdout
    if kind != "hvm":
        dump(guest, f"{CORE}.live")
    for form in ("xen", "elf"):
        with MemoryWatch(host) as watch:
            host.run("xl-aligned to-core"
                     f" --format={form} /data/saved {CORE}.{form}", 300)
        print(kind, format_, form, watch.cache_growth(), "KiB")
    live = read_xen(fetch(host, f"{CORE}.live", tmp_path))
    saved = read_xen(fetch(host, f"{CORE}.xen", tmp_path))
    plain = read_elf(fetch(host, f"{CORE}.elf", tmp_path))
    assert saved.pages[guest.frame] == guest.contents
    assert plain.pages[guest.frame] == guest.contents
    compare_saved(kind, live, saved)
    if kind != "pv":
        assert plain.pages == saved.pages
    if format_ == "live":
        sent = re.search(r"pages +(\d+) stored, (\d+) zero", info)
        again = int(sent[1]) + int(sent[2]) - len(saved.pages)
        print(f"{again} pages are in the file more than once")
        assert again > 1000


def compare_saved(kind: str, live, saved) -> None:
    assert saved.pages.keys() <= live.pages.keys()
    # Shared info and grant frames: not saved.
    assert len(live.pages) - len(saved.pages) <= 64
    differing = [pfn for pfn in saved.pages
                 if saved.pages[pfn] != live.pages[pfn]]
    if kind != "pv":
        # What resuming writes: the device model's and xenstore's pages lie
        # among the frames that no dump looks at.
        assert not differing
        registers = [c[520:720] for c in live.contexts]
        assert [c[520:640] for c in saved.contexts] \
            == [r[:120] for r in registers] or kind == "pvh"
        return
    assert saved.mfns == {pfn: live.mfns[pfn] for pfn in saved.mfns}
    for pfn in differing:
        ours = struct.unpack("<512Q", saved.pages[pfn])
        theirs = struct.unpack("<512Q", live.pages[pfn])
        changed = [i for i in range(512) if ours[i] != theirs[i]]
        # Xen's own part of the top table, or a page that resuming writes.
        assert all(256 <= i < 272 for i in changed) or len(changed) < 16, \
            (pfn, changed)
    assert len(differing) < 64


# -- running guests, and what can go wrong ---------------------------------

@pytest.mark.parametrize("kind", ("pv", "pvh"))
def test_running_and_ballooning(host, kind, tmp_path):
    guest = Guest(host, kind, memory=256)
    balloon = host.popen(
        "while :; do for m in 160 256 128 256 96 200; do"
        f" xl mem-set {guest.name} $m; sleep 0.3; done; done")
    told = 0
    for i in range(12):
        form = "elf" if i == 0 else "xen"
        done = dump(guest, form=form)
        core = (read_elf if form == "elf" else read_xen)(
            fetch(host, CORE, tmp_path))
        assert core.pages[guest.frame] == PATTERN
        if form == "elf":
            continue
        # Of frames that no dump looks at, a PVH guest has two or three.
        missing = sum(entry[0] == INVALID for entry in core.table)
        told += missing > 3
        if kind == "pv" or missing > 3:
            assert (f"zeros for {missing} missing pages" in done.stderr) == (
                missing > 0), done.stderr
        if told and i >= 3:
            break
    balloon.kill()
    balloon.wait(60, check=False)
    print(f"{kind}: {told} of {i} dumps found fewer pages than there were")
    assert told
    host.run(f"xl mem-set {guest.name} 256")
    before = guest.rounds()
    deadline = time.monotonic() + 60
    while guest.rounds() < before + 2:
        assert time.monotonic() < deadline, "the guest does not go on"
        time.sleep(0.2)


def test_without_direct_io(host):
    guest = Guest(host, "pvh")
    guest.pause()
    dump(guest)
    drop_caches(host)
    with MemoryWatch(host) as watch:
        dump(guest, "/minix/core")
    host.run(f"cmp {CORE} /minix/core", 300)
    assert watch.cache_growth() < 32 << 10


def test_failures_leave_nothing(host):
    guest = Guest(host, "pvh")
    host.run("echo earlier >/small/core")
    for sparse in (True, False):
        done = dump(guest, "/small/core", sparse, check=False)
        assert done.status == 1
        assert re.search("No space|no room", done.stderr)
        assert "partial" not in host.run("ls /small").stdout
        assert host.run("cat /small/core").stdout == "earlier\n"
    done = dump(guest, "/nowhere/core", check=False)
    assert done.status == 1 and "No such file" in done.stderr
    done = dump(guest, "/proc/core", check=False)
    assert done.status == 1
    # The command fails as stock's does, and the guest has not noticed.
    before = guest.rounds()
    deadline = time.monotonic() + 60
    while guest.rounds() < before + 2:
        assert time.monotonic() < deadline, "the guest does not go on"
        time.sleep(0.2)


@pytest.mark.parametrize("signum", (9, 15))
def test_killed(host, signum):
    guest = Guest(host, "pvh")
    job = host.popen(f"exec xl-aligned dump-core {guest.name} {CORE}")
    deadline = time.monotonic() + 60
    while "partial" not in host.run("ls /data").stdout:
        assert time.monotonic() < deadline and job.poll() is None
    job.kill(signum)
    assert job.wait(60, check=False).status
    names = host.run("ls /data").stdout
    assert "core\n" not in names
    assert ("partial" in names) == (signum == 9)
    before = guest.rounds()
    deadline = time.monotonic() + 60
    while guest.rounds() < before + 2:
        assert time.monotonic() < deadline, "the guest does not go on"
        time.sleep(0.2)
    assert dump(guest).status == 0
    assert "partial" not in host.run("ls /data").stdout
