# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian packages of any suite: found, downloaded and unpacked.

Each suite has an apt state of its own in the cache, taken from the archive
that this machine's apt is configured with.  Nothing is installed, and the
machine's own state is left alone.
"""

import json
import os
import platform
import re
import shutil
import time

from .cache import ImageError, cache_dir, command, say, write_whole

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
LISTS_LAST = 7 * 24 * 3600      # seconds


def machine_suite() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def sources(suite: str) -> str:
    """The machine's sources of Debian itself, for another suite."""
    own = machine_suite()
    targets = command("apt-get", "indextargets", "--format",
                      "$(SITE) $(RELEASE) $(COMPONENT)",
                      "Created-By: Packages")
    lines = {f"deb [signed-by={KEYRING}] {site} "
             f"{suite}{release.removeprefix(own)} main\n"
             for site, release, component in
             map(str.split, targets.splitlines())
             if component == "main" and re.fullmatch(
                 rf"{own}(-updates|-security)?", release)}
    if not lines:
        raise ImageError("apt has no archive of Debian among its sources: "
                         "run apt-get update")
    return "".join(sorted(lines))


def options(suite: str) -> list[str]:
    """What makes apt's programs work on a suite."""
    place = cache_dir("apt", suite)
    cache_dir("apt", suite, "lists", "partial")
    return ["-o", f"Dir::Etc::sourcelist={place}/sources.list",
            "-o", "Dir::Etc::sourceparts=/dev/null",
            "-o", f"Dir::State::Lists={place}/lists",
            "-o", "Dir::State::status=/dev/null",
            "-o", f"Dir::Cache={place}",
            "-o", "Acquire::Check-Valid-Until=false",
            "-o", "Acquire::Languages=none",
            "-o", "APT::Sandbox::User=root"]


def apt(suite: str, program: str, *words: str, cwd: str | None = None) -> str:
    return command(program, *options(suite), *words, cwd=cwd)


def update(suite: str, force: bool = False) -> str:
    """Refresh a suite's lists now and then; a word for what they are."""
    stamp = os.path.join(cache_dir("apt", suite), "updated")
    fresh = (os.path.exists(stamp) and
             time.time() - os.stat(stamp).st_mtime < LISTS_LAST)
    if force or not fresh:
        say(f"reading the package lists of {suite}")
        write_whole(os.path.join(cache_dir("apt", suite), "sources.list"),
                    sources(suite))
        apt(suite, "apt-get", "-q", "update")
        write_whole(stamp, "")
    return str(os.stat(stamp).st_mtime_ns)


def closure(suite: str, seeds: tuple[str, ...]) -> list[str]:
    """The seeds and every library package below them."""
    out = apt(suite, "apt-cache", "depends", "--recurse", "--no-recommends",
              "--no-suggests", "--no-conflicts", "--no-breaks",
              "--no-replaces", "--no-enhances", *seeds)
    names = {line for line in out.splitlines()
             if line and not line[0].isspace() and "<" not in line}
    kernels = {n for n in names if re.match(r"linux-image-\d", n)}
    wanted = re.compile(r"(lib(?!python|perl)|zlib1g)")
    names = {n for n in names if wanted.match(n) and ":" not in n}
    names |= {s for s in seeds if s != "linux-image-amd64"} | kernels
    # A name that only other packages provide has no version of its own.
    policy = apt(suite, "apt-cache", "policy", *sorted(names))
    real = re.findall(r"^(\S+):\n.*\n  Candidate: (?!\(none\))", policy,
                      re.M)
    missing = set(seeds) - {"linux-image-amd64"} - set(real)
    if missing:
        raise ImageError(f"{suite} has no package "
                         f"{' '.join(sorted(missing))}")
    return sorted(real)


def resolve(suite: str, seeds: tuple[str, ...]) -> dict[str, str]:
    """Names of the package files for the seeds: package → file.

    Asking apt takes seconds, so the answer is kept until its lists change,
    and beyond where they are gone.
    """
    memory = os.path.join(cache_dir(), "resolved.json")
    try:
        with open(memory) as file:
            known = json.load(file)
    except (FileNotFoundError, ValueError):
        known = {}
    label = " ".join((suite, *seeds))
    try:
        lists = update(suite)
        if label in known and known[label]["lists"] == lists:
            return known[label]["files"]
        names = closure(suite, seeds)
        out = apt(suite, "apt-get", "download", "--print-uris", *names)
    except ImageError as error:
        if label not in known:
            raise
        say(f"apt does not answer, packages stay as they are: {error}")
        return known[label]["files"]
    files = {match[1]: f"{match[1]}_{match[2]}"
             for match in re.finditer(r"^'.*' (\S+?)_(\S+)", out, re.M)}
    lost = set(names) - set(files)
    if lost:
        raise ImageError(f"cannot download {' '.join(sorted(lost))}")
    known[label] = {"lists": lists, "files": files}
    write_whole(memory, json.dumps(known, indent=1))
    return files


def fetch(suite: str, names: list[str], place: str) -> None:
    """Download packages' newest versions into a directory."""
    say(f"downloading {len(names)} packages of {suite}")
    fresh = os.path.join(place, f"new.{os.getpid()}")
    os.makedirs(fresh)
    try:
        apt(suite, "apt-get", "download", *names, cwd=fresh)
        for file in os.listdir(fresh):
            os.rename(os.path.join(fresh, file), os.path.join(place, file))
    finally:
        shutil.rmtree(fresh)


def download(suite: str, seeds: tuple[str, ...],
             again: bool = True) -> dict[str, str]:
    """Package files for the seeds: name → path of the .deb."""
    debs = cache_dir("debs")
    found = {name: os.path.join(debs, file)
             for name, file in resolve(suite, seeds).items()}
    missing = [name for name, path in found.items()
               if not os.path.exists(path)]
    if not missing:
        return found
    try:
        fetch(suite, missing, debs)
    except ImageError:
        if not again:
            raise
        # The archive has newer ones by now.
        update(suite, force=True)
        return download(suite, seeds, again=False)
    lost = [p for p in found.values() if not os.path.exists(p)]
    if lost:
        raise ImageError(f"not downloaded: {' '.join(lost)}")
    return found


def unpacked(deb: str) -> str:
    """Directory with the contents of a package file."""
    root = os.path.join(cache_dir("unpacked"),
                        os.path.basename(deb).removesuffix(".deb"))
    if not os.path.isdir(root):
        fresh = f"{root}.new.{os.getpid()}"
        os.makedirs(fresh)
        command("dpkg", "-x", deb, fresh)
        os.rename(fresh, root)
    return root
