#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C decoder beside the Python one, on damaged and hostile streams.

/usr/bin/python3 -m stream.differential FIRST COUNT [PER_STREAM]

A process of its own, so that a crash of the library is a failure that can be
reported: the line printed last names the seed. Exit status 1 if the two
disagree.
"""
import faulthandler
import sys
from collections import Counter
from typing import Optional

from model import layout as L
from model.decoder import decode_some
from model.encoder import commit_stream, encode_compat, encode_v3
from model.generator import Generator
from model.mutate import Mutator
from model.records import StreamError
from stream import clib

FORMATS = ("v3", "compat", "v2")


class Packable(Generator):
    """Pages that compress well."""

    def page(self) -> bytes:
        size = self.random.choice((1, 16, 64, 512))
        return self.random.randbytes(size) * (L.PAGE // size)


def disagreement(stream: bytes, start: int = 0,
                 seed: Optional[int] = None) -> Optional[str]:
    """How the two decoders differ on a stream; None if they agree."""
    out, error = decode_some(stream, start)
    c = clib.decode(stream, start, seed=seed)
    if (error is None) != (c.error is None):
        return f"Python: {error or 'accepts'}; C: {c.error or 'accepts'}"
    if error is None:
        if out != c.v2:
            return f"both accept: {len(out)} and {len(c.v2)} octets differ"
        return None if c.ended else "C has not ended"
    if not out.startswith(c.v2) and not c.v2.startswith(out):
        return (f"both refuse ({error}; {c.error}), but handed out "
                "different octets")
    if not c.error.text or "\n" in c.error.text or not c.error.errnum:
        return f"C: error {c.error.errnum} with text {c.error.text!r}"
    if c.ended:
        return "C has ended with an error"
    return None


def original(seed: int) -> tuple:
    """(stream, its start, its v2 form)"""
    format_ = FORMATS[seed % len(FORMATS)]
    v2 = Generator(seed, 12).stream()
    start = seed % 8 if format_ == "v3" else 8 * (seed % 8)
    generator = Packable(seed, 12)
    options = generator.v3_options()
    if format_ == "v3":
        # Every other one is compressed, where that is worth it.
        if options["codec"]:
            v2 = generator.stream()
        return (commit_stream(encode_v3(v2, start, **options), start),
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


def main(arguments: list) -> int:
    faulthandler.enable()
    first, count = int(arguments[0]), int(arguments[1])
    each = int(arguments[2]) if len(arguments) > 2 else 40
    faults, verdicts = 0, Counter()
    for seed in range(first, first + count):
        print(f"seed {seed}", flush=True)
        for what, stream, start in mutations(seed, each):
            found = disagreement(stream, start, seed)
            verdicts[found is None] += 1
            if found:
                faults += 1
                print(f"seed {seed}: {what}: {found}", flush=True)
    print(f"{verdicts[True]} agree, {faults} differ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
