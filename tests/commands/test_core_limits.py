# SPDX-License-Identifier: LGPL-2.1-or-later
"""to-core: memory follows what a save file holds, not what it claims."""
import subprocess
import sys

import pytest

from commands.program import PROGRAM
from model import layout as L
from model import domains, generator, savefile
from model.core_reader import read_xen

ALLOWED_MIB = 100
ENTRIES = 512


# What a process had before it became xl-aligned counts: this one has little.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
"""


def to_core(tmp_path, v2: bytes, format_: str):
    """(status, text, MiB at most) of to-core."""
    path = tmp_path / "guest"
    path.write_bytes(savefile.build(v2, b"{}", savefile.pv_tail(), format_))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, PROGRAM, "to-core", path,
         tmp_path / "core"], capture_output=True, text=True, check=True)
    status, mib = map(int, done.stdout.split())
    return status, done.stderr, mib


def saved(first: int, frames: int, pfns: list) -> bytes:
    """A PV domain whose table says 0x500 and up, in pfn 5."""
    table = b"".join(L.U64.pack(0x500 + i) for i in range(ENTRIES))
    pages = generator.page_data(
        pfns + [5], [bytes([1]) * L.PAGE] * len(pfns) + [table])
    return domains.pv_stream(
        8, domains.p2m_frames(first, first + frames * ENTRIES - 1,
                              [5] * frames),
        pages, [bytes(domains.CONTEXT[8])])


@pytest.mark.parametrize("format_", ("v2", "compat", "v3"))
def test_a_table_of_frames_far_up(tmp_path, format_):
    """It begins at pfn 400,000,000: 3 GB, if it began at 0."""
    first = 400_000_000 // ENTRIES * ENTRIES
    status, text, mib = to_core(tmp_path, saved(first, 1, [first + 2]),
                                format_)
    assert (status, text) == (0, "")
    assert read_xen(tmp_path / "core").mfns[first + 2] == 0x502
    assert mib < ALLOWED_MIB, f"{mib} MiB"


@pytest.mark.parametrize("format_", ("v2", "v3"))
def test_a_table_of_frames_for_pages_that_are_not_there(tmp_path, format_):
    """One page, named 100,000 times: a file of 800 kB, a table of 400 MB."""
    status, text, mib = to_core(tmp_path, saved(0, 100_000, []), format_)
    assert status == 1
    assert "table of frames" in text and text.count("\n") == 1
    assert mib < ALLOWED_MIB, f"{mib} MiB"
    assert not (tmp_path / "core").exists()


def test_a_record_longer_than_the_file(tmp_path):
    v2 = saved(0, 1, [])[:-8] + L.RECORD_HEADER.pack(0x9, 127 << 20)
    status, text, mib = to_core(tmp_path, v2 + bytes(64), "v2")
    assert status == 1
    assert f"record of {127 << 20} bytes" in text and text.count("\n") == 1
    assert mib < ALLOWED_MIB, f"{mib} MiB"
