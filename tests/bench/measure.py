# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run costs: time, processor, page cache, memory, disk.

Processor time is that of the measured process and its threads (getrusage,
io_uring's workers included) plus that of the kernel's own threads which do
I/O for it (writeback, journal, extent conversion), read from
/proc/PID/schedstat, less what they used per second when nothing ran.
"""
import ctypes
import json
import mmap
import os
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
KERNEL_THREADS = ('kworker', 'jbd2', 'kswapd', 'ksoftirqd', 'kblockd')
SYS_CACHESTAT = 451
PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Sample:
    """One run.  Seconds and bytes; None where it does not apply."""
    seconds: float = 0.0
    stream_seconds: float = 0.0
    user: float = 0.0
    system: float = 0.0
    kernel: float = 0.0
    rss_added: int | None = None
    cache_peak: int = 0         # of the file, sampled while it ran
    cache_after: int = 0        # of the file
    cached_growth: int = 0      # of the whole machine, others included
    file_bytes: int = 0
    disk_bytes: int = 0
    load: float = 0.0           # runnable tasks of others
    more: dict = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        return self.user + self.system + self.kernel


# ---- counters --------------------------------------------------------------

def cached_bytes(fd: int) -> int:
    """Bytes of the file behind fd that are in the page cache."""
    counts = (ctypes.c_uint64 * 5)()
    span = (ctypes.c_uint64 * 2)(0, 0)      # length 0: to the end
    if _libc.syscall(SYS_CACHESTAT, fd, span, counts, 0):
        raise OSError(ctypes.get_errno(), 'cachestat needs Linux 6.5')
    return counts[0] * PAGE


def meminfo(key: str) -> int:
    for line in Path('/proc/meminfo').read_text().splitlines():
        if line.startswith(key + ':'):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


class KernelClock:
    """Processor seconds of the kernel's I/O threads."""

    def __init__(self):
        self.known = {}         # pid: whether it counts
        self.idle = 0.0         # per second, of others

    def _counts(self, pid: str) -> bool:
        text = Path(f'/proc/{pid}/stat').read_text()
        name, rest = text[text.index('(') + 1:].rsplit(')', 1)
        return (rest.split()[1] == '2' and
                name.startswith(KERNEL_THREADS))

    def read(self) -> dict[str, int]:
        times = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                if pid not in self.known:
                    self.known[pid] = self._counts(pid)
                if self.known[pid]:
                    with open(f'/proc/{pid}/schedstat') as file:
                        times[pid] = int(file.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return times

    @staticmethod
    def between(begin: dict[str, int], end: dict[str, int]) -> float:
        return sum(ns - begin.get(pid, 0) for pid, ns in end.items()) / 1e9

    def calibrate(self, seconds: float = 0.5):
        begin = self.read()
        time.sleep(seconds)
        self.idle = self.between(begin, self.read()) / seconds

    def used(self, begin: dict[str, int], seconds: float) -> float:
        return max(0.0, self.between(begin, self.read()) -
                   self.idle * seconds)


# ---- files -----------------------------------------------------------------

def settle(directory: Path):
    """Writes back and frees what earlier runs left on this filesystem."""
    fd = os.open(directory, os.O_RDONLY)
    _libc.syncfs(fd)
    os.close(fd)


def drop(fd: int):
    """Makes a file cold."""
    os.fsync(fd)
    for _ in range(20):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if not cached_bytes(fd):
            return
        time.sleep(0.05)
    raise RuntimeError('the file does not leave the page cache')


def warm(fd: int):
    """Brings a whole file into the page cache, by reading it.

    A file that is there because it was written lies in larger folios, which
    are faster to read: all start alike.
    """
    drop(fd)
    size = os.fstat(fd).st_size
    buffer = bytearray(4 * MIB)
    for _ in range(5):
        for offset in range(0, size, len(buffer)):
            os.preadv(fd, [buffer], offset)
        if cached_bytes(fd) >= size * 0.99:
            return
    raise RuntimeError('the file does not stay in the page cache: too '
                       'little free memory for this size')


def touch_memory(size: int):
    """Has the hypervisor back free memory, if this is a virtual machine.

    Memory that a machine reports as free is taken from it; whoever uses it
    next pays for getting it back, and the page cache uses the most.
    """
    size = min(size, meminfo('MemFree') * 3 // 4)
    mmap.mmap(-1, size // PAGE * PAGE, flags=mmap.MAP_PRIVATE |
              mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


# ---- runs ------------------------------------------------------------------

class Meter:
    """Counters around one run that uses the file behind fd."""

    def __init__(self, fd: int, bench):
        self.clock, self.fd = bench.clock, fd
        touch_memory(bench.touch)
        self.sample = Sample(load=os.getloadavg()[0])

    def begin(self):
        self.cache_before = cached_bytes(self.fd)
        self.cached = meminfo('Cached')
        self.kernel = self.clock.read()
        self.started = time.monotonic()

    def watch(self):
        self.sample.cache_peak = max(
            self.sample.cache_peak,
            cached_bytes(self.fd) - self.cache_before)

    def end(self):
        elapsed = time.monotonic() - self.started
        sample = self.sample
        sample.kernel = self.clock.used(self.kernel, elapsed)
        sample.cache_after = cached_bytes(self.fd) - self.cache_before
        sample.cache_peak = max(sample.cache_peak, sample.cache_after)
        sample.cached_growth = meminfo('Cached') - self.cached
        facts = os.fstat(self.fd)
        sample.file_bytes = facts.st_size
        sample.disk_bytes = facts.st_blocks * 512
        if not sample.seconds:
            sample.seconds = elapsed
        return sample


def _line(process: subprocess.Popen, meter: Meter | None) -> str:
    """The next line of the program, watching the cache meanwhile."""
    line = b''
    while not line.endswith(b'\n'):
        ready, _, _ = select.select([process.stdout], [], [], 0.1)
        if meter:
            meter.watch()
        if ready:
            byte = os.read(process.stdout.fileno(), 4096)
            if not byte:
                raise RuntimeError(f'{process.args[0]} gave up')
            line += byte
    return line.decode().strip()


def run_load(argv: list[str], environment: dict[str, str], fd: int, bench,
             just_before=None) -> Sample:
    """A load program: it measures itself between two lines of ours."""
    process = subprocess.Popen(
        argv, env={**os.environ, **environment}, pass_fds=(fd,),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        if _line(process, None) != 'ready':
            raise RuntimeError(f'{argv[0]} is no load program')
        if just_before:
            just_before()
        meter = Meter(fd, bench)
        meter.begin()
        process.stdin.write(b'\n')
        result = json.loads(_line(process, meter))
        sample = meter.sample
        sample.seconds = result.pop('seconds')
        sample.stream_seconds = result.pop('stream_seconds')
        sample.user = result.pop('user')
        sample.system = result.pop('system')
        sample.rss_added = result.pop('rss_added_kib') * 1024
        sample.more = result
        meter.end()
        process.stdin.write(b'\n')
        if process.wait():
            raise RuntimeError(f'{argv[0]} failed: {process.returncode}')
        return sample
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def run_command(argv: list[str], fd: int, bench) -> Sample:
    """Any command, from its start to its end."""
    meter = Meter(fd, bench)
    meter.begin()
    process = subprocess.Popen(argv, pass_fds=(fd,),
                               stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        meter.watch()
        time.sleep(0.005)
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f'{" ".join(argv)}: {errors}')
    sample = meter.end()
    sample.user, sample.system = usage.ru_utime, usage.ru_stime
    sample.stream_seconds = sample.seconds
    return sample


def run_fio(options: list[str], write: bool, fd: int, bench) -> Sample:
    """fio, by its own clocks: its start is not part of the limit."""
    meter = Meter(fd, bench)
    meter.begin()
    done = subprocess.run(
        ['fio', '--output-format=json', '--name=limit', *options],
        stdout=subprocess.PIPE, check=True)
    sample = meter.sample
    job = json.loads(done.stdout)['jobs'][0]
    side = job['write' if write else 'read']
    seconds = job['job_runtime'] / 1e3
    # By the rate, whose clock is finer than the run time's.
    sample.seconds = side['io_bytes'] / side['bw_bytes']
    sample.stream_seconds = sample.seconds
    sample.user = job['usr_cpu'] / 100 * seconds
    sample.system = job['sys_cpu'] / 100 * seconds
    return meter.end()
