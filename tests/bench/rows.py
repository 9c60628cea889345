# SPDX-License-Identifier: LGPL-2.1-or-later
"""The neighbours: what is run, on which file, prepared how."""
import json
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from measure import (MIB, KernelClock, Sample, drop, run_command, run_fio,
                     run_load, settle, warm)

# Records, pfns and padding, as the plugin reserves them.
OVERHEAD = 128
BATCHES_SLACK = 16 * MIB
STREAM_LIBRARY = 'libxl-aligned-stream.so'
FIO = ('--bs=4M', '--iodepth=8', '--ioengine=io_uring', '--direct=1',
       '--fallocate=none')
FIXED = ('--fixedbufs=1', '--registerfiles=1')


@dataclass
class Bench:
    """What all rows share."""
    build: Path
    directory: Path
    clock: KernelClock
    size: int
    image: int
    data: str = 'random'
    capture: str | None = None
    digest: str | None = None
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def touch(self) -> int:
        return self.size + self.size // 8 + 64 * MIB

    def environment(self) -> dict[str, str]:
        variables = {'BENCH_SIZE': str(self.size),
                     'BENCH_IMAGE': str(self.image),
                     'BENCH_DATA': self.data}
        if self.capture:
            variables['BENCH_CAPTURE'] = self.capture
        return variables

    def program(self, name: str) -> str:
        return str(self.build / 'tests' / 'bench' / name)

    def preload(self, fd: int, mode: str, form: str, io: str, engine: str,
                padding: int) -> dict[str, str]:
        """What the toolstack side gives to the helper."""
        return {'LD_PRELOAD': str(self.build / STREAM_LIBRARY),
                'XL_ALIGNED_STREAM':
                    f'fd={fd};mode={mode};format={form};io={io};'
                    f'engine={engine};reserve=0;head_padding={padding}'}


def toolstack_head(align: bool) -> tuple[bytes, int]:
    """xl's and libxl's bytes before the stream, and the padding in them."""
    config = json.dumps({'c_info': {'name': 'bench', 'type': 'pvh'},
                         'b_info': {'max_memkb': 1 << 20,
                                    'comment': 'x' * 600}}).encode() + b'\0'
    libxl = struct.pack('>QIIII', 0x4c6962786c466d74, 2, 0, 0x01000000, 0)
    optional = struct.pack('<I', len(config)) + config
    padding = -(48 + len(optional) + len(libxl)) % 8 if align else 0
    optional += bytes(padding)
    xl = struct.pack('<32sIIII', b'Xen saved domain, xl format\n \0 \r',
                     0x01020304, 0, 1, len(optional))
    return xl + optional + libxl, padding


# ---- save ------------------------------------------------------------------

@dataclass(frozen=True)
class SaveRow:
    name: str
    what: str
    format: str | None = None       # with the helper library; None: without
    io: str = 'direct'
    engine: str = 'uring'
    xen: str = '4.17'
    sync: str = 'data'
    reserve: bool = False
    program: str = 'save_load'
    inproc: bool = False
    extra: tuple = ()

    def run(self, bench: Bench, keep: Path | None = None) -> Sample:
        path = keep or bench.directory / 'save.bench'
        settle(bench.directory)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return self.measure(bench, fd, path)
        finally:
            os.close(fd)
            if not keep:
                path.unlink()

    def measure(self, bench: Bench, fd: int, path: Path) -> Sample:
        head, padding = toolstack_head(self.format == 'compat')
        if self.program == 'save_load':
            os.write(fd, head)
        if self.reserve:
            os.posix_fallocate(fd, 0, bench.size + bench.size // OVERHEAD +
                               BATCHES_SLACK)
            os.fsync(fd)
        environment = bench.environment() | {
            'BENCH_XEN': self.xen, 'BENCH_SYNC': self.sync,
            **dict(self.extra)}
        if self.format and self.inproc:
            environment |= {'BENCH_INPROC': self.format,
                            'BENCH_IO': self.io, 'BENCH_ENGINE': self.engine,
                            'BENCH_HEAD_PADDING': str(padding)}
        elif self.format:
            environment |= bench.preload(fd, 'save', self.format, self.io,
                                         self.engine, padding)
        argv = [bench.program(self.program), '--save-domain', str(fd),
                '-1', '1', '0', '0', '0']
        return run_load(argv, environment, fd, bench)


@dataclass(frozen=True)
class CommandRow(SaveRow):
    """A save by a program that is not ours."""
    argv: tuple = ()

    def measure(self, bench: Bench, fd: int, path: Path) -> Sample:
        if self.reserve:
            os.posix_fallocate(fd, 0, bench.size)
            os.fsync(fd)
        if self.program == 'fio':
            return run_fio([f'--filename={path}', '--rw=write',
                            f'--size={bench.size}', '--end_fsync=1', *FIO,
                            *self.argv], True, fd, bench)
        argv = ['dd', 'if=/dev/zero', f'of={path}', 'bs=4M', 'status=none',
                f'count={bench.size // (4 * MIB)}', *self.argv]
        return run_command(argv, fd, bench)


# As libxenguest maps a guest's memory, without the hypercalls.
BY_BATCH = (('BENCH_MAP', 'batch'),)
PROD = {'sync': 'commit', 'reserve': True}
SAVE_ROWS = [
    CommandRow('fio', 'fio, O_DIRECT, 4 MiB, depth 8, io_uring: the limit',
               program='fio', reserve=True),
    CommandRow('fio-fixed', 'the same with registered buffers and file',
               program='fio', reserve=True, argv=FIXED),
    SaveRow('copy', 'one memcpy, O_DIRECT, io_uring; no format, no checksum',
            program='copy_direct', reserve=True),
    SaveRow('offset', 'pages that are not zero at pfn × 4096, O_DIRECT',
            program='copy_direct', reserve=True,
            extra=(('BENCH_LAYOUT', 'offset'),)),
    CommandRow('dd-direct', 'dd oflag=direct bs=4M', program='dd',
               reserve=True,
               argv=('oflag=direct', 'conv=notrunc,fdatasync')),
    CommandRow('dd-sync', 'dd bs=4M conv=fdatasync', program='dd',
               argv=('conv=notrunc,fdatasync',)),
    SaveRow('stock', 'stock stream, page cache; NOT durable when it returns',
            sync='none'),
    SaveRow('stock-sync', 'stock stream, page cache, then fdatasync'),
    SaveRow('v3', 'v3, direct, committed', 'v3', **PROD),
    SaveRow('v3-master', 'v3 as Xen\'s master calls it', 'v3', xen='master',
            **PROD),
    SaveRow('compat', 'compat, direct, committed', 'compat', **PROD),
    SaveRow('v2', 'v2, direct, committed', 'v2', **PROD),
    SaveRow('v3-thread', 'v3, direct, threads instead of io_uring', 'v3',
            engine='thread', **PROD),
    SaveRow('v3-window', 'v3, through a window of the page cache', 'v3',
            io='window', **PROD),
    SaveRow('v3-map', 'v3, memory mapped by batch', 'v3', extra=BY_BATCH,
            **PROD),
    SaveRow('v3-half-runs', 'v3, half of the pages zero, in runs of 2 MiB',
            'v3', extra=(('BENCH_DATA', 'half-runs'),), **PROD),
    SaveRow('v3-half-pages', 'v3, every other page zero', 'v3',
            extra=(('BENCH_DATA', 'half-pages'),), **PROD),
    SaveRow('v3-growing', 'v3, direct, committed, no space reserved', 'v3',
            sync='commit'),
]

# ---- restore ---------------------------------------------------------------


@dataclass(frozen=True)
class RestoreRow:
    name: str
    what: str
    file: str                       # which of the files of `bench`
    warm: bool = False
    aligned: bool = False           # with the helper library
    io: str = 'auto'
    program: str = 'restore_load'
    inproc: bool = False
    extra: tuple = ()
    argv: tuple = ()

    def run(self, bench: Bench) -> Sample:
        fd = os.open(bench.files[self.file], os.O_RDWR)
        try:
            if self.program == 'fio':
                drop(fd)
                return run_fio([f'--filename={bench.files[self.file]}',
                                '--rw=read', f'--size={bench.size}', *FIO,
                                *self.argv], False, fd, bench)
            return self.measure(bench, fd)
        finally:
            os.close(fd)

    def measure(self, bench: Bench, fd: int) -> Sample:
        head, _ = toolstack_head(self.file == 'compat')
        environment = bench.environment() | {'BENCH_DIGEST': '1',
                                             **dict(self.extra)}
        if self.aligned and self.inproc:
            environment |= {'BENCH_INPROC': 'any', 'BENCH_IO': self.io}
        elif self.aligned:
            environment |= bench.preload(fd, 'restore', self.file, self.io,
                                         'auto', 0)
        argv = [bench.program('restore_load'), '--restore-domain', str(fd),
                '-1', '1', '1', '0', '2', '0', '0', '0']

        def prepare():
            os.lseek(fd, len(head), os.SEEK_SET)
            (warm if self.warm else drop)(fd)

        sample = run_load(argv, environment, fd, bench, prepare)
        if bench.digest and sample.more['digest'] != bench.digest:
            raise RuntimeError(f'{self.name}: restored other memory than '
                               'was saved')
        return sample


RESTORE_ROWS = [
    RestoreRow('fio-read', 'fio, O_DIRECT, 4 MiB, depth 8, io_uring: the '
               'limit', 'plain', program='fio'),
    RestoreRow('fio-fixed-read', 'the same with registered buffers and file',
               'plain', program='fio', argv=FIXED),
    RestoreRow('stock-cold', 'stock, file cold', 'v2'),
    RestoreRow('v3-cold', 'v3, file cold', 'v3', aligned=True),
    RestoreRow('compat-cold', 'compat, file cold', 'compat', aligned=True),
    RestoreRow('v2-cold', 'v2 with the plugin, file cold', 'v2',
               aligned=True),
    RestoreRow('stock-warm', 'stock, file in the page cache', 'v2',
               warm=True),
    RestoreRow('v3-warm', 'v3, file in the page cache', 'v3', warm=True,
               aligned=True),
    RestoreRow('compat-warm', 'compat, file in the page cache', 'compat',
               warm=True, aligned=True),
    RestoreRow('stock-map-warm', 'stock-warm, memory mapped by batch', 'v2',
               warm=True, extra=BY_BATCH),
    RestoreRow('v3-map-warm', 'v3-warm, memory mapped by batch', 'v3',
               warm=True, aligned=True, extra=BY_BATCH),
]
