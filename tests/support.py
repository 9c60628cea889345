# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tree, make and the compiler, and waiting: what tests of every folder
need."""
import os
import shutil
import subprocess
import time
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
CFLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-O1", "-Wall", "-Wextra",
          "-Werror"]
# Of libxen-dev: the fakes are made of its headers.
XEN = subprocess.run(["pkg-config", "--modversion", "xenlight"], check=True,
                     text=True, capture_output=True).stdout.rpartition(".")[0]
PACKAGES = ("libxl-aligned0", "xl-aligned", "libxl-aligned-dev")


def make(goal: str, env: dict = {}, **variables) -> None:
    subprocess.run(["make", "-s", "-C", ROOT, goal,
                    *(f"{name}={value}" for name, value in variables.items())],
                   check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, **env})


def install(tree) -> None:
    """What `make install` puts on a Xen host."""
    make("install", DESTDIR=tree, PREFIX="/usr")


def cc(out, *arguments, source: str = None) -> None:
    """Compiles SOURCE, or the files among the arguments."""
    text = [] if source is None else ["-x", "c", "-", "-x", "none"]
    subprocess.run(["gcc", *CFLAGS, "-o", out, *text, *arguments], text=True,
                   input=source, check=True)


@lru_cache
def fakes() -> Path:
    """Where tests/fakes/module.mk puts what it builds."""
    make("fakes")
    return BUILD / "fakes"


def build_fakes(folder: Path, soname: str, *flags: str) -> None:
    """Variants of the fakes, with FLAGS for those of Xen's libraries."""
    make("fakes", FAKES_DIR=folder, FAKES_SONAME=soname,
         FAKES_FLAGS=" ".join(flags))


def build_packages() -> dict:
    """Path of each package; XL_ALIGNED_DEBS names a place that has them."""
    place = os.environ.get("XL_ALIGNED_DEBS")
    if not place:
        missing = [name for name in ("dh", "dpkg-buildpackage", "lintian")
                   if not shutil.which(name)]
        if missing:
            pytest.skip(f"not installed: {' '.join(missing)}")
        make("deb", {"DEB_BUILD_OPTIONS": "nocheck"})
        place = BUILD / "deb"
    found = {}
    for name in PACKAGES:
        found[name], = Path(place).glob(f"{name}_*.deb")
    return found


def eventually(condition, what: str = "", seconds: float = 30,
               pause: float = 0.02):
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(pause)
