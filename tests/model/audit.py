#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Audits whole save files: /usr/bin/python3 -m model.audit FILE...

Everything that the specification says of a file is checked: where page
contents lie, padding, every checksum, the index, totals, head, tail, state
and, if it has an index, that the file reads the same through it.  Memory use
does not grow with the file but for the index.  Exit status: 0 if every file
holds, 1 if one does not, 2 for usage.
"""
import argparse
import os
import stat
import sys
from dataclasses import dataclass, field

from . import layout as L
from .batch import Fault
from .decoder import Decoder, Observer, SeenBatch
from .index import IndexReader
from .records import StreamError
from .savefile import HeadError, parse_head, parse_libxl, parse_tail
from .xxh3 import Hash

HEAD_MAX = 16 << 20
SHOWN = 10


@dataclass
class Report(Observer):
    """What was found in one file."""
    alignment: int = L.PAGE
    expect_aligned: bool = True
    start: int = 0
    faults: list = field(default_factory=list)
    records: dict = field(default_factory=dict)
    entries: int = 0                # of the index
    batches: int = 0
    with_contents: int = 0
    misaligned: int = 0
    pages: int = 0
    zero: int = 0
    left_alone: int = 0
    index_offset: int = 0

    def fault(self, what: str) -> None:
        self.faults.append(what)

    def record(self, type_: int, offset: int, length: int) -> None:
        self.records[type_] = self.records.get(type_, 0) + 1

    def batch(self, batch: SeenBatch) -> None:
        self.batches += 1
        self.pages += batch.pages
        self.zero += batch.zero
        if batch.pages:
            self.with_contents += 1
            if batch.pages_offset % self.alignment:
                self.misaligned += 1
                if self.expect_aligned:
                    self.fault(f"the pages of the {L.name(batch.type)} at "
                               f"{batch.offset} begin at "
                               f"{batch.pages_offset}, which is not a "
                               f"multiple of {self.alignment}")

    def index(self, offset: int, batches: list, records: list) -> None:
        self.index_offset = offset - self.start
        self.entries = len(batches) + len(records)


def compare_index(report: Report, header: L.AlignedHeader, file,
                  v2: int, length: int) -> None:
    """`v2`: checksum of what the stream decodes to."""
    if (bool(header.optional_features & L.OPTIONAL_INDEX)
            != bool(report.index_offset)):
        report.fault("the INDEX feature is set, but there is no index"
                     if not report.index_offset else
                     "there is an index, but the INDEX feature is not set")
    if not report.index_offset or header.state != L.COMPLETE:
        return
    try:
        hash_ = Hash()
        for part in IndexReader(file, report.start, length):
            hash_.update(part)
        if hash_.digest() != v2:
            report.fault("the stream differs when read by its index")
    except Fault as fault:
        report.fault(f"read by its index: {fault}")


def compare_header(report: Report, header: L.AlignedHeader,
                   decoder: Decoder, length: int, device: bool) -> None:
    wanted = {"state": L.COMPLETE, "stream_start": report.start,
              "stream_length": decoder.source.offset - report.start,
              "index_offset": report.index_offset,
              "batches": report.records.get(L.ALIGNED_PAGE_DATA, 0),
              "pages_stored": report.pages, "pages_zero": report.zero,
              "version": L.VERSION, "min_reader_version": L.VERSION}
    if not device:
        wanted["file_length"] = length
    for name, value in wanted.items():
        found = getattr(header, name)
        if found != value:
            report.fault(f"ALIGNED_HEADER: {name} is {found}, not {value}")


def checksum(file, begin: int, end: int) -> int:
    hash_ = Hash()
    file.seek(begin)
    while begin < end:
        part = file.read(min(end - begin, 1 << 20))
        if not part:
            break
        hash_.update(part)
        begin += len(part)
    return hash_.digest()


def audit(path: str, libxl_offset: int = -1) -> tuple:
    """(Report, Decoder, file length) of one save file."""
    with open(path, "rb") as file:
        device = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return audit_file(file, libxl_offset, device)


def audit_file(file, libxl_offset: int = -1, device: bool = False) -> tuple:
    report = Report()
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    begin = file.read(HEAD_MAX)
    if libxl_offset >= 0:
        report.start = parse_libxl(begin, libxl_offset)
    else:
        report.start = parse_head(begin).stream_start
    file.seek(report.start)
    decoder = Decoder(file, report.start, length, device, report)
    stream = iter(decoder)
    headers = next(stream)
    header = decoder.header
    if header:
        report.alignment = header.alignment
        report.expect_aligned = True
    else:
        report.expect_aligned = decoder.format == "compat"
    v2 = Hash()
    v2.update(headers)
    for part in stream:
        v2.update(part)
    end = length
    if header:
        report.left_alone = report.records.get(L.PAGE_DATA, 0)
        compare_index(report, header, file, v2.digest(),
                      header.file_length)
        compare_header(report, header, decoder, length, device)
        end = header.file_length
        for part, first, last in (("head", 0, report.start),
                                  ("tail", decoder.source.offset, end)):
            wanted = getattr(header, f"{part}_checksum")
            found = checksum(file, first, last)
            if found != wanted:
                report.fault(f"the checksum of the {part} is "
                             f"0x{found:016x}, not 0x{wanted:016x}")
    if not device or header:
        file.seek(decoder.source.offset)
        try:
            parse_tail(file.read(end - decoder.source.offset))
        except ValueError as error:
            report.fault(str(error))
    return report, decoder, length


def summary(report: Report, decoder: Decoder, length: int) -> str:
    lines = [f"  format {decoder.format}, {length} bytes, stream at "
             f"{report.start}, {decoder.source.offset - report.start} bytes"]
    if decoder.header:
        lines.append(f"  state {L.STATE_NAMES[decoder.header.state]}, "
                     f"alignment {report.alignment}")
    lines.append(f"  {report.batches} batches, {report.with_contents} with "
                 f"page contents, {report.misaligned} of these not aligned; "
                 f"{report.left_alone} PAGE_DATA left alone")
    lines.append(f"  {report.pages} pages stored, {report.zero} zero pages "
                 f"elided; {report.entries} index entries")
    lines.append("  " + ", ".join(
        f"{count} {L.name(type_)}"
        for type_, count in sorted(report.records.items())))
    return "\n".join(lines)


def main(arguments: list) -> int:
    parser = argparse.ArgumentParser(prog="model.audit")
    parser.add_argument("--format", choices=("v2", "compat", "v3"),
                        help="fail if a file has another format")
    parser.add_argument("--libxl-offset", type=int, default=-1,
                        help="where the libxl header lies (default: behind "
                        "the header of xl)")
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args(arguments)
    status = 0
    for path in options.files:
        try:
            report, decoder, length = audit(path, options.libxl_offset)
        except (StreamError, HeadError, OSError) as error:
            print(f"{path}: REFUSED: {error}")
            status = 1
            continue
        if options.format not in (None, decoder.format):
            report.fault(f"the format is not {options.format}")
        print(f"{path}: {'FAULTS' if report.faults else 'holds'}")
        print(summary(report, decoder, length))
        for fault in report.faults[:SHOWN]:
            print(f"  fault: {fault}")
        if len(report.faults) > SHOWN:
            print(f"  … and {len(report.faults) - SHOWN} more faults")
        if report.faults:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
