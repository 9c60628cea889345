#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The readers beside each other, on grown, damaged and hostile streams.

/usr/bin/python3 -m stream.differential KIND FIRST COUNT [PER_STREAM]

KIND: `mutated`, each stream in PER_STREAM ways, or `grown`. The readers are
the decoder of the C library, its probe, check and index, and the two of
tests/model. A process of its own, so that a crash of the library is a failure
that can be reported: the line printed last names the seed. Exit status 1 if
two of them disagree.
"""
import faulthandler
import io
import os
import sys
from collections import Counter
from typing import Optional

from model import layout as L
from model.batch import Fault
from model.decoder import Decoder
from model.encoder import encode_compat, encode_v3
from model.generator import Generator
from model.grown import by_index, committed, grown, head_of, last_pages
from model.header import verify_file
from model.mutate import Mutator
from model.records import StreamError
from model.savefile import libxl_head
from model.xxh3 import xxh3
from stream import clib

FORMATS = ("v3", "compat", "v2")


class Packable(Generator):
    """Pages that compress well."""

    def page(self) -> bytes:
        size = self.random.choice((1, 16, 64, 512))
        return self.random.randbytes(size) * (L.PAGE // size)


def python_stream(stream: bytes, start: int) -> tuple:
    """(bytes handed out, StreamError or None, decoder)"""
    decoder, parts = Decoder(io.BytesIO(stream), start), []
    try:
        for part in decoder:
            parts.append(part)
    except StreamError as error:
        return b"".join(parts), error, decoder
    return b"".join(parts), None, decoder


def disagreement(stream: bytes, start: int = 0, seed: Optional[int] = None,
                 verdicts: Optional[Counter] = None) -> Optional[str]:
    """How the readers differ on a stream; None if they agree."""
    out, error, decoder = python_stream(stream, start)
    c = clib.decode(stream, start, seed=seed)
    if verdicts is not None:
        verdicts["accepted" if error is None else "refused"] += 1
    return (streams_differ(out, error, decoder, c)
            or index_differs(stream, start, out, error, decoder)
            or c_index_differs(stream, start, out, error, decoder, verdicts))


def streams_differ(out, error, decoder, c) -> Optional[str]:
    if (error is None) != (c.error is None):
        return f"Python: {error or 'accepts'}; C: {c.error or 'accepts'}"
    if (c.identity or {}) not in ([decoder.identity or {}]
                                  + [{}] * (error is not None)):
        return f"Python: identity {decoder.identity}; C: {c.identity}"
    if error is None:
        if out != c.v2:
            return f"both accept: {len(out)} and {len(c.v2)} bytes differ"
        return None if c.ended else "C has not ended"
    if not out.startswith(c.v2) and not c.v2.startswith(out):
        return (f"both refuse ({error}; {c.error}), but handed out "
                "different bytes")
    if not c.error.text or "\n" in c.error.text or not c.error.errnum:
        return f"C: error {c.error.errnum} with text {c.error.text!r}"
    if c.ended:
        return "C has ended with an error"
    return None


def index_differs(stream, start, out, error, decoder) -> Optional[str]:
    """The Python reader that knows the stream by its index."""
    try:
        reader = by_index(stream, start)
        v2 = b"".join(reader)
    except Fault as fault:
        if error or "no index" in str(fault) or "not a v3" in str(fault):
            return None
        return f"by its index: {fault}"
    if error:
        return f"accepted by its index; {error}"
    if v2 != out or reader.identity != decoder.identity:
        return "accepted by its index, but with other bytes"
    return None


def c_pages(file: bytes, libxl_offset: int) -> dict:
    """Every page of a v3 file by the C library's probe, check and index."""
    fd = os.memfd_create("differential", os.MFD_CLOEXEC)
    try:
        os.write(fd, file)
        found = clib.probe(fd, libxl_offset)
        clib.check(fd, found)
        return clib.index_pages(fd, found)
    finally:
        os.close(fd)


def file_is_whole(file: bytes, start: int, h: L.AlignedHeader) -> bool:
    """What a header says of the file around its stream."""
    try:
        verify_file(h, start, len(file), False)
    except Fault:
        return False
    return (xxh3(file[:start]), xxh3(file[start + h.stream_length:])) == (
        h.head_checksum, h.tail_checksum)


def c_index_differs(stream, start, out, error, decoder,
                    verdicts: Optional[Counter] = None) -> Optional[str]:
    """All pages of what is accepted; what is refused, it need not see."""
    if decoder.format != "v3" or start < len(libxl_head()):
        return None
    file, whole = head_of(start) + stream, True
    if error is None and decoder.header.state == L.COMPLETE:
        whole = file_is_whole(file, start, decoder.header)
    try:
        pages = c_pages(file, start - len(libxl_head()))
    except clib.LibraryError as refusal:
        if not refusal.text or "\n" in refusal.text or not refusal.errnum:
            return f"C, index: error {refusal.errnum}, {refusal.text!r}"
        if error or not whole or "PAGE_DATA of a form" in refusal.text:
            return None
        return f"C, index: {refusal}"
    if not whole:
        return "C, index: the file around the stream is not whole"
    if error is None and pages != last_pages(out):
        return "C, index: other pages"
    if error and verdicts is not None:
        verdicts["refused, pages read by the index of C"] += 1
    return None


def original(seed: int) -> tuple:
    """(stream, its start, its v2 form)"""
    format_ = FORMATS[seed % len(FORMATS)]
    v2 = Generator(seed, 12).stream()
    start = (len(libxl_head()) + seed % 8 if format_ == "v3"
             else 8 * (seed % 8))
    generator = Packable(seed, 12)
    options = generator.v3_options()
    if format_ == "v3":
        # Every other one is compressed, where that is worth it.
        if options["codec"]:
            v2 = generator.stream()
        return (committed(encode_v3(v2, start, **options), start),
                start, v2)
    if format_ == "compat":
        return encode_compat(v2, start, optional=options["optional"]), \
            start, v2
    return v2, start, v2


def mutations(seed: int, count: int):
    stream, start, _ = original(seed)
    for number in range(count):
        mutator = Mutator(seed << 20 | number)
        try:
            what, changed = mutator.any(stream)
        except StreamError:
            continue
        yield what, changed, start


def later_versions(seed: int, _):
    _, _, start, stream = grown(seed)
    yield "grown", stream, start


KINDS = {"mutated": mutations, "grown": later_versions}


def main(arguments: list) -> int:
    faulthandler.enable()
    streams = KINDS[arguments[0]]
    first, count = int(arguments[1]), int(arguments[2])
    each = int(arguments[3]) if len(arguments) > 3 else 40
    faults, verdicts = 0, Counter()
    for seed in range(first, first + count):
        print(f"seed {seed}", flush=True)
        for what, stream, start in streams(seed, each):
            found = disagreement(stream, start, seed, verdicts)
            if found:
                faults += 1
                print(f"seed {seed}: {what}: {found}", flush=True)
    print(f"{dict(verdicts)}, {faults} differ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
