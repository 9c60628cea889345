# SPDX-License-Identifier: LGPL-2.1-or-later
"""Streams of later versions: the reader of streams and that of indexes agree.

Unknown optional records wherever they may stand, longer headers, an identity
or none, an index or none, frames of every size; and damaged ones.
"""
import io

import pytest

from model import layout as L
from model.batch import Fault
from model.decoder import Decoder, decode, decode_some
from model.encoder import encode_compat
from model.generator import Generator
from model.grown import by_index, grown, last_pages
from model.mutate import Mutator
from model.records import walk

FEW, MANY, STEP = 200, 10000, 500
BLOCKS = [pytest.param(range(first, first + STEP), marks=pytest.mark.slow)
          for first in range(FEW, MANY, STEP)]
SEEDS = pytest.mark.parametrize("seeds", [range(FEW), *BLOCKS],
                                ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")


@SEEDS
def test_readers_agree_on_streams_of_later_versions(seeds):
    skipped = 0
    for seed in seeds:
        v2, options, start, stream = grown(seed)
        decoder = Decoder(io.BytesIO(stream), start)
        assert b"".join(decoder) == v2, seed
        assert decoder.identity == options["identity"], seed
        assert decoder.header.later == options["later"], seed
        skipped += sum(L.is_skipped(r.type) for r in walk(stream))
        if not options["index"]:
            with pytest.raises(Fault, match="no index"):
                by_index(stream, start)
            continue
        reader = by_index(stream, start)
        assert b"".join(reader) == v2, seed
        assert reader.identity == options["identity"], seed
        pages = last_pages(v2)
        if pages is None:
            with pytest.raises(Fault, match="in no entry"):
                reader.page(0)
            continue
        for pfn in [*pages][:3] + [*pages][-3:]:
            assert reader.page(pfn) == pages[pfn], (seed, pfn)
        assert reader.page(L.PFN_MASK) == pages.get(L.PFN_MASK)
    assert skipped > len(seeds)


@SEEDS
def test_readers_agree_on_damaged_streams(seeds):
    """What one refuses, so does the other; else both read the same."""
    taken = refused = 0
    for seed in seeds:
        _, _, start, stream = grown(seed)
        what, changed = Mutator(seed).any(stream)
        out, error = decode_some(changed, start)
        try:
            v2 = b"".join(by_index(changed, start))
        except Fault as fault:
            assert (error or "no index" in str(fault)
                    or "not a v3" in str(fault)), (seed, what, fault)
            refused += 1
            continue
        assert error is None, (seed, what, error)
        assert out == v2, (seed, what)
        taken += 1
    assert taken and refused


@SEEDS
def test_compat_of_later_versions(seeds):
    for seed in seeds:
        generator = Generator(seed, 4)
        v2, options = generator.stream(), generator.v3_options()
        stream = encode_compat(v2, optional=options["optional"])
        assert decode(stream) == v2, seed
