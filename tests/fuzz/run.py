#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs fuzz targets for a time each, and keeps count.

run.py [--variant asan] [--seconds 10 | --runs N] [--rounds 1]
       [--build build/fuzz] TARGET…
run.py --report

Every run adds a line to BUILD/log.jsonl. Exit status 1 at the first input
that a target does not survive; it lies in BUILD/findings.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

# Bytes of input at most, and libFuzzer's -close_fd_mask.
LENGTHS = {"domain_config": 2048, "settings": 1024, "hello": 12288,
           "core": 12288}
LENGTH = 8192
CLOSED = {"commands": 3}
# No allocation of a reader is larger, whatever the lengths in its input say.
ALLOCATION_MIB = 64
MEMORY_MIB = 2048
TIMEOUT = 10


SUPPRESSIONS = Path(__file__).resolve().parent / "leaks.supp"


def environment() -> dict:
    options = f"suppressions={SUPPRESSIONS}:print_suppressions=0"
    return {**os.environ, "LSAN_OPTIONS": options}


def command(arguments, target: str) -> list:
    build = Path(arguments.build)
    corpus = Path(arguments.corpus or build / "corpus") / target
    corpus.mkdir(parents=True, exist_ok=True)
    findings = build / "findings"
    findings.mkdir(exist_ok=True)
    return [
        str(build / arguments.variant / f"fuzz_{target}"),
        f"-runs={arguments.runs}" if arguments.runs
        else f"-max_total_time={arguments.seconds}",
        f"-max_len={LENGTHS.get(target, LENGTH)}",
        f"-malloc_limit_mb={ALLOCATION_MIB}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-timeout={TIMEOUT}",
        f"-close_fd_mask={CLOSED.get(target, 1)}",
        f"-artifact_prefix={findings}/{target}-",
        "-print_final_stats=1",
        "-reduce_inputs=0",
        str(corpus),
    ]


def figures(output: str) -> dict:
    result = {}
    for name, key in (("number_of_executed_units", "executions"),
                      ("peak_rss_mb", "peak_mib"),
                      ("new_units_added", "new")):
        found = re.search(rf"stat::{name}:\s+(\d+)", output)
        result[key] = int(found[1]) if found else 0
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    if covered:
        result["edges"], result["features"], result["corpus"] = map(
            int, covered[-1])
    return result


def run(arguments, target: str) -> bool:
    begin = time.monotonic()
    done = subprocess.run(command(arguments, target), text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          errors="replace", env=environment())
    line = {"target": target, "variant": arguments.variant,
            "seconds": round(time.monotonic() - begin, 1) or 0.1,
            "status": done.returncode, "at": int(time.time()),
            **figures(done.stderr)}
    with open(Path(arguments.build) / "log.jsonl", "a") as log:
        log.write(json.dumps(line) + "\n")
    print(f"{target:14} {line['executions']:>10} executions, "
          f"{line['executions'] / line['seconds']:8.0f}/s, "
          f"{line.get('edges', 0)} edges, corpus {line.get('corpus', 0)}, "
          f"{line['peak_mib']} MiB at most", flush=True)
    if done.returncode:
        print(done.stderr[-6000:], file=sys.stderr)
        print(f"fuzz_{target} ended with status {done.returncode}; "
              f"what it was fed lies in {arguments.build}/findings",
              file=sys.stderr)
    return done.returncode == 0


def report(build: Path) -> None:
    """A table of all runs so far, in Markdown."""
    sums: dict = defaultdict(lambda: [0, 0.0, 0, 0])
    for line in (build / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        row = sums[entry["target"], entry["variant"]]
        row[0] += entry["executions"]
        row[1] += entry["seconds"]
        row[2] = max(row[2], entry.get("edges", 0))
        row[3] += entry["status"] != 0
    print("| target | build | executions | seconds | per second | edges "
          "| findings |\n|---|---|---:|---:|---:|---:|---:|")
    for (target, variant), row in sorted(sums.items()):
        print(f"| {target} | {variant} | {row[0]:,} | {row[1]:,.0f} "
              f"| {row[0] / max(row[1], 1):,.0f} | {row[2]} | {row[3]} |")
    print(f"| all | | {sum(row[0] for row in sums.values()):,} "
          f"| {sum(row[1] for row in sums.values()):,.0f} | | | "
          f"{sum(row[3] for row in sums.values())} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--variant", default="asan")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--build", default="build/fuzz")
    parser.add_argument("--corpus")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("targets", nargs="*")
    arguments = parser.parse_args()
    if arguments.report:
        report(Path(arguments.build))
        return 0
    sound = True
    for _ in range(arguments.rounds):
        for target in arguments.targets:
            sound = run(arguments, target) and sound
            if not sound and not arguments.keep_going:
                return 1
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
