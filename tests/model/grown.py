# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams as later versions may write them, each in a file of its own."""
import io
from typing import Optional

from . import layout as L
from .encoder import commit, encode_v3
from .generator import Generator
from .header import with_header
from .index import IndexReader
from .records import page_data, walk
from .savefile import libxl_head


def head_of(start: int) -> bytes:
    """Of a file whose stream starts there, if there is room for libxl's."""
    return (bytes(start) + libxl_head())[-start:] if start else b""


def committed(stream: bytes, start: int) -> bytes:
    """The stream of a whole file with that head and no tail."""
    return commit(head_of(start) + stream, start)[start:]


def by_index(stream: bytes, start: int) -> IndexReader:
    return IndexReader(io.BytesIO(head_of(start) + stream), start)


def last_pages(v2: bytes) -> Optional[dict]:
    """{pfn: its last contents}; None if a PAGE_DATA cannot be told."""
    pages = {}
    for r in walk(v2):
        if r.type != L.PAGE_DATA:
            continue
        shape = page_data(r.body)
        if not shape:
            return None
        at = shape.pages_offset
        for pfn in filter(L.has_contents, shape.pfns):
            pages[pfn & L.PFN_MASK] = r.body[at:at + L.PAGE]
            at += L.PAGE
    return pages


def grown(seed: int) -> tuple:
    """(v2, options, start, COMPLETE stream)"""
    generator = Generator(seed, 4)
    v2, options = generator.stream(), generator.v3_options()
    start = len(libxl_head()) + seed % 4099
    stream = encode_v3(v2, start, **options)
    features = (generator.random.getrandbits(63) << 1
                | int(options["index"]))
    return v2, options, start, committed(with_header(
        stream, version=L.VERSION + seed % 3, optional_features=features),
        start)
