# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves guests while every write that reaches their disk is recorded."""
from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass

import lab
from support import cc

from .image import make_filesystem
from .log import copy

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE, SPARE = 384 << 20, 1 << 20
MARK_OFFSET = SIZE - 4096
FILE = "/data/guest"
TICK_MS = 50
MARK = f"POWERCUT_MARK=/dev/vda:{MARK_OFFSET}"
PRELOAD = "/usr/lib/powercut/preload.so"


@dataclass(frozen=True)
class Way:
    """How guests are saved; tail: seconds of cuts after xl has returned."""
    save: str
    restore: str
    tail: float
    environment: str = ""


WAYS = {
    "xl-aligned": Way("xl-aligned save", "xl-aligned restore", 6),
    "plugin": Way("xl-aligned run -- xl save", "xl-aligned restore", 6),
    "stock": Way("xl save", "xl restore", 45),
    # What must be found: nothing is brought to stable storage.
    "without fsync": Way("xl-aligned save", "xl-aligned restore", 10,
                         "POWERCUT_NO_SYNC=yes"),
}


@dataclass(frozen=True)
class Scenario:
    """One save; `old`: over an earlier file of that name."""
    kind: str
    way: str
    old: bool = True

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.way}, {'old' if self.old else 'no'} file"


ALL = (
    Scenario("pv", "xl-aligned"), Scenario("pvh", "xl-aligned"),
    Scenario("pv", "plugin"), Scenario("pvh", "plugin", old=False),
    Scenario("pv", "stock"), Scenario("pvh", "stock"),
    Scenario("pv", "stock", old=False), Scenario("pvh", "stock", old=False),
    Scenario("pv", "without fsync"),
)


def say(text: str) -> None:
    print(f"powercut: {text}", file=sys.stderr, flush=True)


def guest(kind: str) -> lab.Guest:
    return lab.Guest("g", kind, memory=128, noise=32)


def build_tools(tree: str) -> str:
    """What the host needs besides the product, as a directory tree."""
    programs = os.path.join(tree, "usr", "bin")
    libraries = os.path.join(tree, "usr", "lib", "powercut")
    os.makedirs(programs, exist_ok=True)
    os.makedirs(libraries, exist_ok=True)
    cc(f"{programs}/mark", f"{HERE}/mark.c")
    cc(f"{libraries}/preload.so", "-shared", "-fPIC", "-fvisibility=hidden",
       f"{HERE}/preload.c")
    return tree


class Recorder:
    def __init__(self, host: lab.XenHost):
        self.host = host

    def mark(self, text: str) -> None:
        self.host.run(f"{MARK} mark '{text}'")

    def save(self, scenario: Scenario) -> None:
        """One scenario, from a clean disk to a clean disk."""
        host, way = self.host, WAYS[scenario.way]
        subject = guest(scenario.kind)
        host.create(subject)
        host.wait_verdict(subject.name)
        if scenario.old:
            host.run(f"{way.save} -c {subject.name} {FILE}", 180)
            host.mark(subject.name)
            host.wait_verdict(subject.name)
        host.run("sync")
        self.mark(f"begin {scenario.name}")
        host.run(f"env {MARK} {way.environment} LD_PRELOAD={PRELOAD} "
                 f"{way.save} {subject.name} {FILE}", 180)
        self.mark("returned")
        time.sleep(way.tail)
        self.mark(f"over {scenario.name}")
        host.run("sync")
        self.mark(f"end {scenario.name}")
        host.run(f"rm -f {FILE} {FILE}.partial; sync")


def record(directory: str, overlay: str,
           scenarios: tuple[Scenario, ...] = ALL) -> None:
    """Leaves in a directory: base (the disk before), log, scenarios."""
    os.makedirs(directory, exist_ok=True)
    disk, log = f"{directory}/disk", f"{directory}/log"
    make_filesystem(disk, SIZE, SPARE)
    copy(disk, f"{directory}/base")
    tools = build_tools(f"{directory}/tools")
    with lab.XenHost(data=None, overlays=(overlay, tools), parts=(),
                     disks=(lab.Disk(disk, fs="ext4", mount="/data",
                                     log=log),)) as host:
        ticker = host.popen(f"{MARK} exec mark -t {TICK_MS}")
        for number, scenario in enumerate(scenarios):
            say(f"recording: {scenario.name}")
            Recorder(host).save(scenario)
            if ticker.poll() is not None:
                ticker.wait()
                raise RuntimeError("the marks have ended")
            done = [dataclasses.asdict(s) for s in scenarios[:number + 1]]
            with open(f"{directory}/scenarios.json", "w") as file:
                json.dump(done, file)
