# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walking the records of a stream, and the shape of PAGE_DATA."""
import struct
from dataclasses import dataclass
from typing import BinaryIO, Iterator, Optional

from . import layout as L

STREAM_HEADERS = L.IMAGE_HEADER.size + L.DOMAIN_HEADER.size


class StreamError(Exception):
    """A stream that is refused: what, and where."""

    def __init__(self, what: str, offset: int, record: int,
                 end_of_file: bool = False) -> None:
        super().__init__(f"{what} (file offset {offset}, record {record})")
        self.what = what
        self.offset = offset        # file offset of the record or field
        self.record = record        # records before this one
        self.end_of_file = end_of_file


@dataclass
class Record:
    type: int
    offset: int                     # from the first byte walked
    body: bytes
    padding: bytes

    @property
    def raw(self) -> bytes:
        return (L.RECORD_HEADER.pack(self.type, len(self.body)) + self.body
                + self.padding)


def record(type_: int, body: bytes = b"") -> bytes:
    """The bytes of a record, padding included."""
    return (L.RECORD_HEADER.pack(type_, len(body)) + body
            + bytes(-len(body) % 8))


def walk(stream: bytes, offset: int = STREAM_HEADERS) -> Iterator[Record]:
    """Records of a stream up to and including END."""
    number = 0
    while True:
        if offset + 8 > len(stream):
            raise StreamError("end of file in a record header", offset,
                              number, True)
        type_, length = L.RECORD_HEADER.unpack_from(stream, offset)
        if length > L.RECORD_MAX:
            raise StreamError(f"{L.name(type_)} longer than 128 MiB",
                              offset, number)
        end = offset + 8 + L.padded(length)
        if end > len(stream):
            raise StreamError(f"end of file in {L.name(type_)}", offset,
                              number, True)
        yield Record(type_, offset, stream[offset + 8:offset + 8 + length],
                     stream[offset + 8 + length:end])
        if type_ == L.END:
            return
        offset = end
        number += 1


def stream_length(stream: bytes) -> int:
    """Bytes up to and including END; what follows is the tail."""
    for last in walk(stream):
        pass
    return last.offset + len(last.raw)


@dataclass
class PageData:
    pfns: tuple
    contents: int                   # pfns that have contents

    @property
    def pages_offset(self) -> int:
        return 8 + 8 * len(self.pfns)


def page_data(body: bytes) -> Optional[PageData]:
    """PAGE_DATA that an ALIGNED_PAGE_DATA can stand for (spec 3.3)."""
    if len(body) < 8:
        return None
    count, reserved = L.PAGE_DATA_HEADER.unpack_from(body)
    if not 1 <= count <= L.BATCH_MAX or reserved:
        return None
    if len(body) < 8 + 8 * count:
        return None
    pfns = struct.unpack_from(f"<{count}Q", body, 8)
    if any(pfn & L.PFN_RESERVED_V2 for pfn in pfns):
        return None
    contents = sum(map(L.has_contents, pfns))
    if len(body) != 8 + 8 * count + L.PAGE * contents:
        return None
    return PageData(pfns, contents)


class Source:
    """Exact reads from a binary file, with the file offset."""

    def __init__(self, file: BinaryIO, offset: int = 0) -> None:
        self.file = file
        self.offset = offset
        self.record = 0

    def read(self, length: int, what: str) -> bytes:
        parts = []
        left = length
        while left:
            part = self.file.read(min(left, 1 << 22))
            if not part:
                raise StreamError(f"end of file in {what}", self.offset,
                                  self.record, True)
            parts.append(part)
            left -= len(part)
            self.offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
