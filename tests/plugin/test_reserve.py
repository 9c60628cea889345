# SPDX-License-Identifier: LGPL-2.1-or-later
"""No room for the file at any of its blocks: the n-th does not fit, for
every n.  A limit on the size of files says so in the place of a full disk,
to which it would take a disk of every size.  And how much is asked for."""
import re

import pytest

from model import savefile
from model.generator import Generator
from model.records import record
from plugin.bench import Bench, limited_files

TAIL = record(3, b"emulator state" * 20)
BLOCK = 4096


@pytest.mark.parametrize("engine", ("uring", "thread"))
@pytest.mark.parametrize("io", ("direct", "buffered"))
def test_no_room_for_a_block(tools, tmp_path, io, engine):
    bench = Bench(tools, tmp_path, Generator(5, pages=10).pv(), TAIL)
    final, partial = tmp_path / "new", tmp_path / "new.partial"
    save = {"XL_ALIGNED_RESERVE": "no", "XL_ALIGNED_IO": io,
            "XL_ALIGNED_ENGINE": engine,
            "XL_ALIGNED_COMMIT_NAME": str(final)}
    assert bench.run("save", partial, **save).status == 0
    length = final.stat().st_size
    assert length > 60 * BLOCK
    # In the first block, the log of the stand-in would not fit, either.
    for room in (*range(BLOCK, length, BLOCK), length - 1):
        final.write_text("an older one")
        result = bench.run("save", partial, before=limited_files(room), **save)
        assert result.status == 1 and result.out == "resume\n", result
        # The tail is not written by us.
        assert "File too large" in result.err or \
            room > length - len(TAIL) - 8 - BLOCK, result
        assert final.read_text() == "an older one"
        assert not partial.exists()
    final.write_text("an older one")
    room = -(-length // (64 * BLOCK)) * 64 * BLOCK
    result = bench.run("save", partial, before=limited_files(room), **save)
    assert result.status == 0
    assert savefile.to_v2(final.read_bytes()) == bench.stock_file()


@pytest.mark.parametrize("format_,part", (("v2", 1 / 512),
                                          ("compat", 3 / 1024),
                                          ("v3", 3 / 1024)))
@pytest.mark.parametrize("gib", (1, 256))
def test_what_is_reserved(tools, tmp_path, format_, part, gib):
    """What the format needs, and little beside: a volume of the guest's
    memory and 1 GiB holds 256 GiB."""
    bench = Bench(tools, tmp_path)
    result = bench.run("save", tmp_path / "file", XL_ALIGNED_FORMAT=format_,
                       FAKE_MEMKB=str(gib << 20), before=limited_files(1 << 20))
    assert result.status == 1 and result.out == "resume\n", result
    need = int(re.search(r"needs (\d+) MiB", result.err)[1])
    memory = gib << 10
    assert memory * (1 + part) <= need <= memory * (1 + part + 1e-4) + 16
