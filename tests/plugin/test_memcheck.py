# SPDX-License-Identifier: LGPL-2.1-or-later
"""The helper's library under valgrind, in the stand-in for the save helper."""
import re

import pytest

from model import savefile
from model.generator import Generator
from model.records import record
from plugin.bench import PLUGIN, Bench
from support import cc

TAIL = record(3, b"emulator state")


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3, pages=400).hvm(), TAIL)


def run(bench, *args, status=0, **env):
    """A result, and what valgrind found in the helper."""
    for old in bench.folder.glob("memcheck.*"):
        old.unlink()
    result = bench.run(
        *args, LIBXL_SAVE_HELPER=str(bench.tools / "memcheck"),
        MEMCHECK_PROGRAM=str(bench.tools / "helper"),
        MEMCHECK_LOG=str(bench.folder / "memcheck"), **env)
    assert result.status == status, result
    logs = [log for log in (path.read_text() for path in
                            bench.folder.glob("memcheck.*"))
            # Whether it has its library is asked before a restore.
            if "--xl-aligned-probe" not in log]
    assert len(logs) == 1, logs
    return result, logs[0]


def clean(log: str) -> None:
    # Newer ones than 3.19 count every open descriptor, looked at below.
    counted = int(re.search(r"Using Valgrind-3\.(\d+)", log)[1]) > 19
    opened, standard = re.search(r"DESCRIPTORS: (\d+) open \((\d+) std\)",
                                 log).groups()
    expected = int(opened) - int(standard) if counted else 0
    assert re.search(rf"ERROR SUMMARY: {expected} errors", log), log
    assert "All heap blocks were freed" in log or \
        re.search(r"definitely lost: 0 bytes", log), log
    # Others' are those that it was given, and the helper's own.
    for block in re.findall(r"Open (?:.*\n)(?:==\d+==    .*\n)+", log):
        assert "<inherited" in block or "(save_helper.c:" in block, block


@pytest.mark.parametrize("engine", ("uring", "thread"))
@pytest.mark.parametrize("io", ("direct", "window", "buffered"))
@pytest.mark.parametrize("format_", ("v3", "compat"))
def test_save_and_restore(bench, tmp_path, format_, io, engine):
    file = tmp_path / "file"
    _, log = run(bench, "save", file, XL_ALIGNED_FORMAT=format_,
                 XL_ALIGNED_IO=io, XL_ALIGNED_ENGINE=engine)
    clean(log)
    assert savefile.to_v2(file.read_bytes()) == bench.stock_file()
    _, log = run(bench, "restore", file, XL_ALIGNED_ENGINE=engine,
                 XL_ALIGNED_RESTORE_IO="direct" if io == "direct"
                 else "buffered")
    clean(log)
    assert bench.restored() == bench.stream


def test_damaged_file(bench, tmp_path):
    file = tmp_path / "file"
    run(bench, "save", file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    _, log = run(bench, "restore", file, status=1)
    clean(log)


def test_it_would_be_found(bench, tmp_path):
    """A helper with a leak of its own."""
    cc(tmp_path / "leak.so", "-w", "-shared", "-fPIC", source="""
#include <stdlib.h>
__attribute__((constructor)) static void leak(void)
{
    static void *volatile p;
    p = malloc(77);
    p = NULL;
}
""")
    _, log = run(bench, "save", tmp_path / "file", preload=":".join(
        (str(PLUGIN), str(tmp_path / "leak.so"))))
    with pytest.raises(AssertionError):
        clean(log)
