# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text form of the golden vectors: written, labelled, read."""
import struct
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Iterator

from . import codecs
from . import layout as L
from . import savefile
from .batch import Batch
from .records import STREAM_HEADERS, StreamError, walk

DIRECTORY = Path(__file__).parents[2] / "docs" / "spec" / "vectors"


@dataclass
class Vector:
    """One file: a whole save file, or a head of nothing and a stream."""
    name: str
    format: str
    start: int                      # file offset of the stream
    data: bytes
    refused: str = ""               # part of the reason, if it must be
    v2: str = ""                    # name of its v2 form, if another

    @property
    def filename(self) -> str:
        return f"{self.name}.{self.format}.hex"


def hex_lines(data: bytes) -> list:
    """Bytes, 8 a line; 32 or more equal ones as `HH x N`."""
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
    if vector.v2:
        lines.append(f"%v2 {vector.v2}")
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
        raise AssertionError(f"{at} of {len(vector.data)} bytes labelled")
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
        byte, times, count = line.partition(" x ")
        data += (bytes.fromhex(byte) * int(count) if times
                 else bytes.fromhex(line))
    if keys["format"] != format_:
        raise ValueError(f"{path}: %format is {keys['format']}")
    return Vector(name, format_, int(keys["start"]), bytes(data),
                  keys.get("refused", ""), keys.get("v2", name))


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
             L.ALIGNED_PAGE_DATA: label_batch, L.ALIGNED_CHECK: label_check,
             L.ALIGNED_IDENTITY: label_identity}.get(type_)
    if label:
        yield from label(body)
    elif body:
        yield len(body), "body"
    if padding:
        yield len(padding), "record padding"


def label_header(body: bytes) -> Iterator[tuple]:
    header = L.AlignedHeader.unpack(body)
    for f in fields(header)[:-1]:
        value = getattr(header, f.name)
        length = 4 if f.name in ("version", "min_reader_version",
                                 "alignment", "state") else 8
        if f.name == "file_id":
            yield 16, f.name
        elif f.name == "magic" or f.name.endswith("checksum"):
            yield length, f.name
        elif f.name == "state":
            yield length, f"state = {L.STATE_NAMES[value]}"
        else:
            yield length, f"{f.name} = {value}"
    if header.later:
        yield len(header.later), "fields of a later version"


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
    b = Batch.unpack(len(body), body[:40])
    yield 4, f"count = {b.count}"
    yield 4, f"pages = {b.pages}"
    yield 4, f"pad_length = {b.pad_length}"
    yield 4, (f"flags: compression {codecs.NAMES[b.codec]}, "
              f"frame_pages {b.frame_pages}")
    yield 8, f"number = {b.number}"
    yield 8, "contents"
    yield 8, "checksum"
    yield from label_pfns(body, 40, b.count)
    for number in range(b.frames):
        yield 8, f"check[{number}]"
    ends = struct.unpack_from(f"<{b.frames}I", body,
                              40 + 8 * b.count + 8 * b.frames)
    for number, end in enumerate(ends):
        yield 4, f"end[{number}] = {end}"
    if b.pad_length:
        yield b.pad_length, "padding"
    left = b.stored
    for number, (begin, end) in enumerate(zip((0, *ends), ends)):
        length = max(0, min(end - begin, left))
        left -= length
        yield length, f"frame {number}"
    if left:
        yield left, "octets of no frame"


def label_identity(body: bytes) -> Iterator[tuple]:
    for item in body.split(b"\0")[:-1]:
        yield len(item) + 1, item.decode("latin-1")


def label_padding(body: bytes) -> Iterator[tuple]:
    kind, head_padding = struct.unpack_from("<II", body, 8)
    yield 8, "magic"
    yield 4, f"kind = {kind}, {('START', 'BATCH')[kind - 1]}"
    yield 4, f"head_padding = {head_padding}"
    yield 8, "checksum"
    if len(body) > 24:
        yield len(body) - 24, "zeros"


BATCH_FIELDS = (("offset", 8), ("page_offset", 8), ("first_pfn", 8),
                ("last_pfn", 8), ("count", 4), ("pages", 4), ("stored", 4),
                ("flags", 4), ("contents", 8), ("checksum", 8))
RECORD_FIELDS = (("offset", 8), ("type", 4), ("length", 4), ("checksum", 8))


def label_entry(name: str, names: tuple, values: tuple) -> Iterator[tuple]:
    for (field, length), value in zip(names, values):
        if field in ("contents", "checksum"):
            yield length, f"{name}.{field}"
        elif field in ("type", "flags"):
            yield length, f"{name}.{field} = 0x{value:x}"
        else:
            yield length, f"{name}.{field} = {value}"


def label_index(body: bytes) -> Iterator[tuple]:
    batches, records = struct.unpack_from("<II", body)
    yield 4, f"batches = {batches}"
    yield 4, f"records = {records}"
    yield 8, "checksum"
    for number in range(batches):
        values = L.INDEX_BATCH.unpack_from(body, 16 + 64 * number)
        yield from label_entry(f"batch[{number}]", BATCH_FIELDS, values)
    for number in range(records):
        values = L.INDEX_RECORD.unpack_from(body,
                                            16 + 64 * batches + 24 * number)
        yield from label_entry(f"record[{number}]", RECORD_FIELDS, values)


def label_check(body: bytes) -> Iterator[tuple]:
    values = L.CHECK_BODY.unpack(body)
    for name, value in zip(("batches", "pages_stored", "pages_zero",
                            "records"), values):
        yield 8, f"{name} = {value}"
    yield 8, "checksum"
