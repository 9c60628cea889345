# SPDX-License-Identifier: LGPL-2.1-or-later
"""Watch dom0's memory while something runs, and this machine's load."""

from __future__ import annotations

import os
import signal
import uuid
from dataclasses import dataclass


def patience() -> float:
    """How much longer than usual things may take on this machine now.

    Emulation takes all the processor time it can get: beside other work
    every time limit would measure that work.
    """
    return max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass(frozen=True)
class Sample:
    """dom0's memory at one moment; KiB."""
    ms: int
    MemFree: int
    MemAvailable: int
    Buffers: int
    Cached: int
    Shmem: int
    Dirty: int
    Writeback: int
    SReclaimable: int

    @property
    def page_cache(self) -> int:
        """KiB of file data in memory, tmpfs left out."""
        return self.Cached + self.Buffers - self.Shmem


class MemoryWatch:
    """Sample dom0's memory from creation (or `with`) to stop().

    The counting is done by a small program in dom0, into a tmpfs.
    """

    def __init__(self, host, interval_ms: int = 50):
        self.host = host
        self._file = f"/tmp/memory.{uuid.uuid4().hex[:8]}"
        self._job = host.popen(f"exec memsample {interval_ms} {self._file}")
        while host.control(f"cat {self._file} 2>/dev/null "
                           "| wc -l").strip() in ("", "0", "1"):
            if self._job.poll() is not None:
                self._job.wait()
        self.samples: list[Sample] = []

    def __enter__(self) -> "MemoryWatch":
        return self

    def __exit__(self, kind, value, trace) -> None:
        self.stop()

    def stop(self) -> list[Sample]:
        if self.samples:
            return self.samples
        self._job.kill(signal.SIGTERM)
        self._job.wait(timeout=20, check=False)
        lines = self.host.read_text(self._file).splitlines()
        self.host.run(f"rm -f {self._file}")
        names = lines[0].split()
        for line in lines[1:]:
            values = [int(v) for v in line.split()]
            if len(values) == len(names):
                self.samples.append(Sample(**dict(zip(names, values))))
        return self.samples

    def cache_growth(self) -> int:
        """KiB that the page cache grew at its highest."""
        samples = self.stop()
        return max(s.page_cache for s in samples) - samples[0].page_cache

    def lowest_available(self) -> int:
        """KiB of memory that dom0 could still have used at its worst."""
        return min(s.MemAvailable for s in self.stop())


def drop_caches(host) -> None:
    """Write dirty data back and empty dom0's page cache."""
    host.run("sync; echo 3 >/proc/sys/vm/drop_caches")
