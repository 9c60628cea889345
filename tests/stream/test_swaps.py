# SPDX-License-Identifier: LGPL-2.1-or-later
"""Batches and frames in the place of others: no reader takes them.

Each is whole and matches its own checksums. They come from another place of
the file, from the file of another guest, or from an earlier save of the same
one, as a write that went astray or was lost leaves them.
"""
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from model import layout as L
from model import codecs
from model.batch import Batch, Fault
from model.encoder import encode_v3
from model.generator import domain_header, image_header, page_data
from model.grown import by_index, committed, head_of
from model.records import record, walk
from model.savefile import libxl_head
from model.vectors import IDENTITY
from stream import clib
from stream.differential import c_pages, python_stream

BATCHES, PAGES = 5, 12
FEW, MANY = 500, 10**4


def guest(seed: int) -> list:
    """The pages of each batch; they compress, and to like lengths."""
    rng = random.Random(seed)
    return [[rng.randbytes(64) * (L.PAGE // 64) for _ in range(PAGES)]
            for _ in range(BATCHES)]


def stream(batches: list) -> bytes:
    return b"".join((
        image_header(), domain_header(2), record(0x10),
        *(page_data(list(range(PAGES * n, PAGES * (n + 1))), pages)
          for n, pages in enumerate(batches)),
        record(0x9, b"context " * 9), record(L.END)))


@dataclass
class Save:
    v2: bytes
    data: bytes
    start: int

    def __post_init__(self) -> None:
        self.batches = []           # (begin, end) of each record
        self.parts: list = []       # of frames, of what is before them
        for r in walk(self.data):
            if r.type != L.ALIGNED_PAGE_DATA:
                continue
            batch = Batch.unpack(len(r.body), r.body[:40])
            table = batch.table(r.body[40:40 + batch.table_length])
            end = r.offset + len(r.raw)
            at = r.offset + 8 + len(r.body) - batch.stored
            self.batches.append((r.offset, end))
            self.parts += [(at + f.begin, at + f.end)
                           for f in table.frames()]


def saves(codec: int, frame_pages: int) -> dict:
    """The file, the next save of its guest, and that of another guest."""
    pages = guest(1)
    later = [list(batch) for batch in pages]
    for batch in later:
        batch[::2] = guest(2)[0][::2]
    start = len(libxl_head()) + frame_pages
    result = {}
    for name, contents in (("file", pages), ("save", later),
                           ("guest", guest(3))):
        v2 = stream(contents)
        result[name] = Save(v2, committed(encode_v3(
            v2, start, codec=codec, frame_pages=frame_pages,
            file_id=name.encode().rjust(16), identity=IDENTITY), start),
            start)
    return result


KINDS = [saves(codec, frame_pages)
         for codec in (codecs.NONE, codecs.LZ4, codecs.ZSTD)
         for frame_pages in (1, 4)]


def swapped(rng: random.Random) -> tuple:
    """(what was done, the file, its bytes now)"""
    of_kind = rng.choice(KINDS)
    to, donor = of_kind["file"], rng.choice(("file", "save", "guest"))
    source = of_kind[donor]
    name = rng.choice(("batches", "parts"))
    a, b = rng.choice(getattr(to, name))
    c, d = rng.choice(getattr(source, name))
    if donor == "file" and a > c:
        a, b, c, d = c, d, a, b
    new, old = source.data[c:d], to.data[a:b]
    what = f"{name} of {donor}, {c} to {a}"
    if donor != "file":
        return what, to, to.data[:a] + new + to.data[b:]
    if a == c:
        return what, to, to.data
    return what, to, (to.data[:a] + new + to.data[b:c] + old + to.data[d:])


def readers_that_take(data: bytes, start: int) -> list:
    takers = []
    if python_stream(data, start)[1] is None:
        takers.append("stream, Python")
    if clib.decode(data, start).error is None:
        takers.append("stream, C")
    try:
        list(by_index(data, start))
        takers.append("index, Python")
    except Fault:
        pass
    try:
        c_pages(head_of(start) + data, start - len(libxl_head()))
        takers.append("index, C")
    except clib.LibraryError:
        pass
    return takers


def test_every_reader_takes_them_where_they_belong():
    for of_kind in KINDS:
        for save in of_kind.values():
            assert len(readers_that_take(save.data, save.start)) == 4


@pytest.mark.parametrize("count", (FEW, pytest.param(
    MANY, marks=pytest.mark.slow)))
def test_what_is_not_in_its_place_is_refused(count, record_property):
    rng, counts = random.Random(count), Counter()
    while counts.total() < count:
        what, file, data = swapped(rng)
        if data == file.data:
            continue                # the same bytes: nothing was done
        assert readers_that_take(data, file.start) == [], what
        handed_out = clib.decode(data, file.start).v2
        assert file.v2.startswith(handed_out), what
        counts[what.partition(",")[0]] += 1
    record_property("swaps", dict(counts))
    assert len(counts) == 6 and min(counts.values()) > count // 20
