# SPDX-License-Identifier: LGPL-2.1-or-later
"""to-core: save files made here, cores read by code and tools of others."""
import os
import pty
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from commands.cores import (FORMATS, NONE, PACKED, PAGE, RNG, VMCOREINFO, ZERO,
                            Pv, Saved, batches, expected, hvm_pages, page, run,
                            vmcoreinfo_page)
from commands.program import PROGRAM, in_own_mounts
from model import layout as L
from model import codecs, generator
from model.core_reader import read_elf, read_xen
from model.domains import cpu_record, hvm_stream
from model.records import record

# -- HVM and PVH -----------------------------------------------------------

@pytest.fixture(scope="module", params=[*FORMATS, *PACKED])
def hvm(request, tmp_path_factory):
    pages = hvm_pages()
    cpus = [cpu_record(0), cpu_record(1)]
    saved = Saved(tmp_path_factory.mktemp("hvm"),
                  hvm_stream(batches(pages), cpus), request.param)
    saved.pages, saved.cpus = expected(pages), cpus
    return saved


def test_xen_format_of_hvm(hvm):
    core = read_xen(hvm.core())
    assert core.machine == 62 and core.translated
    assert list(core.sections) == [".shstrtab", ".note.Xen", ".xen_prstatus",
                                   ".xen_pages", ".xen_pfn"]
    assert core.pages == hvm.pages
    version = struct.unpack("<QQ", core.notes[2][2][:16])
    assert version == (4, 17)
    assert core.notes[2][2][-8:] == struct.pack("<Q", PAGE)
    assert len(core.contexts) == 2


def test_registers_of_hvm(hvm):
    for core, cpu in zip(read_xen(hvm.core()).contexts, hvm.cpus):
        names = ("rax rbx rcx rdx rbp rsi rdi rsp r8 r9 r10 r11 r12 r13 r14"
                 " r15 rip rflags cr0 cr2 cr3 cr4").split()
        want = dict(zip(names, struct.unpack_from("<22Q", cpu, 512)))
        order = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi"
                 " rdi").split()
        assert struct.unpack_from("<15Q", core, 520) == tuple(
            want[name] for name in order)
        rip, cs = struct.unpack_from("<QH", core, 648)
        rflags, rsp = struct.unpack_from("<QQ", core, 664)
        assert (rip, rflags, rsp) == (want["rip"], want["rflags"],
                                      want["rsp"])
        assert cs == 0x10
        assert core[:512] == cpu[:512]
        cr = struct.unpack_from("<8Q", core, 4984)
        assert cr == (want["cr0"], 0, want["cr2"], want["cr3"], want["cr4"],
                      0, 0, 0)
        base = struct.unpack_from("<10Q", cpu, 808)
        # CS is of ring 0: what GS holds is the kernel's.
        assert struct.unpack_from("<3Q", core, 5144) == (
            base[3], base[4], struct.unpack_from("<Q", cpu, 944)[0])


def test_elf_format_of_hvm(hvm):
    core = read_elf(hvm.core("--format=elf"))
    assert core.machine == 62 and core.pages == hvm.pages
    assert core.loads == [(0, 0xa0 * PAGE), (0xc0 * PAGE, 2 * PAGE),
                          (0x100 * PAGE, 0x801 * PAGE),
                          (0x100000 * PAGE, 3 * PAGE)]
    assert [(name, type_) for name, type_, _ in core.notes] == [
        ("CORE", 1), ("CORE", 1), ("QEMU", 0), ("QEMU", 0),
        ("VMCOREINFO", 0)]
    assert core.notes[-1][2] == VMCOREINFO
    for number, cpu in enumerate(hvm.cpus):
        status, qemu = core.notes[number][2], core.notes[2 + number][2]
        assert len(status) == 336 and len(qemu) == 440
        assert struct.unpack_from("<I", status, 32) == (number + 1,)
        rip, = struct.unpack_from("<Q", cpu, 640)
        assert struct.unpack_from("<Q", status, 112 + 16 * 8) == (rip,)
        assert struct.unpack_from("<Q", qemu, 8 + 16 * 8) == (rip,)
        cr3, = struct.unpack_from("<Q", cpu, 672)
        assert struct.unpack_from("<Q", qemu, 392 + 3 * 8) == (cr3,)
        # CS: its attributes, 0xa9b packed, as a descriptor has them.
        assert struct.unpack_from("<IIIIQ", qemu, 152)[:3] == (
            0x10, 0xffff, 0xa09b00)


@pytest.mark.parametrize("form", ("xen", "elf"))
def test_sparse_or_not_are_the_same_bytes(hvm, form):
    sparse = hvm.core(f"--format={form}")
    allocated = sparse.stat().st_blocks * 512
    data = sparse.read_bytes()
    whole = hvm.core(f"--format={form}", "--no-sparse")
    assert whole.read_bytes() == data
    assert whole.stat().st_blocks * 512 >= whole.stat().st_size
    # 1024 pages of zero in one run, and no more than a few others.
    assert allocated <= len(data) - 1024 * PAGE + 65536


@pytest.mark.parametrize("io", ("direct", "window", "buffered"))
def test_every_manner_of_io(hvm, io):
    data = hvm.core().read_bytes()
    done = run("to-core", f"--io={io}", hvm.path, hvm.directory / "other")
    if io == "direct" and b"direct I/O" in done.stderr:
        pytest.skip("this filesystem has no direct I/O")
    assert done.returncode == 0, done.stderr
    assert (hvm.directory / "other").read_bytes() == data


def on_a_terminal(*args) -> bytes:
    """Runs it, with a terminal for its messages; what that was sent."""
    ours, its = pty.openpty()
    done = subprocess.Popen([PROGRAM, "to-core", *map(str, args)],
                            stderr=its)
    os.close(its)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:         # no process has it open any more
        pass
    os.close(ours)
    assert done.wait(60) == 0
    return shown


def test_progress(hvm):
    out = hvm.directory / "other"
    shown = on_a_terminal(hvm.path, out)
    # A v3 file is verified as it is read.
    phase = rb"verify" if hvm.path.suffix in (".v2", ".compat") else rb"memory"
    assert re.search(phase + rb" +\[#*\.*\] +\d+ %  ", shown), shown
    # Nothing of it stays but what has been done.
    last = shown.rpartition(b"\r\x1b[K")[2].decode()
    assert re.fullmatch(rf"xl-aligned: {hvm.path} dumped to {out}: \d+ MiB "
                        r"of memory, in \d+\.\d s, \d+ MiB/s\r\n", last)
    assert shown.count(b"\n") == 1
    assert on_a_terminal("-q", hvm.path, out) == b""
    assert run("to-core", hvm.path, out).stderr == b""


def test_pipe(hvm):
    done = run("to-core", hvm.path, "/dev/stdout")
    assert done.returncode == 0
    assert done.stdout == hvm.core().read_bytes()
    done = run("to-core", "--format=elf", hvm.path, "/dev/stdout")
    assert done.returncode == 1 and done.stdout == b""
    assert b"needs a file" in done.stderr


def test_the_last_contents_win(tmp_path):
    first = [(pfn, 0, page()) for pfn in range(2000)]
    second = [(pfn, 0, page() if pfn % 5 else ZERO)
              for pfn in range(0, 2000, 3)]
    third = [(7, NONE, None), (1200, 0, page()), (3, 0, page()),
             (3, 0, page())]
    want = expected(first) | expected(second) | expected(third)
    for format_ in (*FORMATS, *PACKED):
        saved = Saved(tmp_path, hvm_stream(
            batches(first) + batches(second) + record(0xd) + batches(third),
            [cpu_record(0)]), format_)
        assert read_xen(saved.core()).pages == want
        assert read_elf(saved.core("--format=elf")).pages == want


@pytest.mark.parametrize("codec", (codecs.LZ4, codecs.ZSTD))
def test_compressed_batches(tmp_path, codec):
    """Some compressed, some not, some pages there twice."""
    def even(pfn: int) -> bytes:
        return bytes([pfn % 255 + 1]) * PAGE

    first = [(pfn, 0, even(pfn) if pfn % 3 else ZERO)
             for pfn in range(0x800)]
    first += [(pfn, 0, page()) for pfn in range(0x800, 0xc00)]
    again = [(pfn, 0, even(pfn + 7) if pfn % 5 else ZERO)
             for pfn in range(0, 0x800, 3)]
    again += [(pfn, 0, page()) for pfn in range(0x100, 0x200)]
    want = expected(first) | expected(again)
    v2 = hvm_stream(batches(first) + batches(again), [cpu_record(0)])
    saved = Saved(tmp_path, v2, "v3", codec=codec)
    info = run("info", "--json", saved.path).stdout
    assert saved.path.stat().st_size < 9 << 20, info
    assert read_xen(saved.core()).pages == want
    assert read_elf(saved.core("--format=elf")).pages == want


def test_the_kernel_is_where_it_thinks_it_is(tmp_path):
    pages = [(0, 0, vmcoreinfo_page())]
    pages += [(pfn, 0, page()) for pfn in range(0xff0, 0x1010)]
    pages += [(pfn, 0, page()) for pfn in range(0x1020, 0x1030)]
    pages += [(pfn, 0, ZERO) for pfn in range(0x8f80, 0x9080)]
    core = read_elf(Saved(tmp_path, hvm_stream(
        batches(pages), [cpu_record(0)]), "v3").core("--format=elf"))
    assert core.pages == expected(pages)
    image = 0xffffffff81000000      # _stext, at 0x1000000
    assert core.kernel == [
        (image, 0x1000000, 0x10 * PAGE),
        (image + 0x20000, 0x1020000, 0x10 * PAGE),
        (image + 0x7f80000, 0x8f80000, 0x80 * PAGE)]


@pytest.mark.parametrize("count", (16383, 16385, 66000))
def test_many_pieces(tmp_path, count):
    pages = [(0x200000 + 2 * i, 0, ZERO) for i in range(count - 1)]
    pages.append((0x200000 + 2 * count, 0, vmcoreinfo_page()))
    saved = Saved(tmp_path, hvm_stream(batches(pages, 1024),
                                       [cpu_record(0)]), "v3")
    path = saved.core("--format=elf")
    core = read_elf(path, pages=False)
    assert core.loads == [(pfn * PAGE, PAGE) for pfn, _, _ in pages]
    assert core.notes[-1] == ("VMCOREINFO", 0, VMCOREINFO)
    assert path.stat().st_blocks * 512 < 8 << 20
    found = subprocess.run(["readelf", "-h", path], capture_output=True,
                           text=True, check=True)
    assert re.search(rf"program headers: .*\b{count + 1}\b", found.stdout)


# -- PV --------------------------------------------------------------------

@pytest.fixture(scope="module", params=[
    (8, f) for f in (*FORMATS, *PACKED)] + [(4, "v2"), (4, "v3")],
    ids=lambda p: f"{p[0] * 8}-{p[1]}")
def pv(request, tmp_path_factory):
    domain = Pv(request.param[0])
    shared_info = page()
    vcpus = [domain.vcpu(0), domain.vcpu(1)]
    saved = Saved(tmp_path_factory.mktemp("pv"),
                  domain.stream(shared_info, vcpus), request.param[1])
    saved.domain, saved.shared_info, saved.vcpus = domain, shared_info, vcpus
    return saved


def test_xen_format_of_pv(pv):
    path = pv.core()
    core = read_xen(path)
    domain = pv.domain
    assert core.machine == (62 if domain.width == 8 else 3)
    assert not core.translated
    assert core.mfns == {pfn: domain.mfn[pfn] for pfn in domain.pages}
    assert core.pages == {pfn: domain.to_machine(pfn)
                          for pfn in domain.pages}
    section = core.sections[".xen_shared_info"]
    assert path.read_bytes()[section.offset:][:PAGE] == pv.shared_info
    where = -8 if domain.width == 8 else -12
    assert core.notes[2][2][where:][:8] == struct.pack("<Q", PAGE)


def test_registers_of_pv(pv):
    mfn = pv.domain.mfn
    for number, context in enumerate(read_xen(pv.core()).contexts):
        want = bytearray(pv.vcpus[number].ljust(5168, b"\0"))
        if pv.domain.width == 8:
            if number == 0:
                struct.pack_into("<I", want, 616, mfn[400])
            struct.pack_into("<2Q", want, 4832, mfn[401], mfn[402])
            struct.pack_into("<Q", want, 4992, mfn[403] << 12)
            struct.pack_into("<Q", want, 5008, mfn[404] << 12)
        else:
            if number == 0:
                struct.pack_into("<I", want, 524, mfn[400])
            struct.pack_into("<2I", want, 2640, mfn[401], mfn[402])
            struct.pack_into("<I", want, 2728, mfn[404] << 12)
        assert context == bytes(want)


def test_elf_format_of_pv(pv):
    core = read_elf(pv.core("--format=elf"))
    assert core.machine == (62 if pv.domain.width == 8 else 3)
    assert core.pages == pv.domain.pages
    sizes = [len(data) for name, type_, data in core.notes
             if (name, type_) == ("CORE", 1)]
    assert sizes == [336 if pv.domain.width == 8 else 144] * 2


# -- what is refused -------------------------------------------------------

def refused(saved: Saved, out: Path, what: str) -> None:
    before = out.read_bytes() if out.exists() else None
    done = run("to-core", saved.path, out)
    assert done.returncode == 1 and what in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert (out.read_bytes() if out.exists() else None) == before
    assert not list(saved.directory.glob("*.partial"))


AN_EARLIER_ONE = b"\x7fELF\x02".ljust(16, b"\0") + b"\4" + bytes(47)


def test_damaged_save_files(tmp_path):
    v2 = hvm_stream(batches(hvm_pages()[:200]), [cpu_record(0)])
    saved = Saved(tmp_path, v2, "v3")
    good = saved.path.read_bytes()
    core = saved.core().read_bytes()
    out = tmp_path / "core"
    for _ in range(40):
        out.write_bytes(AN_EARLIER_ONE)
        data = bytearray(good)
        data[RNG.randrange(len(data))] ^= 1 << RNG.randrange(8)
        saved.path.write_bytes(data)
        done = run("to-core", saved.path, out)
        if done.returncode == 0:    # where nothing looks: padding
            assert out.read_bytes() == core
            continue
        assert done.returncode == 1, bytes(done.stderr)
        assert done.stderr.count(b"\n") == 1
        assert out.read_bytes() == AN_EARLIER_ONE
    saved.path.write_bytes(good[:-5000])
    refused(saved, out, "guest.v3")


def flip_page(path: Path, page_: bytes) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(page_, page_[:-1] + bytes([page_[-1] ^ 1])))


@pytest.mark.parametrize("form", ("xen", "elf"))
def test_pages_are_read_once_and_where_they_are_wanted(tmp_path, form):
    """The registers are found through the index: what was saved again later
    is not read.  All that goes into the core is verified."""
    first, second = ([(pfn, 0, page()) for pfn in range(8)] for _ in "12")
    saved = Saved(tmp_path, hvm_stream(batches(first) + batches(second),
                                       [cpu_record(0)]), "v3")
    core = saved.core(f"--format={form}").read_bytes()
    flip_page(saved.path, first[3][2])
    assert saved.core(f"--format={form}").read_bytes() == core
    (tmp_path / "core").unlink()
    flip_page(saved.path, second[3][2])
    refused(saved, tmp_path / "core", "damaged")


def test_records_that_make_no_sense(tmp_path):
    start = generator.image_header()
    cpu = cpu_record(0)
    hvm_bad = {
        "no registers": record(0x10),
        "HVM_CONTEXT of": record(0x9, struct.pack("<HHI", 2, 0, 1032) + cpu),
        "HVM_CONTEXT of 16": record(0x9, struct.pack("<HHI", 2, 0, 99)
                                    + bytes(8)),
    }
    pv_bad = {
        "no registers": record(0x2, b"\x08\x04" + bytes(6)),
        "X86_PV_INFO": record(0x2, b"\x07\x04" + bytes(6)),
        "X86_PV_P2M_FRAMES": record(0x2, b"\x08\x04" + bytes(6))
        + record(0x3, struct.pack("<IIQ", 0, 0xffffffff, 1)),
        "X86_PV_VCPU_BASIC": record(0x2, b"\x08\x04" + bytes(6))
        + record(0x4, bytes(100)),
        "SHARED_INFO": record(0x7, bytes(100)),
    }
    for kind, table in ((2, hvm_bad), (1, pv_bad)):
        for what, records in table.items():
            saved = Saved(tmp_path, start + generator.domain_header(kind)
                          + records + record(L.END), "v2")
            refused(saved, tmp_path / "core", what)


def test_targets_that_cannot_be(tmp_path, hvm):
    missing = run("to-core", hvm.path, tmp_path / "no" / "core")
    assert missing.returncode == 1 and b"No such file" in missing.stderr
    saved = hvm.path.read_bytes()
    for out in (hvm.path, hvm.directory / "hard", hvm.directory / "soft"):
        if out.name == "hard":
            out.hardlink_to(hvm.path)
        elif out.name == "soft":
            out.symlink_to(hvm.path)
        same = run("to-core", hvm.path, out)
        assert same.returncode == 1 and b"are the same" in same.stderr
    assert hvm.path.read_bytes() == saved
    assert not list(hvm.directory.glob("*.partial"))
    assert run("to-core", "--format=qemu", hvm.path, "x").returncode == 2
    assert run("to-core", hvm.path).returncode == 2


@pytest.mark.parametrize("option", ("--format=xen", "--format=elf",
                                    "--no-sparse"))
def test_full_disk(hvm, option):
    done = in_own_mounts(
        "mount -t tmpfs -o size=2m none /mnt\n"
        "echo earlier >/mnt/core\n"
        '"$1" to-core --force "$2" "$3" /mnt/core && exit 9\n'
        "ls /mnt; cat /mnt/core", PROGRAM, option, hvm.path)
    assert done.stdout == "core\nearlier\n", done
    assert re.search("No space|no room", done.stderr), done
    assert done.returncode == 0 and done.stderr.count("\n") == 1


# -- tools of others -------------------------------------------------------

PATTERN = b"A page of known contents at a known place. "


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A saved domain with a pattern at guest-physical 0x234000."""
    contents = (PATTERN * 100)[:PAGE]
    pages = hvm_pages()
    pages = [(pfn, type_, contents if pfn == 0x234 else data)
             for pfn, type_, data in pages]
    saved = Saved(tmp_path_factory.mktemp("known"),
                  hvm_stream(batches(pages), [cpu_record(0)]), "v3")
    saved.contents, saved.address = contents, 0x234000
    return saved


@pytest.mark.parametrize("form", ("xen", "elf"))
def test_libkdumpfile(known, form):
    kdumpfile = pytest.importorskip("kdumpfile")
    path = known.core(f"--format={form}")
    dump = kdumpfile.kdumpfile(str(path))
    assert dump.attr["arch.name"] == "x86_64"
    assert bytes(dump.read(kdumpfile.KDUMP_MACHPHYSADDR, known.address,
                           PAGE)) == known.contents


def test_drgn(known):
    drgn = pytest.importorskip("drgn")
    program = drgn.Program()
    program.set_core_dump(str(known.core("--format=elf")))
    assert program.read(known.address, PAGE,
                        physical=True) == known.contents


def test_gdb(known):
    if not shutil.which("gdb"):
        pytest.skip("no gdb")
    out = subprocess.run(
        ["gdb", "-nx", "-batch", "-core", known.core("--format=elf"), "-ex",
         f"x/s {known.address}", "-ex", "p $rip"],
        capture_output=True, text=True, timeout=60).stdout
    assert PATTERN.decode() in out
    rip, = struct.unpack_from("<Q", cpu_record(0), 640)
    assert f"{rip:#x}" in out


def test_makedumpfile(known):
    """It finds the kernel's note, and says whose kernel it was."""
    tool = shutil.which("makedumpfile", path="/usr/sbin:/usr/bin:/sbin")
    if not tool:
        pytest.skip("no makedumpfile")
    core = known.core("--format=elf")
    out = subprocess.run([tool, "-D", "--dump-dmesg", core,
                          known.directory / "dmesg"], capture_output=True,
                         text=True, timeout=60)
    assert "6.1.0-test" in out.stdout + out.stderr
