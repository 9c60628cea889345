# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random v2 streams and save files; the same seed gives the same bytes."""
import json
import random
import struct

from . import layout as L
from . import savefile
from .records import record

# Types that a pfn with contents can have: NOTAB, L1TAB-L4TAB, each also
# pinned; and those without contents.
TYPES = (0x0, 0x1, 0x2, 0x3, 0x4, 0x9, 0xa, 0xb, 0xc)
TYPES_NO_CONTENTS = (0xd, 0xe, 0xf)


def image_header(version: int = 3) -> bytes:
    return L.IMAGE_HEADER.pack(L.IMAGE_MARKER, L.IMAGE_ID, version, 0, 0, 0)


def domain_header(type_: int) -> bytes:
    return L.DOMAIN_HEADER.pack(type_, 12, 0, 4, 17)


def page_data(pfns: list, pages: list) -> bytes:
    return record(L.PAGE_DATA, L.PAGE_DATA_HEADER.pack(len(pfns), 0)
                  + struct.pack(f"<{len(pfns)}Q", *pfns) + b"".join(pages))


class Generator:
    """`pages` bounds the pages with contents of one stream, roughly."""

    def __init__(self, seed: int, pages: int = 96) -> None:
        self.random = random.Random(seed)
        self.pages = pages

    def some_bytes(self, least: int, most: int) -> bytes:
        return self.random.randbytes(self.random.randint(least, most))

    def u64s(self, count: int) -> bytes:
        return self.random.randbytes(8 * count)

    # -- batches --------------------------------------------------------

    def page(self) -> bytes:
        kind = self.random.randrange(8)
        if kind == 0:               # almost zero: one byte, anywhere
            page = bytearray(L.PAGE)
            page[self.random.choice((0, 63, 64, 2048, L.PAGE - 1))] = 1
            return bytes(page)
        if kind == 1:
            return bytes([self.random.randrange(1, 256)]) * L.PAGE
        return self.random.randbytes(L.PAGE)

    def contents(self, count: int) -> list:
        """Zero pages in runs, alternating, at random, all or none."""
        pattern = self.random.randrange(5)
        run = self.random.randint(1, 16)
        zero = {0: lambda i: i // run % 2 == 0, 1: lambda i: i % 2 == 0,
                2: lambda i: self.random.random() < 0.5,
                3: lambda i: True, 4: lambda i: False}[pattern]
        return [L.ZERO_PAGE if zero(i) else self.page()
                for i in range(count)]

    def count(self) -> int:
        return self.random.choice((1, 1, 2, 3, self.random.randint(1, 40),
                                   self.random.randint(1, 40),
                                   self.random.randint(1, 1024), 1024))

    def pfns(self, first: int, count: int) -> list:
        """Ascending, with gaps and types; few with contents if many."""
        choose = self.random.random
        share = min(1.0, choose() * self.pages / 2 / count)
        if choose() < 0.25:
            share = 0.0             # as a PVH guest writes by the hundred
        pfns, pfn = [], first
        for _ in range(count):
            type_ = self.random.choice(
                TYPES if choose() < share else TYPES_NO_CONTENTS)
            pfns.append(type_ << 60 | pfn & L.PFN_MASK)
            pfn += 1 if choose() < 0.9 else self.random.randint(2, 1 << 12)
        return pfns

    def batch(self, pfns: list) -> bytes:
        self.random.random()
        count = sum(map(L.has_contents, pfns))
        return page_data(pfns, self.contents(count))

    def odd_batch(self) -> bytes:
        """PAGE_DATA that stays as it is (spec 3.3)."""
        kind = self.random.randrange(7)
        pfns = self.pfns(0, self.random.randint(1, 8))
        body = bytearray(self.batch(pfns)[8:])
        if kind == 0:               # count 0, with and without more
            body = bytearray(8) + self.some_bytes(0, 24)
        elif kind == 1:             # more pfns than a batch has
            count = self.random.randint(1025, 1400)
            body = bytearray(struct.pack("<II", count, 0))
            body += struct.pack("<Q", 0xf << 60 | 7) * count
        elif kind == 2:
            body[4:8] = struct.pack("<I", self.random.randint(1, 9))
        elif kind == 3:             # a reserved bit, the ZERO bit among them
            bit = self.random.randint(52, 59)
            pfns[-1] |= 1 << bit
            body[8 * len(pfns):8 + 8 * len(pfns)] = L.U64.pack(pfns[-1])
        elif kind == 4:             # too long, also not by eights
            body += self.some_bytes(1, 5000)
        elif kind == 5:             # too short
            del body[self.random.randrange(len(body)):]
        else:                       # a count that its length does not fit
            body[:4] = struct.pack("<I", len(pfns) + 1)
        return record(L.PAGE_DATA, bytes(body))

    def batches(self, live: bool) -> list:
        result, left, first = [], self.pages, 0
        for _ in range(self.random.randint(1, 12)):
            if left <= 0:
                break
            if live and self.random.random() < 0.5:
                first = self.random.randrange(2048)     # sent before
            pfns = self.pfns(first, self.count())
            first = (pfns[-1] & L.PFN_MASK) + 1
            left -= sum(map(L.has_contents, pfns))
            result.append(self.batch(pfns))
            if self.random.random() < 0.15:
                result.append(self.odd_batch())
            if self.random.random() < 0.15:
                result.append(self.optional())
        return result

    # -- other records --------------------------------------------------

    def optional(self) -> bytes:
        """An optional record of somebody else's."""
        type_ = self.random.choice((0x80000013, 0x80000100, 0xc14b0001,
                                    0xc14d0003, 0xffffffff))
        return record(type_, self.some_bytes(0, 300))

    def dirty_padding(self) -> bytes:
        """Stock readers do not look at the padding of a record."""
        body = self.some_bytes(1, 7)
        return (L.RECORD_HEADER.pack(0x80000101, len(body)) + body
                + self.some_bytes(8 - len(body), 8 - len(body)))

    def context(self) -> bytes:
        """Mostly small; now and then more than a few buffers hold."""
        if self.random.random() < 0.1:
            return self.some_bytes(1 << 16, 1 << 20)
        return self.some_bytes(8, 4096)

    def policies(self) -> list:
        return [record(0x11, self.some_bytes(1, 40) * 24),
                record(0x12, self.some_bytes(1, 4) * 16), record(0x10)]

    def pv(self, live: bool = False) -> bytes:
        parts = [image_header(), domain_header(1),
                 record(0x2, bytes((8, 4)) + bytes(6)), *self.policies()]
        frames = self.random.randint(1, 9)
        parts.append(record(0x3, struct.pack("<II", 0, frames - 1)
                            + self.u64s(frames)))
        parts += self.batches(live)
        parts += [self.tsc(), record(0x7, self.some_bytes(4096, 4096))]
        for vcpu in range(self.random.randint(1, 3)):
            for type_ in (0x4, 0x5, 0x6, 0xc):
                parts.append(record(type_, struct.pack("<II", vcpu, 0)
                                    + self.context()))
        return b"".join(parts) + record(L.END)

    def hvm(self, live: bool = False) -> bytes:
        count = self.random.randint(0, 12)
        parts = [image_header(), domain_header(2), *self.policies(),
                 *self.batches(live), self.tsc(),
                 record(0x9, self.context()),
                 record(0xa, struct.pack("<II", count, 0)
                        + self.u64s(2 * count))]
        return b"".join(parts) + record(L.END)

    def tsc(self) -> bytes:
        return record(0x8, struct.pack("<IIQII", 0, 2400000,
                                       self.random.getrandbits(48), 1, 0))

    def chaos(self) -> bytes:
        """Records in no order that Xen writes; nothing at all, at times."""
        parts = [image_header(self.random.choice((2, 3))),
                 domain_header(self.random.choice((1, 2)))]
        for _ in range(self.random.randrange(8)):
            parts.append(self.random.choice((
                self.optional, self.odd_batch, self.dirty_padding, self.tsc,
                lambda: record(self.random.randint(2, 0x12), self.context()),
                lambda: self.batch(self.pfns(9, self.count())),
            ))())
        return b"".join(parts) + record(L.END)

    def stream(self) -> bytes:
        return self.random.choice((self.pv, self.hvm, self.chaos,
                                   lambda: self.pv(True),
                                   lambda: self.hvm(True)))()

    # -- what v3 adds ---------------------------------------------------

    def skipped(self) -> bytes:
        """A record of a later version that readers of this one skip."""
        type_ = L.ALIGNED_INDEX
        while type_ in L.OURS:
            type_ = 0xc14c0000 | self.random.choice(
                (self.random.randrange(16), self.random.getrandbits(16)))
        most = self.random.choice((0, 8, 300))
        return record(type_, self.some_bytes(0, most))

    def identity(self) -> dict:
        keys = self.random.sample(("uuid", "name", "host", "xen", "writer",
                                   "time", "memory_kib", "vcpus", "guest",
                                   "kind", "parent", "k_0"),
                                  self.random.randrange(13))
        return {key: self.random.choice(("", "1", "dömö=\U0001f427", "x" * 99))
                for key in keys}

    def v3_options(self) -> dict:
        """Of the encoder: a stream as any version may write it."""
        choose = self.random.random
        often = self.random.choice((0.0, 0.2, 0.8))
        later = self.random.choice((0, 0, 1, 2, self.random.randrange(495)))
        return {
            "file_id": self.random.randbytes(16),
            "frame_pages": 1 << self.random.randrange(11),
            "codec": self.random.choice((0, 0, 1, 2)),
            "alignment": self.random.choice((4096, 4096, 8192, 65536)),
            "keep_zero": choose() < 0.1,
            "index": choose() < 0.9,
            "identity": self.identity() if choose() < 0.5 else None,
            "later": self.random.randbytes(8 * later),
            "optional": lambda: [self.skipped() for _ in range(3)
                                 if choose() < often]}

    # -- save files -----------------------------------------------------

    def config(self) -> bytes:
        name = "g" * self.random.randint(1, 16)
        return json.dumps({"c_info": {"name": name},
                           "b_info": {"max_memkb": 262144}}).encode()

    def parts(self) -> tuple:
        """(v2 stream, configuration, tail) of a save file."""
        if self.random.random() < 0.5:
            return self.pv(), self.config(), savefile.pv_tail()
        xenstore = b"physmap/0/start_addr\0" + b"f0000000\0"
        tail = savefile.hvm_tail(xenstore, self.some_bytes(1, 9000))
        return self.hvm(), self.config(), tail

    def savefile(self, format_: str) -> bytes:
        return savefile.build(*self.parts(), format_)
