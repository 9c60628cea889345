# SPDX-License-Identifier: LGPL-2.1-or-later
"""Spec 3.2.1: LZ4 blocks and Zstandard frames, one for each of ours.

What is decompressed goes through the libraries. The golden vectors are
compressed by the two functions at the end, whose bytes do not depend on the
version of a library.
"""
import struct

import lz4.block
import zstandard

NONE, LZ4, ZSTD = 0, 1, 2
NAMES = {NONE: "none", LZ4: "lz4", ZSTD: "zstd"}
MANDATORY = {LZ4: 1 << 0, ZSTD: 1 << 1}
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class CodecError(ValueError):
    """Bytes that are not what the specification says they are."""


def unpack(codec: int, stored: bytes, length: int) -> bytes:
    """Exactly `length` bytes, which are at most 4 MiB."""
    try:
        if codec == LZ4:
            data = lz4.block.decompress(stored, uncompressed_size=length)
        else:
            data = unpack_frame(stored, length)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise CodecError(str(error)) from None
    if len(data) != length:
        raise CodecError(f"{len(data)} bytes, not {length}")
    return data


def unpack_frame(stored: bytes, length: int) -> bytes:
    if stored[:4] != ZSTD_MAGIC:
        raise CodecError("no Zstandard frame")
    frame = zstandard.get_frame_parameters(stored)
    if frame.content_size != length:
        raise CodecError(f"a frame for {frame.content_size} bytes, not "
                         f"{length}")
    if frame.dict_id:
        raise CodecError("a frame with a dictionary")
    return zstandard.ZstdDecompressor().decompress(
        stored, max_output_size=length, allow_extra_data=False)


def pack(codec: int, data: bytes, level: int = 1) -> bytes:
    if codec == LZ4:
        return lz4.block.compress(data, store_size=False)
    return zstandard.ZstdCompressor(level=level).compress(data)


# -- for golden vectors -----------------------------------------------------

def runs(data: bytes, most: int) -> list:
    """[(byte, times)]"""
    result, at = [], 0
    while at < len(data):
        part = data[at:at + most]
        times = len(part) - len(part.lstrip(part[:1]))
        result.append((part[0], times))
        at += times
    return result


def simple_lz4(data: bytes) -> bytes:
    """A block of runs: each a literal, and a match one byte back.

    The last five bytes are literals, as the format wants it.
    """
    out = bytearray()
    for byte, times in runs(data[:-5], 1 << 30):
        match = times - 1
        if match < 12:
            raise ValueError("runs of 13 or more only")
        out += bytes([0x1f, byte]) + struct.pack("<H", 1)
        left = match - 4 - 15
        if left < 0:
            out[-4] = 0x10 | match - 4
            continue
        out += b"\xff" * (left // 255) + bytes([left % 255])
    return bytes(out) + b"\x50" + data[-5:]


def simple_zstd(data: bytes) -> bytes:
    """A frame of RLE blocks (RFC 8878, 3.1.1.2), window and size stated."""
    out = bytearray(ZSTD_MAGIC + b"\x80\x60" + struct.pack("<I", len(data)))
    blocks = runs(data, 1 << 17)
    for number, (byte, times) in enumerate(blocks):
        last = number + 1 == len(blocks)
        out += struct.pack("<I", times << 3 | 1 << 1 | last)[:3]
        out.append(byte)
    return bytes(out)


SIMPLE = {LZ4: simple_lz4, ZSTD: simple_zstd}
