# SPDX-License-Identifier: LGPL-2.1-or-later
"""The dump engine over a domain that is a file (core_fake_xen.c)."""
import fcntl
import os
import re
import signal
import struct
import subprocess

import pytest

import support
from model.core_reader import INVALID, read_elf, read_xen
from plugin.dumper import HVM, LIBRARY, PAGE, PV, Domain



@pytest.fixture(scope="module")
def program(tools):
    return tools / "dumper"


@pytest.fixture
def hvm(tmp_path):
    return Domain(tmp_path, **HVM)


@pytest.fixture
def pv(tmp_path):
    return Domain(tmp_path, **PV)


def context(vcpu: int) -> bytes:
    return bytes([vcpu + 1]) * 5168


# -- what a dump holds -----------------------------------------------------

def test_hvm(program, hvm):
    core = read_xen(hvm.good(program))
    want = {pfn: page for pfn, page in hvm.expected().items()
            if not 0xa0 <= pfn < 0xc0}
    assert core.pages == want
    # The pages that are looked over count in the domain's number of pages.
    assert len(core.table) == len(hvm.present)
    assert [entry[0] for entry in core.table[len(want):]] == [INVALID] * 3
    # A vCPU that has no registers yet has no place.
    assert core.contexts == [context(0), context(2), context(3)]
    assert core.notes[2][2][:21] == struct.pack("<QQ", 4, 17) + b".fake"
    assert ".xen_shared_info" in core.sections
    assert hvm.out.stat().st_mode & 0o777 == 0o600


def test_device_frames_are_left_out(program, tmp_path):
    domain = Domain(tmp_path, pages=1, present="0-0", frames=100100)
    os.truncate(domain.path, 0x100001 * PAGE)
    domain.environment["FAKE_PRESENT"] = "effff-f0001,fffff-100000"
    assert list(read_xen(domain.good(program)).pages) == [0xeffff, 0x100000]


def test_hvm_elf(program, hvm):
    core = read_elf(hvm.good(program, XL_ALIGNED_DUMP_FORMAT="elf"))
    want = {pfn: page for pfn, page in hvm.expected().items()
            if not 0xa0 <= pfn < 0xc0}
    assert core.pages == want
    assert [name for name, _, _ in core.notes] == ["CORE"] * 3 + ["QEMU"] * 3
    # The third vCPU's own descriptor tables.
    assert core.notes[4][2][152:156] == bytes([0x12] * 4)


@pytest.mark.parametrize("width", (8, 4))
def test_pv(program, pv, width):
    core = read_xen(pv.good(program, FAKE_WIDTH=width))
    want = pv.expected()
    assert core.machine == (62 if width == 8 else 3)
    assert core.pages == want
    assert core.mfns == {pfn: 0x1000 + 5999 - pfn for pfn in want}


def test_pv_elf_has_page_tables_of_pfns(program, pv):
    entries = [(0x1000 + 5999 - pfn) << 12 | 0x63 for pfn in range(510)]
    entries += [1 | 5 << 12, 0xabc << 12]       # a foreign one; not present
    table = struct.pack("<512Q", *entries)
    pv.pages[0x400] = table
    pv.path.write_bytes(b"".join(pv.pages))
    core = read_elf(pv.good(program, FAKE_TABLES="400-400",
                            XL_ALIGNED_DUMP_FORMAT="elf"))
    want = [0 if pfn % 50 == 49 else pfn << 12 | 0x63 for pfn in range(510)]
    assert struct.unpack("<512Q", core.pages[0x400]) == (*want, 0,
                                                         0xabc << 12)
    for pfn, page in pv.expected().items():
        assert pfn == 0x400 or core.pages[pfn] == page
    raw = read_xen(pv.good(program, FAKE_TABLES="400-400"))
    assert raw.pages[0x400] == table


@pytest.mark.parametrize("form", ("xen", "elf"))
def test_no_sparse(program, hvm, form):
    data = hvm.good(program, XL_ALIGNED_DUMP_FORMAT=form).read_bytes()
    blocks = hvm.out.stat().st_blocks
    hvm.good(program, XL_ALIGNED_DUMP_FORMAT=form,
             XL_ALIGNED_DUMP_SPARSE="no")
    assert hvm.out.read_bytes() == data
    assert hvm.out.stat().st_blocks > blocks + 900 * 8
    assert hvm.out.stat().st_blocks * 512 >= len(data)


@pytest.mark.parametrize("settings", (
    {"XL_ALIGNED_IO": "window"}, {"XL_ALIGNED_IO": "buffered"},
    {"XL_ALIGNED_ENGINE": "thread"}))
def test_manners_of_io(program, hvm, settings):
    data = hvm.good(program).read_bytes()
    assert hvm.good(program, **settings).read_bytes() == data


# -- domains that change ---------------------------------------------------

@pytest.mark.parametrize("form", ("xen", "elf"))
@pytest.mark.parametrize("kind", ("hvm", "pv"))
def test_a_domain_that_shrinks(program, tmp_path, kind, form):
    domain = Domain(tmp_path, **(HVM if kind == "hvm" else PV))
    done = domain.dump(program, FAKE_AT="3:shrink",
                       XL_ALIGNED_DUMP_FORMAT=form)
    assert done.returncode == 0
    core = {"xen": read_xen, "elf": read_elf}[form](domain.out)
    assert core.pages.items() <= domain.expected().items()
    gone = domain.present - set(core.pages)
    assert len(gone) > 800
    if form == "xen":
        assert len(core.table) == len(domain.present)
        missing = sum(entry[0] == INVALID for entry in core.table)
        assert f"zeros for {missing} missing pages" in done.stderr


@pytest.mark.parametrize("kind", ("hvm", "pv"))
def test_a_domain_that_shrinks_for_a_while(program, tmp_path, kind):
    domain = Domain(tmp_path, **(HVM if kind == "hvm" else PV))
    done = domain.dump(program, FAKE_AT="3:dip")
    assert done.returncode == 0
    core = read_xen(domain.out)
    missing = sum(entry[0] == INVALID for entry in core.table)
    assert missing > 200
    assert f"zeros for {missing} missing pages" in done.stderr


def test_a_domain_that_grows(program, hvm):
    done = hvm.dump(program, FAKE_AT="2:grow")
    core = read_xen(hvm.out)
    assert done.returncode == 0
    assert len(core.pages) == len(core.table) == len(hvm.present)
    assert re.search(r"has 6000 now: .* lacks [1-9]\d* new ones",
                     done.stderr)
    for pfn, page in core.pages.items():
        assert page == hvm.pages[pfn]


def test_a_domain_that_goes(program, hvm):
    done = hvm.dump(program, FAKE_AT="2:gone")
    assert done.returncode == 0 and "has 0 now" in done.stderr
    assert len(read_xen(hvm.out).pages) <= 1024


# -- failures --------------------------------------------------------------

def failed(domain: Domain, done, what: str) -> None:
    assert done.returncode == 1
    assert what in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.startswith("-")
    assert domain.out.read_text() == "earlier"
    domain.clean()


def test_failures(program, hvm):
    hvm.out.write_text("earlier")
    failed(hvm, hvm.dump(program, FAKE_AT="2:fail"), "Cannot allocate")
    failed(hvm, hvm.dump(program, domid=8),
           "domain 8: getting its domaininfo: No such")
    failed(hvm, hvm.dump(program, domid=6),
           "domain 6: getting its domaininfo: No such")
    failed(hvm, hvm.dump(program, XL_ALIGNED_DUMP_FORMAT="x"),
           "is not xen or elf")
    failed(hvm, hvm.dump(program, XL_ALIGNED_DUMP_SPARSE="x"), "yes or no")


def test_unwritable_targets(program, hvm):
    for out, what, number in (("no/core", "No such file", -2),
                              (".", "is a directory", -21),
                              ("", "names a directory", -21),
                              ("memory/core", "Not a directory", -20),
                              ("x" * 300, "too long", -36)):
        done = hvm.dump(program, out=str(hvm.directory / out) if out
                        else str(hvm.directory) + "/")
        assert done.returncode == 1 and what in done.stderr, out
        assert done.stdout.startswith(f"{number} ")
    hvm.clean()


def test_killed(program, hvm):
    hvm.out.write_text("earlier")
    done = hvm.dump(program, FAKE_AT="3:kill")
    assert done.returncode == -signal.SIGKILL
    assert hvm.out.read_text() == "earlier"
    assert (hvm.directory / "core.partial").exists()
    # The next one takes its place.
    assert read_xen(hvm.good(program)).pages


def test_terminated(program, hvm):
    done = hvm.dump(program, FAKE_AT="3:term")
    assert done.returncode == -signal.SIGTERM
    hvm.clean()
    assert not hvm.out.exists()
    hvm.good(program, FAKE_AT="3:term", FAKE_SIGTERM_IGNORED="1")


def test_what_is_in_the_way_stays(program, hvm):
    partial = hvm.directory / "core.partial"
    for make in (partial.mkdir, lambda: partial.symlink_to("memory"),
                 lambda: os.link(hvm.path, partial)):
        make()
        done = hvm.dump(program)
        assert done.returncode == 1 and "in the way" in done.stderr
        assert partial.exists() and not hvm.out.exists()
        partial.rmdir() if partial.is_dir() else partial.unlink()
    assert hvm.path.stat().st_size == 6000 * PAGE


def test_two_at_once(program, hvm):
    partial = hvm.directory / "core.partial"
    partial.write_text("another one's")
    with open(partial) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = hvm.dump(program)
    assert done.returncode == 1 and "by another process" in done.stderr
    assert partial.read_text() == "another one's"


def test_links_and_pipes(program, hvm):
    data = hvm.good(program).read_bytes()
    real = hvm.directory / "real"
    for target in ("real", str(real)):
        for before in (True, False):
            real.write_text("earlier") if before else \
                real.unlink(missing_ok=True)
            link = hvm.directory / "link"
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            assert hvm.dump(program, out=link).returncode == 0
            assert link.is_symlink() and real.read_bytes() == data
    # One that others may have placed is not followed.
    shared = hvm.directory / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(real)
    real.write_text("earlier")
    done = hvm.dump(program, out=shared / "link")
    assert done.returncode == 1 and done.stdout.startswith("-13 ")
    assert "others can write to" in done.stderr
    assert done.stderr.count("\n") == 1 and real.read_text() == "earlier"
    assert os.listdir(shared) == ["link"]

    loop = hvm.directory / "loop"
    loop.symlink_to("loop")
    assert "loop: Too many levels" in hvm.dump(program, out=loop).stderr

    env = os.environ | hvm.environment | {"LD_PRELOAD": str(LIBRARY)}
    done = subprocess.run([program, "7", "/dev/stdout"], env=env,
                          capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout == data
    with open(hvm.directory / "redirected", "wb") as file:
        subprocess.run([program, "7", "/dev/stdout"], env=env, stdout=file,
                       check=True, timeout=60)
    assert (hvm.directory / "redirected").read_bytes() == data
    done = subprocess.run([program, "7", "/dev/stdout"], env=env | {
        "XL_ALIGNED_DUMP_FORMAT": "elf"}, capture_output=True, timeout=60)
    assert done.returncode == 1 and b"needs a file" in done.stderr


def test_without_what_it_needs_stock_does_it(tmp_path):
    support.make(tmp_path / "dumper", FAKES_DIR=tmp_path,
                 FAKES_FLAGS="-DWITHOUT_MEMINFO")
    program = tmp_path / "dumper"
    domain = Domain(tmp_path, **HVM)
    done = domain.dump(program)
    assert done.returncode == 0 and domain.out.read_text() == "stock"
    assert "using stock dump-core" in done.stderr
    assert "no xc_map_domain_meminfo" in done.stderr
    done = domain.dump(program, out=domain.directory / "bad",
                       FAKE_KIND="broken")
    assert done.returncode == 1 and not (tmp_path / "bad").exists()
    domain.clean()


@pytest.mark.parametrize("sparse", ("yes", "no"))
def test_full_disk(program, hvm, sparse):
    if os.geteuid() or subprocess.run(
            ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"],
            capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    script = ("mount -t tmpfs -o size=2m none /mnt; echo earlier >/mnt/core\n"
              'LD_PRELOAD="$1" "$2" 7 /mnt/core; ls /mnt; cat /mnt/core')
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", LIBRARY, program],
        env=os.environ | hvm.environment | {"XL_ALIGNED_DUMP_SPARSE": sparse},
        capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["-1 No space left on device", "core",
                                        "earlier"], done
    assert re.search("No space|no room", done.stderr)
