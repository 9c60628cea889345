# SPDX-License-Identifier: LGPL-2.1-or-later
"""Generated streams: encoding and decoding is the identity."""
import io

import pytest

from model import layout as L
from model import savefile
from model.audit import audit_file
from model.decoder import Decoder, Observer, decode
from model.encoder import commit_stream, encode_compat, encode_v3
from model.generator import Generator
from model.index import IndexReader
from model.records import page_data, walk

SEEDS = range(120)


class Collector(Observer):
    def __init__(self):
        self.batches = []

    def batch(self, batch):
        self.batches.append(batch)


def checked(stream, start, v2, alignment=4096):
    """Decodes a stream and checks where its pages are."""
    seen = Collector()
    decoder = Decoder(io.BytesIO(stream), start, observer=seen)
    assert b"".join(decoder) == v2
    for batch in seen.batches:
        assert not batch.pages or batch.pages_offset % alignment == 0
    if decoder.format == "v3" and decoder.header.state == L.COMPLETE:
        reader = IndexReader(io.BytesIO(bytes(start) + stream), start)
        assert b"".join(reader) == v2
    return decoder


@pytest.mark.parametrize("seed", SEEDS)
def test_v3_is_the_identity(seed):
    v2 = Generator(seed).stream()
    start = seed % 8 + seed * 1000
    stream = encode_v3(v2, start)
    checked(commit_stream(stream, start), start, v2)


@pytest.mark.parametrize("seed", range(8))
def test_v3_on_every_start_modulo_8(seed):
    v2 = Generator(1000 + seed).stream()
    for start in range(8):
        stream = encode_v3(v2, start)
        checked(commit_stream(stream, start), start, v2)


@pytest.mark.parametrize("seed", SEEDS)
def test_compat_is_the_identity(seed):
    v2 = Generator(seed).stream()
    start = seed * 8
    decoder = checked(encode_compat(v2, start, seed % 8), start, v2)
    assert decoder.head_padding == seed % 8


@pytest.mark.parametrize("seed", range(40))
def test_compat_is_v2_with_optional_records(seed):
    """What a stock reader sees: skip every record with bit 31 set."""
    v2 = Generator(seed).stream()
    compat = encode_compat(v2)
    stock = [r.raw for r in walk(compat) if not r.type & L.OPTIONAL]
    assert stock == [r.raw for r in walk(v2) if not r.type & L.OPTIONAL]
    assert all(r.type == L.PADDING or r.raw in v2 for r in walk(compat))


@pytest.mark.parametrize("seed", range(40))
def test_v2_passes_untouched(seed):
    v2 = Generator(seed).stream()
    assert decode(v2, seed) == v2


@pytest.mark.parametrize("seed", range(20))
def test_streamed(seed):
    v2 = Generator(seed).stream()
    checked(encode_v3(v2, state=L.STREAMED), 0, v2)


@pytest.mark.parametrize("alignment", (8192, 65536))
@pytest.mark.parametrize("seed", range(10))
def test_larger_alignment(seed, alignment):
    v2 = Generator(seed).stream()
    start = 77 + seed
    stream = encode_v3(v2, start, alignment=alignment)
    checked(commit_stream(stream, start), start, v2, alignment)


@pytest.mark.parametrize("seed", range(20))
def test_zero_pages_kept(seed):
    v2 = Generator(seed).stream()
    decoder = checked(encode_v3(v2, state=L.STREAMED, keep_zero=True), 0, v2)
    assert decoder.pages_zero == 0


@pytest.mark.parametrize("format_", ("v2", "compat", "v3"))
@pytest.mark.parametrize("seed", range(40))
def test_whole_files(seed, format_):
    parts = Generator(seed).parts()
    file = savefile.build(*parts, format_)
    assert savefile.to_v2(file) == savefile.build(*parts, "v2")
    report, _, _ = audit_file(io.BytesIO(file))
    assert not report.faults


def test_generator_covers_what_it_should():
    """Else the tests above show less than they seem to."""
    seen = set()
    for seed in SEEDS:
        for r in walk(Generator(seed).stream()):
            if r.type != L.PAGE_DATA:
                seen.add("optional" if r.type & L.OPTIONAL else r.type)
                if len(r.body) > 1 << 17:
                    seen.add("large")
                continue
            shape = page_data(r.body)
            if shape is None:
                seen.add("odd")
                continue
            seen.add(("count", len(shape.pfns)))
            seen.add("contents" if shape.contents else "none")
            if 0 < shape.contents < len(shape.pfns):
                seen.add("mixed")
            zero = r.body[shape.pages_offset:].count(0)
            seen.add(("all zero", zero == 4096 * shape.contents > 0))
            seen.update(("type", pfn >> 60) for pfn in shape.pfns)
    assert {"odd", "contents", "none", "mixed", "optional", "large",
            ("count", 1), ("count", 1024), ("all zero", True)} <= seen
    assert {("type", t) for t in (0, 1, 4, 9, 0xc, 0xd, 0xe, 0xf)} <= seen
    assert set(range(2, 0xb)) <= seen


def test_seeds_reproduce():
    assert Generator(5).stream() == Generator(5).stream()
    assert Generator(5).stream() != Generator(6).stream()
