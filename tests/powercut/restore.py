# SPDX-License-Identifier: LGPL-2.1-or-later
"""Restores guests from disks after a cut; cuts the power of a host."""
from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass

import lab

from . import image
from .cuts import Outcome, remake
from .log import copy
from .record import FILE, SIZE, SPARE, WAYS, Scenario, guest, say

NAME = os.path.basename(FILE)
DISKS = 12      # of one host; PCI has room for more


@dataclass(frozen=True)
class Restored:
    """What became of the guest of one disk."""
    disk: str
    command: str
    ok: bool            # xl restored it and its memory is right
    text: str           # the guest's verdict, or what went wrong


def restore(host: lab.XenHost, command: str, path: str,
            disk: str) -> Restored:
    """The guest is left running if it is right."""
    host.mark("g")
    done = host.run(f"{command} {path}", 180, check=False)
    if done.status:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return Restored(disk, command, False, lines[-1])
    try:
        verdict = host.wait_verdict("g", timeout=60)
    except lab.GuestFailed as error:
        return Restored(disk, command, False, str(error).splitlines()[0])
    return Restored(disk, command, True, f"verdict {verdict.number} ok "
                    f"{verdict.hash}")


def letter(number: int) -> str:
    return chr(ord("a") + number)


def choose(results: dict[Scenario, list[Outcome]], count: int, seed: str,
           way: str = "xl-aligned") -> list[tuple[Scenario, Outcome]]:
    """Disks with an old or a new file of ours, equally many where there
    are; the guest's loss comes first: then only the file is left."""
    rng = random.Random(seed)
    pools = []
    for scenario, outcomes in results.items():
        if scenario.way != way:
            continue
        for final in ("new", "old"):
            pool = [o for o in outcomes if o.final == final]
            rng.shuffle(pool)
            pool.sort(key=lambda o: o.cut.destroyed)
            pools.append([(scenario, o) for o in pool])
    chosen = []
    while len(chosen) < count and any(pools):
        for pool in pools:
            if pool and len(chosen) < count:
                chosen.append(pool.pop())
    return chosen


def restore_all(directory: str, overlay: str, seed: str,
                chosen: list[tuple[Scenario, Outcome]]) -> list[Restored]:
    """The host's own kernel replays the journals."""
    restored = []
    for first in range(0, len(chosen), DISKS):
        part = chosen[first:first + DISKS]
        disks = []
        for number, (_, outcome) in enumerate(part):
            disks.append(lab.Disk(f"{directory}/cut-{number}", fs="ext4"))
            remake(directory, outcome.cut, seed, disks[-1].path)
        with lab.XenHost(data=None, overlays=(overlay,), parts=(),
                         disks=tuple(disks)) as host:
            for number, (scenario, outcome) in enumerate(part):
                place = f"/mnt/{number}"
                host.run(f"mkdir -p {place} && mount -t ext4 "
                         f"/dev/vd{letter(number)} {place}")
                label = (f"{outcome.cut.scenario}, cut "
                         f"{outcome.cut.number}: {outcome.final}")
                restored.append(restore(host, WAYS[scenario.way].restore,
                                        f"{place}/{NAME}", label))
                say(str(restored[-1]))
                host.run("xl destroy g", check=False)
        for disk in disks:
            os.unlink(disk.path)
    return restored


class Kills:
    """Hosts that are killed during saves, one after another.

    Each host restores what the one before has left, and the guest's memory
    has to be right; then it saves the guest over that file, and is killed.
    Nothing that QEMU was told to write is lost by that, only what was in
    dom0's memory.
    """

    def __init__(self, directory: str, overlay: str, kind: str, seed: str):
        self.directory, self.overlay, self.kind = directory, overlay, kind
        self.disk = f"{directory}/killed-{kind}"
        self.rng = random.Random(f"{seed}/{kind}")
        self.span = 8.0         # seconds of a save, until one was measured

    def _host(self) -> lab.XenHost:
        return lab.XenHost(
            data=None, overlays=(self.overlay,), parts=(),
            disks=(lab.Disk(self.disk, fs="ext4", mount="/data"),))

    def _digest(self) -> str:
        """Of the file that is on the disk; "" if there is none."""
        path, out = f"{self.disk}.copy", f"{self.disk}.file"
        copy(self.disk, path)
        image.recover(path)
        found = image.files(path)
        if NAME not in found:
            return ""
        image.extract(path, found[NAME], out)
        digest = image.digest(out)
        os.unlink(path)
        os.unlink(out)
        return digest

    def _first(self, host: lab.XenHost) -> None:
        subject = guest(self.kind)
        host.create(subject)
        host.wait_verdict(subject.name)
        begun = time.monotonic()
        host.run(f"xl-aligned save -c {subject.name} {FILE}", 180)
        self.span = time.monotonic() - begun
        host.mark(subject.name)
        host.wait_verdict(subject.name)
        host.run("sync")

    def _kill(self, host: lab.XenHost) -> tuple[str, bool]:
        """At some moment of a save; and whether xl had returned."""
        delay = self.rng.uniform(0, self.span * 1.1)
        begun = time.monotonic()
        job = host.popen(f"xl-aligned save g {FILE}")
        while time.monotonic() - begun < delay and job.poll() is None:
            time.sleep(0.01)
        returned = job.poll() is not None
        delay = time.monotonic() - begun
        host.kill()
        job.process.wait()
        return f"{delay:.1f} of about {self.span:.1f} s", returned

    def run(self, count: int) -> list[Restored]:
        image.make_filesystem(self.disk, SIZE, SPARE)
        out: list[Restored] = []
        before = ""
        while True:
            with self._host() as host:
                if before:
                    one = restore(host, "xl-aligned restore", FILE, label)
                    if returned and state != "new":
                        one = Restored(label, one.command, False,
                                       f"xl had returned; {one.text}")
                    say(str(one))
                    out.append(one)
                    if not one.ok or len(out) == count:
                        return out
                else:
                    self._first(host)
                    before = self._digest()
                when, returned = self._kill(host)
            now = self._digest()
            state = ("none" if not now else
                     "old" if now == before else "new")
            label = f"{self.kind}, killed after {when}: {state} file"
            before = now or before
