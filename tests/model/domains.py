# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of domains whose registers and tables make sense."""
import random
import struct

from . import generator
from . import layout as L
from .records import record

PV_INFO, P2M_FRAMES, VCPU_BASIC, SHARED_INFO = 0x2, 0x3, 0x4, 0x7
HVM_CONTEXT, STATIC_DATA_END = 0x9, 0x10
CONTEXT = {4: 2800, 8: 5168}            # vcpu_guest_context by word
RNG = random.Random(4)


def cpu_record(number: int) -> bytes:
    """The hypervisor's CPU record, every field a number of its own."""
    values = [0x1000 * (number + 1) + i for i in range(16 + 2 + 4 + 6)]
    out = RNG.randbytes(512) + struct.pack(f"<{len(values)}Q", *values)
    out += struct.pack("<18I", *(0x10 + 8 * i for i in range(8)),
                       *(0xffff + i for i in range(10)))
    out += struct.pack("<10Q", *(0xffff888000000000 + (i << 12)
                                 for i in range(10)))
    out += struct.pack("<8I", *(0xa9b for i in range(8)))
    out += struct.pack("<12Q", *range(12)) + struct.pack("<4I", 0, 0, 1, 0)
    assert len(out) == 1032
    return out


def hvm_context(cpus: list) -> bytes:
    out = struct.pack("<HHI", 1, 0, 24) + bytes(24)
    for i, cpu in enumerate(cpus):
        out += struct.pack("<HHI", 2, i, len(cpu)) + cpu
    return out + struct.pack("<HHI", 0, 0, 0)


def hvm_stream(pages: bytes, cpus: list) -> bytes:
    return (generator.image_header() + generator.domain_header(2)
            + record(STATIC_DATA_END) + pages
            + record(HVM_CONTEXT, hvm_context(cpus)) + record(L.END))


def p2m_frames(first: int, last: int, pfns: list) -> bytes:
    return record(P2M_FRAMES, struct.pack(f"<II{len(pfns)}Q", first, last,
                                          *pfns))


def pv_stream(width: int, frames: bytes, pages: bytes, vcpus: list,
              shared_info: bytes = b"") -> bytes:
    """`frames` as p2m_frames() makes them."""
    out = (generator.image_header() + generator.domain_header(1)
           + record(PV_INFO, bytes((width, 4 if width == 8 else 3))
                    + bytes(6)) + record(STATIC_DATA_END) + frames + pages)
    if shared_info:
        out += record(SHARED_INFO, shared_info)
    for i, vcpu in enumerate(vcpus):
        out += record(VCPU_BASIC, struct.pack("<II", i, 0) + vcpu)
    return out + record(L.END)
