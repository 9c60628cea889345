# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damaged and hostile streams.

Flipped bits alone never get past a checksum.  `Sealed` therefore takes a v3
or compat stream apart, lets fields be changed, and puts it together again
with every checksum right, so that the checks behind them are reached.
"""
import random
import struct

from . import layout as L
from .batch import Batch
from .header import header_record
from .index import batch_entry, index_record
from .records import STREAM_HEADERS, record, walk
from .xxh3 import Hash, xxh3


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Sealed:
    """A stream as a list of [type, body]; `seal` makes it whole again."""

    def __init__(self, stream: bytes) -> None:
        self.headers = stream[:STREAM_HEADERS]
        self.records = [[r.type, bytearray(r.body)] for r in walk(stream)]

    def find(self, type_: int) -> list:
        return [i for i, r in enumerate(self.records) if r[0] == type_]

    def file_id(self) -> bytes:
        body = self.records[0][1]
        return bytes(body[40:56]).ljust(16, b"\0")

    def seal(self, totals: bool = True, index: bool = True,
             keep: tuple = ()) -> bytes:
        """With `totals`, numbers and counts are made to fit what is there;
        with `index`, the index is. The batches `keep` stay as they are."""
        id_ = self.file_id()
        check, out = Hash(), bytearray(self.headers)
        check.update(id_ + self.headers)
        counted = [0, 0, 0]
        batches, others, index_offset = [], [], 0
        for number, (type_, body) in enumerate(self.records):
            at = len(out)
            checksum = 0
            if type_ == L.ALIGNED_PAGE_DATA and len(body) >= 40:
                if number not in keep:
                    self.seal_batch(body, id_, counted[0] if totals else None)
                b, pfns = self.parsed(body)
                for i, n in enumerate((1, b.pages, sum(
                        bool(pfn & L.PFN_ZERO) for pfn in pfns))):
                    counted[i] += n
                checksum = b.checksum
                place = at + 8 + 40 + b.table_length + b.pad_length
                if 0 <= b.stored and b.table_length <= len(body):
                    batches.append(batch_entry(at, place, b, pfns))
            elif type_ == L.ALIGNED_INDEX and len(body) >= 16:
                index_offset = at
                if index:
                    body[:] = index_record(id_, batches, others)[8:]
                body[8:16] = bytes(8)
                checksum = xxh3(id_ + record(type_, bytes(body)))
                body[8:16] = L.U64.pack(checksum)
            elif type_ == L.ALIGNED_CHECK and len(body) == 40:
                if totals:
                    body[:32] = struct.pack("<QQQQ", *counted, number)
                check.update(L.RECORD_HEADER.pack(type_, 40) + body[:32])
                body[32:] = L.U64.pack(check.digest())
            elif type_ == L.PADDING and len(body) >= 24:
                self.seal_padding(number, body)
            if not checksum and (type_ != L.ALIGNED_HEADER or number):
                checksum = xxh3(id_ + record(type_, bytes(body)))
                others.append((at, type_, len(body), checksum))
            if number:
                check.update(L.U64.pack(checksum))
            out += record(type_, bytes(body))
        type_, body = self.records[0]
        if type_ == L.ALIGNED_HEADER and len(body) >= L.HEADER_MIN:
            self.seal_header(body, len(out), index_offset,
                             counted if totals else None)
            out[STREAM_HEADERS + 8:STREAM_HEADERS + 8 + len(body)] = body
        return bytes(out)

    @staticmethod
    def parsed(body: bytearray) -> tuple:
        """(Batch, pfns) as far as there are any."""
        b = Batch.unpack(len(body), body[:40])
        count = min(b.count, (len(body) - 40) // 8)
        return b, struct.unpack_from(f"<{count}Q", body, 40)

    @staticmethod
    def seal_batch(body: bytearray, file_id: bytes, number) -> None:
        b = Batch.unpack(len(body), body[:40])
        if number is not None:
            b.number = number
        table, array = b.table_length, 8 * b.count
        if table <= len(body) - 40:
            ends = struct.unpack_from(f"<{b.frames}I", body,
                                      40 + array + 8 * b.frames)
            pages = bytes(body[40 + table + b.pad_length:])
            checks = [xxh3(pages[begin:end])
                      for begin, end in zip((0, *ends), ends)]
            struct.pack_into(f"<{b.frames}Q", body, 40 + array, *checks)
        b.contents = xxh3(body[40:40 + table])
        b.checksum = b.bound(file_id)
        body[:40] = b.fixed()

    def seal_padding(self, number: int, body: bytearray) -> None:
        kind, = struct.unpack_from("<I", body, 8)
        if kind == L.PADDING_START and len(body) == 24:
            body[16:24] = bytes(8)
            body[16:24] = L.U64.pack(xxh3(
                L.RECORD_HEADER.pack(L.PADDING, len(body)) + bytes(body)))
        if kind != L.PADDING_BATCH or number + 1 == len(self.records):
            return
        type_, batch = self.records[number + 1]
        if len(batch) < 8:
            return
        count, = struct.unpack_from("<I", batch)
        pages = min(8 + 8 * count, len(batch))
        body[16:24] = L.U64.pack(xxh3(
            batch[pages:] + L.RECORD_HEADER.pack(type_, len(batch))
            + batch[:pages]))

    @staticmethod
    def seal_header(body: bytearray, length: int, index_offset: int,
                    counted) -> None:
        header = L.AlignedHeader.unpack(bytes(body))
        if header.state == L.COMPLETE and counted is not None:
            header.file_length += length - header.stream_length
            header.file_length &= (1 << 64) - 1
            header.stream_length = length
            header.index_offset = index_offset
            header.batches, header.pages_stored, header.pages_zero = counted
        body[:] = header_record(header)[8:8 + len(body)]


FIELD_VALUES = (0, 1, 2, 3, 4, 7, 8, 16, 24, 1023, 1024, 1025, 4095, 4096,
                4097, 65535, 65536, 65537, 0x7fffffff, 0x80000000,
                0xffffffff)
TYPES = (0x0, 0x1, 0x9, 0xd, 0x12, 0x13, 0x80000000, 0x414c0000,
         0x414c0001, 0x414c0002, 0xc14c0003, 0xc14c0004, 0x414c0005,
         0xc14c0006, 0x414c0006, 0xc14c0001, 0xc14c0002, 0xc14cffff,
         0x414cffff,
         0xc14b0000, 0x414d0000, 0x14c0002)


class Mutator:
    """Hostile variants of a stream, reproducible from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def position(self, stream: bytes) -> int:
        """A byte of it, the structure preferred to the contents."""
        r = self.random.choice(list(walk(stream)))
        if self.random.random() < 0.1:
            return self.random.randrange(len(stream))
        return min(r.offset + self.random.randrange(160), len(stream) - 1)

    def raw(self, stream: bytes) -> tuple:
        """(what was done, stream), checksums left as they were."""
        kind = self.random.randrange(5)
        at = self.position(stream)
        if kind == 0:
            bit = 8 * at + self.random.randrange(8)
            return f"bit {bit} flipped", flip(stream, bit)
        if kind == 1:
            patch = self.random.randbytes(self.random.randint(1, 8))
            changed = stream[:at] + patch + stream[at + len(patch):]
            return f"{patch.hex()} at {at}", changed[:len(stream)]
        if kind == 2:
            return f"cut at {at}", stream[:at]
        if kind == 3:
            at &= ~3
            value = self.random.choice(FIELD_VALUES)
            return (f"u32 at {at} = {value}",
                    stream[:at] + struct.pack("<I", value) + stream[at + 4:])
        length = self.random.randint(1, 64)
        return (f"{length} bytes at {at} removed",
                stream[:at] + stream[at + length:])

    def sealed(self, stream: bytes) -> tuple:
        """(what was done, stream), checksums made right again."""
        s = Sealed(stream)
        done = [self.change(s) for _ in range(self.random.randint(1, 2))]
        totals = self.random.random() < 0.8
        index = self.random.random() < 0.8
        return (f"{'; '.join(done)}; sealed, totals={totals}, "
                f"index={index}", s.seal(totals, index))

    def change_packing(self, s: Sealed) -> str:
        """What belongs to compression, which chance seldom meets."""
        batches = s.find(L.ALIGNED_PAGE_DATA)
        if not batches or s.records[0][0] != L.ALIGNED_HEADER:
            return "nothing"
        body = s.records[self.random.choice(batches)][1]
        kind = self.random.randrange(4)
        if kind == 0 and len(s.records[0][1]) >= L.HEADER_MIN:
            bits = self.random.randrange(8)
            s.records[0][1][16] = bits
            return f"features 0x{bits:x}"
        if kind == 1 and len(body) >= 40:
            body[12] = (self.random.randrange(5)
                        | self.random.randrange(12) << 4)
            return f"batch flags 0x{body[12]:x}"
        if kind == 2 and len(body) >= 64:
            table = Batch.unpack(len(body), body[:40]).table_length
            if 48 < table + 40 < len(body):
                at = self.random.randrange(48, 40 + table)
                body[at] ^= 1 << self.random.randrange(8)
                return f"byte {at} of a batch, in its table"
        if len(body) > 64:
            at = self.random.randrange(max(40, len(body) - 4096), len(body))
            body[at] ^= 1 << self.random.randrange(8)
            return f"byte {at} of a batch"
        return "nothing"

    def change(self, s: Sealed) -> str:
        kind = self.random.randrange(9)
        if kind == 8:
            return self.change_packing(s)
        n = self.random.randrange(len(s.records))
        type_, body = s.records[n]
        if kind == 0:
            s.records[n][0] = self.random.choice(TYPES)
            return f"record {n} made type 0x{s.records[n][0]:x}"
        if kind == 1:
            del s.records[n]
            if not s.records:
                s.records.append([L.END, bytearray()])
            return f"record {n} removed"
        if kind == 2:
            m = self.random.randint(0, len(s.records))
            s.records.insert(m, [type_, bytearray(body)])
            return f"record {n} also before {m}"
        if kind == 3:
            m = self.random.randrange(len(s.records))
            s.records[n], s.records[m] = s.records[m], s.records[n]
            return f"records {n} and {m} exchanged"
        if kind == 4:
            m = self.random.randint(0, len(s.records))
            new = self.random.choice(TYPES)
            s.records.insert(m, [new, bytearray(
                self.random.randbytes(self.random.choice(
                    (0, 8, 24, 32, 40, 64, 136))))])
            return f"type 0x{new:x} before {m}"
        if kind == 5 and body:
            self.resize(body)
            return f"record {n} resized to {len(body)}"
        if len(body) >= 4:
            at = min(self.random.choice((4, 8)) * self.random.randrange(16),
                     len(body) - 4)
            if self.random.random() < 0.5:
                value = self.random.choice(FIELD_VALUES)
                body[at:at + 4] = struct.pack("<I", value)
                return f"record {n}, u32 at {at} = {value}"
            bit = self.random.randrange(32)
            body[at + bit // 8] ^= 1 << bit % 8
            return f"record {n}, bit {bit} of u32 at {at}"
        return "nothing"

    def resize(self, body: bytearray) -> None:
        by = self.random.choice((1, 7, 8, 16, 40, 4096))
        if self.random.random() < 0.5:
            body += bytes(by)
        else:
            del body[-by:]

    def any(self, stream: bytes) -> tuple:
        return self.random.choice((self.raw, self.sealed))(stream)
