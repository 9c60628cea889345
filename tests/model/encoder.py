# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reference encoder: v2 octets in, v3 or compat out, and the commit.

It holds everything in memory and is meant to be read beside the spec.
"""
import struct
from typing import Callable, Optional

from . import codecs
from . import layout as L
from .decoder import Batch
from .records import STREAM_HEADERS, PageData, StreamError, page_data
from .records import record, walk
from .xxh3 import Hash, xxh3


def header_record(header: L.AlignedHeader) -> bytes:
    header.header_checksum = 0
    header.header_checksum = xxh3(record(L.ALIGNED_HEADER, header.pack()))
    return record(L.ALIGNED_HEADER, header.pack())


def index_record(entries: list) -> bytes:
    tail = b"".join(L.INDEX_ENTRY.pack(*entry) for entry in entries)
    plain = record(L.ALIGNED_INDEX,
                   L.INDEX_HEADER.pack(len(entries), 0, 0) + tail)
    return record(L.ALIGNED_INDEX,
                  L.INDEX_HEADER.pack(len(entries), 0, xxh3(plain)) + tail)


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
        raise StreamError("octets behind END", end.offset + 8, len(records))
    return records


class V3Encoder:
    def __init__(self, start: int = 0, state: int = L.UNFINISHED,
                 alignment: int = 4096, keep_zero: bool = False,
                 codec: int = codecs.NONE,
                 pack: Optional[Callable[[bytes], bytes]] = None) -> None:
        self.start = start
        self.keep_zero = keep_zero
        self.codec = codec
        self.pack = pack or (lambda data: codecs.pack(codec, data))
        self.packed = False
        self.header = L.AlignedHeader(
            alignment=alignment, state=state, stream_start=start,
            mandatory_features=codecs.MANDATORY.get(codec, 0))
        self.out = bytearray()
        self.check = Hash()
        self.entries: list = []
        self.records = 0
        self.left_alone = False     # a PAGE_DATA: no index, spec 3.3

    def put(self, raw: bytes, covered: Optional[bytes] = None) -> None:
        """One record, and its octets that ALIGNED_CHECK covers."""
        self.out += raw
        self.check.update(raw if covered is None else covered)
        self.records += 1

    def encode(self, v2: bytes) -> bytes:
        records = checked_input(v2)
        self.out += v2[:STREAM_HEADERS]
        self.check.update(v2[:STREAM_HEADERS])
        self.put(header_record(self.header), b"")
        for r in records[:-1]:
            shape = page_data(r.body) if r.type == L.PAGE_DATA else None
            if shape:
                self.batch(shape, r.body[shape.pages_offset:])
            else:
                self.left_alone |= r.type == L.PAGE_DATA
                self.put(r.raw)
        index_offset = 0
        if not self.left_alone:
            index_offset = len(self.out)
            index = index_record(self.entries)
            self.put(index, index[16:24])
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
        array = struct.pack(f"<{len(pfns)}Q", *pfns)
        offset = self.start + len(self.out)
        unpadded = offset + 8 + 24 + len(array)
        pad = -unpadded % self.header.alignment if stored else 0
        pages = b"".join(stored)
        codec, contents = codecs.NONE, pages
        if self.codec and len(stored) > 1:
            packed = self.pack(pages)
            if len(packed) <= len(pages) - L.PAGE:
                codec, contents = self.codec, packed
                self.packed = True
        length = 24 + len(array) + pad + len(contents)
        record_header = L.RECORD_HEADER.pack(L.ALIGNED_PAGE_DATA, length)

        def fixed(checksum: int) -> bytes:
            return L.BATCH_HEADER.pack(len(pfns), len(stored), pad, codec,
                                       checksum)

        checksum = xxh3(contents + record_header + fixed(0) + array)
        self.put(record(L.ALIGNED_PAGE_DATA,
                        fixed(checksum) + array + bytes(pad) + contents),
                 L.U64.pack(checksum))
        zero = shape.contents - len(stored)
        self.header.batches += 1
        self.header.pages_stored += len(stored)
        self.header.pages_zero += zero
        entry = Batch(L.ALIGNED_PAGE_DATA, offset, unpadded + pad,
                      tuple(pfns), len(stored), zero).index_entry(self.start)
        if entry:
            self.entries.append(entry)

    def aligned_check(self) -> None:
        h = self.header
        body = struct.pack("<QQQQ", h.batches, h.pages_stored, h.pages_zero,
                           self.records)
        self.check.update(L.RECORD_HEADER.pack(L.ALIGNED_CHECK, 40) + body)
        self.out += record(L.ALIGNED_CHECK,
                           body + L.U64.pack(self.check.digest()))

    def finish(self, index_offset: int) -> None:
        """Step 3 of spec section 5."""
        self.header.stream_length = len(self.out)
        self.header.index_offset = index_offset
        if not index_offset:
            self.header.optional_features = 0
        if not self.packed:
            self.header.mandatory_features = 0
        raw = header_record(self.header)
        self.out[STREAM_HEADERS:STREAM_HEADERS + len(raw)] = raw


def encode_v3(v2: bytes, start: int = 0, **options) -> bytes:
    return V3Encoder(start, **options).encode(v2)


def encode_compat(v2: bytes, start: int = 0, head_padding: int = 0) -> bytes:
    if start % 8:
        raise ValueError("compat needs a stream start that is a multiple "
                         f"of 8, not {start}")
    out = bytearray(v2[:STREAM_HEADERS])
    out += padding_start(head_padding)
    for r in checked_input(v2):
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
    at = start + STREAM_HEADERS
    header = L.AlignedHeader.unpack(file[at + 8:at + 128])
    if header.state != L.UNFINISHED or not header.stream_length:
        raise ValueError("only a finished stream can be committed")
    header.state = L.COMPLETE
    header.file_length = len(file)
    header.head_checksum = xxh3(file[:start])
    header.tail_checksum = xxh3(file[start + header.stream_length:])
    return file[:at] + header_record(header) + file[at + 128:]


def commit_stream(stream: bytes, start: int = 0) -> bytes:
    """The same for a stream on its own: a head of NULs and no tail."""
    return commit(bytes(start) + stream, start)[start:]
