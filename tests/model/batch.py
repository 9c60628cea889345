# SPDX-License-Identifier: LGPL-2.1-or-later
"""ALIGNED_PAGE_DATA: header, pfns, frame table, frames (spec 3.2)."""
import struct
from dataclasses import dataclass
from typing import Iterator

from . import codecs
from . import layout as L
from .xxh3 import xxh3


class Fault(ValueError):
    """What is wrong with a part of a stream; the reader says where."""


def divided(pages: int, frame_pages: int) -> list:
    """The pages of each frame."""
    return [min(frame_pages, pages - at)
            for at in range(0, pages, frame_pages)]


@dataclass
class Batch:
    """The 40 bytes behind type and length, and what follows from them."""
    length: int
    count: int
    pages: int
    pad_length: int
    flags: int
    number: int
    contents: int
    checksum: int

    @classmethod
    def unpack(cls, length: int, fixed: bytes) -> "Batch":
        return cls(length, *L.BATCH_HEADER.unpack(fixed))

    def fixed(self) -> bytes:
        return L.BATCH_HEADER.pack(
            self.count, self.pages, self.pad_length, self.flags,
            self.number, self.contents, self.checksum)

    @property
    def codec(self) -> int:
        return self.flags & L.BATCH_CODEC

    @property
    def frame_pages(self) -> int:
        return 1 << (self.flags >> L.BATCH_FRAME_SHIFT & 15)

    @property
    def frames(self) -> int:
        return -(-self.pages // self.frame_pages)

    @property
    def table_length(self) -> int:
        """The pfn array and the frame table."""
        return 8 * self.count + 12 * self.frames

    @property
    def stored(self) -> int:
        return (self.length - L.BATCH_HEADER.size - self.table_length
                - self.pad_length)

    def bound(self, file_id: bytes) -> int:
        """The checksum that binds it to its stream and its place."""
        blank = L.BATCH_HEADER.pack(self.count, self.pages, self.pad_length,
                                    self.flags, self.number, self.contents,
                                    0)
        return xxh3(file_id + L.RECORD_HEADER.pack(
            L.ALIGNED_PAGE_DATA, self.length) + blank)

    def verify(self, header: L.AlignedHeader, number: int) -> None:
        """All that can be refused before the table is read."""
        if self.bound(header.file_id) != self.checksum:
            raise Fault("checksum of a batch does not match")
        if self.number != number:
            raise Fault(f"batch number {self.number} where {number} must be")
        if not 1 <= self.count <= L.BATCH_MAX or self.pages > self.count:
            raise Fault(f"batch of {self.count} pfns and {self.pages} pages")
        if (self.pad_length >= 2 * header.alignment
                or self.pad_length and not self.pages):
            raise Fault(f"pad length {self.pad_length}")
        if (self.flags & ~L.BATCH_FLAGS or self.codec not in codecs.NAMES
                or self.flags >> L.BATCH_FRAME_SHIFT > L.FRAME_LOG_MAX):
            raise Fault(f"reserved batch flags 0x{self.flags:x}")
        whole = L.PAGE * self.pages
        least, most = ((1, whole - L.PAGE) if self.codec else (whole, whole))
        if not least <= self.stored <= most:
            raise Fault(f"{self.stored} bytes for {self.pages} pages, "
                        f"compression {codecs.NAMES[self.codec]}; "
                        "the length does not fit")
        if self.codec and not (header.mandatory_features
                               & codecs.MANDATORY[self.codec]):
            raise Fault("a batch with compression "
                        f"{codecs.NAMES[self.codec]}, which the header "
                        "does not announce")

    def table(self, raw: bytes) -> "Table":
        """`raw` is the pfn array and the frame table, not verified yet."""
        if xxh3(raw) != self.contents:
            raise Fault("contents checksum of a batch does not match")
        table = Table(
            self, struct.unpack_from(f"<{self.count}Q", raw),
            struct.unpack_from(f"<{self.frames}Q", raw, 8 * self.count),
            struct.unpack_from(f"<{self.frames}I", raw,
                               8 * self.count + 8 * self.frames))
        table.verify()
        return table


@dataclass
class Frame:
    begin: int                      # in the contents
    end: int
    pages: int
    check: int
    codec: int

    def unpacked(self, stored: bytes) -> bytes:
        """Its pages; the check comes before the decompressor."""
        if xxh3(stored) != self.check:
            raise Fault("checksum of a frame does not match")
        if len(stored) == L.PAGE * self.pages:
            return stored
        try:
            return codecs.unpack(self.codec, stored, L.PAGE * self.pages)
        except codecs.CodecError as error:
            raise Fault("a frame does not decompress "
                        f"({codecs.NAMES[self.codec]}): {error}") from None


@dataclass
class Table:
    batch: Batch
    pfns: tuple                     # as in the record
    checks: tuple
    ends: tuple

    @property
    def zero(self) -> int:
        return sum(bool(pfn & L.PFN_ZERO) for pfn in self.pfns)

    def verify(self) -> None:
        for pfn in self.pfns:
            if pfn & L.PFN_RESERVED_V3:
                raise Fault(f"reserved bits in pfn 0x{pfn:016x}")
            if pfn & L.PFN_ZERO and not L.has_contents(pfn):
                raise Fault(f"ZERO on pfn 0x{pfn:016x}")
        wanted = sum(map(L.has_contents, self.pfns)) - self.zero
        if wanted != self.batch.pages:
            raise Fault(f"{self.batch.pages} pages for {wanted} pfns")
        for frame in self.frames():
            length, whole = frame.end - frame.begin, L.PAGE * frame.pages
            least = 1 if self.batch.codec else whole
            if not least <= length <= whole:
                raise Fault(f"a frame of {length} bytes for {frame.pages} "
                            "pages")
        if self.ends and self.ends[-1] != self.batch.stored:
            raise Fault(f"the frames end at {self.ends[-1]}, the contents "
                        f"at {self.batch.stored}")

    def frames(self) -> Iterator[Frame]:
        sizes = divided(self.batch.pages, self.batch.frame_pages)
        for begin, end, pages, check in zip((0, *self.ends), self.ends,
                                            sizes, self.checks):
            yield Frame(begin, end, pages, check, self.batch.codec)

    def stored_number(self, position: int) -> int:
        """Which of the stored pages that of a pfn of the array is."""
        return sum(L.has_contents(pfn) and not pfn & L.PFN_ZERO
                   for pfn in self.pfns[:position])

    def v2(self, stored: bytes) -> bytes:
        """The PAGE_DATA record that it stands for."""
        data = b"".join(frame.unpacked(stored[frame.begin:frame.end])
                        for frame in self.frames())
        contents, at = [], 0
        for pfn in self.pfns:
            if pfn & L.PFN_ZERO:
                contents.append(L.ZERO_PAGE)
            elif L.has_contents(pfn):
                contents.append(data[at:at + L.PAGE])
                at += L.PAGE
        count = len(self.pfns)
        return b"".join((
            L.RECORD_HEADER.pack(L.PAGE_DATA,
                                 8 + 8 * count + L.PAGE * len(contents)),
            L.PAGE_DATA_HEADER.pack(count, 0),
            struct.pack(f"<{count}Q",
                        *(pfn & ~L.PFN_ZERO for pfn in self.pfns)),
            *contents))
