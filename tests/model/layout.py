# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbers and structures of the v2 stream and of stream v3."""
import struct
from dataclasses import dataclass, fields

# Xen's own.
IMAGE_MARKER = 0xffffffffffffffff
IMAGE_ID = 0x58454e46               # "XENF", big-endian
IMAGE_HEADER = struct.Struct(">QIIHHI")
DOMAIN_HEADER = struct.Struct("<IHHII")
RECORD_HEADER = struct.Struct("<II")
PAGE_DATA_HEADER = struct.Struct("<II")

END = 0x0
PAGE_DATA = 0x1
OPTIONAL = 0x80000000
RECORD_MAX = 128 << 20

RECORD_NAMES = {
    0x0: "END", 0x1: "PAGE_DATA", 0x2: "X86_PV_INFO",
    0x3: "X86_PV_P2M_FRAMES", 0x4: "X86_PV_VCPU_BASIC",
    0x5: "X86_PV_VCPU_EXTENDED", 0x6: "X86_PV_VCPU_XSAVE",
    0x7: "SHARED_INFO", 0x8: "X86_TSC_INFO", 0x9: "HVM_CONTEXT",
    0xa: "HVM_PARAMS", 0xb: "TOOLSTACK", 0xc: "X86_PV_VCPU_MSRS",
    0xd: "VERIFY", 0xe: "CHECKPOINT", 0xf: "CHECKPOINT_DIRTY_PFN_LIST",
    0x10: "STATIC_DATA_END", 0x11: "X86_CPUID_POLICY",
    0x12: "X86_MSR_POLICY",
    0x414c0001: "ALIGNED_HEADER", 0x414c0002: "ALIGNED_PAGE_DATA",
    0xc14c0003: "PADDING", 0xc14c0004: "ALIGNED_INDEX",
    0x414c0005: "ALIGNED_CHECK", 0xc14c0006: "ALIGNED_IDENTITY",
}

PAGE = 4096
PFN_MASK = (1 << 52) - 1
PFN_RESERVED_V2 = 0xff << 52        # bits 59-52
PFN_RESERVED_V3 = 0x7f << 53        # bits 59-53
PFN_ZERO = 1 << 52
NO_CONTENTS = (0xd, 0xe, 0xf)       # BROKEN, XALLOC, XTAB
BATCH_MAX = 1024

# Stream v3.
ALIGNED_HEADER = 0x414c0001
ALIGNED_PAGE_DATA = 0x414c0002
PADDING = 0xc14c0003
ALIGNED_INDEX = 0xc14c0004
ALIGNED_CHECK = 0x414c0005
ALIGNED_IDENTITY = 0xc14c0006
OURS = (ALIGNED_HEADER, ALIGNED_PAGE_DATA, PADDING, ALIGNED_INDEX,
        ALIGNED_CHECK, ALIGNED_IDENTITY)

MAGIC = b"XENALIGN"
VERSION = 3
ALIGNMENT_MIN, ALIGNMENT_MAX = 4096, 65536
UNFINISHED, STREAMED, COMPLETE = 0, 1, 2
STATE_NAMES = {0: "UNFINISHED", 1: "STREAMED", 2: "COMPLETE"}
MANDATORY_NAMES = {0: "LZ4", 1: "ZSTD"}
MANDATORY_KNOWN = 1 << 0 | 1 << 1
BATCH_CODEC = 3                     # of the flags of a batch
BATCH_FRAME_SHIFT = 4
BATCH_FLAGS = 0xf3
FRAME_LOG_MAX = 10
OPTIONAL_INDEX = 1 << 0
HEADER_MIN, HEADER_MAX = 136, 4088
IDENTITY_MAX = 4096
SURROUNDINGS_MAX = 1 << 30          # head and tail of a COMPLETE file, each

BATCH_HEADER = struct.Struct("<IIIIQQQ")
PADDING_HEADER = struct.Struct("<8sIIQ")
PADDING_START, PADDING_BATCH = 1, 2
PADDING_MAX = 65536
INDEX_HEADER = struct.Struct("<IIQ")
INDEX_BATCH = struct.Struct("<QQQQIIIIQQ")
INDEX_RECORD = struct.Struct("<QIIQ")
INDEX_MAX = (RECORD_MAX - INDEX_HEADER.size) // INDEX_BATCH.size
CHECK_BODY = struct.Struct("<QQQQQ")

U64 = struct.Struct("<Q")
ZERO_PAGE = bytes(PAGE)


def name(type_: int) -> str:
    return RECORD_NAMES.get(type_, f"record 0x{type_:08x}")


def is_ours(type_: int) -> bool:
    """One of the types of spec section 3, reserved ones included."""
    return type_ >> 16 in (0x414c, 0xc14c)


def is_skipped(type_: int) -> bool:
    """Of the optional range of spec section 3, and not in its table."""
    return type_ >> 16 == 0xc14c and type_ not in OURS


def padded(length: int) -> int:
    return (length + 7) & ~7


def has_contents(pfn: int) -> bool:
    return pfn >> 60 not in NO_CONTENTS


@dataclass
class AlignedHeader:
    """Spec 3.1; the fields in the order of the record."""
    magic: bytes = MAGIC
    version: int = VERSION
    min_reader_version: int = VERSION
    mandatory_features: int = 0
    optional_features: int = OPTIONAL_INDEX
    alignment: int = ALIGNMENT_MIN
    state: int = UNFINISHED
    file_id: bytes = bytes(16)
    stream_start: int = 0
    stream_length: int = 0
    file_length: int = 0
    index_offset: int = 0
    batches: int = 0
    pages_stored: int = 0
    pages_zero: int = 0
    head_checksum: int = 0
    tail_checksum: int = 0
    header_checksum: int = 0
    later: bytes = b""              # fields of later versions

    FORMAT = struct.Struct("<8sIIQQII16sQQQQQQQQQQ")
    CHECKSUM = 128                  # offset of header_checksum in the body
    # Zero in state STREAMED.
    FINAL_FIELDS = ("stream_length", "file_length", "index_offset",
                    "batches", "pages_stored", "pages_zero",
                    "head_checksum", "tail_checksum")

    @classmethod
    def unpack(cls, body: bytes) -> "AlignedHeader":
        return cls(*cls.FORMAT.unpack(body[:HEADER_MIN]),
                   bytes(body[HEADER_MIN:]))

    def pack(self) -> bytes:
        """The body, with header_checksum as it stands."""
        return self.FORMAT.pack(*(getattr(self, f.name)
                                  for f in fields(self)[:-1])) + self.later
