#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C decoder beside the Python one for a time, on what the fuzzers keep.

python3 -m fuzz.differential [--seconds 60] [--corpus build/fuzz/corpus/decoder]

First every stream of the corpus, then damaged and hostile variants of
generated streams (stream.differential), and of the corpus' streams, until
the time is up. Exit status 1 at the first disagreement, whose stream is
written to build/fuzz/findings.
"""
import argparse
import faulthandler
import random
import struct
import sys
import time
from pathlib import Path

from model.mutate import Mutator
from model.records import StreamError
from stream import differential

CONTROL = struct.Struct("<BBHI")    # struct fuzz_control
PER_SEED = 40


class Disagreement(Exception):
    """The two decoders do not say the same."""


class Comparison:
    def __init__(self, findings: Path) -> None:
        self.findings = findings
        self.compared = 0

    def compare(self, what: str, stream: bytes, start: int,
                seed: int) -> None:
        self.findings.mkdir(parents=True, exist_ok=True)
        # Written first: a crash leaves it behind.
        path = self.findings / "differential-last"
        path.write_bytes(CONTROL.pack(start % 256, 0, 0, seed) + stream)
        found = differential.disagreement(stream, start, seed)
        if found:
            path.rename(self.findings / "differential-found")
            raise Disagreement(f"{what}, start {start}, seed {seed}: {found}")
        path.unlink()
        self.compared += 1


def corpus_streams(folder: Path) -> list:
    """[(start, stream)]"""
    result = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        data = path.read_bytes()
        if len(data) > CONTROL.size:
            result.append((data[0], data[CONTROL.size:]))
    return result


def variants(streams: list, seed: int):
    """Some of a generated stream, some of one of the corpus."""
    yield from differential.mutations(seed, PER_SEED)
    if not streams:
        return
    start, stream = random.Random(seed).choice(streams)
    for number in range(PER_SEED):
        mutator = Mutator(seed << 20 | 1 << 19 | number)
        try:
            what, changed = mutator.any(stream)
        except (StreamError, IndexError, struct.error):
            continue            # no stream that can be taken apart
        yield f"corpus, {what}", changed, start


def run(comparison: Comparison, streams: list, seconds: float) -> None:
    end = time.monotonic() + seconds
    for number, (start, stream) in enumerate(streams):
        comparison.compare(f"stream {number} of the corpus", stream, start,
                           number + 1)
        if time.monotonic() > end:
            return
    seed = int(time.time())
    while time.monotonic() < end:
        for what, stream, start in variants(streams, seed):
            comparison.compare(f"seed {seed}: {what}", stream, start, seed)
        seed += 1


def main() -> int:
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--corpus", default="build/fuzz/corpus/decoder")
    parser.add_argument("--findings", default="build/fuzz/findings")
    arguments = parser.parse_args()
    streams = corpus_streams(Path(arguments.corpus))
    comparison = Comparison(Path(arguments.findings))
    try:
        run(comparison, streams, arguments.seconds)
    except Disagreement as disagreement:
        print(f"differs: {disagreement}", file=sys.stderr)
        return 1
    finally:
        print(f"{comparison.compared} streams compared, "
              f"{len(streams)} of them the corpus")
    return 0


if __name__ == "__main__":
    sys.exit(main())
