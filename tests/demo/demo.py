# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`: stock xl beside xl-aligned, on a real Xen host in QEMU.

For a PV and a PVH guest: save and restore, first with stock xl, then with
xl-aligned.  Each guest checks its own memory once a second; its verdict
after the restore is the proof that the memory came back right.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import lab
from lab import XenHost

from . import plot
from .measure import (BUILD, OVERLAYS, ROOT, Step, fail, mib, say, table,
                      timed)

MEMORY, NOISE = 512, 192
OUT = os.path.join(BUILD, "demo")


@dataclass(frozen=True)
class Method:
    name: str
    save: str
    restore: str


METHODS = (
    Method("stock xl", "xl save", "xl restore"),
    Method("xl-aligned", "xl-aligned save", "xl-aligned restore"),
)


@dataclass
class Row:
    guest: str
    method: str
    save: Step
    restore: Step
    file: int
    verdict: str


def run_method(host: XenHost, guest: lab.Guest, method: Method) -> Row:
    path = f"/data/{guest.name}.save"
    say(f"{guest.name}: {method.save} {guest.name} {path}")
    save = timed(host, f"{method.save} {guest.name} {path}")
    if guest.name in host.run("xl list").stdout:
        fail(f"{guest.name} is still there after its save")
    size = int(host.run(f"stat -c %s {path}").stdout)
    host.mark(guest.name)
    say(f"{guest.name}: {method.restore} {path}")
    restore = timed(host, f"{method.restore} {path}")
    verdict = host.wait_verdict(guest.name)
    host.run(f"rm {path}")
    return Row(guest.kind.upper(), method.name, save, restore, size,
               f"ok (check {verdict.number})")


def run_guest(host: XenHost, guest: lab.Guest) -> list[Row]:
    say(f"{guest.name}: creating a guest of {guest.memory} MiB, "
        f"{guest.noise} MiB of it noise")
    host.create(guest)
    host.wait_verdict(guest.name)
    rows = [run_method(host, guest, method) for method in METHODS]
    host.destroy(guest.name)
    return rows


def print_table(rows: list[Row]) -> None:
    print()
    print(table(
        ["guest, method", "save s", "cache MiB", "restore s", "cache MiB",
         "file MiB", "guest's memory"],
        [[f"{row.guest}  {row.method}", f"{row.save.seconds:.1f}",
          mib(row.save.watch.growth), f"{row.restore.seconds:.1f}",
          mib(row.restore.watch.growth), mib(row.file), row.verdict]
         for row in rows]))
    print("\ncache MiB: how much dom0's page cache grew. Times are those of "
          "an emulated CPU:\nthey show direction, not a real host's ratio.")


def draw(rows: list[Row]) -> str:
    path = os.path.join(OUT, "page-cache.png")
    panels = []
    for kind in dict.fromkeys(row.guest for row in rows):
        curves = []
        for row in rows:
            if row.guest != kind:
                continue
            first = row.save.watch.samples[0]
            curves.append(plot.Curve(row.method, [
                (sample.seconds - first.seconds,
                 (sample.cache - first.cache) / (1 << 20))
                for sample in row.save.watch.samples]))
        panels.append((f"{kind} guest, {MEMORY} MiB", curves))
    plot.draw(path, "Page cache of dom0 during a save", panels,
              "seconds since the save began", "MiB more than before")
    return path


def write_json(rows: list[Row]) -> None:
    with open(os.path.join(OUT, "demo.json"), "w") as file:
        json.dump([{
            "guest": row.guest, "method": row.method,
            "save_seconds": row.save.seconds,
            "save_cache_growth": row.save.watch.growth,
            "save_cache_peak": row.save.watch.peak,
            "restore_seconds": row.restore.seconds,
            "restore_cache_growth": row.restore.watch.growth,
            "restore_cache_peak": row.restore.watch.peak,
            "file_bytes": row.file, "verdict": row.verdict,
        } for row in rows], file, indent=2)


def main() -> None:
    os.makedirs(OUT, exist_ok=True)
    guests = [lab.pv("pv-guest", memory=MEMORY, noise=NOISE),
              lab.pvh("pvh-guest", memory=MEMORY, noise=NOISE)]
    say("starting a Xen host in QEMU (the first time, its images are built)")
    with XenHost("demo", overlays=OVERLAYS) as host:
        say(f"Xen {host.run('xl info xen_version').stdout.strip()} is up; "
            f"booted in {host.boot_seconds:.0f} s")
        rows = [row for guest in guests for row in run_guest(host, guest)]
    print_table(rows)
    write_json(rows)
    print(f"\npicture: {os.path.relpath(draw(rows), ROOT)}")


if __name__ == "__main__":
    main()
