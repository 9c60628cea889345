# SPDX-License-Identifier: LGPL-2.1-or-later
"""What libvirt's daemon needs beyond what xl does: after a failed save it
does not resume the domain, and before a restore it removes the file."""
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from model.generator import Generator
from plugin.bench import PLUGIN, Bench

RESUMED = "resume domid=1 cancel=1"


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).hvm(), b"")


def kill_helper(bench, process) -> None:
    """Once it has paused."""
    bench.wait_paused(process)
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def resumed(bench) -> bool:
    """By the plugin; what the toolstack does itself it only prints."""
    return RESUMED in bench.log()


# -- saves -------------------------------------------------------------------


@pytest.mark.parametrize("tool", ("daemon", "toolstack"))
def test_failed_commit(bench, tmp_path, tool):
    """The helper has succeeded; the file does not get to stable storage."""
    faults = bench.tools / "faults.so"
    for call in ("fsync", "fdatasync"):
        mark, log = tmp_path / f"{call}-failed", tmp_path / "log"
        log.unlink(missing_ok=True)
        result = bench.run("save", tmp_path / "file", tool=tool,
                           preload=f"{faults}:{PLUGIN}", FAULT_CALL=call,
                           FAULT_IN=tool, FAULT_N="1", FAULT_MARK=str(mark))
        assert mark.exists()
        assert result.status == 1 and "not saved" in result.err, result
        assert "status=0" in bench.log()[1]
        assert resumed(bench) == (tool == "daemon")


@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
@pytest.mark.parametrize("tool", ("daemon", "toolstack"))
def test_failed_helper(bench, tmp_path, tool, format_):
    process = bench.start("save", tmp_path / "file", tool=tool,
                          FAKE_PAUSE="3", XL_ALIGNED_FORMAT=format_)
    kill_helper(bench, process)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert resumed(bench) == (tool == "daemon")
    assert (b"domain 1 was suspended and has been resumed" in err) == \
        (tool == "daemon")


def test_what_failed_before_is_not_resumed(bench, tmp_path):
    result = bench.run("save", tmp_path / "file", tool="daemon",
                       FAKE_MEMKB=str(1 << 40))
    assert result.status == 1 and "free" in result.err, result
    assert not (tmp_path / "log").exists()


def test_what_was_suspended_before_is_not_resumed(bench, tmp_path):
    """By the guest's own wish."""
    process = bench.start("save", tmp_path / "file", tool="daemon",
                          FAKE_PAUSE="3", FAKE_SUSPENDED="yes")
    kill_helper(bench, process)
    process.communicate(timeout=20)
    assert process.returncode == 1 and not resumed(bench)


def test_a_failed_migration_is_resumed_by_libvirt(bench, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.DEVNULL)
    process = bench.start("save", pipe, tool="daemon", FAKE_PAUSE="3",
                          FAKE_LIVE="yes")
    kill_helper(bench, process)
    process.communicate(timeout=20)
    reader.wait(timeout=20)
    assert process.returncode == 1 and not resumed(bench)


@pytest.mark.parametrize("tool", ("daemon", "toolstack"))
def test_the_end_of_a_resumed_domain_is_heard_of(bench, tmp_path, tool):
    """libxl reports it once, after the suspension."""
    process = bench.start("save-watched", tmp_path / "file", tool=tool,
                          FAKE_PAUSE="3")
    kill_helper(bench, process)
    process.communicate(timeout=20)
    renewed = ["evenable domid=1 user=5 number=2", "evdisable number=1"]
    last = "evdisable number=2"
    if tool == "toolstack":
        renewed, last = [], "evdisable number=1"
    assert [line for line in bench.log() if line.startswith("ev")] == \
        ["evenable domid=1 user=5 number=1", *renewed, last]


# -- restores ----------------------------------------------------------------


@pytest.fixture
def managed(bench, tmp_path) -> Path:
    folder = tmp_path / "managed"
    folder.mkdir()
    assert bench.run("save", folder / "web.save").status == 0
    (tmp_path / "log").unlink()
    return folder / "web.save"


def without_library(bench) -> str:
    """As AppArmor starts it."""
    wrapper = bench.folder / "wrapper"
    wrapper.write_text('#!/bin/sh\nunset LD_PRELOAD\n'
                       f'exec "{bench.tools}/helper" "$@" 2>/dev/null\n')
    wrapper.chmod(0o755)
    return str(wrapper)


def check_put_back(bench, managed, data: bytes) -> None:
    """And the next start finds it."""
    assert os.listdir(managed.parent) == [managed.name]
    assert managed.read_bytes() == data
    assert managed.stat().st_mode & 0o7777 == 0o600
    result = bench.run("restore-managed", managed, tool="daemon")
    assert result.out == "created\n" and not result.lines, result
    assert bench.restored() == bench.stream
    assert not managed.exists()


@pytest.mark.parametrize("tool", ("daemon", "toolstack"))
def test_helper_of_a_restore_killed(bench, managed, tool):
    data = managed.read_bytes()
    process = bench.start("restore-managed", managed, tool=tool,
                          FAKE_PAUSE="3")
    kill_helper(bench, process)
    out, err = process.communicate(timeout=20)
    assert out == b"failed\n"
    assert f"{managed} was removed before".encode() in err
    check_put_back(bench, managed, data)


def test_damaged_pages(bench, managed):
    """Found only by reading them."""
    data = bytearray(managed.read_bytes())
    data[(len(data) // 2) & ~4095] ^= 1
    managed.write_bytes(data)
    result = bench.run("restore-managed", managed, tool="daemon")
    assert result.out == "failed\n" and "checksum" in result.err, result
    assert managed.read_bytes() == data


def test_helper_without_its_library(bench, managed):
    """Found before there is a domain."""
    data = managed.read_bytes()
    result = bench.run("restore-managed", managed, tool="daemon",
                       LIBXL_SAVE_HELPER=without_library(bench))
    assert result.out == "failed\n", result
    assert "not restored" in result.err and "AppArmor" in result.err
    assert not (bench.folder / "log").exists()
    check_put_back(bench, managed, data)


def test_stock_files_need_no_library(bench, managed):
    assert bench.run("save", managed, XL_ALIGNED_FORMAT="v2").status == 0
    result = bench.run("restore", managed, tool="daemon",
                       LIBXL_SAVE_HELPER=without_library(bench))
    assert result.out == "created\n", result


def test_plugin_that_cannot_work(bench, managed, tmp_path):
    """Stock would find out with a domain half built."""
    data = managed.read_bytes()
    folder = tmp_path / "install"
    folder.mkdir()
    result = bench.run("restore-managed", managed, tool="daemon",
                       preload=shutil.copy(PLUGIN, folder))
    assert result.out == "failed\n", result
    assert "a v3 file, which only the plugin can restore" in result.err
    assert not (bench.folder / "log").exists()
    check_put_back(bench, managed, data)


def test_name_that_is_taken(bench, managed, tmp_path):
    data = managed.read_bytes()
    other = tmp_path / "other"
    other.write_text("another user's")
    (managed.parent / "web.save.kept").write_text("an older one")
    result = bench.run("restore-managed", managed, other, tool="daemon",
                       LIBXL_SAVE_HELPER=without_library(bench))
    assert result.out == "failed\n", result
    assert f"are now in {managed}.kept.1" in result.err
    assert managed.read_text() == "another user's"
    assert (managed.parent / "web.save.kept").read_text() == "an older one"
    assert (managed.parent / "web.save.kept.1").read_bytes() == data


def test_folder_that_is_gone(bench, tmp_path, managed):
    """What cannot be put back stays open; the message says where."""
    data = managed.read_bytes()
    process = bench.start("restore-managed", managed, tool="daemon",
                          FAKE_PAUSE="3", FAKE_LINGER="yes")
    bench.wait_paused(process)
    managed.parent.rmdir()
    kill_helper(bench, process)
    found = None
    while not found:
        line = process.stderr.readline().decode()
        assert line
        found = re.search(r"copy them from (/proc/\d+/fd/\d+)", line)
    assert Path(found[1]).read_bytes() == data
    process.kill()
    process.communicate()


def test_memfd_is_nobody_s_managed_save(bench, managed):
    """It never had a name."""
    before = os.listdir("/")
    fd = os.memfd_create("guest")
    os.write(fd, managed.read_bytes())
    process = bench.start(
        "restore", f"/proc/self/fd/{fd}", tool="daemon",
        LIBXL_SAVE_HELPER=without_library(bench), pass_fds=(fd,))
    out, err = process.communicate(timeout=20)
    os.close(fd)
    assert out == b"failed\n" and b"cannot be put back" in err
    assert os.listdir("/") == before
