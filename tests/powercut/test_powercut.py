# SPDX-License-Identifier: LGPL-2.1-or-later
"""The disks that tests/powercut makes are those a power cut may leave."""
import random
import struct
import subprocess
from pathlib import Path

import pytest

from powercut import image
from powercut.log import (DISCARD, FATES, FLUSH, FUA, MAGIC, SECTOR, Log,
                          LogError, Media)

SECTORS = 64
MARKS = SECTORS * SECTOR


def block(fill: int, sectors: int = 1) -> bytes:
    return bytes([fill]) * (sectors * SECTOR)


def mark(text: str, seconds: int) -> bytes:
    raw = b"POWERCUT" + struct.pack("<Q", seconds * 10**9) + text.encode()
    return raw.ljust(SECTOR, b"\0")


def write_log(path: Path, entries) -> Path:
    """entries: (sector, contents or a number of sectors, flags)"""
    raw = struct.pack("<QQQI", MAGIC, 1, len(entries),
                      SECTOR).ljust(SECTOR, b"\0")
    for sector, contents, flags in entries:
        is_data = isinstance(contents, bytes)
        count = len(contents) // SECTOR if is_data else contents
        raw += struct.pack("<QQQQ", sector, count, flags,
                           0).ljust(SECTOR, b"\0")
        raw += contents if is_data else b""
    path.write_bytes(raw)
    return path


@pytest.fixture
def made(tmp_path):
    """A function: the disk after a cut, for a record and a fate."""
    def make(entries, cut, fate, seed=0):
        base = tmp_path / "base"
        base.write_bytes(bytes(MARKS + SECTOR))
        log = Log(write_log(tmp_path / "log", entries), MARKS)
        media = Media(log, base, tmp_path / "media")
        media.image(cut, fate, random.Random(seed), tmp_path / "image")
        disk = (tmp_path / "image").read_bytes()
        return [disk[at:at + SECTOR] for at in range(0, len(disk), SECTOR)]
    return make


PLAIN = [(0, block(1, 2), 0), (4, block(2), 0), (0, 0, FLUSH),
         (0, block(3), 0), (8, block(4, 8), 0)]


@pytest.mark.parametrize("fate", FATES)
def test_what_was_flushed_stays(made, fate):
    for seed in range(20):
        disk = made(PLAIN, 5, fate, seed)
        assert disk[1] == block(1) and disk[4] == block(2)
        assert disk[0] in (block(1), block(3))


def test_what_was_not_flushed_may_be_lost(made):
    assert made(PLAIN, 5, "nothing")[0] == block(1)
    assert made(PLAIN, 5, "everything")[0] == block(3)
    assert made(PLAIN, 5, "everything")[8:16] == [block(4)] * 8
    # Not one seed in forty leaves all of it, or nothing, every time.
    for fate in ("some", "torn"):
        seen = {made(PLAIN, 5, fate, seed)[0] for seed in range(40)}
        assert seen == {block(1), block(3)}


def test_a_write_may_be_torn(made):
    seen = {len([s for s in made(PLAIN, 5, "torn", seed)[8:16]
                 if s == block(4)]) for seed in range(40)}
    assert {0, 8} < seen and len(seen) > 3


def test_a_flush_that_has_not_ended_counts_for_nothing(made):
    assert made(PLAIN, 2, "nothing")[0] == block(0)
    assert made(PLAIN, 3, "nothing")[0] == block(1)


def test_what_comes_after_the_cut_is_not_there(made):
    disk = made(PLAIN, 4, "everything")
    assert disk[0] == block(3) and disk[8] == block(0)


def test_any_version_of_a_block(made):
    entries = [(0, block(n), 0) for n in range(1, 5)]
    seen = {made(entries, 4, "some", seed)[0] for seed in range(80)}
    assert seen == {block(n) for n in range(5)}


def test_fua_stays_and_discards_change_nothing(made):
    entries = [(0, block(1), FUA), (1, block(2), 0), (0, 2, DISCARD),
               (0, 0, FLUSH)]
    assert made(entries, 3, "nothing")[:2] == [block(1), block(0)]
    assert made(entries, 4, "nothing")[:2] == [block(1), block(2)]


def test_marks(tmp_path):
    log = Log(write_log(tmp_path / "log", [
        (0, block(1), 0), (SECTORS, mark("begin x", 3), 0),
        (0, 0, FLUSH), (SECTORS, mark("end x", 5), 0)]), MARKS)
    assert [(m.index, m.time, m.text) for m in log.marks] == \
        [(1, 3, "begin x"), (3, 5, "end x")]
    with pytest.raises(LogError):
        Log(write_log(tmp_path / "log", [(SECTORS, block(1), 0)]), MARKS)


def test_records_of_something_else_are_refused(tmp_path):
    (tmp_path / "log").write_bytes(bytes(4096))
    with pytest.raises(LogError):
        Log(tmp_path / "log")


def test_files_of_an_image(tmp_path):
    path, out = str(tmp_path / "image"), str(tmp_path / "out")
    image.make_filesystem(path, 16 << 20, 1 << 20)
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(100001))
    subprocess.run([image.tool("debugfs"), "-w", "-R",
                    f"write {tmp_path}/file guest", path], check=True,
                   capture_output=True)
    image.recover(path)
    found = image.files(path)
    assert list(found) == ["guest"] and found["guest"].size == 100001
    image.extract(path, found["guest"], out)
    assert Path(out).read_bytes() == (tmp_path / "file").read_bytes()


def test_a_filesystem_that_needs_more_than_its_journal(tmp_path):
    path = tmp_path / "image"
    image.make_filesystem(str(path), 16 << 20, 1 << 20)
    with open(path, "r+b") as file:
        file.seek(8 << 10)
        file.write(b"\xff" * 65536)
    with pytest.raises(image.ImageUnsound):
        image.recover(str(path))
