# SPDX-License-Identifier: LGPL-2.1-or-later
"""Any format in, v2 bytes out; refuses what spec section 6 refuses."""
import io
from dataclasses import dataclass
from typing import BinaryIO, Iterator, Optional

from . import layout as L
from .batch import Batch, Fault
from .header import (check_header_length, parse_identity, verify_file,
                     verify_header)
from .index import batch_entry, parse_index
from .records import Source, StreamError, page_data
from .xxh3 import Hash, xxh3


@dataclass
class SeenBatch:
    """An ALIGNED_PAGE_DATA, or a PAGE_DATA of a compat or v2 stream."""
    type: int
    offset: int                     # file offset of the record
    pages_offset: int               # file offset of the contents
    pfns: tuple                     # as in the record
    pages: int                      # stored
    zero: int                       # elided
    batch: Optional[Batch] = None


class Observer:
    """What an auditor hooks into; all of it verified when called."""

    def record(self, type_: int, offset: int, length: int) -> None:
        pass

    def batch(self, batch: SeenBatch) -> None:
        pass

    def index(self, offset: int, batches: list, records: list) -> None:
        pass


class Decoder:
    """Iterate over it for the bytes of the v2 stream."""

    def __init__(self, file: BinaryIO, start: int = 0,
                 file_length: Optional[int] = None, device: bool = False,
                 observer: Optional[Observer] = None) -> None:
        self.source = Source(file, start)
        self.start = start
        self.file_length = file_length
        self.device = device
        self.observer = observer or Observer()
        self.format = ""
        self.header: Optional[L.AlignedHeader] = None
        self.head_padding = 0
        self.batches = self.pages_stored = self.pages_zero = 0
        self.check = Hash()
        self.index_offset = 0
        self.index_batches: list = []       # as an index has to be
        self.index_records: list = []
        self.identity: Optional[dict] = None
        self.at = start             # offset of the record in hand
        self.ended = False

    # -- small parts ----------------------------------------------------

    def refuse(self, what: str) -> StreamError:
        return StreamError(what, self.at, self.source.record)

    def record_header(self) -> tuple:
        self.at = self.source.offset
        raw = self.source.read(8, "a record header")
        type_, length = L.RECORD_HEADER.unpack(raw)
        if length > L.RECORD_MAX:
            raise self.refuse(f"{L.name(type_)} longer than 128 MiB")
        return type_, length

    def zeros(self, length: int, what: str) -> bytes:
        padding = self.source.read(length, what) if length else b""
        if any(padding):
            raise self.refuse(f"non-zero byte in {what}")
        return padding

    def body(self, type_: int, length: int) -> bytes:
        return self.source.read(length, L.name(type_)) if length else b""

    def next_record(self, type_: int, length: int) -> None:
        self.observer.record(type_, self.at, length)
        self.source.record += 1

    # -- the stream -----------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        headers = self.source.read(24, "the image header")
        marker, id_, _, options, _, _ = L.IMAGE_HEADER.unpack(headers)
        if marker != L.IMAGE_MARKER or id_ != L.IMAGE_ID:
            raise self.refuse("not the image header of a stream")
        if options & 1:
            raise self.refuse("big-endian stream")
        headers += self.source.read(16, "the domain header")

        first = self.record_header()
        if first[0] == L.ALIGNED_HEADER:
            self.format = "v3"
            self.aligned_header(first[1])
            self.check.update(self.header.file_id + headers)
            records = self.xensave_records
        elif first[0] == L.PADDING:
            self.format = "compat"
            self.read_start(*first)
            records = self.compat_records
        else:
            self.format = "v2"
            records = self.v2_records
        yield headers
        try:
            yield from records(*first)
        except Fault as fault:
            raise self.refuse(str(fault)) from None
        self.ended = True

    # -- v2 -------------------------------------------------------------

    def v2_records(self, type_: int, length: int) -> Iterator[bytes]:
        while True:
            yield self.other_record(type_, length)
            if type_ == L.END:
                return
            type_, length = self.record_header()

    def other_record(self, type_: int, length: int) -> bytes:
        """A record that has the same bytes in every format."""
        if L.is_ours(type_):
            raise self.refuse(f"{L.name(type_)} in a {self.format} stream")
        if type_ == L.END and length:
            raise self.refuse("END with a body")
        offset = self.source.offset
        body = self.body(type_, length)
        # Handed on as it is: whatever a stock reader takes, and the identity.
        padding = self.body(type_, -length % 8)
        if type_ == L.PAGE_DATA and self.format != "v3":
            shape = page_data(body)
            if shape:
                self.observer.batch(SeenBatch(
                    type_, self.at, offset + shape.pages_offset,
                    shape.pfns, shape.contents, 0))
        self.next_record(type_, length)
        return L.RECORD_HEADER.pack(type_, length) + body + padding

    # -- compat ---------------------------------------------------------

    def read_padding(self, length: int) -> tuple:
        if length % 8 or not 24 <= length <= L.PADDING_MAX:
            raise self.refuse(f"PADDING of length {length}")
        magic, kind, head_padding, checksum = L.PADDING_HEADER.unpack(
            self.source.read(24, "PADDING"))
        if magic != L.MAGIC:
            raise self.refuse("PADDING without its magic")
        self.zeros(length - 24, "PADDING")
        return kind, head_padding, checksum

    def read_start(self, type_: int, length: int) -> None:
        kind, self.head_padding, checksum = self.read_padding(length)
        if kind != L.PADDING_START:
            raise self.refuse("first PADDING is not of kind START")
        whole = L.RECORD_HEADER.pack(type_, length) + L.PADDING_HEADER.pack(
            L.MAGIC, kind, self.head_padding, 0)
        if length != 24 or self.head_padding > 7 or checksum != xxh3(whole):
            raise self.refuse("PADDING of kind START is damaged")
        self.next_record(type_, length)

    def compat_records(self, type_: int, length: int) -> Iterator[bytes]:
        while True:
            type_, length = self.record_header()
            if type_ == L.PADDING:
                yield self.compat_batch(length)
                continue
            if L.is_skipped(type_):
                self.body(type_, L.padded(length))
                self.next_record(type_, length)
                continue
            number, at = self.source.record, self.at
            raw = self.other_record(type_, length)
            if type_ == L.PAGE_DATA:
                shape = page_data(raw[8:8 + length])
                if shape and shape.contents:
                    raise StreamError("PAGE_DATA without its PADDING", at,
                                      number)
            yield raw
            if type_ == L.END:
                return

    def compat_batch(self, length: int) -> bytes:
        kind, head_padding, checksum = self.read_padding(length)
        if kind != L.PADDING_BATCH or head_padding:
            raise self.refuse("PADDING of kind BATCH is damaged")
        self.next_record(L.PADDING, length)
        type_, length = self.record_header()
        if type_ != L.PAGE_DATA:
            raise self.refuse(f"{L.name(type_)} behind PADDING")
        offset = self.source.offset
        body = self.body(type_, length)
        shape = page_data(body)
        if not shape or not shape.contents:
            raise self.refuse("PADDING before PAGE_DATA that has none")
        header = L.RECORD_HEADER.pack(type_, length)
        pages = shape.pages_offset
        if xxh3(body[pages:] + header + body[:pages]) != checksum:
            raise self.refuse("checksum of PAGE_DATA does not match")
        self.batches += 1
        self.pages_stored += shape.contents
        self.observer.batch(SeenBatch(type_, self.at, offset + pages,
                                      shape.pfns, shape.contents, 0))
        self.next_record(type_, length)
        return header + body

    # -- v3 -------------------------------------------------------------

    def aligned_header(self, length: int) -> None:
        try:
            check_header_length(length)
            self.header = verify_header(self.body(L.ALIGNED_HEADER, length))
            if self.file_length is not None:
                verify_file(self.header, self.start, self.file_length,
                            self.device)
        except Fault as fault:
            raise self.refuse(str(fault)) from None
        self.next_record(L.ALIGNED_HEADER, length)

    def xensave_records(self, type_: int, length: int) -> Iterator[bytes]:
        after = None                # the only type that may come next
        while True:
            type_, length = self.record_header()
            if after is not None and type_ != after:
                raise self.refuse(f"{L.name(type_)} where "
                                  f"{L.name(after)} must be")
            if type_ == L.ALIGNED_PAGE_DATA:
                yield self.xensave_batch(length)
            elif type_ == L.ALIGNED_INDEX:
                self.xensave_index(length)
                after = L.ALIGNED_CHECK
            elif type_ == L.ALIGNED_CHECK:
                self.xensave_check(length)
                after = L.END
            elif type_ == L.END and after != L.END:
                raise self.refuse("END without ALIGNED_CHECK")
            elif type_ == L.END:
                yield self.xensave_end(length)
                return
            elif type_ == L.ALIGNED_IDENTITY:
                self.xensave_identity(length)
            elif L.is_skipped(type_):
                self.covered(type_, length)
            elif L.is_ours(type_):
                raise self.refuse(f"{L.name(type_)} in a v3 stream")
            else:
                yield self.covered(type_, length)

    def covered(self, type_: int, length: int) -> bytes:
        """A record that is not page data, whole."""
        raw = (L.RECORD_HEADER.pack(type_, length)
               + self.body(type_, L.padded(length)))
        checksum = xxh3(self.header.file_id + raw)
        self.check.update(L.U64.pack(checksum))
        self.index_records.append((self.at - self.start, type_, length,
                                   checksum))
        self.next_record(type_, length)
        return raw

    def xensave_identity(self, length: int) -> None:
        if self.source.record != 1:
            raise self.refuse("ALIGNED_IDENTITY that does not follow "
                              "ALIGNED_HEADER")
        if length > L.IDENTITY_MAX:
            raise self.refuse(f"ALIGNED_IDENTITY of length {length}")
        raw = self.covered(L.ALIGNED_IDENTITY, length)
        self.identity = parse_identity(raw[8:8 + length])

    def xensave_batch(self, length: int) -> bytes:
        if length < L.BATCH_HEADER.size + 8:
            raise self.refuse(f"ALIGNED_PAGE_DATA of length {length}")
        batch = Batch.unpack(length, self.source.read(
            L.BATCH_HEADER.size, "ALIGNED_PAGE_DATA"))
        batch.verify(self.header, self.batches)
        table = batch.table(self.source.read(batch.table_length,
                                             "the table of a batch"))
        self.zeros(batch.pad_length, "padding of a batch")
        pages_offset = self.source.offset
        stored = self.source.read(batch.stored, "the pages of a batch")
        self.zeros(-length % 8, "padding of ALIGNED_PAGE_DATA")
        v2 = table.v2(stored)
        self.check.update(L.U64.pack(batch.checksum))
        self.index_batches.append(batch_entry(
            self.at - self.start, pages_offset - self.start, batch,
            table.pfns))
        self.batches += 1
        self.pages_stored += batch.pages
        self.pages_zero += table.zero
        self.observer.batch(SeenBatch(
            L.ALIGNED_PAGE_DATA, self.at, pages_offset, table.pfns,
            batch.pages, table.zero, batch))
        self.next_record(L.ALIGNED_PAGE_DATA, length)
        return v2

    def xensave_index(self, length: int) -> None:
        body = self.body(L.ALIGNED_INDEX, length)
        batches, records = parse_index(self.header.file_id, body)
        if batches != self.index_batches or records != self.index_records:
            raise self.refuse("ALIGNED_INDEX does not describe the records "
                              "before it")
        self.check.update(body[8:16])
        self.index_offset = self.at - self.start
        self.observer.index(self.at, batches, records)
        self.next_record(L.ALIGNED_INDEX, length)

    def xensave_check(self, length: int) -> None:
        if length != L.CHECK_BODY.size:
            raise self.refuse(f"ALIGNED_CHECK of length {length}")
        body = self.source.read(length, "ALIGNED_CHECK")
        *totals, checksum = L.CHECK_BODY.unpack(body)
        counted = [self.batches, self.pages_stored, self.pages_zero,
                   self.source.record]
        if totals != counted:
            raise self.refuse(f"ALIGNED_CHECK says {totals} batches, pages, "
                              f"zero pages, records; there are {counted}")
        self.check.update(L.RECORD_HEADER.pack(L.ALIGNED_CHECK, length)
                          + body[:32])
        if self.check.digest() != checksum:
            raise self.refuse("checksum of ALIGNED_CHECK does not match")
        self.next_record(L.ALIGNED_CHECK, length)

    def xensave_end(self, length: int) -> bytes:
        raw = self.other_record(L.END, length)
        h = self.header
        if h.state == L.COMPLETE:
            said = (h.stream_length, h.index_offset, h.batches,
                    h.pages_stored, h.pages_zero)
            found = (self.source.offset - self.start, self.index_offset,
                     self.batches, self.pages_stored, self.pages_zero)
            if said != found:
                raise self.refuse(f"ALIGNED_HEADER says {said}, "
                                  f"the stream has {found}")
        return raw


def decode(stream: bytes, start: int = 0, **options) -> bytes:
    """The v2 stream; `stream` begins at its image header."""
    return b"".join(Decoder(io.BytesIO(stream), start, **options))


def decode_some(stream: bytes, start: int = 0, **options) -> tuple:
    """(bytes handed out, StreamError or None)."""
    parts = []
    try:
        for part in Decoder(io.BytesIO(stream), start, **options):
            parts.append(part)
    except StreamError as error:
        return b"".join(parts), error
    return b"".join(parts), None
