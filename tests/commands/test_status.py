# SPDX-License-Identifier: LGPL-2.1-or-later
"""Operations in xenstore (docs/spec/progress.md), and status."""
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

from commands.program import PROGRAM
from commands.site import (MIB, OWN, SAVE, STREAM, end, helper_of, kill)
from model import savefile
from plugin.bench import signature
from support import eventually


# ---- what is written -------------------------------------------------------


def test_a_save_is_told_and_its_entry_goes(site, store, tmp_path):
    file = tmp_path / "file"
    process = site.paused("save", file)
    name, _ = store.only()
    keys = eventually(lambda: (k := store.keys(name)).get("written", "0")
                      != "0" and k, "nothing done")
    assert name == f"{signature(process.pid)}-1"
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
    name = f"{signature(process.pid)}-1"
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
            threading.Timer(1.5, store.clear).start()
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
    """Control characters are escaped, in JSON too."""
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


def test_what_others_wrote_does_not_move_the_cursor(site, store):
    store.make(f"{OWN}-1", **{**SAVE, "file": "/srv/\x1b[2Jx\n",
                              "bytes": "-1", "rate": "much"})
    result = site.command("status")
    assert result.returncode == 0
    assert r"/srv/\x1b[2Jx\x0a" in result.stdout and "\x1b" not in result.stdout
    assert "0/400" in result.stdout


def test_follow_in_lines(site, store):
    store.make(f"{OWN}-1", **SAVE)
    threading.Timer(2.5, store.clear).start()
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
    store.clear()
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
    # Cancelled by a process that is gone.
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
    store.make(f"{signature(process.pid)}-1", **SAVE)
    assert "is gone" in site.command("status").stderr
    assert store.entries() == []
    process.wait()
