#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the corpora reach: clang's source coverage, a line a file.

coverage.py [--llvm 14] [--build build/fuzz] [--corpus DIRECTORY] TARGET…
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

FOLDERS = ("common/", "stream-v3/", "xl-cmds/", "libxl-aligned/")


def profile(arguments, target: str) -> Path:
    build = Path(arguments.build)
    corpus = Path(arguments.corpus or build / "corpus") / target
    raw = build / "coverage" / f"{target}.profraw"
    raw.unlink(missing_ok=True)
    subprocess.run(
        [str(build / "coverage" / f"fuzz_{target}"), "-runs=0",
         "-close_fd_mask=3", str(corpus)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "LLVM_PROFILE_FILE": str(raw)})
    return raw


def measure(arguments) -> list:
    """[(file, lines, lines reached, functions, reached, branches, reached)]"""
    build = Path(arguments.build) / "coverage"
    raw = [str(profile(arguments, target)) for target in arguments.targets]
    data = build / "all.profdata"
    subprocess.run([f"llvm-profdata-{arguments.llvm}", "merge", "-sparse",
                    "-o", str(data), *raw], check=True)
    programs = [str(build / f"fuzz_{target}")
                for target in arguments.targets]
    objects = [programs[0]]
    for program in programs[1:]:
        objects += ["-object", program]
    done = subprocess.run(
        [f"llvm-cov-{arguments.llvm}", "export", "-summary-only",
         f"-instr-profile={data}", *objects],
        check=True, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    here = os.getcwd() + "/"
    rows = []
    for entry in json.loads(done.stdout)["data"][0]["files"]:
        name = entry["filename"].removeprefix(here)
        if name.startswith(FOLDERS):
            rows.append((name, *(entry["summary"][kind][key]
                                 for kind in ("lines", "functions",
                                              "branches")
                                 for key in ("count", "covered"))))
    return sorted(rows)


def share(count: int, covered: int) -> str:
    return f"{100 * covered / count:.0f} %" if count else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--llvm", default="14")
    parser.add_argument("--build", default="build/fuzz")
    parser.add_argument("--corpus")
    parser.add_argument("targets", nargs="+")
    rows = measure(parser.parse_args())
    print("| file | lines | reached | functions | branches |\n"
          "|---|---:|---:|---:|---:|")
    for name, lines, reached, functions, called, branches, taken in rows:
        print(f"| {name} | {lines} | {share(lines, reached)} "
              f"| {share(functions, called)} | {share(branches, taken)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
