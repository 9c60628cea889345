# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whole save files: xl's head, libxl's header, the stream, the tail."""
import io
import struct
from dataclasses import dataclass

from . import layout as L
from .decoder import Decoder
from .encoder import commit, encode
from .records import record, stream_length

XL_MAGIC = b"Xen saved domain, xl format\n \0 \r"
XL_HEADER = struct.Struct("<32sIIII")
XL_BYTEORDER = 0x01020304
XL_MANDATORY = 3                    # JSON, stream v2
LIBXL_HEADER = struct.Struct(">QII")
LIBXL_IDENT = 0x4c6962786c466d74    # "LibxlFmt"
LIBXL_VERSION = 2

LIBXL_END, LIBXC_CONTEXT = 0, 1
EMULATOR_XENSTORE_DATA, EMULATOR_CONTEXT = 2, 3
EMULATOR_QEMU_UPSTREAM = 2


class HeadError(Exception):
    """The head of a save file that cannot be read."""


@dataclass
class Head:
    config: bytes                   # without its NUL
    spare: int                      # bytes of optional data behind it
    libxl_offset: int
    stream_start: int


def xl_head(config: bytes, nuls: int = 0) -> bytes:
    """xl's header and optional data, with NULs appended (spec 4)."""
    config += b"\0"
    data = struct.pack("<I", len(config)) + config + bytes(nuls)
    return XL_HEADER.pack(XL_MAGIC, XL_BYTEORDER, XL_MANDATORY, 0,
                          len(data)) + data


def libxl_head() -> bytes:
    return (LIBXL_HEADER.pack(LIBXL_IDENT, LIBXL_VERSION, 0)
            + record(LIBXC_CONTEXT))


def parse_libxl(data: bytes, offset: int) -> int:
    """The stream start behind the libxl header at an offset."""
    if len(data) < offset + 24:
        raise HeadError(f"the file ends in its head, at {len(data)}")
    ident, version, options = LIBXL_HEADER.unpack_from(data, offset)
    if ident != LIBXL_IDENT or version != LIBXL_VERSION or options:
        raise HeadError(f"no libxl header of version 2 at {offset}")
    if L.RECORD_HEADER.unpack_from(data, offset + 16) != (LIBXC_CONTEXT, 0):
        raise HeadError(f"no LIBXC_CONTEXT at {offset + 16}")
    return offset + 24


def parse_head(data: bytes) -> Head:
    """`data` is the file, or as much of its beginning as the head needs."""
    if len(data) < XL_HEADER.size + 4:
        raise HeadError("too short for the header of xl")
    magic, byteorder, _, _, length = XL_HEADER.unpack_from(data)
    if magic != XL_MAGIC or byteorder != XL_BYTEORDER:
        raise HeadError("does not begin with the header of xl")
    config_length, = struct.unpack_from("<I", data, XL_HEADER.size)
    libxl_offset = XL_HEADER.size + length
    if 4 + config_length > length or libxl_offset > len(data):
        raise HeadError("the configuration does not fit the optional data")
    begin = XL_HEADER.size + 4
    return Head(data[begin:begin + config_length].rstrip(b"\0"),
                length - 4 - config_length, libxl_offset,
                parse_libxl(data, libxl_offset))


def hvm_tail(xenstore: bytes, context: bytes) -> bytes:
    """What libxl writes behind the stream of a domain with QEMU."""
    emulator = struct.pack("<II", EMULATOR_QEMU_UPSTREAM, 0)
    return (record(EMULATOR_XENSTORE_DATA, emulator + xenstore)
            + record(EMULATOR_CONTEXT, emulator + context)
            + record(LIBXL_END))


def pv_tail() -> bytes:
    return record(LIBXL_END)


def parse_tail(tail: bytes) -> list:
    """[(type, body)] of the tail; ValueError if it is not records + END."""
    records, offset = [], 0
    while offset + 8 <= len(tail):
        type_, length = L.RECORD_HEADER.unpack_from(tail, offset)
        end = offset + 8 + L.padded(length)
        if end > len(tail):
            raise ValueError(f"the tail ends in a record at {offset}")
        records.append((type_, tail[offset + 8:offset + 8 + length]))
        offset = end
        if type_ == LIBXL_END:
            break
    if not records or records[-1][0] != LIBXL_END or offset != len(tail):
        raise ValueError("the tail does not end with END")
    return records


def build(v2: bytes, config: bytes, tail: bytes, format_: str,
          **options) -> bytes:
    """A save file as xl and this software write it."""
    head = xl_head(config) + libxl_head()
    if format_ == "compat":
        nuls = -len(head) % 8
        head = xl_head(config, nuls) + libxl_head()
        options["head_padding"] = nuls
    stream = encode(v2, format_, len(head), **options)
    file = head + stream + tail
    return commit(file, len(head)) if format_ == "v3" else file


def to_v2(file: bytes) -> bytes:
    """The save file of stock xl that a v3 or compat file stands for."""
    head = parse_head(file)
    start = head.stream_start
    decoder = Decoder(io.BytesIO(file[start:]), start, len(file))
    v2 = b"".join(decoder)
    tail = file[decoder.source.offset:]
    padding = decoder.head_padding
    if padding > head.spare:
        raise HeadError(f"no room for {padding} NULs of head padding")
    if file[head.libxl_offset - padding:head.libxl_offset].strip(b"\0"):
        raise HeadError("head padding is not NULs")
    length = head.libxl_offset - XL_HEADER.size - padding
    return (file[:44] + struct.pack("<I", length)
            + file[48:head.libxl_offset - padding]
            + file[head.libxl_offset:start] + v2 + tail)


def stream_of(data: bytes, start: int) -> bytes:
    """The stream alone, without what is around it."""
    return data[start:start + stream_length(data[start:])]


def split(file: bytes) -> tuple:
    """(head, v2, compat or v3 stream, tail) of a save file."""
    start = parse_head(file).stream_start
    stream = stream_of(file, start)
    return file[:start], stream, file[start + len(stream):]
