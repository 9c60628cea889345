# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make pressure`: what dom0's other work notices of a save and a restore.

dom0 has little memory, the guest is larger than what dom0 has free, and a
neighbour in dom0 reads a hot file at random, a block at a time.  Stock xl
beside xl-aligned: page cache, refaults of the neighbour's file, its major
faults and the latency of its reads.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass

import lab
from lab import XenHost

from . import plot
from .measure import (BUILD, OVERLAYS, ROOT, TOOLS, Watch, mib, parse, say,
                      table)

DOM0, GUEST, NOISE = 416, 768, 300
HOT_MIB = 160
PAUSE_US = 2000
ROUNDS = int(os.environ.get("ROUNDS", "3"))
OUT = os.path.join(BUILD, "pressure")


@dataclass(frozen=True)
class Phase:
    name: str
    command: str | None         # None: nothing happens but the neighbour


PHASES = (
    Phase("idle", None),
    Phase("stock save", "xl save {name} {path}"),
    Phase("stock restore", "xl restore {path}"),
    Phase("aligned save", "xl-aligned save {name} {path}"),
    Phase("aligned restore", "xl-aligned restore {path}"),
)


@dataclass
class Figures:
    phase: str
    seconds: float
    growth: int
    peak: int
    refaults: int
    major_faults: int
    reads: int
    p50: float
    p99: float
    longest: float
    curve: list[tuple[float, float]]


class Neighbour:
    """Other work in dom0, which keeps a file hot and is timed."""

    def __init__(self, host: XenHost):
        self._host = host
        host.run(f"dd if=/dev/urandom of=/data/hot bs=1M count={HOT_MIB} "
                 "oflag=direct", timeout=120)
        self._job = host.popen(
            f"exec {TOOLS}/neighbour /data/hot {PAUSE_US}")
        self._wait_lines(1)

    def _wait_lines(self, count: int) -> list[str]:
        deadline = time.monotonic() + 120
        while True:
            lines = self._job.output().stdout.splitlines()
            if len(lines) >= count:
                return lines
            if time.monotonic() > deadline:
                raise RuntimeError("the neighbour says nothing: "
                                   f"{self._job.output()}")
            time.sleep(0.05)

    def report(self) -> dict[str, float]:
        """Latencies since the last report."""
        count = len(self._job.output().stdout.splitlines())
        self._host.run("killall -USR1 neighbour")
        return parse(self._wait_lines(count + 1)[-1])


def run_phase(host: XenHost, neighbour: Neighbour, phase: Phase,
              guest: lab.Guest) -> Figures:
    path = "/data/guest.save"
    # The neighbour's file is hot again, and nothing is left to write.
    host.run("sync; cat /data/hot >/dev/null; sleep 1")
    neighbour.report()
    watch = Watch(host, 100)
    before = time.monotonic()
    if phase.command:
        host.run(phase.command.format(name=guest.name, path=path), 600)
    else:
        time.sleep(10)
    seconds = time.monotonic() - before
    watch.stop()
    seen = neighbour.report()
    first = watch.samples[0]
    return Figures(
        phase.name, seconds, watch.growth, watch.peak, watch.refaults,
        watch.major_faults, int(seen["reads"]), seen["p50_us"],
        seen["p99_us"], seen["max_us"],
        [(sample.seconds - first.seconds,
          float(sample.refaults - first.refaults) * 4 / 1024)
         for sample in watch.samples])


def run_round(host: XenHost, neighbour: Neighbour,
              guest: lab.Guest) -> list[Figures]:
    rows = []
    for phase in PHASES:
        if "restore" in phase.name:
            host.mark(guest.name)
        rows.append(run_phase(host, neighbour, phase, guest))
        say(f"{phase.name}: {rows[-1].seconds:.1f} s, "
            f"{rows[-1].refaults} refaults, p99 {rows[-1].p99:.0f} us")
        if "restore" in phase.name:
            host.wait_verdict(guest.name)
    return rows


def median(rows: list[Figures], phase: str, name: str) -> float:
    values = sorted(getattr(row, name) for row in rows if row.phase == phase)
    return values[len(values) // 2]


def print_table(rows: list[Figures]) -> None:
    print()
    print(table(
        ["medians of %d" % ROUNDS, "seconds", "cache MiB", "refaults",
         "major faults", "reads", "p50 us", "p99 us", "max us"],
        [[phase.name, f"{median(rows, phase.name, 'seconds'):.1f}",
          mib(median(rows, phase.name, "growth"), 0),
          *(f"{median(rows, phase.name, key):.0f}"
            for key in ("refaults", "major_faults", "reads", "p50", "p99",
                        "longest"))]
         for phase in PHASES]))
    idle = median(rows, "idle", "p99")
    for what in ("save", "restore"):
        stock = median(rows, f"stock {what}", "refaults")
        ours = median(rows, f"aligned {what}", "refaults")
        print(f"{what}: refaults {ours:.0f} of stock's {stock:.0f}; "
              f"p99 of the neighbour's reads, idle = 1: "
              f"stock {median(rows, f'stock {what}', 'p99') / idle:.2f}, "
              f"aligned "
              f"{median(rows, f'aligned {what}', 'p99') / idle:.2f}")


def draw(rows: list[Figures]) -> str:
    path = os.path.join(OUT, "pressure.png")
    panels = []
    for what in ("save", "restore"):
        panels.append((what, [
            plot.Curve(name, next(row.curve for row in rows
                                  if row.phase == f"{name} {what}"))
            for name in ("stock", "aligned")]))
    plot.draw(path, f"A neighbour in dom0 reads a hot file: dom0 {DOM0} MiB,"
              f" guest {GUEST} MiB", panels, "seconds since it began",
              "MiB read again from disk", floor=0)
    return path


def free_memory(host: XenHost) -> int:
    text = host.read_text("/proc/meminfo")
    return int(re.search(r"MemAvailable:\s+(\d+)", text)[1]) // 1024


def main() -> None:
    os.makedirs(OUT, exist_ok=True)
    guest = lab.pv("big-guest", memory=GUEST, noise=NOISE)
    with XenHost("pressure", dom0_mem=DOM0, dom0_vcpus=2,
                 overlays=OVERLAYS, parts=()) as host:
        host.create(guest)
        host.wait_verdict(guest.name)
        say(f"dom0 has {DOM0} MiB, {free_memory(host)} MiB of them "
            f"available; the guest has {GUEST} MiB")
        neighbour = Neighbour(host)
        rows = [row for _ in range(ROUNDS)
                for row in run_round(host, neighbour, guest)]
    print_table(rows)
    with open(os.path.join(OUT, "pressure.json"), "w") as file:
        json.dump([vars(row) for row in rows], file, indent=2)
    print(f"picture: {os.path.relpath(draw(rows), ROOT)}")


if __name__ == "__main__":
    main()
