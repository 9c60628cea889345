#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden vectors of docs/spec/vectors: written and read here.

/usr/bin/python3 -m model.vectors DIRECTORY   writes them all
"""
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from . import codecs
from . import layout as L
from . import savefile
from .batch import Batch
from .encoder import commit, encode
from .generator import domain_header, image_header, page_data
from .header import with_header
from .mutate import Sealed
from .records import STREAM_HEADERS, record, walk
from .vector_text import Vector, dump

XALLOC, XTAB, BROKEN, L4_PINNED = 0xe << 60, 0xf << 60, 0xd << 60, 0xc << 60


def file_id(name: str) -> bytes:
    """Fixed, and another one for every vector: the end of its name."""
    return name.encode()[-16:].rjust(16, b"-")


@dataclass
class Case:
    name: str
    about: str
    v2: bytes
    head: bytes = b""
    tail: bytes = b""
    config: bytes = b""             # instead of `head`: a file of xl's
    formats: tuple = ("v2", "v3", "compat")
    form: str = ""                  # the name of the v2 form, if another
    options: dict = field(default_factory=dict)     # of the v3 encoder
    optional: tuple = ()            # records, one before each of the v2's
    fields: dict = field(default_factory=dict)      # of the header

    def file(self, format_: str) -> Vector:
        options: dict = {}
        if format_ == "v3":
            options = {"file_id": file_id(self.name), **self.options}
        if self.optional and format_ != "v2":
            records = iter(self.optional)
            options["optional"] = lambda: [r for r in [next(records, b"")]
                                           if r]
        if self.config:
            data = savefile.build(self.v2, self.config, self.tail, format_,
                                  **options)
            start = savefile.parse_head(data).stream_start
            return Vector(self.name, format_, start, data)
        start = len(self.head)
        data = (self.head + encode(self.v2, format_, start, **options)
                + self.tail)
        if self.fields:
            data = self.head + with_header(data[start:], **self.fields)
        if format_ == "v3" and "state" not in options:
            data = commit(data, start)
        return Vector(self.name, format_, start, data, v2=self.form)


def page(byte: int) -> bytes:
    return bytes([byte]) * L.PAGE


def stream(type_: int, *records: bytes) -> bytes:
    return (image_header() + domain_header(type_) + b"".join(records)
            + record(L.END))


def pv_minimal() -> bytes:
    return stream(
        1, record(0x2, bytes((8, 4)) + bytes(6)), record(0x10),
        page_data([0x10, L4_PINNED | 0x11, 0x12],
                  [page(0xa1), page(0xa2), page(0xa3)]),
        record(0x8, struct.pack("<IIQII", 0, 2400000, 12345678, 1, 0)),
        record(0x4, struct.pack("<II", 0, 0) + b"vcpu!"))


def hvm_two_batches() -> bytes:
    return stream(
        2, record(0x10),
        page_data([0x0, 0x1, XTAB | 0x2, 0x3],
                  [page(0xb0), page(0), page(0xb3)]),
        page_data([0x4, 0x5], [page(0), page(0)]),
        record(0x9, b"hvm context" * 3))


def five_pages() -> bytes:
    return stream(
        2, record(0x10),
        page_data([0x0, 0x1, XTAB | 0x2, 0x3, 0x4, 0x5, 0x6],
                  [page(0xb1), page(0), *map(page, range(0xb2, 0xb6))]))


def two_batches() -> bytes:
    return stream(2, record(0x10),
                  page_data([0x0, 0x1], [page(0xb6), page(0xb7)]),
                  page_data([0x8, 0x9], [page(0xb8), page(0xb9)]))


def packable() -> bytes:
    return stream(
        2, record(0x10),
        page_data([0x0, 0x1, XTAB | 0x2, 0x3, 0x4],
                  [page(0xf0), page(0xf1), page(0), page(0xf1)]),
        page_data([0x5], [page(0xf2)]),
        page_data([0x6, 0x7, 0x8, 0x9],
                  [page(0xf3), page(0xf3), page(PLAIN), page(PLAIN)]))


PLAIN = 0xf4                        # a page that the vectors never compress


def packing(codec: int, frame_pages: int) -> dict:
    def pack(frame: bytes) -> bytes:
        return frame if frame[0] == PLAIN else codecs.SIMPLE[codec](frame)

    return {"codec": codec, "frame_pages": frame_pages, "pack": pack}


IDENTITY = {
    "uuid": "6f2d1a3e-0000-4000-8000-00000000002a", "name": "dömö",
    "host": "dom0.example", "xen": "4.20.0", "writer": "vectors 1",
    "time": "2026-01-02T03:04:05Z", "memory_kib": "262144", "vcpus": "2",
    "guest": "pv", "kind": "checkpoint", "parent": "00" * 15 + "2a",
    "a_key_that_nobody_knows": ""}
# Of our range and not of this version: skipped.
UNKNOWN = (record(0xc14c0007), record(0xc14cffff, b"five!"),
           b"", record(0xc14c0000, b"12345678"), b"",
           record(0xc14c0007, bytes(24)))


def cases() -> list:
    hvm = hvm_two_batches()
    odd_length = page_data([0x9], [page(0xd1)])[8:] + b"more"

    def other(name: str, about: str, v2: bytes, form: str, **kwargs) -> Case:
        return Case(name, about, v2, formats=("v3",), form=form, **kwargs)

    return [
        Case("pv-minimal", "A PV stream of one batch of three pages, one of "
             "them a pinned page table.", pv_minimal()),
        Case("hvm-zero-and-stored", "Stored, zero and absent pages in one "
             "batch; then a batch of zero pages only.", hvm),
        Case("no-contents", "A batch without any page: no frame, no padding; "
             "its index entry has no pfns.", stream(
                 2, record(0x10),
                 page_data([XTAB | 0x100, XALLOC | 0x101, BROKEN | 0x102],
                           []))),
        Case("odd-start", "The stream start is 3 beyond a multiple of 8: no "
             "compat form; ALIGNED_PAGE_DATA has record padding.",
             pv_minimal(), head=b"toolstack: ", formats=("v2", "v3")),
        Case("live-duplicates", "A running domain: pfn 0x20 is sent twice, "
             "and the last one wins; pfn 0x21 ends as zero.", stream(
                 2, record(0x10),
                 page_data([0x20, 0x21], [page(0xc1), page(0xc2)]),
                 page_data([0x20], [page(0xc3)]),
                 page_data([0x21], [page(0)]))),
        Case("odd-page-data", "PAGE_DATA that is left as it is (spec 3.3): "
             "count 0; reserved 1; bit 52 of a pfn; a length that does not "
             "fit. The index lists them as records.", stream(
                 2, record(0x10), record(L.PAGE_DATA, bytes(8)),
                 record(L.PAGE_DATA, struct.pack("<IIQ", 1, 1, XTAB | 5)),
                 record(L.PAGE_DATA, struct.pack(
                     "<IIQ", 1, 0, XTAB | L.PFN_ZERO | 6)),
                 record(L.PAGE_DATA, odd_length),
                 page_data([0xa], [page(0xd2)]))),
        Case("optional-records", "Optional records of others stay in place; "
             "one between two batches.", stream(
                 2, record(0x10), record(0x80000100, b"of another"),
                 page_data([0x1], [page(0xe1)]),
                 record(0xc14b0001, b"not ours either"),
                 page_data([0x2], [page(0xe2)]))),
        Case("unknown-optional", "Optional records of our range that no "
             "reader of this version knows: directly after the first record, "
             "between others, before the index; skipped.", pv_minimal(),
             formats=("v3", "compat"), form="pv-minimal", optional=UNKNOWN),
        other("longer-header", "A header with 16 octets more, of version 4 "
              "for readers of version 3, and an optional feature that "
              "nobody knows.", pv_minimal(), "pv-minimal",
              options={"later": b"of the next year"},
              fields={"version": 4, "optional_features": 1 << 63 | 1}),
        other("identity", "ALIGNED_IDENTITY with every key, an unknown one "
              "and a name in UTF-8. (The other vectors have none.)",
              pv_minimal(), "pv-minimal", options={"identity": IDENTITY}),
        other("no-index", "An index is optional.", hvm,
              "hvm-zero-and-stored", options={"index": False}),
        Case("frames-4", "Five stored pages in frames of four pages.",
             five_pages(), formats=("v2", "v3")),
        other("frames-1", "The same in frames of one page.", five_pages(),
              "frames-4", options={"frame_pages": 1}),
        other("frames-2", "The same in frames of two pages.", five_pages(),
              "frames-4", options={"frame_pages": 2}),
        other("frames-1024", "The same in one frame.", five_pages(),
              "frames-4", options={"frame_pages": 1024}),
        Case("two-batches", "Two batches of two pages.", two_batches(),
             formats=("v2", "v3")),
        Case("xl-file", "A whole save file of xl's: configuration, stream, "
             "HVM tail. The stream start is not a multiple of 8; compat "
             "pads the head.", hvm,
             tail=savefile.hvm_tail(b"a\0b\0", b"qemu state"),
             config=b'{"c_info":{"name":"demo"}}'),
        other("pipe", "Written to something without offsets: state STREAMED, "
              "all totals zero.", pv_minimal(), "pv-minimal",
              options={"state": L.STREAMED}),
        Case("packed-lz4", "Two batches compressed with LZ4 in frames of two "
             "pages, one frame of them stored as it is, and a batch between "
             "them that is too small for it.", packable(),
             formats=("v2", "v3"), options=packing(codecs.LZ4, 2)),
        Case("packed-zstd", "The same with Zstandard.", packable(),
             formats=("v2", "v3"), options=packing(codecs.ZSTD, 2)),
        other("packed-zstd-1", "The same in frames of one page.", packable(),
              "packed-zstd", options=packing(codecs.ZSTD, 1)),
        Case("empty", "No record but END: an index without entries.",
             stream(1)),
    ]


def refused() -> list:
    """[(Vector, what it shows)] of v3 and compat streams to refuse."""
    made = {c.name: c.file("v3").data for c in cases()}
    good, two = made["pv-minimal"], made["two-batches"]
    compat = encode(pv_minimal(), "compat")
    result = []

    def add(name: str, about: str, data: bytes, reason: str,
            v2: str = "pv-minimal") -> None:
        format_ = "compat" if name.startswith("compat") else "v3"
        result.append((Vector(f"refused-{name}", format_, 0, data, reason,
                              v2), about))

    def changed(data: bytes, change, **seal) -> bytes:
        s = Sealed(data)
        change(s)
        return s.seal(**seal)

    def batch(data: bytes, offset: int, value: bytes, **seal) -> bytes:
        def change(s: Sealed) -> None:
            body = s.records[s.find(L.ALIGNED_PAGE_DATA)[0]][1]
            body[offset:offset + len(value)] = value
        return changed(data, change, **seal)

    def insert(number: int, type_: int, body: bytes) -> bytes:
        return changed(good, lambda s: s.records.insert(
            number, [type_, bytearray(body)]))

    def one_less(s: Sealed) -> None:
        """The first frame of the first batch gives a byte less."""
        body = s.records[s.find(L.ALIGNED_PAGE_DATA)[0]][1]
        b = Batch.unpack(len(body), body[:40])
        ends = 40 + 8 * b.count + 8 * b.frames
        at = 40 + b.table_length + b.pad_length
        end, = struct.unpack_from("<I", body, ends)
        frame = codecs.SIMPLE[b.codec]((page(0xf0) + page(0xf1))[:-1])
        body[at:at + end] = frame
        for number in range(b.frames):
            old, = struct.unpack_from("<I", body, ends + 4 * number)
            struct.pack_into("<I", body, ends + 4 * number,
                             old + len(frame) - end)

    def not_announced(s: Sealed) -> None:
        s.records[0][1][16:24] = L.U64.pack(codecs.MANDATORY[codecs.ZSTD])

    def of_another(s: Sealed) -> None:
        other = Sealed(commit(encode(pv_minimal(), "v3",
                                     file_id=file_id("another")), 0))
        n, = s.find(L.ALIGNED_PAGE_DATA)
        s.records[n] = other.records[n]

    def exchanged(s: Sealed) -> None:
        a, b = s.find(L.ALIGNED_PAGE_DATA)
        s.records[a], s.records[b] = s.records[b], s.records[a]

    def index(offset: int, value: bytes) -> bytes:
        def change(s: Sealed) -> None:
            body = s.records[s.find(L.ALIGNED_INDEX)[0]][1]
            body[offset:offset + len(value)] = value
        return changed(good, change, index=False)

    def shorter(s: Sealed) -> None:
        """The index without its last entry, of a record."""
        body = s.records[s.find(L.ALIGNED_INDEX)[0]][1]
        body[4:8] = struct.pack("<I", struct.unpack_from("<I", body, 4)[0]
                                - 1)
        del body[-L.INDEX_RECORD.size:]

    frames = bytearray(made["frames-1"])
    at = frames.find(page(0xb1))
    frames[at:at + 2 * L.PAGE] = page(0xb2) + page(0xb1)
    pages = good.find(page(0xa1))
    pfns = good.find(L.U64.pack(L4_PINNED | 0x11)) - 8

    add("unfinished", "The writer stopped before the commit.",
        encode(pv_minimal(), "v3", file_id=file_id("pv-minimal")),
        "UNFINISHED")
    add("mandatory-feature", "A mandatory feature that no reader of this "
        "version has: bit 5, and ZSTD, which it has.",
        with_header(good, mandatory_features=0x22), "bit 5")
    add("newer-reader", "A stream that needs a reader of version 4.",
        with_header(good, version=4, min_reader_version=4), "version 4")
    add("mandatory-record", "A mandatory record of our range that no reader "
        "of this version knows; every checksum is right.",
        insert(3, 0x414c0007, b"12345678"), "0x414c0007")
    add("page-bit", "One bit of a page differs.",
        good[:pages] + b"\xa0" + good[pages + 1:], "checksum of a frame")
    add("pfn-bit", "One bit of a pfn differs.",
        good[:pfns] + b"\x11" + good[pfns + 1:], "contents checksum")
    add("batch-bit", "One bit of the length of the padding differs.",
        good[:pfns - 32] + bytes([good[pfns - 32] ^ 1]) + good[pfns - 31:],
        "checksum of a batch")
    add("other-stream", "The batch of another stream of the same guest in "
        "its place, index and ALIGNED_CHECK made to fit.",
        changed(good, of_another, keep=(3,)), "checksum of a batch")
    add("batch-number", "A batch that says it is the second; every checksum "
        "is right.", batch(good, 16, L.U64.pack(1), totals=False),
        "number 1")
    add("batches-swapped", "Two batches exchanged, index and ALIGNED_CHECK "
        "made to fit.", changed(two, exchanged, keep=(2, 3)), "number 1",
        "two-batches")
    add("frames-swapped", "Two frames of a batch exchanged.", bytes(frames),
        "checksum of a frame", "frames-4")
    add("frame-ends", "A frame that ends behind the next one; every checksum "
        "is right.", batch(made["frames-2"], 40 + 7 * 8 + 3 * 8,
                           struct.pack("<I", 5 * L.PAGE)), "a frame of",
        "frames-4")
    add("batch-padding", "One octet of the padding before the pages is not "
        "zero; every checksum is right.", batch(good, 80, b"\1"), "zero")
    add("zero-without-contents", "ZERO on a pfn of type XTAB.",
        batch(good, 40, L.U64.pack(XTAB | L.PFN_ZERO | 0x10)), "ZERO")
    add("index-pfns", "An entry of the index with another last_pfn than that "
        "of its batch; every checksum is right.",
        index(16 + 24, L.U64.pack(0x13)), "describe")
    add("index-gap", "An index without the entry of the last record; every "
        "checksum is right.", changed(good, shorter, index=False),
        "describe")
    add("identity-late", "ALIGNED_IDENTITY after another record.",
        insert(2, L.ALIGNED_IDENTITY, b"name=late\0"), "ALIGNED_IDENTITY")
    add("identity-key", "A key of ALIGNED_IDENTITY in capitals.",
        insert(1, L.ALIGNED_IDENTITY, b"Name=demo\0"), "key=value")
    add("no-check", "END without ALIGNED_CHECK.", good[:-56] + record(L.END),
        "ALIGNED_CHECK")
    add("cut", "The file ends before END.", good[:-8], "end of file")
    add("packed-size-lz4", "A frame that decompresses to an octet less than "
        "its pages; every checksum is right.",
        changed(made["packed-lz4"], one_less), "does not decompress",
        "packed-lz4")
    add("packed-size-zstd", "The same with Zstandard.",
        changed(made["packed-zstd"], one_less), "does not decompress",
        "packed-zstd")
    add("packed-not-announced", "A batch compressed with LZ4 where the "
        "header announces ZSTD.", changed(made["packed-lz4"], not_announced),
        "does not announce", "packed-lz4")
    add("compat-checksum", "One bit of a page differs.",
        compat[:4096] + b"\xa0" + compat[4097:], "checksum")
    add("compat-no-padding", "PAGE_DATA with pages, but without the PADDING "
        "of kind BATCH.", unpadded(compat), "without its PADDING")
    return result


def unpadded(compat: bytes) -> bytes:
    out = bytearray(compat[:STREAM_HEADERS])
    for number, r in enumerate(walk(compat)):
        if r.type != L.PADDING or number == 0:
            out += r.raw
    return bytes(out)


def write(directory: Path) -> list:
    written = []

    def put(vector: Vector, about: str) -> None:
        path = directory / vector.filename
        path.write_text(dump(vector, about))
        written.append(path)

    for case in cases():
        for format_ in case.formats:
            put(case.file(format_), case.about)
    for vector, about in refused():
        put(vector, about)
    return written


def main(arguments: list) -> int:
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    print(f"{len(write(directory))} vectors in {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
