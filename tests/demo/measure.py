# SPDX-License-Identifier: LGPL-2.1-or-later
"""Figures from dom0 while something runs there."""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass

from lab import Result, XenHost

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
OVERLAYS = (os.path.join(BUILD, "overlay"), os.path.join(BUILD, "lab-tools"))
TOOLS = "/usr/libexec/lab"

_started = time.monotonic()


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - _started:6.1f} s  {text}", flush=True)


def parse(line: str) -> dict[str, float]:
    """"key=value key=value" as the tools in dom0 print it."""
    return {key: float(value)
            for key, value in re.findall(r"(\w+)=([\d.]+)", line)}


@dataclass(frozen=True)
class Sample:
    seconds: float
    cache: int          # bytes of page cache, without shared memory
    refaults: int
    major_faults: int


def _sample(line: str) -> Sample:
    at = parse(line)
    cache = at["cached_kib"] + at["buffers_kib"] - at["shmem_kib"]
    return Sample(at["seconds"], int(cache * 1024), int(at["refaults"]),
                  int(at["major_faults"]))


class Watch:
    """Samples dom0's memory from its start to stop()."""

    def __init__(self, host: XenHost, milliseconds: int = 200):
        self._host = host
        self._job = host.popen(f"exec {TOOLS}/sample {milliseconds}")
        self.samples: list[Sample] = []
        while not self._lines():
            time.sleep(0.02)

    def _lines(self) -> list[str]:
        text = self._job.output().stdout
        return text[:text.rfind("\n") + 1].splitlines()

    def stop(self) -> "Watch":
        before = len(self._lines())
        while len(self._lines()) < before + 2:
            time.sleep(0.02)
        self._host.run("killall sample")
        self._job.wait(check=False)
        self.samples = [_sample(line) for line in self._lines()]
        return self

    @property
    def growth(self) -> int:
        """Bytes of page cache more at the end than at the start."""
        return self.samples[-1].cache - self.samples[0].cache

    @property
    def peak(self) -> int:
        """Bytes of page cache more at the highest point than at the start."""
        return (max(sample.cache for sample in self.samples) -
                self.samples[0].cache)

    @property
    def refaults(self) -> int:
        return self.samples[-1].refaults - self.samples[0].refaults

    @property
    def major_faults(self) -> int:
        return self.samples[-1].major_faults - self.samples[0].major_faults


@dataclass
class Step:
    """One command in dom0, timed and watched."""
    seconds: float
    watch: Watch
    result: Result


def drop_caches(host: XenHost) -> None:
    host.run("sync; echo 3 >/proc/sys/vm/drop_caches")


def timed(host: XenHost, command: str, timeout: float = 300) -> Step:
    """Runs a command that must succeed, on a cold page cache."""
    drop_caches(host)
    watch = Watch(host)
    before = time.monotonic()
    result = host.run(command, timeout)
    seconds = time.monotonic() - before
    return Step(seconds, watch.stop(), result)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as they need; the first to the left."""
    widths = [max(len(row[i]) for row in [head, *rows])
              for i in range(len(head))]
    lines = []
    for row in [head, ["-" * width for width in widths], *rows]:
        lines.append("  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))))
    return "\n".join(lines)


def mib(size: float, digits: int = 1) -> str:
    return f"{size / (1 << 20):.{digits}f}"


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    sys.exit(1)
