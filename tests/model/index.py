# SPDX-License-Identifier: LGPL-2.1-or-later
"""ALIGNED_INDEX, and a stream read through it (spec 3.5).

IndexReader knows a stream by its index alone: what the reader of streams
(decoder.py) finds record by record, it has to find without it.
"""
from typing import BinaryIO, Iterator, Optional

from . import layout as L
from .batch import Batch, Fault, Table
from .header import (check_header_length, parse_identity, verify_file,
                     verify_header)
from .records import STREAM_HEADERS, record
from .xxh3 import Hash, xxh3

NO_PFN = (1 << 64) - 1, 0           # first_pfn, last_pfn


def batch_entry(offset: int, page_offset: int, batch: Batch,
                pfns: tuple) -> tuple:
    """Stream offsets; `pfns` as in the record."""
    numbers = [pfn & L.PFN_MASK for pfn in pfns if L.has_contents(pfn)]
    first, last = (min(numbers), max(numbers)) if numbers else NO_PFN
    return (offset, page_offset, first, last, batch.count, batch.pages,
            batch.stored, batch.flags, batch.contents, batch.checksum)


def index_record(file_id: bytes, batches: list, records: list) -> bytes:
    entries = (b"".join(L.INDEX_BATCH.pack(*entry) for entry in batches)
               + b"".join(L.INDEX_RECORD.pack(*entry) for entry in records))

    def whole(checksum: int) -> bytes:
        return record(L.ALIGNED_INDEX, L.INDEX_HEADER.pack(
            len(batches), len(records), checksum) + entries)

    return whole(xxh3(file_id + whole(0)))


def parse_index(file_id: bytes, body: bytes) -> tuple:
    """(batch entries, record entries), by their checksum."""
    if len(body) < L.INDEX_HEADER.size:
        raise Fault(f"ALIGNED_INDEX of length {len(body)}")
    batches, records, checksum = L.INDEX_HEADER.unpack_from(body)
    end = L.INDEX_HEADER.size + L.INDEX_BATCH.size * batches
    if len(body) != end + L.INDEX_RECORD.size * records:
        raise Fault(f"ALIGNED_INDEX of length {len(body)} with {batches} "
                    f"batches and {records} records")
    blank = body[:8] + bytes(8) + body[16:]
    if xxh3(file_id + record(L.ALIGNED_INDEX, blank)) != checksum:
        raise Fault("checksum of ALIGNED_INDEX does not match")
    return (list(L.INDEX_BATCH.iter_unpack(body[L.INDEX_HEADER.size:end])),
            list(L.INDEX_RECORD.iter_unpack(body[end:])))


class BatchEntry:
    """A batch entry, by the names of the spec."""

    def __init__(self, number: int, values: tuple) -> None:
        self.number = number
        (self.offset, self.page_offset, self.first_pfn, self.last_pfn,
         self.count, self.pages, self.stored, self.flags, self.contents,
         self.checksum) = values

    @property
    def length(self) -> int:
        return self.page_offset + self.stored - self.offset - 8

    def batch(self) -> Batch:
        """The header that the record must have."""
        batch = Batch(self.length, self.count, self.pages, 0, self.flags,
                      self.number, self.contents, self.checksum)
        batch.pad_length = self.page_offset - (
            self.offset + 8 + L.BATCH_HEADER.size + batch.table_length)
        if batch.pad_length < 0:
            raise Fault(f"the pages of batch {self.number} begin in its "
                        "table")
        return batch


class IndexReader:
    """A COMPLETE stream with an index; `file` is the whole file.

    Made, it has verified everything but the batches: the headers, the
    index, ALIGNED_CHECK through it and every other record.
    """

    def __init__(self, file: BinaryIO, start: int = 0,
                 file_length: Optional[int] = None) -> None:
        self.file = file
        self.start = start
        self.headers = self.read(0, STREAM_HEADERS)
        marker, id_, _, options, _, _ = L.IMAGE_HEADER.unpack(
            self.headers[:24])
        if marker != L.IMAGE_MARKER or id_ != L.IMAGE_ID or options & 1:
            raise Fault("not the image header of a stream")
        type_, length = self.record_header(STREAM_HEADERS)
        if type_ != L.ALIGNED_HEADER:
            raise Fault("not a v3 stream")
        check_header_length(length)
        self.header = h = verify_header(self.read(STREAM_HEADERS + 8,
                                                  length))
        if file_length is not None:
            verify_file(h, start, file_length, False)
        if h.state != L.COMPLETE or not h.index_offset:
            raise Fault("no index to read the stream by")
        self.first = STREAM_HEADERS + 8 + length    # of what it lists
        self.identity: Optional[dict] = None
        self.read_index()
        self.verify_check()
        for entry in self.records:
            self.record(entry)

    def read(self, offset: int, length: int) -> bytes:
        self.file.seek(self.start + offset)
        data = self.file.read(length)
        if len(data) != length:
            raise Fault(f"end of file at stream offset {offset}")
        return data

    def record_header(self, offset: int) -> tuple:
        return L.RECORD_HEADER.unpack(self.read(offset, 8))

    def read_index(self) -> None:
        """Index, check and END lie one behind the other, to the end."""
        h = self.header
        type_, length = self.record_header(h.index_offset)
        self.check_at = h.index_offset + 8 + length
        if (type_ != L.ALIGNED_INDEX or length > L.RECORD_MAX
                or self.check_at + 8 + L.CHECK_BODY.size + 8
                != h.stream_length):
            raise Fault("index_offset is not that of an ALIGNED_INDEX "
                        "directly before ALIGNED_CHECK and END")
        if (self.record_header(self.check_at)
                != (L.ALIGNED_CHECK, L.CHECK_BODY.size)
                or self.record_header(h.stream_length - 8) != (L.END, 0)):
            raise Fault("no ALIGNED_CHECK and END behind the index")
        body = self.read(h.index_offset + 8, length)
        batches, self.records = parse_index(h.file_id, body)
        self.index_checksum = body[8:16]
        self.batches = [BatchEntry(number, values)
                        for number, values in enumerate(batches)]
        self.verify_tiling()

    def verify_tiling(self) -> None:
        """Entries ascend, and leave neither gap nor overlap."""
        for kind in ([b.offset for b in self.batches],
                     [r[0] for r in self.records]):
            if any(a >= b for a, b in zip(kind, kind[1:])):
                raise Fault("entries of the index do not ascend")
        at = self.first
        for offset, length, entry in self.entries():
            if offset != at:
                raise Fault(f"the index has {offset} where a record at "
                            f"{at} must be")
            if not 0 <= length <= L.RECORD_MAX:
                raise Fault(f"the index has a record of {length} bytes")
            if isinstance(entry, BatchEntry):
                entry.batch().verify(self.header, entry.number)
            else:
                self.verify_type(entry)
            at += 8 + L.padded(length)
        if at != self.header.index_offset:
            raise Fault(f"the index describes records up to {at}, and is "
                        f"at {self.header.index_offset}")

    def verify_type(self, entry: tuple) -> None:
        offset, type_, length, _ = entry
        if type_ == L.END or L.is_ours(type_) and not L.is_skipped(type_):
            if type_ != L.ALIGNED_IDENTITY:
                raise Fault(f"{L.name(type_)} in an index")
            if offset != self.first or length > L.IDENTITY_MAX:
                raise Fault("ALIGNED_IDENTITY out of its place")

    def entries(self) -> Iterator[tuple]:
        """(offset, length, entry), in the order of the stream."""
        both = [(b.offset, b.length, b) for b in self.batches]
        both += [(r[0], r[2], r) for r in self.records]
        return iter(sorted(both, key=lambda e: e[0]))

    def verify_check(self) -> None:
        body = self.read(self.check_at + 8, L.CHECK_BODY.size)
        batches, stored, zero, records, checksum = L.CHECK_BODY.unpack(body)
        h = self.header
        pages = sum(b.pages for b in self.batches)
        wanted = (len(self.batches), pages, h.pages_zero,
                  2 + len(self.batches) + len(self.records))
        if (batches, stored, zero, records) != wanted:
            raise Fault(f"ALIGNED_CHECK does not say {wanted}")
        if (h.batches, h.pages_stored) != (batches, stored):
            raise Fault("totals of ALIGNED_HEADER and ALIGNED_CHECK differ")
        check = Hash()
        check.update(h.file_id + self.headers)
        for _, _, entry in self.entries():
            check.update(L.U64.pack(entry.checksum if isinstance(
                entry, BatchEntry) else entry[3]))
        check.update(self.index_checksum
                     + L.RECORD_HEADER.pack(L.ALIGNED_CHECK, len(body))
                     + body[:32])
        if check.digest() != checksum:
            raise Fault("checksum of ALIGNED_CHECK does not match")

    def record(self, entry: tuple) -> bytes:
        """The bytes of a record that is not page data."""
        offset, type_, length, checksum = entry
        raw = self.read(offset, 8 + L.padded(length))
        if xxh3(self.header.file_id + raw) != checksum:
            raise Fault(f"checksum of {L.name(type_)} does not match")
        if L.RECORD_HEADER.unpack_from(raw) != (type_, length):
            raise Fault(f"{L.name(type_)} of the index is not in its place")
        if type_ == L.ALIGNED_IDENTITY:
            self.identity = parse_identity(raw[8:8 + length])
        return raw

    # -- batches ----------------------------------------------------------

    def table(self, entry: BatchEntry) -> Table:
        """The record up to its frame table, verified against its entry."""
        batch = entry.batch()
        fixed = 8 + L.BATCH_HEADER.size
        raw = self.read(entry.offset, fixed + batch.table_length)
        if (L.RECORD_HEADER.unpack_from(raw)
                != (L.ALIGNED_PAGE_DATA, batch.length)
                or raw[8:fixed] != batch.fixed()):
            raise Fault(f"batch {entry.number} is not what its entry says")
        table = batch.table(raw[fixed:])
        right = batch_entry(entry.offset, entry.page_offset, batch,
                            table.pfns)
        if right[2:4] != (entry.first_pfn, entry.last_pfn):
            raise Fault(f"pfns of batch {entry.number} are not those of its "
                        "entry")
        return table

    def page(self, pfn: int) -> Optional[bytes]:
        """The last contents of a pfn; two reads for each batch."""
        if any(r[1] == L.PAGE_DATA for r in self.records):
            raise Fault("PAGE_DATA that is in no entry of the index")
        for entry in reversed(self.batches):
            if not entry.first_pfn <= pfn <= entry.last_pfn:
                continue
            table = self.table(entry)
            for position in reversed(range(entry.count)):
                found = table.pfns[position]
                if found & L.PFN_MASK != pfn or not L.has_contents(found):
                    continue
                if found & L.PFN_ZERO:
                    return L.ZERO_PAGE
                number = table.stored_number(position)
                frames = list(table.frames())
                within, at = divmod(number, table.batch.frame_pages)
                frame = frames[within]
                data = frame.unpacked(self.read(
                    entry.page_offset + frame.begin,
                    frame.end - frame.begin))
                return data[L.PAGE * at:L.PAGE * (at + 1)]
        return None

    def __iter__(self) -> Iterator[bytes]:
        """The v2 stream; at its end, everything has been verified."""
        zero = 0
        yield self.headers
        for offset, length, entry in self.entries():
            if isinstance(entry, BatchEntry):
                table = self.table(entry)
                zero += table.zero
                pad = table.batch.pad_length
                if any(self.read(entry.page_offset - pad, pad)):
                    raise Fault("non-zero byte in padding of a batch")
                data = self.read(entry.page_offset, L.padded(length) + 8
                                 + offset - entry.page_offset)
                if any(data[entry.stored:]):
                    raise Fault("non-zero byte in record padding")
                yield table.v2(data[:entry.stored])
            elif not L.is_ours(entry[1]):
                yield self.record(entry)
        if zero != self.header.pages_zero:
            raise Fault(f"{zero} zero pages, not {self.header.pages_zero}")
        yield record(L.END)
