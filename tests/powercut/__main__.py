# SPDX-License-Identifier: LGPL-2.1-or-later
"""Power cuts during saves: python3 -m powercut [STEP...]

record    saves guests on the emulated host and records its disk's writes
cuts      makes disks as cuts leave them, and judges the files on them
restore   restores guests from some of them, on the emulated host
kill      kills the emulated host during saves, and restores what is there
"""
from __future__ import annotations

import argparse
import os
import sys

from support import install

from . import cuts, record, restore

TREE = cuts.TREE
STEPS = ("record", "cuts", "restore", "kill")


def overlay(directory: str) -> str:
    """What `make install` puts on a host."""
    given = os.environ.get("XL_ALIGNED_OVERLAY")
    if given:
        return given
    tree = f"{directory}/install"
    install(tree)
    return tree


def show_cuts(results: dict) -> bool:
    print(cuts.table(results))
    print(cuts.details(results))
    faults = [(s, o, cuts.fault(s, o)) for s, each in results.items()
              for o in each if cuts.fault(s, o)]
    for scenario, outcome, text in faults:
        print(f"FAULT: {outcome.cut}: {text}")
    control = [o for s, each in results.items() for o in each
               if s.way == "without fsync" and o.cut.destroyed]
    blind = bool(control) and all(o.final == "new" for o in control)
    if blind:
        print("FAULT: no cut has found that nothing was flushed")
    ours = sum(len(each) for s, each in results.items()
               if s.way in ("xl-aligned", "plugin"))
    print(f"{ours} cuts of saves with xl-aligned or its plugin, "
          f"{len(faults)} faults")
    return not faults and not blind


def show_restored(restored: list[restore.Restored], wanted: int) -> bool:
    for one in restored:
        print(f"{'ok   ' if one.ok else 'FAULT'} {one.disk}: {one.text}")
    return len(restored) >= wanted and all(one.ok for one in restored)


def grouped(directory: str) -> dict:
    outcomes = cuts.read_outcomes(directory)
    return {s: [o for o in outcomes if o.cut.scenario == s.name]
            for s in cuts.read_scenarios(directory)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="powercut", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP",
                        help="all of them by default")
    parser.add_argument("--directory",
                        default=os.path.join(TREE, "build", "powercut"))
    parser.add_argument("--cuts", type=int, default=150,
                        help="of each save (default %(default)s)")
    parser.add_argument("--restores", type=int, default=12,
                        help="disks to restore from (default %(default)s)")
    parser.add_argument("--kills", type=int, default=4, help="of a host, "
                        "for each kind of guest (default %(default)s)")
    parser.add_argument("--seed", default="1")
    args = parser.parse_args()
    unknown = set(args.steps) - set(STEPS)
    if unknown:
        parser.error(f"{' '.join(unknown)}: the steps are {' '.join(STEPS)}")
    steps = args.steps or STEPS
    directory, good = os.path.abspath(args.directory), True
    os.makedirs(directory, exist_ok=True)
    if "record" in steps:
        record.record(directory, overlay(directory))
    if "cuts" in steps:
        good &= show_cuts(cuts.run_all(directory, args.cuts, args.seed))
    if "restore" in steps:
        chosen = restore.choose(grouped(directory), args.restores, args.seed)
        good &= show_restored(
            restore.restore_all(directory, overlay(directory), args.seed,
                                chosen), args.restores)
    if "kill" in steps:
        for kind in ("pv", "pvh"):
            kills = restore.Kills(directory, overlay(directory), kind,
                                  args.seed)
            good &= show_restored(kills.run(args.kills), args.kills)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
