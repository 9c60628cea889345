# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cuts the power at many moments of recorded saves; judges what is left."""
from __future__ import annotations

import bisect
import concurrent.futures
import json
import os
import random
import subprocess
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass

from model import audit

from . import image
from .log import FATES, Log, Media
from .record import FILE, MARK_OFFSET, Scenario, say

TREE = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PROGRAM = os.path.join(TREE, "build", "xl-aligned")
NAME = os.path.basename(FILE)
# Entries of the record around the order to destroy the guest.
BEFORE, AFTER = 60, 20


class Impossible(Exception):
    """The record does not hold what it should."""


@dataclass(frozen=True)
class Span:
    """Numbers of entries, and the time at which xl returned."""
    begin: int
    destroy: int
    returned: int
    over: int
    end: int
    returned_time: float


@dataclass(frozen=True)
class Cut:
    scenario: str
    number: int
    position: int       # entries of the record that had ended
    fate: str           # of the writes that had not been flushed
    destroyed: bool     # the guest: nothing but the file is left of it
    since: float        # seconds since xl returned; negative: before


@dataclass(frozen=True)
class Outcome:
    """old, new: those very contents; absent; refused, accepted: neither,
    and what `xl-aligned verify` makes of it."""
    cut: Cut
    loose: int          # writes not flushed
    final: str
    partial: str
    complaint: str = ""


def read_scenarios(directory: str) -> list[Scenario]:
    with open(f"{directory}/scenarios.json") as file:
        return [Scenario(**each) for each in json.load(file)]


def span(log: Log, scenario: Scenario) -> Span:
    found: dict[str, int] = {}
    time = 0.0
    for mark in log.marks:
        word, _, name = mark.text.partition(" ")
        if name == scenario.name or (found and word in ("destroy",
                                                        "returned")):
            found[word] = mark.index
        if word == "returned" and "over" not in found:
            time = mark.time
        if word == "end" and name == scenario.name:
            break
    try:
        return Span(**found, returned_time=time)
    except TypeError:
        raise Impossible(f"{scenario.name}: marks {found}") from None


def choose(log: Log, scenario: Scenario, count: int,
           seed: str) -> list[Cut]:
    """Moments: by write, by time, and around the end of the save."""
    rng = random.Random(f"{seed}/{scenario.name}")
    here = span(log, scenario)
    marks = [m for m in log.marks if here.begin <= m.index <= here.over]
    window = range(max(here.begin, here.destroy - BEFORE) + 1,
                   min(here.over, here.destroy + AFTER) + 1)
    positions = rng.sample(window, min(count // 3, len(window)))
    while len(positions) < count:
        if len(positions) % 2:
            positions.append(rng.randint(here.begin + 1, here.over))
        else:
            when = rng.uniform(marks[0].time, marks[-1].time)
            after = bisect.bisect([m.time for m in marks[1:-1]], when) + 1
            positions.append(rng.randint(marks[after - 1].index + 1,
                                         marks[after].index))
    times = [m.time for m in marks]
    indexes = [m.index for m in marks]
    return [Cut(scenario.name, number, position, rng.choice(FATES),
                position > here.destroy,
                times[max(bisect.bisect_left(indexes, position) - 1, 0)] -
                here.returned_time)
            for number, position in enumerate(sorted(positions))]


def cut_rng(seed: str, cut: Cut) -> random.Random:
    return random.Random(f"{seed}/{cut.scenario}/{cut.number}")


class Judge:
    """Knows the contents that a file may have."""

    def __init__(self, scenario: Scenario, work: str):
        self.scenario, self.work = scenario, work
        self.known: dict[str, str] = {}

    def contents(self, path: str, found: dict, name: str) -> str:
        """A digest of a file in an image; "" if there is none."""
        if name not in found:
            return ""
        out = f"{self.work}/contents"
        image.extract(path, found[name], out)
        digest = image.digest(out)
        if digest not in self.known:
            done = subprocess.run([PROGRAM, "verify", out],
                                  capture_output=True, text=True)
            # Without checksums, it can only say that all records are there.
            taken = done.returncode == 0 or "not checkable" in done.stdout
            if done.returncode not in (0, 1) and not taken:
                raise Impossible(f"xl-aligned verify: {done.returncode}: "
                                 f"{done.stderr}")
            self.known[digest] = "accepted" if taken else "refused"
        return digest

    def learn(self, path: str, name: str) -> None:
        """These are contents that have to be whole."""
        image.recover(path)
        found = image.files(path)
        digest = self.contents(path, found, NAME)
        if self.known.get(digest) != "accepted":
            raise Impossible(f"{self.scenario.name}: the {name} file is "
                             "missing, or xl-aligned verify refuses it")
        report, decoder, _ = audit.audit(f"{self.work}/contents")
        if report.faults or (self.scenario.way != "stock" and
                             decoder.format != "v3"):
            raise Impossible(f"{self.scenario.name}: the {name} file: "
                             f"{decoder.format} {report.faults}")
        self.known[digest] = name

    def outcome(self, cut: Cut, loose: int, path: str) -> Outcome:
        try:
            image.recover(path)
            found = image.files(path)
            digests = [self.contents(path, found, name)
                       for name in (NAME, f"{NAME}.partial")]
        except image.ImageUnsound as error:
            return Outcome(cut, loose, "unsound", "unsound", str(error))
        return Outcome(cut, loose, *digests)


def run(directory: str, scenario: Scenario, count: int,
        seed: str) -> list[Outcome]:
    log = Log(f"{directory}/log", MARK_OFFSET)
    here = span(log, scenario)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="powercut-") as work:
        judge = Judge(scenario, work)
        media = Media(log, f"{directory}/base", f"{work}/media")
        path = f"{work}/image"
        rng = random.Random(seed)
        if scenario.old:
            media.image(here.begin, "everything", rng, path)
            judge.learn(path, "old")
        for cut in choose(log, scenario, count, seed):
            loose = media.image(cut.position, cut.fate, cut_rng(seed, cut),
                                path)
            outcomes.append(judge.outcome(cut, loose, path))
        media.image(here.end, "everything", rng, path)
        judge.learn(path, "new")
        known = judge.known | {"": "absent", "unsound": "unsound"}
    return [Outcome(o.cut, o.loose, known[o.final], known[o.partial],
                    o.complaint) for o in outcomes]


def remake(directory: str, cut: Cut, seed: str, path: str) -> None:
    """The disk after one of these cuts once more."""
    log = Log(f"{directory}/log", MARK_OFFSET)
    with tempfile.TemporaryDirectory(prefix="powercut-") as work:
        media = Media(log, f"{directory}/base", f"{work}/media")
        media.image(cut.position, cut.fate, cut_rng(seed, cut), path)


def fault(scenario: Scenario, outcome: Outcome) -> str:
    """What must not be, or nothing.  Of others than ours, only a
    filesystem that is no legal one: the test's own fault."""
    if outcome.final == "unsound":
        return f"the filesystem is unsound: {outcome.complaint}"
    if scenario.way not in ("xl-aligned", "plugin"):
        return ""
    if outcome.cut.destroyed and outcome.final != "new":
        return f"the guest is gone, its file is {outcome.final}"
    if "accepted" in (outcome.final, outcome.partial):
        return "a file that is not whole is taken for whole"
    before = "old" if scenario.old else "absent"
    if scenario.way == "xl-aligned" and outcome.final not in (before, "new"):
        return f"the file is neither the {before} nor the new one"
    return ""


def run_all(directory: str, count: int, seed: str) -> dict:
    """Outcomes by scenario, kept in outcomes.json, too."""
    scenarios = read_scenarios(directory)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        results = pool.map(run, *zip(*((directory, s, count, seed)
                                       for s in scenarios)))
        out: dict[Scenario, list[Outcome]] = {}
        for scenario, outcomes in zip(scenarios, results):
            out[scenario] = outcomes
            say(f"{len(outcomes)} cuts: {scenario.name}")
            with open(f"{directory}/outcomes.json", "w") as file:
                json.dump([asdict(o) for each in out.values() for o in each],
                          file, indent=1)
    return out


def read_outcomes(directory: str) -> list[Outcome]:
    with open(f"{directory}/outcomes.json") as file:
        return [Outcome(**(each | {"cut": Cut(**each["cut"])}))
                for each in json.load(file)]


KINDS = ("old", "new", "absent", "refused", "accepted", "unsound")


def table(results: dict) -> str:
    """Markdown: what a cut left, by scenario."""
    lines = ["| save | cuts | writes not flushed, at most | guest still "
             "there: old / new / none / broken | guest gone | whole | lost "
             "| last loss, s after xl returned |",
             "|---|---:|---:|---|---:|---:|---:|---:|"]
    for scenario, outcomes in results.items():
        there = Counter(o.final for o in outcomes if not o.cut.destroyed)
        gone = [o for o in outcomes if o.cut.destroyed]
        lost = [o for o in gone if o.final != "new"]
        last = max((o.cut.since for o in lost), default=None)
        broken = there["refused"] + there["accepted"] + there["unsound"]
        lines.append(
            f"| {scenario.name} | {len(outcomes)} | "
            f"{max(o.loose for o in outcomes)} | {there['old']} / "
            f"{there['new']} / {there['absent']} / {broken} | {len(gone)} | "
            f"{len(gone) - len(lost)} | {len(lost)} | "
            f"{'–' if last is None else f'{last:.1f}'} |")
    return "\n".join(lines)


def details(results: dict) -> str:
    """Of what was lost: how."""
    lines = []
    for scenario, outcomes in results.items():
        kinds = Counter(o.final for o in outcomes
                        if o.cut.destroyed and o.final != "new")
        if kinds:
            lines.append(f"{scenario.name}: of the lost, " + ", ".join(
                f"{kinds[k]} {k}" for k in KINDS if kinds[k]))
    return "\n".join(lines)
