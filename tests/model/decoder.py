# SPDX-License-Identifier: LGPL-2.1-or-later
"""Any format in, v2 octets out; refuses what spec section 6 refuses."""
import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator, Optional

from . import codecs
from . import layout as L
from .records import Source, StreamError, page_data
from .xxh3 import Hash, xxh3


@dataclass
class Batch:
    """An ALIGNED_PAGE_DATA, or a PAGE_DATA of a compat or v2 stream."""
    type: int
    offset: int                     # file offset of the record
    pages_offset: int               # file offset of the contents
    pfns: tuple                     # as in the record
    pages: int                      # stored
    zero: int                       # elided
    codec: int = codecs.NONE
    stored: int = 0                 # octets of compressed contents

    def index_entry(self, start: int) -> Optional[tuple]:
        """What spec 3.5 says of it; None if no pfn has contents."""
        numbers = [pfn & L.PFN_MASK for pfn in self.pfns
                   if L.has_contents(pfn)]
        if not numbers:
            return None
        return (self.offset - start, min(numbers), max(numbers),
                len(self.pfns), self.pages,
                self.pages_offset - start if self.pages else 0)


class Observer:
    """What an auditor hooks into; all of it verified when called."""

    def record(self, type_: int, offset: int, length: int) -> None:
        pass

    def batch(self, batch: Batch) -> None:
        pass

    def index(self, offset: int, entries: list) -> None:
        pass


class Decoder:
    """Iterate over it for the octets of the v2 stream."""

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
        self.left_alone = False     # a PAGE_DATA, in v3
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
            raise self.refuse(f"non-zero octet in {what}")
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
        self.check.update(headers)

        first = self.record_header()
        if first[0] == L.ALIGNED_HEADER:
            self.format = "v3"
            self.read_aligned_header(*first)
            records = self.xensave_records
        elif first[0] == L.PADDING:
            self.format = "compat"
            self.read_start(*first)
            records = self.compat_records
        else:
            self.format = "v2"
            records = self.v2_records
        yield headers
        yield from records(*first)
        self.ended = True

    # -- v2 -------------------------------------------------------------

    def v2_records(self, type_: int, length: int) -> Iterator[bytes]:
        while True:
            yield self.other_record(type_, length)
            if type_ == L.END:
                return
            type_, length = self.record_header()

    def other_record(self, type_: int, length: int) -> bytes:
        """A record that has the same octets in every format."""
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
                self.observer.batch(Batch(
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
        self.observer.batch(Batch(type_, self.at, offset + pages,
                                  shape.pfns, shape.contents, 0))
        self.next_record(type_, length)
        return header + body

    # -- v3 -------------------------------------------------------------

    def read_aligned_header(self, type_: int, length: int) -> None:
        if length != 120:
            raise self.refuse(f"ALIGNED_HEADER of length {length}")
        body = self.source.read(120, "ALIGNED_HEADER")
        h = L.AlignedHeader.unpack(body)
        if h.magic != L.MAGIC:
            raise self.refuse("ALIGNED_HEADER without its magic")
        sealed = L.RECORD_HEADER.pack(type_, length) + body[:112] + bytes(8)
        if xxh3(sealed) != h.header_checksum:
            raise self.refuse("checksum of ALIGNED_HEADER does not match")
        if h.min_reader_version > L.VERSION:
            raise self.refuse("the stream needs a reader of version "
                              f"{h.min_reader_version}, this one is 3")
        if h.version < L.VERSION or h.min_reader_version < L.VERSION:
            raise self.refuse(f"stream version {h.version} for readers of "
                              f"version {h.min_reader_version}")
        if h.mandatory_features & ~L.MANDATORY_KNOWN:
            raise self.refuse("mandatory features that are not implemented: "
                              + feature_names(h.mandatory_features
                                              & ~L.MANDATORY_KNOWN))
        if (not L.ALIGNMENT_MIN <= h.alignment <= L.ALIGNMENT_MAX
                or h.alignment & (h.alignment - 1)):
            raise self.refuse(f"alignment {h.alignment}")
        self.check_state(h)
        self.header = h
        self.next_record(type_, length)

    def check_state(self, h: L.AlignedHeader) -> None:
        if h.state == L.UNFINISHED:
            raise self.refuse("the stream is UNFINISHED: its writer stopped "
                              "before the commit")
        if h.state == L.STREAMED:
            if any(getattr(h, field) for field in h.FINAL_FIELDS):
                raise self.refuse("totals in a STREAMED header")
        elif h.state != L.COMPLETE:
            raise self.refuse(f"state {h.state}")
        elif (h.stream_start + h.stream_length > h.file_length
              or h.index_offset >= h.stream_length):
            raise self.refuse("lengths in ALIGNED_HEADER contradict each "
                              "other")
        elif self.file_length is not None:
            if self.file_length < h.file_length:
                raise self.refuse(f"the file has {self.file_length} octets, "
                                  f"its header says {h.file_length}")
            if self.file_length > h.file_length and not self.device:
                raise self.refuse(f"the file has {self.file_length} octets, "
                                  f"its header says {h.file_length}")

    def xensave_records(self, type_: int, length: int) -> Iterator[bytes]:
        after = None                # the only type that may come next
        while True:
            type_, length = self.record_header()
            if after is not None and type_ != after:
                raise self.refuse(f"{L.name(type_)} where "
                                  f"{L.name(after)} must be")
            if type_ == L.ALIGNED_PAGE_DATA:
                yield self.xensave_batch(length)
            elif type_ == L.ALIGNED_INDEX and self.left_alone:
                raise self.refuse("ALIGNED_INDEX in a stream with PAGE_DATA")
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
            else:
                self.left_alone |= type_ == L.PAGE_DATA
                raw = self.other_record(type_, length)
                self.check.update(raw)
                yield raw

    def xensave_batch(self, length: int) -> bytes:
        if length < 24 + 8:
            raise self.refuse(f"ALIGNED_PAGE_DATA of length {length}")
        fixed = self.source.read(24, "ALIGNED_PAGE_DATA")
        count, pages, pad_length, flags, checksum = \
            L.BATCH_HEADER.unpack(fixed)
        if not 1 <= count <= L.BATCH_MAX or pages > count:
            raise self.refuse(f"batch of {count} pfns and {pages} pages")
        if pad_length >= self.header.alignment or pad_length and not pages:
            raise self.refuse(f"pad length {pad_length}")
        stored = length - 24 - 8 * count - pad_length
        codec = self.batch_codec(flags, pages, stored)
        array = self.source.read(8 * count, "the pfns of a batch")
        pfns = struct.unpack(f"<{count}Q", array)
        for pfn in pfns:
            if pfn & L.PFN_RESERVED_V3:
                raise self.refuse(f"reserved bits in pfn 0x{pfn:016x}")
            if pfn & L.PFN_ZERO and not L.has_contents(pfn):
                raise self.refuse(f"ZERO on pfn 0x{pfn:016x}")
        zero = sum(bool(pfn & L.PFN_ZERO) for pfn in pfns)
        contents = sum(map(L.has_contents, pfns))
        if contents - zero != pages:
            raise self.refuse(f"{pages} pages for {contents - zero} pfns")
        self.zeros(pad_length, "padding of a batch")
        pages_offset = self.source.offset
        data = self.source.read(stored, "the pages of a batch")
        self.zeros(-length % 8, "padding of ALIGNED_PAGE_DATA")
        header = L.RECORD_HEADER.pack(L.ALIGNED_PAGE_DATA, length)
        if xxh3(data + header + fixed[:16] + bytes(8) + array) != checksum:
            raise self.refuse("checksum of a batch does not match")
        self.check.update(fixed[16:])
        self.batches += 1
        self.pages_stored += pages
        self.pages_zero += zero
        if codec != codecs.NONE:
            try:
                data = codecs.unpack(codec, data, L.PAGE * pages)
            except codecs.CodecError as error:
                raise self.refuse("a batch does not decompress "
                                  f"({codecs.NAMES[codec]}): "
                                  f"{error}") from None
        self.observer.batch(Batch(L.ALIGNED_PAGE_DATA, self.at,
                                  pages_offset, pfns, pages, zero, codec,
                                  stored if codec else 0))
        self.next_record(L.ALIGNED_PAGE_DATA, length)
        return self.v2_batch(pfns, contents, data)

    def batch_codec(self, flags: int, pages: int, stored: int) -> int:
        """How a batch is compressed, if that can be (spec 3.2.1)."""
        codec = flags & L.BATCH_CODEC
        if flags & ~L.BATCH_CODEC or codec not in codecs.NAMES:
            raise self.refuse(f"reserved batch flags 0x{flags:x}")
        least = 1 if codec else L.PAGE * pages
        most = L.PAGE * (pages - 1) if codec else L.PAGE * pages
        if not least <= stored <= most:
            raise self.refuse(f"{stored} octets for {pages} pages, "
                              f"compression {codecs.NAMES[codec]}; "
                              "the length does not fit")
        if codec and not (self.header.mandatory_features
                          & codecs.MANDATORY[codec]):
            raise self.refuse(f"a batch with compression "
                              f"{codecs.NAMES[codec]}, which the header "
                              "does not announce")
        return codec

    @staticmethod
    def v2_batch(pfns: tuple, contents: int, data: bytes) -> bytes:
        count = len(pfns)
        parts = [L.RECORD_HEADER.pack(
                     L.PAGE_DATA, 8 + 8 * count + L.PAGE * contents),
                 L.PAGE_DATA_HEADER.pack(count, 0),
                 struct.pack(f"<{count}Q",
                             *(pfn & ~L.PFN_ZERO for pfn in pfns))]
        at = 0
        for pfn in pfns:
            if pfn & L.PFN_ZERO:
                parts.append(L.ZERO_PAGE)
            elif L.has_contents(pfn):
                parts.append(data[at:at + L.PAGE])
                at += L.PAGE
        return b"".join(parts)

    def xensave_index(self, length: int) -> None:
        if length < 16 or (length - 16) % L.INDEX_ENTRY.size:
            raise self.refuse(f"ALIGNED_INDEX of length {length}")
        body = self.body(L.ALIGNED_INDEX, length)   # a multiple of 8
        entries, reserved, checksum = L.INDEX_HEADER.unpack_from(body)
        if length != 16 + L.INDEX_ENTRY.size * entries:
            raise self.refuse(f"ALIGNED_INDEX of length {length} with "
                              f"{entries} entries")
        if reserved:
            raise self.refuse("reserved field of ALIGNED_INDEX is not zero")
        header = L.RECORD_HEADER.pack(L.ALIGNED_INDEX, length)
        if xxh3(header + body[:8] + bytes(8) + body[16:]) != checksum:
            raise self.refuse("checksum of ALIGNED_INDEX does not match")
        self.check.update(body[8:16])
        self.index_offset = self.at - self.start
        self.observer.index(self.at,
                            list(L.INDEX_ENTRY.iter_unpack(body[16:])))
        self.next_record(L.ALIGNED_INDEX, length)

    def xensave_check(self, length: int) -> None:
        if length != 40:
            raise self.refuse(f"ALIGNED_CHECK of length {length}")
        body = self.source.read(40, "ALIGNED_CHECK")
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


def feature_names(bits: int) -> str:
    return ", ".join(L.MANDATORY_NAMES.get(bit, f"bit {bit}")
                     for bit in range(64) if bits >> bit & 1)


def decode(stream: bytes, start: int = 0, **options) -> bytes:
    """The v2 stream; `stream` begins at its image header."""
    return b"".join(Decoder(io.BytesIO(stream), start, **options))


def decode_some(stream: bytes, start: int = 0, **options) -> tuple:
    """(octets handed out, StreamError or None)."""
    parts = []
    try:
        for part in Decoder(io.BytesIO(stream), start, **options):
            parts.append(part)
    except StreamError as error:
        return b"".join(parts), error
    return b"".join(parts), None
