# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables, targets and plots of what bench.py has measured."""
import os
import platform
import statistics
import subprocess
from pathlib import Path

GIB = 1 << 30
MIB = 1 << 20
# Of these, the faster.
LIMIT = {'save': ('fio', 'fio-fixed'),
         'restore': ('fio-read', 'fio-fixed-read')}


def machine(directory: Path) -> dict:
    cpu = [line.split(':')[1].strip()
           for line in Path('/proc/cpuinfo').read_text().splitlines()
           if line.startswith('model name')]
    mount = subprocess.run(['findmnt', '-no', 'SOURCE,FSTYPE,OPTIONS',
                            '-T', str(directory)], capture_output=True,
                           text=True).stdout.strip()
    return {'kernel': platform.release(), 'cpu': cpu[0], 'cpus': len(cpu),
            'memory': os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'),
            'filesystem': mount}


def median(row: dict, key: str) -> float:
    return statistics.median(sample[key] or 0 for sample in row['samples'])


def cpu_per_gib(row: dict, size: int) -> float:
    return row['median_cpu'] * GIB / size


def kind(name: str) -> str:
    return 'restore' if name.endswith(('-cold', '-warm', '-read')) \
        else 'save'


def against(rows: dict, name: str, other: str | None) -> float | None:
    """How fast one row is, as a fraction of another's speed: the median of
    the ratios within each round."""
    if name not in rows or other not in rows:
        return None
    return statistics.median(
        b['seconds'] / a['seconds']
        for a, b in zip(rows[name]['samples'], rows[other]['samples']))


def limit(rows: dict, name: str) -> str | None:
    """The row that shows what the disk can do, for a row."""
    return min((row for row in LIMIT[kind(name)] if row in rows),
               key=lambda row: rows[row]['median_seconds'], default=None)


# ---- tables ----------------------------------------------------------------

HEAD = ('row', 'GiB/s', 'slowest', 'fastest', 'of fio', 'CPU-s/GiB',
        'kernel', 'cache MiB', 'RSS MiB', 'file MiB')


def table_line(name: str, rows: dict, size: int) -> list[str]:
    row = rows[name]
    seconds = [sample['seconds'] for sample in row['samples']]
    ratio = against(rows, name, limit(rows, name))
    rss = [sample['rss_added'] for sample in row['samples']
           if sample['rss_added'] is not None]
    return [name, f'{size / row["median_seconds"] / GIB:.2f}',
            f'{size / max(seconds) / GIB:.2f}',
            f'{size / min(seconds) / GIB:.2f}',
            f'{ratio:.2f}' if ratio else '',
            f'{cpu_per_gib(row, size):.2f}',
            f'{median(row, "kernel") * GIB / size:.2f}',
            f'{median(row, "cache_peak") / MIB:.1f}',
            f'{max(rss) / MIB:.1f}' if rss else '',
            f'{median(row, "file_bytes") / MIB:.1f}']


def print_set(result: dict):
    size, rows = result['size'], result['rows']
    lines = [HEAD] + [table_line(name, rows, size) for name in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    print(f'\n{result["data"]}, {size // MIB} MiB of guest memory, medians '
          f'of {len(next(iter(rows.values()))["samples"])}')
    for line in lines:
        print('  '.join(text.ljust(width) if i == 0 else text.rjust(width)
                        for i, (text, width) in enumerate(zip(line, widths))))


# ---- targets ---------------------------------------------------------------

def overhead(row: dict) -> float:
    """Bytes that are neither pages nor batches without a page, by pages."""
    sample = row['samples'][0]
    more = sample['more']
    pages = more['pages'] * 4096
    empty = more['empty_batches'] * (8 + 24 + 8192)
    return (sample['file_bytes'] - pages - empty) / pages


def targets(results: dict) -> list[tuple[str, float, str, float]]:
    """(what, measured, '≥' or '≤', bound)"""
    found = []

    def add(what, value, sign, bound):
        if value is not None:
            found.append((what, value, sign, bound))

    full = results['sets'][0]
    size, rows = full['size'], full['rows']
    if 'v3' in rows:
        add('save: speed, of fio',
            against(rows, 'v3', limit(rows, 'v3')), '≥', 0.95)
        add('save: CPU-s/GiB', cpu_per_gib(rows['v3'], size), '≤', 0.45)
        if full['data'] == 'random':        # every page is stored
            add('save: overhead over the pages', overhead(rows['v3']), '≤',
                0.004)
        add('save: page cache, MiB', max(
            s['cache_peak'] for s in rows['v3']['samples']) / MIB, '≤', 1)
    if 'v3' in rows and 'stock-sync' in rows:
        add('save: CPU, of stock and fdatasync',
            rows['v3']['median_cpu'] / rows['stock-sync']['median_cpu'],
            '≤', 0.5)
        add('save: speed, of stock and fdatasync',
            against(rows, 'v3', 'stock-sync'), '≥', 2)
        for name, stock in (('v3', 'stock-sync'), ('v3-cold', 'stock-cold')):
            if name in rows and stock in rows:
                add(f'{name}: RSS more than stock, MiB',
                    (median(rows[name], 'rss_added') -
                     median(rows[stock], 'rss_added')) / MIB, '≤', 64)
    add('restore, cold: speed, of fio',
        against(rows, 'v3-cold', limit(rows, 'v3-cold')), '≥', 0.95)
    if 'v3-cold' in rows:
        add('restore, cold: page cache, MiB', max(
            s['cache_peak'] for s in rows['v3-cold']['samples']) / MIB,
            '≤', 1)
    add('restore, warm: speed, of stock',
        against(rows, 'v3-warm', 'stock-warm'), '≥', 0.95)
    add('restore, warm, memory mapped by batch: speed, of stock',
        against(rows, 'v3-map-warm', 'stock-map-warm'), '≥', 0.95)
    for half in ('half-runs', 'half-pages'):
        if 'v3' in rows and f'v3-{half}' in rows:
            row = rows[f'v3-{half}']
            add(f'{half}: time, of full',
                against(rows, 'v3', f'v3-{half}'), '≤', 0.55)
            add(f'{half}: bytes, of full',
                median(row, 'file_bytes') / median(rows['v3'],
                                                   'file_bytes'),
                '≤', 0.55)
    return found


def print_targets(results: dict):
    print()
    results['targets'] = []
    for what, value, sign, bound in targets(results):
        met = value >= bound if sign == '≥' else value <= bound
        results['targets'].append({'what': what, 'value': value,
                                   'sign': sign, 'bound': bound, 'met': met})
        print(f'{"met   " if met else "MISSED"}  {what}: {value:.4g}  '
              f'({sign} {bound})')


# ---- plots -----------------------------------------------------------------

STYLE = '''set terminal pngcairo size {width},{height} font "sans,10"
set output "{output}"
set style data histograms
set style histogram errorbars gap 1 lw 1
set style fill solid 0.7 border -1
set boxwidth 0.8
set grid ytics
set yrange [0:*]
set xtics rotate by -35
set multiplot layout {panels},1
'''


def gnuplot(script: str):
    subprocess.run(['gnuplot'], input=script, text=True, check=True)


def data_block(name: str, lines: list[tuple]) -> str:
    text = '\n'.join(' '.join(str(value) for value in line)
                     for line in lines)
    return f'${name} << EOD\n{text}\nEOD\n'


def plot_rows(results: dict, output: Path):
    """Speed with its spread, and processor time, for each data set."""
    script = STYLE.format(width=1000, height=640 * len(results['sets']),
                          output=output, panels=2 * len(results['sets']))
    for number, result in enumerate(results['sets']):
        size = result['size'] / GIB
        lines = []
        for name, row in result['rows'].items():
            seconds = [sample['seconds'] for sample in row['samples']]
            lines.append((f'"{name}"', size / row['median_seconds'],
                          size / max(seconds), size / min(seconds),
                          row['median_cpu'] / size))
        script += data_block(f'd{number}', lines)
        script += (f'set title "{result["data"]}, {size:g} GiB"\n'
                   'set ylabel "GiB/s"\n'
                   f'plot $d{number} using 2:3:4:xtic(1) notitle\n'
                   'set ylabel "CPU-s/GiB"\n'
                   'set title\n'
                   f'plot $d{number} using 5:(0):xtic(1) notitle '
                   'linecolor 2\n')
    gnuplot(script + 'unset multiplot\n')


def plot_scale(results: dict, output: Path):
    """Time over guest memory, a line for each row."""
    names = list(results['sets'][0]['rows'])
    script = (f'set terminal pngcairo size 1000,1200 font "sans,10"\n'
              f'set output "{output}"\nset grid\nset key left top\n'
              'set xlabel "GiB of guest memory"\n'
              'set multiplot layout 2,1\n')
    for number, name in enumerate(names):
        script += data_block(f'd{number}', [
            (result['size'] / GIB, result['rows'][name]['median_seconds'],
             median(result['rows'][name], 'cache_peak') / MIB)
            for result in results['sets'] if name in result['rows']])
    for column, label in ((2, 'seconds'), (3, 'page cache, MiB')):
        script += f'set ylabel "{label}"\nplot ' + ', '.join(
            f'$d{number} using 1:{column} with linespoints title "{name}"'
            for number, name in enumerate(names)) + '\n'
    gnuplot(script + 'unset multiplot\n')


def plot(results: dict, output: Path, scale: bool):
    (plot_scale if scale else plot_rows)(results, output)
