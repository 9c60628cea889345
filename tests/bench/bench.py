#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Save and restore beside their neighbours, on this machine's disk.

Every row runs once a round, in an order that is shuffled for each round, so
that what disturbs the machine disturbs all rows alike.  See
docs/measurements/performance.md for what is timed.
"""
import argparse
import json
import os
import random
import signal
import statistics
import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.dont_write_bytecode = True
import report                                               # noqa: E402
from measure import MIB, KernelClock, Sample, meminfo       # noqa: E402
from rows import (RESTORE_ROWS, SAVE_ROWS, Bench, RestoreRow,  # noqa: E402
                  SaveRow)

ALL_DATA = ['random', 'half-runs', 'half-pages', 'tenth']
# What runs on data sets other than the first, and at every scale.
SHORT_ROWS = {'fio', 'fio-fixed', 'offset', 'stock-sync', 'v3', 'compat', 'v2',
              'fio-read', 'fio-fixed-read', 'stock-cold', 'v3-cold'}
SCALE_ROWS = {'fio', 'fio-fixed', 'stock-sync', 'v3', 'fio-read',
              'fio-fixed-read', 'stock-cold', 'v3-cold'}
Samples = dict[str, list[Sample]]


def size(text: str) -> int:
    unit = {'K': 10, 'M': 20, 'G': 30}.get(text[-1:].upper())
    value = int(text[:-1]) << unit if unit else int(text)
    if value <= 0 or value % (4 * MIB):
        raise argparse.ArgumentTypeError('not a multiple of 4M')
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--build', type=Path, default=Path('build'))
    parser.add_argument('--directory', type=Path,
                        help='on the disk to measure; default BUILD/bench')
    parser.add_argument('--size', type=size, default=size('1G'))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--data', help='data sets, comma-separated; all: '
                        + ','.join(ALL_DATA))
    parser.add_argument('--rows', help='rows, comma-separated')
    parser.add_argument('--capture', help='a v2 save file, as a data set')
    parser.add_argument('--scale', metavar='SIZE,…',
                        type=lambda text: [size(part) for part
                                           in text.split(',')])
    parser.add_argument('--inproc', action='store_true',
                        help='link the stream library instead of preloading '
                             'it')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--list', action='store_true')
    return parser.parse_args()


def chosen(rows: list, names: set[str] | None, inproc: bool) -> list:
    if not inproc:
        return [row for row in rows if names is None or row.name in names]
    return [type(row)(**{**row.__dict__, 'inproc': True})
            for row in chosen(rows, names, False)]


def progress(text: str):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def rounds(bench: Bench, rows: list, count: int, order: random.Random,
           label: str) -> Samples:
    samples = {row.name: [] for row in rows}
    for number in range(count):
        bench.clock.calibrate()
        for row in order.sample(rows, len(rows)):
            progress(f'{label}: round {number + 1} of {count}: {row.name}')
            samples[row.name].append(row.run(bench))
    progress('')
    return samples


def make_files(bench: Bench, rows: list[RestoreRow]):
    """The files that restores read, each written by its own row."""
    writers = {'v2': 'stock-sync', 'v3': 'v3', 'compat': 'compat',
               'plain': 'copy'}
    by_name = {row.name: row for row in SAVE_ROWS}
    for form in sorted({row.file for row in rows}, reverse=True):
        bench.files[form] = bench.directory / f'restore.{form}.bench'
        if form == 'plain' and 'v3' in bench.files and \
                bench.files['v3'].stat().st_size >= bench.size:
            # Large enough for fio to read `size` of it.
            bench.files[form] = bench.files['v3']
            continue
        writer: SaveRow = by_name[writers[form]]
        writer = type(writer)(**{**writer.__dict__,
                                 'extra': (('BENCH_DIGEST', '1'),)})
        # What fio reads is not a stream.
        sample = writer.run(replace(bench, capture=None, data='random')
                            if form == 'plain' else bench,
                            keep=bench.files[form])
        if 'digest' in sample.more and not bench.capture:
            bench.digest = sample.more['digest']


def one_set(bench: Bench, names: set[str] | None, options, order) -> dict:
    """Saves, then restores, of one data set at one size."""
    label = f'{bench.data} {bench.size // MIB} MiB'
    save_rows = chosen(SAVE_ROWS, names, options.inproc)
    restore_rows = chosen(RESTORE_ROWS, names, options.inproc)
    result = {'data': bench.data, 'size': bench.size, 'image': bench.image,
              'capture': bench.capture, 'rows': {}}
    samples = rounds(bench, save_rows, options.rounds, order, label)
    if restore_rows:
        make_files(bench, restore_rows)
        samples |= rounds(bench, restore_rows, options.rounds, order, label)
        for path in set(bench.files.values()):
            path.unlink()
        bench.files.clear()
    for row in save_rows + restore_rows:
        runs = samples[row.name]
        result['rows'][row.name] = {
            'what': row.what,
            'median_seconds': statistics.median(s.seconds for s in runs),
            'median_cpu': statistics.median(s.cpu for s in runs),
            'samples': [asdict(sample) for sample in runs],
        }
    return result


def plan(options: argparse.Namespace) -> list[tuple[str, int, set | None]]:
    """(data set, size, rows) in the order in which they run."""
    named = set(options.rows.split(',')) if options.rows else None
    if options.scale:
        return [('random', size, named or SCALE_ROWS)
                for size in options.scale]
    sets = options.data.split(',') if options.data else ALL_DATA
    if options.capture and not options.data:
        sets.append('capture')
    return [(data, options.size, named or (None if data == sets[0]
                                           else SHORT_ROWS))
            for data in sets]


def warm_fits(size: int) -> bool:
    return size * 3 < meminfo('MemTotal')


def go_first():
    """Other work on the machine disturbs less; all rows inherit this."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    except PermissionError:
        pass


def main() -> int:
    options = arguments()
    go_first()
    # Ended from outside, it removes its files all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.list:
        for row in SAVE_ROWS + RESTORE_ROWS:
            print(f'{row.name:12} {row.what}')
        return 0
    output = options.build / 'bench'
    directory = options.directory or output
    output.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    clock = KernelClock()
    order = random.Random(options.seed)
    results = {'command': sys.argv, 'machine': report.machine(directory),
               'rounds': options.rounds, 'sets': []}
    for data, size, names in plan(options):
        room = meminfo('MemAvailable') // 2 // (4 * MIB) * (4 * MIB)
        bench = Bench(options.build.resolve(), directory.resolve(), clock,
                      size, min(size, room), data)
        if data == 'capture':
            bench.capture = os.path.abspath(options.capture)
            bench.size = bench.image = (os.path.getsize(bench.capture)
                                        // (4 * MIB) * (4 * MIB))
        if names is None and not warm_fits(size):
            names = {row.name for row in SAVE_ROWS + RESTORE_ROWS
                     if not getattr(row, 'warm', False)}
        try:
            results['sets'].append(one_set(bench, names, options, order))
        finally:
            for path in directory.glob('*.bench'):
                path.unlink()
        report.print_set(results['sets'][-1])
    name = 'scale' if options.scale else 'bench'
    (output / f'{name}.json').write_text(json.dumps(results, indent=1))
    report.print_targets(results)
    report.plot(results, output / f'{name}.png', bool(options.scale))
    print(f'{output / name}.json, {output / name}.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
