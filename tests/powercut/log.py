# SPDX-License-Identifier: LGPL-2.1-or-later
"""The record of a disk's writes, and disks as power cuts leave them.

The record is in the format of Linux's dm-log-writes, as QEMU's driver
blklogwrites writes it: an entry for each write and flush in the order in
which they ended.

A disk with a volatile write cache keeps, when its power fails, every write
that had ended before a flush began that ended, too.  Of the others each may
be there or not, whole or in part, in any order; of a block that was written
several times, any version.
"""
from __future__ import annotations

import bisect
import random
import struct
import subprocess
from dataclasses import dataclass
from typing import BinaryIO

SECTOR = 512
MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MARK_MAGIC = b"POWERCUT"


class LogError(Exception):
    """The record cannot be read."""


@dataclass(frozen=True)
class Entry:
    sector: int
    sectors: int
    flags: int
    data: int           # offset of the contents in the record

    @property
    def offset(self) -> int:
        return self.sector * SECTOR

    @property
    def length(self) -> int:
        return self.sectors * SECTOR


@dataclass(frozen=True)
class Mark:
    """Something that had happened when the entry of this number ended."""
    index: int
    time: float         # seconds, of the host that wrote it
    text: str


class Log:
    """A record; entries, and the marks among them."""

    def __init__(self, path: str, mark_offset: int = -1):
        self.path = path
        self.entries: list[Entry] = []
        self.marks: list[Mark] = []
        self.mark_offset = mark_offset
        self.flushes: list[int] = []
        with open(path, "rb") as file:
            self._read(file, mark_offset)

    def _read(self, file: BinaryIO, mark_offset: int) -> None:
        magic, version, _, sector = struct.unpack("<QQQI", file.read(28))
        if (magic, version, sector) != (MAGIC, 1, SECTOR):
            raise LogError(f"{self.path}: not a record of writes with "
                           f"sectors of {SECTOR}")
        at = SECTOR
        while True:
            file.seek(at)
            raw = file.read(32)
            if len(raw) < 32 or not any(raw):
                break
            entry = Entry(*struct.unpack("<QQQ", raw[:24]), at + SECTOR)
            at = entry.data
            if not entry.flags & DISCARD:
                at += entry.length
            if entry.flags & FLUSH:
                self.flushes.append(len(self.entries))
            if entry.offset == mark_offset:
                file.seek(entry.data)
                self._mark(file.read(SECTOR))
            self.entries.append(entry)

    def _mark(self, raw: bytes) -> None:
        if raw[:8] != MARK_MAGIC:
            raise LogError(f"{self.path}: entry {len(self.entries)} is no "
                           "mark, but lies where marks do")
        nanoseconds, = struct.unpack("<Q", raw[8:16])
        text = raw[16:].split(b"\0", 1)[0].decode()
        self.marks.append(Mark(len(self.entries), nanoseconds / 1e9, text))

    def flushed(self, cut: int) -> int:
        """How many of the first `cut` entries a flush has covered."""
        at = bisect.bisect_left(self.flushes, cut)
        return self.flushes[at - 1] if at else 0


# How much of what was not flushed is there after a cut.
FATES = ("nothing", "everything", "some", "torn")


def torn(entry: Entry, rng: random.Random) -> list[tuple[int, int]]:
    """Parts of a write: (first sector, number of sectors) within it."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        first = rng.randrange(entry.sectors)
        parts.append((first, rng.randint(1, entry.sectors - first)))
    return parts


def surviving(entry: Entry, fate: str,
              rng: random.Random) -> list[tuple[int, int]]:
    whole = [(0, entry.sectors)]
    if fate == "nothing":
        return []
    if fate == "everything":
        return whole
    if fate == "some":
        return whole if rng.random() < 0.5 else []
    return rng.choice(([], whole, torn(entry, rng)))


def copy(source: str, target: str) -> None:
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


class Media:
    """A disk on the way through a record, at cuts that come in order."""

    def __init__(self, log: Log, base: str, path: str):
        self.log, self.path = log, path
        self._done = 0          # entries that are on it for good
        copy(base, path)

    def _apply(self, disk: BinaryIO, record: BinaryIO, entry: Entry,
               parts: list[tuple[int, int]]) -> None:
        for first, sectors in parts:
            record.seek(entry.data + first * SECTOR)
            disk.seek(entry.offset + first * SECTOR)
            disk.write(record.read(sectors * SECTOR))

    def _stable(self, upto: int) -> None:
        if upto < self._done:
            raise ValueError("the cuts do not come in order")
        with open(self.path, "r+b") as disk, \
                open(self.log.path, "rb") as record:
            for entry in self.log.entries[self._done:upto]:
                if not entry.flags & DISCARD:
                    self._apply(disk, record, entry, [(0, entry.sectors)])
        self._done = upto

    def image(self, cut: int, fate: str, rng: random.Random,
              path: str) -> int:
        """Makes the disk after a cut behind `cut` entries; how many writes
        had not been flushed."""
        self._stable(self.log.flushed(cut))
        copy(self.path, path)
        loose = [entry for entry in self.log.entries[self._done:cut]
                 if entry.sectors and not entry.flags & DISCARD and
                 entry.offset != self.log.mark_offset]
        # Which version of a block is there does not go by age.
        if fate in ("some", "torn"):
            rng.shuffle(loose)
        with open(path, "r+b") as disk, open(self.log.path, "rb") as record:
            for entry in loose:
                parts = ([(0, entry.sectors)] if entry.flags & FUA else
                         surviving(entry, fate, rng))
                self._apply(disk, record, entry, parts)
        return len(loose)
