# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saved domains of which a core's contents are known."""
import random
import struct
import subprocess
from pathlib import Path

from commands import program
from model import codecs, generator, savefile
from model.domains import cpu_record, hvm_stream, p2m_frames, pv_stream

FORMATS = ("v2", "compat", "v3")
PACKED = {"lz4": codecs.LZ4, "zstd": codecs.ZSTD}   # v3 as well
PAGE = 4096
ZERO = bytes(PAGE)
CONFIG = b'{"c_info": {"name": "guest"}}'
VMCOREINFO = b"""OSRELEASE=6.1.0-test
PAGESIZE=4096
SYMBOL(_stext)=ffffffff81000000
SYMBOL(swapper_pg_dir)=ffffffff82a10000
KERNELOFFSET=0
NUMBER(phys_base)=0
NUMBER(pgtable_l5_enabled)=0
CRASHTIME=0
"""
RNG = random.Random(4)
NONE = 0xf


def vmcoreinfo_page() -> bytes:
    note = struct.pack("<III12s", 11, len(VMCOREINFO), 0, b"VMCOREINFO")
    return (note + VMCOREINFO).ljust(PAGE, b"\0")


def page() -> bytes:
    return RNG.randbytes(PAGE // 4) * 4


def batches(pages: list, size: int = 300) -> bytes:
    """PAGE_DATA records for a list of (pfn, type, contents or None)."""
    out = []
    for i in range(0, len(pages), size):
        part = pages[i:i + size]
        out.append(generator.page_data(
            [type_ << 60 | pfn for pfn, type_, _ in part],
            [data for _, _, data in part if data is not None]))
    return b"".join(out)


def hvm_pages() -> list:
    pages = [(pfn, 0, ZERO if pfn % 7 in (2, 3, 4, 5, 6) and pfn < 512
              else page()) for pfn in range(0x9e)]
    pages += [(pfn, 0, page()) for pfn in range(0x9e, 0xc2)]
    pages += [(0xc2, NONE, None), (0xc3, 0xe, None), (0xc4, 0xd, None)]
    pages += [(pfn, 0, page() if pfn % 3 else ZERO)
              for pfn in range(0x100, 0x500)]
    pages += [(pfn, 0, ZERO) for pfn in range(0x500, 0x900)]
    pages += [(0x900, 0, vmcoreinfo_page())]
    pages += [(0xfeff8 + i, 0, page()) for i in range(8)]
    pages += [(0x100000 + i, 0, page()) for i in range(3)]
    return pages


def expected(pages: list) -> dict:
    return {pfn: data for pfn, _, data in pages if data is not None
            and not 0xa0 <= pfn < 0xc0 and not 0xf0000 <= pfn < 0x100000}


def run(*args, **options) -> subprocess.CompletedProcess:
    return program.run(*args, text=False, **options)


def to_core(*args) -> None:
    done = run("to-core", *args)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    assert done.stdout == b""


class Saved:
    """A synthetic domain, saved."""

    def __init__(self, directory: Path, v2: bytes, format_: str,
                 tail: bytes = savefile.pv_tail(), **options) -> None:
        self.path = directory / f"guest.{format_}"
        if format_ in PACKED:
            options, format_ = {**options, "codec": PACKED[format_]}, "v3"
        data = savefile.build(v2, CONFIG, tail, format_, **options)
        if "codec" in options:
            assert len(data) < len(v2) // 2
        self.path.write_bytes(data)
        self.directory = directory

    def core(self, *options: str) -> Path:
        path = self.directory / "core"
        to_core(*options, self.path, path)
        return path


class Pv:
    """A PV domain: page tables, its table of frames, registers."""

    def __init__(self, width: int) -> None:
        self.width, self.size = width, 3000
        self.entries = PAGE // width
        frames = -(-self.size // self.entries)
        self.mfn = {pfn: 0x50000 + (pfn * 7 % self.size)
                    for pfn in range(self.size)}
        table = [self.mfn.get(pfn, (1 << 8 * width) - 1)
                 for pfn in range(frames * self.entries)]
        letter = "Q" if width == 8 else "I"
        self.pages = {pfn: page() if pfn % 4 else ZERO
                      for pfn in range(self.size) if pfn % 100 != 99}
        self.p2m_pfns = [200 + 3 * i for i in range(frames)]
        for i, pfn in enumerate(self.p2m_pfns):
            part = table[i * self.entries:(i + 1) * self.entries]
            self.pages[pfn] = struct.pack(f"<{self.entries}{letter}", *part)
        self.types = {300: 1, 301: 2, 302: 0xb, 303: 0xc}
        for pfn in self.types:
            self.pages[pfn] = struct.pack("<512Q", *(
                (pfn + i * 5) << 12 | 0x8000000000000067 if i % 3
                else 0xabc000 << 12 for i in range(512)))
        # Entries of frames that are not the domain's.
        self.pages[300] = struct.pack("<Q", 0x777777 << 12 | 1) \
            + self.pages[300][8:]

    def to_machine(self, pfn: int) -> bytes:
        """What a dump has: page tables with machine frames."""
        if pfn not in self.types:
            return self.pages[pfn]
        out = []
        for entry in struct.unpack("<512Q", self.pages[pfn]):
            frame = entry >> 12 & (1 << 40) - 1
            if entry & 1:
                mfn = self.mfn.get(frame)
                entry = 0 if mfn is None else \
                    entry & ~((1 << 52) - (1 << 12)) | mfn << 12
            out.append(entry)
        return struct.pack("<512Q", *out)

    def vcpu(self, number: int) -> bytes:
        data = bytearray(RNG.randbytes(5168 if self.width == 8 else 2800))
        if self.width == 8:
            struct.pack_into("<Q", data, 616, 0xabcd00000000 | 400)  # rdx
            struct.pack_into("<17Q", data, 4832, 401, 402, *range(14), 600)
            struct.pack_into("<4Q", data, 4984, 0, 403 << 12 | 1, 0,
                             404 << 12)
        else:
            struct.pack_into("<I", data, 524, 400)                   # edx
            struct.pack_into("<17I", data, 2640, 401, 402, *range(14), 600)
            struct.pack_into("<4I", data, 2716, 0, 0, 0, 404 << 12)
        return bytes(data)

    def stream(self, shared_info: bytes, vcpus: list) -> bytes:
        pages = [(pfn, self.types.get(pfn, 0), self.pages[pfn])
                 for pfn in sorted(self.pages)]
        frames = p2m_frames(0, self.size - 1, self.p2m_pfns)
        return pv_stream(self.width, frames, batches(pages), vcpus,
                         shared_info)


def large(directory: Path) -> tuple:
    """32 MiB of pages and some of zeros, saved."""
    pages = [(pfn, 0, page()) for pfn in range(0x1000, 0x3000)]
    pages[0x1000] = (0x2000, 0, vmcoreinfo_page())
    pages += [(pfn, 0, ZERO) for pfn in range(0x3000, 0x4000)]
    return pages, Saved(directory, hvm_stream(batches(pages, 1024),
                                              [cpu_record(0)]), "v3")
