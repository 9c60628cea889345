# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations in xenstore (docs/spec/progress.md), status and cancel: with
the plugin in a toolstack of a few lines, and a xenstore of directories."""
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from command import PROGRAM, ROOT, run
from streamv3 import savefile
from streamv3.generator import Generator

sys.path.insert(0, str(ROOT / "tests/integration"))
from plugin.bench import PLUGIN, Bench, build_tools     # noqa: E402

STREAM = Generator(5, 3000).hvm()
MIB = 1 << 20


def eventually(condition, what="", seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def start_of(pid) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class Store:
    """What libxenstore.c makes of xenstore."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "local/domain/0/xl-aligned"
        self.put("/local/domain/1/name", "web01")
        self.put("/local/domain/7/name", "db07")

    def put(self, path: str, value: str) -> None:
        place = self.folder / path.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / ".value").write_text(value)

    def entries(self) -> list:
        if not self.root.exists():
            return []
        return sorted(each.name for each in self.root.iterdir()
                      if each.is_dir())

    def keys(self, name: str) -> dict:
        return {key.name: (key / ".value").read_text()
                for key in (self.root / name).iterdir()
                if (key / ".value").exists()}

    def only(self) -> tuple:
        """The one entry, once it is there."""
        eventually(self.entries, "no entry")
        names = self.entries()
        assert len(names) == 1, names
        return names[0], self.keys(names[0])

    def make(self, name: str, **keys) -> None:
        for key, value in keys.items():
            self.put(f"/local/domain/0/xl-aligned/{name}/{key}", str(value))


@pytest.fixture(scope="session")
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    build_tools(folder)
    return folder


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


# Says of every domain what the test wrote into a file.
FAKE_XL = """#!/bin/sh
[ "$1" = list ] || exit 9
echo "Name                ID   Mem VCPUs      State   Time(s)"
cat "$FAKE_STATE" || exit 1
"""


class Site(Bench):
    """A bench with a xenstore, and xl-aligned beside it."""

    def __init__(self, tools, folder, store):
        super().__init__(tools, folder, STREAM, b"")
        self.store = store
        self.state = folder / "state"
        self.state.write_text("web01  1  512  1  -b----  3.1\n")
        self.xl = folder / "fake-xl"
        self.xl.write_text(FAKE_XL)
        self.xl.chmod(0o755)

    def environment(self, preload=str(PLUGIN), **more):
        more.setdefault("FAKE_STORE", str(self.store.folder))
        return super().environment(preload, **more)

    def own(self) -> dict:
        return {"LD_LIBRARY_PATH": str(self.tools),
                "FAKE_STORE": str(self.store.folder),
                "FAKE_STATE": str(self.state),
                "XL_ALIGNED_XL": str(self.xl)}

    def command(self, *arguments, **env):
        return run(*arguments, env={**self.own(), **env})

    def paused(self, *arguments, records=3, **env):
        """A save whose helper has stopped in the middle."""
        process = self.start(*arguments, FAKE_PAUSE=str(records),
                             FAKE_MEMKB=str(2 << 20), **env)
        eventually((self.folder / "paused").exists, "not paused")
        return process


@pytest.fixture
def site(tools, tmp_path, store):
    folder = tmp_path / "bench"
    folder.mkdir()
    return Site(tools, folder, store)


def helper_of(pid) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def kill(process) -> None:
    """The toolstack, and the helper that it leaves."""
    helper = helper_of(process.pid)
    process.kill()
    process.wait()
    os.kill(helper, signal.SIGKILL)
    process.communicate()


def end(process) -> int:
    process.communicate(timeout=60)
    return process.returncode


# ---- what is written -------------------------------------------------------


def test_a_save_is_told_and_its_entry_goes(site, store, tmp_path):
    file = tmp_path / "file"
    process = site.paused("save", file)
    name, _ = store.only()
    keys = eventually(lambda: (k := store.keys(name)).get("written", "0")
                      != "0" and k, "nothing done")
    assert name == f"{process.pid}-{start_of(process.pid)}-1"
    assert {"operation": "save", "domid": "1", "phase": "memory",
            "format": "v3", "file": str(file),
            "total": str(2 << 30)}.items() <= keys.items()
    assert 0 < int(keys["bytes"]) < len(STREAM)
    assert abs(int(keys["begun"]) - time.time()) < 60
    assert int(keys["rate"]) >= 0
    assert set(keys) == {"operation", "domid", "phase", "format", "file",
                         "total", "bytes", "written", "begun", "rate"}
    assert (store.root / ".permissions").read_text() == "n0\n"

    os.kill(helper_of(process.pid), signal.SIGTERM)
    assert end(process) == 1
    assert store.entries() == []


def test_a_whole_save_leaves_nothing(site, store, tmp_path):
    assert site.run("save", tmp_path / "file").status == 0
    assert store.root.exists() and store.entries() == []
    assert savefile.to_v2((tmp_path / "file").read_bytes()) == \
        site.stock_file()


def test_the_final_name_is_told(site, store, tmp_path):
    final = str(tmp_path / "final")
    process = site.paused("save", tmp_path / "final.partial",
                          XL_ALIGNED_COMMIT_NAME=final)
    assert store.only()[1]["file"] == final
    kill(process)


def test_at_most_twice_a_second(site, store, tmp_path):
    """However often the figures change."""
    process = site.paused("save", tmp_path / "file")
    name, _ = store.only()
    place = store.root / name / "rate/.value"
    seen = set()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        seen.add(place.stat().st_mtime_ns)
        time.sleep(0.01)
    assert len(seen) <= 8
    kill(process)
