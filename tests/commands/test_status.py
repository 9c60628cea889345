# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations in xenstore (docs/spec/progress.md), status and cancel: with
the plugin in a toolstack of a few lines, and a xenstore of directories."""
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from commands.program import PROGRAM, run
from model import savefile
from model.generator import Generator
from plugin.bench import PLUGIN, Bench
from support import eventually

STREAM = Generator(5, 3000).hvm()
MIB = 1 << 20


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

    def make(self, name: str, **keys) -> None:
        for key, value in keys.items():
            self.put(f"/local/domain/0/xl-aligned/{name}/{key}", str(value))


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


def nothing_of(file) -> bool:
    """What the toolstack wrote itself, and no save."""
    return not file.exists() or file.stat().st_size < 200


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


def test_the_helper_inherits_no_connection(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()

    def files(pid):
        return {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}

    lock = str(store.folder / ".lock")
    assert lock in files(process.pid)
    open_files = files(helper_of(process.pid))
    assert lock not in open_files
    assert not any("progress" in name for name in open_files)
    kill(process)


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


def test_a_restore_is_told_with_the_domain_that_comes_of_it(site, store,
                                                           tmp_path):
    file = tmp_path / "file"
    assert site.run("save", file).status == 0
    process = site.paused("restore", file)
    name, keys = store.only()
    keys = eventually(lambda: (k := store.keys(name)).get("bytes", "0") != "0"
                      and k, "nothing done")
    assert keys["operation"] == "restore" and keys["domid"] == "7"
    assert keys["format"] == "v3" and keys["file"] == str(file)
    assert 0 < int(keys["bytes"]) < len(STREAM)
    # What the file says of its pages: the stream without its records.
    assert len(STREAM) * 0.9 < int(keys["total"]) < len(STREAM)
    kill(process)


def test_what_arrives_is_told_by_its_configuration(site, store, tmp_path):
    """Name and memory, where the stream says neither."""
    site.config = json.dumps({"c_info": {"name": "mail1"},
                              "b_info": {"target_memkb": 523264}})
    data, pipe = tmp_path / "data", tmp_path / "pipe"
    assert site.run("save", data).status == 0
    os.mkfifo(pipe)
    writer = subprocess.Popen(["cp", data, pipe], stderr=subprocess.DEVNULL)
    process = site.paused("restore", pipe)
    _, keys = store.only()
    assert (keys["domain"], keys["total"]) == ("mail1", str(523264 << 10))
    kill(process)
    writer.wait()

    # Of a file, it is known how many pages there are.
    process = site.paused("restore", data)
    name = f"{process.pid}-{start_of(process.pid)}-1"
    keys = eventually(lambda: name in store.entries() and store.keys(name))
    assert keys["domain"] == "mail1"
    assert len(STREAM) * 0.9 < int(keys["total"]) < len(STREAM)
    kill(process)


def test_what_comes_through_a_pipe_has_no_file(site, store, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"],
                              stdout=subprocess.DEVNULL)
    process = site.paused("save", tmp_path / "pipe", FAKE_LIVE="yes",
                          XL_ALIGNED_PEER="xen2")
    name, keys = store.only()
    assert keys["operation"] == "migrate" and keys["format"] == "stock"
    assert keys["peer"] == "xen2"
    assert "file" not in keys
    # What the kernel says of the helper, which has no library of ours.
    eventually(lambda: int(store.keys(name)["bytes"]) > 1000, "not counted")
    kill(process)
    reader.wait()


def test_each_of_several_has_an_entry(site, store, tmp_path):
    process = site.paused("save-many", tmp_path / "a", tmp_path / "b")
    names = eventually(lambda: len(store.entries()) == 2 and store.entries(),
                       "not two")
    assert [name.rpartition("-")[2] for name in names] == ["1", "2"]
    assert {Path(store.keys(name)["file"]).name for name in names} == \
        {"a", "b"}
    for child in Path(f"/proc/{process.pid}/task").iterdir():
        for pid in (child / "children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
    assert end(process) == 1
    assert store.entries() == []


# ---- a xenstore that is not there, or does not answer ----------------------


def test_without_xenstore(site, tmp_path):
    result = site.run("save", tmp_path / "file", FAKE_STORE="")
    assert result.status == 0 and not result.lines
    result = site.command("status", FAKE_STORE="")
    assert result.returncode == 1 and result.stdout == ""
    assert "xenstore cannot be reached" in result.stderr


def test_a_xenstore_that_does_not_answer(site, store, tmp_path):
    (store.folder / ".hang").touch()
    began = time.monotonic()
    result = site.run("save", tmp_path / "file")
    assert result.status == 0 and not result.lines
    assert time.monotonic() - began < 5
    assert savefile.to_v2((tmp_path / "file").read_bytes()) == \
        site.stock_file()


def test_one_that_answers_in_the_middle_of_the_save(site, store, tmp_path):
    (store.folder / ".hang").touch()
    process = site.paused("save", tmp_path / "file")
    assert store.entries() == []
    (store.folder / ".hang").unlink()
    store.only()
    os.kill(helper_of(process.pid), signal.SIGTERM)
    assert end(process) == 1
    assert store.entries() == []


# ---- status ----------------------------------------------------------------


OWN = f"{os.getpid()}-{start_of(os.getpid())}"
SAVE = dict(operation="save", domid=1, phase="memory", bytes=100 * MIB,
            total=400 * MIB, written=50 * MIB, rate=20 * MIB, format="v3",
            file="/srv/saved/web01", begun=1700000000)


def test_nothing_is_under_way(site):
    result = site.command("status")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "No operation is running.\n"
    assert site.command("status", "--json").stdout.split() == ["[", "]"]
    assert site.command("status", "--follow").returncode == 0
    assert site.command("status", "--follow", "--json").stdout == "[]\n"


def test_a_line_each(site, store):
    store.make(f"{OWN}-1", **SAVE)
    store.make(f"{OWN}-2", operation="receive", phase="memory",
               bytes=5 * MIB, total=0, rate=MIB // 2, begun=1700000001,
               peer="10.0.0.7")
    result = site.command("status")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["DOMAIN", "ID", "OPERATION", "PHASE", "DONE",
                                "MiB", "MiB/s", "LEFT", "FORMAT", "FILE"]
    assert lines[1].split() == ["web01", "1", "save", "memory", "25", "%",
                                "100/400", "20.0", "0:15", "v3",
                                "/srv/saved/web01"]
    assert lines[2].split() == ["-", "-", "receive", "memory", "-", "5",
                                "0.5", "-", "-", "from", "10.0.0.7"]
    # Columns begin below each other, numbers end so.
    for title in ("OPERATION", "PHASE", "FORMAT"):
        at = lines[0].index(title)
        assert all(line[at - 1] == " " and line[at] != " "
                   for line in lines[1:]), title
    for title in ("DONE", "MiB ", "MiB/s", "LEFT"):
        at = lines[0].index(title) + len(title.strip())
        assert all(line[at - 1] != " " and line[at] == " "
                   for line in lines[1:]), title


def test_a_domain_that_has_no_name_yet(site, store):
    """The one of its configuration, until there is another."""
    arriving = {**SAVE, "operation": "receive", "domain": "web02"}
    del arriving["domid"]
    store.make(f"{OWN}-1", **arriving)
    for domid, name, title in ((None, "web02", "web02"),
                               (99, "web02", "web02 (99)"),
                               (7, "db07", "db07 (7)")):
        if domid:
            store.make(f"{OWN}-1", domid=domid)
        entry, = json.loads(site.command("status", "--json").stdout)
        assert (entry["domain"], entry["domid"]) == (name, domid)
        row = site.command("status").stdout.splitlines()[1].split()
        assert row[:3] == [name, str(domid or "-"), "receive"]
        result = site.command("cancel", "--timeout=0", name)
        assert result.stderr.startswith(f"xl-aligned: {title}: its receive")


def test_json(site, store):
    store.make(f"{OWN}-1", **SAVE)
    for follow in ((), ("--follow",)):
        if follow:
            threading.Timer(1.5, store_clear, (store,)).start()
        result = site.command("status", "--json", *follow)
        assert result.returncode == 0
        array = json.loads(result.stdout.splitlines()[0] if follow
                           else result.stdout)
        assert array == [{
            "domain": "web01", "domid": 1, "operation": "save",
            "phase": "memory", "bytes_done": 100 * MIB,
            "bytes_total": 400 * MIB, "bytes_written": 50 * MIB,
            "bytes_per_second": 20 * MIB, "remaining_seconds": 15.0,
            "format": "v3", "file": "/srv/saved/web01", "host": None,
            "start_time": 1700000000, "pid": os.getpid(), "result": None}]
    assert result.stdout.splitlines()[-1] == "[]"


def test_names_steer_no_terminal(site, store):
    """Of whoever wrote them; in JSON they are all there."""
    name, file = "a\nb\x1b[2J", "/srv/\\x1b\x9b\u202e"
    store.make(f"{OWN}-1", **{**SAVE, "file": file})
    store.put("/local/domain/1/name", name)
    shown = site.command("status").stdout
    assert shown.count("\n") == 2
    assert r"a\x0ab\x1b[2J " in shown
    assert shown.endswith(r"/srv/\x5cx1b\xc2\x9b\xe2\x80\xae" "\n")
    entry, = json.loads(site.command("status", "--json").stdout)
    assert entry["domain"] == r"a\x0ab\x1b[2J"
    assert entry["file"] == r"/srv/\x5cx1b\xc2\x9b\xe2\x80\xae"


def store_clear(store) -> None:
    for name in store.entries():
        subprocess.run(["rm", "-r", store.root / name], check=True)


def test_what_others_wrote_does_not_move_the_cursor(site, store):
    store.make(f"{OWN}-1", **{**SAVE, "file": "/srv/\x1b[2Jx\n",
                              "bytes": "-1", "rate": "much"})
    result = site.command("status")
    assert result.returncode == 0
    assert r"/srv/\x1b[2Jx\x0a" in result.stdout and "\x1b" not in result.stdout
    assert "0/400" in result.stdout


def test_follow_in_lines(site, store):
    store.make(f"{OWN}-1", **SAVE)
    threading.Timer(2.5, store_clear, (store,)).start()
    result = site.command("status", "--follow")
    assert result.returncode == 0
    assert 2 <= result.stdout.count("web01  ") <= 4


def test_bars_on_a_terminal(site, store):
    store.make(f"{OWN}-1", **SAVE)
    store.make(f"{OWN}-2", **{**SAVE, "operation": "dump-core", "domid": 7,
                              "begun": int(time.time()) - 9})
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(site.own())
        os.execv(PROGRAM, [PROGRAM, "status", "--follow"])
    time.sleep(1.2)
    store_clear(store)
    text = b""
    while True:
        try:
            text += os.read(master, 65536)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = text.decode()
    assert re.search(r"web01 \(1\) save: memory \[#+\.+\]  25 %  100 of 400 "
                     r"MiB  20 MiB/s  0:15 left", text)
    assert "\x1b[2A" in text
    # What stays on the screen.
    assert re.search(r"db07 \(7\): dump-core ended after 1\d s", text)
    assert text.endswith("\x1b[J")
    for line in re.sub(r"\x1b\[\d*[AJK]", "", text).split("\r\n"):
        assert len(line) < 80, line


# ---- stale entries ---------------------------------------------------------


def test_a_killed_owner_is_noticed(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    name, _ = store.only()
    kill(process)
    assert store.entries() == [name]
    result = site.command("status")
    assert result.returncode == 0
    assert f"process {process.pid}, which ran its save, is gone" in \
        result.stderr and "web01 (1)" in result.stderr
    assert result.stdout == "No operation is running.\n"
    assert store.entries() == []


def test_the_next_operation_removes_what_is_stale(site, store, tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    store.make(f"{dead.pid}-1-1", **SAVE)
    # The number is in use again, by another process.
    store.make(f"{os.getpid()}-1-1", **SAVE)
    # Cancelled, and whoever asked is gone.
    store.make(f"{OWN}-1", **SAVE, cancel=f"{dead.pid}-1",
               result="cancelled")
    # These are not.
    store.make(f"{OWN}-2", **SAVE)
    store.make("1-1-1", **SAVE, cancel=OWN, result="cancelled")
    store.make("another", key="value")
    kept = {f"{OWN}-2", "another"}
    assert site.run("save", tmp_path / "file").status == 0
    assert set(store.entries()) == kept | {"1-1-1"}


def test_a_zombie_is_gone(site, store):
    process = subprocess.Popen(["true"])
    eventually(lambda: Path(f"/proc/{process.pid}/stat").read_text()
               .rpartition(")")[2].split()[0] == "Z", "no zombie")
    store.make(f"{process.pid}-{start_of(process.pid)}-1", **SAVE)
    assert "is gone" in site.command("status").stderr
    assert store.entries() == []
    process.wait()


# ---- cancel ----------------------------------------------------------------


@pytest.mark.parametrize("domain", ("web01", "1"))
@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
def test_a_save_is_cancelled(site, store, tmp_path, domain, format_):
    file = tmp_path / "file"
    process = site.paused("save", file, XL_ALIGNED_FORMAT=format_)
    store.only()
    result = site.command("cancel", domain)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == \
        "web01 (1): save cancelled: the domain keeps running\n"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == b"resume\n"
    assert b"libxl-aligned: save: ended on request\n" in err
    assert nothing_of(file)
    assert store.entries() == []


def test_a_file_with_a_name_to_come_is_removed(site, store, tmp_path):
    partial, final = tmp_path / "final.partial", tmp_path / "final"
    final.write_text("an older one")
    process = site.paused("save", partial, XL_ALIGNED_COMMIT_NAME=str(final))
    store.only()
    assert site.command("cancel", "web01").returncode == 0
    assert end(process) == 1
    assert not partial.exists() and final.read_text() == "an older one"


def test_a_stock_migration_is_cancelled(site, store, tmp_path):
    """Its helper has no library of ours."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"],
                              stdout=subprocess.DEVNULL)
    process = site.paused("save", tmp_path / "pipe", FAKE_LIVE="yes")
    store.only()
    result = site.command("cancel", "web01", "migrate")
    assert result.returncode == 0, result.stderr
    assert "migrate cancelled: the domain keeps running" in result.stdout
    assert end(process) == 1
    reader.wait()


def test_a_restore_is_cancelled(site, store, tmp_path):
    file = tmp_path / "file"
    assert site.run("save", file).status == 0
    before = file.read_bytes()
    process = site.paused("restore", file)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    result = site.command("cancel", "db07")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left, and the file is unchanged\n"
    assert end(process) == 1
    assert file.read_bytes() == before and store.entries() == []


@pytest.mark.parametrize("taken", (False, True))
def test_a_managed_restore_is_cancelled(site, store, tmp_path, taken):
    """libvirt removes the file first; the plugin puts it back."""
    file, other = tmp_path / "file", tmp_path / "other"
    assert site.run("save", file).status == 0
    before = file.read_bytes()
    other.write_text("somebody else's")
    process = site.paused("restore-managed", file, *[other][:taken])
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    assert store.keys(name)["file"] == f"{file} (deleted)"
    result = site.command("cancel", "db07")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left, and the file, which had been removed, is back" + (
            " under another name; check the output of the program that "
            "restored it" if taken else "") + "\n"
    assert end(process) == 1 and store.entries() == []
    if taken:
        assert file.read_text() == "somebody else's"
        file = tmp_path / "file.kept"
    assert file.read_bytes() == before


def test_a_managed_restore_that_cannot_be_put_back(site, store, tmp_path):
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    assert site.run("save", file).status == 0
    process = site.paused("restore-managed", file)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    file.parent.rmdir()
    result = site.command("cancel", "db07")
    assert result.returncode == 1 and result.stdout == ""
    assert "restore cancelled, but its file was removed and has not been " \
        "put back" in result.stderr
    assert end(process) == 1


def test_what_is_received_has_no_file(site, store, tmp_path):
    data = tmp_path / "data"
    assert site.run("save", data, XL_ALIGNED_FORMAT="v2").status == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["cp", data, pipe], stderr=subprocess.DEVNULL)
    process = site.paused("restore", pipe)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    result = site.command("cancel", "db07")
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left\n", result.stderr
    assert end(process) == 1
    writer.wait()


def start_dump(site, folder, **env):
    """A dump that takes three seconds for its second batch."""
    memory = folder / "memory"
    memory.write_bytes(bytes(range(256)) * 16 * 6000)
    plugins = f"{PLUGIN}:{site.tools / 'libxenstore.so.4'}"
    return subprocess.Popen(
        [site.tools / "dumper", "7", folder / "core"], stderr=subprocess.PIPE,
        env=site.environment(plugins, FAKE_MEMORY=str(memory),
                             FAKE_PRESENT="c0-1700", FAKE_AT="2:sleep"))


def test_a_dump_is_told_and_cancelled(site, store, tmp_path):
    process = start_dump(site, tmp_path)
    name, _ = store.only()
    keys = eventually(lambda: (k := store.keys(name))["bytes"] != "0" and k)
    assert keys["operation"] == "dump-core" and keys["domid"] == "7"
    assert keys["format"] == "xen"
    assert keys["file"] == str(tmp_path / "core")
    assert 0 < int(keys["bytes"]) < int(keys["total"])
    result = site.command("cancel", "db07")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "db07 (7): dump-core cancelled: no file is " \
        "left; the domain was not affected\n"
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"given up on request" in errors
    assert b"dump-core: ended on request" in errors
    assert not list(tmp_path.glob("core*")) and store.entries() == []


def test_a_whole_dump_leaves_nothing(site, store, tmp_path):
    process = start_dump(site, tmp_path)
    store.only()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert (tmp_path / "core").exists() and store.entries() == []


def test_one_of_several_saves_of_a_program(site, store, tmp_path):
    process = site.paused("save-many", tmp_path / "a", tmp_path / "b")
    names = eventually(lambda: len(store.entries()) == 2 and store.entries(),
                       "not two")
    domids = {store.keys(name)["domid"] for name in names}
    assert domids == {"1"}
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "name one:" in result.stderr
    # By hand, as another program would.
    store.make(names[0], cancel=OWN)
    eventually(lambda: "result" in store.keys(names[0]), "not ended")
    assert store.keys(names[0])["result"] == "cancelled"
    assert "result" not in store.keys(names[1])
    for child in Path(f"/proc/{process.pid}/task").iterdir():
        for pid in (child / "children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
    assert end(process) == 1
    assert store.entries() == [names[0]]


def test_the_domain_is_waited_for(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.write_text("web01  1  512  1  ---s--  3.1\n")
    resumed = threading.Timer(2, site.state.write_text,
                              ("web01  1  512  1  r-----  3.1\n",))
    resumed.start()
    began = time.monotonic()
    assert site.command("cancel", "web01").returncode == 0
    assert time.monotonic() - began > 1.5
    end(process)


def test_a_domain_that_nobody_resumes(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.write_text("web01  1  512  1  ---s--  3.1\n")
    result = site.command("cancel", "--timeout=3", "web01")
    assert result.returncode == 1 and result.stdout == ""
    assert "save cancelled, but the domain is still suspended" in \
        result.stderr
    end(process)


def test_an_xl_that_does_not_say(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.unlink()
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "xl list does not show the domain's state" in result.stderr
    end(process)


def test_nothing_to_cancel(site, store):
    store.make(f"{OWN}-1", **SAVE)
    for arguments, words in (
            (("db07",), "no operation of this domain is running"),
            (("web01", "restore"), "no restore of this domain"),
            (("2",), "no operation of this domain")):
        result = site.command("cancel", *arguments)
        assert result.returncode == 1 and result.stdout == ""
        assert words in result.stderr


def test_an_owner_that_does_not_answer(site, store):
    store.make(f"{OWN}-1", **SAVE)
    result = site.command("cancel", "--timeout=1", "web01")
    assert result.returncode == 1
    assert "was cancelled, but has not ended in 1 s" in result.stderr
    assert re.fullmatch(r"\d+-\d+", store.keys(f"{OWN}-1")["cancel"])


def test_two_who_ask(site, store):
    store.make(f"{OWN}-1", **SAVE, cancel=OWN)
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "already being cancelled" in result.stderr
    assert store.keys(f"{OWN}-1")["cancel"] == OWN


@pytest.mark.parametrize("result,words", (("complete", "is already complete"),
                                          ("failed", "has already failed")))
def test_too_late(site, store, result, words):
    name = f"{OWN}-1"
    store.make(name, **SAVE)

    def answer():
        eventually(lambda: "cancel" in store.keys(name))
        store.make(name, result=result)

    thread = threading.Thread(target=answer)
    thread.start()
    done = site.command("cancel", "web01")
    thread.join()
    assert done.returncode == 1 and words in done.stderr
    assert store.entries() == []


def test_an_owner_that_dies_of_it(site, store):
    process = subprocess.Popen(["sleep", "60"])
    name = f"{process.pid}-{start_of(process.pid)}-1"
    store.make(name, **SAVE)

    def die():
        eventually(lambda: "cancel" in store.keys(name))
        process.kill()
        process.wait()

    thread = threading.Thread(target=die)
    thread.start()
    result = site.command("cancel", "web01")
    thread.join()
    assert result.returncode == 1
    assert f"process {process.pid}, which ran its save, is gone" in \
        result.stderr
    assert store.entries() == []


@pytest.mark.parametrize("arguments,word", (
    (("status", "web01"), "expected no operands"),
    (("cancel",), "expected DOMAIN [OPERATION]; see"),
    (("cancel", "a", "save", "b"), "expected DOMAIN [OPERATION]; see"),
    (("cancel", "a", "convert"), "must be one of save restore"),
    (("cancel", "--timeout=soon", "a"), "--timeout=soon"),
    (("cancel", "--timeout=100000", "a"), "--timeout=100000"),
))
def test_misuse(site, arguments, word):
    result = site.command(*arguments)
    assert result.returncode == 2 and word in result.stderr
