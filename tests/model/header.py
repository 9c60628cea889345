# SPDX-License-Identifier: LGPL-2.1-or-later
"""ALIGNED_HEADER and ALIGNED_IDENTITY: made, and refused (spec 3.1, 3.7)."""
import re
import struct
from typing import Optional

from . import layout as L
from .batch import Fault
from .records import STREAM_HEADERS, record
from .xxh3 import xxh3


def header_record(header: L.AlignedHeader) -> bytes:
    header.header_checksum = 0
    header.header_checksum = xxh3(record(L.ALIGNED_HEADER, header.pack()))
    return record(L.ALIGNED_HEADER, header.pack())


def header_length(stream: bytes) -> int:
    """Of the whole record behind the headers of a v3 stream."""
    return 8 + struct.unpack_from("<I", stream, STREAM_HEADERS + 4)[0]


def header_of(stream: bytes) -> L.AlignedHeader:
    """Unverified."""
    end = STREAM_HEADERS + header_length(stream)
    return L.AlignedHeader.unpack(stream[STREAM_HEADERS + 8:end])


def with_header(stream: bytes, header: Optional[L.AlignedHeader] = None,
                **changes) -> bytes:
    """The stream with another header, or with fields of it changed."""
    header = header or header_of(stream)
    for name, value in changes.items():
        setattr(header, name, value)
    end = STREAM_HEADERS + header_length(stream)
    return stream[:STREAM_HEADERS] + header_record(header) + stream[end:]


def feature_names(bits: int) -> str:
    return ", ".join(L.MANDATORY_NAMES.get(bit, f"bit {bit}")
                     for bit in range(64) if bits >> bit & 1)


def check_header_length(length: int) -> None:
    if length % 8 or not L.HEADER_MIN <= length <= L.HEADER_MAX:
        raise Fault(f"ALIGNED_HEADER of length {length}")


def verify_header(body: bytes) -> L.AlignedHeader:
    """Everything that does not depend on the file around it."""
    h = L.AlignedHeader.unpack(body)
    at = h.CHECKSUM
    if h.magic != L.MAGIC:
        raise Fault("ALIGNED_HEADER without its magic")
    if xxh3(record(L.ALIGNED_HEADER, body[:at] + bytes(8)
                   + body[at + 8:])) != h.header_checksum:
        raise Fault("checksum of ALIGNED_HEADER does not match")
    if h.min_reader_version > L.VERSION:
        raise Fault("the stream needs a reader of version "
                    f"{h.min_reader_version}, this one is 3")
    if h.version < L.VERSION or h.min_reader_version < L.VERSION:
        raise Fault(f"stream version {h.version} for readers of version "
                    f"{h.min_reader_version}")
    unknown = h.mandatory_features & ~L.MANDATORY_KNOWN
    if unknown:
        raise Fault("mandatory features that are not implemented: "
                    + feature_names(unknown))
    if (not L.ALIGNMENT_MIN <= h.alignment <= L.ALIGNMENT_MAX
            or h.alignment & (h.alignment - 1)):
        raise Fault(f"alignment {h.alignment}")
    if h.state == L.UNFINISHED:
        raise Fault("the stream is UNFINISHED: its writer stopped before "
                    "the commit")
    if h.state == L.STREAMED:
        if any(getattr(h, field) for field in h.FINAL_FIELDS):
            raise Fault("totals in a STREAMED header")
    elif h.state != L.COMPLETE:
        raise Fault(f"state {h.state}")
    elif (h.stream_start + h.stream_length > h.file_length
          or h.index_offset >= h.stream_length):
        raise Fault("lengths in ALIGNED_HEADER contradict each other")
    return h


def verify_file(h: L.AlignedHeader, start: int, length: int,
                device: bool) -> None:
    """A COMPLETE header against the file that it is in."""
    if h.state != L.COMPLETE:
        return
    if length < h.file_length or length > h.file_length and not device:
        raise Fault(f"the file has {length} bytes, its header says "
                    f"{h.file_length}")
    if start != h.stream_start:
        raise Fault(f"the stream starts at {start}, its header says "
                    f"{h.stream_start}")
    tail = h.file_length - h.stream_start - h.stream_length
    if max(start, tail) > L.SURROUNDINGS_MAX:
        raise Fault("head or tail longer than 1 GiB")


# -- identity ---------------------------------------------------------------

KEY = re.compile(r"[a-z0-9_]{1,31}\Z")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def identity_body(identity) -> bytes:
    """Of a dict; bytes are taken as they are."""
    if isinstance(identity, bytes):
        return identity
    return b"".join(f"{key}={value}".encode() + b"\0"
                    for key, value in identity.items())


def parse_identity(body: bytes) -> dict:
    if len(body) > L.IDENTITY_MAX:
        raise Fault(f"ALIGNED_IDENTITY of length {len(body)}")
    if body and body[-1]:
        raise Fault("ALIGNED_IDENTITY does not end with a NUL")
    result: dict = {}
    for item in body.split(b"\0")[:-1]:
        raw, equals, value = item.partition(b"=")
        key = raw.decode("latin-1")
        if not equals or not KEY.match(key):
            raise Fault("ALIGNED_IDENTITY: not key=value")
        if key in result:
            raise Fault(f"ALIGNED_IDENTITY: {key} appears twice")
        try:
            result[key] = value.decode()
        except UnicodeDecodeError:
            raise Fault(f"ALIGNED_IDENTITY: {key} is not UTF-8") from None
        if CONTROL.search(result[key]):
            raise Fault(f"ALIGNED_IDENTITY: {key} has control characters")
    return result
