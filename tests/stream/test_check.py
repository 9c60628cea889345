# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is not page data is verified before a domain exists."""
import os

import pytest

from model import layout as L
from model.encoder import encode_v3
from model.generator import domain_header, image_header, page_data
from model.grown import committed, head_of
from model.records import record, walk
from model.savefile import libxl_head
from stream import clib

START = len(libxl_head()) + 3
V2 = (image_header() + domain_header(2) + record(0x10)
      + page_data([1, 2], [b"\1" * L.PAGE, b"\2" * L.PAGE])
      + record(0x9, b"context " * 9000) + record(L.END))


def check(stream: bytes) -> None:
    fd = os.memfd_create("check", os.MFD_CLOEXEC)
    try:
        os.write(fd, head_of(START) + stream)
        clib.check(fd, clib.probe(fd, START - len(libxl_head())))
    finally:
        os.close(fd)


@pytest.mark.parametrize("index", (True, False))
def test_a_damaged_context_is_refused(index):
    stream = committed(encode_v3(V2, START, index=index), START)
    check(stream)
    context, = (r for r in walk(stream) if r.type == 0x9)
    for at in (context.offset + 8, context.offset + 8 + 70000):
        damaged = bytearray(stream)
        damaged[at] ^= 1
        with pytest.raises(clib.LibraryError, match="HVM_CONTEXT" if index
                           else "ALIGNED_CHECK"):
            check(bytes(damaged))


def test_pages_are_not_read():
    stream = committed(encode_v3(V2, START), START)
    damaged = bytearray(stream)
    damaged[stream.index(b"\1" * L.PAGE)] ^= 1
    check(bytes(damaged))
