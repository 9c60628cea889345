# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reference encoder: v2 bytes in, v3 or compat out, and the commit.

It holds everything in memory and is meant to be read beside the spec.
"""
import struct
from typing import Callable, Optional

from . import codecs
from . import layout as L
from .batch import Batch, divided
from .header import header_of, header_record, identity_body, with_header
from .index import batch_entry, index_record
from .records import STREAM_HEADERS, PageData, StreamError, page_data
from .records import record, walk
from .xxh3 import Hash, xxh3

FILE_ID = bytes(range(0xd0, 0xe0))  # where a test needs none of its own
FRAME_PAGES = 4


def padding_record(kind: int, length: int, head_padding: int = 0,
                   checksum: int = 0) -> bytes:
    body = L.PADDING_HEADER.pack(L.MAGIC, kind, head_padding, checksum)
    return record(L.PADDING, body + bytes(length - len(body)))


def padding_start(head_padding: int) -> bytes:
    blank = padding_record(L.PADDING_START, 24, head_padding)
    return padding_record(L.PADDING_START, 24, head_padding, xxh3(blank))


def checked_input(v2: bytes) -> list:
    """The records of a v2 stream that the formats can carry."""
    records = list(walk(v2))
    for number, r in enumerate(records):
        if L.is_ours(r.type):
            raise StreamError(f"{L.name(r.type)} in a v2 stream", r.offset,
                              number)
    end = records[-1]
    if end.body:
        raise StreamError("END with a body", end.offset, len(records) - 1)
    if end.offset + 8 != len(v2):
        raise StreamError("bytes behind END", end.offset + 8, len(records))
    return records


class V3Encoder:
    """`optional` gives raw records to put before the next one of the v2
    stream; `later` is what a longer header ends with."""

    def __init__(self, start: int = 0, state: int = L.UNFINISHED,
                 alignment: int = 4096, keep_zero: bool = False,
                 codec: int = codecs.NONE,
                 pack: Optional[Callable[[bytes], bytes]] = None,
                 file_id: bytes = FILE_ID, frame_pages: int = FRAME_PAGES,
                 identity=None, index: bool = True, later: bytes = b"",
                 optional: Callable[[], list] = list) -> None:
        self.start = start
        self.keep_zero = keep_zero
        self.codec = codec
        self.pack = pack or (lambda data: codecs.pack(codec, data))
        self.packed = False
        self.frame_pages = frame_pages
        self.identity = identity
        self.index = index
        self.optional = optional
        self.header = L.AlignedHeader(
            alignment=alignment, state=state, stream_start=start,
            file_id=file_id, later=later,
            optional_features=L.OPTIONAL_INDEX if index else 0,
            mandatory_features=codecs.MANDATORY.get(codec, 0))
        self.out = bytearray()
        self.check = Hash()
        self.batches: list = []
        self.others: list = []

    def put(self, raw: bytes) -> None:
        """A record that is not page data."""
        checksum = xxh3(self.header.file_id + raw)
        self.others.append((len(self.out),
                            *L.RECORD_HEADER.unpack_from(raw), checksum))
        self.check.update(L.U64.pack(checksum))
        self.out += raw

    def encode(self, v2: bytes) -> bytes:
        records = checked_input(v2)
        self.out += v2[:STREAM_HEADERS] + header_record(self.header)
        self.check.update(self.header.file_id + v2[:STREAM_HEADERS])
        if self.identity is not None:
            self.put(record(L.ALIGNED_IDENTITY,
                            identity_body(self.identity)))
        for r in records:
            for raw in self.optional():
                self.put(raw)
            if r.type == L.END:
                break
            shape = page_data(r.body) if r.type == L.PAGE_DATA else None
            if shape:
                self.batch(shape, r.body[shape.pages_offset:])
            else:
                self.put(r.raw)
        index_offset = 0
        if self.index:
            index_offset = len(self.out)
            index = index_record(self.header.file_id, self.batches,
                                 self.others)
            self.check.update(index[16:24])
            self.out += index
        self.aligned_check()
        self.out += record(L.END)
        if self.header.state == L.UNFINISHED:
            self.finish(index_offset)
        return bytes(self.out)

    def batch(self, shape: PageData, contents: bytes) -> None:
        pfns, stored = [], []
        at = 0
        for pfn in shape.pfns:
            if L.has_contents(pfn):
                page = contents[at:at + L.PAGE]
                at += L.PAGE
                if page == L.ZERO_PAGE and not self.keep_zero:
                    pfn |= L.PFN_ZERO
                else:
                    stored.append(page)
            pfns.append(pfn)
        codec, frames = self.frames(stored)
        ends = [sum(map(len, frames[:n + 1])) for n in range(len(frames))]
        array = struct.pack(f"<{len(pfns)}Q", *pfns)
        table = (array + struct.pack(f"<{len(frames)}Q", *map(xxh3, frames))
                 + struct.pack(f"<{len(frames)}I", *ends))
        offset = len(self.out)
        before = offset + 8 + L.BATCH_HEADER.size
        pad = self.pad(before + len(array), before + len(table),
                       shape.contents) if stored else 0
        b = Batch(L.BATCH_HEADER.size + len(table) + pad
                  + sum(map(len, frames)), len(pfns), len(stored), pad,
                  codec | (self.frame_pages.bit_length() - 1)
                  << L.BATCH_FRAME_SHIFT, len(self.batches), xxh3(table), 0)
        b.checksum = b.bound(self.header.file_id)
        self.check.update(L.U64.pack(b.checksum))
        self.out += record(L.ALIGNED_PAGE_DATA, b.fixed() + table
                           + bytes(pad) + b"".join(frames))
        self.batches.append(batch_entry(offset, before + len(table) + pad,
                                        b, tuple(pfns)))
        self.header.batches += 1
        self.header.pages_stored += len(stored)
        self.header.pages_zero += shape.contents - len(stored)

    def pad(self, table: int, end: int, contents: int) -> int:
        """Behind room for the frames of all pages with contents (3.2)."""
        alignment = self.header.alignment
        room = table + 12 * len(divided(contents, self.frame_pages))
        place = room + -(self.start + room) % alignment
        while place - end >= 2 * alignment:
            place -= alignment
        return place - end

    def frames(self, pages: list) -> tuple:
        """(codec, stored bytes of each frame)"""
        plain, at = [], 0
        for size in divided(len(pages), self.frame_pages):
            plain.append(b"".join(pages[at:at + size]))
            at += size
        if self.codec and len(pages) > 1:
            packed = [min(self.pack(frame), frame, key=len)
                      for frame in plain]
            if sum(map(len, packed)) <= L.PAGE * (len(pages) - 1):
                self.packed = True
                return self.codec, packed
        return codecs.NONE, plain

    def aligned_check(self) -> None:
        h = self.header
        body = struct.pack(
            "<QQQQ", h.batches, h.pages_stored, h.pages_zero,
            1 + len(self.batches) + len(self.others) + self.index)
        self.check.update(L.RECORD_HEADER.pack(L.ALIGNED_CHECK, 40) + body)
        self.out += record(L.ALIGNED_CHECK,
                           body + L.U64.pack(self.check.digest()))

    def finish(self, index_offset: int) -> None:
        """Step 3 of spec section 5."""
        self.header.stream_length = len(self.out)
        self.header.index_offset = index_offset
        if not self.packed:
            self.header.mandatory_features = 0
        self.out[:] = with_header(bytes(self.out), self.header)


def encode_v3(v2: bytes, start: int = 0, **options) -> bytes:
    return V3Encoder(start, **options).encode(v2)


def encode_compat(v2: bytes, start: int = 0, head_padding: int = 0,
                  optional: Callable[[], list] = list) -> bytes:
    if start % 8:
        raise ValueError("compat needs a stream start that is a multiple "
                         f"of 8, not {start}")
    out = bytearray(v2[:STREAM_HEADERS])
    out += padding_start(head_padding)
    for r in checked_input(v2):
        out += b"".join(optional())
        shape = page_data(r.body) if r.type == L.PAGE_DATA else None
        if shape and shape.contents:
            head = r.raw[:8 + shape.pages_offset]
            pages = r.raw[8 + shape.pages_offset:]
            fill = -(start + len(out) + 8 + 24 + len(head)) % L.PAGE
            out += padding_record(L.PADDING_BATCH, 24 + fill,
                                  checksum=xxh3(pages + head))
        out += r.raw
    return bytes(out)


def encode(v2: bytes, format_: str, start: int = 0, **options) -> bytes:
    if format_ == "v3":
        return encode_v3(v2, start, **options)
    if format_ == "compat":
        return encode_compat(v2, start, **options)
    return v2


def commit(file: bytes, start: int) -> bytes:
    """Step 5 of spec section 5, on a whole file whose tail is written."""
    header = header_of(file[start:])
    if header.state != L.UNFINISHED or not header.stream_length:
        raise ValueError("only a finished stream can be committed")
    return file[:start] + with_header(
        file[start:], header, state=L.COMPLETE, file_length=len(file),
        head_checksum=xxh3(file[:start]),
        tail_checksum=xxh3(file[start + header.stream_length:]))


def commit_stream(stream: bytes, start: int = 0) -> bytes:
    """The same for a stream on its own: a head of NULs and no tail."""
    return commit(bytes(start) + stream, start)[start:]
