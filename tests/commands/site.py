# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin in a toolstack without Xen, a xenstore of directories, and
xl-aligned beside them."""
import fcntl
import os
import shutil
import signal
from pathlib import Path

from commands.program import FAKE_XL, run
from model.generator import Generator
from plugin.bench import PLUGIN, Bench, signature
from support import eventually

STREAM = Generator(5, 3000).hvm()
MIB = 1 << 20
# An entry of this process.
OWN = signature()
SAVE = dict(operation="save", domid=1, phase="memory", bytes=100 * MIB,
            total=400 * MIB, written=50 * MIB, rate=20 * MIB, format="v3",
            file="/srv/saved/web01", begun=1700000000)


class Store:
    """The xenstore of tests/fakes/libxenstore.c: directories."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
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
        with open(self.folder / ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return {key.name: (key / ".value").read_text()
                    for key in (self.root / name).iterdir()
                    if (key / ".value").exists()}

    def only(self) -> tuple:
        """The one entry, once it is there."""
        eventually(self.entries, "no entry")
        names = self.entries()
        assert len(names) == 1, names
        return names[0], self.keys(names[0])

    def clear(self) -> None:
        for name in self.entries():
            shutil.rmtree(self.root / name)

    def make(self, name: str, **keys) -> None:
        for key, value in keys.items():
            self.put(f"/local/domain/0/xl-aligned/{name}/{key}", str(value))


class Site(Bench):
    """A bench with a xenstore, and xl-aligned beside it."""

    def __init__(self, tools, folder, store):
        folder.mkdir()
        super().__init__(tools, folder, STREAM, b"")
        self.store = store
        self.state = folder / "state"
        self.state.write_text("web01  1  512  1  -b----  3.1\n")

    def environment(self, preload=str(PLUGIN), **more):
        more.setdefault("FAKE_STORE", str(self.store.folder))
        return super().environment(preload, **more)

    def own(self) -> dict:
        return {"LD_LIBRARY_PATH": str(self.tools),
                "FAKE_STORE": str(self.store.folder),
                "FAKE_STATE": str(self.state),
                "XL_ALIGNED_XL": str(FAKE_XL)}

    def command(self, *arguments, **env):
        return run(*arguments, env={**self.own(), **env})

    def paused(self, *arguments, records=3, **env):
        """A save whose helper has stopped in the middle."""
        process = self.start(*arguments, FAKE_PAUSE=str(records),
                             FAKE_MEMKB=str(2 << 20), **env)
        self.wait_paused(process)
        return process


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
