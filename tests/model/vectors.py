#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The golden vectors of docs/spec/vectors: written and read here.

/usr/bin/python3 -m model.vectors DIRECTORY   writes them all
"""
import struct
import sys
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Iterator

from . import codecs
from . import layout as L
from . import savefile
from .encoder import commit, encode, header_record
from .generator import domain_header, image_header, page_data
from .mutate import Sealed
from .records import STREAM_HEADERS, StreamError, record, walk

DIRECTORY = Path(__file__).parents[2] / "docs" / "spec" / "vectors"
XALLOC, XTAB, BROKEN, L4_PINNED = 0xe << 60, 0xf << 60, 0xd << 60, 0xc << 60


# -- the text form ----------------------------------------------------------

@dataclass
class Vector:
    """One file: a whole save file, or a head of nothing and a stream."""
    name: str
    format: str
    start: int                      # file offset of the stream
    data: bytes
    refused: str = ""               # part of the reason, if it must be

    @property
    def filename(self) -> str:
        return f"{self.name}.{self.format}.hex"


def hex_lines(data: bytes) -> list:
    """Octets, 8 a line; 32 or more equal ones as `HH x N`."""
    lines, at = [], 0
    while at < len(data):
        run = at
        while run < len(data) and data[run] == data[at]:
            run += 1
        if run - at >= 32:
            lines.append(f"{data[at]:02x} x {run - at}")
            at = run
            continue
        end = min(at + 8, len(data))
        for later in range(at + 1, end):
            if data[later:later + 32] == data[later:later + 1] * 32:
                end = later
                break
        lines.append(data[at:end].hex(" "))
        at = end
    return lines


def dump(vector: Vector, about: str) -> str:
    lines = [*textwrap.wrap(about, 76, initial_indent="# ",
                            subsequent_indent="# "),
             "#", f"{'# octets':<26}# file offset, field",
             f"%format {vector.format}", f"%start {vector.start}"]
    if vector.refused:
        lines.append(f"%refused {vector.refused}")
    at = 0
    for length, label in annotate(vector.data, vector.start):
        if label.startswith("=="):
            lines.append(f"\n# {label.strip('= ')}")
            continue
        where = f"# {at}, {label}"
        for line in hex_lines(vector.data[at:at + length]):
            lines.append(f"{line:<26}{where}".rstrip())
            where = ""
        at += length
    if at != len(vector.data):
        raise AssertionError(f"{at} of {len(vector.data)} octets labelled")
    return "\n".join(lines) + "\n"


def load(path: Path) -> Vector:
    name, format_, _ = path.name.rsplit(".", 2)
    keys, data = {}, bytearray()
    for line in path.read_text().splitlines():
        if line.startswith("%"):
            key, _, value = line[1:].partition(" ")
            keys[key] = value
            continue
        line = line.partition("#")[0]
        octet, times, count = line.partition(" x ")
        data += (bytes.fromhex(octet) * int(count) if times
                 else bytes.fromhex(line))
    if keys["format"] != format_:
        raise ValueError(f"{path}: %format is {keys['format']}")
    return Vector(name, format_, int(keys["start"]), bytes(data),
                  keys.get("refused", ""))


def load_all(directory: Path = DIRECTORY) -> list:
    return [load(path) for path in sorted(directory.glob("*.hex"))]


# -- labels: [(length, text)], "== text" for a heading ----------------------

def annotate(data: bytes, start: int) -> Iterator[tuple]:
    yield from label_head(data, start)
    yield 0, "== image header"
    for length, label in ((8, "marker"), (4, "id (big-endian)"),
                          (4, "version (big-endian)"),
                          (2, "options (big-endian)"), (6, "reserved")):
        yield length, label
    yield 0, "== domain header"
    for length, label in ((4, "type"), (2, "page_shift"), (2, "reserved"),
                          (4, "xen_major"), (4, "xen_minor")):
        yield length, label
    end = start + STREAM_HEADERS
    try:
        for r in walk(data[start:]):
            yield 0, f"== {L.name(r.type)} at stream offset {r.offset}"
            yield from label_record(r.type, r.body, r.padding)
            end = start + r.offset + len(r.raw)
    except StreamError:
        yield 0, f"== the file ends at {len(data)}"
        yield len(data) - end, "part of a record"
        return
    at = end
    names = {0: "libxl END", 2: "EMULATOR_XENSTORE_DATA",
             3: "EMULATOR_CONTEXT"}
    while at < len(data):
        type_, length = L.RECORD_HEADER.unpack_from(data, at)
        yield 0, f"== tail: {names[type_]}"
        yield 4, "type"
        yield 4, f"length = {length}"
        if length:
            yield 8, "emulator id, index"
            yield length - 8, "body"
        if length % 8:
            yield -length % 8, "record padding"
        at += 8 + L.padded(length)


def label_head(data: bytes, start: int) -> Iterator[tuple]:
    if not data.startswith(savefile.XL_MAGIC):
        if start:
            yield 0, "== head of another toolstack"
            yield start, "head"
        return
    head = savefile.parse_head(data)
    yield 0, "== head: header of xl"
    yield 32, "magic"
    yield 4, "byteorder"
    yield 4, "mandatory_flags"
    yield 4, "optional_flags"
    yield 4, f"optional_data_len = {head.libxl_offset - 48}"
    yield 4, f"length of the configuration = {len(head.config) + 1}"
    yield len(head.config) + 1, "configuration, NUL-terminated"
    if head.spare:
        yield head.spare, f"head padding ({head.spare})"
    yield 0, "== head: libxl header and LIBXC_CONTEXT"
    yield 8, "ident (big-endian)"
    yield 4, "version (big-endian)"
    yield 4, "options (big-endian)"
    yield 8, "LIBXC_CONTEXT, length 0"


def label_record(type_: int, body: bytes, padding: bytes) -> Iterator[tuple]:
    yield 4, "type"
    yield 4, f"length = {len(body)}"
    label = {L.PAGE_DATA: label_page_data, L.PADDING: label_padding,
             L.ALIGNED_HEADER: label_header, L.ALIGNED_INDEX: label_index,
             L.ALIGNED_PAGE_DATA: label_batch,
             L.ALIGNED_CHECK: label_check}.get(type_)
    if label:
        yield from label(body)
    elif body:
        yield len(body), "body"
    if padding:
        yield len(padding), "record padding"


def label_header(body: bytes) -> Iterator[tuple]:
    header = L.AlignedHeader.unpack(body)
    for f in fields(header):
        value = getattr(header, f.name)
        length = 4 if f.name in ("version", "min_reader_version",
                                 "alignment", "state") else 8
        if f.name == "magic" or f.name.endswith("checksum"):
            yield length, f.name
        elif f.name == "state":
            yield length, f"state = {L.STATE_NAMES[value]}"
        else:
            yield length, f"{f.name} = {value}"


def pfn_label(number: int, pfn: int) -> str:
    types = {0xd: "BROKEN", 0xe: "XALLOC", 0xf: "XTAB"}
    type_ = types.get(pfn >> 60, f"type {pfn >> 60:x}")
    zero = ", ZERO" if pfn & L.PFN_ZERO else ""
    return f"pfn[{number}] = 0x{pfn & L.PFN_MASK:x}, {type_}{zero}"


def label_pfns(body: bytes, at: int, count: int) -> Iterator[tuple]:
    for number in range(count):
        pfn, = struct.unpack_from("<Q", body, at + 8 * number)
        yield 8, pfn_label(number, pfn)


def label_pages(count: int) -> Iterator[tuple]:
    for number in range(count):
        yield L.PAGE, f"contents of page {number}"


def label_page_data(body: bytes) -> Iterator[tuple]:
    count, reserved = struct.unpack_from("<II", body)
    yield 4, f"count = {count}"
    yield 4, f"reserved = {reserved}"
    count = min(count, (len(body) - 8) // 8)
    yield from label_pfns(body, 8, count)
    rest = len(body) - 8 - 8 * count
    yield from label_pages(rest // L.PAGE)
    if rest % L.PAGE:
        yield rest % L.PAGE, "octets that fit no page"


def label_batch(body: bytes) -> Iterator[tuple]:
    count, pages, pad, flags = struct.unpack_from("<IIII", body)
    yield 4, f"count = {count}"
    yield 4, f"pages = {pages}"
    yield 4, f"pad_length = {pad}"
    yield 4, f"flags = {codecs.NAMES[flags]}" if flags else "flags"
    yield 8, "checksum"
    yield from label_pfns(body, 24, count)
    if pad:
        yield pad, "padding"
    if flags:
        yield (len(body) - 24 - 8 * count - pad,
               f"contents of {pages} pages, {codecs.NAMES[flags]}")
    else:
        yield from label_pages(pages)


def label_padding(body: bytes) -> Iterator[tuple]:
    kind, head_padding = struct.unpack_from("<II", body, 8)
    yield 8, "magic"
    yield 4, f"kind = {kind}, {('START', 'BATCH')[kind - 1]}"
    yield 4, f"head_padding = {head_padding}"
    yield 8, "checksum"
    if len(body) > 24:
        yield len(body) - 24, "zeros"


def label_index(body: bytes) -> Iterator[tuple]:
    entries, = struct.unpack_from("<I", body)
    yield 4, f"entries = {entries}"
    yield 4, "reserved"
    yield 8, "checksum"
    for number in range(entries):
        values = L.INDEX_ENTRY.unpack_from(body, 16 + 40 * number)
        for (name, length), value in zip(
                (("offset", 8), ("first_pfn", 8), ("last_pfn", 8),
                 ("count", 4), ("pages", 4), ("page_offset", 8)), values):
            yield length, f"entry[{number}].{name} = {value}"


def label_check(body: bytes) -> Iterator[tuple]:
    values = L.CHECK_BODY.unpack(body)
    for name, value in zip(("batches", "pages_stored", "pages_zero",
                            "records"), values):
        yield 8, f"{name} = {value}"
    yield 8, "checksum"


# -- the vectors ------------------------------------------------------------

@dataclass
class Case:
    name: str
    about: str
    v2: bytes
    head: bytes = b""
    tail: bytes = b""
    config: bytes = b""             # instead of `head`: a file of xl's
    formats: tuple = ("v2", "v3", "compat")
    state: int = L.UNFINISHED       # committed if this
    codec: int = codecs.NONE

    def file(self, format_: str) -> Vector:
        if self.config:
            data = savefile.build(self.v2, self.config, self.tail, format_)
            start = savefile.parse_head(data).stream_start
            return Vector(self.name, format_, start, data)
        options = {}
        if format_ == "v3":
            options = {"state": self.state, "codec": self.codec,
                       "pack": codecs.SIMPLE.get(self.codec)}
        start = len(self.head)
        data = (self.head + encode(self.v2, format_, start, **options)
                + self.tail)
        if format_ == "v3" and self.state == L.UNFINISHED:
            data = commit(data, start)
        return Vector(self.name, format_, start, data)


def page(octet: int) -> bytes:
    return bytes([octet]) * L.PAGE


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


def packable() -> bytes:
    return stream(
        2, record(0x10),
        page_data([0x0, 0x1, XTAB | 0x2, 0x3, 0x4],
                  [page(0xf0), page(0xf1), page(0), page(0xf1)]),
        page_data([0x5], [page(0xf2)]),
        page_data([0x6, 0x7], [page(0xf3), page(0xf3)]))


def cases() -> list:
    hvm = hvm_two_batches()
    odd_length = page_data([0x9], [page(0xd1)])[8:] + b"more"
    return [
        Case("pv-minimal", "A PV stream of one batch of three pages, one of "
             "them a pinned page table.", pv_minimal()),
        Case("hvm-zero-and-stored", "Stored, zero and absent pages in one "
             "batch; then a batch of zero pages only.", hvm),
        Case("no-contents", "A batch without any page: no padding, no index "
             "entry.", stream(
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
             "fit. No index.", stream(
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
        Case("xl-file", "A whole save file of xl's: configuration, stream, "
             "HVM tail. The stream start is not a multiple of 8; compat "
             "pads the head.", hvm,
             tail=savefile.hvm_tail(b"a\0b\0", b"qemu state"),
             config=b'{"c_info":{"name":"demo"}}'),
        Case("pipe", "Written to something without offsets: state STREAMED, "
             "all totals zero.", pv_minimal(), formats=("v3",),
             state=L.STREAMED),
        Case("packed-lz4", "Two batches compressed with LZ4, their contents "
             "of any length, and one between them that is too small for it.",
             packable(), formats=("v2", "v3"), codec=codecs.LZ4),
        Case("packed-zstd", "The same with Zstandard.", packable(),
             formats=("v2", "v3"), codec=codecs.ZSTD),
        Case("empty", "No record but END: an index without entries.",
             stream(1)),
    ]


# A later copy of a page of pv_minimal, with a reserved field that is not 0.
LEFT_ALONE = record(L.PAGE_DATA, struct.pack("<IIQ", 1, 1, 0x10) + page(0xff))


def before_refusal(name: str) -> bytes:
    """The v2 stream that a refused vector was made from."""
    if "packed" in name:
        return packable()
    v2 = pv_minimal()
    if "index-with" in name:
        return v2[:-8] + LEFT_ALONE + v2[-8:]
    return v2


def refused() -> list:
    """[(Vector, what it shows)] of v3 and compat streams to refuse."""
    good = commit(encode(pv_minimal(), "v3"), 0)
    compat = encode(pv_minimal(), "compat")
    result = []

    def add(name: str, about: str, data: bytes, reason: str) -> None:
        format_ = "compat" if name.startswith("compat") else "v3"
        result.append((Vector(f"refused-{name}", format_, 0, data, reason),
                       about))

    def header(**changes) -> bytes:
        h = L.AlignedHeader.unpack(good[48:168])
        for name, value in changes.items():
            setattr(h, name, value)
        return good[:40] + header_record(h) + good[168:]

    def packed(codec: int, change) -> bytes:
        s = Sealed(commit(encode(packable(), "v3", codec=codec,
                                 pack=codecs.SIMPLE[codec]), 0))
        change(s, s.records[s.find(L.ALIGNED_PAGE_DATA)[0]][1])
        return s.seal()

    def one_less(s: Sealed, body: bytearray) -> None:
        pages = (page(0xf0) + 2 * page(0xf1))[:-1]
        at = 24 + 8 * 5 + struct.unpack_from("<I", body, 8)[0]
        body[at:] = codecs.SIMPLE[body[12]](pages)

    def not_announced(s: Sealed, body: bytearray) -> None:
        s.records[0][1][16:24] = L.U64.pack(codecs.MANDATORY[codecs.ZSTD])

    def batch(offset: int, value: bytes) -> bytes:
        s = Sealed(good)
        n, = s.find(L.ALIGNED_PAGE_DATA)
        s.records[n][1][offset:offset + len(value)] = value
        return s.seal()

    def left_alone() -> bytes:
        s = Sealed(good)
        n, = s.find(L.ALIGNED_INDEX)
        s.records.insert(n, [L.PAGE_DATA, bytearray(LEFT_ALONE[8:])])
        return s.seal()

    add("unfinished", "The writer stopped before the commit.",
        encode(pv_minimal(), "v3"), "UNFINISHED")
    add("mandatory-feature", "A mandatory feature that no reader of this "
        "version has: bit 5, and ZSTD, which it has.",
        header(mandatory_features=0x22), "bit 5")
    add("newer-reader", "A stream that needs a reader of version 4.",
        header(version=4, min_reader_version=4), "version 4")
    add("batch-checksum", "One bit of a page differs.",
        good[:4096] + b"\xa0" + good[4097:], "checksum")
    add("batch-padding", "One octet of the padding before the pages is not "
        "zero; every checksum is right.", batch(48, b"\1"), "zero")
    add("zero-without-contents", "ZERO on a pfn of type XTAB.",
        batch(24, L.U64.pack(XTAB | L.PFN_ZERO | 0x10)), "ZERO")
    add("no-check", "END without ALIGNED_CHECK.", good[:-56] + record(L.END),
        "ALIGNED_CHECK")
    add("index-with-page-data", "An index, and a PAGE_DATA that was left as "
        "it is, with a later copy of a page; every checksum is right.",
        left_alone(), "ALIGNED_INDEX in a stream with")
    add("cut", "The file ends before END.", good[:-8], "end of file")
    add("packed-size-lz4", "A batch that decompresses to an octet less than "
        "its pages; every checksum is right.", packed(codecs.LZ4, one_less),
        "does not decompress")
    add("packed-size-zstd", "The same with Zstandard.",
        packed(codecs.ZSTD, one_less), "does not decompress")
    add("packed-not-announced", "A batch compressed with LZ4 where the "
        "header announces ZSTD.", packed(codecs.LZ4, not_announced),
        "does not announce")
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
